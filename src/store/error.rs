//! Why the store could not do something, in words that the API and the log can pass on.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

/// Why a read or a write failed. Nothing of a failed write is kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// There is no such row.
    #[error("there is no such entry")]
    NotFound,
    /// Another row has this value already.
    #[error("{field} is taken")]
    Taken {
        /// Column whose values are unique.
        field: &'static str,
    },
    /// Other rows refer to it.
    #[error("it is used by {}", by.join(", "))]
    InUse {
        /// Who does, by kind and name: `combo fast`.
        by: Vec<String>,
    },
    /// The row changed since the caller read it (`If-Match`).
    #[error("it was changed in the meantime")]
    Stale,
    /// A value that the store does not accept.
    #[error("{field}: {message}")]
    Invalid {
        /// Column or member.
        field: String,
        /// What is wrong and what is allowed.
        message: String,
    },
    /// The disk, or the limit of the database's size, is full.
    #[error("the disk is full")]
    Full,
    /// The database's file cannot be written.
    #[error("the database is read-only")]
    ReadOnly,
    /// Another program holds the write lock.
    #[error("another program holds the database's lock")]
    Locked,
    /// The system could not read or write a file.
    #[error("the disk: {0}")]
    Disk(String),
    /// The file is damaged.
    #[error("the database is damaged: {0}")]
    Corrupt(String),
    /// The vault's key is missing or does not fit.
    #[error("the vault's key: {0}")]
    Key(String),
    /// The store is closed, or was never opened; the text says why.
    #[error("the store is closed")]
    Closed,
    /// The store could not be opened; the gateway runs without it.
    #[error("the store cannot be used: {0}")]
    Degraded(String),
    /// The query took longer than it may.
    #[error("the query took too long")]
    Deadline,
    /// Anything else, in SQLite's or the system's words.
    #[error("{0}")]
    Other(String),
}

impl StoreError {
    /// Whether the system around the database is to blame, which may change by itself: asking again later may help.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Full | Self::ReadOnly | Self::Locked | Self::Disk(_) | Self::Deadline)
    }
}

/// Columns whose values are unique, as callers know them.
const UNIQUE: &[&str] = &["name", "alias", "hash", "key", "model", "id"];

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::{Error, ffi};
        match &error {
            Error::QueryReturnedNoRows => Self::NotFound,
            Error::SqliteFailure(cause, message) => {
                let text = message.clone().unwrap_or_else(|| cause.to_string());
                match cause.code {
                    ErrorCode::DiskFull => Self::Full,
                    ErrorCode::ReadOnly => Self::ReadOnly,
                    ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Self::Locked,
                    ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Self::Corrupt(text),
                    // Also what a full disk looks like where the system says so in another way, such as a limit.
                    ErrorCode::SystemIoFailure | ErrorCode::CannotOpen => Self::Disk(text),
                    ErrorCode::OperationInterrupted => Self::Deadline,
                    ErrorCode::ConstraintViolation => match cause.extended_code {
                        ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY => {
                            let column = text.rsplit('.').next().unwrap_or_default();
                            let field = UNIQUE.iter().find(|field| **field == column);
                            Self::Taken { field: field.copied().unwrap_or("id") }
                        }
                        // The text names the rule: "FOREIGN KEY constraint failed", "CHECK constraint failed: …".
                        _ => Self::Invalid { field: String::new(), message: text },
                    },
                    _ => Self::Other(text),
                }
            }
            Error::FromSqlConversionFailure(..) | Error::InvalidColumnType(..) | Error::IntegralValueOutOfRange(..) => {
                Self::Corrupt(error.to_string())
            }
            _ => Self::Other(error.to_string()),
        }
    }
}

impl From<std::io::Error> for StoreError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::Full,
            std::io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly,
            std::io::ErrorKind::NotFound => Self::NotFound,
            _ => Self::Disk(error.to_string()),
        }
    }
}

/// Why the store could not be opened. All but [`OpenError::Newer`] let the gateway run without it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// A later release of the program wrote the database.
    #[error(
        "the database {path} has version {found}, this program knows {known}: use a newer program, or restore {}",
        backup.as_deref().unwrap_or("an older database (no backup fits)")
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version that this program knows.
        known: u32,
        /// Name of the newest backup that fits.
        backup: Option<String>,
    },
    /// It is a database of the Go program, which has to be imported.
    #[error("{0} is a database of the Go program: import it with `flow-router db import-legacy`")]
    Legacy(PathBuf),
    /// It is a database of another program.
    #[error("{0} belongs to another program")]
    Foreign(PathBuf),
    /// The snapshot before a migration could not be made.
    #[error(
        "the database must be migrated and cannot be backed up first: {0} (`flow-router db migrate --without-backup` does without)"
    )]
    NoBackup(StoreError),
    /// A migration failed; the database is as before.
    #[error("migration {id} ({name}) failed, the database is as before: {error}")]
    Migration {
        /// Which.
        id: u32,
        /// What it does.
        name: &'static str,
        /// Why.
        error: StoreError,
    },
    /// The vault's key file.
    #[error("{0}")]
    Key(String),
    /// The data folder or the file.
    #[error("{path}: {error}")]
    Unusable {
        /// Which.
        path: PathBuf,
        /// Why.
        error: StoreError,
    },
}

impl OpenError {
    /// Whether trying again may help. A migration that failed for what the database holds would fail again, and each try
    /// leaves a snapshot behind.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Newer { .. } => false,
            Self::Migration { error, .. } => error.may_pass(),
            _ => true,
        }
    }

    /// Says of errors at `path` that it cannot be used.
    pub(super) fn unusable<E: Into<StoreError>>(path: &Path) -> impl Fn(E) -> Self + use<E> {
        let path = path.to_owned();
        move |error| Self::Unusable { path: path.clone(), error: error.into() }
    }
}

/// For those who know which file it is.
impl From<OpenError> for StoreError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Unusable { error, .. } => error,
            other => Self::Other(other.to_string()),
        }
    }
}
