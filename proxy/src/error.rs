//! What can go wrong on a wire, with the two questions that a proxy asks: which side failed, and may the same request
//! be sent again?
//!
//! Messages are lower-case fragments and never contain a body or a header value.

use std::fmt;

/// The leg of the exchange that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The peer that called us.
    Client,
    /// The peer that we called.
    Upstream,
    /// Ourselves.
    Internal,
}

/// Whether sending the same request again can be correct.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// No request byte left this process.
    Safe,
    /// The peer closed a pooled connection under us before answering; right once, on a new connection.
    FreshConnection,
    /// The peer may have acted on the request.
    Never,
}

/// A step of an exchange that has its own time limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Name resolution, TCP and proxy handshakes.
    Connect,
    /// TLS handshake.
    Tls,
    /// Reading or writing a message head.
    Head,
    /// Reading a body.
    Body,
    /// Writing towards a peer that does not read.
    Write,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Kind {
    /// The name could not be resolved.
    #[error("cannot resolve {0}")]
    Resolve(String),
    /// All addresses of the host are refused ([`crate::ClientConfig::refuse`]).
    #[error("{0} has an address that is not allowed")]
    Refused(String),
    /// The host leads back to this program ([`crate::ClientConfig::own`]).
    #[error("{0} leads back to this program")]
    Loop(String),
    /// No connection could be made.
    #[error("cannot connect to {0}")]
    Connect(String),
    /// The egress proxy refused the tunnel.
    #[error("egress proxy: {0}")]
    Egress(String),
    /// The TLS handshake failed.
    #[error("tls: {0}")]
    Tls(String),
    /// A limit in time was reached.
    #[error("timed out in phase {0:?}")]
    Timeout(Phase),
    /// The peer closed or reset before the message was complete.
    #[error("connection closed in the middle of a message")]
    Closed,
    /// The peer broke the protocol: reason word (stable, for tests and metrics) and the HTTP status that answers it.
    #[error("protocol error: {reason}")]
    Protocol {
        /// Stable reason word.
        reason: &'static str,
        /// Status to answer with when the client is the offender.
        status: u16,
    },
    /// A bound of [`crate::Limits`] was hit.
    #[error("{what} exceeds {limit} bytes")]
    TooLarge {
        /// The bounded thing.
        what: &'static str,
        /// The bound in bytes.
        limit: usize,
        /// Status to answer with when the client is the offender.
        status: u16,
    },
    /// The operating system said no.
    #[error("i/o: {0}")]
    Io(std::io::ErrorKind),
}

/// A failure on one leg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The leg that failed.
    pub side: Side,
    /// What went wrong.
    pub kind: Kind,
    /// Whether the same request may be sent again.
    pub retry: Retry,
}

impl Error {
    /// A failure of the calling peer.
    pub fn client(kind: Kind) -> Self {
        Self { side: Side::Client, kind, retry: Retry::Never }
    }

    /// A failure of the called peer.
    pub fn upstream(kind: Kind, retry: Retry) -> Self {
        Self { side: Side::Upstream, kind, retry }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match self.side {
            Side::Client => "client",
            Side::Upstream => "upstream",
            Side::Internal => "internal",
        };
        write!(f, "{side}: {}", self.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.kind)
    }
}
