//! What an upstream, or this gateway, has to say when a request fails.

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

    /// Content that the target cannot take.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::UnsupportedContent, message)
    }
}
