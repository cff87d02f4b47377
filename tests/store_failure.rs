//! The store when its disk is full, its file locked, read-only, damaged or newer: what was acknowledged stays, usage
//! waits, and everything goes on by itself when the cause is gone.
#![allow(clippy::unwrap_used)]

#[path = "support/rows.rs"]
mod rows;

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use flow_router::store::{
    self, Connection, OpenError, Options, State, Store, StoreError, backup, settings, usage::QUEUE_ROWS,
};
use rows::usage_row;

const CLOSE: Duration = Duration::from_secs(10);

fn options(dir: &Path) -> Options {
    Options { busy: Duration::from_millis(50), ..Options::new(dir) }
}

/// Writes nothing, again and again, until the store says so: each turn is a turn of the writer.
async fn until(store: &Store, wanted: impl Fn(&store::Status) -> bool) -> store::Status {
    let began = Instant::now();
    loop {
        let status = store.status();
        if wanted(&status) {
            return status;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{status:?}");
        let _ = store.write(|_| Ok(())).await;
        tokio::task::yield_now().await;
    }
}

async fn count(store: &Store, table: &'static str) -> i64 {
    number(store, format!("SELECT count(*) FROM {table}")).await
}

async fn number(store: &Store, sql: String) -> i64 {
    store.read(move |conn| Ok(conn.query_row(&sql, [], |row| row.get(0))?)).await.unwrap()
}

/// A secret that needs the vault's key.
async fn keep_secret(store: &Store) {
    let vault = store.vault().clone();
    let secret = store::Secret::new("client-secret");
    store.write(move |change| settings::set_secret(change, &vault, "oidc", &secret)).await.unwrap();
}

/// The one of [`keep_secret`] is what it was.
async fn secret_opens(store: &Store) {
    let vault = store.vault().clone();
    let opened = store.read(move |conn| settings::get_secret(conn, &vault, "oidc")).await.unwrap();
    assert_eq!(opened.unwrap().expose(), "client-secret");
}

fn push(store: &Store, rows: i64) {
    let queue = store.usage();
    assert!((0..rows).all(|n| queue.try_push(usage_row(n))));
}

#[tokio::test]
async fn a_full_disk_refuses_changes_and_keeps_usage_until_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&options(dir.path())).unwrap();
    store.write(|change| settings::set(change, "kept", &1.into())).await.unwrap();
    let limit = |pages: &'static str| {
        store.write(move |change| {
            let sql = format!("PRAGMA max_page_count = {pages}");
            Ok(change.query_row(&sql, [], |row| row.get::<_, i64>(0))?)
        })
    };
    // As low as it can be: the number of pages that there are.
    limit("1").await.unwrap();
    let large = serde_json::Value::from("x".repeat(100_000));
    let full = store.write(move |change| settings::set(change, "large", &large)).await;
    assert_eq!(full, Err(StoreError::Full));

    push(&store, 2_000);
    let status = until(&store, |status| status.state != State::Ok).await;
    assert_eq!(status.state, State::Degraded("the disk is full".to_owned()));
    assert!(status.backlog_rows > 0 && status.lag > Duration::ZERO, "{status:?}");
    assert_eq!(status.dropped_rows, 0);
    assert_eq!(count(&store, "settings").await, 1, "queries are answered");

    limit("1000000").await.unwrap();
    let status = until(&store, |status| status.backlog_rows == 0).await;
    assert_eq!((status.state, status.dropped_rows, status.written_rows), (State::Ok, 0, 2_000));
    assert_eq!(number(&store, "SELECT sum(n) FROM log_segment".to_owned()).await, 2_000);
    store.close(CLOSE);
    assert_eq!(store::check(&options(dir.path())), Ok(Vec::new()));
}

