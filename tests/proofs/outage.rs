//! The database locked by another program for five seconds, and a disk that takes nothing more: requests do not notice,
//! a metric shows what waits, and it is written when the cause is gone, without anybody's doing.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use codecs::dialect::Dialect;
use rusqlite::Connection;
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
async fn survives(
    router: &Router,
    data_dir: &Path,
    begin: impl FnOnce() -> Box<dyn FnOnce()>,
    reason: &str,
    code: &str,
) {
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
        assert_eq!(refused.status, 503, "{}", refused.text());
        assert!(refused.header("retry-after").is_some(), "{refused:?}");
        let error = &refused.json()["error"];
        assert!(error["code"].as_str().unwrap().starts_with(code), "{error}");
        assert!(error["message"].as_str().unwrap().contains(reason), "{error}");
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
    // Nobody writes now. A copy, because SQLite follows the links by which another program's files are seen.
    let copy = tempfile::tempdir().unwrap();
    for name in ["data.sqlite", "data.sqlite-wal"] {
        fs::copy(data_dir.join("db").join(name), copy.path().join(name)).unwrap();
    }
    let conn = Connection::open(copy.path().join("data.sqlite")).unwrap();
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
    survives(&router, &router.data_dir(), lock, "lock", "store_locked").await;
}

/// How a disk is made full.
#[cfg(target_os = "linux")]
enum Disk {
    /// A small file system of the program's own, in memory: it is full, with all that the system says then.
    Own(Vec<&'static str>),
    /// No file may grow or be written beyond its first byte: a disk that takes nothing more, for the database as well as
    /// for its log. Where nobody may mount.
    Limit,
}

#[cfg(target_os = "linux")]
impl Disk {
    /// The best that this machine allows.
    fn here() -> Self {
        let ways = [vec!["unshare", "--mount"], vec!["unshare", "--mount", "--user", "--map-root-user"]];
        let may = |way: &Vec<&str>| {
            let script = ["/bin/sh", "-c", "mount -t tmpfs -o size=64k tmpfs /tmp"];
            let done = Command::new(way[0]).args(&way[1..]).args(script).output();
            done.is_ok_and(|done| done.status.success())
        };
        let disk = ways.into_iter().find(may).map_or(Disk::Limit, Disk::Own);
        println!(
            "the disk is {}",
            match &disk {
                Disk::Own(way) => format!("a file system of 16 MiB in memory ({})", way.join(" ")),
                Disk::Limit => "a limit on the size of files (RLIMIT_FSIZE): nobody may mount here".to_owned(),
            }
        );
        disk
    }

    /// The command that runs the program on it, with its data folder below `dir`. `full` from the start.
    fn command(&self, dir: &Path, full: bool) -> Command {
        let plain = command(dir);
        let program = match self {
            Disk::Own(way) => [way.as_slice(), &["/bin/sh", "-c"]].concat(),
            // The signal that comes with the limit would end the program; with a disk that is full there is none.
            Disk::Limit => vec!["/bin/sh", "-c"],
        };
        let fill = "dd if=/dev/zero of=$FLOW_ROUTER_DATA_DIR/filler bs=4k 2>/dev/null;";
        let script = match (self, full) {
            (Disk::Own(_), _) => format!(
                "mkdir -p $FLOW_ROUTER_DATA_DIR; mount -t tmpfs -o size=16m,mode=700 tmpfs $FLOW_ROUTER_DATA_DIR;{} exec \"$0\" \"$@\"",
                if full { fill } else { "" }
            ),
            (Disk::Limit, true) => "trap '' XFSZ; prlimit --pid $$ --fsize=0:; exec \"$0\" \"$@\"".to_owned(),
            (Disk::Limit, false) => "trap '' XFSZ; exec \"$0\" \"$@\"".to_owned(),
        };
        let mut shell = Command::new(program[0]);
        shell.args(&program[1..]).arg(script).arg(plain.get_program()).env_clear();
        shell
            .envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .stdin(std::process::Stdio::null());
        shell.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        shell
    }

