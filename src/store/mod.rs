//! The database: everything that must survive the program, and the only place that speaks SQL.
//!
//! One thread writes ([`Store::write`], and usage rows in batches), two read ([`Store::read`]); callers wait for channels,
//! never for SQLite. The path of requests uses neither: it reads a snapshot in memory and pushes into [`usage::Queue`].
//!
//! ```text
//!   API ──write──▶ commands (256) ──┐                       ┌─▶ db/data.sqlite ◀── readers ◀──read── API
//!   exchanges ──▶ usage::Queue ─────┴──▶ writer thread ─────┘         │
//!                 (65,536 rows, full = dropped and counted)           └──▶ backups/  (own connection)
//! ```
//!
//! What each table holds is in one file of that name: how rows look in Rust, and the statements. Secrets are sealed by the
//! [`Vault`]. What is *not* here: rules about configuration (`settings`), and what is kept in memory.

mod connect;
mod error;
mod guard;
mod opening;
mod reader;
mod rows;
mod schema;
mod upkeep;
mod vault;
mod writer;

pub mod audit;
pub mod backup;
pub mod combos;
pub mod config;
pub mod digest;
pub mod import;
pub mod keys;
pub mod models;
pub mod offline;
pub mod pricing;
pub mod providers;
pub mod sessions;
pub mod settings;
pub mod tags;
pub mod usage;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, atomic::Ordering, mpsc as std_mpsc},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::sync::{mpsc, oneshot, watch};

use crate::files;

pub use rusqlite::Connection;

pub use config::{ConfigRows, load_config, peek};
pub use error::{OpenError, StoreError};
pub use guard::Guard;
pub use schema::{MigrationRow, migrations};
pub use vault::{Resealed, Secret, Vault};
pub use writer::Change;

use reader::{Readers, Slots};
use upkeep::Upkeep;
use writer::{Command, Gauges, Parts, Write, Writer};

/// Folder of the database in the data folder.
const FOLDER: &str = "db";
/// Folder of backups in the data folder.
const BACKUPS: &str = "backups";
/// The database in it, and in the folder of a backup.
const FILE: &str = "data.sqlite";
/// How long a write, or a snapshot, waits for another program's lock.
const BUSY: Duration = Duration::from_secs(5);
/// Longest end of a store that nobody closes.
const CLOSE: Duration = Duration::from_secs(5);

/// Where and how to open a store.
#[derive(Debug, Clone)]
pub struct Options {
    /// The data folder. It is made if it is missing.
    pub dir: PathBuf,
    /// Migrate even if the snapshot before it cannot be made.
    pub migrate_without_backup: bool,
    /// How long a write waits for another program's lock.
    pub busy: Duration,
    /// What guards the vault's keys.
    pub guard: Guard,
    /// Wrap keys that lie bare although there is a guard.
    pub may_wrap: bool,
}

impl Options {
    /// The usual ones.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), migrate_without_backup: false, busy: BUSY, guard: Guard::Mode, may_wrap: true }
    }

    /// The folder of backups.
    pub fn backups(&self) -> PathBuf {
        self.dir.join(BACKUPS)
    }

    /// The folder of the database.
    fn folder(&self) -> PathBuf {
        self.dir.join(FOLDER)
    }

    /// The database's file.
    pub fn database(&self) -> PathBuf {
        self.folder().join(FILE)
    }
}

/// The store. Clones share it.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    vault: Vault,
    usage: usage::Queue,
    gauges: Arc<Gauges>,
    /// How long usage is kept; `None` until somebody says so.
    limits: watch::Sender<Option<usage::Limits>>,
    /// Why there is no database, while there is none.
    missing: watch::Sender<Option<String>>,
    /// Whether there was one from the start.
    from_start: bool,
    path: PathBuf,
    commands: mpsc::Sender<Command>,
    readers: Readers,
    closing: watch::Sender<Option<Instant>>,
    /// Hung up by the writer's thread when it has ended.
    ended: Mutex<std_mpsc::Receiver<()>>,
}

