//! Whole answers and errors.

use crate::{
    dialect::{
        Context, StreamDecode,
        ollama::{row, stream},
    },
    hub::{
        ApiError, Emit, ErrorKind, EscapedBuf, Reply, ReplyPart,
        error::{from_plain_body, mask_secrets},
    },
    json::{Raw, Text, Writer, write::Sink},
};

/// Reads a whole answer: one row with everything in it.
pub fn decode(body: Raw<'_>, context: &Context, emit: Emit<'_>) {
    let mut decoder = stream::Decoder::new(context);
    decoder.json(None, body, emit);
    decoder.end(emit);
}

/// Writes a whole answer.
pub fn encode(reply: &Reply, context: &Context, out: &mut Vec<u8>) {
    out.put(b"{");
    row::head(Text::Plain(&reply.model), reply.created, context, out);
    out.put(b",");
    let mut w = Writer::new(out);
    let (text, thinking) = (joined(reply, false), joined(reply, true));
    if context.generate {
        w.key("response").text(text.text());
    } else {
        w.key("message").begin_object();
        w.key("role").string("assistant");
        w.key("content").text(text.text());
    }
    if !thinking.is_empty() {
        w.key("thinking").text(thinking.text());
    }
    if reply.has_calls() {
        let calls = reply.parts.iter().filter_map(|part| match part {
            ReplyPart::Tool { id, name, kind, args, .. } => {
                Some(row::Call { id, name, kind: *kind, args: args.text() })
            }
            _ => None,
        });
        row::calls(calls, &context.tools, w.key("tool_calls"));
    }
    if !context.generate {
        w.end_object();
    }
    let scores = reply.logprobs_of(|_, _| true);
    if !scores.is_empty() {
        w.key("logprobs").begin_array().verbatim(&scores.text().plain()).end_array();
    }
    row::done(reply.finish.as_ref(), &reply.usage, &mut w);
    out.put(b"}");
}

/// All visible text, or all reasoning, of an answer.
fn joined(reply: &Reply, thinking: bool) -> EscapedBuf {
    let mut all = EscapedBuf::default();
    for part in &reply.parts {
        match part {
            ReplyPart::Text(text) | ReplyPart::Refusal(text) if !thinking => all.push(text.text()),
            ReplyPart::Thinking { text, .. } if thinking => all.push(text.text()),
            _ => {}
        }
    }
    all
}

/// Reads an error.
pub fn decode_error(status: u16, body: &[u8]) -> ApiError {
    match Raw::parse(body).ok().and_then(|value| value.get("error")) {
        Some(value) => error(Some(status), value),
        None => from_plain_body(status, body),
    }
}

/// Reads the `error` member of a body or row: text, or an object with a message as compatible servers send it.
pub(super) fn error(status: Option<u16>, value: Raw<'_>) -> ApiError {
    let message = value.as_text().or_else(|| value.get_text("message")).map(|text| text.plain());
    let message = message.as_deref().filter(|message| !message.trim().is_empty());
    let message = mask_secrets(message.unwrap_or("upstream error without a message"));
    let kind = status.map_or_else(|| kind_of_words(&message), ErrorKind::of_status);
    ApiError { status, ..ApiError::new(kind, message) }
}

/// The kind of an error in a stream, which has nothing but its words.
fn kind_of_words(message: &str) -> ErrorKind {
    let words = message.to_ascii_lowercase();
    let says = |any: &[&str]| any.iter().any(|word| words.contains(word));
    match () {
        () if says(&["overloaded", "at capacity", "server busy"]) => ErrorKind::Overloaded,
        () if says(&["rate limit", "too many requests"]) => ErrorKind::RateLimit,
        () => ErrorKind::Api,
    }
}

/// Writes an error.
pub fn encode_error(error: &ApiError, out: &mut Vec<u8>) -> u16 {
    error_object(error, out);
    match error.kind {
        ErrorKind::Invalid | ErrorKind::UnsupportedContent => 400,
        ErrorKind::Auth => 401,
        ErrorKind::Billing => 402,
        ErrorKind::Permission => 403,
        ErrorKind::NotFound => 404,
        ErrorKind::TooLarge => 413,
        ErrorKind::RateLimit => 429,
        ErrorKind::Overloaded => 503,
        ErrorKind::Api => 500,
        ErrorKind::Timeout => 504,
        ErrorKind::Truncated => 502,
    }
}

/// `{"error":"…"}`
pub(super) fn error_object(error: &ApiError, out: &mut impl Sink) {
    let mut w = Writer::new(out);
    w.begin_object().key("error").string(&error.message);
    w.end_object();
}
