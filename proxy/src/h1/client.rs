//! One HTTP/1.1 exchange on one connection, and the body that follows it.
//!
//! Nothing is pipelined and nothing is retried here: an error says whether a retry can be right, [`crate::Client`]
//! decides. A small exchange costs one write and one read; a timer is armed only when there is something to wait for.
//!
//! Invariant: a connection goes back to the pool only from [`H1Body::end`], and only when the request was written out,
//! the response was read to its last byte, nothing lies behind it and both sides want to go on. Every other way out
//! drops it, which closes the socket.

use std::{
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWrite;

use super::{
    framing::{Decoder, Framing, Piece, as_upstream},
    head::{self, HeadReader},
};
use crate::{
    Error, Headers, Kind, Limits, Phase, ResponseHead, Retry,
    client::{ClientConfig, Outbound},
    count::Counted,
    net::{
        egress::Proxy,
        stream::{Stream, poll_read_buf},
    },
    pool::{Pool, key::Origin},
    timer::Timer,
};

/// Slices handed to one vectored write.
const VECTOR: usize = 32;
/// Spare room below which the read buffer gets a new block.
const SPARE_MIN: usize = 2 * 1024;
/// A block for a peer that has not filled one yet: most streams trickle, and each holds its block for minutes.
const START_BYTES: usize = 4 * 1024;
/// A block while a body comes in small pieces: most of an open stream's life is waiting for the next one.
const TRICKLE_BYTES: usize = 1024;
/// A peer that had closed a pooled connection is noticed within a round trip. A close that comes later may follow work
/// that was done, and a second completion costs money.
pub(crate) const STALE_WINDOW: Duration = Duration::from_secs(1);

/// A connection that speaks HTTP/1.1.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(super) stream: Stream,
    pub(super) read: BytesMut,
    read_bytes: usize,
    /// The last read filled the buffer: the next block is a large one.
    eager: bool,
    /// The last piece of the body was a small one: so is the next block.
    trickles: bool,
    pub(super) heads: HeadReader,
    /// The encoded request head, then how much of head and body was written.
    pub(super) out: BytesMut,
    upload: Position,
    forward: Option<Arc<Proxy>>,
    pub(super) origin: Origin,
    home: Weak<Pool>,
    _counted: Option<Counted>,
    /// Whether an exchange was completed on it.
    pub(super) reused: bool,
    /// Stays armed from exchange to exchange, so that most of them never touch the runtime's timers.
    timer: Timer,
}

/// How far a request was written: slice 0 is the head, the others are the body's.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Position {
    slice: usize,
    offset: usize,
}

/// What [`exchange`] hands over.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) head: ResponseHead,
    /// Absent when there is none; the connection is back in its pool already.
    pub(crate) body: Option<H1Body>,
    pub(crate) sent: Instant,
}

impl Conn {
    pub(crate) fn new(
        stream: Stream,
        forward: Option<Arc<Proxy>>,
        origin: Origin,
        limits: &Limits,
        home: Weak<Pool>,
    ) -> Self {
        Self {
            stream,
            read: BytesMut::new(),
            read_bytes: limits.read_bytes.max(SPARE_MIN),
            eager: false,
            trickles: false,
            heads: HeadReader::default(),
            out: BytesMut::new(),
            upload: Position::default(),
            forward,
            origin,
            _counted: home.upgrade().map(|pool| pool.h1_open.one()),
            home,
            reused: false,
            timer: Timer::default(),
        }
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(crate) fn is_reused(&self) -> bool {
        self.reused
    }

    /// Whether the peer neither closed nor said anything while the connection was idle.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.stream.is_quiet()
    }

