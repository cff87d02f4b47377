//! The writing half of an HTTP/1 server connection: one answer, in as few system calls as it allows.
//!
//! Head and body leave in one vectored write and are never copied together. A write that fails or is cancelled leaves
//! [`Reply::Broken`] behind: the connection can then only be closed.

use std::future::poll_fn;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWrite;
use tokio::time::Instant;

use super::chunked::{CHUNK_END, ChunkLine, write_last_chunk};
use super::framing::{Piece, bodiless, length};
use super::head;
use super::server::{Conn, DISCARD_BYTES};
use crate::call::wrong_length;
use crate::{Error, Headers, Kind, Method, Phase, ResponseHead, Version};

/// Slices given to one vectored write.
const WRITE_SLICES: usize = 32;
/// Capacity that an idle connection keeps for writing heads.
const SCRATCH_BYTES: usize = 8 * 1024;

/// How the body of a streamed answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    /// The answer has no body; pieces are dropped.
    Absent,
    /// Every piece is a chunk.
    Chunked,
    /// The head named the length.
    Length {
        /// Bytes still to be sent.
        left: u64,
    },
    /// Ends with the connection (HTTP/1.0).
    Close,
}

/// How far the answer of an exchange is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply {
    /// Nothing was sent.
    Fresh,
    /// The head was sent.
    Streaming(Coding),
    /// Everything was sent.
    Done,
    /// The bytes on the wire end somewhere inside a message.
    Broken,
}

impl Conn {
    /// See [`Call::respond`].
    pub(crate) async fn respond(&mut self, head: ResponseHead, body: Bytes) -> Result<(), Error> {
        let (head, coding) = self.start(head, Some(body.len() as u64));
        let body = if coding == Coding::Absent { Bytes::new() } else { body };
        self.exchange.reply = Reply::Broken;
        self.write_all(&head, std::slice::from_ref(&body), b"").await?;
        self.exchange.reply = Reply::Done;
        self.keep_scratch(head);
        Ok(())
    }

    /// See [`Call::commit`].
    pub(crate) async fn commit(&mut self, head: ResponseHead, first: Bytes) -> Result<(), Error> {
        let (mut head, coding) = self.start(head, None);
        self.exchange.reply = Reply::Broken;
        let coding = count(coding, first.len())?;
        let (first, end) = match coding {
            Coding::Absent => (Bytes::new(), &b""[..]),
            Coding::Chunked if !first.is_empty() => {
                head.extend_from_slice(ChunkLine::new(first.len()).as_slice());
                (first, CHUNK_END)
            }
            Coding::Chunked | Coding::Length { .. } | Coding::Close => (first, &b""[..]),
        };
        self.write_all(&head, std::slice::from_ref(&first), end).await?;
        self.exchange.reply = Reply::Streaming(coding);
        // Not kept for the next head: an answer that streams may go on for long.
        Ok(())
    }

    /// See [`Call::send_slices`].
    pub(crate) async fn send(&mut self, slices: &[Bytes]) -> Result<(), Error> {
        let size = slices.iter().map(Bytes::len).sum();
        let Reply::Streaming(coding) = self.exchange.reply else { return Err(Error::client(Kind::Closed)) };
        if size == 0 || coding == Coding::Absent {
            return Ok(());
        }
        // Whatever ends this future early leaves half a chunk behind.
        self.exchange.reply = Reply::Broken;
        let coding = count(coding, size)?;
        match coding {
            Coding::Chunked => self.write_all(ChunkLine::new(size).as_slice(), slices, CHUNK_END).await?,
            Coding::Absent | Coding::Length { .. } | Coding::Close => self.write_all(b"", slices, b"").await?,
        }
        self.exchange.reply = Reply::Streaming(coding);
        Ok(())
    }

    /// See [`Call::finish_with`].
    pub(crate) async fn finish(&mut self, last: Bytes, trailers: Option<Headers>) -> Result<(), Error> {
        let Reply::Streaming(coding) = self.exchange.reply else { return Err(Error::client(Kind::Closed)) };
        self.exchange.reply = Reply::Broken;
        match count(coding, last.len())? {
            Coding::Absent => {}
            Coding::Chunked => self.last_chunk(last, trailers).await?,
            Coding::Length { left: 0 } | Coding::Close => {
                self.write_all(b"", std::slice::from_ref(&last), b"").await?;
            }
            Coding::Length { .. } => return Err(wrong_length()),
        }
        self.exchange.reply = Reply::Done;
        Ok(())
    }

    async fn last_chunk(&mut self, last: Bytes, trailers: Option<Headers>) -> Result<(), Error> {
        let mut end = std::mem::take(&mut self.write);
        if !last.is_empty() {
            end.extend_from_slice(CHUNK_END);
        }
        write_last_chunk(&mut end, trailers.as_ref());
        if last.is_empty() {
            self.write_all(&end, &[], b"").await?;
        } else {
            self.write_all(ChunkLine::new(last.len()).as_slice(), std::slice::from_ref(&last), &end).await?;
        }
        self.keep_scratch(end);
        Ok(())
    }