    /// The program's data folder as this test sees it.
    fn data_dir(&self, router: &Router) -> PathBuf {
        match self {
            Disk::Own(_) => {
                let root = PathBuf::from(format!("/proc/{}/root", router.pid()));
                root.join(router.data_dir().strip_prefix("/").unwrap())
            }
            Disk::Limit => router.data_dir(),
        }
    }

    /// Fills it; what is returned makes room again.
    fn fill(&self, router: &Router) -> Box<dyn FnOnce()> {
        let make_room = self.room(router);
        match self {
            Disk::Own(_) => {
                let mut filler = fs::File::create(self.data_dir(router).join("filler")).unwrap();
                let page = [0; 4096];
                let full = std::iter::repeat_with(|| filler.write_all(&page)).find_map(Result::err).unwrap();
                assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
            }
            Disk::Limit => limit(router.pid(), "1"),
        }
        make_room
    }

    /// Makes room on one that is full.
    fn room(&self, router: &Router) -> Box<dyn FnOnce()> {
        match self {
            Disk::Own(_) => {
                let filler = self.data_dir(router).join("filler");
                Box::new(move || fs::remove_file(filler).unwrap())
            }
            Disk::Limit => {
                let pid = router.pid();
                Box::new(move || limit(pid, "unlimited"))
            }
        }
    }
}

/// Limits the size of the files that a program may write.
#[cfg(target_os = "linux")]
fn limit(pid: u32, size: &str) {
    let done = Command::new("prlimit").args(["--pid", &pid.to_string(), &format!("--fsize={size}:")]).status();
    assert!(done.unwrap().success(), "prlimit is needed (util-linux)");
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_costs_no_request() {
    let upstream = upstream().await;
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::here();
    let router = Router::start_as(disk.command(dir.path(), false), dir, &provider("up", CHAT, &upstream), &[]);
    survives(&router, &disk.data_dir(&router), || disk.fill(&router), "disk", "store_").await;
}

/// The program starts where it can write nothing: it serves what the file says, and takes the database up by itself as
/// soon as there is room for one.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_on_a_full_disk_costs_no_request_and_no_row() {
    let upstream = upstream().await;
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::here();
    let router = Router::start_as(disk.command(dir.path(), true), dir, &provider("up", CHAT, &upstream), &[]);
    let asked = load(&router, 400, &Arc::new(AtomicBool::new(false))).await.len() as f64;
    // A row is handed over a moment after its answer.
    let waiting = |text: &str| metric(text, "flow_router_usage_rows_waiting") == asked;
    let text = until(&router, "rows wait", waiting).await;
    for (name, value) in [("store_degraded", 1.0), ("usage_rows_dropped_total", 0.0)] {
        assert_eq!(metric(&text, &format!("flow_router_{name}")), value, "{name}\n{text}");
    }
    // Nobody knows whether a login is asked for, and there is no token to be read.
    let refused = manage(&router, "GET", "/api/settings", &[], &json!(null)).await;
    assert_eq!(refused.status, 401, "{}", refused.text());
    assert_eq!(Client::get(router.addr, "/api/health").await.json()["status"], "degraded");

    disk.room(&router)();
    let text = until(&router, "the rows", |text| metric(text, "flow_router_usage_rows_written_total") == asked).await;
    assert_eq!(metric(&text, "flow_router_store_degraded"), 0.0);
    let token = fs::read_to_string(disk.data_dir(&router).join("run/admin.token")).unwrap();
    let bearer = format!("Bearer {}", token.trim());
    for fields in [&[][..], &[("authorization", bearer.as_str())]] {
        let changed = manage(&router, "PATCH", "/api/settings", fields, &json!({"maxAttempts": 3})).await;
        assert_eq!(changed.status, 200, "{}\n{}", changed.text(), router.log());
    }
}
