//! Connections that carry many exchanges at once.
//!
//! One per origin is shared until 80 % of the streams its peer allows are taken; only then is another one asked for.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::key::Origin;
use crate::h2::client::{Claim, Conn};

/// Connections to one origin. Past it, streams queue on the least loaded one.
const CONNECTIONS_MAX: usize = 16;

/// Shared connections by origin.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    conns: HashMap<Origin, Vec<Arc<Conn>>>,
}

impl Shared {
    pub(crate) fn put(&mut self, origin: Origin, conn: Arc<Conn>) {
        self.conns.entry(origin).or_default().push(conn);
    }

    /// A place on the first connection with room; `None` asks for a new connection.
    pub(crate) fn claim(&mut self, origin: &Origin) -> Option<Claim> {
        let conns = self.conns.get_mut(origin)?;
        // A retired connection lives on in its streams.
        conns.retain(|conn| conn.is_usable());
        if let Some(conn) = conns.iter().find(|conn| conn.has_room()) {
            return Some(conn.claim());
        }
        if conns.len() < CONNECTIONS_MAX {
            return None;
        }
        conns.iter().min_by_key(|conn| conn.live()).map(Conn::claim)
    }

    /// Connections without a stream, and streams on all of them.
    pub(crate) fn load(&self) -> (usize, usize) {
        let live = self.conns.values().flatten().filter(|conn| !conn.has_ended()).map(|conn| conn.live());
        live.fold((0, 0), |(idle, streams), live| (idle + usize::from(live == 0), streams + live))
    }

    /// Takes out what ended or carried nothing for `idle`.
    pub(crate) fn expire(&mut self, now: Instant, idle: Duration) -> Vec<Arc<Conn>> {
        let mut expired = Vec::new();
        for conns in self.conns.values_mut() {
            expired.extend(conns.extract_if(.., |conn| !conn.is_usable() || conn.idle_for(now) >= Some(idle)));
        }
        self.conns.retain(|_, conns| !conns.is_empty());
        expired
    }

    /// When the next connection can have been idle for `idle`.
    pub(crate) fn next_look(&self, now: Instant, idle: Duration) -> Option<Instant> {
        let since = |conn: &Arc<Conn>| now + idle.saturating_sub(conn.idle_for(now).unwrap_or_default());
        self.conns.values().flatten().map(since).min()
    }
}
