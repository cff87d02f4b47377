//! Serves one HTTP/1 connection: requests in turn, each answered before the next is parsed.
//!
//! The connection owns its socket and its two buffers; a handler borrows it through [`Call`] for one exchange. A small
//! request on a warm connection costs one read and one write: nothing is read ahead of need, and timers are armed only
//! when there is something to wait for. No protocol rule stands here that `head`, `framing` or `chunked` can hold.
//!
//! ```text
//!   idle ──head──▶ exchange ──Done, keep──▶ idle        Reply: Fresh ──respond──▶ Done
//!    │               │ └─Fresh: 500─▶ linger                     └─commit──▶ Streaming ──finish──▶ Done
//!    └─eof, drain    └─Streaming, Broken: closed at once          (any write that fails or is cancelled: Broken)
//! ```

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use super::chunked::{CHUNK_END, ChunkLine, LAST_CHUNK};
use super::framing::{Decoder, Framing, Piece, bodiless, length, refuse};
use super::head::{self, HeadReader, Request};
use crate::call::{Call, Handler};
use crate::net::accepted::Accepted;
use crate::server::{Drain, Shared, catch_panic};
use crate::timer::Timer;
use crate::{Error, Headers, Kind, Method, Phase, RequestHead, ResponseHead, StatusCode, Version};

/// Unread request bytes that are thrown away to keep a connection; beyond it closing is cheaper.
const DISCARD_BYTES: u64 = 64 * 1024;
/// How long and how much a closing connection still reads, so that an RST does not overtake our answer.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 * 1024;
/// First allocation for a body of announced length; a client has to send bytes to make us hold more.
const BODY_START: usize = 1024 * 1024;
/// Slices given to one vectored write.
const WRITE_SLICES: usize = 32;
/// The first bytes of an HTTP/2 connection with prior knowledge (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the first bytes of a connection speak.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sniffed {
    /// HTTP/1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// Nothing arrived.
    Nothing,
}

/// How the body of a streamed answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    /// The answer has no body; pieces are dropped.
    Absent,
    Chunked,
    Length {
        left: u64,
    },
    /// Ends with the connection (HTTP/1.0).
    Close,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reply {
    Fresh,
    Streaming(Coding),
    Done,
    /// The bytes on the wire end somewhere inside a message.
    Broken,
}

/// The exchange in progress. Between exchanges it is that of the last one and means nothing.
#[derive(Debug)]
struct Exchange {
    body: Decoder,
    /// The client waits for `100 Continue`.
    waits: bool,
    method: Method,
    version: Version,
    keep: bool,
    reply: Reply,
    /// Status of the fault that the request body had.
    fault: Option<StatusCode>,
}

/// One client connection.
pub(crate) struct Conn {
    io: Accepted,
    peer: SocketAddr,
    shared: Arc<Shared>,
    read: BytesMut,
    /// Scratch for heads.
    write: BytesMut,
    heads: HeadReader,
    timer: Timer,
    drain: Drain,
    /// The client's end of stream, or an error of its socket, was seen.
    eof: bool,
    exchange: Exchange,
}

impl std::fmt::Debug for Conn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conn").field("peer", &self.peer).field("exchange", &self.exchange).finish_non_exhaustive()
    }
}

/// What a connection waits for between two reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// A request; a drain ends the wait.
    Idle,
    Head,
    Body,
}

impl Conn {
    /// Takes a fresh connection over.
    pub(crate) fn new(io: Accepted, peer: SocketAddr, shared: Arc<Shared>) -> Self {
        let drain = shared.drain();
        Self {
            io,
            peer,
            shared,
            read: BytesMut::new(),
            write: BytesMut::new(),
            heads: HeadReader::default(),
            timer: Timer::default(),
            drain,
            eof: false,
            exchange: Exchange {
                body: Decoder::Done,
                waits: false,
                method: Method::GET,
                version: Version::Http11,
                keep: false,
                reply: Reply::Done,
                fault: None,
            },
        }
    }

    /// Reads until it is clear which protocol the client speaks. Consumes nothing.
    pub(crate) async fn sniff(&mut self) -> Sniffed {
        loop {
            let seen = self.read.len().min(PREFACE.len());
            if seen > 0 && self.read[..seen] != PREFACE[..seen] {
                return Sniffed::Http1;
            }
            if seen == PREFACE.len() {
                return Sniffed::Http2;
            }
            if self.eof {
                return Sniffed::Nothing;
            }
            let wait = if seen == 0 { Wait::Idle } else { Wait::Head };
            if !matches!(self.fill(wait).await, Ok(true)) {
                return Sniffed::Nothing;
            }
        }
    }

