//! Messages of AWS event streams (`application/vnd.amazon.eventstream`), both directions.
//!
//! ```text
//!   total │ headers │ CRC-32 of │ header block │ payload │ CRC-32 of all
//!   length│  length │ these two │              │         │  before it        numbers are big-endian
//!     4   │    4    │     4     │   headers    │  rest   │      4
//!
//!   header: name length (1) │ name │ type (1) │ value
//! ```
//!
//! Nothing of a message is handed out before both checksums and all headers were found right; after an error there is no
//! point where reading could go on. A message that lies complete in the pushed chunk is a slice of it. Nothing here knows
//! what headers mean, and no map of them is built: [`Headers::text`] looks for one.

use bytes::{Bytes, BytesMut};

use super::{crc, prefixed::Prefixed};
use crate::json::write::Sink;

/// Longest header block.
pub const HEADERS_BYTES_MAX: usize = 128 << 10;
/// Longest payload.
pub const PAYLOAD_BYTES_MAX: usize = 24 << 20;
/// Most headers of one message: names are compared each with each.
pub const HEADERS_MAX: usize = 128;

/// Lengths and their checksum.
const PRELUDE: usize = 12;
/// Everything besides headers and payload.
const FIXED: usize = PRELUDE + 4;

/// What is wrong with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AwsFault {
    /// The total length is below that of an empty message.
    #[error("total length {0} in")]
    BadTotalLength(u32),
    /// The header block is longer than the limit or the message.
    #[error("header length {0} in")]
    BadHeadersLength(u32),
    /// The payload is longer than the limit.
    #[error("more than {limit} bytes of payload in")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The checksum of the two lengths does not fit.
    #[error("wrong prelude checksum in")]
    PreludeCrc,
    /// The input ended inside of it.
    #[error("the input ends inside")]
    Truncated,
    /// The checksum of the message does not fit.
    #[error("wrong checksum in")]
    MessageCrc,
    /// A header without a name, or one that does not fit into the block, or text that is no UTF-8.
    #[error("bad header in")]
    BadHeader,
    /// A header of a type that does not exist.
    #[error("header type {0} in")]
    BadHeaderType(u8),
    /// A name that comes twice.
    #[error("duplicate header in")]
    DuplicateHeader,
    /// More headers than [`HEADERS_MAX`].
    #[error("more than {HEADERS_MAX} headers in")]
    TooManyHeaders,
}

/// Why an event stream cannot be read any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{fault} the message at byte {at}")]
pub struct AwsError {
    /// What is wrong.
    pub fault: AwsFault,
    /// Where in the stream the message begins, in bytes.
    pub at: u64,
}

/// One message.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// Its headers, found right.
    pub headers: Headers<'a>,
    /// Its payload.
    pub payload: &'a [u8],
}

/// The value of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderValue<'a> {
    /// Types 0 and 1.
    Bool(bool),
    /// Type 2.
    I8(i8),
    /// Type 3.
    I16(i16),
    /// Type 4.
    I32(i32),
    /// Type 5.
    I64(i64),
    /// Type 6, at most 65,535 bytes.
    Bytes(&'a [u8]),
    /// Type 7, at most 65,535 bytes.
    Text(&'a str),
    /// Type 8: milliseconds since 1970.
    Timestamp(i64),
    /// Type 9.
    Uuid([u8; 16]),
}

/// The headers of a message: an iterator over names and values, in order.
#[derive(Debug, Clone, Copy)]
pub struct Headers<'a> {
    rest: &'a [u8],
}

