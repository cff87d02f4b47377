//! Appends fields. Zero, false and empty values are written when they are asked for: leaving them out is for the caller.
//!
//! The length of a message inside a message stands before it and is not known yet: one byte is kept free for it, and a
//! message of 128 bytes or more is moved by as much as its length needs. Nothing is allocated besides the buffer itself.

use std::ops::DerefMut;

use bytes::BytesMut;

use crate::json::write::Sink;

/// Where fields are appended, and what was appended can be moved.
pub trait Buffer: Sink + DerefMut<Target = [u8]> {}

impl Buffer for BytesMut {}
impl Buffer for Vec<u8> {}

/// Writes the fields of one message behind what stands in a buffer.
///
/// ```
/// use codecs::proto::MessageWriter;
/// let mut out = Vec::new();
/// MessageWriter::new(&mut out).message(2, |inner| {
///     inner.text(1, "Hello");
/// });
/// assert_eq!(out, b"\x12\x07\x0a\x05Hello");
/// ```
#[derive(Debug)]
pub struct MessageWriter<'o, B: Buffer> {
    out: &'o mut B,
}

impl<'o, B: Buffer> MessageWriter<'o, B> {
    /// A writer that appends to `out`.
    pub fn new(out: &'o mut B) -> Self {
        Self { out }
    }

    fn tag(&mut self, number: u32, wire: u32) {
        debug_assert!((1..1 << 29).contains(&number));
        varint(u64::from(number << 3 | wire), self.out);
    }

    /// A number, a boolean or an enum.
    pub fn varint(&mut self, number: u32, value: u64) -> &mut Self {
        self.tag(number, 0);
        varint(value, self.out);
        self
    }

    /// Eight bytes: an integer, or the bits of a double.
    pub fn fixed64(&mut self, number: u32, value: u64) -> &mut Self {
        self.tag(number, 1);
        self.out.put(&value.to_le_bytes());
        self
    }

    /// Four bytes: an integer, or the bits of a float.
    pub fn fixed32(&mut self, number: u32, value: u32) -> &mut Self {
        self.tag(number, 5);
        self.out.put(&value.to_le_bytes());
        self
    }

    /// Bytes.
    pub fn bytes(&mut self, number: u32, value: &[u8]) -> &mut Self {
        self.tag(number, 2);
        varint(value.len() as u64, self.out);
        self.out.put(value);
        self
    }

    /// Text.
    pub fn text(&mut self, number: u32, value: &str) -> &mut Self {
        self.bytes(number, value.as_bytes())
    }

    /// Numbers, packed.
    pub fn packed(&mut self, number: u32, values: impl IntoIterator<Item = u64>) -> &mut Self {
        self.message(number, |inner| values.into_iter().for_each(|value| varint(value, inner.out)))
    }

    /// A message whose fields `write` appends; possibly none.
    pub fn message(&mut self, number: u32, write: impl FnOnce(&mut MessageWriter<'_, B>)) -> &mut Self {
        self.tag(number, 2);
        self.out.put(&[0]);
        let start = self.out.len();
        write(&mut MessageWriter { out: self.out });
        let length = self.out.len() - start;
        let (size, bytes) = encoded(length as u64);
        // The place that was kept free takes one byte; room for the others is made by moving the message.
        self.out.put(&size[1..bytes]);
        self.out.copy_within(start..start + length, start + bytes - 1);
        self.out[start - 1..start - 1 + bytes].copy_from_slice(&size[..bytes]);
        self
    }
}

/// A varint, and how many of these bytes it takes.
fn encoded(mut value: u64) -> ([u8; 10], usize) {
    let mut bytes = [0; 10];
    let mut at = 0;
    while value >= 0x80 {
        bytes[at] = value as u8 | 0x80;
        value >>= 7;
        at += 1;
    }
    bytes[at] = value as u8;
    (bytes, at + 1)
}

fn varint(value: u64, out: &mut impl Sink) {
    let (bytes, length) = encoded(value);
    out.put(&bytes[..length]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_every_size() {
        for length in [0, 1, 0x7f, 0x80, 0x81, 0x3fff, 0x4000, 0x20_0000] {
            let text = "x".repeat(length);
            let mut direct = b"before".to_vec();
            MessageWriter::new(&mut direct).text(1, &text).varint(2, 7);
            let inner = direct.len() - 6;
            let mut nested = b"before".to_vec();
            MessageWriter::new(&mut nested)
                .message(3, |inner| {
                    inner.text(1, &text).varint(2, 7);
                })
                .varint(4, 1);
            let mut expected = b"before\x1a".to_vec();
            varint(inner as u64, &mut expected);
            expected.extend_from_slice(&direct[6..]);
            expected.extend_from_slice(b"\x20\x01");
            assert_eq!(nested, expected, "{length}");
        }
    }

    #[test]
    fn packed_numbers() {
        let mut out = Vec::new();
        MessageWriter::new(&mut out).packed(1, [1, 300, u64::MAX]).packed(2, []);
        assert_eq!(out, b"\x0a\x0d\x01\xac\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x12\x00");
    }
}
