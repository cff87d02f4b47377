//! `kill -9` right behind an acknowledgement: what was acknowledged is there after the next start.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{
    manage,
    support::{Client, Router},
};

/// Kills of the program.
const ROUNDS: usize = 24;
/// Tasks that change something at once.
const TASKS: usize = 4;

/// What was acknowledged.
#[derive(Debug, Default)]
struct Promised {
    /// Providers by name, with the priority that the last acknowledged change gave them.
    providers: Vec<(String, u64)>,
    /// Keys.
    keys: Vec<String>,
}

/// Changes something again and again until the program is gone, and says each time that it was acknowledged.
async fn change(addr: SocketAddr, task: usize, round: usize, promised: Arc<Mutex<Promised>>, told: Told) {
    for n in 0.. {
        let name = format!("p{round}-{task}-{n}");
        let key = task == 0;
        let (path, document) = match key {
            true => ("/api/keys", json!({ "name": name })),
            false => {
                let secret = format!("sk-{name}-secret");
                ("/api/providers", json!({"provider": "openai", "name": name, "apiKey": secret, "priority": n}))
            }
        };
        let Some((201, answer)) = ask(addr, path, &document).await else { return };
        {
            let mut promised = promised.lock().unwrap();
            match key {
                true => promised.keys.push(answer["plaintextKey"].as_str().unwrap().to_owned()),
                false => promised.providers.push((name, n)),
            }
        }
        if told.send(()).is_err() {
            return;
        }
    }
}

type Told = tokio::sync::mpsc::UnboundedSender<()>;

/// Asks; `None` if the program goes away meanwhile.
async fn ask(addr: SocketAddr, path: &str, document: &Value) -> Option<(u16, Value)> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut io = tokio::net::TcpStream::connect(addr).await.ok()?;
    let body = document.to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    io.write_all((head + &body).as_bytes()).await.ok()?;
    let mut bytes = Vec::new();
    io.read_to_end(&mut bytes).await.ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    // Half an answer is none.
    Some((head.split(' ').nth(1)?.parse().ok()?, serde_json::from_str(body).ok()?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_outlives_a_kill() {
    let mut router = Router::start("");
    let promised = Arc::new(Mutex::new(Promised::default()));
    for round in 0..ROUNDS {
        let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        for task in 0..TASKS {
            tasks.spawn(change(router.addr, task, round, promised.clone(), told.clone()));
        }
        drop(told);
        // Another place each time, and always while other changes are on their way.
        for _ in 0..=round % 7 {
            heard.recv().await.expect("a change that is acknowledged");
        }
        router.kill();
        tasks.join_all().await;
        router.start_again();

        let page = manage(&router, "GET", "/api/providers?limit=1000", &[], &Value::Null).await.json();
        let there = page["data"].as_array().unwrap();
        let (providers, keys) = {
            let promised = promised.lock().unwrap();
            (promised.providers.clone(), promised.keys.clone())
        };
        for (name, priority) in &providers {
            let found = there.iter().find(|entry| entry["name"] == **name);
            let found = found.unwrap_or_else(|| panic!("round {round}: {name} was acknowledged and is gone"));
            assert_eq!((&found["priority"], &found["apiKeySet"]), (&json!(priority), &json!(true)), "{found}");
            assert_eq!(found["inForce"], true, "{found}");
        }
        for key in keys.iter().rev().take(20) {
            let bearer = format!("Bearer {key}");
            let answer = Client::once(router.addr, "GET", "/v1/models", &[("Authorization", &bearer)], "").await;
            assert_ne!(answer.status, 401, "round {round}: a key was acknowledged and is gone");
        }
    }
    let promised = promised.lock().unwrap();
    println!("{ROUNDS} kills, {} providers and {} keys are there", promised.providers.len(), promised.keys.len());
    assert!(promised.providers.len() >= ROUNDS && !promised.keys.is_empty());
    drop(promised);
    router.kill();
    let options = flow_router::store::Options::new(router.data_dir());
    assert_eq!(flow_router::store::check(&options), Ok(Vec::new()));
}
