//! From the command line to valid settings; the data folder, its lock, and the keys that are kept in a file.

use std::{
    fmt, fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use crate::{
    args::Args,
    files,
    gateway::new_key,
    live::Live,
    settings::{self, Fault, KEYS_FILE, Settings, Sources},
    store::{self, OpenError, Store, digest::hex},
};

/// Reads everything that `args` leads to, but for the store; the settings are a draft that says where the store is.
pub fn load(args: &Args) -> Result<(Sources, Settings), Vec<Fault>> {
    let sources = Sources::read(args.flags.clone(), args.config.clone())?;
    let settings = settings::draft(&sources)?;
    Ok((sources, settings))
}

/// The data folder that `args` lead to, also through a configuration that is wrong elsewhere, or cannot be read.
pub fn data_dir(args: &Args) -> PathBuf {
    let outside = Sources::outside(args.flags.clone(), args.config.clone());
    outside.again().unwrap_or(outside).data_dir()
}

/// Why the program does not start.
#[derive(Debug)]
pub enum Refused {
    /// The configuration is wrong.
    Faults(Vec<Fault>),
    /// The database is none for this program.
    Store(OpenError),
    /// The system said no.
    System(io::Error),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Faults(faults) => {
                let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
                f.write_str(&faults.join("\n"))
            }
            Refused::Store(error) => error.fmt(f),
            Refused::System(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Refused {}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Refused::System(error)
    }
}

/// Opens the store and merges what it says with the rest. A store that cannot be opened is left aside until it can, with a
/// word in the log: requests matter more. One of a newer version ends the program, so that it is not harmed.
pub async fn open(sources: Sources, data_dir: &Path) -> Result<Live, Refused> {
    let store = Store::open_or_wait(&store::Options::new(data_dir)).map_err(Refused::Store)?;
    Live::open(sources, store).await.map_err(Refused::Faults)
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
    files::private_dir(data_dir)?;
    let mut file = private_file(&data_dir.join(KEYS_FILE))?;
    write!(file, "[[keys]]\nname = \"{name}\"\nsha256 = \"{}\"\n\n", hex(&digest))?;
    file.sync_all()?;
    Ok(key)
}

/// Opens a file of the data folder for appending, for its owner only.
fn private_file(path: &Path) -> io::Result<fs::File> {
    files::private().create(true).append(true).open(path)
}

/// Locks the data folder against a second program. The lock lives as long as the file.
pub fn lock(data_dir: &Path) -> io::Result<fs::File> {
    files::private_dir(data_dir)?;
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
        let load = || settings::load(&load(&args(dir.path(), &[("addr", "0.0.0.0:2402")])).unwrap().0);
        let faults = load().unwrap_err();
        assert!(faults[0].message.contains("flow-router key"), "{faults:?}");
        let key = make_key(dir.path(), "laptop").unwrap();
        let settings = load().unwrap();
        assert!(settings.require_key);
        assert_eq!(&*settings.keys[0].name, "laptop");
        let kept = fs::read_to_string(dir.path().join(KEYS_FILE)).unwrap();
        assert!(!kept.contains(&key) && !kept.contains(key.trim_start_matches("flr_")));
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
    fn the_data_folder_is_found_through_a_configuration_that_is_wrong_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("wrong.toml");
        fs::write(&file, format!("data_dir = \"{}\"\nadr = 1\n", dir.path().join("kept").display())).unwrap();
        let named = Args { action: Action::Check, config: Some(file), flags: Vec::new() };
        assert!(load(&named).is_err());
        assert_eq!(data_dir(&named), dir.path().join("kept"));
        // As everywhere else: `--data-dir=~/x` is not the shell's to resolve, and a file that is not there says nothing.
        let home = Args { config: Some("none.toml".into()), flags: vec![("data_dir", "~/x".to_owned())], ..named };
        assert_eq!(data_dir(&home), std::env::home_dir().unwrap().join("x"));
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
