//! Words that streams, whole answers and errors share: finish reasons, usage members, error types.

use crate::{
    dialect::expect::count,
    hub::{ApiError, ErrorKind, Finish, Refused, Usage, error::mask_secrets},
    json::{Raw, Text, Writer, write::Sink},
};

/// Reads a `finish_reason`.
pub(super) fn read_finish(word: Text<'_>) -> Finish<'static> {
    match word.plain().as_ref() {
        "tool_calls" | "function_call" => Finish::Tool,
        "length" | "max_tokens" => Finish::Length,
        "content_filter" => Finish::Filter(Refused::default()),
        _ => Finish::End,
    }
}

/// The `finish_reason` of an answer with or without calls.
pub(super) fn finish_word(finish: &Finish<'_>, calls: bool) -> &'static str {
    match finish {
        Finish::Length => "length",
        Finish::Filter(_) => "content_filter",
        Finish::End | Finish::Tool if calls => "tool_calls",
        Finish::End | Finish::Tool | Finish::StopSequence(_) | Finish::Pause => "stop",
    }
}

/// Reads a `usage` object; cached tokens are inside `prompt_tokens`.
pub(super) fn read_usage(value: Raw<'_>) -> Option<Usage> {
    if !value.is_object() {
        return None;
    }
    let (mut input, mut output, mut reasoning) = (None, None, None);
    let (mut cached, mut cached_beside, mut hits, mut written, mut created) = (None, None, None, None, None);
    let (mut heard, mut seen, mut spoken, mut drawn) = (None, None, None, None);
    for (key, value) in value.members() {
        let Text::Escaped(key) = key else { continue };
        match key {
            "prompt_tokens" => input = count(value),
            "completion_tokens" => output = count(value),
            // DeepSeek and Kimi count cache hits at the top level.
            "prompt_cache_hit_tokens" => hits = count(value),
            "cached_tokens" => cached_beside = count(value),
            "prompt_tokens_details" => {
                for (key, value) in value.members() {
                    match key {
                        Text::Escaped("cached_tokens") => cached = count(value),
                        Text::Escaped("cache_write_tokens") => written = count(value),
                        Text::Escaped("cache_creation_tokens") => created = count(value),
                        Text::Escaped("audio_tokens") => heard = count(value),
                        Text::Escaped("image_tokens") => seen = count(value),
                        _ => {}
                    }
                }
            }
            "completion_tokens_details" => {
                for (key, value) in value.members() {
                    match key {
                        Text::Escaped("reasoning_tokens") => reasoning = count(value),
                        Text::Escaped("audio_tokens") => spoken = count(value),
                        Text::Escaped("image_tokens") => drawn = count(value),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    let cache_read = cached.or(hits).or(cached_beside).unwrap_or(0);
    let cache_write = written.or(created).unwrap_or(0);
    let uncached = input.unwrap_or(0).saturating_sub(cache_read).saturating_sub(cache_write);
    // How much of the sound was cached is not said: what does not fit beside the cached tokens was.
    let heard = heard.unwrap_or(0);
    Some(Usage {
        uncached,
        cache_read,
        cache_write,
        output: output.unwrap_or(0),
        reasoning: reasoning.unwrap_or(0),
        audio_in: heard.min(uncached),
        audio_cached: heard.saturating_sub(uncached).min(cache_read),
        audio_out: spoken.unwrap_or(0),
        image_in: seen.unwrap_or(0).min(uncached),
        image_out: drawn.unwrap_or(0),
        ..Usage::default()
    })
}

/// Writes a `usage` object, zeros included.
pub(super) fn write_usage(usage: &Usage, w: &mut Writer<'_, impl Sink>) {
    w.begin_object();
    w.key("prompt_tokens").number(usage.input());
    w.key("completion_tokens").number(usage.output);
    w.key("total_tokens").number(usage.total());
    w.key("prompt_tokens_details").begin_object();
    w.key("cached_tokens").number(usage.cache_read).key("cache_write_tokens").number(usage.cache_write);
    some(w, "audio_tokens", usage.audio_in.saturating_add(usage.audio_cached));
    some(w, "image_tokens", usage.image_in);
    w.end_object();
    w.key("completion_tokens_details").begin_object().key("reasoning_tokens").number(usage.reasoning);
    some(w, "audio_tokens", usage.audio_out);
    some(w, "image_tokens", usage.image_out);
    w.end_object().end_object();
}

/// A counter that most answers have no use for.
fn some(w: &mut Writer<'_, impl Sink>, key: &str, count: u64) {
    if count > 0 {
        w.key(key).number(count);
    }
}

/// An error kind, its type, its code and its HTTP status.
const ERRORS: [(ErrorKind, &str, Option<&str>, u16); 12] = [
    (ErrorKind::Invalid, "invalid_request_error", None, 400),
    (ErrorKind::UnsupportedContent, "invalid_request_error", Some("unsupported_content"), 400),
    (ErrorKind::Auth, "authentication_error", Some("invalid_api_key"), 401),
    (ErrorKind::Billing, "insufficient_quota", Some("insufficient_quota"), 429),
    (ErrorKind::Permission, "permission_error", None, 403),
    (ErrorKind::NotFound, "invalid_request_error", Some("model_not_found"), 404),
    (ErrorKind::TooLarge, "invalid_request_error", Some("request_too_large"), 413),
    (ErrorKind::RateLimit, "rate_limit_error", Some("rate_limit_exceeded"), 429),
    (ErrorKind::Overloaded, "server_error", Some("overloaded"), 503),
    (ErrorKind::Api, "server_error", Some("server_error"), 500),
    (ErrorKind::Timeout, "server_error", Some("timeout"), 504),
    (ErrorKind::Truncated, "server_error", Some("stream_truncated"), 502),
];

/// Codes that vendors write, besides those of [`ERRORS`].
const CODES: [(&str, ErrorKind); 15] = [
    (ApiError::NO_SUCH_PATH, ErrorKind::NotFound),
    ("context_length_exceeded", ErrorKind::Invalid),
    ("content_policy_violation", ErrorKind::Invalid),
    ("content_filter", ErrorKind::Invalid),
    ("invalid_prompt", ErrorKind::Invalid),
    ("billing_not_active", ErrorKind::Billing),
    ("billing_hard_limit_reached", ErrorKind::Billing),
    ("usage_limit_reached", ErrorKind::RateLimit),
    ("DeploymentNotFound", ErrorKind::NotFound),
    ("server_is_overloaded", ErrorKind::Overloaded),
    ("slow_down", ErrorKind::Overloaded),
    ("service_unavailable", ErrorKind::Overloaded),
    ("engine_overloaded", ErrorKind::Overloaded),
    ("internal_error", ErrorKind::Api),
    ("internal_server_error", ErrorKind::Api),
];

/// Types that vendors write. `invalid_request_error` says less than the status, `server_error` no more.
const TYPES: [(&str, ErrorKind); 9] = [
    ("authentication_error", ErrorKind::Auth),
    ("permission_error", ErrorKind::Permission),
    ("not_found_error", ErrorKind::NotFound),
    ("insufficient_quota", ErrorKind::Billing),
    ("billing_error", ErrorKind::Billing),
    ("rate_limit_error", ErrorKind::RateLimit),
    ("overloaded_error", ErrorKind::Overloaded),
    ("timeout_error", ErrorKind::Timeout),
    ("request_too_large", ErrorKind::TooLarge),
];

/// The type, code and HTTP status of a kind.
fn row(kind: ErrorKind) -> (&'static str, Option<&'static str>, u16) {
    let row = ERRORS.iter().find(|(other, ..)| *other == kind).unwrap_or(&ERRORS[9]);
    (row.1, row.2, row.3)
}

/// The HTTP status with which an error is answered.
pub(super) fn error_status(error: &ApiError) -> u16 {
    // A good status with nonsense behind it is the upstream's fault: a bad gateway, not an inner error.
    let nonsense = error.kind == ErrorKind::Api && error.status.is_some_and(|status| status < 400);
    if nonsense { 502 } else { row(error.kind).2 }
}

/// Writes `{"error":{…}}`.
pub(super) fn write_error(error: &ApiError, w: &mut Writer<'_, impl Sink>) {
    let (kind, code, _) = row(error.kind);
    w.begin_object().key("error").begin_object();
    w.key("message").string(&error.message).key("type").string(kind).key("param");
    match &error.param {
        Some(param) => w.string(param),
        None => w.null(),
    };
    // Clients act on some codes of bad requests (`context_length_exceeded`), so that the upstream's own passes.
    let passes = |code: &&str| error.kind == ErrorKind::Invalid || *code == ApiError::NO_SUCH_PATH;
    let own = error.code.as_deref().filter(passes);
    w.key("code");
    match own.or(code) {
        Some(code) => w.string(code),
        None => w.null(),
    };
    w.end_object().end_object();
}

/// Whether a top-level `error` member says that something failed.
pub(super) fn is_error(value: Raw<'_>) -> bool {
    value.is_object() || value.as_text().is_some_and(|text| !text.is_empty())
}

/// Reads an error object of whatever shape: OpenAI's, a bare string, Azure's, OpenRouter's, vLLM's, FastAPI's.
pub(super) fn read_error(body: Raw<'_>, status: Option<u16>) -> ApiError {
    // Google's chat server wraps its errors into a list.
    let body = body.elements().next().unwrap_or(body);
    let error = body.get("error").or_else(|| body.get("detail")).unwrap_or(body);
    let code = error.get("code").or_else(|| body.get("code"));
    let code = code.and_then(|code| {
        code.as_text().map_or_else(|| code.as_u64().map(|n| n.to_string()), |text| Some(text.plain().into_owned()))
    });
    let kind = kind_of(code.as_deref(), error.get_text("type").map(|kind| kind.plain()).as_deref(), status);
    let message = error_message(error).or_else(|| body.get_text("message").map(|text| text.plain().into_owned()));
    let message = message.filter(|message| !message.trim().is_empty());
    let message = message.unwrap_or_else(|| match status {
        Some(status) => format!("upstream answered with status {status}"),
        None => "upstream reported an error without a message".to_owned(),
    });
    let param = error.get_text("param").map(|param| param.plain().into_owned());
    ApiError { status, code, param, ..ApiError::new(kind, mask_secrets(&message)) }
}

fn error_message(error: Raw<'_>) -> Option<String> {
    if let Some(text) = error.as_text().or_else(|| error.get_text("message")).or_else(|| error.get_text("msg")) {
        return Some(text.plain().into_owned());
    }
    // FastAPI lists what is wrong, with the place.
    let first = error.elements().next()?;
    let place: Vec<_> = first
        .get("loc")
        .into_iter()
        .flat_map(Raw::elements)
        .map(|step| step.as_text().map_or_else(|| step.as_str().to_owned(), |text| text.plain().into_owned()))
        .collect();
    let text = first.get_text("msg")?.plain().into_owned();
    Some(if place.is_empty() { text } else { format!("{}: {text}", place.join(".")) })
}

/// By code first, then by type, then by status.
fn kind_of(code: Option<&str>, kind: Option<&str>, status: Option<u16>) -> ErrorKind {
    if let Some(code) = code {
        // A code that is a number is an HTTP status.
        if let Some(status) = code.parse().ok().filter(|status| (400..600).contains(status)) {
            return ErrorKind::of_status(status);
        }
        let ours = ERRORS.iter().filter(|row| row.0 != ErrorKind::Api).find(|row| row.2 == Some(code)).map(|row| row.0);
        let known = CODES.iter().find(|(word, _)| *word == code).map(|(_, kind)| *kind);
        if let Some(kind) = ours.or(known) {
            return kind;
        }
    }
    let known = kind.and_then(|word| TYPES.iter().find(|(other, _)| *other == word)).map(|(_, kind)| *kind);
    match (known, status, kind) {
        (Some(kind), ..) => kind,
        (None, Some(status), _) if status >= 400 => ErrorKind::of_status(status),
        (None, _, Some("invalid_request_error")) => ErrorKind::Invalid,
        _ => ErrorKind::Api,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn raw(text: &str) -> Raw<'_> {
        Raw::parse_str(text).unwrap()
    }

    #[test]
    fn usage_untangles_cached_tokens() {
        for (text, expected) in [
            (
                r#"{"prompt_tokens":1000,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":900}}"#,
                (100, 900, 0, 5, 0),
            ),
            (r#"{"prompt_tokens":10,"completion_tokens":"7","prompt_cache_hit_tokens":4}"#, (6, 4, 0, 7, 0)),
            (
                r#"{"prompt_tokens":10.0,"prompt_tokens_details":{"cached_tokens":8,"cache_creation_tokens":8}}"#,
                (0, 8, 8, 0, 0),
            ),
            (
                r#"{"prompt_tokens":-1,"completion_tokens":9,"completion_tokens_details":{"reasoning_tokens":3}}"#,
                (0, 0, 0, 9, 3),
            ),
            (r#"{"prompt_tokens":5,"prompt_tokens_details":{"cache_write_tokens":2}}"#, (3, 0, 2, 0, 0)),
            (r#"{"prompt_tokens":5,"cached_tokens":5}"#, (0, 5, 0, 0, 0)),
        ] {
            let usage = read_usage(raw(text)).unwrap();
            let got = (usage.uncached, usage.cache_read, usage.cache_write, usage.output, usage.reasoning);
            assert_eq!(got, expected, "{text}");
        }
        assert!(read_usage(Raw::NULL).is_none());
    }

    #[test]
    fn errors_of_all_shapes_are_read() {
        for (text, status, kind, message) in [
            (r#"{"error":{"message":"m","type":"x","code":"insufficient_quota"}}"#, Some(429), ErrorKind::Billing, "m"),
            (r#"{"error":{"message":"m","type":"rate_limit_error","code":null}}"#, None, ErrorKind::RateLimit, "m"),
            (r#"{"error":"plain words"}"#, Some(404), ErrorKind::NotFound, "plain words"),
            (r#"{"error":{"code":502,"message":"m","metadata":{}}}"#, Some(200), ErrorKind::Api, "m"),
            (r#"{"error":{"code":"503","message":"m"}}"#, None, ErrorKind::Overloaded, "m"),
            (
                r#"{"error":{"message":"m","type":"invalid_request_error","code":"context_length_exceeded"}}"#,
                Some(400),
                ErrorKind::Invalid,
                "m",
            ),
            (r#"{"error":{"message":"m","type":"invalid_request_error"}}"#, Some(413), ErrorKind::TooLarge, "m"),
            (r#"{"error":{"message":"m","type":"invalid_request_error"}}"#, None, ErrorKind::Invalid, "m"),
            (r#"{"detail":"Not authenticated"}"#, Some(401), ErrorKind::Auth, "Not authenticated"),
            (r#"{"detail":[{"loc":["body","n",0],"msg":"bad"}]}"#, Some(422), ErrorKind::Invalid, "body.n.0: bad"),
            (
                r#"{"object":"error","message":"no","type":"BadRequestError","code":400}"#,
                Some(400),
                ErrorKind::Invalid,
                "no",
            ),
            (r#"[{"error":{"code":429,"message":"slow"}}]"#, Some(429), ErrorKind::RateLimit, "slow"),
            (
                r#"{"error":{"code":"DeploymentNotFound","message":"m","innererror":{}}}"#,
                Some(404),
                ErrorKind::NotFound,
                "m",
            ),
            (r#"{"error":{"message":""}}"#, Some(500), ErrorKind::Api, "upstream answered with status 500"),
            (
                r#"{"error":{"message":"bad key sk-abcdefgh12345678","code":"invalid_api_key"}}"#,
                Some(401),
                ErrorKind::Auth,
                "bad key sk-***",
            ),
        ] {
            let error = read_error(raw(text), status);
            assert_eq!((error.kind, error.message.as_str(), error.status), (kind, message, status), "{text}");
        }
    }

    #[test]
    fn every_kind_has_its_row() {
        for (kind, word, code, status) in ERRORS {
            let error = ApiError::new(kind, "m");
            let mut out = Vec::new();
            write_error(&error, &mut Writer::new(&mut out));
            let code = code.map_or("null".to_owned(), |code| format!("{code:?}"));
            let expected = format!(r#"{{"error":{{"message":"m","type":"{word}","param":null,"code":{code}}}}}"#);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
            assert_eq!(error_status(&error), status);
            // What we write is read as the same kind.
            let text = format!(r#"{{"error":{{"message":"m","type":"{word}","code":{code}}}}}"#);
            if kind != ErrorKind::Permission || word == "permission_error" {
                assert_eq!(read_error(raw(&text), None).kind, kind, "{text}");
            }
        }
    }

    #[test]
    fn codes_of_bad_requests_pass_and_others_do_not() {
        let write = |kind| {
            let mut out = Vec::new();
            let error = ApiError { code: Some("own".into()), param: Some("p".into()), ..ApiError::new(kind, "m") };
            write_error(&error, &mut Writer::new(&mut out));
            String::from_utf8(out).unwrap()
        };
        assert!(write(ErrorKind::Invalid).contains(r#""param":"p","code":"own""#));
        assert!(write(ErrorKind::Overloaded).contains(r#""code":"overloaded""#));
        let nonsense = ApiError { status: Some(200), ..ApiError::new(ErrorKind::Api, "m") };
        assert_eq!(error_status(&nonsense), 502);
    }
}
