//! The feed of what happens now: a ring of events with numbers, for dashboards and `logs -f`.
//!
//! ```text
//!   publish ──nobody listens──▶ one atomic load, the event is not even made
//!      └─────somebody does────▶ ring of 1,024 ──▶ each listener at its own pace
//!                                   │ resume after number n: from n + 1, or Reset if that is gone
//!                                   └ a slow listener loses the oldest and is told how many: Lag
//! ```
//!
//! Nobody who publishes ever waits for a listener. The ring goes on for a minute after the last listener left, so that a
//! connection that broke finds its place again.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use codecs::dialect::Dialect;
use serde_json::{Map, Value, json};
use tokio::sync::Notify;

use super::ledger::usd;
pub use crate::store::now_ms;
use crate::store::usage::{Endpoint, UsageRow};

/// Events that are kept.
pub const RING_EVENTS: usize = 1_024;
/// How long events are kept without a listener.
const LINGER: Duration = Duration::from_secs(60);

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// A request was read.
    RequestStart(Box<Started>),
    /// A provider is asked.
    RequestRoute {
        /// Our id of the request.
        request_id: Arc<str>,
        /// Which attempt, from 1.
        attempt: u16,
        /// Who is asked.
        provider: Arc<str>,
        /// For which model.
        model: Arc<str>,
        /// Why this one: `priority`, or `fallback:` with the status of the attempt before.
        reason: String,
    },
    /// The first content is here.
    RequestFirst {
        /// Our id of the request.
        request_id: Arc<str>,
        /// Milliseconds since the request's last byte.
        ttft_ms: u32,
    },
    /// An attempt is over.
    RequestEnd(Arc<UsageRow>),
    /// Configuration was changed.
    ConfigChanged {
        /// What: `provider`, `key`, `settings`.
        kind: &'static str,
        /// Which one.
        id: String,
    },
    /// A provider is cooling down, or answers again.
    ProviderState {
        /// Its name.
        provider: Arc<str>,
        /// `ok` or `cooling`.
        state: &'static str,
        /// Until when, in Unix milliseconds.
        until_ms: Option<i64>,
    },
    /// A long piece of work has come further, or ended.
    JobProgress {
        /// Its id.
        id: String,
        /// What it is.
        kind: &'static str,
        /// `running`, `done` or `failed`.
        state: &'static str,
        /// What else there is to say.
        detail: Value,
    },
}

/// A request that begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Started {
    /// Our id of it.
    pub request_id: Arc<str>,
    /// Name of the caller's key.
    pub key: Option<Arc<str>>,
    /// The client's program, by family.
    pub client: Option<Arc<str>>,
    /// The client's id of its session.
    pub session: Option<Arc<str>>,
    /// The client's dialect.
    pub dialect: Dialect,
    /// What is asked.
    pub endpoint: Endpoint,
    /// Model that the client named.
    pub model: Arc<str>,
    /// Whether it wants a stream.
    pub stream: bool,
}

/// An event in the ring.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its number: one more than the event's before it. Larger than every number of an earlier process.
    pub id: u64,
    /// When, in Unix milliseconds.
    pub ts_ms: i64,
    /// What.
    pub what: What,
}

