//! The store through its public surface: what is acknowledged is there, whatever happens.
#![allow(clippy::unwrap_used)]

#[path = "support/rows.rs"]
mod rows;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use flow_router::store::{
    self, Options, Secret, Store, StoreError,
    combos::{self, AliasRow, ComboEntry, ComboRow},
    keys::{self, KeyRow},
    providers::{self, ProviderRow},
    usage::{Limits, UsageRow},
};
use rows::usage_row;

const CLOSE: Duration = Duration::from_secs(10);

fn open(dir: &Path) -> Store {
    Store::open(&Options::new(dir)).unwrap()
}

fn provider(name: &str) -> ProviderRow {
    ProviderRow {
        provider: "custom".to_owned(),
        name: name.to_owned(),
        format: Some("openai_chat".to_owned()),
        base_url: Some("http://127.0.0.1:1/v1".to_owned()),
        models: vec!["gpt-*".to_owned()],
        headers: BTreeMap::from([("x-team".to_owned(), Secret::new("planted-header"))]),
        api_key: Some(Secret::new("sk-planted-key")),
        tags: vec!["tier:cheap".to_owned(), "eu".to_owned()],
        ..ProviderRow::default()
    }
}

async fn add(store: &Store, mut row: ProviderRow) -> Result<ProviderRow, StoreError> {
    let vault = store.vault().clone();
    store.write(move |change| providers::insert(change, &vault, &mut row).map(|()| row)).await
}

async fn all(store: &Store) -> store::ConfigRows {
    let vault = store.vault().clone();
    store.read(move |conn| store::load_config(conn, &vault)).await.unwrap()
}

#[tokio::test]
async fn rows_come_back_as_they_were_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let row = add(&store, provider("acme")).await.unwrap();
    assert_eq!(add(&store, provider("ACME")).await.unwrap_err(), StoreError::Taken { field: "name" });
    let id = row.id.clone();
    let (combo, alias, key) = store
        .write(move |change| {
            let entry =
                ComboEntry { model: "gpt-5".to_owned(), provider_id: Some(id.clone()), weight: 1, enabled: true };
            let mut combo = ComboRow { name: "fast".to_owned(), entries: vec![entry], ..ComboRow::default() };
            combos::insert(change, &mut combo)?;
            let mut alias = AliasRow {
                alias: "Best".to_owned(),
                provider_id: Some(id),
                model: "gpt-5".to_owned(),
                created_at_ms: 0,
                updated_at_ms: 0,
            };
            assert!(combos::put_alias(change, &mut alias, None)?);
            let mut key = KeyRow { name: "laptop".to_owned(), hash: [7; 32], rpm: Some(60), ..KeyRow::default() };
            keys::insert(change, &mut key)?;
            store::settings::set(change, "default_model", &"gpt-5".into())?;
            Ok((combo, alias, key))
        })
        .await
        .unwrap();
    store.close(CLOSE);
    let left = std::fs::read_dir(dir.path().join("db")).unwrap().count();
    assert_eq!(left, 1, "nothing lies beside the database");
    assert_eq!(store.read(|_| Ok(())).await, Err(StoreError::Closed));
    assert_eq!(store.write(|_| Ok(())).await, Err(StoreError::Closed));

    let store = open(dir.path());
    let rows = all(&store).await;
    let mut expected = row;
    expected.tags.sort();
    assert_eq!(rows.providers, [expected.clone()]);
    assert_eq!((rows.combos, rows.aliases, rows.keys), (vec![combo], vec![alias], vec![key]));
    assert_eq!((&*rows.settings[0].key, &rows.settings[0].value), ("default_model", &"gpt-5".into()));

    let in_use = store.write(move |change| providers::delete(change, &expected.id, None)).await;
    assert_eq!(in_use, Err(StoreError::InUse { by: vec!["combo fast".to_owned(), "alias Best".to_owned()] }));
    store.close(CLOSE);
}

#[tokio::test]
async fn versions_grow_and_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut row = add(&store, provider("acme")).await.unwrap();
    for _ in 0..3 {
        let before = row.updated_at_ms;
        let vault = store.vault().clone();
        let update = move |change: &mut store::Change<'_>| {
            providers::update(change, &vault, &mut row, Some(before))?;
            assert_eq!(providers::update(change, &vault, &mut row, Some(before)), Err(StoreError::Stale));
            Ok(row)
        };
        row = store.write(update).await.unwrap();
        assert!(row.updated_at_ms > before);
    }
    let mut gone = ProviderRow { id: "gone".to_owned(), ..row };
    let vault = store.vault().clone();
    let missing = store.write(move |change| providers::update(change, &vault, &mut gone, None)).await;
    assert_eq!(missing, Err(StoreError::NotFound));
    store.close(CLOSE);
}

#[tokio::test]
async fn a_failed_change_leaves_nothing_and_steps_run_in_order_before_the_answer() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (one, two) = (Arc::clone(&seen), Arc::clone(&seen));
    let failed: Result<(), _> = store
        .write(move |change| {
            change.after_commit(move || one.lock().unwrap().push(0));
            store::settings::set(change, "a", &1.into())?;
            Err(StoreError::Stale)
        })
        .await;
    assert_eq!(failed, Err(StoreError::Stale));
    let panicked: Result<(), _> = store.write(|_| panic!("a bug of the caller")).await;
    assert!(matches!(panicked, Err(StoreError::Other(_))));
    let write = |n: i32, seen: Arc<std::sync::Mutex<Vec<i32>>>| {
        store.write(move |change| {
            change.after_commit(move || seen.lock().unwrap().push(n));
            store::settings::set(change, "b", &n.into())
        })
    };
    let (first, second) = tokio::join!(write(1, Arc::clone(&two)), write(2, two));
    assert_eq!((first, second), (Ok(()), Ok(())));
    assert_eq!(*seen.lock().unwrap(), [1, 2]);
    let kept = store.read(|conn| Ok((store::settings::get(conn, "a")?, store::settings::get(conn, "b")?))).await;
    assert_eq!(kept, Ok((None, Some(2.into()))));
    store.close(CLOSE);
}

#[tokio::test]
async fn nothing_old_is_removed_before_it_is_known_how_long_usage_is_kept() {
    const ROWS: i64 = 3;
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for n in 0..ROWS {
        // Older than what is kept unless somebody says otherwise.
        let row = usage_row(n);
        assert!(store.usage().try_push(UsageRow { ts_ms: row.ts_ms - 60 * 86_400_000, ..row }));
    }
    store.close(CLOSE);

    let count = async |store: &Store| -> i64 {
        // A turn of the writer, in which upkeep would have had its turn before.
        store.write(|_| Ok(())).await.unwrap();
        let count = "SELECT coalesce(sum(n), 0) FROM log_segment";
        store.read(move |conn| Ok(conn.query_row(count, [], |row| row.get(0))?)).await.unwrap()
    };
    // As a command opens it, then as a gateway does that keeps more, then one that keeps less.
    let year = Limits { log_days: 365, ..Limits::default() };
    for (limits, left) in [(None, ROWS), (Some(year), ROWS), (Some(Limits::default()), 0)] {
        let store = open(dir.path());
        if let Some(limits) = limits {
            assert_eq!(count(&store).await, ROWS);
            store.keep(limits);
        }
        let began = Instant::now();
        for _ in 0..3 {
            while count(&store).await != left {
                assert!(began.elapsed() < Duration::from_secs(30), "{left} rows should be left");
            }
        }
        store.close(CLOSE);
    }
}
