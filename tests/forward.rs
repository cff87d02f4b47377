//! Same dialect in and out: bytes pass as they came, with declared edits only.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use codecs::dialect::Dialect;
use support::{Client, Router, Upstream, router::provider, speech, within};
use tokio::sync::Semaphore;

/// A body with odd spacing, repeated and unknown members, escapes and numbers that a re-encoder would touch.
fn odd_request(dialect: Dialect, model: &str, stream: bool) -> String {
    let plain = speech::request(dialect, model, stream);
    let odd =
        " \"x_unknown\" : {\"a\":[1.0,1e2,-0,12345678901234567890],\"\\u0061\":\"\\u00e9\\/é\"},\n\t\"zeta\":null, ";
    format!("\n{{{odd}{}", &plain[1..])
}

#[tokio::test]
async fn a_document_passes_byte_for_byte() {
    for dialect in Dialect::ALL {
        let body = speech::reply(dialect);
        let fields = [
            ("Content-Type", "application/json; charset=utf-8"),
            ("X-RateLimit-Remaining", "99"),
            ("OpenAI-Organization", "org"),
            ("Set-Cookie", "a=b"),
            ("Server", "upstream/1"),
        ];
        let upstream = Upstream::always(200, &fields, body).await;
        // `for-the-gateway` is a key: what says that it was passed on needs one.
        let key =
            "[[keys]]\nname = \"k\"\nsha256 = \"d1139c00d013f490e6dddc5ecae34fa0057bb7ba91efad6fbc05590a316a5009\"\n";
        let router = Router::start(&(provider("up", dialect, &upstream) + key));
        let request = odd_request(dialect, speech::MODEL, false);
        let target = speech::path(dialect, speech::MODEL, false);
        let fields = [
            ("User-Agent", "client/1"),
            ("X-Stainless-Lang", "rust"),
            ("Authorization", "Bearer for-the-gateway"),
            ("anthropic-BETA", "some-beta"),
            ("x-api-key", "for-the-gateway"),
            ("Accept-Encoding", "gzip, br"),
            ("CONTENT-type", "application/json"),
            ("Connection", "keep-alive"),
        ];
        let answer = Client::once(router.addr, "POST", &format!("{target}?x=%20y&key=secret"), &fields, &request).await;

        assert_eq!(answer.status, 200, "{dialect:?} {}", answer.text());
        assert_eq!(answer.text(), body, "{dialect:?}");
        assert!(answer.complete);
        assert_eq!(answer.header("content-type"), Some("application/json; charset=utf-8"));
        assert_eq!(answer.header("X-RateLimit-Remaining"), Some("99"));
        assert!(answer.head.names().contains(&"OpenAI-Organization"), "{:?}", answer.head);
        assert_eq!(answer.header("set-cookie"), None);
        assert_eq!(answer.header("x-flow-router-provider"), Some("up"));
        assert_eq!(answer.header("x-flow-router-model"), Some(speech::MODEL));

        let asked = upstream.asked_once();
        assert_eq!(String::from_utf8_lossy(&asked.body), request, "{dialect:?}");
        assert!(asked.target().ends_with("?x=%20y"), "{}", asked.target());
        let names = asked.head.names();
        let expected = ["User-Agent", "X-Stainless-Lang", "anthropic-BETA", "CONTENT-type"];
        let passed: Vec<_> = names.iter().filter(|name| expected.contains(name)).collect();
        assert_eq!(passed, expected.iter().collect::<Vec<_>>(), "{dialect:?} {names:?}");
        let (name, value) = match dialect {
            Dialect::Anthropic => ("x-api-key", "upstream-key"),
            Dialect::Gemini => ("x-goog-api-key", "upstream-key"),
            _ => ("authorization", "Bearer upstream-key"),
        };
        assert_eq!(asked.head.get(name), Some(value), "{dialect:?}");
        assert!(asked.head.fields.iter().all(|(_, value)| !value.contains("for-the-gateway")), "{:?}", asked.head);
        let encodings: Vec<_> =
            asked.head.fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case("accept-encoding")).collect();
        assert!(encodings.iter().all(|(_, value)| value == "identity"), "{encodings:?}");
    }
}

