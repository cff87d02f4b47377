//! Words that streams and whole answers share: usage members, stop reasons, error types, signatures.

use crate::{
    dialect::expect::count,
    hub::{ApiError, ErrorKind, Finish, Form, Origin, Refused, Rider, Usage, error},
    json::{Raw, Text, Writer, write::Sink},
};

/// Takes the members of a `usage` object over; what is missing or `null` keeps its earlier value.
pub(super) fn read_usage(usage: &mut Usage, value: Raw<'_>) {
    for (key, value) in value.members() {
        let Text::Escaped(key) = key else { continue };
        match key {
            "input_tokens" => keep(&mut usage.uncached, value),
            "cache_creation_input_tokens" => keep(&mut usage.cache_write, value),
            "cache_read_input_tokens" => keep(&mut usage.cache_read, value),
            "output_tokens" => keep(&mut usage.output, value),
            "output_tokens_details" => {
                if let Some(value) = value.get("thinking_tokens") {
                    keep(&mut usage.reasoning, value);
                }
            }
            "cache_creation" => {
                if let Some(value) = value.get("ephemeral_1h_input_tokens") {
                    keep(&mut usage.cache_write_1h, value);
                }
            }
            _ => {}
        }
    }
}

fn keep(counter: &mut u64, value: Raw<'_>) {
    *counter = count(value).unwrap_or(*counter);
}

/// Writes a whole `usage` object.
pub(super) fn write_usage(usage: &Usage, w: &mut Writer<'_, impl Sink>) {
    w.begin_object();
    w.key("input_tokens").number(usage.uncached);
    w.key("cache_creation_input_tokens").number(usage.cache_write);
    w.key("cache_read_input_tokens").number(usage.cache_read);
    w.key("output_tokens").number(usage.output);
    if usage.reasoning > 0 {
        w.key("output_tokens_details").begin_object();
        w.key("thinking_tokens").number(usage.reasoning);
        w.end_object();
    }
    w.end_object();
}

/// Reads why an answer ended: `holder` is the `delta` of a stream or the whole message. `None` while it has not.
pub(super) fn read_finish<'a>(holder: Raw<'a>) -> Option<Finish<'a>> {
    let reason = holder.get_text("stop_reason")?;
    Some(match reason.plain().as_ref() {
        "max_tokens" | "model_context_window_exceeded" | "compaction" => Finish::Length,
        "stop_sequence" => Finish::StopSequence(holder.get_str("stop_sequence")),
        "tool_use" => Finish::Tool,
        "pause_turn" => Finish::Pause,
        "refusal" => {
            let details = holder.get("stop_details");
            let word = |name| details.and_then(|details| details.get_text(name)).map(Text::to_str);
            Finish::Filter(Refused { category: word("category"), explanation: word("explanation") })
        }
        _ => Finish::End,
    })
}

/// What was said, as far as the stop reason depends on it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Said {
    /// A tool call.
    pub(super) call: bool,
    /// A refusal in words.
    pub(super) refusal: bool,
}

/// Writes `stop_reason`, `stop_sequence` and, for refusals, `stop_details`.
pub(super) fn write_finish(finish: &Finish<'_>, said: Said, w: &mut Writer<'_, impl Sink>) {
    let (reason, sequence) = match finish {
        Finish::Length => ("max_tokens", None),
        _ if said.refusal => ("refusal", None),
        Finish::Filter(_) => ("refusal", None),
        Finish::Pause => ("pause_turn", None),
        Finish::StopSequence(Some(which)) => ("stop_sequence", Some(which)),
        Finish::End | Finish::Tool | Finish::StopSequence(None) if said.call => ("tool_use", None),
        Finish::End | Finish::Tool | Finish::StopSequence(None) => ("end_turn", None),
    };
    w.key("stop_reason").string(reason).key("stop_sequence");
    match sequence {
        Some(which) => w.text(which.text()),
        None => w.null(),
    };
    if reason != "refusal" {
        return;
    }
    let none = Refused::default();
    let details = if let Finish::Filter(refused) = finish { refused } else { &none };
    w.key("stop_details").begin_object().key("type").string("refusal");
    for (name, value) in [("category", &details.category), ("explanation", &details.explanation)] {
        w.key(name);
        match value {
            Some(text) => w.text(text.text()),
            None => w.null(),
        };
    }
    w.end_object();
}

