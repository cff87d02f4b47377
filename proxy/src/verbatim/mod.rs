//! Calls passed on as they came: for everything that is not ours to answer.
//!
//! ```text
//!   request:  client ──piece by piece──▶ server        the answer may begin, and even end, before the request does
//!   answer:   client ◀─interim…, head, pieces, trailers── server
//! ```
//!
//! Fields keep their order, over HTTP/1.1 also their case, the body its bytes, what frames it its place. Left out are the
//! fields of one connection (RFC 9110 §7.6.1), and `alt-svc` of answers, by which a client would leave for HTTP/3 beside us.
//! Nothing is added but `host` where HTTP/1.0 or HTTP/2 has none, and framing where the two legs differ in it. The server is
//! spoken to as the client speaks to us, and a stream that it resets is reset in its words. An answer that switches protocols makes a tunnel.
//!
//! It follows no redirect, keeps no cookie, inflates nothing. One request is sent twice only if it met a connection that its
//! server had given up already, and was small.

mod upload;
mod upstream;

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use ::h2::Reason;
use bytes::Bytes;
use tokio::time::Instant;

use crate::{
    Call, Client, ClientConfig, Committed, Error, Fresh, Headers, Kind, Offer, Origin, OwnAddresses, Phase, Protocol,
    RequestHead, ResponseHead, Retry, Side, StatusCode, Version,
    client::{Lease, Source},
    h1,
    h1::{client::STALE_WINDOW, duplex::Beginning},
    h2,
    net::{
        splice::Pipes,
        stream::Stream,
        tunnel::{self, Ahead, Means, Moved},
    },
    refusal,
    timer::Silence,
};
use upload::Upload;
use upstream::Upstream;

/// Silence of both sides after which a passage is given up: as long as the longest thought of a model, and more.
const SILENCE: Duration = Duration::from_secs(600);

/// Sees what passes, and delays nothing: it is called between reading and writing, and must only take note.
pub trait Tap: Send {
    /// A piece of the request's body, behind what was read before the passage.
    fn asked(&mut self, piece: &Bytes) {
        let _ = piece;
    }

    /// The head of the answer, as the client gets it.
    fn head(&mut self, head: &ResponseHead) {
        let _ = head;
    }

    /// A piece of the answer's body.
    fn answered(&mut self, piece: &Bytes) {
        let _ = piece;
    }

    /// The answer was whole.
    fn ended(&mut self, trailers: Option<&Headers>) {
        let _ = trailers;
    }
}

/// Takes no note.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoTap;

impl Tap for NoTap {}

/// A call on its way to the server that its client meant.
#[derive(Debug)]
pub struct Passage {
    /// The true server.
    pub origin: Origin,
    /// The head of the request, as [`Call::take_head`] gave it out.
    pub head: RequestHead,
    /// What was read of the body already, in order. The rest is taken from the call.
    pub read: Vec<Bytes>,
}

impl Passage {
    /// Of a call whose body nobody has touched.
    pub fn new(origin: Origin, head: RequestHead) -> Self {
        Self { origin, head, read: Vec::new() }
    }
}

/// What has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// Status of the answer; 101 for a tunnel that has ended.
    pub status: StatusCode,
}

/// Passes calls on to true servers. One per program is meant; it has its own pools.
pub struct Relay {
    /// For clients of HTTP/2: whatever the server prefers.
    any: Client,
    /// For clients of HTTP/1.1: the same to the server, which may answer otherwise in another protocol.
    http1: Client,
    own: OwnAddresses,
    pipes: Pipes,
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay").field("any", &self.any).field("http1", &self.http1).finish_non_exhaustive()
    }
}

