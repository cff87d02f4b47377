//! The tables, and the way from every released version of them to this one.
//!
//! A migration is never changed once it is released: a new one is appended. Each runs in a transaction of its own together
//! with its record, so that a crash leaves the version before or the version after.

use std::time::Instant;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::{OpenError, Options, StoreError, backup, digest::sha256, models, now_ms, usage};

/// `FLWR`, in the header of every database of ours.
pub(super) const APPLICATION_ID: i32 = 0x464C_5752;

/// One step of the schema.
pub(super) struct Migration {
    /// Position, from 1.
    pub(super) id: u32,
    /// What it does.
    pub(super) name: &'static str,
    /// Its statements.
    pub(super) sql: &'static [&'static str],
    /// What comes after them, where statements alone cannot do it.
    pub(super) then: Option<fn(&Transaction<'_>) -> rusqlite::Result<()>>,
}

/// All steps, in order.
pub(super) const MIGRATIONS: &[Migration] = &[
    Migration { id: 1, name: "first tables", sql: &[FIRST, usage::SCHEMA], then: None },
    Migration { id: 2, name: "packed log", sql: &[usage::SEGMENTS], then: Some(usage::pack_log) },
    Migration { id: 3, name: "described models", sql: &[models::SCHEMA], then: None },
];

/// The version of databases of this program.
pub(super) const HEAD: u32 = MIGRATIONS.len() as u32;

