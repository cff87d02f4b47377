//! One HTTP/2 connection that many exchanges share, and the bodies that follow.
//!
//! The `h2` crate frames; this opens streams, moves bodies within the peer's windows, releases ours as slices are taken
//! and says what a failure means for a retry. Dropping an exchange or a body before its end resets its stream. Nothing
//! here picks a connection; that is the pool's.
//!
//! The connection needs somebody who polls it: one task, which ends when the last handle and the last stream are gone.

use std::{
    future::{Future, poll_fn},
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;
use h2::{
    Reason, RecvStream, SendStream,
    client::{Builder, ResponseFuture, SendRequest},
};
use http::{HeaderMap, HeaderValue, uri};

use crate::{
    Error, Headers, Kind, Limits, Method, Phase, ResponseHead, Retry, Side, StatusCode,
    client::{ClientConfig, Outbound},
    count::Counted,
    h1::client::{STALE_WINDOW, hop_by_hop},
    net::stream::Stream,
    pool::key::Origin,
    timer::Timer,
};

use super::{
    head,
    meter::{Alarm, Metered, Peer, Purse},
};

/// Receive window of a stream.
const STREAM_WINDOW: u32 = 1024 * 1024;
/// Receive window of a connection.
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// Bytes queued in the crate per sending stream.
const SEND_BUFFER: usize = 64 * 1024;
/// Unread small DATA frames are charged against this (see the crate's `data_frame_budget`). With the default, one slow
/// reader of 100-byte deltas would get the connection of all the others closed.
const DATA_FRAME_BUDGET: usize = 16 * 1024 * 1024;
/// Streams that we reset may deliver what was on its way for this long.
const RESET_STREAM_DURATION: Duration = Duration::from_secs(5);
/// Reset streams remembered for that: all of them. Frames of one that is forgotten count as malformed, and too many of those
/// end the connection with everybody on it.
const RESET_STREAMS_MAX: usize = STREAMS_MAX;
/// Streams after which a connection is replaced: peers count some abuse over a connection's whole life.
const STREAMS_MAX: usize = 1000;
/// Age after which a connection is replaced, so that a server behind a name can be taken out of service.
const AGE_MAX: Duration = Duration::from_secs(3600);

/// A shared connection.
#[derive(Debug)]
pub(crate) struct Conn {
    send: SendRequest<Bytes>,
    /// What is sent pays for what the peer says besides answers.
    purse: Purse,
    alarm: Alarm,
    live: AtomicUsize,
    opened: AtomicUsize,
    born: Instant,
    /// Milliseconds after `born` at which the last stream ended.
    idle_since: AtomicU64,
    /// The connection takes no new streams.
    ended: Arc<AtomicBool>,
}

/// A place on a connection, held as long as its stream.
#[derive(Debug)]
pub(crate) struct Claim {
    conn: Arc<Conn>,
    reused: bool,
}

impl Conn {
    /// Speaks first and starts to drive the connection, which is counted as long as it is open.
    pub(crate) async fn start(stream: Stream, limits: &Limits, counted: Counted) -> Result<Arc<Self>, Error> {
        let (purse, alarm) = (Purse::default(), Alarm::default());
        let stream = Metered::new(stream, Peer::Server, alarm.clone(), purse.clone());
        let (send, driver) = Builder::new()
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
            .max_send_buffer_size(SEND_BUFFER)
            .data_frame_budget(DATA_FRAME_BUDGET)
            .max_concurrent_reset_streams(RESET_STREAMS_MAX)
            .reset_stream_duration(RESET_STREAM_DURATION)
            .handshake(stream)
            .await
            .map_err(|error| Error::upstream(kind_of(&error), Retry::Safe))?;
        let ended = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&ended);
        tokio::spawn(async move {
            let _counted = counted;
            if let Err(error) = driver.await {
                tracing::debug!(%error, "upstream http/2 connection ended");
            }
            flag.store(true, Ordering::Release);
        });
        Ok(Arc::new(Self {
            send,
            purse,
            alarm,
            live: AtomicUsize::new(0),
            opened: AtomicUsize::new(0),
            born: Instant::now(),
            idle_since: AtomicU64::new(0),
            ended,
        }))
    }

    /// Takes a place.
    pub(crate) fn claim(self: &Arc<Self>) -> Claim {
        self.live.fetch_add(1, Ordering::AcqRel);
        let reused = self.opened.fetch_add(1, Ordering::AcqRel) > 0;
        Claim { conn: Arc::clone(self), reused }
    }

    /// Streams on it now.
    pub(crate) fn live(&self) -> usize {
        self.live.load(Ordering::Acquire)
    }

    /// Whether it is closed, or lives on in its streams only.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Whether it may carry another stream at all.
    pub(crate) fn is_usable(&self) -> bool {
        !self.has_ended()
            && !self.alarm.is_worn()
            && self.opened.load(Ordering::Acquire) < STREAMS_MAX
            && self.born.elapsed() < AGE_MAX
    }

    /// Whether less than 80 % of what the peer allows is taken.
    pub(crate) fn has_room(&self) -> bool {
        let allowed = self.send.current_max_send_streams();
        self.live() < allowed.saturating_mul(4).div_ceil(5)
    }

    /// For how long it carried nothing; `None` while it carries something.
    pub(crate) fn idle_for(&self, now: Instant) -> Option<Duration> {
        let since = self.born + Duration::from_millis(self.idle_since.load(Ordering::Acquire));
        (self.live() == 0).then(|| now.saturating_duration_since(since))
    }
}

