//! Single-pass JSON scanner (RFC 8259): validates once, then hands out byte ranges. It never allocates and never copies.
//!
//! [`Raw`] is the proof of validation: it holds exactly one valid value without surrounding white space, so walking
//! through it needs no error paths. Duplicate keys are kept; [`Raw::get`] finds the last one, as most parsers do.

use super::{
    Str, Text, fast,
    spans::{Recorder, Spans},
    validate::validate,
    walk::{Elements, Members, skip_space},
};

/// Why a text is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct JsonError {
    /// What was expected or wrong.
    pub what: &'static str,
    /// Offset in bytes.
    pub at: usize,
}

/// Type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// a number
    Number,
    /// a string
    String,
    /// `[…]`
    Array,
    /// `{…}`
    Object,
}

impl Kind {
    /// The type's name with its article, for error messages.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Null => "null",
            Kind::Bool => "a boolean",
            Kind::Number => "a number",
            Kind::String => "a string",
            Kind::Array => "an array",
            Kind::Object => "an object",
        }
    }
}

/// One valid JSON value, borrowed.
#[derive(Debug, Clone, Copy)]
pub struct Raw<'a> {
    pub(super) text: &'a str,
    /// Where the containers inside end, if that was recorded when the text was validated.
    pub(super) spans: Spans<'a>,
}

impl<'a> Raw<'a> {
    /// `null`
    pub const NULL: Raw<'static> = Raw { text: "null", spans: Spans::NONE };
    /// `{}`
    pub const EMPTY_OBJECT: Raw<'static> = Raw { text: "{}", spans: Spans::NONE };

    /// Validates UTF-8 and the whole text as one JSON value.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, JsonError> {
        Self::parse_str(text(bytes)?)
    }

    /// Validates the whole text as one JSON value.
    pub fn parse_str(text: &'a str) -> Result<Self, JsonError> {
        let bytes = text.as_bytes();
        let start = skip_space(bytes, 0);
        let end = match fast::end_of_value(bytes, start, &mut ()) {
            Some(end) => end,
            None => validate(bytes, start)?,
        };
        Self::alone(text, start, end, Spans::NONE)
    }

    /// Like [`Raw::parse`], and records on the way where containers end: a walk that skips or enters them need not look
    /// for their ends again. For frames that are walked once and at once; `recorder` is scratch space.
    pub fn parse_recorded(bytes: &'a [u8], recorder: &'a mut Recorder) -> Result<Self, JsonError> {
        let text = text(bytes)?;
        let start = skip_space(bytes, 0);
        recorder.clear();
        match fast::end_of_value(bytes, start, recorder) {
            Some(end) => Self::alone(text, start, end, recorder.spans(start)),
            None => Self::alone(text, start, validate(bytes, start)?, Spans::NONE),
        }
    }

    /// The value between `start` and `end`, behind which only white space may follow.
    fn alone(text: &'a str, start: usize, end: usize, spans: Spans<'a>) -> Result<Self, JsonError> {
        let rest = skip_space(text.as_bytes(), end);
        if rest != text.len() {
            return Err(JsonError { what: "unexpected text after the value", at: rest });
        }
        Ok(Raw { text: &text[start..end], spans })
    }

    /// The value's JSON text.
    pub fn as_str(self) -> &'a str {
        self.text
    }

    /// The value's JSON text as bytes.
    pub fn as_bytes(self) -> &'a [u8] {
        self.text.as_bytes()
    }

    /// The value's type.
    pub fn kind(self) -> Kind {
        match self.text.as_bytes()[0] {
            b'{' => Kind::Object,
            b'[' => Kind::Array,
            b'"' => Kind::String,
            b't' | b'f' => Kind::Bool,
            b'n' => Kind::Null,
            _ => Kind::Number,
        }
    }

    /// Whether the value is `null`.
    pub fn is_null(self) -> bool {
        self.text == "null"
    }

    /// Whether the value is an object.
    pub fn is_object(self) -> bool {
        self.kind() == Kind::Object
    }

    /// Whether the value is an array.
    pub fn is_array(self) -> bool {
        self.kind() == Kind::Array
    }

    /// The inside of a string token, still escaped.
    pub fn as_text(self) -> Option<Text<'a>> {
        (self.kind() == Kind::String).then(|| Text::Escaped(&self.text[1..self.text.len() - 1]))
    }

    /// A boolean.
    pub fn as_bool(self) -> Option<bool> {
        match self.text {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// A number that is a whole, non-negative value below 2^64; `1.0` and `1e3` count.
    pub fn as_u64(self) -> Option<u64> {
        if self.kind() != Kind::Number {
            return None;
        }
        if let Ok(value) = self.text.parse::<u64>() {
            return Some(value);
        }
        let value = self.text.parse::<f64>().ok()?;
        (value >= 0.0 && value < u64::MAX as f64 && value.fract() == 0.0).then_some(value as u64)
    }

    /// A signed whole number.
    pub fn as_i64(self) -> Option<i64> {
        if self.kind() != Kind::Number {
            return None;
        }
        self.text.parse::<i64>().ok().or_else(|| self.as_u64().and_then(|v| i64::try_from(v).ok()))
    }

    /// A number.
    pub fn as_f64(self) -> Option<f64> {
        (self.kind() == Kind::Number).then(|| self.text.parse().ok()).flatten()
    }

    /// Members of an object in order; empty for other values.
    pub fn members(self) -> Members<'a> {
        Members::new(self)
    }

    /// Elements of an array in order; empty for other values.
    pub fn elements(self) -> Elements<'a> {
        Elements::new(self)
    }

    /// The last member of that name, `null` included.
    pub fn member(self, name: &str) -> Option<Raw<'a>> {
        self.members().filter(|(key, _)| key.is(name)).last().map(|(_, value)| value)
    }

    /// The last member of that name, unless it is `null`.
    pub fn get(self, name: &str) -> Option<Raw<'a>> {
        self.member(name).filter(|value| !value.is_null())
    }

    /// A string member, still escaped.
    pub fn get_text(self, name: &str) -> Option<Text<'a>> {
        self.get(name).and_then(Raw::as_text)
    }

    /// A string member, borrowed if nothing in it is escaped.
    pub fn get_str(self, name: &str) -> Option<Str<'a>> {
        self.get_text(name).map(Text::to_str)
    }

    /// A whole non-negative number member.
    pub fn get_u64(self, name: &str) -> Option<u64> {
        self.get(name).and_then(Raw::as_u64)
    }

    /// Follows a path of member names.
    pub fn at(self, path: &[&str]) -> Option<Raw<'a>> {
        path.iter().try_fold(self, |value, name| value.get(name))
    }

    /// Offset of this value inside `whole`, of which it must be a part. Returns `None` if it is not.
    pub fn offset_in(self, whole: &[u8]) -> Option<usize> {
        let (start, base) = (self.text.as_ptr() as usize, whole.as_ptr() as usize);
        let offset = start.checked_sub(base)?;
        (offset + self.text.len() <= whole.len()).then_some(offset)
    }
}