/// How the store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// What is wrong, if anything is.
    pub state: State,
    /// Usage rows that wait to be written.
    pub backlog_rows: u64,
    /// Usage rows that were given up since the start.
    pub dropped_rows: u64,
    /// Usage rows written since the start.
    pub written_rows: u64,
    /// How long the oldest row in the writer's hands has been waiting.
    pub lag: Duration,
    /// Rows of the last batch.
    pub last_batch: u64,
    /// Size of the database's file, in bytes.
    pub database_bytes: u64,
    /// Size of its write-ahead log, in bytes.
    pub wal_bytes: u64,
}

/// Whether the store works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It does.
    Ok,
    /// It does not, or not wholly; the text says why.
    Degraded(String),
}

impl Store {
    /// Opens the database and the vault of a data folder, makes them if they are missing, and migrates.
    ///
    /// # Errors
    /// [`OpenError::Newer`] should end the program; after any other, [`Store::open_or_wait`] lets requests go on.
    pub fn open(options: &Options) -> Result<Self, OpenError> {
        let (conn, vault) = opening::open(options)?;
        Self::run(options, vault, Ok(conn))
    }

    /// Likewise; a database that cannot be opened now is tried again until it can be. Until then every read and write
    /// answers with the reason, usage rows wait in their queue, and what does not fit there is counted.
    ///
    /// # Errors
    /// [`OpenError::Newer`]; any other only if the system has no randomness or no threads.
    pub fn open_or_wait(options: &Options) -> Result<Self, OpenError> {
        match opening::open(options) {
            Ok((conn, vault)) => Self::run(options, vault, Ok(conn)),
            Err(newer @ OpenError::Newer { .. }) => Err(newer),
            Err(reason) => {
                let vault = Vault::passing(options).map_err(OpenError::unusable(&options.database()))?;
                Self::run(options, vault, Err(reason))
            }
        }
    }

    /// Starts the threads.
    fn run(options: &Options, vault: Vault, opened: Result<Connection, OpenError>) -> Result<Self, OpenError> {
        let path = options.database();
        let unusable = OpenError::unusable(&path);
        let (commands, waiting) = mpsc::channel(writer::COMMANDS);
        let (closing, closed) = watch::channel(None);
        let (ending, ended) = std_mpsc::channel();
        let (usage, rows) = usage::queue();
        let gauges = Arc::new(Gauges::new());
        let (limits, told) = watch::channel(None);
        let slots = Slots::default();
        let mut parts = Parts {
            path: path.clone(),
            busy: options.busy,
            commands: waiting,
            rows,
            closing: closed,
            gauges: Arc::clone(&gauges),
            upkeep: Upkeep::new(options.clone(), told),
            readers: slots.clone(),
        };
        let missing = watch::Sender::new(opened.as_ref().err().map(ToString::to_string));
        let from_start = opened.is_ok();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(&unusable)?;
        let (late, keys, again) = (missing.clone(), vault.clone(), options.clone());
        let work = async move {
            let conn = match opened {
                Ok(conn) => Some(conn),
                Err(reason) => {
                    let told = |reason: &str| drop(late.send_replace(Some(reason.to_owned())));
                    opening::again(&again, &keys, &mut parts, reason, told).await
                }
            };
            match conn {
                Some(conn) => {
                    late.send_replace(None);
                    Writer::new(parts, conn).run().await;
                }
                None => parts.give_up(),
            }
        };
        thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || {
                runtime.block_on(work);
                drop(ending);
            })
            .map_err(&unusable)?;
        let readers = Readers::start(path.clone(), &slots).map_err(&unusable)?;
        let ended = Mutex::new(ended);
        let dir = options.dir.clone();
        let inner =
            Inner { dir, vault, usage, gauges, limits, missing, from_start, path, commands, readers, closing, ended };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// What talks to the database, or why there is none.
    fn database(&self) -> Result<&Inner, StoreError> {
        match &*self.inner.missing.borrow() {
            Some(reason) => Err(StoreError::Degraded(reason.clone())),
            None => Ok(&self.inner),
        }
    }

    /// Waits for a database that could not be opened at the start. For ever, if there was one: then nothing arrives.
    pub async fn arrived(&self) {
        let arrived = self.inner.missing.subscribe().wait_for(Option::is_none).await.is_ok();
        if self.inner.from_start || !arrived {
            std::future::pending::<()>().await;
        }
    }

