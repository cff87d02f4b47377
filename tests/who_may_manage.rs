//! Who may manage: every operation walked by those who may not, and logins from the outside.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;

use flow_router::{
    api::{auth::Capability, routes},
    settings::{SCOPES, Scope},
};
use serde_json::{Value, json};
use support::{Answer, Client, Router, router};

/// SHA-256 in hexadecimal digits.
fn sha256(text: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    flow_router::store::digest::hex(digest.as_ref())
}

const RIGHT: &str = "correct horse";

/// A file that asks for a login; the hash is in the form of the Go program.
fn locked() -> String {
    let hash = sha256(&format!("flow_router_local_v1:{RIGHT}"));
    format!("auth_mode = \"password\"\nrequire_login = true\npassword_hash = \"{hash}\"\n")
}

fn key(scope: &str) -> String {
    format!("flr_{}", sha256(scope))
}

/// A key for each scope.
fn keys() -> String {
    let keys = SCOPES.iter().map(|(name, _)| {
        let digest = sha256(&key(name));
        format!("[[keys]]\nname = \"{name}\"\nsha256 = \"{digest}\"\nscopes = [\"{name}\"]\n")
    });
    keys.collect()
}

/// Every method and path of the table, with what it asks for.
fn operations() -> Vec<(String, String, Capability)> {
    let mut all = Vec::new();
    for route in routes() {
        for path in route.paths() {
            let path = path.split('/').map(|part| if part.starts_with('{') { "x" } else { part });
            let path = path.collect::<Vec<_>>().join("/");
            // Ollama's as well: who may not manage is answered by the gateway.
            if path == "/api/tags" && route.method == "GET" {
                continue;
            }
            all.extend(route.methods().map(|method| (method.to_string(), path.clone(), route.capability)));
        }
    }
    assert!(all.len() > 20, "the table has more than {} operations", all.len());
    all
}

/// Asks, and reads the answer only if it is an error: others may be streams.
async fn ask(router: &Router, method: &str, path: &str, host: &str, fields: &[(&str, &str)]) -> (u16, Value) {
    let mut client = Client::connect(router.addr).await;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n");
    fields.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
    client.send(head + "\r\n").await;
    let (status, head) = client.head().await;
    if status < 400 {
        return (status, Value::Null);
    }
    assert!(head.names().iter().all(|name| !name.to_ascii_lowercase().starts_with("access-control")), "{path}");
    let (body, _) = client.rest().await;
    (status, serde_json::from_slice(&body).unwrap())
}

/// The head of an answer that has no body.
async fn headed(router: &Router, method: &str, path: &str, fields: &[(&str, &str)]) -> (u16, support::wire::Head) {
    let mut client = Client::connect(router.addr).await;
    client.request(method, path, fields, b"").await;
    client.head().await
}

