//! Answers of our own making: errors in the client's dialect, small documents, and the fields that every answer carries.

use std::time::Instant;

use bytes::Bytes;
use codecs::{
    dialect::{ClientDialect, Dialect},
    hub::{ApiError, ErrorKind},
};
use proxy::{Call, Fresh, ResponseHead, StatusCode, Timing};

use super::exchange::Exchange;
use crate::route::Candidate;

/// The status for a client that does not bring its request to an end. No dialect has a word for it, all SDKs know it.
pub(super) const TOO_SLOW: u16 = 408;

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
pub(super) async fn error(
    call: Call<'_, Fresh>,
    dialect: impl Into<ClientDialect>,
    error: &ApiError,
    request_id: &str,
) {
    let dialect = dialect.into();
    let head = ResponseHead::new(StatusCode::OK);
    error_with(call, dialect, error, request_id, head).await;
}

/// Sends an error with fields that `head` has already.
pub(super) async fn error_with(
    call: Call<'_, Fresh>,
    dialect: ClientDialect,
    error: &ApiError,
    request_id: &str,
    mut head: ResponseHead,
) {
    let mut body = Vec::with_capacity(256);
    let status = dialect.encode_error(error, request_id, &mut body);
    let too_slow = error.kind == ErrorKind::Invalid && error.status == Some(TOO_SLOW);
    let status = if too_slow { TOO_SLOW } else { status };
    head.status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    head = head.with("content-type", dialect.error_content_type());
    if let Some((name, value)) = dialect.error_field(error) {
        head = head.with(name, value);
    }
    if dialect == ClientDialect::Public(Dialect::Anthropic) {
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
        .with("x-flow-router-provider", candidate.upstream.shown.clone())
        .with("x-flow-router-model", header_text(&candidate.model));
    if attempts > 1 {
        head = head.with("x-flow-router-attempts", attempts.to_string());
    }
    if let Some(seen) = &exchange.intercepted {
        seen.mark(&mut head.headers);
    }
    head
}

/// Our own time: all of it less the time in which we waited for the upstream.
pub(super) fn added(
    head: ResponseHead,
    exchange: &Exchange,
    timing: &Timing,
    now: Instant,
) -> (ResponseHead, std::time::Duration) {
    let before = timing.sent.saturating_duration_since(exchange.complete);
    let added = before + now.saturating_duration_since(timing.head);
    (head.with("x-flow-router-added-ms", milliseconds(added)), added)
}

/// Milliseconds with three decimals. By hand: this is written for every answer, and the formatter costs more than all
/// other fields together.
fn milliseconds(time: std::time::Duration) -> Bytes {
    let mut text = [b'0'; 24];
    let mut rest = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let mut start = text.len();
    for place in 0.. {
        if place == 3 {
            start -= 1;
            text[start] = b'.';
        }
        if place > 3 && rest == 0 {
            break;
        }
        start -= 1;
        text[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    Bytes::copy_from_slice(&text[start..])
}

/// Text that may stand in a header: printable ASCII, the rest as `?`.
pub(super) fn header_text(text: &str) -> String {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text.to_owned();
    }
    text.chars().map(|c| if (' '..='~').contains(&c) { c } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_have_three_decimals() {
        for (micros, expected) in [(0, "0.000"), (7, "0.007"), (1_000, "1.000"), (12_345_678, "12345.678")] {
            assert_eq!(milliseconds(Duration::from_micros(micros)), expected);
        }
        assert_eq!(milliseconds(Duration::MAX), "18446744073709551.615");
    }

    #[test]
    fn only_printable_ascii_stands_in_a_header() {
        assert_eq!(header_text("a b~"), "a b~");
        assert_eq!(header_text("a\r\né"), "a???");
    }
}
