//! Combos and aliases: names that lead to models.

use std::collections::HashMap;

use rusqlite::{Connection, Row, params};

use super::{StoreError, new_id, now_ms, rows, tags};

/// Kind of taggings.
const KIND: &str = "combo";

/// A name for an ordered list of models.
#[derive(Debug, Clone, PartialEq)]
pub struct ComboRow {
    /// UUIDv7; made by [`insert`] if it is empty.
    pub id: String,
    /// Unique without regard to case.
    pub name: String,
    /// `priority`, `round_robin`, `random` or `cost_optimal`.
    pub strategy: String,
    /// `none`, `session` or `key`.
    pub sticky: String,
    /// After which failures the next entry is tried: `5xx`, `429`, `timeout`, `quota`.
    pub fallback_on: Vec<String>,
    /// Whether it is used.
    pub is_active: bool,
    /// For people.
    pub description: String,
    /// What is tried, in order.
    pub entries: Vec<ComboEntry>,
    /// Names of its tags.
    pub tags: Vec<String>,
    /// Unix milliseconds; set by [`insert`].
    pub created_at_ms: i64,
    /// Unix milliseconds, the row's version; set by [`insert`] and [`update`].
    pub updated_at_ms: i64,
}

impl Default for ComboRow {
    fn default() -> Self {
        Self {
            id: String::new(),
            name: String::new(),
            strategy: "priority".to_owned(),
            sticky: "none".to_owned(),
            fallback_on: ["5xx", "429", "timeout", "quota"].map(str::to_owned).to_vec(),
            is_active: true,
            description: String::new(),
            entries: Vec::new(),
            tags: Vec::new(),
            created_at_ms: 0,
            updated_at_ms: 0,
        }
    }
}

/// One step of a combo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComboEntry {
    /// A model, `provider/model`, or another combo's name.
    pub model: String,
    /// Id of the provider, if only that one.
    pub provider_id: Option<String>,
    /// Share of a random choice.
    pub weight: u32,
    /// Whether it is tried.
    pub enabled: bool,
}

const COLUMNS: &str = "id, name, strategy, sticky, fallback_on, is_active, description, created_at_ms, updated_at_ms";

fn read(row: &Row<'_>) -> rusqlite::Result<ComboRow> {
    Ok(ComboRow {
        id: row.get(0)?,
        name: row.get(1)?,
        strategy: row.get(2)?,
        sticky: row.get(3)?,
        fallback_on: rows::json(row, 4)?,
        is_active: row.get(5)?,
        description: row.get(6)?,
        entries: Vec::new(),
        tags: Vec::new(),
        created_at_ms: row.get(7)?,
        updated_at_ms: row.get(8)?,
    })
}

fn read_entry(row: &Row<'_>) -> rusqlite::Result<(String, ComboEntry)> {
    let entry = ComboEntry { model: row.get(1)?, provider_id: row.get(2)?, weight: row.get(3)?, enabled: row.get(4)? };
    Ok((row.get(0)?, entry))
}

/// Runs a statement whose parameters are the values of [`COLUMNS`], in their order; then the entries and tags.
fn put(conn: &Connection, sql: &str, combo: &ComboRow) -> Result<(), StoreError> {
    conn.prepare_cached(sql)?.execute(params![
        combo.id,
        combo.name,
        combo.strategy,
        combo.sticky,
        rows::text(&combo.fallback_on)?,
        combo.is_active,
        combo.description,
        combo.created_at_ms,
        combo.updated_at_ms,
    ])?;
    conn.prepare_cached("DELETE FROM combo_models WHERE combo_id = ?1")?.execute([&combo.id])?;
    let mut insert = conn.prepare_cached(
        "INSERT INTO combo_models (combo_id, pos, model, provider_id, weight, enabled) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    for (pos, entry) in (0_i64..).zip(&combo.entries) {
        insert.execute(params![combo.id, pos, entry.model, entry.provider_id, entry.weight, entry.enabled])?;
    }
    tags::set(conn, KIND, &combo.id, &combo.tags)
}

/// Adds a combo, its entries and its tags; fills in `id` and the times.
///
/// # Errors
/// [`StoreError::Taken`] for its name; [`StoreError::Invalid`] if an entry names a provider that does not exist.
pub fn insert(conn: &Connection, row: &mut ComboRow) -> Result<(), StoreError> {
    if row.id.is_empty() {
        row.id = new_id();
    }
    row.created_at_ms = now_ms();
    row.updated_at_ms = row.created_at_ms;
    put(conn, &format!("INSERT INTO combos ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"), row)
}

/// Replaces a combo, its entries and its tags; sets the new version in `row`.
///
/// # Errors
/// [`StoreError::NotFound`]; [`StoreError::Stale`] if the kept version is not `if_match`; as [`insert`].
pub fn update(conn: &Connection, row: &mut ComboRow, if_match: Option<i64>) -> Result<(), StoreError> {
    row.updated_at_ms = rows::next_version(conn, "combos", "id", &row.id, if_match)?;
    let sql =
        "UPDATE combos SET name = ?2, strategy = ?3, sticky = ?4, fallback_on = ?5, is_active = ?6, description = ?7,
        updated_at_ms = ?9 WHERE id = ?1";
    put(conn, sql, row)
}

