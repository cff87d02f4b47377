//! Cuts in a byte stream.
//!
//! Bytes are pushed in as the network delivers them; whole payloads come out through a callback, before `push` returns.
//! A payload that lies complete in the pushed chunk is a slice of it; only the unfinished tail of a chunk is copied.
//! Nothing here looks inside a payload: that it is JSON, or `[DONE]`, is for the caller to find out.
//!
//! ```text
//!   chunk ──▶ Deframer ──▶ Frame, Frame, …          (sse.rs, lines.rs, array.rs)
//!               └ tail: bytes of the payload that is not complete yet, bounded
//! ```
//!
//! Two binary framings of private protocols stand beside it, because their frames tell more than a payload:
//! [`Connect`] with [`Envelope`]s and [`Aws`] with [`Message`]s. Those are written here too.

mod array;
mod aws;
mod connect;
mod gunzip;
mod lines;
mod prefixed;
mod sse;

pub use array::JsonArray;
pub use aws::{
    Aws, AwsError, AwsFault, HEADERS_BYTES_MAX, HEADERS_MAX, HeaderValue, Headers, Message, MessageHead,
    PAYLOAD_BYTES_MAX, write_message,
};
pub use connect::{
    Connect, ConnectError, ConnectFault, ENVELOPE_BYTES_MAX, Envelope, FirstEnvelope, first_envelope,
    has_first_envelope, write_envelope,
};
pub use lines::NdJson;
pub use sse::Sse;

/// Longest line and longest payload that are accepted by default: image generation sends megabytes in one event.
pub const FRAME_BYTES_MAX: usize = 16 << 20;

/// How far [`Deframer::begins_with`] looks.
pub const BEGINNING_BYTES: usize = 4 << 10;

/// How a stream is cut into payloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Server-sent events.
    Sse,
    /// One JSON value per line.
    NdJson,
    /// One JSON array over the whole body (Gemini without `alt=sse`).
    JsonArray,
    /// The body is one value.
    Whole,
}

/// Judges a body by its first bytes, for upstreams that send no or a wrong content type: `None` while there is nothing
/// but white space.
///
/// A body that starts with `{` is answered as NDJSON, of which a single JSON document is the shortest case.
pub fn sniff(start: &[u8]) -> Option<Framing> {
    let start = start.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(start);
    match start.trim_ascii_start().first()? {
        b'{' => Some(Framing::NdJson),
        b'[' => Some(Framing::JsonArray),
        _ => Some(Framing::Sse),
    }
}

/// One payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// SSE event name, where there is one.
    pub name: Option<&'a str>,
    /// The payload: never empty for lines, possibly empty for SSE.
    pub data: &'a [u8],
    /// The input ended inside this payload, or at least before its end was marked.
    pub unfinished: bool,
}

impl Frame<'_> {
    /// Whether the payload is the `[DONE]` marker, in any white space.
    pub fn is_done(&self) -> bool {
        self.data.len() < 64 && self.data.trim_ascii() == b"[DONE]"
    }
}

/// Receives frames one by one.
pub type Each<'e> = &'e mut dyn FnMut(Frame<'_>);

/// Why a stream cannot be cut any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A line or a payload is longer than the limit.
    #[error("a frame is longer than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// A JSON array was promised and something else came.
    #[error("expected {expected} between the elements of the array")]
    NotAnArray {
        /// What was expected.
        expected: &'static str,
    },
}

/// Cuts a stream of any framing.
#[derive(Debug)]
pub struct Deframer {
    kind: Kind,
    /// The first error; nothing is cut after it.
    failed: Option<FrameError>,
}

#[derive(Debug)]
enum Kind {
    Sse(Sse),
    NdJson(NdJson),
    JsonArray(JsonArray),
    Whole(Whole),
}

impl Deframer {
    /// A deframer at the start of a stream.
    pub fn new(framing: Framing) -> Self {
        Self::with_limit(framing, FRAME_BYTES_MAX)
    }

    /// A deframer with a limit of its own for the longest line and the longest payload.
    pub fn with_limit(framing: Framing, limit: usize) -> Self {
        let kind = match framing {
            Framing::Sse => Kind::Sse(Sse::new(limit)),
            Framing::NdJson => Kind::NdJson(NdJson::new(limit)),
            Framing::JsonArray => Kind::JsonArray(JsonArray::new(limit)),
            Framing::Whole => Kind::Whole(Whole { body: Vec::new(), limit }),
        };
        Self { kind, failed: None }
    }