impl<'a> Headers<'a> {
    /// The text of the header with that name, if it is there and is text.
    pub fn text(self, name: &str) -> Option<&'a str> {
        match { self }.find(|(other, _)| *other == name)?.1 {
            HeaderValue::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Takes the first header off a block; `None` at its end.
    fn take(block: &mut &'a [u8]) -> Result<Option<(&'a str, HeaderValue<'a>)>, AwsFault> {
        let Some((&length, rest)) = block.split_first() else { return Ok(None) };
        *block = rest;
        let name = text(bytes(block, usize::from(length))?)?;
        if name.is_empty() {
            return Err(AwsFault::BadHeader);
        }
        let [kind] = array(block)?;
        let value = match kind {
            0 | 1 => HeaderValue::Bool(kind == 0),
            2 => HeaderValue::I8(i8::from_be_bytes(array(block)?)),
            3 => HeaderValue::I16(i16::from_be_bytes(array(block)?)),
            4 => HeaderValue::I32(i32::from_be_bytes(array(block)?)),
            5 => HeaderValue::I64(i64::from_be_bytes(array(block)?)),
            6 | 7 => {
                let length = u16::from_be_bytes(array(block)?);
                let value = bytes(block, usize::from(length))?;
                if kind == 6 { HeaderValue::Bytes(value) } else { HeaderValue::Text(text(value)?) }
            }
            8 => HeaderValue::Timestamp(i64::from_be_bytes(array(block)?)),
            9 => HeaderValue::Uuid(array(block)?),
            other => return Err(AwsFault::BadHeaderType(other)),
        };
        Ok(Some((name, value)))
    }

    /// The headers of a block, if they are right.
    fn checked(block: &'a [u8]) -> Result<Self, AwsFault> {
        let (mut rest, mut count) = (block, 0);
        while let Some((name, _)) = Self::take(&mut rest)? {
            let mut before = (Self { rest: block }).take(count);
            if before.any(|(other, _)| other == name) {
                return Err(AwsFault::DuplicateHeader);
            }
            if count == HEADERS_MAX {
                return Err(AwsFault::TooManyHeaders);
            }
            count += 1;
        }
        Ok(Self { rest: block })
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a str, HeaderValue<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        // Checked when the message was read: nothing is wrong any more.
        Self::take(&mut self.rest).ok().flatten()
    }
}

fn bytes<'a>(block: &mut &'a [u8], length: usize) -> Result<&'a [u8], AwsFault> {
    let (value, rest) = block.split_at_checked(length).ok_or(AwsFault::BadHeader)?;
    *block = rest;
    Ok(value)
}

fn array<const N: usize>(block: &mut &[u8]) -> Result<[u8; N], AwsFault> {
    let (value, rest) = block.split_first_chunk().ok_or(AwsFault::BadHeader)?;
    *block = rest;
    Ok(*value)
}

fn text(bytes: &[u8]) -> Result<&str, AwsFault> {
    std::str::from_utf8(bytes).map_err(|_| AwsFault::BadHeader)
}

/// Cuts messages.
#[derive(Debug, Default)]
pub struct Aws {
    cut: Prefixed<PRELUDE>,
    /// The first error; nothing is cut after it.
    failed: Option<AwsError>,
}

