//! Backups: whole databases in folders of their own, made while the program runs.
//!
//! ```text
//!   backups/manual-20260102T030405Z/data.sqlite    VACUUM INTO, so that it is compact and needs no log beside it
//!   backups/manual-20260102T030405Z/meta.json      label, time, versions, size, SHA-256
//! ```
//!
//! A folder appears whole, by a rename. Secrets in a backup stay sealed; the key file is not part of it. A restore checks
//! the backup first, keeps a snapshot of what it replaces, and is one transaction: readers see the state before or after.

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::{Context, SHA256};
use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, backup::StepResult};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{
    BUSY, FILE as DATA, Options, Store, StoreError, connect, digest::hex, schema, sessions, vault::Resealed,
    writer::Command,
};
use crate::files;

/// Backups that are kept per label, unless the caller says otherwise.
const KEEP: &[(&str, usize)] =
    &[("manual", 10), ("auto", 7), ("pre-migrate", 5), ("pre-restore", 3), ("pre-import", 3)];
/// The same for other labels.
const KEEP_OTHER: usize = 10;
/// Longest label, in characters.
const LABEL_MAX: usize = 32;
/// File with the facts of a backup.
const META: &str = "meta.json";

/// A backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// Name of its folder: label and time.
    pub name: String,
    /// Why it was made: `manual`, `auto`, `pre-migrate`, `pre-restore`, `pre-import`, or the user's word.
    pub label: String,
    /// Unix milliseconds.
    pub created_at_ms: i64,
    /// The program's version that made it.
    pub app_version: String,
    /// The version of its tables.
    pub schema_version: u32,
    /// Size of its database, in bytes.
    pub size_bytes: u64,
    /// SHA-256 of its database, in hexadecimal.
    pub sha256: String,
}

/// `meta.json`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    label: String,
    /// RFC 3339.
    created_at: String,
    app_version: String,
    schema_version: u32,
    size_bytes: u64,
    sha256: String,
}

/// What a restore did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// What was restored.
    pub backup: Backup,
    /// The snapshot of what was there before.
    pub before: Option<Backup>,
    /// Migrations that the restored database needed.
    pub migrated: usize,
    /// Secrets that were sealed with an older key, and how many cannot be opened.
    pub secrets: Resealed,
}

/// Backups of one store. The work is done outside the async runtime's workers.
#[derive(Debug, Clone)]
pub struct Backups {
    store: Store,
    options: Options,
}

impl Backups {
    pub(super) fn new(store: Store) -> Self {
        let options = Options::new(store.dir());
        Self { store, options }
    }

    /// Makes a backup and removes the oldest of its label beyond `keep`, or beyond what is usual for the label.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for labels other than 1 to 32 of `a-z`, `0-9` and `-`; [`StoreError::Full`].
    pub async fn create(&self, label: &str, keep: Option<usize>) -> Result<Backup, StoreError> {
        self.store.database()?;
        let label = label.to_owned();
        self.run(move |options| create(options, &label, keep)).await
    }

