//! The vendors' true addresses: asked of DNS past the hosts file, with those that the system knew before we changed it.
//!
//! Company networks know names that no DNS server of the internet does, so the system is asked first, while it still tells
//! the truth, and its answer is kept in `upstreams.json` for the next start.

use std::{
    collections::BTreeMap,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use proxy::PastHosts;
use tokio::task::JoinSet;
use tracing::warn;

use super::Failure;
use crate::{files, settings::Interception};

/// How long the system may take to resolve all names together.
const PATIENCE: Duration = Duration::from_secs(3);
/// Largest file that is read, bytes.
const BYTES_MAX: u64 = 64 * 1024;

/// The file in the folder `mitm`.
fn path(folder: &Path) -> PathBuf {
    folder.join("upstreams.json")
}

/// A resolver past the hosts file. `None`: there is no name server at all, which is well if every wanted host has a fixed
/// address.
///
/// # Errors
/// `upstream_unresolved` if a wanted host could never be reached.
pub(super) fn resolver(settings: &Interception) -> Result<Option<Arc<PastHosts>>, Failure> {
    let made = match settings.resolvers.as_slice() {
        [] => PastHosts::from_system(),
        servers => PastHosts::with_servers(servers),
    };
    match made {
        Ok(names) => Ok(Some(Arc::new(names))),
        Err(error) => match settings.wanted_hosts().into_iter().find(|name| !is_fixed(settings, name)) {
            None => Ok(None),
            Some(name) => {
                let message =
                    format!("{name} cannot be reached: this system has no name server ({error}); set mitm_resolvers");
                Err(Failure::new("upstream_unresolved", message))
            }
        },
    }
}

fn is_fixed(settings: &Interception, name: &str) -> bool {
    settings.addresses.iter().any(|(host, _)| host == name)
}

/// Fills the resolver's memory: with what an earlier start kept, and with what the system says now. To be called while the
/// hosts file is as the user has it.
pub(super) async fn learn(names: &PastHosts, settings: &Interception, folder: &Path) {
    for (name, ips) in kept(folder) {
        names.remember(&name, &ips);
    }
    let mut asking = JoinSet::new();
    for name in settings.wanted_hosts().into_iter().filter(|name| !is_fixed(settings, name)) {
        asking.spawn(async move {
            let found = tokio::net::lookup_host((name, 443)).await.ok()?;
            Some((name, found.map(|addr| addr.ip()).collect::<Vec<_>>()))
        });
    }
    let all = async {
        while let Some(answer) = asking.join_next().await {
            if let Ok(Some((name, ips))) = answer {
                names.remember(name, &ips);
            }
        }
    };
    // Who has not answered by then is asked past the hosts file, when it is needed.
    drop(tokio::time::timeout(PATIENCE, all).await);
    if let Err(error) = keep(folder, names.remembered()) {
        warn!(%error, "the vendors' addresses are not kept for the next start");
    }
}

fn kept(folder: &Path) -> BTreeMap<String, Vec<IpAddr>> {
    let path = path(folder);
    if fs::metadata(&path).map_or(true, |metadata| metadata.len() > BYTES_MAX) {
        return BTreeMap::new();
    }
    fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

fn keep(folder: &Path, known: Vec<(String, Vec<IpAddr>)>) -> std::io::Result<()> {
    let known: BTreeMap<_, _> = known.into_iter().collect();
    if known.is_empty() || known == kept(folder) {
        return Ok(());
    }
    files::replace(&path(folder), &serde_json::to_vec_pretty(&known)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_kept_is_read_and_damage_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert!(kept(dir.path()).is_empty());
        let known = vec![("a.example".to_owned(), vec!["192.0.2.1".parse().unwrap()])];
        keep(dir.path(), known.clone()).unwrap();
        assert_eq!(kept(dir.path()).into_iter().collect::<Vec<_>>(), known);
        for damaged in ["", "[]", "{\"a\":1}"] {
            fs::write(path(dir.path()), damaged).unwrap();
            assert!(kept(dir.path()).is_empty());
        }
    }

    #[test]
    fn fixed_addresses_need_no_name_server() {
        let resolvers = vec!["127.0.0.1:53".parse().unwrap()];
        let mut settings = Interception { resolvers, ..Interception::default() };
        assert!(resolver(&settings).unwrap().is_some());
        settings.addresses = vec![("q.us-east-1.amazonaws.com".into(), "127.0.0.1".parse().unwrap())];
        assert!(is_fixed(&settings, "q.us-east-1.amazonaws.com") && !is_fixed(&settings, "api2.cursor.sh"));
    }
}
