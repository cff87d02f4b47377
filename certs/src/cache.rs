//! Leaves by name: signed once, however many ask at the same time, kept for a bounded number of names.
//!
//! In memory only. There are no negative entries: a name that is refused costs a comparison, no signature.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use rustls::sign::CertifiedKey;

use crate::{Authority, Host, LeafKey, MintError, leaf::Leaf};

/// Most names kept; the one asked for longest ago gives way. There are about twenty to intercept.
pub const NAMES_MAX: usize = 64;

/// Leaves of one authority.
pub struct Cache {
    key: LeafKey,
    held: Mutex<Held>,
    asked: AtomicU64,
    minted: AtomicU64,
}

struct Held {
    authority: Arc<Authority>,
    entries: HashMap<Host, Entry>,
    /// Counts lookups: the clock of `Entry::used`.
    tick: u64,
}

struct Entry {
    slot: Arc<Slot>,
    used: u64,
}

/// Who comes first signs with this locked; the others wait for it: 0.1 ms.
type Slot = Mutex<Option<Kept>>;

struct Kept {
    leaf: Leaf,
    key: Arc<CertifiedKey>,
}

/// What a cache did and holds, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheLoad {
    /// Names kept now.
    pub names: usize,
    /// Times that a leaf was asked for.
    pub asked: u64,
    /// Leaves signed.
    pub minted: u64,
}

impl Cache {
    /// A cache of leaves that `authority` signs for `key`.
    pub fn new(authority: Arc<Authority>, key: LeafKey) -> Self {
        let held = Held { authority, entries: HashMap::new(), tick: 0 };
        Self { key, held: Mutex::new(held), asked: AtomicU64::new(0), minted: AtomicU64::new(0) }
    }

    /// The leaf for `host` with its key and the chain to send: from memory, or signed now.
    pub fn get(&self, host: &Host, now: SystemTime) -> Result<Arc<CertifiedKey>, MintError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let (slot, authority) = self.slot(host)?;
        let mut kept = lock(&slot);
        if let Some(kept) = kept.as_ref().filter(|kept| kept.leaf.is_fresh(now)) {
            return Ok(kept.key.clone());
        }
        self.minted.fetch_add(1, Ordering::Relaxed);
        let leaf = authority.mint(host, &self.key, now)?;
        let chain = vec![leaf.certificate.clone(), authority.issuing().clone()];
        let key = Arc::new(CertifiedKey::new(chain, self.key.signing.clone()));
        *kept = Some(Kept { leaf, key: key.clone() });
        Ok(key)
    }

    fn slot(&self, host: &Host) -> Result<(Arc<Slot>, Arc<Authority>), MintError> {
        let mut held = lock(&self.held);
        let held = &mut *held;
        held.tick += 1;
        if let Some(entry) = held.entries.get_mut(host) {
            entry.used = held.tick;
            return Ok((entry.slot.clone(), held.authority.clone()));
        }
        // Before anything is kept: strangers' names must not push ours out.
        if !held.authority.names().cover(host) {
            return Err(MintError::OutsideConstraint(host.to_string()));
        }
        if held.entries.len() >= NAMES_MAX
            && let Some(oldest) = held.entries.iter().min_by_key(|(_, entry)| entry.used).map(|(host, _)| host.clone())
        {
            held.entries.remove(&oldest);
        }
        let slot = Arc::new(Mutex::new(None));
        held.entries.insert(host.clone(), Entry { slot: slot.clone(), used: held.tick });
        Ok((slot, held.authority.clone()))
    }

    /// Signs with another authority from now on, after a rotation. Connections that exist keep their leaf.
    pub fn replace(&self, authority: Arc<Authority>) {
        let mut held = lock(&self.held);
        held.authority = authority;
        held.entries.clear();
    }

    /// The authority that signs.
    pub fn authority(&self) -> Arc<Authority> {
        lock(&self.held).authority.clone()
    }

    /// What it did and holds.
    pub fn load(&self) -> CacheLoad {
        CacheLoad {
            names: lock(&self.held).entries.len(),
            asked: self.asked.load(Ordering::Relaxed),
            minted: self.minted.load(Ordering::Relaxed),
        }
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("load", &self.load()).finish_non_exhaustive()
    }
}

/// Nothing is left half-done under these locks: a panic elsewhere does not make their content wrong.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
