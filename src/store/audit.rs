//! Who changed what. Rows are written by the change that they tell of, in its transaction; they hold no secrets.

use rusqlite::{Connection, params};
use serde_json::Value;

use super::{StoreError, rows};

/// Rows that one pass of upkeep removes.
const PASS: i64 = 5_000;

/// One entry.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AuditRow {
    /// Grows with time; set by [`append`].
    pub id: i64,
    /// Unix milliseconds.
    pub ts_ms: i64,
    /// Who: `local`, `key laptop`, `admin`.
    pub actor: String,
    /// From where.
    pub ip: Option<String>,
    /// What: `provider.create`, `login.failed`.
    pub action: String,
    /// To what: kind and id.
    pub target: Option<String>,
    /// More, redacted by the caller.
    pub detail: Option<Value>,
}

/// Adds an entry; fills in `id`.
///
/// # Errors
/// Only those of the database.
pub fn append(conn: &Connection, row: &mut AuditRow) -> Result<(), StoreError> {
    let mut insert = conn.prepare_cached(
        "INSERT INTO audit_log (ts_ms, actor, ip, action, target, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    let detail = row.detail.as_ref().map(rows::text).transpose()?;
    insert.execute(params![row.ts_ms, row.actor, row.ip, row.action, row.target, detail])?;
    row.id = conn.last_insert_rowid();
    Ok(())
}

/// Up to `limit` entries, the latest first, that are older than the one with id `before`.
///
/// # Errors
/// Only those of the database.
pub fn page(conn: &Connection, before: Option<i64>, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
    let mut select = conn.prepare_cached(
        "SELECT id, ts_ms, actor, ip, action, target, detail FROM audit_log WHERE id < ?1 ORDER BY id DESC LIMIT ?2",
    )?;
    let page = select
        .query_map(params![before.unwrap_or(i64::MAX), limit], |row| {
            Ok(AuditRow {
                id: row.get(0)?,
                ts_ms: row.get(1)?,
                actor: row.get(2)?,
                ip: row.get(3)?,
                action: row.get(4)?,
                target: row.get(5)?,
                detail: rows::json_or(row, 6)?,
            })
        })?
        .collect::<Result<Vec<_>, _>>()?;
    Ok(page)
}

/// Removes entries from before `before_ms`. Returns whether there are more.
pub(super) fn expire(conn: &Connection, before_ms: i64) -> Result<bool, StoreError> {
    let mut delete = conn.prepare_cached(
        "DELETE FROM audit_log WHERE id IN (SELECT id FROM audit_log WHERE ts_ms < ?1 ORDER BY ts_ms LIMIT ?2)",
    )?;
    Ok(delete.execute([before_ms, PASS])? as i64 == PASS)
}