/// Removes a combo, its entries and its tags.
///
/// # Errors
/// [`StoreError::InUse`] if other combos or aliases lead to its name; [`StoreError::NotFound`]; [`StoreError::Stale`].
pub fn delete(conn: &Connection, id: &str, if_match: Option<i64>) -> Result<(), StoreError> {
    rows::next_version(conn, "combos", "id", id, if_match)?;
    let mut select = conn.prepare_cached(
        "WITH gone AS (SELECT name FROM combos WHERE id = ?1)
         SELECT DISTINCT 'combo ' || combos.name FROM combo_models JOIN combos ON id = combo_id, gone
             WHERE model = gone.name COLLATE NOCASE AND provider_id IS NULL AND combo_id <> ?1
         UNION ALL SELECT 'alias ' || alias FROM model_aliases, gone
             WHERE model = gone.name COLLATE NOCASE AND provider_id IS NULL LIMIT 20",
    )?;
    let by = select.query_map([id], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    if !by.is_empty() {
        return Err(StoreError::InUse { by });
    }
    tags::set(conn, KIND, id, &[])?;
    rows::found(conn.prepare_cached("DELETE FROM combos WHERE id = ?1")?.execute([id])?)
}

/// One combo.
///
/// # Errors
/// [`StoreError::NotFound`].
pub fn get(conn: &Connection, id: &str) -> Result<ComboRow, StoreError> {
    let mut select = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM combos WHERE id = ?1"))?;
    let mut row = select.query_row([id], read)?;
    let mut select = conn.prepare_cached(
        "SELECT combo_id, model, provider_id, weight, enabled FROM combo_models WHERE combo_id = ?1 ORDER BY pos",
    )?;
    for entry in select.query_map([id], read_entry)? {
        row.entries.push(entry?.1);
    }
    row.tags = tags::of(conn, KIND, id)?;
    Ok(row)
}

/// All combos, by name.
///
/// # Errors
/// Only those of the database.
pub fn list(conn: &Connection) -> Result<Vec<ComboRow>, StoreError> {
    let mut select = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM combos ORDER BY name"))?;
    let mut all = select.query_map([], read)?.collect::<Result<Vec<_>, _>>()?;
    let mut entries: HashMap<String, Vec<ComboEntry>> = HashMap::new();
    let mut select = conn.prepare_cached(
        "SELECT combo_id, model, provider_id, weight, enabled FROM combo_models ORDER BY combo_id, pos",
    )?;
    for entry in select.query_map([], read_entry)? {
        let (combo, entry) = entry?;
        entries.entry(combo).or_default().push(entry);
    }
    let mut tags = tags::by_target(conn, KIND)?;
    for row in &mut all {
        row.entries = entries.remove(&row.id).unwrap_or_default();
        row.tags = tags.remove(&row.id).unwrap_or_default();
    }
    Ok(all)
}

/// Another name for one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AliasRow {
    /// Unique without regard to case.
    pub alias: String,
    /// Id of the provider, if only that one.
    pub provider_id: Option<String>,
    /// The model, `provider/model`, or a combo's name.
    pub model: String,
    /// Unix milliseconds; set by [`put_alias`].
    pub created_at_ms: i64,
    /// Unix milliseconds, the row's version; set by [`put_alias`].
    pub updated_at_ms: i64,
}

fn read_alias(row: &Row<'_>) -> rusqlite::Result<AliasRow> {
    Ok(AliasRow {
        alias: row.get(0)?,
        provider_id: row.get(1)?,
        model: row.get(2)?,
        created_at_ms: row.get(3)?,
        updated_at_ms: row.get(4)?,
    })
}

/// Adds an alias, or replaces the one of that name; fills in the times. Returns whether it is new.
///
/// # Errors
/// [`StoreError::Invalid`] if it names a provider that does not exist; [`StoreError::Stale`] if the kept version is not
/// `if_match`.
pub fn put_alias(conn: &Connection, row: &mut AliasRow, if_match: Option<i64>) -> Result<bool, StoreError> {
    let version = match rows::next_version(conn, "model_aliases", "alias", &row.alias, if_match) {
        Err(StoreError::NotFound) if if_match.is_none() => None,
        found => Some(found?),
    };
    row.updated_at_ms = version.unwrap_or_else(now_ms);
    conn.prepare_cached(
        "INSERT INTO model_aliases (alias, provider_id, model, created_at_ms, updated_at_ms) VALUES (?1, ?2, ?3, ?4, ?4)
         ON CONFLICT (alias) DO UPDATE SET alias = ?1, provider_id = ?2, model = ?3, updated_at_ms = ?4",
    )?
    .execute(params![row.alias, row.provider_id, row.model, row.updated_at_ms])?;
    *row = alias(conn, &row.alias)?;
    Ok(version.is_none())
}

/// One alias, by its name without regard to case.
///
/// # Errors
/// [`StoreError::NotFound`].
pub fn alias(conn: &Connection, alias: &str) -> Result<AliasRow, StoreError> {
    let mut select = conn.prepare_cached(
        "SELECT alias, provider_id, model, created_at_ms, updated_at_ms FROM model_aliases WHERE alias = ?1",
    )?;
    Ok(select.query_row([alias], read_alias)?)
}

/// All aliases, by name.
///
/// # Errors
/// Only those of the database.
pub fn aliases(conn: &Connection) -> Result<Vec<AliasRow>, StoreError> {
    let mut select = conn.prepare_cached(
        "SELECT alias, provider_id, model, created_at_ms, updated_at_ms FROM model_aliases ORDER BY alias",
    )?;
    let all = select.query_map([], read_alias)?.collect::<Result<Vec<_>, _>>()?;
    Ok(all)
}

/// Removes an alias.
///
/// # Errors
/// [`StoreError::NotFound`]; [`StoreError::Stale`] if the kept version is not `if_match`.
pub fn delete_alias(conn: &Connection, alias: &str, if_match: Option<i64>) -> Result<(), StoreError> {
    rows::next_version(conn, "model_aliases", "alias", alias, if_match)?;
    rows::found(conn.prepare_cached("DELETE FROM model_aliases WHERE alias = ?1")?.execute([alias])?)
}
