//! How the program ends: what is still answered, what is told to probes, and when it is over.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod support;

use std::net::SocketAddr;

use codecs::dialect::Dialect;
use support::{Client, Router, Upstream, h2::H2, router::provider, speech};
use tokio::net::TcpStream;

/// Connections that have been used and are idle.
async fn open<const N: usize>(addr: SocketAddr) -> [Client; N] {
    let mut clients = Vec::new();
    for _ in 0..N {
        let mut client = Client::connect(addr).await;
        client.request("GET", "/healthz", &[], b"").await;
        assert_eq!(client.answer().await.status, 200);
        clients.push(client);
    }
    clients.try_into().unwrap()
}

#[tokio::test]
async fn a_signal_lets_running_streams_end() {
    let dialect = Dialect::OpenAiChat;
    let (upstream, [started, go]) = Upstream::halting(dialect).await;
    let mut router = Router::start_with(&provider("a", dialect, &upstream), &["--demo", "on"]);
    let [mut idle, mut alive, mut late] = open(router.addr).await;
    let mut client = Client::connect(router.addr).await;
    let request = speech::request(dialect, "m", true);
    client.request("POST", "/v1/chat/completions", &[], request.as_bytes()).await;
    client.head().await;
    started.notified().await;
    let mut asking = Client::connect(router.addr).await;
    asking.request("GET", "/readyz", &[], b"").await;
    assert_eq!(asking.answer().await.status, 200);
    router.terminate();
    while TcpStream::connect(router.addr).await.is_ok() {}
    // Nobody can come any more, but who is here is told: a probe, and a request that was on its way.
    asking.request("GET", "/readyz", &[], b"").await;
    let answer = asking.answer().await;
    assert_eq!((answer.status, answer.header("connection")), (503, Some("close")), "{}", answer.text());
    assert!(answer.text().contains("draining"), "{}", answer.text());
    assert!(asking.closed().await);
    alive.request("GET", "/healthz", &[], b"").await;
    assert_eq!(alive.answer().await.status, 200);
    late.request("POST", "/v1/chat/completions", &[], speech::request(dialect, "demo/x", false).as_bytes()).await;
    assert_eq!(late.answer().await.status, 200);
    go.notify_one();
    let (body, complete) = client.rest().await;
    assert!(complete);
    let heard = speech::heard(dialect, &String::from_utf8(body).unwrap());
    assert!(heard.ended && heard.text == speech::TEXT, "{heard:?}");
    // The last exchange has ended: idle connections close, and so does the program.
    assert!(idle.closed().await);
    assert_eq!(router.ended().await.code(), Some(0));
    assert!(router.log().contains("stopped"), "{}", router.log());
}

#[tokio::test]
async fn a_drain_has_an_end() {
    let upstream = Upstream::start(|mut conn| async move {
        conn.asked().await.unwrap();
        conn.closed().await;
    })
    .await;
    let config = provider("a", Dialect::OpenAiChat, &upstream);
    let mut router = Router::start_with(&config, &["--drain", "100ms"]);
    let mut client = Client::connect(router.addr).await;
    let request = speech::request(Dialect::OpenAiChat, "m", true);
    client.request("POST", "/v1/chat/completions", &[], request.as_bytes()).await;
    support::within("the upstream", async {
        while upstream.asked().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    router.terminate();
    assert_eq!(router.ended().await.code(), Some(0));
    assert!(client.closed().await);
}

#[tokio::test]
async fn load_balancers_get_the_time_that_they_need() {
    let mut router = Router::start_with("", &["--drain-delay", "20s"]);
    let mut shared = H2::connect(router.addr).await;
    assert_eq!(shared.once("GET", "/readyz", "").await.status, 200);
    router.terminate();
    // New connections are still taken, and told.
    let answer = support::within("the news", async {
        loop {
            let answer = Client::get(router.addr, "/readyz").await;
            if answer.status != 200 {
                return answer;
            }
        }
    })
    .await;
    assert_eq!((answer.status, answer.text().contains("draining")), (503, true));
    assert_eq!(shared.once("GET", "/readyz", "").await.status, 503);
    assert_eq!(shared.once("GET", "/healthz", "").await.status, 200);
    assert_eq!(Client::get(router.addr, "/healthz").await.status, 200);
    let request = speech::request(Dialect::OpenAiChat, "any", false);
    assert_eq!(Client::post(router.addr, "/v1/chat/completions", &request).await.status, 200);
    // A second signal ends the wait.
    router.terminate();
    shared.closed().await;
    assert_eq!(router.ended().await.code(), Some(0));
    assert!(TcpStream::connect(router.addr).await.is_err());
}

#[tokio::test]
async fn the_delay_is_a_part_of_the_drain() {
    let mut router = Router::start_with("", &["--drain-delay", "1h", "--drain", "100ms"]);
    router.terminate();
    assert_eq!(router.ended().await.code(), Some(0));
    assert!(router.log().contains("stopped"), "{}", router.log());
}
