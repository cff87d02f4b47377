//! What this machine is like: the data folder, its key file, proxies in the environment.

use std::{fs, path::Path};

use super::{Finding, Grade};
use crate::{http::Router, place};

/// Length of the vault's key, in bytes.
const KEY_BYTES: u64 = 32;
/// What a guard adds to keys: magic, kind, salt, nonce and tag.
const WRAP_BYTES: u64 = 16 + 1 + 16 + 12 + 16;

/// The data folder of a router on this machine.
pub(super) fn data_folder(dir: &Path) -> Vec<Finding> {
    let shown = dir.display();
    let meta = match fs::metadata(dir) {
        Ok(meta) if meta.is_dir() => meta,
        Ok(_) => return vec![Finding::new(Grade::Bad, "data folder", format!("{shown} is no folder"))],
        Err(error) => {
            // A router that runs as another user has another one.
            let detail = format!("{shown}: {error}; if the router has another one, say --data-dir");
            return vec![Finding::new(Grade::Note, "data folder", detail)];
        }
    };
    let mut findings = Vec::new();
    findings.push(match open_to_others(&meta) {
        Some(mode) => {
            let detail = format!("others may look into {shown} (mode {mode:o}): chmod 700 {shown}");
            Finding::new(Grade::Bad, "data folder", detail)
        }
        None => Finding::new(Grade::Ok, "data folder", format!("{shown} is its owner's alone")),
    });
    findings.extend(key_file(&dir.join("secret.key")));
    findings
}

/// Whether a file of so many bytes may hold keys: after a rotation several, and wrapped ones behind a head and before a tag.
fn is_of_keys(bytes: u64) -> bool {
    [0, WRAP_BYTES].iter().any(|more| bytes > *more && (bytes - more).is_multiple_of(KEY_BYTES))
}

fn key_file(file: &Path) -> Option<Finding> {
    let shown = file.display();
    // A router without a store has none yet.
    let meta = fs::metadata(file).ok()?;
    Some(if !is_of_keys(meta.len()) {
        let detail = format!(
            "{shown} has {} bytes, which are not keys of {KEY_BYTES} bytes: put the right one back",
            meta.len()
        );
        Finding::new(Grade::Bad, "secret.key", detail)
    } else if let Some(mode) = open_to_others(&meta) {
        let detail = format!("others may read {shown} (mode {mode:o}): chmod 600 {shown}, then make new provider keys");
        Finding::new(Grade::Bad, "secret.key", detail)
    } else {
        Finding::new(Grade::Ok, "secret.key", "it is its owner's alone; keep a copy elsewhere")
    })
}

/// The mode, if it lets anybody but the owner in.
#[cfg(unix)]
fn open_to_others(meta: &fs::Metadata) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = meta.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then_some(mode)
}

/// Windows has no such bits, and keeps the folders of users from each other.
#[cfg(not(unix))]
fn open_to_others(_: &fs::Metadata) -> Option<u32> {
    None
}

/// Proxies that would get requests for the router.
pub(super) fn proxies(router: &Router) -> Vec<Finding> {
    let set = place::proxies();
    if set.is_empty() {
        return vec![Finding::new(Grade::Ok, "proxies", "none is set here")];
    }
    let (host, _) = router.host_and_port();
    let spared = place::no_proxy().is_some_and(|(_, list)| place::spares(&list, host));
    let set = set.join(", ");
    vec![if spared {
        Finding::new(Grade::Ok, "proxies", format!("{set} is set, and NO_PROXY spares {host}"))
    } else if proxy::is_loopback(host) {
        // Values may hold passwords: only names are shown.
        let detail = format!("{set} is set: some clients send requests for {host} there; add {host} to NO_PROXY");
        Finding::new(Grade::Warn, "proxies", detail)
    } else {
        Finding::new(Grade::Note, "proxies", format!("{set} is set: requests for {host} go there"))
    }]
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{fs::Permissions, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn folders_and_key_files_are_graded() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let grades = || -> Vec<_> { data_folder(&data).iter().map(|found| (found.what, found.grade)).collect() };
        assert_eq!(grades(), [("data folder", Grade::Note)]);
        fs::create_dir(&data).unwrap();
        fs::set_permissions(&data, Permissions::from_mode(0o755)).unwrap();
        assert_eq!(grades(), [("data folder", Grade::Bad)]);
        fs::set_permissions(&data, Permissions::from_mode(0o700)).unwrap();
        let key = data.join("secret.key");
        for (bytes, mode, grade) in [
            (32, 0o600, Grade::Ok),
            (64, 0o600, Grade::Ok),
            (93, 0o600, Grade::Ok),
            (32, 0o640, Grade::Bad),
            (31, 0o600, Grade::Bad),
            (0, 0o600, Grade::Bad),
        ] {
            fs::write(&key, vec![0; bytes]).unwrap();
            fs::set_permissions(&key, Permissions::from_mode(mode)).unwrap();
            assert_eq!(grades(), [("data folder", Grade::Ok), ("secret.key", grade)], "{bytes} {mode:o}");
        }
    }
}
