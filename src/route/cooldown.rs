//! The fallback table: what an upstream said → how far the failure reaches and how long to stay away.
//!
//! This is the one place where vendors' error texts are matched. Text beats status; the upstream's own Retry-After
//! beats both.

use std::time::Duration;

use codecs::hub::{ApiError, ErrorKind};

use crate::health::{Cooldown, Scope};

/// The upper bound for a time that an upstream names.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

const MINUTES_5: Cooldown = Cooldown::Fixed(Duration::from_secs(300));
const SECONDS_15: Cooldown = Cooldown::Fixed(Duration::from_secs(15));
const SECONDS_30: Cooldown = Cooldown::Fixed(Duration::from_secs(30));

/// Substrings of the lower-cased message.
const TEXTS: &[(&str, Scope, Cooldown)] = &[
    ("no credentials", Scope::Credential, MINUTES_5),
    ("request not allowed", Scope::Model, SECONDS_15),
    ("improperly formed request", Scope::Model, MINUTES_5),
    ("rate limit", Scope::Model, Cooldown::Backoff),
    ("too many requests", Scope::Model, Cooldown::Backoff),
    ("quota exceeded", Scope::Model, Cooldown::Backoff),
    ("capacity", Scope::Model, Cooldown::Backoff),
    ("overloaded", Scope::Model, Cooldown::Backoff),
];

/// Judges an upstream's error. `status` is its HTTP status, if the error came with one.
pub fn judge(error: &ApiError) -> (Scope, Cooldown) {
    let status = error.status.unwrap_or(0);
    // A request that is wrong stays wrong elsewhere, whatever words the message uses ("exceeds the model's capacity").
    let refused = matches!(status, 400 | 405 | 406 | 410..=424 | 431)
        || (status == 0 && matches!(error.kind, ErrorKind::Invalid | ErrorKind::TooLarge));
    if refused && !matches!(error.kind, ErrorKind::RateLimit | ErrorKind::Overloaded) {
        return (Scope::Request, Cooldown::None);
    }
    let (scope, cooldown) = by_text(&error.message).unwrap_or_else(|| by_status(status, error.kind));
    match error.retry_after {
        Some(seconds) if seconds > 0.0 => {
            let wait = Duration::try_from_secs_f64(seconds).unwrap_or(RETRY_AFTER_MAX).min(RETRY_AFTER_MAX);
            (scope, Cooldown::Fixed(wait))
        }
        _ => (scope, cooldown),
    }
}

/// Judges why an answer broke off after its first content. What the upstream says in words counts as ever. A bare cut, a
/// stall or a nameless failure says little about the next request, all the more since the answer had begun: a second, and
/// longer only if it goes on.
pub fn judge_broken(error: &ApiError) -> (Scope, Cooldown) {
    let nameless = matches!(error.kind, ErrorKind::Truncated | ErrorKind::Timeout | ErrorKind::Api);
    match judge(error) {
        (Scope::Model, _) if nameless && error.retry_after.is_none() && by_text(&error.message).is_none() => {
            (Scope::Model, Cooldown::Backoff)
        }
        judged => judged,
    }
}

fn by_text(message: &str) -> Option<(Scope, Cooldown)> {
    let start = message.get(..2048).unwrap_or(message).to_lowercase();
    TEXTS.iter().find(|(text, ..)| start.contains(text)).map(|(_, scope, cooldown)| (*scope, *cooldown))
}

