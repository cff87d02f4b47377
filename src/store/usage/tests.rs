//! What a million rows cost to look at.
#![allow(clippy::unwrap_used)]

use std::time::Instant;

use jiff::tz::TimeZone;
use rusqlite::{Connection, StatementStatus};

use super::{
    By, Dims, Filter, Names, Outcome, Step, Sum, UsageRow, Wanted, chart, list, request,
    segment::{BODY, ROWS},
    stats,
    write::tests::{insert, row, tables},
};

const MONTH_MS: i64 = 30 * 86_400_000;

/// 30 days, one row every 2.6 seconds at a million of them; every 50th failed, every 7th by another key.
fn fill(mut conn: Connection, rows: i64) -> Connection {
    tables(&mut conn);
    let row = |n: i64| UsageRow {
        request_id: format!("{n:024}").into(),
        session: (n % 3 == 0).then(|| format!("session-{}", n / 100).into()),
        key: Some(if n % 7 == 0 { "server" } else { "laptop" }.into()),
        provider: Some(if n == 5 { "rare" } else { ["acme", "other"][n as usize % 2] }.into()),
        model_requested: "large".into(),
        model: Some(["large", "small"][n as usize % 2].into()),
        outcome: if n % 50 == 0 { Outcome::UpstreamError } else { Outcome::Ok },
        status: if n % 50 == 0 { 503 } else { 200 },
        error: (n % 50 == 0).then(|| "overloaded".into()),
        ttft_ms: Some(300 + n as u32 % 500),
        duration_ms: 2_000 + n as u32 % 5_000,
        ..row(n * MONTH_MS / rows)
    };
    let mut dims = Dims::default();
    for from in (0..rows).step_by(4_096) {
        let batch: Vec<_> = (from..rows.min(from + 4_096)).map(row).collect();
        insert(&mut conn, &mut dims, &batch);
    }
    conn
}

/// Filters with the rows of their first page.
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

/// The work for a page must not grow with the log: of segments that have nothing to show, only marks are read.
#[test]
fn a_page_costs_the_same_in_a_longer_log() {
    let sizes = [20_000, 80_000];
    let logs = sizes.map(|rows| fill(Connection::open_in_memory().unwrap(), rows));
    let opened = |conn: &Connection| conn.prepare_cached(BODY).unwrap().reset_status(StatementStatus::Run);
    for (name, filter, rows) in looks() {
        for (conn, size) in logs.iter().zip(sizes) {
            opened(conn);
            let page = list(conn, &mut Names::default(), &filter, None, 100).unwrap();
            assert_eq!(page.rows.len(), rows, "{name}");
            // Marks are right where they say no, and wrong once in thirty times where they say yes.
            let (opened, segments) = (opened(conn), size as i32 / ROWS as i32);
            assert!(opened <= 25 + segments / 20, "{name}: {opened} of {segments}");
        }
    }
    for (conn, size) in logs.iter().zip(sizes) {
        opened(conn);
        for id in ["7", "000000000000000000000012"] {
            assert_eq!(request(conn, &mut Names::default(), id).unwrap().len(), 1, "{id}");
        }
        assert!(opened(conn) <= 6 + size as i32 / ROWS as i32 / 20);
    }
}

/// Run it with `--ignored`; the numbers that it prints are for people.
#[test]
#[ignore = "a measurement: a million rows on a disk"]
fn a_million_rows_are_listed_in_a_tenth_of_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let conn = Connection::open(folder.path().join("million.sqlite")).unwrap();
    conn.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;").unwrap();
    let conn = fill(conn, 1_000_000);
    for (name, filter, rows) in looks() {
        let began = Instant::now();
        let page = list(&conn, &mut Names::default(), &filter, None, 100).unwrap();
        let took = began.elapsed();
        println!("{name}: {took:?}");
        assert_eq!(page.rows.len(), rows, "{name}");
        assert!(took.as_millis() < 100, "{name}: {took:?}");
    }
    let timed = |name: &str, work: &dyn Fn()| {
        let began = Instant::now();
        work();
        println!("{name}: {:?}", began.elapsed());
    };
    // What no mark tells reads all.
    let slow = Filter { min_duration_ms: Some(60_000), ..Filter::default() };
    timed("slower than a minute, of which there is none", &|| {
        assert_eq!(list(&conn, &mut Names::default(), &slow, None, 100).unwrap().rows, []);
    });
    timed("one request by its id", &|| {
        assert_eq!(request(&conn, &mut Names::default(), &format!("{:024}", 400_000)).unwrap().len(), 1);
    });
    let what =
        |step| Sum { from_ms: 0, to_ms: MONTH_MS, by: vec![By::Provider], step, zone: TimeZone::UTC, provider: None };
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
