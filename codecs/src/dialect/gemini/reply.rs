//! Whole answers, token counts and errors.

use crate::{
    dialect::{
        Context, StreamDecode, expect,
        gemini::{
            logprobs,
            parts::{self, Foreign, Seals},
            stream::{self, names},
            usage, words,
        },
    },
    hub::{ApiError, Emit, ErrorKind, Finish, Reply, ReplyPart},
    json::{Raw, Text, Writer, write::Sink},
};

/// Reads a whole answer: one object, or the array of objects that a server sends that knows no `alt=sse`.
pub fn decode(body: Raw<'_>, context: &Context, emit: Emit<'_>) {
    let mut decoder = stream::Decoder::new(context);
    decoder.json(None, body, emit);
    decoder.end(emit);
}

/// Writes a whole answer; as an array of one where the client asked for a stream in array form.
pub fn encode(reply: &Reply, context: &Context, out: &mut Vec<u8>) {
    let (open, close): (&[u8], &[u8]) = if context.json_array { (b"[", b"]") } else { (b"", b"") };
    out.put(open);
    object(reply, &reply.model, context, Foreign::Tagged, out);
    out.put(close);
}

/// Writes the one object of a whole answer of `model`.
pub(in crate::dialect) fn object(reply: &Reply, model: &str, context: &Context, foreign: Foreign, out: &mut Vec<u8>) {
    out.put(b"{\"candidates\":[{\"content\":{\"role\":\"model\",\"parts\":[");
    write_parts(&reply.parts, context, Seals::new(foreign), &mut Writer::new(out));
    out.put(b"]},\"index\":0,");
    let (mut scores, mut mean) = (Vec::new(), logprobs::Mean::default());
    logprobs::write(&reply.logprobs_of(|_, _| true), &mut mean, &mut scores);
    mean.write(out);
    finish_members(reply.finish.as_ref(), out);
    if !scores.is_empty() {
        out.put(b",");
        out.put(&scores);
    }
    out.put(b"}]");
    out.put(&names(&reply.id, Text::Plain(model), context));
    out.put(b",\"usageMetadata\":");
    usage::write(&reply.usage, &mut Writer::new(out));
    out.put(b"}");
}

fn write_parts(reply: &[ReplyPart], context: &Context, mut seals: Seals, w: &mut Writer<'_, Vec<u8>>) {
    let mut written = 0usize;
    for part in reply {
        match part {
            ReplyPart::Text(text) | ReplyPart::Refusal(text) if text.is_empty() => continue,
            ReplyPart::Text(text) | ReplyPart::Refusal(text) => parts::text(text.text(), false, None, w),
            ReplyPart::Thinking { text, rider } => {
                if let Some(signature) = seals.take() {
                    parts::text(Text::EMPTY, false, Some(&signature), w);
                    written += 1;
                }
                if let Some(rider) = rider {
                    seals.wait(rider);
                }
                if text.is_empty() {
                    continue;
                }
                parts::text(text.text(), true, None, w);
            }
            ReplyPart::Tool { id, name, kind, args, signature } => {
                let (before, signature) = seals.for_call(signature.as_ref());
                if let Some(before) = before {
                    parts::text(Text::EMPTY, false, Some(&before), w);
                }
                let args = args.text();
                let call = parts::Call { id, name, kind: *kind, args, signature: signature.as_deref() };
                parts::call(&call, &context.tools, w);
            }
            ReplyPart::Image { mime, data } => parts::image(Text::Plain(mime), Text::Plain(data), w),
            ReplyPart::Redacted(_) => continue,
        }
        written += 1;
    }
    let left = seals.take();
    if written == 0 || left.is_some() {
        parts::text(Text::EMPTY, false, left.as_deref(), w);
    }
}

/// `"finishReason":…` and, for a refusal that says more, `"finishMessage":…`.
pub(super) fn finish_members(finish: Option<&Finish<'_>>, out: &mut impl Sink) {
    let mut w = Writer::new(out);
    w.key("finishReason").string(words::finish_word(finish));
    if let Some(Finish::Filter(refused)) = finish
        && let Some(explanation) = &refused.explanation
    {
        w.key("finishMessage").text(explanation.text());
    }
}

/// Reads the answer of `:countTokens`.
pub fn decode_count(body: Raw<'_>) -> Option<u64> {
    body.get("totalTokens").or_else(|| body.get("total_tokens")).and_then(expect::count)
}

/// Writes the answer of `:countTokens`.
pub fn encode_count(tokens: u64, out: &mut Vec<u8>) {
    let mut w = Writer::new(out);
    w.begin_object().key("totalTokens").number(tokens);
    w.end_object();
}

/// Reads an error.
pub fn decode_error(status: u16, body: &[u8]) -> ApiError {
    // Streams without `alt=sse` fail with an array of one.
    let value = Raw::parse(body).ok();
    let value = value.map(|value| value.elements().next().unwrap_or(value));
    match value.and_then(|value| value.get("error")) {
        Some(value) => error(Some(status), value),
        None => crate::hub::error::from_plain_body(status, body),
    }
}

/// Reads the `error` member of a body, stream object or array element.
pub(super) fn error(status: Option<u16>, value: Raw<'_>) -> ApiError {
    let word = value.get_text("status").map(|word| word.plain());
    let code = value.get("code").and_then(expect::count).and_then(|code| u16::try_from(code).ok());
    let details = || value.get("details").into_iter().flat_map(Raw::elements);
    let bad_key = details().any(|detail| detail.get_text("reason").is_some_and(|reason| reason.is("API_KEY_INVALID")));
    let by_number = || ErrorKind::of_status(code.filter(|code| *code >= 400).or(status).unwrap_or(500));
    let kind = match word.as_deref().and_then(words::error_kind) {
        // The service answers 400 for a wrong key.
        _ if bad_key => ErrorKind::Auth,
        Some(kind) => kind,
        None => by_number(),
    };
    let message = value.get_text("message").or_else(|| value.as_text()).map(|text| text.plain());
    let message = message.filter(|message| !message.trim().is_empty());
    let message = message.as_deref().or(word.as_deref()).unwrap_or("upstream error without a message");
    ApiError {
        status: status.or(code),
        retry_after: details().find_map(retry_delay),
        code: word.as_deref().map(str::to_owned),
        ..ApiError::new(kind, crate::hub::error::mask_secrets(message))
    }
}

/// Seconds of a `RetryInfo` detail (`"retryDelay":"3.5s"`).
fn retry_delay(detail: Raw<'_>) -> Option<f64> {
    let delay = detail.get_text("retryDelay").or_else(|| detail.get_text("retry_delay"))?.plain();
    let seconds = delay.trim().strip_suffix('s')?.parse::<f64>().ok()?;
    (seconds.is_finite() && seconds >= 0.0).then_some(seconds)
}

/// Writes an error.
pub fn encode_error(error: &ApiError, out: &mut Vec<u8>) -> u16 {
    let (code, word) = words::error_status(error.kind);
    error_object(error, (code, word), out);
    code
}

/// `{"error":…}`; `error` must be the first member, by it the SDKs know the object.
pub(in crate::dialect) fn error_object(error: &ApiError, (code, word): (u16, &str), out: &mut impl Sink) {
    let mut w = Writer::new(out);
    w.begin_object().key("error").begin_object();
    w.key("code").number(code.into());
    w.key("message").string(&error.message);
    w.key("status").string(word);
    w.end_object().end_object();
}
