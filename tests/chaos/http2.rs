//! Upstreams that speak HTTP/2 and break off: a stream, or the connection with all that run on it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use bytes::Bytes;
use codecs::dialect::Dialect;
use h2::{Reason, RecvStream, server::SendResponse};
use http::{Request, Response};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
};
use tokio_rustls::server::TlsStream;

use crate::{
    content::FAULT,
    reach::{Authority, Listening, trusting},
    support::{Answer, Client, speech, wire::Head},
    view::{View, view},
    world::Ask,
};

const DIALECT: Dialect = Dialect::OpenAiChat;

/// What a stream wants of its connection.
#[derive(Debug)]
enum End {
    /// GOAWAY, and the end at once.
    Shutdown,
    /// The socket is closed without a word.
    Cut,
}

/// What all streams share.
#[derive(Debug)]
struct Script {
    /// Requests that arrived.
    seen: AtomicUsize,
    /// One for each stream that may break.
    go: Semaphore,
}

/// Plays what the model's name says on one stream.
async fn play(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    end: mpsc::UnboundedSender<End>,
    script: Arc<Script>,
) {
    let (mut body, mut text) = (request.into_body(), Vec::new());
    while let Some(Ok(data)) = body.data().await {
        body.flow_control().release_capacity(data.len()).unwrap();
        text.extend_from_slice(&data);
    }
    script.seen.fetch_add(1, SeqCst);
    let asked: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let model = asked["model"].as_str().unwrap();
    let (kind, rest) = model.split_once('-').unwrap();
    let head = |content_type: &str| Response::builder().header("content-type", content_type).body(()).unwrap();
    if kind == "good" {
        let mut stream = respond.send_response(head("application/json"), false).unwrap();
        return stream.send_data(speech::reply(DIALECT).into(), true).unwrap();
    }
    if rest.starts_with("waits") {
        match kind {
            "reset" => respond.send_reset(Reason::INTERNAL_ERROR),
            "refused" => respond.send_reset(Reason::REFUSED_STREAM),
            "goaway" => end.send(End::Shutdown).unwrap(),
            // It is silent: the gateway's limit ends it.
            "silent" => drop(std::future::poll_fn(|cx| respond.poll_reset(cx)).await),
            _ => end.send(End::Cut).unwrap(),
        }
        return;
    }
    let spoken = speech::stream(DIALECT);
    let mut stream = respond.send_response(head("text/event-stream"), false).unwrap();
    let begun = spoken.prologue.concat() + &spoken.content[0];
    stream.send_data(begun.into(), kind == "ended").unwrap();
    // What was written must have been read before the end comes: a reset takes along what waits.
    script.go.acquire().await.unwrap().forget();
    match kind {
        "ended" => {}
        "reset" | "refused" => stream.send_reset(Reason::INTERNAL_ERROR),
        "goaway" => end.send(End::Shutdown).unwrap(),
        "silent" => drop(std::future::poll_fn(|cx| stream.poll_reset(cx)).await),
        _ => end.send(End::Cut).unwrap(),
    }
}

async fn serve(io: TlsStream<TcpStream>, script: Arc<Script>) {
    let Ok(mut connection) = h2::server::handshake(io).await else { return };
    let (end, mut ends) = mpsc::unbounded_channel();
    loop {
        tokio::select! {
            accepted = connection.accept() => match accepted {
                Some(Ok((request, respond))) => {
                    tokio::spawn(play(request, respond, end.clone(), script.clone()));
                }
                _ => return,
            },
            Some(how) = ends.recv() => match how {
                End::Shutdown => connection.abrupt_shutdown(Reason::INTERNAL_ERROR),
                End::Cut => return,
            },
        }
    }
}

/// A client that has read the first word of its stream.
async fn open(ask: &Ask, addr: SocketAddr) -> (Client, u16, Head, String) {
    let (path, body) = ask.wire();
    let mut client = Client::connect(addr).await;
    client.request("POST", &path, &[], body.as_bytes()).await;
    let (status, head) = client.head().await;
    let begun = client.until("Hello").await;
    (client, status, head, begun)
}

/// What comes of it.
async fn rest(ask: &Ask, (mut client, status, head, begun): (Client, u16, Head, String)) -> View {
    let (rest, complete) = client.rest().await;
    let body = [begun.as_bytes(), &rest].concat();
    view(ask.client, ask.stream, &Answer { status, head, body, complete })
}

/// Asks, has the stream break once its first word was read, and reads what comes of it.
async fn begun(ask: &Ask, addr: SocketAddr, script: &Script) -> View {
    let open = open(ask, addr).await;
    script.go.add_permits(1);
    rest(ask, open).await
}

#[tokio::test]
async fn streams_and_connections_that_break() {
    let authority = Authority::new("an authority");
    let acceptor = authority.acceptor(|_| {}, false, &["h2"]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let script = Arc::new(Script { seen: AtomicUsize::new(0), go: Semaphore::new(0) });
    let shared = script.clone();
    let _listening = Listening(tokio::spawn(async move {
        while let Ok((io, _)) = listener.accept().await {
            let (acceptor, shared) = (acceptor.clone(), shared.clone());
            tokio::spawn(async move {
                if let Ok(io) = acceptor.accept(io).await {
                    serve(io, shared).await;
                }
            });
        }
    }));
    let world = trusting(&authority, &[("u", addr)]).await;
    let mut asked = Vec::new();
    for kind in ["reset", "refused", "goaway", "cut", "silent", "ended"] {
        for (stream, rest) in [(false, "waits"), (true, "waits"), (true, "begun")] {
            if kind == "ended" && rest == "waits" {
                continue;
            }
            let ask = Ask::new(DIALECT, stream, format!("u/{kind}-{rest}{stream}"));
            let view =
                if rest == "begun" { begun(&ask, world.addr(), &script).await } else { ask.view(world.addr()).await };
            match (&view, rest) {
                (View::Refused { status, .. }, "waits") if kind == "silent" => assert_eq!(*status, 504, "{kind}"),
                (View::Refused { status, .. }, "waits") => assert!(FAULT.contains(status), "{kind} {view:?}"),
                (View::Broken { said, .. }, "begun") => assert_eq!(said, "Hello", "{kind}"),
                _ => panic!("{kind} {rest} {view:?}"),
            }
            asked.push((ask, view));
            // The one behind it is served, whatever is left of the connection.
            let good = Ask::new(DIALECT, false, format!("u/good-{kind}{rest}{stream}"));
            assert_eq!(good.view(world.addr()).await, View::Whole, "behind {kind} {rest}");
            asked.push((good, View::Whole));
        }
    }
    // Those that share a connection with one that is cut break off, each with its own error; none is taken for whole.
    let addr = world.addr();
    let names = (0..20).map(|n| format!("silent-begun{n}")).chain(["cut-begun".to_owned()]);
    let mut crowd = Vec::new();
    for name in names {
        let ask = Ask::new(DIALECT, true, format!("u/{name}"));
        crowd.push((open(&ask, addr).await, ask));
    }
    // All go on at once: the silent ones stay silent, and the last one cuts the connection under them.
    script.go.add_permits(crowd.len());
    for (client, ask) in crowd {
        let view = rest(&ask, client).await;
        assert!(matches!(view, View::Broken { .. }), "{ask:?} {view:?}");
        asked.push((ask, view));
    }
    let rows = world.over().await;
    asked.iter().for_each(|(ask, view)| rows.agree(ask, view));
    assert!(script.seen.load(SeqCst) >= asked.len());
}