impl Claim {
    pub(crate) fn is_reused(&self) -> bool {
        self.reused
    }

    /// Begins a stream; gives also what pays for the peer's frames. `whole`: there is no body.
    ///
    /// # Errors
    /// The connection takes no more streams.
    pub(super) async fn begin(
        &self,
        message: http::Request<()>,
        whole: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>, Purse), Error> {
        let mut send = self.conn.send.clone();
        let refused = |error: h2::Error| {
            self.retire();
            Error::upstream(kind_of(&error), Retry::Safe)
        };
        // Not a wait for a free stream: the crate queues the stream and the head deadline covers that.
        poll_fn(|cx| send.poll_ready(cx)).await.map_err(refused)?;
        let (response, stream) = send.send_request(message, whole).map_err(refused)?;
        let purse = self.conn.purse.clone();
        purse.asked();
        Ok((response, stream, purse))
    }

    /// No further stream may start here.
    fn retire(&self) {
        self.conn.ended.store(true, Ordering::Release);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let at = u64::try_from(self.conn.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.conn.idle_since.store(at, Ordering::Release);
        self.conn.live.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What [`exchange`] hands over.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) head: ResponseHead,
    pub(crate) body: H2Body,
    pub(crate) sent: Instant,
}

/// The part of a request body that was not handed to the connection yet.
#[derive(Debug)]
struct Upload {
    stream: SendStream<Bytes>,
    /// In reverse, so that the next one is popped.
    slices: Vec<Bytes>,
    trailers: Option<HeaderMap>,
    purse: Purse,
}

impl Upload {
    /// Hands over as much as the windows allow; ready when everything is.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        while let Some(slice) = self.slices.last_mut() {
            self.stream.reserve_capacity(slice.len());
            let room = match ready!(self.stream.poll_capacity(cx)) {
                Some(room) => room?,
                // The peer wants no more of it; whether that is a failure shows in its answer.
                None => return Poll::Ready(Ok(())),
            };
            let piece = slice.split_to(room.min(slice.len()));
            if slice.is_empty() {
                self.slices.pop();
            }
            if !piece.is_empty() {
                self.purse.sent(piece.len());
                self.stream.send_data(piece, self.slices.is_empty() && self.trailers.is_none())?;
            }
        }
        if let Some(fields) = self.trailers.take() {
            self.stream.send_trailers(fields)?;
        }
        Poll::Ready(Ok(()))
    }

    fn left(&self) -> usize {
        self.slices.iter().map(Bytes::len).sum()
    }
}

