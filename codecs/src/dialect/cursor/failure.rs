//! What is said of a failure: the last envelope of a stream, or a whole answer.

use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD};
use bytes::BytesMut;

use super::schema::error_details;
use crate::{
    frame::write_envelope,
    hub::{ApiError, ErrorKind},
    json::{Writer, write::Sink},
    proto::MessageWriter,
};

/// Words of an error for which the editor takes its user for logged out.
const LOGGED_OUT: [&str; 6] =
    ["401", "unauthorized", "unauthenticated", "authentication failed", "invalid token", "token expired"];

/// Ends a stream with an error.
pub(super) fn end_with(error: &ApiError, out: &mut BytesMut) {
    write_envelope(true, out, |out| {
        out.put(b"{\"error\":");
        error_object(error, out);
        out.put(b"}");
    });
}

/// Ends a stream whose user does not want an answer any more.
pub(super) fn end_cancelled(out: &mut BytesMut) {
    write_envelope(true, out, |out| out.put(br#"{"error":{"code":"canceled","message":"the turn was cancelled"}}"#));
}

/// What is said of a kind of failure.
pub(super) struct Words {
    /// Connect's code. Those for logins and permissions are never used: they would be about the user's account.
    pub(super) code: &'static str,
    /// The HTTP status that it stands for.
    pub(super) status: u16,
    /// For people.
    pub(super) title: &'static str,
}

pub(super) fn words(kind: ErrorKind) -> Words {
    let (code, status, title) = match kind {
        ErrorKind::Invalid => ("invalid_argument", 400, "The provider refused the request"),
        ErrorKind::UnsupportedContent => ("invalid_argument", 400, "The provider cannot take this content"),
        ErrorKind::TooLarge => ("out_of_range", 400, "The request is too large"),
        ErrorKind::NotFound => ("not_found", 404, "There is no such model"),
        ErrorKind::RateLimit => ("resource_exhausted", 429, "The provider has too many requests"),
        ErrorKind::Timeout => ("deadline_exceeded", 504, "The provider took too long"),
        ErrorKind::Auth => ("unavailable", 503, "The provider did not accept the router's key"),
        ErrorKind::Billing => ("unavailable", 503, "The router's account at the provider has no money left"),
        ErrorKind::Permission => ("unavailable", 503, "The router's account at the provider may not do this"),
        ErrorKind::Overloaded => ("unavailable", 503, "The provider is overloaded"),
        ErrorKind::Truncated => ("unavailable", 503, "The provider's answer was cut off"),
        ErrorKind::Api => ("internal", 500, "The provider failed"),
    };
    Words { code, status, title }
}

/// `{"code":…,"message":…,"details":[…]}`. Never said to be worth a retry: the editor would send the whole turn again.
pub(super) fn error_object(error: &ApiError, out: &mut impl Sink) {
    let Words { code, title, .. } = words(error.kind);
    let mut details = Vec::new();
    MessageWriter::new(&mut details).varint(error_details::ERROR, error_details::PROVIDER).message(
        error_details::DETAILS,
        |w| {
            w.text(error_details::TITLE, title)
                .text(error_details::DETAIL, &error.message)
                .varint(error_details::SHOW_REQUEST_ID, 1);
        },
    );
    let lower = error.message.to_ascii_lowercase();
    let message = if LOGGED_OUT.iter().any(|words| lower.contains(words)) { title } else { &error.message };
    let mut w = Writer::new(out);
    w.begin_object().key("code").string(code).key("message").string(message);
    w.key("details").begin_array().begin_object();
    w.key("type").string("aiserver.v1.ErrorDetails");
    w.key("debug").begin_object().key("details").begin_object();
    w.key("title").string(title).key("detail").string(&error.message).key("isRetryable").bool(false);
    w.end_object().key("isExpected").bool(true).end_object();
    w.key("value").string(&BASE64_STANDARD_NO_PAD.encode(&details));
    w.end_object().end_array().end_object();
}
