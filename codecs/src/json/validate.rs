//! The careful validator (RFC 8259): says where and why a text is no JSON.

use super::{JsonError, swar::string_special, walk::skip_space};

/// Deepest nesting that is accepted.
pub(super) const DEPTH_MAX: usize = 512;

/// Checks the grammar of the value that starts at `start` and returns its end.
///
/// Iterative: the open containers are a bit stack of [`DEPTH_MAX`] bits, so hostile nesting costs no stack.
pub(super) fn validate(bytes: &[u8], start: usize) -> Result<usize, JsonError> {
    let mut objects = [0u64; DEPTH_MAX / 64];
    let mut depth = 0usize;
    let mut at = start;
    loop {
        // A value is expected at `at`.
        match bytes.get(at) {
            Some(&open @ (b'{' | b'[')) => {
                if depth == DEPTH_MAX {
                    return Err(JsonError { what: "nested too deeply", at });
                }
                let (word, bit) = (depth / 64, 1u64 << (depth % 64));
                let object = open == b'{';
                if object {
                    objects[word] |= bit
                } else {
                    objects[word] &= !bit
                }
                depth += 1;
                at = skip_space(bytes, at + 1);
                let close = if object { b'}' } else { b']' };
                if bytes.get(at) != Some(&close) {
                    if object {
                        at = validate_key(bytes, at)?;
                    }
                    continue;
                }
                at += 1;
                depth -= 1;
            }
            Some(b'"') => at = validate_string(bytes, at)?,
            Some(b't') => at = literal(bytes, at, b"true")?,
            Some(b'f') => at = literal(bytes, at, b"false")?,
            Some(b'n') => at = literal(bytes, at, b"null")?,
            Some(b'-' | b'0'..=b'9') => at = validate_number(bytes, at)?,
            Some(_) => return Err(JsonError { what: "expected a value", at }),
            None => return Err(JsonError { what: "unexpected end", at }),
        }
        // A value ended at `at`: close containers until one goes on.
        loop {
            if depth == 0 {
                return Ok(at);
            }
            at = skip_space(bytes, at);
            let object = objects[(depth - 1) / 64] & (1u64 << ((depth - 1) % 64)) != 0;
            match (bytes.get(at), object) {
                (Some(b','), _) => {
                    at = skip_space(bytes, at + 1);
                    if object {
                        at = validate_key(bytes, at)?;
                    }
                    break;
                }
                (Some(b'}'), true) | (Some(b']'), false) => {
                    at += 1;
                    depth -= 1;
                }
                (Some(_), true) => return Err(JsonError { what: "expected ',' or '}'", at }),
                (Some(_), false) => return Err(JsonError { what: "expected ',' or ']'", at }),
                (None, _) => return Err(JsonError { what: "unexpected end", at }),
            }
        }
    }
}

/// Checks a member name with its colon and returns the start of the value.
#[inline]
fn validate_key(bytes: &[u8], at: usize) -> Result<usize, JsonError> {
    match bytes.get(at) {
        Some(b'"') => {}
        Some(_) => return Err(JsonError { what: "expected a member name", at }),
        None => return Err(JsonError { what: "unexpected end", at }),
    }
    let colon = skip_space(bytes, validate_string(bytes, at)?);
    match bytes.get(colon) {
        Some(b':') => Ok(skip_space(bytes, colon + 1)),
        Some(_) => Err(JsonError { what: "expected ':'", at: colon }),
        None => Err(JsonError { what: "unexpected end", at: colon }),
    }
}

#[inline]
fn validate_string(bytes: &[u8], start: usize) -> Result<usize, JsonError> {
    let mut at = start + 1;
    loop {
        let Some(special) = string_special(bytes, at) else {
            return Err(JsonError { what: "unexpected end inside a string", at: bytes.len() });
        };
        match bytes[special] {
            b'"' => return Ok(special + 1),
            b'\\' => at = validate_escape(bytes, special)?,
            _ => return Err(JsonError { what: "control character inside a string", at: special }),
        }
    }
}

fn validate_escape(bytes: &[u8], at: usize) -> Result<usize, JsonError> {
    match bytes.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => match bytes.get(at + 2..at + 6) {
            Some(hex) if hex.iter().all(u8::is_ascii_hexdigit) => Ok(at + 6),
            _ => Err(JsonError { what: "invalid \\u escape", at }),
        },
        Some(_) => Err(JsonError { what: "invalid escape", at }),
        None => Err(JsonError { what: "unexpected end inside a string", at }),
    }
}

#[inline]
fn literal(bytes: &[u8], at: usize, word: &'static [u8]) -> Result<usize, JsonError> {
    if bytes[at..].starts_with(word) { Ok(at + word.len()) } else { Err(JsonError { what: "expected a value", at }) }
}

#[inline]
fn validate_number(bytes: &[u8], start: usize) -> Result<usize, JsonError> {
    let digits = |mut at: usize| {
        let from = at;
        while let Some(b'0'..=b'9') = bytes.get(at) {
            at += 1;
        }
        if at == from { Err(JsonError { what: "expected a digit", at }) } else { Ok(at) }
    };
    let mut at = start + usize::from(bytes[start] == b'-');
    at = if bytes.get(at) == Some(&b'0') { at + 1 } else { digits(at)? };
    if bytes.get(at) == Some(&b'.') {
        at = digits(at + 1)?;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        at += 1;
        if let Some(b'+' | b'-') = bytes.get(at) {
            at += 1;
        }
        at = digits(at)?;
    }
    Ok(at)
}
