//! Idle connections that carry one exchange at a time: last in, first out, so that what a burst opened can age away.
//!
//! Bounded per origin and in all; the oldest makes room. Does not look at the connections it keeps.

use std::{
    collections::{HashMap, VecDeque},
    time::Instant,
};

use super::key::Origin;

/// Idle connections by origin.
#[derive(Debug)]
pub(crate) struct Idle<T> {
    per_origin: usize,
    total: usize,
    count: usize,
    /// Oldest first. Empty ones stay until the next sweep: the origin will be back within the exchange.
    shelves: HashMap<Origin, VecDeque<(T, Instant)>>,
}

impl<T> Idle<T> {
    pub(crate) fn new(per_origin: usize, total: usize) -> Self {
        Self { per_origin, total, count: 0, shelves: HashMap::new() }
    }

    /// Connections that are kept.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Keeps `conn`; returns what has to go for it, which is `conn` itself when nothing may be kept.
    pub(crate) fn put(&mut self, origin: Origin, conn: T, now: Instant) -> Option<T> {
        if self.per_origin == 0 || self.total == 0 {
            return Some(conn);
        }
        let crowded = self.shelves.get(&origin).is_some_and(|shelf| shelf.len() >= self.per_origin);
        let evicted = if crowded {
            self.take_oldest(&origin)
        } else if self.count >= self.total {
            let oldest = self.shelves.iter().filter_map(|(origin, shelf)| Some((shelf.front()?.1, origin)));
            let oldest = oldest.min_by_key(|(since, _)| *since).map(|(_, origin)| origin.clone());
            oldest.and_then(|origin| self.take_oldest(&origin))
        } else {
            None
        };
        if self.shelves.len() > self.total.saturating_mul(2) {
            self.shelves.retain(|_, shelf| !shelf.is_empty());
        }
        self.shelves.entry(origin).or_default().push_back((conn, now));
        self.count += 1;
        evicted
    }

    /// The connection used last, and since when it is idle.
    pub(crate) fn take(&mut self, origin: &Origin) -> Option<(T, Instant)> {
        let shelf = self.shelves.get_mut(origin)?;
        let taken = shelf.pop_back();
        self.count -= usize::from(taken.is_some());
        taken
    }

    fn take_oldest(&mut self, origin: &Origin) -> Option<T> {
        let shelf = self.shelves.get_mut(origin)?;
        let taken = shelf.pop_front();
        self.count -= usize::from(taken.is_some());
        taken.map(|(conn, _)| conn)
    }

    /// Takes out everything that is idle since `before` or longer.
    pub(crate) fn expire(&mut self, before: Instant) -> Vec<T> {
        let mut expired = Vec::new();
        for shelf in self.shelves.values_mut() {
            while shelf.front().is_some_and(|(_, since)| *since <= before) {
                expired.extend(shelf.pop_front().map(|(conn, _)| conn));
            }
        }
        self.shelves.retain(|_, shelf| !shelf.is_empty());
        self.count -= expired.len();
        expired
    }

    /// Since when the oldest is idle.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.shelves.values().filter_map(|shelf| shelf.front()).map(|(_, since)| *since).min()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::*;

    fn origin(n: u16) -> Origin {
        Origin::parse(&format!("http://a:{}", n + 1)).unwrap()
    }

    #[test]
    fn last_in_first_out_and_bounded_per_origin() {
        let now = Instant::now();
        let mut idle = Idle::new(2, 10);
        assert_eq!(idle.put(origin(0), 1, now), None);
        assert_eq!(idle.put(origin(0), 2, now), None);
        assert_eq!(idle.put(origin(0), 3, now), Some(1));
        assert_eq!(idle.put(origin(1), 4, now), None);
        assert_eq!(idle.take(&origin(0)).unwrap().0, 3);
        assert_eq!(idle.take(&origin(0)).unwrap().0, 2);
        assert_eq!(idle.take(&origin(0)), None);
        assert_eq!(idle.count, 1);
    }

    #[test]
    fn the_total_is_bounded_by_closing_the_oldest_anywhere() {
        let start = Instant::now();
        let mut idle = Idle::new(2, 3);
        for n in 0..3 {
            assert_eq!(idle.put(origin(n), n, start + Duration::from_secs(n.into())), None);
        }
        assert_eq!(idle.put(origin(3), 3, start + Duration::from_secs(3)), Some(0));
        assert_eq!(idle.count, 3);
        assert_eq!(idle.oldest(), Some(start + Duration::from_secs(1)));
        assert_eq!(idle.expire(start + Duration::from_secs(2)).len(), 2);
        assert_eq!((idle.count, idle.shelves.len()), (1, 1));
        for n in 0..50 {
            idle.put(origin(n), n, start);
            idle.take(&origin(n));
            assert!(idle.shelves.len() <= 8, "empty shelves pile up");
        }
        assert_eq!(Idle::new(0, 5).put(origin(0), 9, start), Some(9));
    }
}
