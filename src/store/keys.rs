//! Callers' keys: digests and limits, never the keys.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row, params};

use super::{StoreError, new_id, now_ms, rows, usage::UsageRow};

/// A caller's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// UUIDv7; made by [`insert`] if it is empty.
    pub id: String,
    /// What people call it; unique without regard to case.
    pub name: String,
    /// SHA-256 of the key.
    pub hash: [u8; 32],
    /// The key's first characters, for people.
    pub prefix: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// Names, ids or vendors of the providers that it may use; empty = all.
    pub allowed_providers: Vec<String>,
    /// Patterns of the models that it may use; empty = all.
    pub allowed_models: Vec<String>,
    /// Networks from which it may be used; empty = all.
    pub allowed_cidrs: Vec<String>,
    /// Most that it may cost per day, in nano-USD.
    pub daily_cap: Option<i64>,
    /// Most that it may cost per week, in nano-USD.
    pub weekly_cap: Option<i64>,
    /// Most that it may cost per month, in nano-USD.
    pub monthly_cap: Option<i64>,
    /// Requests per minute.
    pub rpm: Option<i64>,
    /// Tokens per minute.
    pub tpm: Option<i64>,
    /// Requests at once.
    pub concurrency: Option<i64>,
    /// When it ends, in Unix milliseconds.
    pub expires_at_ms: Option<i64>,
    /// Whether it is valid; a revoked key is not.
    pub is_active: bool,
    /// When it was last used, in Unix milliseconds; written with the usage rows.
    pub last_used_ms: Option<i64>,
    /// Unix milliseconds; set by [`insert`].
    pub created_at_ms: i64,
    /// Unix milliseconds, the row's version; set by [`insert`] and [`update`].
    pub updated_at_ms: i64,
}

impl Default for KeyRow {
    fn default() -> Self {
        Self {
            id: String::new(),
            name: String::new(),
            hash: [0; 32],
            prefix: String::new(),
            scopes: Vec::new(),
            allowed_providers: Vec::new(),
            allowed_models: Vec::new(),
            allowed_cidrs: Vec::new(),
            daily_cap: None,
            weekly_cap: None,
            monthly_cap: None,
            rpm: None,
            tpm: None,
            concurrency: None,
            expires_at_ms: None,
            is_active: true,
            last_used_ms: None,
            created_at_ms: 0,
            updated_at_ms: 0,
        }
    }
}

const COLUMNS: &str = "id, name, hash, prefix, scopes, allowed_providers, allowed_models, allowed_cidrs, daily_cap, \
                       weekly_cap, monthly_cap, rpm, tpm, concurrency, expires_at_ms, is_active, last_used_ms, \
                       created_at_ms, updated_at_ms";

fn read(row: &Row<'_>) -> rusqlite::Result<KeyRow> {
    Ok(KeyRow {
        id: row.get(0)?,
        name: row.get(1)?,
        hash: row.get(2)?,
        prefix: row.get(3)?,
        scopes: rows::json(row, 4)?,
        allowed_providers: rows::json(row, 5)?,
        allowed_models: rows::json(row, 6)?,
        allowed_cidrs: rows::json(row, 7)?,
        daily_cap: row.get(8)?,
        weekly_cap: row.get(9)?,
        monthly_cap: row.get(10)?,
        rpm: row.get(11)?,
        tpm: row.get(12)?,
        concurrency: row.get(13)?,
        expires_at_ms: row.get(14)?,
        is_active: row.get(15)?,
        last_used_ms: row.get(16)?,
        created_at_ms: row.get(17)?,
        updated_at_ms: row.get(18)?,
    })
}

