//! From the command line to valid settings; the data folder, its lock, and the keys that are kept in a file.

use std::{
    fmt, fs,
    io::{self, Write},
    path::Path,
};

use zeroize::Zeroizing;

use crate::{
    args::Args,
    files,
    gateway::new_key,
    live::Live,
    settings::{self, Fault, KEYS_FILE, Secret, SecretStore, Settings, Sources},
    store::{self, Guard, OpenError, Store, digest::hex},
};

/// Reads everything that `args` leads to, but for the store; the settings are a draft that says where the store is.
pub fn load(args: &Args) -> Result<(Sources, Settings), Vec<Fault>> {
    let sources = Sources::read(args.flags.clone(), args.config.clone())?;
    let settings = settings::draft(&sources)?;
    Ok((sources, settings))
}

/// What `args` lead to as far as it can be understood, also through a configuration that is wrong, or cannot be read: enough
/// to find the data folder and to open what lies in it.
pub fn salvaged(args: &Args) -> (Sources, Settings) {
    let outside = Sources::outside(args.flags.clone(), args.config.clone());
    let sources = outside.again().unwrap_or(outside);
    let settings = sources.draft();
    (sources, settings)
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

/// How the store of these settings is to be opened. What guards its keys is read now, from the environment or from the file
/// that it names; a part of no snapshot has it.
///
/// # Errors
/// It is not there, or cannot be read.
pub fn store_options(sources: &Sources, settings: &Settings) -> Result<store::Options, Vec<Fault>> {
    let given = |variable: &str| -> Result<Secret, Vec<Fault>> {
        let told = |name: &str| sources.env.iter().find(|(other, _)| other == name).map(|(_, text)| text.as_str());
        let from_file = format!("{variable}_FILE");
        let text = match (told(variable), told(&from_file)) {
            (Some(text), None) => Zeroizing::new(text.to_owned()),
            (None, Some(path)) => fs::read_to_string(path).map(Zeroizing::new).map_err(|error| {
                vec![Fault { place: from_file.clone(), message: format!("{path} cannot be read: {error}") }]
            })?,
            (both, _) => {
                let why = if both.is_some() { "is set beside" } else { "is not set, nor is" };
                let message = format!("{variable} {why} {from_file}: secret_store needs one of them");
                return Err(vec![Fault { place: variable.to_owned(), message }]);
            }
        };
        // The line's end is no part of it; blanks are.
        let text = Secret::new(text.trim_end_matches(['\r', '\n']));
        match text.expose().is_empty() {
            true => Err(vec![Fault { place: variable.to_owned(), message: "is empty".to_owned() }]),
            false => Ok(text),
        }
    };
    for (variable, store, name) in [
        ("FLOW_ROUTER_SECRET_KEY", SecretStore::Env, "env"),
        ("FLOW_ROUTER_SECRET_PASSPHRASE", SecretStore::Passphrase, "passphrase"),
    ] {
        let set = sources.env.iter().find(|(other, _)| other.strip_suffix("_FILE").unwrap_or(other) == variable);
        if let Some((place, _)) = set.filter(|_| settings.secret_store != store) {
            // Whoever has set it believes the keys guarded.
            let message = format!("is set, but guards nothing: say secret_store = \"{name}\", or take it away");
            return Err(vec![Fault { place: place.clone(), message }]);
        }
    }
    let guard = match settings.secret_store {
        SecretStore::File => Guard::Mode,
        SecretStore::Env => Guard::Key(given("FLOW_ROUTER_SECRET_KEY")?),
        SecretStore::Passphrase => Guard::Passphrase(given("FLOW_ROUTER_SECRET_PASSPHRASE")?),
    };
    Ok(store::Options { guard, ..store::Options::new(&settings.data_dir) })
}

/// Opens the store and merges what it says with the rest. A store that cannot be opened is left aside until it can, with a
/// word in the log: requests matter more. One of a newer version ends the program, so that it is not harmed.
pub async fn open(sources: Sources, settings: &Settings) -> Result<Live, Refused> {
    let options = store_options(&sources, settings).map_err(Refused::Faults)?;
    let store = Store::open_or_wait(&options).map_err(Refused::Store)?;
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
    fn what_guards_the_keys_comes_from_the_environment_or_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("passphrase");
        fs::write(&file, "open sesame \n").unwrap();
        let options = |env: &[(&str, &str)]| {
            let env = env.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
            let sources = Sources { env, ..Sources::default() };
            store_options(&sources, &settings::draft(&sources).unwrap()).map(|options| options.guard)
        };
        assert!(matches!(options(&[]), Ok(Guard::Mode)));
        let stores = |name: &'static str| ("FLOW_ROUTER_SECRET_STORE", name);
        let key = ("FLOW_ROUTER_SECRET_KEY", "x");
        assert!(matches!(options(&[stores("env"), key]), Ok(Guard::Key(text)) if text.expose() == "x"));
        let named = ("FLOW_ROUTER_SECRET_PASSPHRASE_FILE", file.to_str().unwrap());
        let found = options(&[stores("passphrase"), named]).unwrap();
        assert!(matches!(found, Guard::Passphrase(text) if text.expose() == "open sesame "));
        for (env, said) in [
            (&[stores("env")][..], "is not set"),
            (&[stores("env"), key, ("FLOW_ROUTER_SECRET_KEY_FILE", "y")], "is set beside"),
            (&[stores("env"), ("FLOW_ROUTER_SECRET_KEY_FILE", "/none")], "cannot be read"),
            (&[stores("passphrase"), ("FLOW_ROUTER_SECRET_PASSPHRASE", "")], "is empty"),
            (&[key], "guards nothing"),
            (&[stores("passphrase"), named, ("FLOW_ROUTER_SECRET_KEY_FILE", "y")], "secret_store = \"env\""),
        ] {
            let faults = options(env).unwrap_err();
            assert!(faults[0].message.contains(said), "{env:?} {faults:?}");
        }
        let keyring =
            Sources { env: vec![("FLOW_ROUTER_SECRET_STORE".into(), "keyring".into())], ..Sources::default() };
        assert!(settings::draft(&keyring).unwrap_err()[0].message.contains("FLOW_ROUTER_SECRET_KEY_FILE"));
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
        let data_dir = |args: &Args| salvaged(args).1.data_dir;
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
