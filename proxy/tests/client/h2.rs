//! HTTP/2 inside TLS, shared by many exchanges.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use h2::{
    Reason, RecvStream,
    server::{Builder, SendResponse},
};
use http::{HeaderMap, HeaderValue, Request, Response};
use proxy::{Client, ClientConfig, Kind, Method, Origin, Outbound, Phase, PoolLoad, Retry, Timeouts};
use tokio::{net::TcpStream, sync::Notify};

use crate::support::{Authority, fetch, get, https, listen, post};

const NAME: &str = "h2.test";

/// A server whose streams run `handle`; the number counts connections from zero.
pub(crate) struct Server {
    pub(crate) client: Client,
    pub(crate) origin: Origin,
    connections: Arc<AtomicUsize>,
    /// Told when a connection is over.
    ended: Arc<Notify>,
}

impl Server {
    pub(crate) async fn start<F>(
        builder: Builder,
        change: fn(&mut ClientConfig),
        handle: impl Fn(usize, Request<RecvStream>, SendResponse<Bytes>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = After> + Send + 'static,
    {
        let authority = Authority::new();
        let (listener, _) = listen().await;
        let mut config = authority.trusted(NAME);
        change(&mut config);
        let client = Client::new(config).unwrap();
        let origin = https(NAME, &listener);
        let connections = Arc::new(AtomicUsize::new(0));
        let acceptor = authority.server(NAME, &["h2", "http/1.1"], |_| {});
        let server = Self { client, origin, connections, ended: Arc::default() };
        let (connections, ended) = (Arc::clone(&server.connections), Arc::clone(&server.ended));
        tokio::spawn(async move {
            let handle = Arc::new(handle);
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let number = connections.fetch_add(1, Ordering::SeqCst);
                let (acceptor, builder) = (acceptor.clone(), builder.clone());
                let (handle, ended) = (Arc::clone(&handle), Arc::clone(&ended));
                tokio::spawn(async move {
                    let tls = acceptor.accept(tcp).await.unwrap();
                    drive(builder.handshake(tls).await.unwrap(), number, &*handle).await;
                    ended.notify_one();
                });
            }
        });
        server
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// What a connection does once a handler is through.
pub(crate) enum After {
    GoOn,
    /// GOAWAY, then the end.
    Drain,
    /// The end without a word.
    Cut,
}

async fn drive<F>(
    mut connection: h2::server::Connection<tokio_rustls::server::TlsStream<TcpStream>, Bytes>,
    number: usize,
    handle: &(impl Fn(usize, Request<RecvStream>, SendResponse<Bytes>) -> F + Sync),
) where
    F: Future<Output = After> + Send + 'static,
{
    let (cut, drain) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    loop {
        let accepted = tokio::select! {
            accepted = connection.accept() => accepted,
            () = cut.notified() => return,
            () = drain.notified() => {
                connection.graceful_shutdown();
                continue;
            }
        };
        let Some(Ok((request, respond))) = accepted else { return };
        let (cut, drain) = (Arc::clone(&cut), Arc::clone(&drain));
        let handled = handle(number, request, respond);
        tokio::spawn(async move {
            match handled.await {
                After::GoOn => {}
                After::Drain => drain.notify_one(),
                After::Cut => cut.notify_one(),
            }
        });
    }
}

pub(crate) async fn read_all(mut body: RecvStream) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        all.extend_from_slice(&data);
    }
    all
}

fn answer(mut respond: SendResponse<Bytes>, body: impl Into<Bytes>) {
    let mut stream = respond.send_response(Response::new(()), false).unwrap();
    stream.send_data(body.into(), true).unwrap();
}

#[tokio::test]
async fn heads_bodies_and_trailers_pass() {
    let server = Server::start(
        Builder::new(),
        |_| {},
        |_, request, mut respond| async move {
            assert_eq!(request.uri().authority().unwrap(), "h2.test:1");
            assert_eq!(request.uri().path_and_query().unwrap(), "/v1/messages?beta=true");
            assert_eq!(request.method(), Method::POST);
            let names: Vec<&str> = request.headers().keys().map(|name| name.as_str()).collect();
            assert_eq!(names, ["x-a", "te", "content-length"]);
            assert_eq!(request.headers()["content-length"], "5");
            let body = read_all(request.into_body()).await;
            let head = Response::builder().status(201).header("x-twice", "1").header("x-twice", "2").body(()).unwrap();
            let mut stream = respond.send_response(head, false).unwrap();
            stream.send_data(body.into(), false).unwrap();
            stream
                .send_trailers(HeaderMap::from_iter([("x-sum".parse().unwrap(), HeaderValue::from_static("9"))]))
                .unwrap();
            After::GoOn
        },
    )
    .await;
    for reused in [false, true] {
        let mut request = post(&server.origin, "");
        request.target = Bytes::from("/v1/messages?beta=true");
        request.body = vec![Bytes::from("he"), Bytes::new(), Bytes::from("llo")];
        for (name, value) in [
            ("Host", "h2.test:1"),
            ("X-A", "1"),
            ("Connection", "keep-alive, x-hop"),
            ("X-Hop", "gone"),
            ("TE", "trailers"),
            ("Transfer-Encoding", "chunked"),
            ("Content-Length", "77"),
        ] {
            request.headers.append(name, value);
        }
        let mut response = server.client.send(request).await.unwrap();
        assert_eq!(response.body.collect(usize::MAX).await.unwrap(), "hello");
        assert_eq!(response.head.status, 201);
        assert_eq!(response.head.headers.all("x-twice").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(response.body.trailers().unwrap().text("x-sum"), Some("9"));
        assert_eq!(response.timing.reused, reused);
    }
    assert_eq!(server.connections(), 1);
    assert_eq!(server.client.load(), PoolLoad { h2_idle: 1, ..PoolLoad::default() });
}

#[tokio::test]
async fn a_burst_to_a_new_origin_shares_one_connection() {
    let server = Server::start(
        Builder::new(),
        |_| {},
        |_, _, respond| async move {
            answer(respond, "ok");
            After::GoOn
        },
    )
    .await;
    let burst: Vec<_> = (0..20)
        .map(|_| {
            let (client, request) = (server.client.clone(), get(&server.origin));
            tokio::spawn(async move { fetch(&client, request).await.unwrap().1 })
        })
        .collect();
    for one in burst {
        assert_eq!(one.await.unwrap(), "ok");
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_crowded_connection_gets_a_second_one() {
    let mut builder = Builder::new();
    builder.max_concurrent_streams(5);
    let server = Server::start(
        builder,
        |_| {},
        |_, _, mut respond| async move {
            let _stream = respond.send_response(Response::new(()), false).unwrap();
            std::future::pending().await
        },
    )
    .await;
    // The first answer proves that the peer's settings have arrived.
    let mut held = Vec::new();
    for expected in [1, 1, 1, 1, 2] {
        held.push(server.client.send(get(&server.origin)).await.unwrap());
        assert_eq!(server.connections(), expected);
    }
    // A place that was given up is taken again.
    held.remove(0);
    held.push(server.client.send(get(&server.origin)).await.unwrap());
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn the_window_opens_only_for_what_was_taken() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&sent);
    let server = Server::start(
        Builder::new(),
        |_| {},
        move |_, request, mut respond| {
            let sent = Arc::clone(&counter);
            async move {
                if request.uri().path() == "/probe" {
                    answer(respond, "");
                    return After::GoOn;
                }
                let mut stream = respond.send_response(Response::new(()), false).unwrap();
                let mut left = 3 << 20;
                while left > 0 {
                    stream.reserve_capacity(left);
                    let Some(Ok(room)) = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await else { break };
                    let piece = room.min(left);
                    left -= piece;
                    stream.send_data(vec![b'x'; piece].into(), left == 0).unwrap();
                    sent.fetch_add(piece, Ordering::SeqCst);
                }
                After::GoOn
            }
        },
    )
    .await;
    let mut body = server.client.send(get(&server.origin)).await.unwrap().body;
    // Other streams of the same connection go on while this one is not read.
    let probe = || Outbound { target: Bytes::from("/probe"), ..get(&server.origin) };
    while sent.load(Ordering::SeqCst) < 1 << 20 {
        fetch(&server.client, probe()).await.unwrap();
    }
    for _ in 0..20 {
        fetch(&server.client, probe()).await.unwrap();
    }
    assert_eq!(sent.load(Ordering::SeqCst), 1 << 20);
    let mut received = 0;
    while let Some(data) = body.chunk().await.unwrap() {
        received += data.len();
        while let Some(more) = body.ready() {
            received += more.unwrap().len();
        }
    }
    assert_eq!(received, 3 << 20);
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_large_upload_goes_through_the_windows() {
    let server = Server::start(
        Builder::new(),
        |_| {},
        |_, request, respond| async move {
            let body = read_all(request.into_body()).await;
            answer(respond, body.len().to_string());
            After::GoOn
        },
    )
    .await;
    let body: Vec<Bytes> = (0..64).map(|n| Bytes::from(vec![n; 100_000])).collect();
    let request = Outbound { body, ..post(&server.origin, "") };
    assert_eq!(fetch(&server.client, request).await.unwrap().1, "6400000");
}

#[tokio::test]
async fn an_answer_before_the_upload_lets_the_upload_go_on() {
    let server = Server::start(
        Builder::new(),
        |_| {},
        |_, request, mut respond| async move {
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            let body = read_all(request.into_body()).await;
            stream.send_data(body.len().to_string().into(), true).unwrap();
            After::GoOn
        },
    )
    .await;
    let request = post(&server.origin, vec![b'x'; 4 << 20]);
    let mut response = server.client.send(request).await.unwrap();
    assert_eq!(response.body.collect(100).await.unwrap(), (4 << 20).to_string());
}

#[tokio::test]
async fn dropping_resets_the_stream_and_keeps_the_connection() {
    let resets = Arc::new(AtomicUsize::new(0));
    let gone = Arc::new(Notify::new());
    let arrived = Arc::new(Notify::new());
    let (seen, noticed, here) = (Arc::clone(&resets), Arc::clone(&gone), Arc::clone(&arrived));
    let server = Server::start(
        Builder::new(),
        |_| {},
        move |_, request, mut respond| {
            let (seen, noticed, here) = (Arc::clone(&seen), Arc::clone(&noticed), Arc::clone(&here));
            async move {
                let reason = match request.uri().path() {
                    "/silent" => {
                        here.notify_one();
                        std::future::poll_fn(|cx| respond.poll_reset(cx)).await.unwrap()
                    }
                    "/stream" => {
                        let mut stream = respond.send_response(Response::new(()), false).unwrap();
                        stream.send_data(Bytes::from("part"), false).unwrap();
                        std::future::poll_fn(|cx| stream.poll_reset(cx)).await.unwrap()
                    }
                    _ => {
                        answer(respond, "ok");
                        return After::GoOn;
                    }
                };
                assert_eq!(reason, Reason::CANCEL);
                seen.fetch_add(1, Ordering::SeqCst);
                noticed.notify_one();
                After::GoOn
            }
        },
    )
    .await;
    let at = |path: &'static str| Outbound { target: Bytes::from(path), ..get(&server.origin) };
    tokio::select! {
        _ = server.client.send(at("/silent")) => panic!("nobody answered"),
        () = arrived.notified() => {}
    }
    gone.notified().await;
    let mut body = server.client.send(at("/stream")).await.unwrap().body;
    assert_eq!(body.chunk().await.unwrap().unwrap(), "part");
    assert!(body.ready().is_none());
    drop(body);
    gone.notified().await;
    assert_eq!(fetch(&server.client, at("/")).await.unwrap().1, "ok");
    assert_eq!((resets.load(Ordering::SeqCst), server.connections()), (2, 1));
}

#[tokio::test]
async fn a_drained_connection_is_replaced_and_its_streams_end_well() {
    let go = Arc::new(Notify::new());
    let wait = Arc::clone(&go);
    let server = Server::start(
        Builder::new(),
        |_| {},
        move |number, request, mut respond| {
            let wait = Arc::clone(&wait);
            async move {
                match (number, request.uri().path()) {
                    (0, "/slow") => {
                        let mut stream = respond.send_response(Response::new(()), false).unwrap();
                        wait.notified().await;
                        stream.send_data(Bytes::from("slow"), true).unwrap();
                        After::GoOn
                    }
                    (0, _) => {
                        answer(respond, "first");
                        After::Drain
                    }
                    (_, _) => {
                        answer(respond, "second");
                        After::GoOn
                    }
                }
            }
        },
    )
    .await;
    let slow = Outbound { target: Bytes::from("/slow"), ..get(&server.origin) };
    let mut slow = server.client.send(slow).await.unwrap().body;
    // Until the GOAWAY has arrived, requests still meet the old connection.
    while fetch(&server.client, post(&server.origin, "x")).await.unwrap().1 != "second" {}
    go.notify_one();
    assert_eq!(slow.collect(100).await.unwrap(), "slow");
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn refused_streams_are_sent_once_more() {
    let tries = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&tries);
    let server = Server::start(
        Builder::new(),
        |_| {},
        move |_, _, mut respond| {
            let n = counter.fetch_add(1, Ordering::SeqCst);
            async move {
                match n {
                    1 | 3 | 4 => respond.send_reset(Reason::REFUSED_STREAM),
                    _ => answer(respond, n.to_string()),
                }
                After::GoOn
            }
        },
    )
    .await;
    assert_eq!(fetch(&server.client, get(&server.origin)).await.unwrap().1, "0");
    assert_eq!(fetch(&server.client, post(&server.origin, "x")).await.unwrap().1, "2");
    let error = server.client.send(post(&server.origin, "x")).await.unwrap_err();
    assert_eq!(error.kind, Kind::Protocol { reason: "refused_stream", status: 502 });
    assert_eq!((error.retry, tries.load(Ordering::SeqCst)), (Retry::Safe, 5));
}

#[tokio::test]
async fn a_reset_or_cut_stream_is_never_a_clean_end() {
    let server = Server::start(
        Builder::new(),
        |_| {},
        |_, request, mut respond| async move {
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            stream.send_data(Bytes::from("part"), false).unwrap();
            if request.uri().path() == "/reset" {
                stream.send_reset(Reason::INTERNAL_ERROR);
                return After::GoOn;
            }
            After::Cut
        },
    )
    .await;
    for path in ["/reset", "/cut"] {
        let sent = server.client.send(Outbound { target: Bytes::from(path), ..get(&server.origin) }).await;
        let error = match sent {
            // The reset may overtake the head, never the other way round.
            Err(error) => error,
            Ok(mut response) => response.body.collect(100).await.unwrap_err(),
        };
        assert_eq!((error.kind, error.retry), (Kind::Closed, Retry::Never));
    }
}

#[tokio::test]
async fn silence_hits_the_head_timeout_and_only_that_stream() {
    let server = Server::start(
        Builder::new(),
        |_| {},
        |_, request, respond| async move {
            if request.uri().path() == "/silent" {
                std::future::pending::<()>().await;
            }
            answer(respond, "ok");
            After::GoOn
        },
    )
    .await;
    let head_timeout = Some(Duration::from_millis(20));
    let silent = Outbound { target: Bytes::from("/silent"), head_timeout, ..get(&server.origin) };
    let error = server.client.send(silent).await.unwrap_err();
    assert_eq!((error.kind, error.retry), (Kind::Timeout(Phase::Head), Retry::Never));
    assert_eq!(fetch(&server.client, get(&server.origin)).await.unwrap().1, "ok");
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn an_idle_connection_is_closed_in_time() {
    let idle = |config: &mut ClientConfig| {
        config.timeouts = Timeouts { pool_idle: Duration::from_millis(20), ..Timeouts::default() };
    };
    let server = Server::start(Builder::new(), idle, |_, _, respond| async move {
        answer(respond, "ok");
        After::GoOn
    })
    .await;
    for connections in [1, 2] {
        assert_eq!(fetch(&server.client, get(&server.origin)).await.unwrap().1, "ok");
        assert_eq!(server.connections(), connections);
        server.ended.notified().await;
    }
}

#[tokio::test]
async fn an_announced_body_that_does_not_come_is_no_answer() {
    let server = Server::start(
        Builder::new(),
        |_| {},
        |_, request, mut respond| async move {
            let status = if request.uri().path() == "/304" { 304 } else { 200 };
            let head = Response::builder().status(status).header("content-length", "3").body(()).unwrap();
            respond.send_response(head, true).unwrap();
            After::GoOn
        },
    )
    .await;
    let error = server.client.send(get(&server.origin)).await.unwrap_err();
    assert_eq!(error.kind, Kind::Protocol { reason: "h2", status: 502 });
    for request in [
        Outbound { method: Method::HEAD, ..get(&server.origin) },
        Outbound { target: Bytes::from("/304"), ..get(&server.origin) },
    ] {
        let (response, body) = fetch(&server.client, request).await.unwrap();
        assert_eq!((response.head.headers.text("content-length"), body.len()), (Some("3"), 0));
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn interim_answers_are_bounded_and_never_an_upgrade() {
    let server = Server::start(
        Builder::new(),
        |_| {},
        |_, request, mut respond| async move {
            let (status, count) = match request.uri().path() {
                "/few" => (103, 8),
                "/many" => (103, 9),
                _ => (101, 1),
            };
            for _ in 0..count {
                let interim = Response::builder().status(status).header("link", "</a>").body(()).unwrap();
                if respond.send_informational(interim).is_err() {
                    return After::GoOn;
                }
            }
            if status == 103 {
                answer(respond, "ok");
            } else {
                let _ = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
            }
            After::GoOn
        },
    )
    .await;
    let at = |path: &'static str| Outbound { target: Bytes::from(path), ..get(&server.origin) };
    assert_eq!(fetch(&server.client, at("/few")).await.unwrap().1, "ok");
    for (path, reason) in [("/many", "too_many_interim"), ("/switch", "upgrade")] {
        let error = server.client.send(at(path)).await.unwrap_err();
        assert_eq!(error.kind, Kind::Protocol { reason, status: 502 });
    }
    assert_eq!(fetch(&server.client, at("/few")).await.unwrap().1, "ok");
    assert_eq!(server.connections(), 1);
}
