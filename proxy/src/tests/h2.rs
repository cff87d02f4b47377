//! HTTP/2 with prior knowledge, spoken by the `h2` crate's client.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{Play, Script};
use crate::server::Shared;
use crate::{Limits, Timeouts};

struct Client {
    send: SendRequest<Bytes>,
    /// Drives the client's side; ends with the connection.
    connection: JoinHandle<Result<(), h2::Error>>,
    script: Arc<Script>,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

async fn client_with(limits: Limits, timeouts: Timeouts, window: u32) -> Client {
    let Play { io, script, shared, task, .. } = Play::with(limits, timeouts);
    let (send, connection) = shake(io, window).await;
    Client { send, connection: tokio::spawn(connection), script, shared, server: task }
}

async fn client() -> Client {
    client_with(Limits::default(), Timeouts::default(), 65_535).await
}

async fn shake(io: DuplexStream, window: u32) -> (SendRequest<Bytes>, h2::client::Connection<DuplexStream, Bytes>) {
    h2::client::Builder::new().initial_window_size(window).handshake(io).await.unwrap()
}

impl Client {
    async fn start(&mut self, method: &str, path: &str, end: bool) -> (ResponseFuture, SendStream<Bytes>) {
        let request = http::Request::builder().method(method).uri(format!("http://a{path}")).body(()).unwrap();
        poll_fn(|cx| self.send.poll_ready(cx)).await.unwrap();
        self.send.send_request(request, end).unwrap()
    }

    async fn get(&mut self, path: &str) -> ResponseFuture {
        self.start("GET", path, true).await.0
    }
}

async fn whole(mut body: RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len()).unwrap();
        all.extend_from_slice(&data);
    }
    Ok(all)
}

async fn answer(response: ResponseFuture) -> (u16, Vec<u8>) {
    let (head, body) = response.await.unwrap().into_parts();
    (head.status.as_u16(), whole(body).await.unwrap())
}

#[tokio::test]
async fn requests_are_answered() {
    let mut client = client().await;
    let response = client.get("/ignore").await.await.unwrap();
    assert_eq!(response.headers()["content-length"], "7");
    assert_eq!(whole(response.into_body()).await.unwrap(), b"ignored");
    let response = client.get("/stream").await.await.unwrap();
    assert_eq!(response.headers().len(), 1, "no framing field of HTTP/1");
    assert_eq!(whole(response.into_body()).await.unwrap(), b"onetwothree");
    let (response, _) = client.start("HEAD", "/ignore", true).await;
    let response = response.await.unwrap();
    assert_eq!(response.headers()["content-length"], "7");
    assert!(response.body().is_end_stream());
    let response = client.get("/no-content").await.await.unwrap();
    assert_eq!((response.status().as_u16(), response.headers().len()), (204, 0));
    let (response, _) = client.start("HEAD", "/stream", true).await;
    assert_eq!(answer(response).await, (200, Vec::new()));
}

#[tokio::test]
async fn a_body_above_every_window_arrives_whole() {
    let mut client = client().await;
    let body = Bytes::from("0123456789".repeat(90_000));
    let (response, mut stream) = client.start("POST", "/echo", false).await;
    stream.send_data(body.clone(), true).unwrap();
    let (status, echoed) = answer(response).await;
    assert!(status == 200 && echoed == body);
    let (response, mut stream) = client.start("POST", "/chunks", false).await;
    stream.send_data(Bytes::from("x"), true).unwrap();
    assert_eq!(answer(response).await, (200, Vec::new()));
    assert!(client.script.log().contains(&"x".to_owned()));
}

#[tokio::test]
async fn streams_run_side_by_side() {
    let mut client = client().await;
    let slow = client.get("/bell").await;
    client.script.reached.notified().await;
    for _ in 0..300 {
        let quick = client.get("/ignore").await;
        assert_eq!(answer(quick).await, (200, b"ignored".to_vec()));
    }
    client.script.bell.notify_one();
    assert_eq!(answer(slow).await, (200, b"rung".to_vec()));
}

