//! One request on one client connection, with the means to answer it once.
//!
//! The type says how far the answer is: [`Fresh`] can still become any answer, [`Committed`] has sent its head. A call
//! borrows its HTTP/1 connection (or owns its HTTP/2 stream): between a handler and the socket there is no lock, no
//! channel and no task.
//!
//! Dropping a call is safe at any moment. A fresh one is answered with 500 (or the status of the fault that its body
//! had); a committed one is aborted, so that a client can never take half an answer for a whole one.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use ::h2::Reason;
use bytes::Bytes;

use crate::front::TlsInfo;
use crate::h1::passing::Switched;
use crate::h1::server::Conn;
use crate::h2::server::Stream;
use crate::{Error, Headers, Kind, Method, RequestHead, ResponseHead, Retry, Side, StatusCode};
use crate::{h1, h2};

/// What a server calls for every request.
pub trait Handler: Send + Sync + 'static {
    /// Answers one call. The future is polled inside the connection's own task, one at a time on HTTP/1; it is dropped
    /// when the connection dies under HTTP/2 or when a drain has waited long enough. A panic ends this exchange only.
    fn handle<'a>(&'a self, call: Call<'a, Fresh>) -> impl Future<Output = ()> + Send + 'a;

    /// Content type and body in which the client of this path is told that its request could not be read; `None` for
    /// plain text. Only HTTP/1 asks, for a request whose first line is good and whose head is not.
    ///
    /// `status` is sent whatever is said here, and `told` is what plain text would say.
    fn refusal(&self, method: &Method, path: &str, status: StatusCode, told: &str) -> Option<(&'static str, Bytes)> {
        let _ = (method, path, status, told);
        None
    }
}

/// Nothing has been answered yet. In a box: a call moves through every future on its way to its answer, each of which has
/// room for it twice.
#[derive(Debug)]
pub struct Fresh(Box<Received>);

#[derive(Debug)]
struct Received {
    head: RequestHead,
    ends: Ends,
    received: Instant,
}

impl Fresh {
    fn new(head: RequestHead, ends: Ends, received: Instant) -> Self {
        Self(Box::new(Received { head, ends, received }))
    }
}

/// The two addresses of a client's connection, and what was agreed on between them.
#[derive(Debug, Clone)]
pub(crate) struct Ends {
    /// The client's.
    pub(crate) peer: SocketAddr,
    /// Ours; `None` where the system does not tell.
    pub(crate) local: Option<SocketAddr>,
    /// The TLS that we ended.
    pub(crate) tls: Option<Arc<TlsInfo>>,
}

/// The head of the answer has been sent.
#[derive(Debug)]
pub struct Committed(());

/// One request and its answer.
#[derive(Debug)]
pub struct Call<'a, State = Fresh> {
    leg: Leg<'a>,
    state: State,
}

#[derive(Debug)]
enum Leg<'a> {
    H1(&'a mut Conn),
    H2(Box<Stream>),
}

macro_rules! leg {
    ($leg:expr, $inner:ident => $call:expr) => {
        match $leg {
            Leg::H1($inner) => $call,
            Leg::H2($inner) => $call,
        }
    };
}

impl<'a> Call<'a, Fresh> {
    pub(crate) fn h1(conn: &'a mut Conn, head: RequestHead, ends: Ends, received: Instant) -> Self {
        Self { leg: Leg::H1(conn), state: Fresh::new(head, ends, received) }
    }

    pub(crate) fn h2(stream: Stream, head: RequestHead, ends: Ends, received: Instant) -> Self {
        Self { leg: Leg::H2(Box::new(stream)), state: Fresh::new(head, ends, received) }
    }

    /// The head of the request.
    pub fn head(&self) -> &RequestHead {
        &self.state.0.head
    }

    /// Moves the head out, leaving an empty one: a caller that keeps it needs no copy.
    pub fn take_head(&mut self) -> RequestHead {
        let empty = RequestHead {
            method: self.state.0.head.method.clone(),
            target: Bytes::new(),
            authority: Bytes::new(),
            version: self.state.0.head.version,
            headers: Headers::new(),
        };
        std::mem::replace(&mut self.state.0.head, empty)
    }

    /// Whether the target was a whole `http` URL, as only a proxy gets it (RFC 9112 §3.2.2).
    pub(crate) fn is_absolute(&self) -> bool {
        match &self.leg {
            Leg::H1(conn) => conn.is_absolute(),
            Leg::H2(_) => false,
        }
    }

