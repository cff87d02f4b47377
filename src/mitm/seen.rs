//! What was last seen of each host of the catalogue: for people who ask whether it works. As large as the catalogue.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use super::policy::Distrust;
use crate::settings::tools;

/// What was seen of one host. Times are in Unix milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostSeen {
    /// The last handshake that our certificate was good enough for.
    pub handshake_ms: Option<i64>,
    /// The protocol that was agreed on then.
    pub protocol: Option<&'static str>,
    /// The last one that a client refused, and in which words.
    pub refused: Option<(i64, &'static str)>,
    /// The last chat that went to a model of ours.
    pub chat_ms: Option<i64>,
    /// Chats that went to a model of ours.
    pub chats: u64,
    /// Calls that went on to the vendor.
    pub passed: u64,
    /// Chats that were meant for a model of ours and went to the vendor, because nobody answered.
    pub fell_back: u64,
    /// Chats in a row that could not be read.
    pub unreadable: u32,
}

impl HostSeen {
    /// Whether the tool seems to have changed: so many chats in a row could not be read.
    pub fn is_strange(&self) -> bool {
        self.unreadable >= STRANGE
    }
}

/// Chats in a row after which a tool counts as changed.
const STRANGE: u32 = 3;

/// All hosts. One short lock per handshake and per call.
#[derive(Debug, Default)]
pub struct Seen(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    hosts: HashMap<&'static str, HostSeen>,
    distrust: Distrust,
    /// We ask ourselves: that says nothing of clients.
    testing: bool,
}

impl Inner {
    fn note(&mut self, name: &str, what: impl FnOnce(&mut HostSeen)) {
        if let Some(host) = tools::host(name) {
            what(self.hosts.entry(host.name).or_default());
        }
    }
}

impl Seen {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic elsewhere leaves counters as good as they were.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes something about a host; names that are nobody's are not kept.
    pub fn note(&self, name: &str, what: impl FnOnce(&mut HostSeen)) {
        self.lock().note(name, what);
    }

    /// We begin to ask ourselves, or have ended.
    pub fn testing(&self, now: bool) {
        self.lock().testing = now;
    }

    /// A handshake was good.
    pub fn accepted(&self, name: &str, protocol: &'static str, now_ms: i64) {
        let mut inner = self.lock();
        if inner.testing {
            return;
        }
        inner.distrust.accepted(name);
        inner.note(name, |host| (host.handshake_ms, host.protocol) = (Some(now_ms), Some(protocol)));
    }

    /// A client has refused our certificate. True if the host is left alone from now on.
    pub fn refused(&self, name: &str, how: &'static str, now_ms: i64) -> bool {
        let mut inner = self.lock();
        inner.note(name, |host| host.refused = Some((now_ms, how)));
        inner.distrust.refused(name, Instant::now())
    }

    /// Whether a host is left alone, because its clients refuse our certificate.
    pub fn is_distrusted(&self, name: &str) -> bool {
        self.lock().distrust.is_distrusted(name, Instant::now())
    }

    /// What was seen of a host.
    pub fn host(&self, name: &str) -> HostSeen {
        self.lock().hosts.get(name).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hosts_of_the_catalogue_are_kept() {
        let seen = Seen::default();
        for n in 0..1000 {
            seen.note(&format!("{n}.example"), |host| host.passed += 1);
        }
        seen.accepted("API2.cursor.sh", "h2", 7);
        assert_eq!(seen.lock().hosts.len(), 1);
        assert_eq!(seen.host("api2.cursor.sh").protocol, Some("h2"));
        assert!(!seen.refused("api2.cursor.sh", "unknown_ca", 8) && seen.refused("api2.cursor.sh", "unknown_ca", 9));
        assert!(seen.is_distrusted("api2.cursor.sh"));
        seen.accepted("api2.cursor.sh", "h2", 10);
        assert!(!seen.is_distrusted("api2.cursor.sh"));
    }
}