    /// One read into the buffer. A read that did not fill it has cleared the readiness, so another attempt before the
    /// next wake costs no system call.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let (size, spare) = match (self.eager, self.trickles) {
            (true, _) => (self.read_bytes, SPARE_MIN),
            (false, true) => (TRICKLE_BYTES, TRICKLE_BYTES / 2),
            (false, false) => (START_BYTES.min(self.read_bytes), SPARE_MIN),
        };
        if self.read.capacity() - self.read.len() < spare {
            // Takes the old block again if nobody holds a slice of it any more.
            self.read.reserve(size.saturating_sub(self.read.len()).max(spare));
        }
        let room = self.read.capacity() - self.read.len();
        let result = ready!(poll_read_buf(&mut self.stream, cx, &mut self.read));
        // A small block that is full says only that the next one should not be small.
        self.eager = matches!(result, Ok(n) if n == room && room >= SPARE_MIN);
        Poll::Ready(result)
    }

    /// One read of a body.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.trickles && self.read.is_empty() && self.read.capacity() > TRICKLE_BYTES {
            self.read = BytesMut::with_capacity(TRICKLE_BYTES);
        }
        let result = ready!(self.poll_fill(cx));
        self.trickles = matches!(result, Ok(n) if n <= TRICKLE_BYTES / 2);
        Poll::Ready(result)
    }

    /// The next piece of a body, `None` at its end; a connection that ended with it is not `reusable`.
    pub(super) fn poll_decoded(
        &mut self,
        cx: &mut Context<'_>,
        decoder: &mut Decoder,
        reusable: &mut bool,
    ) -> Poll<Result<Option<Bytes>, Error>> {
        loop {
            match decoder.next(&mut self.read).map_err(failed)? {
                Piece::Data(data) => return Poll::Ready(Ok(Some(data))),
                Piece::End => return Poll::Ready(Ok(None)),
                Piece::More => {}
            }
            match ready!(self.poll_piece(cx)) {
                Ok(0) => {
                    *reusable = false;
                    // A cut is a cut, whichever framing noticed it.
                    return Poll::Ready(decoder.finish().map(|()| None).map_err(|_| failed(Kind::Closed)));
                }
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(failed(read_failure(&error)))),
            }
        }
    }

    /// Writes what is left of head and body.
    fn poll_upload(&mut self, cx: &mut Context<'_>, body: &[Bytes]) -> Poll<io::Result<()>> {
        while self.upload.slice <= body.len() {
            let mut vector = [IoSlice::new(&[]); VECTOR];
            let mut filled = 0;
            let mut offset = self.upload.offset;
            for at in self.upload.slice..=body.len() {
                let slice: &[u8] = if at == 0 { &self.out } else { &body[at - 1] };
                if filled == VECTOR {
                    break;
                }
                vector[filled] = IoSlice::new(&slice[offset..]);
                offset = 0;
                filled += usize::from(!vector[filled].is_empty());
            }
            if filled == 0 {
                self.upload = Position { slice: body.len() + 1, offset: 0 };
                break;
            }
            let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, &vector[..filled]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let lengths = |at: usize| if at == 0 { self.out.len() } else { body.get(at - 1).map_or(0, Bytes::len) };
            self.upload = self.upload.advance(written, body.len(), lengths);
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }
}

/// Writes a request head. `forward` is the proxy that it is sent to instead of its origin.
pub(super) fn write_head(out: &mut BytesMut, request: &Outbound, origin: &Origin, forward: Option<&Proxy>) {
    match forward {
        Some(proxy) => {
            let target = [b"http://", &origin.authority()[..], &request.target].concat();
            head::write_request_line(out, &request.method, &target);
            if let Some(auth) = proxy.basic_auth() {
                head::write_field(out, b"proxy-authorization", auth.as_bytes());
            }
        }
        None => head::write_request_line(out, &request.method, &request.target),
    }
    write_fields(out, request, origin);
    out.extend_from_slice(b"\r\n");
}

impl Position {
    /// The position `written` bytes further; empty slices are stepped over.
    fn advance(mut self, mut written: usize, slices: usize, length: impl Fn(usize) -> usize) -> Self {
        while self.slice <= slices {
            let left = length(self.slice) - self.offset;
            if written < left {
                self.offset += written;
                return self;
            }
            written -= left;
            self = Position { slice: self.slice + 1, offset: 0 };
        }
        debug_assert_eq!(written, 0, "more was written than there is");
        self
    }
}

