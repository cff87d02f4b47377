//! Failures inside a stream or a document: `error` objects in this dialect's words. HTTP errors are those of the chat
//! dialect and are read and written there.

use crate::{
    hub::{ApiError, ErrorKind, error::mask_secrets},
    json::{Raw, Text},
};

/// Code words that clients of this dialect act upon; an upstream's own one of these is passed on.
const KNOWN_CODES: [&str; 8] = [
    "server_error",
    "rate_limit_exceeded",
    "invalid_prompt",
    "context_length_exceeded",
    "insufficient_quota",
    "usage_limit_reached",
    "server_is_overloaded",
    "slow_down",
];

/// Reads an object with `code` and `message` (and `param`); a nested `error` object wins over its parent.
pub(super) fn read(value: Raw<'_>) -> ApiError {
    let value = value.get("error").filter(|error| error.is_object()).unwrap_or(value);
    let code = value.get_text("code").map(|code| code.plain().into_owned());
    let word = code.clone().or_else(|| value.get_text("type").map(|word| word.plain().into_owned()));
    let message = value.get_text("message").unwrap_or(Text::EMPTY).plain();
    let message = if message.is_empty() { "the upstream reported a failure" } else { &*mask_secrets(&message) };
    let mut error = ApiError::new(kind(word.as_deref().unwrap_or_default()), message);
    error.param = value.get_text("param").map(|param| param.plain().into_owned());
    error.code = code;
    error
}

fn kind(code: &str) -> ErrorKind {
    match code {
        "rate_limit_exceeded" | "rate_limit_error" | "usage_limit_reached" | "too_many_requests" => {
            ErrorKind::RateLimit
        }
        "invalid_prompt" | "invalid_request_error" | "context_length_exceeded" => ErrorKind::Invalid,
        "server_is_overloaded" | "slow_down" | "overloaded" | "overloaded_error" => ErrorKind::Overloaded,
        "insufficient_quota" => ErrorKind::Billing,
        _ => ErrorKind::Api,
    }
}

/// The code word for `response.error.code`.
pub(super) fn code(error: &ApiError) -> &str {
    if let Some(own) = error.code.as_deref().filter(|own| KNOWN_CODES.contains(own)) {
        return own;
    }
    match error.kind {
        ErrorKind::Invalid | ErrorKind::UnsupportedContent => "invalid_prompt",
        ErrorKind::RateLimit => "rate_limit_exceeded",
        _ => "server_error",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn codes_become_kinds_and_back() {
        for (json, expected, back) in [
            (r#"{"code":"rate_limit_exceeded","message":"m"}"#, ErrorKind::RateLimit, "rate_limit_exceeded"),
            (
                r#"{"type":"error","error":{"code":"invalid_prompt","message":"m"}}"#,
                ErrorKind::Invalid,
                "invalid_prompt",
            ),
            (r#"{"code":"slow_down","message":"m"}"#, ErrorKind::Overloaded, "slow_down"),
            (r#"{"code":"vector_store_timeout","message":"m"}"#, ErrorKind::Api, "server_error"),
        ] {
            let error = read(Raw::parse_str(json).unwrap());
            assert_eq!((error.kind, error.message.as_str(), code(&error)), (expected, "m", back), "{json}");
        }
        assert_eq!(code(&ApiError::unsupported("x")), "invalid_prompt");
    }
}
