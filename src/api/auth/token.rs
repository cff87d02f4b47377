//! The administrator's token: a secret that lies in the data folder, for programs of the same user on this machine.
//!
//! It is made anew at each start, so that an old one is worth nothing, and lies in a file that only its owner may read:
//! whoever can read it could as well change the files beside it. `flow-cli` uses it where a login is asked for.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwapOption;
use aws_lc_rs::constant_time::verify_slices_are_equal;

use crate::{
    files,
    store::digest::{hex, sha256},
};

/// How such tokens begin: they are no keys.
const PREFIX: &str = "fra_";

/// Where the token lies, below the data folder.
pub fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("run").join("admin.token")
}

/// The token of this run, as a digest; `None` while its file could not be written, so that nobody can know one.
pub struct AdminToken(ArcSwapOption<[u8; 32]>);

impl std::fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<redacted>")
    }
}

impl AdminToken {
    /// Makes a token and puts it into its file, in place of the last one. A file that cannot be written, as on a full disk,
    /// costs the token and nothing else: the log says so, and [`AdminToken::again`] is another try.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn create(data_dir: &Path) -> io::Result<Self> {
        let token = Self(ArcSwapOption::empty());
        token.make(data_dir)?;
        Ok(token)
    }

    /// Makes it if that could not be done before.
    ///
    /// # Errors
    /// As [`AdminToken::create`].
    pub fn again(&self, data_dir: &Path) -> io::Result<()> {
        if self.0.load().is_none() { self.make(data_dir) } else { Ok(()) }
    }

    fn make(&self, data_dir: &Path) -> io::Result<()> {
        let mut random = [0u8; 32];
        getrandom::fill(&mut random).map_err(|_| io::Error::other("the system has no randomness"))?;
        let text = format!("{PREFIX}{}", hex(&random));
        match put(&path(data_dir), &text) {
            Ok(()) => self.0.store(Some(Arc::new(sha256(text.as_bytes())))),
            Err(error) => tracing::error!(%error, "there is no token for flow-cli: run/admin.token cannot be written"),
        }
        Ok(())
    }

    /// Whether `token` is it. `None`: it does not even look like one.
    pub fn is(&self, token: &str) -> Option<bool> {
        let own = self.0.load();
        let same = |own: &[u8; 32]| verify_slices_are_equal(own, &sha256(token.as_bytes())).is_ok();
        token.starts_with(PREFIX).then(|| own.as_deref().is_some_and(same))
    }
}

/// Writes the file. It has the old token or the new one, never half of one.
fn put(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(path);
    files::private_dir(folder)?;
    let fresh = folder.join("admin.token.new");
    // One that a crash left behind. Created anew below: an existing file would keep its mode, or be a link.
    files::remove(&fresh)?;
    let mut file = files::private().write(true).create_new(true).open(&fresh)?;
    let written = writeln!(file, "{text}");
    if written.is_err() {
        files::remove(&fresh)?;
    }
    written?;
    // Not synced, which would be a wait for the disk at every start: where the power fails, the token's run ends too.
    fs::rename(&fresh, path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_start_makes_a_new_one_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let first = AdminToken::create(&data).unwrap();
        let text = fs::read_to_string(path(&data)).unwrap();
        let text = text.trim_end();
        assert_eq!(text.len(), 4 + 64);
        assert_eq!(first.is(text), Some(true));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(&path(&data)), 0o600);
            assert_eq!(mode(path(&data).parent().unwrap()), 0o700);
            // A file that somebody opened up is not written into.
            fs::set_permissions(path(&data), fs::Permissions::from_mode(0o666)).unwrap();
            // A file that a crash left half-way neither.
            fs::write(path(&data).with_extension("token.new"), "half").unwrap();
            let second = AdminToken::create(&data).unwrap();
            assert_eq!(mode(&path(&data)), 0o600);
            assert_eq!(second.is(text), Some(false), "the old one is worth nothing");
            assert_eq!(fs::read_dir(path(&data).parent().unwrap()).unwrap().count(), 1);
        }
        assert!(!format!("{first:?}").contains(text));
    }

    #[test]
    fn where_it_cannot_be_written_there_is_none_until_it_can() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("run");
        fs::write(&folder, "in the way").unwrap();
        let token = AdminToken::create(dir.path()).unwrap();
        for guess in ["fra_", &format!("fra_{}", "0".repeat(64))] {
            assert_eq!(token.is(guess), Some(false));
        }
        fs::remove_file(&folder).unwrap();
        token.again(dir.path()).unwrap();
        let text = fs::read_to_string(path(dir.path())).unwrap();
        assert_eq!(token.is(text.trim_end()), Some(true));
        token.again(dir.path()).unwrap();
        assert_eq!(token.is(text.trim_end()), Some(true), "one that is there stays");
    }

    #[test]
    fn other_tokens_are_not_it() {
        let dir = tempfile::tempdir().unwrap();
        let token = AdminToken::create(dir.path()).unwrap();
        for other in ["", "flr_00", "sk-ant-x", "FRA_00"] {
            assert_eq!(token.is(other), None, "{other}");
        }
        assert_eq!(token.is("fra_"), Some(false));
    }
}
