//! Single-pass JSON scanner (RFC 8259): validates once, then hands out byte ranges. It never allocates and never copies.
//!
//! [`Raw`] is the proof of validation: it holds exactly one valid value without surrounding white space, so walking
//! through it needs no error paths. Duplicate keys are kept; [`Raw::get`] finds the last one, as most parsers do.

use super::Text;

/// Deepest nesting that is accepted.
pub const DEPTH_MAX: usize = 512;

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
pub struct Raw<'a>(&'a str);

impl<'a> Raw<'a> {
    /// `null`
    pub const NULL: Raw<'static> = Raw("null");
    /// `{}`
    pub const EMPTY_OBJECT: Raw<'static> = Raw("{}");

    /// Validates UTF-8 and the whole text as one JSON value.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, JsonError> {
        let text = std::str::from_utf8(bytes).map_err(|e| JsonError { what: "invalid UTF-8", at: e.valid_up_to() })?;
        Self::parse_str(text)
    }

    /// Validates the whole text as one JSON value.
    pub fn parse_str(text: &'a str) -> Result<Self, JsonError> {
        let bytes = text.as_bytes();
        let start = skip_space(bytes, 0);
        let end = validate(bytes, start)?;
        let rest = skip_space(bytes, end);
        if rest != bytes.len() {
            return Err(JsonError { what: "unexpected text after the value", at: rest });
        }
        Ok(Raw(&text[start..end]))
    }

    /// The value's JSON text.
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// The value's JSON text as bytes.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0.as_bytes()
    }

    /// The value's type.
    pub fn kind(self) -> Kind {
        match self.0.as_bytes()[0] {
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
        self.0 == "null"
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
        (self.kind() == Kind::String).then(|| Text::Escaped(&self.0[1..self.0.len() - 1]))
    }

    /// A boolean.
    pub fn as_bool(self) -> Option<bool> {
        match self.0 {
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
        if let Ok(value) = self.0.parse::<u64>() {
            return Some(value);
        }
        let value = self.0.parse::<f64>().ok()?;
        (value >= 0.0 && value < u64::MAX as f64 && value.fract() == 0.0).then_some(value as u64)
    }

    /// A signed whole number.
    pub fn as_i64(self) -> Option<i64> {
        if self.kind() != Kind::Number {
            return None;
        }
        self.0.parse::<i64>().ok().or_else(|| self.as_u64().and_then(|v| i64::try_from(v).ok()))
    }

    /// A number.
    pub fn as_f64(self) -> Option<f64> {
        (self.kind() == Kind::Number).then(|| self.0.parse().ok()).flatten()
    }

    /// Members of an object in order; empty for other values.
    pub fn members(self) -> Members<'a> {
        Members { text: self.0, at: if self.is_object() { 1 } else { self.0.len() } }
    }

    /// Elements of an array in order; empty for other values.
    pub fn elements(self) -> Elements<'a> {
        Elements { text: self.0, at: if self.is_array() { 1 } else { self.0.len() } }
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
        let (start, base) = (self.0.as_ptr() as usize, whole.as_ptr() as usize);
        let offset = start.checked_sub(base)?;
        (offset + self.0.len() <= whole.len()).then_some(offset)
    }
}

impl PartialEq for Raw<'_> {
    /// Equal as text: spelling counts.
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

/// Iterator over the members of an object.
#[derive(Debug, Clone)]
pub struct Members<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Iterator for Members<'a> {
    type Item = (Text<'a>, Raw<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let bytes = self.text.as_bytes();
        let start = next_item(bytes, self.at)?;
        let key_end = skip_string(bytes, start);
        let key = Text::Escaped(&self.text[start + 1..key_end - 1]);
        let colon = skip_space(bytes, key_end);
        let value = skip_space(bytes, colon + 1);
        let end = skip_value(bytes, value);
        self.at = end;
        Some((key, Raw(&self.text[value..end])))
    }
}