#[tokio::test]
async fn another_programs_lock_delays_usage_and_refuses_changes() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    let store = Store::open(&options).unwrap();
    let other = Connection::open(options.database()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(store.write(|change| settings::set(change, "a", &1.into())).await, Err(StoreError::Locked));
    push(&store, 300);
    let status = until(&store, |status| status.state != State::Ok).await;
    assert_eq!(status.state, State::Degraded(StoreError::Locked.to_string()));
    assert_eq!(count(&store, "settings").await, 0, "queries are answered");
    let second = Store::open(&options).unwrap();
    assert_eq!(count(&second, "settings").await, 0, "it opens under the lock too");
    second.close(CLOSE);
    other.execute_batch("COMMIT").unwrap();
    let status = until(&store, |status| status.backlog_rows == 0).await;
    assert_eq!((status.state, status.written_rows), (State::Ok, 300));
    store.write(|change| settings::set(change, "a", &1.into())).await.unwrap();
    store.close(CLOSE);
}

#[tokio::test]
async fn a_close_under_a_lock_ends_in_time_and_counts_what_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    let store = Store::open(&options).unwrap();
    let other = Connection::open(options.database()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    push(&store, 300);
    let began = Instant::now();
    store.close(Duration::from_secs(1));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let status = until(&store, |status| status.dropped_rows > 0).await;
    assert_eq!((status.dropped_rows, status.written_rows), (300, 0));
}

#[tokio::test]
async fn a_read_only_file_refuses_changes_until_it_is_writable() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    let store = Store::open(&options).unwrap();
    store.write(|change| settings::set(change, "a", &1.into())).await.unwrap();
    let refused = store
        .write(|change| {
            change.execute_batch("PRAGMA query_only = ON")?;
            settings::set(change, "a", &2.into())
        })
        .await;
    assert_eq!(refused, Err(StoreError::ReadOnly));
    // The connection that was read-only is gone.
    store.write(|change| settings::set(change, "a", &3.into())).await.unwrap();
    store.close(CLOSE);

    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |mode| fs::set_permissions(options.database(), fs::Permissions::from_mode(mode)).unwrap();
        mode(0o400);
        if fs::OpenOptions::new().append(true).open(options.database()).is_ok() {
            return; // The administrator writes everything.
        }
        let store = Store::open(&options).unwrap();
        let kept = store.read(|conn| settings::get(conn, "a")).await;
        assert_eq!(kept, Ok(Some(3.into())));
        assert_eq!(store.write(|change| settings::set(change, "a", &4.into())).await, Err(StoreError::ReadOnly));
        push(&store, 10);
        until(&store, |status| status.state != State::Ok).await;
        // With the files beside it, which SQLite made like it.
        for entry in fs::read_dir(dir.path().join("db")).unwrap() {
            fs::set_permissions(entry.unwrap().path(), fs::Permissions::from_mode(0o600)).unwrap();
        }
        until(&store, |status| status.written_rows == 10).await;
        store.write(|change| settings::set(change, "a", &4.into())).await.unwrap();
        store.close(CLOSE);
    }
}

#[tokio::test]
async fn a_damaged_file_is_told_and_a_store_without_database_answers() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    Store::open(&options).unwrap().close(CLOSE);
    let whole = fs::read(options.database()).unwrap();
    fs::write(options.database(), "this is not a database, and long enough to be looked at as one. ".repeat(100))
        .unwrap();
    let error = Store::open(&options).unwrap_err();
    let OpenError::Unusable { error: StoreError::Corrupt(_), .. } = &error else { panic!("{error}") };

    let store = Store::open_or_wait(&options).unwrap();
    let expected = StoreError::Degraded(error.to_string());
    assert_eq!(store.read(|_| Ok(())).await, Err(expected.clone()));
    assert_eq!(store.write(|_| Ok(())).await, Err(expected.clone()));
    assert_eq!(store.backups().create("manual", None).await, Err(expected));
    push(&store, 3);
    let status = store.status();
    assert_eq!((status.backlog_rows, status.dropped_rows), (3, 0), "rows wait");
    assert_eq!(status.state, State::Degraded(error.to_string()));
    store.close(CLOSE);
    assert_eq!(
        (store.status().backlog_rows, store.status().dropped_rows),
        (0, 3),
        "and are counted when none will come"
    );
    assert!(!store.usage().try_push(usage_row(1)));
    assert_eq!(store.status().dropped_rows, 4);

    // One page in the middle: what does not touch it works.
    let mut broken = whole;
    let pages = broken.len() / 4096;
    for page in 2..pages {
        broken[page * 4096..page * 4096 + 64].fill(0xAA);
    }
    fs::write(options.database(), &broken).unwrap();
    let error = Store::open(&options).map(|_| ()).unwrap_err();
    assert!(matches!(&error, OpenError::Unusable { error: StoreError::Corrupt(_), .. }), "{error}");
    let wrong = store::check(&options);
    assert!(matches!(&wrong, Ok(faults) if !faults.is_empty()) || wrong.is_err(), "{wrong:?}");
}