    /// The socket and what was read from it, for another protocol.
    pub(crate) fn into_parts(self) -> (Accepted, BytesMut) {
        (self.io, self.read)
    }

    /// Serves requests until one side has had enough.
    pub(crate) async fn serve<H: Handler>(mut self, handler: &H) {
        loop {
            let request = match self.next_request().await {
                Ok(Some(request)) => request,
                Ok(None) => return self.close().await,
                Err(kind) => return self.refuse(kind).await,
            };
            if matches!(request.head.method, Method::CONNECT | Method::TRACE) {
                return self.refuse(refuse("method", 405)).await;
            }
            if !self.exchange(handler, request).await {
                return;
            }
        }
    }

    /// The next request, or `None` when the connection has ended at a good place for it.
    async fn next_request(&mut self) -> Result<Option<Request>, Kind> {
        let mut since = None;
        loop {
            if let Some(request) = self.heads.request(&mut self.read, &self.shared.limits)? {
                return Ok(Some(request));
            }
            if self.eof {
                return if self.read.is_empty() { Ok(None) } else { Err(Kind::Closed) };
            }
            let idle = self.read.is_empty() && self.heads.is_fresh();
            if idle {
                if !self.fill(Wait::Idle).await.unwrap_or(false) {
                    return Ok(None);
                }
            } else {
                // The whole head has one deadline, or a client could hold us with a byte a minute.
                let start = *since.get_or_insert_with(Instant::now);
                self.fill_until(Wait::Head, Some(start + self.shared.timeouts.head)).await.map_err(|e| e.kind)?;
            }
        }
    }

    /// Runs the handler for one request. False: the connection is finished.
    async fn exchange<H: Handler>(&mut self, handler: &H, request: Request) -> bool {
        let Request { head, framing, keep_alive, expect_continue, .. } = request;
        if let Err(kind) = self.begin(&head, framing, keep_alive, expect_continue) {
            self.refuse(kind).await;
            return false;
        }
        let peer = self.peer;
        let received = Instant::now().into_std();
        let panicked = catch_panic(pin!(handler.handle(Call::h1(self, head, peer, received)))).await;
        match self.exchange.reply {
            Reply::Done => {}
            Reply::Fresh => {
                if panicked {
                    tracing::error!(peer = %self.peer, "handler panicked");
                }
                self.exchange.keep = false;
                let status = self.exchange.fault.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                if self.respond(ResponseHead::new(status), Bytes::new()).await.is_err() {
                    return false;
                }
            }
            // Closing without the last chunk is the only way to say that this is not the end.
            Reply::Streaming(_) | Reply::Broken => return false,
        }
        if self.exchange.keep && self.discard().await.is_ok() {
            return true;
        }
        if self.exchange.body.is_done() && self.read.is_empty() {
            self.close().await;
        } else {
            self.linger().await;
        }
        false
    }

    fn begin(&mut self, head: &RequestHead, framing: Framing, keep: bool, waits: bool) -> Result<(), Kind> {
        let limits = &self.shared.limits;
        self.exchange = Exchange {
            body: Decoder::new(framing, limits, limits.body_bytes as u64)?,
            waits,
            method: head.method.clone(),
            version: head.version,
            keep,
            reply: Reply::Fresh,
            fault: None,
        };
        Ok(())
    }

    /// Answers a request that could not be understood, and closes.
    async fn refuse(&mut self, kind: Kind) {
        let status = match &kind {
            Kind::Protocol { status, .. } | Kind::TooLarge { status, .. } => *status,
            Kind::Timeout(_) => 408,
            _ => return,
        };
        tracing::debug!(peer = %self.peer, %kind, "request refused");
        self.exchange.method = Method::GET;
        self.exchange.keep = false;
        self.exchange.body = Decoder::Done;
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
        if self.respond(ResponseHead::new(status), Bytes::new()).await.is_ok() {
            self.linger().await;
        }
    }

    /// Reads the rest of a request that nobody wanted, so that the next one can be parsed.
    async fn discard(&mut self) -> Result<(), Error> {
        let mut room = DISCARD_BYTES;
        while let Some(data) = self.chunk().await? {
            room = room.checked_sub(data.len() as u64).ok_or_else(|| Error::client(Kind::Closed))?;
        }
        Ok(())
    }

    async fn close(&mut self) {
        let _ = self.io.shutdown().await;
    }

