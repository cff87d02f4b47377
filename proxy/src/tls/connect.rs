//! TLS towards an upstream: roots, ALPN, resumption.
//!
//! The provider is handed over explicitly; nothing process-wide is installed. There is no switch that turns
//! verification off. Every failure here is safe to retry: no request byte has left yet.

use std::{io, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, RootCertStore,
    client::Resumption,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName},
};
use tokio_rustls::TlsConnector;

use crate::{Error, Kind, Retry, Side, client::Roots, net::stream::Stream};

/// Sessions remembered for resumption, over all servers.
const SESSIONS_MAX: usize = 512;

/// The protocol that a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// What is offered in ALPN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Offer {
    /// `h2`, then `http/1.1`.
    #[default]
    Both,
    /// `http/1.1` alone.
    Http1,
}

/// Wraps streams in TLS.
pub(crate) struct Connector {
    both: TlsConnector,
    http1: TlsConnector,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

impl Connector {
    pub(crate) fn new(roots: &Roots) -> Result<Self, Error> {
        let mut store = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let extra: &[CertificateDer<'static>] = match roots {
            Roots::Bundled => &[],
            Roots::BundledPlus(extra) => extra,
        };
        let own = |what: String| Error { side: Side::Internal, kind: Kind::Tls(what), retry: Retry::Never };
        for root in extra {
            store.add(root.clone()).map_err(|error| own(format!("extra root: {error}")))?;
        }
        let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| own(error.to_string()))?
            .with_root_certificates(store)
            .with_no_client_auth();
        config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let http1 = Arc::new(config.clone());
        config.alpn_protocols.insert(0, b"h2".to_vec());
        Ok(Self { both: Arc::new(config).into(), http1: http1.into() })
    }

    /// Shakes hands as `host`.
    pub(crate) async fn connect(&self, stream: Stream, host: &str, offer: Offer) -> Result<(Stream, Protocol), Error> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| failed(format!("{host} is no server name")))?;
        let connector = match offer {
            Offer::Both => &self.both,
            Offer::Http1 => &self.http1,
        };
        let tls = connector.connect(name, stream).await.map_err(|error| failed(describe(&error, host)))?;
        let protocol = match tls.get_ref().1.alpn_protocol() {
            Some(b"h2") => Protocol::Http2,
            // A server that ignores ALPN speaks HTTP/1.1.
            _ => Protocol::Http1,
        };
        Ok((Stream::Tls(Box::new(tls)), protocol))
    }
}

fn failed(what: String) -> Error {
    Error::upstream(Kind::Tls(what), Retry::Safe)
}

/// Says what a user can act on; everything else in the library's own words.
fn describe(error: &io::Error, host: &str) -> String {
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                "closed during the handshake".to_owned()
            }
            kind => format!("{kind} during the handshake"),
        };
    };
    match tls {
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => "certificate expired".to_owned(),
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "certificate not yet valid".to_owned()
            }
            CertificateError::Revoked => "certificate revoked".to_owned(),
            CertificateError::UnknownIssuer => "unknown issuer".to_owned(),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!("certificate is not for {host}")
            }
            other => format!("bad certificate: {other}"),
        },
        rustls::Error::AlertReceived(alert) => format!("alert {alert:?}"),
        // The first bytes were no record: usually plain HTTP on this port.
        rustls::Error::InvalidMessage(_) => "peer does not speak tls".to_owned(),
        other => other.to_string(),
    }
}
