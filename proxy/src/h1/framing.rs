//! Decides where a message ends (RFC 9112 §6.3) and cuts its body out of a read buffer.
//!
//! What the RFC leaves to the reader's taste is closed here: two length statements, a repeated `Content-Length`, any
//! coding besides `chunked` and a coding in HTTP/1.0 are refused, because each of them is a way to smuggle a request
//! past one of two readers. Nothing here waits or touches a socket.

use bytes::{Bytes, BytesMut};

use super::chunked::Chunked;
use crate::{Headers, Kind, Limits, Method, StatusCode, Version};

/// How the length of a body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is no body, whatever the fields say.
    None,
    /// Exactly this many bytes.
    Length(u64),
    /// Chunked coding.
    Chunked,
    /// Everything up to the end of the connection (responses only).
    UntilClose,
}

/// The fields that steer a connection, collected in one pass over a head.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    lengths: usize,
    /// The first `Content-Length`, if it was well-formed.
    length: Option<u64>,
    /// All `Content-Length` lines carry the same bytes as the first.
    lengths_agree: bool,
    first_length: Bytes,
    codings: usize,
    coding: Bytes,
    close: bool,
    keep_alive: bool,
    upgrade_named: bool,
    /// `Host` lines.
    pub(crate) hosts: usize,
    /// The first `Host`.
    pub(crate) host: Bytes,
    /// The first `Expect`.
    pub(crate) expect: Option<Bytes>,
    upgrade: Option<Bytes>,
}

impl Facts {
    /// Reads all fields once. The length of a name decides which comparison is worth making.
    pub(crate) fn of(headers: &Headers) -> Self {
        let mut facts = Facts { lengths_agree: true, ..Facts::default() };
        for (name, value) in headers.iter() {
            match name.len() {
                4 if name.eq_ignore_ascii_case(b"host") => {
                    facts.hosts += 1;
                    if facts.hosts == 1 {
                        facts.host = value.clone();
                    }
                }
                6 if name.eq_ignore_ascii_case(b"expect") && facts.expect.is_none() => {
                    facts.expect = Some(value.clone());
                }
                7 if name.eq_ignore_ascii_case(b"upgrade") && facts.upgrade.is_none() => {
                    facts.upgrade = Some(value.clone());
                }
                10 if name.eq_ignore_ascii_case(b"connection") => facts.connection(value),
                14 if name.eq_ignore_ascii_case(b"content-length") => facts.content_length(value),
                17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                    facts.codings += 1;
                    if facts.codings == 1 {
                        facts.coding = value.clone();
                    }
                }
                _ => {}
            }
        }
        facts
    }

    fn connection(&mut self, value: &[u8]) {
        for token in value.split(|&b| b == b',').map(<[u8]>::trim_ascii) {
            self.close |= token.eq_ignore_ascii_case(b"close");
            self.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
            self.upgrade_named |= token.eq_ignore_ascii_case(b"upgrade");
        }
    }

    fn content_length(&mut self, value: &Bytes) {
        self.lengths += 1;
        if self.lengths == 1 {
            self.length = length(value);
            self.first_length = value.clone();
        } else {
            self.lengths_agree &= self.first_length == *value;
        }
    }

    /// Whether the connection may carry another message after this one, as far as the fields say.
    pub(crate) fn persistent(&self, version: Version) -> bool {
        !self.close && (version == Version::Http11 || self.keep_alive)
    }

    /// The protocol that the peer offers to switch to, if `Connection` names the field.
    pub(crate) fn upgrade(&self) -> Option<&Bytes> {
        self.upgrade.as_ref().filter(|_| self.upgrade_named)
    }

    /// Whether the peer offers a protocol that is not HTTP/2 over this connection. Offers of HTTP/2 are made by ordinary
    /// clients with every first request, and mean nothing when they are not taken.
    pub(crate) fn offers_tunnel(&self) -> bool {
        self.upgrade.as_ref().is_some_and(|protocol| !protocol.eq_ignore_ascii_case(b"h2c"))
    }

    /// Framing of a request. No framing field means no body, whatever the method.
    pub(crate) fn request(&self, version: Version) -> Result<Framing, Kind> {
        self.coded(version, 400)?;
        if self.lengths > 1 {
            return Err(refuse("cl_repeated", 400));
        }
        self.measured(Framing::None, 400)
    }

    /// Framing of a response to `method` (RFC 9112 §6.3).
    pub(crate) fn response(&self, method: &Method, status: StatusCode, version: Version) -> Result<Framing, Kind> {
        // A contradiction is refused even where the body is absent by definition: such a peer is not to be trusted.
        self.coded(version, 502)?;
        if !self.lengths_agree {
            return Err(refuse("cl_conflict", 502));
        }
        let tunnel = *method == Method::CONNECT && status.is_success();
        if bodiless(method, status) || tunnel {
            return Ok(Framing::None);
        }
        self.measured(Framing::UntilClose, 502)
    }

    fn coded(&self, version: Version, status: u16) -> Result<(), Kind> {
        if self.codings == 0 {
            return Ok(());
        }
        if self.lengths > 0 {
            return Err(refuse("cl_and_te", status));
        }
        if version == Version::Http10 {
            return Err(refuse("te_in_http10", status));
        }
        if self.codings > 1 {
            return Err(refuse("te_invalid", status));
        }
        if self.coding.eq_ignore_ascii_case(b"chunked") {
            return Ok(());
        }
        Err(judge_codings(&self.coding, status))
    }

    fn measured(&self, absent: Framing, status: u16) -> Result<Framing, Kind> {
        match (self.codings, self.lengths, self.length) {
            (0, 0, _) => Ok(absent),
            (0, _, Some(length)) => Ok(Framing::Length(length)),
            (0, _, None) => Err(refuse("cl_invalid", status)),
            _ => Ok(Framing::Chunked),
        }
    }
}

