//! One HTTP/1.1 exchange towards a server whose request is still coming while its answer may have begun.
//!
//! Everything is polled; deadlines are the caller's. The connection goes back to its pool only from [`Duplex::end`], and only
//! when both messages were whole and nothing lies behind them.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncWrite;

use super::{
    chunked::{CHUNK_END, ChunkLine, write_last_chunk},
    client::{Conn, H1Body, failed, read_failure},
    framing::{Decoder, Framing, length},
    head::{self, is_framing},
};
use crate::{
    Error, Headers, Kind, Limits, Method, RequestHead, ResponseHead, Retry, StatusCode, Version, net::stream::Stream,
    pool::key::Origin,
};

/// Slices handed to one vectored write.
const VECTOR: usize = 8;

/// What the beginning of an answer is.
#[derive(Debug)]
pub(crate) enum Beginning {
    /// More will come before the answer.
    Interim(ResponseHead),
    /// The answer.
    Final {
        head: ResponseHead,
        /// The head is all of it.
        whole: bool,
    },
    /// The server speaks another protocol from here on.
    Switched(ResponseHead),
}

/// How the body of the request is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Whole,
    Length(u64),
    Chunked,
}

/// An exchange in both directions.
#[derive(Debug)]
pub(crate) struct Duplex {
    conn: Box<Conn>,
    method: Method,
    coding: Coding,
    /// What is to be written: the head, and then one piece of the body with what is around it.
    queue: VecDeque<Bytes>,
    /// The request was written to its end.
    uploaded: bool,
    /// The server takes no more of the request.
    deaf: bool,
    heard: bool,
    decoder: Option<Decoder>,
    reusable: bool,
    limits: Limits,
}

impl Duplex {
    /// Begins an exchange. `whole`: there is no body.
    pub(crate) fn start(mut conn: Box<Conn>, head: &RequestHead, whole: bool, upgrade: bool, limits: &Limits) -> Self {
        let named = head.headers.get("content-length").and_then(|value| length(value));
        let coding = match (whole, named) {
            (true, _) | (false, Some(0)) => Coding::Whole,
            (false, Some(left)) => Coding::Length(left),
            (false, None) => Coding::Chunked,
        };
        conn.out.clear();
        let mut out = std::mem::take(&mut conn.out);
        write_head(&mut out, head, &conn.origin, coding, upgrade);
        let queue = VecDeque::from([out.freeze()]);
        let uploaded = coding == Coding::Whole;
        Self {
            conn,
            method: head.method.clone(),
            coding,
            queue,
            uploaded,
            deaf: false,
            heard: false,
            decoder: None,
            reusable: false,
            limits: limits.clone(),
        }
    }

