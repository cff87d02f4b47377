//! `kill -9` at 200 places: the database opens, is whole, and holds everything that was acknowledged.
//!
//! The child is this program again. It writes configuration in four tasks and usage beside them, and prints a line for
//! what the store has acknowledged; the parent kills it after a certain line, which is a different place each time.
#![allow(clippy::unwrap_used)]

#[path = "support/rows.rs"]
mod rows;

use std::{
    collections::HashMap,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use flow_router::store::{self, Options, Secret, Store, providers, settings};
use rows::usage_row;

/// Tells the child where to write.
const FOLDER: &str = "FLOW_ROUTER_TEST_CRASH";
/// Tasks that write at once.
const TASKS: i64 = 4;

fn child(dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["the_child_that_is_killed", "--exact", "--nocapture", "--test-threads=1"])
        .env(FOLDER, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Does nothing unless it is the child.
#[test]
fn the_child_that_is_killed() {
    let Some(dir) = std::env::var_os(FOLDER) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Store::open(&Options::new(Path::new(&dir))).unwrap();
        let written: i64 = store
            .read(|conn| Ok(conn.query_row("SELECT coalesce(sum(n), 0) FROM log_segment", [], |row| row.get(0))?))
            .await
            .unwrap();
        let tasks: Vec<_> = (0..TASKS).map(|task| tokio::spawn(write(store.clone(), task))).collect();
        let queue = store.usage();
        // Ends only by being killed, or when a write fails.
        while tasks.iter().all(|task| !task.is_finished()) {
            // The writer may be behind: then the queue is full, which is no failure.
            for n in 0..20 {
                if !queue.try_push(usage_row(n)) {
                    break;
                }
            }
            store.write(|_| Ok(())).await.unwrap();
            println!("usage {}", written + store.status().written_rows as i64);
        }
        println!("failed");
    });
}

/// Counts up in a setting of its own, and every fourth time in a provider with a secret too.
async fn write(store: Store, task: i64) {
    let key = format!("task-{task}");
    let read = key.clone();
    let from = store.read(move |conn| Ok(settings::get(conn, &read)?.and_then(|value| value.as_i64()))).await.unwrap();
    for n in from.unwrap_or(0) + 1.. {
        let (name, vault) = (key.clone(), store.vault().clone());
        let change = move |change: &mut store::Change<'_>| {
            settings::set(change, &name, &n.into())?;
            if n % 4 == 0 {
                let mut row = providers::ProviderRow {
                    name: format!("{name}-{n}"),
                    api_key: Some(Secret::new(format!("sk-{n}"))),
                    tags: vec![format!("tag-{task}")],
                    ..providers::ProviderRow::default()
                };
                providers::insert(change, &vault, &mut row)?;
            }
            Ok(())
        };
        if store.write(change).await.is_err() {
            return;
        }
        println!("{key} {n}");
    }
}

/// When a child is killed.
enum After {
    /// So many acknowledgements.
    Lines(usize),
    /// So many usage rows that this child wrote.
    Usage(i64),
}

/// Kills the child at a place; returns the last number of each kind in everything it printed.
fn killed(dir: &Path, after: &After) -> HashMap<String, i64> {
    let mut child = child(dir);
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut last = HashMap::new();
    let (mut seen, mut killed, mut first_usage) = (0, false, None);
    let mut line = String::new();
    loop {
        line.clear();
        if output.read_line(&mut line).unwrap() == 0 {
            break;
        }
        assert_ne!(line, "failed\n");
        if !line.ends_with('\n') {
            break;
        }
        if let Some((kind, number)) = line.trim().split_once(' ')
            && let Ok(number) = number.parse()
        {
            seen += 1;
            let first = if kind == "usage" { *first_usage.get_or_insert(number) } else { 0 };
            last.insert(kind.to_owned(), number);
            let now = match after {
                After::Lines(lines) => seen == *lines,
                After::Usage(rows) => kind == "usage" && number - first >= *rows,
            };
            if now && !std::mem::replace(&mut killed, true) {
                // SIGKILL. What the child printed until then is still in the pipe and counts.
                child.kill().unwrap();
            }
        }
    }
    child.wait().unwrap();
    assert!(killed, "the child ended by itself");
    last
}

/// Opens what the child left and compares. Returns the usage rows in it.
fn compare(dir: &Path, acknowledged: &HashMap<String, i64>) -> i64 {
    let options = Options::new(dir);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Store::open(&options).unwrap();
        assert_eq!(store::check(&options), Ok(Vec::new()));
        let vault = store.vault().clone();
        let rows = store.read(move |conn| store::load_config(conn, &vault)).await.unwrap();
        let usage: i64 = store
            .read(|conn| Ok(conn.query_row("SELECT coalesce(sum(n), 0) FROM log_segment", [], |row| row.get(0))?))
            .await
            .unwrap();
        assert!(usage >= acknowledged.get("usage").copied().unwrap_or(0), "{usage} {acknowledged:?}");
        let sums: i64 = store
            .read(|conn| Ok(conn.query_row("SELECT coalesce(sum(n), 0) FROM usage_bucket", [], |row| row.get(0))?))
            .await
            .unwrap();
        assert_eq!(sums, usage, "rows and their sums are one transaction");
        let mut providers = 0;
        for task in 0..TASKS {
            let key = format!("task-{task}");
            let kept = rows.settings.iter().find(|row| row.key == key).and_then(|row| row.value.as_i64()).unwrap_or(0);
            let least = acknowledged.get(&key).copied().unwrap_or(0);
            assert!(kept >= least, "{key}: {kept} is kept, {least} was acknowledged");
            providers += kept / 4;
        }
        assert_eq!(rows.providers.len() as i64, providers, "a change is whole or not there");
        assert!(rows.providers.iter().all(|row| !row.secret_lost && row.tags.len() == 1));
        store.close(Duration::from_secs(10));
        usage
    })
}

#[test]
fn nothing_acknowledged_is_lost_at_200_crash_points() {
    for round in 0..9 {
        // A database that has survived is what the next child continues with.
        let lasting = tempfile::tempdir().unwrap();
        let mut usage = 0;
        for point in 0..20 {
            let after = match point % 4 {
                0 => After::Usage(1 + 150 * (point as i64 % 3)),
                _ => After::Lines(1 + (round + point) * 7 % 23),
            };
            usage = compare(lasting.path(), &killed(lasting.path(), &after));
        }
        assert!(usage > 500, "{usage}");
    }
    // New databases: the crash comes while tables and key are made, or soon after.
    for point in 0..20_u32 {
        let fresh = tempfile::tempdir().unwrap();
        let mut child = child(fresh.path());
        let mut output = BufReader::new(child.stdout.take().unwrap());
        if point % 2 == 0 {
            // From the first sign of the folder on, a little later each time.
            while !fresh.path().join("db").exists() {
                std::thread::yield_now();
            }
            (0..point * 200).for_each(|_| std::thread::yield_now());
        } else {
            let mut line = String::new();
            while !line.starts_with("task-") {
                line.clear();
                assert!(output.read_line(&mut line).unwrap() > 0);
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        compare(fresh.path(), &HashMap::new());
    }
}