#[tokio::test]
async fn trailers_are_sent() {
    let mut client = client().await;
    let mut body = client.get("/trailers").await.await.unwrap().into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "last");
    assert!(body.data().await.is_none());
    assert_eq!(body.trailers().await.unwrap().unwrap()["x-sum"], "7");
}

#[tokio::test]
async fn a_reset_stream_is_noticed() {
    for path in ["/gone", "/gone-committed", "/bell"] {
        let mut client = client().await;
        let (response, mut stream) = client.start("GET", path, true).await;
        client.script.reached.notified().await;
        stream.send_reset(Reason::CANCEL);
        client.script.reached.notified().await;
        assert_eq!(client.script.log(), ["waiting", "gone"], "{path}");
        drop(response);
        let other = client.get("/ignore").await;
        assert_eq!(answer(other).await.0, 200, "{path}");
    }
}

#[tokio::test]
async fn a_lost_connection_ends_its_streams() {
    let mut client = client().await;
    let _response = client.get("/bell").await;
    client.script.reached.notified().await;
    client.connection.abort();
    client.server.await.unwrap();
    assert!(Arc::strong_count(&client.script) == 1, "nothing of the exchange is left");
}

#[tokio::test]
async fn a_dropped_call_is_never_taken_for_a_whole_answer() {
    let mut client = client().await;
    let dropped = client.get("/drop").await;
    assert_eq!(answer(dropped).await, (500, Vec::new()));
    let error = client.get("/panic").await.await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
    for path in ["/drop-committed", "/panic-committed", "/stream-short", "/stream-long"] {
        // The reset may overtake the head, which the client then never sees.
        let error = match client.get(path).await.await {
            Ok(response) => whole(response.into_body()).await.unwrap_err(),
            Err(error) => error,
        };
        assert!(error.is_reset(), "{path}: {error}");
    }
    let other = client.get("/stream-length").await;
    assert_eq!(answer(other).await, (200, b"onetwothree".to_vec()));
}

#[tokio::test]
async fn bodies_are_bounded() {
    let mut client = client_with(Limits { body_bytes: 6, ..Limits::default() }, Timeouts::default(), 65_535).await;
    let (response, mut stream) = client.start("POST", "/tiny", false).await;
    stream.send_data(Bytes::from("12345"), false).unwrap();
    assert_eq!(answer(response).await.0, 413);
    let (response, mut stream) = client.start("POST", "/chunks", false).await;
    stream.send_data(Bytes::from("1234567"), false).unwrap();
    assert_eq!(answer(response).await.0, 413);
    let request = http::Request::post("http://a/ignore").header("content-length", "7").body(()).unwrap();
    poll_fn(|cx| client.send.poll_ready(cx)).await.unwrap();
    let (response, _stream) = client.send.send_request(request, false).unwrap();
    assert_eq!(answer(response).await.0, 413);
}

#[tokio::test]
async fn a_head_that_is_refused_costs_only_its_stream() {
    let mut client = client().await;
    let request = http::Request::get("http://a/ignore").header("host", "b").body(()).unwrap();
    let (response, _) = client.send.send_request(request, true).unwrap();
    let (status, text) = answer(response).await;
    assert_eq!((status, text.starts_with(b"400 Bad Request: ")), (400, true));
    let other = client.get("/ignore").await;
    assert_eq!(answer(other).await.0, 200);
    assert_eq!(client.script.log(), ["done"]);
}

#[tokio::test(start_paused = true)]
async fn a_client_without_window_is_cut_and_others_go_on() {
    let mut client = client_with(Limits::default(), Timeouts::default(), 20_000).await;
    let start = Instant::now();
    let flood = client.get("/flood").await.await.unwrap();
    let other = client.get("/ignore").await;
    assert_eq!(answer(other).await.0, 200);
    while client.script.log().len() < 3 {
        client.script.reached.notified().await;
    }
    assert_eq!(client.script.log(), ["committed", "done", "Timeout(Write)"]);
    assert_eq!(start.elapsed().as_secs(), 300);
    assert!(whole(flood.into_body()).await.unwrap_err().is_reset());
}