#[tokio::test]
async fn a_stream_passes_byte_for_byte_whatever_its_line_ends_and_chunks() {
    for dialect in Dialect::ALL {
        let plain = speech::stream(dialect).bytes();
        let crlf = String::from_utf8(plain.clone()).unwrap().replace('\n', "\r\n").into_bytes();
        for (bytes, size) in [(&plain, 7), (&crlf, 5), (&plain, 1 << 20), (&crlf, 1 << 20)] {
            let pieces = bytes.chunks(size).map(<[u8]>::to_vec).collect();
            let upstream = Upstream::streams(dialect.stream_content_type(), pieces).await;
            let router = Router::start(&provider("up", dialect, &upstream));
            let request = odd_request(dialect, speech::MODEL, true);
            let answer = Client::post(router.addr, &speech::path(dialect, speech::MODEL, true), &request).await;
            assert_eq!(answer.status, 200, "{dialect:?} {}", answer.text());
            assert_eq!(answer.text(), String::from_utf8_lossy(bytes), "{dialect:?} in pieces of {size}");
            assert!(answer.complete);
            assert_eq!(answer.header("content-type"), Some(dialect.stream_content_type()));
            assert_eq!(String::from_utf8_lossy(&upstream.asked_once().body), request);
        }
    }
}

#[tokio::test]
async fn every_chunk_leaves_before_the_next_one_arrives() {
    for dialect in Dialect::ALL {
        // The upstream sends a block only when the client has the one before.
        let next = Arc::new(Semaphore::new(0));
        let spoken = speech::stream(dialect);
        let held = spoken.prologue.concat() + &spoken.content[0];
        let mut blocks = vec![held];
        blocks.extend_from_slice(&spoken.content[1..]);
        blocks.extend_from_slice(&spoken.end);
        let (gate, script) = (next.clone(), blocks.clone());
        let upstream = Upstream::start(move |mut conn| {
            let (gate, script) = (gate.clone(), script.clone());
            async move {
                conn.asked().await.unwrap();
                conn.stream(dialect.stream_content_type()).await;
                for block in &script {
                    gate.acquire().await.unwrap().forget();
                    conn.chunk(block).await;
                }
                conn.end().await;
                conn.closed().await;
            }
        })
        .await;
        let router = Router::start(&provider("up", dialect, &upstream));
        let mut client = Client::connect(router.addr).await;
        let request = speech::request(dialect, speech::MODEL, true);
        client.request("POST", &speech::path(dialect, speech::MODEL, true), &[], request.as_bytes()).await;
        next.add_permits(1);
        client.head().await;
        for (n, block) in blocks.iter().enumerate() {
            let mut got = Vec::new();
            while got.len() < block.len() {
                got.extend_from_slice(&client.piece().await.unwrap());
            }
            assert_eq!(String::from_utf8_lossy(&got), *block, "{dialect:?} block {n}");
            next.add_permits(1);
        }
        assert_eq!(client.rest().await, (Vec::new(), true), "{dialect:?}");
    }
}

#[tokio::test]
async fn only_the_models_name_is_edited() {
    for dialect in Dialect::ALL {
        let upstream = Upstream::always(200, &[("content-type", "application/json")], speech::reply(dialect)).await;
        let config = provider("up", dialect, &upstream)
            + "[aliases]\n\"the \\\"fast\\\" one\" = \"up/model-é\"\nfast = [\"up/model-é\"]\n";
        let router = Router::start(&config);
        let request = odd_request(dialect, "fast", false);
        let answer = Client::post(router.addr, &speech::path(dialect, "fast", false), &request).await;
        assert_eq!(answer.status, 200, "{dialect:?} {}", answer.text());
        assert_eq!(answer.text(), speech::reply(dialect));
        let asked = upstream.asked_once();
        if dialect == Dialect::Gemini {
            assert!(asked.target().contains("/models/model-%C3%A9:"), "{}", asked.target());
            assert_eq!(String::from_utf8_lossy(&asked.body), request);
        } else {
            assert_eq!(String::from_utf8_lossy(&asked.body), request.replace("\"fast\"", "\"model-é\""));
        }
    }
}

