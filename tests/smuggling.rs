//! HTTP/1 attacks on the whole program: what is refused is refused in the client's dialect, what is passed on can be read
//! in one way only, and an upstream that breaks the protocol is a true failure. The single rules of HTTP are in
//! `proxy/tests/h1/`.
#![allow(clippy::unwrap_used)]

mod support;

use codecs::dialect::Dialect;
use support::{Client, Router, Upstream, router::provider, speech, upstream::Asked};

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

/// A gateway in front of one upstream of that dialect.
async fn one(dialect: Dialect) -> (Upstream, Router) {
    let upstream = Upstream::always(200, JSON, speech::reply(dialect)).await;
    let router = Router::start(&provider("a", dialect, &upstream));
    (upstream, router)
}

/// Everything that the gateway says to these bytes, up to its close.
async fn talk(router: &Router, input: &str) -> String {
    use tokio::io::AsyncReadExt;
    let mut client = Client::connect(router.addr).await;
    client.send(input).await;
    let mut answers = Vec::new();
    let mut io = client.into_io();
    // A reset behind the answer is the gateway's right.
    let _ = support::within("the close", io.read_to_end(&mut answers)).await;
    String::from_utf8_lossy(&answers).into_owned()
}

/// The one framing of a request that an upstream saw.
#[track_caller]
fn unambiguous(asked: &Asked) {
    let count = |name: &str| asked.head.fields.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name)).count();
    assert_eq!((count("host"), count("content-length"), count("transfer-encoding")), (1, 1, 0), "{:?}", asked.head);
    assert_eq!(asked.head.get("content-length").unwrap(), asked.body.len().to_string());
    for gone in ["connection", "upgrade", "te", "trailer", "expect", "keep-alive", "http2-settings", "x-hop"] {
        assert_eq!(count(gone), 0, "{gone} is passed on: {:?}", asked.head);
    }
    assert!(asked.head.first.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{:?}", asked.head.first);
    assert_eq!(asked.head.first.split(' ').count(), 3, "{:?}", asked.head.first);
}

#[tokio::test]
async fn heads_that_cannot_be_read_are_refused_in_the_clients_dialect() {
    for dialect in Dialect::ALL {
        let (upstream, router) = one(dialect).await;
        let target = speech::path(dialect, "m", false);
        let body = speech::request(dialect, "m", false);
        for (fields, status, words) in [
            ("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", 400, "(cl_and_te)"),
            ("Content-Length: 4\r\nContent-Length: 5\r\n", 400, "(cl_repeated)"),
            ("Transfer-Encoding: gzip, chunked\r\n", 501, "(te_unsupported)"),
            ("X: 1\r\n 2\r\nContent-Length: 2\r\n", 400, "(obs_fold)"),
            ("X: 1\nContent-Length: 2\r\n", 400, "(bare_lf)"),
            ("Expect: wonders\r\nContent-Length: 2\r\n", 417, "(expect)"),
        ] {
            let input = format!("POST {target} HTTP/1.1\r\nHost: {}\r\n{fields}\r\n{body}", router.addr);
            let answers = talk(&router, &input).await;
            let (head, text) = answers.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{dialect:?} {fields:?}: {answers}");
            assert!(head.contains("content-type: application/json"), "{dialect:?} {fields:?}: {answers}");
            assert!(head.contains("connection: close"), "{dialect:?} {fields:?}: {answers}");
            let message = speech::error_of(dialect, &serde_json::from_str(text).unwrap());
            assert!(message.contains(words), "{dialect:?} {fields:?}: {message}");
        }
        assert_eq!(upstream.asked().len(), 0);
    }
    // Nobody's dialect: words.
    let (_upstream, router) = one(Dialect::OpenAiChat).await;
    for line in ["GET /v1/models", "POST /v1/nothing", "GET /api/settings"] {
        let answers = talk(&router, &format!("{line} HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")).await;
        assert!(answers.contains("content-type: text/plain\r\n"), "{answers}");
        assert!(answers.ends_with("400 Bad Request: there is more than one host field (host_repeated)\n"), "{answers}");
    }
}

