//! The management API asked by its own OpenAPI document: schemathesis makes requests that fit it and requests that do not,
//! and holds the answers to it.
//!
//! The run is bounded in time and asks the same each time. It installs what it needs under `target/management`; where
//! Python is missing the test says `SKIPPED: …` on standard error and passes.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::{Client, Router, peers};

/// Administrators that take turns: each may change something 50 times per second.
const ADMINISTRATORS: usize = 8;

/// Their keys, and the file's entries for them: what the file says cannot be revoked by what is tried.
fn administrators() -> (Vec<String>, String) {
    let hex = |n: usize| {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, format!("administrator {n}").as_bytes());
        flow_router::store::digest::hex(digest.as_ref())
    };
    let keys: Vec<String> = (0..ADMINISTRATORS).map(|n| format!("flr_{}", hex(n))).collect();
    let entry = |(n, key): (usize, &String)| {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.as_bytes());
        let digest = flow_router::store::digest::hex(digest.as_ref());
        format!("[[keys]]\nname = \"administrator {n}\"\nsha256 = \"{digest}\"\nscopes = [\"admin\"]\n")
    };
    let file = keys.iter().enumerate().map(entry).collect();
    (keys, file)
}

/// Settings that would lock the run out are the file's; nothing is asked of the internet.
const CONFIG: &str = "require_login = false\nauth_mode = \"none\"\nrequire_key = false\nremote_management = false\n\
                      allowed_hosts = []\npublic_url = \"\"\ntrusted_proxies = []\nstrict_loopback = false\n\
                      proxy = \"http://127.0.0.1:9\"\nlog = \"warn\"\n";

async fn make(router: &Router, path: &str, body: Value) -> Value {
    let answer = Client::post(router.addr, path, body.to_string()).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()
}

#[tokio::test]
async fn answers_are_as_the_document_says() {
    let (keys, entries) = administrators();
    let router = Router::start(&format!("{CONFIG}{entries}"));
    make(&router, "/api/providers", json!({"provider": "ollama", "name": "known", "models": ["m"]})).await;
    make(&router, "/api/combos", json!({"name": "known", "models": ["known/m"]})).await;
    make(&router, "/api/keys", json!({"name": "known"})).await;
    make(&router, "/api/tags", json!({"name": "known"})).await;
    let output = peers::run_suite("schemathesis", "management/run.sh", &["python3"], |run| {
        run.arg(format!("http://{}", router.addr)).env("FLOW_ROUTER_KEYS", keys.join(","));
    });
    let Some(output) = output else { return };
    let text = String::from_utf8_lossy(&output.stdout);
    // Requests in it may be as long as a body may be.
    let text: Vec<String> = text.lines().map(|line| line.chars().take(400).collect()).collect();
    let faults = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{faults}\n{}", text.join("\n"), router.log());
    assert!(!router.log().contains("panicked"), "{}", router.log());
    let summary =
        text.iter().filter(|line| ["SKIPPED:", "Tested:", "generated"].iter().any(|word| line.contains(word)));
    summary.for_each(|line| peers::say(&format!("schemathesis: {}", line.trim())));
}
