//! Pool + dial + ALPN behind one call: `send(Outbound) -> Response`.
//!
//! Knows no vendor and follows no redirect, stores no cookie, decompresses nothing. The only request it ever sends twice
//! is one that met a connection which the peer had already given up.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rustls::pki_types::CertificateDer;

use crate::{
    Error, Headers, Kind, Limits, Method, Phase, ResponseHead, Retry, Timeouts,
    body::Body,
    h1,
    h1::head::is_host,
    h2,
    net::{
        dial::{Dialed, Dialer},
        egress::Egress,
        own::OwnAddresses,
        resolve::{Names, Resolver},
        stream::Stream,
    },
    pool::{Pool, PoolLoad, key::Origin},
    tls::connect::{Connector, Offer, Protocol},
};

/// Which certificate authorities are trusted.
#[derive(Debug, Clone, Default)]
pub enum Roots {
    /// Mozilla's, as bundled at build time.
    #[default]
    Bundled,
    /// Mozilla's and these.
    BundledPlus(Vec<CertificateDer<'static>>),
}

/// How a [`Client`] behaves.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Bounds in size.
    pub limits: Limits,
    /// Bounds in time.
    pub timeouts: Timeouts,
    /// Direct or through which proxy.
    pub egress: Egress,
    /// Trusted authorities.
    pub roots: Roots,
    /// Names that are not asked of the system's resolver, with the addresses to use instead.
    pub pins: Vec<(String, Vec<IpAddr>)>,
    /// Addresses that are never connected to, however a host came by them. What a proxy resolves is not seen here.
    pub refuse: fn(IpAddr) -> bool,
    /// Who is asked for addresses of names that have no pin.
    pub names: Names,
    /// Where this program itself listens: never connected to. What a proxy resolves is not seen here.
    pub own: OwnAddresses,
    /// What servers are offered.
    pub offer: Offer,
    /// Idle HTTP/1 connections kept per origin.
    pub idle_per_origin: usize,
    /// Idle HTTP/1 connections kept in all.
    pub idle_total: usize,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            egress: Egress::direct(),
            roots: Roots::Bundled,
            pins: Vec::new(),
            refuse: |_| false,
            names: Names::System,
            own: OwnAddresses::new(),
            offer: Offer::Both,
            idle_per_origin: 32,
            idle_total: 512,
        }
    }
}

/// A request on its way to an upstream.
#[derive(Debug, Clone)]
pub struct Outbound {
    /// Where to.
    pub origin: Origin,
    /// Method.
    pub method: Method,
    /// Path and query, starting with `/`.
    pub target: Bytes,
    /// Fields in the order in which they are sent. `host` and `content-length` are written when absent, a `host` that is not
    /// one host also; hop-by-hop fields are left out.
    pub headers: Headers,
    /// The body in slices; with the head they leave in one vectored write.
    pub body: Vec<Bytes>,
    /// Fields behind the body. HTTP/1 leaves them out: a request with a length has no place for them.
    pub trailers: Option<Headers>,
    /// Bound on resolution, TCP, egress proxy and TLS together, instead of the client's own.
    pub connect_timeout: Option<Duration>,
    /// Bound from the connected socket to the complete response head; unbounded when absent.
    pub head_timeout: Option<Duration>,
}

impl Outbound {
    /// A request without fields and body.
    pub fn new(origin: Origin, method: Method, target: impl Into<Bytes>) -> Self {
        Self {
            origin,
            method,
            target: target.into(),
            headers: Headers::new(),
            body: Vec::new(),
            trailers: None,
            connect_timeout: None,
            head_timeout: None,
        }
    }

    /// The caller's `host`, if it says one thing: a second one, an empty one or one that could be read in two ways would be
    /// the peer's to choose between.
    pub(crate) fn host(&self) -> Option<&Bytes> {
        self.headers.get("host").filter(|host| !host.is_empty() && is_host(host))
    }

