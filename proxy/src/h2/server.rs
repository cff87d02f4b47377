//! Serves one HTTP/2 connection: accepts streams and polls their handlers inside its own task.
//!
//! The `h2` crate keeps windows and frames; here are its limits, the drain, and back-pressure in both directions: data
//! is sent only into capacity that was reserved, and a client's window grows only when its bytes were taken.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use ::h2::server::{Builder, Connection, SendResponse};
use ::h2::{Reason, RecvStream, SendStream};
use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::head;
use super::meter::{Alarm, Metered, Peer, Purse};
use super::poll_room;
use super::set::Set;
use crate::call::{Call, Ends, Handler, wrong_length};
use crate::h1::framing::{bodiless, length};
use crate::net::accepted::Rewind;
use crate::refusal;
use crate::server::{Shared, Stage, catch_panic};
use crate::timer::Timer;
use crate::{Error, Headers, Kind, Method, Phase, ResponseHead, StatusCode};

/// Request bytes that a client may send on one stream before the handler takes them.
const STREAM_WINDOW: u32 = 256 * 1024;
/// The same for all streams of a connection together.
const CONNECTION_WINDOW: u32 = 2 * 1024 * 1024;
/// Answer bytes that the crate may hold per stream.
const SEND_BUFFER: usize = 64 * 1024;
/// Streams that were reset before we looked at them (rapid reset, CVE-2023-44487). Above it: GOAWAY.
const PENDING_RESETS: usize = 20;
/// Streams that we had to reset for malformed frames (CVE-2025-8671). Above it: GOAWAY.
const LOCAL_RESETS: usize = 256;
/// Streams that we reset, whose frames on the way are ignored. Frames of those that are forgotten count as malformed, so
/// that too few would cost a client its connection when many uploads are refused at once.
const REMEMBERED_RESETS: usize = 512;
/// For how long: far above the time of a frame on its way.
const REMEMBERED_FOR: Duration = Duration::from_secs(10);
/// After a GOAWAY on an idle connection the client has this long to close.
const FAREWELL: Duration = Duration::from_secs(5);

fn builder(shared: &Shared) -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(shared.limits.h2_streams)
        .max_header_list_size(u32::try_from(shared.limits.head_bytes).unwrap_or(u32::MAX))
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_reset_streams(REMEMBERED_RESETS)
        .reset_stream_duration(REMEMBERED_FOR)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(Some(LOCAL_RESETS));
    builder
}

#[expect(clippy::large_enum_variant, reason = "it lives for one turn of the loop")]
enum Event {
    Request(http::Request<RecvStream>, SendResponse<Bytes>),
    Drain,
    /// No stream for a while.
    Idle,
    /// The client keeps us busy with nothing, or does not begin as it must.
    Alarm(Reason),
    End,
}

/// Serves a connection whose preface is known to come.
pub(crate) async fn serve<H: Handler>(io: Rewind, peer: SocketAddr, shared: Arc<Shared>, handler: Arc<H>) {
    let ends = io.inner().ends(peer);
    let alarm = Alarm::default();
    let purse = Purse::default();
    let io = Metered::new(io, Peer::Client, alarm.clone(), purse.clone());
    let handshake = tokio::time::timeout(shared.timeouts.head, builder(&shared).handshake(io)).await;
    let Ok(Ok(mut connection)) = handshake else { return };
    let mut streams = Set::new();
    let mut drain = shared.ear(Stage::Draining);
    let mut timer = Timer::default();
    let mut leaving = false;
    let mut idle_until = Instant::now() + shared.timeouts.idle;
    loop {
        let mut was_busy = streams.len() > 0;
        let event = poll_fn(|cx| {
            loop {
                // Handlers first: what they queue leaves with the same write.
                streams.poll(cx);
                if !leaving && (alarm.is_worn() || drain.poll(cx).is_ready()) {
                    return Poll::Ready(Event::Drain);
                }
                if let Poll::Ready(accepted) = connection.poll_accept(cx) {
                    return Poll::Ready(match accepted {
                        Some(Ok((request, reply))) => Event::Request(request, reply),
                        Some(Err(_)) | None => Event::End,
                    });
                }
                if let Some(reason) = alarm.reason() {
                    return Poll::Ready(Event::Alarm(reason));
                }
                if !streams.is_due() {
                    break;
                }
            }
            if streams.len() > 0 {
                was_busy = true;
                return Poll::Pending;
            }
            if std::mem::take(&mut was_busy) {
                idle_until = Instant::now() + shared.timeouts.idle;
            }
            timer.poll(cx, idle_until).map(|()| Event::Idle)
        })
        .await;
        match event {
            Event::Request(request, reply) => {
                if let Some(exchange) = accept(request, reply, ends.clone(), &purse, &shared, &handler) {
                    streams.push(exchange);
                }
            }
            Event::Idle if leaving => return abandon(&mut connection, Reason::NO_ERROR).await,
            Event::Alarm(reason) => {
                tracing::debug!(%peer, %reason, "client is shown out");
                // What it asked for ends now, not when it has taken our last word.
                drop(streams);
                return abandon(&mut connection, reason).await;
            }
            Event::Drain | Event::Idle => {
                leaving = true;
                connection.graceful_shutdown();
                idle_until = Instant::now() + FAREWELL;
            }
            Event::End => return,
        }
    }
}

