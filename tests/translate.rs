//! Each of the 25 pairs through the binary, streamed and not. What every field becomes is tested where the codecs are;
//! here a request must arrive in the upstream's dialect at the upstream's path, and its answer in the client's.
#![allow(clippy::unwrap_used)]

mod support;

use codecs::dialect::Dialect;
use serde_json::Value;
use support::{
    Client, Router, Upstream,
    router::provider,
    speech::{self, Heard},
};

/// One upstream per dialect, each a provider named as its dialect.
async fn five(streams: bool) -> (Vec<Upstream>, Router) {
    let mut upstreams = Vec::new();
    let mut config = String::new();
    for dialect in Dialect::ALL {
        let upstream = match streams {
            true => Upstream::streams(dialect.stream_content_type(), speech::stream(dialect).blocks()).await,
            false => Upstream::always(200, &[("content-type", "application/json")], speech::reply(dialect)).await,
        };
        config += &provider(dialect.name(), dialect, &upstream);
        upstreams.push(upstream);
    }
    (upstreams, Router::start(&config))
}

/// The user's words in a request of that dialect.
fn said(dialect: Dialect, request: &Value) -> String {
    let text = match dialect {
        Dialect::OpenAiResponses if request["input"].is_string() => &request["input"],
        Dialect::OpenAiResponses => &request["input"][0]["content"],
        Dialect::Gemini => &request["contents"][0]["parts"][0]["text"],
        _ => &request["messages"][0]["content"],
    };
    let text = if text.is_array() { &text[0]["text"] } else { text };
    text.as_str().unwrap_or_else(|| panic!("no text in {request}")).to_owned()
}

#[track_caller]
fn check_request(upstream: &Upstream, dialect: Dialect, stream: bool) {
    let asked = upstream.asked().pop().unwrap();
    let expected = match (dialect, stream) {
        (Dialect::Gemini, true) => "/v1beta/models/model-1:streamGenerateContent?alt=sse".to_owned(),
        _ => speech::path(dialect, "model-1", stream),
    };
    assert_eq!(asked.target(), expected);
    let request = asked.json();
    assert_eq!(said(dialect, &request), "Say hello");
    if dialect != Dialect::Gemini {
        assert_eq!(request["model"], "model-1", "{dialect:?}");
        assert_eq!(request["stream"].as_bool().unwrap_or(false), stream, "{dialect:?} {request}");
    }
}

#[tokio::test]
async fn documents() {
    let (upstreams, router) = five(false).await;
    for (to, upstream) in Dialect::ALL.into_iter().zip(&upstreams) {
        for from in Dialect::ALL {
            let model = format!("{}/model-1", to.name());
            let answer =
                Client::post(router.addr, &speech::path(from, &model, false), speech::request(from, &model, false))
                    .await;
            assert_eq!(answer.status, 200, "{from:?} to {to:?}: {}", answer.text());
            assert_eq!(answer.header("x-flow-router-provider"), Some(to.name()));
            assert!(answer.header("content-type").unwrap().starts_with("application/json"));
            let reply = answer.json();
            assert_eq!(speech::text_of(from, &reply), speech::TEXT, "{from:?} to {to:?}");
            assert_eq!(speech::usage_of(from, &reply), (11, 3), "{from:?} to {to:?}: {reply}");
            assert!(answer.header("x-flow-router-estimated").is_none(), "{from:?} to {to:?}");
            check_request(upstream, to, false);
        }
    }
}

