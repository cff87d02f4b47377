//! The certificate authority of this machine: made when it is first needed, confined to the catalogue.

use std::{path::Path, time::SystemTime};

use certs::{Authority, Error, Folder, Host, Names, Profile};

use super::{Failure, policy::OWN_NAME};
use crate::settings::{Interception, tools::HOSTS};

/// Names that it may sign for: every host of the catalogue with what is below the vendors' common parents, and our own. New
/// hosts of the catalogue need no new trust while they are below one of these.
const PARENTS: [&str; 4] = ["githubcopilot.com", "api5.cursor.sh", "kiro.dev", OWN_NAME];

/// What a new authority is made from.
pub fn profile(settings: &Interception) -> Result<Profile, Failure> {
    let names = HOSTS.iter().map(|host| host.name).chain(PARENTS).map(Host::parse).collect::<Result<Vec<_>, _>>();
    let names = names.map_err(|error| Failure::new("ca", error.to_string()))?;
    Ok(Profile { names: Names::new(names), sealed: settings.sealed, days: settings.days })
}

/// The authority in the folder, or a new one where none was ever made: seconds of CPU. One that has expired or is damaged
/// is never replaced without a word, for trust would be gone.
///
/// # Errors
/// `ca_expired`, `ca_key_permissions`, `ca_damaged`, `ca_outdated`, `ca`.
pub fn ready(folder: &Path, settings: &Interception, now: SystemTime) -> Result<Authority, Failure> {
    let files = Folder::new(folder);
    let loaded = match files.load(now) {
        Err(Error::Missing { .. }) => files.create(&profile(settings)?, now),
        other => other,
    };
    let authority = loaded.map_err(|error| failure(&error))?;
    let outside = settings
        .wanted_hosts()
        .into_iter()
        .find(|name| Host::parse(name).map_or(true, |host| !authority.names().cover(&host)));
    match outside {
        None => Ok(authority),
        Some(name) => {
            let message = format!("the certificate authority was made before {name} was known and cannot sign for it");
            Err(Failure::new("ca_outdated", message).run("flow-router mitm rotate"))
        }
    }
}

/// Why there is no authority.
pub fn failure(error: &Error) -> Failure {
    let code = match error {
        Error::Missing { .. } => "ca_missing",
        Error::Expired { .. } | Error::NotYetValid { .. } => "ca_expired",
        Error::Permissions { .. } | Error::Owner { .. } => "ca_key_permissions",
        Error::Damaged { .. } | Error::Incomplete { .. } | Error::KeyMismatch { .. } | Error::Unconstrained { .. } => {
            "ca_damaged"
        }
        _ => "ca",
    };
    let failure = Failure::new(code, error.to_string());
    match error {
        Error::Expired { .. } => failure.run("flow-router mitm rotate"),
        Error::Permissions { .. } => failure.run("flow-router mitm rotate --fix-permissions"),
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_host_of_the_catalogue_can_be_signed_for() {
        let profile = profile(&Interception { sealed: true, days: 30, ..Interception::default() }).unwrap();
        for host in HOSTS {
            assert!(profile.names.cover(&Host::parse(host.name).unwrap()), "{}", host.name);
        }
        assert!(profile.names.cover(&Host::parse(OWN_NAME).unwrap()));
        for other in ["googleapis.com", "amazonaws.com", "github.com", "cursor.sh", "storage.googleapis.com"] {
            assert!(!profile.names.cover(&Host::parse(other).unwrap()), "{other}");
        }
    }
}
