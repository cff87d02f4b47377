//! What rustls asks during a handshake: the certificate for the name that the client wants.

use std::{fmt, sync::Arc, time::SystemTime};

use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::{Cache, Host};

/// Decides whether a name is intercepted at all.
type Gate = dyn Fn(&Host) -> bool + Send + Sync;

/// Answers with a leaf for the client's name, or with none: then rustls ends the handshake.
///
/// None is given without a name, for a name that is no host name, for one that the gate refuses and for one that the
/// authority is not made for, in this order, and all of them before anything is signed.
pub struct Resolver {
    cache: Arc<Cache>,
    gate: Box<Gate>,
}

impl Resolver {
    /// Answers from `cache` for the names that `gate` lets through.
    pub fn new(cache: Arc<Cache>, gate: impl Fn(&Host) -> bool + Send + Sync + 'static) -> Self {
        Self { cache, gate: Box::new(gate) }
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("cache", &self.cache).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let host = Host::parse(hello.server_name()?).ok()?;
        if !(self.gate)(&host) {
            return None;
        }
        self.cache.get(&host, SystemTime::now()).ok()
    }
}

/// A server's configuration: TLS 1.2 and 1.3, `alpn` in this order, two tickets per handshake under a key that changes
/// every six hours, no early data, no client certificates. One per list of protocols, not one per name.
///
/// Session tickets are bound to the name that they were given for.
pub fn server_config(resolver: Arc<Resolver>, alpn: &[&[u8]]) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.alpn_protocols = alpn.iter().map(|id| id.to_vec()).collect();
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    config.send_tls13_tickets = 2;
    Ok(config)
}

/// The client is on this machine: nobody records its packets to decrypt them in twenty years, so the plain groups come
/// before the post-quantum one, which costs several times as much. A client that offers nothing else gets it.
fn provider() -> CryptoProvider {
    use aws_lc_rs::kx_group::{SECP256R1, SECP384R1, X25519, X25519MLKEM768};
    CryptoProvider { kx_groups: vec![X25519, SECP256R1, SECP384R1, X25519MLKEM768], ..aws_lc_rs::default_provider() }
}
