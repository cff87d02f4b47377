//! Length of text in UTF-16 units, counted in the escaped form without an allocation.
//!
//! Units add up over any cutting, also when a surrogate pair is torn apart; bytes do not (spelling of escapes), and
//! characters do not either.

use crate::json::Text;

/// Units of `text`.
pub(super) fn units(text: Text<'_>) -> u64 {
    match text {
        Text::Plain(plain) => plain_units(plain.as_bytes()),
        Text::Escaped(token) => {
            let mut rest = token.as_bytes();
            let mut count = 0;
            while let Some(at) = memchr::memchr(b'\\', rest) {
                count += plain_units(&rest[..at]) + 1;
                rest = rest.get(at + escape_len(&rest[at..])..).unwrap_or_default();
            }
            count + plain_units(rest)
        }
    }
}

/// What is left of `text` behind the first `skip` units. Half a character counts as read.
pub(super) fn skip_units(text: Text<'_>, skip: u64) -> Text<'_> {
    let (s, escaped) = match text {
        Text::Plain(s) => (s, false),
        Text::Escaped(s) => (s, true),
    };
    let bytes = s.as_bytes();
    let (mut at, mut seen) = (0, 0);
    while seen < skip && at < bytes.len() {
        if escaped && bytes[at] == b'\\' {
            at += escape_len(&bytes[at..]);
            seen += 1;
        } else {
            let len = utf8_len(bytes[at]);
            at += len;
            seen += if len == 4 { 2 } else { 1 };
        }
    }
    let rest = s.get(at..).unwrap_or_default();
    if escaped { Text::Escaped(rest) } else { Text::Plain(rest) }
}

fn plain_units(bytes: &[u8]) -> u64 {
    bytes.iter().map(|&b| u64::from(b & 0xC0 != 0x80) + u64::from(b >= 0xF0)).sum()
}

fn escape_len(bytes: &[u8]) -> usize {
    if bytes.get(1) == Some(&b'u') { 6 } else { 2 }
}

fn utf8_len(first: u8) -> usize {
    match first {
        0xF0.. => 4,
        0xE0.. => 3,
        0xC0.. => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_does_not_matter() {
        for text in [Text::Plain("aé🚀\n\""), Text::Escaped(r#"a\u00e9\ud83d\ude80\n\""#), Text::Escaped("aé🚀\\n\\\"")]
        {
            assert_eq!(units(text), 6);
            assert_eq!(skip_units(text, 0), text);
            assert_eq!(skip_units(text, 2), Text::Plain("🚀\n\""));
            assert_eq!(skip_units(text, 4), Text::Plain("\n\""));
            assert!(skip_units(text, 6).is_empty() && skip_units(text, 9).is_empty());
        }
        assert_eq!(units(Text::Escaped(r"\ud83d")) + units(Text::Escaped(r"\ude80")), 2);
    }
}
