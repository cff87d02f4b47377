//! The client's side of a call that is passed on as it is: both directions at once, nothing added, every field in its place.
//!
//! The call's own methods wait, one thing at a time; here everything is polled, so that one future can read the request and
//! write the answer beside each other. Deadlines are that future's.

use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWrite;

use super::chunked::{CHUNK_END, ChunkLine, write_last_chunk};
use super::framing::{Piece, bodiless, length};
use super::head;
use super::reply::{Coding, Reply, count, pending_parts};
use super::server::Conn;
use crate::call::wrong_length;
use crate::net::accepted::Accepted;
use crate::server::{Drain, Stage};
use crate::{Error, Headers, Kind, ResponseHead, StatusCode, Version};

/// A piece of an answer on its way.
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// What stands before the data: the head of the answer, with its first piece, and the line of a chunk.
    before: BytesMut,
    data: Bytes,
    end: Bytes,
    done: usize,
    /// Of the answer behind this piece; `None` behind the last.
    after: Option<Coding>,
}

/// A connection that carries no HTTP any more.
pub(crate) struct Switched<'a> {
    pub(crate) io: &'a mut Accepted,
    /// What the client has said behind its request.
    pub(crate) ahead: Bytes,
    pub(crate) closing: Drain,
}

impl Conn {
    /// The next piece of the request body, without a deadline, and without a word to a client that waits for `100
    /// Continue`: that is the true server's to say.
    pub(crate) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Error>> {
        self.exchange.waits = false;
        if self.exchange.fault.is_some() {
            return Poll::Ready(Err(Error::client(Kind::Closed)));
        }
        loop {
            let fault = match self.exchange.body.next(&mut self.read) {
                Ok(Piece::Data(data)) => return Poll::Ready(Ok(Some(data))),
                Ok(Piece::End) => return Poll::Ready(Ok(None)),
                Ok(Piece::More) if self.eof => Kind::Closed,
                Ok(Piece::More) => match ready!(self.poll_fill(cx)) {
                    Ok(_) => continue,
                    Err(_) => Kind::Closed,
                },
                Err(kind) => kind,
            };
            return Poll::Ready(Err(self.spoil(Error::client(fault))));
        }
    }

    /// Whether the request is known to be whole.
    pub(crate) fn is_over(&self) -> bool {
        self.exchange.body.is_done()
    }

    /// Fields behind the request's body.
    pub(crate) fn take_trailers(&mut self) -> Option<Headers> {
        self.exchange.body.trailers()
    }

    /// Whether the client offers to switch to another protocol than HTTP.
    pub(crate) fn wants_upgrade(&self) -> bool {
        self.exchange.upgrade
    }

    /// Sends an interim answer. Clients of HTTP/1.0 know none.
    pub(crate) async fn interim(&mut self, head: &ResponseHead) -> Result<(), Error> {
        if self.exchange.version != Version::Http11 {
            return Ok(());
        }
        let mut out = BytesMut::new();
        head::write_status(&mut out, head.status);
        head::write_fields(&mut out, &head.headers);
        out.extend_from_slice(b"\r\n");
        self.exchange.reply = Reply::Broken;
        self.write_all(&out, &[], b"").await?;
        self.exchange.reply = Reply::Fresh;
        Ok(())
    }

    /// Begins an answer with its fields where they stand, those that frame it among them. The head leaves with the first
    /// piece; one without bytes lets it go alone.
    pub(crate) fn commit_in_place(&mut self, head: &ResponseHead) {
        self.settle_keep();
        let silent = bodiless(&self.exchange.method, head.status);
        let named = head.headers.get("content-length").and_then(|value| length(value));
        let coding = match (silent, named, self.exchange.version) {
            (true, ..) => Coding::Absent,
            (false, Some(left), _) => Coding::Length { left },
            (false, None, Version::Http11) => Coding::Chunked,
            (false, None, _) => {
                self.exchange.keep = false;
                Coding::Close
            }
        };
        let mut out = std::mem::take(&mut self.write);
        head::write_status(&mut out, head.status);
        write_in_place(&mut out, &head.headers, coding);
        self.end_head(&mut out);
        self.write = out;
        self.exchange.reply = Reply::Streaming(coding);
    }