/// Sends `request` on its place and waits for the head of the answer.
///
/// An answer that begins before the request is written out is taken; the upload goes on beside the reading of the body,
/// since a reset would end both directions.
pub(crate) async fn exchange(claim: Claim, request: &Outbound, config: &ClientConfig) -> Result<Answer, Error> {
    let message = encode(&request.origin, request)?;
    let mut slices: Vec<Bytes> = request.body.iter().rev().filter(|slice| !slice.is_empty()).cloned().collect();
    slices.shrink_to_fit();
    let trailers = request.trailers.as_ref().and_then(head::trailers);
    let whole = slices.is_empty() && trailers.is_none();
    let (mut response, stream, purse) = claim.begin(message, whole).await?;
    let mut upload = (!whole).then_some(Upload { stream, slices, trailers, purse });
    let mut interim = 0;
    let mut sent = upload.is_none().then(Instant::now);
    let head_deadline = request.head_timeout.map(|limit| (Instant::now() + limit, Phase::Head));
    let mut write_deadline: Option<(usize, Instant)> = None;
    let mut timer = Timer::default();
    let answer = poll_fn(|cx| {
        if let Some(open) = &mut upload {
            match open.poll(cx) {
                Poll::Ready(outcome) => {
                    // A failed write shows again, and with its reason, in the answer.
                    sent = outcome.is_ok().then(Instant::now);
                    upload = None;
                    write_deadline = None;
                }
                Poll::Pending => {
                    let left = open.left();
                    if write_deadline.is_none_or(|(before, _)| before != left) {
                        write_deadline = Some((left, Instant::now() + config.timeouts.write));
                    }
                }
            }
        }
        // The crate keeps every interim answer until it is asked for them.
        while let Poll::Ready(Some(Ok(answer))) = response.poll_informational(cx) {
            interim += 1;
            let reason = match answer.status() {
                StatusCode::SWITCHING_PROTOCOLS => "upgrade",
                _ if interim > config.limits.interim_responses => "too_many_interim",
                _ => continue,
            };
            return Poll::Ready(Err(malformed(Kind::Protocol { reason, status: 502 })));
        }
        if let Poll::Ready(answer) = Pin::new(&mut response).poll(cx) {
            return Poll::Ready(answer.map_err(|error| judge(&error, &claim, request, sent)));
        }
        let write = write_deadline.map(|(_, deadline)| (deadline, Phase::Write));
        let due = [head_deadline, write].into_iter().flatten().min_by_key(|(deadline, _)| *deadline);
        let Some((deadline, phase)) = due else { return Poll::Pending };
        ready!(timer.poll(cx, deadline.into()));
        Poll::Ready(Err(Error::upstream(Kind::Timeout(phase), Retry::Never)))
    })
    .await?;
    let (parts, recv) = answer.into_parts();
    let fields_max = config.limits.fields;
    let headers = head::received(&parts.headers, fields_max, 502).map_err(malformed)?;
    let head = ResponseHead { status: parts.status, headers };
    let sent = sent.unwrap_or_else(Instant::now);
    Ok(Answer {
        head,
        body: H2Body { data: Incoming::new(recv), upload, trailers: None, fields_max, _claim: claim },
        sent,
    })
}

/// A request line as HTTP/2 wants it (RFC 9113 §8.3.1), without fields.
pub(super) fn message(
    origin: &Origin,
    method: &Method,
    authority: &Bytes,
    target: &Bytes,
) -> Result<http::Request<()>, Error> {
    let bad =
        |reason| Error { side: Side::Internal, kind: Kind::Protocol { reason, status: 400 }, retry: Retry::Never };
    let uri = http::Uri::builder()
        .scheme(origin.scheme().as_str())
        .authority(uri::Authority::from_maybe_shared(authority.clone()).map_err(|_| bad("bad_authority"))?)
        .path_and_query(uri::PathAndQuery::from_maybe_shared(target.clone()).map_err(|_| bad("bad_target"))?)
        .build()
        .map_err(|_| bad("bad_target"))?;
    let mut message = http::Request::new(());
    *message.method_mut() = method.clone();
    *message.uri_mut() = uri;
    *message.version_mut() = http::Version::HTTP_2;
    Ok(message)
}

