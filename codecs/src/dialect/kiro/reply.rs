//! Whole answers, which are streams too, and errors.

use bytes::BytesMut;

use super::stream::Encoder;
use crate::{
    dialect::{Context, StreamEncode},
    hub::{ApiError, ErrorKind, Reply, replay::replay},
    json::{Writer, write::Sink},
};

/// Writes a whole answer: the messages of its stream.
pub fn encode(reply: &Reply, context: &Context, out: &mut Vec<u8>) {
    let mut encoder = Encoder::new(context);
    let mut messages = BytesMut::new();
    replay(reply, &mut |event| encoder.event(&event, &mut messages));
    out.put(&messages);
}

/// Writes an error, for an answer that has not begun.
pub fn encode_error(error: &ApiError, out: &mut Vec<u8>) -> u16 {
    let mut w = Writer::new(out);
    w.begin_object();
    w.key("__type").string(exception(error.kind));
    members(error, &mut w);
    w.end_object();
    match error.kind {
        ErrorKind::Invalid | ErrorKind::UnsupportedContent | ErrorKind::TooLarge => 400,
        ErrorKind::RateLimit => 429,
        ErrorKind::Overloaded | ErrorKind::Timeout => 503,
        // 401, 402 and 403 would be about the client's own account.
        _ => 500,
    }
}

/// What an error says besides its name.
pub(super) fn members<S: Sink>(error: &ApiError, w: &mut Writer<'_, S>) {
    w.key("message").string(&error.message);
    if error.kind == ErrorKind::TooLarge {
        w.key("reason").string("CONTENT_LENGTH_EXCEEDS_THRESHOLD");
    }
}

/// The name of an error. What is wrong between this gateway and a provider is nothing of the client's account.
pub fn exception(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Invalid | ErrorKind::UnsupportedContent | ErrorKind::TooLarge => "ValidationException",
        ErrorKind::RateLimit => "ThrottlingException",
        ErrorKind::Overloaded | ErrorKind::Timeout => "ServiceUnavailableException",
        _ => "InternalServerException",
    }
}
