//! Upstream answer → client, forwarded or translated, as a stream or as a document.
//!
//! ```text
//!                      client wants a stream          client wants a document
//!   upstream streams   stream.rs: chunk by chunk      document.rs: collect, fold
//!   upstream does not  document.rs: replay            document.rs: as it is, or translated
//! ```
//!
//! Until the first byte has left for the client every failure goes back to the caller, who may try another candidate.

mod document;
pub(super) mod inflate;
mod pipe;
mod stream;

use std::{
    fmt::Display,
    time::{Duration, Instant},
};

use codecs::{
    dialect::Context,
    hub::{ApiError, ErrorKind},
    translate::Observed,
};
use proxy::{Call, Fresh, Headers, Response, ResponseHead, StatusCode};

use super::{
    attempt::{Outcome, Speed},
    exchange::Exchange,
    reply,
};
use crate::{route::Candidate, settings::Settings};

/// An upstream's good answer with everything that its relay needs.
pub(super) struct Answer<'c> {
    /// Head and body.
    pub response: Response,
    /// How it comes back.
    pub speed: Speed,
    /// Facts for the codecs; none are needed yet where the request was forwarded as it came.
    pub context: Option<Box<Context>>,
    /// Names of what was left out of the request.
    pub dropped: Vec<String>,
    /// Whether the upstream was asked for a stream.
    pub stream: bool,
    /// Who answers.
    pub candidate: &'c Candidate,
    /// Which attempt this is, from 1.
    pub attempts: usize,
    /// Settings.
    pub settings: &'c Settings,
}

/// Relays an answer.
pub(super) async fn relay<'a>(call: Call<'a, Fresh>, exchange: &mut Exchange, answer: Box<Answer<'_>>) -> Outcome<'a> {
    let streams = answer.stream && !is_document(&answer.response.head.headers, exchange.json_array);
    match (exchange.stream, streams) {
        (true, true) => stream::relay(call, exchange, answer).await,
        (true, false) => document::as_stream(call, exchange, answer).await,
        // Boxed: it is rare, and every open stream would have room for it.
        (false, true) => Box::pin(document::from_stream(call, exchange, answer)).await,
        (false, false) => document::relay(call, exchange, answer).await,
    }
}

impl Answer<'_> {
    /// Facts for the codecs.
    fn context(&mut self, exchange: &Exchange) -> &mut Context {
        self.context.get_or_insert_with(|| Box::new(exchange.context(self.settings)))
    }
}

/// Whether the upstream answers a request for a stream with a document. A JSON array is a stream to who asked for one.
fn is_document(headers: &Headers, json_array: bool) -> bool {
    let content_type = headers.text("content-type").unwrap_or_default();
    content_type.starts_with("application/json") && !json_array
}

/// Keeps the upstream's fields that pass to the client: all but those of its connection to us and what we say ourselves.
pub(super) fn pass(headers: &mut Headers) {
    const STAYS: [&str; 13] = [
        "connection",
        "content-length",
        "transfer-encoding",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "upgrade",
        "alt-svc",
        "set-cookie",
        "strict-transport-security",
        "date",
        "server",
    ];
    let mut named = Vec::new();
    if headers.names_fields() {
        named.extend(headers.iter().map(|(name, _)| name.clone()).filter(|name| headers.is_named(name)));
    }
    headers.retain(|name, _| {
        !named.iter().any(|named| named == name)
            && !STAYS.iter().any(|stays| name.eq_ignore_ascii_case(stays.as_bytes()))
    });
}

/// The head of a good answer, without what only the caller knows. `content_type` is ours unless the answer is forwarded.
/// Takes the upstream's fields: they are of no use afterwards.
fn head(exchange: &mut Exchange, answer: &mut Answer<'_>, content_type: &'static str) -> ResponseHead {
    let mut upstream = std::mem::replace(&mut answer.response.head, ResponseHead::new(StatusCode::OK));
    let mut head = ResponseHead::new(StatusCode::OK);
    match answer.speed {
        Speed::Forward => {
            pass(&mut upstream.headers);
            head = upstream;
            head.headers.remove("content-encoding");
        }
        Speed::Translate => {
            let id = upstream.headers.text("x-request-id").or_else(|| upstream.headers.text("request-id"));
            if let Some(id) = id {
                head = head.with("x-flow-router-upstream-request-id", reply::header_text(id));
            }
        }
    }
    if !head.headers.contains("content-type") {
        head = head.with("content-type", content_type);
    }
    if !answer.dropped.is_empty() {
        head = head.with("x-flow-router-dropped", reply::header_text(&answer.dropped.join(",")));
    }
    head = reply::mark(head, exchange, answer.candidate, answer.attempts);
    let timing = &answer.response.timing;
    let now = Instant::now();
    let (head, added) = reply::added(head, exchange, timing, now);
    exchange.ledger.first_content(now.saturating_duration_since(exchange.complete), added);
    head
}

/// Books a finished answer.
fn settle(exchange: &mut Exchange, observed: &Observed) {
    match &observed.error {
        Some(error) => {
            exchange.ledger.cut_off(observed);
            exchange.ledger.broke(error);
        }
        None => {
            exchange.ledger.observed(observed);
            exchange.ledger.outcome("ok");
        }
    }
}

/// The error for a stream that fell silent.
fn stalled(limit: Duration) -> ApiError {
    let message = format!("the provider's stream was silent for {} s", limit.as_secs_f32());
    ApiError { status: Some(504), ..ApiError::new(ErrorKind::Timeout, message) }
}

/// The error for an answer that is of no use: the provider's answer `is` so.
fn useless(is: impl Display) -> ApiError {
    ApiError { status: Some(502), ..ApiError::new(ErrorKind::Api, format!("the provider's answer {is}")) }
}

/// The error for an answer whose coding is unknown or damaged.
fn unreadable(error: &inflate::InflateError) -> ApiError {
    useless(format_args!("cannot be read: {error}"))
}
