//! One attempt, as it is recorded.

use std::{net::IpAddr, sync::Arc};

use codecs::dialect::Dialect;

/// One attempt at one provider, or a request that nobody could be asked about.
///
/// The last attempt of a request has `attempt == attempts`; sums count requests by it. `0 of 0` is a request that no
/// provider was asked for. Its texts are shared with whoever made them, so that a row costs no copies.
#[derive(Debug, Clone, PartialEq)]
pub struct UsageRow {
    /// When the attempt began, or for the first one the request, in Unix milliseconds.
    pub ts_ms: i64,
    /// Our id of the request, as the client got it.
    pub request_id: Arc<str>,
    /// The client's id of its session, if it sent one.
    pub session: Option<Arc<str>>,
    /// Name of the caller's key.
    pub key: Option<Arc<str>>,
    /// Name of the provider.
    pub provider: Option<Arc<str>>,
    /// Model that the client asked for.
    pub model_requested: Arc<str>,
    /// Model that the provider was asked for.
    pub model: Option<Arc<str>>,
    /// The alias that led there.
    pub alias: Option<Arc<str>>,
    /// The client's address.
    pub client_ip: Option<IpAddr>,
    /// The client's program, by family: `claude-code`, `codex`.
    pub client: Option<Arc<str>>,
    /// The client's dialect.
    pub dialect: Dialect,
    /// The provider's dialect.
    pub dialect_upstream: Option<Dialect>,
    /// What was asked.
    pub endpoint: Endpoint,
    /// Whether the client asked for a stream.
    pub stream: bool,
    /// Which attempt of its request this is, from 1.
    pub attempt: u16,
    /// How many its request had.
    pub attempts: u16,
    /// HTTP status: the provider's, or the one that the client got; 0 if there was none.
    pub status: u16,
    /// How it ended.
    pub outcome: Outcome,
    /// What went wrong, in at most [`UsageRow::ERROR_BYTES_MAX`] bytes, without bodies and secrets.
    pub error: Option<Arc<str>>,
    /// Input tokens beside those of the two caches.
    pub tokens_in: u32,
    /// Output tokens, reasoning included.
    pub tokens_out: u32,
    /// Input tokens read from a prompt cache.
    pub tokens_cache_read: u32,
    /// Input tokens written to a prompt cache.
    pub tokens_cache_write: u32,
    /// The part of them that is kept for an hour.
    pub tokens_cache_write_1h: u32,
    /// The part of the output that is reasoning.
    pub tokens_reasoning: u32,
    /// Whether the counts are our estimate.
    pub estimated: bool,
    /// What it cost in nano-USD; `None` where no price is known.
    pub cost: Option<i64>,
    /// From the request's last byte to the first content, in milliseconds.
    pub ttft_ms: Option<u32>,
    /// From the attempt's begin to its end, in milliseconds.
    pub duration_ms: u32,
    /// Our own share of the time to the first content, in microseconds.
    pub added_us: Option<u32>,
    /// Bytes of the client's body.
    pub bytes_in: u32,
    /// Bytes of the body that the client got.
    pub bytes_out: u64,
}

impl UsageRow {
    /// Longest error text that is kept, in bytes.
    pub const ERROR_BYTES_MAX: usize = 512;

    /// Whether it is its request's last attempt.
    pub fn is_final(&self) -> bool {
        self.attempt == self.attempts
    }
}

/// How an attempt ended. The numbers are in databases: they never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Outcome {
    /// Well.
    Ok = 0,
    /// The request was wrong, or unknown, or too large.
    ClientError = 1,
    /// The provider failed, refused or broke off.
    UpstreamError = 2,
    /// The provider did not answer in time.
    Timeout = 3,
    /// The provider fell silent inside an answer.
    Stall = 4,
    /// The client left before the end.
    ClientGone = 5,
    /// We refused it: a rule, a budget.
    Blocked = 6,
}

impl Outcome {
    pub(super) const ALL: [Self; 7] =
        [Self::Ok, Self::ClientError, Self::UpstreamError, Self::Timeout, Self::Stall, Self::ClientGone, Self::Blocked];

    /// Whether something failed. A client that left says nothing about anybody else: it is neither this nor a success.
    pub fn is_failure(self) -> bool {
        !matches!(self, Self::Ok | Self::ClientGone)
    }

    /// The word for it in the API and in exports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ClientError => "client_error",
            Self::UpstreamError => "upstream_error",
            Self::Timeout => "timeout",
            Self::Stall => "stall",
            Self::ClientGone => "client_gone",
            Self::Blocked => "blocked",
        }
    }

    /// The outcome with that number.
    pub(super) fn of(code: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| i64::from(*outcome as u8) == code)
    }

    /// The outcome with that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.name() == name)
    }
}

/// What was asked. The numbers are in databases: they never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Endpoint {
    /// A chat answer, in any dialect.
    Chat = 1,
    /// An Ollama completion.
    Generate = 2,
    /// A token count.
    CountTokens = 3,
}

impl Endpoint {
    const ALL: [Self; 3] = [Self::Chat, Self::Generate, Self::CountTokens];

    /// The word for it in the API and in exports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Generate => "generate",
            Self::CountTokens => "count_tokens",
        }
    }

    /// The endpoint with that number.
    pub(super) fn of(code: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|endpoint| i64::from(*endpoint as u8) == code)
    }

    /// The endpoint with that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|endpoint| endpoint.name() == name)
    }
}

/// A dialect's number in databases. It never changes.
pub(super) fn dialect_code(dialect: Dialect) -> u8 {
    match dialect {
        Dialect::OpenAiChat => 1,
        Dialect::OpenAiResponses => 2,
        Dialect::Anthropic => 3,
        Dialect::Gemini => 4,
        Dialect::Ollama => 5,
    }
}

/// The dialect with that number.
pub(super) fn dialect_of(code: i64) -> Option<Dialect> {
    Dialect::ALL.into_iter().find(|dialect| i64::from(dialect_code(*dialect)) == code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_small() {
        assert!(size_of::<UsageRow>() <= 256, "{}", size_of::<UsageRow>());
    }

    #[test]
    fn numbers_lead_back() {
        for outcome in Outcome::ALL {
            assert_eq!(Outcome::of(i64::from(outcome as u8)), Some(outcome));
            assert_eq!(Outcome::named(outcome.name()), Some(outcome));
        }
        for endpoint in Endpoint::ALL {
            assert_eq!(Endpoint::of(i64::from(endpoint as u8)), Some(endpoint));
            assert_eq!(Endpoint::named(endpoint.name()), Some(endpoint));
        }
        for dialect in Dialect::ALL {
            assert_eq!(dialect_of(i64::from(dialect_code(dialect))), Some(dialect));
        }
        assert_eq!((Outcome::of(99), Endpoint::of(0), dialect_of(0)), (None, None, None));
    }
}
