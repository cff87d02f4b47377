//! Text that is either still escaped (the inside of a JSON string token) or plain, converted only on demand.

use std::borrow::Cow;

/// Borrowed text.
#[derive(Debug, Clone, Copy)]
pub enum Text<'a> {
    /// The inside of a valid JSON string token: no quotes, escapes untouched.
    Escaped(&'a str),
    /// Plain text.
    Plain(&'a str),
}

impl<'a> Text<'a> {
    /// The empty text.
    pub const EMPTY: Text<'static> = Text::Plain("");

    /// Whether there is no character.
    pub fn is_empty(&self) -> bool {
        match self {
            Text::Escaped(s) | Text::Plain(s) => s.is_empty(),
        }
    }

    /// The text with escapes resolved. Borrows where there are none. Unpaired surrogates become U+FFFD.
    pub fn plain(&self) -> Cow<'a, str> {
        match self {
            Text::Plain(s) => Cow::Borrowed(s),
            Text::Escaped(s) => unescape(s),
        }
    }

    /// Whether the text equals `other`. Does not allocate unless there are escapes.
    #[inline]
    pub fn is(&self, other: &str) -> bool {
        match self {
            Text::Plain(s) => *s == other,
            // Every escape is longer than what it means: text of equal length has none, or another meaning.
            Text::Escaped(s) if s.len() <= other.len() => *s == other && !s.contains('\\'),
            Text::Escaped(s) => s.contains('\\') && unescape(s) == other,
        }
    }

    /// Whether the text begins with `prefix`. Does not allocate.
    pub fn starts_with(&self, prefix: &str) -> bool {
        let mut rest = match self {
            Text::Plain(s) => return s.starts_with(prefix),
            Text::Escaped(s) => *s,
        };
        for wanted in prefix.chars() {
            let (meant, used) = match rest.chars().next() {
                Some('\\') => escape_at(rest),
                Some(other) => (other, other.len_utf8()),
                None => return false,
            };
            if meant != wanted {
                return false;
            }
            rest = &rest[used..];
        }
        true
    }

    /// Appends the text as the inside of a JSON string token.
    pub fn write_escaped(&self, out: &mut impl super::write::Sink) {
        match self {
            Text::Escaped(s) => out.put(s.as_bytes()),
            Text::Plain(s) => super::write::escape(s, out),
        }
    }

    /// Bytes held, in whichever form.
    pub fn len(&self) -> usize {
        match self {
            Text::Escaped(s) | Text::Plain(s) => s.len(),
        }
    }

    /// Number of Unicode scalar values (an escape counts as one, a surrogate pair as one). Does not allocate.
    pub fn chars(&self) -> u64 {
        let (Text::Plain(s) | Text::Escaped(s)) = *self;
        let mut count = if s.is_ascii() { s.len() } else { s.chars().count() };
        if let Text::Escaped(mut rest) = *self {
            while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
                let (_, used) = escape_at(&rest[at..]);
                count -= used - 1;
                rest = &rest[at + used..];
            }
        }
        count as u64
    }

    /// An owned or borrowed twin.
    pub fn to_str(self) -> Str<'a> {
        match self {
            Text::Escaped(s) => Str { body: Cow::Borrowed(s), escaped: true },
            Text::Plain(s) => Str { body: Cow::Borrowed(s), escaped: false },
        }
    }

    /// A copy that borrows nothing.
    pub fn to_owned_str(self) -> Str<'static> {
        self.to_str().into_owned()
    }
}

impl Default for Text<'_> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Text::Plain(a), Text::Plain(b)) => a == b,
            _ => self.plain() == other.plain(),
        }
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(s: &'a str) -> Self {
        Text::Plain(s)
    }
}

/// Text that may own its bytes: what hub requests hold.
#[derive(Debug, Clone)]
pub struct Str<'a> {
    body: Cow<'a, str>,
    escaped: bool,
}

impl<'a> Str<'a> {
    /// Plain text, owned or borrowed.
    pub fn plain_from(text: impl Into<Cow<'a, str>>) -> Self {
        Self { body: text.into(), escaped: false }
    }

    /// A borrowed view.
    pub fn text(&self) -> Text<'_> {
        if self.escaped { Text::Escaped(&self.body) } else { Text::Plain(&self.body) }
    }

    /// See [`Text::plain`].
    pub fn plain(&self) -> Cow<'_, str> {
        self.text().plain()
    }

    /// See [`Text::is`].
    pub fn is(&self, other: &str) -> bool {
        self.text().is(other)
    }

    /// See [`Text::is_empty`].
    pub fn is_empty(&self) -> bool {
        self.body.is_empty()
    }

    /// Bytes held, in whichever form.
    pub fn len(&self) -> usize {
        self.body.len()
    }

    /// Whether the text holds nothing but white space. Looks no further than to the first character that is none.
    pub fn is_blank(&self) -> bool {
        let mut rest = self.body.trim_start();
        while self.escaped && rest.starts_with('\\') {
            let (meant, used) = escape_at(rest);
            if !meant.is_whitespace() {
                return false;
            }
            rest = rest[used..].trim_start();
        }
        rest.is_empty()
    }

    /// A copy that borrows nothing.
    pub fn into_owned(self) -> Str<'static> {
        Str { body: Cow::Owned(self.body.into_owned()), escaped: self.escaped }
    }
}

