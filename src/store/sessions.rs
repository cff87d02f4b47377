//! Sessions of people who have logged in: digests of their tokens, never the tokens.

use rusqlite::{Connection, Row, params};

use super::{StoreError, rows};

/// Sessions that one pass of upkeep removes.
const PASS: i64 = 5_000;

/// A session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// SHA-256 of the token.
    pub token_hash: [u8; 32],
    /// Who.
    pub user_id: String,
    /// How they proved it: `password`, `oidc`.
    pub method: String,
    /// Unix milliseconds.
    pub created_at_ms: i64,
    /// Unix milliseconds; then it is over.
    pub expires_at_ms: i64,
    /// Unix milliseconds.
    pub last_seen_ms: i64,
    /// Address at login.
    pub ip: Option<String>,
    /// Program at login.
    pub user_agent: Option<String>,
}

const COLUMNS: &str = "token_hash, user_id, method, created_at_ms, expires_at_ms, last_seen_ms, ip, user_agent";

fn read(row: &Row<'_>) -> rusqlite::Result<SessionRow> {
    Ok(SessionRow {
        token_hash: row.get(0)?,
        user_id: row.get(1)?,
        method: row.get(2)?,
        created_at_ms: row.get(3)?,
        expires_at_ms: row.get(4)?,
        last_seen_ms: row.get(5)?,
        ip: row.get(6)?,
        user_agent: row.get(7)?,
    })
}

/// Adds a session.
///
/// # Errors
/// Only those of the database.
pub fn insert(conn: &Connection, row: &SessionRow) -> Result<(), StoreError> {
    conn.prepare_cached(&format!("INSERT INTO auth_sessions ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"))?
        .execute(params![
            row.token_hash,
            row.user_id,
            row.method,
            row.created_at_ms,
            row.expires_at_ms,
            row.last_seen_ms,
            row.ip,
            row.user_agent,
        ])?;
    Ok(())
}

/// Notes that a session was used, and when it ends now.
///
/// # Errors
/// [`StoreError::NotFound`].
pub fn seen(conn: &Connection, token_hash: &[u8; 32], now_ms: i64, expires_at_ms: i64) -> Result<(), StoreError> {
    let mut update =
        conn.prepare_cached("UPDATE auth_sessions SET last_seen_ms = ?2, expires_at_ms = ?3 WHERE token_hash = ?1")?;
    rows::found(update.execute(params![token_hash, now_ms, expires_at_ms])?)
}

/// Sessions that are not over at `now_ms`, the latest login first.
///
/// # Errors
/// Only those of the database.
pub fn list(conn: &Connection, now_ms: i64) -> Result<Vec<SessionRow>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM auth_sessions WHERE expires_at_ms > ?1 ORDER BY created_at_ms DESC");
    let all = conn.prepare_cached(&sql)?.query_map([now_ms], read)?.collect::<Result<Vec<_>, _>>()?;
    Ok(all)
}

/// Removes a session. Returns whether it was there.
///
/// # Errors
/// Only those of the database.
pub fn delete(conn: &Connection, token_hash: &[u8; 32]) -> Result<bool, StoreError> {
    Ok(conn.prepare_cached("DELETE FROM auth_sessions WHERE token_hash = ?1")?.execute([token_hash])? > 0)
}

/// Removes all sessions of `user_id`, or all there are, but the one to keep. Returns how many there were.
///
/// # Errors
/// Only those of the database.
pub fn delete_all(conn: &Connection, user_id: Option<&str>, keep: Option<&[u8; 32]>) -> Result<usize, StoreError> {
    let mut delete = conn.prepare_cached(
        "DELETE FROM auth_sessions WHERE (?1 IS NULL OR user_id = ?1) AND (?2 IS NULL OR token_hash <> ?2)",
    )?;
    Ok(delete.execute(params![user_id, keep])?)
}

/// Removes sessions that are over. Returns whether there are more.
pub(super) fn expire(conn: &Connection, now_ms: i64) -> Result<bool, StoreError> {
    let mut delete = conn.prepare_cached(
        "DELETE FROM auth_sessions WHERE token_hash IN
             (SELECT token_hash FROM auth_sessions WHERE expires_at_ms <= ?1 LIMIT ?2)",
    )?;
    Ok(delete.execute([now_ms, PASS])? as i64 == PASS)
}
