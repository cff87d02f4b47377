//! Errors of the API: the envelope that OpenAI's errors have too.
//!
//! `{"error": {"type", "code", "message", "param"?, "details"?, "requestId"}}`

use proxy::{ResponseHead, StatusCode};
use serde_json::{Value, json};

use super::auth::Denied;
use crate::{live::ChangeError, store::StoreError};

/// Seconds after which a disk that is full, or fails, is worth another try.
const STORE_RETRY: u64 = 10;

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// HTTP status.
    pub status: u16,
    /// What exactly, as a word.
    pub code: &'static str,
    /// For people: what is wrong, and what to do about it. No secrets.
    pub message: String,
    /// The member or parameter that it is about.
    pub param: Option<String>,
    /// More, for programs.
    pub details: Option<Box<Value>>,
    /// Seconds after which asking again may help.
    pub retry_after: Option<u64>,
}

impl Problem {
    /// A problem with a status, a word and a sentence.
    pub fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), param: None, details: None, retry_after: None }
    }

    /// What there is not: 404.
    pub fn not_found(what: impl std::fmt::Display) -> Self {
        Self::new(404, "not_found", format!("there is no {what}"))
    }

    /// A value that cannot be taken: 422.
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        let param = param.into();
        let problem = Self::new(422, "invalid_value", message);
        if param.is_empty() { problem } else { problem.param(param) }
    }

    /// A query parameter that cannot be taken: 400.
    pub fn query(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(400, "bad_query", message).param(param)
    }

    /// Something of ours that went wrong: 500. What exactly belongs into the log.
    pub fn internal() -> Self {
        Self::new(500, "internal", "something went wrong inside the gateway; its log says what")
    }

    /// The same, about a member or parameter.
    #[must_use]
    pub fn param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// The same, with more for programs.
    #[must_use]
    pub fn details(mut self, details: Value) -> Self {
        // Boxed: results of handlers are moved about, and few have one.
        self.details = Some(Box::new(details));
        self
    }

    /// The same, with the time after which asking again may help, in seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// `type` of the error, by its status.
    pub fn kind(&self) -> &'static str {
        match self.status {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            409 => "conflict_error",
            423 => "locked_error",
            429 => "rate_limit_error",
            500.. => "api_error",
            _ => "invalid_request_error",
        }
    }

    /// Head and document of the answer.
    pub(super) fn answer(&self, request_id: &str) -> (ResponseHead, Value) {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut head = ResponseHead::new(status);
        if let Some(seconds) = self.retry_after {
            head = head.with("retry-after", seconds.to_string());
        }
        let mut error = json!({"type": self.kind(), "code": self.code, "message": self.message});
        if let Some(param) = &self.param {
            error["param"] = param.as_str().into();
        }
        if let Some(details) = &self.details {
            error["details"] = Value::clone(details);
        }
        error["requestId"] = request_id.into();
        (head, json!({ "error": error }))
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        let problem = Self::new(denied.status(), denied.code(), denied.message());
        match denied.details() {
            Some(details) => problem.details(details),
            None => problem,
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        match error {
            StoreError::NotFound => Self::new(404, "not_found", message),
            StoreError::Taken { field } => {
                let code = if field == "name" { "name_taken" } else { "taken" };
                Self::new(409, code, format!("another entry has this {field} already")).param(field)
            }
            StoreError::InUse { by } => Self::new(409, "in_use", message).details(json!({ "usedBy": by })),
            StoreError::Stale => Self::new(412, "etag_mismatch", format!("{message}: read it again")),
            StoreError::Invalid { field, message } => Self::invalid(field, message),
            StoreError::Deadline => Self::new(504, "query_timeout", "the query took too long: ask for less"),
            StoreError::Locked => Self::new(503, "store_locked", unchanged(&message)).retry_after(1),
            StoreError::Full => Self::new(503, "store_full", unchanged(&message)).retry_after(STORE_RETRY),
            StoreError::ReadOnly => Self::new(503, "store_read_only", unchanged(&message)).retry_after(STORE_RETRY),
            StoreError::Disk(_) => {
                tracing::error!(%error, "the store failed");
                Self::new(503, "store_unavailable", unchanged(&message)).retry_after(STORE_RETRY)
            }
            StoreError::Degraded(_) => Self::new(503, "store_unavailable", message).retry_after(STORE_RETRY),
            StoreError::Corrupt(_) | StoreError::Key(_) => Self::new(503, "store_unavailable", message),
            StoreError::Closed => Self::new(503, "draining", "the gateway is about to end"),
            StoreError::Other(_) => {
                tracing::error!(%error, "the store failed");
                Self::internal()
            }
        }
    }
}

/// What to say where the system around the store is to blame, so that it may work again without anybody changing the
/// request.
fn unchanged(reason: &str) -> String {
    format!("{reason}: nothing was changed, models are served as before; mend that and ask again")
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        let message = error.to_string();
        match error {
            ChangeError::Store(error) => error.into(),
            ChangeError::Invalid(faults) => {
                let list: Vec<_> =
                    faults.iter().map(|fault| json!({"place": fault.place, "message": fault.message})).collect();
                let problem = Self::new(422, "invalid_value", message).details(json!({ "faults": list }));
                match faults.first() {
                    Some(fault) => problem.param(fault.place.clone()),
                    None => problem,
                }
            }
            ChangeError::Pinned { key, source } => {
                Self::new(423, "pinned_by_config", message).param(key).details(json!({ "source": source.name() }))
            }
            ChangeError::ReadOnly => Self::new(423, "read_only", message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_have_one_envelope() {
        let problem = Problem::invalid("name", "no").details(json!({"a": 1})).retry_after(3);
        let (head, document) = problem.answer("r-1");
        assert_eq!((head.status.as_u16(), head.headers.text("retry-after")), (422, Some("3")));
        assert_eq!(
            document,
            json!({"error": {"type": "invalid_request_error", "code": "invalid_value", "message": "no",
                "param": "name", "details": {"a": 1}, "requestId": "r-1"}})
        );
        let problem = Problem::from(StoreError::InUse { by: vec!["combo fast".to_owned()] });
        assert_eq!((problem.status, problem.kind(), problem.code), (409, "conflict_error", "in_use"));
    }

    #[test]
    fn a_disk_that_fails_is_no_fault_of_the_gateway_and_worth_another_try() {
        let cases = [
            (StoreError::Full, "store_full", 10),
            (StoreError::ReadOnly, "store_read_only", 10),
            (StoreError::Locked, "store_locked", 1),
            (StoreError::Disk("disk I/O error".to_owned()), "store_unavailable", 10),
            (StoreError::Degraded("the disk: I/O error".to_owned()), "store_unavailable", 10),
        ];
        for (error, code, seconds) in cases {
            let reason = error.to_string();
            let problem = Problem::from(error);
            assert_eq!((problem.status, problem.code, problem.retry_after), (503, code, Some(seconds)), "{reason}");
            assert!(problem.message.starts_with(&reason), "{}", problem.message);
        }
        assert_eq!(Problem::from(StoreError::Other("a bug".to_owned())).status, 500);
    }
}