    /// Takes the next bytes and hands out every payload that they complete. After an error all further input is refused
    /// with the same error.
    pub fn push(&mut self, chunk: &[u8], each: Each<'_>) -> Result<(), FrameError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let result = match &mut self.kind {
            Kind::Sse(sse) => sse.push(chunk, each),
            Kind::NdJson(lines) => lines.push(chunk, each),
            Kind::JsonArray(array) => array.push(chunk, each),
            Kind::Whole(whole) => whole.push(chunk),
        };
        self.failed = result.err();
        result
    }

    /// Whether what has come of an unfinished payload (and of an unfinished event's name) holds `word` near its start.
    /// Costs a search of at most three times [`BEGINNING_BYTES`].
    pub fn begins_with(&self, word: &[u8]) -> bool {
        let kept: [&[u8]; 3] = match &self.kind {
            Kind::Sse(sse) => sse.kept(),
            Kind::NdJson(lines) => [lines.kept(), b"", b""],
            Kind::JsonArray(array) => [array.kept(), b"", b""],
            Kind::Whole(whole) => [&whole.body, b"", b""],
        };
        kept.iter().any(|kept| memchr::memmem::find(&kept[..kept.len().min(BEGINNING_BYTES)], word).is_some())
    }

    /// End of input: hands out a last payload that lacks its end mark.
    pub fn finish(&mut self, each: Each<'_>) -> Result<(), FrameError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        match &mut self.kind {
            Kind::Sse(sse) => return sse.finish(each),
            Kind::NdJson(lines) => lines.finish(each),
            Kind::JsonArray(array) => array.finish(each),
            Kind::Whole(whole) => whole.finish(each),
        }
        Ok(())
    }
}

/// Collects the whole body as one payload.
#[derive(Debug)]
struct Whole {
    body: Vec<u8>,
    limit: usize,
}

impl Whole {
    fn push(&mut self, chunk: &[u8]) -> Result<(), FrameError> {
        append(&mut self.body, chunk, self.limit)
    }

    fn finish(&mut self, each: Each<'_>) {
        let body = std::mem::take(&mut self.body);
        let data = body.trim_ascii();
        if !data.is_empty() {
            each(Frame { name: None, data, unfinished: false });
        }
    }
}

/// Appends within a limit.
fn append(buffer: &mut Vec<u8>, piece: &[u8], limit: usize) -> Result<(), FrameError> {
    if buffer.len() + piece.len() > limit {
        return Err(FrameError::TooLarge { limit });
    }
    buffer.extend_from_slice(piece);
    Ok(())
}

/// CRC-32 as gzip and AWS count it.
fn crc(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// Empties a buffer; gives a very large allocation back, for the next payload is rarely that large again.
fn recycle(buffer: &mut Vec<u8>) {
    const KEEP: usize = 64 << 10;
    buffer.clear();
    buffer.shrink_to(KEEP);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn bodies_are_told_apart_by_their_start() {
        assert_eq!(sniff(b""), None);
        assert_eq!(sniff(b" \r\n"), None);
        assert_eq!(sniff(b"\xEF\xBB\xBF\n{\"a\""), Some(Framing::NdJson));
        assert_eq!(sniff(b"[{"), Some(Framing::JsonArray));
        for start in [&b"data:"[..], b"event: x", b": c", b"\n\ndata"] {
            assert_eq!(sniff(start), Some(Framing::Sse));
        }
    }

    #[test]
    fn an_error_is_for_good() {
        let mut deframer = Deframer::with_limit(Framing::NdJson, 4);
        let error = Err(FrameError::TooLarge { limit: 4 });
        assert_eq!(deframer.push(b"12345", &mut |_| {}), error);
        assert_eq!(deframer.push(b"1\n", &mut |_| unreachable!("silent after an error")), error);
        assert_eq!(deframer.finish(&mut |_| unreachable!("silent after an error")), error);
    }

    #[test]
    fn the_beginning_of_a_payload_can_be_looked_at() {
        for (framing, first, second) in [
            (Framing::Sse, "data: {\"error\":1}\n\nevent: x\ndata: {\"er", "ror\":{"),
            (Framing::Sse, ": error\n\nevent: ", "error\nda"),
            (Framing::Sse, "data: {}\n", "event: x\ndata: error\n"),
            (Framing::NdJson, "{\"error\":1}\n{\"er", "ror\":"),
            (Framing::JsonArray, "[{\"error\":1},{\"er", "ror\":"),
        ] {
            let mut deframer = Deframer::new(framing);
            deframer.push(first.as_bytes(), &mut |_| {}).unwrap();
            assert!(!deframer.begins_with(b"error"), "{framing:?} {first}");
            deframer.push(second.as_bytes(), &mut |_| {}).unwrap();
            assert!(deframer.begins_with(b"error"), "{framing:?} {second}");
        }
        let mut deframer = Deframer::new(Framing::Sse);
        deframer.push(format!("data: {}error", " ".repeat(BEGINNING_BYTES)).as_bytes(), &mut |_| {}).unwrap();
        assert!(!deframer.begins_with(b"error"), "too far from the start");
    }

    #[test]
    fn a_whole_body_is_one_frame() {
        let mut deframer = Deframer::new(Framing::Whole);
        let mut bodies = Vec::new();
        for piece in [&b" {\"a\""[..], b":1}\n"] {
            assert_eq!(deframer.push(piece, &mut |_| unreachable!("not before the end")), Ok(()));
        }
        assert_eq!(deframer.finish(&mut |frame| bodies.push(frame.data.to_vec())), Ok(()));
        assert_eq!(bodies, [b"{\"a\":1}"]);
    }
}