/// Whether a response has no body whatever its fields say.
pub(crate) fn bodiless(method: &Method, status: StatusCode) -> bool {
    *method == Method::HEAD
        || status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
}

/// A `Content-Length` value: 1 to 19 digits and nothing else, so that it always fits 64 bits.
pub(crate) fn length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

/// The same fault as seen on the upstream leg, where the answer to our client is always 502.
pub(crate) fn as_upstream(kind: Kind) -> Kind {
    match kind {
        Kind::Protocol { reason, .. } => Kind::Protocol { reason, status: 502 },
        Kind::TooLarge { what, limit, .. } => Kind::TooLarge { what, limit, status: 502 },
        other => other,
    }
}

/// A coding that we know but do not undo, with `chunked` last, is 501; every other list is malformed.
fn judge_codings(value: &[u8], status: u16) -> Kind {
    const KNOWN: [&[u8]; 5] = [b"gzip", b"x-gzip", b"deflate", b"compress", b"x-compress"];
    let mut codings: Vec<&[u8]> = value.split(|&b| b == b',').map(<[u8]>::trim_ascii).collect();
    let last = codings.pop().unwrap_or_default();
    let known = |coding: &&[u8]| KNOWN.iter().any(|k| k.eq_ignore_ascii_case(coding));
    if last.eq_ignore_ascii_case(b"chunked") && !codings.is_empty() && codings.iter().all(known) {
        return refuse("te_unsupported", if status == 502 { 502 } else { 501 });
    }
    refuse("te_invalid", status)
}

pub(crate) fn refuse(reason: &'static str, status: u16) -> Kind {
    Kind::Protocol { reason, status }
}

/// What a body decoder found in the read buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// The next bytes of the body; a slice of the read buffer, never empty.
    Data(Bytes),
    /// The buffer holds nothing more of this body; read on.
    More,
    /// The message is complete. What is left in the buffer belongs to the next one.
    End,
}

