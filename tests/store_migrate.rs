//! Databases of every released version, with something in every table, opened by this program: all of it is still there.
#![allow(clippy::unwrap_used)]

use std::{fs, path::Path, time::Duration};

use flow_router::store::{
    self, Connection, MigrationRow, Options, Store, audit, backup, combos, keys, models, pricing, providers, sessions,
    settings, tags,
    usage::{self, Filter, Names, Outcome},
};
use rusqlite::params;

/// The first version, filled; its log has its rows from [`attempts`].
const VERSION_1: &str = include_str!("vectors/store/version-1.sql");
/// The provider in it.
const PROVIDER: &str = "0199c000-0000-7000-8000-000000000001";
/// Rows of its log: more than a segment has.
const ROWS: i64 = 3_000;
/// When the first of them began, in Unix milliseconds.
const BEGAN: i64 = 1_760_000_000_000;

/// Rows as the first version wrote them, and their sums by the quarter of an hour.
fn attempts(conn: &Connection) {
    let mut insert = conn
        .prepare(
            "INSERT INTO request_log (id, ts_ms, request_id, session_id, key_id, conn_id, model_req, model_up, client_ip,
                 dialect_in, dialect_up, endpoint, stream, attempt, attempts, status, outcome, error, tok_in, tok_out,
                 tok_cache_read, tok_cache_write, tok_cache_write_1h, tok_reasoning, usage_est, cost, ttft_ms, dur_ms,
                 added_us, bytes_in, bytes_out)
             VALUES (?1, ?2, ?3, ?4, NULL, 1, 2, 2, '127.0.0.1', 1, 1, 1, 1, 1, 1, ?5, ?6, ?7, 10, 20, 3, 4, 1, 5, 0, ?8,
                 40, 200, 90, 1000, 2000)",
        )
        .unwrap();
    conn.execute_batch("BEGIN").unwrap();
    for n in 0..ROWS {
        let failed = n % 10 == 9;
        let (status, error) = if failed { (500, Some("overloaded")) } else { (200, None) };
        let outcome = if failed { Outcome::UpstreamError } else { Outcome::Ok } as i64;
        let session = (n % 2 == 0).then(|| format!("session-{}", n % 7));
        let cost = (!failed).then_some(1_000 + n);
        insert
            .execute(params![n + 1, BEGAN + n, format!("request-{n}"), session, status, outcome, error, cost])
            .unwrap();
    }
    conn.execute_batch(
        "INSERT INTO usage_bucket VALUES (1759999500, 1, 2, 0, 1, 3000, 300, 0, 300, 30000, 60000, 9000, 12000, 15000,
             6739650, 600000, 120000, 3000);
         COMMIT",
    )
    .unwrap();
}