#[tokio::test]
async fn a_second_request_that_is_hidden_in_the_first_reaches_nobody() {
    let (upstream, router) = one(Dialect::OpenAiChat).await;
    let addr = router.addr;
    let chat = speech::request(Dialect::OpenAiChat, "m", false);
    let hidden = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: {addr}\r\nX-Hidden: 1\r\nContent-Length: {}\r\n\r\n{chat}",
        chat.len()
    );
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n".to_owned(),
        "Content-Length: 0\r\nContent-Length: 5\r\n".to_owned(),
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n".to_owned(),
        "Transfer-Encoding : chunked\r\n".to_owned(),
        "Transfer-Encoding:\r\n chunked\r\n".to_owned(),
        "Transfer-Encoding: \x0bchunked\r\n".to_owned(),
        "X: y\rTransfer-Encoding: chunked\r\n".to_owned(),
        "Connection: close\r\nContent-Length: 0\r\n".to_owned(),
        "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n".to_owned(),
    ] {
        let input = format!("POST /v1/chat/completions HTTP/1.1\r\nHost: {addr}\r\n{fields}\r\n0\r\n\r\n{hidden}");
        let input = if fields.contains("Length: 0\r\n") { input.replacen("0\r\n\r\nPOST", "POST", 1) } else { input };
        let answers = talk(&router, &input).await;
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{fields:?}: {answers}");
        assert_eq!(upstream.asked().len(), 0, "{fields:?}: {answers}");
    }
    // A WebSocket that is not opened is no tunnel, whatever somebody on the way takes it for.
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 777";
    let answers =
        talk(&router, &format!("GET /v1/responses HTTP/1.1\r\nHost: {addr}\r\n{upgrade}\r\n\r\n{hidden}")).await;
    assert!(answers.starts_with("HTTP/1.1 426 ") && answers.contains("connection: close\r\n"), "{answers}");
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
    assert_eq!(upstream.asked().len(), 0);
}

#[tokio::test]
async fn what_is_passed_on_can_be_read_in_one_way_only() {
    for (client, provider) in [
        (Dialect::OpenAiChat, Dialect::OpenAiChat),
        (Dialect::Anthropic, Dialect::Gemini),
        (Dialect::Gemini, Dialect::Gemini),
        (Dialect::Gemini, Dialect::OpenAiChat),
    ] {
        let (upstream, router) = one(provider).await;
        let body = speech::request(client, "m", false);
        let target = speech::path(client, "m", false);
        let hop = "Connection: X-Hop, Host, Content-Length, Authorization\r\nX-Hop: 1\r\nTE: trailers\r\nTrailer: X\r\n\
                   Keep-Alive: 5\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nExpect: 100-continue\r\n";
        let half = body.len() / 2;
        let chunks = format!(
            "{half:x};a=b\r\n{}\r\n{:x}\r\n{}\r\n0\r\nContent-Length: 1\r\nX-Hop: 2\r\n\r\n",
            &body[..half],
            body.len() - half,
            &body[half..]
        );
        let input = format!(
            "POST {target} HTTP/1.1\r\nHost: {}\r\n{hop}Transfer-Encoding: chunked\r\n\r\n{chunks}\
             GET /healthz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            router.addr, router.addr
        );
        let answers = talk(&router, &input).await;
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{client:?}: {answers}");
        let asked = upstream.asked_once();
        unambiguous(&asked);
        let credential = if provider == Dialect::Gemini { "x-goog-api-key" } else { "authorization" };
        assert!(asked.head.get(credential).unwrap().ends_with("upstream-key"), "a client cannot strip our credential");
    }
}

#[tokio::test]
async fn a_models_name_cannot_split_the_request_to_an_upstream() {
    let evil = "m HTTP/1.1\\r\\nHost: evil\\r\\nX: ";
    let body = format!(r#"{{"model":"{evil}","max_tokens":5,"messages":[{{"role":"user","content":"Hi"}}]}}"#);
    for (target, body) in [
        ("/v1/messages", body.clone()),
        ("/v1/chat/completions", body),
        ("/v1beta/models/m%20HTTP%2F1.1%0d%0aX:%20y:generateContent", speech::request(Dialect::Gemini, "m", false)),
        (
            "/v1beta/models/..%2f..%2fsecret%3fa%23b:generateContent?x=%0d%0aY:z",
            speech::request(Dialect::Gemini, "m", false),
        ),
    ] {
        let (upstream, router) = one(Dialect::Gemini).await;
        let answer = Client::post(router.addr, target, body).await;
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
        assert!(answer.head.fields.iter().all(|(name, _)| !["x", "y", "host"].contains(&name.to_lowercase().as_str())));
        let asked = upstream.asked_once();
        unambiguous(&asked);
        assert!(
            !asked.head.fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("x") || name.eq_ignore_ascii_case("y"))
        );
        assert!(asked.target().starts_with("/v1beta/models/"), "{}", asked.target());
        assert!(!asked.target().split(['/', '?']).any(|part| part == ".."), "{}", asked.target());
    }
}