#[tokio::test]
async fn streams() {
    let (upstreams, router) = five(true).await;
    for (to, upstream) in Dialect::ALL.into_iter().zip(&upstreams) {
        for from in Dialect::ALL {
            let model = format!("{}/model-1", to.name());
            let mut request = speech::request(from, &model, true);
            if from == Dialect::OpenAiChat {
                request.insert_str(1, r#""stream_options":{"include_usage":true},"#);
            }
            let answer = Client::post(router.addr, &speech::path(from, &model, true), request).await;
            assert_eq!(answer.status, 200, "{from:?} to {to:?}: {}", answer.text());
            assert_eq!(answer.header("content-type"), Some(from.stream_content_type()), "{from:?} to {to:?}");
            assert!(answer.complete);
            let expected = Heard { text: speech::TEXT.to_owned(), ended: true, error: None, usage: (11, 3) };
            assert_eq!(speech::heard(from, &answer.text()), expected, "{from:?} to {to:?}\n{}", answer.text());
            check_request(upstream, to, true);
        }
    }
}

#[tokio::test]
async fn a_document_where_a_stream_was_asked_for() {
    // Some servers ignore `stream`: their document is told as a stream.
    let (_upstreams, router) = five(false).await;
    for to in Dialect::ALL {
        for from in Dialect::ALL {
            let model = format!("{}/model-1", to.name());
            let answer =
                Client::post(router.addr, &speech::path(from, &model, true), speech::request(from, &model, true)).await;
            assert_eq!(answer.status, 200, "{from:?} to {to:?}: {}", answer.text());
            if to == Dialect::Ollama && from == Dialect::Ollama {
                continue;
            }
            assert_eq!(answer.header("content-type"), Some(from.stream_content_type()), "{from:?} to {to:?}");
            let heard = speech::heard(from, &answer.text());
            assert!(heard.ended && heard.text == speech::TEXT, "{from:?} to {to:?}: {}", answer.text());
        }
    }
}

#[tokio::test]
async fn what_has_no_place_is_named_or_refused() {
    let upstream =
        Upstream::always(200, &[("content-type", "application/json")], speech::reply(Dialect::Anthropic)).await;
    let config = provider("a", Dialect::Anthropic, &upstream);
    let request =
        speech::request(Dialect::OpenAiChat, "m", false).replacen('{', r#"{"seed":1,"logit_bias":{"1":2},"#, 1);
    let router = Router::start(&config);
    let answer = Client::post(router.addr, "/v1/chat/completions", &request).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("x-flow-router-dropped"), Some("logit_bias,seed"));
    let strict = Router::start_with(&config, &["--unsupported", "refuse"]);
    let answer = Client::post(strict.addr, "/v1/chat/completions", &request).await;
    assert_eq!(answer.status, 400);
    let message = speech::error_of(Dialect::OpenAiChat, &answer.json());
    assert!(message.contains("logit_bias, seed"), "{message}");
    assert_eq!(upstream.asked().len(), 1);
}

#[tokio::test]
async fn large_requests_pass_translated_and_not() {
    let (upstreams, router) = five(false).await;
    let text = "é\\n".repeat(400_000);
    for (to, upstream) in Dialect::ALL.into_iter().zip(&upstreams) {
        for from in [to, Dialect::Anthropic] {
            let model = format!("{}/model-1", to.name());
            let request = speech::request(from, &model, false).replace("Say hello", &text);
            let answer = Client::post(router.addr, &speech::path(from, &model, false), request).await;
            assert_eq!(answer.status, 200, "{from:?} to {to:?}: {}", answer.text());
            let asked = upstream.asked().pop().unwrap().json();
            assert_eq!(said(to, &asked).chars().count(), 800_000, "{from:?} to {to:?}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_fails_to_translate_hurts_no_other() {
    // One upstream sends nonsense in the middle of its stream while another one streams well over the same gateway.
    let dialect = Dialect::OpenAiChat;
    let spoken = speech::stream(dialect);
    let broken = spoken.prologue.concat() + &spoken.content[0] + "data: {\"choices\":[{\"delta\":{\"content\":\n\n";
    let bad = Upstream::streams("text/event-stream", vec![broken.into_bytes()]).await;
    let good = Upstream::streams("text/event-stream", spoken.blocks()).await;
    let router = Router::start(&(provider("bad", dialect, &bad) + &provider("good", dialect, &good)));
    let ask = async |model: &str| {
        let request = speech::request(Dialect::Anthropic, model, true);
        speech::heard(Dialect::Anthropic, &Client::post(router.addr, "/v1/messages", request).await.text())
    };
    for _ in 0..5 {
        let (bad, good) = tokio::join!(ask("bad/m"), ask("good/m"));
        assert!(!bad.ended && bad.error.is_some() && bad.text == "Hello", "{bad:?}");
        assert!(good.ended && good.error.is_none() && good.text == speech::TEXT, "{good:?}");
    }
}