    /// All backups, the newest first.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub async fn list(&self) -> Result<Vec<Backup>, StoreError> {
        self.run(list).await
    }

    /// Reads a backup wholly and says what is wrong with it; nothing is, if the list is empty.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn verify(&self, name: &str) -> Result<Vec<String>, StoreError> {
        let name = name.to_owned();
        self.run(move |options| verify(options, &name)).await
    }

    /// Removes a backup.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn delete(&self, name: &str) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.run(move |options| delete(options, &name)).await
    }

    /// The database's file of a backup, for a download.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn file(&self, name: &str) -> Result<PathBuf, StoreError> {
        let name = name.to_owned();
        self.run(move |options| Ok(find(options, &name)?.1.join(DATA))).await
    }

    /// Puts a backup in the place of the database. Sessions stay as they are now. The caller builds its snapshot of the
    /// configuration anew afterwards.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Corrupt`] if the backup is damaged; [`StoreError::Invalid`] if a newer
    /// program made it; [`StoreError::Full`]. The database is then as before.
    pub async fn restore(&self, name: &str) -> Result<Restored, StoreError> {
        let commands = self.store.database()?.commands.clone();
        let wanted = name.to_owned();
        let (backup, before, data) = self
            .run(move |options| {
                let (backup, folder) = sound(options, &wanted)?;
                let before = create(options, "pre-restore", None)?;
                Ok((backup, before, folder.join(DATA)))
            })
            .await?;
        let vault = self.store.vault().clone();
        let (reply, answer) = oneshot::channel();
        let work = move |conn: Result<&mut Connection, StoreError>| {
            let done = conn.and_then(|conn| {
                let kept = sessions::list(conn, 0)?;
                connect::full(conn)?;
                copy_into(&data, conn)?;
                let found = schema::version(conn)?;
                let migrated = schema::migrate(conn, found, schema::MIGRATIONS);
                let migrated = migrated.map_err(|error| StoreError::Other(error.to_string()))?;
                let tx = conn.unchecked_transaction()?;
                sessions::delete_all(&tx, None, None)?;
                for session in &kept {
                    sessions::insert(&tx, session)?;
                }
                let secrets = vault.seal_again(&tx)?;
                tx.commit()?;
                Ok((migrated, secrets))
            });
            // The receiver may be gone: the restore is done all the same.
            let _ = reply.send(done);
        };
        commands.send(Command::Alone(Box::new(work))).await.map_err(|_| StoreError::Closed)?;
        let (migrated, secrets) = answer.await.map_err(|_| StoreError::Closed)??;
        Ok(Restored { backup, before: Some(before), migrated, secrets })
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Options) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let options = self.options.clone();
        tokio::task::spawn_blocking(move || work(&options))
            .await
            .map_err(|error| StoreError::Other(error.to_string()))?
    }
}

/// See [`Backups::create`]; blocks.
///
/// # Errors
/// As there.
pub fn create(options: &Options, label: &str, keep: Option<usize>) -> Result<Backup, StoreError> {
    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if label.is_empty() || label.len() > LABEL_MAX || !label.chars().all(valid) {
        let message = "a label has 1 to 32 of a-z, 0-9 and -".to_owned();
        return Err(StoreError::Invalid { field: "label".to_owned(), message });
    }
    if !options.database().exists() {
        return Err(StoreError::NotFound);
    }
    let conn = open_for_copy(&options.database())?;
    let backup = write(options, &conn, label)?;
    prune(options, label, keep)?;
    Ok(backup)
}

/// A connection that `VACUUM INTO` works on. It writes nothing to its own database.
pub(super) fn open_for_copy(path: &Path) -> Result<Connection, StoreError> {
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    conn.busy_timeout(BUSY)?;
    Ok(conn)
}

pub(super) fn write(options: &Options, conn: &Connection, label: &str) -> Result<Backup, StoreError> {
    let backups = options.backups();
    files::private_dir(&backups)?;
    let (name, folder, created_at) = free_name(&backups, label)?;
    let passing = backups.join(format!("{name}.tmp"));
    let written = (|| {
        files::private_dir(&passing)?;
        let data = passing.join(DATA);
        // Made beforehand: SQLite would let others read it. It takes an empty file.
        files::private().write(true).create_new(true).open(&data)?;
        let target =
            data.to_str().ok_or_else(|| StoreError::Other("the data folder's name is not UTF-8".to_owned()))?;
        conn.execute("VACUUM INTO ?1", [target])?;
        File::open(&data)?.sync_all()?;
        let backup = Backup {
            name,
            label: label.to_owned(),
            created_at_ms: created_at.as_millisecond(),
            app_version: env!("CARGO_PKG_VERSION").to_owned(),
            schema_version: schema::version(conn)?,
            size_bytes: fs::metadata(&data)?.len(),
            sha256: sha256(&data)?,
        };
        let meta = Meta {
            label: backup.label.clone(),
            created_at: created_at.to_string(),
            app_version: backup.app_version.clone(),
            schema_version: backup.schema_version,
            size_bytes: backup.size_bytes,
            sha256: backup.sha256.clone(),
        };
        let text = serde_json::to_vec_pretty(&meta).map_err(|error| StoreError::Other(error.to_string()))?;
        files::replace(&passing.join(META), &text)?;
        fs::rename(&passing, &folder)?;
        files::sync_parent(&folder)?;
        Ok(backup)
    })();
    if written.is_err() {
        // What there is of it is useless, and may be what filled the disk.
        let _ = fs::remove_dir_all(&passing);
    }
    written
}

