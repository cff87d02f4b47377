//! Secrets that go in by the API are nowhere in the clear: not in the data folder, not in the log at its most talkative,
//! not in anything that the API answers.

use std::{collections::BTreeSet, fs, path::Path};

use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
use codecs::dialect::Dialect;
use flow_router::api::{route::Content, routes};
use serde_json::{Value, json};

use super::{
    JSON, manage,
    support::{Client, Router, Upstream, h2::H2, speech},
};

const CHAT: Dialect = Dialect::OpenAiChat;
const PROVIDER_KEY: &str = "sk-planted-PROVIDERKEY-7f3a9c51";
const SECOND_KEY: &str = "sk-planted-SECONDKEY-0b52e6d8aa";
const HEADER: &str = "planted-HEADER-secret-2d40b7";
const PASSWORD: &str = "planted PASSWORD of a person";
const WRONG_PASSWORD: &str = "planted WRONGPASSWORD 99";
const OIDC_SECRET: &str = "planted-OIDC-client-secret-c2d1";
/// No secret: what looks for secrets must find this.
const CANARY: &str = "canary-9d1e7a@planted.example";
const REFUSED_KEY: &str = "sk-planted-REFUSEDKEY-83b1f2c6";

/// A secret, and every form of it that is as good as the clear.
struct Planted {
    name: &'static str,
    forms: Vec<Vec<u8>>,
}

impl Planted {
    fn new(name: &'static str, secret: &str) -> Self {
        let hex = flow_router::store::digest::hex(secret.as_bytes());
        let escaped: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        let utf16 = secret.encode_utf16().flat_map(u16::to_le_bytes).collect();
        // Base64 of the same bytes differs with the place where they begin.
        let shifted = (0..3).map(|shift| {
            let text = BASE64_STANDARD_NO_PAD.encode([vec![0; shift], secret.as_bytes().to_vec()].concat());
            text.as_bytes()[4..text.len() - 4].to_vec()
        });
        let plain = [secret.as_bytes().to_vec(), hex.to_uppercase().into_bytes(), hex.into_bytes()];
        let forms = plain.into_iter().chain([escaped.into_bytes(), utf16]).chain(shifted).collect();
        Self { name, forms }
    }

    fn is_in(&self, bytes: &[u8]) -> bool {
        self.forms.iter().any(|form| memchr::memmem::find(bytes, form).is_some())
    }
}

/// Fails if one of the secrets is in there.
fn clean(place: &str, bytes: &[u8], planted: &[Planted]) {
    for secret in planted {
        assert!(!secret.is_in(bytes), "{place} holds the {}", secret.name);
    }
}

/// Looks into every file of a folder. Returns how many there were.
fn clean_folder(folder: &Path, planted: &[Planted]) -> usize {
    let mut files = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files += clean_folder(&path, planted);
        } else {
            clean(&path.display().to_string(), &fs::read(&path).unwrap(), planted);
            files += 1;
        }
    }
    files
}

/// Every operation that only reads, with what its path needs.
fn reads(ids: &[(&str, &str)]) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for route in routes().filter(|route| route.method == "GET") {
        // Streams of events have no end; what they tell is in the log and in usage.
        if route.replies.iter().any(|(_, content)| matches!(content, Content::Events)) {
            continue;
        }
        for path in route.paths() {
            let id = ids.iter().find(|(chapter, _)| path.starts_with(chapter)).map_or("x", |(_, id)| id);
            let parts: Vec<_> = path.split('/').map(|part| if part.starts_with('{') { id } else { part }).collect();
            paths.insert(parts.join("/"));
        }
    }
    assert!(paths.len() > 30, "{paths:?}");
    paths
}