fn by_status(status: u16, kind: ErrorKind) -> (Scope, Cooldown) {
    match (status, kind) {
        (401..=403, _) => (Scope::Credential, MINUTES_5),
        (404, _) => (Scope::Model, MINUTES_5),
        (429, _) => (Scope::Model, Cooldown::Backoff),
        (500 | 502..=504, _) => (Scope::Model, SECONDS_15),
        (529, _) => (Scope::Model, Cooldown::Backoff),
        (0, ErrorKind::Auth | ErrorKind::Permission | ErrorKind::Billing) => (Scope::Credential, MINUTES_5),
        (0, ErrorKind::NotFound) => (Scope::Model, MINUTES_5),
        (0, ErrorKind::RateLimit | ErrorKind::Overloaded) => (Scope::Model, Cooldown::Backoff),
        // Content that one dialect cannot carry another may: try on, hold nothing against the model.
        (_, ErrorKind::UnsupportedContent) => (Scope::Model, Cooldown::None),
        (0, ErrorKind::Timeout | ErrorKind::Truncated | ErrorKind::Api) => (Scope::Model, SECONDS_15),
        _ => (Scope::Model, SECONDS_30),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(status: u16, message: &str) -> ApiError {
        ApiError { status: Some(status), ..ApiError::new(ErrorKind::of_status(status), message) }
    }

    #[test]
    fn the_seventeen_rules() {
        let five_minutes = MINUTES_5;
        for (status, message, expected) in [
            (500, "No credentials found", (Scope::Credential, five_minutes)),
            (403, "Request not allowed", (Scope::Model, SECONDS_15)),
            (500, "Improperly formed request.", (Scope::Model, five_minutes)),
            (500, "Rate limit reached", (Scope::Model, Cooldown::Backoff)),
            (503, "Too many requests", (Scope::Model, Cooldown::Backoff)),
            (403, "Quota exceeded for metric", (Scope::Model, Cooldown::Backoff)),
            (500, "The model is at capacity", (Scope::Model, Cooldown::Backoff)),
            (529, "Overloaded", (Scope::Model, Cooldown::Backoff)),
            (401, "x", (Scope::Credential, five_minutes)),
            (402, "x", (Scope::Credential, five_minutes)),
            (403, "x", (Scope::Credential, five_minutes)),
            (404, "x", (Scope::Model, five_minutes)),
            (429, "x", (Scope::Model, Cooldown::Backoff)),
            (500, "x", (Scope::Model, SECONDS_15)),
            (502, "x", (Scope::Model, SECONDS_15)),
            (503, "x", (Scope::Model, SECONDS_15)),
            (504, "x", (Scope::Model, SECONDS_15)),
            (418, "x", (Scope::Request, Cooldown::None)),
            (408, "x", (Scope::Model, SECONDS_30)),
        ] {
            assert_eq!(judge(&error(status, message)), expected, "{status} {message}");
        }
    }

    #[test]
    fn a_wrong_request_is_nobodys_fault_but_the_clients() {
        assert_eq!(judge(&error(400, "prompt exceeds the capacity of the context")), (Scope::Request, Cooldown::None));
        assert_eq!(judge(&error(413, "x")), (Scope::Request, Cooldown::None));
    }

    #[test]
    fn a_cut_is_forgiven_soon_and_words_are_believed() {
        for (kind, status, message, expected) in [
            (ErrorKind::Api, Some(502), "the provider's answer failed: reset", (Scope::Model, Cooldown::Backoff)),
            (ErrorKind::Timeout, Some(504), "silent", (Scope::Model, Cooldown::Backoff)),
            (ErrorKind::Truncated, None, "ended before completion", (Scope::Model, Cooldown::Backoff)),
            (ErrorKind::Overloaded, None, "busy", (Scope::Model, Cooldown::Backoff)),
            (ErrorKind::Api, None, "No credentials left", (Scope::Credential, MINUTES_5)),
            (ErrorKind::Billing, None, "pay", (Scope::Credential, MINUTES_5)),
            (ErrorKind::Invalid, None, "x", (Scope::Request, Cooldown::None)),
        ] {
            let error = ApiError { status, ..ApiError::new(kind, message) };
            assert_eq!(judge_broken(&error), expected, "{kind:?} {message}");
        }
        let named = ApiError { retry_after: Some(9.0), ..ApiError::new(ErrorKind::Api, "x") };
        assert_eq!(judge_broken(&named).1, Cooldown::Fixed(Duration::from_secs(9)));
    }

    #[test]
    fn the_upstreams_own_time_wins() {
        let mut error = error(429, "slow down");
        error.retry_after = Some(7.5);
        assert_eq!(judge(&error).1, Cooldown::Fixed(Duration::from_millis(7500)));
        error.retry_after = Some(1e12);
        assert_eq!(judge(&error).1, Cooldown::Fixed(RETRY_AFTER_MAX));
    }
}
