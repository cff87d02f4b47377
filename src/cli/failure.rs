//! Why a command did not do what it was asked for, and the exit code that says so to scripts.
//!
//! Messages are for people; a script looks at the code. No message holds a secret: the only texts of others in them are
//! those that the router put into its errors.

use std::{fmt, io};

use serde_json::Value;

/// A command that failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// What was asked for did not work. 1.
    Failed(String),
    /// What was asked for cannot be meant. 2, as for a wrong flag.
    Usage(String),
    /// Nobody answers at the address. 3.
    Unreachable(String),
    /// The router answers, but not to us. 4.
    Unauthorised(String),
    /// It does not exist. 5.
    NotFound(String),
    /// Who reads our output has seen enough, as `head` has. No failure of ours: 0, without a word.
    Enough,
}

impl Failure {
    /// The exit code.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Failure::Enough => 0,
            Failure::Failed(_) => 1,
            Failure::Usage(_) => 2,
            Failure::Unreachable(_) => 3,
            Failure::Unauthorised(_) => 4,
            Failure::NotFound(_) => 5,
        }
    }

    /// The same, with the name of what there is not, where the message does not have it.
    #[must_use]
    pub(crate) fn about(self, name: &str) -> Self {
        match self {
            Failure::NotFound(message) if !message.contains(name) => Failure::NotFound(format!("{name}: {message}")),
            other => other,
        }
    }

    /// What an answer means that is no success. `document` is its body, `null` if that is no JSON.
    pub(crate) fn of_answer(status: u16, document: &Value) -> Self {
        let error = &document["error"];
        let mut message = match error["message"].as_str().or_else(|| error.as_str()) {
            Some(message) => message.to_owned(),
            None => format!("the server answered {status}"),
        };
        if let Some(param) = error["param"].as_str().filter(|param| !message.contains(*param)) {
            message = format!("{param}: {message}");
        }
        let details = &error["details"];
        if let Some(hint) = details["hint"].as_str() {
            message.push_str(&format!(" ({hint})"));
        }
        if let Some(users) = details["usedBy"].as_array() {
            let users: Vec<_> = users.iter().filter_map(Value::as_str).collect();
            message.push_str(&format!(" (used by {})", users.join(", ")));
        }
        match status {
            401 | 403 => Failure::Unauthorised(message),
            404 => Failure::NotFound(message),
            _ => Failure::Failed(message),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Failed(message)
            | Failure::Usage(message)
            | Failure::Unreachable(message)
            | Failure::Unauthorised(message)
            | Failure::NotFound(message) => f.write_str(message),
            Failure::Enough => Ok(()),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Failure::Enough } else { Failure::Failed(error.to_string()) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn answers_have_codes_and_their_messages_say_what_is_known() {
        let document = json!({"error": {"message": "it is used", "param": "name", "details": {"usedBy": ["a", "b"]}}});
        for (status, code) in [(400, 1), (401, 4), (403, 4), (404, 5), (409, 1), (422, 1), (500, 1)] {
            let failure = Failure::of_answer(status, &document);
            assert_eq!((failure.code(), failure.to_string().as_str()), (code, "name: it is used (used by a, b)"));
        }
        assert_eq!(Failure::of_answer(502, &Value::Null).to_string(), "the server answered 502");
        let ollama = json!({"error": "no such thing"});
        assert_eq!(Failure::of_answer(404, &ollama).to_string(), "no such thing");
        assert_eq!(Failure::from(io::Error::from(io::ErrorKind::BrokenPipe)).code(), 0);
    }
}