#[tokio::test]
async fn a_vendors_quirks_are_edits_of_their_own() {
    let upstream = Upstream::always(200, &[], speech::reply(Dialect::OpenAiChat)).await;
    let config = provider("up", Dialect::OpenAiChat, &upstream);
    let router = Router::start(&format!("{config}drop_params = [\"seed\"]\ndedupe_tools = true\n"));
    let request = r#"{"model":"up/deepseek-v4-pro-max", "x":1.0, "seed":7, "messages":[{"role":"user","content":"q"}, {"role":"assistant","content":"a"}],
        "tools":[{"type":"function","function":{"name":"WebSearch"}}, {"type":"function","function":{"name":"mcp__exa__web_search_exa"}}]}"#;
    let answer = Client::once(router.addr, "POST", "/v1/chat/completions", &[], request).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let sent = String::from_utf8(upstream.asked_once().body.to_vec()).unwrap();
    for expected in [
        r#""model":"deepseek-v4-pro""#,
        r#""thinking":{"type":"enabled"}"#,
        r#""reasoning_effort":"max""#,
        r#""reasoning_content":" ""#,
        r#""x":1.0"#,
        "mcp__exa__web_search_exa",
    ] {
        assert!(sent.contains(expected), "{expected} is not in {sent}");
    }
    assert!(!sent.contains("seed") && !sent.contains("WebSearch\""), "{sent}");
}

#[tokio::test]
async fn a_deepseek_alias_is_known_to_other_dialects_too() {
    let upstream = Upstream::always(200, &[], speech::reply(Dialect::OpenAiChat)).await;
    let router = Router::start(&provider("up", Dialect::OpenAiChat, &upstream));
    let request = speech::request(Dialect::Anthropic, "up/deepseek-v4-pro-none", false);
    let answer = Client::once(router.addr, "POST", "/v1/messages", &[], &request).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let sent = String::from_utf8(upstream.asked_once().body.to_vec()).unwrap();
    assert!(
        sent.contains(r#""model":"deepseek-v4-pro""#) && sent.contains(r#""thinking":{"type":"disabled"}"#),
        "{sent}"
    );
}

#[tokio::test]
async fn a_connection_is_used_again_and_so_is_the_upstreams() {
    for dialect in Dialect::ALL {
        let upstream = Upstream::streams(dialect.stream_content_type(), speech::stream(dialect).blocks()).await;
        let router = Router::start(&provider("up", dialect, &upstream));
        let mut client = Client::connect(router.addr).await;
        for round in 0..3 {
            let request = speech::request(dialect, speech::MODEL, true);
            client.request("POST", &speech::path(dialect, speech::MODEL, true), &[], request.as_bytes()).await;
            let answer = client.answer().await;
            assert_eq!(answer.body, speech::stream(dialect).bytes(), "{dialect:?} round {round}");
        }
        assert_eq!(upstream.connections(), 1, "{dialect:?}");
    }
}

#[tokio::test]
async fn a_compressed_answer_is_unpacked() {
    use std::io::Write;
    let dialect = Dialect::OpenAiChat;
    let bytes = speech::stream(dialect).bytes();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(&bytes).unwrap();
    let packed = encoder.finish().unwrap();
    let upstream = Upstream::start(move |mut conn| {
        let packed = packed.clone();
        async move {
            conn.asked().await.unwrap();
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: gzip\r\n\
                        transfer-encoding: chunked\r\n\r\n";
            conn.write(head).await;
            for piece in packed.chunks(10) {
                conn.chunk(piece).await;
            }
            conn.end().await;
            conn.closed().await;
        }
    })
    .await;
    let router = Router::start(&provider("up", dialect, &upstream));
    let request = speech::request(dialect, speech::MODEL, true);
    let answer = Client::post(router.addr, "/v1/chat/completions", request).await;
    assert_eq!(answer.text(), String::from_utf8_lossy(&bytes));
    assert_eq!(answer.header("content-encoding"), None);
}

#[tokio::test]
async fn gemini_streams_a_json_array_to_who_asks_for_one() {
    let body = "[{\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"Hello\"}],\"role\": \"model\"},\"index\": 0}]}\n,\r\n\
                {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \" there\"}]},\"finishReason\": \"STOP\",\"index\": 0}]}\n]";
    let pieces = body.as_bytes().chunks(9).map(<[u8]>::to_vec).collect();
    let upstream = Upstream::streams("application/json; charset=UTF-8", pieces).await;
    let router = Router::start(&provider("up", Dialect::Gemini, &upstream));
    let request = speech::request(Dialect::Gemini, "", true);
    let answer = Client::post(router.addr, "/v1beta/models/m:streamGenerateContent", &request).await;
    assert_eq!(answer.text(), body);
    assert!(answer.header("content-type").unwrap().starts_with("application/json"));
    assert_eq!(upstream.asked_once().target(), "/v1beta/models/m:streamGenerateContent?alt=json");
}

#[tokio::test]
async fn a_stream_only_provider_answers_documents_too() {
    for dialect in Dialect::ALL {
        let upstream = Upstream::streams(dialect.stream_content_type(), speech::stream(dialect).blocks()).await;
        let router =
            Router::start(&(provider("up", dialect, &upstream).trim_end().to_owned() + "\nstream_only = true\n"));
        let request = speech::request(dialect, speech::MODEL, false);
        let answer = Client::post(router.addr, &speech::path(dialect, speech::MODEL, false), &request).await;
        assert_eq!(answer.status, 200, "{dialect:?} {}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/json"), "{dialect:?}");
        let reply = answer.json();
        assert_eq!(speech::text_of(dialect, &reply), speech::TEXT);
        assert_eq!(speech::usage_of(dialect, &reply), (11, 3), "{dialect:?} {reply}");
        let asked = upstream.asked_once();
        match dialect {
            Dialect::Gemini => assert!(asked.target().contains(":streamGenerateContent?alt=sse"), "{}", asked.target()),
            _ => assert_eq!(asked.json()["stream"], true, "{dialect:?}"),
        }
    }
}