    /// Value of `content-length`, in bytes; `None` where none is due: there is no body, and the method expects none.
    pub(crate) fn content_length(&self) -> Option<u64> {
        let length = self.body.iter().map(|slice| slice.len() as u64).sum();
        let expected = [Method::POST, Method::PUT, Method::PATCH].contains(&self.method);
        (length > 0 || expected).then_some(length)
    }
}

/// When the steps of an exchange were done.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// A connection was there.
    pub connected: Instant,
    /// The request was written, or the response began before it was.
    pub sent: Instant,
    /// The response head was complete.
    pub head: Instant,
    /// Whether the connection had carried an exchange before.
    pub reused: bool,
}

/// An answer whose body is still arriving.
#[derive(Debug)]
pub struct Response {
    /// Status and fields.
    pub head: ResponseHead,
    /// The body.
    pub body: Body,
    /// When what was done.
    pub timing: Timing,
}

/// Sends requests. Clones share one pool; one per lane is meant.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: ClientConfig,
    dialer: Dialer,
    pool: Arc<Pool>,
}

/// A connection, or a place on one, for one exchange.
#[derive(Debug)]
pub(crate) enum Lease {
    H1(Box<h1::client::Conn>),
    H2(h2::client::Claim),
}

/// Where a lease may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Pool,
    /// A pooled connection just failed; its neighbours are as old.
    Fresh,
}

impl Client {
    /// Makes a client without connections.
    ///
    /// # Errors
    /// An extra root that is no certificate.
    pub fn new(config: ClientConfig) -> Result<Self, Error> {
        let dialer = Dialer {
            resolver: Resolver::new(&config.pins, config.refuse, config.names.clone()),
            egress: config.egress.clone(),
            tls: Connector::new(&config.roots)?,
            own: config.own.clone(),
            offer: config.offer,
        };
        let pool = Pool::new(config.idle_per_origin, config.idle_total, config.timeouts.pool_idle);
        Ok(Self { inner: Arc::new(Inner { config, dialer, pool }) })
    }

    /// What this origin speaks to us. Asked of the origin once a day; the connection that it takes waits for the next
    /// request. Every later connection corrects what is known.
    ///
    /// # Errors
    /// It cannot be reached.
    pub async fn protocol(&self, origin: &Origin) -> Result<Protocol, Error> {
        if let Some(known) = self.inner.pool.knows(origin) {
            return Ok(known);
        }
        let deadline = Instant::now() + self.inner.config.timeouts.connect;
        match Box::pin(self.inner.connect(origin, deadline)).await? {
            Lease::H1(conn) => {
                self.inner.pool.shelve(conn);
                Ok(Protocol::Http1)
            }
            Lease::H2(_) => Ok(Protocol::Http2),
        }
    }

    /// A place on a connection for one exchange.
    pub(crate) async fn lease(&self, origin: &Origin, source: Source) -> Result<Lease, Error> {
        Ok(self.inner.lease(origin, None, source).await?.0)
    }

    /// Bounds in size.
    pub(crate) fn limits(&self) -> &Limits {
        &self.inner.config.limits
    }

    /// A bare stream to an origin, whatever is to be spoken on it. Names, egress and guards are the client's.
    pub(crate) async fn reach(&self, origin: &Origin) -> Result<Stream, Error> {
        let late = |_| Error::upstream(Kind::Timeout(Phase::Connect), Retry::Safe);
        let dialed = tokio::time::timeout(self.inner.config.timeouts.connect, self.inner.dialer.reach(origin));
        Ok(dialed.await.map_err(late)??.0)
    }

    /// What its connections carry now. Takes the pool's lock for a moment: meant for metrics, not for every request.
    pub fn load(&self) -> PoolLoad {
        self.inner.pool.load()
    }

