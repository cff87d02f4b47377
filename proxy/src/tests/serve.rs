//! The accept loop over real sockets: cap, drain, cut.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{Script, text};
use crate::{Limits, Monitor, Server, ServerLoad, Timeouts, listen};

struct Running {
    addr: SocketAddr,
    script: Arc<Script>,
    drain: oneshot::Sender<()>,
    monitor: Monitor,
    server: JoinHandle<()>,
}

fn start(limits: Limits, grace: Duration) -> Running {
    let listener = listen("127.0.0.1:0".parse().unwrap(), false).unwrap();
    let addr = listener.local_addr().unwrap();
    let script = Arc::new(Script::default());
    let (drain, drained) = oneshot::channel::<()>();
    let server = Server::new(limits, Timeouts::default());
    let monitor = server.monitor();
    let handler = Arc::clone(&script);
    let server = tokio::spawn(async move {
        let drained = async {
            let _ = drained.await;
        };
        server.serve(listener, handler, drained, grace).await;
    });
    Running { addr, script, drain, monitor, server }
}

async fn ask(addr: SocketAddr, path: &str) -> TcpStream {
    let mut socket = TcpStream::connect(addr).await.unwrap();
    socket.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await.unwrap();
    socket
}

async fn read(socket: &mut TcpStream, size: usize) -> String {
    let mut bytes = vec![0; size];
    socket.read_exact(&mut bytes).await.unwrap();
    text(&bytes)
}

async fn rest(socket: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = socket.read_to_end(&mut bytes).await;
    text(&bytes)
}

const IGNORED: &str = "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nignored";

#[tokio::test]
async fn a_drain_answers_on_open_connections_until_the_last_exchange_has_ended() {
    let Running { addr, script, drain, server, .. } = start(Limits::default(), Duration::from_secs(60));
    let mut idle = ask(addr, "/ignore").await;
    assert_eq!(read(&mut idle, IGNORED.len()).await, IGNORED);
    let mut asking = ask(addr, "/ignore").await;
    assert_eq!(read(&mut asking, IGNORED.len()).await, IGNORED);
    let mut silent = TcpStream::connect(addr).await.unwrap();
    let mut busy = ask(addr, "/bell").await;
    let mut streaming = ask(addr, "/bell-stream").await;
    script.reached.notified().await;
    while script.log().len() < 4 {
        script.reached.notified().await;
    }
    drain.send(()).unwrap();
    while TcpStream::connect(addr).await.is_ok() {}
    asking.write_all(b"GET /ignore HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert_eq!(rest(&mut asking).await, "HTTP/1.1 200 OK\r\ncontent-length: 7\r\nconnection: close\r\n\r\nignored");
    let early = tokio::time::timeout(Duration::from_millis(50), idle.read_u8()).await;
    assert!(early.is_err() && !server.is_finished(), "exchanges are running");
    script.bell.notify_waiters();
    assert_eq!(rest(&mut idle).await, "");
    assert_eq!(rest(&mut silent).await, "");
    assert_eq!(rest(&mut busy).await, "HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nrung");
    assert!(rest(&mut streaming).await.ends_with("\r\n0\r\n\r\n"));
    server.await.unwrap();
    assert_eq!(Arc::strong_count(&script), 1, "no connection outlives the server");
}

#[tokio::test]
async fn what_outlasts_the_grace_is_cut() {
    let Running { addr, script, drain, server, .. } = start(Limits::default(), Duration::from_millis(1));
    let mut busy = ask(addr, "/bell-stream").await;
    script.reached.notified().await;
    drain.send(()).unwrap();
    server.await.unwrap();
    assert!(!rest(&mut busy).await.ends_with("0\r\n\r\n"));
    assert_eq!(Arc::strong_count(&script), 1);
}

#[tokio::test]
async fn a_call_knows_both_ends_of_its_connection() {
    let Running { addr, drain, server, .. } = start(Limits::default(), Duration::from_secs(60));
    let mut one = ask(addr, "/ends").await;
    let expected = format!("{} {addr}", one.local_addr().unwrap());
    one.shutdown().await.unwrap();
    assert!(rest(&mut one).await.ends_with(&format!("\r\n\r\n{expected}")));

    let two = TcpStream::connect(addr).await.unwrap();
    let expected = format!("{} {addr}", two.local_addr().unwrap());
    let (mut client, connection) = h2::client::handshake(two).await.unwrap();
    let driver = tokio::spawn(connection);
    let request = http::Request::get("http://a/ends").body(()).unwrap();
    let (answer, _) = client.send_request(request, true).unwrap();
    let body = answer.await.unwrap().into_body().data().await.unwrap().unwrap();
    assert_eq!(text(&body), expected);
    drop(client);
    drain.send(()).unwrap();
    server.await.unwrap();
    drop(driver.await);
}

#[tokio::test]
async fn connections_above_the_cap_wait() {
    let limits = Limits { connections: 1, ..Limits::default() };
    let Running { addr, script, drain, monitor, server } = start(limits, Duration::from_secs(60));
    let mut first = ask(addr, "/bell").await;
    script.reached.notified().await;
    let mut second = ask(addr, "/ignore").await;
    let early = tokio::time::timeout(Duration::from_millis(50), second.readable()).await;
    assert!(early.is_err(), "the second connection must not be served yet");
    let load = ServerLoad { connections: 1, limit: 1, exchanges: 1, full: 1, accept_failures: 0 };
    assert_eq!(monitor.load(), load);
    script.bell.notify_one();
    assert!(read(&mut first, 42).await.ends_with("rung"));
    drop(first);
    assert_eq!(read(&mut second, IGNORED.len()).await, IGNORED);
    drain.send(()).unwrap();
    assert_eq!(rest(&mut second).await, "");
    server.await.unwrap();
    // The second connection was the last that there was room for, too.
    assert_eq!(monitor.load(), ServerLoad { connections: 0, exchanges: 0, full: 2, ..load });
}

#[tokio::test]
async fn a_panic_leaves_other_connections_alone() {
    let Running { addr, script, drain, server, .. } = start(Limits::default(), Duration::from_secs(60));
    let mut waiting = ask(addr, "/bell").await;
    script.reached.notified().await;
    let mut failing = ask(addr, "/panic").await;
    assert!(rest(&mut failing).await.starts_with("HTTP/1.1 500 "));
    script.bell.notify_one();
    assert!(read(&mut waiting, 42).await.ends_with("rung"));
    drop(waiting);
    drain.send(()).unwrap();
    server.await.unwrap();
}