    /// Runs `change` on the writer's thread, in a transaction of its own. When this returns `Ok` it is on the disk.
    ///
    /// # Errors
    /// What `change` says, or why the transaction could not be written; then nothing of it is kept.
    pub async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Change<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let database = self.database()?;
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Write { change: Some(change), value: None, reply });
        database.commands.send(Command::Change(job)).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Runs `query` on a reader's thread. All its statements see the same state.
    ///
    /// # Errors
    /// What `query` says; [`StoreError::Deadline`] after five seconds.
    pub async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.database()?.readers.read(query).await
    }

    /// The queue for usage rows.
    pub fn usage(&self) -> usage::Queue {
        self.inner.usage.clone()
    }

    /// Seals and opens secrets.
    pub fn vault(&self) -> &Vault {
        &self.inner.vault
    }

    /// The data folder.
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// How long usage is kept, from the next round of upkeep on: within ten minutes. The first call begins the first round:
    /// before it, and in programs that never say it, nothing old is removed.
    pub fn keep(&self, limits: usage::Limits) {
        self.inner.limits.send_replace(Some(limits));
    }

    /// Backups of this store.
    pub fn backups(&self) -> backup::Backups {
        backup::Backups::new(self.clone())
    }

    /// How the store is.
    pub fn status(&self) -> Status {
        let inner = &*self.inner;
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.len());
        let missing = inner.missing.borrow().clone();
        let trouble = missing.or_else(|| inner.gauges.trouble().map(|error| error.to_string()));
        let count = |gauge: &std::sync::atomic::AtomicU64| gauge.load(Ordering::Relaxed);
        Status {
            state: trouble.map_or(State::Ok, State::Degraded),
            backlog_rows: inner.usage.waiting() as u64 + count(&inner.gauges.held),
            dropped_rows: inner.usage.dropped() + count(&inner.gauges.lost),
            written_rows: count(&inner.gauges.written),
            lag: inner.gauges.lag(),
            last_batch: count(&inner.gauges.batch),
            database_bytes: size(&inner.path),
            wal_bytes: size(&wal_of(&inner.path)),
        }
    }

    /// Seals every secret with a new key. Old keys stay in the key file, for older backups, unless `forget_old`.
    ///
    /// # Errors
    /// As [`Store::write`]; then both keys stay and nothing is lost.
    pub async fn rotate(&self, forget_old: bool) -> Result<Resealed, StoreError> {
        let vault = self.vault().clone();
        self.write(move |change| {
            vault.append_key()?;
            let count = vault.seal_again(change)?;
            if forget_old {
                // Only behind the commit: until then rows on the disk need them.
                let vault = vault.clone();
                change.after_commit(move || {
                    if let Err(error) = vault.forget_old() {
                        tracing::error!(%error, "old keys could not be removed from the key file");
                    }
                });
            }
            Ok(count)
        })
        .await
    }

    /// Takes no more, writes what waits, and leaves the database as one file. Waits for that as long as `deadline`, and
    /// blocks its thread meanwhile.
    pub fn close(&self, deadline: Duration) {
        let inner = &*self.inner;
        inner.closing.send_replace(Some(Instant::now() + deadline));
        // Nothing is ever sent: the end is that the other side hangs up.
        let ended = inner.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.recv_timeout(deadline) == Err(std_mpsc::RecvTimeoutError::Timeout) {
            tracing::error!("the store did not end in time");
        }
    }
}

/// Reads a whole database, whoever else uses it, and says what is wrong; nothing is, if the list is empty. Blocks.
///
/// # Errors
/// If it is missing, or not a database.
pub fn check(options: &Options) -> Result<Vec<String>, StoreError> {
    if !options.database().exists() {
        return Err(StoreError::NotFound);
    }
    let conn = connect::reader(&options.database(), options.busy)?;
    Ok(schema::faults(&conn)?)
}

/// The log beside a database.
fn wal_of(path: &Path) -> PathBuf {
    files::with_suffix(path, "-wal")
}

/// Now, in Unix milliseconds.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// A new id: a UUIDv7, so that ids sort by age.
pub fn new_id() -> String {
    uuid::Uuid::now_v7().to_string()
}
