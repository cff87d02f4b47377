//! Slows guessing down: locks an address after failed logins, longer each time, and bounds the
//! attempts of each address and of all together.
//!
//! Pure: time is an argument, and nothing here knows what a password is. An attempt is checked and counted in one step
//! ([`Limiter::admit`]), as if it had failed, before the password is looked at: guesses that arrive together are
//! counted together, so that a hundred at once are no better than a hundred in a row.
//!
//! ```text
//!   failures 0…4 ──fifth failure──▶ locked 30 s, 2 min, 10 min, 30 min, 30 min, …
//!       ▲                              │
//!       ├──────────the lock ends───────┘   (the next five failures lock for the next step)
//!       └── a success, or an hour without a failure: everything is forgotten
//! ```

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Failures that lock an address.
const FAILURES: u32 = 5;

/// How long the first, second, … lock lasts; the last one is for all further ones.
const LOCKS: [Duration; 4] =
    [Duration::from_secs(30), Duration::from_secs(120), Duration::from_secs(600), Duration::from_secs(1800)];

/// Time without a failure after which an address is forgotten.
const FORGET: Duration = Duration::from_secs(3600);

/// Addresses that are remembered; beyond, the one that tried longest ago goes.
const ADDRESSES: usize = 10_000;

/// Attempts of one address within [`WINDOW`], right ones too: each costs a hash.
const EACH: usize = 10;

/// Attempts of all addresses together within [`WINDOW`]: many addresses do not help a guesser.
const TOTAL: usize = 60;

/// See [`TOTAL`].
const WINDOW: Duration = Duration::from_secs(60);

/// Attempts that may be made, by address and in all.
#[derive(Debug, Default)]
pub(super) struct Limiter {
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    entries: HashMap<IpAddr, Entry>,
    /// When the attempts of the last minute were made; at most [`TOTAL`].
    recent: VecDeque<Instant>,
}

#[derive(Debug, Clone)]
struct Entry {
    failures: u32,
    /// Locks so far.
    level: usize,
    locked_until: Option<Instant>,
    last: Instant,
    /// When the attempts of the last minute were made; at most [`EACH`].
    recent: VecDeque<Instant>,
}

/// An attempt is refused; its password is not to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Locked {
    /// When it makes sense to try again.
    pub retry_after: Duration,
}

impl Limiter {
    /// Asks for one attempt from `address`, and counts it as a failure until [`Limiter::success`] says otherwise.
    ///
    /// # Errors
    /// The address is locked, or all addresses together tried too often; refused attempts are not counted.
    pub(super) fn admit(&self, address: IpAddr, now: Instant) -> Result<(), Locked> {
        let mut book = self.book();
        let key = network(address);
        let mut entry = match book.entries.get(&key) {
            Some(entry) if !entry.is_over(now) => entry.clone(),
            Some(_) | None => Entry::new(now),
        };
        if let Some(until) = entry.locked_until.filter(|until| *until > now) {
            return Err(Locked { retry_after: until.saturating_duration_since(now) });
        }
        take_turn(&mut entry.recent, EACH, now)?;
        take_turn(&mut book.recent, TOTAL, now)?;
        entry.failures += 1;
        entry.last = now;
        if entry.failures == FAILURES {
            let length = LOCKS[entry.level.min(LOCKS.len() - 1)];
            entry.failures = 0;
            entry.level += 1;
            entry.locked_until = Some(now + length);
        }
        book.keep(key, entry);
        Ok(())
    }

    /// The attempt was right: `address` begins anew.
    ///
    /// A right password that was the fifth attempt opens the lock again that this attempt had closed.
    pub(super) fn success(&self, address: IpAddr) {
        if let Some(entry) = self.book().entries.get_mut(&network(address)) {
            *entry = Entry { recent: std::mem::take(&mut entry.recent), ..Entry::new(entry.last) };
        }
    }

    fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        // The book is consistent after every statement: a panic elsewhere must not lock everybody out.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn keep(&mut self, key: IpAddr, entry: Entry) {
        if self.entries.len() >= ADDRESSES && !self.entries.contains_key(&key) {
            // A scan, once per new address in a full book: at most one per turn, and turns are 60 a minute.
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.last).map(|(key, _)| *key);
            if let Some(oldest) = oldest {
                self.entries.remove(&oldest);
            }
        }
        self.entries.insert(key, entry);
    }
}

impl Entry {
    fn new(now: Instant) -> Self {
        Self { failures: 0, level: 0, locked_until: None, last: now, recent: VecDeque::new() }
    }

    /// Whether nothing that it says counts any more.
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) >= FORGET && self.locked_until.is_none_or(|until| until <= now)
    }
}

/// Takes one of the `turns` that there are within [`WINDOW`].
fn take_turn(recent: &mut VecDeque<Instant>, turns: usize, now: Instant) -> Result<(), Locked> {
    while recent.front().is_some_and(|first| now.saturating_duration_since(*first) >= WINDOW) {
        recent.pop_front();
    }
    match recent.front() {
        Some(first) if recent.len() >= turns => {
            Err(Locked { retry_after: (*first + WINDOW).saturating_duration_since(now) })
        }
        _ => {
            recent.push_back(now);
            Ok(())
        }
    }
}