#[tokio::test]
async fn expect_continue_chunked_bodies_and_pipelining_work() {
    let upstream =
        Upstream::always(200, &[("content-type", "application/json")], speech::reply(Dialect::OpenAiChat)).await;
    let router = Router::start(&provider("up", Dialect::OpenAiChat, &upstream));
    let request = speech::request(Dialect::OpenAiChat, "m", false);
    let mut client = Client::connect(router.addr).await;
    client
        .send(format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
            request.len()
        ))
        .await;
    assert_eq!(within("100", client.head()).await.0, 100);
    client.send(&request).await;
    assert_eq!(client.answer().await.status, 200);

    let mut two = Vec::new();
    for _ in 0..2 {
        two.extend_from_slice(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
        );
        for piece in request.as_bytes().chunks(11) {
            two.extend_from_slice(&support::wire::chunk(piece));
        }
        two.extend_from_slice(b"0\r\n\r\n");
    }
    client.send(two).await;
    for _ in 0..2 {
        assert_eq!(client.answer().await.text(), speech::reply(Dialect::OpenAiChat));
    }
    assert!(upstream.asked().iter().all(|asked| asked.body == request.as_bytes()));
    assert_eq!(upstream.asked().len(), 3);
}

#[tokio::test]
async fn the_client_does_not_wait_for_the_upstreams_end() {
    // The terminal event is the end, also where the upstream keeps its body open.
    // Gemini has no such event: more may follow a finish reason.
    for dialect in [Dialect::OpenAiChat, Dialect::OpenAiResponses, Dialect::Anthropic, Dialect::Ollama] {
        let upstream = Upstream::start(move |mut conn| async move {
            if conn.asked().await.is_some() {
                conn.stream(dialect.stream_content_type()).await;
                conn.chunk(speech::stream(dialect).bytes()).await;
                conn.closed().await;
            }
        })
        .await;
        let router = Router::start(&provider("up", dialect, &upstream));
        let mut client = Client::connect(router.addr).await;
        for round in 0..2 {
            let request = speech::request(dialect, speech::MODEL, true);
            client.request("POST", &speech::path(dialect, speech::MODEL, true), &[], request.as_bytes()).await;
            let answer = client.answer().await;
            assert!(answer.complete && answer.body == speech::stream(dialect).bytes(), "{dialect:?} round {round}");
        }
        // A connection whose answer has not ended is never used for another.
        assert_eq!(upstream.connections(), 2, "{dialect:?}");
    }
}
