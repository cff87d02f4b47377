//! Puts the machine back after a process that could not do so itself.
//!
//! Needs no process and no valid journal: whatever block of ours is in the hosts file goes, with the files beside it. The
//! journal adds which file it was, if the settings have changed since. Nothing is done while somebody intercepts.

use std::path::{Path, PathBuf};

use super::{
    Failure, NEEDS_PRIVILEGE,
    hosts::{Change, HostsFile},
    journal::Journal,
    lease, system,
};
use crate::settings::tools::HOSTS;

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Hosts files that our block was taken out of.
    pub hosts: Vec<PathBuf>,
    /// Whether a journal said that something was left.
    pub journal: bool,
    /// What else there is to say.
    pub notes: Vec<String>,
}

impl Repaired {
    /// Whether there was anything to put back.
    pub fn is_nothing(&self) -> bool {
        self.hosts.is_empty() && !self.journal
    }
}

/// Every name that may ever have been written.
pub fn catalogue() -> Vec<&'static str> {
    HOSTS.iter().map(|host| host.name).collect()
}

/// Puts back what may be left: in the hosts file of the journal, and in `hosts_file`, that of the settings.
///
/// # Errors
/// `already_running`, or why a hosts file could not be changed; then the journal stays, so that it can be tried again.
pub fn repair(folder: &Path, hosts_file: &Path) -> Result<Repaired, Failure> {
    match lease::holder(folder) {
        Some(holder) => Err(lease::running(&holder)),
        None => put_back(folder, hosts_file),
    }
}

/// The same for the process that holds the lease.
pub(super) fn put_back(folder: &Path, hosts_file: &Path) -> Result<Repaired, Failure> {
    let mut done = Repaired::default();
    let journal = Journal::new(folder);
    let mut files = vec![hosts_file.to_owned()];
    match journal.read() {
        Ok(Some(entry)) => {
            done.journal = true;
            if entry.hosts_file != hosts_file && !system::is_for_another(folder) {
                files.insert(0, entry.hosts_file);
            }
        }
        Ok(None) => {}
        Err(error) => {
            done.journal = true;
            done.notes.push(format!("the journal cannot be read: {error}"));
        }
    }
    for path in files {
        if !path.exists() {
            // Nothing of ours can be in a file that is not there.
            continue;
        }
        match HostsFile::new(&path, folder).remove(&catalogue()) {
            Ok(Change::Written) => {
                system::flush_caches(&path);
                done.hosts.push(path);
            }
            Ok(Change::None) => {}
            Err(error) => {
                let failure = Failure::hosts(&error);
                if failure.code != NEEDS_PRIVILEGE {
                    return Err(failure);
                }
                return Err(failure.run(system::as_administrator("repair", folder, &path)));
            }
        }
    }
    // Also what a write that was cut has left.
    journal.clear().map_err(|error| Failure::data_dir(journal.path(), &error))?;
    Ok(done)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{fs, net::IpAddr};

    use super::*;
    use crate::mitm::{
        hosts::Wanted,
        journal::{Entry, VERSION},
        lease::Lease,
    };

    #[test]
    fn what_is_left_goes_and_the_file_is_as_it_was() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("data/mitm");
        let (old, new) = (place.path().join("old"), place.path().join("new"));
        let before = b"127.0.0.1 localhost";
        fs::write(&old, before).unwrap();
        fs::write(&new, before).unwrap();
        assert!(repair(&folder, &new).unwrap().is_nothing());
        let names = catalogue();
        let addresses: [IpAddr; 1] = ["127.0.0.1".parse().unwrap()];
        let wanted = Wanted { hosts: &names[..2], addresses: &addresses, catalogue: &names, windows: false };
        HostsFile::new(&old, &folder).apply(&wanted).unwrap();
        let hosts = names[..2].iter().map(|name| (*name).to_owned()).collect();
        let entry = Entry {
            version: VERSION,
            pid: 1,
            begun: String::new(),
            hosts_file: old.clone(),
            hosts,
            addresses: addresses.to_vec(),
        };
        Journal::new(&folder).write(&entry).unwrap();
        let lease = Lease::take(&folder).unwrap();
        assert_eq!(repair(&folder, &new).unwrap_err().code, "already_running");
        drop(lease);
        let done = repair(&folder, &new).unwrap();
        assert_eq!((done.hosts, done.journal), (vec![old.clone()], true));
        assert_eq!(fs::read(&old).unwrap(), before);
        assert!(repair(&folder, &new).unwrap().is_nothing());
        // A journal that nobody can read is no reason to leave a block.
        HostsFile::new(&new, &folder).apply(&wanted).unwrap();
        fs::write(Journal::new(&folder).path(), "{").unwrap();
        let done = repair(&folder, &new).unwrap();
        assert_eq!((done.hosts, done.notes.len()), (vec![new.clone()], 1));
        assert_eq!(fs::read(&new).unwrap(), before);
    }
}
