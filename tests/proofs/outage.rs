//! The database locked by another program for five seconds, and a disk that takes nothing more: requests do not notice,
//! a metric shows what waits, and it is written when the cause is gone, without anybody's doing.

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use codecs::dialect::Dialect;
use rusqlite::{Connection, OpenFlags};
use serde_json::json;
use tokio::task::JoinSet;

use super::{
    JSON, manage, metric,
    support::{
        Client, PATIENCE, Router, Upstream,
        router::{command, provider},
        speech,
    },
};

const CHAT: Dialect = Dialect::OpenAiChat;
/// Clients that ask at once, each again as soon as it has its answer.
const CLIENTS: usize = 4;
/// Requests before the outage, for the comparison.
const BEFORE: usize = 3_000;
/// How long the outage lasts.
const OUTAGE: Duration = Duration::from_secs(5);

/// Asks without a pause while `go` is on, and at least `least` times; how long each answer took. Fails with the first
/// answer that is not what the upstream said.
async fn load(router: &Router, least: usize, go: &Arc<AtomicBool>) -> Vec<Duration> {
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (addr, go) = (router.addr, go.clone());
        clients.spawn(async move {
            let mut client = Client::connect(addr).await;
            let body = speech::request(CHAT, "m", false);
            let mut times = Vec::new();
            while times.len() < least / CLIENTS || go.load(Ordering::Relaxed) {
                let began = Instant::now();
                client.request("POST", "/v1/chat/completions", JSON, body.as_bytes()).await;
                let answer = client.answer().await;
                times.push(began.elapsed());
                assert_eq!((answer.status, answer.complete), (200, true), "{}", answer.text());
                assert_eq!(answer.text(), speech::reply(CHAT));
            }
            times
        });
    }
    let mut times = clients.join_all().await.concat();
    times.sort_unstable();
    times
}

/// The time that so many in a hundred stay below.
fn percentile(sorted: &[Duration], hundredths: usize) -> Duration {
    sorted[(sorted.len() * hundredths / 100).min(sorted.len() - 1)]
}

async fn metrics(router: &Router) -> String {
    Client::get(router.addr, "/metrics").await.text()
}

/// The metrics once `wanted` holds for them.
async fn until(router: &Router, what: &str, wanted: impl Fn(&str) -> bool) -> String {
    let since = Instant::now();
    loop {
        let text = metrics(router).await;
        if wanted(&text) {
            return text;
        }
        assert!(since.elapsed() < PATIENCE, "{what}\n{text}\n{}", router.log());
        tokio::task::yield_now().await;
    }
}