/// An upstream that breaks the protocol before its answer begins: a true status in the client's dialect, and nothing of
/// what it said.
#[tokio::test]
async fn upstreams_that_break_the_protocol_are_failures() {
    let framed =
        |fields: &str, body: &str| format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{fields}\r\n{body}");
    let reply = speech::reply(Dialect::OpenAiChat);
    let chunk = format!("{:x}\r\n{reply}\r\n0\r\n\r\n", reply.len());
    for (name, bytes) in [
        ("101", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nEVIL".to_owned()),
        ("CL and TE", framed(&format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", reply.len()), &chunk)),
        ("two lengths", framed(&format!("Content-Length: {}\r\nContent-Length: 3\r\n", reply.len()), reply)),
        ("a folded field", framed(&format!("X: 1\r\n EVIL\r\nContent-Length: {}\r\n", reply.len()), reply)),
        ("bare LF", framed(&format!("X: 1\nEVIL: 1\r\nContent-Length: {}\r\n", reply.len()), reply)),
        ("bare CR", framed(&format!("X: 1\rEVIL: 1\r\nContent-Length: {}\r\n", reply.len()), reply)),
        ("HTTP/0.9", "EVIL".to_owned()),
        ("a body cut short", framed(&format!("Content-Length: {}\r\n", reply.len() + 1), reply)),
        ("a chunk size of nonsense", framed("Transfer-Encoding: chunked\r\n", "0xEVIL\r\n")),
    ] {
        let upstream = Upstream::start(move |mut conn| {
            let bytes = bytes.clone();
            async move {
                if conn.asked().await.is_some() {
                    conn.write(bytes).await;
                }
            }
        })
        .await;
        for dialect in [Dialect::OpenAiChat, Dialect::Anthropic] {
            let router = Router::start(&provider("a", Dialect::OpenAiChat, &upstream));
            let answer =
                Client::post(router.addr, &speech::path(dialect, "m", false), speech::request(dialect, "m", false))
                    .await;
            assert!(answer.status >= 500, "{name}: {} {}", answer.status, answer.text());
            speech::error_of(dialect, &answer.json());
            assert!(answer.complete && !answer.text().contains("EVIL"), "{name}: {}", answer.text());
            assert!(!answer.head.fields.iter().any(|(name, value)| name == "EVIL" || value.contains("EVIL")), "{name}");
        }
    }
}

#[tokio::test]
async fn what_an_upstream_says_to_its_connection_stays_there() {
    let fields = [("content-type", "application/json"), ("Connection", "X-Hop"), ("X-Hop", "1"), ("X-End", "2")];
    let upstream = Upstream::always(200, &fields, speech::reply(Dialect::OpenAiChat)).await;
    let router = Router::start(&provider("a", Dialect::OpenAiChat, &upstream));
    let body = speech::request(Dialect::OpenAiChat, "m", false);
    let answer = Client::post(router.addr, "/v1/chat/completions", body).await;
    assert_eq!((answer.header("x-hop"), answer.header("connection"), answer.header("x-end")), (None, None, Some("2")));
}

/// A second answer in the same breath is nobody's.
#[tokio::test]
async fn a_surplus_answer_is_not_given_to_the_next_request() {
    let reply = speech::reply(Dialect::OpenAiChat);
    let whole = |body: &str| {
        format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    let both = [whole(reply), whole(&reply.replace(speech::TEXT, "EVIL"))].concat();
    let upstream = Upstream::start(move |mut conn| {
        let both = both.clone();
        async move {
            while conn.asked().await.is_some() {
                conn.write(&both).await;
            }
        }
    })
    .await;
    let router = Router::start(&provider("a", Dialect::OpenAiChat, &upstream));
    let mut client = Client::connect(router.addr).await;
    for _ in 0..3 {
        let body = speech::request(Dialect::OpenAiChat, "m", false);
        client.request("POST", "/v1/chat/completions", &[], body.as_bytes()).await;
        assert_eq!(client.answer().await.text(), reply);
    }
    assert_eq!(upstream.connections(), 3);
}