    /// Writes a response head into the scratch buffer. `whole` is the length of an answer that is sent in one piece.
    fn start(&mut self, head: ResponseHead, whole: Option<u64>) -> (BytesMut, Coding) {
        debug_assert!(!head.status.is_informational(), "an interim status ends no exchange");
        self.settle_keep();
        let mut out = std::mem::take(&mut self.write);
        head::write_status(&mut out, head.status);
        head::write_fields(&mut out, &head.headers);
        let announced = head.headers.get("content-length").and_then(|value| length(value));
        let size = match whole {
            // A HEAD answer may name the length of the body that it leaves out.
            Some(0) if self.exchange.method == Method::HEAD => announced.or(Some(0)),
            Some(n) => Some(n),
            None => announced,
        };
        let coding = if bodiless(&self.exchange.method, head.status) {
            if self.exchange.method == Method::HEAD
                && let Some(size) = size
            {
                head::write_length(&mut out, size);
            }
            Coding::Absent
        } else if let Some(left) = size {
            head::write_length(&mut out, left);
            Coding::Length { left }
        } else if self.exchange.version == Version::Http11 {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
            Coding::Chunked
        } else {
            self.exchange.keep = false;
            Coding::Close
        };
        self.end_head(&mut out);
        (out, coding)
    }

    /// Ends the head of an answer with what becomes of the connection, where that does not go without saying.
    pub(super) fn end_head(&self, out: &mut BytesMut) {
        match (self.exchange.keep, self.exchange.version) {
            (false, _) => out.extend_from_slice(b"connection: close\r\n"),
            (true, Version::Http10) => out.extend_from_slice(b"connection: keep-alive\r\n"),
            (true, _) => {}
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Decides whether the connection survives this exchange; the head of the answer has to say so.
    pub(super) fn settle_keep(&mut self) {
        let exchange = &mut self.exchange;
        if !exchange.keep {
            return;
        }
        // A chunked body that is complete in the buffer ends here; this costs no system call.
        while let Ok(Piece::Data(_)) = exchange.body.next(&mut self.read) {}
        let little = exchange.body.remaining().is_some_and(|left| left <= DISCARD_BYTES);
        // A client that still waits for 100 may send its body or not: there is no telling where the next head starts.
        let waits = exchange.waits && !exchange.body.is_done();
        exchange.keep = little && !waits && !self.eof && !self.shared.is_draining();
    }

    /// Takes the scratch buffer back for the next head, unless one huge head has blown it up.
    pub(super) fn keep_scratch(&mut self, mut scratch: BytesMut) {
        scratch.clear();
        if scratch.capacity() <= SCRATCH_BYTES {
            self.write = scratch;
        }
    }

    /// Writes everything, as one vectored write if the socket takes it at once.
    pub(super) async fn write_all(&mut self, head: &[u8], slices: &[Bytes], end: &[u8]) -> Result<(), Error> {
        let total = head.len() + slices.iter().map(Bytes::len).sum::<usize>() + end.len();
        let mut done = 0;
        while done < total {
            let patience = self.shared.timeouts.write;
            let mut deadline = None;
            let written = poll_fn(|cx| {
                let mut parts = [IoSlice::new(&[]); WRITE_SLICES];
                let filled = pending_parts(&mut parts, done, head, slices, end);
                if let Poll::Ready(result) = Pin::new(&mut self.io).poll_write_vectored(cx, &parts[..filled]) {
                    return Poll::Ready(result.map_err(|_| Kind::Closed));
                }
                let deadline = *deadline.get_or_insert_with(|| Instant::now() + patience);
                self.timer.poll(cx, deadline).map(|()| Err(Kind::Timeout(Phase::Write)))
            })
            .await;
            match written {
                Ok(0) => return Err(Error::client(Kind::Closed)),
                Ok(n) => done += n,
                Err(kind) => return Err(Error::client(kind)),
            }
        }
        poll_fn(|cx| Pin::new(&mut self.io).poll_flush(cx)).await.map_err(|_| Error::client(Kind::Closed))
    }
}

/// Fills `parts` with what is left behind the first `skip` bytes.
pub(super) fn pending_parts<'p>(
    parts: &mut [IoSlice<'p>],
    mut skip: usize,
    head: &'p [u8],
    slices: &'p [Bytes],
    end: &'p [u8],
) -> usize {
    let mut filled = 0;
    for part in std::iter::once(head).chain(slices.iter().map(|slice| &slice[..])).chain(std::iter::once(end)) {
        if part.len() <= skip {
            skip -= part.len();
            continue;
        }
        if filled == parts.len() {
            break;
        }
        parts[filled] = IoSlice::new(&part[skip..]);
        skip = 0;
        filled += 1;
    }
    filled
}

/// Counts `size` bytes against an announced length.
pub(super) fn count(coding: Coding, size: usize) -> Result<Coding, Error> {
    match coding {
        Coding::Length { left } => {
            left.checked_sub(size as u64).map(|left| Coding::Length { left }).ok_or_else(wrong_length)
        }
        Coding::Absent | Coding::Chunked | Coding::Close => Ok(coding),
    }
}
