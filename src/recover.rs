//! The way back in for who has forgotten the password: sets a new one, from the machine itself.
//!
//! Whoever may do this owns the data folder, and could change what lies in it anyway. While the program runs, it is asked
//! to make the change, with the token that lies in that folder; otherwise the store is changed directly. Sessions that
//! the old password granted end with it.

use std::{io, time::Duration};

use proxy::{Method, StatusCode};
use serde_json::json;
use zeroize::Zeroizing;

use crate::{
    api::auth::hash_password,
    boot, running,
    settings::{Fault, Secret, Settings, Sources, draft_source},
    store::{Options, Store, audit, sessions, settings as rows},
};

/// Letters of a password that is made here: none that look alike. 32, so that each is five random bits.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// Letters of such a password: 120 bits.
const LENGTH: usize = 24;

/// How long the running program may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// How a new password was put in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Through {
    /// By the program that runs.
    Program,
    /// In the store, for the next start.
    Store,
}

/// A random password. `None`: the system has no randomness.
pub fn random_password() -> Option<Zeroizing<String>> {
    let mut random = Zeroizing::new([0u8; LENGTH]);
    getrandom::fill(&mut *random).ok()?;
    let letters = random.iter().map(|byte| char::from(LETTERS[usize::from(byte & 31)]));
    let mut password = Zeroizing::new(String::with_capacity(LENGTH + 3));
    for (at, letter) in letters.enumerate() {
        if at > 0 && at % 6 == 0 {
            password.push('-');
        }
        password.push(letter);
    }
    Some(password)
}

/// The hash of a password, as it stands in a file.
///
/// # Errors
/// It is too short or too long.
pub fn hash(password: Zeroizing<String>) -> io::Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(hash_password(password)).map_err(io::Error::other)
}

/// Sets the password. `settings` are those without the store.
///
/// # Errors
/// The password is too short, a file or the environment says another one, or neither the program nor the store took it.
pub fn reset_password(sources: &Sources, settings: &Settings, password: Zeroizing<String>) -> io::Result<Through> {
    let source = draft_source(sources, "password_hash");
    if source.is_pinned() {
        let message = format!("password_hash is set by the {}: change it there", source.name());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match boot::lock(&settings.data_dir) {
        Ok(_lock) => {
            let options = boot::store_options(sources, settings).map_err(|faults| io::Error::other(first(&faults)))?;
            runtime.block_on(in_store(&options, password)).map(|()| Through::Store)
        }
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            runtime.block_on(by_program(settings, password)).map(|()| Through::Program)
        }
        Err(error) => Err(error),
    }
}

fn first(faults: &[Fault]) -> String {
    faults.first().map(ToString::to_string).unwrap_or_default()
}

async fn in_store(options: &Options, password: Zeroizing<String>) -> io::Result<()> {
    let hash = Secret::new(hash_password(password).await.map_err(io::Error::other)?);
    let store = Store::open(options).map_err(io::Error::other)?;
    let vault = store.clone();
    let written = store.write(move |change| {
        rows::set_secret(change, vault.vault(), "password_hash", &hash)?;
        sessions::delete_all(change, None, None)?;
        let action = "auth.reset_password".to_owned();
        let mut row =
            audit::AuditRow { ts_ms: crate::store::now_ms(), actor: "cli".to_owned(), action, ..Default::default() };
        audit::append(change, &mut row)
    });
    let written = written.await.map_err(io::Error::other);
    store.close(PATIENCE);
    written
}

async fn by_program(settings: &Settings, password: Zeroizing<String>) -> io::Result<()> {
    let body = json!({"password": password.as_str()});
    let answer = running::ask(settings, Method::PUT, "/api/settings/require-login", Some(body), PATIENCE).await?;
    match answer.status {
        StatusCode::OK => Ok(()),
        status => Err(io::Error::other(format!("the program refused ({status}): {}", answer.message()))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn made_passwords_are_long_random_and_readable() {
        let (one, two) = (random_password().unwrap(), random_password().unwrap());
        assert_ne!(one, two);
        assert_eq!(one.len(), 27);
        assert!(one.split('-').all(|part| part.len() == 6 && part.bytes().all(|byte| LETTERS.contains(&byte))));
    }

    #[test]
    fn a_password_is_set_in_the_store_while_nothing_runs() {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings { data_dir: dir.path().to_owned(), ..Settings::default() };
        let set = |text: &str| reset_password(&Sources::default(), &settings, Zeroizing::new(text.to_owned()));
        assert!(set("short").unwrap_err().to_string().contains("10 characters"));
        assert_eq!(set("correct horse").unwrap(), Through::Store);
        let store = Store::open(&Options::new(dir.path())).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let vault = store.clone();
        let hash = runtime
            .block_on(store.read(move |connection| rows::get_secret(connection, vault.vault(), "password_hash")));
        assert!(hash.unwrap().unwrap().expose().starts_with("$argon2id$"));
        store.close(PATIENCE);
    }

    #[test]
    fn a_password_that_is_said_elsewhere_is_not_set_here() {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings { data_dir: dir.path().to_owned(), ..Settings::default() };
        let flags = vec![("password_hash", "0".repeat(64))];
        let sources = Sources { flags, ..Sources::default() };
        let error = reset_password(&sources, &settings, Zeroizing::new("correct horse".to_owned())).unwrap_err();
        assert!(error.to_string().contains("set by the flag"), "{error}");
    }
}