async fn abandon(connection: &mut Connection<Metered<Rewind>, Bytes>, reason: Reason) {
    connection.abrupt_shutdown(reason);
    let _ = tokio::time::timeout(FAREWELL, poll_fn(|cx| connection.poll_closed(cx))).await;
}

/// The future of one exchange, unless its head is refused on the spot.
fn accept<H: Handler>(
    request: http::Request<RecvStream>,
    mut reply: SendResponse<Bytes>,
    ends: Ends,
    purse: &Purse,
    shared: &Arc<Shared>,
    handler: &Arc<H>,
) -> Option<impl Future<Output = ()> + Send + use<H>> {
    let received = Instant::now().into_std();
    let (parts, body) = request.into_parts();
    let announced = parts.headers.get(http::header::CONTENT_LENGTH).and_then(|value| length(value.as_bytes()));
    let limit = shared.limits.body_bytes;
    let head = head::request(parts, &shared.limits).and_then(|head| match announced {
        Some(n) if n > limit as u64 => Err(Kind::TooLarge { what: "body", limit, status: 413 }),
        _ => Ok(head),
    });
    let head = match head {
        Ok(head) => head,
        Err(kind) => {
            let (answer, text) = refusal::answer(&kind)?;
            // Fails only when the stream is gone, and then nobody waits for it.
            if let Ok(mut stream) = reply.send_response(head::response(&answer, Some(text.len() as u64)), false) {
                let _ = stream.send_data(text, true);
            }
            return None;
        }
    };
    let stream = Stream {
        shared: Arc::clone(shared),
        purse: purse.clone(),
        method: head.method.clone(),
        body,
        unreleased: 0,
        announced,
        taken: 0,
        reply: Reply::Fresh(reply),
        fault: None,
        timer: Timer::default(),
    };
    let handler = Arc::clone(handler);
    let running = shared.begin_exchange();
    let peer = ends.peer;
    Some(async move {
        let _running = running;
        if catch_panic(pin!(handler.handle(Call::h2(stream, head, ends, received)))).await {
            tracing::error!(%peer, "handler panicked");
        }
    })
}

pub(super) enum Reply {
    Fresh(SendResponse<Bytes>),
    /// `left`: bytes of an announced length still to come.
    Streaming {
        stream: SendStream<Bytes>,
        left: Option<u64>,
    },
    /// The head said everything; pieces are dropped.
    Bodiless(SendStream<Bytes>),
    Done,
}

/// One stream: a request and its answer.
pub(crate) struct Stream {
    pub(super) shared: Arc<Shared>,
    pub(super) purse: Purse,
    method: Method,
    pub(super) body: RecvStream,
    /// Bytes given to the handler whose window is not yet returned: the handler takes the next piece when it is done
    /// with the last.
    pub(super) unreleased: usize,
    announced: Option<u64>,
    pub(super) taken: u64,
    pub(super) reply: Reply,
    fault: Option<StatusCode>,
    timer: Timer,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("method", &self.method).field("taken", &self.taken).finish_non_exhaustive()
    }
}

