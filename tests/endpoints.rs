//! Everything that clients ask besides chat, and the habits of particular clients.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use codecs::dialect::Dialect;
use support::{
    Client, Router, Upstream,
    router::{provider, provider_at},
    speech,
};
use tokio::sync::Notify;

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

/// A gateway that knows the models `one` and `two/three` and the alias `best`, and no other.
fn listing() -> Router {
    let config = provider_at("p", Dialect::OpenAiChat, "http://127.0.0.1:1")
        .replace("[\"*\"]", "[\"one\", \"two/three\", \"gpt-*\"]");
    Router::start(&(config + "[aliases]\nbest = \"p/one\"\n"))
}

#[tokio::test]
async fn model_lists_have_every_dialects_shape() {
    let router = listing();
    let get = async |target: &str, fields: &[(&str, &str)]| {
        let answer = Client::once(router.addr, "GET", target, fields, "").await;
        assert_eq!(answer.status, 200, "{target} {}", answer.text());
        answer.json()
    };
    let names = |list: &serde_json::Value, key: &str| -> Vec<String> {
        list.as_array().unwrap().iter().map(|model| model[key].as_str().unwrap().to_owned()).collect()
    };
    for target in ["/v1/models", "/v1/v1/models", "/models"] {
        let list = get(target, &[]).await;
        assert_eq!(list["object"], "list");
        assert_eq!(names(&list["data"], "id"), ["best", "one", "two/three"]);
        assert_eq!(list["data"][1]["owned_by"], "p");
    }
    let list = get("/v1/models?limit=1000", &[("anthropic-version", "2023-06-01")]).await;
    assert_eq!(names(&list["data"], "id"), ["best", "one", "two/three"]);
    assert_eq!(
        (&list["has_more"], &list["first_id"], &list["last_id"]),
        (&false.into(), &"best".into(), &"two/three".into())
    );
    for (target, fields) in [
        ("/v1beta/models?pageSize=50", &[][..]),
        ("/v1/models", &[("x-goog-api-key", "k")]),
        ("/v1/models?pageSize=50", &[("X-Goog-Api-Client", "google-genai-sdk/3.0")]),
    ] {
        let list = get(target, fields).await;
        assert_eq!(names(&list["models"], "name"), ["models/best", "models/one", "models/two/three"], "{target}");
        assert!(names(&list["models"], "displayName").contains(&"one".to_owned()));
    }
    let list = get("/api/tags", &[]).await;
    assert_eq!(names(&list["models"], "model"), ["best", "one", "two/three"]);

    assert_eq!(get("/v1/models/two/three", &[]).await["id"], "two/three");
    assert_eq!(get("/v1/models/two%2Fthree", &[("anthropic-version", "1")]).await["type"], "model");
    assert_eq!(get("/v1beta/models/gpt-x", &[]).await["name"], "models/gpt-x");
    assert_eq!(get("/v1/models/one", &[("x-goog-api-key", "k")]).await["name"], "models/one");
    for (target, fields, dialect) in [
        ("/v1/models/none", &[][..], Dialect::OpenAiChat),
        ("/v1/models/none", &[("anthropic-version", "1")], Dialect::Anthropic),
        ("/v1beta/models/none", &[], Dialect::Gemini),
        ("/v1/models/none", &[("x-goog-api-key", "k")], Dialect::Gemini),
    ] {
        let answer = Client::once(router.addr, "GET", target, fields, "").await;
        assert_eq!(answer.status, 404, "{target}");
        assert!(speech::error_of(dialect, &answer.json()).contains("`none`"), "{target}");
    }
}