impl Event {
    /// Its name on the wire.
    pub fn name(&self) -> &'static str {
        match self.what {
            What::RequestStart(_) => "request.start",
            What::RequestRoute { .. } => "request.route",
            What::RequestFirst { .. } => "request.first",
            What::RequestEnd(_) => "request.end",
            What::ConfigChanged { .. } => "config.changed",
            What::ProviderState { .. } => "provider.state",
            What::JobProgress { .. } => "job.progress",
        }
    }

    /// The topic that a listener asks for to get it.
    pub fn topic(&self) -> &'static str {
        match self.what {
            What::RequestStart(_) | What::RequestRoute { .. } | What::RequestFirst { .. } | What::RequestEnd(_) => {
                "requests"
            }
            What::ConfigChanged { .. } => "config",
            What::ProviderState { .. } => "providers",
            What::JobProgress { .. } => "jobs",
        }
    }

    /// The request that it belongs to.
    pub fn request_id(&self) -> Option<&Arc<str>> {
        match &self.what {
            What::RequestStart(started) => Some(&started.request_id),
            What::RequestRoute { request_id, .. } | What::RequestFirst { request_id, .. } => Some(request_id),
            What::RequestEnd(row) => Some(&row.request_id),
            _ => None,
        }
    }

    /// Its payload. Made by who reads it, never by who publishes it.
    pub fn json(&self) -> Value {
        let mut fields = match &self.what {
            What::RequestStart(started) => json!({
                "requestId": &*started.request_id,
                "key": started.key.as_deref(),
                "client": started.client.as_deref(),
                "session": started.session.as_deref(),
                "dialect": started.dialect.name(),
                "endpoint": started.endpoint.name(),
                "modelRequested": &*started.model,
                "stream": started.stream,
            }),
            What::RequestRoute { request_id, attempt, provider, model, reason } => json!({
                "requestId": &**request_id,
                "attempt": attempt,
                "provider": &**provider,
                "model": &**model,
                "reason": reason,
            }),
            What::RequestFirst { request_id, ttft_ms } => json!({ "requestId": &**request_id, "ttftMs": ttft_ms }),
            What::RequestEnd(row) => shown(row),
            What::ConfigChanged { kind, id } => json!({ "kind": kind, "id": id }),
            What::ProviderState { provider, state, until_ms } => json!({
                "provider": &**provider,
                "state": state,
                "cooldownUntil": until_ms.map(rfc3339),
            }),
            What::JobProgress { id, kind, state, detail } => {
                json!({ "jobId": id, "kind": kind, "state": state, "detail": detail })
            }
        };
        if let Value::Object(fields) = &mut fields {
            fields.insert("ts".to_owned(), rfc3339(self.ts_ms).into());
        }
        fields
    }
}

/// A row as the API shows it, here and in lists.
pub fn shown(row: &UsageRow) -> Value {
    let mut fields = Map::new();
    let mut put = |key: &str, value: Value| drop(fields.insert(key.to_owned(), value));
    put("requestId", row.request_id.as_ref().into());
    put("startedAt", rfc3339(row.ts_ms).into());
    put("session", row.session.as_deref().into());
    put("key", row.key.as_deref().into());
    put("client", row.client.as_deref().into());
    put("clientIp", row.client_ip.map(|ip| ip.to_string()).into());
    put("provider", row.provider.as_deref().into());
    put("modelRequested", row.model_requested.as_ref().into());
    put("model", row.model.as_deref().into());
    put("alias", row.alias.as_deref().into());
    put("dialect", row.dialect.name().into());
    put("dialectUpstream", row.dialect_upstream.map(Dialect::name).into());
    put("endpoint", row.endpoint.name().into());
    put("stream", row.stream.into());
    put("attempt", row.attempt.into());
    put("attempts", row.attempts.into());
    put("status", row.status.into());
    put("outcome", row.outcome.name().into());
    put("error", row.error.as_deref().into());
    let prompt = u64::from(row.tokens_in) + u64::from(row.tokens_cache_read) + u64::from(row.tokens_cache_write);
    put("promptTokens", prompt.into());
    put("completionTokens", row.tokens_out.into());
    put("cacheReadTokens", row.tokens_cache_read.into());
    put("cacheWriteTokens", row.tokens_cache_write.into());
    put("reasoningTokens", row.tokens_reasoning.into());
    put("estimated", row.estimated.into());
    put("costUsd", row.cost.map(usd).into());
    put("ttftMs", row.ttft_ms.into());
    put("latencyMs", row.duration_ms.into());
    put("addedUs", row.added_us.into());
    put("bytesIn", row.bytes_in.into());
    put("bytesOut", row.bytes_out.into());
    Value::Object(fields)
}

/// A time as the API writes it: UTC with milliseconds.
pub fn rfc3339(ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(ms).unwrap_or_default();
    format!("{time:.3}")
}

/// The feed. Cloned freely; all clones are one.
#[derive(Debug, Clone)]
pub struct Feed {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Whether events are kept: the only thing that a publisher looks at while nobody listens.
    active: AtomicBool,
    ring: Mutex<Ring>,
    grown: Notify,
}