/// Iterator over the elements of an array.
#[derive(Debug, Clone)]
pub struct Elements<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Raw<'a>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let bytes = self.text.as_bytes();
        let start = next_item(bytes, self.at)?;
        let end = skip_value(bytes, start);
        self.at = end;
        Some(Raw(&self.text[start..end]))
    }
}

/// Start of the next item of a container, or `None` at its end. `at` stands behind the bracket or an item.
#[inline]
fn next_item(bytes: &[u8], at: usize) -> Option<usize> {
    let mut at = skip_space(bytes, at);
    if bytes.get(at) == Some(&b',') {
        at = skip_space(bytes, at + 1);
    }
    match bytes.get(at) {
        None | Some(b'}' | b']') => None,
        Some(_) => Some(at),
    }
}

#[inline]
fn skip_space(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(at) {
        at += 1;
    }
    at
}

/// First byte at or after `from` that cannot stand for itself inside a string: quote, backslash or control character.
#[inline]
pub(super) fn string_special(bytes: &[u8], from: usize) -> Option<usize> {
    const BLOCK: usize = 16;
    let special = |b: u8| (b < 0x20) | (b == b'"') | (b == b'\\');
    let mut at = from;
    // Whole blocks first: the fold has no branch inside, so that the compiler makes vector instructions of it.
    while let Some(block) = bytes.get(at..at + BLOCK) {
        if block.iter().fold(false, |any, &b| any | special(b)) {
            break;
        }
        at += BLOCK;
    }
    bytes[at.min(bytes.len())..].iter().position(|&b| special(b)).map(|offset| at + offset)
}

/// End of the valid string that starts at `start`.
#[inline]
fn skip_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    loop {
        match memchr::memchr2(b'"', b'\\', &bytes[at..]) {
            Some(offset) if bytes[at + offset] == b'"' => return at + offset + 1,
            Some(offset) => at += offset + 2,
            None => return bytes.len(),
        }
    }
}

/// End of the valid value that starts at `start`.
fn skip_value(bytes: &[u8], start: usize) -> usize {
    match bytes[start] {
        b'"' => skip_string(bytes, start),
        b'{' | b'[' => skip_container(bytes, start),
        _ => skip_scalar(bytes, start),
    }
}

fn skip_container(bytes: &[u8], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0usize);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                at = skip_string(bytes, at);
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

fn skip_scalar(bytes: &[u8], start: usize) -> usize {
    let mut at = start;
    while let Some(b) = bytes.get(at) {
        if matches!(b, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t') {
            break;
        }
        at += 1;
    }
    at
}

/// Checks the grammar of the value that starts at `start` and returns its end.
///
/// Iterative: the open containers are a bit stack of [`DEPTH_MAX`] bits, so hostile nesting costs no stack.
fn validate(bytes: &[u8], start: usize) -> Result<usize, JsonError> {
    let mut objects = [0u64; DEPTH_MAX / 64];
    let mut depth = 0usize;
    let mut at = start;
    loop {
        // A value is expected at `at`.
        match bytes.get(at) {
            Some(&open @ (b'{' | b'[')) => {
                if depth == DEPTH_MAX {
                    return Err(JsonError { what: "nested too deeply", at });
                }
                let (word, bit) = (depth / 64, 1u64 << (depth % 64));
                let object = open == b'{';
                if object {
                    objects[word] |= bit
                } else {
                    objects[word] &= !bit
                }
                depth += 1;
                at = skip_space(bytes, at + 1);
                let close = if object { b'}' } else { b']' };
                if bytes.get(at) != Some(&close) {
                    if object {
                        at = validate_key(bytes, at)?;
                    }
                    continue;
                }
                at += 1;
                depth -= 1;
            }
            Some(b'"') => at = validate_string(bytes, at)?,
            Some(b't') => at = literal(bytes, at, b"true")?,
            Some(b'f') => at = literal(bytes, at, b"false")?,
            Some(b'n') => at = literal(bytes, at, b"null")?,
            Some(b'-' | b'0'..=b'9') => at = validate_number(bytes, at)?,
            Some(_) => return Err(JsonError { what: "expected a value", at }),
            None => return Err(JsonError { what: "unexpected end", at }),
        }
        // A value ended at `at`: close containers until one goes on.
        loop {
            if depth == 0 {
                return Ok(at);
            }
            at = skip_space(bytes, at);
            let object = objects[(depth - 1) / 64] & (1u64 << ((depth - 1) % 64)) != 0;
            match (bytes.get(at), object) {
                (Some(b','), _) => {
                    at = skip_space(bytes, at + 1);
                    if object {
                        at = validate_key(bytes, at)?;
                    }
                    break;
                }
                (Some(b'}'), true) | (Some(b']'), false) => {
                    at += 1;
                    depth -= 1;
                }
                (Some(_), true) => return Err(JsonError { what: "expected ',' or '}'", at }),
                (Some(_), false) => return Err(JsonError { what: "expected ',' or ']'", at }),
                (None, _) => return Err(JsonError { what: "unexpected end", at }),
            }
        }
    }
}