#[tokio::test]
async fn ollamas_small_questions() {
    let router = listing();
    let show = Client::post(router.addr, "/api/show", r#"{"model":"one","verbose":true}"#).await.json();
    assert!(show["capabilities"].as_array().unwrap().contains(&"tools".into()));
    assert!(show["model_info"]["flow-router.context_length"].as_u64().unwrap() > 0);
    assert_eq!(Client::post(router.addr, "/api/show", r#"{"name":"best"}"#).await.status, 200);
    let missing = Client::post(router.addr, "/api/show", r#"{"model":"none"}"#).await;
    assert_eq!(missing.status, 404);
    speech::error_of(Dialect::Ollama, &missing.json());
    let wrong = Client::post(router.addr, "/api/show", "[]").await;
    assert_eq!(wrong.status, 400);
    assert!(speech::error_of(Dialect::Ollama, &wrong.json()).contains("model"));
    assert!(Client::get(router.addr, "/api/version").await.json()["version"].is_string());
    assert_eq!(Client::get(router.addr, "/api/ps").await.json()["models"], serde_json::json!([]));
    assert_eq!(Client::get(router.addr, "/").await.text(), "Ollama is running");
    let head = {
        let mut client = Client::connect(router.addr).await;
        client.request("HEAD", "/", &[], b"").await;
        client.head().await
    };
    assert_eq!((head.0, head.1.get("content-length")), (200, Some("17")));
}

#[tokio::test]
async fn ollamas_generate_and_embedded_habits() {
    let upstream = Upstream::always(200, JSON, speech::reply(Dialect::Anthropic)).await;
    let router = Router::start(&provider("a", Dialect::Anthropic, &upstream));
    let answer =
        Client::post(router.addr, "/api/generate", r#"{"model":"m","prompt":"Say hello","stream":false}"#).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["response"], speech::TEXT);
    let streams = Upstream::streams("text/event-stream", speech::stream(Dialect::Anthropic).blocks()).await;
    let router = Router::start(&provider("a", Dialect::Anthropic, &streams));
    // Ollama streams unless told otherwise.
    let answer = Client::post(router.addr, "/api/generate", r#"{"model":"m","prompt":"Say hello"}"#).await;
    let rows = speech::payloads(Dialect::Ollama, &answer.text());
    let text: String = rows.iter().filter_map(|row| row["response"].as_str()).collect();
    assert_eq!((text.as_str(), &rows.last().unwrap()["done"]), (speech::TEXT, &true.into()));
}

#[tokio::test]
async fn paths_with_v1_twice_and_googles_paths_under_v1() {
    for (dialect, target) in [
        (Dialect::Anthropic, "/v1/v1/messages"),
        (Dialect::OpenAiChat, "/v1/v1/chat/completions"),
        (Dialect::OpenAiChat, "/chat/completions"),
        (Dialect::OpenAiResponses, "/v1/v1/responses"),
        (Dialect::Gemini, "/v1/models/m:generateContent"),
        (Dialect::Gemini, "/models/m:generateContent"),
    ] {
        let upstream = Upstream::always(200, JSON, speech::reply(dialect)).await;
        let router = Router::start(&provider("a", dialect, &upstream));
        let answer = Client::post(router.addr, target, speech::request(dialect, "m", false)).await;
        assert_eq!(answer.text(), speech::reply(dialect), "{target}");
        let asked = upstream.asked_once();
        assert_eq!(asked.target(), speech::path(dialect, "m", false), "{target}");
    }
    let dialect = Dialect::Gemini;
    let upstream = Upstream::streams("text/event-stream", speech::stream(dialect).blocks()).await;
    let router = Router::start(&provider("a", dialect, &upstream));
    let target = "/v1/models/m:streamGenerateContent?alt=sse";
    let answer = Client::post(router.addr, target, speech::request(dialect, "m", true)).await;
    assert_eq!(answer.body, speech::stream(dialect).bytes());
}

#[tokio::test]
async fn a_websocket_for_responses_is_refused_with_426() {
    let router = listing();
    let fields = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    for target in ["/v1/responses", "/responses", "/v1/v1/responses"] {
        let answer = Client::once(router.addr, "GET", target, &fields, "").await;
        assert_eq!(answer.status, 426, "{target}");
        assert!(speech::error_of(Dialect::OpenAiResponses, &answer.json()).contains("POST"));
    }
}

#[tokio::test]
async fn tokens_are_counted_natively_translated_or_estimated() {
    let count = |dialect| match dialect {
        Dialect::Gemini => r#"{"totalTokens":42}"#,
        Dialect::OpenAiResponses => r#"{"object":"response.input_tokens","input_tokens":42}"#,
        _ => r#"{"input_tokens":42}"#,
    };
    let path = |dialect: Dialect, model: &str| match dialect {
        Dialect::Gemini => format!("/v1beta/models/{model}:countTokens"),
        Dialect::OpenAiResponses => "/v1/responses/input_tokens".to_owned(),
        _ => "/v1/messages/count_tokens".to_owned(),
    };
    let counters = [Dialect::Anthropic, Dialect::Gemini, Dialect::OpenAiResponses];
    for upstream_dialect in Dialect::ALL {
        let upstream = Upstream::always(200, JSON, count(upstream_dialect)).await;
        let router = Router::start(&provider("a", upstream_dialect, &upstream));
        for client in counters {
            let request = speech::request(client, "m", false);
            let answer = Client::post(router.addr, &path(client, "m"), &request).await;
            assert_eq!(answer.status, 200, "{client:?} at {upstream_dialect:?}: {}", answer.text());
            let counted = answer.json();
            let tokens =
                counted[if client == Dialect::Gemini { "totalTokens" } else { "input_tokens" }].as_u64().unwrap();
            // Few of those who speak Responses can count, so that only who asks in that dialect is taken at his word.
            let native = matches!(upstream_dialect, Dialect::Anthropic | Dialect::Gemini)
                || (client, upstream_dialect) == (Dialect::OpenAiResponses, Dialect::OpenAiResponses);
            assert_eq!(
                answer.header("x-flow-router-estimated"),
                (!native).then_some("1"),
                "{client:?} at {upstream_dialect:?}"
            );
            if !native {
                assert!((1..42).contains(&tokens) && upstream.asked().is_empty(), "{tokens}");
                continue;
            }
            assert_eq!(tokens, 42, "{client:?} at {upstream_dialect:?}");
            let asked = upstream.asked().pop().unwrap();
            assert_eq!(asked.target(), path(upstream_dialect, "m"));
            if client == upstream_dialect {
                assert_eq!(String::from_utf8_lossy(&asked.body), request);
            }
        }
    }
    // A provider that fails to count does not fail the client.
    let upstream = Upstream::always(500, JSON, "{}").await;
    let router = Router::start(&provider("a", Dialect::Anthropic, &upstream));
    let request = speech::request(Dialect::Anthropic, "m", false);
    let answer = Client::post(router.addr, "/v1/messages/count_tokens", request).await;
    assert_eq!((answer.status, answer.header("x-flow-router-estimated")), (200, Some("1")));
}

#[tokio::test]
async fn a_silent_stream_is_kept_alive_between_events_only() {
    for (upstream_dialect, client) in [
        (Dialect::OpenAiChat, Dialect::OpenAiChat),
        (Dialect::OpenAiResponses, Dialect::OpenAiResponses),
        (Dialect::Anthropic, Dialect::Anthropic),
        (Dialect::Gemini, Dialect::Gemini),
        (Dialect::OpenAiChat, Dialect::Anthropic),
        (Dialect::Gemini, Dialect::OpenAiChat),
    ] {
        for half in [false, true] {
            let go = Arc::new(Notify::new());
            let gate = go.clone();
            let upstream = Upstream::start(move |mut conn| {
                let gate = gate.clone();
                async move {
                    conn.asked().await.unwrap();
                    let spoken = speech::stream(upstream_dialect);
                    let next = &spoken.content[1];
                    let (first, second) = next.split_at(if half { next.len() / 2 } else { 0 });
                    conn.stream(upstream_dialect.stream_content_type()).await;
                    conn.chunk(spoken.prologue.concat() + &spoken.content[0] + first).await;
                    gate.notified().await;
                    conn.chunk(second.to_owned() + &spoken.end.concat()).await;
                    conn.end().await;
                }
            })
            .await;
            let router = Router::start_with(&provider("a", upstream_dialect, &upstream), &["--keep-alive", "100ms"]);
            let mut call = Client::connect(router.addr).await;
            let request = speech::request(client, "m", true);
            call.request("POST", &speech::path(client, "m", true), &[], request.as_bytes()).await;
            call.head().await;
            let mut seen = call.until("Hello").await;
            // In the middle of a forwarded event nothing may be said; the next bytes are the event's rest.
            if !(half && upstream_dialect == client) {
                let comment = call.piece().await.unwrap();
                assert_eq!(comment, client.keep_alive(), "{client:?} from {upstream_dialect:?}");
                seen += &String::from_utf8(comment).unwrap();
            }
            go.notify_one();
            let (rest, complete) = call.rest().await;
            assert!(complete);
            seen += &String::from_utf8(rest).unwrap();
            let heard = speech::heard(client, &seen);
            assert!(heard.ended && heard.text == speech::TEXT, "{client:?} from {upstream_dialect:?}: {seen}");
        }
    }
}

#[tokio::test]
async fn the_demo_answers_every_dialect_out_of_the_box() {
    let router = Router::start("");
    for dialect in Dialect::ALL {
        for stream in [false, true] {
            let request = speech::request(dialect, "any-model", stream);
            let answer = Client::post(router.addr, &speech::path(dialect, "any-model", stream), request).await;
            assert_eq!((answer.status, answer.header("x-flow-router-demo")), (200, Some("1")), "{dialect:?}");
            let text = match stream {
                true => speech::heard(dialect, &answer.text()).text,
                false => speech::text_of(dialect, &answer.json()),
            };
            assert!(text.contains("demo provider") && text.contains("Say hello"), "{dialect:?}: {text}");
        }
    }
    assert!(router.log().contains("demo"), "{}", router.log());
}

#[tokio::test]
async fn metrics_show_what_is_open_and_what_waits() {
    let dialect = Dialect::OpenAiChat;
    let go = Arc::new(Notify::new());
    let gate = go.clone();
    let upstream = Upstream::start(move |mut conn| {
        let gate = gate.clone();
        async move {
            conn.asked().await.unwrap();
            let spoken = speech::stream(dialect);
            conn.stream("text/event-stream").await;
            conn.chunk(spoken.prologue.concat()).await;
            gate.notified().await;
            conn.chunk(&spoken.content[0]).await;
            gate.notified().await;
            conn.chunk(spoken.content[1].clone() + &spoken.end.concat()).await;
            conn.end().await;
            conn.closed().await;
        }
    })
    .await;
    let flags = ["--hold-prologue", "1h", "--max-connections", "50", "--lanes", "1"];
    let router = Router::start_with(&provider("a", dialect, &upstream), &flags);
    // One connection for the stream, one for the questions; each question is itself a request.
    let mut call = Client::connect(router.addr).await;
    let request = speech::request(dialect, "m", true);
    call.request("POST", &speech::path(dialect, "m", true), &[], request.as_bytes()).await;
    // Asked until all is so: the request of the question before may still be open.
    let show = async |wanted: &[&str]| {
        let since = std::time::Instant::now();
        loop {
            let text = Client::get(router.addr, "/metrics").await.text();
            match wanted.iter().find(|line| !text.lines().any(|own| own == **line)) {
                None => return,
                Some(line) => assert!(since.elapsed() < support::PATIENCE, "`{line}` is not in\n{text}"),
            }
        }
    };
    let in_use = |protocol: &str, state: &str, n: usize| {
        format!("flow_router_upstream_connections{{lane=\"0\",protocol=\"{protocol}\",state=\"{state}\"}} {n}")
    };
    let steady = [
        "flow_router_client_connections_limit{lane=\"0\"} 50",
        "flow_router_client_connections_full_total{lane=\"0\"} 0",
        "flow_router_accept_failures_total{lane=\"0\"} 0",
        "flow_router_upstream_streams{lane=\"0\"} 0",
        "flow_router_upstream_connecting{lane=\"0\"} 0",
    ];
    let busy = [in_use("http1", "in_use", 1), in_use("http1", "idle", 0), in_use("http2", "in_use", 0)];
    let busy: Vec<_> = busy.iter().map(String::as_str).chain(steady).collect();
    let requests = "flow_router_http_requests_open{lane=\"0\"} 2";
    show(&[&["flow_router_holding 1", "flow_router_in_flight 1", requests], &busy[..]].concat()).await;
    go.notify_one();
    call.head().await;
    call.until("Hello").await;
    show(&[&["flow_router_holding 0", "flow_router_in_flight 1", requests], &busy[..]].concat()).await;
    go.notify_one();
    assert!(call.rest().await.1);
    show(&[&in_use("http1", "idle", 1), &in_use("http1", "in_use", 0), "flow_router_in_flight 0"]).await;
    // The connection of the last question may not be closed yet, this one and that of the stream are open.
    show(&["flow_router_client_connections{lane=\"0\"} 2", "flow_router_http_requests_open{lane=\"0\"} 1"]).await;
}

#[tokio::test]
async fn metrics_count_requests_that_wait_for_a_connection() {
    // It accepts and never says a word of TLS.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = provider_at("a", Dialect::OpenAiChat, &format!("https://{}", silent.local_addr().unwrap()));
    let router = Router::start_with(&config, &["--lanes", "1"]);
    let request = speech::request(Dialect::OpenAiChat, "m", true);
    let mut calls = Vec::new();
    for _ in 0..3 {
        let mut call = Client::connect(router.addr).await;
        call.request("POST", "/v1/chat/completions", &[], request.as_bytes()).await;
        calls.push(call);
    }
    Client::metrics(router.addr, "flow_router_upstream_connecting{lane=\"0\"} 3").await;
    calls.pop();
    Client::metrics(router.addr, "flow_router_upstream_connecting{lane=\"0\"} 2").await;
}
