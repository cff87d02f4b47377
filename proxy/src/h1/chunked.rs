//! Chunked coding, both directions (RFC 9112 §7.1).
//!
//! Decoding is incremental and copies nothing: data comes out as slices of the read buffer. Extensions are skipped but
//! counted, because a peer can otherwise make us read for ever without delivering a byte (CVE-2023-39326 class).
//! Line ends are CRLF and nothing else: a lenient chunk line is a way to smuggle.

use bytes::{Buf, Bytes, BytesMut};

use super::framing::{Piece, refuse, take, too_large};
use super::head::{Block, is_token, parse_fields, write_fields};
use crate::{Headers, Kind, Limits};

/// Hex digits of a chunk size; sixteen always fit 64 bits.
const SIZE_DIGITS: u8 = 16;
/// Extension bytes on one chunk line.
const EXTENSION_LINE: usize = 256;

/// Chunks below this size are small: they are moved together.
const GATHER_BYTES: u64 = 2048;
/// Hex digits of a small chunk's size and some more.
const PLAIN_DIGITS: usize = 6;

/// Trailer fields that are dropped: framing, routing, authentication, content and cookies must be known before the
/// body and may not change behind it (RFC 9110 §6.5.1).
pub(crate) const FORBIDDEN_TRAILERS: &[&str] = &[
    "transfer-encoding",
    "content-length",
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
    "host",
    "expect",
    "max-forwards",
    "cache-control",
    "authorization",
    "proxy-authorization",
    "proxy-authenticate",
    "www-authenticate",
    "content-encoding",
    "content-type",
    "content-range",
    "range",
    "set-cookie",
    "cookie",
];

/// Position inside a chunked body.
///
/// ```text
///   Size ──';'──▶ Extension       Data ──left = 0──▶ DataCr ──CR──▶ DataLf ──LF──▶ Size
///     └──CR──┬────────┘CR           ▲
///            ▼                      │
///          SizeLf ──LF, size > 0────┘
///            └──────LF, size = 0──▶ Trailers ──empty line──▶ Done
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    /// Reading hex digits of a chunk size.
    Size { size: u64, digits: u8 },
    /// Skipping an extension; `line` bytes of it so far.
    Extension { size: u64, line: usize, quote: Quote },
    /// The CR of a chunk line was seen.
    SizeLf { size: u64 },
    /// Inside chunk data.
    Data { left: u64 },
    /// Chunk data is complete.
    DataCr,
    /// The CR behind chunk data was seen.
    DataLf,
    /// Behind the last chunk.
    Trailers,
    /// The empty line was seen.
    Done,
}

/// Whether an extension is inside a quoted string (RFC 9110 §5.6.4). A line must not end there: a reader who looks for the
/// closing quote first would find the end of the chunk elsewhere.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Quote {
    Outside,
    Inside,
    /// Behind a backslash inside.
    Escaped,
}

impl Quote {
    /// Names, values and what joins them outside; any text inside (RFC 9112 §7.1.1).
    fn allows(self, byte: u8) -> bool {
        match self {
            Self::Outside => is_token(byte) || matches!(byte, b';' | b'=' | b'"' | b' ' | b'\t'),
            Self::Inside | Self::Escaped => !matches!(byte, 0..=8 | 10..=31 | 127),
        }
    }

    fn step(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Outside, b'"') | (Self::Escaped, _) => Self::Inside,
            (Self::Inside, b'"') => Self::Outside,
            (Self::Inside, b'\\') => Self::Escaped,
            (state, _) => state,
        }
    }
}

/// Decodes one chunked body.
#[derive(Debug)]
pub(crate) struct Chunked {
    state: State,
    /// Body bytes that may still be announced.
    room: u64,
    body_limit: u64,
    /// Extension bytes of the whole message.
    extensions: usize,
    extension_limit: usize,
    trailer_limit: usize,
    field_limit: usize,
    block: Block,
    trailers: Option<Headers>,
}

impl Chunked {
    /// A decoder for a body of at most `body_limit` bytes.
    pub(crate) fn new(limits: &Limits, body_limit: u64) -> Self {
        Self {
            state: State::Size { size: 0, digits: 0 },
            room: body_limit,
            body_limit,
            extensions: 0,
            extension_limit: limits.chunk_extension_bytes,
            trailer_limit: limits.trailer_bytes,
            field_limit: limits.fields,
            block: Block::default(),
            trailers: None,
        }
    }

    /// Whether the empty line behind the last chunk was seen.
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The trailer fields that are fit to be passed on. Given out once.
    pub(crate) fn trailers(&mut self) -> Option<Headers> {
        self.trailers.take()
    }

