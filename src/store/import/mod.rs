//! Takes over what the Go program has kept: providers, keys, combos, aliases, tags, prices, two settings and the sums of
//! usage per day. Its file is read only, and kept.
//!
//! ```text
//!   read the old file ─▶ write db/data.importing.sqlite ─▶ keep the old one as db/data.legacy.sqlite ─▶ rename
//! ```
//!
//! At every moment there is one whole database at its place. What has no place here yet is named in the result.

mod read;

use std::{
    collections::{BTreeSet, HashSet},
    fmt, fs,
    path::Path,
};

use rusqlite::Connection;

use read::{Legacy, LegacyKey};

use super::{
    Options, StoreError, Vault,
    audit::{self, AuditRow},
    backup, combos, connect, keys, now_ms, offline, pricing, providers, schema, settings, tags, usage,
};
use crate::files;

/// Note that sums were taken over: unlike names they would be added twice.
const SUMS: &str = "legacy_sums_ms";

/// What was, or would be, taken over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imported {
    /// Providers.
    pub providers: usize,
    /// Callers' keys.
    pub keys: usize,
    /// Combos.
    pub combos: usize,
    /// Aliases.
    pub aliases: usize,
    /// Tags.
    pub tags: usize,
    /// Prices that the user had set.
    pub prices: usize,
    /// Settings.
    pub settings: usize,
    /// Sums of usage: one per day, provider, model and key.
    pub sums: usize,
    /// What was not, or not as it was, for people.
    pub notes: Vec<String>,
}

impl fmt::Display for Imported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { providers, keys, combos, aliases, tags, prices, settings, sums, notes } = self;
        write!(
            f,
            "{providers} providers, {keys} keys, {combos} combos, {aliases} aliases, {tags} tags, {prices} prices, \
             {settings} settings, {sums} sums of usage"
        )?;
        notes.iter().try_for_each(|note| write!(f, "\n  note: {note}"))
    }
}

/// Takes over the database at `from`, or the one in the data folder, which is then replaced. Blocks.
///
/// # Errors
/// [`StoreError::NotFound`] if there is no such database, [`StoreError::Invalid`] if it is not the Go program's; those of
/// the disk. Then everything is as before.
pub fn legacy(options: &Options, from: Option<&Path>, dry_run: bool) -> Result<Imported, StoreError> {
    let database = options.database();
    let source = from.unwrap_or(&database);
    if !source.exists() {
        return Err(StoreError::NotFound);
    }
    let old = backup::open_for_copy(source)?;
    if !connect::is_legacy(&old)? {
        let message = format!("{} is not a database of the Go program", source.display());
        return Err(StoreError::Invalid { field: "from".to_owned(), message });
    }
    let legacy = read::read(&old, &LegacyKey::beside(source))?;
    if dry_run {
        return Ok(legacy.counted());
    }
    if source != database {
        let exists = database.exists();
        let mut conn = if exists { offline::open(options)? } else { made(options, &database)? };
        if exists {
            backup::create(options, "pre-import", None)?;
        }
        let vault = vault(options)?;
        return fill(&mut conn, &vault, legacy);
    }
    backup::write(options, &old, "legacy")?;
    drop(old);
    let new = database.with_file_name("data.importing.sqlite");
    for suffix in ["", "-wal", "-shm"] {
        files::remove(&files::with_suffix(&new, suffix))?;
    }
    let mut conn = made(options, &new)?;
    let vault = vault(options)?;
    // The old key sealed with another cipher: a fresh one for ours.
    vault.append_key()?;
    let imported = fill(&mut conn, &vault, legacy)?;
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    drop(conn);

    backup::settle(&database)?;
    let kept = (1..).map(|n| if n == 1 { "data.legacy.sqlite".to_owned() } else { format!("data.legacy-{n}.sqlite") });
    let kept = kept.map(|name| database.with_file_name(name)).find(|path| !path.exists());
    let kept = kept.ok_or_else(|| StoreError::Other("no free name for the old database".to_owned()))?;
    if fs::hard_link(&database, &kept).is_err() {
        fs::copy(&database, &kept)?;
    }
    for suffix in ["-wal", "-shm"] {
        files::remove(&files::with_suffix(&database, suffix))?;
    }
    fs::rename(&new, &database)?;
    files::sync_parent(&database)?;
    Ok(imported)
}

