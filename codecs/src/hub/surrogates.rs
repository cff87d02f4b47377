//! Joins the two halves of a character that an upstream cut apart: `"…\ud83d"` in one delta, `"\ude80…"` in the next.
//!
//! Clients unescape every delta on its own and would show two replacement characters. Only the border between deltas is
//! looked at, so a delta without a trailing escape costs one comparison. An unpaired half becomes U+FFFD; halves in the
//! middle of a delta are passed on as they came.

use super::{Emit, Event, Field};
use crate::json::Text;

/// Length of `\uXXXX`.
const ESCAPE: usize = 6;
/// Parts that may wait for a second half at the same time; the halves of further parts are given up at once.
const HELD_MAX: usize = 64;

const REPLACEMENT: Text<'static> = Text::Plain("\u{FFFD}");

/// Stands between a decoder and what comes after it.
#[derive(Debug, Default)]
pub struct Surrogates {
    held: Vec<Held>,
}

/// A high half that ended the last delta of a part.
#[derive(Debug, Clone, Copy)]
struct Held {
    part: u32,
    field: Grows,
    half: [u8; ESCAPE],
}

/// The fields that are text.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Grows {
    Text,
    Think,
    Args,
    Refusal,
}

impl Grows {
    fn of(field: &Field<'_>) -> Option<Self> {
        match field {
            Field::Text => Some(Self::Text),
            Field::Think => Some(Self::Think),
            Field::Args => Some(Self::Args),
            Field::Refusal => Some(Self::Refusal),
            Field::Sig { .. } | Field::Logprobs => None,
        }
    }

    fn field(self) -> Field<'static> {
        match self {
            Self::Text => Field::Text,
            Self::Think => Field::Think,
            Self::Args => Field::Args,
            Self::Refusal => Field::Refusal,
        }
    }
}

impl Surrogates {
    /// Takes the next event and passes on what is ready.
    #[inline]
    pub fn event(&mut self, event: Event<'_>, emit: Emit<'_>) {
        match event {
            Event::Delta { part, field, text: Text::Escaped(text) } if self.concerns(text) => {
                self.delta(part, field, text, emit);
            }
            Event::Delta { .. } if self.held.is_empty() => emit(event),
            Event::Delta { part, ref field, .. } => {
                if Grows::of(field).is_some() {
                    self.give_up(part, emit);
                }
                emit(event);
            }
            Event::Stop { part } => {
                self.give_up(part, emit);
                emit(event);
            }
            Event::Error(_) => {
                self.held.clear();
                emit(event);
            }
            _ => emit(event),
        }
    }

    #[inline]
    fn concerns(&self, text: &str) -> bool {
        !self.held.is_empty() || trailing_high(text).is_some()
    }

    fn delta(&mut self, part: u32, field: Field<'_>, mut text: &str, emit: Emit<'_>) {
        let Some(grows) = Grows::of(&field) else {
            emit(Event::Delta { part, field, text: Text::Escaped(text) });
            return;
        };
        if let Some(held) = self.take(part) {
            if let Some(low) = leading_low(text) {
                let mut pair = [0; 2 * ESCAPE];
                pair[..ESCAPE].copy_from_slice(&held.half);
                pair[ESCAPE..].copy_from_slice(low.as_bytes());
                // Both halves are ASCII.
                let pair = std::str::from_utf8(&pair).unwrap_or_default();
                emit(Event::Delta { part, field: grows.field(), text: Text::Escaped(pair) });
                text = &text[ESCAPE..];
            } else {
                emit(Event::Delta { part, field: held.field.field(), text: REPLACEMENT });
            }
        }
        let mut half = None;
        if let Some(high) = trailing_high(text)
            && self.held.len() < HELD_MAX
        {
            half = high.as_bytes().first_chunk::<ESCAPE>().copied();
            text = &text[..text.len() - ESCAPE];
        }
        if !text.is_empty() {
            emit(Event::Delta { part, field: grows.field(), text: Text::Escaped(text) });
        }
        if let Some(half) = half {
            self.held.push(Held { part, field: grows, half });
        }
    }

