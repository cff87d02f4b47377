//! Models that the user has described: their names at a provider, and what is known of them.

use rusqlite::{Connection, Row, params};

use super::{StoreError, new_id, now_ms, rows};

/// The table, the third migration.
pub(super) const SCHEMA: &str = "
CREATE TABLE models_custom (
    id TEXT PRIMARY KEY,
    provider_id TEXT NOT NULL REFERENCES providers (id) ON DELETE CASCADE,
    model TEXT NOT NULL,
    display_name TEXT,
    context_window INTEGER,
    max_output INTEGER,
    caps INTEGER,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    UNIQUE (provider_id, model)
) STRICT;
";

/// What a model can do, by name and bit.
pub const CAPS: &[(&str, u8)] = &[("tools", 1), ("vision", 2), ("stream", 4), ("reasoning", 8), ("json", 16)];

/// A described model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelRow {
    /// UUIDv7; made by [`insert`].
    pub id: String,
    /// The provider's row.
    pub provider_id: String,
    /// Its name there.
    pub model: String,
    /// Its name for people.
    pub display_name: Option<String>,
    /// Tokens of request and answer together.
    pub context_window: Option<u32>,
    /// Tokens of an answer.
    pub max_output: Option<u32>,
    /// Bits of [`CAPS`]; `None` if nothing is said.
    pub caps: Option<u8>,
    /// Unix milliseconds; set by [`insert`].
    pub created_at_ms: i64,
    /// Unix milliseconds, the row's version; set by [`insert`] and [`update`].
    pub updated_at_ms: i64,
}

const SELECT: &str = "SELECT id, provider_id, model, display_name, context_window, max_output, caps, created_at_ms,
                          updated_at_ms FROM models_custom";

fn read(row: &Row<'_>) -> rusqlite::Result<ModelRow> {
    Ok(ModelRow {
        id: row.get(0)?,
        provider_id: row.get(1)?,
        model: row.get(2)?,
        display_name: row.get(3)?,
        context_window: row.get(4)?,
        max_output: row.get(5)?,
        caps: row.get(6)?,
        created_at_ms: row.get(7)?,
        updated_at_ms: row.get(8)?,
    })
}

/// Adds a model; fills in `id` and the times.
///
/// # Errors
/// [`StoreError::Taken`] if it is described already; [`StoreError::Invalid`] if there is no such provider.
pub fn insert(conn: &Connection, row: &mut ModelRow) -> Result<(), StoreError> {
    row.id = new_id();
    row.created_at_ms = now_ms();
    row.updated_at_ms = row.created_at_ms;
    let mut insert = conn.prepare_cached(
        "INSERT INTO models_custom (id, provider_id, model, display_name, context_window, max_output, caps, created_at_ms,
             updated_at_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8)",
    )?;
    insert.execute(params![
        row.id,
        row.provider_id,
        row.model,
        row.display_name,
        row.context_window,
        row.max_output,
        row.caps,
        row.created_at_ms
    ])?;
    Ok(())
}

/// Replaces a model, at its provider; sets the new version in `row`.
///
/// # Errors
/// [`StoreError::NotFound`]; [`StoreError::Stale`] if the kept version is not `if_match`; [`StoreError::Taken`].
pub fn update(conn: &Connection, row: &mut ModelRow, if_match: Option<i64>) -> Result<(), StoreError> {
    row.updated_at_ms = rows::next_version(conn, "models_custom", "id", &row.id, if_match)?;
    let mut update = conn.prepare_cached(
        "UPDATE models_custom SET model = ?2, display_name = ?3, context_window = ?4, max_output = ?5, caps = ?6,
             updated_at_ms = ?7 WHERE id = ?1",
    )?;
    update.execute(params![
        row.id,
        row.model,
        row.display_name,
        row.context_window,
        row.max_output,
        row.caps,
        row.updated_at_ms
    ])?;
    Ok(())
}

/// Removes a model.
///
/// # Errors
/// [`StoreError::NotFound`]; [`StoreError::Stale`] if the kept version is not `if_match`.
pub fn delete(conn: &Connection, id: &str, if_match: Option<i64>) -> Result<(), StoreError> {
    rows::next_version(conn, "models_custom", "id", id, if_match)?;
    rows::found(conn.prepare_cached("DELETE FROM models_custom WHERE id = ?1")?.execute([id])?)
}

/// One model.
///
/// # Errors
/// [`StoreError::NotFound`].
pub fn get(conn: &Connection, id: &str) -> Result<ModelRow, StoreError> {
    Ok(conn.prepare_cached(&format!("{SELECT} WHERE id = ?1"))?.query_row([id], read)?)
}

/// All models, by name and provider.
///
/// # Errors
/// Only those of the database.
pub fn list(conn: &Connection) -> Result<Vec<ModelRow>, StoreError> {
    let mut select = conn.prepare_cached(&format!("{SELECT} ORDER BY model, provider_id"))?;
    let all = select.query_map([], read)?.collect::<Result<Vec<_>, _>>()?;
    Ok(all)
}
