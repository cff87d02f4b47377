//! The management API's settings and backups: who says what and since when, what may be changed, and a restore under load.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use codecs::dialect::Dialect;
use serde_json::{Value, json};
use support::{Answer, Client, Router, Upstream, speech};

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];
const CHAT: Dialect = Dialect::OpenAiChat;

async fn ask(router: &Router, method: &str, path: &str, document: Value) -> Answer {
    let body = if document.is_null() { String::new() } else { document.to_string() };
    Client::once(router.addr, method, path, JSON, body).await
}

async fn get(router: &Router, path: &str) -> Value {
    let answer = Client::get(router.addr, path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

/// Status, code and member of an error.
fn error(answer: &Answer) -> (u16, String, String) {
    let error = &answer.json()["error"];
    let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
    (answer.status, text("code"), text("param"))
}

#[tokio::test]
async fn every_setting_says_its_value_its_source_and_when_a_change_takes_effect() {
    let router = Router::start_with("max_attempts = 4\n", &["--keep-alive", "7s"]);
    let shown = get(&router, "/api/settings").await;
    for row in flow_router::settings::TABLE {
        let words: Vec<_> = row.name.split('_').collect();
        let rest = words[1..].iter().map(|word| word[..1].to_uppercase() + &word[1..]);
        let name: String = std::iter::once(words[0].to_owned()).chain(rest).collect();
        let member = if row.secret { format!("{name}Set") } else { name.clone() };
        assert!(shown.get(&member).is_some(), "{member}");
        assert!(!row.secret || shown.get(&name).is_none(), "{name} is a secret");
        assert_eq!(shown["_lives"][&name], row.life.name(), "{name}");
        assert!(shown["_sources"][&name].is_string(), "{name}");
        let pinned = shown["_sources"][&name] != "default" || !row.stored;
        assert_eq!(shown["_pinned"].get(&name).is_some(), pinned, "{name}");
    }
    assert_eq!((&shown["maxAttempts"], &shown["_sources"]["maxAttempts"]), (&json!(4), &json!("file")));
    assert_eq!((&shown["keepAlive"], &shown["_pinned"]["keepAlive"]["place"]), (&json!("7s"), &json!("--keep-alive")));
    assert!(shown["_pinned"]["maxAttempts"]["place"].as_str().unwrap().contains("test.toml:1"), "{shown}");
    assert_eq!(shown["_pending"], json!([]));
}

#[tokio::test]
async fn settings_are_changed_one_by_one_and_given_back() {
    let router = Router::start("max_attempts = 4\n");
    let patch = async |document: Value| ask(&router, "PATCH", "/api/settings", document).await;
    let changed = patch(json!({"echoModel": true, "lanes": 2, "allowedHosts": ["a.example", "b.example"]})).await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    let shown = changed.json();
    assert_eq!((&shown["echoModel"], &shown["_sources"]["echoModel"]), (&json!(true), &json!("store")));
    assert_eq!(shown["allowedHosts"], json!(["a.example", "b.example"]));
    assert_eq!(shown["_pending"], json!(["lanes"]), "it waits for a start");
    // The whole document may be sent back, by PUT as well.
    let again = ask(&router, "PUT", "/api/settings", shown).await;
    assert_eq!(again.status, 200, "{}", again.text());
    let given_back = patch(json!({"echoModel": null, "lanes": null})).await.json();
    assert_eq!((&given_back["echoModel"], &given_back["_sources"]["echoModel"]), (&json!(false), &json!("default")));
    assert_eq!(given_back["_pending"], json!([]));

    // What is not allowed changes nothing of the rest either.
    for (document, expected) in [
        (json!({"echoModel": true, "maxAttempts": 9}), (423, "pinned_by_config", "maxAttempts")),
        (json!({"echoModel": true, "readOnly": true}), (423, "pinned_by_config", "readOnly")),
        (json!({"echoModel": true, "dataDir": "/elsewhere"}), (423, "pinned_by_config", "dataDir")),
        (json!({"echoModel": true, "holdPrologue": "soon"}), (422, "invalid_value", "holdPrologue")),
        (json!({"echoModel": "yes"}), (422, "invalid_value", "echoModel")),
        (json!({"echoModel": true, "requireLogin": true}), (422, "invalid_value", "requireLogin")),
        (json!({"ecoModel": true}), (422, "unknown_field", "ecoModel")),
    ] {
        let refused = patch(document.clone()).await;
        let (status, code, param) = expected;
        assert_eq!(error(&refused), (status, code.to_owned(), param.to_owned()), "{document} {}", refused.text());
    }
    assert!(patch(json!({"ecoModel": true})).await.text().contains("did you mean `echoModel`?"));
    assert_eq!(get(&router, "/api/settings").await["echoModel"], false);

    // Only for the version that was read.
    let first = Client::get(router.addr, "/api/settings").await;
    let tag = first.header("etag").unwrap().to_owned();
    let versioned = async |tag: &str, model: &str| {
        let fields = [("content-type", "application/json"), ("if-match", tag)];
        let body = json!({ "defaultModel": model }).to_string();
        Client::once(router.addr, "PATCH", "/api/settings", &fields, body).await
    };
    assert_eq!(versioned(&tag, "one").await.status, 200);
    assert_eq!(error(&versioned(&tag, "two").await).0, 412);
    assert_eq!(get(&router, "/api/settings").await["defaultModel"], "one");
}

#[tokio::test]
async fn language_time_zone_and_colours_are_one_document() {
    let router = Router::start("theme = \"dark\"\n");
    let began = Client::get(router.addr, "/api/locale").await;
    assert_eq!(began.json(), json!({"locale": "en", "timezone": "", "theme": "dark"}));
    let changed = ask(&router, "PUT", "/api/locale", json!({"locale": "de-CH", "timezone": "Europe/Zurich"})).await;
    assert_eq!(changed.json(), json!({"locale": "de-CH", "timezone": "Europe/Zurich", "theme": "dark"}));
    let shown = get(&router, "/api/settings").await;
    assert_eq!((&shown["locale"], &shown["_sources"]["locale"]), (&json!("de-CH"), &json!("store")));
    let init = get(&router, "/api/init").await;
    assert_eq!((&init["locale"], &init["timezone"]), (&json!("de-CH"), &json!("Europe/Zurich")));
    let stale = [JSON[0], ("if-match", began.header("etag").unwrap())];
    let late = Client::once(router.addr, "PATCH", "/api/locale", &stale, r#"{"locale": "fr"}"#).await;
    assert_eq!(error(&late), (412, "etag_mismatch".into(), String::new()));
    for (wrong, status, param) in [
        (json!({"locale": "no tag"}), 422, "locale"),
        (json!({"timezone": "Mars/Base"}), 422, "timezone"),
        (json!({"theme": "blue"}), 422, "theme"),
        (json!({"theme": "light"}), 423, "theme"),
    ] {
        let answer = ask(&router, "PATCH", "/api/locale", wrong.clone()).await;
        assert_eq!((answer.status, error(&answer).2), (status, param.to_owned()), "{wrong}: {}", answer.text());
    }
    assert_eq!(ask(&router, "PATCH", "/api/locale", json!({"locale": null})).await.json()["locale"], "en");
    let catalog = get(&router, "/api/locale/catalog?tag=xx").await;
    assert_eq!((&catalog["tag"], &catalog["availableTags"]), (&json!("en"), &json!(["en"])));
    let strings = catalog["strings"].as_object().unwrap();
    assert!(
        strings["settings.maxAttempts"].as_str().unwrap().len() > 10 && strings.contains_key("operations.getLocale")
    );
}

#[tokio::test]
async fn secrets_go_in_and_do_not_come_out() {
    let mut router = Router::start("");
    let changed = ask(&router, "PATCH", "/api/settings", json!({"oidcClientSecret": "a-client-secret"})).await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    assert_eq!(changed.json()["oidcClientSecretSet"], true);
    assert!(!changed.text().contains("a-client-secret"));
    router.kill();
    router.start_again();
    assert_eq!(get(&router, "/api/settings").await["oidcClientSecretSet"], true);
    let removed = ask(&router, "PATCH", "/api/settings", json!({"oidcClientSecret": null})).await;
    assert_eq!(removed.json()["oidcClientSecretSet"], false);
}

#[tokio::test]
async fn the_database_tells_of_itself() {
    let router = Router::start("");
    let made = ask(&router, "POST", "/api/providers", json!({"provider": "openai", "name": "a", "apiKey": "k"})).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let shown = get(&router, "/api/settings/database").await;
    assert_eq!(shown["state"], "ok");
    assert_eq!(shown["dbPath"], router.data_dir().join("db/data.sqlite").display().to_string());
    assert_eq!((&shown["counts"]["providers"], &shown["dropped"]), (&json!(1), &json!(0)));
    assert!(shown["sizeBytes"].as_u64().unwrap() > 0 && shown["schemaVersion"].as_u64().unwrap() > 0, "{shown}");
    let steps = get(&router, "/api/settings/migrations").await;
    assert_eq!(steps["count"], shown["schemaVersion"]);
    assert!(steps["data"].as_array().unwrap().iter().all(|step| step["applied"] == true), "{steps}");

    // One that cannot be used.
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("data/db")).unwrap();
    std::fs::write(dir.path().join("data/db/data.sqlite"), "no database, and long enough to be looked at as one. ")
        .unwrap();
    let router = Router::start_in(dir, "", &[]);
    let token = std::fs::read_to_string(router.data_dir().join("run/admin.token")).unwrap();
    let bearer = format!("Bearer {}", token.trim());
    let ask = async |method: &str, path: &str, body: &str| {
        let fields = [&[("authorization", bearer.as_str())], JSON].concat();
        Client::once(router.addr, method, path, &fields, body).await
    };
    let shown = ask("GET", "/api/settings/database", "").await.json();
    assert!(shown["state"].as_str().unwrap().contains("not a database"), "{shown}");
    let refused = ask("PATCH", "/api/settings", r#"{"echoModel": true}"#).await;
    assert_eq!(error(&refused), (503, "store_unavailable".to_owned(), String::new()));
    assert_eq!(error(&ask("POST", "/api/backups", "").await).0, 503);
}

#[tokio::test]
async fn backups_are_made_looked_at_taken_home_and_removed() {
    let router = Router::start("");
    let made = ask(&router, "POST", "/api/settings/backups", json!({"label": "before-work"})).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let name = made.json()["name"].as_str().unwrap().to_owned();
    assert_eq!(made.header("location"), Some(format!("/api/settings/backups/{name}").as_str()));
    for path in ["/api/settings/backups", "/api/backups"] {
        let list = get(&router, path).await;
        assert_eq!((&list["count"], &list["data"][0]), (&json!(1), &made.json()), "{path}");
    }
    let verified = ask(&router, "POST", &format!("/api/backups/{name}/verify"), Value::Null).await.json();
    assert_eq!((&verified["ok"], &verified["faults"]), (&json!(true), &json!([])));
    let download = Client::get(router.addr, &format!("/api/backups/{name}/download")).await;
    assert_eq!(
        download.header("content-disposition"),
        Some(format!("attachment; filename=\"{name}.sqlite\"").as_str())
    );
    assert!(download.complete && download.body.starts_with(b"SQLite format 3\0"));
    assert_eq!(download.body.len() as u64, made.json()["sizeBytes"].as_u64().unwrap());
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &download.body);
    assert_eq!(made.json()["sha256"], flow_router::store::digest::hex(digest.as_ref()));

    // Newest first, and not more of a label than are to be kept.
    for _ in 0..3 {
        let made = ask(&router, "POST", "/api/backups", json!({"label": "kept", "keepN": 2})).await;
        assert_eq!(made.status, 201, "{}", made.text());
    }
    let names: Vec<_> =
        get(&router, "/api/backups").await["data"].as_array().unwrap().iter().map(|b| b["label"].clone()).collect();
    assert_eq!(names, ["kept", "kept", "before-work"]);

    for (method, path, document, expected) in [
        ("POST", "/api/backups".to_owned(), json!({"label": "../up"}), 422),
        ("POST", format!("/api/backups/{name}/restore"), json!({"confirm": "something"}), 422),
        ("POST", format!("/api/backups/{name}/restore"), json!({}), 422),
        ("POST", "/api/backups/nothing/verify".to_owned(), Value::Null, 404),
        ("POST", "/api/backups/nothing/restore".to_owned(), json!({"confirm": "nothing"}), 404),
        ("GET", "/api/backups/..%2f..%2fsecret.key/download".to_owned(), Value::Null, 404),
        ("GET", "/api/backups/%2e%2e/download".to_owned(), Value::Null, 404),
    ] {
        let answer = ask(&router, method, &path, document).await;
        assert_eq!(answer.status, expected, "{method} {path} {}", answer.text());
    }

    // One that was damaged is found out, and not restored.
    let file = router.data_dir().join("backups").join(&name).join("data.sqlite");
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xFF;
    std::fs::write(&file, bytes).unwrap();
    let verified = ask(&router, "POST", &format!("/api/backups/{name}/verify"), Value::Null).await.json();
    assert_eq!(verified["ok"], false);
    let refused = ask(&router, "POST", &format!("/api/backups/{name}/restore"), json!({ "confirm": name })).await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(ask(&router, "DELETE", &format!("/api/backups/{name}"), Value::Null).await.status, 204);
    assert_eq!(ask(&router, "DELETE", &format!("/api/backups/{name}"), Value::Null).await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_costs_no_request_and_is_in_force_when_it_is_acknowledged() {
    let upstream = Upstream::always(200, JSON, speech::reply(CHAT)).await;
    let router = Router::start("");
    let provider = |name: &str| {
        json!({"provider": "mine", "name": name, "format": "openai_chat", "models": ["*"],
            "baseUrl": format!("{}/v1", upstream.url()), "apiKey": "upstream-key"})
    };
    assert_eq!(ask(&router, "POST", "/api/providers", provider("old")).await.status, 201);
    assert_eq!(ask(&router, "PATCH", "/api/settings", json!({"echoModel": true})).await.status, 200);
    let kept = ask(&router, "POST", "/api/keys", json!({"name": "kept"})).await.json();
    let before = (get(&router, "/api/providers").await, get(&router, "/api/settings").await);
    let backup = ask(&router, "POST", "/api/backups", Value::Null).await.json();
    let backup = backup["name"].as_str().unwrap();

    assert_eq!(ask(&router, "POST", "/api/providers", provider("new")).await.status, 201);
    let removed = before.0["data"][0]["id"].as_str().unwrap();
    assert_eq!(ask(&router, "DELETE", &format!("/api/providers/{removed}"), Value::Null).await.status, 204);
    assert_eq!(ask(&router, "PATCH", "/api/settings", json!({"echoModel": null})).await.status, 200);
    let late = ask(&router, "POST", "/api/keys", json!({"name": "late"})).await.json();

    // The file is wrong now: that is no reason to leave the restored rows aside.
    std::fs::write(router.dir.path().join("test.toml"), "no_such_setting = 1\n").unwrap();
    let (go, done) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let load = tokio::spawn({
        let (addr, go, done) = (router.addr, go.clone(), done.clone());
        async move {
            let mut client = Client::connect(addr).await;
            while go.load(Ordering::Relaxed) {
                let body = speech::request(CHAT, "m", false);
                client.request("POST", "/v1/chat/completions", JSON, body.as_bytes()).await;
                let answer = client.answer().await;
                assert_eq!(answer.status, 200, "{}", answer.text());
                done.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let some = async |more: usize| {
        let from = done.load(Ordering::Relaxed);
        while done.load(Ordering::Relaxed) < from + more && !load.is_finished() {
            tokio::task::yield_now().await;
        }
    };
    some(20).await;
    let restored = ask(&router, "POST", &format!("/api/backups/{backup}/restore"), json!({ "confirm": backup })).await;
    assert_eq!(restored.status, 200, "{}", restored.text());
    let body = speech::request(CHAT, "m", false);
    let answer = Client::post(router.addr, "/v1/chat/completions", body).await;
    assert_eq!(answer.header("x-flow-router-provider"), Some("old"));
    some(20).await;
    go.store(false, Ordering::Relaxed);
    load.await.unwrap();

    assert_eq!((get(&router, "/api/providers").await, get(&router, "/api/settings").await), before);
    let status = async |key: &Value| {
        let bearer = format!("Bearer {}", key["plaintextKey"].as_str().unwrap());
        Client::once(router.addr, "GET", "/v1/models", &[("Authorization", &bearer)], "").await.status
    };
    assert_ne!(status(&kept).await, 401);
    assert_eq!(status(&late).await, 401, "a key that the backup does not know");
    // What was there before the restore can be had again, and who restored is written down.
    let snapshot = restored.json()["before"]["name"].as_str().unwrap().to_owned();
    assert!(snapshot.starts_with("pre-restore-"), "{snapshot}");
    let audit = get(&router, "/api/audit").await;
    assert_eq!(audit["data"][0]["action"], "backup.restore", "{audit}");
    assert_eq!(audit["data"][0]["target"], format!("backup/{backup}"));
    let again = ask(&router, "POST", &format!("/api/backups/{snapshot}/restore"), json!({ "confirm": snapshot })).await;
    assert_eq!(again.status, 200, "{}", again.text());
    assert_ne!(status(&late).await, 401);
    assert_eq!(get(&router, "/api/providers").await["data"][0]["name"], "new");
}
