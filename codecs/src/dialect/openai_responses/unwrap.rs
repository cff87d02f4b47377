//! Takes the `input` out of `{"input":"…"}` while the text is still arriving.
//!
//! A custom tool travels to other dialects as a function with one string member. The inside of that member's token is
//! JSON-escaped text already, so it is passed on as it comes; only an escape that is cut by a piece's end waits for the
//! next piece. Text of any other shape is collected and judged as a whole at the end.
//!
//! ```text
//!   Head ──{"input":"──▶ Inside ──closing quote──▶ After
//!     └──anything else──▶ Opaque
//! ```

use crate::{hub::arguments::custom_input, json::Text};

/// The machine. Fed with pieces of argument text, it hands out pieces of the input.
#[derive(Debug)]
pub(super) enum Unwrap {
    /// The text so far could still become the head of the usual object.
    Head(String),
    /// Inside the string token; the beginning of an escape that is not complete yet.
    Inside(String),
    /// Behind the closing quote.
    After,
    /// Another shape.
    Opaque(String),
}

impl Default for Unwrap {
    fn default() -> Self {
        Self::Head(String::new())
    }
}

/// How a text compares with the head `{"input":"`, white space allowed between tokens.
enum Head {
    /// It ends before the head does.
    Short,
    /// The head ends at this byte.
    Ends(usize),
    /// It is something else.
    Other,
}

impl Unwrap {
    /// Takes a piece of argument text and emits what it adds to the input.
    pub(super) fn push(&mut self, arguments: Text<'_>, emit: &mut dyn FnMut(Text<'_>)) {
        let piece = arguments.plain();
        match self {
            Self::Opaque(text) => text.push_str(&piece),
            Self::After => {}
            Self::Inside(cut) => {
                let text = std::mem::take(cut) + &piece;
                self.inside(&text, emit);
            }
            Self::Head(text) => {
                text.push_str(&piece);
                match head(text) {
                    Head::Short => {}
                    Head::Ends(at) => {
                        let text = std::mem::take(text);
                        self.inside(&text[at..], emit);
                    }
                    Head::Other => *self = Self::Opaque(std::mem::take(text)),
                }
            }
        }
    }

    /// Emits the rest at the end of the arguments.
    pub(super) fn finish(&mut self, emit: &mut dyn FnMut(Text<'_>)) {
        if let Self::Head(text) | Self::Opaque(text) = self {
            let input = custom_input(Text::Plain(text));
            if !input.is_empty() {
                emit(Text::Plain(&input));
            }
        }
        *self = Self::After;
    }

    /// Bytes held.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Head(text) | Self::Inside(text) | Self::Opaque(text) => text.len(),
            Self::After => 0,
        }
    }

    fn inside(&mut self, text: &str, emit: &mut dyn FnMut(Text<'_>)) {
        let bytes = text.as_bytes();
        // Everything before `from` is emitted, everything before `at` is known to be legal.
        let (mut from, mut at) = (0, 0);
        let next = loop {
            let Some(special) = bytes[at..].iter().position(|&b| b < 0x20 || b == b'"' || b == b'\\') else {
                at = bytes.len();
                break Self::Inside(String::new());
            };
            at += special;
            let (len, instead) = match bytes[at] {
                b'"' => break Self::After,
                b'\\' => match escape(&bytes[at..]) {
                    Escape::Cut => break Self::Inside(text[at..].to_owned()),
                    Escape::Legal(len) => {
                        at += len;
                        continue;
                    }
                    Escape::Instead(len, plain) => (len, plain),
                },
                // Raw control characters: models write them.
                _ => (1, &text[at..=at]),
            };
            flush(&text[from..at], emit);
            emit(Text::Plain(instead));
            at += len;
            from = at;
        };
        flush(&text[from..at], emit);
        *self = next;
    }
}