/// Cuts one body out of a read buffer.
///
/// ```text
///   Length ──left = 0──▶ Done ◀──last chunk── Chunked
///                         ▲
///   UntilClose ──finish()─┘
/// ```
#[derive(Debug)]
pub(crate) enum Decoder {
    /// Bytes are counted down.
    Length {
        /// Bytes still to come.
        left: u64,
    },
    /// Chunked coding.
    Chunked(Chunked),
    /// Everything is body.
    UntilClose {
        /// Bytes that may still come before the bound is hit.
        room: u64,
        /// The bound, for the error.
        limit: u64,
    },
    /// The body is complete.
    Done,
}

impl Decoder {
    /// A decoder for a body of at most `body_limit` bytes. A `Content-Length` above it fails here, before any read.
    pub(crate) fn new(framing: Framing, limits: &Limits, body_limit: u64) -> Result<Self, Kind> {
        Ok(match framing {
            Framing::None | Framing::Length(0) => Decoder::Done,
            Framing::Length(left) if left > body_limit => return Err(too_large(body_limit)),
            Framing::Length(left) => Decoder::Length { left },
            Framing::Chunked => Decoder::Chunked(Chunked::new(limits, body_limit)),
            Framing::UntilClose => Decoder::UntilClose { room: body_limit, limit: body_limit },
        })
    }

    /// Takes the next piece of the body off `buf`, without copying it.
    pub(crate) fn next(&mut self, buf: &mut BytesMut) -> Result<Piece, Kind> {
        let piece = match self {
            Decoder::Done => return Ok(Piece::End),
            Decoder::Length { left } => {
                if buf.is_empty() {
                    return Ok(Piece::More);
                }
                let data = take(buf, left);
                if *left == 0 {
                    *self = Decoder::Done;
                }
                return Ok(Piece::Data(data));
            }
            Decoder::Chunked(chunked) => chunked.next(buf)?,
            Decoder::UntilClose { room, limit } => {
                if buf.is_empty() {
                    return Ok(Piece::More);
                }
                if buf.len() as u64 > *room {
                    return Err(too_large(*limit));
                }
                return Ok(Piece::Data(take(buf, room)));
            }
        };
        Ok(piece)
    }

    /// Tells the decoder that the connection ended. Only a close-delimited body may end this way.
    pub(crate) fn finish(&mut self) -> Result<(), Kind> {
        match self {
            Decoder::Done => Ok(()),
            Decoder::UntilClose { .. } => {
                *self = Decoder::Done;
                Ok(())
            }
            Decoder::Chunked(chunked) if chunked.is_done() => Ok(()),
            Decoder::Chunked(_) => Err(refuse("truncated", 400)),
            Decoder::Length { .. } => Err(refuse("body_truncated", 400)),
        }
    }

    /// Whether the message is complete.
    pub(crate) fn is_done(&self) -> bool {
        match self {
            Decoder::Done => true,
            Decoder::Chunked(chunked) => chunked.is_done(),
            Decoder::Length { .. } | Decoder::UntilClose { .. } => false,
        }
    }

    /// Bytes still to come, if that is known.
    pub(crate) fn remaining(&self) -> Option<u64> {
        match self {
            Decoder::Done => Some(0),
            Decoder::Length { left } => Some(*left),
            Decoder::Chunked(chunked) => chunked.is_done().then_some(0),
            Decoder::UntilClose { .. } => None,
        }
    }

    /// Counts `n` body bytes that were read past the buffer, straight into their destination (length framing only).
    pub(crate) fn skip(&mut self, n: u64) {
        if let Decoder::Length { left } = self {
            debug_assert!(n <= *left, "more was read than the body holds");
            *left = left.saturating_sub(n);
            if *left == 0 {
                *self = Decoder::Done;
            }
        }
    }

