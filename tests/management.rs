//! The management API from outside: what is made, changed, read, used and removed, through the running program.
#![allow(clippy::unwrap_used)]

mod support;

use std::{collections::HashSet, fs, time::Duration};

use codecs::dialect::Dialect;
use flow_router::api::routes;
use serde_json::{Value, json};
use support::{Answer, Client, Router, Upstream, speech};

const JSON: (&str, &str) = ("Content-Type", "application/json");

async fn ask(router: &Router, method: &str, path: &str, body: Value) -> Answer {
    with(router, method, path, body, &[]).await
}

async fn with(router: &Router, method: &str, path: &str, body: Value, more: &[(&str, &str)]) -> Answer {
    let text = if body.is_null() { String::new() } else { body.to_string() };
    let mut fields = more.to_vec();
    if !body.is_null() {
        fields.push(JSON);
    }
    Client::once(router.addr, method, path, &fields, text).await
}

async fn get(router: &Router, path: &str) -> Value {
    let answer = Client::get(router.addr, path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

#[track_caller]
fn refused(answer: &Answer, status: u16, code: &str) -> Value {
    let document = answer.json();
    assert_eq!((answer.status, document["error"]["code"].as_str()), (status, Some(code)), "{document}");
    assert_eq!(document["error"]["requestId"].as_str(), answer.header("x-request-id"));
    document["error"].clone()
}

/// The targets of the audit log with their actions, the oldest first.
async fn audit(router: &Router) -> Vec<String> {
    let log = get(router, "/api/audit?limit=1000").await;
    let mut actions: Vec<_> =
        log["data"].as_array().unwrap().iter().map(|row| row["action"].as_str().unwrap().to_owned()).collect();
    actions.reverse();
    actions
}

#[tokio::test]
async fn a_provider_is_made_used_changed_and_removed() {
    let upstream = Upstream::start(|mut conn| async move {
        while let Some(asked) = conn.asked().await {
            match asked.target() {
                "/v1/models" => {
                    let list = json!({"data": [{"id": "m-1"}, {"id": "m-2", "context_length": 9}]}).to_string();
                    conn.answer(200, &[("content-type", "application/json")], list).await;
                }
                _ => {
                    let answer = speech::reply(Dialect::OpenAiChat);
                    conn.answer(200, &[("content-type", "application/json")], answer).await;
                }
            }
        }
    })
    .await;
    let router = Router::start("");
    let body = json!({"provider": "custom", "name": "Mine", "format": "openai", "baseUrl": format!("{}/v1", upstream.url()),
        "apiKey": "sk-0123456789abcdef", "models": ["m-*"], "headers": {"X-Team": "blue"}, "tags": ["work"],
        "data": {"stallTimeout": "20s", "note": {"a": 1}}});
    let made = ask(&router, "POST", "/api/providers", body).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let provider = made.json();
    let id = provider["id"].as_str().unwrap();
    let path = format!("/api/providers/{id}");
    assert_eq!(made.header("location"), Some(path.as_str()));
    assert_eq!((&provider["apiKeySet"], &provider["apiKeyHint"]), (&json!(true), &json!("sk-…cdef")));
    assert_eq!((&provider["headers"]["X-Team"], &provider["inForce"]), (&json!("•••"), &json!(true)));
    assert_eq!((&provider["format"], &provider["data"]["baseUrl"]), (&json!("openai_chat"), &provider["baseUrl"]));
    assert!(!made.text().contains("0123456789") && !made.text().contains("blue"));

    // The next request has it, with the credential and the field that never come out.
    let chat = json!({"model": "m-1", "messages": [{"role": "user", "content": "hi"}]});
    let answer = Client::post(router.addr, "/v1/chat/completions", chat.to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let asked = upstream.asked_once();
    assert_eq!(asked.head.get("authorization"), Some("Bearer sk-0123456789abcdef"));
    assert_eq!(asked.head.get("x-team"), Some("blue"));

    // A test asks with the stored credential.
    let tested = ask(&router, "POST", &format!("{path}/test"), Value::Null).await.json();
    assert_eq!(
        (&tested["valid"], &tested["statusCode"], &tested["modelCount"]),
        (&json!(true), &json!(200), &json!(2))
    );
    assert_eq!(upstream.asked()[1].head.get("authorization"), Some("Bearer sk-0123456789abcdef"));
    let models = get(&router, &format!("{path}/models")).await;
    assert_eq!(
        (&models["source"], &models["data"][1]),
        (&json!("cache"), &json!({"id": "m-2", "name": "m-2", "contextWindow": 9}))
    );
    assert_eq!(get(&router, &format!("{path}/models?refresh=1")).await["source"], "live");
    let batch = ask(&router, "POST", "/api/providers/test-batch", Value::Null).await.json();
    assert_eq!((&batch["count"], &batch["results"][0]["valid"]), (&json!(1), &json!(true)));
    let up = ask(&router, "POST", &format!("{path}/test-models"), json!({"models": ["m-1"]})).await.json();
    assert_eq!(up["results"][0]["status"], "up");

    // PUT and PATCH merge: what is not named stays.
    let version = made.header("etag").unwrap().to_owned();
    let changed = with(&router, "PUT", &path, json!({"isActive": false}), &[("If-Match", &version)]).await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    let now = changed.json();
    assert_eq!((&now["isActive"], &now["name"], &now["apiKeySet"]), (&json!(false), &json!("Mine"), &json!(true)));
    assert_eq!((&now["state"]["status"], &now["data"]["note"]), (&json!("inactive"), &json!({"a": 1})));
    let late = with(&router, "PATCH", &path, json!({"priority": 5}), &[("If-Match", &version)]).await;
    refused(&late, 412, "etag_mismatch");
    let weird = with(&router, "PATCH", &path, json!({"priority": 5}), &[("If-Match", "W/\"x\"")]).await;
    refused(&weird, 412, "etag_mismatch");
    let patch = json!({"isActive": true, "apiKey": null, "headers": {"X-Team": null, "X-New": "1"}, "data": {"note": {"b": 2}},
        "authType": "none"});
    let now = ask(&router, "PATCH", "/api/providers/name:mine", patch).await.json();
    assert_eq!((&now["apiKeySet"], &now["headers"]), (&json!(false), &json!({"X-New": "•••"})));
    assert_eq!(now["data"]["note"], json!({"a": 1, "b": 2}));
    // An answer can be sent back as it is.
    let whole = get(&router, &path).await;
    let again = ask(&router, "PUT", &path, whole.clone()).await;
    assert_eq!(again.status, 200, "{}", again.text());
    assert_eq!(again.json()["headers"], whole["headers"]);

    refused(&ask(&router, "POST", "/api/providers", json!({"provider": "x", "name": "MINE"})).await, 409, "name_taken");
    let gone = ask(&router, "DELETE", &path, Value::Null).await;
    assert_eq!((gone.status, gone.text().as_str()), (204, ""));
    refused(&ask(&router, "DELETE", &path, Value::Null).await, 404, "not_found");
    refused(&Client::get(router.addr, &path).await, 404, "not_found");
    let actions = ["provider.create", "provider.update", "provider.update", "provider.update", "provider.delete"];
    assert_eq!(audit(&router).await, actions);
    let log = get(&router, "/api/audit?limit=1").await;
    assert_eq!((&log["data"][0]["actor"], &log["data"][0]["ip"]), (&json!("local"), &json!("127.0.0.1")));
}

#[tokio::test]
async fn what_is_wrong_is_said_and_nothing_is_kept() {
    let router = Router::start("");
    for (body, status, code, param) in [
        (json!({}), 422, "field_required", "provider"),
        (json!({"provider": "openai", "nmae": "x"}), 422, "unknown_field", "nmae"),
        (json!({"provider": "openai", "priority": "high"}), 422, "invalid_value", "priority"),
        (json!({"provider": "openai", "tags": [1]}), 422, "invalid_value", "tags.0"),
        (json!({"provider": "openai"}), 422, "invalid_value", "providers/openai"),
        (json!({"provider": "x", "name": "x", "apiKey": "k"}), 422, "invalid_value", "providers/x"),
        (
            json!({"provider": "x", "format": "openai", "baseUrl": "ftp://h", "apiKey": "k"}),
            422,
            "invalid_value",
            "providers/x.base_url",
        ),
        (
            json!({"provider": "x", "format": "openai", "baseUrl": "http://169.254.169.254/v1", "apiKey": "k"}),
            403,
            "blocked_target",
            "baseUrl",
        ),
        (
            json!({"provider": "x", "format": "openai", "baseUrl": "http://metadata.google.internal", "apiKey": "k"}),
            403,
            "blocked_target",
            "baseUrl",
        ),
    ] {
        let answer = ask(&router, "POST", "/api/providers", body.clone()).await;
        let error = refused(&answer, status, code);
        assert_eq!(error["param"], param, "{body}");
    }
    for host in ["127.0.0.1", "localhost", "x.localhost", "LOCALHOST.", "[::ffff:127.0.0.1]", "0.0.0.0", "0x7f.1"] {
        let own = json!({"baseUrl": format!("http://{host}:{}/v1", router.addr.port()), "apiKey": "k"});
        refused(&ask(&router, "POST", "/api/providers/validate", own).await, 403, "blocked_target");
    }
    assert_eq!(get(&router, "/api/providers").await["total"], 0);
    assert_eq!(audit(&router).await.len(), 0);

    let once = |method: &'static str, path: &'static str, fields: Vec<(&'static str, &'static str)>, body: Vec<u8>| {
        let addr = router.addr;
        async move { Client::once(addr, method, path, &fields, body).await }
    };
    refused(&once("POST", "/api/keys", vec![], b"{}".to_vec()).await, 415, "unsupported_media_type");
    refused(
        &once("POST", "/api/keys", vec![("Content-Type", "text/plain")], b"{}".to_vec()).await,
        415,
        "unsupported_media_type",
    );
    let packed = vec![JSON, ("Content-Encoding", "gzip")];
    refused(&once("POST", "/api/keys", packed, b"{}".to_vec()).await, 415, "unsupported_media_type");
    refused(&once("POST", "/api/keys", vec![JSON], b"{".to_vec()).await, 400, "bad_json");
    refused(&once("POST", "/api/keys", vec![JSON], vec![b' '; (1 << 20) + 1]).await, 413, "too_large");
    refused(&Client::get(router.addr, "/api/providers?limit=0").await, 400, "bad_query");
    refused(&Client::get(router.addr, "/api/providers?page=2").await, 400, "bad_query");
    refused(&Client::get(router.addr, "/api/providers?cursor=%25").await, 400, "bad_query");
    let wrong = ask(&router, "DELETE", "/api/providers", Value::Null).await;
    refused(&wrong, 405, "method_not_allowed");
    assert_eq!(wrong.header("allow"), Some("GET, HEAD, OPTIONS, POST"));
    let options = ask(&router, "OPTIONS", "/api/providers/x", Value::Null).await;
    assert_eq!((options.status, options.header("allow")), (204, Some("DELETE, GET, HEAD, OPTIONS, PATCH, PUT")));
    assert!(options.head.get("access-control-allow-origin").is_none());
    let mut client = Client::connect(router.addr).await;
    client
        .send(format!(
            "HEAD /api/health HTTP/1.1\r\nHost: {}\r\nX-Request-Id: mine-1\r\nConnection: close\r\n\r\n",
            router.addr
        ))
        .await;
    let (status, head) = client.head().await;
    assert_eq!(
        (status, head.get("x-request-id"), head.get("cache-control")),
        (200, Some("mine-1"), Some("no-store, no-transform"))
    );
}

#[tokio::test]
async fn lists_have_pages() {
    let router = Router::start("");
    for n in 0..7 {
        let body = json!({"provider": "ollama", "name": format!("p{n}"), "priority": 10 - n, "models": []});
        assert_eq!(ask(&router, "POST", "/api/providers", body).await.status, 201);
    }
    let (mut names, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = get(&router, &format!("/api/providers?limit=3{cursor}")).await;
        assert_eq!(
            (&page["total"], page["data"].as_array().unwrap().len() as u64),
            (&json!(7), page["count"].as_u64().unwrap())
        );
        names.extend(page["data"].as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap().to_owned()));
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(names, ["p6", "p5", "p4", "p3", "p2", "p1", "p0"]);
    assert_eq!(get(&router, "/api/providers?q=P3").await["count"], 1);
    assert_eq!(get(&router, "/api/providers?active=false").await["count"], 0);
    let moved = ask(&router, "POST", "/api/providers/name:p0/reorder", json!({"before": "name:p5"})).await;
    assert_eq!(moved.status, 200, "{}", moved.text());
    let page = get(&router, "/api/providers?limit=2").await;
    assert_eq!((&page["data"][0]["name"], &page["data"][1]["name"]), (&json!("p6"), &json!("p0")));
    let presets = get(&router, "/api/presets?limit=1000").await;
    assert!(presets["count"].as_u64().unwrap() >= 50, "{}", presets["count"]);
}

/// What the file defines hides an entry of the store from requests, and not from lists.
#[tokio::test]
async fn two_of_one_name_are_both_listed_page_by_page() {
    let mut router = Router::start("");
    for (path, body) in [
        ("/api/providers", json!({"provider": "ollama", "name": "twin", "models": ["m", "n"]})),
        ("/api/combos", json!({"name": "pair", "models": ["twin/m", "twin/n"]})),
        ("/api/models/alias", json!({"alias": "short", "model": "twin/m"})),
        ("/api/keys", json!({"name": "laptop"})),
    ] {
        let made = ask(&router, "POST", path, body).await;
        assert_eq!(made.status, 201, "{}", made.text());
    }
    router.kill();
    let digest = "ab".repeat(32);
    let config = format!(
        "[aliases]\npair = [\"twin/m\", \"twin/n\"]\nshort = \"twin/m\"\n\n[providers.twin]\ndialect = \"ollama\"\n\
         base_url = \"http://127.0.0.1:9\"\n\n[[keys]]\nname = \"laptop\"\nsha256 = \"{digest}\"\n"
    );
    fs::write(router.dir.path().join("test.toml"), config).unwrap();
    router.start_again();
    for path in ["/api/providers", "/api/combos", "/api/models/alias", "/api/keys"] {
        let first = get(&router, &format!("{path}?limit=1")).await;
        assert_eq!(first["total"], 2, "{path} {first}");
        let next = first["nextCursor"].as_str().unwrap_or_else(|| panic!("{path} {first}"));
        let second = get(&router, &format!("{path}?limit=1&cursor={next}")).await;
        assert_eq!((&second["count"], &second["nextCursor"]), (&json!(1), &Value::Null), "{path} {second}");
        let sources = HashSet::from([first, second].map(|page| page["data"][0]["source"].to_string()));
        assert_eq!(sources.len(), 2, "{path} {sources:?}");
    }
}

#[tokio::test]
async fn combos_and_aliases_lead_to_models() {
    let refusing = Upstream::always(503, &[], "").await;
    let good = Upstream::always(200, &[("content-type", "application/json")], speech::reply(Dialect::OpenAiChat)).await;
    let router = Router::start(
        "[aliases]\nfixed = [\"a/m\", \"b/m\"]\n\n[providers.a]\ndialect = \"openai_chat\"\nbase_url = \"http://127.0.0.1:9\"\napi_key = \"k\"\n\n[providers.b]\ndialect = \"openai_chat\"\nbase_url = \"http://127.0.0.1:9\"\napi_key = \"k\"\n",
    );
    for (name, upstream) in [("one", &refusing), ("two", &good)] {
        let body =
            json!({"provider": "custom", "name": name, "format": "openai", "baseUrl": upstream.url(), "apiKey": "k"});
        assert_eq!(ask(&router, "POST", "/api/providers", body).await.status, 201);
    }
    let body = json!({"name": "fast", "models": ["one/m", "two/m"], "description": "in order"});
    let made = ask(&router, "POST", "/api/combos", body).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let combo = made.json();
    assert_eq!((&combo["inForce"], &combo["entries"][1]["model"]), (&json!(true), &json!("two/m")));
    let chat = json!({"model": "fast", "messages": [{"role": "user", "content": "hi"}]}).to_string();
    let answer = Client::post(router.addr, "/v1/chat/completions", &chat).await;
    assert_eq!((answer.status, answer.header("x-flow-router-provider")), (200, Some("two")), "{}", answer.text());

    let path = format!("/api/combos/{}", combo["id"].as_str().unwrap());
    let plan = ask(&router, "POST", &format!("{path}/simulate"), Value::Null).await.json();
    // The one that failed cools down and has gone to the back.
    assert_eq!((&plan["data"][0]["provider"], &plan["data"][1]["status"]), (&json!("two"), &json!("cooling")));
    let alias = ask(&router, "POST", "/api/models/alias", json!({"alias": "quick", "model": "fast"})).await;
    assert_eq!(alias.status, 201, "{}", alias.text());
    let answer = Client::post(router.addr, "/v1/chat/completions", chat.replace("fast", "quick")).await;
    assert_eq!((answer.status, answer.header("x-flow-router-provider")), (200, Some("two")), "{}", answer.text());
    assert_eq!(
        refused(&ask(&router, "DELETE", &path, Value::Null).await, 409, "in_use")["details"]["usedBy"],
        json!(["alias quick"])
    );
    assert_eq!(ask(&router, "DELETE", "/api/models/alias/quick", Value::Null).await.status, 204);
    let alias = ask(&router, "POST", "/api/models/alias", json!({"alias": "quick one", "model": "two/m"})).await;
    assert_eq!(
        (alias.status, alias.header("location")),
        (201, Some("/api/models/alias/quick%20one")),
        "{}",
        alias.text()
    );
    let again = ask(&router, "POST", "/api/models/alias", json!({"alias": "QUICK one", "model": "two/n"})).await;
    assert_eq!((again.status, &again.json()["model"]), (200, &json!("two/n")));
    assert_eq!(get(&router, "/api/models/alias/quick%20one").await["model"], "two/n");
    let models = get(&router, "/api/models").await;
    let kinds: Vec<_> = models["data"].as_array().unwrap().iter().map(|model| (&model["id"], &model["kind"])).collect();
    assert!(kinds.contains(&(&json!("fast"), &json!("combo"))), "{models}");

    let fixed = ask(&router, "PATCH", "/api/combos/name:fixed", json!({"models": ["two/m"]})).await;
    assert_eq!(refused(&fixed, 423, "pinned_by_config")["details"]["source"], "file");
    let listed = get(&router, "/api/combos").await;
    assert_eq!((&listed["data"][1]["name"], &listed["data"][1]["readOnly"]), (&json!("fixed"), &json!(true)));
    refused(
        &ask(&router, "POST", "/api/combos", json!({"name": "FAST", "models": ["two/m"]})).await,
        409,
        "name_taken",
    );
    refused(&ask(&router, "POST", "/api/combos", json!({"name": "empty", "models": []})).await, 422, "invalid_value");
    let circle = ask(&router, "PATCH", &path, json!({"entries": [{"model": "fast"}]})).await;
    refused(&circle, 422, "invalid_value");
    assert_eq!(
        ask(&router, "PATCH", &path, json!({"strategy": "round_robin"})).await.json()["strategy"],
        "round_robin"
    );
    assert_eq!(ask(&router, "DELETE", "/api/models/alias/quick%20one", Value::Null).await.status, 204);
    assert_eq!(ask(&router, "DELETE", &path, Value::Null).await.status, 204);
    let answer = Client::post(router.addr, "/v1/chat/completions", &chat).await;
    assert_eq!(answer.status, 404);
}

#[tokio::test]
async fn keys_are_shown_once_and_can_be_revoked_and_rotated() {
    let router = Router::start("");
    let made =
        ask(&router, "POST", "/api/keys", json!({"name": "laptop", "scopes": ["inference", "usage:read"]})).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let (id, key) =
        (made.json()["id"].as_str().unwrap().to_owned(), made.json()["plaintextKey"].as_str().unwrap().to_owned());
    assert!(key.starts_with("flr_") && key.len() == 68, "{key}");
    let path = format!("/api/keys/{id}");
    let shown = Client::get(router.addr, &path).await.text();
    assert!(!shown.contains(&key) && shown.contains(&key[..14]), "{shown}");
    let bearer = |key: &str| format!("Bearer {key}");
    let models = |key: String| async move {
        Client::once(router.addr, "GET", "/v1/models", &[("Authorization", &bearer(&key))], "").await.status
    };
    assert_eq!(models(key.clone()).await, 200);
    // The key reads usage and manages nothing.
    let as_key = bearer(&key);
    let usage = Client::once(router.addr, "GET", "/api/usage/today", &[("Authorization", &as_key)], "").await;
    assert_eq!(usage.status, 200, "{}", usage.text());
    let keys = Client::once(router.addr, "GET", "/api/keys", &[("Authorization", &as_key)], "").await;
    assert_eq!(refused(&keys, 403, "scope_missing")["details"]["scope"], "admin");

    let rotated = ask(&router, "POST", &format!("{path}/rotate"), json!({"graceSeconds": 600})).await;
    assert_eq!(rotated.status, 200, "{}", rotated.text());
    let new = rotated.json()["plaintextKey"].as_str().unwrap().to_owned();
    assert_eq!((models(key.clone()).await, models(new.clone()).await), (200, 200));
    assert_eq!(get(&router, "/api/keys").await["total"], 2);
    let newest = ask(&router, "POST", &format!("{path}/rotate"), Value::Null).await.json()["plaintextKey"].clone();
    assert_eq!((models(new).await, models(newest.as_str().unwrap().to_owned()).await), (401, 200));
    let revoked = ask(&router, "POST", &format!("{path}/revoke"), Value::Null).await.json();
    assert_eq!((&revoked["status"], &revoked["isActive"]), (&json!("revoked"), &json!(false)));
    assert_eq!(models(newest.as_str().unwrap().to_owned()).await, 401);
    let past = json!({"isActive": true, "expiresAt": "2020-01-01T00:00:00Z"});
    assert_eq!(ask(&router, "PATCH", &path, past).await.json()["status"], "expired");
    assert_eq!(models(newest.as_str().unwrap().to_owned()).await, 401);
    assert_eq!(ask(&router, "PATCH", &path, json!({"expiresAt": null})).await.json()["status"], "active");
    refused(&ask(&router, "PATCH", &path, json!({"allowedCidrs": ["here"]})).await, 422, "invalid_value");
    refused(&ask(&router, "PATCH", &path, json!({"scopes": ["all"]})).await, 422, "invalid_value");
    assert_eq!(ask(&router, "DELETE", &path, Value::Null).await.status, 204);
    assert_eq!(models(newest.as_str().unwrap().to_owned()).await, 401);
    let database = fs::read(router.data_dir().join("db/data.sqlite")).unwrap();
    let wal = fs::read(router.data_dir().join("db/data.sqlite-wal")).unwrap_or_default();
    let text = String::from_utf8_lossy(&database).into_owned() + &String::from_utf8_lossy(&wal) + &router.log();
    assert!(!text.contains(&key[4..]), "a key is kept in the clear");
}

#[tokio::test]
async fn a_change_under_one_key_happens_once() {
    let router = Router::start("");
    let body = json!({"name": "once"});
    let key = [("Idempotency-Key", "0123456789")];
    let first = with(&router, "POST", "/api/keys", body.clone(), &key).await;
    let second = with(&router, "POST", "/api/keys", body.clone(), &key).await;
    assert_eq!((first.status, second.status, first.json()), (201, 201, second.json()));
    assert_eq!((first.header("idempotent-replayed"), second.header("idempotent-replayed")), (None, Some("true")));
    assert_eq!(get(&router, "/api/keys").await["total"], 1);
    refused(&with(&router, "POST", "/api/keys", json!({"name": "other"}), &key).await, 422, "idempotency_mismatch");
    refused(&with(&router, "POST", "/api/keys", body, &[("Idempotency-Key", "short")]).await, 400, "bad_header");
    assert_eq!(audit(&router).await, ["key.create"]);
}

#[tokio::test]
async fn settings_change_at_once_and_tell_who_said_them() {
    let router = Router::start("keep_alive = \"9s\"\n");
    let answer = Client::get(router.addr, "/api/settings").await;
    let settings = answer.json();
    assert_eq!((&settings["keepAlive"], &settings["maxAttempts"]), (&json!("9s"), &json!(6)));
    assert_eq!((&settings["requireKey"], &settings["allowedHosts"]), (&json!(false), &json!(["host.docker.internal"])));
    assert_eq!(
        (&settings["_pinned"]["keepAlive"]["source"], &settings["passwordHashSet"]),
        (&json!("file"), &json!(false))
    );
    assert!(settings.get("passwordHash").is_none());
    let version = answer.header("etag").unwrap().to_owned();
    let patch = json!({"maxAttempts": 3, "allowedHosts": ["a.lan", "b.lan"], "defaultModel": "m", "usageLog": false});
    let changed = with(&router, "PATCH", "/api/settings", patch, &[("If-Match", &version)]).await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    let now = changed.json();
    assert_eq!(
        (&now["maxAttempts"], &now["allowedHosts"], &now["usageLog"]),
        (&json!(3), &json!(["a.lan", "b.lan"]), &json!(false))
    );
    assert_eq!(now["_sources"]["maxAttempts"], "store");
    let late = with(&router, "PATCH", "/api/settings", json!({"maxAttempts": 4}), &[("If-Match", &version)]).await;
    refused(&late, 412, "etag_mismatch");
    // The whole document may be sent back.
    let whole = ask(&router, "PUT", "/api/settings", now.clone()).await;
    assert_eq!(whole.status, 200, "{}", whole.text());
    assert_eq!(
        refused(&ask(&router, "PATCH", "/api/settings", json!({"keepAlive": "1s"})).await, 423, "pinned_by_config")["param"],
        "keepAlive"
    );
    assert_eq!(
        refused(&ask(&router, "PATCH", "/api/settings", json!({"dataDir": "/x"})).await, 423, "pinned_by_config")["param"],
        "dataDir"
    );
    assert_eq!(
        refused(&ask(&router, "PATCH", "/api/settings", json!({"holdPrologue": "soon"})).await, 422, "invalid_value")["param"],
        "holdPrologue"
    );
    refused(&ask(&router, "PATCH", "/api/settings", json!({"max_attempts": 1})).await, 422, "unknown_field");
    refused(&ask(&router, "PATCH", "/api/settings", json!({"allowedHosts": ["a,b"]})).await, 422, "invalid_value");
    assert_eq!(ask(&router, "PATCH", "/api/settings", json!({"lanes": 1})).await.json()["_pending"], json!(["lanes"]));
    let back = ask(&router, "PATCH", "/api/settings", json!({"maxAttempts": null})).await.json();
    assert_eq!(back["maxAttempts"], 6);
    let sealed = ask(&router, "PATCH", "/api/settings", json!({"oidcClientSecret": "planted-secret"})).await;
    assert_eq!(sealed.json()["oidcClientSecretSet"], true);
    assert!(!sealed.text().contains("planted"));
    assert_eq!(get(&router, "/api/settings/migrations").await["data"][0]["applied"], true);
    let database = get(&router, "/api/settings/database").await;
    assert_eq!((&database["state"], &database["schemaVersion"]), (&json!("ok"), &json!(3)));
}

#[tokio::test]
async fn a_read_only_gateway_changes_nothing() {
    let router = Router::start("read_only = true\n");
    for (method, path, body) in [
        ("POST", "/api/keys", json!({"name": "x"})),
        ("PATCH", "/api/settings", json!({"maxAttempts": 2})),
        ("POST", "/api/tags", json!({"name": "x"})),
        ("POST", "/api/pricing", json!({"model": "m", "input": 1, "output": 1})),
    ] {
        refused(&ask(&router, method, path, body).await, 423, "read_only");
    }
    assert_eq!(get(&router, "/api/health").await["readOnly"], true);
}

#[tokio::test]
async fn backups_are_made_verified_downloaded_restored_and_removed() {
    let router = Router::start("");
    assert_eq!(ask(&router, "POST", "/api/tags", json!({"name": "before"})).await.status, 201);
    let made = ask(&router, "POST", "/api/backups", json!({"label": "evening", "keepN": 2})).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let name = made.json()["name"].as_str().unwrap().to_owned();
    let path = format!("/api/settings/backups/{name}");
    assert_eq!(ask(&router, "POST", "/api/tags", json!({"name": "after"})).await.status, 201);
    let verified = ask(&router, "POST", &format!("{path}/verify"), Value::Null).await.json();
    assert_eq!((&verified["ok"], &verified["faults"]), (&json!(true), &json!([])));
    let file = Client::get(router.addr, &format!("{path}/download")).await;
    assert!(file.complete && file.body.starts_with(b"SQLite format 3\0"));
    assert_eq!(file.body.len() as u64, made.json()["sizeBytes"].as_u64().unwrap());
    assert!(file.header("content-disposition").unwrap().contains(&name));

    refused(&ask(&router, "POST", &format!("{path}/restore"), json!({"confirm": "x"})).await, 422, "invalid_value");
    let restored = ask(&router, "POST", &format!("{path}/restore"), json!({ "confirm": name })).await;
    assert_eq!(restored.status, 200, "{}", restored.text());
    assert_eq!(restored.json()["before"]["label"], "pre-restore");
    let tags = get(&router, "/api/tags").await;
    let names: Vec<_> = tags["tags"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["before"]);
    assert_eq!(get(&router, "/api/backups").await["total"], 2);
    assert_eq!(ask(&router, "DELETE", &path, Value::Null).await.status, 204);
    refused(&ask(&router, "DELETE", &path, Value::Null).await, 404, "not_found");
    refused(&ask(&router, "POST", "/api/backups", json!({"label": "../x"})).await, 422, "invalid_value");
    refused(&ask(&router, "POST", "/api/settings/backups/..%2Fx/verify", Value::Null).await, 404, "not_found");
}

#[tokio::test]
async fn tags_stand_beside_ollamas_models() {
    let router = Router::start("");
    let tag = ask(&router, "POST", "/api/tags", json!({"name": "work", "color": "#336699"})).await;
    assert_eq!(tag.status, 201, "{}", tag.text());
    let path = format!("/api/tags/{}", tag.json()["id"].as_str().unwrap());
    let body = json!({"provider": "ollama", "name": "p", "tags": ["Work", "new"], "models": []});
    let provider = ask(&router, "POST", "/api/providers", body).await.json();
    let tags = get(&router, "/api/tags").await;
    assert_eq!((&tags["tags"][1]["name"], &tags["tags"][1]["uses"]), (&json!("work"), &json!(1)));
    assert!(tags["models"].as_array().unwrap().iter().all(|model| model["digest"].is_string()));
    let target = json!({"kind": "model", "id": "m-1"});
    assert_eq!(ask(&router, "POST", &format!("{path}/targets"), target.clone()).await.json()["uses"], 2);
    let shown = ask(&router, "DELETE", &format!("{path}/targets"), target).await.json();
    assert_eq!(shown["targets"], json!([{"kind": "provider", "id": provider["id"]}]));
    assert_eq!(ask(&router, "PATCH", &path, json!({"color": null, "kind": "provider"})).await.json()["color"], "");
    refused(&ask(&router, "PATCH", &path, json!({"color": "red"})).await, 422, "invalid_value");
    // Who may not manage gets what Ollama's clients get.
    let key = ask(&router, "POST", "/api/keys", json!({"name": "k"})).await.json()["plaintextKey"].clone();
    let bearer = format!("Bearer {}", key.as_str().unwrap());
    let models = Client::once(router.addr, "GET", "/api/tags", &[("Authorization", &bearer)], "").await;
    assert_eq!(models.status, 200, "{}", models.text());
    assert_eq!(models.json().as_object().unwrap().keys().collect::<Vec<_>>(), ["models"]);
    assert_eq!(ask(&router, "DELETE", &path, Value::Null).await.status, 204);
    let version = get(&router, "/api/version").await;
    assert!(version["version"].as_str().unwrap().starts_with("0.1") && version["routerVersion"].is_string());
}

#[tokio::test]
async fn prices_are_looked_up_set_and_imported() {
    let router = Router::start("");
    let found = get(&router, "/api/pricing/lookup?provider=anthropic&model=claude-sonnet-4-5").await;
    assert_eq!(
        (&found["priced"], &found["source"], &found["price"]["input"]),
        (&json!(true), &json!("card"), &json!(3_000_000))
    );
    assert_eq!(get(&router, "/api/pricing/lookup?model=nobody-knows").await["price"], Value::Null);
    refused(&Client::get(router.addr, "/api/pricing/lookup").await, 400, "bad_query");
    let body = json!({"provider": "anthropic", "model": "claude-sonnet-4-5", "input": 1_000_000, "output": 2_000_000,
        "tiers": [{"above": 200_000, "input": 5_000_000}]});
    let put = ask(&router, "POST", "/api/pricing", body).await;
    assert_eq!((put.status, &put.json()["usdPerMillion"]["output"]), (200, &json!(2.0)), "{}", put.text());
    let found = get(&router, "/api/pricing/lookup?provider=anthropic&model=claude-sonnet-4-5").await;
    assert_eq!((&found["source"], &found["price"]["tiers"][0]["above"]), (&json!("user"), &json!(200_000)));
    let list = json!({"m-x": {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6, "litellm_provider": "acme"}, "other": {}});
    let imported = ask(&router, "POST", "/api/pricing/import", list.clone()).await.json();
    assert_eq!(imported, json!({"imported": 1, "skipped": 1, "kept": 0, "replaced": 0}));
    assert_eq!(ask(&router, "POST", "/api/pricing/import", list).await.json()["replaced"], 1);
    assert_eq!(get(&router, "/api/pricing").await["total"], 2);
    assert!(get(&router, "/api/pricing?source=card&limit=1").await["total"].as_u64().unwrap() > 500);
    refused(&ask(&router, "POST", "/api/pricing/import", json!({})).await, 422, "invalid_value");
    assert_eq!(
        ask(&router, "DELETE", "/api/pricing?provider=anthropic&model=claude-sonnet-4-5", Value::Null).await.status,
        204
    );
    refused(&ask(&router, "DELETE", "/api/pricing?model=m", Value::Null).await, 404, "not_found");
}

#[tokio::test]
async fn usage_is_listed_summed_charted_and_exported() {
    let upstream =
        Upstream::always(200, &[("content-type", "application/json")], speech::reply(Dialect::OpenAiChat)).await;
    let config = support::router::provider("up", Dialect::OpenAiChat, &upstream);
    let router = Router::start(&config);
    let chat = json!({"model": "=m", "messages": [{"role": "user", "content": "hi"}]}).to_string();
    for _ in 0..3 {
        assert_eq!(Client::post(router.addr, "/v1/chat/completions", &chat).await.status, 200);
    }
    // Rows are written a moment after their requests.
    support::within("the rows of three requests", async {
        while get(&router, "/api/usage/today").await["requestCount"] != 3 {
            // There is no event for a row that is written: ask again, and not more often than one may.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let log = get(&router, "/api/usage/history?limit=2").await;
    let second =
        get(&router, &format!("/api/console-log?limit=2&cursor={}", log["nextCursor"].as_str().unwrap())).await;
    assert_eq!((&second["count"], &second["nextCursor"]), (&json!(1), &Value::Null));
    let row = &log["data"][0];
    assert_eq!((&row["provider"], &row["model"], &row["outcome"]), (&json!("up"), &json!("=m"), &json!("ok")));
    for path in [
        format!("/api/requests/{}", row["id"]),
        format!("/api/usage/request-details?id={}", row["requestId"].as_str().unwrap()),
    ] {
        let details = get(&router, &path).await;
        assert_eq!((&details["request"]["id"], details["attempts"].as_array().unwrap().len()), (&row["id"], 1));
    }
    assert_eq!(get(&router, "/api/usage/history?status=error").await["count"], 0);
    assert_eq!(get(&router, "/api/usage/history?from=-1h&model==*&finals=true").await["count"], 3);
    let sums = get(&router, "/api/usage?groupBy=day,provider,model&from=-1d&tz=UTC").await;
    assert_eq!((&sums["data"][0]["requestCount"], &sums["data"][0]["provider"]), (&json!(3), &json!("up")));
    let chart = get(&router, "/api/usage/chart?days=7&split=provider&tz=Europe/Berlin").await;
    assert_eq!(
        (&chart["series"][0]["name"], chart["series"][0]["points"].as_array().unwrap().len()),
        (&json!("up"), 7)
    );
    let stats = get(&router, "/api/usage/stats?from=-1h").await;
    assert_eq!((&stats["successRate"], &stats["totals"]["requestCount"]), (&json!(1.0), &json!(3)));
    assert_eq!(get(&router, "/api/usage/file:up?from=-1d").await["requestCount"], 3);
    assert_eq!(get(&router, "/api/usage/providers").await["data"][0]["provider"], "up");
    refused(&Client::get(router.addr, "/api/usage/nobody").await, 404, "not_found");
    refused(&Client::get(router.addr, "/api/usage?groupBy=color").await, 400, "bad_query");
    refused(&Client::get(router.addr, "/api/usage?tz=Mars").await, 400, "bad_query");
    refused(&Client::get(router.addr, "/api/usage/history?from=soon").await, 400, "bad_query");
    let csv = Client::get(router.addr, "/api/usage/export").await;
    assert_eq!(csv.header("content-type"), Some("text/csv; charset=utf-8"));
    let text = csv.text();
    assert_eq!(text.lines().count(), 4);
    assert!(csv.complete && text.starts_with("id,requestId,startedAt,") && text.contains(",'=m,"), "{text}");
    let lines = Client::get(router.addr, "/api/usage/export?format=jsonl").await.text();
    assert!(lines.lines().all(|line| serde_json::from_str::<Value>(line).unwrap()["provider"] == "up"), "{lines}");
}

#[tokio::test]
async fn what_happens_is_told_to_those_who_watch() {
    let upstream =
        Upstream::always(200, &[("content-type", "application/json")], speech::reply(Dialect::OpenAiChat)).await;
    let config = support::router::provider("up", Dialect::OpenAiChat, &upstream);
    let mut router = Router::start(&config);
    let mut all = Client::connect(router.addr).await;
    all.request("GET", "/api/events", &[], b"").await;
    let (status, head) = all.head().await;
    assert_eq!((status, head.get("content-type")), (200, Some("text/event-stream; charset=utf-8")));
    all.until(": hello").await;
    let mut some = Client::connect(router.addr).await;
    let body = json!({"topics": ["requests", "config"], "filter": {"model": "b"}}).to_string();
    some.request("POST", "/api/events", &[JSON], body.as_bytes()).await;
    some.head().await;
    some.until(": hello").await;
    let mut old = Client::connect(router.addr).await;
    old.request("GET", "/api/usage/stream", &[], b"").await;
    old.head().await;
    old.until("event: ready").await;
    for model in ["a", "b"] {
        let chat = json!({"model": model, "messages": [{"role": "user", "content": "hi"}]}).to_string();
        assert_eq!(Client::post(router.addr, "/v1/chat/completions", &chat).await.status, 200);
    }
    assert_eq!(ask(&router, "POST", "/api/tags", json!({"name": "t"})).await.status, 201);
    let seen = all.until("event: config.changed").await;
    for event in ["request.start", "request.route", "request.end"] {
        assert_eq!(seen.matches(&format!("event: {event}\n")).count(), 2, "{event}: {seen}");
    }
    let seen = some.until("event: config.changed").await;
    assert!(seen.matches("event: request.end\n").count() == 1 && !seen.contains("\"model\":\"a\""), "{seen}");
    let seen = old.until("event: usage").await + &old.until("\"status\":200").await;
    let id = seen.lines().find_map(|line| line.strip_prefix("id: ")).unwrap().to_owned();

    // Going on where one was: what came behind is told again.
    let mut again = Client::connect(router.addr).await;
    again.request("GET", "/api/events?topics=config", &[("Last-Event-ID", &id)], b"").await;
    again.head().await;
    again.until("event: config.changed").await;
    refused(&Client::get(router.addr, "/api/events?topics=weather").await, 400, "bad_query");
    // Streams end with the program, and do not hold it up.
    assert_eq!(ask(&router, "POST", "/api/shutdown", Value::Null).await.status, 202);
    let (_, complete) = all.rest().await;
    assert!(complete, "the stream was cut");
    assert!(router.ended().await.success());
}

#[tokio::test]
async fn the_log_can_be_read_and_watched() {
    let router = Router::start("");
    let lines = get(&router, "/api/logs?level=info").await;
    assert!(lines["data"].as_array().unwrap().iter().any(|line| line["message"] == "started"), "{lines}");
    let mut watching = Client::connect(router.addr).await;
    watching.request("GET", "/api/logs/stream?q=configuration", &[], b"").await;
    watching.head().await;
    watching.until(": hello").await;
    assert_eq!(ask(&router, "POST", "/api/tags", json!({"name": "t"})).await.status, 201);
    let seen = watching.until("event: log").await;
    assert!(!seen.contains("started"));
}

#[tokio::test]
async fn the_document_and_the_table_say_the_same() {
    let router = Router::start("");
    let document = get(&router, "/api/openapi.json").await;
    assert_eq!(document["openapi"], "3.1.0");
    let mut in_document = HashSet::new();
    for (path, place) in document["paths"].as_object().unwrap() {
        in_document.extend(place.as_object().unwrap().keys().map(|method| format!("{} {path}", method.to_uppercase())));
    }
    let in_table: HashSet<_> = routes()
        .flat_map(|route| {
            route.paths().flat_map(move |path| route.methods().map(move |method| format!("{method} {path}")))
        })
        .collect();
    assert_eq!(in_document, in_table);
    // Every operation of the table is answered by the program, none by the gateway.
    for operation in &in_table {
        let (_, path) = operation.split_once(' ').unwrap();
        let path =
            path.replace("{id}", "x").replace("{name}", "x").replace("{alias}", "x").replace("{connectionId}", "x");
        let answer = ask(&router, "OPTIONS", &path, Value::Null).await;
        assert_eq!(answer.status, 204, "{operation}");
        let method = operation.split(' ').next().unwrap();
        assert!(answer.header("allow").unwrap().contains(method), "{operation}");
    }
}

#[tokio::test]
async fn a_damaged_database_stops_changes_and_not_requests() {
    let dir = tempfile::tempdir().unwrap();
    let db = dir.path().join("data/db");
    fs::create_dir_all(&db).unwrap();
    fs::write(db.join("data.sqlite"), vec![7u8; 8192]).unwrap();
    let router = Router::start_in(dir, "", &[]);
    let health = get(&router, "/api/health").await;
    assert_eq!(health["status"], "degraded");
    // Whether a login is asked for is in the database: only who can read our files is let in.
    refused(&ask(&router, "GET", "/api/settings", Value::Null).await, 401, "login_required");
    let token = fs::read_to_string(router.data_dir().join("run/admin.token")).unwrap();
    let bearer = format!("Bearer {}", token.trim());
    let ask = async |method: &str, path: &str, body: &str| {
        let fields = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        Client::once(router.addr, method, path, &fields, body).await
    };
    let answer = ask("POST", "/api/tags", r#"{"name": "t"}"#).await;
    refused(&answer, 503, "store_unavailable");
    assert!(answer.header("retry-after").is_some());
    assert_eq!(ask("GET", "/api/providers", "").await.json()["total"], 0);
    assert_eq!(ask("GET", "/api/settings", "").await.json()["maxAttempts"], 6);
    assert_eq!(ask("GET", "/api/settings/database", "").await.json()["schemaVersion"], 0);
    assert!(ask("GET", "/api/tags", "").await.json().get("tags").is_none());
    let chat = json!({"model": "demo", "messages": [{"role": "user", "content": "hi"}]}).to_string();
    assert_eq!(Client::post(router.addr, "/v1/chat/completions", &chat).await.status, 200);
}

#[tokio::test]
async fn models_are_disabled_and_tested() {
    let upstream = Upstream::start(|mut conn| async move {
        while let Some(asked) = conn.asked().await {
            let broken = String::from_utf8_lossy(&asked.body).contains("m-broken");
            let answer = speech::reply(Dialect::OpenAiChat);
            let json = [("content-type", "application/json")];
            match broken {
                true => conn.answer(400, &json, r#"{"error":{"message":"no such model"}}"#.to_owned()).await,
                false => conn.answer(200, &json, answer).await,
            }
        }
    })
    .await;
    let file = support::router::provider("up", Dialect::OpenAiChat, &upstream);
    let router = Router::start(&file);
    let chat = async |model: &str| {
        let body = speech::request(Dialect::OpenAiChat, model, false);
        Client::post(router.addr, "/v1/chat/completions", body).await
    };
    assert_eq!(chat("m-1").await.status, 200);
    let rule = json!({"provider": "UP", "model": "m-*"});
    let made = ask(&router, "POST", "/api/models/disabled", rule.clone()).await;
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(made.json(), json!({"provider": "up", "model": "m-*", "source": "store", "readOnly": false}));
    let place = made.header("location").unwrap().to_owned();
    assert_eq!(ask(&router, "POST", "/api/models/disabled", rule).await.status, 200, "it is there already");
    let refusal = chat("m-1").await;
    assert_eq!(refusal.status, 403, "{}", refusal.text());
    assert!(refusal.text().contains("disabled_models"), "{}", refusal.text());
    assert_eq!(chat("n-1").await.status, 200);
    assert_eq!(get(&router, "/api/models/disabled").await["total"], 1);
    assert_eq!(get(&router, "/api/settings").await["disabledModels"], json!(["up/m-*"]));
    for (body, param) in [
        (json!({"provider": "nobody", "model": "m"}), "provider"),
        (json!({"provider": "up", "model": "a,b"}), "model"),
        (json!({"provider": "up", "model": " "}), "model"),
    ] {
        let error = refused(&ask(&router, "POST", "/api/models/disabled", body).await, 422, "invalid_value");
        assert_eq!(error["param"], param);
    }
    assert_eq!(ask(&router, "DELETE", &place, Value::Null).await.status, 204);
    refused(&ask(&router, "DELETE", &place, Value::Null).await, 404, "not_found");
    refused(&ask(&router, "DELETE", "/api/models/disabled?provider=up", Value::Null).await, 400, "bad_query");
    assert_eq!(chat("m-1").await.status, 200);
    assert_eq!(audit(&router).await, ["model.disable", "model.disable", "model.enable"]);

    // A model is asked where it would be asked first, or where one wants.
    let test = async |body: Value| ask(&router, "POST", "/api/models/test", body).await;
    let up = test(json!({"model": "m-1"})).await.json();
    assert_eq!(json!([up["provider"], up["model"], up["status"], up["httpCode"]]), json!(["up", "m-1", "up", 200]));
    let down = test(json!({"model": "m-broken", "provider": "name:up"})).await.json();
    assert_eq!(json!([down["status"], down["httpCode"]]), json!(["down", 400]));
    assert!(down["error"].as_str().unwrap().contains("no such model"), "{down}");
    refused(&test(json!({"model": "m", "provider": "name:nobody"})).await, 404, "not_found");
    ask(&router, "POST", "/api/providers/name:up/test-models", json!({"models": ["m-2"]})).await;
    let known = get(&router, "/api/models/availability").await;
    let known: Vec<_> =
        known["data"].as_array().unwrap().iter().map(|row| json!([row["model"], row["status"]])).collect();
    assert_eq!(known, [json!(["m-1", "up"]), json!(["m-2", "up"]), json!(["m-broken", "down"])]);
    assert_eq!(get(&router, "/api/models/availability?q=broken").await["count"], 1);

    // What the file says is the file's to change.
    let router = Router::start(&format!("disabled_models = [\"*/m-1\"]\n{file}"));
    let row = get(&router, "/api/models/disabled").await["data"][0].clone();
    assert_eq!(row, json!({"provider": "*", "model": "m-1", "source": "file", "readOnly": true}));
    for (method, path, body) in [
        ("POST", "/api/models/disabled", json!({"provider": "up", "model": "x"})),
        ("DELETE", "/api/models/disabled?provider=*&model=m-1", Value::Null),
    ] {
        refused(&ask(&router, method, path, body).await, 423, "pinned_by_config");
    }
}