    /// Address of the client.
    pub fn peer(&self) -> SocketAddr {
        self.state.0.ends.peer
    }

    /// Our own address on the client's connection: which of our addresses the client dialled. `None` where the system
    /// does not tell.
    pub fn local(&self) -> Option<SocketAddr> {
        self.state.0.ends.local
    }

    /// What the TLS handshake of the client's connection agreed on; `None` for a connection that came without TLS.
    pub fn tls(&self) -> Option<&TlsInfo> {
        self.state.0.ends.tls.as_deref()
    }

    /// When the head was complete.
    pub fn received(&self) -> Instant {
        self.state.0.received
    }

    /// The next piece of the request body, `None` at its end. Cancel safe.
    ///
    /// A client that waits for `100 Continue` is told to go on. An error leaves the call answerable: its status is in
    /// the [`Kind`].
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        leg!(&mut self.leg, leg => leg.chunk().await)
    }

    /// What is left of the request body in one buffer of at most `limit` bytes ([`crate::Limits::body_bytes`] holds as
    /// well). A body that arrived together with its head is not copied. Not cancel safe: what was read is lost.
    pub async fn body(&mut self, limit: usize) -> Result<Bytes, Error> {
        leg!(&mut self.leg, leg => leg.body(limit).await)
    }

    /// Fields behind the request's body, once [`Call::chunk`] has said `None` or [`Call::body`] has given it out. Those
    /// that would have had to be known before the body are left out (RFC 9110 §6.5.1).
    ///
    /// # Errors
    /// As [`Call::chunk`].
    pub async fn trailers(&mut self) -> Result<Option<Headers>, Error> {
        leg!(&mut self.leg, leg => leg.trailers().await)
    }

    /// Resolves when the client has left; see [`Call::gone`] of a committed call.
    pub async fn gone(&mut self) {
        leg!(&mut self.leg, leg => leg.gone().await)
    }

    /// Sends a whole answer: head and body leave in one vectored write.
    ///
    /// `content-length` is set here, and HEAD, 204 and 304 answers lose their body here.
    pub async fn respond(self, head: ResponseHead, body: Bytes) -> Result<(), Error> {
        let mut leg = self.leg;
        leg!(&mut leg, leg => leg.respond(head, body).await)
    }

    /// Starts a streamed answer: head and `first` leave in one vectored write.
    ///
    /// The length is open (chunked, HTTP/1.0: up to the close) unless `head` carries a valid `content-length`; then
    /// exactly so many bytes have to be sent, or the answer is aborted.
    pub async fn commit(mut self, head: ResponseHead, first: Bytes) -> Result<Call<'a, Committed>, Error> {
        leg!(&mut self.leg, leg => leg.commit(head, first).await)?;
        Ok(Call { leg: self.leg, state: Committed(()) })
    }
}

impl Call<'_, Committed> {
    /// Sends one piece: one chunk in one vectored write. Waits while the client does not read.
    ///
    /// Dropping the future before it is ready spoils the answer: it can then only be aborted.
    pub async fn send(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.send_slices(std::slice::from_ref(&bytes)).await
    }

    /// Sends several slices as one chunk in one vectored write. Cancelling is as for [`Call::send`].
    pub async fn send_slices(&mut self, slices: &[Bytes]) -> Result<(), Error> {
        leg!(&mut self.leg, leg => leg.send(slices).await)
    }

    /// Resolves when the client has left (end of stream, reset); never otherwise. Cancel safe.
    ///
    /// On HTTP/1 a FIN behind a complete request counts as leaving, though a half-closed client might still read: a
    /// command-line agent that is interrupted looks exactly the same, and going on would pay for an answer that nobody
    /// sees. Pipelined bytes that arrive meanwhile are kept, up to a bound behind which nothing more is noticed.
    pub async fn gone(&mut self) {
        leg!(&mut self.leg, leg => leg.gone().await)
    }

    /// Ends the answer cleanly.
    pub async fn finish(self, trailers: Option<Headers>) -> Result<(), Error> {
        self.finish_with(Bytes::new(), trailers).await
    }

    /// Sends `last` and ends the answer cleanly, in one vectored write.
    pub async fn finish_with(self, last: Bytes, trailers: Option<Headers>) -> Result<(), Error> {
        let mut leg = self.leg;
        leg!(&mut leg, leg => leg.finish(last, trailers).await)
    }
}

/// What passing a call on needs: both directions polled beside each other, without deadlines.
impl<'a, State> Call<'a, State> {
    /// The next piece of the request's body; `None` at its end.
    pub(crate) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Error>> {
        leg!(&mut self.leg, leg => leg.poll_piece(cx))
    }

