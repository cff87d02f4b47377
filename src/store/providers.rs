//! Providers: an upstream service each, with its credential sealed.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row, params};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::{Secret, StoreError, Vault, new_id, now_ms, rows, tags};

/// Kind of taggings.
const KIND: &str = "provider";
/// Step between priorities that a reorder gives, so that one can be put between two others.
const STEP: i64 = 10;

/// A provider as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct ProviderRow {
    /// UUIDv7; made by [`insert`] if it is empty.
    pub id: String,
    /// The preset or vendor: `openai`, `custom`.
    pub provider: String,
    /// Unique without regard to case; the prefix in `provider/model`.
    pub name: String,
    /// `api_key`, `subscription`, `oauth`, `cookie` or `none`.
    pub auth_type: String,
    /// Its dialect, if the preset does not say.
    pub format: Option<String>,
    /// Its address, if the preset does not say.
    pub base_url: Option<String>,
    /// The account, for people.
    pub email: Option<String>,
    /// Lower comes first.
    pub priority: i64,
    /// Whether it is used.
    pub is_active: bool,
    /// Model names and patterns that it serves.
    pub models: Vec<String>,
    /// Fields added to every request. Sealed, because they often carry credentials.
    pub headers: BTreeMap<String, Secret>,
    /// The credential. Sealed.
    pub api_key: Option<Secret>,
    /// Other keys of a provider (`flavour`, `stallTimeout`), as the caller wrote them. No secrets.
    pub data: Map<String, Value>,
    /// Names of its tags.
    pub tags: Vec<String>,
    /// The sealed values are there but no key of the vault opens them; `headers` and `api_key` are empty. An update that
    /// sets neither keeps them as they are.
    pub secret_lost: bool,
    /// Unix milliseconds; set by [`insert`].
    pub created_at_ms: i64,
    /// Unix milliseconds, the row's version; set by [`insert`] and [`update`].
    pub updated_at_ms: i64,
}

impl Default for ProviderRow {
    fn default() -> Self {
        Self {
            id: String::new(),
            provider: String::new(),
            name: String::new(),
            auth_type: "api_key".to_owned(),
            format: None,
            base_url: None,
            email: None,
            priority: 100,
            is_active: true,
            models: Vec::new(),
            headers: BTreeMap::new(),
            api_key: None,
            data: Map::new(),
            tags: Vec::new(),
            secret_lost: false,
            created_at_ms: 0,
            updated_at_ms: 0,
        }
    }
}

const COLUMNS: &str = "id, provider, name, auth_type, format, base_url, email, priority, is_active, models, data, secret, \
                       created_at_ms, updated_at_ms";

/// What is sealed.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sealed<'a> {
    #[serde(skip_serializing_if = "Option::is_none", borrow)]
    api_key: Option<std::borrow::Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", borrow)]
    headers: BTreeMap<std::borrow::Cow<'a, str>, std::borrow::Cow<'a, str>>,
}

fn seal(vault: &Vault, row: &ProviderRow) -> Result<Option<Vec<u8>>, StoreError> {
    if row.api_key.is_none() && row.headers.is_empty() {
        return Ok(None);
    }
    let clear = Sealed {
        api_key: row.api_key.as_ref().map(|key| key.expose().into()),
        headers: row.headers.iter().map(|(name, value)| (name.into(), value.expose().into())).collect(),
    };
    let clear = Zeroizing::new(serde_json::to_vec(&clear).map_err(|error| StoreError::Other(error.to_string()))?);
    vault.seal("providers", &row.id, "secret", &clear).map(Some)
}

fn read(vault: &Vault, row: &Row<'_>) -> rusqlite::Result<ProviderRow> {
    let mut provider = ProviderRow {
        id: row.get(0)?,
        provider: row.get(1)?,
        name: row.get(2)?,
        auth_type: row.get(3)?,
        format: row.get(4)?,
        base_url: row.get(5)?,
        email: row.get(6)?,
        priority: row.get(7)?,
        is_active: row.get(8)?,
        models: rows::json(row, 9)?,
        data: rows::json(row, 10)?,
        created_at_ms: row.get(12)?,
        updated_at_ms: row.get(13)?,
        ..ProviderRow::default()
    };
    if let Some(blob) = row.get_ref(11)?.as_blob_or_null()? {
        match vault.open("providers", &provider.id, "secret", blob) {
            Ok(clear) => match serde_json::from_slice::<Sealed<'_>>(&clear) {
                Ok(sealed) => {
                    provider.api_key = sealed.api_key.map(Secret::new);
                    provider.headers = sealed
                        .headers
                        .into_iter()
                        .map(|(name, value)| (name.into_owned(), Secret::new(value)))
                        .collect();
                }
                Err(_) => provider.secret_lost = true,
            },
            Err(_) => provider.secret_lost = true,
        }
    }
    Ok(provider)
}

/// Runs a statement whose parameters are the values of [`COLUMNS`], in their order.
fn put(conn: &Connection, sql: &str, vault: &Vault, row: &ProviderRow) -> Result<(), StoreError> {
    conn.prepare_cached(sql)?.execute(params![
        row.id,
        row.provider,
        row.name,
        row.auth_type,
        row.format,
        row.base_url,
        row.email,
        row.priority,
        row.is_active,
        rows::text(&row.models)?,
        rows::text(&row.data)?,
        seal(vault, row)?,
        row.created_at_ms,
        row.updated_at_ms,
    ])?;
    Ok(())
}

