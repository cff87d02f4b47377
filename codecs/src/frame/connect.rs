//! Envelopes of the Connect protocol's streams (<https://connectrpc.com/docs/protocol>), both directions.
//!
//! ```text
//!   flags │ length, big-endian │ payload         flags: 1 = gzip, 2 = end of the stream
//!     1   │         4          │ length          the last payload is JSON: {} or {"error":…,"metadata":…}
//! ```
//!
//! Payloads are handed out inflated. A payload that lies complete and uncompressed in the pushed chunk is a slice of it.
//! A body that ends without its last envelope was cut: [`Connect::ended`] tells. Nothing here looks inside a payload, and
//! nothing is compressed on the way out: no peer needs it.

use std::borrow::Cow;

use bytes::BytesMut;

use super::{
    gunzip::{Bad, Gunzip},
    prefixed::Prefixed,
};
use crate::json::write::Sink;

/// Longest payload that is accepted by default, as declared and as inflated.
pub const ENVELOPE_BYTES_MAX: usize = 8 << 20;

const HEAD: usize = 5;
const COMPRESSED: u8 = 1;
const END: u8 = 2;

/// One envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The last one: its payload is JSON.
    pub end: bool,
    /// Whether the payload came compressed.
    pub compressed: bool,
    /// The payload, inflated; possibly empty, which is a message without fields.
    pub data: &'a [u8],
}

/// What is wrong with an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectFault {
    /// The input ended inside of it.
    #[error("the input ends inside")]
    Truncated,
    /// Its payload is longer than the limit, as declared or inflated.
    #[error("more than {limit} bytes in")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// A flag is set that has no meaning.
    #[error("unknown flags {0:#04x} in")]
    ReservedFlags(u8),
    /// Its payload is no gzip member.
    #[error("bad gzip ({0}) in")]
    BadGzip(&'static str),
    /// The stream had ended before.
    #[error("the stream had ended before")]
    AfterEnd,
}

/// Why a stream of envelopes cannot be read any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{fault} the envelope at byte {at}")]
pub struct ConnectError {
    /// What is wrong.
    pub fault: ConnectFault,
    /// Where in the stream the envelope begins, in bytes.
    pub at: u64,
}

/// Cuts envelopes.
#[derive(Debug)]
pub struct Connect {
    limit: usize,
    cut: Prefixed<HEAD>,
    /// Made at the first compressed payload: most streams have none.
    gunzip: Option<Box<Gunzip>>,
    ended: bool,
    /// The first error; nothing is cut after it.
    failed: Option<ConnectError>,
}

impl Default for Connect {
    fn default() -> Self {
        Self::with_limit(ENVELOPE_BYTES_MAX)
    }
}

impl Connect {
    /// A reader at the start of a stream. `limit` bounds each payload in bytes, as declared and as inflated.
    pub fn with_limit(limit: usize) -> Self {
        Self { limit, cut: Prefixed::default(), gunzip: None, ended: false, failed: None }
    }

    /// Takes the next bytes and hands out every envelope that they complete. After an error all further input is refused
    /// with the same error.
    pub fn push(&mut self, chunk: &[u8], each: &mut dyn FnMut(Envelope<'_>)) -> Result<(), ConnectError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let result = self.cut(chunk, each);
        self.failed = result.err();
        result
    }

    fn cut(&mut self, mut chunk: &[u8], each: &mut dyn FnMut(Envelope<'_>)) -> Result<(), ConnectError> {
        let limit = self.limit;
        loop {
            if self.ended && !chunk.is_empty() {
                return Err(ConnectError { fault: ConnectFault::AfterEnd, at: self.cut.offset() });
            }
            let Some((at, envelope)) = self.cut.next(&mut chunk, |head, at| measure(head, at, limit))? else {
                return Ok(());
            };
            let (flags, payload) = (envelope[0], &envelope[HEAD..]);
            let (compressed, end) = (flags & COMPRESSED != 0, flags & END != 0);
            let data = if compressed {
                let gunzip = self.gunzip.get_or_insert_with(|| Box::new(Gunzip::new()));
                inflate(gunzip, payload, limit, at)?
            } else {
                payload
            };
            self.ended = end;
            each(Envelope { end, compressed, data });
        }
    }

    /// End of input. An error if it ends inside an envelope; whether the stream was complete is for [`Connect::ended`].
    pub fn finish(&mut self) -> Result<(), ConnectError> {
        if let (None, Some(at)) = (self.failed, self.cut.unfinished()) {
            self.failed = Some(ConnectError { fault: ConnectFault::Truncated, at });
        }
        self.failed.map_or(Ok(()), Err)
    }

    /// Whether the last envelope has come: without it the answer was cut.
    pub fn ended(&self) -> bool {
        self.ended
    }
}

/// Length of the envelope with that head.
#[inline]
fn measure(head: &[u8; HEAD], at: u64, limit: usize) -> Result<usize, ConnectError> {
    let [flags, length @ ..] = *head;
    if flags & !(COMPRESSED | END) != 0 {
        return Err(ConnectError { fault: ConnectFault::ReservedFlags(flags), at });
    }
    match usize::try_from(u32::from_be_bytes(length)) {
        Ok(length) if length <= limit => Ok(HEAD + length),
        _ => Err(ConnectError { fault: ConnectFault::TooLarge { limit }, at }),
    }
}

/// Whether the first envelope of a body is complete. Nothing is inflated.
///
/// # Errors
/// It is no envelope, or a longer one than `limit` allows.
pub fn has_first_envelope(body: &[u8], limit: usize) -> Result<bool, ConnectError> {
    let Some(head) = body.first_chunk::<HEAD>() else { return Ok(false) };
    Ok(body.len() >= measure(head, 0, limit)?)
}

/// The first envelope of a body that lies in memory. `None`: the body ends before it is complete.
///
/// For those who want one message and keep it: an uncompressed payload is a slice of the body. `limit` as in
/// [`Connect::with_limit`].
///
/// # Errors
/// As [`Connect::push`].
pub fn first_envelope(body: &[u8], limit: usize) -> Result<Option<FirstEnvelope<'_>>, ConnectError> {
    let Some(head) = body.first_chunk::<HEAD>() else { return Ok(None) };
    let total = measure(head, 0, limit)?;
    let Some(payload) = body.get(HEAD..total) else { return Ok(None) };
    let data = if head[0] & COMPRESSED != 0 {
        Cow::Owned(inflate(&mut Gunzip::new(), payload, limit, 0)?.to_vec())
    } else {
        Cow::Borrowed(payload)
    };
    Ok(Some(FirstEnvelope { end: head[0] & END != 0, data }))
}

/// What [`first_envelope`] finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstEnvelope<'a> {
    /// The last one of its stream: its payload is JSON.
    pub end: bool,
    /// The payload, inflated.
    pub data: Cow<'a, [u8]>,
}