#[tokio::test(start_paused = true)]
async fn silence_in_a_body_is_bounded() {
    let mut client = client().await;
    let start = Instant::now();
    let (response, _stream) = client.start("POST", "/echo", false).await;
    assert_eq!(answer(response).await.0, 408);
    assert_eq!(start.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_says_goodbye() {
    let mut client = client().await;
    let quick = client.get("/ignore").await;
    assert_eq!(answer(quick).await.0, 200);
    let start = Instant::now();
    client.connection.await.unwrap().unwrap();
    client.server.await.unwrap();
    assert!((300..310).contains(&start.elapsed().as_secs()));
}

#[tokio::test]
async fn a_drain_lets_streams_finish() {
    let mut client = client().await;
    let slow = client.get("/bell").await;
    client.script.reached.notified().await;
    client.shared.start_drain();
    // The goodbye must have arrived before the stream ends, or this would prove nothing.
    loop {
        if poll_fn(|cx| client.send.poll_ready(cx)).await.is_err() {
            break;
        }
        let request = http::Request::get("http://a/ignore").body(()).unwrap();
        let Ok((response, _)) = client.send.send_request(request, true) else { break };
        if response.await.is_err() {
            break;
        }
    }
    client.script.bell.notify_one();
    assert_eq!(answer(slow).await, (200, b"rung".to_vec()));
    client.connection.await.unwrap().unwrap();
    client.server.await.unwrap();
}

#[tokio::test]
async fn the_preface_is_recognised_in_single_bytes() {
    let mut play = Play::new();
    for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" {
        play.send([*byte]).await;
        tokio::task::yield_now().await;
    }
    // An empty SETTINGS frame.
    play.send([0, 0, 0, 4, 0, 0, 0, 0, 0]).await;
    let mut frame = [0; 9];
    play.io.read_exact(&mut frame).await.unwrap();
    assert_eq!(frame[3], 4, "SETTINGS come first");
}

/// HEADERS of `GET /bell` on stream `id`, then RST_STREAM; CVE-2023-44487.
fn opened_and_reset(id: u32) -> Vec<u8> {
    // :method GET, :scheme http, :path /bell, :authority a; static table and literals without Huffman.
    let block = b"\x82\x86\x04\x05/bell\x01\x01a";
    let id = id.to_be_bytes();
    let size = u8::try_from(block.len()).unwrap();
    [&[0, 0, size, 1, 5][..], &id, block, &[0, 0, 4, 3, 0], &id, &[0, 0, 0, 8]].concat()
}

#[tokio::test]
async fn rapid_resets_end_the_connection() {
    let mut play = Play::new();
    play.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    play.send([0, 0, 0, 4, 0, 0, 0, 0, 0]).await;
    let flood: Vec<u8> = (0..400).flat_map(|n| opened_and_reset(2 * n + 1)).collect();
    let _ = tokio::time::timeout(Duration::from_secs(10), play.io.write_all(&flood)).await.unwrap();
    assert_calm(&mut play).await;
}

/// The server's last word is GOAWAY (type 7) with ENHANCE_YOUR_CALM (11).
async fn assert_calm(play: &mut Play) {
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(10), play.io.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.windows(17).any(|frame| frame[3] == 7 && frame[13..17] == [0, 0, 0, 11]), "{rest:?}");
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_settings_ends_the_connection() {
    let mut play = Play::new();
    play.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    let mut received = [0; 4096];
    for _ in 0..1_200 {
        if play.io.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.is_err() {
            break;
        }
        // Acknowledgements are taken, or the pipe would fill and stop both sides.
        while let Ok(n) = tokio::time::timeout(Duration::ZERO, play.io.read(&mut received)).await {
            let frames = &received[..n.unwrap()];
            if frames.windows(17).any(|frame| frame[3] == 7 && frame[13..17] == [0, 0, 0, 11]) {
                return;
            }
            assert!(!frames.is_empty(), "ended without a word");
        }
    }
    assert_calm(&mut play).await;
}