#[derive(Debug)]
struct Ring {
    events: VecDeque<Arc<Event>>,
    /// Number of the next event.
    next: u64,
    listeners: usize,
    /// When the last listener left.
    left: Instant,
}

impl Default for Feed {
    fn default() -> Self {
        // Numbers of an earlier process are below those of this one, unless it published more than a million events per
        // second; and they stay exact as JavaScript's numbers until the year 2255.
        Self::starting_at(now_ms().unsigned_abs().saturating_mul(1_000))
    }
}

impl Feed {
    fn starting_at(next: u64) -> Self {
        let ring = Ring { events: VecDeque::new(), next, listeners: 0, left: Instant::now() };
        let shared = Shared { active: AtomicBool::new(false), ring: Mutex::new(ring), grown: Notify::new() };
        Self { shared: Arc::new(shared) }
    }

    /// Whether somebody listens, or did a minute ago.
    #[inline]
    pub fn is_active(&self) -> bool {
        self.shared.active.load(Ordering::Relaxed)
    }

    /// Publishes what `what` makes. While nobody listens it is not called.
    #[inline]
    pub fn publish(&self, what: impl FnOnce() -> What) {
        if self.is_active() {
            self.keep(what(), Instant::now());
        }
    }

    #[cold]
    fn keep(&self, what: What, now: Instant) {
        let mut ring = self.ring();
        if ring.listeners == 0 && now.saturating_duration_since(ring.left) > LINGER {
            self.shared.active.store(false, Ordering::Relaxed);
            ring.events = VecDeque::new();
            return;
        }
        if ring.events.len() == RING_EVENTS {
            ring.events.pop_front();
        }
        let event = Event { id: ring.next, ts_ms: now_ms(), what };
        ring.events.push_back(Arc::new(event));
        ring.next += 1;
        drop(ring);
        self.shared.grown.notify_waiters();
    }

    /// Listens from now on, or from behind the event numbered `after`.
    pub fn listen(&self, after: Option<u64>) -> Listener {
        let mut ring = self.ring();
        ring.listeners += 1;
        self.shared.active.store(true, Ordering::Relaxed);
        let resumed = after.map(|after| after.saturating_add(1));
        let known = resumed.filter(|at| ring.oldest() <= *at && *at <= ring.next);
        Listener { next: known.unwrap_or(ring.next), reset: after.is_some() && known.is_none(), feed: self.clone() }
    }

    /// Number of the newest event, or of the last one before this process's first.
    pub fn last_id(&self) -> u64 {
        self.ring().next - 1
    }

    /// How many listen.
    pub fn listeners(&self) -> usize {
        self.ring().listeners
    }

    /// Changes under the lock cannot fail half-way: a poisoned ring is as good as any.
    fn ring(&self) -> std::sync::MutexGuard<'_, Ring> {
        self.shared.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    /// Number of the oldest event that is kept; the next one's if none is.
    fn oldest(&self) -> u64 {
        self.events.front().map_or(self.next, |event| event.id)
    }
}

/// What a listener gets.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// The next event.
    Event(Arc<Event>),
    /// It was too slow: so many events are lost.
    Lag(u64),
    /// The place where it wanted to go on is gone: read the state anew. Events from now on follow.
    Reset,
}

/// Somebody who listens, at its own pace; leaving is dropping.
#[derive(Debug)]
pub struct Listener {
    feed: Feed,
    next: u64,
    reset: bool,
}

impl Listener {
    /// The number of the last event before the next one that it gets.
    pub fn last(&self) -> u64 {
        self.next.saturating_sub(1)
    }

    /// Waits for the next thing to tell. Cancel safe.
    pub async fn next(&mut self) -> Next {
        let shared = self.feed.shared.clone();
        loop {
            // Made before the look, so that nothing published in between is missed.
            let grown = shared.grown.notified();
            if let Some(next) = self.ready() {
                return next;
            }
            grown.await;
        }
    }

