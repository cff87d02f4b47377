//! HTTP/1 as a client sees it on the wire.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::{Play, text};
use crate::{Limits, Timeouts};

const GET: &str = "GET /ignore HTTP/1.1\r\nHost: a\r\n\r\n";
const IGNORED: &str = "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nignored";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

fn post(path: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn answer(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn a_warm_request_costs_one_read_and_one_write() {
    let mut play = Play::new();
    for turn in 1..=5 {
        play.send(post("/echo", "hello")).await;
        play.expect(&answer("hello")).await;
        assert_eq!(play.counts.reads.load(Ordering::Relaxed), turn);
        assert_eq!(play.counts.writes.load(Ordering::Relaxed), turn);
    }
}

#[tokio::test]
async fn a_streamed_piece_costs_one_write() {
    let mut play = Play::new();
    play.send("GET /stream HTTP/1.1\r\nHost: a\r\n\r\n").await;
    play.expect("HTTP/1.1 200 OK\r\nx-a: 1\r\ntransfer-encoding: chunked\r\n\r\n").await;
    play.expect("3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n").await;
    assert_eq!(play.counts.reads.load(Ordering::Relaxed), 1);
    assert_eq!(play.counts.writes.load(Ordering::Relaxed), 4);
    play.send(GET).await;
    play.expect(IGNORED).await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let mut play = Play::new();
    let chunked = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
    play.send([&post("/echo", "1"), GET, chunked, &post("/chunks", "xyz"), GET].concat()).await;
    play.expect(&[&answer("1"), IGNORED, &answer("abc"), &answer(""), IGNORED].concat()).await;
    let (script, task) = play.shut();
    task.await.unwrap();
    assert_eq!(script.log(), ["done", "done", "done", "xyz", "done", "done"]);
}

#[tokio::test]
async fn requests_arrive_in_single_bytes() {
    let mut play = Play::new();
    for byte in [GET, &post("/echo", "hello"), GET].concat().bytes() {
        play.send([byte]).await;
        tokio::task::yield_now().await;
    }
    play.expect(&[IGNORED, &answer("hello"), IGNORED].concat()).await;
}

#[tokio::test]
async fn a_body_above_the_buffers_arrives_whole() {
    let mut play = Play::new();
    let body = "0123456789".repeat(30_000);
    let (mut read, mut write) = tokio::io::split(play.io);
    let request = [post("/echo", &body), GET.to_owned()].concat();
    let sender = tokio::spawn(async move {
        write.write_all(request.as_bytes()).await.unwrap();
        write
    });
    let wanted = [&answer(&body), IGNORED].concat();
    let mut got = vec![0; wanted.len()];
    read.read_exact(&mut got).await.unwrap();
    assert!(text(&got) == wanted);
    play.io = read.unsplit(sender.await.unwrap());
}

#[tokio::test]
async fn continue_is_sent_when_the_body_is_wanted() {
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    let mut play = Play::new();
    play.send(head).await;
    play.expect("HTTP/1.1 100 Continue\r\n\r\n").await;
    play.send("ok").await;
    play.expect(&answer("ok")).await;
    // The body came without waiting: there is nothing to allow.
    play.send([head, "ok"].concat()).await;
    play.expect(&answer("ok")).await;
    // Refused unread: whether the body will still come is unknown, so the connection cannot go on.
    play.send(head.replace("/echo", "/ignore")).await;
    play.expect("HTTP/1.1 200 OK\r\ncontent-length: 7\r\nconnection: close\r\n\r\nignored").await;
    assert_eq!(play.rest().await, "");
}

#[tokio::test]
async fn answers_without_body_have_none() {
    let mut play = Play::new();
    play.send("HEAD /ignore HTTP/1.1\r\nHost: a\r\n\r\n").await;
    play.expect("HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n").await;
    play.send("HEAD /stream HTTP/1.1\r\nHost: a\r\n\r\n").await;
    play.expect("HTTP/1.1 200 OK\r\nx-a: 1\r\n\r\n").await;
    play.send("HEAD /stream-length HTTP/1.1\r\nHost: a\r\n\r\n").await;
    play.expect("HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n").await;
    play.send("GET /no-content HTTP/1.1\r\nHost: a\r\n\r\n").await;
    play.expect("HTTP/1.1 204 No Content\r\n\r\n").await;
    play.send(GET).await;
    play.expect(IGNORED).await;
}

#[tokio::test]
async fn old_clients_get_a_close_or_an_explicit_keep_alive() {
    let mut play = Play::new();
    play.send("GET /ignore HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
    play.expect("HTTP/1.1 200 OK\r\ncontent-length: 7\r\nconnection: keep-alive\r\n\r\nignored").await;
    play.send("GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
    assert_eq!(play.rest().await, "HTTP/1.1 200 OK\r\nx-a: 1\r\nconnection: close\r\n\r\nonetwothree");
}

#[tokio::test]
async fn an_announced_length_is_kept_or_the_answer_aborted() {
    let mut play = Play::new();
    play.send("GET /stream-length HTTP/1.1\r\nHost: a\r\n\r\n").await;
    play.expect("HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nonetwothree").await;
    play.send("GET /stream-short HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(play.rest().await, "HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\nonetwothree");
    let mut play = Play::new();
    play.send("GET /stream-long HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(play.rest().await, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nonetwo");
}

#[tokio::test]
async fn trailers_follow_the_last_chunk() {
    let mut play = Play::new();
    play.send("GET /trailers HTTP/1.1\r\nHost: a\r\n\r\n").await;
    play.expect(&[CHUNKED, "4\r\nlast\r\n0\r\nx-sum: 7\r\n\r\n"].concat()).await;
    assert_eq!(play.counts.writes.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_dropped_call_is_never_taken_for_a_whole_answer() {
    let failed = "HTTP/1.1 500 Internal Server Error\r\ncontent-type: text/plain\r\ncontent-length: 116\r\n\
                  connection: close\r\n\r\n500 Internal Server Error: the request was understood, but something broke \
                  here before it was answered (unanswered)\n";
    for (path, wanted) in [
        ("/drop", failed.to_owned()),
        ("/panic", failed.to_owned()),
        ("/drop-committed", [CHUNKED, "4\r\nhalf\r\n"].concat()),
        ("/panic-committed", [CHUNKED, "4\r\nhalf\r\n"].concat()),
    ] {
        let mut play = Play::new();
        play.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        assert_eq!(play.rest().await, wanted, "{path}");
        let (_, task) = play.shut();
        task.await.unwrap();
    }
}

#[tokio::test]
async fn a_cancelled_send_spoils_the_answer() {
    let mut play = Play::new();
    play.send("GET /cancelled-send HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let rest = play.rest().await;
    assert!(rest.starts_with(CHUNKED) && !rest.ends_with("0\r\n\r\n"));
    assert_eq!(play.script.log(), ["Closed"]);
}

#[tokio::test]
async fn an_unread_body_is_skipped_if_it_is_small() {
    let mut play = Play::new();
    let chunked = "POST /ignore HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n";
    play.send([&post("/ignore", "skipped"), chunked, GET].concat()).await;
    play.expect(&[IGNORED, IGNORED, IGNORED].concat()).await;
    play.send("POST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nabc").await;
    assert!(play.rest().await.contains("connection: close"));
}

#[tokio::test]
async fn faults_in_a_body_reach_handler_and_client() {
    let mut play = Play::new();
    play.send("POST /chunks HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\nzz").await;
    let told = play.rest().await;
    assert!(told.starts_with("HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\n"), "{told}");
    assert!(told.ends_with("400 Bad Request: the chunks of the body are malformed (bad_chunk_size)\n"), "{told}");
    let log = play.script.log();
    assert_eq!(log[0], "ab");
    assert!(log[1].contains("bad_chunk_size"), "{log:?}");

    let mut play = Play::new();
    play.send(post("/tiny", "12345")).await;
    assert!(play.rest().await.starts_with("HTTP/1.1 413 "));
    let mut play = Play::new();
    play.send("POST /tiny HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n123\r\n2\r\n45\r\n0\r\n\r\n")
        .await;
    assert!(play.rest().await.starts_with("HTTP/1.1 413 "));
    let mut play = Play::new();
    play.send("POST /chunks HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabc").await;
    play.io.shutdown().await.unwrap();
    let _ = play.rest().await;
    assert_eq!(play.script.log(), ["abc", "Closed"]);
}

#[tokio::test]
async fn requests_that_cannot_be_read_are_answered_and_the_connection_closed() {
    for (input, status) in [
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), "400 Bad Request"),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n".to_owned(), "405 Method Not Allowed"),
        ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), "405 Method Not Allowed"),
        (format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(9_000)), "414 URI Too Long"),
        ("\x16\x03\x01".to_owned(), "400 Bad Request"),
        ("PRI * HTTP/2.0\r\n\r\nXX".to_owned(), "505 HTTP Version Not Supported"),
    ] {
        let mut play = Play::new();
        play.send([&post("/echo", "1"), &input[..], GET].concat()).await;
        play.expect(&answer("1")).await;
        let refused = play.rest().await;
        let (head, text) = refused.split_once("\r\n\r\n").unwrap();
        let fields = format!("content-type: text/plain\r\ncontent-length: {}\r\nconnection: close", text.len());
        assert_eq!(head, format!("HTTP/1.1 {status}\r\n{fields}"), "{input:?}");
        assert!(text.starts_with(&format!("{status}: ")) && text.ends_with('\n'), "{input:?}: {text}");
    }
}

/// A handler's own words for a head that cannot be read: only where the first line can be trusted.
#[tokio::test]
async fn a_handler_may_word_the_refusal() {
    for (input, own) in [
        ("POST /words?q HTTP/1.1\r\n\r\n", true),
        ("POST /words HTTP/1.1\r\nHost: a\r\nX: 1\n", true),
        ("POST /words HTTP/2.0\r\nHost: a\r\n\r\n", true),
        ("POST /words HTTP/1.1\nHost: a\r\n\r\n", false),
        ("POST  /words HTTP/1.1\r\nHost: a\r\n\r\n", false),
        ("POST http://a/words HTTP/1.1\r\n\r\n", false),
        ("POST /other HTTP/1.1\r\n\r\n", false),
    ] {
        let mut play = Play::new();
        play.send(input).await;
        let told = play.rest().await;
        let (head, text) = told.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("connection: close"), "{told}");
        assert_eq!(head.contains("content-type: words"), own, "{told}");
        assert_eq!(text.starts_with("own words for POST /words: "), own, "{told}");
    }
}

#[tokio::test]
async fn nothing_is_read_behind_a_close() {
    let mut play = Play::new();
    play.send(["GET /ignore HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", GET].concat()).await;
    assert_eq!(play.rest().await, IGNORED.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n"));
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed() {
    for path in ["/gone", "/gone-committed", "/bell"] {
        let mut play = Play::new();
        play.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        play.script.reached.notified().await;
        assert_eq!(play.script.log(), ["waiting"]);
        let Play { io, script, task, .. } = play;
        drop(io);
        task.await.unwrap();
        assert_eq!(script.log(), ["waiting", "gone"], "{path}");
    }
}

#[tokio::test]
async fn what_is_pipelined_while_watching_is_kept() {
    let mut play = Play::new();
    play.send("GET /bell HTTP/1.1\r\nHost: a\r\n\r\n").await;
    play.script.reached.notified().await;
    play.send(GET).await;
    while play.counts.reads.load(Ordering::Relaxed) < 2 {
        tokio::task::yield_now().await;
    }
    play.script.bell.notify_one();
    play.expect(&[&answer("rung"), IGNORED].concat()).await;
}

#[tokio::test]
async fn watching_stops_reading_at_its_bound() {
    let mut play = Play::with(Limits { read_bytes: 1024, ..Limits::default() }, Timeouts::default());
    play.send("GET /bell HTTP/1.1\r\nHost: a\r\n\r\n").await;
    play.script.reached.notified().await;
    let flood = GET.repeat(1_000);
    let sent = tokio::time::timeout(Duration::from_millis(50), play.io.write_all(flood.as_bytes())).await;
    assert!(sent.is_err(), "the server must stop taking bytes");
    play.script.bell.notify_one();
    play.expect(&answer("rung")).await;
    play.expect(&IGNORED.repeat(100)).await;
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[tokio::test(start_paused = true)]
async fn a_head_has_one_deadline() {
    let mut play = Play::new();
    let start = Instant::now();
    play.send(GET).await;
    play.expect(IGNORED).await;
    for byte in GET.bytes().take(4) {
        play.send([byte]).await;
        tokio::time::sleep(seconds(7)).await;
    }
    assert!(play.rest().await.starts_with("HTTP/1.1 408 Request Timeout\r\n"));
    let took = start.elapsed();
    assert!(took >= seconds(30) && took < seconds(31), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_silently() {
    let mut play = Play::new();
    play.send(GET).await;
    play.expect(IGNORED).await;
    tokio::time::advance(seconds(200)).await;
    play.send(GET).await;
    play.expect(IGNORED).await;
    let start = Instant::now();
    assert_eq!(play.rest().await, "");
    let took = start.elapsed();
    assert!(took >= seconds(300) && took < seconds(302), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn silence_in_a_body_is_bounded() {
    for path in ["/chunks", "/echo"] {
        let mut play = Play::new();
        let start = Instant::now();
        play.send(format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")).await;
        tokio::time::sleep(seconds(50)).await;
        play.send("d").await;
        assert!(play.rest().await.starts_with("HTTP/1.1 408 "), "{path}");
        assert_eq!(start.elapsed().as_secs(), 110, "{path}");
        assert_eq!(play.script.log().last().unwrap(), "Timeout(Body)");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_cut() {
    let mut play = Play::new();
    play.send("GET /flood HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let start = Instant::now();
    let (script, task) = (play.script, play.task);
    task.await.unwrap();
    assert_eq!(script.log(), ["committed", "Timeout(Write)"]);
    assert_eq!(start.elapsed().as_secs(), 300);
    drop(play.io);
}

#[tokio::test]
async fn a_write_to_a_client_that_left_fails() {
    let mut play = Play::new();
    play.send("GET /flood HTTP/1.1\r\nHost: a\r\n\r\n").await;
    play.script.reached.notified().await;
    let Play { io, script, task, .. } = play;
    drop(io);
    task.await.unwrap();
    assert_eq!(script.log(), ["committed", "Closed"]);
}

/// Every request vector through the real connection, whole and byte by byte: same statuses.
#[tokio::test]
async fn vectors_through_the_server() {
    const CASES: &str = include_str!("../../../tests/vectors/http1/cases.jsonl");
    let mut seen = 0;
    for line in CASES.lines() {
        let case: serde_json::Value = serde_json::from_str(line).unwrap();
        // The server switches to no other protocol, so it reads on as HTTP/1 there.
        if case["kind"] != "request" || case["id"] == "q-upgrade-websocket" {
            continue;
        }
        let input: Vec<u8> =
            case["input"].as_str().unwrap().chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
        let expect = &case["expect"];
        let mut wanted: Vec<u64> = expect["messages"].as_array().unwrap().iter().map(|_| 404).collect();
        // The handler never reads the body, so a fault in it shows only as a close.
        let in_body = case["id"].as_str().unwrap().starts_with("q-chunk-");
        if in_body && expect["verdict"] == "reject" {
            wanted.push(404);
        } else if let Some(status) = expect["status"].as_u64() {
            wanted.push(status);
        }
        for step in [input.len(), 1] {
            let mut play = Play::new();
            for piece in input.chunks(step) {
                if play.io.write_all(piece).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            play.io.shutdown().await.unwrap();
            let answers = play.rest().await;
            let statuses: Vec<u64> =
                answers.split("HTTP/1.1 ").skip(1).map(|answer| answer[..3].parse().unwrap()).collect();
            assert_eq!(statuses, wanted, "{} in steps of {step}: {answers:?}", case["id"]);
        }
        seen += 1;
    }
    assert_eq!(seen, 39);
}
