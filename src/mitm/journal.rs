//! What we are about to change on the system, written down before it is changed.
//!
//! One file, whole or not there, in the folder `mitm`. It is written before the first change and removed after the last one
//! is undone: while it is there, something may have to be put back, whether the program lives or not.

use std::{
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::files;

/// Largest journal that is read, bytes: ours have a few hundred.
const BYTES_MAX: u64 = 64 * 1024;

/// What was about to be changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Form of this file.
    pub version: u32,
    /// The process that did it.
    pub pid: u32,
    /// When, as RFC 3339.
    pub begun: String,
    /// The hosts file that gets our block.
    pub hosts_file: PathBuf,
    /// Names of the block.
    pub hosts: Vec<String>,
    /// Addresses of the block.
    pub addresses: Vec<IpAddr>,
}

/// The form that is written.
pub const VERSION: u32 = 1;

/// The journal of a folder.
#[derive(Debug, Clone)]
pub struct Journal(PathBuf);

impl Journal {
    /// The journal in the folder `mitm`.
    pub fn new(folder: &Path) -> Self {
        Self(folder.join("journal.json"))
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes it, durable when this returns.
    pub fn write(&self, entry: &Entry) -> io::Result<()> {
        if let Some(folder) = self.0.parent() {
            files::private_dir(folder)?;
        }
        files::replace(&self.0, &serde_json::to_vec_pretty(entry)?)
    }

    /// What it says; `None` if there is nothing to put back.
    ///
    /// # Errors
    /// It cannot be read, or is none of ours. What it said is lost then, but that something was changed is not.
    pub fn read(&self) -> io::Result<Option<Entry>> {
        let length = match fs::metadata(&self.0) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if length > BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the journal is too large to be ours"));
        }
        let entry: Entry = serde_json::from_slice(&fs::read(&self.0)?)?;
        if entry.version == VERSION {
            Ok(Some(entry))
        } else {
            let message = format!("the journal has form {}, which a newer program wrote", entry.version);
            Err(io::Error::new(io::ErrorKind::InvalidData, message))
        }
    }

    /// Removes it: everything is as it was.
    pub fn clear(&self) -> io::Result<()> {
        files::remove(&self.0)?;
        // What a cut write left behind.
        files::remove(&self.0.with_extension("new"))?;
        if self.0.parent().is_some_and(Path::exists) { files::sync_parent(&self.0) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn entry() -> Entry {
        Entry {
            version: VERSION,
            pid: 7,
            begun: "2026-11-25T00:00:00Z".into(),
            hosts_file: "/etc/hosts".into(),
            hosts: vec!["a.example".into()],
            addresses: vec!["127.0.0.1".parse().unwrap()],
        }
    }

    #[test]
    fn what_is_written_is_read_until_it_is_cleared() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::new(&dir.path().join("mitm"));
        assert_eq!(journal.read().unwrap(), None);
        journal.clear().unwrap();
        journal.write(&entry()).unwrap();
        assert_eq!(journal.read().unwrap(), Some(entry()));
        journal.clear().unwrap();
        assert_eq!(journal.read().unwrap(), None);
        assert_eq!(fs::read_dir(dir.path().join("mitm")).unwrap().count(), 0);
    }

    #[test]
    fn another_form_and_damage_are_told_from_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::new(dir.path());
        journal.write(&Entry { version: VERSION + 1, ..entry() }).unwrap();
        assert!(journal.read().unwrap_err().to_string().contains("newer"));
        for damaged in ["", "{", "[]", "{\"version\":1}"] {
            fs::write(journal.path(), damaged).unwrap();
            assert!(journal.read().is_err(), "{damaged}");
        }
        fs::write(journal.path(), vec![b' '; 100_000]).unwrap();
        assert!(journal.read().unwrap_err().to_string().contains("large"));
    }
}
