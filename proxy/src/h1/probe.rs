//! What fuzzers, property tests and benchmarks call: the pure reader as one function over pieces of input.
//!
//! Not part of the crate's promise to its users.

use bytes::{Bytes, BytesMut};

use super::framing::{Decoder, Framing, Piece, as_upstream, refuse};
use super::head::{HeadReader, Response};
use crate::{Headers, Kind, Limits, Method, Origin, Outbound};

/// One message as a reader understood it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Method of a request; that of the request that a response answers.
    pub method: Method,
    /// Target of a request, status of a response.
    pub start: Bytes,
    /// Fields of the head.
    pub headers: Headers,
    /// Decoded body.
    pub body: Vec<u8>,
    /// Trailer fields.
    pub trailers: Option<Headers>,
}

/// Everything that a reader made of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transcript {
    /// Complete messages in order.
    pub messages: Vec<Message>,
    /// The fault that ended the reading.
    pub fault: Option<Kind>,
    /// The last message ended the use of its connection: what lies behind it was not looked at.
    pub closed: bool,
}

/// Reads requests that arrive in `pieces`, up to the one behind which a server closes.
pub fn requests(pieces: &[&[u8]], limits: &Limits) -> Transcript {
    read(pieces, limits, false, |heads, buf| {
        let Some(request) = heads.request(buf, limits)? else { return Ok(None) };
        let head = request.head;
        if matches!(head.method, Method::CONNECT | Method::TRACE) {
            return Err(refuse("method", 405));
        }
        let (start, last) = (head.target, !request.keep_alive);
        Ok(Some(Head { method: head.method, start, headers: head.headers, framing: request.framing, last }))
    })
}

/// Reads responses to GET that arrive in `pieces`.
pub fn responses(pieces: &[&[u8]], limits: &Limits) -> Transcript {
    read(pieces, limits, false, |heads, buf| Ok(heads.response(buf, limits, &Method::GET)?.map(Head::of_response)))
}

/// Reads the response to one request of that method, up to the end of the connection.
pub fn answer(method: &Method, pieces: &[&[u8]], limits: &Limits) -> Transcript {
    let mut interim = 0;
    read(pieces, limits, true, |heads, buf| {
        loop {
            let Some(response) = heads.response(buf, limits, method)? else { return Ok(None) };
            match response {
                _ if response.tunnel => return Err(refuse("unexpected_upgrade", 502)),
                _ if interim == limits.interim_responses => return Err(refuse("too_many_interim", 502)),
                _ if response.interim => interim += 1,
                _ => {
                    let method = method.clone();
                    return Ok(Some(Head { method, last: true, ..Head::of_response(response) }));
                }
            }
        }
    })
}

/// A request as the client writes it for an upstream.
pub fn forward(message: &Message) -> Vec<u8> {
    let origin = Origin::parse("http://upstream.test").unwrap_or_else(|_| unreachable!("a constant"));
    let request = Outbound {
        headers: message.headers.clone(),
        body: vec![message.body.clone().into()],
        ..Outbound::new(origin.clone(), message.method.clone(), message.start.clone())
    };
    let mut out = BytesMut::new();
    super::client::write_head(&mut out, &request, &origin, None);
    [&out[..], &message.body].concat()
}

struct Head {
    method: Method,
    start: Bytes,
    headers: Headers,
    framing: Framing,
    /// Nothing is read behind this message.
    last: bool,
}

impl Head {
    fn of_response(response: Response) -> Self {
        let start = Bytes::copy_from_slice(response.head.status.as_str().as_bytes());
        let (headers, framing) = (response.head.headers, response.framing);
        Self { method: Method::GET, start, headers, framing, last: false }
    }
}

