//! Backups, the vault's keys, and that no secret is anywhere in clear.
#![allow(clippy::unwrap_used)]

#[path = "support/rows.rs"]
mod rows;

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use flow_router::store::{
    self, ConfigRows, Options, Resealed, Secret, Store, StoreError,
    audit::{self, AuditRow},
    backup, providers,
    providers::ProviderRow,
    sessions,
    sessions::SessionRow,
    settings,
};
use rows::usage_row;

const CLOSE: Duration = Duration::from_secs(10);

async fn set(store: &Store, key: &'static str, value: i64) {
    store.write(move |change| settings::set(change, key, &value.into())).await.unwrap();
}

async fn value(store: &Store, key: &'static str) -> Option<i64> {
    store.read(move |conn| settings::get(conn, key)).await.unwrap().and_then(|value| value.as_i64())
}

async fn add_provider(store: &Store, name: &str, secret: &str) -> ProviderRow {
    let mut row = ProviderRow {
        name: name.to_owned(),
        api_key: Some(Secret::new(secret)),
        headers: BTreeMap::from([("x-extra".to_owned(), Secret::new(format!("{secret}-header")))]),
        ..ProviderRow::default()
    };
    let vault = store.vault().clone();
    store.write(move |change| providers::insert(change, &vault, &mut row).map(|()| row)).await.unwrap()
}

async fn config(store: &Store) -> ConfigRows {
    let vault = store.vault().clone();
    store.read(move |conn| store::load_config(conn, &vault)).await.unwrap()
}

fn names(backups: &[backup::Backup]) -> Vec<&str> {
    backups.iter().map(|backup| &*backup.name).collect()
}

#[tokio::test]
async fn backups_are_made_listed_checked_and_pruned_per_label() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&Options::new(dir.path())).unwrap();
    let backups = store.backups();
    assert_eq!(backups.list().await, Ok(Vec::new()));
    set(&store, "a", 1).await;
    let first = backups.create("before-trip", None).await.unwrap();
    assert!(first.name.starts_with("before-trip-2") && first.size_bytes > 0 && first.sha256.len() == 64, "{first:?}");
    let mut made = vec![first.clone()];
    for _ in 0..4 {
        made.push(backups.create("manual", Some(2)).await.unwrap());
    }
    let kept = backups.list().await.unwrap();
    assert_eq!(kept.len(), 3, "two of one label, one of the other: {:?}", names(&kept));
    assert!(kept.contains(&first) && kept.contains(&made[3]) && kept.contains(&made[4]));
    assert_eq!(backups.verify(&first.name).await, Ok(Vec::new()));
    let file = backups.file(&first.name).await.unwrap();
    assert_eq!(fs::metadata(&file).unwrap().len(), first.size_bytes);
    #[cfg(unix)]
    for (path, mode) in
        [(file.clone(), 0o600), (file.with_file_name("meta.json"), 0o600), (dir.path().join("backups"), 0o700)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode, "{}", path.display());
    }

    let long = "x".repeat(33);
    for label in ["", "UP", "a b", "../x", "a/b", "a.b", &*long] {
        assert!(matches!(backups.create(label, None).await, Err(StoreError::Invalid { .. })), "{label}");
    }
    for name in ["", ".", "..", "../db", "manual", "manual-20260101T000000Z", "a/b", "/etc"] {
        assert_eq!(backups.verify(name).await, Err(StoreError::NotFound), "{name}");
        assert_eq!(backups.delete(name).await, Err(StoreError::NotFound), "{name}");
        assert_eq!(backups.restore(name).await.map(|_| ()), Err(StoreError::NotFound), "{name}");
    }

    // A changed byte is noticed, and such a backup does not replace anything.
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.len() - 100;
    bytes[at] ^= 1;
    fs::write(&file, bytes).unwrap();
    assert!(backups.verify(&first.name).await.unwrap()[0].contains("SHA-256"));
    assert!(matches!(backups.restore(&first.name).await, Err(StoreError::Corrupt(_))));
    assert_eq!(value(&store, "a").await, Some(1));
    backups.delete(&first.name).await.unwrap();
    assert_eq!(backups.list().await.unwrap().len(), 2);
    store.close(CLOSE);
}

