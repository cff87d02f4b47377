//! Settings that were changed at run time: one row per key, a JSON value each. What keys exist and what they may hold is
//! not known here. A setting that is a secret is sealed, and its value is `null`.

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value;

use super::{Secret, StoreError, Vault, now_ms, rows};

/// One setting.
#[derive(Debug, Clone, PartialEq)]
pub struct SettingRow {
    /// Its key.
    pub key: String,
    /// Its value; `null` for a secret.
    pub value: Value,
    /// The secret, if it is one and the vault's keys open it.
    pub secret: Option<Secret>,
    /// Unix milliseconds of the last change.
    pub updated_at_ms: i64,
}

/// All settings, by key.
///
/// # Errors
/// Only those of the database.
pub fn list(conn: &Connection, vault: &Vault) -> Result<Vec<SettingRow>, StoreError> {
    let mut select = conn.prepare_cached("SELECT key, value, secret, updated_at_ms FROM settings ORDER BY key")?;
    let all = select
        .query_map([], |row| {
            let key: String = row.get(0)?;
            let secret = row.get_ref(2)?.as_blob_or_null()?.and_then(|blob| unseal(vault, &key, blob));
            Ok(SettingRow { value: rows::json(row, 1)?, secret, updated_at_ms: row.get(3)?, key })
        })?
        .collect::<Result<Vec<_>, _>>()?;
    Ok(all)
}

fn unseal(vault: &Vault, key: &str, blob: &[u8]) -> Option<Secret> {
    let clear = vault.open("settings", key, "secret", blob).ok()?;
    std::str::from_utf8(&clear).ok().map(Secret::new)
}

/// One setting's value; `None` if it was never set.
///
/// # Errors
/// Only those of the database.
pub fn get(conn: &Connection, key: &str) -> Result<Option<Value>, StoreError> {
    let mut select = conn.prepare_cached("SELECT value FROM settings WHERE key = ?1")?;
    Ok(select.query_row([key], |row| rows::json(row, 0)).optional()?)
}

/// One secret setting; `None` if it was never set, or is not a secret.
///
/// # Errors
/// [`StoreError::Key`] if no key of the vault opens it.
pub fn get_secret(conn: &Connection, vault: &Vault, key: &str) -> Result<Option<Secret>, StoreError> {
    let mut select = conn.prepare_cached("SELECT secret FROM settings WHERE key = ?1")?;
    let blob: Option<Option<Vec<u8>>> = select.query_row([key], |row| row.get(0)).optional()?;
    let Some(blob) = blob.flatten() else { return Ok(None) };
    let clear = vault.open("settings", key, "secret", &blob)?;
    let text = std::str::from_utf8(&clear).map_err(|_| StoreError::Key(format!("{key} is not text")))?;
    Ok(Some(Secret::new(text)))
}

/// Sets a value.
///
/// # Errors
/// Only those of the database.
pub fn set(conn: &Connection, key: &str, value: &Value) -> Result<(), StoreError> {
    put(conn, key, &rows::text(value)?, None)
}

/// Sets a secret, sealed.
///
/// # Errors
/// Only those of the database and the vault.
pub fn set_secret(conn: &Connection, vault: &Vault, key: &str, secret: &Secret) -> Result<(), StoreError> {
    put(conn, key, "null", Some(vault.seal("settings", key, "secret", secret.expose().as_bytes())?))
}

fn put(conn: &Connection, key: &str, value: &str, secret: Option<Vec<u8>>) -> Result<(), StoreError> {
    conn.prepare_cached(
        "INSERT INTO settings (key, value, secret, updated_at_ms) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (key) DO UPDATE SET value = ?2, secret = ?3, updated_at_ms = max(?4, updated_at_ms + 1)",
    )?
    .execute(params![key, value, secret, now_ms()])?;
    Ok(())
}

/// Removes a setting, so that its default holds again. Returns whether it was there.
///
/// # Errors
/// Only those of the database.
pub fn remove(conn: &Connection, key: &str) -> Result<bool, StoreError> {
    Ok(conn.prepare_cached("DELETE FROM settings WHERE key = ?1")?.execute([key])? > 0)
}