/// Fields of a request in the caller's order. `host` comes first and `content-length` last when the caller has none.
fn write_fields(out: &mut BytesMut, request: &Outbound, origin: &Origin) {
    let headers = &request.headers;
    let mut length_due = request.content_length();
    let stays = hop_by_hop(headers);
    let mut host_due = request.host().is_some();
    if !host_due {
        head::write_field(out, b"host", origin.authority());
    }
    for (name, value) in headers.iter() {
        if name.eq_ignore_ascii_case(b"content-length") {
            // Ours is right by construction; theirs keeps its place.
            if let Some(length) = length_due.take() {
                head::write_length(out, length);
            }
        } else if name.eq_ignore_ascii_case(b"host") {
            if std::mem::take(&mut host_due) {
                head::write_field(out, name, value);
            }
        } else if !stays(name) {
            head::write_field(out, name, value);
        }
    }
    if let Some(length) = length_due {
        head::write_length(out, length);
    }
}

/// Tells the fields of `headers` that are meant for the next hop only (RFC 9110 §7.6.1), among them those that `connection`
/// names. `expect` is one for us: the body follows the head without waiting.
pub(crate) fn hop_by_hop(headers: &Headers) -> impl Fn(&[u8]) -> bool {
    // Nearly always there is none, and no field has to be looked up in it.
    let named = headers.contains("connection");
    move |name| {
        let other = match name.len() {
            2 => name.eq_ignore_ascii_case(b"te"),
            6 => name.eq_ignore_ascii_case(b"expect"),
            7 => name.eq_ignore_ascii_case(b"trailer"),
            14 => name.eq_ignore_ascii_case(b"http2-settings"),
            19 => name.eq_ignore_ascii_case(b"proxy-authorization"),
            _ => false,
        };
        other || head::is_framing(name) || (named && headers.is_named(name))
    }
}

/// Sends `request` and waits for the head of its answer.
///
/// A final response that begins before the request is written out is taken: the upload stops and the connection will
/// not be used again.
pub(crate) async fn exchange(
    mut conn: Box<Conn>,
    request: &Outbound,
    config: &ClientConfig,
    connected: Instant,
) -> Result<Answer, Error> {
    conn.out.clear();
    conn.upload = Position::default();
    conn.trickles = false;
    let Conn { out, origin, forward, .. } = &mut *conn;
    write_head(out, request, origin, forward.as_deref());
    let mut state = Exchange {
        request,
        config,
        sent: None,
        write_failed: false,
        heard: false,
        interim: 0,
        head_deadline: request.head_timeout.map(|limit| connected + limit),
        write_deadline: None,
    };
    let parsed = poll_fn(|cx| state.poll(cx, &mut conn)).await?;
    if parsed.tunnel {
        return Err(Error::upstream(Kind::Protocol { reason: "unexpected_upgrade", status: 502 }, Retry::Never));
    }
    let reusable = parsed.keep_alive && state.sent.is_some();
    let decoder = Decoder::new(parsed.framing, &config.limits, u64::MAX).map_err(failed)?;
    let sent = state.sent.unwrap_or_else(Instant::now);
    // A stream whose beginning was small goes on like that.
    conn.trickles = parsed.framing == Framing::Chunked && conn.read.len() <= TRICKLE_BYTES / 2;
    if conn.trickles {
        conn.out = BytesMut::new();
    }
    let body = H1Body { conn, decoder, reusable };
    let body = if body.decoder.is_done() {
        body.end();
        None
    } else {
        Some(body)
    };
    Ok(Answer { head: parsed.head, body, sent })
}

/// What is known between two polls of an exchange.
struct Exchange<'a> {
    request: &'a Outbound,
    config: &'a ClientConfig,
    /// When the last byte of the request was written.
    sent: Option<Instant>,
    /// The peer does not take the rest; its answer may still be readable.
    write_failed: bool,
    /// A byte of the response has arrived.
    heard: bool,
    interim: usize,
    head_deadline: Option<Instant>,
    /// When the peer counts as not reading; moves with every progress.
    write_deadline: Option<(Position, Instant)>,
}

