//! Who may call: keys, and the names and pages from which a gateway on loopback can be reached.
#![allow(clippy::unwrap_used)]

mod support;

use codecs::dialect::Dialect;
use support::{
    Client, Router, Upstream,
    router::{self, provider},
    speech,
};

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

/// A gateway that asks for a key, its key, and the upstream behind it.
async fn guarded(dialect: Dialect) -> (Upstream, Router, String) {
    let upstream = Upstream::always(200, JSON, speech::reply(dialect)).await;
    let dir = tempfile::tempdir().unwrap();
    let made = router::run(dir.path(), &["key", "laptop"]);
    assert!(made.status.success());
    let key = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    let router = Router::start_in(dir, &provider("a", dialect, &upstream), &["--require-key", "true"]);
    (upstream, router, key)
}

#[tokio::test]
async fn without_a_key_nothing_is_told_but_that_we_live() {
    for dialect in Dialect::ALL {
        let (upstream, router, key) = guarded(dialect).await;
        let target = speech::path(dialect, "m", false);
        let request = speech::request(dialect, "m", false);
        let wrong = format!("Bearer {}", key.replace(&key[5..9], "0000"));
        for fields in
            [&[][..], &[("Authorization", wrong.as_str())], &[("x-api-key", "fr-")], &[("x-goog-api-key", "")]]
        {
            let answer = Client::once(router.addr, "POST", &target, fields, &request).await;
            assert_eq!(answer.status, 401, "{dialect:?} {fields:?} {}", answer.text());
            let message = speech::error_of(dialect, &answer.json());
            assert!(message.contains("flow-router key"), "{message}");
        }
        assert!(upstream.asked().is_empty());
        // `/api/tags` is for managing, too, which a program on this machine may without a login.
        for target in ["/v1/models", "/metrics", "/api/ps", "/"] {
            assert_eq!(Client::get(router.addr, target).await.status, 401, "{target}");
        }
        for target in ["/healthz", "/readyz", "/api/version"] {
            assert_eq!(Client::get(router.addr, target).await.status, 200, "{target}");
        }
        let bearer = format!("Bearer {key}");
        for field in [("Authorization", bearer.as_str()), ("X-Api-Key", &key), ("x-goog-api-key", &key)] {
            // A key is asked for nothing else: also not whether the request was passed on, which stays between us.
            let fields = [field, ("X-Forwarded-For", "10.1.1.1")];
            let answer = Client::once(router.addr, "POST", &target, &fields, &request).await;
            assert_eq!(answer.status, 200, "{dialect:?} {field:?} {}", answer.text());
        }
        let with_query = target.clone() + if target.contains('?') { "&" } else { "?" } + "key=" + &key;
        assert_eq!(Client::post(router.addr, &with_query, &request).await.status, 200);
        let asked = upstream.asked();
        assert_eq!(asked.len(), 4);
        assert!(asked.iter().all(|asked| asked.head.get("x-forwarded-for").is_none()));
        assert!(!format!("{asked:?}").contains(&key), "our key left the house");
    }
}