#[tokio::test]
async fn a_restore_brings_the_state_back_while_readers_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&Options::new(dir.path())).unwrap();
    add_provider(&store, "acme", "sk-1").await;
    set(&store, "a", 1).await;
    let before = config(&store).await;
    let made = store.backups().create("manual", None).await.unwrap();

    set(&store, "a", 2).await;
    add_provider(&store, "later", "sk-2").await;
    let session = SessionRow {
        token_hash: [9; 32],
        user_id: "me".to_owned(),
        method: "password".to_owned(),
        created_at_ms: 1,
        expires_at_ms: i64::MAX,
        last_seen_ms: 1,
        ip: None,
        user_agent: None,
    };
    let kept = session.clone();
    store.write(move |change| sessions::insert(change, &session)).await.unwrap();
    let queue = store.usage();
    assert!((0..100).all(|n| queue.try_push(usage_row(n))));

    // Readers see the state before or the one after, nothing else.
    let reading = {
        let store = store.clone();
        tokio::spawn(async move {
            let mut seen = Vec::new();
            loop {
                let (a, providers) = store
                    .read(|conn| {
                        let providers: i64 = conn.query_row("SELECT count(*) FROM providers", [], |row| row.get(0))?;
                        Ok((settings::get(conn, "a")?.and_then(|a| a.as_i64()), providers))
                    })
                    .await
                    .unwrap();
                seen.push((a.unwrap(), providers));
                if a == Some(1) {
                    return seen;
                }
            }
        })
    };
    let restored = store.backups().restore(&made.name).await.unwrap();
    assert_eq!((&restored.backup, restored.migrated, restored.secrets), (&made, 0, Resealed::default()));
    assert!(reading.await.unwrap().iter().all(|seen| [(2, 2), (1, 1)].contains(seen)));
    let after = config(&store).await;
    assert_eq!((after.providers, after.settings), (before.providers.clone(), before.settings));
    assert_eq!(store.read(|conn| sessions::list(conn, 0)).await, Ok(vec![kept]), "who is logged in stays logged in");

    // Writing goes on, and the state that was replaced can come back.
    set(&store, "b", 3).await;
    assert!(queue.try_push(usage_row(1)));
    let replaced = restored.before.unwrap();
    assert_eq!(replaced.label, "pre-restore");
    store.backups().restore(&replaced.name).await.unwrap();
    assert_eq!((value(&store, "a").await, value(&store, "b").await), (Some(2), None));
    assert_eq!(config(&store).await.providers.len(), 2);
    store.close(CLOSE);
    assert_eq!(store::check(&Options::new(dir.path())), Ok(Vec::new()));
    assert_eq!(store.status().dropped_rows, 0);
}

#[tokio::test]
async fn a_damaged_database_is_replaced_offline_and_kept_beside() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new(dir.path());
    let store = Store::open(&options).unwrap();
    set(&store, "a", 1).await;
    let made = store.backups().create("manual", None).await.unwrap();
    set(&store, "a", 2).await;
    store.close(CLOSE);

    // A sound database becomes a backup of its own.
    let restored = backup::restore_offline(&options, &made.name).unwrap();
    let store = Store::open(&options).unwrap();
    assert_eq!(value(&store, "a").await, Some(1));
    store.close(CLOSE);
    let replaced = restored.before.unwrap();
    assert_eq!(backup::verify(&options, &replaced.name), Ok(Vec::new()));

    // A damaged one is kept as it is, with what lies beside it.
    let rubbish = "rubbish ".repeat(1000);
    fs::write(options.database(), &rubbish).unwrap();
    fs::write(dir.path().join("db/data.sqlite-wal"), "its log").unwrap();
    assert_eq!(backup::restore_offline(&options, &replaced.name).unwrap().before, None);
    let store = Store::open(&options).unwrap();
    assert_eq!(value(&store, "a").await, Some(2));
    store.close(CLOSE);
    let aside = fs::read_dir(dir.path().join("db")).unwrap().map(|entry| entry.unwrap().path());
    let aside: PathBuf = aside.into_iter().find(|path| path.is_dir()).unwrap();
    assert_eq!(fs::read_to_string(aside.join("data.sqlite")).unwrap(), rubbish);
    assert_eq!(fs::read_to_string(aside.join("data.sqlite-wal")).unwrap(), "its log");
}

