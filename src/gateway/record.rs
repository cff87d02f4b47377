//! What an exchange leaves behind: a row per attempt for the log, and events for those who watch.
//!
//! ```text
//!   open ──body──▶ started ──asked──▶ attempt runs ──failed──▶ kept ──asked──▶ … ──settle──▶ queue, feed
//! ```
//!
//! Rows wait here until the last one is known, because each says how many there were. Nothing here happens per chunk, and
//! nothing waits: a full queue drops the row and counts it.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use codecs::{
    dialect::Dialect,
    hub::{ApiError, ErrorKind, Usage},
};

use super::{caller::Caller, exchange::NOTHING};
use crate::{
    health::Scope,
    route::Candidate,
    store::usage::{Endpoint, Outcome, Queue, UsageRow},
    usage::{
        Feed, RateCard,
        ledger::cost,
        live::{Started, What, now_ms},
    },
    vendor::Upstream,
};

/// Where rows and events go, and what rows cost.
#[derive(Debug, Clone)]
pub(super) struct Sinks {
    /// The log; `None` if nothing is logged.
    pub(super) queue: Option<Queue>,
    /// Those who watch.
    pub(super) feed: Feed,
    /// Prices at the time of the request.
    pub(super) prices: Arc<RateCard>,
}

impl Sinks {
    /// Shows a row to those who watch, and hands it to the log.
    fn take(&self, row: UsageRow) {
        self.feed.publish(|| What::RequestEnd(Arc::new(row.clone())));
        if let Some(queue) = &self.queue {
            queue.try_push(row);
        }
    }
}

/// Who asks for what, before the body is read.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) id: &'a str,
    pub(super) dialect: Dialect,
    pub(super) endpoint: Endpoint,
    pub(super) key: Option<Arc<str>>,
    pub(super) ip: IpAddr,
    pub(super) caller: Caller,
    /// When the head was there.
    pub(super) received: Instant,
}

/// What an exchange leaves behind, growing with it.
#[derive(Debug)]
pub(super) struct Record {
    sinks: Sinks,
    /// The attempt that runs; before the first one, the request itself.
    row: UsageRow,
    /// When the attempt began; until somebody is asked, when the request came.
    began: Instant,
    /// Who is asked in it.
    upstream: Option<Arc<Upstream>>,
    /// Attempts that failed.
    failed: Vec<UsageRow>,
    /// Whether `row` is an attempt that runs, or a request that nobody was asked about.
    open: bool,
}

/// What is known when an exchange ends.
#[derive(Debug, Default)]
pub(super) struct End<'a> {
    /// `ok`, `gone`, or the name of an error.
    pub(super) outcome: &'static str,
    /// The error that the answer ended with, if it did.
    pub(super) error: Option<&'a ApiError>,
    /// Counts, and whether they are our estimate.
    pub(super) usage: Option<(Usage, bool)>,
    /// From the request's last byte to the first content.
    pub(super) first: Option<Duration>,
    /// Our own share of it.
    pub(super) added: Option<Duration>,
    /// Bytes that the client got.
    pub(super) bytes_out: u64,
}

impl Record {
    /// Begins the record of a request whose head was read.
    pub(super) fn open(sinks: Sinks, asked: Asked<'_>) -> Box<Self> {
        let row = UsageRow {
            ts_ms: now_ms(),
            request_id: asked.id.into(),
            session: asked.caller.session,
            key: asked.key,
            provider: None,
            // Until the body is read.
            model_requested: NOTHING.clone(),
            model: None,
            alias: None,
            client_ip: Some(asked.ip),
            client: asked.caller.family,
            dialect: asked.dialect,
            dialect_upstream: None,
            endpoint: asked.endpoint,
            stream: false,
            attempt: 0,
            attempts: 0,
            status: 0,
            outcome: Outcome::ClientGone,
            error: None,
            tokens_in: 0,
            tokens_out: 0,
            tokens_cache_read: 0,
            tokens_cache_write: 0,
            tokens_cache_write_1h: 0,
            tokens_reasoning: 0,
            estimated: false,
            cost: None,
            ttft_ms: None,
            duration_ms: 0,
            added_us: None,
            bytes_in: 0,
            bytes_out: 0,
        };
        Box::new(Self { sinks, row, began: asked.received, upstream: None, failed: Vec::new(), open: true })
    }

