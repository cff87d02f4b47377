//! What the tests of logging in share: an issuer's keys, which sign wrong tokens as well, and requests.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
        RsaKeyPair,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use proxy::{Headers, RequestHead, Version};
use serde_json::{Value, json};

use super::{Auth, caller::Caller, limiter::Limiter, oidc, password::Hasher, session::Sessions, token::AdminToken};

pub(in crate::api) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// One key of each kind.
pub(in crate::api) struct Signer {
    pub(in crate::api) rsa: RsaKeyPair,
    p256: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
}

impl Signer {
    pub(in crate::api) fn new() -> Self {
        Self {
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
            p256: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            ed25519: Ed25519KeyPair::generate().unwrap(),
        }
    }

    /// The public keys under the names `rsa`, `p256` and `ed`.
    pub(in crate::api) fn jwks(&self) -> Value {
        // PKCS #1 of a 2048-bit key: nine bytes of framing, the modulus, two bytes, and 65537.
        let rsa = self.rsa.public_key().as_ref();
        let point = self.p256.public_key().as_ref();
        json!({"keys": [
            {"kty": "RSA", "kid": "rsa", "use": "sig",
             "n": encode(&rsa[9..265]),
             "e": encode(&rsa[267..])},
            {"kty": "EC", "crv": "P-256", "kid": "p256", "alg": "ES256", "x": encode(&point[1..33]), "y": encode(&point[33..])},
            {"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": encode(self.ed25519.public_key())},
        ]})
    }

    /// Signs `claims` by `algorithm`, under a header that says what it likes.
    pub(in crate::api) fn token(&self, algorithm: &str, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
        let rng = SystemRandom::new();
        let bytes = message.as_bytes();
        let signature = match algorithm {
            "RS256" | "PS256" => {
                let mut signature = vec![0; self.rsa.public_modulus_len()];
                match algorithm {
                    "RS256" => self.rsa.sign(&RSA_PKCS1_SHA256, &rng, bytes, &mut signature).unwrap(),
                    _ => self.rsa.sign(&RSA_PSS_SHA256, &rng, bytes, &mut signature).unwrap(),
                }
                signature
            }
            "ES256" => self.p256.sign(&rng, bytes).unwrap().as_ref().to_vec(),
            "EdDSA" => self.ed25519.sign(bytes).as_ref().to_vec(),
            // The classic confusion: the public key, which everybody has, as the shared secret.
            "HS256" => {
                let document = self.rsa.public_key().as_ref();
                hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, document), bytes).as_ref().to_vec()
            }
            "none" => Vec::new(),
            other => panic!("no such algorithm: {other}"),
        };
        format!("{message}.{}", encode(signature))
    }
}

/// The head of a request.
pub(in crate::api) fn head(method: &str, target: &str, host: &str, fields: &[(&str, &str)]) -> RequestHead {
    let mut headers = Headers::new();
    for (name, value) in fields {
        headers.append((*name).to_owned(), (*value).to_owned());
    }
    RequestHead {
        method: method.parse().unwrap(),
        target: target.to_owned().into(),
        authority: host.to_owned().into(),
        version: Version::Http11,
        headers,
    }
}

/// A request with its ends.
pub(in crate::api) fn call<'a>(head: &'a RequestHead, peer: &str, local: &str) -> Caller<'a> {
    Caller { head, peer: peer.parse().unwrap(), local: Some(local.parse().unwrap()) }
}

impl Auth {
    /// Knows no session; its token lies in `data_dir`.
    pub(in crate::api) fn bare(data_dir: &Path) -> Self {
        Self {
            token: AdminToken::create(data_dir).unwrap(),
            sessions: Sessions::default(),
            limiter: Limiter::default(),
            hasher: Hasher::default(),
            provider: oidc::Provider::new().unwrap(),
        }
    }
}
