//! Who intercepts: one process per data folder, told by a lock that the system takes back when the process ends, however it
//! ends. A process number alone proves nothing.

use std::{
    fs::{File, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
};

use super::Failure;
use crate::files;

/// Its name in the folder `mitm`.
const NAME: &str = ".mitm.pid";
/// Longest content that is read, bytes.
const BYTES_MAX: u64 = 256;

/// Our right to intercept, until it is dropped.
#[derive(Debug)]
pub struct Lease(File);

impl Lease {
    /// Takes it.
    ///
    /// # Errors
    /// `already_running` if another process has it; `data_dir` if the file cannot be made.
    pub fn take(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join(NAME);
        let failed = |error: io::Error| Failure::data_dir(&path, &error);
        files::private_dir(folder).map_err(failed)?;
        let mut options = files::private();
        let file = options.read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(running(&holder_text(&path))),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// Writes who we are and where we listen, for people who look.
    pub fn say(&mut self, listen: &str) -> io::Result<()> {
        self.0.set_len(0)?;
        self.0.rewind()?;
        writeln!(self.0, "{} {listen}", std::process::id())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // The lock is what counts; it goes with the file.
        let _ = self.0.set_len(0);
    }
}

/// What the process that intercepts says of itself, as `7 127.0.0.1:443`; `None`: nobody intercepts.
pub fn holder(folder: &Path) -> Option<String> {
    let path = folder.join(NAME);
    let file = File::open(&path).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Some(holder_text(&path)),
        _ => None,
    }
}

/// The refusal to do something while a process intercepts.
pub fn running(holder: &str) -> Failure {
    let mut words = holder.split_ascii_whitespace();
    let who = match (words.next(), words.next()) {
        (Some(pid), Some(listen)) => format!("process {pid} intercepts at {listen}"),
        _ => "another process intercepts".to_owned(),
    };
    Failure::new("already_running", format!("{who}; `flow-router mitm stop` ends it"))
}

fn holder_text(path: &PathBuf) -> String {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(BYTES_MAX).read_to_string(&mut text));
    if read.is_ok() { text.trim().to_owned() } else { String::new() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_at_a_time_and_none_after_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("mitm");
        assert_eq!(holder(&folder), None);
        let mut lease = Lease::take(&folder).unwrap();
        lease.say("127.0.0.1:443").unwrap();
        let own = format!("{} 127.0.0.1:443", std::process::id());
        assert_eq!(holder(&folder), Some(own));
        let refused = Lease::take(&folder).unwrap_err();
        assert_eq!(refused.code, "already_running");
        assert!(refused.message.contains(&format!("process {} intercepts at 127.0.0.1:443", std::process::id())));
        drop(lease);
        assert_eq!(holder(&folder), None);
        // What a process that was killed wrote means nothing.
        std::fs::write(folder.join(NAME), "1 127.0.0.1:443\n").unwrap();
        assert_eq!(holder(&folder), None);
        Lease::take(&folder).unwrap();
    }
}