    /// No second half can come any more for this place in the part.
    fn give_up(&mut self, part: u32, emit: Emit<'_>) {
        if let Some(held) = self.take(part) {
            emit(Event::Delta { part, field: held.field.field(), text: REPLACEMENT });
        }
    }

    fn take(&mut self, part: u32) -> Option<Held> {
        let at = self.held.iter().position(|held| held.part == part)?;
        Some(self.held.swap_remove(at))
    }
}

/// The escape of a high half at the end of an escaped text.
#[inline]
fn trailing_high(text: &str) -> Option<&str> {
    let bytes = text.as_bytes();
    let start = bytes.len().checked_sub(ESCAPE)?;
    if bytes[start] != b'\\' || !is_half(&bytes[start..], b"89abAB") {
        return None;
    }
    // `\\ud83d` is a backslash and five letters: only an even number of backslashes before it leaves the escape whole.
    let before = bytes[..start].iter().rev().take_while(|&&b| b == b'\\').count();
    before.is_multiple_of(2).then(|| &text[start..])
}

/// The escape of a low half at the start of an escaped text.
fn leading_low(text: &str) -> Option<&str> {
    let escape = text.get(..ESCAPE)?;
    is_half(escape.as_bytes(), b"cdefCDEF").then_some(escape)
}

/// Whether `\uDnXX` stands at the start, `n` being one of `nibbles`.
fn is_half(bytes: &[u8], nibbles: &[u8]) -> bool {
    matches!(bytes, [b'\\', b'u', b'd' | b'D', n, ..] if nibbles.contains(n))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(pieces: &[&str]) -> Vec<String> {
        let mut joiner = Surrogates::default();
        let mut out = Vec::new();
        let mut emit = |event: Event<'_>| {
            if let Event::Delta { text, .. } = event {
                out.push(text.plain().into_owned());
            }
        };
        for piece in pieces {
            joiner.event(Event::Delta { part: 0, field: Field::Text, text: Text::Escaped(piece) }, &mut emit);
        }
        joiner.event(Event::Stop { part: 0 }, &mut emit);
        out
    }

    #[test]
    fn halves_join_across_deltas() {
        assert_eq!(run(&["a\\ud83d", "\\ude80b"]), ["a", "🚀", "b"]);
        assert_eq!(run(&["\\uD83D", "\\uDE80"]), ["🚀"]);
        assert_eq!(run(&["\\ud83d", "\\ude80\\ud83d", "\\ude81"]), ["🚀", "🚁"]);
    }

    #[test]
    fn an_unpaired_half_is_replaced() {
        assert_eq!(run(&["a\\ud83d"]), ["a", "\u{FFFD}"]);
        assert_eq!(run(&["a\\ud83d", "b"]), ["a", "\u{FFFD}", "b"]);
        assert_eq!(run(&["a\\ud83d", "\\ud83d", "\\ude80"]), ["a", "\u{FFFD}", "🚀"]);
    }

    #[test]
    fn an_escaped_backslash_is_no_half() {
        assert_eq!(run(&["\\\\ud83d", "\\\\ude80"]), ["\\ud83d", "\\ude80"]);
        assert_eq!(run(&["\\\\\\ud83d", "\\ude80"]), ["\\", "🚀"]);
    }

    #[test]
    fn parts_do_not_mix() {
        let mut joiner = Surrogates::default();
        let mut out = Vec::new();
        let mut emit = |event: Event<'_>| out.push(format!("{event:?}"));
        joiner.event(Event::Delta { part: 0, field: Field::Args, text: Text::Escaped("\\ud83d") }, &mut emit);
        joiner.event(Event::Delta { part: 1, field: Field::Args, text: Text::Escaped("x") }, &mut emit);
        joiner.event(Event::Delta { part: 0, field: Field::Args, text: Text::Escaped("\\ude80") }, &mut emit);
        assert_eq!(out.len(), 2);
        assert!(out[0].contains("part: 1") && out[1].contains("part: 0"), "{out:?}");
    }
}
