//! The running program: SIGHUP, a start without a usable database, and the order of its end.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod support;

use std::{fs, process::Command};

use codecs::dialect::Dialect;
use support::{
    Client, Router, Upstream,
    router::{self, provider},
    speech,
};

const CHAT: Dialect = Dialect::OpenAiChat;

async fn good() -> Upstream {
    Upstream::always(200, &[("content-type", "application/json")], speech::reply(CHAT)).await
}

/// Writes the file, sends SIGHUP and waits until the program has counted what came of it.
async fn reload(router: &Router, config: &str, expected: &str) {
    fs::write(router.dir.path().join("test.toml"), config).unwrap();
    let status = Command::new("kill").args(["-HUP", &router.pid().to_string()]).status().unwrap();
    assert!(status.success());
    Client::metrics(router.addr, &format!("flow_router_configurations_total{{result={expected}")).await;
}

async fn answers(router: &Router) -> String {
    let answer = Client::post(router.addr, "/v1/chat/completions", speech::request(CHAT, "m", false)).await;
    answer.header("x-flow-router-provider").unwrap_or("nobody").to_owned()
}

#[tokio::test]
async fn sighup_reads_the_file_again() {
    let (a, b) = (good().await, good().await);
    let router = Router::start(&provider("a", CHAT, &a));
    assert_eq!(answers(&router).await, "a");
    reload(&router, "[providers.b]\nkeep_alive = 1\n", "\"refused\"} 1").await;
    assert_eq!(answers(&router).await, "a");
    assert!(router.log().contains("test.toml:2:1"), "{}", router.log());
    assert!(router.log().contains("the configuration stays as it was"), "{}", router.log());
    reload(&router, &(provider("b", CHAT, &b) + "[aliases]\nx = \"b/y\"\n"), "\"applied\"} 1").await;
    assert_eq!(answers(&router).await, "b");
    // What waits for a start is said, and the log's filter does not.
    let config = format!("lanes = 3\nlog = \"warn\"\n{}", provider("b", CHAT, &b));
    reload(&router, &config, "\"applied\"} 2").await;
    // A word behind the change itself.
    let since = std::time::Instant::now();
    while !router.log().contains("wait for the next start") {
        assert!(since.elapsed() < support::PATIENCE, "{}", router.log());
        tokio::task::yield_now().await;
    }
    assert!(router.log().contains("settings=\"lanes\""), "{}", router.log());
    let before = router.log();
    reload(&router, &config, "\"applied\"} 3").await;
    assert!(!router.log()[before.len()..].contains("the configuration has changed"), "{}", router.log());
}

#[tokio::test]
async fn a_key_that_was_made_meanwhile_is_let_in() {
    let router = Router::start("");
    let made = router::run(router.dir.path(), &["key", "laptop"]);
    let key = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    let ask = async || {
        let body = speech::request(CHAT, "m", false);
        Client::once(router.addr, "POST", "/v1/chat/completions", &[("x-api-key", &key)], body).await.status
    };
    assert_eq!(ask().await, 401);
    reload(&router, "", "\"applied\"} 1").await;
    assert_eq!(ask().await, 200);
}

#[tokio::test]
async fn a_damaged_database_costs_its_part_of_the_configuration_only() {
    let a = good().await;
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("data/db")).unwrap();
    fs::write(dir.path().join("data/db/data.sqlite"), "this is no database, and long enough to be read as one")
        .unwrap();
    let router = Router::start_in(dir, &provider("a", CHAT, &a), &[]);
    assert_eq!(answers(&router).await, "a");
    assert!(router.log().contains("the store cannot be used"), "{}", router.log());
    let b = good().await;
    reload(&router, &provider("b", CHAT, &b), "\"applied\"} 1").await;
    assert_eq!(answers(&router).await, "b");
}

#[tokio::test]
async fn the_end_leaves_a_whole_database() {
    let mut router = Router::start("");
    assert_eq!(answers(&router).await, "demo");
    // Both readers have a connection.
    for _ in 0..4 {
        assert_eq!(Client::get(router.addr, "/api/usage").await.status, 200);
    }
    let folder = router.data_dir().join("db");
    assert!(folder.join("data.sqlite").exists());
    router.terminate();
    assert!(router.ended().await.success());
    let left = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    assert_eq!(left, ["data.sqlite"], "what was written is in the database, and nothing lies beside it");
    // And it is looked at without a running program.
    let checked = router::run(router.dir.path(), &["check"]);
    assert!(checked.status.success() && !String::from_utf8_lossy(&checked.stdout).contains("note"), "{checked:?}");
}
