//! The administrator's token: a secret that lies in the data folder, for programs of the same user on this machine.
//!
//! It is made anew at each start, so that an old one is worth nothing, and lies in a file that only its owner may read:
//! whoever can read it could as well change the files beside it. `flow-cli` uses it where a login is asked for.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use aws_lc_rs::{constant_time::verify_slices_are_equal, digest};

use crate::{gateway::hex, store::files};

/// How such tokens begin: they are no keys.
const PREFIX: &str = "fra_";

/// Where the token lies, below the data folder.
pub fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("run").join("admin.token")
}

/// The token of this run, as a digest.
pub struct AdminToken([u8; 32]);

impl std::fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<redacted>")
    }
}

impl AdminToken {
    /// Makes a token and puts it into its file, in place of the last one.
    ///
    /// # Errors
    /// The file cannot be written, or the system has no randomness. Nothing is left half-written: the file has the old
    /// token or the new one.
    pub fn create(data_dir: &Path) -> io::Result<Self> {
        let mut random = [0u8; 32];
        getrandom::fill(&mut random).map_err(|_| io::Error::other("the system has no randomness"))?;
        let text = format!("{PREFIX}{}", hex(&random));
        let path = path(data_dir);
        let folder = path.parent().unwrap_or(data_dir);
        files::private_dir(folder)?;
        let fresh = folder.join("admin.token.new");
        // One that a crash left behind. Created anew below: an existing file would keep its mode, or be a link.
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = files::private().write(true).create_new(true).open(&fresh)?;
        writeln!(file, "{text}")?;
        file.sync_all()?;
        fs::rename(&fresh, &path)?;
        Ok(Self(sha256(&text)))
    }

    /// Whether `token` is it. `None`: it does not even look like one.
    pub fn is(&self, token: &str) -> Option<bool> {
        token.starts_with(PREFIX).then(|| verify_slices_are_equal(&self.0, &sha256(token)).is_ok())
    }
}

/// What is kept of a secret that is random by itself. A lookup by it tells nothing by its time: who wants to choose a
/// digest must invert SHA-256.
pub(super) fn sha256(text: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    hash
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
    fn other_tokens_are_not_it() {
        let dir = tempfile::tempdir().unwrap();
        let token = AdminToken::create(dir.path()).unwrap();
        for other in ["", "flr_00", "sk-ant-x", "FRA_00"] {
            assert_eq!(token.is(other), None, "{other}");
        }
        assert_eq!(token.is("fra_"), Some(false));
    }
}