/// Checks a member name with its colon and returns the start of the value.
#[inline]
fn validate_key(bytes: &[u8], at: usize) -> Result<usize, JsonError> {
    match bytes.get(at) {
        Some(b'"') => {}
        Some(_) => return Err(JsonError { what: "expected a member name", at }),
        None => return Err(JsonError { what: "unexpected end", at }),
    }
    let colon = skip_space(bytes, validate_string(bytes, at)?);
    match bytes.get(colon) {
        Some(b':') => Ok(skip_space(bytes, colon + 1)),
        Some(_) => Err(JsonError { what: "expected ':'", at: colon }),
        None => Err(JsonError { what: "unexpected end", at: colon }),
    }
}

#[inline]
fn validate_string(bytes: &[u8], start: usize) -> Result<usize, JsonError> {
    let mut at = start + 1;
    loop {
        let Some(special) = string_special(bytes, at) else {
            return Err(JsonError { what: "unexpected end inside a string", at: bytes.len() });
        };
        match bytes[special] {
            b'"' => return Ok(special + 1),
            b'\\' => at = validate_escape(bytes, special)?,
            _ => return Err(JsonError { what: "control character inside a string", at: special }),
        }
    }
}

fn validate_escape(bytes: &[u8], at: usize) -> Result<usize, JsonError> {
    match bytes.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => match bytes.get(at + 2..at + 6) {
            Some(hex) if hex.iter().all(u8::is_ascii_hexdigit) => Ok(at + 6),
            _ => Err(JsonError { what: "invalid \\u escape", at }),
        },
        Some(_) => Err(JsonError { what: "invalid escape", at }),
        None => Err(JsonError { what: "unexpected end inside a string", at }),
    }
}

#[inline]
fn literal(bytes: &[u8], at: usize, word: &'static [u8]) -> Result<usize, JsonError> {
    if bytes[at..].starts_with(word) { Ok(at + word.len()) } else { Err(JsonError { what: "expected a value", at }) }
}

#[inline]
fn validate_number(bytes: &[u8], start: usize) -> Result<usize, JsonError> {
    let digits = |mut at: usize| {
        let from = at;
        while let Some(b'0'..=b'9') = bytes.get(at) {
            at += 1;
        }
        if at == from { Err(JsonError { what: "expected a digit", at }) } else { Ok(at) }
    };
    let mut at = start + usize::from(bytes[start] == b'-');
    at = if bytes.get(at) == Some(&b'0') { at + 1 } else { digits(at)? };
    if bytes.get(at) == Some(&b'.') {
        at = digits(at + 1)?;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        at += 1;
        if let Some(b'+' | b'-') = bytes.get(at) {
            at += 1;
        }
        at = digits(at)?;
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

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
        fn a_walk_sees_the_same_document(value in json()) {
            let text = serde_json::to_string_pretty(&value).unwrap();
            let raw = Raw::parse(text.as_bytes()).unwrap();
            prop_assert_eq!(rebuild(raw), value);
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
