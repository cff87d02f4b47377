//! Calls passed on over HTTP/2: two-way streams, interim answers, trailers, and no frame too many.

use std::future::poll_fn;

use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};

use super::*;

struct Pair {
    send: h2::client::SendRequest<Bytes>,
    server: h2::server::Connection<tokio_rustls::server::TlsStream<TcpStream>, Bytes>,
}

/// A client and a server that speak HTTP/2, with the front between them.
async fn pair(scene: &Scene) -> Pair {
    let (client, server) = tokio::join!(scene.client(&["h2", "http/1.1"]), async {
        let tls = scene.accept(KNOWN, &["h2", "http/1.1"]).await;
        h2::server::handshake(tls).await.unwrap()
    });
    let (send, connection) = h2::client::handshake(client).await.unwrap();
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Pair { send, server }
}

fn fields(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let pair =
        |(name, value): &(&'static str, &'static str)| (HeaderName::from_static(name), HeaderValue::from_static(value));
    pairs.iter().map(pair).collect()
}

async fn piece(body: &mut RecvStream) -> Bytes {
    let data = tokio::time::timeout(Duration::from_secs(10), body.data()).await.unwrap().unwrap().unwrap();
    body.flow_control().release_capacity(data.len()).unwrap();
    data
}

fn send(stream: &mut SendStream<Bytes>, text: &str) {
    stream.send_data(Bytes::copy_from_slice(text.as_bytes()), false).unwrap();
}

#[tokio::test]
async fn the_answer_comes_while_the_request_is_open() {
    let scene = Scene::new().await;
    let Pair { send: mut client, mut server } = pair(&scene).await;
    let mut request = Request::post("https://known.test/agent?x=%2f").body(()).unwrap();
    let asked = fields(&[
        ("x-b", "1"),
        ("content-type", "application/connect+proto"),
        ("x-a", "2"),
        ("te", "trailers"),
        ("x-b", "3"),
        ("user-agent", "u"),
    ]);
    *request.headers_mut() = asked.clone();
    let (mut response, mut up) = client.send_request(request, false).unwrap();
    let serving = async {
        let (request, mut reply) = server.accept().await.unwrap().unwrap();
        let (parts, mut body) = request.into_parts();
        assert_eq!(parts.uri, "https://known.test/agent?x=%2f");
        let order = |map: &HeaderMap| map.iter().map(|(n, v)| (n.clone(), v.clone())).collect::<Vec<_>>();
        assert_eq!(order(&parts.headers), order(&asked), "nothing added, nothing moved");
        assert!(!body.is_end_stream());
        reply.send_informational(Response::builder().status(103).header("link", "</a>").body(()).unwrap()).unwrap();
        let mut answer = Response::new(());
        *answer.headers_mut() =
            fields(&[("x-z", "1"), ("alt-svc", "h3=\":443\""), ("content-type", "c/d"), ("x-y", "2")]);
        let mut down = reply.send_response(answer, false).unwrap();
        // The first byte of the answer, before the first of the request.
        send(&mut down, "first");
        let rest = async {
            for n in 0..5 {
                assert_eq!(piece(&mut body).await, format!("q{n}"));
                send(&mut down, &format!("a{n}"));
            }
            assert!(body.data().await.is_none());
            assert_eq!(body.trailers().await.unwrap(), Some(fields(&[("x-sent", "5")])));
            down.send_trailers(fields(&[("grpc-status", "0")])).unwrap();
        };
        tokio::select! {
            () = rest => {}
            _ = poll_fn(|cx| server.poll_accept(cx)) => panic!("the connection ended"),
        }
        // What is queued has still to leave.
        while let Some(next) = server.accept().await {
            next.unwrap();
        }
    };
    let asking = async {
        let interim = poll_fn(|cx| response.poll_informational(cx)).await.unwrap().unwrap();
        assert_eq!((interim.status().as_u16(), &interim.headers()["link"]), (103, &HeaderValue::from_static("</a>")));
        let answer = response.await.unwrap();
        let names: Vec<_> = answer.headers().keys().map(|name| name.as_str()).collect();
        assert_eq!(names, ["x-z", "content-type", "x-y"]);
        let mut body = answer.into_body();
        assert_eq!(piece(&mut body).await, "first");
        for n in 0..5 {
            send(&mut up, &format!("q{n}"));
            assert_eq!(piece(&mut body).await, format!("a{n}"));
        }
        up.send_trailers(fields(&[("x-sent", "5")])).unwrap();
        assert!(body.data().await.is_none());
        assert_eq!(body.trailers().await.unwrap(), Some(fields(&[("grpc-status", "0")])));
    };
    tokio::select! {
        () = asking => {}
        () = serving => panic!("the server left first"),
    }
    assert_eq!(*scene.handler.passed.lock().unwrap(), ["Ok(200)"]);
    drop(client);
    scene.end().await;
}