/// A name that is not taken: the time has whole seconds, so that a second backup in one gets a number.
fn free_name(backups: &Path, label: &str) -> Result<(String, PathBuf, Timestamp), StoreError> {
    let now = Timestamp::from_millisecond(super::now_ms()).map_err(|error| StoreError::Other(error.to_string()))?;
    let time = now.strftime("%Y%m%dT%H%M%SZ");
    for number in 1..1000 {
        let suffix = if number == 1 { String::new() } else { format!("-{number}") };
        let name = format!("{label}-{time}{suffix}");
        let folder = backups.join(&name);
        if !folder.exists() && !backups.join(format!("{name}.tmp")).exists() {
            return Ok((name, folder, now));
        }
    }
    Err(StoreError::Other("too many backups in one second".to_owned()))
}

/// See [`Backups::list`]; blocks. Folders that are no backups are passed over.
///
/// # Errors
/// As there.
pub fn list(options: &Options) -> Result<Vec<Backup>, StoreError> {
    let entries = match fs::read_dir(options.backups()) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut all = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        if let Some(name) = name.to_str()
            && let Ok((backup, _)) = find(options, name)
        {
            all.push(backup);
        }
    }
    all.sort_by(|a, b| (b.created_at_ms, &b.name).cmp(&(a.created_at_ms, &a.name)));
    Ok(all)
}

/// A backup by its name, and its folder. A name is never more than one plain path component.
fn find(options: &Options, name: &str) -> Result<(Backup, PathBuf), StoreError> {
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if name.is_empty() || name.len() > 80 || !name.chars().all(valid) {
        return Err(StoreError::NotFound);
    }
    let folder = options.backups().join(name);
    let meta: Meta = serde_json::from_slice(&fs::read(folder.join(META))?).map_err(|_| StoreError::NotFound)?;
    let created_at: Timestamp = meta.created_at.parse().map_err(|_| StoreError::NotFound)?;
    let backup = Backup {
        name: name.to_owned(),
        label: meta.label,
        created_at_ms: created_at.as_millisecond(),
        app_version: meta.app_version,
        schema_version: meta.schema_version,
        size_bytes: meta.size_bytes,
        sha256: meta.sha256,
    };
    Ok((backup, folder))
}

/// See [`Backups::verify`]; blocks.
///
/// # Errors
/// As there.
pub fn verify(options: &Options, name: &str) -> Result<Vec<String>, StoreError> {
    let (backup, folder) = find(options, name)?;
    let data = folder.join(DATA);
    let mut wrong = Vec::new();
    if sha256(&data)? != backup.sha256 {
        wrong.push("the file was changed: its SHA-256 is not the one in meta.json".to_owned());
    }
    let looked = (|| {
        let conn = open_for_copy(&data)?;
        wrong.extend(schema::faults(&conn)?);
        let id: i32 = conn.pragma_query_value(None, "application_id", |row| row.get(0))?;
        if id != schema::APPLICATION_ID {
            wrong.push("it is a database of another program".to_owned());
        }
        let version = schema::version(&conn)?;
        if version != backup.schema_version {
            wrong.push(format!("its version is {version}, meta.json says {}", backup.schema_version));
        }
        Ok::<_, StoreError>(())
    })();
    if let Err(error) = looked {
        wrong.push(error.to_string());
    }
    Ok(wrong)
}

/// A backup that may be restored, and its folder.
fn sound(options: &Options, name: &str) -> Result<(Backup, PathBuf), StoreError> {
    let (backup, folder) = find(options, name)?;
    let wrong = verify(options, name)?;
    if !wrong.is_empty() {
        return Err(StoreError::Corrupt(wrong.join("; ")));
    }
    if backup.schema_version > schema::HEAD {
        let message = format!(
            "a newer program made it (version {} of the tables; this one knows {})",
            backup.schema_version,
            schema::HEAD
        );
        return Err(StoreError::Invalid { field: "name".to_owned(), message });
    }
    Ok((backup, folder))
}

/// Copies a database over another one, in one transaction of the latter.
fn copy_into(from: &Path, to: &mut Connection) -> Result<(), StoreError> {
    let from = open_for_copy(from)?;
    let backup = rusqlite::backup::Backup::new(&from, to)?;
    match backup.step(-1)? {
        StepResult::Done => Ok(()),
        StepResult::Busy | StepResult::Locked => Err(StoreError::Locked),
        _ => Err(StoreError::Other("the copy ended early".to_owned())),
    }
}