    /// The body was read.
    pub(super) fn started(&mut self, model: &Arc<str>, through_alias: bool, stream: bool, bytes: usize) {
        let row = &mut self.row;
        row.model_requested = model.clone();
        row.alias = through_alias.then(|| row.model_requested.clone());
        row.stream = stream;
        row.bytes_in = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.sinks.feed.publish(|| {
            What::RequestStart(Box::new(Started {
                request_id: row.request_id.clone(),
                key: row.key.clone(),
                client: row.client.clone(),
                session: row.session.clone(),
                dialect: row.dialect,
                endpoint: row.endpoint,
                model: row.model_requested.clone(),
                stream,
            }))
        });
    }

    /// A candidate is asked from `now` on.
    pub(super) fn asked(&mut self, candidate: &Candidate, now: Instant) {
        let before = self.failed.last();
        self.began = now;
        let row = &mut self.row;
        if row.model_requested == candidate.model {
            // One text less that the writer's thread has to free.
            row.model_requested = candidate.model.clone();
        }
        if before.is_some() {
            row.ts_ms = now_ms();
        }
        row.provider = Some(candidate.upstream.name.clone());
        row.model = Some(candidate.model.clone());
        row.dialect_upstream = Some(candidate.upstream.dialect());
        row.attempt += 1;
        self.open = true;
        self.upstream = Some(candidate.upstream.clone());
        self.sinks.feed.publish(|| What::RequestRoute {
            request_id: row.request_id.clone(),
            attempt: row.attempt,
            provider: candidate.upstream.name.clone(),
            model: candidate.model.clone(),
            reason: match before {
                Some(before) => format!("fallback:{}", before.status),
                None if row.alias.is_some() => format!("alias:{}", row.model_requested),
                None => "priority".to_owned(),
            },
        });
    }

    /// The attempt that ran has failed. The error's secrets are masked already.
    pub(super) fn failed(&mut self, error: &ApiError, scope: Scope) {
        let client_error = scope == Scope::Request;
        let mut row = self.row.clone();
        row.outcome = if client_error { Outcome::ClientError } else { judged(error.kind) };
        row.status = error.status.unwrap_or(0);
        row.error = Some(error.message.as_str().into());
        row.duration_ms = self.lasted();
        self.failed.push(row);
        self.open = false;
    }

    /// The first content is here.
    pub(super) fn first(&self, since_request: Duration) {
        let request_id = &self.row.request_id;
        self.sinks
            .feed
            .publish(|| What::RequestFirst { request_id: request_id.clone(), ttft_ms: milliseconds(since_request) });
    }

    /// Hands everything over.
    pub(super) fn settle(mut self: Box<Self>, end: &End<'_>) {
        if self.open {
            self.close(end);
        } else if let Some(last) = self.failed.last_mut() {
            // The client got the last failure as its answer.
            last.bytes_out = end.bytes_out;
            if let (0, Some(error)) = (last.status, end.error) {
                last.status = last.dialect.encode_error(error, "", &mut Vec::new());
            }
        }
        let attempts = self.row.attempt;
        for mut row in self.failed {
            row.attempts = attempts;
            self.sinks.take(row);
        }
        if self.open {
            self.row.attempts = attempts;
            self.sinks.take(self.row);
        }
    }

    /// Milliseconds since it began.
    fn lasted(&self) -> u32 {
        milliseconds(self.began.elapsed())
    }