    /// Fields behind the request's body, once that has ended.
    pub(crate) fn poll_trailers(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Headers>, Error>> {
        match &mut self.leg {
            Leg::H1(conn) => Poll::Ready(Ok(conn.take_trailers())),
            Leg::H2(stream) => stream.poll_request_trailers(cx),
        }
    }

    /// Whether a client that leaves is noticed beside a request that is still coming. On HTTP/1 whoever reads the request
    /// is the one to notice.
    pub(crate) fn can_watch(&self) -> bool {
        matches!(self.leg, Leg::H2(_))
    }

    /// Ends a stream in the true server's words. Gives the call back where there are none: HTTP/1 can only close.
    pub(crate) fn reset(mut self, reason: Reason) -> Option<Self> {
        match &mut self.leg {
            Leg::H1(_) => Some(self),
            Leg::H2(stream) => {
                stream.reset(reason);
                None
            }
        }
    }

    /// Whether the request is known to be whole, with nothing more behind it.
    pub(crate) fn is_over(&self) -> bool {
        leg!(&self.leg, leg => leg.is_over())
    }
}

impl<'a> Call<'a, Fresh> {
    /// Whether the client offers to switch to another protocol than HTTP.
    pub(crate) fn wants_upgrade(&self) -> bool {
        match &self.leg {
            Leg::H1(conn) => conn.wants_upgrade(),
            Leg::H2(_) => false,
        }
    }

    /// Sends an interim answer.
    pub(crate) async fn interim(&mut self, head: &ResponseHead) -> Result<(), Error> {
        match &mut self.leg {
            Leg::H1(conn) => conn.interim(head).await,
            Leg::H2(stream) => stream.interim(head),
        }
    }

    /// As [`Call::commit`], with every field where it stands. `whole`: the head is all of the answer, which has still to
    /// be ended by a last piece without bytes. The head leaves with the first piece, which may have no bytes.
    pub(crate) fn commit_in_place(mut self, head: &ResponseHead, whole: bool) -> Result<Call<'a, Committed>, Error> {
        match &mut self.leg {
            Leg::H1(conn) => conn.commit_in_place(head),
            Leg::H2(stream) => stream.commit_in_place(head, whole)?,
        }
        Ok(Call { leg: self.leg, state: Committed(()) })
    }

    /// Answers that the protocol is switched, and gives out the connection. Only HTTP/1.1 can.
    pub(crate) async fn switch(&mut self, head: &ResponseHead) -> Result<Switched<'_>, Error> {
        match &mut self.leg {
            Leg::H1(conn) => conn.switch(head).await,
            Leg::H2(_) => Err(Error::client(Kind::Protocol { reason: "upgrade", status: 400 })),
        }
    }
}

/// A piece of an answer on its way.
#[derive(Debug)]
pub(crate) enum Outgoing {
    H1(h1::passing::Outgoing),
    H2(h2::passing::Outgoing),
}

impl Call<'_, Committed> {
    /// Prepares a piece of the answer; the last one may be empty. Nothing else may be sent before it was.
    pub(crate) fn outgoing(&mut self, data: Bytes, last: bool, trailers: Option<&Headers>) -> Result<Outgoing, Error> {
        Ok(match &mut self.leg {
            Leg::H1(conn) => Outgoing::H1(conn.outgoing(data, last, trailers)?),
            Leg::H2(stream) => Outgoing::H2(stream.outgoing(data, last, trailers)?),
        })
    }

    /// Sends a piece.
    pub(crate) fn poll_outgoing(&mut self, cx: &mut Context<'_>, piece: &mut Outgoing) -> Poll<Result<(), Error>> {
        match (&mut self.leg, piece) {
            (Leg::H1(conn), Outgoing::H1(piece)) => conn.poll_outgoing(cx, piece),
            (Leg::H2(stream), Outgoing::H2(piece)) => stream.poll_outgoing(cx, piece),
            (Leg::H1(_), Outgoing::H2(_)) | (Leg::H2(_), Outgoing::H1(_)) => {
                debug_assert!(false, "a piece of another call");
                Poll::Ready(Err(Error::client(Kind::Closed)))
            }
        }
    }
}

/// The handler sent more or less than the `content-length` that it had named.
pub(crate) fn wrong_length() -> Error {
    Error { side: Side::Internal, kind: Kind::Protocol { reason: "answer_length", status: 500 }, retry: Retry::Never }
}
