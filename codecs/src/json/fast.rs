//! The quick yes of validation: is this compact, ordinary JSON?
//!
//! Answers only "yes, and here is its end" or "ask the other one": no error, no line of blame, no nesting deeper than one
//! word of bits. The careful validator in `validate.rs` decides everything else and is the oracle of the tests here.

use super::{
    blocks::{BLOCK, quotes_and_backslashes},
    spans::Record,
    swar::{has_control, quote_or_backslash},
};

/// Nesting that fits into the bit stack. Deeper values are the careful validator's.
const DEPTH_MAX: u32 = 64;

/// End of the valid value that starts at `start`, if the text is ordinary.
pub(super) fn end_of_value(bytes: &[u8], start: usize, record: &mut impl Record) -> Option<usize> {
    // Without control characters strings need a look at quotes and backslashes only. Line ends between tokens, as in
    // pretty-printed JSON, make it somebody else's job.
    if has_control(bytes) {
        return None;
    }
    // Bit 0 tells whether the innermost container is an object.
    let (mut objects, mut depth) = (0u64, 0u32);
    let mut at = start;
    loop {
        // A value is expected at `at`.
        at = match *bytes.get(at)? {
            b'"' => {
                let end = string(bytes, at)?;
                record.string(at, end);
                end
            }
            open @ (b'{' | b'[') => {
                let object = open == b'{';
                if depth == DEPTH_MAX {
                    return None;
                }
                depth += 1;
                record.open(at);
                objects = objects << 1 | u64::from(object);
                at = space(bytes, at + 1);
                // `{` and `}`, `[` and `]` are two apart.
                if *bytes.get(at)? == open + 2 {
                    depth -= 1;
                    objects >>= 1;
                    record.close(at + 1);
                    at + 1
                } else if object {
                    at = key(bytes, at)?;
                    continue;
                } else {
                    continue;
                }
            }
            b'-' | b'0'..=b'9' => number(bytes, at)?,
            b't' => word(bytes, at, b"true")?,
            b'f' => word(bytes, at, b"false")?,
            b'n' => word(bytes, at, b"null")?,
            _ => return None,
        };
        // A value ended at `at`: close containers until one goes on.
        loop {
            if depth == 0 {
                return Some(at);
            }
            at = space(bytes, at);
            let object = objects & 1 != 0;
            match *bytes.get(at)? {
                b',' => {
                    at = space(bytes, at + 1);
                    if object {
                        at = key(bytes, at)?;
                    }
                    break;
                }
                close if close == if object { b'}' } else { b']' } => {
                    at += 1;
                    depth -= 1;
                    objects >>= 1;
                    record.close(at);
                }
                _ => return None,
            }
        }
    }
}

/// A member's name with its colon; returns the start of the value.
#[inline(always)]
fn key(bytes: &[u8], at: usize) -> Option<usize> {
    if *bytes.get(at)? != b'"' {
        return None;
    }
    let colon = space(bytes, string(bytes, at)?);
    if *bytes.get(colon)? != b':' {
        return None;
    }
    Some(space(bytes, colon + 1))
}

#[inline(always)]
fn string(bytes: &[u8], start: usize) -> Option<usize> {
    let end = quote_or_backslash(bytes, start + 1)?;
    if bytes[end] == b'"' { Some(end + 1) } else { escaped_string(bytes, end) }
}

/// The rest of a string from its first backslash on.
#[inline(never)]
fn escaped_string(bytes: &[u8], backslash: usize) -> Option<usize> {
    let mut at = escape(bytes, backslash)?;
    'blocks: while let Some(block) = bytes[at..].first_chunk() {
        let mut marks = quotes_and_backslashes(block);
        while marks != 0 {
            let place = at + marks.trailing_zeros() as usize;
            if bytes[place] == b'"' {
                return Some(place + 1);
            }
            let next = escape(bytes, place)?;
            if next - at >= BLOCK {
                at = next;
                continue 'blocks;
            }
            // What was escaped is no mark.
            marks &= u64::MAX << (next - at);
        }
        at += BLOCK;
    }
    loop {
        at = quote_or_backslash(bytes, at)?;
        if bytes[at] == b'"' {
            return Some(at + 1);
        }
        at = escape(bytes, at)?;
    }
}

/// End of the escape that begins with the backslash at `at`.
#[inline(always)]
fn escape(bytes: &[u8], at: usize) -> Option<usize> {
    match *bytes.get(at + 1)? {
        short if SHORT_ESCAPES[usize::from(short)] => Some(at + 2),
        b'u' => bytes.get(at + 2..at + 6)?.iter().all(u8::is_ascii_hexdigit).then_some(at + 6),
        _ => None,
    }
}

/// What may follow a backslash alone. A look is cheaper than a jump by value, which is guessed wrong in mixed text.
const SHORT_ESCAPES: [bool; 256] = {
    let mut table = [false; 256];
    let mut n = 0;
    while n < 256 {
        table[n] = matches!(n as u8, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't');
        n += 1;
    }
    table
};

/// Place of the quote that ends the string whose inside starts at `at`, if it is an ordinary one. UTF-8 is not looked at.
#[inline]
pub(crate) fn string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let end = match quote_or_backslash(bytes, at)? {
        quote if bytes[quote] == b'"' => quote,
        backslash => escaped_string(bytes, backslash)? - 1,
    };
    (!has_control(&bytes[at..end])).then_some(end)
}

#[inline(always)]
fn space(bytes: &[u8], mut at: usize) -> usize {
    // There are no control characters here: the only white space is a blank.
    while bytes.get(at) == Some(&b' ') {
        at += 1;
    }
    at
}

#[inline(always)]
fn word(bytes: &[u8], at: usize, word: &[u8]) -> Option<usize> {
    bytes[at..].starts_with(word).then_some(at + word.len())
}

#[inline(always)]
fn number(bytes: &[u8], start: usize) -> Option<usize> {
    let first = start + usize::from(bytes[start] == b'-');
    let end = digits(bytes, first);
    if end == first || (bytes[first] == b'0' && end > first + 1) {
        return None;
    }
    match bytes.get(end) {
        Some(b'.' | b'e' | b'E') => fraction(bytes, end),
        _ => Some(end),
    }
}

/// What follows the whole part of a number.
#[inline(never)]
fn fraction(bytes: &[u8], mut at: usize) -> Option<usize> {
    if bytes[at] == b'.' {
        let end = digits(bytes, at + 1);
        if end == at + 1 {
            return None;
        }
        at = end;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let end = digits(bytes, at + 1 + sign);
        if end == at + 1 + sign {
            return None;
        }
        at = end;
    }
    Some(at)
}

#[inline(always)]
fn digits(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b'0'..=b'9') = bytes.get(at) {
        at += 1;
    }
    at
}
