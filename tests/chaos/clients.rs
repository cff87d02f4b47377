//! Clients that are slow, leave, or ask for too much at once.

use std::{net::SocketAddr, sync::Arc};

use codecs::dialect::Dialect;
use flow_router::store::usage::{Outcome, UsageRow};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Semaphore, mpsc},
};

use crate::{
    support::{Client, Upstream, h2::H2, router::provider, speech, within},
    view::{View, view},
    world::{Ask, PAIRS, SHORT, World, answer_well, model_of, stream_head},
};

/// A request in bytes, as a client of HTTP/1.1 writes it.
fn bytes_of(ask: &Ask) -> Vec<u8> {
    let (path, body) = ask.wire();
    let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
    (head + &body).into_bytes()
}

/// How far an exchange is when its client has had enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// A part of the head was written.
    Head,
    /// A part of the body was written.
    Body,
    /// The provider thinks.
    Waiting,
    /// The provider has begun, without content.
    Prologue,
    /// Content was read.
    MidStream,
    /// The answer lies unread in the socket.
    Unread,
    /// The answer was read, and the next request begun.
    Behind,
}

const PHASES: [Phase; 7] =
    [Phase::Head, Phase::Body, Phase::Waiting, Phase::Prologue, Phase::MidStream, Phase::Unread, Phase::Behind];

/// How it leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leave {
    Close,
    Reset,
    /// It says that it will write no more, and reads on: to us it is gone.
    HalfClose,
}

/// An upstream that goes as far as the model's name says, tells, and waits for the end.
async fn goes_as_far(dialect: Dialect, tell: mpsc::UnboundedSender<String>) -> Upstream {
    Upstream::start(move |mut conn| {
        let tell = tell.clone();
        async move {
            while let Some(asked) = conn.asked().await {
                let model = model_of(&asked);
                let spoken = speech::stream(dialect);
                let phase = model.split('-').next().unwrap();
                if ["Unread", "Behind"].contains(&phase) {
                    answer_well(&mut conn, dialect, true).await;
                    drop(tell.send(model));
                    continue;
                }
                if phase != "Waiting" {
                    conn.write(stream_head(dialect)).await;
                    conn.chunk(": x\n\n".to_owned() + &spoken.prologue.concat()).await;
                }
                if phase == "MidStream" {
                    conn.chunk(&spoken.content[0]).await;
                }
                drop(tell.send(model.clone()));
                conn.closed().await;
                return drop(tell.send(format!("{model} over")));
            }
        }
    })
    .await
}

async fn told(from: &mut mpsc::UnboundedReceiver<String>, what: &str) {
    let said = within(what, from.recv()).await.unwrap();
    assert_eq!(said, what);
}