/// What counts as one address: an IPv4 address, or the /64 that an IPv6 user can choose freely in.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    /// Attempts of `A` until the first refusal; the refusal.
    fn until_locked(limiter: &Limiter, now: Instant) -> (u32, Duration) {
        let mut admitted = 0;
        loop {
            match limiter.admit(A, now) {
                Ok(()) => admitted += 1,
                Err(locked) => return (admitted, locked.retry_after),
            }
        }
    }

    #[test]
    fn the_ladder_is_exact() {
        let limiter = Limiter::default();
        let mut now = Instant::now();
        for length in [30, 120, 600, 1800, 1800, 1800] {
            assert_eq!(until_locked(&limiter, now), (5, seconds(length)));
            let almost = now + seconds(length) - Duration::from_millis(1);
            assert_eq!(limiter.admit(A, almost), Err(Locked { retry_after: Duration::from_millis(1) }));
            now += seconds(length);
        }
        assert!(limiter.admit(A, now).is_ok());
    }

    #[test]
    fn refused_attempts_do_not_lengthen_the_lock() {
        let limiter = Limiter::default();
        let now = Instant::now();
        until_locked(&limiter, now);
        for second in 0..30 {
            assert_eq!(limiter.admit(A, now + seconds(second)), Err(Locked { retry_after: seconds(30 - second) }));
        }
        assert!(limiter.admit(A, now + seconds(30)).is_ok());
    }

    #[test]
    fn a_success_forgets_and_so_does_an_hour() {
        let limiter = Limiter::default();
        let mut now = Instant::now();
        until_locked(&limiter, now);
        now += seconds(30);
        limiter.admit(A, now).unwrap();
        limiter.success(A);
        assert_eq!(until_locked(&limiter, now).1, seconds(30), "the ladder begins anew");

        // 30 s of lock and then an hour less a moment: the next lock is still the second one.
        let limiter = Limiter::default();
        until_locked(&limiter, now);
        let before = now + seconds(3599);
        assert_eq!(until_locked(&limiter, before).1, seconds(120));
        let after = before + seconds(3600);
        assert_eq!(until_locked(&limiter, after), (5, seconds(30)));
    }

    #[test]
    fn an_hour_does_not_end_a_lock() {
        // No lock of the ladder lasts an hour; the rule must not depend on that.
        let now = Instant::now();
        let entry = Entry { level: 9, locked_until: Some(now + seconds(7200)), ..Entry::new(now) };
        assert!(!entry.is_over(now + seconds(3600)));
        assert!(entry.is_over(now + seconds(7200)));
    }

    #[test]
    fn the_right_password_at_the_last_attempt_is_no_failure() {
        let limiter = Limiter::default();
        let now = Instant::now();
        for _ in 0..5 {
            limiter.admit(A, now).unwrap();
        }
        limiter.success(A);
        assert!(limiter.admit(A, now).is_ok());
    }

    #[test]
    fn one_address_has_ten_attempts_a_minute_however_right() {
        let limiter = Limiter::default();
        let now = Instant::now();
        for second in 0..10 {
            limiter.admit(A, now + seconds(second)).unwrap();
            limiter.success(A);
        }
        assert_eq!(limiter.admit(A, now + seconds(10)), Err(Locked { retry_after: seconds(50) }));
        assert!(limiter.admit(A, now + seconds(60)).is_ok());
    }

    #[test]
    fn a_hundred_guesses_at_once_count_as_a_hundred() {
        let limiter = Limiter::default();
        let now = Instant::now();
        let admitted = std::sync::atomic::AtomicUsize::new(0);
        let refused = std::sync::atomic::AtomicUsize::new(0);
        let start = std::sync::Barrier::new(100);
        std::thread::scope(|scope| {
            for _ in 0..100 {
                scope.spawn(|| {
                    start.wait();
                    let count = if limiter.admit(A, now).is_ok() { &admitted } else { &refused };
                    count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                });
            }
        });
        assert_eq!((admitted.into_inner(), refused.into_inner()), (5, 95));
    }

    #[test]
    fn an_ipv6_network_is_one_address_and_mapped_ipv4_is_ipv4() {
        let limiter = Limiter::default();
        let now = Instant::now();
        for host in 0..5 {
            limiter.admit(format!("2001:db8:1:2::{host}").parse().unwrap(), now).unwrap();
        }
        assert!(limiter.admit("2001:db8:1:2:ffff::1".parse().unwrap(), now).is_err());
        assert!(limiter.admit("2001:db8:1:3::1".parse().unwrap(), now).is_ok());
        until_locked(&limiter, now);
        assert!(limiter.admit("::ffff:192.0.2.1".parse().unwrap(), now).is_err());
        assert!(limiter.admit("192.0.2.2".parse().unwrap(), now).is_ok());
    }

    #[test]
    fn many_addresses_do_not_help() {
        let limiter = Limiter::default();
        let now = Instant::now();
        let address = |n: u32| IpAddr::V4(std::net::Ipv4Addr::from_bits(0x0a00_0000 + n));
        for n in 0..60 {
            limiter.admit(address(n), now + seconds(u64::from(n) / 2)).unwrap();
        }
        let refused = limiter.admit(address(60), now + seconds(59));
        assert_eq!(refused, Err(Locked { retry_after: seconds(1) }));
        // The first two of the minute are over.
        assert!(limiter.admit(address(61), now + seconds(60)).is_ok());
        assert!(limiter.admit(address(62), now + seconds(60)).is_ok());
        assert_eq!(limiter.admit(address(63), now + seconds(60)), Err(Locked { retry_after: seconds(1) }));
        // Whom the shared bound has refused is not held to have failed.
        assert!(!limiter.book().entries.contains_key(&address(60)));
    }

    #[test]
    fn the_book_is_bounded() {
        let limiter = Limiter::default();
        let mut now = Instant::now();
        until_locked(&limiter, now);
        now += WINDOW;
        for n in 0..ADDRESSES as u32 + 5 {
            now += seconds(1);
            limiter.admit(IpAddr::V4(std::net::Ipv4Addr::from_bits(0x0a00_0000 + n)), now).unwrap();
        }
        let book = limiter.book();
        assert_eq!(book.entries.len(), ADDRESSES);
        assert!(!book.entries.contains_key(&A), "the oldest has gone");
        assert!(book.recent.len() <= TOTAL);
    }
}
