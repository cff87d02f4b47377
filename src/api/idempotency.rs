//! Changes that are sent twice under one `Idempotency-Key` happen once.
//!
//! The first answer is kept in memory for ten minutes, and with it a key or password that it shows once; a restart forgets
//! it. Failures are not kept: they may be tried again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{Payload, Problem, Reply};

/// How long an answer is kept.
const LIFE: Duration = Duration::from_secs(600);
/// Answers that are kept at once.
const ENTRIES: usize = 512;
/// Largest answer that is kept, in bytes of its document.
const BYTES: usize = 64 * 1024;

/// All answers that are kept.
#[derive(Debug, Clone, Default)]
pub(super) struct Repeats(Arc<Mutex<HashMap<Name, Entry>>>);

/// Caller and key.
type Name = (String, String);

struct Entry {
    begun: Instant,
    fingerprint: [u8; 32],
    /// `None` while the first request runs.
    kept: Option<Kept>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("begun", &self.begun).finish_non_exhaustive()
    }
}

/// An answer that can be given again.
#[derive(Clone)]
pub(super) struct Kept {
    status: u16,
    headers: Vec<(&'static str, String)>,
    document: Option<Value>,
}

impl Kept {
    /// The answer, if it is one of those that are kept. Cookies are not: they belong to one browser.
    pub(super) fn of(reply: &Reply) -> Option<Self> {
        let document = match &reply.payload {
            Payload::Empty => None,
            Payload::Json(document) if document.to_string().len() <= BYTES => Some(document.clone()),
            _ => return None,
        };
        let cookies = reply.headers.iter().any(|(name, _)| *name == "set-cookie");
        (!cookies).then(|| Self { status: reply.status, headers: reply.headers.clone(), document })
    }

    /// The answer, marked as a repetition.
    pub(super) fn reply(self) -> Reply {
        let payload = self.document.map_or(Payload::Empty, Payload::Json);
        Reply { status: self.status, headers: self.headers, payload }.with("idempotent-replayed", "true")
    }
}

/// What is to be done with a request.
pub(super) enum Begun {
    /// It was done before: this was the answer.
    Again(Kept),
    /// It is to be done; without a guard where nothing more can be kept.
    New(Option<Guard>),
}

/// A request that runs. Dropped without an answer, it leaves nothing behind.
pub(super) struct Guard {
    repeats: Repeats,
    name: Option<Name>,
}

impl Repeats {
    /// Begins a request, or finds that it was done.
    ///
    /// # Errors
    /// 409 while the first one runs; 422 if another request had that key.
    pub(super) fn begin(&self, who: &str, key: &str, fingerprint: [u8; 32], now: Instant) -> Result<Begun, Problem> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let name = (who.to_owned(), key.to_owned());
        let is_old = |entry: &Entry| entry.kept.is_some() && now.saturating_duration_since(entry.begun) >= LIFE;
        if let Some(entry) = entries.get(&name).filter(|entry| !is_old(entry)) {
            return match &entry.kept {
                _ if entry.fingerprint != fingerprint => {
                    let message = "another request was sent under this Idempotency-Key";
                    Err(Problem::new(422, "idempotency_mismatch", message).param("Idempotency-Key"))
                }
                None => Err(Problem::new(409, "already_running", "the same request is being done").retry_after(1)),
                Some(kept) => Ok(Begun::Again(kept.clone())),
            };
        }
        if entries.len() >= ENTRIES {
            entries.retain(|_, entry| !is_old(entry));
        }
        if entries.len() >= ENTRIES {
            let done = entries.iter().filter(|(_, entry)| entry.kept.is_some());
            let oldest = done.min_by_key(|(_, entry)| entry.begun).map(|(name, _)| name.clone());
            match oldest {
                Some(oldest) => drop(entries.remove(&oldest)),
                None => return Ok(Begun::New(None)),
            }
        }
        entries.insert(name.clone(), Entry { begun: now, fingerprint, kept: None });
        Ok(Begun::New(Some(Guard { repeats: self.clone(), name: Some(name) })))
    }
}

impl Guard {
    /// Keeps the answer.
    pub(super) fn finish(mut self, kept: Kept) {
        let mut entries = self.repeats.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = self.name.take().and_then(|name| entries.get_mut(&name)) {
            entry.kept = Some(kept);
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(name) = self.name.take() {
            self.repeats.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn begin(repeats: &Repeats, key: &str, request: u8, now: Instant) -> Result<Begun, &'static str> {
        repeats.begin("me", key, [request; 32], now).map_err(|problem| problem.code)
    }

    fn guard(begun: Result<Begun, &'static str>) -> Guard {
        match begun {
            Ok(Begun::New(Some(guard))) => guard,
            _ => panic!("it is not new"),
        }
    }

    #[test]
    fn the_second_gets_the_firsts_answer() {
        let (repeats, now) = (Repeats::default(), Instant::now());
        let first = guard(begin(&repeats, "k", 1, now));
        assert_eq!(begin(&repeats, "k", 1, now).err(), Some("already_running"));
        first.finish(Kept::of(&Reply::created("/x".to_owned(), json!({"a": 1}))).unwrap());
        assert_eq!(begin(&repeats, "k", 2, now).err(), Some("idempotency_mismatch"));
        let Ok(Begun::Again(kept)) = begin(&repeats, "k", 1, now) else { panic!("it is not kept") };
        let reply = kept.reply();
        assert_eq!(reply.status, 201);
        assert!(reply.headers.contains(&("idempotent-replayed", "true".to_owned())));
        assert!(matches!(repeats.begin("you", "k", [1; 32], now), Ok(Begun::New(_))));
        guard(begin(&repeats, "k", 2, now + LIFE));
    }

    #[test]
    fn failures_are_tried_again_and_memory_is_bounded() {
        let (repeats, now) = (Repeats::default(), Instant::now());
        drop(guard(begin(&repeats, "k", 1, now)));
        drop(guard(begin(&repeats, "k", 2, now)));
        for n in 0..2 * ENTRIES {
            guard(begin(&repeats, &n.to_string(), 1, now)).finish(Kept::of(&Reply::empty()).unwrap());
        }
        assert_eq!(repeats.0.lock().unwrap().len(), ENTRIES);
        assert!(Kept::of(&Reply::empty().with("set-cookie", "a=b")).is_none());
    }
}
