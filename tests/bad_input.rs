//! What clients get wrong: each fault has an answer in the client's own dialect that says what and where, and the
//! connection goes on where HTTP allows it.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write;

use codecs::dialect::Dialect;
use support::{
    Client, Router, Upstream,
    router::{provider, provider_at},
    speech,
};

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

/// A gateway in front of one upstream of every dialect; the names lead nowhere else.
async fn five() -> (Vec<Upstream>, Router) {
    let mut upstreams = Vec::new();
    let mut config = String::new();
    for dialect in Dialect::ALL {
        let upstream = Upstream::always(200, JSON, speech::reply(dialect)).await;
        config +=
            &provider(dialect.name(), dialect, &upstream).replace("[\"*\"]", &format!("[\"{}-m\"]", dialect.name()));
        upstreams.push(upstream);
    }
    (upstreams, Router::start_with(&config, &["--max-body", "64KiB"]))
}

/// Posts `body`, checks status and message, and that the connection serves a good request afterwards.
async fn faulty(router: &Router, dialect: Dialect, fields: &[(&str, &str)], body: &[u8], status: u16, words: &[&str]) {
    let model = format!("{}-m", dialect.name());
    let target = speech::path(dialect, &model, false);
    let mut client = Client::connect(router.addr).await;
    client.request("POST", &target, fields, body).await;
    let answer = client.answer().await;
    let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
    assert_eq!(answer.status, status, "{dialect:?} {shown}: {}", answer.text());
    assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("application/json")));
    let message = speech::error_of(dialect, &answer.json());
    for word in words {
        assert!(message.contains(word), "{dialect:?} {shown}: `{word}` is not in `{message}`");
    }
    client.request("POST", &target, &[], speech::request(dialect, &model, false).as_bytes()).await;
    assert_eq!(
        client.answer().await.text(),
        speech::reply(dialect),
        "{dialect:?}: the connection is spoilt by {shown}"
    );
}

#[tokio::test]
async fn bodies_that_are_no_json_objects() {
    let (upstreams, router) = five().await;
    let deep = [b"[".repeat(30_000), b"]".repeat(30_000)].concat();
    for dialect in Dialect::ALL {
        for (body, words) in [
            (&b"{"[..], &["not valid JSON", "byte 1"][..]),
            (b"{\"a\":1,}", &["not valid JSON", "byte"]),
            (b"{\"a\" 1}", &["not valid JSON", "byte 5"]),
            (b"{\"a\":01}", &["not valid JSON", "byte"]),
            (b"{\"a\":\"x", &["not valid JSON", "byte"]),
            (b"{\"a\":1} {", &["not valid JSON", "byte 8"]),
            (b"\xef\xbb\xbf{", &["not valid JSON", "byte"]),
            (b"{\"a\":\"\xff\xfe\"}", &["not valid JSON", "byte"]),
            (b"{\"a\":\"\xed\xa0\x80\"}", &["not valid JSON", "byte"]),
            (b"not json", &["not valid JSON", "byte 0"]),
            (b"[1]", &["JSON object", "array"]),
            (b"null", &["JSON object", "null"]),
            (&deep, &["deep"]),
        ] {
            faulty(&router, dialect, &[], body, 400, words).await;
        }
        // No body at all.
        faulty(&router, dialect, &[("Content-Length", "0")], b"", 400, &["not valid JSON"]).await;
    }
    assert!(upstreams.iter().all(|upstream| upstream.asked().iter().all(|asked| !asked.body.is_empty())));
}