/// Configuration, sessions and the audit log. Money is in nano-USD, prices in pico-USD per token, times in Unix
/// milliseconds. Ids are UUIDv7.
const FIRST: &str = "
CREATE TABLE schema_migrations (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    checksum BLOB NOT NULL,
    applied_at_ms INTEGER NOT NULL,
    app_version TEXT NOT NULL,
    duration_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE settings (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL CHECK (json_valid(value)),
    secret BLOB,
    updated_at_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE providers (
    id TEXT PRIMARY KEY,
    provider TEXT NOT NULL,
    name TEXT NOT NULL COLLATE NOCASE UNIQUE,
    auth_type TEXT NOT NULL CHECK (auth_type IN ('api_key', 'subscription', 'oauth', 'cookie', 'none')),
    format TEXT,
    base_url TEXT,
    email TEXT,
    priority INTEGER NOT NULL,
    is_active INTEGER NOT NULL CHECK (is_active IN (0, 1)),
    models TEXT NOT NULL CHECK (json_valid(models)),
    data TEXT NOT NULL CHECK (json_valid(data)),
    secret BLOB,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX providers_order ON providers (priority, name);

CREATE TABLE model_aliases (
    alias TEXT PRIMARY KEY COLLATE NOCASE,
    provider_id TEXT REFERENCES providers (id),
    model TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX model_aliases_provider ON model_aliases (provider_id);

CREATE TABLE combos (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL COLLATE NOCASE UNIQUE,
    strategy TEXT NOT NULL CHECK (strategy IN ('priority', 'round_robin', 'random', 'cost_optimal')),
    sticky TEXT NOT NULL CHECK (sticky IN ('none', 'session', 'key')),
    fallback_on TEXT NOT NULL CHECK (json_valid(fallback_on)),
    is_active INTEGER NOT NULL CHECK (is_active IN (0, 1)),
    description TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE combo_models (
    combo_id TEXT NOT NULL REFERENCES combos (id) ON DELETE CASCADE,
    pos INTEGER NOT NULL,
    model TEXT NOT NULL,
    provider_id TEXT REFERENCES providers (id),
    weight INTEGER NOT NULL,
    enabled INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    PRIMARY KEY (combo_id, pos)
) STRICT, WITHOUT ROWID;
CREATE INDEX combo_models_provider ON combo_models (provider_id);

CREATE TABLE tags (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL COLLATE NOCASE UNIQUE,
    color TEXT NOT NULL,
    kind TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE taggings (
    tag_id TEXT NOT NULL REFERENCES tags (id) ON DELETE CASCADE,
    target_kind TEXT NOT NULL,
    target_id TEXT NOT NULL,
    PRIMARY KEY (tag_id, target_kind, target_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX taggings_target ON taggings (target_kind, target_id);

CREATE TABLE pricing (
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    input INTEGER NOT NULL,
    output INTEGER NOT NULL,
    cache_read INTEGER,
    cache_write INTEGER,
    cache_write_1h INTEGER,
    reasoning INTEGER,
    audio_in INTEGER,
    image_in INTEGER,
    tiers TEXT CHECK (json_valid(tiers)),
    source TEXT NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    PRIMARY KEY (provider, model)
) STRICT, WITHOUT ROWID;

CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL COLLATE NOCASE UNIQUE,
    hash BLOB NOT NULL UNIQUE,
    prefix TEXT NOT NULL,
    scopes TEXT NOT NULL CHECK (json_valid(scopes)),
    allowed_providers TEXT NOT NULL CHECK (json_valid(allowed_providers)),
    allowed_models TEXT NOT NULL CHECK (json_valid(allowed_models)),
    allowed_cidrs TEXT NOT NULL CHECK (json_valid(allowed_cidrs)),
    daily_cap INTEGER,
    weekly_cap INTEGER,
    monthly_cap INTEGER,
    rpm INTEGER,
    tpm INTEGER,
    concurrency INTEGER,
    expires_at_ms INTEGER,
    is_active INTEGER NOT NULL CHECK (is_active IN (0, 1)),
    last_used_ms INTEGER,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE auth_sessions (
    token_hash BLOB PRIMARY KEY,
    user_id TEXT NOT NULL,
    method TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    last_seen_ms INTEGER NOT NULL,
    ip TEXT,
    user_agent TEXT
) STRICT;
CREATE INDEX auth_sessions_expiry ON auth_sessions (expires_at_ms);

CREATE TABLE audit_log (
    id INTEGER PRIMARY KEY,
    ts_ms INTEGER NOT NULL,
    actor TEXT NOT NULL,
    ip TEXT,
    action TEXT NOT NULL,
    target TEXT,
    detail TEXT CHECK (json_valid(detail))
) STRICT;
CREATE INDEX audit_log_time ON audit_log (ts_ms);
";

impl Migration {
    /// SHA-256 of its statements.
    fn checksum(&self) -> [u8; 32] {
        sha256(self.sql.concat().as_bytes())
    }
}

/// A migration and whether a database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationRow {
    /// Position, from 1.
    pub id: u32,
    /// What it does.
    pub name: String,
    /// When it was applied, in Unix milliseconds; `None` if it is pending.
    pub applied_at_ms: Option<i64>,
    /// The program's version that applied it.
    pub app_version: Option<String>,
}

/// Every migration that this program knows, with what `conn`'s database says about it.
pub fn migrations(conn: &Connection) -> Result<Vec<MigrationRow>, StoreError> {
    let mut select = conn.prepare("SELECT applied_at_ms, app_version FROM schema_migrations WHERE id = ?1")?;
    let mut rows = Vec::with_capacity(MIGRATIONS.len());
    for migration in MIGRATIONS {
        let applied = select.query_row([migration.id], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let (applied_at_ms, app_version) = applied.unzip();
        rows.push(MigrationRow { id: migration.id, name: migration.name.to_owned(), applied_at_ms, app_version });
    }
    Ok(rows)
}

/// The version of a database; 0 is an empty one.
pub(super) fn version(conn: &Connection) -> rusqlite::Result<u32> {
    conn.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Brings a database to the version of `steps`, with a snapshot before. Refuses a newer one.
pub(super) fn bring_up(conn: &mut Connection, options: &Options, steps: &[Migration]) -> Result<(), OpenError> {
    let known = steps.len() as u32;
    let path = options.database();
    let unusable = OpenError::unusable(&path);
    let found = version(conn).map_err(&unusable)?;
    if found > known {
        return Err(OpenError::Newer { path, found, known, backup: backup::newest_fitting(options) });
    }
    if (1..known).contains(&found)
        && let Err(error) = backup::create(options, "pre-migrate", None)
    {
        if !options.migrate_without_backup {
            return Err(OpenError::NoBackup(error));
        }
        tracing::warn!(%error, "migrating without a backup");
    }
    let applied = migrate(conn, found, steps)?;
    if found == 0 {
        note(conn, "instance_id", &super::new_id()).map_err(&unusable)?;
        note(conn, "created_at_ms", &now_ms().to_string()).map_err(&unusable)?;
    } else if applied > 0 {
        let faults = faults(conn).map_err(&unusable)?;
        if !faults.is_empty() {
            return Err(OpenError::Unusable { path, error: StoreError::Corrupt(faults.join("; ")) });
        }
        conn.execute_batch("PRAGMA optimize").map_err(&unusable)?;
    }
    for name in changed(conn).map_err(&unusable)? {
        debug_assert!(false, "the released migration `{name}` was changed");
        tracing::warn!(name, "the database was made with other statements than this program's");
    }
    Ok(())
}

/// Keeps a fact about the database.
pub(super) fn note(conn: &Connection, key: &str, value: &str) -> rusqlite::Result<()> {
    conn.execute("INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = ?2", [key, value])?;
    Ok(())
}

/// A fact about the database.
pub(super) fn noted(conn: &Connection, key: &str) -> rusqlite::Result<Option<String>> {
    conn.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0)).optional()
}

/// Applies what is pending of `steps` in a database of the version `found`. Returns how many there were. Where nothing is,
/// it takes no lock: a database that nobody can write at the moment is opened all the same.
pub(super) fn migrate(conn: &mut Connection, found: u32, steps: &[Migration]) -> Result<usize, OpenError> {
    let mut applied = 0;
    for step in steps.iter().filter(|step| step.id > found) {
        let started = Instant::now();
        let done: rusqlite::Result<bool> = (|| {
            let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            // Inside the transaction: another program may have done it while this one waited for the lock.
            if version(&tx)? >= step.id {
                return Ok(false);
            }
            for sql in step.sql {
                tx.execute_batch(sql)?;
            }
            if let Some(then) = step.then {
                then(&tx)?;
            }
            tx.execute(
                "INSERT INTO schema_migrations (id, name, checksum, applied_at_ms, app_version, duration_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    step.id,
                    step.name,
                    step.checksum(),
                    now_ms(),
                    env!("CARGO_PKG_VERSION"),
                    i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX),
                ],
            )?;
            tx.pragma_update(None, "user_version", step.id)?;
            tx.commit()?;
            Ok(true)
        })();
        let failed =
            |error: rusqlite::Error| OpenError::Migration { id: step.id, name: step.name, error: error.into() };
        applied += usize::from(done.map_err(failed)?);
    }
    Ok(applied)
}

/// Names of applied migrations whose statements differ from this program's.
pub(super) fn changed(conn: &Connection) -> rusqlite::Result<Vec<&'static str>> {
    let mut select = conn.prepare("SELECT checksum FROM schema_migrations WHERE id = ?1")?;
    let mut names = Vec::new();
    for step in MIGRATIONS {
        let kept: Option<Vec<u8>> = select.query_row([step.id], |row| row.get(0)).optional()?;
        if kept.is_some_and(|kept| kept != step.checksum()) {
            names.push(step.name);
        }
    }
    Ok(names)
}

/// What is wrong with a database, in SQLite's words; empty if nothing is.
pub(super) fn faults(conn: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut faults: Vec<String> = Vec::new();
    conn.pragma(None, "integrity_check", 10, |row| {
        let line: String = row.get(0)?;
        if line != "ok" {
            faults.push(line);
        }
        Ok(())
    })?;
    conn.pragma_query(None, "foreign_key_check", |row| {
        if faults.len() < 20 {
            faults.push(format!(
                "{} refers to a missing row of {}",
                row.get::<_, String>(0)?,
                row.get::<_, String>(2)?
            ));
        }
        Ok(())
    })?;
    Ok(faults)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{files, store::connect};

    /// The released steps and one more.
    fn later() -> Vec<Migration> {
        let mut steps: Vec<Migration> = MIGRATIONS
            .iter()
            .map(|step| Migration { id: step.id, name: step.name, sql: step.sql, then: step.then })
            .collect();
        let sql = &["CREATE TABLE later (id INTEGER PRIMARY KEY) STRICT;", "INSERT INTO later VALUES (1);"];
        steps.push(Migration { id: HEAD + 1, name: "later", sql, then: None });
        steps
    }

    fn opened(options: &Options) -> Connection {
        files::private_dir(options.database().parent().unwrap()).unwrap();
        connect::writer(&options.database(), options.busy).unwrap()
    }

    #[test]
    fn ids_are_positions() {
        assert!((1..).zip(MIGRATIONS).all(|(id, step)| step.id == id));
    }

    #[test]
    fn a_new_step_is_applied_once_behind_a_snapshot() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::new(dir.path());
        let mut conn = opened(&options);
        bring_up(&mut conn, &options, MIGRATIONS).unwrap();
        note(&conn, "mark", "kept").unwrap();
        let instance = noted(&conn, "instance_id").unwrap();
        assert!(backup::list(&options).unwrap().is_empty(), "a new database has nothing to lose");

        for _ in 0..2 {
            bring_up(&mut conn, &options, &later()).unwrap();
        }
        assert_eq!(version(&conn).unwrap(), HEAD + 1);
        assert_eq!(noted(&conn, "mark").unwrap().as_deref(), Some("kept"));
        assert_eq!(noted(&conn, "instance_id").unwrap(), instance);
        let made = backup::list(&options).unwrap();
        assert_eq!(made.len(), 1);
        assert_eq!((&*made[0].label, made[0].schema_version), ("pre-migrate", HEAD));

        // The older program refuses it and names the snapshot.
        let error = bring_up(&mut conn, &options, MIGRATIONS).unwrap_err();
        let OpenError::Newer { found, known, backup, .. } = &error else { panic!("{error}") };
        assert_eq!((*found, *known, backup.as_deref()), (HEAD + 1, HEAD, Some(&*made[0].name)));
        assert!(error.to_string().contains(&made[0].name), "{error}");
    }

    #[test]
    fn a_failing_step_leaves_the_version_before() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::new(dir.path());
        let mut conn = opened(&options);
        let mut steps = later();
        steps[HEAD as usize].sql = &["CREATE TABLE half (id INTEGER) STRICT;", "INSERT INTO missing VALUES (1);"];
        let error = bring_up(&mut conn, &options, &steps).unwrap_err();
        assert!(matches!(error, OpenError::Migration { id, name: "later", .. } if id == HEAD + 1), "{error}");
        assert_eq!(version(&conn).unwrap(), HEAD);
        let half: i64 =
            conn.query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'half'", [], |row| row.get(0)).unwrap();
        assert_eq!(half, 0);
        bring_up(&mut conn, &options, &later()).unwrap();
    }

    #[test]
    fn without_a_snapshot_nothing_is_migrated_unless_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut options = Options::new(dir.path());
        let mut conn = opened(&options);
        bring_up(&mut conn, &options, MIGRATIONS).unwrap();
        // A file where the folder of backups would be.
        std::fs::write(options.backups(), "").unwrap();
        let error = bring_up(&mut conn, &options, &later()).unwrap_err();
        assert!(matches!(error, OpenError::NoBackup(_)), "{error}");
        assert_eq!(version(&conn).unwrap(), HEAD);
        options.migrate_without_backup = true;
        bring_up(&mut conn, &options, &later()).unwrap();
        assert_eq!(version(&conn).unwrap(), HEAD + 1);
    }

    #[test]
    fn databases_of_others_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let other = Connection::open(dir.path().join("other")).unwrap();
        other.execute_batch("CREATE TABLE x (y)").unwrap();
        let found = connect::writer(&dir.path().join("other"), Options::new("").busy).unwrap_err();
        assert!(matches!(found, OpenError::Foreign(_)), "{found}");
        other.execute_batch("CREATE TABLE providerConnections (id TEXT)").unwrap();
        let found = connect::writer(&dir.path().join("other"), Options::new("").busy).unwrap_err();
        assert!(matches!(found, OpenError::Legacy(_)), "{found}");
    }
}
