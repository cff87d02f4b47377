//! Verifies id tokens: JSON Web Signatures (RFC 7515) by the keys of a JSON Web Key Set (RFC 7517), and what OpenID
//! Connect Core §3.1.3.7 asks of their claims.
//!
//! Pure: keys, expectations and time are arguments. There are four algorithms, all with public keys; symmetric ones and
//! `none` do not exist here, so that a public key can never be taken for a shared secret. What a token says about its own
//! key (`jwk`, `jku`, `x5u`, `x5c`) is not read: the key comes from the issuer, chosen by `kid`, and its type has to fit
//! the algorithm.

use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    rsa::PublicKeyComponents,
    signature::{
        ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Most bytes of a token.
const TOKEN_BYTES_MAX: usize = 32 * 1024;

/// Most keys of a set that are looked at.
const KEYS_MAX: usize = 64;

/// By how much clocks may differ, in seconds.
const LEEWAY: i64 = 120;

/// Why a token is refused. The names end up in addresses and in the audit log; a token's text never does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Flaw {
    /// It does not have the form of a token.
    #[error("malformed_token")]
    Form,
    /// It is signed by an algorithm that we do not take, or one that does not fit the key.
    #[error("bad_algorithm")]
    Algorithm,
    /// No key of the issuer is named so.
    #[error("unknown_key")]
    UnknownKey,
    /// The signature is not that of the key.
    #[error("bad_signature")]
    Signature,
    /// It is by another issuer.
    #[error("wrong_issuer")]
    Issuer,
    /// It is for somebody else.
    #[error("wrong_audience")]
    Audience,
    /// Its time is over, or it does not say when that is.
    #[error("expired")]
    Expired,
    /// Its time has not come, or it does not say when it was made.
    #[error("not_yet_valid")]
    Early,
    /// It belongs to another login.
    #[error("wrong_nonce")]
    Nonce,
    /// It names nobody.
    #[error("no_subject")]
    Subject,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Rs256,
    Ps256,
    Es256,
    EdDsa,
}

impl Algorithm {
    fn parse(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "PS256" => Some(Self::Ps256),
            "ES256" => Some(Self::Es256),
            "EdDSA" | "Ed25519" => Some(Self::EdDsa),
            _ => None,
        }
    }
}

#[derive(Debug)]
enum Public {
    Rsa(PublicKeyComponents<Vec<u8>>),
    /// Uncompressed point.
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

#[derive(Debug)]
struct Key {
    kid: Option<String>,
    /// The only algorithm that the issuer uses it for, if it says so.
    algorithm: Option<Algorithm>,
    public: Public,
}

/// The keys of an issuer.
#[derive(Debug, Default)]
pub(super) struct Keys(Vec<Key>);

/// A key as it is written in a set.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<Value>,
}

impl Keys {
    /// Reads a set. Keys that are not for verifying, or of a kind that we do not take, are left out: issuers put all
    /// sorts into their sets. `None`: this is no set.
    pub(super) fn parse(document: &[u8]) -> Option<Self> {
        let set: Jwks = serde_json::from_slice(document).ok()?;
        let keys =
            set.keys.into_iter().take(KEYS_MAX).filter_map(|value| Key::read(serde_json::from_value(value).ok()?));
        Some(Self(keys.collect()))
    }

    /// The key that a token's header names, if its type fits. A token may name none where there is only one.
    fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<&Key, Flaw> {
        let named: Vec<&Key> = match kid {
            Some(kid) => self.0.iter().filter(|key| key.kid.as_deref() == Some(kid)).collect(),
            None if self.0.len() == 1 => self.0.iter().collect(),
            None => return Err(Flaw::UnknownKey),
        };
        if named.is_empty() {
            return Err(Flaw::UnknownKey);
        }
        named.into_iter().find(|key| key.serves(algorithm)).ok_or(Flaw::Algorithm)
    }
}

impl Key {
    fn read(jwk: Jwk) -> Option<Self> {
        let verifies = jwk.usage.as_deref().is_none_or(|usage| usage == "sig")
            && jwk.key_ops.is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        // An algorithm that we do not take makes the key useless to us.
        let algorithm = match jwk.alg.as_deref() {
            Some(name) => Some(Algorithm::parse(name)?),
            None => None,
        };
        let bytes = |part: Option<String>| URL_SAFE_NO_PAD.decode(part?).ok();
        let public = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => Public::Rsa(PublicKeyComponents { n: unpadded(bytes(jwk.n)?), e: unpadded(bytes(jwk.e)?) }),
            ("EC", Some("P-256")) => {
                let (x, y) = (bytes(jwk.x)?, bytes(jwk.y)?);
                (x.len() == 32 && y.len() == 32).then(|| Public::P256([&[4], &x[..], &y[..]].concat()))?
            }
            ("OKP", Some("Ed25519")) => Public::Ed25519(bytes(jwk.x)?),
            _ => return None,
        };
        verifies.then_some(Self { kid: jwk.kid, algorithm, public })
    }

    fn serves(&self, algorithm: Algorithm) -> bool {
        let fits = match self.public {
            Public::Rsa(_) => matches!(algorithm, Algorithm::Rs256 | Algorithm::Ps256),
            Public::P256(_) => algorithm == Algorithm::Es256,
            Public::Ed25519(_) => algorithm == Algorithm::EdDsa,
        };
        fits && self.algorithm.is_none_or(|own| own == algorithm)
    }

    fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> Result<(), Flaw> {
        let verified = match &self.public {
            Public::Rsa(key) if algorithm == Algorithm::Ps256 => {
                key.verify(&RSA_PSS_2048_8192_SHA256, message, signature)
            }
            Public::Rsa(key) => key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature),
            Public::P256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature),
            Public::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key).verify(message, signature),
        };
        verified.map_err(|_| Flaw::Signature)
    }
}

