//! From the command line to valid settings: reads the file, the environment and the keys that are kept.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use crate::{
    args::Args,
    gateway::{hex, new_key},
    settings::{self, Fault, Settings, Sources},
};

/// File of callers' keys in the data folder; digests only.
const KEYS_FILE: &str = "keys.toml";
/// File of settings in the data folder, read if it is there.
const CONFIG_FILE: &str = "config.toml";

/// Reads everything that `args` leads to.
pub fn load(args: &Args) -> Result<Settings, Vec<Fault>> {
    let env: Vec<(String, String)> =
        std::env::vars_os().filter_map(|(n, v)| Some((n.into_string().ok()?, v.into_string().ok()?))).collect();
    let mut sources = Sources { flags: args.flags.clone(), env, file: None };
    let named = args.config.clone().or_else(|| std::env::var_os("FLOW_ROUTER_CONFIG").map(PathBuf::from));
    // The data folder can only come from flags and environment: the file in it cannot say where it is.
    let data_dir = settings::load(&sources)?.data_dir;
    let path = named.clone().unwrap_or_else(|| data_dir.join(CONFIG_FILE));
    match fs::read_to_string(&path) {
        Ok(text) => sources.file = Some((path, text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound && named.is_none() => {}
        Err(error) => return Err(vec![unreadable(&path, &error)]),
    }
    let mut settings = settings::load(&sources)?;
    let kept = settings.data_dir.join(KEYS_FILE);
    match fs::read_to_string(&kept) {
        Ok(text) => {
            let keys = Sources { file: Some((kept, text)), ..Sources::default() };
            settings.keys.extend(settings::load(&keys)?.keys);
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(vec![unreadable(&kept, &error)]),
    }
    exposed(&mut settings)?;
    Ok(settings)
}

fn unreadable(path: &Path, error: &io::Error) -> Fault {
    Fault { place: path.display().to_string(), message: format!("cannot be read: {error}") }
}

/// Beyond loopback everybody on the network could spend the user's money: a key must exist, and is asked for.
fn exposed(settings: &mut Settings) -> Result<(), Vec<Fault>> {
    if settings.addr.ip().is_loopback() {
        if settings.require_key && settings.keys.is_empty() {
            let message = "there is no key yet: make one with `flow-router key NAME`".to_owned();
            return Err(vec![Fault { place: "require_key".to_owned(), message }]);
        }
        return Ok(());
    }
    if settings.keys.is_empty() {
        let message = format!(
            "{} can be reached from other machines and no key exists: make one with `flow-router key NAME` first",
            settings.addr
        );
        return Err(vec![Fault { place: "addr".to_owned(), message }]);
    }
    settings.require_key = true;
    Ok(())
}

/// Makes a key, keeps its digest and returns the key, which is nowhere else.
pub fn make_key(data_dir: &Path, name: &str) -> io::Result<String> {
    let valid =
        !name.is_empty() && name.len() <= 64 && name.chars().all(|c| c.is_alphanumeric() || "-_. @".contains(c));
    if !valid {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a name has 1 to 64 letters, digits, blanks or - _ . @",
        ));
    }
    let (key, digest) = new_key().ok_or_else(|| io::Error::other("the system has no randomness"))?;
    private_dir(data_dir)?;
    let mut file = private_file(&data_dir.join(KEYS_FILE))?;
    write!(file, "[[keys]]\nname = \"{name}\"\nsha256 = \"{}\"\n\n", hex(&digest))?;
    file.sync_all()?;
    Ok(key)
}

/// Makes the data folder, for its owner only.
pub fn private_dir(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Opens a file of the data folder for appending, for its owner only.
fn private_file(path: &Path) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Locks the data folder against a second program. The lock lives as long as the file.
pub fn lock(data_dir: &Path) -> io::Result<fs::File> {
    private_dir(data_dir)?;
    let file = private_file(&data_dir.join("lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            format!("another flow-router uses {}: stop it, or choose another --data-dir", data_dir.display()),
        )),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::args::Action;

    fn args(dir: &Path, flags: &[(&'static str, &str)]) -> Args {
        let mut all = vec![("data_dir", dir.display().to_string())];
        all.extend(flags.iter().map(|(name, text)| (*name, (*text).to_owned())));
        Args { action: Action::Serve, config: None, flags: all }
    }

    #[test]
    fn going_beyond_loopback_needs_a_key() {
        let dir = tempfile::tempdir().unwrap();
        let faults = load(&args(dir.path(), &[("addr", "0.0.0.0:2402")])).unwrap_err();
        assert!(faults[0].message.contains("flow-router key"), "{faults:?}");
        let key = make_key(dir.path(), "laptop").unwrap();
        let settings = load(&args(dir.path(), &[("addr", "0.0.0.0:2402")])).unwrap();
        assert!(settings.require_key);
        assert_eq!(settings.keys[0].name, "laptop");
        let kept = fs::read_to_string(dir.path().join(KEYS_FILE)).unwrap();
        assert!(!kept.contains(&key) && !kept.contains(key.trim_start_matches("fr-")));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(dir.path().join(KEYS_FILE)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn one_program_per_data_folder() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock(dir.path()).unwrap();
        assert!(lock(dir.path()).unwrap_err().to_string().contains("another flow-router"));
        drop(held);
        assert!(lock(dir.path()).is_ok());
    }

    #[test]
    fn a_named_file_must_be_there() {
        let dir = tempfile::tempdir().unwrap();
        let mut args = args(dir.path(), &[]);
        assert!(load(&args).is_ok());
        args.config = Some(dir.path().join("none.toml"));
        assert!(load(&args).unwrap_err()[0].message.contains("cannot be read"));
    }
}
