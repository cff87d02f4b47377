//! What happens now, as server-sent events: asked for with GET, or with POST where something on the way holds back answers
//! to GET until they end.
//!
//! ```text
//!   feed ──▶ topic ──▶ filter ──▶ id, event, data          a client that comes back says the last id that it saw:
//!   log ───▶ topic ─────────────▶     event, data          the events behind it follow, or `reset` if they are gone
//! ```
//!
//! Lines of the log have no ids: they are not told again. Nobody who publishes waits for a client; one that is too slow
//! is told how much it has missed.

use std::{collections::VecDeque, pin::Pin, str::FromStr, sync::Arc};

use bytes::Bytes;
use proxy::Method;
use serde_json::{Value, json};

use super::system::shown_line;
use crate::{
    api::{
        Api, Cut, Payload, Pieces, Problem, Reply, Request,
        reply::event,
        route::{Body, Content, Param, ROUTE, Route, USAGE},
        schema::{COUNT, Object, Schema, line, optional},
    },
    store::usage::{UsageRow, Wanted},
    telemetry::ring::{self, Line},
    usage::{
        live::{Feed, Listener, Next, What},
        pricing::covers,
    },
};

const TOPICS: &[&str] = &["requests", "providers", "config", "jobs", "logs"];
/// Topics of those who name none.
const USUAL: &[&str] = &["requests", "providers", "config", "jobs"];
/// Requests whose facts are remembered for a filter.
const REMEMBERED: usize = 1_024;

const FILTER: Object = Object {
    name: "EventFilter",
    members: &[
        optional("provider", line(128), "* stands for any text, as in the next two"),
        optional("model", line(256), "requested or used"),
        optional("key", line(128), "name of the caller's key"),
        optional("session", line(256), "the client's session, exactly"),
        optional("status", line(32), "ok, error, an outcome or an HTTP status; only ends of requests have one"),
    ],
};
const WATCH: Object = Object {
    name: "Watch",
    members: &[
        optional("topics", Schema::List(&Schema::Word(TOPICS), TOPICS.len()), "all but logs unless said"),
        optional("filter", Schema::Object(&FILTER), "only what is known to be about requests like these"),
        optional("lastEventId", COUNT, "goes on behind this event, as the field Last-Event-ID does"),
    ],
};

pub(in crate::api) const ROUTES: &[Route] = &[
    Route {
        path: "/api/events",
        operation: "watchEvents",
        summary: "What happens now, as server-sent events; goes on behind Last-Event-ID",
        tag: "events",
        query: &[
            Param {
                name: "topics",
                schema: line(100),
                help: "of requests, providers, config, jobs, logs; with commas. All but logs unless said",
            },
            Param { name: "lastEventId", schema: COUNT, help: "goes on behind this event" },
        ],
        replies: &[(200, Content::Events)],
        handler: |api, request| Box::pin(get(api, request)),
        ..ROUTE
    },
    Route {
        method: Method::POST,
        path: "/api/events",
        operation: "watchEventsByPost",
        summary: "The same, with a filter, and for ways that hold back answers to GET",
        tag: "events",
        body: Body::Optional(&WATCH),
        replies: &[(200, Content::Events)],
        handler: |api, request| Box::pin(post(api, request)),
        ..ROUTE
    },
    Route {
        path: "/api/usage/stream",
        capability: USAGE,
        operation: "streamUsage",
        summary: "Ends of requests, as server-sent events in the older form",
        tag: "events",
        replies: &[(200, Content::Events)],
        handler: |api, request| Box::pin(usage(api, request)),
        ..ROUTE
    },
];

async fn get(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let words = request.query("topics").unwrap_or_default().split(',').map(str::trim);
    let topics = words.filter(|word| !word.is_empty()).map(|word| {
        TOPICS.iter().find(|topic| **topic == word).copied().ok_or_else(|| {
            let message = format!("`{word}` is no topic: use {}", TOPICS.join(", "));
            Problem::query("topics", message)
        })
    });
    let after = request.number("lastEventId").and_then(|id| u64::try_from(id).ok());
    Ok(watch(api, request, topics.collect::<Result<_, _>>()?, Filter::default(), after))
}

async fn post(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let named = request.body.get("topics").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let topics = named.filter_map(|word| TOPICS.iter().find(|topic| **topic == word).copied()).collect();
    let filter = request.body.get("filter").map(Filter::of).transpose()?.unwrap_or_default();
    let after = request.body.get("lastEventId").and_then(super::integer).and_then(|id| u64::try_from(id).ok());
    Ok(watch(api, request, topics, filter, after))
}

