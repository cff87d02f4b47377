//! What the tables have in common: JSON columns, and the time of the last change, which is a row's version.

use rusqlite::{Connection, Row, types::Type};
use serde::{Serialize, de::DeserializeOwned};

use super::{StoreError, now_ms};

/// Reads a JSON column.
pub(super) fn json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text = row.get_ref(column)?.as_str()?;
    serde_json::from_str(text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error)))
}

/// Reads a JSON column that may be NULL.
pub(super) fn json_or<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<T>> {
    if row.get_ref(column)?.as_str_or_null()?.is_none() { Ok(None) } else { json(row, column).map(Some) }
}

/// Writes a JSON column.
pub(super) fn text<T: Serialize + ?Sized>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Other(error.to_string()))
}

/// The time that an update of a row must carry: now, but later than the last one, because it is the row's version.
pub(super) fn next_version(
    conn: &Connection,
    table: &str,
    key: &str,
    id: &str,
    if_match: Option<i64>,
) -> Result<i64, StoreError> {
    let mut select = conn.prepare_cached(&format!("SELECT updated_at_ms FROM {table} WHERE {key} = ?1"))?;
    let old: i64 = select.query_row([id], |row| row.get(0))?;
    match if_match {
        Some(expected) if expected != old => Err(StoreError::Stale),
        _ => Ok(now_ms().max(old + 1)),
    }
}

/// `NotFound` unless a statement changed a row.
pub(super) fn found(changed: usize) -> Result<(), StoreError> {
    if changed == 0 { Err(StoreError::NotFound) } else { Ok(()) }
}
