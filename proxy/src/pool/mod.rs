//! Connections between exchanges, keyed by origin.
//!
//! One short lock, never held across an await; sockets are closed and probed outside of it. The pool dials nothing and
//! decides nothing about retries. A connection is here only because somebody gave it back.

pub(crate) mod h1;
pub(crate) mod h2;
pub(crate) mod key;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::AbortHandle,
    time::{sleep_until, timeout_at},
};

use crate::{
    Error, Kind, Phase, Retry,
    count::{Count, Counted},
    h1::client::Conn as H1Conn,
    h2::client::{Claim, Conn as H2Conn},
    tls::connect::Protocol,
};
use key::Origin;

/// Origins whose protocol is remembered.
const ORIGINS_MAX: usize = 1024;
/// Age above which what an origin speaks is asked anew.
const PROTOCOL_AGE_MAX: Duration = Duration::from_secs(24 * 3600);

/// Upstream connections of one [`crate::Client`] at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoolLoad {
    /// HTTP/1 connections that wait for a request.
    pub h1_idle: usize,
    /// HTTP/1 connections that carry an exchange.
    pub h1_in_use: usize,
    /// HTTP/2 connections without a stream.
    pub h2_idle: usize,
    /// HTTP/2 connections with streams, and those that are about to end.
    pub h2_in_use: usize,
    /// Streams on the HTTP/2 connections that take new ones.
    pub h2_streams: usize,
    /// Requests that wait for a connection: for their turn to dial, resolution, TCP, TLS.
    pub connecting: usize,
}

/// Idle HTTP/1 connections and shared HTTP/2 ones.
#[derive(Debug)]
pub(crate) struct Pool {
    state: Mutex<State>,
    idle: Duration,
    me: Weak<Pool>,
    /// Connections that are open, idle or not.
    pub(crate) h1_open: Count,
    pub(crate) h2_open: Count,
    /// Requests that wait for a connection.
    connecting: Count,
}

#[derive(Debug)]
struct State {
    h1: h1::Idle<Box<H1Conn>>,
    h2: h2::Shared,
    known: HashMap<Origin, Known>,
    /// The task that closes what was idle for too long; there is one while there is something to close.
    reaper: Option<AbortHandle>,
}

/// What was learned about an origin.
#[derive(Debug, Clone)]
struct Known {
    /// And when.
    protocol: Option<(Protocol, Instant)>,
    /// One dials, the others wait: they may be able to share the connection.
    dialing: Arc<Semaphore>,
}

impl Known {
    fn speaks(&self) -> Option<Protocol> {
        self.protocol.map(|(protocol, _)| protocol)
    }
}

impl Pool {
    pub(crate) fn new(idle_per_origin: usize, idle_total: usize, idle: Duration) -> Arc<Self> {
        let state = State {
            h1: h1::Idle::new(idle_per_origin, idle_total),
            h2: h2::Shared::default(),
            known: HashMap::new(),
            reaper: None,
        };
        Arc::new_cyclic(|me| Self {
            state: Mutex::new(state),
            idle,
            me: me.clone(),
            h1_open: Count::default(),
            h2_open: Count::default(),
            connecting: Count::default(),
        })
    }

    /// For connections to find their way back.
    pub(crate) fn home(&self) -> Weak<Pool> {
        self.me.clone()
    }

    /// Counts a request that waits for a connection, until what is returned is dropped.
    pub(crate) fn connecting(&self) -> Counted {
        self.connecting.one()
    }