/// An error kind, its `type` and its HTTP status.
const ERRORS: [(ErrorKind, &str, u16); 12] = [
    (ErrorKind::Invalid, "invalid_request_error", 400),
    (ErrorKind::UnsupportedContent, "invalid_request_error", 400),
    (ErrorKind::Auth, "authentication_error", 401),
    (ErrorKind::Billing, "billing_error", 402),
    (ErrorKind::Permission, "permission_error", 403),
    (ErrorKind::NotFound, "not_found_error", 404),
    (ErrorKind::TooLarge, "request_too_large", 413),
    (ErrorKind::RateLimit, "rate_limit_error", 429),
    (ErrorKind::Overloaded, "overloaded_error", 529),
    (ErrorKind::Api, "api_error", 500),
    (ErrorKind::Timeout, "timeout_error", 504),
    (ErrorKind::Truncated, "api_error", 502),
];

/// `type` and HTTP status of a kind.
pub(super) fn error_word(kind: ErrorKind) -> (&'static str, u16) {
    let row = ERRORS.iter().find(|(other, ..)| *other == kind);
    row.map_or(("api_error", 500), |(_, word, status)| (*word, *status))
}

/// Reads an error object (`{"type","error":{"type","message"}}`): by its type, else by the HTTP status.
pub(super) fn read_error(value: Raw<'_>, status: Option<u16>) -> ApiError {
    let inner = value.get("error").unwrap_or(value);
    let word = inner.get_text("type").map(|word| word.plain());
    let kind = word.as_deref().and_then(|word| ERRORS.iter().find(|(_, other, _)| *other == word)).map(|row| row.0);
    let message = inner
        .get_text("message")
        .or_else(|| inner.as_text())
        .map_or_else(|| inner.as_str().chars().take(200).collect(), |text| text.plain().into_owned());
    ApiError {
        status,
        code: word.filter(|_| kind.is_none()).map(|word| word.into_owned()),
        ..ApiError::new(
            kind.unwrap_or_else(|| status.map_or(ErrorKind::Api, ErrorKind::of_status)),
            error::mask_secrets(&message),
        )
    }
}

/// Writes `{"type":"error","error":{…}}`.
pub(super) fn write_error(error: &ApiError, request_id: &str, w: &mut Writer<'_, impl Sink>) {
    w.begin_object().key("type").string("error");
    w.key("error").begin_object();
    w.key("type").string(error_word(error.kind).0);
    w.key("message").string(&error.message);
    w.end_object();
    if !request_id.is_empty() {
        w.key("request_id").string(request_id);
    }
    w.end_object();
}

/// Writes the inside of a signature: at home as it is, a foreign blob with its tag.
pub(super) fn write_signature(
    origin: Origin,
    form: Form,
    item_id: Option<Text<'_>>,
    payload: Text<'_>,
    out: &mut impl Sink,
) {
    if origin != Origin::Anthropic {
        for piece in ["frt1.", origin.name(), ".", form.name(), "."] {
            out.put(piece.as_bytes());
        }
        if let Some(id) = item_id {
            id.write_escaped(out);
            out.put(b":");
        }
    }
    payload.write_escaped(out);
}

/// [`write_signature`] for a rider.
pub(super) fn write_rider(rider: &Rider<'_>, out: &mut impl Sink) {
    let id = rider.item_id.as_ref().map(|id| id.text());
    write_signature(rider.origin, rider.form, id, rider.payload.text(), out);
}

/// Whether a rider stands in a `redacted_thinking` block: only those that the service itself made.
pub(super) fn is_redacted(rider: &Rider<'_>) -> bool {
    rider.origin == Origin::Anthropic && rider.form != Form::Sig
}
