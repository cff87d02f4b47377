//! Append-only JSON writer. It never looks back and never checks nesting: callers write shapes that they know.

use bytes::BytesMut;

use super::{Raw, Text};

/// Where bytes are appended.
pub trait Sink {
    /// Appends `bytes`.
    fn put(&mut self, bytes: &[u8]);
}

impl Sink for BytesMut {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

impl Sink for Vec<u8> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Whether a byte must be escaped inside a JSON string (RFC 8259 §7).
#[inline]
fn must_escape(b: u8) -> bool {
    b < 0x20 || b == b'"' || b == b'\\'
}

/// Appends `text` as the inside of a JSON string token.
pub fn escape(text: &str, out: &mut impl Sink) {
    let bytes = text.as_bytes();
    let mut from = 0;
    while let Some(at) = super::swar::string_special(bytes, from) {
        out.put(&bytes[from..at]);
        match bytes[at] {
            b'"' => out.put(b"\\\""),
            b'\\' => out.put(b"\\\\"),
            b'\n' => out.put(b"\\n"),
            b'\r' => out.put(b"\\r"),
            b'\t' => out.put(b"\\t"),
            other => {
                debug_assert!(must_escape(other));
                let (high, low) = (HEX[usize::from(other >> 4)], HEX[usize::from(other & 15)]);
                out.put(&[b'\\', b'u', b'0', b'0', high, low]);
            }
        }
        from = at + 1;
    }
    out.put(&bytes[from..]);
}

/// Appends an unsigned number without allocating.
pub fn number(mut value: u64, out: &mut impl Sink) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.put(&digits[at..]);
}

/// Writes objects and arrays with commas in the right places.
///
/// ```
/// use codecs::json::Writer;
/// let mut out = Vec::new();
/// let mut w = Writer::new(&mut out);
/// w.begin_object();
/// w.key("a").number(1);
/// w.key("b").begin_array();
/// w.string("x");
/// w.end_array();
/// w.end_object();
/// assert_eq!(out, br#"{"a":1,"b":["x"]}"#);
/// ```
#[derive(Debug)]
pub struct Writer<'o, S: Sink> {
    out: &'o mut S,
    /// A value stands before the cursor in the current container: the next one needs a comma.
    comma: bool,
}

impl<'o, S: Sink> Writer<'o, S> {
    /// A writer that appends one value to `out`.
    pub fn new(out: &'o mut S) -> Self {
        Self { out, comma: false }
    }

    #[inline]
    fn value(&mut self) {
        if self.comma {
            self.out.put(b",");
        }
        self.comma = true;
    }

    /// `{`
    pub fn begin_object(&mut self) -> &mut Self {
        self.value();
        self.out.put(b"{");
        self.comma = false;
        self
    }

    /// `}`
    pub fn end_object(&mut self) -> &mut Self {
        self.out.put(b"}");
        self.comma = true;
        self
    }

    /// `[`
    pub fn begin_array(&mut self) -> &mut Self {
        self.value();
        self.out.put(b"[");
        self.comma = false;
        self
    }

    /// `]`
    pub fn end_array(&mut self) -> &mut Self {
        self.out.put(b"]");
        self.comma = true;
        self
    }

    /// A member name that needs no escaping; its value must follow.
    pub fn key(&mut self, name: &str) -> &mut Self {
        debug_assert!(!name.bytes().any(must_escape));
        self.value();
        self.out.put(b"\"");
        self.out.put(name.as_bytes());
        self.out.put(b"\":");
        self.comma = false;
        self
    }

    /// A member name of foreign origin.
    pub fn key_text(&mut self, name: Text<'_>) -> &mut Self {
        self.value();
        self.out.put(b"\"");
        name.write_escaped(self.out);
        self.out.put(b"\":");
        self.comma = false;
        self
    }

    /// A string value; escaped text is copied verbatim.
    pub fn text(&mut self, text: Text<'_>) -> &mut Self {
        self.value();
        self.out.put(b"\"");
        text.write_escaped(self.out);
        self.out.put(b"\"");
        self
    }

    /// A string value from plain text.
    pub fn string(&mut self, text: &str) -> &mut Self {
        self.text(Text::Plain(text))
    }

    /// A string value made of several texts.
    pub fn texts<'t>(&mut self, parts: impl IntoIterator<Item = Text<'t>>) -> &mut Self {
        self.value();
        self.out.put(b"\"");
        for part in parts {
            part.write_escaped(self.out);
        }
        self.out.put(b"\"");
        self
    }

    /// An unsigned number.
    pub fn number(&mut self, value: u64) -> &mut Self {
        self.value();
        number(value, self.out);
        self
    }

    /// `true` or `false`.
    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.value();
        self.out.put(if value { b"true" } else { b"false" });
        self
    }

    /// `null`
    pub fn null(&mut self) -> &mut Self {
        self.value();
        self.out.put(b"null");
        self
    }

    /// A value copied verbatim.
    pub fn raw(&mut self, value: Raw<'_>) -> &mut Self {
        self.verbatim(value.as_str())
    }

    /// A value whose JSON text the caller has made; it is not checked.
    pub fn verbatim(&mut self, json: &str) -> &mut Self {
        self.value();
        self.out.put(json.as_bytes());
        self
    }

    /// The sink behind the writer, to append the JSON text of *one value* by other means. The comma is taken care of.
    pub fn value_sink(&mut self) -> &mut S {
        self.value();
        self.out
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn escaping_round_trips_through_an_independent_parser() {
        let all: String = (0u8..=0x7f).map(char::from).chain("é🚀\u{2028}".chars()).collect();
        let mut out = Vec::new();
        Writer::new(&mut out).string(&all);
        assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), all);
    }

    #[test]
    fn numbers() {
        let mut out = Vec::new();
        let mut w = Writer::new(&mut out);
        w.begin_array().number(0).number(10).number(u64::MAX);
        w.end_array();
        assert_eq!(String::from_utf8(out).unwrap(), format!("[0,10,{}]", u64::MAX));
    }
}
