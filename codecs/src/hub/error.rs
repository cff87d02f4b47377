//! What an upstream, or this gateway, has to say when a request fails.

use std::borrow::Cow;

/// The kind of failure, common to all dialects (the dialects' words for it stand in their own tables).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request is malformed or refused for its values.
    Invalid,
    /// The request holds content that the target dialect cannot express.
    UnsupportedContent,
    /// Credentials are missing or wrong.
    Auth,
    /// No money left.
    Billing,
    /// The credentials may not do this.
    Permission,
    /// The model or path does not exist.
    NotFound,
    /// The request is too large.
    TooLarge,
    /// Too many requests or tokens.
    RateLimit,
    /// The service is overloaded.
    Overloaded,
    /// The service failed, or sent nonsense.
    Api,
    /// Something took too long.
    Timeout,
    /// The stream ended before it was complete.
    Truncated,
}

impl ErrorKind {
    /// The kind's word in logs, metrics and `x-flow-router-error`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::UnsupportedContent => "unsupported_content",
            Self::Auth => "auth",
            Self::Billing => "billing",
            Self::Permission => "permission",
            Self::NotFound => "not_found",
            Self::TooLarge => "too_large",
            Self::RateLimit => "rate_limit",
            Self::Overloaded => "overloaded",
            Self::Api => "api",
            Self::Timeout => "timeout",
            Self::Truncated => "truncated",
        }
    }

    /// The kind that an HTTP status means when the body does not say more.
    pub fn of_status(status: u16) -> Self {
        match status {
            400 | 422 => Self::Invalid,
            401 => Self::Auth,
            402 => Self::Billing,
            403 => Self::Permission,
            404 => Self::NotFound,
            408 | 504 => Self::Timeout,
            413 => Self::TooLarge,
            429 => Self::RateLimit,
            503 | 529 => Self::Overloaded,
            400..=499 => Self::Invalid,
            _ => Self::Api,
        }
    }
}

/// A failure in words and numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiError {
    /// What kind of failure.
    pub kind: ErrorKind,
    /// For people. Never contains a secret.
    pub message: String,
    /// HTTP status of the upstream, if it answered with one.
    pub status: Option<u16>,
    /// Seconds after which a retry makes sense.
    pub retry_after: Option<f64>,
    /// The upstream's own code word, passed on where the client's dialect has a place for it.
    pub code: Option<String>,
    /// The request member that is wrong, where known (`messages[2].role`).
    pub param: Option<String>,
}

impl ApiError {
    /// A failure without an upstream's numbers.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), status: None, retry_after: None, code: None, param: None }
    }

    /// A request of the client that is wrong at `param`.
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..Self::new(ErrorKind::Invalid, message) }
    }

    /// A path that leads nowhere, which some dialects tell from a model that does not exist.
    pub fn no_such_path(message: impl Into<String>) -> Self {
        Self { code: Some(Self::NO_SUCH_PATH.to_owned()), ..Self::new(ErrorKind::NotFound, message) }
    }

    /// OpenAI's code for a path that leads nowhere.
    pub(crate) const NO_SUCH_PATH: &str = "unknown_url";

    /// Content that the target cannot take.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::UnsupportedContent, message)
    }
}

/// Words after which a secret stands.
const SECRETS: [&str; 16] = [
    "sk-",
    "pk-",
    "AIza",
    "eyJ",
    "ghp_",
    "gho_",
    "github_pat_",
    "gsk_",
    "xai-",
    "ya29.",
    "Bearer ",
    "bearer ",
    "api_key=",
    "apikey=",
    "key=",
    "token=",
];
/// Shorter words are no secrets.
const SECRET_MIN: usize = 8;

/// Masks what looks like a key or a token in a vendor's message: it may end up in logs and with clients.
pub fn mask_secrets(text: &str) -> Cow<'_, str> {
    let mut out: Option<String> = None;
    let mut copied = 0;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let starts = text[..at].chars().next_back().is_none_or(|c| !c.is_ascii_alphanumeric());
        let hit = SECRETS.iter().filter(|_| starts).find_map(|word| {
            let token = rest.strip_prefix(word)?;
            let len = token.bytes().take_while(|b| b.is_ascii_alphanumeric() || b"-_.+/=*~".contains(b)).count();
            // Prose like "Bearer authentication" has no digits.
            let token = &token[..len];
            let secret = len >= SECRET_MIN && (len >= 24 || token.bytes().any(|b| b.is_ascii_digit() || b == b'*'));
            secret.then_some((word.len(), word.len() + len))
        });
        match hit {
            Some((shown, len)) => {
                let out = out.get_or_insert_with(String::new);
                out.push_str(&text[copied..at + shown]);
                out.push_str("***");
                at += len;
                copied = at;
            }
            None => at += rest.chars().next().map_or(1, char::len_utf8),
        }
    }
    match out {
        None => Cow::Borrowed(text),
        Some(mut out) => {
            out.push_str(&text[copied..]);
            Cow::Owned(out)
        }
    }
}

/// An error answer that is no JSON: its first 200 characters, or a word about HTML pages.
pub fn from_plain_body(status: u16, body: &[u8]) -> ApiError {
    let text = String::from_utf8_lossy(&body[..body.len().min(1024)]);
    let text = text.trim();
    let lower: String = text.chars().take(15).flat_map(char::to_lowercase).collect();
    let message = if lower.starts_with("<!doctype html") || lower.starts_with("<html") || lower.starts_with("<head") {
        "upstream returned HTML".to_owned()
    } else if text.is_empty() {
        format!("upstream answered with status {status}")
    } else {
        let cut: String = text.chars().take(200).collect();
        mask_secrets(&cut).into_owned()
    };
    ApiError { status: Some(status), ..ApiError::new(ErrorKind::of_status(status), message) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_and_prose_is_not() {
        for (text, expected) in [
            ("Incorrect API key provided: sk-proj-abcdEFGH1234.", "Incorrect API key provided: sk-***"),
            ("bad header Authorization: Bearer eyJhbGciOi.J9x-1 here", "bad header Authorization: Bearer *** here"),
            ("key AIzaSyA1234567890abc is blocked", "key AIza*** is blocked"),
            ("GET /v1?key=abc12345678&x=1", "GET /v1?key=***&x=1"),
            ("task-runner uses Bearer authentication with sk-learn", ""),
            ("größe sk-", ""),
        ] {
            let expected = if expected.is_empty() { text } else { expected };
            assert_eq!(mask_secrets(text), expected);
        }
    }

    #[test]
    fn plain_bodies() {
        let html = from_plain_body(502, b" <!DOCTYPE html><html><body>x");
        assert_eq!((html.kind, html.message.as_str()), (ErrorKind::Api, "upstream returned HTML"));
        let long = from_plain_body(429, "ä".repeat(300).as_bytes());
        assert_eq!((long.kind, long.message.chars().count()), (ErrorKind::RateLimit, 200));
        assert_eq!(from_plain_body(503, b"").message, "upstream answered with status 503");
    }
}