fn read(
    pieces: &[&[u8]],
    limits: &Limits,
    eof: bool,
    mut next: impl FnMut(&mut HeadReader, &mut BytesMut) -> Result<Option<Head>, Kind>,
) -> Transcript {
    let (mut heads, mut buf) = (HeadReader::default(), BytesMut::new());
    let mut messages = Vec::new();
    let mut open: Option<(Message, Decoder)> = None;
    let (mut last, mut closed) = (false, false);
    let mut step = |buf: &mut BytesMut, ended: bool| -> Result<bool, Kind> {
        let Some((message, decoder)) = &mut open else {
            if last {
                closed = true;
                return Ok(false);
            }
            let Some(head) = next(&mut heads, buf)? else { return Ok(false) };
            last = head.last;
            let Head { method, start, headers, framing, last: _ } = head;
            let message = Message { method, start, headers, body: Vec::new(), trailers: None };
            open = Some((message, Decoder::new(framing, limits, limits.body_bytes as u64)?));
            return Ok(true);
        };
        match decoder.next(buf)? {
            Piece::Data(data) => message.body.extend_from_slice(&data),
            Piece::More if ended => decoder.finish()?,
            Piece::More => return Ok(false),
            Piece::End => {
                message.trailers = decoder.trailers();
                messages.extend(open.take().map(|(message, _)| message));
            }
        }
        Ok(true)
    };
    let mut fault = None;
    let end: &[&[u8]] = if eof { &[&[]] } else { &[] };
    'input: for (at, piece) in pieces.iter().chain(end).enumerate() {
        buf.extend_from_slice(piece);
        loop {
            match step(&mut buf, at == pieces.len()) {
                Ok(true) => {}
                Ok(false) => break,
                Err(kind) => {
                    fault = Some(as_upstream(kind));
                    break 'input;
                }
            }
        }
    }
    Transcript { messages, fault, closed }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::chunked::{CHUNK_END, ChunkLine};
    use super::*;

    /// A legal request: either framing, any body.
    fn message() -> impl Strategy<Value = Vec<u8>> {
        let body = prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..4);
        (any::<bool>(), body, "[a-z]{0,8}", "[ -~]{0,20}").prop_map(|(chunked, parts, name, value)| {
            let mut out = format!("POST /{name} HTTP/1.1\r\nHost: a\r\nX-{name}: {value}\r\n").into_bytes();
            if chunked {
                out.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
                for part in &parts {
                    out.extend_from_slice(ChunkLine::new(part.len()).as_slice());
                    out.extend_from_slice(part);
                    out.extend_from_slice(CHUNK_END);
                }
                out.extend_from_slice(b"0\r\n\r\n");
            } else {
                let body = parts.concat();
                out.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
                out.extend_from_slice(&body);
            }
            out
        })
    }

    /// Legal requests, perhaps with a few bytes replaced.
    fn input() -> impl Strategy<Value = (usize, Vec<u8>)> {
        let damage = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
        (prop::collection::vec(message(), 1..4), damage).prop_map(|(messages, damage)| {
            let mut bytes = messages.concat();
            let legal = if damage.is_empty() { messages.len() } else { 0 };
            for (at, byte) in damage {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            (legal, bytes)
        })
    }

    fn split<'i>(input: &'i [u8], cuts: &[prop::sample::Index]) -> Vec<&'i [u8]> {
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
        places.sort_unstable();
        let mut pieces = Vec::new();
        let mut from = 0;
        for at in places.into_iter().chain([input.len()]) {
            pieces.push(&input[from..at]);
            from = at;
        }
        pieces
    }

    proptest! {
        #[test]
        fn cutting_never_changes_the_messages(
            (legal, bytes) in input(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let limits = Limits { head_bytes: 200, request_line_bytes: 40, ..Limits::default() };
            let whole = requests(&[&bytes], &limits);
            prop_assert_eq!(&whole, &requests(&split(&bytes, &cuts), &limits));
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(&whole, &requests(&single, &limits));
            if legal > 0 {
                prop_assert_eq!(whole.messages.len(), legal);
                prop_assert_eq!(whole.fault, None);
            }
        }

        #[test]
        fn any_bytes_are_read_the_same_however_they_are_cut(
            bytes in prop::collection::vec(any::<u8>(), 0..80),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let limits = Limits::default();
            let response = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", &bytes[..]].concat();
            for input in [&bytes, &response] {
                let cut = split(input, &cuts);
                prop_assert_eq!(requests(&[input], &limits), requests(&cut, &limits));
                prop_assert_eq!(responses(&[input], &limits), responses(&cut, &limits));
            }
        }
    }
}