/// Request line and fields as HTTP/2 wants them (RFC 9113 §8.2, §8.3.1).
fn encode(origin: &Origin, request: &Outbound) -> Result<http::Request<()>, Error> {
    let authority = request.host().unwrap_or(origin.authority());
    let mut message = message(origin, &request.method, authority, &request.target)?;
    let fields = message.headers_mut();
    fields.reserve(request.headers.len() + 1);
    let stays = hop_by_hop(&request.headers);
    for (name, value) in request.headers.iter() {
        let trailers = name.eq_ignore_ascii_case(b"te") && value.eq_ignore_ascii_case(b"trailers");
        if name.eq_ignore_ascii_case(b"host") || (stays(name) && !trailers) {
            continue;
        }
        head::append(fields, name, value);
    }
    if let Some(length) = request.content_length() {
        fields.insert(http::header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(message)
}

/// The error for an answer that is none.
pub(super) fn malformed(kind: Kind) -> Error {
    Error::upstream(kind, Retry::Never)
}

pub(super) fn kind_of(error: &h2::Error) -> Kind {
    if let Some(io) = error.get_io() {
        return match io.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::NotConnected
            | io::ErrorKind::BrokenPipe => Kind::Closed,
            kind => Kind::Io(kind),
        };
    }
    if error.is_remote() {
        return match error.reason() {
            Some(Reason::ENHANCE_YOUR_CALM) => Kind::Protocol { reason: "enhance_your_calm", status: 502 },
            Some(Reason::REFUSED_STREAM) => Kind::Protocol { reason: "refused_stream", status: 502 },
            Some(Reason::HTTP_1_1_REQUIRED) => Kind::Protocol { reason: "http_1_1_required", status: 502 },
            _ => Kind::Closed,
        };
    }
    Kind::Protocol { reason: "h2", status: 502 }
}

/// A failure before the head of the answer.
fn judge(error: &h2::Error, claim: &Claim, request: &Outbound, sent: Option<Instant>) -> Error {
    let early = request.method.is_idempotent() || sent.is_none_or(|sent| sent.elapsed() < STALE_WINDOW);
    let retry = match retry_of(error, claim) {
        Retry::FreshConnection if !early => Retry::Never,
        retry => retry,
    };
    Error::upstream(kind_of(error), retry)
}

/// Whether a stream that failed before its answer began may be tried again, if that is soon. A connection that broke takes
/// no new streams.
pub(super) fn retry_of(error: &h2::Error, claim: &Claim) -> Retry {
    let refused = error.is_reset() && error.is_remote() && error.reason() == Some(Reason::REFUSED_STREAM);
    // The crate gives this error only to streams above the last one that the peer will process (RFC 9113 §6.8).
    let unprocessed = error.is_go_away() && error.is_remote();
    if !error.is_reset() {
        claim.retire();
    }
    if refused || unprocessed {
        Retry::Safe
    } else if error.is_io() && claim.reused {
        Retry::FreshConnection
    } else {
        Retry::Never
    }
}

/// The data of an answer as it comes.
#[derive(Debug)]
pub(super) struct Incoming {
    recv: RecvStream,
    /// Bytes given out whose window was not released yet.
    held: usize,
}

impl Incoming {
    pub(super) fn new(recv: RecvStream) -> Self {
        Self { recv, held: 0 }
    }

    /// The next slice; `None` behind the last.
    pub(super) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, h2::Error>>> {
        // Whoever asks for the next slice has taken the last one: only now may the peer send as much again.
        let held = std::mem::take(&mut self.held);
        if held > 0 && self.recv.flow_control().release_capacity(held).is_err() {
            debug_assert!(false, "more window was released than used");
        }
        loop {
            match ready!(self.recv.poll_data(cx)) {
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => {
                    self.held = data.len();
                    return Poll::Ready(Some(Ok(data)));
                }
                end => return Poll::Ready(end),
            }
        }
    }

    /// Fields behind the last slice.
    pub(super) fn poll_trailers(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<HeaderMap>, h2::Error>> {
        self.recv.poll_trailers(cx)
    }

    /// Whether nothing more will come.
    pub(super) fn is_over(&self) -> bool {
        self.recv.is_end_stream()
    }
}

/// The rest of a response on its stream.
#[derive(Debug)]
pub(crate) struct H2Body {
    data: Incoming,
    /// A request body that is still being sent.
    upload: Option<Upload>,
    trailers: Option<Headers>,
    fields_max: usize,
    _claim: Claim,
}

impl H2Body {
    /// The next slice, `None` at the end.
    pub(crate) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Error>> {
        if let Some(upload) = &mut self.upload
            && upload.poll(cx).is_ready()
        {
            self.upload = None;
        }
        if let Some(data) = ready!(self.poll_data(cx)) {
            return Poll::Ready(data.map(Some));
        }
        match ready!(self.data.poll_trailers(cx)) {
            Ok(Some(fields)) => {
                self.trailers = head::received_trailers(fields, self.fields_max, 502).map_err(malformed)?;
            }
            Ok(None) => {}
            Err(error) => return Poll::Ready(Err(Error::upstream(kind_of(&error), Retry::Never))),
        }
        Poll::Ready(Ok(None))
    }

    /// The next slice if it is here already.
    pub(crate) fn ready(&mut self) -> Option<Result<Bytes, Error>> {
        match self.poll_data(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(data) => data,
            Poll::Pending => None,
        }
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        self.data.poll_data(cx).map_err(|error| Error::upstream(kind_of(&error), Retry::Never))
    }

    /// Ends a body that was read to its end.
    pub(crate) fn end(self) -> Option<Headers> {
        self.trailers
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_host_that_could_be_read_in_two_ways_is_not_asked_for() {
        let origin = Origin::parse("https://a.test").unwrap();
        for (host, authority) in [
            (None, "a.test"),
            (Some("b.test:8443"), "b.test:8443"),
            (Some(""), "a.test"),
            (Some("user@b.test"), "a.test"),
            (Some("b.test,c.test"), "a.test"),
            (Some("b.test/x"), "a.test"),
        ] {
            let mut request = Outbound::new(origin.clone(), Method::GET, "/");
            if let Some(host) = host {
                request.headers.append("host", host);
            }
            let message = encode(&origin, &request).unwrap();
            assert_eq!(message.uri().authority().unwrap(), authority, "{host:?}");
            assert!(message.headers().is_empty());
        }
    }
}
