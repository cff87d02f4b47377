//! What keeping records costs: processor time per request with `usage_log` on against off.

use std::{fs, process::Command, time::Duration};

use codecs::dialect::Dialect;
use rusqlite::{Connection, OpenFlags};
use tokio::task::JoinSet;

use super::{
    JSON,
    support::{Client, Router, Upstream, router::provider, speech},
};

const CHAT: Dialect = Dialect::OpenAiChat;
/// Pairs of runs that are compared.
const PAIRS: usize = 21;
/// Requests of one run.
const REQUESTS: usize = 4_000;
/// Clients of one run.
const CLIENTS: usize = 8;
/// Most that the time with records may be, as a multiple of the time without.
const BAR: f64 = 1.05;

/// Nanoseconds that threads of a process have run: those that serve, and the one that writes.
fn ran_ns(pid: u32) -> [f64; 2] {
    let mut ran = [0.0; 2];
    for folder in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let read = |file: &str| fs::read_to_string(folder.as_ref().unwrap().path().join(file)).unwrap_or_default();
        let ns = read("schedstat").split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0.0);
        ran[usize::from(read("comm").trim() == "store-writer")] += ns;
    }
    ran
}

/// Rows in the database.
fn rows(router: &Router) -> i64 {
    let file = router.data_dir().join("db/data.sqlite");
    let conn = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    conn.query_row("SELECT coalesce(sum(n), 0) FROM log_segment", [], |row| row.get(0)).unwrap()
}

/// Nanoseconds per request of one run, what is written afterwards included.
async fn run(router: &Router, stream: bool, records: bool) -> [f64; 2] {
    let expected = rows(router) + if records { REQUESTS as i64 } else { 0 };
    let began = ran_ns(router.pid());
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let addr = router.addr;
        clients.spawn(async move {
            let mut client = Client::connect(addr).await;
            let body = speech::request(CHAT, "m", stream);
            for _ in 0..REQUESTS / CLIENTS {
                client.request("POST", "/v1/chat/completions", JSON, body.as_bytes()).await;
                assert_eq!(client.answer().await.status, 200);
            }
        });
    }
    clients.join_all().await;
    // Looked up in the file: asking the program would cost it something, and only the one with records.
    while rows(router) < expected {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let ended = ran_ns(router.pid());
    [0, 1].map(|part| (ended[part] - began[part]) / REQUESTS as f64)
}

/// Wants a calm machine and a release build:
/// `cargo test --release --test proofs -- --ignored --nocapture records_cost`.
#[cfg(target_os = "linux")]
#[ignore = "measures: needs a calm machine and a release build"]
#[tokio::test]
async fn records_cost_little() {
    let documents = Upstream::always(200, JSON, speech::reply(CHAT)).await;
    let streams = Upstream::streams("text/event-stream", speech::stream(CHAT).blocks()).await;
    let ratios = [compare("small document", &documents, false).await, compare("short stream", &streams, true).await];
    assert!(ratios.iter().all(|ratio| *ratio <= BAR), "records cost more than {BAR}: {ratios:?}");
}

/// The median ratio of pairs of runs, with records to without.
async fn compare(name: &str, upstream: &Upstream, stream: bool) -> f64 {
    let config = provider("up", CHAT, upstream);
    let on = Router::start_with(&config, &["--usage-log", "true", "--log", "warn"]);
    let off = Router::start_with(&config, &["--usage-log", "false", "--log", "warn"]);
    for router in [&on, &off] {
        // Both on one core each run like the other; the client takes what is left.
        drop(Command::new("taskset").args(["-acp", "0", &router.pid().to_string()]).output());
    }
    run(&on, stream, true).await;
    run(&off, stream, false).await;
    let (mut ratios, mut serving, mut writing, mut without) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for pair in 0..PAIRS {
        // Each goes first every other time.
        let early = if pair % 2 == 0 { None } else { Some(run(&off, stream, false).await) };
        let with = run(&on, stream, true).await;
        let bare = match early {
            Some(bare) => bare,
            None => run(&off, stream, false).await,
        };
        ratios.push((with[0] + with[1]) / (bare[0] + bare[1]));
        serving.push(with[0]);
        writing.push(with[1]);
        without.push(bare[0] + bare[1]);
    }
    for list in [&mut ratios, &mut serving, &mut writing, &mut without] {
        list.sort_by(f64::total_cmp);
    }
    let middle = PAIRS / 2;
    println!(
        "processor time per {name}: {:.1} µs to serve and {:.1} µs to write with records, {:.1} µs without; \
         ratio of pairs {:.3} ({:.3} to {:.3})",
        serving[middle] / 1e3,
        writing[middle] / 1e3,
        without[middle] / 1e3,
        ratios[middle],
        ratios[PAIRS / 4],
        ratios[PAIRS * 3 / 4],
    );
    ratios[middle]
}
