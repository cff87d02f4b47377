//! Calls passed on over HTTP/1.1, compared byte by byte.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

type Client = TlsStream<TcpStream>;
type Server = tokio_rustls::server::TlsStream<TcpStream>;

async fn expect(io: &mut (impl AsyncRead + Unpin), text: &str) {
    let mut got = vec![0; text.len()];
    let read = tokio::time::timeout(Duration::from_secs(10), io.read_exact(&mut got)).await;
    if !matches!(read, Ok(Ok(_))) {
        panic!("{read:?} in {:?}", String::from_utf8_lossy(&got));
    }
    assert_eq!(String::from_utf8_lossy(&got), text);
}

async fn say(io: &mut (impl AsyncWrite + Unpin), text: &str) {
    io.write_all(text.as_bytes()).await.unwrap();
    io.flush().await.unwrap();
}

/// A client of HTTP/1.1 and the server that its first request reaches.
async fn pair(scene: &Scene, first: &str) -> (Client, Server) {
    let mut client = scene.client(&["http/1.1"]).await;
    say(&mut client, first).await;
    let server = scene.accept(KNOWN, &["h2", "http/1.1"]).await;
    assert_eq!(server.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]), "spoken to as the client speaks");
    (client, server)
}

#[tokio::test]
async fn fields_keep_order_and_case_and_connections_are_kept() {
    let scene = Scene::new().await;
    let request = "POST /a/%7eb?c=d HTTP/1.1\r\nX-First: 1\r\nHost: known.test\r\nACCEPT: */*\r\naccept: b\r\n\
                   Content-Type: x/y\r\nCONTENT-length: 5\r\nCookie: a=b; c\r\ncookie: d\r\nExpect: 100-continue\r\n\
                   TE: trailers\r\n\r\n";
    let (mut client, mut server) = pair(&scene, request).await;
    expect(&mut server, request).await;
    // Whether the client may go on is the server's to say.
    say(&mut server, "HTTP/1.1 100 Continue\r\n\r\n").await;
    expect(&mut client, "HTTP/1.1 100 Continue\r\n\r\n").await;
    say(&mut client, "hello").await;
    expect(&mut server, "hello").await;
    say(&mut server, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n").await;
    expect(&mut client, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n").await;
    let answer =
        "HTTP/1.1 200 OK\r\nServer: x\r\nSet-Cookie: a\r\nContent-LENGTH: 4\r\nset-cookie: b\r\nDate: never\r\n\r\n";
    say(&mut server, answer).await;
    expect(&mut client, answer).await;
    say(&mut server, "done").await;
    expect(&mut client, "done").await;
    // The next one finds the same connections.
    say(&mut client, "GET /next HTTP/1.1\r\nHost: known.test\r\nConnection: keep-alive, x-hop\r\nX-Hop: 1\r\n\r\n")
        .await;
    expect(&mut server, "GET /next HTTP/1.1\r\nHost: known.test\r\n\r\n").await;
    say(&mut server, "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 77\r\n\r\n").await;
    expect(&mut client, "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 77\r\n\r\n").await;
    say(&mut client, "HEAD /h HTTP/1.1\r\nHost: known.test\r\n\r\n").await;
    expect(&mut server, "HEAD /h HTTP/1.1\r\nHost: known.test\r\n\r\n").await;
    say(&mut server, "HTTP/1.1 200 OK\r\ncontent-length: 1234\r\nx: y\r\n\r\n").await;
    expect(&mut client, "HTTP/1.1 200 OK\r\ncontent-length: 1234\r\nx: y\r\n\r\n").await;
    assert_eq!(*scene.handler.passed.lock().unwrap(), ["Ok(200)", "Ok(304)", "Ok(200)"]);
    let noted = scene.handler.noted.lock().unwrap().clone();
    assert_eq!(
        noted,
        ["asked 5;head 200 5;answered 4;ended None;", "head 304 2;ended None;", "head 200 2;ended None;"]
    );
    drop((client, server));
    scene.end().await;
}

#[tokio::test]
async fn chunks_and_trailers_pass_and_the_answer_may_come_first() {
    let scene = Scene::new().await;
    let head = "POST /peeked HTTP/1.1\r\nHost: known.test\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n";
    let (mut client, mut server) = pair(&scene, &format!("{head}3\r\none\r\n")).await;
    expect(&mut server, &format!("{head}3\r\none\r\n")).await;
    let answer = "HTTP/1.1 200 OK\r\nX: 1\r\nTransfer-Encoding: chunked\r\nY: 2\r\n\r\n";
    say(&mut server, &format!("{answer}5\r\nfirst\r\n")).await;
    // The request is not over, so the connection will not carry another one.
    expect(&mut client, "HTTP/1.1 200 OK\r\nX: 1\r\nTransfer-Encoding: chunked\r\nY: 2\r\nconnection: close\r\n\r\n")
        .await;
    expect(&mut client, "5\r\nfirst\r\n").await;
    for n in 0..3 {
        say(&mut client, "1\r\na\r\n").await;
        expect(&mut server, "1\r\na\r\n").await;
        say(&mut server, &format!("1\r\n{n}\r\n")).await;
        expect(&mut client, &format!("1\r\n{n}\r\n")).await;
    }
    say(&mut client, "0\r\nX-Sum: 7\r\n\r\n").await;
    expect(&mut server, "0\r\nX-Sum: 7\r\n\r\n").await;
    say(&mut server, "0\r\nX-Out: 8\r\n\r\n").await;
    expect(&mut client, "0\r\nX-Out: 8\r\n\r\n").await;
    drop((client, server));
    scene.end().await;
}

#[tokio::test]
async fn what_was_read_before_is_passed_on_with_what_stood_behind_it() {
    let scene = Scene::new().await;
    let head = "POST /read HTTP/1.1\r\nHost: known.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (mut client, mut server) = pair(&scene, &format!("{head}3\r\none\r\n3\r\ntwo\r\n0\r\nX-T: 1\r\n\r\n")).await;
    expect(&mut server, &format!("{head}6\r\nonetwo\r\n0\r\nX-T: 1\r\n\r\n")).await;
    say(&mut server, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\nX-U: 2\r\n\r\n")
        .await;
    let mut answer = Vec::new();
    while !answer.ends_with(b"0\r\nX-U: 2\r\n\r\n") {
        assert!(client.read_buf(&mut answer).await.unwrap() > 0);
    }
    // The same connections serve the next one.
    let next = "POST /read HTTP/1.1\r\nHost: known.test\r\nContent-Length: 3\r\n\r\nabc";
    say(&mut client, next).await;
    expect(&mut server, next).await;
    say(&mut server, "HTTP/1.1 204 No Content\r\n\r\n").await;
    expect(&mut client, "HTTP/1.1 204 No Content\r\n\r\n").await;
    drop((client, server));
    scene.end().await;
}

#[tokio::test]
async fn an_answer_up_to_the_end_of_its_connection_is_whole() {
    let scene = Scene::new().await;
    let (mut client, mut server) = pair(&scene, "GET / HTTP/1.1\r\nHost: known.test\r\n\r\n").await;
    expect(&mut server, "GET / HTTP/1.1\r\nHost: known.test\r\n\r\n").await;
    say(&mut server, "HTTP/1.1 200 OK\r\nA: b\r\n\r\nhello").await;
    server.shutdown().await.unwrap();
    expect(&mut client, "HTTP/1.1 200 OK\r\nA: b\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n").await;
    drop((client, server));
    scene.end().await;
}

#[tokio::test]
async fn a_cut_answer_is_cut() {
    let scene = Scene::new().await;
    let (mut client, mut server) = pair(&scene, "GET / HTTP/1.1\r\nHost: known.test\r\n\r\n").await;
    expect(&mut server, "GET / HTTP/1.1\r\nHost: known.test\r\n\r\n").await;
    say(&mut server, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhell").await;
    drop(server);
    expect(&mut client, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhell").await;
    let mut rest = Vec::new();
    let _ = client.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
    assert!(scene.handler.passed.lock().unwrap()[0].starts_with("Err"));
    drop(client);
    scene.end().await;
}

#[tokio::test]
async fn a_client_that_leaves_takes_the_server_along() {
    let scene = Scene::new().await;
    let (client, mut server) = pair(&scene, "GET / HTTP/1.1\r\nHost: known.test\r\n\r\n").await;
    expect(&mut server, "GET / HTTP/1.1\r\nHost: known.test\r\n\r\n").await;
    drop(client);
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(5), server.read_to_end(&mut rest)).await.unwrap();
    scene.end().await;
}

#[tokio::test]
async fn another_protocol_is_a_tunnel() {
    let scene = Scene::new().await;
    let offer = "GET /ws HTTP/1.1\r\nHost: known.test\r\nConnection: keep-alive, Upgrade\r\nUPGRADE: websocket\r\n\
                 Sec-WebSocket-Key: x\r\n\r\n";
    let (mut client, mut server) = pair(&scene, offer).await;
    expect(&mut server, offer).await;
    let taken = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-X: y\r\n\r\n";
    say(&mut server, &format!("{taken}early")).await;
    expect(&mut client, &format!("{taken}early")).await;
    say(&mut client, "not http at all\r\n\r\n").await;
    expect(&mut server, "not http at all\r\n\r\n").await;
    // More than is copied before a bare tunnel would splice: this one is inside TLS.
    let much = "x".repeat(700_000);
    tokio::join!(say(&mut server, &much), expect(&mut client, &much));
    client.shutdown().await.unwrap();
    let mut rest = Vec::new();
    server.read_to_end(&mut rest).await.unwrap();
    server.shutdown().await.unwrap();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.unwrap();
    assert_eq!(*scene.handler.passed.lock().unwrap(), ["Ok(101)"]);
    drop((client, server));
    scene.end().await;
}

#[tokio::test]
async fn an_offer_that_is_not_taken_is_an_ordinary_request() {
    let scene = Scene::new().await;
    let offer = "GET /ws HTTP/1.1\r\nHost: known.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let (mut client, mut server) = pair(&scene, offer).await;
    expect(&mut server, offer).await;
    say(&mut server, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nno").await;
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\nconnection: close\r\n\r\nno");
    drop((client, server));
    scene.end().await;
}

#[tokio::test]
async fn a_connection_that_was_given_up_is_not_the_clients_matter() {
    let scene = Scene::new().await;
    let (mut client, mut server) = pair(&scene, "GET /1 HTTP/1.1\r\nHost: known.test\r\n\r\n").await;
    expect(&mut server, "GET /1 HTTP/1.1\r\nHost: known.test\r\n\r\n").await;
    say(&mut server, "HTTP/1.1 204 No Content\r\n\r\n").await;
    expect(&mut client, "HTTP/1.1 204 No Content\r\n\r\n").await;
    // The server reads the next request and closes over it, as one does that was about to close anyway.
    let request = "POST /2 HTTP/1.1\r\nHost: known.test\r\nContent-Length: 4\r\n\r\nbody";
    say(&mut client, request).await;
    expect(&mut server, request).await;
    drop(server);
    let mut server = scene.accept(KNOWN, &["http/1.1"]).await;
    expect(&mut server, request).await;
    say(&mut server, "HTTP/1.1 204 No Content\r\n\r\n").await;
    expect(&mut client, "HTTP/1.1 204 No Content\r\n\r\n").await;
    drop((client, server));
    scene.end().await;
}

#[tokio::test]
async fn a_server_that_is_not_there_or_not_itself_is_a_bad_gateway() {
    let scene = Scene::new().await;
    let mut client = scene.client(&["http/1.1"]).await;
    say(&mut client, "GET /1 HTTP/1.1\r\nHost: known.test\r\n\r\n").await;
    // A certificate that nobody trusts.
    let (tcp, _) = scene.upstream.accept().await.unwrap();
    assert!(scene.ours.server(KNOWN, &[], |_| {}).accept(tcp).await.is_err());
    expect(&mut client, "HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/plain\r\n").await;
    drop(client);
    scene.end().await;
}