/// Without leading zeros, which some issuers write before a modulus against RFC 7518 §6.3.1.1.
fn unpadded(mut bytes: Vec<u8>) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.drain(..zeros);
    bytes
}

/// What a token has to say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected<'a> {
    /// The issuer, exactly as it names itself.
    pub issuer: &'a str,
    /// Our name there.
    pub client_id: &'a str,
    /// The nonce of this login.
    pub nonce: &'a str,
    /// Unix time in seconds.
    pub now: i64,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

/// What a token says about whom; all of it is verified.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Claims(Map<String, Value>);

impl Claims {
    /// Who it is, unique at the issuer.
    pub(super) fn subject(&self) -> &str {
        self.text("sub").unwrap_or_default()
    }

    /// The address, if the issuer has verified it.
    pub(super) fn verified_email(&self) -> Option<&str> {
        // Some issuers write the flag as a text.
        let verified = match self.0.get("email_verified") {
            Some(Value::Bool(verified)) => *verified,
            Some(Value::String(text)) => text == "true",
            _ => false,
        };
        self.text("email").filter(|_| verified)
    }

    /// Whether the claim `name` is `value` or a list that has it. A dot in the name leads into an object, as in
    /// `realm_access.roles`, unless a claim has that very name.
    pub(super) fn has(&self, name: &str, value: &str) -> bool {
        let found = self.0.get(name).or_else(|| {
            let mut parts = name.split('.');
            let first = self.0.get(parts.next()?)?;
            parts.try_fold(first, |at, part| at.get(part))
        });
        match found {
            Some(Value::String(text)) => text == value,
            Some(Value::Array(items)) => items.iter().any(|item| item.as_str() == Some(value)),
            _ => false,
        }
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    fn time(&self, name: &str) -> Option<i64> {
        // RFC 7519 §2 allows fractions of a second.
        let value = self.0.get(name)?;
        value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds as i64))
    }

    fn check(&self, expected: &Expected<'_>) -> Result<(), Flaw> {
        if self.text("iss") != Some(expected.issuer) {
            return Err(Flaw::Issuer);
        }
        let own = |value: &Value| value.as_str() == Some(expected.client_id);
        let (ours, several) = match self.0.get("aud") {
            Some(Value::Array(list)) => (list.iter().any(own), list.len() > 1),
            Some(value) => (own(value), false),
            None => (false, false),
        };
        let party = self.0.get("azp");
        if !ours || (several && party.is_none()) || party.is_some_and(|party| !own(party)) {
            return Err(Flaw::Audience);
        }
        if self.time("exp").is_none_or(|exp| exp.saturating_add(LEEWAY) <= expected.now) {
            return Err(Flaw::Expired);
        }
        let early = |at: i64| at.saturating_sub(LEEWAY) > expected.now;
        if self.time("iat").is_none_or(early) || self.time("nbf").is_some_and(early) {
            return Err(Flaw::Early);
        }
        let nonce = self.text("nonce").unwrap_or_default();
        if nonce.is_empty() || verify_slices_are_equal(nonce.as_bytes(), expected.nonce.as_bytes()).is_err() {
            return Err(Flaw::Nonce);
        }
        if self.subject().is_empty() { Err(Flaw::Subject) } else { Ok(()) }
    }
}

/// Verifies a token and gives what it says.
///
/// # Errors
/// Everything that is wrong with it; [`Flaw::UnknownKey`] may be cured by newer keys.
pub(super) fn verify(token: &str, keys: &Keys, expected: &Expected<'_>) -> Result<Claims, Flaw> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(Flaw::Form);
    }
    let (message, signature) = token.rsplit_once('.').ok_or(Flaw::Form)?;
    let (header, payload) = message.split_once('.').filter(|(_, payload)| !payload.contains('.')).ok_or(Flaw::Form)?;
    let bytes = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Flaw::Form);
    let header: Header = serde_json::from_slice(&bytes(header)?).map_err(|_| Flaw::Form)?;
    let algorithm = Algorithm::parse(&header.alg).ok_or(Flaw::Algorithm)?;
    if header.crit.is_some() {
        // Extensions that must be understood; we understand none.
        return Err(Flaw::Form);
    }
    let key = keys.find(header.kid.as_deref(), algorithm)?;
    key.verify(algorithm, message.as_bytes(), &bytes(signature)?)?;
    let claims = Claims(serde_json::from_slice(&bytes(payload)?).map_err(|_| Flaw::Form)?);
    claims.check(expected)?;
    Ok(claims)
}

#[cfg(test)]
mod tests;
