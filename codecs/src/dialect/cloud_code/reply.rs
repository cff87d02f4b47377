//! Whole answers and errors.

use crate::{
    dialect::{
        Context,
        gemini::{self, parts::Foreign, words},
    },
    hub::{ApiError, ErrorKind, Reply},
    json::{Writer, write::Sink},
};

/// What stands before an object of the answer.
pub(super) const BEFORE: &[u8] = br#"{"response":"#;

/// What stands behind it.
pub(super) fn behind(context: &Context) -> Vec<u8> {
    let mut out = b",".to_vec();
    Writer::new(&mut out).key("traceId").string(&context.new_id);
    out.put(br#","metadata":{}}"#);
    out
}

/// Writes a whole answer; as an array of one where the client asked for a stream in array form.
pub fn encode(reply: &Reply, context: &Context, out: &mut Vec<u8>) {
    let (open, close): (&[u8], &[u8]) = if context.json_array { (b"[", b"]") } else { (b"", b"") };
    out.put(open);
    out.put(BEFORE);
    // The client knows the model by its own name for it.
    gemini::reply::object(reply, &context.model, context, Foreign::Skipped, out);
    out.put(&behind(context));
    out.put(close);
}

/// Writes an error, as Gemini does.
pub fn encode_error(error: &ApiError, out: &mut Vec<u8>) -> u16 {
    let status = status(error.kind);
    gemini::reply::error_object(error, status, out);
    status.0
}

/// HTTP status and status word of a kind. What is wrong between this gateway and a provider is nothing of the client's
/// account: 401 logs its user out, and it has no word for 404.
pub(super) fn status(kind: ErrorKind) -> (u16, &'static str) {
    match kind {
        ErrorKind::Auth | ErrorKind::Permission | ErrorKind::Billing => (500, "INTERNAL"),
        ErrorKind::NotFound => (400, "INVALID_ARGUMENT"),
        other => words::error_status(other),
    }
}