    /// Fills the row of the attempt that ran to its end.
    fn close(&mut self, end: &End<'_>) {
        let duration_ms = self.lasted();
        let row = &mut self.row;
        row.duration_ms = duration_ms;
        row.ttft_ms = end.first.map(milliseconds);
        row.added_us = end.added.map(|added| u32::try_from(added.as_micros()).unwrap_or(u32::MAX));
        row.bytes_out = end.bytes_out;
        row.outcome = match (end.outcome, end.error) {
            ("ok", _) => Outcome::Ok,
            ("gone", _) => Outcome::ClientGone,
            // Nobody was asked: the request was wrong, or its key may not.
            (_, Some(error)) if row.attempt == 0 => match error.kind {
                ErrorKind::Permission => Outcome::Blocked,
                _ => Outcome::ClientError,
            },
            (_, Some(error)) if error.kind == ErrorKind::Timeout && end.first.is_some() => Outcome::Stall,
            (_, Some(error)) => judged(error.kind),
            (_, None) => Outcome::UpstreamError,
        };
        row.status = match (row.outcome, end.error) {
            (Outcome::ClientError | Outcome::Blocked, Some(error)) => {
                error.status.unwrap_or_else(|| row.dialect.encode_error(error, "", &mut Vec::new()))
            }
            // An answer that has begun has its status, whatever came after.
            _ if end.first.is_some() || row.outcome == Outcome::Ok => 200,
            (_, error) => error.and_then(|error| error.status).unwrap_or(0),
        };
        row.error = end.error.map(|error| match &self.upstream {
            Some(upstream) => upstream.masked(&error.message).as_ref().into(),
            None => error.message.as_str().into(),
        });
        if let Some((usage, estimated)) = end.usage {
            let count = |tokens: u64| u32::try_from(tokens).unwrap_or(u32::MAX);
            row.tokens_in = count(usage.uncached);
            row.tokens_out = count(usage.output);
            row.tokens_cache_read = count(usage.cache_read);
            row.tokens_cache_write = count(usage.cache_write);
            row.tokens_cache_write_1h = count(usage.cache_write_1h);
            row.tokens_reasoning = count(usage.reasoning);
            row.estimated = estimated;
            let model = row.model.as_deref().unwrap_or_default();
            let price = self.upstream.as_ref().and_then(|upstream| self.sinks.prices.find(&upstream.buyer(), model));
            row.cost = price.map(|found| cost(&found.price, &usage));
        }
    }
}

/// How an attempt ended that a provider is to blame for.
fn judged(kind: ErrorKind) -> Outcome {
    match kind {
        ErrorKind::Timeout => Outcome::Timeout,
        _ => Outcome::UpstreamError,
    }
}

