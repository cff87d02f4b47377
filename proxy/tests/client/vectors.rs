//! The response cases of `tests/vectors/http1`, through sockets.

use proxy::{Kind, Method, Outbound};
use serde_json::Value;
use tokio::{io::AsyncWriteExt, join};

use crate::support::{client, get, listen, read_request};

const CASES: &str = include_str!("../../../tests/vectors/http1/cases.jsonl");

fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect()
}

/// Plays one case, byte by byte or whole, and compares what the caller sees of the first final answer.
async fn play(case: &Value, pieces: impl Iterator<Item = Vec<u8>>) {
    let id = case["id"].as_str().unwrap();
    let expect = &case["expect"];
    let (listener, origin) = listen().await;
    let server = async {
        let (mut peer, _) = listener.accept().await.unwrap();
        read_request(&mut peer).await;
        peer.set_nodelay(true).unwrap();
        for piece in pieces {
            // The client may have refused and left already.
            let _ = peer.write_all(&piece).await;
            tokio::task::yield_now().await;
        }
        (peer, case["eof"].as_bool().unwrap())
    };
    let method = Method::from_bytes(case["request_methods"][0].as_str().unwrap().as_bytes()).unwrap();
    let client = client();
    let ((peer, eof), outcome) = join!(server, client.send(Outbound { method, ..get(&origin) }));
    // The end of the connection is part of the case only where it says so.
    let _open = (!eof).then_some(peer);
    let outcome = match outcome {
        Ok(mut response) => response.body.collect(usize::MAX).await.map(|body| (response, body)),
        Err(error) => Err(error),
    };
    let finals = || expect["messages"].as_array().unwrap().iter().find(|m| m["interim"] != true);
    match outcome {
        Ok((response, body)) => {
            assert_eq!(expect["verdict"], "accept", "{id}");
            let message = finals().unwrap();
            assert_eq!(message["status"], response.head.status.as_u16(), "{id}");
            assert_eq!(latin1(message["body"].as_str().unwrap()), body, "{id}");
        }
        // This client never asks for an upgrade, so an accepted one is a breach of the protocol.
        Err(error) if expect["verdict"] == "accept" => {
            assert_eq!(finals().unwrap()["tunnel"], true, "{id}: {error}");
            assert_eq!(error.kind, Kind::Protocol { reason: "unexpected_upgrade", status: 502 }, "{id}");
        }
        Err(error) => match (error.kind, expect["reason"].as_str().unwrap()) {
            (Kind::Closed, "truncated" | "body_truncated") => {}
            (Kind::Protocol { reason, status: 502 }, expected) => assert_eq!(reason, expected, "{id}"),
            (kind, _) => panic!("{id}: {kind:?}"),
        },
    }
}

#[tokio::test]
async fn response_vectors_hold_end_to_end() {
    let cases: Vec<Value> = CASES.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let responses: Vec<&Value> = cases.iter().filter(|case| case["kind"] == "response").collect();
    assert_eq!(responses.len(), 12);
    for case in responses {
        let input = latin1(case["input"].as_str().unwrap());
        play(case, std::iter::once(input.clone())).await;
        play(case, input.iter().map(|byte| vec![*byte])).await;
    }
}
