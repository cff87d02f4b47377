//! One exchange after the other over TCP.

use std::time::Duration;

use bytes::Bytes;
use proxy::{Client, ClientConfig, Headers, Kind, Method, Outbound, Phase, Retry, Timeouts};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    join,
};

use crate::support::{client, closed, fetch, get, listen, post, read_request, serve};

#[tokio::test]
async fn a_request_is_written_as_given_and_the_connection_is_used_again() {
    let (listener, origin) = listen().await;
    let server = async {
        let (mut peer, _) = listener.accept().await.unwrap();
        let first = serve(&mut peer, "HTTP/1.1 200 OK\r\nX-A: 1\r\nContent-Length: 5\r\n\r\nhello").await;
        let second = serve(&mut peer, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await;
        (first, second)
    };
    let client = client();
    let requests = async {
        let mut headers = Headers::new();
        headers.append("X-First", "1");
        headers.append("content-type", "application/json");
        headers.append("Connection", "keep-alive, X-Hop");
        headers.append("X-Hop", "gone");
        headers.append("TE", "trailers");
        headers.append("Expect", "100-continue");
        headers.append("Proxy-Authorization", "gone");
        headers.append("Transfer-Encoding", "chunked");
        headers.append("X-Last", "a\r\nb");
        let body = vec![Bytes::from("{\"a\""), Bytes::new(), Bytes::from(":1}")];
        let request =
            Outbound { headers, body, ..Outbound::new(origin.clone(), Method::POST, "/v1/messages?beta=true") };
        let (response, body) = fetch(&client, request).await.unwrap();
        assert_eq!((response.head.status.as_u16(), response.head.headers.text("x-a")), (200, Some("1")));
        assert_eq!(body, "hello");
        assert!(!response.timing.reused);
        assert!(response.timing.connected <= response.timing.sent && response.timing.sent <= response.timing.head);
        let mut request = get(&origin);
        request.headers.append("Content-Length", "77");
        request.headers.append("Host", "other.example");
        let (response, body) = fetch(&client, request).await.unwrap();
        assert_eq!((response.head.status.as_u16(), body.len(), response.timing.reused), (404, 0, true));
    };
    let ((first, second), ()) = join!(server, requests);
    let host = format!("{}:{}", origin.host(), origin.port());
    assert_eq!(
        first,
        format!(
            "POST /v1/messages?beta=true HTTP/1.1\r\nhost: {host}\r\nX-First: 1\r\ncontent-type: application/json\r\n\
             X-Last: ab\r\ncontent-length: 7\r\n\r\n{{\"a\":1}}"
        )
    );
    assert_eq!(second, "GET / HTTP/1.1\r\nHost: other.example\r\n\r\n");
}

#[tokio::test]
async fn a_length_of_the_caller_is_corrected_in_place() {
    let (listener, origin) = listen().await;
    let mut request = post(&origin, "four");
    request.headers.append("Content-Length", "9");
    request.headers.append("X-A", "1");
    let client = client();
    let server = async {
        let (mut peer, _) = listener.accept().await.unwrap();
        serve(&mut peer, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await
    };
    let (request, response) = join!(server, fetch(&client, request));
    response.unwrap();
    assert!(request.ends_with("\r\ncontent-length: 4\r\nX-A: 1\r\n\r\nfour"), "{request}");
}

#[tokio::test]
async fn chunks_arrive_as_they_are_sent_and_trailers_behind_them() {
    let (listener, origin) = listen().await;
    let client = client();
    let server = async {
        let (mut peer, _) = listener.accept().await.unwrap();
        serve(&mut peer, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n5\r\nth").await;
        (peer, ())
    };
    let ((mut peer, ()), response) = join!(server, client.send(get(&origin)));
    let mut body = response.unwrap().body;
    // What is small and came in one read comes out as one piece.
    assert_eq!(body.chunk().await.unwrap().unwrap(), "onetwoth");
    assert!(body.ready().is_none());
    // A cancelled wait loses nothing.
    assert!(tokio::time::timeout(Duration::from_millis(5), body.chunk()).await.is_err());
    peer.write_all(b"ree\r\n0\r\nX-Sum: 9\r\n\r\n").await.unwrap();
    assert_eq!(body.chunk().await.unwrap().unwrap(), "ree");
    assert!(body.trailers().is_none());
    assert!(body.chunk().await.unwrap().is_none());
    assert_eq!(body.trailers().unwrap().text("x-sum"), Some("9"));
    assert!(body.chunk().await.unwrap().is_none());
    let again = client.send(get(&origin));
    let (_, again) = join!(serve(&mut peer, "HTTP/1.1 204 No Content\r\n\r\n"), again);
    assert!(again.unwrap().timing.reused);
}

#[tokio::test]
async fn answers_without_a_body_leave_the_connection_usable() {
    let (listener, origin) = listen().await;
    let client = client();
    let server = async {
        let (mut peer, _) = listener.accept().await.unwrap();
        serve(&mut peer, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n").await;
        serve(&mut peer, "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        serve(&mut peer, "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n").await;
        let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
        serve(&mut peer, &format!("{interim}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")).await;
    };
    let requests = async {
        let head = Outbound { method: Method::HEAD, ..get(&origin) };
        for (n, (request, status, text)) in
            [(head, 200, ""), (get(&origin), 204, ""), (get(&origin), 304, ""), (get(&origin), 200, "ok")]
                .into_iter()
                .enumerate()
        {
            let (response, body) = fetch(&client, request).await.unwrap();
            assert_eq!((response.head.status.as_u16(), body), (status, Bytes::from(text)));
            assert_eq!(response.timing.reused, n > 0);
        }
    };
    join!(server, requests);
}

#[tokio::test]
async fn interim_answers_are_bounded_and_an_unasked_upgrade_is_refused() {
    let (listener, origin) = listen().await;
    let client = client();
    for (answer, reason) in [
        ("HTTP/1.1 102 Processing\r\n\r\n".repeat(9), "too_many_interim"),
        ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n".into(), "unexpected_upgrade"),
    ] {
        let server = async {
            let (mut peer, _) = listener.accept().await.unwrap();
            serve(&mut peer, &answer).await;
            closed(&mut peer).await;
        };
        let ((), error) = join!(server, async { client.send(get(&origin)).await.unwrap_err() });
        assert_eq!(error.kind, Kind::Protocol { reason, status: 502 });
        assert_eq!(error.retry, Retry::Never);
    }
}

#[tokio::test]
async fn a_body_until_close_ends_with_the_connection() {
    let (listener, origin) = listen().await;
    let client = client();
    let server = async {
        for _ in 0..2 {
            let (mut peer, _) = listener.accept().await.unwrap();
            serve(&mut peer, "HTTP/1.1 200 OK\r\n\r\nabc").await;
            peer.write_all(b"def").await.unwrap();
        }
    };
    let requests = async {
        for _ in 0..2 {
            let (response, body) = fetch(&client, get(&origin)).await.unwrap();
            assert_eq!((body, response.timing.reused), (Bytes::from("abcdef"), false));
        }
    };
    join!(server, requests);
}

#[tokio::test]
async fn a_cut_body_is_never_a_clean_end() {
    let (listener, origin) = listen().await;
    let client = client();
    for framing in ["Content-Length: 10\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"] {
        let server = async {
            let (mut peer, _) = listener.accept().await.unwrap();
            serve(&mut peer, &format!("HTTP/1.1 200 OK\r\n{framing}")).await;
        };
        let ((), response) = join!(server, client.send(get(&origin)));
        let mut body = response.unwrap().body;
        assert_eq!(body.chunk().await.unwrap().unwrap(), "hello");
        for _ in 0..2 {
            let error = body.chunk().await.unwrap_err();
            assert_eq!((error.kind, error.retry), (Kind::Closed, Retry::Never));
        }
        assert!(body.ready().is_none());
    }
}

#[tokio::test]
async fn broken_chunks_are_the_upstreams_fault() {
    let (listener, origin) = listen().await;
    let client = client();
    let server = async {
        let (mut peer, _) = listener.accept().await.unwrap();
        serve(&mut peer, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX").await;
        closed(&mut peer).await;
    };
    let request = async {
        let mut body = client.send(get(&origin)).await.unwrap().body;
        assert_eq!(body.chunk().await.unwrap().unwrap(), "hello");
        let error = body.chunk().await.unwrap_err();
        assert_eq!(error.kind, Kind::Protocol { reason: "chunk_data_end", status: 502 });
    };
    join!(server, request);
}

#[tokio::test]
async fn dropping_the_request_closes_the_socket() {
    let (listener, origin) = listen().await;
    let client = client();
    let mut sending = Box::pin(client.send(post(&origin, "x")));
    let mut peer = tokio::select! {
        _ = &mut sending => panic!("nobody answered"),
        peer = async {
            let (mut peer, _) = listener.accept().await.unwrap();
            read_request(&mut peer).await;
            peer
        } => peer,
    };
    drop(sending);
    closed(&mut peer).await;
}

#[tokio::test]
async fn dropping_a_body_closes_the_socket_and_never_pools_it() {
    let (listener, origin) = listen().await;
    let client = client();
    let server = async {
        let (mut peer, _) = listener.accept().await.unwrap();
        serve(&mut peer, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello").await;
        closed(&mut peer).await;
        let (mut peer, _) = listener.accept().await.unwrap();
        serve(&mut peer, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    };
    let requests = async {
        let mut response = client.send(get(&origin)).await.unwrap();
        assert_eq!(response.body.chunk().await.unwrap().unwrap(), "hello");
        drop(response);
        let (response, body) = fetch(&client, get(&origin)).await.unwrap();
        assert_eq!((body, response.timing.reused), (Bytes::from("ok"), false));
    };
    join!(server, requests);
}

#[tokio::test]
async fn an_answer_during_a_large_upload_is_noticed() {
    let (listener, origin) = listen().await;
    let client = client();
    let server = async {
        let (mut peer, _) = listener.accept().await.unwrap();
        let mut head = [0; 64];
        peer.read_exact(&mut head).await.unwrap();
        peer.write_all(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig").await.unwrap();
        // The rest of the upload is not waited for: the client closes.
        closed(&mut peer).await;
        let (mut peer, _) = listener.accept().await.unwrap();
        serve(&mut peer, "HTTP/1.1 204 No Content\r\n\r\n").await;
    };
    let requests = async {
        let (response, body) = fetch(&client, post(&origin, vec![b'x'; 32 << 20])).await.unwrap();
        assert_eq!((response.head.status.as_u16(), body), (413, Bytes::from("big")));
        assert!(!client.send(get(&origin)).await.unwrap().timing.reused);
    };
    join!(server, requests);
}

#[tokio::test]
async fn many_slices_and_a_slow_reader_keep_the_order() {
    let (listener, origin) = listen().await;
    let client = client();
    let slices: Vec<Bytes> =
        (0..200_u32).map(|n| Bytes::from(vec![(n % 251) as u8; (n as usize % 7) * 4001])).collect();
    let expected = slices.concat();
    let request = Outbound { body: slices, ..post(&origin, "") };
    let server = async {
        let (mut peer, _) = listener.accept().await.unwrap();
        let mut received = Vec::new();
        let head = loop {
            let mut piece = [0; 1000];
            let read = peer.read(&mut piece).await.unwrap();
            received.extend_from_slice(&piece[..read]);
            let end = received.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4);
            if let Some(end) = end.filter(|end| received.len() >= end + expected.len()) {
                break end;
            }
        };
        assert!(received[head..] == expected[..]);
        peer.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    };
    let ((), response) = join!(server, client.send(request));
    assert_eq!(response.unwrap().head.status, 204);
}

#[tokio::test]
async fn a_silent_peer_hits_the_head_timeout() {
    let (listener, origin) = listen().await;
    let client = client();
    let request = Outbound { head_timeout: Some(Duration::from_millis(20)), ..post(&origin, "x") };
    let server = async {
        let (mut peer, _) = listener.accept().await.unwrap();
        peer.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap();
        closed(&mut peer).await;
    };
    let ((), error) = join!(server, async { client.send(request).await.unwrap_err() });
    assert_eq!((error.kind, error.retry), (Kind::Timeout(Phase::Head), Retry::Never));
}

#[tokio::test]
async fn a_peer_that_does_not_read_hits_the_write_timeout() {
    let (listener, origin) = listen().await;
    let timeouts = Timeouts { write: Duration::from_millis(50), ..Timeouts::default() };
    let client = Client::new(ClientConfig { timeouts, ..ClientConfig::default() }).unwrap();
    let accepted = async { listener.accept().await.unwrap() };
    let request = async { client.send(post(&origin, vec![0; 64 << 20])).await.unwrap_err() };
    let (_peer, error) = join!(accepted, request);
    assert_eq!((error.kind, error.retry), (Kind::Timeout(Phase::Write), Retry::Never));
}

#[tokio::test]
async fn a_refused_port_is_safe_to_retry() {
    let (listener, origin) = listen().await;
    drop(listener);
    let error = client().send(get(&origin)).await.unwrap_err();
    assert_eq!(error.retry, Retry::Safe);
    assert!(matches!(&error.kind, Kind::Connect(to) if to.contains("refused")), "{error}");
}

#[tokio::test]
async fn collect_is_bounded() {
    let (listener, origin) = listen().await;
    let client = client();
    let server = async {
        let (mut peer, _) = listener.accept().await.unwrap();
        serve(&mut peer, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")
            .await;
        closed(&mut peer).await;
    };
    let request = async {
        let error = client.send(get(&origin)).await.unwrap().body.collect(5).await.unwrap_err();
        assert_eq!(error.kind, Kind::TooLarge { what: "response body", limit: 5, status: 502 });
    };
    join!(server, request);
}
