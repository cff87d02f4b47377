//! Prices that the user gave; the card that comes with the program is not in the database.

use rusqlite::{Connection, Row, params};
use serde_json::Value;

use super::{StoreError, now_ms, rows};

/// What one model costs, in pico-USD per token.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PriceRow {
    /// Name of the provider or vendor; empty = any.
    pub provider: String,
    /// The model, or a pattern.
    pub model: String,
    /// Input.
    pub input: i64,
    /// Output.
    pub output: i64,
    /// Input read from a prompt cache.
    pub cache_read: Option<i64>,
    /// Input written to a prompt cache.
    pub cache_write: Option<i64>,
    /// Input written to a prompt cache for an hour.
    pub cache_write_1h: Option<i64>,
    /// Reasoning, where it is priced apart from other output.
    pub reasoning: Option<i64>,
    /// Audio input.
    pub audio_in: Option<i64>,
    /// Image input.
    pub image_in: Option<i64>,
    /// Prices for long contexts, as the caller wrote them.
    pub tiers: Option<Value>,
    /// Where it comes from: `user`, `import`.
    pub source: String,
    /// Unix milliseconds, the row's version; set by [`put`].
    pub updated_at_ms: i64,
}

const COLUMNS: &str = "provider, model, input, output, cache_read, cache_write, cache_write_1h, reasoning, audio_in, \
                       image_in, tiers, source, updated_at_ms";

fn read(row: &Row<'_>) -> rusqlite::Result<PriceRow> {
    Ok(PriceRow {
        provider: row.get(0)?,
        model: row.get(1)?,
        input: row.get(2)?,
        output: row.get(3)?,
        cache_read: row.get(4)?,
        cache_write: row.get(5)?,
        cache_write_1h: row.get(6)?,
        reasoning: row.get(7)?,
        audio_in: row.get(8)?,
        image_in: row.get(9)?,
        tiers: rows::json_or(row, 10)?,
        source: row.get(11)?,
        updated_at_ms: row.get(12)?,
    })
}

/// Adds a price or replaces the one of that provider and model; sets the version in `row`.
///
/// # Errors
/// Only those of the database.
pub fn put(conn: &Connection, row: &mut PriceRow) -> Result<(), StoreError> {
    let sql = format!(
        "INSERT INTO pricing ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
         ON CONFLICT (provider, model) DO UPDATE SET input = ?3, output = ?4, cache_read = ?5, cache_write = ?6,
             cache_write_1h = ?7, reasoning = ?8, audio_in = ?9, image_in = ?10, tiers = ?11, source = ?12,
             updated_at_ms = max(?13, updated_at_ms + 1)
         RETURNING updated_at_ms"
    );
    row.updated_at_ms = conn.prepare_cached(&sql)?.query_row(
        params![
            row.provider,
            row.model,
            row.input,
            row.output,
            row.cache_read,
            row.cache_write,
            row.cache_write_1h,
            row.reasoning,
            row.audio_in,
            row.image_in,
            row.tiers.as_ref().map(rows::text).transpose()?,
            row.source,
            now_ms(),
        ],
        |row| row.get(0),
    )?;
    Ok(())
}

/// One price.
///
/// # Errors
/// [`StoreError::NotFound`].
pub fn get(conn: &Connection, provider: &str, model: &str) -> Result<PriceRow, StoreError> {
    let mut select =
        conn.prepare_cached(&format!("SELECT {COLUMNS} FROM pricing WHERE provider = ?1 AND model = ?2"))?;
    Ok(select.query_row([provider, model], read)?)
}

/// All prices, by provider and model.
///
/// # Errors
/// Only those of the database.
pub fn list(conn: &Connection) -> Result<Vec<PriceRow>, StoreError> {
    let mut select = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM pricing ORDER BY provider, model"))?;
    let all = select.query_map([], read)?.collect::<Result<Vec<_>, _>>()?;
    Ok(all)
}

/// Removes a price.
///
/// # Errors
/// [`StoreError::NotFound`].
pub fn delete(conn: &Connection, provider: &str, model: &str) -> Result<(), StoreError> {
    let mut delete = conn.prepare_cached("DELETE FROM pricing WHERE provider = ?1 AND model = ?2")?;
    rows::found(delete.execute([provider, model])?)
}

/// Removes all prices of one source, before an import replaces them. Returns how many there were.
///
/// # Errors
/// Only those of the database.
pub fn clear(conn: &Connection, source: &str) -> Result<usize, StoreError> {
    Ok(conn.prepare_cached("DELETE FROM pricing WHERE source = ?1")?.execute([source])?)
}