impl Relay {
    /// A relay whose clients behave as `config` says; what they offer is the relay's own matter.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn new(config: ClientConfig) -> Result<Arc<Self>, Error> {
        let own = config.own.clone();
        let any = Client::new(ClientConfig { offer: Offer::Both, ..config.clone() })?;
        let http1 = Client::new(ClientConfig { offer: Offer::Http1, ..config })?;
        Ok(Arc::new(Self { any, http1, own, pipes: Pipes::default() }))
    }

    /// What `origin` speaks to a client that offers everything; see [`Client::protocol`].
    ///
    /// # Errors
    /// It cannot be reached.
    pub async fn protocol(&self, origin: &Origin) -> Result<Protocol, Error> {
        self.any.protocol(origin).await
    }

    /// The addresses that it never dials.
    pub fn own(&self) -> &OwnAddresses {
        &self.own
    }

    /// What tunnels move bytes through.
    pub(crate) fn pipes(&self) -> &Pipes {
        &self.pipes
    }

    /// A bare stream to an origin.
    pub(crate) async fn reach(&self, origin: &Origin) -> Result<Stream, Error> {
        self.http1.reach(origin).await
    }

    /// Passes a call on and its answer back.
    ///
    /// # Errors
    /// The answer did not come, or broke off. The client was told: with an answer of ours (502, 504; 508 for a host that
    /// leads back here), or by the end of its connection or stream.
    pub async fn pass(&self, call: Call<'_, Fresh>, passage: Passage) -> Result<Passed, Error> {
        self.pass_watched(call, passage, &mut NoTap).await
    }

    /// As [`Relay::pass`], with somebody who takes note.
    ///
    /// # Errors
    /// As [`Relay::pass`].
    pub async fn pass_watched(
        &self,
        mut call: Call<'_, Fresh>,
        passage: Passage,
        tap: &mut dyn Tap,
    ) -> Result<Passed, Error> {
        let Passage { origin, head, read } = passage;
        let mut upload = Upload::new(read);
        let upgrade = head.version == Version::Http11 && call.wants_upgrade();
        let asked = Asked { origin: &origin, head: &head, whole: upload.is_untouched() && call.is_over(), upgrade };
        match self.begin(&mut call, &asked, &mut upload, tap).await {
            Ok((upstream, Beginning::Final { mut head, whole })) => {
                head.headers.remove("alt-svc");
                tap.head(&head);
                let status = head.status;
                let call = call.commit_in_place(&head, whole)?;
                finish(call, upstream, upload, tap).await?;
                Ok(Passed { status })
            }
            Ok((Upstream::H1(exchange), Beginning::Switched(head))) => {
                tap.head(&head);
                let (mut stream, down) = exchange.into_stream();
                let switched = call.switch(&head).await?;
                // How much goes through is nobody's question here.
                let moved = Moved::default();
                let means = Means { pipes: &self.pipes, moved: &moved, idle: SILENCE };
                let ahead = Ahead { up: switched.ahead, down };
                // How a tunnel ends is the two sides' matter.
                let _ = tunnel::run(switched.io, &mut stream, ahead, switched.closing, means).await;
                Ok(Passed { status: head.status })
            }
            Ok(_) => Err(Error::upstream(Kind::Protocol { reason: "upgrade", status: 502 }, Retry::Never)),
            Err(Failed { error, reset }) => {
                let call = match reset {
                    Some(reason) => call.reset(reason),
                    None => Some(call),
                };
                if let Some(call) = call.filter(|_| error.side != Side::Client) {
                    let (head, text) = told(&error);
                    // The first failure is the one to report.
                    let _ = call.respond(head, text).await;
                }
                Err(error)
            }
        }
    }

    /// Sends a request until its answer begins, on a second connection if the first was given up.
    async fn begin(
        &self,
        call: &mut Call<'_, Fresh>,
        asked: &Asked<'_>,
        upload: &mut Upload,
        tap: &mut dyn Tap,
    ) -> Result<(Upstream, Beginning), Failed> {
        let mut source = Source::Pool;
        loop {
            if asked.whole {
                upload.skip();
            }
            let began = Instant::now();
            let mut upstream = self.open(asked, source).await?;
            let error = match beginning(call, &mut upstream, upload, tap).await {
                Ok(beginning) => {
                    upload.forget();
                    return Ok((upstream, beginning));
                }
                Err(error) => error,
            };
            let early = asked.head.method.is_idempotent() || began.elapsed() < STALE_WINDOW;
            let stale = matches!(error.retry, Retry::Safe | Retry::FreshConnection) && upstream.is_reused() && early;
            if source == Source::Fresh || !stale || !upload.rewind() {
                return Err(Failed { error, reset: upstream.reset() });
            }
            tracing::debug!(origin = %asked.origin, %error, "passing on again on another connection");
            source = Source::Fresh;
        }
    }

    async fn open(&self, asked: &Asked<'_>, source: Source) -> Result<Upstream, Error> {
        let Asked { origin, head, whole, upgrade } = *asked;
        let client = if head.version == Version::Http2 { &self.any } else { &self.http1 };
        let limits = client.limits();
        Ok(match client.lease(origin, source).await? {
            Lease::H1(conn) => Upstream::H1(Box::new(h1::duplex::Duplex::start(conn, head, whole, upgrade, limits))),
            Lease::H2(claim) => {
                Upstream::H2(Box::new(h2::duplex::Duplex::start(claim, origin, head, whole, limits).await?))
            }
        })
    }
}

/// Why an answer did not begin.
struct Failed {
    error: Error,
    /// In which words the server has reset its stream.
    reset: Option<Reason>,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, reset: None }
    }
}

