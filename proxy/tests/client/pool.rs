//! What happens to a connection between two exchanges.

use std::time::Duration;

use bytes::Bytes;
use proxy::{Client, ClientConfig, Kind, Limits, PoolLoad, Retry, Timeouts};
use tokio::{io::AsyncWriteExt, join};

use crate::support::{client, closed, fetch, get, listen, post, read_request, serve};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn a_connection_closed_while_idle_is_replaced() {
    let (listener, origin) = listen().await;
    let client = client();
    let server = async {
        for _ in 0..3 {
            let (mut peer, _) = listener.accept().await.unwrap();
            serve(&mut peer, OK).await;
        }
    };
    let requests = async {
        for _ in 0..3 {
            // Whether the end was seen before the request or right behind it depends on the scheduler; both are right.
            let (response, body) = fetch(&client, post(&origin, "x")).await.unwrap();
            assert_eq!((body, response.timing.reused), (Bytes::from("ok"), false));
        }
    };
    join!(server, requests);
}

#[tokio::test]
async fn a_request_that_met_a_closing_connection_is_sent_once_more() {
    let (listener, origin) = listen().await;
    let client = client();
    let server = async {
        let (mut peer, _) = listener.accept().await.unwrap();
        serve(&mut peer, OK).await;
        read_request(&mut peer).await;
        drop(peer);
        // The second attempt fails as well: there is no third.
        let (mut peer, _) = listener.accept().await.unwrap();
        let again = read_request(&mut peer).await;
        assert!(again.ends_with("second"));
        drop(peer);
        let (mut peer, _) = listener.accept().await.unwrap();
        serve(&mut peer, OK).await
    };
    let requests = async {
        fetch(&client, post(&origin, "first")).await.unwrap();
        let error = client.send(post(&origin, "second")).await.unwrap_err();
        assert_eq!((error.kind, error.retry), (Kind::Closed, Retry::Never));
        fetch(&client, post(&origin, "third")).await.unwrap();
    };
    let (last, ()) = join!(server, requests);
    assert!(last.ends_with("third"));
}

#[tokio::test]
async fn nothing_is_sent_again_once_a_byte_came_back() {
    let (listener, origin) = listen().await;
    let client = client();
    let server = async {
        let (mut peer, _) = listener.accept().await.unwrap();
        serve(&mut peer, OK).await;
        serve(&mut peer, "HT").await;
        drop(peer);
        let (mut peer, _) = listener.accept().await.unwrap();
        serve(&mut peer, OK).await
    };
    let requests = async {
        fetch(&client, get(&origin)).await.unwrap();
        let error = client.send(get(&origin)).await.unwrap_err();
        assert_eq!((error.kind, error.retry), (Kind::Closed, Retry::Never));
        fetch(&client, post(&origin, "next")).await.unwrap();
    };
    let (next, ()) = join!(server, requests);
    assert!(next.ends_with("next"));
}

#[tokio::test]
async fn surplus_bytes_end_the_connection() {
    let (listener, origin) = listen().await;
    let client = client();
    let server = async {
        for _ in 0..2 {
            let (mut peer, _) = listener.accept().await.unwrap();
            serve(&mut peer, &format!("{OK}HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")).await;
            closed(&mut peer).await;
        }
    };
    let requests = async {
        for _ in 0..2 {
            let (response, body) = fetch(&client, get(&origin)).await.unwrap();
            assert_eq!((body, response.timing.reused), (Bytes::from("ok"), false));
        }
    };
    join!(server, requests);
}

#[tokio::test]
async fn bytes_on_an_idle_connection_end_it() {
    let (listener, origin) = listen().await;
    let client = client();
    let server = async {
        let (mut peer, _) = listener.accept().await.unwrap();
        serve(&mut peer, OK).await;
        (peer, ())
    };
    let ((mut peer, ()), first) = join!(server, fetch(&client, get(&origin)));
    first.unwrap();
    peer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison").await.unwrap();
    // One turn of the I/O driver, so that the bytes are noticed before the next request.
    let (probe, probe_origin) = listen().await;
    let served = async { serve(&mut probe.accept().await.unwrap().0, OK).await };
    let (_, probed) = join!(served, fetch(&client, get(&probe_origin)));
    probed.unwrap();
    let server = async {
        closed(&mut peer).await;
        let (mut peer, _) = listener.accept().await.unwrap();
        serve(&mut peer, OK).await
    };
    let (_, second) = join!(server, fetch(&client, get(&origin)));
    let (response, body) = second.unwrap();
    assert_eq!((body, response.timing.reused), (Bytes::from("ok"), false));
}