fn code(answer: &Value) -> &str {
    answer["error"]["code"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn every_operation_refuses_those_who_may_not() {
    let router = Router::start(&(locked() + &keys()));
    let host = router.addr.to_string();
    for (method, path, capability) in operations() {
        let place = format!("{method} {path}");
        let unsafe_method = method != "GET";
        let ask = async |host: &str, fields: &[(&str, &str)]| {
            let (status, answer) = ask(&router, &method, &path, host, fields).await;
            (status, code(&answer).to_owned(), answer)
        };
        // Nobody.
        let (status, word, answer) = ask(&host, &[]).await;
        match capability {
            Capability::Public | Capability::Login => {
                let refusals = ["login_required", "remote_management_disabled", "bad_host", "csrf", "scope_missing"];
                assert!(!refusals.contains(&word.as_str()), "{place} {answer}");
            }
            Capability::Scope(_) => {
                assert_eq!((status, word.as_str()), (401, "login_required"), "{place}");
                assert_eq!(
                    answer["error"]["details"],
                    json!({"requireLogin": true, "authMode": "password"}),
                    "{place}"
                );
            }
        }
        // Under a name that was made to point here.
        for host in ["evil.example", "localhost.evil.example:2402", "127.0.0.1.nip.io"] {
            let (status, word, _) = ask(host, &[]).await;
            assert_eq!((status, word.as_str()), (403, "bad_host"), "{place}");
        }
        // From another site's page.
        for field in [("Origin", "https://evil.example"), ("Origin", "null"), ("Sec-Fetch-Site", "cross-site")] {
            let (status, word, _) = ask(&host, &[field]).await;
            let guarded = matches!(capability, Capability::Scope(_));
            assert_eq!((status, word.as_str()) == (403, "csrf"), guarded || unsafe_method, "{place} {field:?}");
        }
        if capability == Capability::Public {
            continue;
        }
        // Through a tunnel or a proxy, whatever it shows.
        let admin = key("admin");
        for field in
            [("CF-Connecting-IP", "127.0.0.1"), ("X-Forwarded-For", "127.0.0.1"), ("Forwarded", "for=127.0.0.1")]
        {
            for fields in [&[field][..], &[field, ("X-Api-Key", &admin)]] {
                let (status, word, _) = ask(&host, fields).await;
                assert_eq!((status, word.as_str()), (403, "remote_management_disabled"), "{place} {fields:?}");
            }
        }
        let Capability::Scope(wanted) = capability else { continue };
        // With a credential that is not good.
        for credential in ["flr_0000", "fra_0000"] {
            let (status, word, _) = ask(&host, &[("X-Api-Key", credential)]).await;
            assert_eq!((status, word.as_str()), (401, "invalid_key"), "{place} {credential}");
        }
        let (status, _, _) = ask(&host, &[("Cookie", "flow_router_session=forged")]).await;
        assert_eq!(status, 401, "{place}");
        // With a key for something else.
        for (name, scope) in SCOPES {
            if scope == wanted || scope == Scope::Admin {
                continue;
            }
            let (status, word, answer) = ask(&host, &[("X-Api-Key", &key(name))]).await;
            assert_eq!((status, word.as_str()), (403, "scope_missing"), "{place} {name} {answer}");
        }
    }
}

#[tokio::test]
async fn without_a_login_this_machine_manages_and_a_tunnel_does_not() {
    let router = Router::start("");
    let port = router.addr.port();
    for host in [format!("127.0.0.1:{port}"), format!("localhost:{port}"), "[::1]".to_owned()] {
        assert_eq!(ask(&router, "GET", "/api/auth/sessions", &host, &[]).await.0, 200, "{host}");
    }
    for field in [
        ("CF-Ray", "1"),
        ("X-Forwarded-For", "127.0.0.1"),
        ("Via", "1.1 x"),
        ("X-Real-IP", "::1"),
        ("Tailscale-User-Login", "a"),
    ] {
        let (status, answer) = ask(&router, "GET", "/api/auth/sessions", "localhost", &[field]).await;
        assert_eq!((status, code(&answer)), (403, "remote_management_disabled"), "{field:?}");
    }
    // HTTP/1.0 is what reverse proxies speak that were not told otherwise.
    let mut client = Client::connect(router.addr).await;
    client.send("GET /api/auth/sessions HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 403);
    // Preflights get no permission, and those of the internet a refusal.
    let preflight = [("Origin", "https://evil.example"), ("Access-Control-Request-Method", "DELETE")];
    let (_, head) = headed(&router, "OPTIONS", "/api/auth/sessions", &preflight).await;
    assert!(head.names().iter().all(|name| !name.to_ascii_lowercase().starts_with("access-control")));
    let private = [preflight[0], ("Access-Control-Request-Private-Network", "true")];
    assert_eq!(Client::once(router.addr, "OPTIONS", "/api/auth/sessions", &private, "").await.status, 403);
    // A form cannot say that it sends JSON.
    let form = [("Content-Type", "text/plain")];
    let answer = Client::once(router.addr, "PUT", "/api/settings/require-login", &form, "{}").await;
    assert_eq!(answer.status, 415);
}

async fn login(router: &Router, password: &str, fields: &[(&str, &str)]) -> Answer {
    let fields = [&[("Content-Type", "application/json")], fields].concat();
    let body = json!({"password": password}).to_string();
    Client::once(router.addr, "POST", "/api/auth/login", &fields, body).await
}

fn cookie(answer: &Answer) -> String {
    answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned()
}

async fn is_in(router: &Router, cookie: &str) -> bool {
    Client::once(router.addr, "GET", "/api/auth/sessions", &[("Cookie", cookie)], "").await.status == 200
}

#[tokio::test]
async fn logins_begin_and_end() {
    let router = Router::start(&locked());
    let wrong = login(&router, "wrong horse", &[]).await;
    assert_eq!((wrong.status, code(&wrong.json())), (401, "invalid_credentials"));
    assert!(wrong.header("set-cookie").is_none());
    let right = login(&router, RIGHT, &[]).await;
    assert_eq!(right.status, 200, "{}", right.text());
    assert_eq!(right.header("cache-control").map(|value| value.contains("no-store")), Some(true));
    assert!(right.json().get("token").is_none());
    let session = cookie(&right);
    assert!(is_in(&router, &session).await);
    let status = Client::once(router.addr, "GET", "/api/auth/status", &[("Cookie", &session)], "").await.json();
    assert_eq!((&status["principal"], &status["session"]["userId"]), (&json!("session"), &json!("admin")));
    // Another site's page has the browser send the cookie along; that is not enough.
    let forged = [("Cookie", session.as_str()), ("Origin", "https://evil.example")];
    assert_eq!(Client::once(router.addr, "DELETE", "/api/auth/sessions", &forged, "").await.status, 403);
    let (status, logout) = headed(&router, "POST", "/api/auth/logout", &[("Cookie", &session)]).await;
    assert_eq!(status, 204);
    assert!(logout.get("set-cookie").unwrap().contains("Max-Age=0"));
    assert!(!is_in(&router, &session).await);
    // Guessing ends in a lock, for the right password too.
    let mut answers = Vec::new();
    for n in 0..6 {
        answers.push(login(&router, &format!("guess number {n}"), &[]).await);
    }
    assert!(answers[..5].iter().all(|answer| answer.status == 401), "the right one began anew");
    let locked = login(&router, RIGHT, &[]).await;
    assert_eq!((locked.status, code(&locked.json())), (429, "login_locked"));
    let seconds: u64 = locked.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=30).contains(&seconds) && locked.json()["error"]["details"]["retryAfter"] == json!(seconds));
    assert!(!router.log().contains("horse") && !router.log().contains(&session[20..]));
}

#[tokio::test]
async fn a_password_is_set_over_the_api_and_from_the_machine() {
    let router = Router::start("");
    let put = async |body: Value, fields: &[(&str, &str)]| {
        let fields = [&[("Content-Type", "application/json")], fields].concat();
        Client::once(router.addr, "PUT", "/api/settings/require-login", &fields, body.to_string()).await
    };
    let refused = put(json!({"requireLogin": true, "authMode": "password"}), &[]).await;
    assert_eq!(refused.status, 422, "{}", refused.text());
    let set = put(json!({"requireLogin": true, "authMode": "password", "password": RIGHT}), &[]).await;
    assert_eq!(set.status, 200, "{}", set.text());
    assert_eq!(put(json!({"requireLogin": false}), &[]).await.status, 401);
    let session = cookie(&login(&router, RIGHT, &[]).await);
    assert!(is_in(&router, &session).await);

    // The token of this run lets its owner in, and sets a new password.
    let path = router.data_dir().join("run/admin.token");
    let token = fs::read_to_string(&path).unwrap().trim().to_owned();
    let bearer = format!("Bearer {token}");
    let shown = Client::once(router.addr, "GET", "/api/auth/sessions", &[("Authorization", &bearer)], "").await;
    assert_eq!((shown.status, &shown.json()["count"]), (200, &json!(1)));
    let addr = router.addr.to_string();
    let reset = router::run(router.dir.path(), &["auth", "reset-password", "--addr", &addr]);
    assert!(reset.status.success(), "{}", String::from_utf8_lossy(&reset.stderr));
    let made = String::from_utf8(reset.stdout).unwrap().trim().to_owned();
    assert!(!is_in(&router, &session).await, "who knew the old one is out");
    assert_eq!(login(&router, RIGHT, &[]).await.status, 401);
    let session = cookie(&login(&router, &made, &[]).await);

    // Sessions outlast a restart; the token does not.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let mut router = router;
    router.terminate();
    router.ended().await;
    let dir = std::mem::replace(&mut router.dir, tempfile::tempdir().unwrap());
    drop(router);
    let router = Router::start_in(dir, "", &[]);
    assert!(is_in(&router, &session).await);
    let old = Client::once(router.addr, "GET", "/api/auth/sessions", &[("Authorization", &bearer)], "").await;
    assert_eq!((old.status, code(&old.json())), (401, "invalid_key"));
    let new = fs::read_to_string(router.data_dir().join("run/admin.token")).unwrap();
    let new = [("Authorization", format!("Bearer {}", new.trim()))];
    let new: Vec<_> = new.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(Client::once(router.addr, "GET", "/api/auth/sessions", &new, "").await.status, 200);
}

#[tokio::test]
async fn a_trusted_proxy_is_believed_and_never_taken_for_this_machine() {
    let config = locked()
        + "remote_management = true\ntrusted_proxies = [\"127.0.0.1\"]\npublic_url = \"https://flow.example\"\n";
    let router = Router::start(&config.replace("require_login = true", "require_login = false"));
    // Not even without any header: a proxy need not send one.
    let (status, answer) = ask(&router, "GET", "/api/auth/sessions", &router.addr.to_string(), &[]).await;
    assert_eq!((status, code(&answer)), (401, "login_required"));
    let through = [
        ("Host", "flow.example"),
        ("X-Forwarded-For", "6.6.6.6, 203.0.113.9"),
        ("X-Forwarded-Proto", "https"),
        ("Origin", "https://flow.example"),
        ("Content-Type", "application/json"),
    ];
    let body = json!({"password": RIGHT}).to_string();
    let send = async |method: &str, path: &str, fields: &[(&str, &str)], body: &str| {
        let mut client = Client::connect(router.addr).await;
        let mut head = format!("{method} {path} HTTP/1.1\r\nContent-Length: {}\r\n", body.len());
        fields.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        client.send(head + "\r\n" + body).await;
        client.answer().await
    };
    let answer = send("POST", "/api/auth/login", &through, &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let set = answer.header("set-cookie").unwrap();
    assert!(set.starts_with("__Host-flow_router_session=") && set.contains("; Secure"), "{set}");
    let session = cookie(&answer);
    let fields = [&through[..], &[("Cookie", &*session)]].concat();
    let sessions = send("GET", "/api/auth/sessions", &fields, "").await;
    assert_eq!(sessions.json()["data"][0]["ip"], json!("203.0.113.9"), "what the client wrote itself is not believed");
    // The limiter counts by that address, not by the proxy's.
    for n in 0..6 {
        send("POST", "/api/auth/login", &through, &json!({"password": format!("guess number {n}")}).to_string()).await;
    }
    assert_eq!(send("POST", "/api/auth/login", &through, &body).await.status, 429);
    let mut other = through;
    other[1].1 = "203.0.113.10";
    assert_eq!(send("POST", "/api/auth/login", &other, &body).await.status, 200);
}
