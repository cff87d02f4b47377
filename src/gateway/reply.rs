//! Answers of our own making: errors in the client's dialect, small documents, and the fields that every answer carries.

use std::time::Instant;

use bytes::Bytes;
use codecs::{dialect::Dialect, hub::ApiError};
use proxy::{Call, Fresh, ResponseHead, StatusCode};

use super::exchange::Exchange;
use crate::route::Candidate;

/// Sends a document.
pub(super) async fn document(
    call: Call<'_, Fresh>,
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) {
    let head = ResponseHead::new(status).with("content-type", content_type);
    // The client is gone if this fails; there is nobody left to tell.
    drop(call.respond(head, body.into()).await);
}

/// Sends JSON.
pub(super) async fn json(call: Call<'_, Fresh>, body: impl Into<Bytes>) {
    document(call, StatusCode::OK, "application/json", body).await;
}

/// Sends an error in the client's dialect.
pub(super) async fn error(call: Call<'_, Fresh>, dialect: Dialect, error: &ApiError, request_id: &str) {
    let head = ResponseHead::new(StatusCode::OK);
    error_with(call, dialect, error, request_id, head).await;
}

/// Sends an error with fields that `head` has already.
pub(super) async fn error_with(
    call: Call<'_, Fresh>,
    dialect: Dialect,
    error: &ApiError,
    request_id: &str,
    mut head: ResponseHead,
) {
    let mut body = Vec::with_capacity(256);
    let status = dialect.encode_error(error, request_id, &mut body);
    head.status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    head = head.with("content-type", "application/json");
    if dialect == Dialect::Anthropic {
        head = head.with("request-id", request_id.to_owned());
    } else {
        head = head.with("x-request-id", request_id.to_owned());
    }
    if let Some(seconds) = error.retry_after {
        // Whole seconds, rounded up: asking too early would only be refused again.
        head = head.with("retry-after", format!("{}", seconds.ceil().max(0.0) as u64));
    }
    head = head.with("x-flow-router-error", error.kind.name());
    drop(call.respond(head, body.into()).await);
}

/// The fields that tell about the exchange, on every answer of a provider.
pub(super) fn mark(
    mut head: ResponseHead,
    exchange: &Exchange,
    candidate: &Candidate,
    attempts: usize,
) -> ResponseHead {
    head = head
        .with("x-flow-router-request-id", exchange.id.clone())
        .with("x-flow-router-provider", candidate.upstream.name.to_string())
        .with("x-flow-router-model", header_text(&candidate.model));
    if attempts > 1 {
        head = head.with("x-flow-router-attempts", attempts.to_string());
    }
    head
}

/// Our own time: all of it less the time in which we waited for the upstream.
pub(super) fn added(
    head: ResponseHead,
    exchange: &Exchange,
    sent: Instant,
    answered: Instant,
) -> (ResponseHead, std::time::Duration) {
    let before = sent.saturating_duration_since(exchange.complete);
    let added = before + answered.elapsed();
    (head.with("x-flow-router-added-ms", format!("{:.3}", added.as_secs_f64() * 1000.0)), added)
}

/// Text that may stand in a header: printable ASCII, the rest as `?`.
pub(super) fn header_text(text: &str) -> String {
    text.chars().map(|c| if (' '..='~').contains(&c) { c } else { '?' }).collect()
}
