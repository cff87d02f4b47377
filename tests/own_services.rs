//! Services and models of the user's own over the management API: provider nodes, and models that are described.
#![allow(clippy::unwrap_used)]

mod support;

use codecs::dialect::Dialect;
use serde_json::{Value, json};
use support::{Answer, Client, Router, Upstream, speech};

async fn ask(router: &Router, method: &str, path: &str, body: Value) -> Answer {
    let text = if body.is_null() { String::new() } else { body.to_string() };
    let json = [("Content-Type", "application/json")];
    Client::once(router.addr, method, path, if body.is_null() { &[] } else { &json }, text).await
}

async fn get(router: &Router, path: &str) -> Value {
    let answer = Client::get(router.addr, path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

#[track_caller]
fn refused(answer: &Answer, status: u16, code: &str) {
    let document = answer.json();
    assert_eq!((answer.status, document["error"]["code"].as_str()), (status, Some(code)), "{document}");
}

/// A service that answers every chat well, and says who asked for what.
async fn service() -> Upstream {
    Upstream::start(|mut conn| async move {
        while conn.asked().await.is_some() {
            let answer = speech::reply(Dialect::OpenAiChat);
            conn.answer(200, &[("content-type", "application/json")], answer).await;
        }
    })
    .await
}

async fn chat(router: &Router, model: &str) -> Answer {
    let body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}]}).to_string();
    Client::post(router.addr, "/v1/chat/completions", body).await
}

#[tokio::test]
async fn a_node_is_a_service_behind_a_prefix() {
    let upstream = service().await;
    let router = Router::start("");
    let url = format!("{}/v1", upstream.url());
    let body = json!({"name": "My lab", "prefix": "lab", "url": url, "apiKey": "sk-0123456789abcdef"});
    let made = ask(&router, "POST", "/api/provider-nodes", body.clone()).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let node = made.json();
    let id = node["id"].as_str().unwrap();
    let path = format!("/api/provider-nodes/{id}");
    assert_eq!(made.header("location"), Some(&*path));
    assert_eq!(
        (&node["name"], &node["prefix"], &node["format"]),
        (&json!("My lab"), &json!("lab"), &json!("openai_chat"))
    );
    assert_eq!((&node["apiKeySet"], &node["apiKeyHint"]), (&json!(true), &json!("sk-…cdef")));
    assert!(!made.text().contains("0123456789"));
    assert_eq!(chat(&router, "lab/anything").await.status, 200);
    assert_eq!(chat(&router, "anything").await.status, 404, "only behind its prefix");

    // The same thing as a provider, and both see the other's changes.
    let provider = get(&router, &format!("/api/providers/{id}")).await;
    assert_eq!((&provider["name"], &provider["provider"]), (&json!("lab"), &json!("openai-compatible-lab")));
    refused(&ask(&router, "POST", "/api/provider-nodes", body).await, 409, "name_taken");
    let changed = ask(&router, "PATCH", &path, json!({"prefix": "den", "enabled": false, "models": ["own-*"]})).await;
    assert_eq!((changed.status, &changed.json()["prefix"]), (200, &json!("den")), "{}", changed.text());
    assert_eq!(changed.json()["name"], "My lab");
    assert_eq!(changed.json()["apiKeySet"], true, "what is not named stays");
    let provider = get(&router, "/api/providers/name:den").await;
    assert_eq!((&provider["isActive"], &provider["authType"]), (&json!(false), &json!("api_key")));
    let old = [("Content-Type", "application/json"), ("If-Match", made.header("etag").unwrap())];
    let late = Client::once(router.addr, "PUT", &path, &old, json!({"enabled": true}).to_string()).await;
    refused(&late, 412, "etag_mismatch");
    assert_eq!(ask(&router, "PUT", "/api/providers/name:den", json!({"isActive": true})).await.status, 200);
    assert_eq!(get(&router, "/api/provider-nodes/name:den").await["enabled"], true);
    assert_eq!(chat(&router, "own-1").await.status, 200);
    let bare = ask(&router, "PATCH", &path, json!({"apiKey": null})).await;
    assert_eq!((bare.status, &bare.json()["apiKeySet"]), (200, &json!(false)), "{}", bare.text());
    assert_eq!(chat(&router, "den/x").await.status, 200, "it needs no key then");
    assert_eq!(ask(&router, "PATCH", &path, json!({"models": ["own-*", "own-1"]})).await.status, 200);
    let free = get(&router, "/api/providers/kilo/free-models").await;
    assert_eq!(
        free,
        json!({"data": [{"id": "den/own-1", "name": "own-1", "provider": "den", "free": true}], "count": 1})
    );

    // Other providers are none.
    let other = json!({"provider": "ollama", "name": "other"});
    assert_eq!(ask(&router, "POST", "/api/providers", other).await.status, 201);
    refused(&Client::get(router.addr, "/api/provider-nodes/name:other").await, 404, "not_found");
    assert_eq!(get(&router, "/api/provider-nodes?q=lab").await["count"], 1);
    for (body, code) in [
        (json!({"name": "x", "prefix": "a/b", "url": url}), "invalid_value"),
        (json!({"name": "x", "prefix": "x", "url": "http://169.254.169.254/v1"}), "blocked_target"),
        (json!({"name": "x", "prefix": "x"}), "field_required"),
        (json!({"name": "x", "prefix": "x", "url": url, "colour": 1}), "unknown_field"),
    ] {
        let answer = ask(&router, "POST", "/api/provider-nodes", body.clone()).await;
        assert_eq!(answer.json()["error"]["code"], code, "{body}: {}", answer.text());
    }
    let tried = ask(&router, "POST", "/api/provider-nodes/validate", json!({"baseUrl": url, "models": ["x"]})).await;
    assert_eq!((tried.status, &tried.json()["valid"]), (200, &json!(true)), "{}", tried.text());
    assert_eq!(ask(&router, "DELETE", &path, Value::Null).await.status, 204);
    refused(&Client::get(router.addr, &path).await, 404, "not_found");
    refused(&Client::get(router.addr, "/api/providers/name:den").await, 404, "not_found");
}