#[tokio::test]
async fn pages_and_foreign_names_are_kept_out() {
    let upstream = Upstream::always(200, JSON, speech::reply(Dialect::OpenAiChat)).await;
    let config = provider("a", Dialect::OpenAiChat, &upstream);
    let router = Router::start_with(&config, &["--allowed-hosts", "box.lan,host.docker.internal"]);
    let port = router.addr.port();
    let body = speech::request(Dialect::OpenAiChat, "m", false);
    let ask = async |host: &str, more: &str| {
        let mut client = Client::connect(router.addr).await;
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\n{more}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        client.send(head).await;
        client.answer().await
    };
    for host in [
        format!("127.0.0.1:{port}"),
        format!("localhost:{port}"),
        format!("LocalHost:{port}"),
        "[::1]:80".to_owned(),
        "192.168.1.2".to_owned(),
        "router.localhost".to_owned(),
        "box.lan".to_owned(),
        format!("BOX.lan:{port}"),
        "host.docker.internal".to_owned(),
    ] {
        let answer = ask(&host, "").await;
        assert_eq!(answer.status, 200, "{host}: {}", answer.text());
    }
    let good = upstream.asked().len();
    // A page whose name was made to point to 127.0.0.1 still sends its own name.
    for host in
        ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "evillocalhost", "box.lan.evil.example"]
    {
        let answer = ask(host, "").await;
        assert_eq!(answer.status, 403, "{host}");
        assert!(speech::error_of(Dialect::OpenAiChat, &answer.json()).contains("allowed_hosts"));
    }
    for origin in
        ["https://evil.example", "http://localhost.evil.example", "null", "file://", "https://evil.example:2402"]
    {
        let answer = ask("127.0.0.1", &format!("Origin: {origin}\r\n")).await;
        assert_eq!(answer.status, 403, "{origin}");
    }
    for origin in ["http://localhost:3000", "http://127.0.0.1:8080", "https://box.lan"] {
        assert_eq!(ask("127.0.0.1", &format!("Origin: {origin}\r\n")).await.status, 200, "{origin}");
    }
    // The name in the request line counts where there is one.
    let mut client = Client::connect(router.addr).await;
    client.send("GET http://evil.example/v1/models HTTP/1.1\r\nHost: evil.example\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 403);
    assert_eq!(upstream.asked().len(), good + 3);
    // Our key is more than any page has.
    let (_upstream, router, key) = guarded(Dialect::OpenAiChat).await;
    let mut client = Client::connect(router.addr).await;
    client.send(format!("GET /v1/models HTTP/1.1\r\nHost: evil.example\r\nAuthorization: Bearer {key}\r\n\r\n")).await;
    assert_eq!(client.answer().await.status, 200);
}

#[tokio::test]
async fn what_comes_through_a_tunnel_needs_a_key_even_where_none_is_asked_for() {
    for dialect in Dialect::ALL {
        let upstream = Upstream::always(200, JSON, speech::reply(dialect)).await;
        let dir = tempfile::tempdir().unwrap();
        let made = router::run(dir.path(), &["key", "phone"]);
        let key = String::from_utf8(made.stdout).unwrap().trim().to_owned();
        let router = Router::start_in(dir, &provider("a", dialect, &upstream), &[]);
        let (target, request) = (speech::path(dialect, "m", false), speech::request(dialect, "m", false));
        assert_eq!(Client::post(router.addr, &target, &request).await.status, 200);
        for field in [("CF-Connecting-IP", "203.0.113.9"), ("X-Forwarded-For", "127.0.0.1"), ("Via", "1.1 x")] {
            let answer = Client::once(router.addr, "POST", &target, &[field], &request).await;
            assert_eq!(answer.status, 401, "{dialect:?} {field:?}");
            assert!(speech::error_of(dialect, &answer.json()).contains("passed on"));
            let fields = [field, ("x-api-key", key.as_str())];
            assert_eq!(Client::once(router.addr, "POST", &target, &fields, &request).await.status, 200, "{field:?}");
        }
    }
}

#[tokio::test]
async fn refusals_have_every_dialects_shape() {
    let router = Router::start("");
    for dialect in Dialect::ALL {
        let body = speech::request(dialect, "m", false);
        let target = speech::path(dialect, "m", false);
        let mut client = Client::connect(router.addr).await;
        for _ in 0..2 {
            let head =
                format!("POST {target} HTTP/1.1\r\nHost: evil.example\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            client.send(head).await;
            let answer = client.answer().await;
            assert_eq!(answer.status, 403);
            assert!(speech::error_of(dialect, &answer.json()).contains("evil.example"), "{dialect:?}");
        }
    }
}

#[tokio::test]
async fn callers_may_bring_their_own_credential_where_that_is_wanted() {
    for dialect in [Dialect::Anthropic, Dialect::OpenAiChat] {
        let upstream = Upstream::always(200, JSON, speech::reply(dialect)).await;
        let config = provider("a", dialect, &upstream).replace("api_key = \"upstream-key\"", "client_auth = true");
        let router = Router::start(&config);
        let fields = [("Authorization", "Bearer of-the-caller")];
        let target = speech::path(dialect, "m", false);
        let answer = Client::once(router.addr, "POST", &target, &fields, speech::request(dialect, "m", false)).await;
        assert_eq!(answer.status, 200);
        assert_eq!(upstream.asked_once().head.get("authorization"), Some("Bearer of-the-caller"));
    }
}
