//! Walks through a message: an iterator over its fields, each with its place.
//!
//! Lenient where the format is: over-long varints, fields in any order, a number that comes again, packed or not. A field
//! whose wire type is not the one that the caller expects is to be treated as unknown: the accessors return `None`.

use std::borrow::Cow;

/// Deepest nesting of messages.
pub const DEPTH_MAX: u8 = 32;

/// Largest field number.
const NUMBER_MAX: u64 = (1 << 29) - 1;
/// Longest varint in bytes.
const VARINT_BYTES_MAX: usize = 10;

/// What is wrong with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireFault {
    /// It ends inside a tag, a varint or a fixed-width value.
    #[error("the message ends inside a value")]
    Truncated,
    /// A field is longer than what is left of its message.
    #[error("a field is longer than its message")]
    LengthOverrun,
    /// A varint goes on for more than ten bytes.
    #[error("a varint is longer than 10 bytes")]
    VarintOverflow,
    /// A wire type that does not exist, or a group.
    #[error("wire type {0}")]
    BadWireType(u8),
    /// A field number that is 0, or 2^29 and more.
    #[error("bad field number")]
    BadField,
    /// Messages are nested deeper than [`DEPTH_MAX`].
    #[error("nested deeper than {DEPTH_MAX} messages")]
    TooDeep,
}

/// Why a message cannot be read any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{fault} at byte {at}")]
pub struct WireError {
    /// What is wrong.
    pub fault: WireFault,
    /// Where in the outermost message the field begins, in bytes.
    pub at: usize,
}

/// A message, not looked at yet.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    bytes: &'a [u8],
    /// Where in the outermost message it begins.
    at: usize,
    depth: u8,
}

impl<'a> Message<'a> {
    /// An outermost message.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, depth: 0 }
    }

    /// Its fields in order.
    pub fn fields(self) -> Fields<'a> {
        Fields { message: self, rest: self.bytes }
    }
}

/// Iterator over the fields of a message. Ends after an error.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    message: Message<'a>,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    #[inline]
    fn field(&mut self, at: usize) -> Result<Field<'a>, WireFault> {
        let tag = varint(&mut self.rest)?;
        let number = tag >> 3;
        if number == 0 || number > NUMBER_MAX {
            return Err(WireFault::BadField);
        }
        let value = match tag & 7 {
            0 => Value::Varint(varint(&mut self.rest)?),
            1 => Value::Fixed64(u64::from_le_bytes(array(&mut self.rest)?)),
            2 => {
                let length = varint(&mut self.rest)?;
                let length = usize::try_from(length).map_err(|_| WireFault::LengthOverrun)?;
                let (value, rest) = self.rest.split_at_checked(length).ok_or(WireFault::LengthOverrun)?;
                self.rest = rest;
                Value::Bytes(value)
            }
            5 => Value::Fixed32(u32::from_le_bytes(array(&mut self.rest)?)),
            other => return Err(WireFault::BadWireType(other as u8)),
        };
        let end = self.message.at + self.message.bytes.len() - self.rest.len();
        Ok(Field { number: number as u32, value, at, end, depth: self.message.depth })
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, WireError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let at = self.message.at + self.message.bytes.len() - self.rest.len();
        let field = self.field(at).map_err(|fault| WireError { fault, at });
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// The value of a field, as its wire type tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// An integer, a boolean or an enum.
    Varint(u64),
    /// Eight bytes, little-endian: an integer or a double.
    Fixed64(u64),
    /// Text, bytes, a message or packed numbers.
    Bytes(&'a [u8]),
    /// Four bytes, little-endian: an integer or a float.
    Fixed32(u32),
}

/// One field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its number, 1 to 2^29 - 1.
    pub number: u32,
    /// Its value.
    pub value: Value<'a>,
    /// Where in the outermost message the field begins, and ends.
    at: usize,
    end: usize,
    /// Depth of the message that it belongs to.
    depth: u8,
}

