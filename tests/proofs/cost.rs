//! What keeping records costs: processor time per request with `usage_log` on against off.

use std::{fs, process::Command};

use codecs::dialect::Dialect;
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

/// Nanoseconds that all threads of a process have run.
fn ran_ns(pid: u32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let one = |folder: fs::DirEntry| -> u64 {
        let text = fs::read_to_string(folder.path().join("schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0)
    };
    threads.map(|folder| one(folder.unwrap())).sum()
}

/// Nanoseconds per request of one run, what is written afterwards included.
async fn run(router: &Router, records: bool) -> f64 {
    let began = ran_ns(router.pid());
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let addr = router.addr;
        clients.spawn(async move {
            let mut client = Client::connect(addr).await;
            let body = speech::request(CHAT, "m", true);
            for _ in 0..REQUESTS / CLIENTS {
                client.request("POST", "/v1/chat/completions", JSON, body.as_bytes()).await;
                assert_eq!(client.answer().await.status, 200);
            }
        });
    }
    clients.join_all().await;
    if records {
        Client::metrics(router.addr, "flow_router_usage_rows_waiting 0\n").await;
    }
    (ran_ns(router.pid()) - began) as f64 / REQUESTS as f64
}

/// Wants a calm machine and a release build:
/// `cargo test --release --test proofs -- --ignored --nocapture records_cost`.
#[cfg(target_os = "linux")]
#[ignore = "measures: needs a calm machine and a release build"]
#[tokio::test]
async fn records_cost_little() {
    let upstream = Upstream::streams("text/event-stream", speech::stream(CHAT).blocks()).await;
    let config = provider("up", CHAT, &upstream);
    let on = Router::start_with(&config, &["--usage-log", "true", "--log", "warn"]);
    let off = Router::start_with(&config, &["--usage-log", "false", "--log", "warn"]);
    for router in [&on, &off] {
        // Both on one core each run like the other; the client takes what is left.
        drop(Command::new("taskset").args(["-acp", "0", &router.pid().to_string()]).output());
    }
    run(&on, true).await;
    run(&off, false).await;
    let mut ratios = Vec::new();
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for pair in 0..PAIRS {
        // Each goes first every other time.
        let (a, b) = match pair % 2 {
            0 => (run(&on, true).await, run(&off, false).await),
            _ => {
                let b = run(&off, false).await;
                (run(&on, true).await, b)
            }
        };
        ratios.push(a / b);
        with.push(a);
        without.push(b);
    }
    for list in [&mut ratios, &mut with, &mut without] {
        list.sort_by(f64::total_cmp);
    }
    let middle = PAIRS / 2;
    println!(
        "processor time per streamed request: {:.1} µs with records, {:.1} µs without; ratio of pairs {:.3} ({:.3} to {:.3})",
        with[middle] / 1e3,
        without[middle] / 1e3,
        ratios[middle],
        ratios[PAIRS / 4],
        ratios[PAIRS * 3 / 4],
    );
    assert!(ratios[middle] <= BAR, "records cost more than {BAR}");
}
