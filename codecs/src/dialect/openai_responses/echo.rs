//! Values of a request that its answer repeats.
//!
//! The service answers with most of the request's own members. A translated answer repeats them only where the caller
//! has kept them; otherwise the defaults of the dialect are written.

use crate::json::{Raw, Writer, write::Sink};

/// Members that every answer has, with what is written when the request did not say anything.
const ALWAYS: [(&str, &str); 7] = [
    ("instructions", "null"),
    ("metadata", "{}"),
    ("parallel_tool_calls", "true"),
    ("temperature", "null"),
    ("tool_choice", "\"auto\""),
    ("tools", "[]"),
    ("top_p", "null"),
];

/// Members that are repeated only if the request has them.
const SOMETIMES: [&str; 9] = [
    "max_output_tokens",
    "max_tool_calls",
    "prompt_cache_key",
    "reasoning",
    "safety_identifier",
    "text",
    "top_logprobs",
    "truncation",
    "user",
];

/// The values to repeat, as the JSON text of members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Echo {
    members: Vec<u8>,
}

impl Echo {
    /// Takes the values out of a client's request.
    pub fn of(request: Raw<'_>) -> Self {
        let mut members = Vec::new();
        // The writer starts an object so that commas fall into place; its bracket is cut off.
        let mut w = Writer::new(&mut members);
        w.begin_object();
        for (name, default) in ALWAYS {
            w.key(name);
            match request.get(name) {
                Some(value) => w.raw(value),
                None => w.verbatim(default),
            };
        }
        for name in SOMETIMES {
            if let Some(value) = request.get(name) {
                w.key(name).raw(value);
            }
        }
        members.remove(0);
        Self { members }
    }

    /// Appends the members, without brackets.
    pub(super) fn write(&self, out: &mut impl Sink) {
        out.put(&self.members);
    }
}

impl Default for Echo {
    fn default() -> Self {
        Self::of(Raw::EMPTY_OBJECT)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn known_values_are_repeated_and_the_rest_defaults() {
        let echo =
            Echo::of(Raw::parse_str(r#"{"top_p":0.50,"tools":[ {} ],"store":true,"truncation":"auto"}"#).unwrap());
        assert_eq!(
            String::from_utf8(echo.members).unwrap(),
            r#""instructions":null,"metadata":{},"parallel_tool_calls":true,"temperature":null,"tool_choice":"auto","tools":[ {} ],"top_p":0.50,"truncation":"auto""#
        );
    }
}
