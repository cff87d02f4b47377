//! What settings and vendors' quirks change in passing: ids, counts and model names of answers, parameters and thinking of
//! requests, and secrets that errors quote.
#![allow(clippy::unwrap_used)]

mod support;

use codecs::dialect::Dialect;
use serde_json::{Value, json};
use support::{Answer, Client, Router, Upstream, router::provider, speech};

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

async fn streams(dialect: Dialect, bytes: &[u8], size: usize) -> Upstream {
    let pieces = bytes.chunks(size).map(<[u8]>::to_vec).collect();
    Upstream::streams(dialect.stream_content_type(), pieces).await
}

async fn ask(router: &Router, client: Dialect, model: &str, stream: bool) -> Answer {
    let request = speech::request(client, model, stream);
    let answer = Client::post(router.addr, &speech::path(client, model, stream), request).await;
    assert_eq!(answer.status, 200, "{client:?} {}", answer.text());
    assert!(answer.complete);
    answer
}

/// A provider with further lines in its table.
fn with(dialect: Dialect, upstream: &Upstream, lines: &str) -> String {
    provider("up", dialect, upstream).trim_end().to_owned() + "\n" + lines + "\n"
}

#[tokio::test]
async fn useless_ids_of_chat_answers_become_one_good_one() {
    let dialect = Dialect::OpenAiChat;
    let spoken = String::from_utf8(speech::stream(dialect).bytes()).unwrap();
    let bare = spoken.replace(r#""id":"c-1","#, "");
    for (bytes, size) in [(&spoken, 7), (&spoken, 1 << 20), (&bare, 100)] {
        let upstream = streams(dialect, bytes.as_bytes(), size).await;
        let router = Router::start(&with(dialect, &upstream, "fix_id = true"));
        let text = ask(&router, dialect, "m", true).await.text();
        let payloads = speech::payloads(dialect, &text);
        let id = payloads[0]["id"].as_str().unwrap().to_owned();
        assert!(id.starts_with("chatcmpl-") && id.len() > 12, "{id}");
        assert!(payloads.iter().all(|chunk| chunk["id"] == *id), "{text}");
        // Nothing else has changed.
        let back = text.replace(&format!(r#""id":"{id}","#), if bytes == &bare { "" } else { r#""id":"c-1","# });
        assert_eq!(&back, bytes, "in pieces of {size}");
    }
    let upstream = Upstream::always(200, JSON, speech::reply(dialect)).await;
    let router = Router::start(&with(dialect, &upstream, "fix_id = true"));
    let answer = ask(&router, dialect, "m", false).await;
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("chatcmpl-"), "{id}");
    assert_eq!(answer.text().replace(&id, "c-1"), speech::reply(dialect));
    // Likewise where a stream becomes a document.
    let upstream = streams(dialect, spoken.as_bytes(), 50).await;
    let router = Router::start(&with(dialect, &upstream, "fix_id = true\nstream_only = true"));
    let id = ask(&router, dialect, "m", false).await.json()["id"].clone();
    assert!(id.as_str().unwrap().starts_with("chatcmpl-"), "{id}");
}

#[tokio::test]
async fn good_ids_stay() {
    let dialect = Dialect::OpenAiChat;
    let spoken = String::from_utf8(speech::stream(dialect).bytes()).unwrap().replace("c-1", "gen-1234567");
    let upstream = streams(dialect, spoken.as_bytes(), 9).await;
    let router = Router::start(&with(dialect, &upstream, "fix_id = true"));
    assert_eq!(ask(&router, dialect, "m", true).await.text(), spoken);
}

#[tokio::test]
async fn the_pad_is_seen_by_clients_only() {
    for upstream in Dialect::ALL {
        let spoken = speech::stream(upstream).bytes();
        let server = Upstream::start(move |mut conn| {
            let spoken = spoken.clone();
            async move {
                while let Some(asked) = conn.asked().await {
                    let stream = asked.target().contains("streamGenerate") || asked.json()["stream"] == true;
                    if !stream {
                        conn.answer(200, JSON, speech::reply(upstream)).await;
                        continue;
                    }
                    conn.stream(upstream.stream_content_type()).await;
                    for piece in spoken.chunks(11) {
                        conn.chunk(piece).await;
                    }
                    conn.end().await;
                }
            }
        })
        .await;
        let router = Router::start_with(&provider("up", upstream, &server), &["--usage-pad", "2000"]);
        for client in Dialect::ALL {
            let mut request: Value = serde_json::from_str(&speech::request(client, "m", true)).unwrap();
            if client == Dialect::OpenAiChat {
                request["stream_options"] = json!({"include_usage": true});
            }
            let path = speech::path(client, "m", true);
            let answer = Client::post(router.addr, &path, request.to_string()).await;
            let heard = speech::heard(client, &answer.text());
            assert!(heard.ended && heard.text == speech::TEXT, "{client:?} from {upstream:?} {}", answer.text());
            // Anthropic's first count is an estimate where the upstream counts at the end; it is padded too.
            assert_eq!(heard.usage, (2011, 3), "{client:?} from {upstream:?} {}", answer.text());
            let reply = ask(&router, client, "m", false).await;
            assert_eq!(speech::usage_of(client, &reply.json()), (2011, 3), "{client:?} from {upstream:?}");
            let total = &reply.json()["usage"]["total_tokens"];
            assert!(total.is_null() || total == 2014, "{client:?} from {upstream:?} {total}");
        }
        let line = r#"flow_router_tokens_total{provider="up",bucket="uncached",source="upstream"} 110"#;
        Client::metrics(router.addr, line).await;
    }
}

#[tokio::test]
async fn answers_name_the_model_as_asked_for_if_wished() {
    for upstream in Dialect::ALL {
        let server = streams(upstream, &speech::stream(upstream).bytes(), 13).await;
        let config = format!("echo_model = true\n{}[aliases]\nquick = [\"up/m\"]\n", provider("up", upstream, &server));
        let router = Router::start(&config);
        for client in Dialect::ALL {
            let text = ask(&router, client, "quick", true).await.text();
            let names = if client == Dialect::Gemini { "\"modelVersion\"" } else { "\"model\"" };
            assert!(text.contains(names) && text.contains("\"quick\""), "{client:?} from {upstream:?} {text}");
            assert!(!text.contains(speech::MODEL), "{client:?} from {upstream:?} {text}");
        }
    }
}

#[tokio::test]
async fn a_document_in_place_of_a_stream_is_edited_too() {
    for dialect in Dialect::ALL {
        let upstream = Upstream::always(200, JSON, speech::reply(dialect)).await;
        let flags = ["--usage-pad", "5", "--echo-model", "true"];
        let router = Router::start_with(&provider("up", dialect, &upstream), &flags);
        let mut request: Value = serde_json::from_str(&speech::request(dialect, "up/m", true)).unwrap();
        if dialect == Dialect::OpenAiChat {
            request["stream_options"] = json!({"include_usage": true});
        }
        let answer = Client::post(router.addr, &speech::path(dialect, "up/m", true), request.to_string()).await;
        let heard = speech::heard(dialect, &answer.text());
        assert_eq!((heard.text.as_str(), heard.usage), (speech::TEXT, (16, 3)), "{dialect:?} {}", answer.text());
        assert!(answer.text().contains("\"up/m\""), "{dialect:?} {}", answer.text());
    }
}

#[tokio::test]
async fn secrets_are_masked_in_errors_inside_streams() {
    for upstream in Dialect::ALL {
        let spoken = speech::stream(upstream);
        let error = speech::overload_event(upstream).replace("try later", "your key upstream-key is tired");
        // Half of the events before it are cut as well: they pass as they are.
        let whole = spoken.prologue.concat() + &spoken.content.concat() + &error;
        let unended = whole.trim_end().to_owned();
        for (text, size) in [(&whole, 1 << 20), (&whole, 9), (&whole, 1), (&unended, 17)] {
            let server = streams(upstream, text.as_bytes(), size).await;
            // The stream's end cools the model down; it is asked by its provider's name.
            let router = Router::start(&provider("up", upstream, &server));
            for client in Dialect::ALL {
                let answer = ask(&router, client, "up/m", true).await;
                let said = answer.text();
                assert!(!said.contains("upstream-key"), "{client:?} from {upstream:?} in {size}: {said}");
                let heard = speech::heard(client, &said);
                assert_eq!(heard.text, speech::TEXT, "{client:?} from {upstream:?} in {size}");
                if text == &whole {
                    assert!(
                        heard.error.unwrap().contains("your key *** is tired"),
                        "{client:?} from {upstream:?} {said}"
                    );
                    if client == upstream {
                        assert_eq!(said, whole.replace("upstream-key", "***"), "{client:?} in {size}");
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn a_cut_event_with_the_word_error_in_its_text_passes_whole() {
    for dialect in Dialect::ALL {
        let spoken = String::from_utf8(speech::stream(dialect).bytes()).unwrap().replace("Hello", "an \\\"error\\\"");
        for size in [1, 10, 40] {
            let upstream = streams(dialect, spoken.as_bytes(), size).await;
            let router = Router::start(&provider("up", dialect, &upstream));
            assert_eq!(ask(&router, dialect, "m", true).await.text(), spoken, "{dialect:?} in pieces of {size}");
        }
    }
}

#[tokio::test]
async fn thinking_is_asked_for_in_the_vendors_form() {
    let anthropic = r#"{"model":"up/m","max_tokens":9000,"thinking":{"type":"enabled","budget_tokens":5000},
        "messages":[{"role":"user","content":"q"}]}"#;
    let members = ["reasoning_effort", "thinking", "enable_thinking", "thinking_budget", "reasoning"];
    for (lines, expected) in [
        ("preset = \"deepseek\"", json!({"thinking": {"type": "enabled"}, "reasoning_effort": "medium"})),
        ("preset = \"zhipuai\"", json!({"thinking": {"type": "enabled"}})),
        ("preset = \"moonshot\"", json!({"thinking": {"type": "enabled"}})),
        ("preset = \"qwen-cloud\"", json!({"enable_thinking": true, "thinking_budget": 5000})),
        ("preset = \"openrouter\"", json!({"reasoning": {"max_tokens": 5000}})),
        ("preset = \"openrouter\"\nthinking = \"effort\"", json!({"reasoning_effort": "medium"})),
        ("thinking = \"enable\"", json!({"enable_thinking": true, "thinking_budget": 5000})),
        ("", json!({"reasoning_effort": "medium"})),
    ] {
        let upstream = Upstream::always(200, JSON, speech::reply(Dialect::OpenAiChat)).await;
        let router = Router::start(&with(Dialect::OpenAiChat, &upstream, lines));
        let answer = Client::once(router.addr, "POST", "/v1/messages", &[], anthropic).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let mut sent = upstream.asked_once().json();
        sent.as_object_mut().unwrap().retain(|name, _| members.contains(&name.as_str()));
        assert_eq!(sent, expected, "{lines}");
    }
}

#[tokio::test]
async fn parameters_are_renamed_and_forced_for_both_speeds() {
    let lines = "rename_params = { max_tokens = \"max_completion_tokens\" }\n\
                 force_params = { temperature = 1, x_list = [1.5, \"a\\\"b\", true], x_table = { k = 0x10 } }";
    let expected =
        json!({"max_completion_tokens": 64, "temperature": 1, "x_list": [1.5, "a\"b", true], "x_table": {"k": 16}});
    for client in [Dialect::OpenAiChat, Dialect::Anthropic] {
        let upstream = Upstream::always(200, JSON, speech::reply(Dialect::OpenAiChat)).await;
        let router = Router::start(&with(Dialect::OpenAiChat, &upstream, lines));
        let mut request: Value = serde_json::from_str(&speech::request(client, "m", false)).unwrap();
        request["max_tokens"] = 64.into();
        request["temperature"] = json!(0.25);
        let answer = Client::post(router.addr, &speech::path(client, "m", false), request.to_string()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let mut sent = upstream.asked_once().json();
        assert!(sent.get("max_tokens").is_none(), "{client:?} {sent}");
        sent.as_object_mut().unwrap().retain(|name, _| expected.get(name).is_some());
        assert_eq!(sent, expected, "{client:?}");
    }
}

#[tokio::test]
async fn ollama_clients_get_calls_early_if_wished() {
    let call = r#"data: {"id":"c-12345678","model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"t1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]},"finish_reason":null}]}

data: {"id":"c-12345678","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}

data: [DONE]

"#;
    for (place, rows) in [("last", 1), ("early", 2)] {
        let upstream = streams(Dialect::OpenAiChat, call.as_bytes(), 1 << 20).await;
        let flags = ["--ollama-tools-row", place];
        let router = Router::start_with(&provider("up", Dialect::OpenAiChat, &upstream), &flags);
        let said = speech::payloads(Dialect::Ollama, &ask(&router, Dialect::Ollama, "m", true).await.text());
        assert_eq!(said.len(), rows, "{place} {said:?}");
        assert_eq!(said[0]["message"]["tool_calls"][0]["function"]["name"], "f");
        assert_eq!(said[0]["done"], rows == 1);
        assert_eq!(said[rows - 1]["done"], true);
    }
}