impl Stream {
    /// See [`Call::chunk`].
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        if self.fault.is_some() {
            return Err(closed());
        }
        let patience = self.shared.timeouts.body;
        loop {
            self.release();
            let mut deadline = None;
            let piece = poll_fn(|cx| {
                if let Poll::Ready(piece) = self.body.poll_data(cx) {
                    return Poll::Ready(piece.transpose().map_err(|_| Kind::Closed));
                }
                let deadline = *deadline.get_or_insert_with(|| Instant::now() + patience);
                self.timer.poll(cx, deadline).map(|()| Err(Kind::Timeout(Phase::Body)))
            })
            .await;
            let data = match piece {
                Ok(Some(data)) => data,
                Ok(None) => return Ok(None),
                Err(kind) => return Err(self.spoil(kind)),
            };
            self.unreleased = data.len();
            self.taken += data.len() as u64;
            let limit = self.shared.limits.body_bytes;
            if self.taken > limit as u64 {
                return Err(self.spoil(Kind::TooLarge { what: "body", limit, status: 413 }));
            }
            if !data.is_empty() {
                return Ok(Some(data));
            }
        }
    }

    /// See [`Call::trailers`].
    pub(crate) async fn trailers(&mut self) -> Result<Option<Headers>, Error> {
        if self.fault.is_some() {
            return Err(closed());
        }
        let deadline = Instant::now() + self.shared.timeouts.body;
        poll_fn(|cx| {
            if let Poll::Ready(trailers) = self.poll_request_trailers(cx) {
                return Poll::Ready(trailers);
            }
            self.timer.poll(cx, deadline).map(|()| Err(self.spoil(Kind::Timeout(Phase::Body))))
        })
        .await
    }

    pub(super) fn release(&mut self) {
        let n = std::mem::take(&mut self.unreleased);
        if n > 0 {
            // Fails only when the stream is gone, and then nobody waits for the window.
            let _ = self.body.flow_control().release_capacity(n);
        }
    }

    pub(super) fn spoil(&mut self, kind: Kind) -> Error {
        let status = match &kind {
            Kind::TooLarge { status, .. } | Kind::Protocol { status, .. } => *status,
            Kind::Timeout(_) => 408,
            _ => 400,
        };
        self.fault = StatusCode::from_u16(status).ok();
        Error::client(kind)
    }

    /// See [`Call::body`].
    pub(crate) async fn body(&mut self, limit: usize) -> Result<Bytes, Error> {
        let limit = limit.min(self.shared.limits.body_bytes);
        let too_large = Kind::TooLarge { what: "body", limit, status: 413 };
        if self.announced.is_some_and(|n| n > limit as u64) {
            return Err(self.spoil(too_large));
        }
        let Some(first) = self.chunk().await? else { return Ok(Bytes::new()) };
        if first.len() <= limit && self.body.is_end_stream() {
            self.release();
            return Ok(first);
        }
        let expected = self.announced.and_then(|n| usize::try_from(n).ok()).unwrap_or(first.len() * 2);
        let most = first.len().max(STREAM_WINDOW as usize);
        let mut whole = BytesMut::with_capacity(expected.clamp(first.len(), most));
        whole.extend_from_slice(&first);
        loop {
            if whole.len() > limit {
                return Err(self.spoil(too_large));
            }
            match self.chunk().await? {
                Some(data) => whole.extend_from_slice(&data),
                None => return Ok(whole.freeze()),
            }
        }
    }

    /// See [`Call::gone`].
    pub(crate) async fn gone(&mut self) {
        poll_fn(|cx| match &mut self.reply {
            Reply::Fresh(reply) => reply.poll_reset(cx).map(|_| ()),
            Reply::Streaming { stream, .. } | Reply::Bodiless(stream) => stream.poll_reset(cx).map(|_| ()),
            Reply::Done => Poll::Ready(()),
        })
        .await;
    }

    /// See [`Call::respond`].
    pub(crate) async fn respond(&mut self, head: ResponseHead, body: Bytes) -> Result<(), Error> {
        let announced = head.headers.get("content-length").and_then(|value| length(value));
        let silent = bodiless(&self.method, head.status);
        let size = match (silent, self.method == Method::HEAD) {
            (false, _) => Some(body.len() as u64),
            (true, true) if body.is_empty() => announced.or(Some(0)),
            (true, true) => Some(body.len() as u64),
            (true, false) => None,
        };
        let end = silent || body.is_empty();
        let mut stream = self.send_head(&head, size, end)?;
        if !end {
            // Until the last byte is queued, dropping this future resets the stream.
            self.reply = Reply::Streaming { stream, left: None };
            self.write(body, End::Stream).await?;
            stream = match std::mem::replace(&mut self.reply, Reply::Done) {
                Reply::Streaming { stream, .. } => stream,
                Reply::Fresh(_) | Reply::Bodiless(_) | Reply::Done => return Err(closed()),
            };
        }
        drop(stream);
        Ok(())
    }

    /// See [`Call::commit`].
    pub(crate) async fn commit(&mut self, head: ResponseHead, first: Bytes) -> Result<(), Error> {
        let left = head.headers.get("content-length").and_then(|value| length(value));
        let silent = bodiless(&self.method, head.status);
        let named = left.filter(|_| !silent || self.method == Method::HEAD);
        let stream = self.send_head(&head, named, silent)?;
        if silent {
            self.reply = Reply::Bodiless(stream);
            return Ok(());
        }
        self.reply = Reply::Streaming { stream, left };
        self.send(std::slice::from_ref(&first)).await
    }

    fn send_head(&mut self, head: &ResponseHead, size: Option<u64>, end: bool) -> Result<SendStream<Bytes>, Error> {
        debug_assert!(!head.status.is_informational(), "an interim status ends no exchange");
        let Reply::Fresh(mut reply) = std::mem::replace(&mut self.reply, Reply::Done) else { return Err(closed()) };
        reply.send_response(head::response(head, size), end).map_err(|_| closed())
    }

    /// See [`Call::send_slices`].
    pub(crate) async fn send(&mut self, slices: &[Bytes]) -> Result<(), Error> {
        for slice in slices {
            self.count(slice.len())?;
            self.write(slice.clone(), End::Open).await?;
        }
        Ok(())
    }

    fn count(&mut self, size: usize) -> Result<(), Error> {
        if let Reply::Streaming { left: Some(left), .. } = &mut self.reply {
            *left = left.checked_sub(size as u64).ok_or_else(wrong_length)?;
        }
        Ok(())
    }

    /// Queues `data` as the client's window and our buffer allow.
    async fn write(&mut self, mut data: Bytes, end: End) -> Result<(), Error> {
        let patience = self.shared.timeouts.write;
        let Stream { reply, timer, purse, .. } = self;
        let stream = match reply {
            Reply::Streaming { stream, .. } => stream,
            Reply::Bodiless(_) => return Ok(()),
            Reply::Fresh(_) | Reply::Done => return Err(closed()),
        };
        while !data.is_empty() {
            let mut deadline = None;
            let room = poll_fn(|cx| {
                if let Poll::Ready(room) = poll_room(stream, cx, data.len()) {
                    return Poll::Ready(room.ok_or(Kind::Closed));
                }
                let deadline = *deadline.get_or_insert_with(|| Instant::now() + patience);
                ready!(timer.poll(cx, deadline));
                Poll::Ready(Err(Kind::Timeout(Phase::Write)))
            })
            .await
            .map_err(Error::client)?;
            let piece = data.split_to(room);
            let last = end == End::Stream && data.is_empty();
            purse.sent(piece.len());
            stream.send_data(piece, last).map_err(|_| closed())?;
        }
        Ok(())
    }

    /// See [`Call::finish_with`].
    pub(crate) async fn finish(&mut self, last: Bytes, trailers: Option<Headers>) -> Result<(), Error> {
        self.count(last.len())?;
        let trailers = trailers.as_ref().and_then(head::trailers);
        match &self.reply {
            Reply::Streaming { left: Some(1..), .. } => return Err(wrong_length()),
            Reply::Streaming { .. } | Reply::Bodiless(_) => {}
            Reply::Fresh(_) | Reply::Done => return Err(closed()),
        }
        let ended = trailers.is_none() && !last.is_empty();
        self.write(last, if ended { End::Stream } else { End::Open }).await?;
        match (std::mem::replace(&mut self.reply, Reply::Done), trailers) {
            (Reply::Streaming { mut stream, .. }, Some(fields)) => stream.send_trailers(fields).map_err(|_| closed()),
            (Reply::Streaming { mut stream, .. }, None) if !ended => {
                stream.send_data(Bytes::new(), true).map_err(|_| closed())
            }
            _ => Ok(()),
        }
    }
}

/// Whether a piece of data is the last of its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    Stream,
}

impl Drop for Stream {
    fn drop(&mut self) {
        match std::mem::replace(&mut self.reply, Reply::Done) {
            Reply::Done | Reply::Bodiless(_) => {}
            Reply::Fresh(mut reply) if std::thread::panicking() => reply.send_reset(Reason::INTERNAL_ERROR),
            Reply::Fresh(mut reply) => {
                let status = self.fault.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                let _ = reply.send_response(head::response(&ResponseHead::new(status), Some(0)), true);
            }
            Reply::Streaming { mut stream, .. } => stream.send_reset(Reason::INTERNAL_ERROR),
        }
    }
}

pub(super) fn closed() -> Error {
    Error::client(Kind::Closed)
}