#[tokio::test]
async fn a_described_model_is_served_and_said_in_every_list() {
    let upstream = service().await;
    let router = Router::start(&support::router::provider("fixed", Dialect::OpenAiChat, &upstream).replace('*', "f-1"));
    let url = format!("{}/v1", upstream.url());
    let body = json!({"provider": "custom", "name": "lab", "format": "openai", "baseUrl": url, "apiKey": "k",
        "models": ["q-1"]});
    assert_eq!(ask(&router, "POST", "/api/providers", body).await.status, 201);
    assert_eq!(chat(&router, "own").await.status, 404);
    let body = json!({"providerId": "name:LAB", "model": "own", "displayName": "Our own", "contextWindow": 9000,
        "maxOutput": 700, "caps": ["tools", "reasoning"]});
    let made = ask(&router, "POST", "/api/models/custom", body.clone()).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let model = made.json();
    let path = made.header("location").unwrap().to_owned();
    assert_eq!((&model["provider"], &model["caps"]), (&json!("lab"), &json!(["tools", "reasoning"])));
    assert_eq!((chat(&router, "own").await.status, chat(&router, "q-1").await.status), (200, 200));

    let listed = get(&router, "/api/models?q=own").await;
    let entry = &listed["data"][0];
    assert_eq!(
        (&entry["id"], &entry["displayName"], &entry["contextWindow"]),
        (&json!("own"), &json!("Our own"), &json!(9000))
    );
    assert_eq!((&entry["maxOutput"], &entry["caps"]), (&json!(700), &json!(["tools", "reasoning"])));
    let anthropic =
        Client::once(router.addr, "GET", "/v1/models/own", &[("anthropic-version", "2023-06-01")], "").await;
    assert_eq!(anthropic.json()["display_name"], "Our own", "{}", anthropic.text());
    let gemini = get(&router, "/v1beta/models/own").await;
    assert_eq!((&gemini["displayName"], &gemini["inputTokenLimit"]), (&json!("Our own"), &json!(9000)));
    assert_eq!(gemini["outputTokenLimit"], 700);
    let ollama = Client::post(router.addr, "/api/show", json!({"model": "own"}).to_string()).await.json();
    assert_eq!(ollama["capabilities"], json!(["completion", "tools", "thinking"]), "{ollama}");
    assert_eq!(ollama["model_info"]["flow-router.context_length"], 9000);

    refused(&ask(&router, "POST", "/api/models/custom", body).await, 409, "taken");
    let there = json!({"providerId": "nobody", "model": "x"});
    refused(&ask(&router, "POST", "/api/models/custom", there).await, 404, "not_found");
    let fixed = json!({"providerId": "name:fixed", "model": "x"});
    refused(&ask(&router, "POST", "/api/models/custom", fixed).await, 423, "pinned_by_config");
    for wrong in
        [json!({"model": "a*"}), json!({"caps": ["fly"]}), json!({"maxOutput": 0}), json!({"providerId": "name:fixed"})]
    {
        refused(&ask(&router, "PATCH", &path, wrong).await, 422, "invalid_value");
    }
    let changed = ask(&router, "PUT", &path, json!({"model": "owned", "caps": null})).await;
    assert_eq!((changed.status, &changed.json()["caps"]), (200, &Value::Null), "{}", changed.text());
    assert_eq!((chat(&router, "own").await.status, chat(&router, "owned").await.status), (404, 200));
    assert_eq!(get(&router, "/api/models/custom").await["data"][0]["contextWindow"], 9000);
    assert_eq!(ask(&router, "DELETE", &path, Value::Null).await.status, 204);
    refused(&Client::get(router.addr, &path).await, 404, "not_found");
    assert_eq!((chat(&router, "owned").await.status, chat(&router, "q-1").await.status), (404, 200));
}

#[tokio::test]
async fn a_described_model_stands_beside_those_of_a_preset() {
    let router = Router::start("");
    let body = json!({"provider": "anthropic", "name": "work", "apiKey": "sk-ant-0123456789"});
    assert_eq!(ask(&router, "POST", "/api/providers", body).await.status, 201);
    let own = json!({"providerId": "name:work", "model": "special"});
    assert_eq!(ask(&router, "POST", "/api/models/custom", own).await.status, 201);
    let all = get(&router, "/api/models").await;
    let ids: Vec<_> = all["data"].as_array().unwrap().iter().filter_map(|model| model["id"].as_str()).collect();
    assert!(ids.contains(&"special"), "{ids:?}");
    // The preset's own patterns still lead there.
    let combo = json!({"name": "both", "models": ["claude-x", "special"]});
    assert_eq!(ask(&router, "POST", "/api/combos", combo).await.status, 201);
    let plan = ask(&router, "POST", "/api/combos/name:both/simulate", Value::Null).await.json();
    assert_eq!(plan["count"], 2, "{plan}");
}