/// Serves one stream with `answer` while `ask` runs.
async fn meanwhile<T>(
    server: &mut h2::server::Connection<tokio_rustls::server::TlsStream<TcpStream>, Bytes>,
    ask: impl Future<Output = T>,
) -> T {
    tokio::select! {
        biased;
        out = ask => out,
        _ = server.accept() => panic!("another stream, or the end"),
    }
}

#[tokio::test]
async fn an_answer_of_a_head_alone_has_no_other_frame() {
    let scene = Scene::new().await;
    let Pair { send: mut client, mut server } = pair(&scene).await;
    // A request of a head alone, too.
    let request = Request::get("https://known.test/only").body(()).unwrap();
    let (response, _) = client.send_request(request, true).unwrap();
    let (request, mut reply) = server.accept().await.unwrap().unwrap();
    assert!(request.body().is_end_stream(), "the head ends the request");
    let mut answer = Response::new(());
    *answer.headers_mut() = fields(&[("grpc-status", "12"), ("content-type", "application/grpc")]);
    reply.send_response(answer, true).unwrap();
    let answer = meanwhile(&mut server, response).await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "12");
    assert!(answer.body().is_end_stream(), "the head ends the answer");
    drop((client, server));
    scene.end().await;
}

#[tokio::test]
async fn an_end_comes_with_the_last_piece_where_it_was_sent_so() {
    let scene = Scene::new().await;
    let Pair { send: mut client, mut server } = pair(&scene).await;
    for path in ["echo", "read"] {
        ping(&mut client, &mut server, path).await;
    }
    drop((client, server));
    scene.end().await;
}

async fn ping(
    client: &mut h2::client::SendRequest<Bytes>,
    server: &mut h2::server::Connection<tokio_rustls::server::TlsStream<TcpStream>, Bytes>,
    path: &str,
) {
    let url = format!("https://known.test/{path}");
    let request = Request::post(url).header("content-length", "4").body(()).unwrap();
    let (response, mut up) = client.send_request(request, false).unwrap();
    up.send_data(Bytes::from("ping"), true).unwrap();
    let (request, mut reply) = server.accept().await.unwrap().unwrap();
    assert_eq!(request.headers()["content-length"], "4");
    let mut body = request.into_body();
    let data = meanwhile(server, piece(&mut body)).await;
    assert_eq!(data, "ping");
    assert!(body.is_end_stream(), "the end came with it");
    let mut down =
        reply.send_response(Response::builder().header("content-length", "4").body(()).unwrap(), false).unwrap();
    down.send_data(Bytes::from("pong"), true).unwrap();
    let answer = meanwhile(server, response).await.unwrap();
    assert_eq!(answer.headers()["content-length"], "4");
    let mut body = answer.into_body();
    assert_eq!(meanwhile(server, piece(&mut body)).await, "pong");
    assert!(body.is_end_stream(), "the end came with it");
}