/// What is asked of a server.
#[derive(Debug, Clone, Copy)]
struct Asked<'a> {
    origin: &'a Origin,
    head: &'a RequestHead,
    /// There is no body.
    whole: bool,
    upgrade: bool,
}

/// Both sides were silent for too long.
fn silent() -> Error {
    Error::upstream(Kind::Timeout(Phase::Body), Retry::Never)
}

/// Sends the request, passes interim answers on, and comes back with the answer's head.
async fn beginning(
    call: &mut Call<'_, Fresh>,
    upstream: &mut Upstream,
    upload: &mut Upload,
    tap: &mut dyn Tap,
) -> Result<Beginning, Error> {
    let (mut silence, mut moved) = (Silence::new(), 0);
    let mut interim = 0;
    loop {
        let next = poll_fn(|cx| {
            if let Poll::Ready(Err(error)) = upload.poll(cx, call, upstream, tap, &mut moved) {
                return Poll::Ready(Err(error));
            }
            if let Poll::Ready(next) = upstream.poll_beginning(cx) {
                return Poll::Ready(next);
            }
            if (upload.is_over() || call.can_watch()) && pin!(call.gone()).poll(cx).is_ready() {
                return Poll::Ready(Err(Error::client(Kind::Closed)));
            }
            silence.poll(cx, moved, SILENCE).map(|()| Err(silent()))
        })
        .await?;
        match next {
            Beginning::Interim(head) => {
                interim += 1;
                if interim > INTERIM_MAX {
                    let kind = Kind::Protocol { reason: "too_many_interim", status: 502 };
                    return Err(Error::upstream(kind, Retry::Never));
                }
                moved += 1;
                call.interim(&head).await?;
            }
            other => return Ok(other),
        }
    }
}

/// Interim answers before the answer.
const INTERIM_MAX: usize = 32;
/// Pieces of an answer passed on before it is the request's turn.
const TURNS: usize = 32;

/// Passes the answer on, and what is left of the request.
async fn finish(
    mut call: Call<'_, Committed>,
    mut upstream: Upstream,
    mut upload: Upload,
    tap: &mut dyn Tap,
) -> Result<(), Error> {
    let (mut silence, mut moved) = (Silence::new(), 0);
    let mut outgoing = None;
    let mut uploading = true;
    let mut answered = false;
    // Nothing was sent yet; the head goes alone unless a piece of the body is there already.
    let mut fresh = true;
    let passed = poll_fn(|cx| {
        if uploading {
            match upload.poll(cx, &mut call, &mut upstream, tap, &mut moved) {
                Poll::Ready(Ok(())) => uploading = false,
                // An answer may be whole although nobody wants the rest of the request.
                Poll::Ready(Err(_)) if answered => uploading = false,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {}
            }
        }
        for turn in 0..=TURNS {
            if answered {
                break;
            }
            if turn == TURNS {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if let Some((piece, last)) = &mut outgoing {
                match call.poll_outgoing(cx, piece) {
                    Poll::Pending => break,
                    Poll::Ready(sent) => sent?,
                }
                moved += 1;
                answered = *last;
                outgoing = None;
                continue;
            }
            let (data, last) = match upstream.poll_piece(cx) {
                Poll::Pending if fresh => (Bytes::new(), false),
                Poll::Pending => break,
                Poll::Ready(piece) => match piece? {
                    Some((data, last)) => (data, last),
                    None => (Bytes::new(), true),
                },
            };
            if !data.is_empty() {
                tap.answered(&data);
            }
            fresh = false;
            let trailers = if last { upstream.take_trailers() } else { None };
            if last {
                tap.ended(trailers.as_ref());
            }
            outgoing = Some((call.outgoing(data, last, trailers.as_ref())?, last));
        }
        if answered && !uploading {
            return Poll::Ready(Ok(()));
        }
        if !answered && (!uploading || call.can_watch()) && pin!(call.gone()).poll(cx).is_ready() {
            return Poll::Ready(Err(Error::client(Kind::Closed)));
        }
        silence.poll(cx, moved, SILENCE).map(|()| Err(silent()))
    })
    .await;
    if let (Err(_), Some(reason)) = (&passed, upstream.reset()) {
        call.reset(reason);
    } else if passed.is_ok() {
        upstream.end();
    }
    passed
}

/// What a client is told when the true server does not answer.
fn told(error: &Error) -> (ResponseHead, Bytes) {
    let why = match &error.kind {
        Kind::Loop(host) => format!("{host} leads back to this program: the name resolves to its own address"),
        Kind::Refused(host) => format!("{host} has an address that is not passed on to"),
        Kind::Timeout(_) => "the server did not answer in time".to_owned(),
        kind => kind.to_string(),
    };
    refusal::told(refusal::unreached(&error.kind), &why)
}