/// Adds a provider and its tags; fills in `id` and the times.
///
/// # Errors
/// [`StoreError::Taken`] for its name.
pub fn insert(conn: &Connection, vault: &Vault, row: &mut ProviderRow) -> Result<(), StoreError> {
    if row.id.is_empty() {
        row.id = new_id();
    }
    row.created_at_ms = now_ms();
    row.updated_at_ms = row.created_at_ms;
    let sql = format!(
        "INSERT INTO providers ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)"
    );
    put(conn, &sql, vault, row)?;
    tags::set(conn, KIND, &row.id, &row.tags)
}

/// Replaces a provider and its tags; sets the new version in `row`.
///
/// # Errors
/// [`StoreError::NotFound`]; [`StoreError::Stale`] if the kept version is not `if_match`; [`StoreError::Taken`].
pub fn update(
    conn: &Connection,
    vault: &Vault,
    row: &mut ProviderRow,
    if_match: Option<i64>,
) -> Result<(), StoreError> {
    row.updated_at_ms = rows::next_version(conn, "providers", "id", &row.id, if_match)?;
    // What cannot be opened stays as it is, unless there is something new.
    row.secret_lost &= row.api_key.is_none() && row.headers.is_empty();
    let secret = if row.secret_lost { "" } else { "secret = ?12, " };
    let sql = format!(
        "UPDATE providers SET provider = ?2, name = ?3, auth_type = ?4, format = ?5, base_url = ?6, email = ?7,
             priority = ?8, is_active = ?9, models = ?10, data = ?11, {secret}updated_at_ms = ?14 WHERE id = ?1"
    );
    put(conn, &sql, vault, row)?;
    tags::set(conn, KIND, &row.id, &row.tags)
}

/// Removes a provider and its tags.
///
/// # Errors
/// [`StoreError::InUse`] if combos or aliases name it by its id; [`StoreError::NotFound`]; [`StoreError::Stale`].
pub fn delete(conn: &Connection, id: &str, if_match: Option<i64>) -> Result<(), StoreError> {
    rows::next_version(conn, "providers", "id", id, if_match)?;
    let mut select = conn.prepare_cached(
        "SELECT DISTINCT 'combo ' || name FROM combo_models JOIN combos ON id = combo_id WHERE provider_id = ?1
         UNION ALL SELECT 'alias ' || alias FROM model_aliases WHERE provider_id = ?1 LIMIT 20",
    )?;
    let by = select.query_map([id], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    if !by.is_empty() {
        return Err(StoreError::InUse { by });
    }
    tags::set(conn, KIND, id, &[])?;
    rows::found(conn.prepare_cached("DELETE FROM providers WHERE id = ?1")?.execute([id])?)
}

/// One provider.
///
/// # Errors
/// [`StoreError::NotFound`].
pub fn get(conn: &Connection, vault: &Vault, id: &str) -> Result<ProviderRow, StoreError> {
    let mut select = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM providers WHERE id = ?1"))?;
    let mut row = select.query_row([id], |row| read(vault, row))?;
    row.tags = tags::of(conn, KIND, id)?;
    Ok(row)
}

/// All providers in the order in which they are tried: by priority, then by name.
///
/// # Errors
/// Only those of the database.
pub fn list(conn: &Connection, vault: &Vault) -> Result<Vec<ProviderRow>, StoreError> {
    let mut select = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM providers ORDER BY priority, name"))?;
    let mut all = select.query_map([], |row| read(vault, row))?.collect::<Result<Vec<_>, _>>()?;
    let mut tags = tags::by_target(conn, KIND)?;
    for row in &mut all {
        row.tags = tags.remove(&row.id).unwrap_or_default();
    }
    Ok(all)
}

/// Ids and names of all providers, without their secrets.
///
/// # Errors
/// Only those of the database.
pub fn names(conn: &Connection) -> Result<Vec<(String, String)>, StoreError> {
    let mut select = conn.prepare_cached("SELECT id, name FROM providers ORDER BY name")?;
    let all = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<Vec<_>, _>>()?;
    Ok(all)
}

/// Gives providers priorities in the order of `ids`; those not named come after them, in their old order.
///
/// # Errors
/// [`StoreError::NotFound`] if one of `ids` does not exist.
pub fn reorder(conn: &Connection, ids: &[String]) -> Result<(), StoreError> {
    let mut select = conn.prepare_cached("SELECT id FROM providers ORDER BY priority, name")?;
    let all = select.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    let mut order: Vec<&String> = Vec::with_capacity(all.len());
    for id in ids {
        let id = all.iter().find(|known| *known == id).ok_or(StoreError::NotFound)?;
        if !order.contains(&id) {
            order.push(id);
        }
    }
    let rest: Vec<&String> = all.iter().filter(|id| !order.contains(id)).collect();
    order.extend(rest);
    let mut update = conn.prepare_cached(
        "UPDATE providers SET priority = ?2, updated_at_ms = max(?3, updated_at_ms + 1) WHERE id = ?1 AND priority <> ?2",
    )?;
    let now = now_ms();
    for (position, id) in (1_i64..).zip(order) {
        update.execute(params![id, position * STEP, now])?;
    }
    Ok(())
}