fn milliseconds(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{
        settings::{Provider, Settings},
        usage::live::Next,
    };

    fn candidate(name: &str) -> Candidate {
        let provider = Provider::new(name, Dialect::Anthropic, "https://api.example.com");
        Candidate { upstream: Arc::new(Upstream::new(&provider, &Settings::default())), model: "m".into() }
    }

    /// The rows of an exchange that `story` tells and that ends like `end`.
    fn rows(story: impl FnOnce(&mut Record), end: &End<'_>) -> Vec<Arc<UsageRow>> {
        let feed = Feed::default();
        let mut listener = feed.listen(None);
        let asked = Asked {
            id: "id",
            dialect: Dialect::OpenAiChat,
            endpoint: Endpoint::Chat,
            key: None,
            ip: [127, 0, 0, 1].into(),
            caller: Caller::default(),
            received: Instant::now(),
        };
        let mut record = Record::open(Sinks { queue: None, feed, prices: Arc::default() }, asked);
        story(&mut record);
        record.settle(end);
        let events = std::iter::from_fn(|| listener.ready());
        let ends = events.filter_map(|next| match next {
            Next::Event(event) => match &event.what {
                What::RequestEnd(row) => Some(row.clone()),
                _ => None,
            },
            other => panic!("{other:?}"),
        });
        ends.collect()
    }

    fn error(kind: ErrorKind, status: Option<u16>) -> ApiError {
        ApiError { status, ..ApiError::new(kind, "why") }
    }

    #[test]
    fn ends_have_names() {
        let ok = End { outcome: "ok", first: Some(Duration::from_millis(5)), ..End::default() };
        let first = ok.first;
        let late = error(ErrorKind::Timeout, Some(504));
        let broken = error(ErrorKind::Api, Some(502));
        let forbidden = error(ErrorKind::Permission, None);
        let invalid = error(ErrorKind::Invalid, None);
        let cases = [
            (true, End { outcome: "ok", first, ..End::default() }, Outcome::Ok, 200),
            (true, End { outcome: "gone", ..End::default() }, Outcome::ClientGone, 0),
            (true, End { outcome: "gone", first, ..End::default() }, Outcome::ClientGone, 200),
            (true, End { outcome: "timeout", error: Some(&late), first, ..End::default() }, Outcome::Stall, 200),
            (true, End { outcome: "timeout", error: Some(&late), ..End::default() }, Outcome::Timeout, 504),
            (true, End { outcome: "api", error: Some(&broken), first, ..End::default() }, Outcome::UpstreamError, 200),
            (false, End { outcome: "permission", error: Some(&forbidden), ..End::default() }, Outcome::Blocked, 403),
            (false, End { outcome: "invalid", error: Some(&invalid), ..End::default() }, Outcome::ClientError, 400),
        ];
        for (asked, end, outcome, status) in cases {
            let rows = rows(
                |record| {
                    if asked {
                        record.asked(&candidate("a"), Instant::now())
                    }
                },
                &end,
            );
            let [row] = &rows[..] else { panic!("{rows:?}") };
            assert_eq!((row.outcome, row.status), (outcome, status), "{end:?}");
            assert_eq!((row.attempt, row.attempts), (u16::from(asked), u16::from(asked)), "{end:?}");
        }
    }

    #[test]
    fn the_last_failure_is_the_end_of_those_who_all_failed() {
        let story = |record: &mut Record| {
            record.started(&"m".into(), false, true, 10);
            record.asked(&candidate("a"), Instant::now());
            record.failed(&error(ErrorKind::RateLimit, Some(429)), Scope::Model);
            record.asked(&candidate("b"), Instant::now());
            record.failed(&error(ErrorKind::Invalid, Some(400)), Scope::Request);
        };
        let refused = error(ErrorKind::Invalid, Some(400));
        let rows = rows(story, &End { outcome: "invalid", error: Some(&refused), bytes_out: 7, ..End::default() });
        let seen: Vec<_> = rows
            .iter()
            .map(|row| (row.attempt, row.attempts, row.status, row.outcome, row.bytes_out, row.bytes_in))
            .collect();
        assert_eq!(seen, [(1, 2, 429, Outcome::UpstreamError, 0, 10), (2, 2, 400, Outcome::ClientError, 7, 10)]);
        assert_eq!((rows[0].provider.as_deref(), rows[1].provider.as_deref()), (Some("a"), Some("b")));
    }

    #[test]
    fn counts_have_a_cost_only_where_there_is_a_price() {
        let usage = Usage { uncached: 1_000, cache_write: 10, cache_write_1h: 4, output: 2, ..Usage::default() };
        let end = End { outcome: "ok", usage: Some((usage, false)), ..End::default() };
        let cost = |model: &str| {
            let candidate = Candidate { model: model.into(), ..candidate("a") };
            let rows = rows(|record| record.asked(&candidate, Instant::now()), &end);
            assert_eq!((rows[0].tokens_in, rows[0].tokens_cache_write, rows[0].tokens_cache_write_1h), (1_000, 10, 4));
            rows[0].cost
        };
        // 1,000 × 3 + 6 × 3.75 + 4 × 6 + 2 × 15 micro-USD.
        assert_eq!(cost("claude-sonnet-4-5"), Some((3_000 + 24 + 30) * 1_000 + 22_500));
        assert_eq!(cost("nobody-knows"), None);
    }
}