impl Default for Str<'_> {
    fn default() -> Self {
        Self::plain_from("")
    }
}

impl PartialEq for Str<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl<'a> From<&'a str> for Str<'a> {
    fn from(s: &'a str) -> Self {
        Self::plain_from(s)
    }
}

impl From<String> for Str<'_> {
    fn from(s: String) -> Self {
        Self::plain_from(s)
    }
}

/// Resolves the escapes of the inside of a valid string token.
fn unescape(s: &str) -> Cow<'_, str> {
    let Some(first) = memchr::memchr(b'\\', s.as_bytes()) else { return Cow::Borrowed(s) };
    let mut out = String::with_capacity(s.len());
    out.push_str(&s[..first]);
    let mut rest = &s[first..];
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        out.push_str(&rest[..at]);
        let (ch, used) = escape_at(&rest[at..]);
        out.push(ch);
        rest = &rest[at + used..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The character that the escape at the start of `s` means, and the bytes it takes.
fn escape_at(s: &str) -> (char, usize) {
    let simple = match s.as_bytes().get(1) {
        Some(b'n') => '\n',
        Some(b't') => '\t',
        Some(b'r') => '\r',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'u') => {
            let unit = unit_at(s);
            return match unit {
                0xD800..=0xDBFF => match s.get(6..).filter(|rest| rest.starts_with("\\u")).map(unit_at) {
                    Some(low @ 0xDC00..=0xDFFF) => {
                        let code = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
                        (char::from_u32(code).unwrap_or('\u{FFFD}'), 12)
                    }
                    _ => ('\u{FFFD}', 6),
                },
                _ => (char::from_u32(unit).unwrap_or('\u{FFFD}'), 6),
            };
        }
        Some(&other) => other as char,
        None => return ('\u{FFFD}', 1),
    };
    (simple, 2)
}

/// The UTF-16 unit of a `\uXXXX` escape at the start of `s`.
fn unit_at(s: &str) -> u32 {
    s.get(2..6).and_then(|hex| u32::from_str_radix(hex, 16).ok()).unwrap_or(0xFFFD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_resolve() {
        let text = Text::Escaped(r#"a\"b\\c\/d\n\t\u00e9\ud83d\ude80\ud83dx"#);
        assert_eq!(text.plain(), "a\"b\\c/d\n\té🚀\u{FFFD}x");
        assert_eq!(text.chars(), 13);
        assert!(text.is("a\"b\\c/d\n\té🚀\u{FFFD}x"));
    }

    #[test]
    fn comparison_minds_escapes() {
        for (escaped, plain, same) in [
            ("model", "model", true),
            ("mod\\u0065l", "model", true),
            ("models", "model", false),
            ("mode", "model", false),
            ("a\\\\n", "a\\n", true),
            ("a\\n", "a\\n", false),
        ] {
            assert_eq!(Text::Escaped(escaped).is(plain), same, "{escaped}");
        }
    }

    #[test]
    fn blank_is_white_space_in_any_spelling() {
        for (text, blank) in [
            ("", true),
            (" \\n\\t \\u00a0\u{3000}\\r ", true),
            ("x", false),
            (" \\n x", false),
            ("\\n\\\\n", false),
            ("\\u0041", false),
            ("\\ud83d\\ude80", false),
        ] {
            let escaped = Text::Escaped(text).to_str();
            assert_eq!((escaped.is_blank(), escaped.plain().trim().is_empty()), (blank, blank), "{text}");
        }
        assert!(!Str::from("\\n").is_blank() && Str::from(" \n").is_blank());
    }

    #[test]
    fn a_beginning_may_be_spelled_with_escapes() {
        let text = Text::Escaped("Err\\u006fr: \\ud83d\\ude80");
        for (prefix, begins) in
            [("", true), ("Error", true), ("Error: \u{1F680}", true), ("Errors", false), ("error", false)]
        {
            assert_eq!((text.starts_with(prefix), text.plain().starts_with(prefix)), (begins, begins), "{prefix}");
        }
        assert!(!Text::Escaped("Err").starts_with("Error") && Text::Plain("\\n").starts_with("\\"));
    }

    #[test]
    fn plain_text_without_escapes_is_borrowed() {
        assert!(matches!(Text::Escaped("abc").plain(), Cow::Borrowed("abc")));
        assert_eq!(Text::Escaped("abc"), Text::Plain("abc"));
    }
}