/// The number of the last event that a client has seen, by the field that browsers send. A number that is none of ours
/// is one that is gone.
fn last_event(request: &Request) -> Option<u64> {
    let given = request.head.headers.get("last-event-id")?;
    let id = std::str::from_utf8(given).ok().and_then(|id| id.trim().parse().ok());
    Some(id.unwrap_or_default())
}

fn watch(api: &Api, request: &Request, topics: Vec<&'static str>, filter: Filter, after: Option<u64>) -> Reply {
    let topics = if topics.is_empty() { USUAL.to_vec() } else { topics };
    let logs = topics.contains(&"logs").then(|| ring::ring().last());
    let watching = Watching::new(&api.live().shared().feed, topics, filter, last_event(request).or(after), logs);
    Reply::of(Payload::Events(Box::new(watching)))
}

/// What is known of a request. It comes piece by piece: who asks, then who is asked, then how it ended.
#[derive(Debug, Clone, Default)]
struct Facts {
    key: Option<Arc<str>>,
    session: Option<Arc<str>>,
    requested: Option<Arc<str>>,
    provider: Option<Arc<str>>,
    model: Option<Arc<str>>,
}

impl Facts {
    fn of(row: &UsageRow) -> Self {
        Self {
            key: row.key.clone(),
            session: row.session.clone(),
            requested: Some(row.model_requested.clone()),
            provider: row.provider.clone(),
            model: row.model.clone(),
        }
    }
}

/// Which requests are wanted. An event passes if everything that the filter asks for is known by then and fits.
#[derive(Debug, Default)]
struct Filter {
    /// In lower case, as the next two.
    provider: Option<String>,
    model: Option<String>,
    key: Option<String>,
    session: Option<String>,
    status: Option<Wanted>,
    /// What earlier events said of requests that run, the oldest first.
    running: VecDeque<(Arc<str>, Facts)>,
}

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// 422 if its status is none.
    fn of(body: &Value) -> Result<Self, Problem> {
        let text = |name: &str| body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let pattern = |name: &str| text(name).map(str::to_lowercase);
        let status = text("status").map(|status| {
            let message = "`filter.status` must be ok, error, an outcome or an HTTP status";
            Wanted::from_str(status).map_err(|()| Problem::invalid("filter.status", message))
        });
        Ok(Self {
            provider: pattern("provider"),
            model: pattern("model"),
            key: pattern("key"),
            session: text("session").map(str::to_owned),
            status: status.transpose()?,
            running: VecDeque::new(),
        })
    }

    fn is_empty(&self) -> bool {
        let texts = [&self.provider, &self.model, &self.key, &self.session];
        texts.iter().all(|text| text.is_none()) && self.status.is_none()
    }

    /// Whether an event is wanted, by what it says itself and what its request said before.
    fn takes(&mut self, what: &What) -> bool {
        if self.is_empty() {
            return true;
        }
        match what {
            What::RequestStart(started) => {
                let facts = Facts {
                    key: started.key.clone(),
                    session: started.session.clone(),
                    requested: Some(started.model.clone()),
                    ..Facts::default()
                };
                self.remember(&started.request_id, facts.clone());
                self.fits(&facts, None)
            }
            What::RequestRoute { request_id, provider, model, .. } => {
                let before = self.recall(request_id).cloned().unwrap_or_default();
                let facts = Facts { provider: Some(provider.clone()), model: Some(model.clone()), ..before };
                self.remember(request_id, facts.clone());
                self.fits(&facts, None)
            }
            What::RequestFirst { request_id, .. } => {
                self.recall(request_id).is_some_and(|facts| self.fits(facts, None))
            }
            What::RequestEnd(row) => {
                if row.is_final() {
                    self.running.retain(|(id, _)| *id != row.request_id);
                }
                self.fits(&Facts::of(row), Some(row))
            }
            What::ProviderState { provider, .. } => like(self.provider.as_deref(), [Some(provider)]),
            What::ConfigChanged { .. } | What::JobProgress { .. } => true,
        }
    }

    fn recall(&self, id: &Arc<str>) -> Option<&Facts> {
        self.running.iter().find(|(known, _)| known == id).map(|(_, facts)| facts)
    }

    fn remember(&mut self, id: &Arc<str>, facts: Facts) {
        if let Some((_, known)) = self.running.iter_mut().find(|(known, _)| known == id) {
            *known = facts;
            return;
        }
        if self.running.len() == REMEMBERED {
            self.running.pop_front();
        }
        self.running.push_back((id.clone(), facts));
    }

    fn fits(&self, facts: &Facts, end: Option<&UsageRow>) -> bool {
        like(self.provider.as_deref(), [facts.provider.as_ref()])
            && like(self.model.as_deref(), [facts.model.as_ref(), facts.requested.as_ref()])
            && like(self.key.as_deref(), [facts.key.as_ref()])
            && self.session.as_deref().is_none_or(|session| facts.session.as_deref() == Some(session))
            && self.status.is_none_or(|status| end.is_some_and(|row| status.takes(row.outcome, row.status)))
    }
}