    /// Writes what is queued.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.deaf {
            return Poll::Ready(());
        }
        match ready!(self.poll_write(cx)) {
            Ok(()) => {}
            // Its answer may still be readable; if it is not, reading says why.
            Err(_) => {
                self.deaf = true;
                self.queue.clear();
            }
        }
        Poll::Ready(())
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.queue.is_empty() {
            let mut vector = [IoSlice::new(&[]); VECTOR];
            let mut filled = 0;
            for (place, part) in vector.iter_mut().zip(&self.queue) {
                *place = IoSlice::new(part);
                filled += 1;
            }
            let mut n = ready!(Pin::new(&mut self.conn.stream).poll_write_vectored(cx, &vector[..filled]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            while let Some(part) = self.queue.front_mut() {
                let step = n.min(part.len());
                part.advance(step);
                n -= step;
                if !part.is_empty() {
                    break;
                }
                self.queue.pop_front();
            }
        }
        Pin::new(&mut self.conn.stream).poll_flush(cx)
    }

    /// Sends a piece of the body; ready when it has left. `data` is taken with the first poll.
    ///
    /// # Errors
    /// The body is longer than its head has said.
    pub(crate) fn poll_push(&mut self, cx: &mut Context<'_>, data: &mut Bytes) -> Poll<Result<(), Error>> {
        let data = std::mem::take(data);
        if !data.is_empty() && !self.deaf {
            match &mut self.coding {
                Coding::Whole => return Poll::Ready(Err(wrong_length())),
                Coding::Length(left) => *left = left.checked_sub(data.len() as u64).ok_or_else(wrong_length)?,
                Coding::Chunked => {
                    self.queue.push_back(Bytes::copy_from_slice(ChunkLine::new(data.len()).as_slice()));
                }
            }
            self.queue.push_back(data);
            if self.coding == Coding::Chunked {
                self.queue.push_back(Bytes::from_static(CHUNK_END));
            }
        }
        self.poll_flush(cx).map(Ok)
    }

    /// Ends the body; ready when its end has left.
    ///
    /// # Errors
    /// The body is shorter than its head has said.
    pub(crate) fn poll_end(&mut self, cx: &mut Context<'_>, trailers: Option<&Headers>) -> Poll<Result<(), Error>> {
        if !std::mem::replace(&mut self.uploaded, true) && !self.deaf {
            match self.coding {
                Coding::Length(1..) => return Poll::Ready(Err(wrong_length())),
                Coding::Whole | Coding::Length(_) => {}
                Coding::Chunked => {
                    let mut end = BytesMut::new();
                    write_last_chunk(&mut end, trailers);
                    self.queue.push_back(end.freeze());
                }
            }
        }
        self.poll_flush(cx).map(Ok)
    }

    /// The next beginning of an answer.
    pub(crate) fn poll_beginning(&mut self, cx: &mut Context<'_>) -> Poll<Result<Beginning, Error>> {
        loop {
            if !self.conn.read.is_empty()
                && let Some(parsed) =
                    self.conn.heads.response(&mut self.conn.read, &self.limits, &self.method).map_err(failed)?
            {
                if parsed.interim {
                    return Poll::Ready(Ok(Beginning::Interim(parsed.head)));
                }
                if parsed.head.status == StatusCode::SWITCHING_PROTOCOLS {
                    return Poll::Ready(Ok(Beginning::Switched(parsed.head)));
                }
                self.reusable = parsed.keep_alive;
                let decoder =
                    self.decoder.insert(Decoder::new(parsed.framing, &self.limits, u64::MAX).map_err(failed)?);
                let whole = decoder.is_done() && parsed.framing == Framing::None;
                return Poll::Ready(Ok(Beginning::Final { head: parsed.head, whole }));
            }
            match ready!(self.conn.poll_fill(cx)) {
                Ok(0) => return Poll::Ready(Err(self.lost(Kind::Closed))),
                Ok(_) => self.heard = true,
                Err(error) => return Poll::Ready(Err(self.lost(read_failure(&error)))),
            }
        }
    }

    /// The connection ended before the answer began.
    fn lost(&self, kind: Kind) -> Error {
        let retry = if self.conn.reused && !self.heard { Retry::FreshConnection } else { Retry::Never };
        Error::upstream(kind, retry)
    }

    /// The next piece of the answer, and whether it is known to be the last; `None` at its end.
    pub(crate) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<(Bytes, bool)>, Error>> {
        let Some(decoder) = &mut self.decoder else {
            debug_assert!(false, "the answer has not begun");
            return Poll::Ready(Ok(None));
        };
        let piece = ready!(self.conn.poll_decoded(cx, decoder, &mut self.reusable))?;
        Poll::Ready(Ok(piece.map(|data| (data, decoder.is_done()))))
    }

    /// Fields behind an answer that was read to its end.
    pub(crate) fn take_trailers(&mut self) -> Option<Headers> {
        self.decoder.as_mut().and_then(Decoder::trailers)
    }

    /// Ends an exchange: its connection goes back if it may.
    pub(crate) fn end(self) {
        let Self { conn, decoder, uploaded, deaf, queue, reusable, .. } = self;
        let reusable = reusable && uploaded && !deaf && queue.is_empty();
        if let Some(decoder) = decoder {
            H1Body::new(conn, decoder, reusable).end();
        }
    }

    /// The bare stream, and what was read of it behind the head that switched protocols.
    pub(crate) fn into_stream(self) -> (Stream, Bytes) {
        (self.conn.stream, self.conn.read.freeze())
    }

    /// Whether its connection had carried an exchange before.
    pub(crate) fn is_reused(&self) -> bool {
        self.conn.reused
    }
}

fn wrong_length() -> Error {
    Error::client(Kind::Protocol { reason: "body_length", status: 400 })
}

/// Writes a request head with its fields where they stand. Left out are those of the client's connection; what frames the
/// body keeps its place, or comes last where the client's protocol needs none.
fn write_head(out: &mut BytesMut, head: &RequestHead, origin: &Origin, coding: Coding, upgrade: bool) {
    match &head.target[..] {
        [] => head::write_request_line(out, &head.method, b"/"),
        target => head::write_request_line(out, &head.method, target),
    }
    let headers = &head.headers;
    if !headers.contains("host") {
        // HTTP/2 has it beside the fields (RFC 9113 §8.3.1), HTTP/1.0 may have none.
        let host = if head.authority.is_empty() { origin.authority() } else { &head.authority };
        head::write_field(out, b"host", host);
    }
    let named = headers.names_fields();
    let mut framed = coding == Coding::Whole;
    for (name, value) in headers.iter() {
        let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
        if is(b"transfer-encoding") {
            if coding == Coding::Chunked && !std::mem::replace(&mut framed, true) {
                head::write_field(out, name, value);
            }
        } else if is(b"content-length") {
            framed = true;
            head::write_field(out, name, value);
        } else if is(b"connection") || is(b"upgrade") {
            if upgrade {
                head::write_field(out, name, value);
            }
        } else {
            // In HTTP/1.1 `te` would have to be named in `connection`.
            let of_hop =
                is_framing(name) || is(b"proxy-authorization") || (is(b"te") && head.version == Version::Http2);
            let hops_on = named && !upgrade && headers.is_named(name);
            if !of_hop && !hops_on {
                head::write_field(out, name, value);
            }
        }
    }
    if !framed && coding == Coding::Chunked {
        head::write_field(out, b"transfer-encoding", b"chunked");
    }
    out.extend_from_slice(b"\r\n");
}
