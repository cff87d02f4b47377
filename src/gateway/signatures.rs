//! Opaque signatures kept for clients whose dialect, or whose code, has no place for them.
//!
//! A tool turn that goes back to its vendor without its signed thinking is refused. What an answer said before its calls
//! is kept here under the call's id, for as long as an agent's turn may take, and put back when the next request brings
//! the call without it. In memory only.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use codecs::hub::recall::Kept;

/// Entries at most; the oldest go first.
const ENTRIES_MAX: usize = 2_048;
/// How long an entry is worth keeping.
const AGE_MAX: Duration = Duration::from_secs(3_600);

/// The store. Cheap to clone; one short lock per request and per answer with calls, none per chunk.
#[derive(Debug, Clone, Default)]
pub(super) struct Signatures {
    entries: Arc<Mutex<Entries>>,
}

#[derive(Debug, Default)]
struct Entries {
    by_call: HashMap<(Arc<str>, String), (Arc<Kept>, Instant)>,
    /// Keys in the order in which they came.
    order: VecDeque<(Arc<str>, String)>,
}

impl Signatures {
    /// Keeps what belongs to `caller`'s calls.
    pub(super) fn keep(&self, caller: &Arc<str>, kept: Vec<Kept>, now: Instant) {
        if kept.is_empty() {
            return;
        }
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        for kept in kept {
            let key = (caller.clone(), kept.call_id.clone());
            if entries.by_call.insert(key.clone(), (Arc::new(kept), now)).is_none() {
                entries.order.push_back(key);
            }
        }
        while let Some(oldest) = entries.order.front() {
            let aged = entries.by_call.get(oldest).is_none_or(|(_, at)| now.duration_since(*at) > AGE_MAX);
            if !aged && entries.order.len() <= ENTRIES_MAX {
                break;
            }
            if let Some(oldest) = entries.order.pop_front() {
                entries.by_call.remove(&oldest);
            }
        }
    }

    /// What belongs to a call of `caller`.
    pub(super) fn recall(&self, caller: &Arc<str>, call_id: &str, now: Instant) -> Option<Arc<Kept>> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.by_call.is_empty() {
            return None;
        }
        let (kept, at) = entries.by_call.get(&(caller.clone(), call_id.to_owned()))?;
        (now.duration_since(*at) <= AGE_MAX).then(|| kept.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(call_id: &str) -> Kept {
        Kept { call_id: call_id.into(), thinking: Vec::new(), signature: None }
    }

    #[test]
    fn entries_belong_to_a_caller_and_grow_old() {
        let (store, now) = (Signatures::default(), Instant::now());
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        store.keep(&a, vec![kept("c1")], now);
        assert!(store.recall(&a, "c1", now).is_some());
        assert!(store.recall(&b, "c1", now).is_none());
        assert!(store.recall(&a, "c1", now + AGE_MAX * 2).is_none());
    }

    #[test]
    fn the_oldest_go_first() {
        let (store, now) = (Signatures::default(), Instant::now());
        let a: Arc<str> = "a".into();
        for n in 0..ENTRIES_MAX + 10 {
            store.keep(&a, vec![kept(&n.to_string())], now);
        }
        assert!(store.recall(&a, "9", now).is_none());
        assert!(store.recall(&a, "10", now).is_some());
    }
}