/// A new database at `path`.
fn made(options: &Options, path: &Path) -> Result<Connection, StoreError> {
    let said = |error: super::OpenError| StoreError::Other(error.to_string());
    files::private_dir(path.parent().unwrap_or(&options.dir))?;
    let mut conn = connect::writer(path, options.busy).map_err(said)?;
    schema::bring_up(&mut conn, options, schema::MIGRATIONS).map_err(said)?;
    Ok(conn)
}

fn vault(options: &Options) -> Result<Vault, StoreError> {
    Vault::load(options, true).map_err(|error| StoreError::Key(error.to_string()))
}

impl Legacy {
    fn counted(self) -> Imported {
        Imported {
            providers: self.providers.len(),
            keys: self.keys.len(),
            combos: self.combos.len(),
            aliases: self.aliases.len(),
            tags: self.tags.len(),
            prices: self.prices.len(),
            settings: self.settings.len(),
            sums: self.sums.len(),
            notes: self.notes,
        }
    }
}

/// Writes everything in one transaction. What has a name that is taken already is left out, with a note.
fn fill(conn: &mut Connection, vault: &Vault, mut legacy: Legacy) -> Result<Imported, StoreError> {
    connect::full(conn)?;
    let tx = conn.transaction()?;
    let mut notes = std::mem::take(&mut legacy.notes);
    // A statement that fails leaves nothing behind, and the transaction goes on.
    let mut taken = |what: String, done: Result<(), StoreError>| match done {
        Ok(()) => Ok(true),
        Err(StoreError::Taken { .. }) => {
            notes.push(format!("{what} is left out: there is one already"));
            Ok(false)
        }
        Err(error) => Err(error),
    };
    let mut tag_names: BTreeSet<String> = tags::list(&tx)?.into_iter().map(|tag| tag.name.to_lowercase()).collect();
    retain(&mut legacy.tags, |tag| {
        Ok(tag_names.insert(tag.name.to_lowercase()) && tags::insert(&tx, tag).map(|()| true)?)
    })?;
    retain(&mut legacy.providers, |row| {
        taken(format!("the provider {}", row.name), providers::insert(&tx, vault, row))
    })?;
    retain(&mut legacy.keys, |row| taken(format!("the key {}", row.name), keys::insert(&tx, row)))?;
    retain(&mut legacy.combos, |row| taken(format!("the combo {}", row.name), combos::insert(&tx, row)))?;
    let there: HashSet<String> = legacy.providers.iter().map(|row| row.id.clone()).collect();
    retain(&mut legacy.aliases, |row| {
        if combos::alias(&tx, &row.alias).is_ok() {
            return taken(format!("the alias {}", row.alias), Err(StoreError::Taken { field: "alias" }));
        }
        row.provider_id = row.provider_id.take().filter(|id| there.contains(id));
        combos::put_alias(&tx, row, None).map(|_| true)
    })?;
    retain(&mut legacy.prices, |row| pricing::put(&tx, row).map(|()| true))?;
    retain(&mut legacy.settings, |(key, value)| settings::set(&tx, key, value).map(|()| true))?;
    if schema::noted(&tx, SUMS)?.is_some() {
        legacy.sums.clear();
        notes.push("sums of usage are left out: an import has brought them already".to_owned());
    }
    usage::add_days(&tx, &legacy.sums)?;
    if !legacy.sums.is_empty() {
        schema::note(&tx, SUMS, &now_ms().to_string())?;
    }
    let imported = Imported { notes, ..legacy.counted() };
    let mut entry = AuditRow {
        ts_ms: now_ms(),
        actor: "command line".to_owned(),
        action: "database.import".to_owned(),
        detail: Some(serde_json::json!({ "result": imported.to_string() })),
        ..AuditRow::default()
    };
    audit::append(&tx, &mut entry)?;
    tx.commit()?;
    Ok(imported)
}

/// Keeps what `put` has put.
fn retain<T>(rows: &mut Vec<T>, mut put: impl FnMut(&mut T) -> Result<bool, StoreError>) -> Result<(), StoreError> {
    let mut kept = Vec::with_capacity(rows.len());
    for mut row in rows.drain(..) {
        if put(&mut row)? {
            kept.push(row);
        }
    }
    *rows = kept;
    Ok(())
}