impl<'a> Field<'a> {
    /// A number, a boolean or an enum.
    pub fn varint(&self) -> Option<u64> {
        match self.value {
            Value::Varint(value) => Some(value),
            _ => None,
        }
    }

    /// Bytes as they stand.
    pub fn bytes(&self) -> Option<&'a [u8]> {
        match self.value {
            Value::Bytes(value) => Some(value),
            _ => None,
        }
    }

    /// Text. What is no UTF-8 becomes U+FFFD; everything else is borrowed.
    pub fn text(&self) -> Option<Cow<'a, str>> {
        self.bytes().map(String::from_utf8_lossy)
    }

    /// The message inside. An error if it lies too deep.
    pub fn message(&self) -> Result<Option<Message<'a>>, WireError> {
        let Some(bytes) = self.bytes() else { return Ok(None) };
        if self.depth == DEPTH_MAX {
            return Err(WireError { fault: WireFault::TooDeep, at: self.at });
        }
        Ok(Some(Message { bytes, at: self.end - bytes.len(), depth: self.depth + 1 }))
    }

    /// Numbers, packed or a single one; none for other wire types.
    pub fn varints(&self) -> Varints<'a> {
        match self.value {
            Value::Varint(value) => Varints { single: Some(value), packed: &[], end: self.end },
            Value::Bytes(packed) => Varints { single: None, packed, end: self.end },
            Value::Fixed64(_) | Value::Fixed32(_) => Varints { single: None, packed: &[], end: self.end },
        }
    }
}

/// Iterator over repeated numbers. Ends after an error.
#[derive(Debug, Clone)]
pub struct Varints<'a> {
    single: Option<u64>,
    packed: &'a [u8],
    end: usize,
}

impl Iterator for Varints<'_> {
    type Item = Result<u64, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(single) = self.single.take() {
            return Some(Ok(single));
        }
        if self.packed.is_empty() {
            return None;
        }
        let at = self.end - self.packed.len();
        let value = varint(&mut self.packed).map_err(|fault| WireError { fault, at });
        if value.is_err() {
            self.packed = &[];
        }
        Some(value)
    }
}

/// Takes a varint. Bits beyond the 64th are dropped, as every reader of the format does.
#[inline]
fn varint(rest: &mut &[u8]) -> Result<u64, WireFault> {
    // Most are short: tags, lengths of words, enums.
    if let Some((&byte, after)) = rest.split_first()
        && byte < 0x80
    {
        *rest = after;
        return Ok(u64::from(byte));
    }
    long_varint(rest)
}

#[inline(never)]
fn long_varint(rest: &mut &[u8]) -> Result<u64, WireFault> {
    let mut value = 0;
    for (place, &byte) in rest.iter().take(VARINT_BYTES_MAX).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte < 0x80 {
            *rest = &rest[place + 1..];
            return Ok(value);
        }
    }
    Err(if rest.len() < VARINT_BYTES_MAX { WireFault::Truncated } else { WireFault::VarintOverflow })
}

