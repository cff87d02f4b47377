//! Numbers of `dim` back to texts, and patterns to numbers.

use std::{collections::HashMap, sync::Arc};

use rusqlite::{Connection, OptionalExtension, params};

use super::write::Kind;

/// Texts that were looked up. Kept over the pages of one answer; it never holds more than `dim` does.
#[derive(Debug, Default)]
pub struct Names {
    known: HashMap<i64, Option<Arc<str>>>,
}

impl Names {
    /// The text of a number; 0 stands for none.
    pub(super) fn of(&mut self, conn: &Connection, id: i64) -> rusqlite::Result<Option<Arc<str>>> {
        if id == 0 {
            return Ok(None);
        }
        if let Some(known) = self.known.get(&id) {
            return Ok(known.clone());
        }
        let mut select = conn.prepare_cached("SELECT value FROM dim WHERE id = ?1")?;
        let name: Option<Arc<str>> = select.query_row([id], |row| row.get::<_, Arc<str>>(0)).optional()?;
        self.known.insert(id, name.clone());
        Ok(name)
    }
}

/// The numbers of all texts of a kind that `pattern` covers, in order: as it is, or with `*` for any text. Letters' case
/// counts not.
pub(super) fn matching(conn: &Connection, kind: Kind, pattern: &str) -> rusqlite::Result<Vec<i64>> {
    let mut select = conn.prepare_cached("SELECT id FROM dim WHERE kind = ?1 AND lower(value) GLOB ?2 ORDER BY id")?;
    let ids = select.query_map(params![kind as u8, glob(pattern)], |row| row.get(0))?;
    ids.collect()
}

/// A pattern as SQLite's GLOB understands it: only `*` is special.
fn glob(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    for char in pattern.to_lowercase().chars() {
        match char {
            '?' | '[' => out.extend(['[', char, ']']),
            other => out.push(other),
        }
    }
    out
}
