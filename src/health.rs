//! Who is cooling down: per provider (its credential) and per provider and model.
//!
//! A cooldown moves a candidate to the back; it never removes it, so that a lone provider is still tried. A success
//! clears it. The level of a backoff outlives its cooldown by one more longest cooldown, so that a service that keeps
//! failing is asked ever more rarely.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How far a failure reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// This request alone: another upstream would refuse it too. Goes to the client at once.
    Request,
    /// This credential: every model of the provider is affected.
    Credential,
    /// This model at this provider.
    Model,
    /// The provider cannot be reached.
    Network,
}

impl Scope {
    /// The word in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Scope::Request => "request",
            Scope::Credential => "credential",
            Scope::Model => "model",
            Scope::Network => "network",
        }
    }
}

/// How long to stay away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cooldown {
    /// Not at all.
    None,
    /// For a fixed time.
    Fixed(Duration),
    /// Doubling with every failure in a row: 1 s, 2 s, 4 s … at most 128 s.
    Backoff,
}

/// The longest backoff.
const BACKOFF_MAX: Duration = Duration::from_secs(128);
/// Highest level; level n waits 2^(n-1) seconds.
const LEVEL_MAX: u32 = 8;
/// Locks kept at once; above it expired ones are swept, then new ones are not recorded.
const LOCKS_MAX: usize = 4_096;

/// Shared by all exchanges. One short lock per request and outcome, none per chunk.
#[derive(Debug, Default, Clone)]
pub struct Health {
    locks: Arc<Mutex<HashMap<Key, Lock>>>,
}

/// `model` is `None` for the provider as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    provider: Arc<str>,
    model: Option<Arc<str>>,
}

#[derive(Debug, Clone, Copy)]
struct Lock {
    until: Instant,
    level: u32,
}

impl Health {
    /// When the pair is available again, if it is cooling down at `now`.
    pub fn cooling_until(&self, provider: &Arc<str>, model: &Arc<str>, now: Instant) -> Option<Instant> {
        let locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        if locks.is_empty() {
            return None;
        }
        let whole = locks.get(&Key { provider: provider.clone(), model: None });
        let pair = locks.get(&Key { provider: provider.clone(), model: Some(model.clone()) });
        [whole, pair].into_iter().flatten().map(|lock| lock.until).filter(|until| *until > now).max()
    }

    /// Records a failure and returns how long the pair stays away.
    pub fn failed(
        &self,
        provider: &Arc<str>,
        model: &Arc<str>,
        (scope, cooldown): (Scope, Cooldown),
        now: Instant,
    ) -> Duration {
        let model = match scope {
            Scope::Request => return Duration::ZERO,
            Scope::Credential | Scope::Network => None,
            Scope::Model => Some(model.clone()),
        };
        let key = Key { provider: provider.clone(), model };
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        let before = locks.get(&key).filter(|lock| lock.until + BACKOFF_MAX > now).map_or(0, |lock| lock.level);
        let (wait, level) = match cooldown {
            Cooldown::None => return Duration::ZERO,
            Cooldown::Fixed(wait) => (wait, before),
            Cooldown::Backoff => {
                let level = (before + 1).min(LEVEL_MAX);
                (Duration::from_secs(1 << (level - 1)), level)
            }
        };
        if locks.len() >= LOCKS_MAX {
            locks.retain(|_, lock| lock.until + BACKOFF_MAX > now);
        }
        if locks.len() < LOCKS_MAX || locks.contains_key(&key) {
            locks.insert(key, Lock { until: now + wait, level });
        }
        wait
    }

    /// Clears what is held against the pair.
    pub fn succeeded(&self, provider: &Arc<str>, model: &Arc<str>) {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        if !locks.is_empty() {
            locks.remove(&Key { provider: provider.clone(), model: None });
            locks.remove(&Key { provider: provider.clone(), model: Some(model.clone()) });
        }
    }

    /// Drops everything that is held against a provider.
    pub fn forget(&self, provider: &str) {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        locks.retain(|key, _| &*key.provider != provider);
    }

    /// Until when a provider, or one of its models, cools down at the longest, if any does at `now`.
    pub fn provider_until(&self, provider: &str, now: Instant) -> Option<Instant> {
        let locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        let own = locks.iter().filter(|(key, _)| &*key.provider == provider);
        own.map(|(_, lock)| lock.until).filter(|until| *until > now).max()
    }

    /// Number of pairs and providers cooling down at `now`.
    pub fn cooling(&self, now: Instant) -> usize {
        self.locks.lock().unwrap_or_else(PoisonError::into_inner).values().filter(|lock| lock.until > now).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> (Arc<str>, Arc<str>, Arc<str>) {
        (Arc::from("p"), Arc::from("m"), Arc::from("other"))
    }

    #[test]
    fn scopes_reach_as_far_as_they_say() {
        let (p, m, other) = names();
        let (health, now) = (Health::default(), Instant::now());
        let fixed = Cooldown::Fixed(Duration::from_secs(5));
        health.failed(&p, &m, (Scope::Model, fixed), now);
        assert!(health.cooling_until(&p, &m, now).is_some());
        assert!(health.cooling_until(&p, &other, now).is_none());
        health.failed(&p, &m, (Scope::Credential, fixed), now);
        assert!(health.cooling_until(&p, &other, now).is_some());
        assert!(health.provider_until("p", now).is_some() && health.provider_until("m", now).is_none());
        assert!(health.cooling_until(&p, &other, now + Duration::from_secs(6)).is_none());
        health.succeeded(&p, &m);
        assert!(health.cooling_until(&p, &m, now).is_none());
        for provider in [&p, &other] {
            health.failed(provider, &m, (Scope::Network, fixed), now);
        }
        health.forget(&p);
        assert!(health.cooling_until(&p, &m, now).is_none() && health.cooling_until(&other, &m, now).is_some());
    }

    #[test]
    fn backoff_doubles_keeps_its_level_and_is_cleared_by_success() {
        let (p, m, _) = names();
        let health = Health::default();
        let mut now = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..10 {
            let wait = health.failed(&p, &m, (Scope::Model, Cooldown::Backoff), now);
            waits.push(wait.as_secs());
            now += wait + Duration::from_secs(1);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 128, 128]);
        health.succeeded(&p, &m);
        assert_eq!(health.failed(&p, &m, (Scope::Model, Cooldown::Backoff), now).as_secs(), 1);
        let much_later = now + BACKOFF_MAX * 3;
        assert_eq!(health.failed(&p, &m, (Scope::Model, Cooldown::Backoff), much_later).as_secs(), 1);
    }
}