#[inline]
fn array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], WireFault> {
    let (value, after) = rest.split_first_chunk().ok_or(WireFault::Truncated)?;
    *rest = after;
    Ok(*value)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn fault(bytes: &[u8]) -> (WireFault, usize) {
        let error = Message::new(bytes).fields().find_map(Result::err).unwrap();
        (error.fault, error.at)
    }

    #[test]
    fn errors_say_what_and_where() {
        for (bytes, expected) in [
            (&b"\x08\x01\x80"[..], (WireFault::Truncated, 2)),
            (b"\x08", (WireFault::Truncated, 0)),
            (b"\x08\xff", (WireFault::Truncated, 0)),
            (b"\x08\x01\x0d\0\0\0", (WireFault::Truncated, 2)),
            (b"\x09\0\0\0\0\0\0\0", (WireFault::Truncated, 0)),
            (b"\x12\x03ab", (WireFault::LengthOverrun, 0)),
            (b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", (WireFault::LengthOverrun, 0)),
            (b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", (WireFault::VarintOverflow, 0)),
            (b"\x0b", (WireFault::BadWireType(3), 0)),
            (b"\x0c", (WireFault::BadWireType(4), 0)),
            (b"\x0e", (WireFault::BadWireType(6), 0)),
            (b"\x0f", (WireFault::BadWireType(7), 0)),
            (b"\0\0", (WireFault::BadField, 0)),
            (b"\x80\x80\x80\x80\x10\0", (WireFault::BadField, 0)),
        ] {
            assert_eq!(fault(bytes), expected, "{bytes:02x?}");
        }
        let error = WireError { fault: WireFault::LengthOverrun, at: 7 };
        assert_eq!(error.to_string(), "a field is longer than its message at byte 7");
    }

    #[test]
    fn places_are_those_of_the_outermost_message() {
        // 1: { 2: { 3: a cut varint } }, behind a field of two bytes.
        let bytes = b"\x20\x01\x0a\x05\x12\x03\x18\xff\xff";
        let outer = Message::new(bytes).fields().nth(1).unwrap().unwrap().message().unwrap().unwrap();
        let inner = outer.fields().next().unwrap().unwrap().message().unwrap().unwrap();
        let error = inner.fields().next().unwrap().unwrap_err();
        assert_eq!((error.fault, error.at), (WireFault::Truncated, 6));
    }

    #[test]
    fn numbers_may_be_packed_or_over_long() {
        let read = |bytes: &[u8]| -> Vec<u64> {
            Message::new(bytes).fields().flat_map(|field| field.unwrap().varints()).map(Result::unwrap).collect()
        };
        assert_eq!(read(b"\x0a\x03\x01\xac\x02\x08\x07\x08\x81\x00"), [1, 300, 7, 1]);
        assert_eq!(read(b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f"), [u64::MAX]);
        let field = Message::new(b"\x0a\x02\x01\xff").fields().next().unwrap().unwrap();
        let error = field.varints().nth(1).unwrap().unwrap_err();
        assert_eq!((error.fault, error.at), (WireFault::Truncated, 3));
        assert_eq!(field.varints().count(), 2);
    }

    #[test]
    fn other_wire_types_are_unknown() {
        let field = Message::new(b"\x08\x01").fields().next().unwrap().unwrap();
        assert_eq!((field.bytes(), field.text(), field.message().unwrap().is_none()), (None, None, true));
        let field = Message::new(b"\x0d\0\0\x80\x3f").fields().next().unwrap().unwrap();
        assert_eq!((field.varint(), field.varints().count(), field.value), (None, 0, Value::Fixed32(0x3f80_0000)));
    }

    #[test]
    fn text_is_borrowed_or_mended() {
        let field = Message::new(b"\x0a\x03caf").fields().next().unwrap().unwrap();
        assert!(matches!(field.text(), Some(Cow::Borrowed("caf"))));
        let field = Message::new(b"\x0a\x02a\xff").fields().next().unwrap().unwrap();
        assert_eq!(field.text().unwrap(), "a\u{fffd}");
    }

    #[test]
    fn nesting_is_bounded() {
        let mut bytes = Vec::new();
        for _ in 0..40 {
            let mut outer = vec![0x0a, bytes.len() as u8];
            outer.extend_from_slice(&bytes);
            bytes = outer;
        }
        let (mut message, mut depth) = (Message::new(&bytes), 0);
        let error = loop {
            match message.fields().next().unwrap().unwrap().message() {
                Ok(inner) => message = inner.unwrap(),
                Err(error) => break error,
            }
            depth += 1;
        };
        assert_eq!((depth, error.fault, error.at), (DEPTH_MAX, WireFault::TooDeep, 64));
    }
}
