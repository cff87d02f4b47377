//! Connections: where the database's file is, and what is said to SQLite before anything else.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::{OpenError, schema};
use crate::files;

/// Prepared statements that a connection keeps.
const STATEMENTS: usize = 64;
/// Size of the write-ahead log, in pages, from which a commit copies it into the database.
const AUTOCHECKPOINT_PAGES: i64 = 1_000;
/// Size to which the log's file is cut after that.
const WAL_BYTES_MAX: i64 = 64 << 20;

/// Opens the database for its only writer; makes it if it is missing. Does not look at tables.
pub(super) fn writer(path: &Path, busy: Duration) -> Result<Connection, OpenError> {
    let unusable = OpenError::unusable(path);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(&unusable)?;
    conn.busy_timeout(busy).map_err(&unusable)?;
    // Before anything is written: the file may be another program's.
    let is_new = identify(&conn, path)?;
    files::make_private(path).map_err(OpenError::unusable(path))?;
    prepare(&conn, path, is_new).map_err(&unusable)?;
    Ok(conn)
}

fn prepare(conn: &Connection, path: &Path, is_new: bool) -> rusqlite::Result<()> {
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    normal(conn)?;
    if is_new {
        // Only an empty file takes these. In one transaction: each would wait for the disk several times.
        conn.pragma_update(None, "page_size", 4096)?;
        let tx = conn.unchecked_transaction()?;
        tx.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        tx.pragma_update(None, "application_id", schema::APPLICATION_ID)?;
        tx.commit()?;
    }
    // SQLite answers with the mode that it has in the end.
    let mode = if is_remote(path) { "TRUNCATE" } else { "WAL" };
    let found: Result<String, _> = conn.pragma_update_and_check(None, "journal_mode", mode, |row| row.get(0));
    match found {
        Ok(found) if found.eq_ignore_ascii_case(mode) => {}
        Ok(found) => tracing::warn!(path = %path.display(), mode = found, "the database's journal is not {mode}"),
        // A file that cannot be written serves readers all the same; writes will say so.
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::ReadOnly) => {}
        Err(error) => return Err(error),
    }
    conn.pragma_update(None, "foreign_keys", true)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.pragma_update_and_check(None, "wal_autocheckpoint", AUTOCHECKPOINT_PAGES, |_| Ok(()))?;
    conn.pragma_update_and_check(None, "journal_size_limit", WAL_BYTES_MAX, |_| Ok(()))?;
    conn.pragma_update_and_check(None, "secure_delete", "FAST", |_| Ok(()))?;
    guarded(conn)
}

/// What holds for readers too: nothing in the file is trusted to be ours.
fn guarded(conn: &Connection) -> rusqlite::Result<()> {
    conn.pragma_update(None, "trusted_schema", false)?;
    conn.pragma_update(None, "cell_size_check", true)
}

/// Commits are durable at the next checkpoint: a power cut costs the last ones, never the file.
pub(super) fn normal(conn: &Connection) -> rusqlite::Result<()> {
    conn.pragma_update(None, "synchronous", "NORMAL")
}

/// Commits are durable when they return.
pub(super) fn full(conn: &Connection) -> rusqlite::Result<()> {
    conn.pragma_update(None, "synchronous", "FULL")
}

/// Refuses databases of other programs. Returns whether it is empty.
pub(super) fn identify(conn: &Connection, path: &Path) -> Result<bool, OpenError> {
    let unusable = OpenError::unusable(path);
    let id: i32 = conn.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(&unusable)?;
    if id == schema::APPLICATION_ID {
        return Ok(false);
    }
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(&unusable)?;
    if id == 0 && tables == 0 {
        return Ok(true);
    }
    Err(if id == 0 && is_legacy(conn).map_err(&unusable)? {
        OpenError::Legacy(path.to_owned())
    } else {
        OpenError::Foreign(path.to_owned())
    })
}

/// Whether it is a database of the Go program.
pub(super) fn is_legacy(conn: &Connection) -> rusqlite::Result<bool> {
    conn.query_row("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'providerConnections')", [], |row| {
        row.get(0)
    })
}

/// Opens the database for reading only.
pub(super) fn reader(path: &Path, busy: Duration) -> rusqlite::Result<Connection> {
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    conn.busy_timeout(busy)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    conn.pragma_update(None, "query_only", true)?;
    guarded(&conn)?;
    Ok(conn)
}

/// Whether a file lies on another machine: the write-ahead log needs memory that all its users share.
#[cfg(target_os = "linux")]
fn is_remote(path: &Path) -> bool {
    // NFS, SMB, CIFS, SMB 2, 9P.
    const MAGICS: [u64; 5] = [0x6969, 0x517B, 0xFF53_4D42, 0xFE53_4D42, 0x0102_1997];
    let remote = rustix::fs::statfs(path).is_ok_and(|found| MAGICS.contains(&(found.f_type as u64 & 0xFFFF_FFFF)));
    if remote {
        tracing::warn!(path = %path.display(), "the database is on a network: it is slower there, and less safe");
    }
    remote
}

#[cfg(not(target_os = "linux"))]
fn is_remote(_: &Path) -> bool {
    false
}