/// The bytes as text, if they are UTF-8.
fn text(bytes: &[u8]) -> Result<&str, JsonError> {
    // Some vector instructions instead of a walk through every character that is not ASCII. Where it is wrong is asked of the
    // standard library.
    simdutf8::basic::from_utf8(bytes)
        .or_else(|_| std::str::from_utf8(bytes))
        .map_err(|e| JsonError { what: "invalid UTF-8", at: e.valid_up_to() })
}

impl PartialEq for Raw<'_> {
    /// Equal as text: spelling counts.
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::json::validate::DEPTH_MAX;

    #[test]
    fn walks_members_and_elements() {
        let raw = Raw::parse(br#" { "a" : [1, 2.5 ,"x\"y"] , "b":{"c":null,"d":true}, "a2":{} } "#).unwrap();
        let a: Vec<_> = raw.get("a").unwrap().elements().map(Raw::as_str).collect();
        assert_eq!(a, ["1", "2.5", "\"x\\\"y\""]);
        assert_eq!(raw.at(&["b", "d"]).unwrap().as_bool(), Some(true));
        assert!(raw.at(&["b", "c"]).is_none());
        assert!(raw.get("b").unwrap().member("c").unwrap().is_null());
        assert_eq!(raw.get("a2").unwrap().members().count(), 0);
    }

    #[test]
    fn the_last_duplicate_wins() {
        assert_eq!(Raw::parse(br#"{"a":1,"a":2}"#).unwrap().get_u64("a"), Some(2));
    }

    #[test]
    fn errors_say_what_and_where() {
        for (text, what, at) in [
            ("", "unexpected end", 0),
            ("{\"a\" 1}", "expected ':'", 5),
            ("[1,]", "expected a value", 3),
            ("{\"a\":1,}", "expected a member name", 7),
            ("[1 2]", "expected ',' or ']'", 3),
            ("\"a\nb\"", "control character inside a string", 2),
            ("1 x", "unexpected text after the value", 2),
            ("[01]", "expected ',' or ']'", 2),
            ("\"\\x\"", "invalid escape", 1),
        ] {
            assert_eq!(Raw::parse(text.as_bytes()).unwrap_err(), JsonError { what, at }, "{text}");
        }
        assert_eq!(Raw::parse(b"\"\xff\"").unwrap_err().what, "invalid UTF-8");
        assert!(Raw::parse("[".repeat(DEPTH_MAX + 1).as_bytes()).is_err());
        let deep = "[".repeat(DEPTH_MAX) + &"]".repeat(DEPTH_MAX);
        assert!(Raw::parse(deep.as_bytes()).is_ok());
    }

    #[test]
    fn whole_numbers() {
        for (text, value) in [("1", Some(1)), ("1.0", Some(1)), ("1e3", Some(1000)), ("1.5", None), ("-1", None)] {
            assert_eq!(Raw::parse(text.as_bytes()).unwrap().as_u64(), value, "{text}");
        }
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(5, 48, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(serde_json::Value::from),
                prop::collection::hash_map(any::<String>(), inner, 0..6)
                    .prop_map(|m| serde_json::Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn accepts_what_serde_accepts_and_rejects_the_rest(text in "[\\[\\]{}\",:0-9a-z\\\\eE+. -]{0,24}") {
            let ours = Raw::parse(text.as_bytes()).is_ok();
            let theirs = serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
            prop_assert_eq!(ours, theirs, "{}", text);
        }

        #[test]
        fn the_quick_validator_agrees(
            text in "[\\[\\]{}\",:0-9a-z\\\\eE+. -]{0,24}",
            pieces in prop::collection::vec("([{}\\[\\],: ]|\"[a-z\\\\u0-9]{0,9}\"|-?[0-9]{1,3}(\\.[0-9])?|true|null){0,3}", 0..8),
        ) {
            for text in [text, pieces.concat()] {
                let bytes = text.as_bytes();
                if let Some(end) = fast::end_of_value(bytes, 0, &mut ()) {
                    prop_assert_eq!(validate(bytes, 0), Ok(end), "{}", text);
                }
            }
        }

        #[test]
        fn long_escaped_strings_end_where_they_end(
            pieces in prop::collection::vec("[a-zé \"]{0,40}|(\\\\[\"\\\\/bfnrtux]){1,5}|\\\\u[0-9a-fA-F]{3,4}", 0..40),
        ) {
            let text = format!("\"{}\",", pieces.concat());
            prop_assert_eq!(fast::end_of_value(text.as_bytes(), 0, &mut ()), validate(text.as_bytes(), 0).ok());
        }

        #[test]
        fn a_walk_sees_the_same_document(value in json()) {
            let text = serde_json::to_string_pretty(&value).unwrap();
            let raw = Raw::parse(text.as_bytes()).unwrap();
            prop_assert_eq!(&rebuild(raw), &value);
            let compact = serde_json::to_string(&value).unwrap();
            let mut recorder = Recorder::default();
            let raw = Raw::parse_recorded(compact.as_bytes(), &mut recorder).unwrap();
            prop_assert_eq!(&rebuild(raw), &value);
            prop_assert_eq!(rebuild_backwards(raw), value);
        }
    }

    /// Nested values are walked long after their container, and in another order.
    fn rebuild_backwards(raw: Raw<'_>) -> serde_json::Value {
        match raw.kind() {
            Kind::Object => {
                let members: Vec<_> = raw.members().collect();
                let mut built: Vec<_> =
                    members.iter().rev().map(|(k, v)| (k.plain().into_owned(), rebuild_backwards(*v))).collect();
                built.reverse();
                serde_json::Value::Object(built.into_iter().collect())
            }
            Kind::Array => {
                let elements: Vec<_> = raw.elements().collect();
                let mut built: Vec<_> = elements.iter().rev().map(|v| rebuild_backwards(*v)).collect();
                built.reverse();
                built.into()
            }
            _ => rebuild(raw),
        }
    }

    fn rebuild(raw: Raw<'_>) -> serde_json::Value {
        match raw.kind() {
            Kind::Object => {
                serde_json::Value::Object(raw.members().map(|(k, v)| (k.plain().into_owned(), rebuild(v))).collect())
            }
            Kind::Array => raw.elements().map(rebuild).collect(),
            Kind::String => raw.as_text().unwrap().plain().into_owned().into(),
            _ => serde_json::from_str(raw.as_str()).unwrap(),
        }
    }
}
