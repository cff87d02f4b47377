//! A login under way: what its cookie holds, sealed so that only this process can read or make one.
//!
//! The key lives as long as the process: a restart ends logins under way, and nothing else.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Mutex, PoisonError},
};

use aws_lc_rs::{
    aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    constant_time::verify_slices_are_equal,
    digest,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use super::Failure;
use crate::api::auth::token::sha256;

/// How long a login may take, in seconds.
pub(in crate::api::auth) const LIFE_S: i64 = 600;

/// Answers that are remembered as used. Each lives for [`LIFE_S`]; when there are more, the oldest is forgotten, and
/// with it only what the provider refuses as well: a code is good once.
const USED: usize = 4096;

/// Most bytes of a sealed cookie that are looked at.
const SEALED_MAX: usize = 4096;

/// What has to be known again when the browser comes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pending {
    pub(super) state: String,
    pub(super) nonce: String,
    pub(super) verifier: String,
    pub(super) issuer: String,
    pub(super) redirect_uri: String,
    /// When it is over, in milliseconds since the epoch.
    expires_ms: i64,
}

impl Pending {
    /// A new login; `None`: the system has no randomness.
    pub(super) fn new(issuer: String, redirect_uri: String, now_ms: i64) -> Option<Self> {
        let expires_ms = now_ms + LIFE_S * 1000;
        Some(Self { state: random()?, nonce: random()?, verifier: random()?, issuer, redirect_uri, expires_ms })
    }

    /// What the provider is told of the verifier (RFC 7636 §4.2).
    pub(super) fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, self.verifier.as_bytes()))
    }

    /// Whether an answer with `state` belongs to this login and comes in time.
    pub(super) fn check(&self, state: &str, now_ms: i64) -> Result<(), Failure> {
        if verify_slices_are_equal(state.as_bytes(), self.state.as_bytes()).is_err() {
            return Err(Failure::State);
        }
        if now_ms >= self.expires_ms { Err(Failure::TooLate) } else { Ok(()) }
    }
}

/// 32 random bytes as text.
fn random() -> Option<String> {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).ok()?;
    Some(URL_SAFE_NO_PAD.encode(bytes))
}

/// Seals cookies.
pub(super) struct Seal(LessSafeKey);

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<redacted>")
    }
}

impl Seal {
    /// A new key; `None`: the system has no randomness.
    pub(super) fn new() -> Option<Self> {
        let mut key = zeroize::Zeroizing::new([0u8; 32]);
        getrandom::fill(&mut *key).ok()?;
        Some(Self(LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, &*key).ok()?)))
    }

    /// Seals a login; `None`: the system has no randomness.
    pub(super) fn close(&self, pending: &Pending) -> Option<String> {
        let mut nonce = [0u8; NONCE_LEN];
        getrandom::fill(&mut nonce).ok()?;
        let mut text = serde_json::to_vec(pending).ok()?;
        self.0.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), purpose(), &mut text).ok()?;
        Some(URL_SAFE_NO_PAD.encode([&nonce[..], &text].concat()))
    }

    /// Opens what [`Seal::close`] has sealed; `None` for everything else.
    pub(super) fn open(&self, sealed: &str) -> Option<Pending> {
        if sealed.len() > SEALED_MAX {
            return None;
        }
        let mut bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (nonce, text) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let text = self.0.open_in_place(nonce, purpose(), text).ok()?;
        serde_json::from_slice(text).ok()
    }
}

fn purpose() -> Aad<&'static [u8]> {
    Aad::from(b"flow_router_oidc")
}

/// Answers that have come already.
#[derive(Debug, Default)]
pub(super) struct Used(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    set: HashSet<[u8; 32]>,
    /// The same in the order in which they came, with the time.
    queue: VecDeque<(i64, [u8; 32])>,
}

impl Used {
    /// Whether `state` comes for the first time.
    pub(super) fn first(&self, state: &str, now_ms: i64) -> bool {
        let hash = sha256(state);
        // Set and queue change together, without a panic in between.
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Book { set, queue } = &mut *book;
        while queue.front().is_some_and(|(at, _)| queue.len() >= USED || now_ms - at >= LIFE_S * 1000) {
            if let Some((_, old)) = queue.pop_front() {
                set.remove(&old);
            }
        }
        let first = set.insert(hash);
        if first {
            queue.push_back((now_ms, hash));
        }
        first
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NOW: i64 = 1_700_000_000_000;

    fn pending() -> Pending {
        Pending::new("https://i".to_owned(), "http://127.0.0.1:1/cb".to_owned(), NOW).unwrap()
    }

    #[test]
    fn the_challenge_is_that_of_the_standard() {
        // RFC 7636, appendix B.
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".to_owned();
        assert_eq!(Pending { verifier, ..pending() }.challenge(), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
        let one = pending();
        assert_eq!(one.verifier.len(), 43);
        assert!(one.state != one.nonce && one.nonce != one.verifier && one.state != pending().state);
    }

    #[test]
    fn a_sealed_login_opens_for_us_only() {
        let (seal, pending) = (Seal::new().unwrap(), pending());
        let sealed = seal.close(&pending).unwrap();
        assert!(!sealed.contains(&pending.verifier) && sealed.len() < 1000);
        assert_eq!(seal.open(&sealed), Some(pending.clone()));
        assert_eq!(Seal::new().unwrap().open(&sealed), None, "another process");
        let mut bytes = URL_SAFE_NO_PAD.decode(&sealed).unwrap();
        for at in [0, NONCE_LEN, bytes.len() - 1] {
            bytes[at] ^= 1;
            assert_eq!(seal.open(&URL_SAFE_NO_PAD.encode(&bytes)), None, "{at}");
            bytes[at] ^= 1;
        }
        for wrong in ["", "x", "AAAA", &sealed[..20], &"A".repeat(5000)] {
            assert_eq!(seal.open(wrong), None);
        }
    }

    #[test]
    fn an_answer_belongs_to_its_login_for_ten_minutes() {
        let pending = pending();
        assert_eq!(pending.check(&pending.state, NOW + 599_999), Ok(()));
        assert_eq!(pending.check(&pending.state, NOW + 600_000), Err(Failure::TooLate));
        for wrong in ["", "x", &pending.nonce] {
            assert_eq!(pending.check(wrong, NOW), Err(Failure::State));
        }
    }

    #[test]
    fn an_answer_counts_once_and_memory_is_bounded() {
        let used = Used::default();
        assert!(used.first("a", NOW) && !used.first("a", NOW + 1) && used.first("b", NOW));
        assert!(!used.first("a", NOW + LIFE_S * 1000 - 1));
        for n in 0..USED + 10 {
            used.first(&n.to_string(), NOW + 1);
        }
        let held = used.0.lock().unwrap();
        assert!(held.set.len() <= USED && held.set.len() == held.queue.len());
    }
}