fn inflate<'g>(gunzip: &'g mut Gunzip, payload: &[u8], limit: usize, at: u64) -> Result<&'g [u8], ConnectError> {
    gunzip.whole(payload, limit).map_err(|bad| {
        let fault = match bad {
            Bad::TooLarge => ConnectFault::TooLarge { limit },
            Bad::Gzip(what) => ConnectFault::BadGzip(what),
        };
        ConnectError { fault, at }
    })
}

/// Appends an uncompressed envelope whose payload `write` appends; `end`: the last of its stream, whose payload is JSON.
/// A payload is shorter than 4 GiB: encoders keep less than a hundredth of that.
pub fn write_envelope(end: bool, out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put(&[if end { END } else { 0 }, 0, 0, 0, 0]);
    write(out);
    let length = (out.len() - start - HEAD) as u32;
    out[start + 1..start + HEAD].copy_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    type Seen = (Vec<(bool, bool, Vec<u8>)>, bool, Option<ConnectError>);

    fn run<'s>(mut pieces: impl Iterator<Item = &'s [u8]>, limit: usize) -> Seen {
        let mut connect = Connect::with_limit(limit);
        let mut seen = Vec::new();
        let mut each = |envelope: Envelope<'_>| {
            seen.push((envelope.end, envelope.compressed, envelope.data.to_vec()));
        };
        let result = pieces.try_for_each(|piece| connect.push(piece, &mut each));
        let result = result.and_then(|()| connect.finish());
        assert_eq!(connect.push(b"\0", &mut |_| panic!("after the end")).is_err(), result.is_err() || connect.ended());
        (seen, connect.ended(), result.err())
    }

    #[test]
    fn an_envelope_in_one_piece_is_a_slice_of_it() {
        let chunk = b"\0\0\0\0\x02hi\x02\0\0\0\x02{}";
        let mut places = Vec::new();
        Connect::default().push(chunk, &mut |envelope| places.push(envelope.data.as_ptr())).unwrap();
        assert_eq!(places, [chunk[5..].as_ptr(), chunk[12..].as_ptr()]);
    }

    #[test]
    fn errors_say_what_and_where() {
        let run = |input: &[u8]| run(&mut [input].into_iter(), 8);
        let error = run(b"\0\0\0\0\x01x\0\0\0\0\x09").2.unwrap();
        assert_eq!(error.to_string(), "more than 8 bytes in the envelope at byte 6");
        assert_eq!(run(b"\x07\0\0\0\0").2.unwrap().to_string(), "unknown flags 0x07 in the envelope at byte 0");
        assert_eq!(run(b"\0\0\0").2.unwrap().to_string(), "the input ends inside the envelope at byte 0");
        let error = run(b"\x02\0\0\0\x02{}\0").2.unwrap();
        assert_eq!(error.to_string(), "the stream had ended before the envelope at byte 7");
        let error = run(b"\x01\0\0\0\x02zz").2.unwrap();
        assert_eq!(error.to_string(), "bad gzip (no gzip header) in the envelope at byte 0");
    }

    #[test]
    fn memory_grows_with_what_came() {
        let mut connect = Connect::default();
        connect.push(&[0, 0, 0x7f, 0xff, 0xff, 1], &mut |_| panic!("incomplete")).unwrap();
        assert!(format!("{connect:?}").len() < 1_000);
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_however_it_is_cut(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6),
            size in 1usize..20,
        ) {
            let mut stream = BytesMut::new();
            for payload in &payloads {
                write_envelope(false, &mut stream, |out| out.put(payload));
            }
            write_envelope(true, &mut stream, |out| out.put(b"{}"));
            let mut expected: Vec<_> = payloads.into_iter().map(|payload| (false, false, payload)).collect();
            expected.push((true, false, b"{}".to_vec()));
            prop_assert_eq!(run(&mut stream.chunks(size), 64), (expected.clone(), true, None));
            prop_assert_eq!(run(&mut [&stream[..]].into_iter(), 64), (expected, true, None));
        }

        #[test]
        fn garbage_is_the_same_garbage_however_it_is_cut(
            stream in prop::collection::vec(prop_oneof![3 => 0u8..4, 1 => any::<u8>()], 0..60),
            size in 1usize..9,
        ) {
            prop_assert_eq!(run(&mut stream.chunks(size), 16), run(&mut [&stream[..]].into_iter(), 16));
        }
    }
}