#[tokio::test]
async fn a_peer_that_wants_to_close_is_believed() {
    let (listener, origin) = listen().await;
    let client = client();
    let server = async {
        for answer in ["HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", OK] {
            let (mut peer, _) = listener.accept().await.unwrap();
            serve(&mut peer, answer).await;
            if answer != OK {
                closed(&mut peer).await;
            }
        }
    };
    let requests = async {
        for _ in 0..2 {
            assert!(!fetch(&client, get(&origin)).await.unwrap().0.timing.reused);
        }
    };
    join!(server, requests);
}

#[tokio::test]
async fn idle_connections_are_bounded_per_origin() {
    let (listener, origin) = listen().await;
    let client = Client::new(ClientConfig { idle_per_origin: 1, ..ClientConfig::default() }).unwrap();
    let accepted = async {
        let (mut one, _) = listener.accept().await.unwrap();
        let (mut two, _) = listener.accept().await.unwrap();
        join!(read_request(&mut one), read_request(&mut two));
        one.write_all(OK.as_bytes()).await.unwrap();
        two.write_all(OK.as_bytes()).await.unwrap();
        (one, two)
    };
    let fetched = async { join!(fetch(&client, get(&origin)), fetch(&client, get(&origin))) };
    let ((mut one, mut two), (first, second)) = join!(accepted, fetched);
    assert!(!first.unwrap().0.timing.reused && !second.unwrap().0.timing.reused);
    // Which of them is the older one is open; exactly one is closed.
    let mut kept = tokio::select! {
        () = closed(&mut one) => two,
        () = closed(&mut two) => one,
    };
    let (_, third) = join!(serve(&mut kept, OK), fetch(&client, get(&origin)));
    assert!(third.unwrap().0.timing.reused);
}

#[tokio::test]
async fn idle_connections_are_closed_in_time() {
    let (listener, origin) = listen().await;
    let timeouts = Timeouts { pool_idle: Duration::from_millis(20), ..Timeouts::default() };
    let client = Client::new(ClientConfig { timeouts, ..ClientConfig::default() }).unwrap();
    for _ in 0..2 {
        let server = async {
            let (mut peer, _) = listener.accept().await.unwrap();
            serve(&mut peer, OK).await;
            closed(&mut peer).await;
        };
        let ((), response) = join!(server, fetch(&client, get(&origin)));
        assert!(!response.unwrap().0.timing.reused);
    }
}

#[tokio::test]
async fn a_body_outlives_its_client() {
    let (listener, origin) = listen().await;
    let limits = Limits { read_bytes: 4096, ..Limits::default() };
    let client = Client::new(ClientConfig { limits, ..ClientConfig::default() }).unwrap();
    let server = async {
        let (mut peer, _) = listener.accept().await.unwrap();
        serve(&mut peer, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n").await;
        peer.write_all(&[b'a'; 100_000]).await.unwrap();
        closed(&mut peer).await;
    };
    let request = async {
        let mut body = client.send(get(&origin)).await.unwrap().body;
        drop(client);
        assert_eq!(body.collect(100_000).await.unwrap(), vec![b'a'; 100_000]);
    };
    join!(server, request);
}

#[tokio::test]
async fn the_load_says_what_is_idle_and_what_is_in_use() {
    let (listener, origin) = listen().await;
    let client = client();
    let none = PoolLoad::default();
    assert_eq!(client.load(), none);
    let server = async {
        let (mut first, _) = listener.accept().await.unwrap();
        serve(&mut first, OK).await;
        let (mut second, _) = listener.accept().await.unwrap();
        serve(&mut second, OK).await;
        (first, second)
    };
    let requests = async {
        let one = client.send(get(&origin)).await.unwrap();
        let two = client.send(get(&origin)).await.unwrap();
        (one, two)
    };
    let (_peers, (mut one, two)) = join!(server, requests);
    assert_eq!(client.load(), PoolLoad { h1_in_use: 2, ..none });
    one.body.collect(10).await.unwrap();
    drop(one);
    assert_eq!(client.load(), PoolLoad { h1_in_use: 1, h1_idle: 1, ..none });
    // Dropped before its end: closed.
    drop(two);
    assert_eq!(client.load(), PoolLoad { h1_idle: 1, ..none });
}