#[tokio::test]
async fn no_secret_is_anywhere_in_the_clear() {
    // The upstream repeats what it was given, as vendors do.
    let said = json!({"error": {"type": "authentication_error",
        "message": format!("Incorrect API key provided: {PROVIDER_KEY}, with {HEADER}")}});
    let refusing = Upstream::always(401, JSON, said.to_string()).await;
    let good = Upstream::always(200, JSON, speech::reply(CHAT)).await;
    let router = Router::start_with("", &["--log", "trace"]);

    // In they go.
    let made = async |document: Value| {
        let answer = manage(&router, "POST", "/api/providers", &[], &document).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer
    };
    let refusing = made(json!({"provider": "mine", "name": "refusing", "format": "openai_chat",
        "baseUrl": format!("{}/v1", refusing.url()), "apiKey": PROVIDER_KEY, "headers": {"X-Secret": HEADER},
        "models": ["bad"], "email": CANARY}));
    let refusing = refusing.await;
    let good = made(json!({"provider": "mine", "name": "good", "format": "openai_chat",
        "baseUrl": format!("{}/v1", good.url()), "apiKey": "sk-planted-first", "models": ["*"]}))
    .await;
    let id = refusing.json()["id"].as_str().unwrap().to_owned();
    let path = format!("/api/providers/{}", good.json()["id"].as_str().unwrap());
    let changed = manage(&router, "PATCH", &path, &[], &json!({"apiKey": SECOND_KEY})).await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    let key = manage(&router, "POST", "/api/keys", &[], &json!({"name": "laptop", "scopes": ["inference"]})).await;
    assert_eq!(key.status, 201, "{}", key.text());
    let key = (key.json()["id"].as_str().unwrap().to_owned(), key.json()["plaintextKey"].as_str().unwrap().to_owned());
    let rules = json!({"authMode": "password", "requireLogin": true, "password": PASSWORD, "oidcConfig": {
        "issuer": "https://id.example", "clientId": "flow", "clientSecret": OIDC_SECRET, "allowedSubjects": ["u1"]}});
    let ruled = manage(&router, "PUT", "/api/settings/require-login", &[], &rules).await;
    assert_eq!(ruled.status, 200, "{}", ruled.text());

    // A login, and one that fails.
    let login = async |password: &str| {
        manage(&router, "POST", "/api/auth/login?token=1", &[], &json!({ "password": password })).await
    };
    let session = login(PASSWORD).await;
    assert_eq!(session.status, 200, "{}", session.text());
    let session = session.json()["token"].as_str().unwrap().to_owned();
    let failed = login(WRONG_PASSWORD).await;
    assert_eq!(failed.status, 401, "{}", failed.text());
    let admin = fs::read_to_string(router.data_dir().join("run/admin.token")).unwrap().trim().to_owned();
    let planted = [
        Planted::new("provider's key", PROVIDER_KEY),
        Planted::new("provider's second key", SECOND_KEY),
        Planted::new("provider's first key", "sk-planted-first"),
        Planted::new("header's secret", HEADER),
        Planted::new("password", PASSWORD),
        Planted::new("wrong password", WRONG_PASSWORD),
        Planted::new("identity provider's secret", OIDC_SECRET),
        Planted::new("refused key", REFUSED_KEY),
        Planted::new("key of ours", &key.1),
        Planted::new("session's token", &session),
    ];
    let bearer = format!("Bearer {admin}");
    let who = [("Authorization", bearer.as_str())];
    let asked = async |method: &str, path: &str, document: Value| {
        let answer = manage(&router, method, path, &who, &document).await;
        clean(&format!("{method} {path}"), format!("{:?}{}", answer.head, answer.text()).as_bytes(), &planted);
        answer
    };

    // What is refused does not come back either.
    for document in [
        json!({"provider": "openai", "name": "x", "apiKey": REFUSED_KEY, "priority": "first"}),
        json!({"provider": "openai", "name": "x", "apiKey": REFUSED_KEY, "bas_url": REFUSED_KEY.len()}),
        json!({"provider": "openai", "name": "x", "apiKey": format!("{REFUSED_KEY}\n{REFUSED_KEY}")}),
        json!({"provider": "openai", "name": "x", "headers": {"a": {"b": REFUSED_KEY}}}),
        json!({"provider": "openai", "name": "good", "apiKey": REFUSED_KEY}),
    ] {
        let answer = asked("POST", "/api/providers", document).await;
        assert!([409, 422].contains(&answer.status), "{}", answer.text());
    }

    // Requests, in every way in which a key may be said, answered well and badly, over both protocols.
    let spoken = async |fields: &[(&str, &str)], path: &str, dialect: Dialect, model: &str| {
        let fields = [JSON, fields].concat();
        let body = speech::request(dialect, model, false);
        let answer = Client::once(router.addr, "POST", path, &fields, body).await;
        clean(path, format!("{:?}{}", answer.head, answer.text()).as_bytes(), &planted);
        answer.status
    };
    let bearer_key = format!("Bearer {}", key.1);
    let named = ("Authorization", bearer_key.as_str());
    assert_eq!(spoken(&[named], "/v1/chat/completions", CHAT, "good/m").await, 200);
    assert_eq!(spoken(&[named], "/v1/messages", Dialect::Anthropic, "good/m").await, 200);
    assert_ne!(spoken(&[named], "/v1/chat/completions", CHAT, "refusing/bad").await, 200);
    assert_ne!(spoken(&[named], "/v1/messages", Dialect::Anthropic, "refusing/bad").await, 200);
    assert_eq!(spoken(&[("x-api-key", &key.1)], "/v1/messages", Dialect::Anthropic, "good/m").await, 200);
    let gemini = format!("/v1beta/models/good%2Fm:generateContent?key={}", key.1);
    spoken(&[], &gemini, Dialect::Gemini, "m").await;
    let mut h2 = H2::connect(router.addr).await;
    let body = speech::request(CHAT, "good/m", false);
    let fields = [JSON, &[("authorization", bearer_key.as_str())]].concat();
    let answer = h2.ask("POST", "/v1/chat/completions", &fields, body.as_bytes()).await.answer().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(asked("POST", &format!("/api/providers/{id}/test"), Value::Null).await.status, 200);
    let tried = json!({"baseUrl": "http://127.0.0.1:9/v1", "apiKey": REFUSED_KEY});
    asked("POST", "/api/providers/validate", tried).await;

    // A backup, verified and downloaded; another one after the key has changed.
    let backup = asked("POST", "/api/settings/backups", Value::Null).await;
    assert_eq!(backup.status, 201, "{}", backup.text());
    let backup = backup.json()["name"].as_str().unwrap().to_owned();
    let download = Client::once(router.addr, "GET", &format!("/api/backups/{backup}/download"), &who, "").await;
    assert_eq!((download.status, download.complete), (200, true));
    assert!(download.body.starts_with(b"SQLite format 3\0"));
    clean("a download", &download.body, &planted);
    let canary = Planted::new("canary", CANARY);
    assert!(canary.is_in(&download.body));

    // Everything that can be read, now that there is something.
    let ids = [
        ("/api/providers/", id.as_str()),
        ("/api/keys/", &key.0),
        ("/api/settings/backups/", &backup),
        ("/api/backups/", &backup),
        ("/api/usage/", &id),
    ];
    let mut good = 0;
    for path in reads(&ids) {
        good += usize::from(asked("GET", &path, Value::Null).await.status == 200);
    }
    assert!(good > 20, "only {good} operations had an answer");
    let logs = asked("GET", "/api/logs?limit=1000", Value::Null).await;
    assert!(logs.json()["count"].as_u64().unwrap() > 100, "{}", logs.text());

    // While it runs, the last of it is in the database's log only.
    assert!(clean_folder(&router.data_dir(), &planted) >= 6);
    clean("the log", router.log().as_bytes(), &planted);
    let mut router = router;
    router.terminate();
    assert!(router.ended().await.success(), "{}", router.log());
    clean_folder(&router.data_dir(), &planted);
    let log = router.log();
    clean("the log", log.as_bytes(), &planted);
    assert!(log.contains("TRACE"), "the log says everything that it can");
    assert!(canary.is_in(&fs::read(router.data_dir().join("db/data.sqlite")).unwrap()));
}
