//! Names to addresses: the system's resolver behind a small cache, or the one past the hosts file.
//!
//! Nothing here is DNS; `getaddrinfo` also reads the hosts file and orders by RFC 6724. Concurrent questions for one
//! name share one answer, failures are not remembered, and the cache is bounded in entries and in age because the
//! system tells no time to live.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::OnceCell;

use super::past_hosts::PastHosts;
use crate::{Error, Kind, Retry, pool::key::Origin};

/// Names remembered.
const ENTRIES_MAX: usize = 256;
/// Age above which a name is asked again.
const AGE_MAX: Duration = Duration::from_secs(30);
/// Addresses used of one answer.
const ADDRESSES_MAX: usize = 16;

type Addresses = Arc<[IpAddr]>;

/// Who is asked for the addresses of names.
#[derive(Debug, Clone, Default)]
pub enum Names {
    /// The system, which reads the hosts file.
    #[default]
    System,
    /// DNS, past the hosts file.
    PastHosts(Arc<PastHosts>),
}

/// Answers for names, with memory.
#[derive(Debug)]
pub(crate) struct Resolver {
    /// Addresses that are never used, however they were found.
    refuse: fn(IpAddr) -> bool,
    pins: HashMap<String, Addresses>,
    names: Names,
    cache: Mutex<HashMap<String, Entry>>,
}

#[derive(Debug)]
struct Entry {
    asked: Instant,
    /// Filled by the first who asks; the others wait for it. If that one is cancelled, the next takes over.
    answer: Arc<OnceCell<Addresses>>,
}

impl Resolver {
    /// `pins` are names with fixed addresses; what `refuse` says yes to is never connected to.
    pub(crate) fn new(pins: &[(String, Vec<IpAddr>)], refuse: fn(IpAddr) -> bool, names: Names) -> Self {
        let pins = pins.iter().map(|(name, ips)| (name.to_ascii_lowercase(), ips.as_slice().into())).collect();
        Self { refuse, pins, names, cache: Mutex::default() }
    }

    /// The addresses of an origin's host, best first; never empty.
    pub(crate) async fn resolve(&self, origin: &Origin) -> Result<Addresses, Error> {
        let found = self.find(origin).await?;
        // The addresses that are judged are those that are dialled: a name cannot mean another one a moment later.
        if !found.iter().any(|ip| (self.refuse)(*ip)) {
            return Ok(found);
        }
        let allowed: Addresses = found.iter().copied().filter(|ip| !(self.refuse)(*ip)).collect();
        if allowed.is_empty() {
            return Err(Error::upstream(Kind::Refused(origin.host().to_owned()), Retry::Never));
        }
        Ok(allowed)
    }

    async fn find(&self, origin: &Origin) -> Result<Addresses, Error> {
        let host = origin.host();
        if let Some(ip) = origin.ip() {
            return Ok([ip].into());
        }
        if let Some(pinned) = self.pins.get(host) {
            return if pinned.is_empty() { Err(unknown(host)) } else { Ok(pinned.clone()) };
        }
        let cell = self.entry(host, Instant::now());
        let answer = cell
            .get_or_try_init(|| async {
                let mut ips: Vec<IpAddr> = Vec::new();
                let mut add = |ip: IpAddr| {
                    if ips.len() < ADDRESSES_MAX && !ips.contains(&ip) {
                        ips.push(ip);
                    }
                };
                match &self.names {
                    // What can only be this machine is no matter of DNS (RFC 6761 §6.3).
                    Names::PastHosts(dns) if !origin.is_loopback() => dns.lookup(host).await?.into_iter().for_each(add),
                    Names::System | Names::PastHosts(_) => {
                        let found = tokio::net::lookup_host((host, 0)).await.map_err(|_| unknown(host))?;
                        found.for_each(|address| add(address.ip()));
                    }
                }
                if ips.is_empty() { Err(unknown(host)) } else { Ok(ips.into()) }
            })
            .await?;
        Ok(Arc::clone(answer))
    }

    /// Puts the address that answered in front, so that a dead family costs its delay once and not per connection.
    pub(crate) fn prefer(&self, host: &str, ip: IpAddr) {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = cache.get_mut(host) else { return };
        let Some(old) = entry.answer.get() else { return };
        if old.first() == Some(&ip) || !old.contains(&ip) {
            return;
        }
        let first = std::iter::once(ip);
        let new: Addresses = first.chain(old.iter().copied().filter(|other| *other != ip)).collect();
        entry.answer = Arc::new(OnceCell::new_with(Some(new)));
    }

