//! Serves one HTTP/1 connection: requests in turn, each answered before the next is parsed.
//!
//! The connection owns its socket and its two buffers; a handler borrows it through [`Call`] for one exchange. A small
//! request on a warm connection costs one read and one write: nothing is read ahead of need, and timers are armed only
//! when there is something to wait for. No protocol rule stands here that `head`, `framing` or `chunked` can hold; the
//! writing half is in `reply`.
//!
//! ```text
//!   idle ──head──▶ exchange ──Done, keep──▶ idle        Reply: Fresh ──respond──▶ Done
//!    │               │ └─Fresh: 500─▶ linger                     └─commit──▶ Streaming ──finish──▶ Done
//!    └─eof, drain    └─Streaming, Broken: closed at once          (any write that fails or is cancelled: Broken)
//! ```

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::framing::{Decoder, Piece, refuse};
use super::head::{HeadReader, Request};
use super::reply::Reply;
use crate::call::{Call, Ends, Handler};
use crate::net::accepted::Accepted;
use crate::net::stream::poll_read_buf;
use crate::refusal;
use crate::server::{Drain, Shared, Stage, catch_panic};
use crate::timer::Timer;
use crate::{Error, Kind, Method, Phase, ResponseHead, Version};

/// Unread request bytes that are thrown away to keep a connection; beyond it closing is cheaper.
pub(super) const DISCARD_BYTES: u64 = 64 * 1024;
/// How long and how much a closing connection still reads, so that an RST does not overtake our answer.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 * 1024;
/// First allocation for a body of announced length; a client has to send bytes to make us hold more.
const BODY_START: usize = 1024 * 1024;
/// A block for a client that has not filled one yet: it is held as long as its answer streams.
const START_BYTES: usize = 4 * 1024;
/// A block for a client that gets a stream, and has nothing to say until it is over.
const WATCH_BYTES: usize = 256;
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

/// The exchange in progress. Between exchanges it is that of the last one and means nothing.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) body: Decoder,
    /// The target was a whole URL.
    pub(super) absolute: bool,
    /// The client offers to speak another protocol.
    pub(super) upgrade: bool,
    /// The client waits for `100 Continue`.
    pub(super) waits: bool,
    pub(super) method: Method,
    pub(super) version: Version,
    pub(super) keep: bool,
    pub(super) reply: Reply,
    /// The fault that the request body had.
    pub(super) fault: Option<Kind>,
}

/// One client connection.
pub(crate) struct Conn {
    pub(super) io: Accepted,
    ends: Ends,
    pub(super) shared: Arc<Shared>,
    pub(super) read: BytesMut,
    /// Scratch for heads.
    pub(super) write: BytesMut,
    heads: HeadReader,
    pub(super) timer: Timer,
    closing: Drain,
    /// The client's end of stream, or an error of its socket, was seen.
    pub(super) eof: bool,
    /// The last read filled the buffer: the next block is a large one.
    eager: bool,
    pub(super) exchange: Exchange,
}

impl std::fmt::Debug for Conn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conn").field("peer", &self.ends.peer).field("exchange", &self.exchange).finish_non_exhaustive()
    }
}

/// What a connection waits for between two reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// A request; the end of a drain ends the wait.
    Idle,
    Head,
    Body,
}

