//! Tags, and what carries them.

use std::collections::HashMap;

use rusqlite::{Connection, Row, params};

use super::{StoreError, new_id, now_ms, rows};

/// A tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagRow {
    /// UUIDv7; made by [`insert`] if it is empty.
    pub id: String,
    /// Unique without regard to case.
    pub name: String,
    /// `#rrggbb`, or empty.
    pub color: String,
    /// What it is for: `generic`, `provider`, `combo`, `model`.
    pub kind: String,
    /// How many things carry it; not written.
    pub uses: u64,
    /// Unix milliseconds; set by [`insert`].
    pub created_at_ms: i64,
    /// Unix milliseconds, the row's version; set by [`insert`] and [`update`].
    pub updated_at_ms: i64,
}

impl Default for TagRow {
    fn default() -> Self {
        Self {
            id: String::new(),
            name: String::new(),
            color: String::new(),
            kind: "generic".to_owned(),
            uses: 0,
            created_at_ms: 0,
            updated_at_ms: 0,
        }
    }
}

const SELECT: &str = "SELECT id, name, color, kind, created_at_ms, updated_at_ms,
                          (SELECT count(*) FROM taggings WHERE tag_id = id) FROM tags";

fn read(row: &Row<'_>) -> rusqlite::Result<TagRow> {
    Ok(TagRow {
        id: row.get(0)?,
        name: row.get(1)?,
        color: row.get(2)?,
        kind: row.get(3)?,
        created_at_ms: row.get(4)?,
        updated_at_ms: row.get(5)?,
        uses: row.get::<_, i64>(6)?.unsigned_abs(),
    })
}

/// Adds a tag; fills in `id` and the times.
///
/// # Errors
/// [`StoreError::Taken`] for its name.
pub fn insert(conn: &Connection, row: &mut TagRow) -> Result<(), StoreError> {
    if row.id.is_empty() {
        row.id = new_id();
    }
    row.created_at_ms = now_ms();
    row.updated_at_ms = row.created_at_ms;
    let mut insert = conn.prepare_cached(
        "INSERT INTO tags (id, name, color, kind, created_at_ms, updated_at_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?5)",
    )?;
    insert.execute(params![row.id, row.name, row.color, row.kind, row.created_at_ms])?;
    Ok(())
}

/// Replaces a tag; sets the new version in `row`.
///
/// # Errors
/// [`StoreError::NotFound`]; [`StoreError::Stale`] if the kept version is not `if_match`; [`StoreError::Taken`].
pub fn update(conn: &Connection, row: &mut TagRow, if_match: Option<i64>) -> Result<(), StoreError> {
    row.updated_at_ms = rows::next_version(conn, "tags", "id", &row.id, if_match)?;
    conn.prepare_cached("UPDATE tags SET name = ?2, color = ?3, kind = ?4, updated_at_ms = ?5 WHERE id = ?1")?
        .execute(params![row.id, row.name, row.color, row.kind, row.updated_at_ms])?;
    Ok(())
}

/// Removes a tag from everything that carries it, and then itself.
///
/// # Errors
/// [`StoreError::NotFound`]; [`StoreError::Stale`] if the kept version is not `if_match`.
pub fn delete(conn: &Connection, id: &str, if_match: Option<i64>) -> Result<(), StoreError> {
    rows::next_version(conn, "tags", "id", id, if_match)?;
    rows::found(conn.prepare_cached("DELETE FROM tags WHERE id = ?1")?.execute([id])?)
}

/// One tag.
///
/// # Errors
/// [`StoreError::NotFound`].
pub fn get(conn: &Connection, id: &str) -> Result<TagRow, StoreError> {
    Ok(conn.prepare_cached(&format!("{SELECT} WHERE id = ?1"))?.query_row([id], read)?)
}

/// All tags, by name.
///
/// # Errors
/// Only those of the database.
pub fn list(conn: &Connection) -> Result<Vec<TagRow>, StoreError> {
    let mut select = conn.prepare_cached(&format!("{SELECT} ORDER BY name"))?;
    let all = select.query_map([], read)?.collect::<Result<Vec<_>, _>>()?;
    Ok(all)
}

/// Puts a tag on a thing, or takes it off; either is done already without a word. Returns whether that changed anything.
///
/// # Errors
/// [`StoreError::NotFound`] if there is no such tag.
pub fn mark(conn: &Connection, id: &str, kind: &str, target: &str, on: bool) -> Result<bool, StoreError> {
    get(conn, id)?;
    let sql = match on {
        true => "INSERT OR IGNORE INTO taggings (tag_id, target_kind, target_id) VALUES (?1, ?2, ?3)",
        false => "DELETE FROM taggings WHERE tag_id = ?1 AND target_kind = ?2 AND target_id = ?3",
    };
    Ok(conn.prepare_cached(sql)?.execute([id, kind, target])? > 0)
}

/// What carries a tag: kind and id.
///
/// # Errors
/// Only those of the database.
pub fn targets(conn: &Connection, id: &str) -> Result<Vec<(String, String)>, StoreError> {
    let mut select = conn.prepare_cached(
        "SELECT target_kind, target_id FROM taggings WHERE tag_id = ?1 ORDER BY target_kind, target_id LIMIT 1000",
    )?;
    let all = select.query_map([id], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<Vec<_>, _>>()?;
    Ok(all)
}

/// Gives a thing exactly these tags; makes those that do not exist yet.
pub(super) fn set(conn: &Connection, kind: &str, target: &str, names: &[String]) -> Result<(), StoreError> {
    conn.prepare_cached("DELETE FROM taggings WHERE target_kind = ?1 AND target_id = ?2")?.execute([kind, target])?;
    for name in names {
        conn.prepare_cached(
            "INSERT INTO tags (id, name, color, kind, created_at_ms, updated_at_ms) VALUES (?1, ?2, '', 'generic', ?3, ?3)
             ON CONFLICT (name) DO NOTHING",
        )?
        .execute(params![new_id(), name, now_ms()])?;
        conn.prepare_cached(
            "INSERT OR IGNORE INTO taggings (tag_id, target_kind, target_id) SELECT id, ?1, ?2 FROM tags WHERE name = ?3",
        )?
        .execute([kind, target, name])?;
    }
    Ok(())
}

/// Names of a thing's tags, sorted.
pub(super) fn of(conn: &Connection, kind: &str, target: &str) -> Result<Vec<String>, StoreError> {
    let mut select = conn.prepare_cached(
        "SELECT name FROM taggings JOIN tags ON id = tag_id WHERE target_kind = ?1 AND target_id = ?2 ORDER BY name",
    )?;
    let names = select.query_map([kind, target], |row| row.get(0))?.collect::<Result<Vec<_>, _>>()?;
    Ok(names)
}

/// Names of the tags of all things of a kind, by their ids.
pub(super) fn by_target(conn: &Connection, kind: &str) -> Result<HashMap<String, Vec<String>>, StoreError> {
    let mut select = conn.prepare_cached(
        "SELECT target_id, name FROM taggings JOIN tags ON id = tag_id WHERE target_kind = ?1 ORDER BY name",
    )?;
    let mut tags: HashMap<String, Vec<String>> = HashMap::new();
    for row in select.query_map([kind], |row| Ok((row.get(0)?, row.get(1)?)))? {
        let (target, name) = row?;
        tags.entry(target).or_default().push(name);
    }
    Ok(tags)
}