#[tokio::test]
async fn a_new_key_seals_everything_again_and_old_backups_stay_readable() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&Options::new(dir.path())).unwrap();
    let provider = add_provider(&store, "acme", "sk-1").await;
    let vault = store.vault().clone();
    store.write(move |change| settings::set_secret(change, &vault, "oidc", &Secret::new("client"))).await.unwrap();
    let sealed = |store: &Store| {
        let store = store.clone();
        async move {
            let sql = "SELECT secret FROM providers UNION ALL SELECT secret FROM settings";
            store
                .read(move |conn| {
                    let mut select = conn.prepare(sql)?;
                    Ok(select.query_map([], |row| row.get::<_, Vec<u8>>(0))?.collect::<Result<Vec<_>, _>>()?)
                })
                .await
                .unwrap()
        }
    };
    let old_key = store.backups().create("manual", None).await.unwrap();
    let before = sealed(&store).await;
    assert_eq!(store.rotate(false).await, Ok(Resealed { sealed: 2, lost: 0 }));
    let after = sealed(&store).await;
    assert!(before.iter().zip(&after).all(|(before, after)| before != after));
    assert_eq!(config(&store).await.providers, std::slice::from_ref(&provider), "no version changes by it");
    assert_eq!(store.rotate(false).await, Ok(Resealed { sealed: 2, lost: 0 }));
    store.close(CLOSE);

    let store = Store::open(&Options::new(dir.path())).unwrap();
    let restored = store.backups().restore(&old_key.name).await.unwrap();
    assert_eq!(restored.secrets, Resealed { sealed: 2, lost: 0 });
    assert_eq!(config(&store).await.providers, std::slice::from_ref(&provider));

    // Forgotten keys: that backup's secrets are gone, and the row says so and keeps them.
    assert_eq!(store.rotate(true).await, Ok(Resealed { sealed: 2, lost: 0 }));
    assert_eq!(config(&store).await.providers, std::slice::from_ref(&provider));
    let restored = store.backups().restore(&old_key.name).await.unwrap();
    assert_eq!(restored.secrets, Resealed { sealed: 0, lost: 2 });
    let rows = config(&store).await;
    let mut lost = rows.providers[0].clone();
    assert!(lost.secret_lost && lost.api_key.is_none() && lost.headers.is_empty());
    assert_eq!(rows.settings[0].secret, None);
    let (vault, kept) = (store.vault().clone(), sealed(&store).await);
    lost.priority = 7;
    let lost =
        store.write(move |change| providers::update(change, &vault, &mut lost, None).map(|()| lost)).await.unwrap();
    assert_eq!(sealed(&store).await, kept, "a change of something else does not wipe it");
    assert!(lost.secret_lost);
    let (vault, mut given) = (store.vault().clone(), lost);
    given.api_key = Some(Secret::new("sk-new"));
    store.write(move |change| providers::update(change, &vault, &mut given, None)).await.unwrap();
    let rows = config(&store).await;
    assert_eq!(rows.providers[0].api_key, Some(Secret::new("sk-new")));
    assert!(!rows.providers[0].secret_lost);
    store.close(CLOSE);
}

/// Collects log lines.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    found
}

fn contains(bytes: &[u8], word: &str) -> bool {
    memchr::memmem::find(bytes, word.as_bytes()).is_some()
}

#[tokio::test]
async fn fifty_planted_secrets_are_nowhere_in_clear() {
    let log = Lines::default();
    let writer = log.clone();
    tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone()).init();

    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&Options::new(dir.path())).unwrap();
    let planted: Vec<String> = (0..50).map(|n| format!("PLANTED{n:02}secret")).collect();
    let mut printed = String::new();
    for (n, secret) in planted.iter().enumerate() {
        if n % 5 == 0 {
            let (vault, secret) = (store.vault().clone(), Secret::new(secret));
            let key = format!("secret-{n}");
            store.write(move |change| settings::set_secret(change, &vault, &key, &secret)).await.unwrap();
        } else {
            let row = add_provider(&store, &format!("p{n}"), secret).await;
            printed += &format!("{row:?}");
            // Changed, so that older pages are free ones now, and refused, so that errors are printed.
            let (vault, mut changed) = (store.vault().clone(), row.clone());
            changed.api_key = Some(Secret::new(format!("{secret}-2")));
            store.write(move |change| providers::update(change, &vault, &mut changed, None)).await.unwrap();
            let (vault, mut twice) = (store.vault().clone(), row);
            let refused = store.write(move |change| providers::insert(change, &vault, &mut twice)).await.unwrap_err();
            printed += &format!("{refused} {refused:?}");
        }
    }
    let entry = AuditRow { actor: "local".to_owned(), action: "provider.create".to_owned(), ..AuditRow::default() };
    store.write(move |change| audit::append(change, &mut entry.clone())).await.unwrap();
    let queue = store.usage();
    assert!((0..100).all(|n| queue.try_push(usage_row(n))));
    store.backups().create("manual", None).await.unwrap();
    store.rotate(true).await.unwrap();
    printed += &format!("{:?} {store:?} {:?}", config(&store).await, store.status());

    let search = |when: &str| {
        let found = files(dir.path());
        assert!(found.iter().any(|(_, bytes)| contains(bytes, "p1")), "the search finds what is in clear");
        for (path, bytes) in found {
            for word in planted.iter().map(String::as_str).chain(["PLANTED", "-header"]) {
                assert!(!contains(&bytes, word), "{when}: {word} in {}", path.display());
            }
        }
    };
    search("with its log");
    store.close(CLOSE);
    search("closed");
    let logged = log.0.lock().unwrap().clone();
    for secret in &planted {
        assert!(!contains(&logged, secret) && !printed.contains(secret), "{secret}");
    }
}