#[tokio::test]
async fn a_database_that_arrives_late_has_every_row_that_found_room() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    let store = Store::open(&options).unwrap();
    keep_secret(&store).await;
    store.close(CLOSE);
    drop(store);
    // Gone, as on a disk that is not mounted yet: not even the folder can be made.
    let folder = dir.path().join("db");
    fs::rename(&folder, dir.path().join("elsewhere")).unwrap();
    fs::write(&folder, "in the way").unwrap();
    let store = Store::open_or_wait(&options).unwrap();
    let more = QUEUE_ROWS + 100;
    let taken = (0..more).filter(|n| store.usage().try_push(usage_row(*n as i64))).count();
    let status = store.status();
    assert_eq!((taken, status.backlog_rows, status.dropped_rows), (QUEUE_ROWS, QUEUE_ROWS as u64, 100));
    assert!(matches!(status.state, State::Degraded(_)), "{status:?}");

    fs::remove_file(&folder).unwrap();
    fs::rename(dir.path().join("elsewhere"), &folder).unwrap();
    tokio::time::timeout(Duration::from_secs(30), store.arrived()).await.unwrap();
    let status = until(&store, |status| status.backlog_rows == 0).await;
    assert_eq!((status.state, status.written_rows, status.dropped_rows), (State::Ok, QUEUE_ROWS as u64, 100));
    assert_eq!(number(&store, "SELECT coalesce(sum(n), 0) FROM log_segment".to_owned()).await, QUEUE_ROWS as i64);
    // With the keys of its data folder, in clones of the vault too.
    secret_opens(&store).await;
    store.close(CLOSE);
    assert_eq!(store::check(&options), Ok(Vec::new()));
}

#[tokio::test]
async fn a_newer_database_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    Store::open(&options).unwrap().close(CLOSE);
    let made = backup::create(&options, "manual", None).unwrap();
    let conn = Connection::open(options.database()).unwrap();
    conn.execute_batch("PRAGMA user_version = 99").unwrap();
    drop(conn);
    let before = fs::read(options.database()).unwrap();
    let error = Store::open(&options).map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::Newer { found: 99, .. }), "{error}");
    assert!(error.to_string().contains(&made.name), "{error}");
    assert_eq!(fs::read(options.database()).unwrap(), before);

    // The way out that the message names.
    backup::restore_offline(&options, &made.name).unwrap();
    Store::open(&options).unwrap().close(CLOSE);
}

#[tokio::test]
async fn a_missing_key_is_not_replaced_while_secrets_need_it() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    let store = Store::open(&options).unwrap();
    keep_secret(&store).await;
    store.close(CLOSE);
    let key = dir.path().join("secret.key");
    let kept = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    let error = Store::open(&options).map(|_| ()).unwrap_err();
    assert!(matches!(&error, OpenError::Key(why) if why.contains("is missing")), "{error}");
    assert!(!key.exists());
    fs::write(&key, kept).unwrap();
    #[cfg(unix)]
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let store = Store::open(&options).unwrap();
    secret_opens(&store).await;
    store.close(CLOSE);
}