    /// Half-closes and reads on for a moment: a socket closed over unread bytes sends an RST, which destroys what the
    /// client has not read yet.
    async fn linger(&mut self) {
        self.close().await;
        let drop_all = async {
            let mut room = LINGER_BYTES;
            while room > 0 && !self.eof {
                self.read.clear();
                match poll_fn(|cx| self.poll_fill(cx)).await {
                    Ok(n) => room = room.saturating_sub(n),
                    Err(_) => return,
                }
            }
        };
        let _ = tokio::time::timeout(LINGER, drop_all).await;
    }
}

/// Reading.
impl Conn {
    /// One read into the buffer. Never tries again after a partial read: the socket has nothing more then.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let size = self.shared.limits.read_bytes;
        let Conn { io, read, .. } = self;
        if read.capacity() - read.len() < size / 2 {
            // Asking for no more than the buffer already has lets it move its bytes to the front instead of growing.
            read.reserve(if read.len() < size / 2 { size - read.len() } else { size });
        }
        let result = ready!(pin!(io.read_buf(read)).poll(cx));
        self.eof |= matches!(result, Ok(0) | Err(_));
        Poll::Ready(result)
    }

    /// Waits for bytes. `Ok(false)`: there will be none (end of stream or drain).
    async fn fill(&mut self, wait: Wait) -> Result<bool, Error> {
        self.fill_until(wait, None).await
    }

    async fn fill_until(&mut self, wait: Wait, mut deadline: Option<Instant>) -> Result<bool, Error> {
        poll_fn(|cx| {
            match self.poll_fill(cx) {
                Poll::Ready(Ok(n)) => return Poll::Ready(Ok(n > 0)),
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Error::client(Kind::Closed))),
                Poll::Pending => {}
            }
            if wait == Wait::Idle && self.drain.poll(cx).is_ready() {
                return Poll::Ready(Ok(false));
            }
            let timeouts = &self.shared.timeouts;
            let (patience, phase) = match wait {
                Wait::Idle => (timeouts.idle, Phase::Head),
                Wait::Head => (timeouts.head, Phase::Head),
                Wait::Body => (timeouts.body, Phase::Body),
            };
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + patience);
            self.timer.poll(cx, deadline).map(|()| Err(Error::client(Kind::Timeout(phase))))
        })
        .await
    }

    /// See [`Call::chunk`].
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        if self.exchange.fault.is_some() {
            // What follows a fault must never look like a clean end.
            return Err(Error::client(Kind::Closed));
        }
        loop {
            let fault = match self.exchange.body.next(&mut self.read) {
                Ok(Piece::Data(data)) => return Ok(Some(data)),
                Ok(Piece::End) => return Ok(None),
                Ok(Piece::More) if self.eof => Error::client(Kind::Closed),
                Ok(Piece::More) => match self.more().await {
                    Ok(()) => continue,
                    Err(error) => error,
                },
                Err(kind) => Error::client(kind),
            };
            return Err(self.spoil(fault));
        }
    }

    /// Lets the client go on if it waits, then waits for its bytes.
    async fn more(&mut self) -> Result<(), Error> {
        if std::mem::take(&mut self.exchange.waits) && self.read.is_empty() && self.exchange.reply == Reply::Fresh {
            self.exchange.reply = Reply::Broken;
            self.write_all(b"HTTP/1.1 100 Continue\r\n\r\n", &[], b"").await?;
            self.exchange.reply = Reply::Fresh;
        }
        self.fill(Wait::Body).await.map(|_| ())
    }

    /// Notes that the request body cannot be finished: the connection ends with this exchange.
    fn spoil(&mut self, error: Error) -> Error {
        self.exchange.keep = false;
        let status = match &error.kind {
            Kind::Protocol { status, .. } | Kind::TooLarge { status, .. } => *status,
            Kind::Timeout(_) => 408,
            _ => 400,
        };
        self.exchange.fault = StatusCode::from_u16(status).ok();
        error
    }

    /// See [`Call::body`].
    pub(crate) async fn body(&mut self, limit: usize) -> Result<Bytes, Error> {
        let limit = limit.min(self.shared.limits.body_bytes);
        let too_large = || Error::client(Kind::TooLarge { what: "body", limit, status: 413 });
        let announced = self.exchange.body.remaining();
        if announced.is_some_and(|n| n > limit as u64) {
            return Err(self.spoil(too_large()));
        }
        let Some(first) = self.chunk().await? else { return Ok(Bytes::new()) };
        // A chunked body may be complete already; its end is then in the buffer and is taken without waiting.
        if self.exchange.body.is_done() || matches!(self.exchange.body.next(&mut self.read), Ok(Piece::End)) {
            return if first.len() <= limit { Ok(first) } else { Err(self.spoil(too_large())) };
        }
        self.body_rest(first, limit, announced).await
    }

    async fn body_rest(&mut self, first: Bytes, limit: usize, announced: Option<u64>) -> Result<Bytes, Error> {
        let expected = announced.and_then(|n| usize::try_from(n).ok()).unwrap_or(first.len() * 2);
        let mut whole = BytesMut::with_capacity(expected.clamp(first.len(), BODY_START.max(first.len())));
        whole.extend_from_slice(&first);
        drop(first);
        loop {
            if whole.len() > limit {
                return Err(self.spoil(Error::client(Kind::TooLarge { what: "body", limit, status: 413 })));
            }
            match self.exchange.body.remaining() {
                Some(0) => return Ok(whole.freeze()),
                // Straight from the socket to its place: no second copy of a large body.
                Some(left) if self.read.is_empty() => self.read_into(&mut whole, left).await?,
                _ => match self.chunk().await? {
                    Some(data) => whole.extend_from_slice(&data),
                    None => return Ok(whole.freeze()),
                },
            }
        }
    }

    /// One read of at most `left` body bytes into `whole`.
    async fn read_into(&mut self, whole: &mut BytesMut, left: u64) -> Result<(), Error> {
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        if whole.capacity() == whole.len() {
            whole.reserve(left.min(whole.len().max(BODY_START)));
        }
        let patience = self.shared.timeouts.body;
        let mut deadline = None;
        let result = poll_fn(|cx| {
            let mut room = (&mut *whole).limit(left);
            if let Poll::Ready(result) = pin!(self.io.read_buf(&mut room)).poll(cx) {
                return Poll::Ready(result.map_err(|_| Kind::Closed));
            }
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + patience);
            self.timer.poll(cx, deadline).map(|()| Err(Kind::Timeout(Phase::Body)))
        })
        .await;
        match result {
            Ok(0) => {
                self.eof = true;
                Err(self.spoil(Error::client(Kind::Closed)))
            }
            Ok(n) => {
                self.exchange.body.skip(n as u64);
                Ok(())
            }
            Err(kind) => Err(self.spoil(Error::client(kind))),
        }
    }

    /// See [`Call::gone`].
    pub(crate) async fn gone(&mut self) {
        poll_fn(|cx| {
            while !self.eof {
                if self.read.len() >= 2 * self.shared.limits.read_bytes {
                    return Poll::Pending;
                }
                if ready!(self.poll_fill(cx)).is_err() {
                    break;
                }
            }
            Poll::Ready(())
        })
        .await
    }
}