impl Conn {
    /// Takes a fresh connection over.
    pub(crate) fn new(io: Accepted, peer: SocketAddr, shared: Arc<Shared>) -> Self {
        let closing = shared.ear(Stage::Closing);
        // Asked once per connection: it is a system call.
        let ends = io.ends(peer);
        Self {
            io,
            ends,
            shared,
            read: BytesMut::new(),
            write: BytesMut::new(),
            heads: HeadReader::default(),
            timer: Timer::default(),
            closing,
            eof: false,
            eager: false,
            exchange: Exchange {
                body: Decoder::Done,
                absolute: false,
                upgrade: false,
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

    /// Takes a connection over of which `read` was read already.
    pub(crate) fn resume(io: Accepted, read: BytesMut, peer: SocketAddr, shared: Arc<Shared>) -> Self {
        Self { read, ..Self::new(io, peer, shared) }
    }

    /// The socket and what was read from it, for another protocol.
    pub(crate) fn into_parts(self) -> (Accepted, BytesMut) {
        (self.io, self.read)
    }

    /// Serves requests until one side has had enough.
    pub(crate) async fn serve<H: Handler>(mut self: Box<Self>, handler: &H) {
        loop {
            let request = match self.next_request().await {
                Ok(Some(request)) => request,
                Ok(None) => return self.close().await,
                Err(kind) => return self.refuse_head(handler, kind).await,
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
        if let Err(kind) = self.begin(&request) {
            self.refuse(kind).await;
            return false;
        }
        let head = request.head;
        let _running = self.shared.begin_exchange();
        let ends = self.ends.clone();
        let received = Instant::now().into_std();
        let panicked = catch_panic(pin!(handler.handle(Call::h1(self, head, ends, received)))).await;
        match self.exchange.reply {
            Reply::Done => {}
            Reply::Fresh => {
                if panicked {
                    tracing::error!(peer = %self.ends.peer, "handler panicked");
                }
                self.exchange.keep = false;
                let unanswered = Kind::Protocol { reason: "unanswered", status: 500 };
                let kind = self.exchange.fault.as_ref().unwrap_or(&unanswered);
                let (head, text) = refusal::answer(kind).unwrap_or_else(refusal::cut_off);
                if self.respond(head, text).await.is_err() {
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

    fn begin(&mut self, request: &Request) -> Result<(), Kind> {
        let limits = &self.shared.limits;
        self.exchange = Exchange {
            body: Decoder::new(request.framing, limits, limits.body_bytes as u64)?,
            absolute: request.absolute,
            upgrade: request.tunnel_offered && request.upgrade.is_some(),
            waits: request.expect_continue,
            method: request.head.method.clone(),
            version: request.head.version,
            keep: request.keep_alive && !request.tunnel_offered,
            reply: Reply::Fresh,
            fault: None,
        };
        Ok(())
    }

    /// Answers a request whose head could not be understood, in the words of whoever would have got it, and closes.
    async fn refuse_head<H: Handler>(&mut self, handler: &H, kind: Kind) {
        let Some((head, text)) = refusal::answer(&kind) else { return };
        let asked = self.heads.refused();
        let asked = asked.as_ref().and_then(|(method, path)| Some((method, std::str::from_utf8(path).ok()?)));
        let own = asked.and_then(|(method, path)| {
            let told = std::str::from_utf8(&text).unwrap_or_default().trim_end();
            handler.refusal(method, path, head.status, told)
        });
        let (head, text) = match own {
            Some((content_type, body)) => (ResponseHead::new(head.status).with("content-type", content_type), body),
            None => (head, text),
        };
        self.refuse_with(&kind, head, text).await;
    }

    /// Answers a request that will not be served, and closes.
    async fn refuse(&mut self, kind: Kind) {
        let Some((head, text)) = refusal::answer(&kind) else { return };
        self.refuse_with(&kind, head, text).await;
    }

    async fn refuse_with(&mut self, kind: &Kind, head: ResponseHead, text: Bytes) {
        tracing::debug!(peer = %self.ends.peer, %kind, "request refused");
        self.exchange.method = Method::GET;
        self.exchange.keep = false;
        self.exchange.body = Decoder::Done;
        if self.respond(head, text).await.is_ok() {
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
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let whole = self.shared.limits.read_bytes;
        let size = if self.eager { whole } else { START_BYTES.min(whole) };
        self.poll_fill_block(cx, size)
    }

    fn poll_fill_block(&mut self, cx: &mut Context<'_>, size: usize) -> Poll<io::Result<usize>> {
        let Conn { io, read, .. } = self;
        if read.capacity() - read.len() < size / 2 {
            // Asking for no more than the buffer already has lets it move its bytes to the front instead of growing.
            read.reserve(if read.len() < size / 2 { size - read.len() } else { size });
        }
        let room = read.capacity() - read.len();
        let result = ready!(poll_read_buf(io, cx, read));
        self.eager = matches!(result, Ok(n) if n == room && room > WATCH_BYTES);
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
            if wait == Wait::Idle && self.closing.poll(cx).is_ready() {
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

    /// See [`Call::is_absolute`].
    pub(crate) fn is_absolute(&self) -> bool {
        self.exchange.absolute
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
    pub(super) fn spoil(&mut self, error: Error) -> Error {
        self.exchange.keep = false;
        self.exchange.fault = Some(error.kind.clone());
        error
    }

    /// See [`Call::trailers`]. They were read with the end of the body.
    pub(crate) async fn trailers(&mut self) -> Result<Option<crate::Headers>, Error> {
        Ok(self.exchange.body.trailers())
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
        let second = match self.exchange.body.next(&mut self.read) {
            Ok(Piece::End) if first.len() <= limit => return Ok(first),
            Ok(Piece::End) => return Err(self.spoil(too_large())),
            Ok(Piece::Data(data)) => data,
            Ok(Piece::More) => Bytes::new(),
            Err(kind) => return Err(self.spoil(Error::client(kind))),
        };
        let expected = announced.and_then(|n| usize::try_from(n).ok()).unwrap_or(first.len() * 2);
        let mut whole = BytesMut::with_capacity(expected.clamp(first.len(), BODY_START.max(first.len())));
        whole.extend_from_slice(&first);
        whole.extend_from_slice(&second);
        drop((first, second));
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
                if ready!(self.poll_watch(cx)).is_err() {
                    break;
                }
            }
            Poll::Ready(())
        })
        .await
    }

    /// One read of a client that is being answered. While its answer streams, what is held for its next words is small.
    fn poll_watch(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if !matches!(self.exchange.reply, Reply::Streaming(_)) || self.eager || !self.read.is_empty() {
            return self.poll_fill(cx);
        }
        if self.read.capacity() > WATCH_BYTES {
            self.read = BytesMut::new();
        }
        self.poll_fill_block(cx, WATCH_BYTES)
    }
}