    /// What it holds now.
    pub(crate) fn load(&self) -> PoolLoad {
        let (h1_idle, (h2_idle, h2_streams)) = {
            let state = self.state();
            (state.h1.len(), state.h2.load())
        };
        PoolLoad {
            // The counts are read after the lock is let go: what was idle then may be gone by now.
            h1_idle,
            h1_in_use: self.h1_open.get().saturating_sub(h1_idle),
            h2_idle,
            h2_in_use: self.h2_open.get().saturating_sub(h2_idle),
            h2_streams,
            connecting: self.connecting.get(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An idle HTTP/1 connection that its peer has neither closed nor spoken on.
    pub(crate) fn take_h1(&self, origin: &Origin, now: Instant) -> Option<Box<H1Conn>> {
        loop {
            let (mut conn, since) = self.state().h1.take(origin)?;
            if now.saturating_duration_since(since) < self.idle && conn.is_quiet() {
                return Some(conn);
            }
        }
    }

    /// Takes a connection back. The caller vouches that it stands at a message boundary.
    pub(crate) fn shelve(&self, conn: Box<H1Conn>) {
        let origin = conn.origin().clone();
        let evicted = {
            let mut state = self.state();
            let evicted = state.h1.put(origin, conn, Instant::now());
            self.ensure_reaper(&mut state);
            evicted
        };
        drop(evicted);
    }

    /// A place on a shared HTTP/2 connection, if there is one with room.
    pub(crate) fn claim_h2(&self, origin: &Origin) -> Option<Claim> {
        self.state().h2.claim(origin)
    }

    /// Shares a new HTTP/2 connection; the first place on it is the caller's.
    pub(crate) fn share(&self, origin: &Origin, conn: Arc<H2Conn>) -> Claim {
        let mut state = self.state();
        let claim = conn.claim();
        state.h2.put(origin.clone(), conn);
        self.ensure_reaper(&mut state);
        claim
    }

    /// Waits for the right to dial. `None` at once where dialing side by side is right, because a connection of this
    /// origin is known not to be shared.
    pub(crate) async fn turn(&self, origin: &Origin, deadline: Instant) -> Result<Option<OwnedSemaphorePermit>, Error> {
        if !origin.is_https() {
            return Ok(None);
        }
        let dialing = {
            let mut state = self.state();
            if state.known.len() >= ORIGINS_MAX && !state.known.contains_key(origin) {
                // Only hints: who still waits for a turn keeps its semaphore alive.
                state.known.clear();
            }
            let fresh = || Known { protocol: None, dialing: Arc::new(Semaphore::new(1)) };
            let known = state.known.entry(origin.clone()).or_insert_with(fresh);
            if known.speaks() == Some(Protocol::Http1) {
                return Ok(None);
            }
            Arc::clone(&known.dialing)
        };
        let late = |_| Error::upstream(Kind::Timeout(Phase::Connect), Retry::Safe);
        // The semaphore is never closed; an error would mean no turn to wait for.
        let permit = timeout_at(deadline.into(), dialing.acquire_owned()).await.map_err(late)?.ok();
        let not_shared = self.state().known.get(origin).is_some_and(|known| known.speaks() == Some(Protocol::Http1));
        Ok(permit.filter(|_| !not_shared))
    }

    /// What an origin spoke the last time, if that was within a day.
    pub(crate) fn knows(&self, origin: &Origin) -> Option<Protocol> {
        let state = self.state();
        let (protocol, since) = state.known.get(origin)?.protocol?;
        (since.elapsed() < PROTOCOL_AGE_MAX).then_some(protocol)
    }

    /// Remembers what an origin speaks.
    pub(crate) fn learn(&self, origin: &Origin, protocol: Protocol) {
        if let Some(known) = self.state().known.get_mut(origin) {
            known.protocol = Some((protocol, Instant::now()));
        }
    }

    fn ensure_reaper(&self, state: &mut State) {
        if state.reaper.is_some() {
            return;
        }
        // Without a runtime nothing can be idle: the sockets belong to one.
        let Ok(runtime) = Handle::try_current() else { return };
        state.reaper = Some(runtime.spawn(reap(self.me.clone(), self.idle)).abort_handle());
    }

    /// Closes what was idle for too long; says when to look again, `None` when nothing is left.
    fn sweep(&self, now: Instant) -> Option<Instant> {
        let (closing, next) = {
            let mut state = self.state();
            let old = now.checked_sub(self.idle).map(|before| state.h1.expire(before)).unwrap_or_default();
            let ended = state.h2.expire(now, self.idle);
            let next = [state.h1.oldest().map(|since| since + self.idle), state.h2.next_look(now, self.idle)];
            let next = next.into_iter().flatten().min();
            if next.is_none() {
                state.reaper = None;
            }
            ((old, ended), next)
        };
        drop(closing);
        next
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if let Some(reaper) = self.state().reaper.take() {
            reaper.abort();
        }
    }
}

/// Owned by the pool, which aborts it when it goes. Looks first when the first connection can be old: most are taken
/// again long before, and a task that found nothing at once would be started anew for every exchange.
async fn reap(pool: Weak<Pool>, idle: Duration) {
    let mut next = Instant::now() + idle;
    loop {
        sleep_until(next.into()).await;
        match pool.upgrade().and_then(|pool| pool.sweep(Instant::now())) {
            Some(again) => next = again,
            None => return,
        }
    }
}