/// Whether one of the texts is as wanted, if anything is.
fn like<const N: usize>(pattern: Option<&str>, texts: [Option<&Arc<str>>; N]) -> bool {
    pattern.is_none_or(|pattern| texts.into_iter().flatten().any(|text| covers(pattern, &text.to_lowercase())))
}

struct Watching {
    listener: Listener,
    topics: Vec<&'static str>,
    filter: Filter,
    /// The last line of the log that was looked at, if lines are wanted.
    logs: Option<u64>,
    lines: VecDeque<Arc<Line>>,
    /// Said before all else.
    first: Option<Bytes>,
}

impl Watching {
    fn new(feed: &Feed, topics: Vec<&'static str>, filter: Filter, after: Option<u64>, logs: Option<u64>) -> Self {
        let listener = feed.listen(after);
        // A block without data only sets the number from which a browser goes on: also one that heard nothing can.
        let first = after.is_none().then(|| format!("id: {}\n\n", listener.last()).into());
        Self { listener, topics, filter, logs, lines: VecDeque::new(), first }
    }

    /// What is told, as text, if it is wanted.
    fn written(&mut self, next: Next) -> Option<Bytes> {
        let told = match next {
            Next::Event(told) => told,
            other => return Some(missed(&other, &self.listener)),
        };
        if !self.topics.contains(&told.topic()) || !self.filter.takes(&told.what) {
            return None;
        }
        Some(event(told.id, told.name(), &told.json()))
    }
}

/// That something was missed, as text; it goes on from where the listener is now.
fn missed(next: &Next, listener: &Listener) -> Bytes {
    let (name, document) = match next {
        Next::Lag(dropped) => ("lag", json!({ "dropped": dropped })),
        _ => ("reset", json!({})),
    };
    event(listener.last(), name, &document)
}

impl Pieces for Watching {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Result<Option<Bytes>, Cut>> + Send + '_>> {
        Box::pin(async move {
            if let Some(first) = self.first.take() {
                return Ok(Some(first));
            }
            loop {
                if let Some(line) = self.lines.pop_front() {
                    return Ok(Some(format!("event: log\ndata: {}\n\n", shown_line(&line)).into()));
                }
                let seen = self.logs;
                let lines = async {
                    match seen {
                        Some(seen) => ring::ring().wait(seen).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    next = self.listener.next() => {
                        if let Some(text) = self.written(next) {
                            return Ok(Some(text));
                        }
                    }
                    lines = lines => {
                        self.logs = lines.last().map(|line| line.id).or(seen);
                        self.lines = lines.into();
                    }
                }
            }
        })
    }
}

async fn usage(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let ends = Ends::new(&api.live().shared().feed, last_event(request));
    Ok(Reply::of(Payload::Events(Box::new(ends))))
}

/// Ends of requests.
struct Ends {
    listener: Listener,
    ready: Option<Bytes>,
}

impl Ends {
    fn new(feed: &Feed, after: Option<u64>) -> Self {
        let listener = feed.listen(after);
        let last = listener.last();
        let ready = event(last, "ready", &json!({ "lastId": last }));
        Self { listener, ready: Some(ready) }
    }
}

impl Pieces for Ends {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Result<Option<Bytes>, Cut>> + Send + '_>> {
        Box::pin(async move {
            if let Some(ready) = self.ready.take() {
                return Ok(Some(ready));
            }
            loop {
                let told = match self.listener.next().await {
                    Next::Event(told) => told,
                    other => return Ok(Some(missed(&other, &self.listener))),
                };
                let What::RequestEnd(row) = &told.what else { continue };
                if !row.is_final() {
                    continue;
                }
                let all = told.json();
                let members =
                    ["ts", "provider", "model", "promptTokens", "completionTokens", "costUsd", "latencyMs", "status"];
                let mut document = json!({ "id": told.id });
                for name in members {
                    document[name] = all.get(name).cloned().unwrap_or_default();
                }
                return Ok(Some(event(told.id, "usage", &document)));
            }
        })
    }
}

#[cfg(test)]
mod tests;