    /// Prepares a piece; the last one may be empty. Nothing else may be sent until it is written.
    pub(crate) fn outgoing(&mut self, data: Bytes, last: bool, trailers: Option<&Headers>) -> Result<Outgoing, Error> {
        let Reply::Streaming(coding) = self.exchange.reply else { return Err(Error::client(Kind::Closed)) };
        // Whatever ends the write early leaves half a chunk behind.
        self.exchange.reply = Reply::Broken;
        let coding = if coding == Coding::Absent { coding } else { count(coding, data.len())? };
        let data = if coding == Coding::Absent { Bytes::new() } else { data };
        let chunk = coding == Coding::Chunked && !data.is_empty();
        let end = match (coding, last) {
            (Coding::Length { left: 1.. }, true) => return Err(wrong_length()),
            (Coding::Chunked, true) => {
                let mut end = BytesMut::from(if chunk { CHUNK_END } else { b"" });
                write_last_chunk(&mut end, trailers);
                end.freeze()
            }
            (Coding::Chunked, false) if chunk => Bytes::from_static(CHUNK_END),
            (Coding::Absent | Coding::Length { .. } | Coding::Chunked | Coding::Close, _) => Bytes::new(),
        };
        let mut before = std::mem::take(&mut self.write);
        if chunk {
            before.extend_from_slice(ChunkLine::new(data.len()).as_slice());
        }
        Ok(Outgoing { before, data, end, done: 0, after: (!last).then_some(coding) })
    }

    /// Writes a piece.
    pub(crate) fn poll_outgoing(&mut self, cx: &mut Context<'_>, piece: &mut Outgoing) -> Poll<Result<(), Error>> {
        let closed = |_| Error::client(Kind::Closed);
        let total = piece.before.len() + piece.data.len() + piece.end.len();
        while piece.done < total {
            let mut parts = [IoSlice::new(&[]); 3];
            let slices = std::slice::from_ref(&piece.data);
            let filled = pending_parts(&mut parts, piece.done, &piece.before, slices, &piece.end);
            match ready!(Pin::new(&mut self.io).poll_write_vectored(cx, &parts[..filled])).map_err(closed)? {
                0 => return Poll::Ready(Err(Error::client(Kind::Closed))),
                n => piece.done += n,
            }
        }
        ready!(Pin::new(&mut self.io).poll_flush(cx)).map_err(closed)?;
        self.exchange.reply = piece.after.map_or(Reply::Done, Reply::Streaming);
        self.keep_scratch(std::mem::take(&mut piece.before));
        Poll::Ready(Ok(()))
    }

    /// Answers an offer to switch protocols with the true server's own words, and lets go of the connection.
    pub(crate) async fn switch(&mut self, head: &ResponseHead) -> Result<Switched<'_>, Error> {
        debug_assert_eq!(head.status, StatusCode::SWITCHING_PROTOCOLS, "anything else is an answer");
        let mut out = BytesMut::new();
        head::write_status(&mut out, head.status);
        for (name, value) in head.headers.iter() {
            head::write_field(&mut out, name, value);
        }
        out.extend_from_slice(b"\r\n");
        self.exchange.keep = false;
        self.exchange.reply = Reply::Broken;
        self.write_all(&out, &[], b"").await?;
        // It counts as an exchange, for whose end the next stage would wait.
        let closing = self.shared.ear(Stage::Draining);
        Ok(Switched { ahead: std::mem::take(&mut self.read).freeze(), io: &mut self.io, closing })
    }
}

/// Writes all fields but those of the connection; the one that frames the body keeps its place, or comes last.
fn write_in_place(out: &mut BytesMut, headers: &Headers, coding: Coding) {
    let named = headers.names_fields();
    let mut framed = coding == Coding::Absent || coding == Coding::Close;
    for (name, value) in headers.iter() {
        if name.eq_ignore_ascii_case(b"content-length") {
            let due = match coding {
                Coding::Length { .. } => !std::mem::replace(&mut framed, true),
                // What a HEAD or 304 answer says of the body that it leaves out.
                Coding::Absent => length(value).is_some(),
                Coding::Chunked | Coding::Close => false,
            };
            if due {
                head::write_field(out, name, value);
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if coding == Coding::Chunked && !std::mem::replace(&mut framed, true) {
                head::write_field(out, name, b"chunked");
            }
        } else {
            let of_hop = head::is_framing(name) || (named && headers.is_named(name));
            if !of_hop {
                head::write_field(out, name, value);
            }
        }
    }
    if !framed && coding == Coding::Chunked {
        head::write_field(out, b"transfer-encoding", b"chunked");
    }
}
