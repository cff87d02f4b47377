//! What the front asks: the decision table at work, with the present settings.

use std::sync::Arc;

use certs::{Cache, Host, Resolver};
use proxy::{
    Hello, Origin, Protocol,
    front::{Admission, Asked, Gate, HandshakeFailure, Identity, TlsInfo, Verdict},
};
use tracing::{debug, warn};

use super::{
    Failure,
    policy::{Circumstances, Decision, OWN_NAME, decide},
    seen::Seen,
};
use crate::{live::Live, peer_user, settings::interception::Switch, usage::live::now_ms};

/// Decides for one start of interception. The switches are those of the moment.
pub(super) struct Judge {
    live: Live,
    identity: Identity,
    seen: Arc<Seen>,
    /// Whether its clients know that we are a proxy.
    told: bool,
    /// Port of the true hosts.
    port: u16,
}

impl std::fmt::Debug for Judge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Judge").field("told", &self.told).finish_non_exhaustive()
    }
}

impl Judge {
    /// Answers with leaves of `cache`. `told` says whether clients know that we are a proxy: then what is nobody's is
    /// carried on, for they could not go elsewhere.
    ///
    /// # Errors
    /// If the cryptographic library refuses.
    pub(super) fn new(live: Live, cache: Arc<Cache>, seen: Arc<Seen>, told: bool) -> Result<Self, Failure> {
        let switches = live.clone();
        // A second look: nothing is signed for a name that is not decrypted, whatever the verdict was.
        let gate = move |host: &Host| {
            let settings = &switches.snapshot().settings.mitm;
            let how = Circumstances::default();
            matches!(decide(settings, Some(host.as_str()), how), Decision::Own | Decision::Decrypt(..))
        };
        let config = certs::server_config(Arc::new(Resolver::new(cache, gate)), &[]);
        let config = config.map_err(|error| Failure::new("ca", error.to_string()))?;
        let port = live.snapshot().settings.mitm.upstream_port;
        Ok(Self { live, identity: Identity::new(config), seen, told, port })
    }

    fn decide(&self, name: Option<&str>, asked: &Asked) -> Decision {
        let snapshot = self.live.snapshot();
        let settings = &snapshot.settings.mitm;
        let is_on = |name| settings.switch_of_host(name).is_some_and(|(_, switch)| switch != Switch::Off);
        let how = Circumstances {
            // Reading the system's list costs: only names that would be decrypted are worth it.
            foreign: name.is_some_and(is_on) && !settings.all_users && peer_user::is_foreign(asked.peer, asked.local),
            distrusted: name.is_some_and(|name| self.seen.is_distrusted(name)),
            told: self.told,
        };
        decide(settings, name, how)
    }

    fn origin(&self, name: &str, asked: &Asked) -> Option<Origin> {
        match &asked.target {
            Some(target) => Some(target.clone()),
            None => Origin::https(name, self.port).ok(),
        }
    }
}

impl Gate for Judge {
    async fn admit(&self, asked: &Asked, target: &Origin) -> Admission {
        match self.decide(Some(target.host()), asked) {
            // Whoever asks a proxy for us has lost the way.
            Decision::Own | Decision::Refuse => Admission::Refuse,
            Decision::Tunnel => Admission::Tunnel,
            Decision::Decrypt(..) => Admission::Look,
        }
    }

    async fn judge(&self, asked: &Asked, hello: &Hello) -> Verdict {
        let name = hello.server_name.as_deref();
        let decision = self.decide(name, asked);
        debug!(peer = %asked.peer, name, ?decision, "hello");
        let origin = name.and_then(|name| self.origin(name, asked));
        match (decision, origin) {
            (Decision::Own | Decision::Decrypt(..), Some(upstream)) => {
                Verdict::Terminate { identity: self.identity.clone(), upstream }
            }
            (Decision::Tunnel, Some(upstream)) => Verdict::Tunnel(upstream),
            // Without a name only a proxy's client has said where it wants to go.
            (Decision::Refuse, _) => asked.target.clone().map_or(Verdict::Refuse, Verdict::Tunnel),
            (_, None) => Verdict::Refuse,
        }
    }

    fn shaken(&self, _: &Asked, hello: &Hello, outcome: Result<&TlsInfo, &HandshakeFailure>) {
        let Some(name) = hello.server_name.as_deref().filter(|name| *name != OWN_NAME) else { return };
        match outcome {
            Ok(info) => self.seen.accepted(name, protocol(info.alpn), now_ms()),
            Err(HandshakeFailure::Alert(alert)) if let Some(word) = distrust(*alert) => {
                if self.seen.refused(name, word, now_ms()) {
                    warn!(
                        name,
                        alert = word,
                        "clients do not trust the certificate authority: the host is left alone for ten minutes; \
                         `flow-router mitm doctor` says what to do"
                    );
                }
            }
            Err(failure) => debug!(name, ?failure, "handshake failed"),
        }
    }
}

/// The alerts by which a client says that it does not trust our certificate (RFC 8446 §6).
fn distrust(alert: u8) -> Option<&'static str> {
    match alert {
        42 => Some("bad_certificate"),
        46 => Some("certificate_unknown"),
        48 => Some("unknown_ca"),
        // Encrypted hellos are for the true host alone.
        121 => Some("ech_required"),
        _ => None,
    }
}

fn protocol(alpn: Option<Protocol>) -> &'static str {
    match alpn {
        Some(Protocol::Http2) => "h2",
        Some(Protocol::Http1) => "http/1.1",
        None => "none",
    }
}
