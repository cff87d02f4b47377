//! How often one caller may ask: 200 reads and 50 changes per second, 16 streams at once.
//!
//! A bucket holds twice what flows in per second, so that a page that loads everything at once is no offence. This keeps a
//! program that runs wild from filling the database; it is no protection against an attack, which the login is.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::Problem;

/// Streams of one caller at once.
const STREAMS: usize = 16;
/// Callers that are remembered.
const CALLERS: usize = 1_024;
/// How many times a second's worth a bucket holds.
const BURST: f64 = 2.0;
/// After so long without a request a bucket is full for sure.
const FULL: Duration = Duration::from_secs(2);

/// What is counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Something is read.
    Read,
    /// Something is changed.
    Change,
}

impl Kind {
    /// Requests per second.
    fn rate(self) -> f64 {
        match self {
            Kind::Read => 200.0,
            Kind::Change => 50.0,
        }
    }
}

/// All callers.
#[derive(Debug, Clone, Default)]
pub(super) struct Limits(Arc<Mutex<HashMap<String, Account>>>);

#[derive(Debug, Clone)]
struct Account {
    seen: Instant,
    reads: f64,
    changes: f64,
    streams: usize,
}

impl Account {
    fn new(now: Instant) -> Self {
        Self { seen: now, reads: Kind::Read.rate() * BURST, changes: Kind::Change.rate() * BURST, streams: 0 }
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.seen).as_secs_f64();
        self.seen = now;
        for (bucket, kind) in [(&mut self.reads, Kind::Read), (&mut self.changes, Kind::Change)] {
            *bucket = (*bucket + passed * kind.rate()).min(kind.rate() * BURST);
        }
    }
}

impl Limits {
    /// Counts a request.
    ///
    /// # Errors
    /// 429 if there are too many.
    pub(super) fn admit(&self, who: &str, kind: Kind, now: Instant) -> Result<(), Problem> {
        let mut accounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let account = account(&mut accounts, who, now)?;
        account.refill(now);
        let bucket = match kind {
            Kind::Read => &mut account.reads,
            Kind::Change => &mut account.changes,
        };
        if *bucket < 1.0 {
            let message = format!("more than {} such requests per second", kind.rate());
            return Err(Problem::new(429, "too_many_requests", message).retry_after(1));
        }
        *bucket -= 1.0;
        Ok(())
    }

    /// A place among the caller's streams.
    ///
    /// # Errors
    /// 429 if all are taken.
    pub(super) fn stream(&self, who: &str) -> Result<Permit, Problem> {
        let mut accounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let account = account(&mut accounts, who, Instant::now())?;
        if account.streams == STREAMS {
            let message = format!("{STREAMS} streams of yours are open already");
            return Err(Problem::new(429, "too_many_streams", message).retry_after(5));
        }
        account.streams += 1;
        Ok(Permit { limits: self.clone(), who: who.to_owned() })
    }
}

/// The caller's account; a new one takes the place of those that make no difference any more.
fn account<'a>(
    accounts: &'a mut HashMap<String, Account>,
    who: &str,
    now: Instant,
) -> Result<&'a mut Account, Problem> {
    if !accounts.contains_key(who) {
        if accounts.len() >= CALLERS {
            accounts.retain(|_, account| account.streams > 0 || now.saturating_duration_since(account.seen) < FULL);
        }
        if accounts.len() >= CALLERS {
            return Err(Problem::new(429, "too_many_requests", "too many callers at once").retry_after(1));
        }
    }
    Ok(accounts.entry(who.to_owned()).or_insert_with(|| Account::new(now)))
}

/// A place among a caller's streams; dropping gives it back.
#[derive(Debug)]
pub(super) struct Permit {
    limits: Limits,
    who: String,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut accounts = self.limits.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = accounts.get_mut(&self.who) {
            account.streams = account.streams.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn callers_have_a_rate_each() {
        let limits = Limits::default();
        let now = Instant::now();
        let passed = (0..200).filter(|_| limits.admit("a", Kind::Change, now).is_ok()).count();
        assert_eq!(passed, 100);
        let problem = limits.admit("a", Kind::Change, now).unwrap_err();
        assert_eq!((problem.status, problem.retry_after), (429, Some(1)));
        assert!(limits.admit("a", Kind::Read, now).is_ok() && limits.admit("b", Kind::Change, now).is_ok());
        let later = now + Duration::from_millis(100);
        assert_eq!((0..200).filter(|_| limits.admit("a", Kind::Change, later).is_ok()).count(), 5);
    }

    #[test]
    fn streams_are_counted_while_they_live() {
        let limits = Limits::default();
        let mut permits: Vec<_> = (0..STREAMS).map(|_| limits.stream("a").unwrap()).collect();
        assert_eq!(limits.stream("a").unwrap_err().code, "too_many_streams");
        assert!(limits.stream("b").is_ok());
        permits.pop();
        assert!(limits.stream("a").is_ok());
    }

    #[test]
    fn memory_is_bounded() {
        let limits = Limits::default();
        let now = Instant::now();
        let passed = (0..2 * CALLERS).filter(|n| limits.admit(&n.to_string(), Kind::Read, now).is_ok()).count();
        assert_eq!(passed, CALLERS);
        assert!(limits.admit("late", Kind::Read, now + FULL).is_ok());
        assert_eq!(limits.0.lock().unwrap().len(), 1);
    }
}