impl Exchange<'_> {
    fn poll(&mut self, cx: &mut Context<'_>, conn: &mut Conn) -> Poll<Result<head::Response, Error>> {
        if self.sent.is_none() && !self.write_failed {
            match conn.poll_upload(cx, &self.request.body) {
                Poll::Ready(Ok(())) => self.sent = Some(Instant::now()),
                Poll::Ready(Err(_)) => self.write_failed = true,
                Poll::Pending => {}
            }
        }
        loop {
            if !conn.read.is_empty() {
                let limits = &self.config.limits;
                match conn.heads.response(&mut conn.read, limits, &self.request.method).map_err(failed)? {
                    Some(parsed) if parsed.interim => {
                        self.interim += 1;
                        if self.interim > limits.interim_responses {
                            let kind = Kind::Protocol { reason: "too_many_interim", status: 502 };
                            return Poll::Ready(Err(failed(kind)));
                        }
                        continue;
                    }
                    Some(parsed) => return Poll::Ready(Ok(parsed)),
                    None => {}
                }
            }
            match conn.poll_fill(cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(self.lost(Kind::Closed, conn))),
                Poll::Ready(Ok(_)) => self.heard = true,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.lost(read_failure(&error), conn))),
                Poll::Pending => break,
            }
        }
        self.poll_timer(cx, conn).map(Err)
    }

    /// The one timer of an exchange, armed for whatever is due first.
    fn poll_timer(&mut self, cx: &mut Context<'_>, conn: &mut Conn) -> Poll<Error> {
        if self.sent.is_some() || self.write_failed {
            self.write_deadline = None;
        } else if self.write_deadline.is_none_or(|(at, _)| at != conn.upload) {
            self.write_deadline = Some((conn.upload, Instant::now() + self.config.timeouts.write));
        }
        let write = self.write_deadline.map(|(_, deadline)| (deadline, Phase::Write));
        let head = self.head_deadline.map(|deadline| (deadline, Phase::Head));
        let Some((deadline, phase)) = [write, head].into_iter().flatten().min_by_key(|(deadline, _)| *deadline) else {
            return Poll::Pending;
        };
        ready!(conn.timer.poll(cx, deadline.into()));
        Poll::Ready(failed(Kind::Timeout(phase)))
    }

    /// The connection ended before the head of the answer was complete.
    fn lost(&self, kind: Kind, conn: &Conn) -> Error {
        let early = self.request.method.is_idempotent() || self.sent.is_none_or(|sent| sent.elapsed() < STALE_WINDOW);
        let retry = if conn.reused && !self.heard && early { Retry::FreshConnection } else { Retry::Never };
        Error::upstream(kind, retry)
    }
}

pub(super) fn failed(kind: Kind) -> Error {
    Error::upstream(as_upstream(kind), Retry::Never)
}

pub(super) fn read_failure(error: &io::Error) -> Kind {
    match error.kind() {
        // rustls reports an end without close_notify as an unexpected one.
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => Kind::Closed,
        io::ErrorKind::InvalidData => Kind::Tls("broken record".to_owned()),
        kind => Kind::Io(kind),
    }
}

/// The rest of a response on its connection.
#[derive(Debug)]
pub(crate) struct H1Body {
    conn: Box<Conn>,
    decoder: Decoder,
    /// Whether the connection may carry another exchange once the body was read.
    reusable: bool,
}

/// One step of reading a body.
#[derive(Debug)]
pub(crate) enum Step {
    /// A slice of the read buffer.
    Data(Bytes),
    /// The buffer holds nothing more.
    More,
    /// The body is complete.
    End,
}

impl H1Body {
    pub(super) fn new(conn: Box<Conn>, decoder: Decoder, reusable: bool) -> Self {
        Self { conn, decoder, reusable }
    }

    /// What the buffer holds; makes no system call.
    pub(crate) fn step(&mut self) -> Result<Step, Error> {
        Ok(match self.decoder.next(&mut self.conn.read).map_err(failed)? {
            Piece::Data(data) => Step::Data(data),
            Piece::More => Step::More,
            Piece::End => Step::End,
        })
    }

    /// The next slice, `None` at the end.
    pub(crate) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Error>> {
        self.conn.poll_decoded(cx, &mut self.decoder, &mut self.reusable)
    }

    /// Whether the last slice was given out.
    pub(crate) fn is_done(&self) -> bool {
        self.decoder.is_done()
    }

    /// Ends a body that was read to its end: the connection goes back to its pool if it may.
    pub(crate) fn end(mut self) -> Option<Headers> {
        let trailers = self.decoder.trailers();
        // A byte behind the response would be taken for the next one's.
        if self.reusable && self.decoder.is_done() && self.conn.read.is_empty() {
            self.conn.reused = true;
            if let Some(pool) = self.conn.home.upgrade() {
                pool.shelve(self.conn);
            }
        }
        trailers
    }
}