/// Loads the gateway before and during an outage, and waits for what was kept back.
async fn survives(router: &Router, begin: impl FnOnce() -> Box<dyn FnOnce()>, reason: &str) {
    let off = Arc::new(AtomicBool::new(false));
    load(router, 100, &off).await;
    let before = load(router, BEFORE, &off).await;
    // What came before is written, so that only the outage keeps rows back.
    let asked = 100 + before.len();
    let written = |text: &str, rows: usize| metric(text, "flow_router_usage_rows_written_total") == rows as f64;
    until(router, "rows before the outage", |text| written(text, asked)).await;

    let on = Arc::new(AtomicBool::new(true));
    let end = begin();
    let watch = async {
        let began = Instant::now();
        // Rows wait, and the gateway says so, also to those who ask why.
        let text = until(router, "the backlog", |text| metric(text, "flow_router_store_degraded") == 1.0).await;
        assert!(metric(&text, "flow_router_usage_rows_waiting") > 0.0, "{text}");
        let database = manage(router, "GET", "/api/settings/database", &[], &json!(null)).await;
        assert_eq!(database.status, 200, "{}", database.text());
        assert!(database.json()["state"].as_str().unwrap().contains(reason), "{}", database.text());
        assert!(database.json()["backlog"].as_u64().unwrap() > 0, "{}", database.text());
        // Nothing is promised that is not kept.
        let refused = manage(router, "PATCH", "/api/settings", &[], &json!({"maxAttempts": 3})).await;
        assert!([503, 507].contains(&refused.status) || refused.status == 500, "{}", refused.text());
        // Not to wait for something, but to have the outage last.
        tokio::time::sleep(OUTAGE.saturating_sub(began.elapsed())).await;
        let text = metrics(router).await;
        assert!(metric(&text, "flow_router_usage_lag_seconds") > 1.0, "{text}");
        assert!(metric(&text, "flow_router_usage_rows_waiting") > 100.0, "{text}");
        on.store(false, Ordering::Relaxed);
    };
    let (during, ()) = tokio::join!(load(router, 0, &on), watch);
    end();

    // It recovers by itself, and every row arrives.
    let asked = asked + during.len();
    let text = until(router, "rows after the outage", |text| written(text, asked)).await;
    assert_eq!(metric(&text, "flow_router_store_degraded"), 0.0);
    assert_eq!(metric(&text, "flow_router_usage_rows_waiting"), 0.0);
    assert_eq!(metric(&text, "flow_router_usage_rows_dropped_total"), 0.0);
    let file = router.data_dir().join("db/data.sqlite");
    let conn = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let rows: i64 = conn.query_row("SELECT coalesce(sum(n), 0) FROM log_segment", [], |row| row.get(0)).unwrap();
    assert_eq!(usize::try_from(rows), Ok(asked));
    let settings = manage(router, "GET", "/api/settings", &[], &json!(null)).await.json();
    assert_eq!(settings["_sources"]["maxAttempts"], "default", "a change that was refused is not kept");
    let changed = manage(router, "PATCH", "/api/settings", &[], &json!({"maxAttempts": 3})).await;
    assert_eq!(changed.status, 200, "{}", changed.text());

    let report = |name: &str, times: &[Duration]| {
        let [median, p99, max] = [50, 99, 100].map(|n| percentile(times, n));
        println!("{name}: {} requests, median {median:?}, p99 {p99:?}, longest {max:?}", times.len());
    };
    report("before", &before);
    report("during", &during);
    // A request that waited for the store would wait for a quarter of a second at least. The rest of the bound is for
    // machines that do something else meanwhile.
    for hundredths in [50, 99] {
        let (was, is) = (percentile(&before, hundredths), percentile(&during, hundredths));
        assert!(is < was * 3 + Duration::from_millis(150), "p{hundredths} went from {was:?} to {is:?}");
    }
}

async fn upstream() -> Upstream {
    Upstream::always(200, JSON, speech::reply(CHAT)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_database_costs_no_request() {
    let upstream = upstream().await;
    let router = Router::start(&provider("up", CHAT, &upstream));
    let file = router.data_dir().join("db/data.sqlite");
    let lock = move || -> Box<dyn FnOnce()> {
        let other = Connection::open(file).unwrap();
        other.busy_timeout(PATIENCE).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        Box::new(move || other.execute_batch("ROLLBACK").unwrap())
    };
    survives(&router, lock, "lock").await;
}

/// No file may grow or be written beyond its first byte: what the program sees is a disk that takes nothing more, for its
/// database as well as for its log.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_costs_no_request() {
    let upstream = upstream().await;
    let dir = tempfile::tempdir().unwrap();
    // The signal that comes with the limit would end the program; with a disk that is full there is none.
    let plain = command(dir.path());
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(plain.get_program()).env_clear();
    shell.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?)))).stdin(std::process::Stdio::null());
    let router = Router::start_as(shell, dir, &provider("up", CHAT, &upstream), &[]);
    let pid = router.pid();
    let limit = move |size: &str| {
        let done = Command::new("prlimit").args(["--pid", &pid.to_string(), &format!("--fsize={size}:")]).status();
        assert!(done.unwrap().success(), "prlimit is needed (util-linux)");
    };
    let fill = move || -> Box<dyn FnOnce()> {
        limit("1");
        Box::new(move || limit("unlimited"))
    };
    survives(&router, fill, "I/O").await;
}