async fn leave(io: TcpStream, how: Leave) {
    match how {
        Leave::Close => drop(io),
        Leave::Reset => io.set_zero_linger().unwrap(),
        Leave::HalfClose => {
            let mut io = io;
            io.shutdown().await.unwrap();
            let mut rest = Vec::new();
            // Whatever comes, the connection ends.
            drop(within("the gateway's close", io.read_to_end(&mut rest)).await);
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_in_any_phase() {
    let (mut config, mut upstreams, mut told_by) = (String::new(), Vec::new(), Vec::new());
    // Two forwarded pairs and a translated one: what differs between dialects is not how clients leave.
    let pairs = [PAIRS[0], PAIRS[2], PAIRS[5]];
    for (n, (_, dialect)) in pairs.into_iter().enumerate() {
        let (tell, told) = mpsc::unbounded_channel();
        let upstream = goes_as_far(dialect, tell).await;
        config += &provider(&format!("u{n}"), dialect, &upstream);
        upstreams.push(upstream);
        told_by.push(told);
    }
    let world = World::start(&config, &[]).await;
    let mut expected = Vec::new();
    for (n, (client, _)) in pairs.into_iter().enumerate() {
        for phase in PHASES {
            for how in [Leave::Close, Leave::Reset, Leave::HalfClose] {
                let name = format!("{phase:?}-{how:?}-{n}");
                let ask = Ask::new(client, true, format!("u{n}/{name}"));
                let bytes = bytes_of(&ask);
                let body = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
                let written = match phase {
                    Phase::Head => body / 2,
                    Phase::Body => body + 10,
                    _ => bytes.len(),
                };
                let mut conn = Client::connect(world.addr()).await;
                conn.send(&bytes[..written]).await;
                if written == bytes.len() {
                    told(&mut told_by[n], &name).await;
                }
                match phase {
                    Phase::MidStream => {
                        assert_eq!(conn.head().await.0, 200);
                        conn.until("Hello").await;
                    }
                    Phase::Behind => {
                        assert_eq!(view(client, true, &conn.answer().await), View::Whole);
                        conn.send(&bytes[..body / 2]).await;
                    }
                    _ => {}
                }
                leave(conn.into_io(), how).await;
                if matches!(phase, Phase::Waiting | Phase::Prologue | Phase::MidStream) {
                    told(&mut told_by[n], &format!("{name} over")).await;
                }
                expected.push((name, phase));
            }
        }
    }
    let gauges = world.quiet(0).await;
    assert_eq!(gauges.get("flow_router_cooling"), 0, "a client that leaves is nobody's fault");
    let rows = world.over().await;
    // Nobody was asked yet, and so nobody's name is in the row; without a head there is none.
    let unasked = expected.iter().filter(|(_, phase)| *phase == Phase::Body).count();
    assert_eq!(rows.of("").len(), unasked);
    assert!(
        rows.of("").iter().all(|row| (row.outcome, row.attempts) == (Outcome::ClientError, 0)),
        "{:?}",
        rows.of("")
    );
    for (name, phase) in expected {
        if matches!(phase, Phase::Head | Phase::Body) {
            assert!(rows.of(&name).is_empty(), "{name}");
            continue;
        }
        let row = rows.one(&name);
        let ended = (row.outcome, row.status);
        match phase {
            Phase::Waiting | Phase::Prologue => assert_eq!(ended, (Outcome::ClientGone, 0), "{name} {row:?}"),
            Phase::MidStream => {
                assert_eq!(ended, (Outcome::ClientGone, 200), "{name} {row:?}");
                assert!(row.tokens_in > 0 && row.tokens_out > 0 && row.bytes_out > 0, "{name} {row:?}");
            }
            Phase::Behind => assert_eq!((ended, row.tokens_out), ((Outcome::Ok, 200), 3), "{name} {row:?}"),
            // The answer may have been in its socket by then.
            _ => assert!(matches!(row.outcome, Outcome::Ok | Outcome::ClientGone), "{name} {row:?}"),
        }
    }
}

/// Rows of requests that were given up before anybody was asked have no model: by their count.
#[tokio::test]
async fn slow_writers_are_given_up() {
    let ms = SHORT.as_millis();
    let limits = format!("client_head_timeout = \"{ms}ms\"\nclient_body_timeout = \"{ms}ms\"\n");
    let world = World::start(&limits, &[]).await;
    let mut waiting = Vec::new();
    for (client, _) in PAIRS {
        let bytes = bytes_of(&Ask::new(client, true, "good/slow"));
        let body = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        for at in [1, 10, body - 1, body, body + 1, bytes.len() - 1] {
            let mut conn = Client::connect(world.addr()).await;
            conn.send(&bytes[..at]).await;
            waiting.push((client, at, body, conn));
        }
    }
    for (client, at, body, mut conn) in waiting {
        if at == 1 {
            // A `P` may be the beginning of HTTP/2 as well, which knows no 408.
            assert!(conn.closed().await, "{client:?}");
            continue;
        }
        let answer = conn.answer().await;
        assert_eq!(answer.status, 408, "{client:?} {at} {}", answer.text());
        assert!(answer.complete, "{client:?} {at}");
        if at >= body {
            speech::error_of(client, &answer.json());
        }
        assert!(conn.closed().await, "{client:?} {at}");
    }
    let rows = world.over().await;
    let unasked = rows.of("");
    // Three of the places are in the body.
    assert_eq!(unasked.len(), 3 * PAIRS.len());
    let blamed = |row: &UsageRow| (row.outcome, row.status, row.attempts) == (Outcome::ClientError, 408, 0);
    assert!(unasked.iter().all(blamed), "{unasked:?}");
}

/// A client that is slow all the time, but within its limits, is served.
#[tokio::test]
async fn a_client_that_writes_and_reads_by_the_byte() {
    let world = World::start("", &[]).await;
    for (client, _) in PAIRS {
        let ask = Ask::new(client, true, format!("good/{}", client.name()));
        let mut io = TcpStream::connect(world.addr()).await.unwrap();
        io.set_nodelay(true).unwrap();
        let mut bytes = bytes_of(&ask);
        let at = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        bytes.splice(at..at, *b"\r\nConnection: close");
        for byte in bytes {
            io.write_all(&[byte]).await.unwrap();
        }
        let mut answer = Vec::new();
        while let Ok(byte) = within("a byte", io.read_u8()).await {
            answer.push(byte);
        }
        let text = String::from_utf8(answer).unwrap();
        assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("\r\n0\r\n\r\n"), "{text}");
    }
    world.over().await;
}

/// A client that does not read holds its upstream back, costs little meanwhile, and is given up in the end.
#[tokio::test]
async fn a_client_that_does_not_read() {
    let mut upstreams = Vec::new();
    let mut config = format!("client_write_timeout = \"{}ms\"\n", SHORT.as_millis());
    for (n, (_, dialect)) in PAIRS.into_iter().enumerate() {
        // It never stops by itself.
        let upstream = Upstream::start(move |mut conn| async move {
            conn.asked().await.unwrap();
            let spoken = speech::stream(dialect);
            let block = spoken.content[0].replace("Hello", &"x".repeat(16 << 10));
            conn.write(stream_head(dialect)).await;
            conn.chunk("\n".to_owned() + &spoken.prologue.concat()).await;
            while conn.chunk(&block).await {}
        })
        .await;
        config += &provider(&format!("u{n}"), dialect, &upstream);
        upstreams.push(upstream);
    }
    let world = World::start(&config, &[]).await;
    let mut sitting = Vec::new();
    for (n, (client, _)) in PAIRS.into_iter().enumerate() {
        for k in 0..3 {
            let ask = Ask::new(client, true, format!("u{n}/u{n}-{k}"));
            let mut conn = Client::connect(world.addr()).await;
            conn.send(bytes_of(&ask)).await;
            assert_eq!(conn.head().await.0, 200, "{ask:?}");
            sitting.push((ask, conn));
        }
    }
    // It serves others; and it ends those who do not read.
    world.serves().await;
    world.quiet(0).await;
    let grown = world.grown();
    assert!(grown < 24 << 20, "{} clients that do not read cost {grown} bytes", sitting.len());
    for (ask, mut conn) in sitting.drain(..) {
        let (body, complete) = conn.rest().await;
        assert!(!complete && !body.is_empty(), "{ask:?}: a stream that was cut looks whole");
    }
    let rows = world.over().await;
    for (n, (client, _)) in PAIRS.into_iter().enumerate() {
        for k in 0..3 {
            let row = rows.one(&format!("u{n}-{k}"));
            assert_eq!((row.outcome, row.status), (Outcome::ClientGone, 200), "{client:?} {row:?}");
            assert!(row.tokens_out > 0, "{client:?} {row:?}");
        }
    }
}

#[tokio::test]
async fn pipelined_requests() {
    let dialect = Dialect::OpenAiChat;
    let (tell, mut told_by) = mpsc::unbounded_channel();
    let begun = speech::stream(dialect).prologue.concat() + &speech::stream(dialect).content[0];
    let upstream = Upstream::start(move |mut conn| {
        let (tell, begun) = (tell.clone(), begun.clone());
        async move {
            while let Some(asked) = conn.asked().await {
                let model = model_of(&asked);
                drop(tell.send(model.clone()));
                match model.split('-').next().unwrap() {
                    "breaks" => {
                        conn.write(stream_head(dialect)).await;
                        conn.chunk(&begun).await;
                        return;
                    }
                    "waits" => return conn.closed().await,
                    kind => answer_well(&mut conn, dialect, kind == "stream").await,
                }
            }
        }
    })
    .await;
    let world = World::start(&provider("a", dialect, &upstream), &[]).await;
    // In turn, each answered for itself; what breaks in the middle takes nothing else along.
    let kinds = ["stream", "whole", "breaks", "whole", "stream", "breaks", "stream"];
    let asks: Vec<_> = (kinds.iter().enumerate())
        .map(|(n, kind)| Ask::new(dialect, *kind != "whole", format!("a/{kind}-{n}")))
        .collect();
    let mut conn = Client::connect(world.addr()).await;
    conn.send(asks.iter().flat_map(bytes_of).collect::<Vec<_>>()).await;
    let mut views = Vec::new();
    for ask in &asks {
        let view = view(dialect, ask.stream, &conn.answer().await);
        assert_eq!(matches!(view, View::Broken { .. }), ask.model.contains("breaks"), "{ask:?} {view:?}");
        views.push(view);
    }
    for ask in &asks {
        told(&mut told_by, ask.model.rsplit('/').next().unwrap()).await;
    }
    // A client that leaves a queue behind: what was not begun is nobody's.
    let queue: Vec<_> = (0..5).map(|n| Ask::new(dialect, true, format!("a/waits-{n}"))).collect();
    conn.send(queue.iter().flat_map(bytes_of).collect::<Vec<_>>()).await;
    told(&mut told_by, "waits-0").await;
    drop(conn);
    let rows = world.over().await;
    asks.iter().zip(&views).for_each(|(ask, view)| rows.agree(ask, view));
    assert_eq!(rows.one("waits-0").outcome, Outcome::ClientGone);
    assert!((1..5).all(|n| rows.of(&format!("waits-{n}")).is_empty()));
}

/// More is asked at once than a client may: the rest waits in the socket, not in memory.
#[tokio::test]
async fn a_flood_of_pipelined_requests() {
    let dialect = Dialect::OpenAiChat;
    let gate = Arc::new(Semaphore::new(0));
    let (tell, mut told_by) = mpsc::unbounded_channel();
    let opened = gate.clone();
    let upstream = Upstream::start(move |mut conn| {
        let (opened, tell) = (opened.clone(), tell.clone());
        async move {
            while conn.asked().await.is_some() {
                drop(tell.send("asked".to_owned()));
                drop(opened.acquire().await.unwrap());
                answer_well(&mut conn, dialect, true).await;
            }
        }
    })
    .await;
    let world = World::start(&provider("a", dialect, &upstream), &[]).await;
    let ask = Ask::new(dialect, true, "a/flood");
    let one = bytes_of(&ask);
    let mut conn = Client::connect(world.addr()).await.into_io();
    conn.write_all(&one).await.unwrap();
    told(&mut told_by, "asked").await;
    // As much as the sockets take while the first one runs.
    let (mut sent, many) = (1, one.repeat(500));
    loop {
        let write = tokio::time::timeout(std::time::Duration::from_millis(300), conn.write_all(&many)).await;
        if write.is_err() || sent > 500_000 {
            break;
        }
        sent += 500;
    }
    assert!(sent < 500_000, "everything was taken");
    assert!(world.grown() < 8 << 20, "{} bytes for one connection", world.grown());
    gate.add_permits(1);
    told(&mut told_by, "asked").await;
    drop(conn);
    world.over().await;
}

/// Streams of HTTP/2 that end in every way, beside one that goes on.
#[tokio::test]
async fn http2_streams_that_end() {
    let dialect = Dialect::Anthropic;
    let (tell, mut told_by) = mpsc::unbounded_channel();
    let upstream = goes_as_far(dialect, tell).await;
    let world = World::start(&provider("u", dialect, &upstream), &[]).await;
    let addr: SocketAddr = world.addr();
    let wire = |name: &str| Ask::new(dialect, true, format!("u/{name}")).wire();
    let mut conn = H2::connect(addr).await;
    for phase in ["Waiting", "Prologue", "MidStream"] {
        for n in 0..10 {
            let name = format!("{phase}-{n}");
            let (path, body) = wire(&name);
            let stream = conn.ask("POST", &path, &[], body.as_bytes()).await;
            told(&mut told_by, &name).await;
            match phase {
                "MidStream" => {
                    let mut coming = stream.head().await;
                    coming.until("Hello").await;
                    coming.reset();
                }
                _ => stream.reset(),
            }
            told(&mut told_by, &format!("{name} over")).await;
        }
    }
    // The connection is as good as new.
    let (path, body) = wire("Behind-0");
    assert_eq!(view(dialect, true, &conn.once("POST", &path, body).await), View::Whole);
    told(&mut told_by, "Behind-0").await;
    // And is cut with all that run on it.
    for n in 0..20 {
        let name = format!("Waiting-cut{n}");
        let (path, body) = wire(&name);
        drop(conn.ask("POST", &path, &[], body.as_bytes()).await.head());
        let _ = &name;
    }
    conn.cut();
    let rows = world.over().await;
    for phase in ["Waiting", "Prologue", "MidStream"] {
        for n in 0..10 {
            let row = rows.one(&format!("{phase}-{n}"));
            let status = if phase == "MidStream" { 200 } else { 0 };
            assert_eq!((row.outcome, row.status), (Outcome::ClientGone, status), "{row:?}");
        }
    }
    assert_eq!(rows.one("Behind-0").outcome, Outcome::Ok);
}