impl Aws {
    /// Takes the next bytes and hands out every message that they complete. After an error all further input is refused
    /// with the same error.
    pub fn push(&mut self, chunk: &[u8], each: &mut dyn FnMut(Message<'_>)) -> Result<(), AwsError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let result = self.cut(chunk, each);
        self.failed = result.err();
        result
    }

    fn cut(&mut self, mut chunk: &[u8], each: &mut dyn FnMut(Message<'_>)) -> Result<(), AwsError> {
        let fault = |at| move |fault| AwsError { fault, at };
        while let Some((at, message)) = self.cut.next(&mut chunk, |prelude, at| measure(prelude).map_err(fault(at)))? {
            each(read(message).map_err(fault(at))?);
        }
        Ok(())
    }

    /// End of input: an error if it ends inside a message.
    pub fn finish(&mut self) -> Result<(), AwsError> {
        if let (None, Some(at)) = (self.failed, self.cut.unfinished()) {
            self.failed = Some(AwsError { fault: AwsFault::Truncated, at });
        }
        self.failed.map_or(Ok(()), Err)
    }
}

fn number(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// Length of the message with that prelude.
fn measure(prelude: &[u8; PRELUDE]) -> Result<usize, AwsFault> {
    let (total, headers) = (number(prelude, 0), number(prelude, 4));
    let (whole, block) = (total as usize, headers as usize);
    if whole < FIXED {
        return Err(AwsFault::BadTotalLength(total));
    }
    if block > HEADERS_BYTES_MAX || block > whole - FIXED {
        return Err(AwsFault::BadHeadersLength(headers));
    }
    if whole - FIXED - block > PAYLOAD_BYTES_MAX {
        return Err(AwsFault::TooLarge { limit: PAYLOAD_BYTES_MAX });
    }
    if crc(&prelude[..8]) != number(prelude, 8) {
        return Err(AwsFault::PreludeCrc);
    }
    Ok(whole)
}

/// Reads a message of the length that its prelude tells.
fn read(message: &[u8]) -> Result<Message<'_>, AwsFault> {
    let (body, sum) = message.split_at(message.len() - 4);
    if crc(body) != number(sum, 0) {
        return Err(AwsFault::MessageCrc);
    }
    let (block, payload) = body[PRELUDE..].split_at(number(message, 4) as usize);
    Ok(Message { headers: Headers::checked(block)?, payload })
}

/// Appends a message whose payload `write` appends. Names are at most 255 bytes long, texts and bytes 65,535: longer ones
/// are cut, for they are ours. Headers and payload stay within the limits of this module, or no reader takes them.
pub fn write_message(headers: &[(&str, HeaderValue<'_>)], out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put(&[0; PRELUDE]);
    for (name, value) in headers {
        write_header(name, value, out);
    }
    seal(start, out.len() - start - PRELUDE, out, write);
}

/// The headers of messages that are all alike, written once.
#[derive(Debug, Clone)]
pub struct MessageHead {
    /// Room for the prelude, then the block.
    bytes: Bytes,
}

impl MessageHead {
    /// A head with these headers; see [`write_message`].
    pub fn new(headers: &[(&str, HeaderValue<'_>)]) -> Self {
        let mut bytes = BytesMut::zeroed(PRELUDE);
        for (name, value) in headers {
            write_header(name, value, &mut bytes);
        }
        Self { bytes: bytes.freeze() }
    }

    /// Appends a message with this head whose payload `write` appends.
    pub fn write(&self, out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
        let start = out.len();
        out.put(&self.bytes);
        seal(start, self.bytes.len() - PRELUDE, out, write);
    }
}

/// Appends the payload of the message that begins at `start`, and fills in lengths and checksums.
fn seal(start: usize, block: usize, out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
    write(out);
    let total = out.len() - start + 4;
    let message = &mut out[start..];
    message[..4].copy_from_slice(&(total as u32).to_be_bytes());
    message[4..8].copy_from_slice(&(block as u32).to_be_bytes());
    let sum = crc(&message[..8]);
    message[8..PRELUDE].copy_from_slice(&sum.to_be_bytes());
    let sum = crc(message);
    out.put(&sum.to_be_bytes());
}

fn write_header(name: &str, value: &HeaderValue<'_>, out: &mut BytesMut) {
    let name = &name.as_bytes()[..name.floor_char_boundary(usize::from(u8::MAX))];
    out.put(&[name.len() as u8]);
    out.put(name);
    let mut sized = |kind: u8, value: &[u8]| {
        out.put(&[kind]);
        out.put(&(value.len() as u16).to_be_bytes());
        out.put(value);
    };
    let longest = usize::from(u16::MAX);
    match value {
        HeaderValue::Bytes(value) => return sized(6, &value[..value.len().min(longest)]),
        HeaderValue::Text(value) => return sized(7, &value.as_bytes()[..value.floor_char_boundary(longest)]),
        _ => {}
    }
    let mut fixed = |kind: u8, value: &[u8]| {
        out.put(&[kind]);
        out.put(value);
    };
    match value {
        HeaderValue::Bool(value) => fixed(u8::from(!value), &[]),
        HeaderValue::I8(value) => fixed(2, &value.to_be_bytes()),
        HeaderValue::I16(value) => fixed(3, &value.to_be_bytes()),
        HeaderValue::I32(value) => fixed(4, &value.to_be_bytes()),
        HeaderValue::I64(value) => fixed(5, &value.to_be_bytes()),
        HeaderValue::Timestamp(value) => fixed(8, &value.to_be_bytes()),
        HeaderValue::Uuid(value) => fixed(9, value),
        HeaderValue::Bytes(_) | HeaderValue::Text(_) => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    type Seen = (Vec<(Vec<(String, String)>, Vec<u8>)>, Option<AwsError>);

    fn run<'s>(mut pieces: impl Iterator<Item = &'s [u8]>) -> Seen {
        let mut aws = Aws::default();
        let mut seen = Vec::new();
        let mut each = |message: Message<'_>| {
            let headers = message.headers.map(|(name, value)| (name.to_owned(), format!("{value:?}")));
            seen.push((headers.collect(), message.payload.to_vec()));
        };
        let result = pieces.try_for_each(|piece| aws.push(piece, &mut each));
        let result = result.and_then(|()| aws.finish());
        assert_eq!(aws.push(b"", &mut |_| panic!("after the end")).err(), result.err());
        (seen, result.err())
    }

    fn message(headers: &[(&str, HeaderValue<'_>)], payload: &[u8]) -> BytesMut {
        let mut out = BytesMut::new();
        write_message(headers, &mut out, |out| out.put(payload));
        out
    }

    fn fault(stream: &[u8]) -> AwsFault {
        let (seen, error) = run(&mut [stream].into_iter());
        assert_eq!(seen, []);
        assert_eq!(run(&mut stream.chunks(1)), (seen, error));
        error.unwrap().fault
    }

    /// A message with this header block and right checksums.
    fn with_block(block: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&((FIXED + block.len()) as u32).to_be_bytes());
        out.extend_from_slice(&(block.len() as u32).to_be_bytes());
        out.extend_from_slice(&crc(&out).to_be_bytes());
        out.extend_from_slice(block);
        out.extend_from_slice(&crc(&out).to_be_bytes());
        out
    }

    #[test]
    fn a_known_message() {
        let text = HeaderValue::Text;
        let headers = [
            (":event-type", text("assistantResponseEvent")),
            (":content-type", text("application/json")),
            (":message-type", text("event")),
        ];
        let out = message(&headers, br#"{"content":"Hi","modelId":"auto"}"#);
        assert_eq!(out.len(), 141);
        assert_eq!(out[..12], [0, 0, 0, 0x8d, 0, 0, 0, 0x5c, 0x4e, 0x89, 0xb6, 0x95]);
        assert_eq!(out[137..], [0xf2, 0xd9, 0x4e, 0x05]);
        let mut same = out.clone();
        MessageHead::new(&headers).write(&mut same, |out| out.put(br#"{"content":"Hi","modelId":"auto"}"#));
        assert_eq!(same[..], [&out[..], &out].concat());
    }

    #[test]
    fn a_message_in_one_piece_is_a_slice_of_it() {
        let chunk = message(&[("a", HeaderValue::Bool(true))], b"hi");
        let mut seen = 0;
        let mut each = |message: Message<'_>| {
            assert_eq!(message.payload.as_ptr(), chunk[chunk.len() - 6..].as_ptr());
            assert_eq!((message.headers.text("a"), message.headers.text("b")), (None, None));
            seen += 1;
        };
        Aws::default().push(&chunk, &mut each).unwrap();
        assert_eq!(seen, 1);
    }

    #[test]
    fn errors_say_what_and_where() {
        let good = message(&[], b"x");
        let mut bad = good.clone();
        bad[12] ^= 1;
        let (seen, error) = run(&mut [&[&good[..], &bad].concat()[..]].into_iter());
        assert_eq!(seen.len(), 1);
        assert_eq!(error.unwrap().to_string(), "wrong checksum in the message at byte 17");
        assert_eq!(fault(&good[..16]), AwsFault::Truncated);
    }

    #[test]
    fn headers_that_are_wrong() {
        let name = |name: &[u8], rest: &[u8]| [&[name.len() as u8], name, rest].concat();
        for (block, expected) in [
            (name(b"", b"\0"), AwsFault::BadHeader),
            (vec![5, b'a'], AwsFault::BadHeader),
            (name(b"a", b""), AwsFault::BadHeader),
            (name(b"a", b"\x04\0\0\0"), AwsFault::BadHeader),
            (name(b"a", b"\x07\0\x03hi"), AwsFault::BadHeader),
            (name(b"a", b"\x07\0\x01\xff"), AwsFault::BadHeader),
            (name(b"\xff", b"\0"), AwsFault::BadHeader),
            (name(b"a", b"\x0a"), AwsFault::BadHeaderType(10)),
            ([name(b"a", b"\0"), name(b"b", b"\0"), name(b"a", b"\x01")].concat(), AwsFault::DuplicateHeader),
            (
                (0..=HEADERS_MAX as u8).flat_map(|n| [2, b'a' + n / 64, 0x20 + n % 64, 0]).collect(),
                AwsFault::TooManyHeaders,
            ),
        ] {
            assert_eq!(fault(&with_block(&block)), expected, "{block:?}");
        }
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let headers = [("name", HeaderValue::Text("value")), ("n", HeaderValue::I32(-7))];
        let good = message(&headers, b"payload");
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            fault(&bad);
        }
    }

    fn value() -> impl Strategy<Value = HeaderValue<'static>> {
        prop_oneof![
            any::<bool>().prop_map(HeaderValue::Bool),
            any::<i8>().prop_map(HeaderValue::I8),
            any::<i16>().prop_map(HeaderValue::I16),
            any::<i32>().prop_map(HeaderValue::I32),
            any::<i64>().prop_map(HeaderValue::I64),
            any::<i64>().prop_map(HeaderValue::Timestamp),
            any::<[u8; 16]>().prop_map(HeaderValue::Uuid),
            prop_oneof![Just(&b""[..]), Just(&b"\0\xff"[..])].prop_map(HeaderValue::Bytes),
            prop_oneof![Just(""), Just("žluťoučký")].prop_map(HeaderValue::Text),
        ]
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_however_it_is_cut(
            messages in prop::collection::vec((prop::collection::vec(value(), 0..5), prop::collection::vec(any::<u8>(), 0..30)), 0..4),
            size in 1usize..40,
        ) {
            let names = ["a", "bé", ":event-type", "d", "e"];
            let (mut stream, mut expected) = (BytesMut::new(), Vec::new());
            for (values, payload) in messages {
                let headers: Vec<_> = names.into_iter().zip(values).collect();
                write_message(&headers, &mut stream, |out| out.put(&payload));
                let shown = headers.iter().map(|(name, value)| ((*name).to_owned(), format!("{value:?}")));
                expected.push((shown.collect(), payload));
            }
            prop_assert_eq!(run(&mut stream.chunks(size)), (expected.clone(), None));
            prop_assert_eq!(run(&mut [&stream[..]].into_iter()), (expected, None));
        }
    }
}