/// Runs a statement whose parameters are the values of [`COLUMNS`], in their order.
fn put(conn: &Connection, sql: &str, row: &KeyRow) -> Result<(), StoreError> {
    conn.prepare_cached(sql)?.execute(params![
        row.id,
        row.name,
        row.hash,
        row.prefix,
        rows::text(&row.scopes)?,
        rows::text(&row.allowed_providers)?,
        rows::text(&row.allowed_models)?,
        rows::text(&row.allowed_cidrs)?,
        row.daily_cap,
        row.weekly_cap,
        row.monthly_cap,
        row.rpm,
        row.tpm,
        row.concurrency,
        row.expires_at_ms,
        row.is_active,
        row.last_used_ms,
        row.created_at_ms,
        row.updated_at_ms,
    ])?;
    Ok(())
}

/// Adds a key; fills in `id` and the times.
///
/// # Errors
/// [`StoreError::Taken`] for its name or its hash.
pub fn insert(conn: &Connection, row: &mut KeyRow) -> Result<(), StoreError> {
    if row.id.is_empty() {
        row.id = new_id();
    }
    row.created_at_ms = now_ms();
    row.updated_at_ms = row.created_at_ms;
    let sql = format!(
        "INSERT INTO api_keys ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16,
             ?17, ?18, ?19)"
    );
    put(conn, &sql, row)
}

/// Replaces a key, also its hash: a rotation. `last_used_ms` stays. Sets the new version in `row`.
///
/// # Errors
/// [`StoreError::NotFound`]; [`StoreError::Stale`] if the kept version is not `if_match`; [`StoreError::Taken`].
pub fn update(conn: &Connection, row: &mut KeyRow, if_match: Option<i64>) -> Result<(), StoreError> {
    row.updated_at_ms = rows::next_version(conn, "api_keys", "id", &row.id, if_match)?;
    let sql = "UPDATE api_keys SET name = ?2, hash = ?3, prefix = ?4, scopes = ?5, allowed_providers = ?6,
        allowed_models = ?7, allowed_cidrs = ?8, daily_cap = ?9, weekly_cap = ?10, monthly_cap = ?11, rpm = ?12, tpm = ?13,
        concurrency = ?14, expires_at_ms = ?15, is_active = ?16, updated_at_ms = ?19 WHERE id = ?1";
    put(conn, sql, row)
}

/// Removes a key. What it used stays in the log under its name.
///
/// # Errors
/// [`StoreError::NotFound`]; [`StoreError::Stale`] if the kept version is not `if_match`.
pub fn delete(conn: &Connection, id: &str, if_match: Option<i64>) -> Result<(), StoreError> {
    rows::next_version(conn, "api_keys", "id", id, if_match)?;
    rows::found(conn.prepare_cached("DELETE FROM api_keys WHERE id = ?1")?.execute([id])?)
}

/// One key.
///
/// # Errors
/// [`StoreError::NotFound`].
pub fn get(conn: &Connection, id: &str) -> Result<KeyRow, StoreError> {
    let mut select = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM api_keys WHERE id = ?1"))?;
    Ok(select.query_row([id], read)?)
}

/// All keys, by name.
///
/// # Errors
/// Only those of the database.
pub fn list(conn: &Connection) -> Result<Vec<KeyRow>, StoreError> {
    let mut select = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM api_keys ORDER BY name"))?;
    let all = select.query_map([], read)?.collect::<Result<Vec<_>, _>>()?;
    Ok(all)
}

/// Notes when keys were last used, by the names in usage rows. Not a change of the key: its version stays.
pub(super) fn used(conn: &Connection, batch: &[UsageRow]) -> rusqlite::Result<()> {
    let mut last: BTreeMap<&str, i64> = BTreeMap::new();
    for row in batch {
        if let Some(name) = row.key.as_deref() {
            let at = last.entry(name).or_insert(row.ts_ms);
            *at = row.ts_ms.max(*at);
        }
    }
    let mut update =
        conn.prepare_cached("UPDATE api_keys SET last_used_ms = max(?2, coalesce(last_used_ms, 0)) WHERE name = ?1")?;
    for (name, at) in last {
        update.execute(params![name, at])?;
    }
    Ok(())
}
