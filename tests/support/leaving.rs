//! Clients that give up: an upstream that goes as far as it is told, and how soon it must see the end.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use codecs::dialect::Dialect;
use tokio::{io::AsyncReadExt, net::TcpListener, sync::mpsc};

use super::{
    Upstream,
    router::{provider, provider_at},
    speech,
};

/// How soon the upstream must see the end.
const SOON: Duration = Duration::from_millis(50);
/// A busy machine may be late once; the program may not be late every time.
const TRIES: usize = 5;

/// How far the exchange is when the client has had enough.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Phase {
    Connecting,
    WaitingForHeaders,
    BeforeTheFirstToken,
    MidStream,
}

/// What the upstream tells the test.
#[derive(Debug, PartialEq)]
pub(crate) enum Told {
    Reached,
    Closed(Instant),
}

/// An upstream that goes as far as `phase` on each connection and tells.
pub(crate) async fn stuck(
    dialect: Dialect,
    phase: Phase,
    tell: mpsc::UnboundedSender<Told>,
) -> (String, Option<Upstream>) {
    if phase == Phase::Connecting {
        // It reads the client hello of TLS and never answers: to the gateway that is still connecting.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = provider_at("a", dialect, &format!("https://{}", listener.local_addr().unwrap()));
        tokio::spawn(async move {
            while let Ok((mut io, _)) = listener.accept().await {
                let tell = tell.clone();
                tokio::spawn(async move {
                    let mut buffer = vec![0; 4096];
                    assert!(io.read(&mut buffer).await.unwrap() > 0);
                    tell.send(Told::Reached).unwrap();
                    while matches!(io.read(&mut buffer).await, Ok(n) if n > 0) {}
                    // The test may be over.
                    drop(tell.send(Told::Closed(Instant::now())));
                });
            }
        });
        return (config, None);
    }
    let upstream = Upstream::start(move |mut conn| {
        let tell = tell.clone();
        async move {
            conn.asked().await.unwrap();
            let spoken = speech::stream(dialect);
            if phase != Phase::WaitingForHeaders {
                conn.stream(dialect.stream_content_type()).await;
                conn.chunk(": x\n\n".to_owned() + &spoken.prologue.concat()).await;
            }
            if phase == Phase::MidStream {
                conn.chunk(&spoken.content[0]).await;
            }
            tell.send(Told::Reached).unwrap();
            conn.closed().await;
            drop(tell.send(Told::Closed(Instant::now())));
        }
    })
    .await;
    (provider("a", dialect, &upstream), Some(upstream))
}

/// Asserts that the upstream sees the end soon, as `time_to_close` measures it.
pub(crate) async fn assert_soon<F: Future<Output = Duration>>(what: &str, time_to_close: impl Fn() -> F) {
    let mut best = Duration::MAX;
    for _ in 0..TRIES {
        best = best.min(time_to_close().await);
        if best <= SOON {
            break;
        }
    }
    assert!(best <= SOON, "{what}: the upstream saw the end after {best:?}");
}