    /// Takes the next piece of data off `buf`. Framing bytes before it are consumed on the way, and small chunks that lie
    /// behind one another come out as one piece.
    pub(crate) fn next(&mut self, buf: &mut BytesMut) -> Result<Piece, Kind> {
        loop {
            match self.state {
                State::Data { mut left } => {
                    if buf.is_empty() {
                        return Ok(Piece::More);
                    }
                    if left < GATHER_BYTES && (left as usize) < buf.len() {
                        return Ok(Piece::Data(self.gather(buf)));
                    }
                    let data = take(buf, &mut left);
                    self.state = if left == 0 { State::DataCr } else { State::Data { left } };
                    return Ok(Piece::Data(data));
                }
                State::Trailers => return self.trailer_section(buf),
                State::Done => return Ok(Piece::End),
                State::Size { .. } | State::Extension { .. } | State::SizeLf { .. } | State::DataCr | State::DataLf => {
                    if !self.line(buf)? {
                        return Ok(Piece::More);
                    }
                }
            }
        }
    }

    /// Closes the gaps that framing bytes leave between small chunks: upstreams put every event into a chunk of its own,
    /// and moving a hundred bytes costs less than carrying another slice through all that follows.
    ///
    /// The state is that of data. What is wrong behind good data is left for the next call.
    fn gather(&mut self, buf: &mut BytesMut) -> Bytes {
        // `buf[..end]` is data, `buf[at..]` was not looked at.
        let (mut end, mut at) = (0, 0);
        while let State::Data { left } = self.state {
            let size = buf.len() - at;
            let size = usize::try_from(left).map_or(size, |left| left.min(size));
            if size == 0 || size as u64 >= GATHER_BYTES {
                break;
            }
            buf.copy_within(at..at + size, end);
            end += size;
            at += size;
            let left = left - size as u64;
            self.state = if left == 0 { State::DataCr } else { State::Data { left } };
            if left > 0 {
                break;
            }
            match plain_line(&buf[at..]) {
                Some((size, used)) if size <= self.room => {
                    self.room -= size;
                    self.state = State::Data { left: size };
                    at += used;
                }
                // Whatever is unusual is read with care, by the next call.
                _ => break,
            }
        }
        let data = buf.split_to(end).freeze();
        buf.advance(at - end);
        data
    }

    /// Consumes framing bytes until data or trailers begin (true) or the buffer is empty (false).
    fn line(&mut self, buf: &mut BytesMut) -> Result<bool, Kind> {
        for at in 0..buf.len() {
            self.state = self.step(buf[at])?;
            if matches!(self.state, State::Data { .. } | State::Trailers) {
                buf.advance(at + 1);
                return Ok(true);
            }
        }
        buf.clear();
        Ok(false)
    }

    /// One byte of framing.
    fn step(&mut self, byte: u8) -> Result<State, Kind> {
        Ok(match self.state {
            State::Size { size, digits } => match (byte, char::from(byte).to_digit(16)) {
                (_, Some(_)) if digits == SIZE_DIGITS => return Err(refuse("bad_chunk_size", 400)),
                (_, Some(digit)) => State::Size { size: size << 4 | u64::from(digit), digits: digits + 1 },
                (b'\n', _) => return Err(refuse("bare_lf", 400)),
                (b';', _) if digits > 0 => self.extension(size, 1, Quote::Outside)?,
                (b'\r', _) if digits > 0 => State::SizeLf { size },
                _ => return Err(refuse("bad_chunk_size", 400)),
            },
            State::Extension { size, line, quote } => match byte {
                b'\r' if quote == Quote::Outside => State::SizeLf { size },
                b'\n' => return Err(refuse("bare_lf", 400)),
                _ if quote.allows(byte) => self.extension(size, line + 1, quote.step(byte))?,
                _ => return Err(refuse("bad_chunk_extension", 400)),
            },
            State::SizeLf { size } => match (byte, size) {
                (b'\n', 0) => State::Trailers,
                (b'\n', _) => {
                    self.room = self.room.checked_sub(size).ok_or_else(|| too_large(self.body_limit))?;
                    State::Data { left: size }
                }
                _ => return Err(refuse("bare_cr", 400)),
            },
            State::DataCr if byte == b'\r' => State::DataLf,
            State::DataLf if byte == b'\n' => State::Size { size: 0, digits: 0 },
            State::DataCr | State::DataLf => return Err(refuse("chunk_data_end", 400)),
            State::Data { .. } | State::Trailers | State::Done => self.state,
        })
    }

    fn extension(&mut self, size: u64, line: usize, quote: Quote) -> Result<State, Kind> {
        self.extensions += 1;
        if line > EXTENSION_LINE || self.extensions > self.extension_limit {
            return Err(refuse("chunk_extension_too_long", 400));
        }
        Ok(State::Extension { size, line, quote })
    }

