//! Gemini's words for endings and errors.

use crate::hub::{ErrorKind, Finish};

/// Stands in for the signature of a call that another vendor's model made (documented by Google).
pub(super) const NOT_CHECKED: &str = "skip_thought_signature_validator";

/// What a `finishReason` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// Natural end, also of a turn with calls.
    Stop,
    /// Token limit.
    Length,
    /// Cut by a filter.
    Filter,
    /// The model produced something that the service could not make sense of.
    Broken,
    /// Everything else.
    Other,
}

/// The meaning of a `finishReason`.
pub(super) fn reason(word: &str) -> Reason {
    match word {
        "STOP" => Reason::Stop,
        "MAX_TOKENS" => Reason::Length,
        "SAFETY"
        | "RECITATION"
        | "LANGUAGE"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION"
        | "ESCALATION"
        | "MODEL_ARMOR"
        | "PUP_LIMITED_DISABLED" => Reason::Filter,
        "MALFORMED_FUNCTION_CALL" | "MALFORMED_RESPONSE" | "UNEXPECTED_TOOL_CALL" | "MISSING_THOUGHT_SIGNATURE" => {
            Reason::Broken
        }
        _ => Reason::Other,
    }
}

/// The `finishReason` of an ending.
pub(super) fn finish_word(finish: Option<&Finish<'_>>) -> &'static str {
    match finish {
        Some(Finish::Length) => "MAX_TOKENS",
        Some(Finish::Filter(_)) => "SAFETY",
        Some(Finish::End | Finish::StopSequence(_) | Finish::Tool | Finish::Pause) | None => "STOP",
    }
}

/// The kind of a status word, where the word says more than the HTTP status.
pub(super) fn error_kind(status: &str) -> Option<ErrorKind> {
    Some(match status {
        "INVALID_ARGUMENT" | "FAILED_PRECONDITION" | "OUT_OF_RANGE" => ErrorKind::Invalid,
        "UNAUTHENTICATED" => ErrorKind::Auth,
        "PERMISSION_DENIED" => ErrorKind::Permission,
        "NOT_FOUND" => ErrorKind::NotFound,
        "RESOURCE_EXHAUSTED" => ErrorKind::RateLimit,
        "CANCELLED" | "INTERNAL" | "UNKNOWN" | "DATA_LOSS" => ErrorKind::Api,
        "UNAVAILABLE" => ErrorKind::Overloaded,
        "DEADLINE_EXCEEDED" => ErrorKind::Timeout,
        _ => return None,
    })
}

/// HTTP status and status word of a kind.
pub(in crate::dialect) fn error_status(kind: ErrorKind) -> (u16, &'static str) {
    match kind {
        ErrorKind::Invalid | ErrorKind::UnsupportedContent | ErrorKind::TooLarge => (400, "INVALID_ARGUMENT"),
        ErrorKind::Auth => (401, "UNAUTHENTICATED"),
        ErrorKind::Billing | ErrorKind::RateLimit => (429, "RESOURCE_EXHAUSTED"),
        ErrorKind::Permission => (403, "PERMISSION_DENIED"),
        ErrorKind::NotFound => (404, "NOT_FOUND"),
        ErrorKind::Overloaded => (503, "UNAVAILABLE"),
        ErrorKind::Api | ErrorKind::Truncated => (500, "INTERNAL"),
        ErrorKind::Timeout => (504, "DEADLINE_EXCEEDED"),
    }
}
