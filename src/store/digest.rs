//! SHA-256 of what is kept only as a digest, and its hexadecimal form.

use aws_lc_rs::digest;

/// Bytes of a digest.
const BYTES: usize = 32;

/// The digest of `bytes`. A lookup by the digest of a random secret tells nothing by its time: who wants to choose a
/// digest must invert SHA-256.
pub fn sha256(bytes: &[u8]) -> [u8; BYTES] {
    let mut hash = [0; BYTES];
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    hash
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

/// The digest that 64 hexadecimal digits stand for; `None` for any other text.
pub fn parse(hex: &str) -> Option<[u8; BYTES]> {
    if hex.len() != 2 * BYTES {
        return None;
    }
    let mut hash = [0; BYTES];
    for (byte, pair) in hash.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *byte = u8::try_from(digit(0)? << 4 | digit(1)?).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_digest_leads_to_its_text_and_back() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(hex(&sha256(b"")), empty);
        assert_eq!(parse(empty), Some(sha256(b"")));
        assert_eq!(parse(&empty.to_uppercase()), Some(sha256(b"")));
        let signed = "+1".repeat(32);
        for wrong in ["", &empty[1..], &empty[2..], &format!("{empty}0"), &format!("{}é", &empty[2..]), &signed] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
