//! Sixty-four bytes at a time: where quotes and backslashes stand in text that has many of them.
//!
//! A search that begins anew behind every escape spends most of its time on beginning. Here a block is compared once, and the
//! places are the bits of a word.

use wide::u8x16;

/// Bytes of a block: one bit each.
pub(super) const BLOCK: usize = 64;

/// Marks quotes and backslashes: bit `n` is byte `n`.
#[inline(always)]
pub(super) fn quotes_and_backslashes(block: &[u8; BLOCK]) -> u64 {
    let (quote, backslash) = (u8x16::splat(b'"'), u8x16::splat(b'\\'));
    let (lanes, _) = block.as_chunks::<16>();
    lanes.iter().rev().fold(0, |marks, lane| {
        let lane = u8x16::new(*lane);
        let equal = lane.simd_eq(quote) | lane.simd_eq(backslash);
        marks << 16 | u64::from(equal.to_bitmask())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_judged_at_every_place() {
        for byte in 0..=255u8 {
            for place in 0..BLOCK {
                let mut block = [b'x'; BLOCK];
                block[place] = byte;
                let marked = u64::from(byte == b'"' || byte == b'\\') << place;
                assert_eq!(quotes_and_backslashes(&block), marked, "{byte:#x} at {place}");
            }
        }
        assert_eq!(quotes_and_backslashes(&[b'"'; BLOCK]), u64::MAX);
    }
}