#[tokio::test]
async fn members_of_the_wrong_type() {
    let (_upstreams, router) = five().await;
    for dialect in [Dialect::OpenAiChat, Dialect::OpenAiResponses, Dialect::Anthropic, Dialect::Ollama] {
        faulty(&router, dialect, &[], br#"{"model":5}"#, 400, &["model", "string", "number"]).await;
        faulty(&router, dialect, &[], br#"{"model":["a"]}"#, 400, &["model", "string", "array"]).await;
        let body = format!(r#"{{"model":"{}-m","stream":"yes"}}"#, dialect.name());
        faulty(&router, dialect, &[], body.as_bytes(), 400, &["stream", "boolean", "string"]).await;
    }
    // Where nothing is translated the upstream judges the rest; where it is, we say what we cannot read.
    for (n, dialect) in Dialect::ALL.into_iter().enumerate() {
        let other = Dialect::ALL[(n + 1) % 5].name();
        let (member, wrong) = match dialect {
            Dialect::Gemini => ("contents", r#"{"contents":"x"}"#.to_owned()),
            Dialect::OpenAiResponses => ("input", format!(r#"{{"model":"{other}-m","input":5}}"#)),
            _ => ("messages", format!(r#"{{"model":"{other}-m","max_tokens":1,"messages":"x"}}"#)),
        };
        let target = speech::path(dialect, &format!("{other}-m"), false);
        let answer = Client::post(router.addr, &target, wrong).await;
        assert_eq!(answer.status, 400, "{dialect:?} {}", answer.text());
        let message = speech::error_of(dialect, &answer.json());
        assert!(message.contains(member), "{dialect:?}: {message}");
    }
}

#[tokio::test]
async fn unknown_models() {
    let (_upstreams, router) = five().await;
    for dialect in Dialect::ALL {
        for (model, words) in [
            ("gpt-99", &["`gpt-99`", "provider/model"][..]),
            ("nobody/gpt-99", &["`nobody/gpt-99`", "`nobody`", "anthropic"]),
        ] {
            let target = speech::path(dialect, model, true);
            let answer = Client::post(router.addr, &target, speech::request(dialect, model, true)).await;
            assert_eq!(answer.status, 404, "{dialect:?} {}", answer.text());
            let message = speech::error_of(dialect, &answer.json());
            assert!(words.iter().all(|word| message.contains(word)), "{dialect:?}: {message}");
        }
    }
    let answer = Client::post(router.addr, "/v1/chat/completions", r#"{"messages":[]}"#).await;
    assert_eq!(answer.status, 404);
    assert!(speech::error_of(Dialect::OpenAiChat, &answer.json()).contains("names no model"));
}

#[tokio::test]
async fn bodies_that_are_too_large() {
    let (_upstreams, router) = five().await;
    let large = vec![b' '; 64 * 1024 + 1];
    for dialect in Dialect::ALL {
        let status = if dialect == Dialect::Gemini { 400 } else { 413 };
        let target = speech::path(dialect, &format!("{}-m", dialect.name()), false);
        let plain = Client::once(router.addr, "POST", &target, &[], &large).await;
        let mut chunked = Client::connect(router.addr).await;
        chunked.send(format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")).await;
        for piece in large.chunks(8_000) {
            chunked.send(support::wire::chunk(piece)).await;
        }
        let packed = Client::once(router.addr, "POST", &target, &[("Content-Encoding", "gzip")], gzip(&large)).await;
        for answer in [plain, chunked.answer().await, packed] {
            assert_eq!(answer.status, status, "{dialect:?} {}", answer.text());
            let message = speech::error_of(dialect, &answer.json());
            assert!(message.contains("65536 bytes"), "{dialect:?}: {message}");
        }
        // Far more than anybody would send is refused before it is sent.
        let mut announced = Client::connect(router.addr).await;
        announced
            .send(format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n"))
            .await;
        let answer = announced.answer().await;
        assert_eq!(answer.status, status, "{dialect:?} {}", answer.text());
        assert!(speech::error_of(dialect, &answer.json()).contains("65536 bytes"));
        assert!(announced.closed().await);
    }
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn compressed_bodies() {
    let (upstreams, router) = five().await;
    for (dialect, upstream) in Dialect::ALL.into_iter().zip(&upstreams) {
        let request = speech::request(dialect, &format!("{}-m", dialect.name()), false);
        let packed = gzip(request.as_bytes());
        let target = speech::path(dialect, &format!("{}-m", dialect.name()), false);
        let answer = Client::once(router.addr, "POST", &target, &[("Content-Encoding", "gzip")], &packed).await;
        assert_eq!(answer.text(), speech::reply(dialect));
        let asked = upstream.asked_once();
        assert_eq!(
            (String::from_utf8_lossy(&asked.body).as_ref(), asked.head.get("content-encoding")),
            (&*request, None)
        );

        let cut = &packed[..packed.len() - 9];
        for (coding, body, words) in [
            ("gzip", cut, &["cannot be read", "truncated"][..]),
            ("gzip", b"{}", &["cannot be read", "broken"]),
            ("deflate", cut, &["cannot be read"]),
            ("br", b"{}", &["cannot be read", "br"]),
        ] {
            faulty(&router, dialect, &[("Content-Encoding", coding)], body, 400, words).await;
        }
    }
}

#[tokio::test]
async fn broken_chunks_are_told_and_end_the_connection() {
    let (_upstreams, router) = five().await;
    for dialect in Dialect::ALL {
        let target = speech::path(dialect, &format!("{}-m", dialect.name()), false);
        for chunks in ["zz\r\n{}\r\n0\r\n\r\n", "2\r\n{}0\r\n\r\n", "-1\r\n", "fffffffffffffffff\r\n", "2\n{}\r\n"] {
            let mut client = Client::connect(router.addr).await;
            let head = format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
            client.send(head + chunks).await;
            let answer = client.answer().await;
            assert_eq!(answer.status, 400, "{dialect:?} {chunks:?}: {}", answer.text());
            let message = speech::error_of(dialect, &answer.json());
            assert!(message.contains("request body") && message.contains("protocol error"), "{chunks:?}: {message}");
            assert!(client.closed().await, "{chunks:?}");
        }
    }
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(9_000));
    let wide = format!("GET / HTTP/1.1\r\nHost: a\r\nx: {}\r\n\r\n", "a".repeat(70_000));
    for raw in [
        &long,
        &wide,
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 1x\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n folded: x\r\n\r\n",
        "GET /\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
    ] {
        let mut client = Client::connect(router.addr).await;
        client.send(raw).await;
        let answer = client.answer().await;
        let status = if raw == long {
            414
        } else if raw == wide {
            431
        } else {
            400
        };
        assert_eq!(answer.status, status, "{raw:?}");
        // Where the path is one of chat, its SDK gets what it can show.
        let words = if raw.starts_with("POST /v1/chat/completions HTTP/1.1\r\n") {
            speech::error_of(Dialect::OpenAiChat, &answer.json())
        } else {
            assert_eq!(answer.header("content-type"), Some("text/plain"), "{raw:?}");
            answer.text()
        };
        assert!(words.contains(&format!("{status} ")), "{raw:?}: {words}");
        assert!(client.closed().await, "{raw:?}");
    }
}

#[tokio::test]
async fn wrong_methods_and_unknown_paths() {
    let router = Router::start(&provider_at("p", Dialect::OpenAiChat, "http://127.0.0.1:1"));
    for (method, target, allow, dialect) in [
        ("GET", "/v1/chat/completions", "POST", Dialect::OpenAiChat),
        ("GET", "/v1/responses", "POST", Dialect::OpenAiResponses),
        ("DELETE", "/v1/messages", "POST", Dialect::Anthropic),
        ("PUT", "/v1beta/models/m:generateContent", "POST", Dialect::Gemini),
        ("GET", "/v1/models/m:countTokens", "POST", Dialect::Gemini),
        ("GET", "/api/chat", "POST", Dialect::Ollama),
        ("POST", "/v1/models", "GET", Dialect::OpenAiChat),
        ("POST", "/api/ps", "GET", Dialect::Ollama),
        ("POST", "/metrics", "GET", Dialect::OpenAiChat),
    ] {
        let mut client = Client::connect(router.addr).await;
        for _ in 0..2 {
            // Twice over one connection: it goes on, whatever the body was.
            client.request(method, target, &[], b"{\"a\":1}").await;
            let answer = client.answer().await;
            assert_eq!((answer.status, answer.header("allow")), (405, Some(allow)), "{method} {target}");
            let message = speech::error_of(dialect, &answer.json());
            assert!(message.contains(method) && message.contains(allow), "{message}");
        }
    }
    for (target, dialect) in [
        ("/v1/embeddings", Dialect::OpenAiChat),
        ("/v1/responses/resp_1/cancel", Dialect::OpenAiChat),
        ("/v2/chat", Dialect::OpenAiChat),
        ("/v1/messages/batches", Dialect::Anthropic),
        ("/v1beta/models/m:embedContent", Dialect::Gemini),
        ("/v1beta/cachedContents", Dialect::Gemini),
        ("/api/pull", Dialect::Ollama),
        ("/%ff/..%2f", Dialect::OpenAiChat),
    ] {
        let answer = Client::post(router.addr, target, "{}").await;
        assert_eq!(answer.status, 404, "{target}");
        let message = speech::error_of(dialect, &answer.json());
        assert!(message.contains(target), "{target}: {message}");
        // What its SDK makes an exception of: a path that is missing is no missing model.
        let error = &answer.json()["error"];
        let word = match dialect {
            Dialect::OpenAiChat | Dialect::OpenAiResponses => &error["code"],
            Dialect::Anthropic => &error["type"],
            Dialect::Gemini => &error["status"],
            Dialect::Ollama => continue,
        };
        let expected = match dialect {
            Dialect::Anthropic => "not_found_error",
            Dialect::Gemini => "NOT_FOUND",
            _ => "unknown_url",
        };
        assert_eq!(word, expected, "{target}");
    }
}

#[tokio::test]
async fn a_client_that_breaks_off_hurts_nobody() {
    let (upstreams, router) = five().await;
    for cut in ["POST /v1/mess", "POST /v1/messages HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{\"model\":", ""]
    {
        let mut client = Client::connect(router.addr).await;
        client.send(cut).await;
        drop(client);
    }
    let (dialect, model) = (Dialect::Anthropic, "anthropic-m");
    let answer = Client::post(router.addr, "/v1/messages", speech::request(dialect, model, false)).await;
    assert_eq!(answer.text(), speech::reply(dialect));
    assert_eq!(upstreams[2].asked().len(), 1);
}