    fn entry(&self, host: &str, now: Instant) -> Arc<OnceCell<Addresses>> {
        let fresh = |entry: &Entry| now.duration_since(entry.asked) < AGE_MAX;
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = cache.get(host).filter(|e| fresh(e)) {
            return Arc::clone(&entry.answer);
        }
        if cache.len() >= ENTRIES_MAX {
            cache.retain(|_, entry| fresh(entry));
        }
        if cache.len() >= ENTRIES_MAX {
            let oldest = cache.iter().min_by_key(|(_, entry)| entry.asked).map(|(name, _)| name.clone());
            oldest.and_then(|name| cache.remove(&name));
        }
        let answer = Arc::new(OnceCell::new());
        cache.insert(host.to_owned(), Entry { asked: now, answer: Arc::clone(&answer) });
        answer
    }
}

fn unknown(host: &str) -> Error {
    Error::upstream(Kind::Resolve(host.to_owned()), Retry::Safe)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn origin(host: &str) -> Origin {
        Origin::parse(&format!("http://{host}")).unwrap()
    }

    #[tokio::test]
    async fn addresses_and_pins_are_not_asked_for() {
        let pins = [("Pinned.Test".to_owned(), vec!["192.0.2.1".parse().unwrap()]), ("gone.test".to_owned(), vec![])];
        let resolver = Resolver::new(&pins, |_| false, Names::System);
        assert_eq!(*resolver.resolve(&origin("[::1]")).await.unwrap(), ["::1".parse::<IpAddr>().unwrap()]);
        assert_eq!(*resolver.resolve(&origin("pinned.test")).await.unwrap(), ["192.0.2.1".parse::<IpAddr>().unwrap()]);
        let error = resolver.resolve(&origin("gone.test")).await.unwrap_err();
        assert_eq!((error.kind, error.retry), (Kind::Resolve("gone.test".to_owned()), Retry::Safe));
        assert!(resolver.cache.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn refused_addresses_are_not_used() {
        let ips = ["192.0.2.1", "192.0.2.2"].map(|ip| ip.parse::<IpAddr>().unwrap());
        let pins = [("mixed.test".to_owned(), ips.to_vec()), ("bad.test".to_owned(), vec![ips[0]])];
        let resolver = Resolver::new(&pins, |ip| ip == IpAddr::from([192, 0, 2, 1]), Names::System);
        assert_eq!(*resolver.resolve(&origin("mixed.test")).await.unwrap(), [ips[1]]);
        for host in ["bad.test", "192.0.2.1"] {
            let error = resolver.resolve(&origin(host)).await.unwrap_err();
            assert_eq!((error.kind, error.retry), (Kind::Refused(host.to_owned()), Retry::Never));
        }
    }

    #[tokio::test]
    async fn localhost_is_loopback_and_remembered() {
        let resolver = Resolver::new(&[], |_| false, Names::System);
        let first = resolver.resolve(&origin("localhost")).await.unwrap();
        assert!(first.iter().all(IpAddr::is_loopback));
        let second = resolver.resolve(&origin("localhost")).await.unwrap();
        assert!(Arc::ptr_eq(&first, &second));
    }

    #[test]
    fn the_cache_is_bounded_and_ages() {
        let resolver = Resolver::new(&[], |_| false, Names::System);
        let start = Instant::now();
        let kept = resolver.entry("kept", start);
        assert!(Arc::ptr_eq(&kept, &resolver.entry("kept", start + AGE_MAX / 2)));
        assert!(!Arc::ptr_eq(&kept, &resolver.entry("kept", start + AGE_MAX)));
        for n in 0..ENTRIES_MAX * 2 {
            resolver.entry(&format!("n{n}"), start + AGE_MAX);
        }
        assert_eq!(resolver.cache.lock().unwrap().len(), ENTRIES_MAX);
    }

    #[test]
    fn what_worked_comes_first() {
        let resolver = Resolver::new(&[], |_| false, Names::System);
        let ips: Vec<IpAddr> = ["::1", "127.0.0.1", "127.0.0.2"].iter().map(|ip| ip.parse().unwrap()).collect();
        resolver.entry("a", Instant::now()).set(ips.as_slice().into()).unwrap();
        resolver.prefer("a", ips[1]);
        resolver.prefer("a", "9.9.9.9".parse().unwrap());
        resolver.prefer("unknown", ips[1]);
        let now = resolver.entry("a", Instant::now());
        assert_eq!(**now.get().unwrap(), [ips[1], ips[0], ips[2]]);
    }
}