    /// Sends one request and waits for the head of its answer. Dropping the future cancels the request: the socket is
    /// closed or the stream reset.
    ///
    /// The request is sent a second time, on another connection, when the first one turned out to be given up by its
    /// peer before it can have acted on the request.
    ///
    /// # Errors
    /// With the failed leg's kind; `retry` says whether the same request may be sent again.
    pub async fn send(&self, request: Outbound) -> Result<Response, Error> {
        let lease = self.inner.lease(&request.origin, request.connect_timeout, Source::Pool).await?;
        match self.inner.exchange(lease, &request).await {
            Ok(response) => Ok(response),
            Err(Failure { error, again: Again::No }) => Err(error),
            Err(Failure { error, again: Again::OnAnother }) => {
                tracing::debug!(origin = %request.origin, %error, "sending again on another connection");
                // The new attempt has its own time to connect: the first one spent none on it.
                let lease = self.inner.lease(&request.origin, request.connect_timeout, Source::Fresh).await?;
                self.inner.exchange(lease, &request).await.map_err(|failure| failure.error)
            }
        }
    }
}

/// A failed exchange.
struct Failure {
    error: Error,
    again: Again,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    No,
    OnAnother,
}

impl Inner {
    /// A lease, and when it was there.
    async fn lease(
        &self,
        origin: &Origin,
        connect_timeout: Option<Duration>,
        source: Source,
    ) -> Result<(Lease, Instant), Error> {
        let now = Instant::now();
        if let Some(claim) = self.pool.claim_h2(origin) {
            return Ok((Lease::H2(claim), now));
        }
        if source == Source::Pool
            && let Some(conn) = self.pool.take_h1(origin, now)
        {
            return Ok((Lease::H1(conn), now));
        }
        let deadline = now + connect_timeout.unwrap_or(self.config.timeouts.connect);
        // Boxed, so that requests that find a connection need no room for the way to a new one.
        let lease = Box::pin(self.connect(origin, deadline)).await?;
        Ok((lease, Instant::now()))
    }

    async fn connect(&self, origin: &Origin, deadline: Instant) -> Result<Lease, Error> {
        let _waits = self.pool.connecting();
        let turn = self.pool.turn(origin, deadline).await?;
        if turn.is_some()
            && let Some(claim) = self.pool.claim_h2(origin)
        {
            return Ok(Lease::H2(claim));
        }
        let dialed = self.dialer.dial(origin, deadline).await?;
        self.pool.learn(origin, dialed.protocol);
        let limits = &self.config.limits;
        match dialed.protocol {
            Protocol::Http1 => {
                let Dialed { stream, forward, protocol: _ } = dialed;
                let home = self.pool.home();
                Ok(Lease::H1(Box::new(h1::client::Conn::new(stream, forward, origin.clone(), limits, home))))
            }
            Protocol::Http2 => {
                let conn = h2::client::Conn::start(dialed.stream, limits, self.pool.h2_open.one()).await?;
                Ok(Lease::H2(self.pool.share(origin, conn)))
            }
        }
    }

    async fn exchange(&self, (lease, connected): (Lease, Instant), request: &Outbound) -> Result<Response, Failure> {
        let (reused, answer) = match lease {
            Lease::H1(conn) => {
                let reused = conn.is_reused();
                let answer = h1::client::exchange(conn, request, &self.config, connected).await;
                let whole = || Body::whole(Bytes::new());
                (reused, answer.map(|a| (a.head, a.body.map_or_else(whole, Body::h1), a.sent)))
            }
            Lease::H2(claim) => {
                let reused = claim.is_reused();
                let answer = h2::client::exchange(claim, request, &self.config).await;
                (reused, answer.map(|a| (a.head, Body::h2(a.body), a.sent)))
            }
        };
        match answer {
            Ok((head, body, sent)) => {
                let timing = Timing { connected, sent, head: Instant::now(), reused };
                Ok(Response { head, body, timing })
            }
            Err(error) => {
                let again = match error.retry {
                    // A new connection that fails says something about the peer, not about the connection's age.
                    Retry::Safe | Retry::FreshConnection if reused => Again::OnAnother,
                    Retry::Safe | Retry::FreshConnection | Retry::Never => Again::No,
                };
                Err(Failure { error, again })
            }
        }
    }
}