/// Puts a backup in the place of a database that no program has open, also if that one is damaged or newer. What was
/// there is kept: as a backup if it can be read, else beside the database.
///
/// # Errors
/// As [`Backups::restore`].
pub fn restore_offline(options: &Options, name: &str) -> Result<Restored, StoreError> {
    let (backup, folder) = sound(options, name)?;
    let database = options.database();
    files::private_dir(database.parent().unwrap_or(&options.dir))?;
    let new = database.with_extension("restoring");
    fs::copy(folder.join(DATA), &new)?;
    files::make_private(&new)?;
    File::open(&new)?.sync_all()?;

    let aside = database.with_file_name(format!("damaged-{}", super::now_ms()));
    let before = if !database.exists() {
        None
    } else {
        // Beforehand: a look at a database whose log cannot be applied may take the log away.
        let looked = set_aside(&database, &aside, &["-wal", "-shm"]).and_then(|()| settle(&database));
        match looked.and_then(|()| create(options, "pre-restore", None)) {
            Ok(before) => {
                fs::remove_dir_all(&aside)?;
                Some(before)
            }
            Err(StoreError::Full) => {
                fs::remove_file(&new)?;
                // What there is of it is useless, and the database is as before.
                let _ = fs::remove_dir_all(&aside);
                return Err(StoreError::Full);
            }
            Err(error) => {
                tracing::warn!(%error, "the replaced database cannot be read; its files are kept");
                set_aside(&database, &aside, &[""])?;
                None
            }
        }
    };
    // Log and index belong to the replaced file; with the new one they would destroy it.
    for beside in ["-wal", "-shm"] {
        files::remove(&files::with_suffix(&database, beside))?;
    }
    fs::rename(&new, &database)?;
    files::sync_parent(&database)?;
    Ok(Restored { backup, before, migrated: 0, secrets: Resealed::default() })
}

/// Copies a database's log into it, so that the file alone is the database.
pub(super) fn settle(database: &Path) -> Result<(), StoreError> {
    let conn = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    conn.busy_timeout(BUSY)?;
    let busy: i64 = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if busy == 0 { Ok(()) } else { Err(StoreError::Locked) }
}

/// Copies files of a database into the folder `aside`: those with these endings, and only those that there are. The
/// database itself stays until it is replaced, so that there is one at every moment.
fn set_aside(database: &Path, aside: &Path, endings: &[&str]) -> Result<(), StoreError> {
    files::private_dir(aside)?;
    for ending in endings {
        let from = files::with_suffix(database, ending);
        if from.exists() {
            fs::copy(&from, aside.join(format!("{DATA}{ending}")))?;
        }
    }
    Ok(())
}

/// See [`Backups::delete`]; blocks.
///
/// # Errors
/// As there.
pub fn delete(options: &Options, name: &str) -> Result<(), StoreError> {
    let (_, folder) = find(options, name)?;
    // First out of the list, so that half a folder never looks like a backup.
    fs::remove_file(folder.join(META))?;
    fs::remove_dir_all(folder)?;
    Ok(())
}

fn prune(options: &Options, label: &str, keep: Option<usize>) -> Result<(), StoreError> {
    let usual = KEEP.iter().find(|(known, _)| *known == label).map_or(KEEP_OTHER, |(_, keep)| *keep);
    let keep = keep.unwrap_or(usual).max(1);
    for old in list(options)?.iter().filter(|backup| backup.label == label).skip(keep) {
        delete(options, &old.name)?;
    }
    Ok(())
}

/// Name of the newest backup that this program can restore.
pub(super) fn newest_fitting(options: &Options) -> Option<String> {
    let all = list(options).unwrap_or_default();
    all.into_iter().find(|backup| backup.schema_version <= schema::HEAD).map(|backup| backup.name)
}

fn sha256(path: &Path) -> Result<String, StoreError> {
    let mut file = File::open(path)?;
    let mut context = Context::new(&SHA256);
    let mut block = vec![0; 64 * 1024];
    loop {
        match file.read(&mut block)? {
            0 => break,
            read => context.update(&block[..read]),
        }
    }
    Ok(hex(context.finish().as_ref()))
}
