//! Tool arguments: text in some dialects, objects in others.

use std::borrow::Cow;

use super::ToolKind;
use crate::json::{Kind, Raw, Text, Writer};

/// The arguments as the JSON text of one object, for dialects that want an object.
///
/// Blank text becomes `{}`, text that is no JSON `{"_invalid_json":…}`, other values `{"_value":…}`. An object is passed
/// on as it is spelled.
pub fn object(arguments: Text<'_>) -> Cow<'_, str> {
    let plain = arguments.plain();
    let trimmed = plain.trim();
    if trimmed.is_empty() {
        return Cow::Borrowed("{}");
    }
    match Raw::parse_str(trimmed) {
        Ok(raw) if raw.kind() == Kind::Object => match plain {
            Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
            Cow::Owned(ref text) => Cow::Owned(text.trim().to_owned()),
        },
        Ok(raw) => Cow::Owned(wrap("_value", |w| {
            w.raw(raw);
        })),
        Err(_) => Cow::Owned(wrap("_invalid_json", |w| {
            w.string(&plain);
        })),
    }
}

/// [`object`] for a call of either kind: a custom tool's raw input becomes `{"input":…}`.
pub fn call_object(kind: ToolKind, arguments: Text<'_>) -> Cow<'_, str> {
    match kind {
        ToolKind::Function => object(arguments),
        ToolKind::Custom => Cow::Owned(wrap("input", |w| {
            w.text(arguments);
        })),
    }
}

fn wrap(key: &str, value: impl FnOnce(&mut Writer<'_, Vec<u8>>)) -> String {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    writer.begin_object().key(key);
    value(&mut writer);
    writer.end_object();
    String::from_utf8(out).unwrap_or_default()
}

/// The `input` of a custom tool that travelled as a function: the member's text, or the whole text if it is no such
/// object.
pub fn custom_input(arguments: Text<'_>) -> String {
    let plain = arguments.plain();
    let input =
        Raw::parse_str(plain.trim()).ok().and_then(|raw| raw.get_text("input")).map(|text| text.plain().into_owned());
    input.unwrap_or_else(|| plain.into_owned())
}

/// Tells when argument text that arrives in pieces is one complete JSON value.
///
/// Fed with *plain* argument text (the value's JSON text). One table-free step per byte: depth, in-string and escape flags.
#[derive(Debug, Clone, Copy, Default)]
pub struct Completeness {
    depth: u32,
    in_string: bool,
    escape: bool,
    seen: bool,
    closed: bool,
}

impl Completeness {
    /// Takes the next piece. Does not allocate.
    pub fn push(&mut self, text: Text<'_>) {
        match text {
            Text::Plain(plain) => plain.bytes().for_each(|b| self.byte(b)),
            Text::Escaped(raw) => self.escaped(raw.as_bytes()),
        }
    }

    fn escaped(&mut self, mut raw: &[u8]) {
        loop {
            // Quotes and backslashes come escaped: inside a string nothing else matters.
            if self.in_string && !self.escape {
                let Some(at) = memchr::memchr(b'\\', raw) else { return };
                raw = &raw[at..];
            }
            match raw {
                [] => return,
                [b'\\', b'u', hex @ ..] => {
                    let (digits, rest) = hex.split_at(hex.len().min(4));
                    let unit = std::str::from_utf8(digits).ok().and_then(|hex| u32::from_str_radix(hex, 16).ok());
                    // Only ASCII has a meaning for the structure; everything else is a letter.
                    self.byte(unit.and_then(|unit| u8::try_from(unit).ok()).filter(u8::is_ascii).unwrap_or(b'x'));
                    raw = rest;
                }
                [b'\\', short, rest @ ..] => {
                    self.byte(match short {
                        b'n' | b'r' | b't' => b' ',
                        other => *other,
                    });
                    raw = rest;
                }
                [byte, rest @ ..] => {
                    self.byte(*byte);
                    raw = rest;
                }
            }
        }
    }

    #[inline]
    fn byte(&mut self, b: u8) {
        if self.in_string {
            match b {
                _ if self.escape => self.escape = false,
                b'\\' => self.escape = true,
                b'"' => {
                    self.in_string = false;
                    self.closed = true;
                }
                _ => {}
            }
            return;
        }
        match b {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            b' ' | b'\t' | b'\n' | b'\r' => return,
            _ => {}
        }
        self.closed = matches!(b, b'}' | b']');
        self.seen = true;
    }

    /// Whether the text so far is one complete value (scalars count as complete as soon as they begin).
    pub fn is_complete(&self) -> bool {
        self.seen && self.depth == 0 && !self.in_string
    }

    /// Whether the text so far is complete and cannot grow: it ends in a bracket or a quote, unlike a number.
    pub fn is_closed(&self) -> bool {
        self.is_complete() && self.closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_become_objects() {
        for (text, expected) in [
            ("", "{}"),
            ("  ", "{}"),
            (" {\"a\": 1.0} ", "{\"a\": 1.0}"),
            ("[1]", "{\"_value\":[1]}"),
            ("{\"a\":", "{\"_invalid_json\":\"{\\\"a\\\":\"}"),
        ] {
            assert_eq!(object(Text::Plain(text)), expected);
        }
        assert_eq!(object(Text::Escaped(r#"{\"a\":\"\u00e9\"}"#)), "{\"a\":\"é\"}");
    }

    #[test]
    fn custom_calls_become_objects_too() {
        assert_eq!(call_object(ToolKind::Custom, Text::Escaped(r"a\n{")), r#"{"input":"a\n{"}"#);
        assert_eq!(call_object(ToolKind::Function, Text::Plain("{}")), "{}");
    }

    #[test]
    fn completeness_sees_through_strings() {
        let mut scan = Completeness::default();
        for (piece, complete) in [("{\"a\":\"}", false), ("\\\"", false), ("\"", false), ("}", true)] {
            scan.push(Text::Plain(piece));
            assert_eq!(scan.is_complete(), complete, "{piece}");
        }
    }

    #[test]
    fn completeness_reads_escaped_text_as_its_meaning() {
        for text in [r#"{\"a\":\"}\\\"\"}"#, r#"\u007b\"a\u0022:1}\n"#, r#"[\"\ud83d\ude80\\u0022\"]"#] {
            let (mut escaped, mut plain) = (Completeness::default(), Completeness::default());
            escaped.push(Text::Escaped(text));
            plain.push(Text::Plain(&Text::Escaped(text).plain()));
            assert!(escaped.is_closed() && plain.is_closed(), "{text}");
        }
    }

    #[test]
    fn a_number_is_complete_but_not_closed() {
        let mut scan = Completeness::default();
        scan.push(Text::Plain("12"));
        assert!(scan.is_complete() && !scan.is_closed());
    }

    #[test]
    fn custom_input_unwraps() {
        assert_eq!(custom_input(Text::Plain(r#"{"input":"a\nb"}"#)), "a\nb");
        assert_eq!(custom_input(Text::Plain("free")), "free");
    }
}