/// A data folder with that database, and with the key of its provider sealed in it.
fn version_1(dir: &Path) {
    // A vault of this folder; its database makes way.
    let options = Options::new(dir);
    let made = Store::open(&options).unwrap();
    let sealed = made.vault().seal("providers", PROVIDER, "secret", br#"{"apiKey":"sk-kept"}"#).unwrap();
    made.close(Duration::from_secs(5));
    fs::remove_dir_all(dir.join("db")).unwrap();
    fs::create_dir(dir.join("db")).unwrap();
    let conn = Connection::open(options.database()).unwrap();
    conn.execute_batch(VERSION_1).unwrap();
    conn.execute("UPDATE providers SET secret = ?1", [sealed]).unwrap();
    attempts(&conn);
}

#[tokio::test]
async fn a_filled_database_of_the_first_version_is_all_there() {
    let dir = tempfile::tempdir().unwrap();
    version_1(dir.path());
    let options = Options::new(dir.path());
    let store = Store::open(&options).unwrap();
    let steps: Vec<MigrationRow> = store.read(store::migrations).await.unwrap();
    assert!(steps.len() >= 3 && steps.iter().all(|step| step.applied_at_ms.is_some()), "{steps:?}");
    assert_eq!(steps[0].applied_at_ms, Some(BEGAN), "what was applied stays so");

    let vault = store.vault().clone();
    let rows = store.read(move |conn| store::load_config(conn, &vault)).await.unwrap();
    let [provider] = &rows.providers[..] else { panic!("{:?}", rows.providers) };
    assert_eq!((&*provider.id, &*provider.name, provider.priority), (PROVIDER, "work", 20));
    assert_eq!(provider.api_key.as_ref().unwrap().expose(), "sk-kept");
    assert_eq!((&provider.models[..], &provider.tags[..]), (&["gpt-5".to_owned()][..], &["paid".to_owned()][..]));
    assert_eq!((rows.settings[0].key.as_str(), &rows.settings[0].value), ("stall_timeout", &"90s".into()));
    assert_eq!((&*rows.aliases[0].alias, rows.aliases[0].provider_id.as_deref()), ("fast", Some(PROVIDER)));
    let entries: Vec<_> = rows.combos[0].entries.iter().map(|entry| (&*entry.model, entry.enabled)).collect();
    assert_eq!((&*rows.combos[0].name, &entries[..]), ("best", &[("gpt-5", true), ("gpt-4", false)][..]));
    assert_eq!((&*rows.keys[0].name, rows.keys[0].hash), ("laptop", [0xab; 32]));
    assert_eq!((&*rows.prices[0].model, rows.models.len()), ("gpt-5", 0));
    assert_eq!(store.read(tags::list).await.unwrap()[0].uses, 1);
    assert_eq!(store.read(|conn| sessions::list(conn, BEGAN)).await.unwrap().len(), 1);
    assert_eq!(store.read(|conn| audit::page(conn, None, 9)).await.unwrap()[0].action, "provider.create");

    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let page = store
            .read(move |conn| Ok(usage::list(conn, &mut Names::default(), &Filter::default(), after, 1_000)?))
            .await
            .unwrap();
        listed.extend(page.rows);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(listed.len(), ROWS as usize);
    for (n, logged) in (0..ROWS).rev().zip(&listed) {
        let row = &logged.row;
        let failed = n % 10 == 9;
        assert_eq!((logged.id, row.ts_ms, &*row.request_id), (n + 1, BEGAN + n, &*format!("request-{n}")));
        assert_eq!((row.provider.as_deref(), row.model.as_deref()), (Some("work"), Some("gpt-5")));
        assert_eq!((row.status, row.cost), if failed { (500, None) } else { (200, Some(1_000 + n)) });
        assert_eq!((row.tokens_in, row.tokens_cache_write_1h, row.bytes_out), (10, 1, 2_000));
        assert_eq!(row.session.is_some(), n % 2 == 0);
    }
    let sum: i64 = store
        .read(|conn| Ok(conn.query_row("SELECT sum(cost) FROM usage_bucket", [], |row| row.get(0))?))
        .await
        .unwrap();
    assert_eq!(sum, 6_739_650);

    // It is a database like any other one: new rows of new tables hold on to old ones, and go with them.
    let mut described =
        models::ModelRow { provider_id: PROVIDER.to_owned(), model: "own".to_owned(), ..Default::default() };
    store.write(move |change| models::insert(change, &mut described)).await.unwrap();
    store
        .write(|change| {
            combos::delete(change, "0199c000-0000-7000-8000-000000000002", None)?;
            combos::delete_alias(change, "fast", None)?;
            providers::delete(change, PROVIDER, None)
        })
        .await
        .unwrap();
    assert_eq!(store.read(models::list).await.unwrap(), []);
    assert!(store.read(keys::list).await.unwrap().len() == 1 && store.read(pricing::list).await.unwrap().len() == 1);
    assert_eq!(store.read(|conn| settings::get(conn, "stall_timeout")).await.unwrap(), Some("90s".into()));
    store.close(Duration::from_secs(5));
    drop(store);
    assert_eq!(store::check(&options), Ok(Vec::new()));

    // The snapshot from before is the old one, made once.
    let made = backup::list(&options).unwrap();
    let [before] = &made[..] else { panic!("{made:?}") };
    assert_eq!((&*before.label, before.schema_version), ("pre-migrate", 1));
    Store::open(&options).unwrap().close(Duration::from_secs(5));
    assert_eq!(backup::list(&options).unwrap().len(), 1);

    // And the way back to where one came from, and here again.
    backup::restore_offline(&options, &before.name).unwrap();
    let store = Store::open(&options).unwrap();
    assert_eq!(store.read(providers::names).await.unwrap(), [(PROVIDER.to_owned(), "work".to_owned())]);
    store.close(Duration::from_secs(5));
}