    /// The next thing to tell, if there is one already.
    pub fn ready(&mut self) -> Option<Next> {
        if std::mem::take(&mut self.reset) {
            return Some(Next::Reset);
        }
        let ring = self.feed.ring();
        let oldest = ring.oldest();
        if self.next < oldest {
            let lost = oldest - self.next;
            self.next = oldest;
            return Some(Next::Lag(lost));
        }
        let event = ring.events.get(usize::try_from(self.next - oldest).ok()?)?.clone();
        self.next += 1;
        Some(Next::Event(event))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut ring = self.feed.ring();
        ring.listeners -= 1;
        ring.left = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn changed(n: usize) -> What {
        What::ConfigChanged { kind: "provider", id: n.to_string() }
    }

    fn ids(listener: &mut Listener) -> Vec<u64> {
        std::iter::from_fn(|| listener.ready())
            .map(|next| match next {
                Next::Event(event) => event.id,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn without_a_listener_nothing_is_made() {
        let feed = Feed::default();
        feed.publish(|| panic!("made for nobody"));
        assert_eq!((feed.is_active(), feed.listeners()), (false, 0));
        let mut listener = feed.listen(None);
        let before = feed.last_id();
        feed.publish(|| changed(0));
        assert_eq!(ids(&mut listener), [before + 1]);
    }

    #[test]
    fn everybody_hears_everything_in_order_from_where_it_came() {
        let feed = Feed::starting_at(100);
        let mut first = feed.listen(None);
        feed.publish(|| changed(0));
        let mut second = feed.listen(None);
        feed.publish(|| changed(1));
        assert_eq!((ids(&mut first), ids(&mut second)), (vec![100, 101], vec![101]));
        assert_eq!((first.ready(), feed.last_id(), feed.listeners()), (None, 101, 2));
    }

    #[test]
    fn a_broken_connection_goes_on_where_it_was() {
        let feed = Feed::starting_at(100);
        let listener = feed.listen(None);
        (0..3).for_each(|n| feed.publish(|| changed(n)));
        drop(listener);
        // Nobody is there, and the ring goes on.
        feed.publish(|| changed(3));
        assert_eq!(ids(&mut feed.listen(Some(101))), [102, 103]);
        assert_eq!(ids(&mut feed.listen(Some(99))), [100, 101, 102, 103]);
        assert_eq!(ids(&mut feed.listen(Some(103))), [0; 0]);
        for stranger in [5, 98, 104, u64::MAX] {
            let mut listener = feed.listen(Some(stranger));
            assert_eq!(listener.ready(), Some(Next::Reset), "{stranger}");
            assert_eq!(listener.ready(), None);
        }
    }

    #[test]
    fn a_slow_listener_is_told_what_it_lost() {
        let feed = Feed::starting_at(1);
        let mut slow = feed.listen(None);
        (0..RING_EVENTS + 5).for_each(|n| feed.publish(|| changed(n)));
        assert_eq!(slow.ready(), Some(Next::Lag(5)));
        assert_eq!(ids(&mut slow).len(), RING_EVENTS);
        assert_eq!(feed.ring().events.len(), RING_EVENTS);
        assert_eq!(feed.listen(Some(3)).ready(), Some(Next::Reset));
    }

    #[test]
    fn a_minute_after_the_last_listener_the_ring_is_gone() {
        let feed = Feed::starting_at(1);
        drop(feed.listen(None));
        let left = feed.ring().left;
        feed.keep(changed(0), left + LINGER);
        assert!(feed.is_active());
        feed.keep(changed(1), left + LINGER + Duration::from_millis(1));
        assert!(!feed.is_active());
        assert_eq!(feed.ring().events.capacity(), 0);
        feed.publish(|| panic!("made for nobody"));
    }

    #[tokio::test]
    async fn a_waiting_listener_wakes() {
        let feed = Feed::starting_at(7);
        let mut listener = feed.listen(None);
        let (next, ()) = tokio::join!(listener.next(), async { feed.publish(|| changed(1)) });
        let Next::Event(event) = next else { panic!("{next:?}") };
        assert_eq!((event.id, event.name(), event.topic()), (7, "config.changed", "config"));
        assert_eq!((&event.json()["kind"], &event.json()["id"]), (&json!("provider"), &json!("1")));
    }

    #[test]
    fn times_are_utc_with_milliseconds() {
        assert_eq!(rfc3339(1_700_000_000_000), "2023-11-14T22:13:20.000Z");
        assert_eq!(rfc3339(-1), "1969-12-31T23:59:59.999Z");
    }
}