    fn trailer_section(&mut self, buf: &mut BytesMut) -> Result<Piece, Kind> {
        // The common case is no trailer at all.
        if buf.starts_with(b"\r\n") {
            buf.advance(2);
            self.state = State::Done;
            return Ok(Piece::End);
        }
        let too_long = || Kind::TooLarge { what: "trailers", limit: self.trailer_limit, status: 431 };
        let Some(end) = self.block.find(buf, self.trailer_limit, too_long)? else {
            return Ok(Piece::More);
        };
        let section = buf.split_to(end).freeze();
        if end > 2 {
            let mut fields = parse_fields(&section, 0, self.field_limit)?;
            fields.retain(|name, _| {
                let name = name.to_ascii_lowercase();
                !FORBIDDEN_TRAILERS.iter().any(|forbidden| forbidden.as_bytes() == name)
            });
            self.trailers = Some(fields).filter(|fields| !fields.is_empty());
        }
        self.state = State::Done;
        Ok(Piece::End)
    }
}

/// The usual bytes between the data of two chunks, `CRLF <hex size> CRLF`: the size, and how many they are.
fn plain_line(bytes: &[u8]) -> Option<(u64, usize)> {
    let digits = bytes.strip_prefix(b"\r\n")?;
    let mut size = 0;
    for (at, &byte) in digits.iter().take(PLAIN_DIGITS).enumerate() {
        match char::from(byte).to_digit(16) {
            Some(digit) => size = size << 4 | u64::from(digit),
            None => return (size > 0 && digits[at..].starts_with(b"\r\n")).then_some((size, at + 4)),
        }
    }
    None
}

/// The line in front of a chunk, built on the stack: `<hex size> CRLF`.
#[derive(Debug)]
pub(crate) struct ChunkLine {
    bytes: [u8; 18],
    start: usize,
}

impl ChunkLine {
    /// The line for a chunk of `size` bytes. A size of zero would end the body and is the caller's mistake.
    pub(crate) fn new(size: usize) -> Self {
        debug_assert!(size > 0, "an empty chunk ends the body");
        let mut bytes = [0; 18];
        bytes[16..].copy_from_slice(b"\r\n");
        let mut start = 16;
        let mut rest = size;
        loop {
            start -= 1;
            bytes[start] = b"0123456789abcdef"[rest & 15];
            rest >>= 4;
            if rest == 0 {
                return Self { bytes, start };
            }
        }
    }

