//! Who decides, and about what: the seam between sockets and policy.

use std::{fmt, future::Future, net::SocketAddr, sync::Arc};

use rustls::ServerConfig;

use crate::{Hello, Origin, Protocol};

/// What is known of a connection when the gate is asked.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The client's address.
    pub peer: SocketAddr,
    /// Our own address that the client dialled; `None` where the system does not tell.
    pub local: Option<SocketAddr>,
    /// Where the client wants to go, if it told us as its proxy.
    pub target: Option<Origin>,
}

/// Decides about connections. Asked once for each, before anything of it was answered or decrypted.
pub trait Gate: Send + Sync + 'static {
    /// Whether a client of the explicit proxy may go to `target`, and whether its bytes are to be looked at. A plain
    /// request, whose `target` has the scheme `http`, is relayed verbatim unless it is refused.
    fn admit(&self, asked: &Asked, target: &Origin) -> impl Future<Output = Admission> + Send;

    /// What becomes of a connection that begins with this hello. Under a deadline: a gate that takes longer has closed it.
    fn judge(&self, asked: &Asked, hello: &Hello) -> impl Future<Output = Verdict> + Send;

    /// How the handshake of a connection that was to be terminated has ended. Several failures of one name mean that its
    /// client does not trust our certificates. Must not block.
    fn shaken(&self, asked: &Asked, hello: &Hello, outcome: Result<&TlsInfo, &HandshakeFailure>) {
        let _ = (asked, hello, outcome);
    }
}

/// What becomes of a client of the explicit proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Its hello is awaited, and [`Gate::judge`] asked. What is no TLS goes to the target untouched.
    Look,
    /// The target is dialled, and the bytes go there untouched, whoever speaks first.
    Tunnel,
    /// No.
    Refuse,
}

/// What becomes of a connection.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// We are the server: TLS ends here.
    Terminate {
        /// As whom.
        identity: Identity,
        /// The true server, whose protocols are mirrored.
        upstream: Origin,
    },
    /// The bytes go to the true server untouched.
    Tunnel(Origin),
    /// The client is told that nobody of that name is here (alert 112).
    Refuse,
    /// The connection is closed without a word.
    Close,
}

/// Certificates and everything else that a TLS server is made of, once for each protocol that can be agreed on.
///
/// The three share certificates, session tickets and keys; clones are cheap.
#[derive(Clone)]
pub struct Identity(Arc<[Arc<ServerConfig>; 3]>);

impl Identity {
    /// From a configuration whose own list of protocols does not matter.
    pub fn new(config: ServerConfig) -> Self {
        let speaking = |alpn: &[&[u8]]| {
            let mut config = config.clone();
            config.alpn_protocols = alpn.iter().map(|id| id.to_vec()).collect();
            Arc::new(config)
        };
        Self(Arc::new([speaking(&[]), speaking(&[b"http/1.1"]), speaking(&[b"h2"])]))
    }

    /// The one that agrees on `protocol` with a client that offers it; without one, ALPN stays unanswered.
    pub(crate) fn speaking(&self, protocol: Option<Protocol>) -> Arc<ServerConfig> {
        let [none, http1, http2] = &*self.0;
        Arc::clone(match protocol {
            None => none,
            Some(Protocol::Http1) => http1,
            Some(Protocol::Http2) => http2,
        })
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// What a TLS handshake with a client agreed on.
#[derive(Debug, Clone)]
pub struct TlsInfo {
    /// The name that the client asked for, in lower case.
    pub server_name: Option<Box<str>>,
    /// The protocol that was agreed on; `None` for a client that offered none, which speaks HTTP/1.1.
    pub alpn: Option<Protocol>,
    /// The true server.
    pub upstream: Origin,
}

/// Why a handshake came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// The client's alert (RFC 8446 §6): 42, 46 and 48 say that it does not trust our certificate.
    Alert(u8),
    /// The client left.
    Closed,
    /// It took too long.
    Timeout,
    /// No protocol that the client offers is one of ours.
    NoProtocol,
    /// rustls read another name out of the hello than we did.
    NameDisagrees,
    /// Anything else, in rustls' words.
    Other(String),
}