/// Writing.
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
        self.keep_scratch(head);
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
        match trailers {
            None => end.extend_from_slice(LAST_CHUNK),
            Some(fields) => {
                end.extend_from_slice(b"0\r\n");
                head::write_fields(&mut end, &fields);
                end.extend_from_slice(b"\r\n");
            }
        }
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
        match (self.exchange.keep, self.exchange.version) {
            (false, _) => out.extend_from_slice(b"connection: close\r\n"),
            (true, Version::Http10) => out.extend_from_slice(b"connection: keep-alive\r\n"),
            (true, _) => {}
        }
        out.extend_from_slice(b"\r\n");
        (out, coding)
    }

    /// Decides whether the connection survives this exchange; the head of the answer has to say so.
    fn settle_keep(&mut self) {
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

    fn keep_scratch(&mut self, mut scratch: BytesMut) {
        scratch.clear();
        self.write = scratch;
    }

    /// Writes everything, as one vectored write if the socket takes it at once.
    async fn write_all(&mut self, head: &[u8], slices: &[Bytes], end: &[u8]) -> Result<(), Error> {
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
fn pending_parts<'p>(
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
fn count(coding: Coding, size: usize) -> Result<Coding, Error> {
    match coding {
        Coding::Length { left } => {
            left.checked_sub(size as u64).map(|left| Coding::Length { left }).ok_or_else(wrong_length)
        }
        Coding::Absent | Coding::Chunked | Coding::Close => Ok(coding),
    }
}

fn wrong_length() -> Error {
    Error {
        side: crate::Side::Internal,
        kind: Kind::Protocol { reason: "answer_length", status: 500 },
        retry: crate::Retry::Never,
    }
}