    /// The trailer fields of a complete chunked body, framing and routing fields left out.
    pub(crate) fn trailers(&mut self) -> Option<Headers> {
        match self {
            Decoder::Chunked(chunked) => chunked.trailers(),
            Decoder::Length { .. } | Decoder::UntilClose { .. } | Decoder::Done => None,
        }
    }
}

/// Splits at most `left` bytes off the front of `buf` and counts them.
pub(super) fn take(buf: &mut BytesMut, left: &mut u64) -> Bytes {
    let n = usize::try_from(*left).unwrap_or(usize::MAX).min(buf.len());
    *left -= n as u64;
    buf.split_to(n).freeze()
}

pub(super) fn too_large(limit: u64) -> Kind {
    Kind::TooLarge { what: "body", limit: usize::try_from(limit).unwrap_or(usize::MAX), status: 413 }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> Headers {
        let mut headers = Headers::new();
        for (name, value) in fields {
            headers.append(*name, *value);
        }
        headers
    }

    fn reason(result: Result<Framing, Kind>) -> &'static str {
        match result {
            Err(Kind::Protocol { reason, .. }) => reason,
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn length_takes_digits_only() {
        assert_eq!(length(b"0"), Some(0));
        assert_eq!(length(b"9999999999999999999"), Some(9_999_999_999_999_999_999));
        for bad in [&b""[..], b"+1", b"-1", b" 1", b"1 ", b"0x1", b"1,1", b"10000000000000000000"] {
            assert_eq!(length(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_coding_must_be_chunked_alone() {
        for (value, expected) in [
            ("chunked, chunked", "te_invalid"),
            ("", "te_invalid"),
            ("xchunked", "te_invalid"),
            ("br, chunked", "te_invalid"),
            ("GZIP , chunked", "te_unsupported"),
        ] {
            let facts = Facts::of(&headers(&[("Transfer-Encoding", value)]));
            assert_eq!(reason(facts.request(Version::Http11)), expected, "{value}");
        }
        let facts = Facts::of(&headers(&[("transfer-encoding", "ChunKed")]));
        assert_eq!(facts.request(Version::Http11).unwrap(), Framing::Chunked);
    }

    #[test]
    fn responses_without_body_ignore_their_length() {
        let facts = Facts::of(&headers(&[("content-length", "5")]));
        let framing = |method, status: u16| {
            facts.response(&method, StatusCode::from_u16(status).unwrap(), Version::Http11).unwrap()
        };
        assert_eq!(framing(Method::HEAD, 200), Framing::None);
        assert_eq!(framing(Method::GET, 204), Framing::None);
        assert_eq!(framing(Method::CONNECT, 200), Framing::None);
        assert_eq!(framing(Method::CONNECT, 404), Framing::Length(5));
        assert_eq!(framing(Method::GET, 200), Framing::Length(5));
    }

    #[test]
    fn length_body_leaves_the_next_message_alone() {
        let mut decoder = Decoder::new(Framing::Length(3), &Limits::default(), 10).unwrap();
        let mut buf = BytesMut::from("abcGET");
        assert_eq!(decoder.next(&mut buf).unwrap(), Piece::Data(Bytes::from("abc")));
        assert_eq!(decoder.next(&mut buf).unwrap(), Piece::End);
        assert_eq!(&buf[..], b"GET");
    }

    #[test]
    fn announced_and_unannounced_bodies_are_bounded() {
        let limits = Limits::default();
        assert!(matches!(
            Decoder::new(Framing::Length(11), &limits, 10),
            Err(Kind::TooLarge { status: 413, limit: 10, .. })
        ));
        let mut decoder = Decoder::new(Framing::UntilClose, &limits, 4).unwrap();
        assert!(decoder.next(&mut BytesMut::from("abc")).is_ok());
        assert!(matches!(decoder.next(&mut BytesMut::from("de")), Err(Kind::TooLarge { .. })));
    }
}
