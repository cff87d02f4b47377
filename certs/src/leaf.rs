//! A leaf for one name, and the key that all of them share.
//!
//! One key per process, never written: making one costs more than signing with it, and a client cannot tell. It is not the
//! issuing authority's key.

use std::{
    fmt,
    ops::Range,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{Issuer, KeyPair};
use rustls::{
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    sign::SigningKey,
};
use zeroize::{Zeroize, Zeroizing};

use crate::{
    Host, MintError,
    profile::{self, BACKDATE, LEAF_LIFE},
};

/// The private key of all leaves of this process. Cheap to clone.
#[derive(Clone)]
pub struct LeafKey {
    pub(crate) signing: Arc<dyn SigningKey>,
    /// For its public half.
    pair: Arc<KeyPair>,
    rsa: bool,
}

impl LeafKey {
    /// An ECDSA P-256 key, which every client that we know accepts: 60 µs.
    pub fn p256() -> Result<Self, MintError> {
        Self::new(profile::p256_key()?, false)
    }

    /// An RSA-2048 key for clients that know no other: 160 ms of CPU, and signatures that cost 20 times as much.
    pub fn rsa2048() -> Result<Self, MintError> {
        Self::new(profile::rsa2048_key()?, true)
    }

    fn new(mut pair: KeyPair, rsa: bool) -> Result<Self, MintError> {
        let der = Zeroizing::new(pair.serialize_der());
        pair.zeroize();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der.as_slice()));
        let signing =
            aws_lc_rs::sign::any_supported_type(&key).map_err(|error| MintError::Crypto(error.to_string()))?;
        Ok(Self { signing, pair: Arc::new(pair), rsa })
    }
}

impl fmt::Debug for LeafKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeafKey").field("rsa", &self.rsa).finish_non_exhaustive()
    }
}

/// A signed leaf.
#[derive(Debug, Clone)]
pub(crate) struct Leaf {
    pub(crate) certificate: CertificateDer<'static>,
    /// When it was signed.
    pub(crate) signed: SystemTime,
    /// When another one should take its place: after two thirds of its life.
    pub(crate) renew: SystemTime,
}

/// A clock that went back further than this was wrong before, or is now: leaves are made anew.
const CLOCK_SLACK: Duration = Duration::from_secs(60 * 60);

impl Leaf {
    /// Whether it should still be shown to clients.
    pub(crate) fn is_fresh(&self, now: SystemTime) -> bool {
        now + CLOCK_SLACK >= self.signed && now < self.renew
    }
}

/// Signs a leaf, within the issuer's validity.
pub(crate) fn sign(
    host: &Host,
    key: &LeafKey,
    issuer: &Issuer<'_, KeyPair>,
    valid: Range<SystemTime>,
    now: SystemTime,
) -> Result<Leaf, MintError> {
    let begin = (now - BACKDATE).max(valid.start);
    let end = (now + LEAF_LIFE).min(valid.end);
    let certificate = profile::leaf(host, begin, end, key.rsa)?.signed_by(&*key.pair, issuer)?;
    let life = end.duration_since(now).unwrap_or_default();
    Ok(Leaf { certificate: certificate.der().clone(), signed: now, renew: now + life * 2 / 3 })
}
