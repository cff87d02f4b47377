//! Eight bytes at a time in one ordinary register: where does a string end, or stop being plain?
//!
//! Member names and most values are shorter than a vector call is worth, so the first bytes are looked at in 64-bit words;
//! text that goes on is left to loops that the compiler makes vector instructions of, to memchr, and to `blocks.rs`.
//!
//! The classic "has a zero byte" expression `(v - 0x01…) & !v & 0x80…` marks the first zero byte exactly; marks above it may
//! be wrong, because the subtraction borrows. Only the first is used.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;
const WORD: usize = 8;
/// Words that are looked at one by one before longer strides begin.
const SHORT_WORDS: usize = 4;
const BLOCK: usize = 32;

#[inline(always)]
fn word(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk::<WORD>().map(|chunk| u64::from_le_bytes(*chunk))
}

/// Marks bytes that equal `byte`.
#[inline(always)]
fn equal(word: u64, byte: u8) -> u64 {
    let difference = word ^ (ONES * byte as u64);
    difference.wrapping_sub(ONES) & !difference
}

/// Marks bytes below 0x20.
#[inline(always)]
fn control(word: u64) -> u64 {
    word.wrapping_sub(ONES * 0x20) & !word
}

/// Place of the first mark.
#[inline(always)]
fn first(marks: u64) -> Option<usize> {
    let marks = marks & HIGHS;
    (marks != 0).then(|| marks.trailing_zeros() as usize / WORD)
}

/// First byte at or after `from` that cannot stand for itself inside a string: quote, backslash or control character.
#[inline]
pub(super) fn string_special(bytes: &[u8], from: usize) -> Option<usize> {
    let marks = |word: u64| equal(word, b'"') | equal(word, b'\\') | control(word);
    let mut at = from;
    for _ in 0..SHORT_WORDS {
        let Some(word) = word(bytes, at) else { return string_special_slow(bytes, at) };
        if let Some(offset) = first(marks(word)) {
            return Some(at + offset);
        }
        at += WORD;
    }
    string_special_long(bytes, at)
}

/// Text that goes on.
#[inline(never)]
fn string_special_long(bytes: &[u8], mut at: usize) -> Option<usize> {
    // The fold has no branch inside, so that the compiler makes vector instructions of it.
    while let Some(block) = bytes.get(at..at + BLOCK) {
        if block.iter().fold(false, |any, &b| any | is_special(b)) {
            break;
        }
        at += BLOCK;
    }
    while let Some(word) = word(bytes, at) {
        if let Some(offset) = first(equal(word, b'"') | equal(word, b'\\') | control(word)) {
            return Some(at + offset);
        }
        at += WORD;
    }
    string_special_slow(bytes, at)
}

/// The last bytes of the input.
#[inline(never)]
fn string_special_slow(bytes: &[u8], at: usize) -> Option<usize> {
    bytes.get(at..)?.iter().position(|&b| is_special(b)).map(|offset| at + offset)
}

#[inline(always)]
fn is_special(b: u8) -> bool {
    (b < 0x20) | (b == b'"') | (b == b'\\')
}

/// Whether any byte is below 0x20.
#[inline]
pub(super) fn has_control(bytes: &[u8]) -> bool {
    // The compiler makes vector instructions of a fold without branches.
    bytes.iter().fold(u8::MAX, |least, &byte| least.min(byte)) < 0x20
}

/// First quote or backslash at or after `from`.
#[inline(always)]
pub(super) fn quote_or_backslash(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    for _ in 0..2 {
        let Some(word) = word(bytes, at) else { break };
        if let Some(offset) = first(equal(word, b'"') | equal(word, b'\\')) {
            return Some(at + offset);
        }
        at += WORD;
    }
    quote_or_backslash_long(bytes, at)
}

/// Text that goes on.
#[inline(never)]
fn quote_or_backslash_long(bytes: &[u8], mut at: usize) -> Option<usize> {
    for _ in 0..SHORT_WORDS {
        let Some(word) = word(bytes, at) else { break };
        if let Some(offset) = first(equal(word, b'"') | equal(word, b'\\')) {
            return Some(at + offset);
        }
        at += WORD;
    }
    memchr::memchr2(b'"', b'\\', bytes.get(at..)?).map(|offset| at + offset)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_first_special_byte_is_found(
            plain in "[ -!#-\\[\\]-~é🚀]{0,100}",
            tail in prop::collection::vec(any::<u8>(), 0..40),
            from in 0usize..8,
        ) {
            let bytes = [plain.as_bytes(), &tail].concat();
            let from = from.min(bytes.len());
            let find = |wanted: &dyn Fn(u8) -> bool| bytes[from..].iter().position(|&b| wanted(b)).map(|at| from + at);
            prop_assert_eq!(string_special(&bytes, from), find(&|b| b < 0x20 || b == b'"' || b == b'\\'));
            prop_assert_eq!(quote_or_backslash(&bytes, from), find(&|b| b == b'"' || b == b'\\'));
        }
    }

    #[test]
    fn every_byte_is_judged_at_every_place() {
        for byte in 0..=255u8 {
            for place in 0..70 {
                let mut bytes = [b'x'; 70];
                bytes[place] = byte;
                let special = byte < 0x20 || byte == b'"' || byte == b'\\';
                assert_eq!(string_special(&bytes, 0), special.then_some(place), "{byte:#x}");
            }
        }
    }
}
