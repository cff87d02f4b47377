//! What is done to a database that no gateway has open. Everything here blocks.

use rusqlite::Connection;

use super::{OpenError, Options, Store, StoreError, Vault, backup, connect, schema, vault, vault::SEALED};
use crate::files;

/// A step of the schema that a database lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// Position, from 1.
    pub id: u32,
    /// What it does.
    pub name: &'static str,
    /// Its statements.
    pub sql: String,
}

/// The steps that a start would apply. All of them, if there is no database yet.
///
/// # Errors
/// If the file is not a database of ours, or newer than this program.
pub fn pending(options: &Options) -> Result<Vec<Pending>, OpenError> {
    let path = options.database();
    let unusable = OpenError::unusable(&path);
    let found = if path.exists() {
        let conn = connect::reader(&path, options.busy).map_err(&unusable)?;
        connect::identify(&conn, &path)?;
        schema::version(&conn).map_err(&unusable)?
    } else {
        0
    };
    if found > schema::HEAD {
        let backup = backup::newest_fitting(options);
        return Err(OpenError::Newer { path, found, known: schema::HEAD, backup });
    }
    let steps = schema::MIGRATIONS.iter().filter(|step| step.id > found);
    Ok(steps.map(|step| Pending { id: step.id, name: step.name, sql: step.sql.concat() }).collect())
}

/// Brings the database to this program's version. Returns how many steps it needed.
///
/// # Errors
/// As [`Store::open`].
pub fn migrate(options: &Options) -> Result<usize, OpenError> {
    let steps = pending(options)?.len();
    let store = Store::open(options)?;
    store.close(options.busy);
    Ok(steps)
}

/// Writes the database anew without its holes. Returns its size before and after, in bytes.
///
/// # Errors
/// [`StoreError::Full`]: it needs as much room again meanwhile. [`StoreError::Locked`].
pub fn vacuum(options: &Options) -> Result<(u64, u64), StoreError> {
    let path = options.database();
    let size = || std::fs::metadata(&path).map(|found| found.len()).map_err(StoreError::from);
    let before = size()?;
    let conn = open(options)?;
    conn.execute_batch("VACUUM")?;
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    drop(conn);
    Ok((before, size()?))
}

/// Gives up every sealed secret, for those whose key file is lost: providers lose their credentials, settings that are
/// secrets are gone. Makes a backup first. Returns how many there were.
///
/// # Errors
/// As [`backup::create`].
pub fn forget_secrets(options: &Options) -> Result<usize, StoreError> {
    let mut conn = open(options)?;
    if !vault::holds_secrets(&conn)? {
        set_key_aside(options)?;
        return Ok(0);
    }
    backup::create(options, "pre-forget", None)?;
    connect::full(&conn)?;
    let tx = conn.transaction()?;
    let mut count = 0;
    for (table, _, column) in SEALED {
        count += tx.execute(&format!("UPDATE {table} SET {column} = NULL WHERE {column} IS NOT NULL"), [])?;
    }
    tx.commit()?;
    set_key_aside(options)?;
    Ok(count)
}

/// Makes way for a new key where the one that is there cannot be read, because what guards it is lost. It is kept: whoever
/// finds the guard again opens older backups with it.
fn set_key_aside(options: &Options) -> Result<(), StoreError> {
    let looking = Options { may_wrap: false, ..options.clone() };
    let path = vault::path(options);
    if !path.exists() || Vault::load(&looking, false).is_ok() {
        return Ok(());
    }
    let free = (1..).map(|n| files::with_suffix(&path, &format!(".lost-{n}"))).find(|path| !path.exists());
    Ok(free.map_or(Ok(()), |free| std::fs::rename(&path, free))?)
}

/// Lays the vault's keys bare in their file, so that a start needs no guard any more, or may have another one.
///
/// # Errors
/// The guard of `options` does not fit, or there is no key yet.
pub fn unwrap_keys(options: &Options) -> Result<(), StoreError> {
    let vault = Vault::load(&Options { may_wrap: false, ..options.clone() }, false);
    vault.map_err(|error| StoreError::Key(error.to_string()))?.unwrap()
}

/// Ends all sessions: after a restore some would be alive again that were ended since.
///
/// # Errors
/// Only those of the database.
pub fn end_sessions(options: &Options) -> Result<usize, StoreError> {
    super::sessions::delete_all(&open(options)?, None, None)
}

/// The database as it is, at this program's version.
pub(super) fn open(options: &Options) -> Result<Connection, StoreError> {
    let path = options.database();
    if !path.exists() {
        return Err(StoreError::NotFound);
    }
    let conn = connect::writer(&path, options.busy)?;
    match schema::version(&conn)? {
        schema::HEAD => Ok(conn),
        found => Err(StoreError::Other(format!(
            "the database has version {found}, this program's is {}: migrate it first",
            schema::HEAD
        ))),
    }
}
