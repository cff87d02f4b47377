//! What happens now, as server-sent events: asked for with GET, or with POST where something on the way holds back answers
//! to GET until they end.

use std::{collections::VecDeque, pin::Pin, sync::Arc};

use bytes::Bytes;
use proxy::Method;
use serde_json::{Value, json};

use super::system::shown_line;
use crate::{
    api::{
        Api, Cut, Payload, Pieces, Problem, Reply, Request,
        schema::{COUNT, Object, Schema, line, optional},
        table::{Body, Content, Param, ROUTE, Route, USAGE},
    },
    telemetry::ring::{self, Line},
    usage::live::{Event, Listener, Next, What},
};

const TOPICS: &[&str] = &["requests", "providers", "config", "jobs", "logs"];
/// Requests that are remembered as not wanted.
const UNWANTED: usize = 1_024;

const FILTER: Object = Object {
    name: "EventFilter",
    members: &[
        optional("provider", line(128), ""),
        optional("model", line(256), "requested or used"),
        optional("key", line(128), "name of the caller's key"),
        optional("session", line(256), ""),
        optional("status", line(32), "ok, error, an outcome or an HTTP status: of ends of requests"),
    ],
};
const WATCH: Object = Object {
    name: "Watch",
    members: &[
        optional("topics", Schema::List(&Schema::Word(TOPICS), 5), "all but logs unless said"),
        optional("filter", Schema::Object(&FILTER), "only events of requests like these"),
        optional("lastEventId", COUNT, "goes on behind this event"),
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
                help: "of requests, providers, config, jobs, logs; with commas",
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
        summary: "The same, with filters, for ways that hold back answers to GET",
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
    let mut topics = Vec::new();
    for word in request.query("topics").unwrap_or_default().split(',').filter(|word| !word.is_empty()) {
        match TOPICS.iter().find(|topic| **topic == word.trim()) {
            Some(topic) => topics.push(*topic),
            None => {
                let message = format!("`{word}` is no topic: use {}", TOPICS.join(", "));
                return Err(Problem::query("topics", message));
            }
        }
    }
    let after = request.number("lastEventId").and_then(|id| u64::try_from(id).ok());
    Ok(watch(api, request, topics, Filter::default(), after))
}

async fn post(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let named = request.body.get("topics").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let topics = named.filter_map(|word| TOPICS.iter().find(|topic| **topic == word).copied()).collect();
    let filter = request.body.get("filter").map(Filter::of).unwrap_or_default();
    let after = request.body.get("lastEventId").and_then(super::integer).and_then(|id| u64::try_from(id).ok());
    Ok(watch(api, request, topics, filter, after))
}

/// The number of the last event that a client has seen, by the field that browsers send.
fn last_event(request: &Request) -> Option<u64> {
    request.head.headers.text("last-event-id").and_then(|id| id.trim().parse().ok())
}

fn watch(api: &Api, request: &Request, topics: Vec<&'static str>, filter: Filter, after: Option<u64>) -> Reply {
    let after = last_event(request).or(after);
    let logs = topics.contains(&"logs");
    let events = Watching {
        listener: api.live().shared().feed.listen(after),
        topics,
        filter,
        logs: logs.then(|| ring::ring().last()),
        lines: VecDeque::new(),
    };
    Reply { status: 200, headers: Vec::new(), payload: Payload::Events(Box::new(events)) }
}

/// Which requests are wanted. What is not set holds for all.
#[derive(Debug, Default)]
struct Filter {
    wanted: Vec<(&'static str, String)>,
    status: Option<String>,
    /// Requests that turned out not to be wanted: the rest of their events is left out as well.
    unwanted: VecDeque<Arc<str>>,
}

impl Filter {
    fn of(body: &Value) -> Self {
        let text = |name: &str| body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let names = ["provider", "model", "key", "session"];
        Self {
            wanted: names.into_iter().filter_map(|name| Some((name, text(name)?.to_owned()))).collect(),
            status: text("status").map(str::to_owned),
            unwanted: VecDeque::new(),
        }
    }

    /// Whether an event is wanted, by what it says itself and what its request said before.
    fn takes(&mut self, event: &Event, document: &Value) -> bool {
        let Some(id) = event.request_id() else { return true };
        if self.unwanted.contains(id) {
            return false;
        }
        let fits = self.wanted.iter().all(|(name, wanted)| {
            let mut said = [document.get(*name), document.get("modelRequested").filter(|_| *name == "model")]
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .peekable();
            // What is not known yet speaks against nothing; at the end all is known.
            match said.peek() {
                None => !matches!(event.what, What::RequestEnd(_)),
                Some(_) => said.any(|said| said.eq_ignore_ascii_case(wanted)),
            }
        });
        // A provider that is asked first may not be the one that is wanted, and the next one may.
        if !fits && matches!(event.what, What::RequestStart(_)) {
            if self.unwanted.len() == UNWANTED {
                self.unwanted.pop_front();
            }
            self.unwanted.push_back(id.clone());
        }
        fits && self.has_status(event)
    }

    fn has_status(&self, event: &Event) -> bool {
        let (Some(status), What::RequestEnd(row)) = (&self.status, &event.what) else { return true };
        match status.as_str() {
            "ok" => row.outcome.name() == "ok",
            "error" => row.outcome.name() != "ok",
            word => row.outcome.name() == word || word.parse() == Ok(row.status),
        }
    }
}

struct Watching {
    listener: Listener,
    /// Empty = all but logs.
    topics: Vec<&'static str>,
    filter: Filter,
    /// The last line of the log that was looked at, if lines are wanted.
    logs: Option<u64>,
    lines: VecDeque<Arc<Line>>,
}

impl Watching {
    /// An event as text, if it is wanted.
    fn written(&mut self, next: Next) -> Option<Bytes> {
        match next {
            Next::Event(event) => {
                if !self.topics.is_empty() && !self.topics.contains(&event.topic()) {
                    return None;
                }
                let document = event.json();
                if !self.filter.takes(&event, &document) {
                    return None;
                }
                Some(format!("id: {}\nevent: {}\ndata: {document}\n\n", event.id, event.name()).into())
            }
            Next::Lag(dropped) => Some(format!("event: lag\ndata: {}\n\n", json!({ "dropped": dropped })).into()),
            Next::Reset => Some(Bytes::from_static(b"event: reset\ndata: {}\n\n")),
        }
    }
}

impl Pieces for Watching {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Result<Option<Bytes>, Cut>> + Send + '_>> {
        Box::pin(async move {
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
    let feed = &api.live().shared().feed;
    let listener = feed.listen(last_event(request));
    let ready = format!("event: ready\ndata: {}\n\n", json!({ "lastId": feed.last_id() }));
    let ends = Ends { listener, ready: Some(ready.into()) };
    Ok(Reply { status: 200, headers: Vec::new(), payload: Payload::Events(Box::new(ends)) })
}

/// Ends of requests.
struct Ends {
    listener: Listener,
    ready: Option<Bytes>,
}

impl Pieces for Ends {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Result<Option<Bytes>, Cut>> + Send + '_>> {
        Box::pin(async move {
            if let Some(ready) = self.ready.take() {
                return Ok(Some(ready));
            }
            loop {
                let Next::Event(event) = self.listener.next().await else { continue };
                let What::RequestEnd(row) = &event.what else { continue };
                if !row.is_final() {
                    continue;
                }
                let all = event.json();
                let members =
                    ["ts", "provider", "model", "promptTokens", "completionTokens", "costUsd", "latencyMs", "status"];
                let mut document = json!({ "id": event.id });
                for name in members {
                    document[name] = all.get(name).cloned().unwrap_or_default();
                }
                return Ok(Some(format!("id: {}\nevent: usage\ndata: {document}\n\n", event.id).into()));
            }
        })
    }
}