fn flush(token: &str, emit: &mut dyn FnMut(Text<'_>)) {
    if !token.is_empty() {
        emit(Text::Escaped(token));
    }
}

/// What stands behind a backslash in text that nobody has validated.
enum Escape {
    /// The text ends too early to tell.
    Cut,
    /// An escape of that many bytes.
    Legal(usize),
    /// No escape, or half a character: that many bytes mean this plain text.
    Instead(usize, &'static str),
}

/// Judges the escape at the start. A surrogate pair counts as one escape, so that it is never torn apart.
fn escape(bytes: &[u8]) -> Escape {
    match bytes.get(1) {
        None => Escape::Cut,
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Escape::Legal(2),
        Some(b'u') => match unit(&bytes[2..]) {
            Unit::Cut => Escape::Cut,
            Unit::None => Escape::Instead(1, "\\"),
            Unit::Is(0xDC00..=0xDFFF) => Escape::Instead(6, "\u{FFFD}"),
            Unit::Is(0xD800..=0xDBFF) => match &bytes[6..] {
                [] | [b'\\'] => Escape::Cut,
                [b'\\', b'u', low @ ..] => match unit(low) {
                    Unit::Cut => Escape::Cut,
                    Unit::Is(0xDC00..=0xDFFF) => Escape::Legal(12),
                    _ => Escape::Instead(6, "\u{FFFD}"),
                },
                _ => Escape::Instead(6, "\u{FFFD}"),
            },
            Unit::Is(_) => Escape::Legal(6),
        },
        Some(_) => Escape::Instead(1, "\\"),
    }
}

enum Unit {
    Cut,
    None,
    Is(u32),
}

/// The four hexadecimal digits at the start.
fn unit(bytes: &[u8]) -> Unit {
    let digits = &bytes[..bytes.len().min(4)];
    let value = digits.iter().try_fold(0, |value, &digit| Some(value * 16 + char::from(digit).to_digit(16)?));
    match value {
        None => Unit::None,
        Some(_) if digits.len() < 4 => Unit::Cut,
        Some(value) => Unit::Is(value),
    }
}

fn head(text: &str) -> Head {
    let bytes = text.as_bytes();
    let mut at = 0;
    for token in ["{", "\"input\"", ":", "\""] {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = bytes.get(at) {
            at += 1;
        }
        let rest = &bytes[at..];
        if rest.len() < token.len() {
            return if token.as_bytes().starts_with(rest) { Head::Short } else { Head::Other };
        }
        if !rest.starts_with(token.as_bytes()) {
            return Head::Other;
        }
        at += token.len();
    }
    Head::Ends(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(pieces: &[&str]) -> String {
        let mut unwrap = Unwrap::default();
        let mut out = Vec::new();
        let mut emit = |text: Text<'_>| text.write_escaped(&mut out);
        for piece in pieces {
            unwrap.push(Text::Plain(piece), &mut emit);
        }
        unwrap.finish(&mut emit);
        Text::Escaped(&String::from_utf8_lossy(&out)).plain().into_owned()
    }

    #[test]
    fn every_cutting_gives_the_same_input() {
        for (arguments, expected) in [
            (r#"{"input":"*** Begin\n\u00e9 \"q\" \\ ü"}"#, "*** Begin\né \"q\" \\ ü"),
            ("{ \"input\" : \"a\" }", "a"),
            ("{\"input\":\"\"}", ""),
            ("{\"input\":\"cut", "cut"),
            ("{\"other\":1,\"input\":\"x\"}", "x"),
            ("{\"inputs\":\"x\"}", "{\"inputs\":\"x\"}"),
            ("*** Begin Patch", "*** Begin Patch"),
            ("{\"input\":7}", "{\"input\":7}"),
            ("", ""),
            ("{\"inp", "{\"inp"),
        ] {
            let chars: Vec<String> = arguments.chars().map(String::from).collect();
            let singles: Vec<&str> = chars.iter().map(String::as_str).collect();
            assert_eq!(run(&[arguments]), expected, "{arguments}");
            assert_eq!(run(&singles), expected, "{arguments} in pieces");
        }
    }

    #[test]
    fn text_flows_before_the_end() {
        let mut unwrap = Unwrap::default();
        let mut seen = String::new();
        unwrap.push(Text::Escaped(r#"{\"input\":\"abc\\"#), &mut |text| seen.push_str(&text.plain()));
        assert_eq!(seen, "abc");
        unwrap.push(Text::Escaped("n"), &mut |text| seen.push_str(&text.plain()));
        assert_eq!(seen, "abc\n");
    }

    #[test]
    fn broken_escapes_stay_legal() {
        assert_eq!(run(&[r#"{"input":"a\qb\u00zz\u00e9"}"#]), "a\\qb\\u00zzé");
        assert_eq!(run(&[r#"{"input":"\ud83d"#, r#"\ude80 \ud83d \ude80"}"#]), "🚀 \u{FFFD} \u{FFFD}");
        assert_eq!(run(&[r#"{"input":"\ü"}"#]), "\\ü");
    }

    #[test]
    fn raw_control_characters_stay_legal() {
        assert_eq!(run(&["{\"input\":\"a\nb\\tc\u{1}\"}"]), "a\nb\tc\u{1}");
    }
}