#[tokio::test]
async fn resets_pass_in_both_directions() {
    let scene = Scene::new().await;
    let Pair { send: mut client, mut server } = pair(&scene).await;
    // The client gives up.
    let request = Request::post("https://known.test/a").body(()).unwrap();
    let (response, mut up) = client.send_request(request, false).unwrap();
    let (request, mut reply) = server.accept().await.unwrap().unwrap();
    up.send_reset(Reason::CANCEL);
    drop((response, up));
    let reason = meanwhile(&mut server, poll_fn(|cx| reply.poll_reset(cx))).await.unwrap();
    assert_eq!(reason, Reason::CANCEL);
    drop((request, reply));
    // The server gives up in the middle.
    let request = Request::get("https://known.test/b").body(()).unwrap();
    let (response, _) = client.send_request(request, true).unwrap();
    let (_, mut reply) = server.accept().await.unwrap().unwrap();
    let mut down = reply.send_response(Response::new(()), false).unwrap();
    send(&mut down, "half");
    let answer = meanwhile(&mut server, response).await.unwrap();
    let mut body = answer.into_body();
    assert_eq!(meanwhile(&mut server, piece(&mut body)).await, "half");
    down.send_reset(Reason::ENHANCE_YOUR_CALM);
    let half = meanwhile(&mut server, body.data()).await.unwrap().unwrap_err();
    assert_eq!(half.reason(), Some(Reason::ENHANCE_YOUR_CALM), "in the server's words");
    // And before its answer: a client may know what to do about it.
    let request = Request::get("https://known.test/c").body(()).unwrap();
    let (response, _) = client.send_request(request, true).unwrap();
    let (_, mut reply) = server.accept().await.unwrap().unwrap();
    reply.send_reset(Reason::HTTP_1_1_REQUIRED);
    let refused = meanwhile(&mut server, response).await.unwrap_err();
    assert_eq!(refused.reason(), Some(Reason::HTTP_1_1_REQUIRED));
    drop((client, server));
    scene.end().await;
}

#[tokio::test]
async fn much_passes_both_ways_at_once() {
    const MUCH: usize = 5 * 1024 * 1024;
    let scene = Scene::new().await;
    let Pair { send: mut client, mut server } = pair(&scene).await;
    let request = Request::post("https://known.test/much").body(()).unwrap();
    let (response, up) = client.send_request(request, false).unwrap();
    let (request, mut reply) = server.accept().await.unwrap().unwrap();
    let down = reply.send_response(Response::new(()), false).unwrap();
    let all = async {
        let answer = response.await.unwrap();
        tokio::join!(pour(up, MUCH), drink(answer.into_body()), pour(down, MUCH), drink(request.into_body()))
    };
    let (_, got_down, _, got_up) = meanwhile(&mut server, all).await;
    assert_eq!((got_down, got_up), (MUCH, MUCH));
    drop((client, server));
    scene.end().await;
}

async fn pour(mut stream: SendStream<Bytes>, mut left: usize) {
    while left > 0 {
        stream.reserve_capacity(left.min(64 * 1024));
        let room = poll_fn(|cx| stream.poll_capacity(cx)).await.unwrap().unwrap();
        let n = room.min(left);
        left -= n;
        stream.send_data(Bytes::from(vec![1; n]), left == 0).unwrap();
    }
}

async fn drink(mut body: RecvStream) -> usize {
    let mut sum = 0;
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        sum += data.len();
    }
    sum
}

#[tokio::test]
async fn a_server_of_http1_serves_clients_of_http2() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let scene = Scene::new().await;
    let client = scene.client(&["h2"]).await;
    let (mut send, connection) = h2::client::handshake(client).await.unwrap();
    tokio::spawn(async move {
        let _ = connection.await;
    });
    let request =
        Request::post("https://known.test/down").header("x-a", "1").header("te", "trailers").body(()).unwrap();
    let (response, mut up) = send.send_request(request, false).unwrap();
    let mut server = scene.accept(KNOWN, &["http/1.1"]).await;
    let head = "POST /down HTTP/1.1\r\nhost: known.test\r\nx-a: 1\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut got = vec![0; head.len()];
    server.read_exact(&mut got).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&got), head);
    up.send_data(Bytes::from("abc"), true).unwrap();
    let mut got = vec![0; 13];
    server.read_exact(&mut got).await.unwrap();
    assert_eq!(got, b"3\r\nabc\r\n0\r\n\r\n");
    server
        .write_all(b"HTTP/1.1 200 OK\r\nConnection: x-b\r\nX-B: 1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\n\r\n")
        .await
        .unwrap();
    let answer = response.await.unwrap();
    assert!(answer.headers().is_empty(), "{:?}", answer.headers());
    let mut body = answer.into_body();
    assert_eq!(piece(&mut body).await, "ok");
    assert!(body.data().await.is_none());
    assert_eq!(body.trailers().await.unwrap(), Some(fields(&[("x-t", "1")])));
    drop((send, server));
    scene.end().await;
}
