//! What a million rows cost to look at.
#![allow(clippy::unwrap_used)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use jiff::tz::TimeZone;
use rusqlite::Connection;

use super::{By, Filter, Names, SCHEMA, Step, Sum, Wanted, chart, list, stats, write::Kind};

/// 30 days, one row every 2.6 seconds at a million of them; every 50th failed, every 7th by another key.
fn fill(conn: &Connection, rows: i64) {
    conn.execute_batch(SCHEMA).unwrap();
    for (id, kind, value) in [
        (1, Kind::Provider, "acme"),
        (2, Kind::Provider, "other"),
        (3, Kind::Model, "large"),
        (4, Kind::Model, "small"),
        (5, Kind::Key, "laptop"),
        (6, Kind::Key, "server"),
        (7, Kind::Client, "codex"),
        (8, Kind::Provider, "rare"),
    ] {
        conn.execute("INSERT INTO dim VALUES (?1, ?2, ?3)", (id, kind as u8, value)).unwrap();
    }
    conn.execute_batch(&format!(
        "BEGIN;
         WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {rows})
         INSERT INTO request_log SELECT i + 1, i * 2592000000 / {rows}, printf('%024d', i),
             iif(i % 3 = 0, printf('session-%d', i / 100), NULL), 5 + (i % 7 = 0), iif(i = 5, 8, 1 + i % 2), 3, 3 + i % 2,
             NULL, 7, '127.0.0.1', 3, 1, 1, 1, 1, 1, iif(i % 50 = 0, 503, 200), iif(i % 50 = 0, 2, 0), NULL, 1000, 200,
             5000, 0, 0, 50, 0, 1234567, 300 + i % 500, 2000 + i % 5000, 90, 20000, 4000 FROM n;
         INSERT INTO usage_bucket SELECT ts_ms / 900000 * 900, conn_id, model_up, key_id, endpoint, count(*),
             sum(outcome <> 0), 0, 0, sum(tok_in), sum(tok_out), sum(tok_cache_read), 0, sum(tok_reasoning), sum(cost),
             sum(dur_ms), sum(ttft_ms), count(ttft_ms)
         FROM request_log GROUP BY 1, 2, 3, 4, 5;
         COMMIT;"
    ))
    .unwrap();
}

/// What people look at, with the rows that a page of 100 must have.
fn looks() -> Vec<(&'static str, Filter, usize)> {
    let text = |text: &str| Some(text.to_owned());
    let day = 86_400_000;
    vec![
        ("newest", Filter::default(), 100),
        ("provider", Filter { provider: text("acme"), ..Filter::default() }, 100),
        ("key", Filter { key: text("server"), ..Filter::default() }, 100),
        ("rare provider", Filter { provider: text("rare"), ..Filter::default() }, 1),
        ("failed", Filter { wanted: Some(Wanted::Error), ..Filter::default() }, 100),
        ("one session", Filter { session: text("session-12"), ..Filter::default() }, 34),
        ("one day", Filter { from_ms: Some(10 * day), to_ms: Some(11 * day), ..Filter::default() }, 100),
        ("model", Filter { model: text("sm*"), ..Filter::default() }, 100),
        ("nobody", Filter { model: text("none"), ..Filter::default() }, 0),
    ]
}

/// Steps of SQLite's machine that `work` takes, in thousands. They depend on the plan and the rows, never on the machine
/// underneath.
fn steps(conn: &mut Connection, work: impl FnOnce(&Connection)) -> u64 {
    let count = Arc::new(AtomicU64::new(0));
    let counted = count.clone();
    let count_one = move || {
        counted.fetch_add(1, Ordering::Relaxed);
        false
    };
    conn.progress_handler(1_000, Some(count_one)).unwrap();
    work(conn);
    conn.progress_handler(0, None::<fn() -> bool>).unwrap();
    count.load(Ordering::Relaxed)
}

/// The work for a page must not grow with the log.
#[test]
fn a_page_costs_the_same_in_a_longer_log() {
    let mut logs = [20_000, 80_000].map(|rows| {
        let conn = Connection::open_in_memory().unwrap();
        fill(&conn, rows);
        conn
    });
    for (name, filter, rows) in looks() {
        let [short, long] = logs.each_mut().map(|conn| {
            steps(conn, |conn| {
                let page = list(conn, &mut Names::default(), &filter, None, 100).unwrap();
                assert_eq!(page.rows.len(), rows, "{name}");
            })
        });
        assert!(long <= 30 && long <= short + 10, "{name}: {short} and {long} thousand steps");
    }
}

/// Run it with `--ignored`; the numbers that it prints are for people.
#[test]
#[ignore = "a measurement: a million rows on a disk"]
fn a_million_rows_are_listed_in_a_tenth_of_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let conn = Connection::open(folder.path().join("million.sqlite")).unwrap();
    conn.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;").unwrap();
    fill(&conn, 1_000_000);
    for (name, filter, rows) in looks() {
        let began = Instant::now();
        let page = list(&conn, &mut Names::default(), &filter, None, 100).unwrap();
        let took = began.elapsed();
        println!("{name}: {took:?}");
        assert_eq!(page.rows.len(), rows, "{name}");
        assert!(took.as_millis() < 100, "{name}: {took:?}");
    }
    let month = 30 * 86_400_000;
    let what =
        |step| Sum { from_ms: 0, to_ms: month, by: vec![By::Provider], step, zone: TimeZone::UTC, provider: None };
    let began = Instant::now();
    assert_eq!(chart(&conn, &what(Some(Step::Day))).unwrap().starts_ms.len(), 30);
    println!("chart of a month by days: {:?}", began.elapsed());
    let began = Instant::now();
    assert_eq!(chart(&conn, &what(Some(Step::Hour))).unwrap().starts_ms.len(), 720);
    println!("chart of a month by hours: {:?}", began.elapsed());
    let began = Instant::now();
    assert_eq!(stats(&conn, &what(None)).unwrap().totals.requests, 1_000_000);
    println!("figures of a month: {:?}", began.elapsed());
}