    /// The bytes to send.
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

/// What follows the data of every chunk.
pub(crate) const CHUNK_END: &[u8] = b"\r\n";

/// Writes what ends a chunked body: the last chunk and the trailer section.
pub(crate) fn write_last_chunk(out: &mut BytesMut, trailers: Option<&Headers>) {
    out.extend_from_slice(b"0\r\n");
    if let Some(fields) = trailers {
        write_fields(out, fields);
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bytes::Bytes;

    use super::*;

    fn decode(input: &[u8], limits: &Limits) -> Result<(Vec<u8>, Option<Headers>), Kind> {
        let mut decoder = Chunked::new(limits, limits.body_bytes as u64);
        let mut buf = BytesMut::from(input);
        let mut body = Vec::new();
        loop {
            match decoder.next(&mut buf)? {
                Piece::Data(data) => body.extend_from_slice(&data),
                Piece::More => return Err(refuse("incomplete", 400)),
                Piece::End => return Ok((body, decoder.trailers())),
            }
        }
    }

    fn reason(input: &[u8]) -> &'static str {
        match decode(input, &Limits::default()) {
            Err(Kind::Protocol { reason, .. }) => reason,
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn data_is_a_slice_of_the_read_buffer() {
        let mut buf = BytesMut::from("5\r\nhello\r\n0\r\n\r\n");
        let at = buf[3..].as_ptr();
        let mut decoder = Chunked::new(&Limits::default(), 100);
        let Piece::Data(data) = decoder.next(&mut buf).unwrap() else { panic!("no data") };
        assert_eq!(data, Bytes::from("hello"));
        assert_eq!(data.as_ptr(), at);
        assert_eq!(decoder.next(&mut buf).unwrap(), Piece::End);
        assert!(buf.is_empty());
    }

    #[test]
    fn small_chunks_come_together() {
        let stream = b"5\r\nhello\r\n1\r\n \r\n2;x\r\nwo\r\n3\r\nrld\r\n";
        let mut buf = BytesMut::from(&stream[..]);
        let mut decoder = Chunked::new(&Limits::default(), 100);
        let mut pieces = Vec::new();
        while let Piece::Data(data) = decoder.next(&mut buf).unwrap() {
            pieces.push(data);
        }
        assert_eq!(pieces, ["hello ", "world"], "an extension is read with care");
        for cut in 0..=stream.len() {
            let mut decoder = Chunked::new(&Limits::default(), 100);
            let (mut buf, mut body) = (BytesMut::new(), Vec::new());
            for half in [&stream[..cut], &stream[cut..]] {
                buf.extend_from_slice(half);
                while let Piece::Data(data) = decoder.next(&mut buf).unwrap() {
                    body.extend_from_slice(&data);
                }
            }
            assert_eq!(body, b"hello world", "cut at {cut}");
        }
    }

    #[test]
    fn what_is_wrong_behind_good_data_is_found_behind_it() {
        for (bad, expected) in
            [("\r\n;\r\n", "bad_chunk_size"), ("\n", "chunk_data_end"), ("\r\n1\r\naa\r\n", "chunk_data_end")]
        {
            let mut buf = BytesMut::from(format!("1\r\na{bad}").as_str());
            let mut decoder = Chunked::new(&Limits::default(), 100);
            assert!(matches!(decoder.next(&mut buf), Ok(Piece::Data(data)) if data.starts_with(b"a")), "{bad:?}");
            let error = decoder.next(&mut buf).unwrap_err();
            assert!(matches!(error, Kind::Protocol { reason, .. } if reason == expected), "{bad:?}: {error:?}");
        }
    }

    #[test]
    fn lines_are_strict() {
        assert_eq!(reason(b"\r\n"), "bad_chunk_size");
        assert_eq!(reason(b";a\r\n"), "bad_chunk_size");
        assert_eq!(reason(b"+5\r\nhello"), "bad_chunk_size");
        assert_eq!(reason(b"5 \r\nhello"), "bad_chunk_size");
        assert_eq!(reason(b"5\rhello"), "bare_cr");
        assert_eq!(reason(b"5;a\x00\r\n"), "bad_chunk_extension");
        assert_eq!(reason(b"5;a=\"\r\nhello"), "bad_chunk_extension");
        assert_eq!(reason(b"5;a=\"\\\"\r\nhello"), "bad_chunk_extension");
        assert_eq!(decode(b"1;a=\"\\\";\\\\\";b\r\na\r\n0\r\n\r\n", &Limits::default()).unwrap().0, b"a");
        for bad in [&b"1;\xff\r\n"[..], b"1;a\\\r\n", b"1;a,b\r\n", b"1;a:b\r\n", b"1;(a)\r\n", b"1;a=\"\x7f\"\r\n"] {
            assert_eq!(reason(bad), "bad_chunk_extension", "{bad:?}");
        }
        assert_eq!(reason(b"1\r\na\n0\r\n\r\n"), "chunk_data_end");
        assert_eq!(reason(b"0\r\n\n"), "bare_lf");
        assert_eq!(reason(b"0\r\nA : b\r\n\r\n"), "bad_name");
    }

    #[test]
    fn extensions_are_bounded_per_line_and_per_message() {
        let line = |n: usize| [b"1;", "x".repeat(n).as_bytes(), b"\r\na\r\n"].concat();
        let limits = Limits::default();
        let mut ok = line(255);
        ok.extend_from_slice(b"0\r\n\r\n");
        assert_eq!(decode(&ok, &limits).unwrap().0, b"a");
        assert_eq!(reason(&line(256)), "chunk_extension_too_long");
        assert_eq!(reason(&line(255).repeat(65)), "chunk_extension_too_long");
    }

    #[test]
    fn the_sum_of_chunks_and_the_trailers_are_bounded() {
        let limits = Limits { body_bytes: 4, trailer_bytes: 16, ..Limits::default() };
        assert_eq!(decode(b"2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n", &limits).unwrap().0, b"abcd");
        let over = decode(b"2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n", &limits);
        assert!(matches!(over, Err(Kind::TooLarge { status: 413, .. })), "{over:?}");
        let over = decode(b"ffffffffffffffff\r\n", &limits);
        assert!(matches!(over, Err(Kind::TooLarge { status: 413, .. })), "{over:?}");
        let over = decode(b"0\r\nlong-name: value-value\r\n\r\n", &limits);
        assert!(matches!(over, Err(Kind::TooLarge { status: 431, .. })), "{over:?}");
    }

    #[test]
    fn forbidden_trailers_vanish() {
        let limits = Limits::default();
        let (_, trailers) = decode(b"0\r\nHost: a\r\nX-Sum: 1\r\nSet-Cookie: b\r\n\r\n", &limits).unwrap();
        let trailers = trailers.unwrap();
        assert_eq!(trailers.len(), 1);
        assert_eq!(trailers.text("x-sum"), Some("1"));
        assert_eq!(decode(b"0\r\nHost: a\r\n\r\n", &limits).unwrap().1, None);
    }

    #[test]
    fn chunk_lines_are_hex_without_padding() {
        for size in [1, 9, 10, 15, 16, 255, 4096, usize::MAX] {
            assert_eq!(ChunkLine::new(size).as_slice(), format!("{size:x}\r\n").as_bytes());
        }
    }
}
