//! Passwords as they are kept: Argon2id in PHC form, and the digests of the Go program, which are replaced at login.
//!
//! Hashing is meant to be slow and to need memory, so it happens on blocking threads, [`TURNS`] at a time: logins can
//! then neither stall a lane nor take more than [`TURNS`] × 19 MiB. No password is ever stored, logged or compared as it
//! is.

use std::sync::Arc;

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordVerifier, phc::PasswordHash},
};
use aws_lc_rs::{constant_time::verify_slices_are_equal, digest};
use icu_normalizer::ComposingNormalizerBorrowed;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// Fewest characters of a password. There are no other rules: length is what counts.
pub(super) const CHARACTERS_MIN: usize = 10;

/// Most bytes of a password: nobody types more, and it bounds what is hashed.
const BYTES_MAX: usize = 1024;

/// Passwords that are hashed at the same time.
const TURNS: usize = 2;

/// Memory in KiB, passes and lanes of a new hash: the least that OWASP recommends for Argon2id, 54 ms on a laptop.
const COST: (u32, u32, u32) = (19_456, 2, 1);

/// What a stored hash may ask for at most: it comes from our store or from a file, but it must not be able to stop us.
const COST_MAX: (u32, u32, u32) = (262_144, 10, 16);

/// Bytes of salt of a new hash.
const SALT: usize = 16;

/// What the Go program put before the password before it took its SHA-256.
const LEGACY_PREFIX: &str = "flow_router_local_v1:";

/// Why a password cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Too few characters.
    #[error("a password has at least {CHARACTERS_MIN} characters")]
    Short,
    /// Too many bytes.
    #[error("a password has at most {BYTES_MAX} bytes")]
    Long,
    /// The system has no randomness or no memory.
    #[error("the password could not be hashed")]
    System,
}

/// What comparing a password with a stored hash gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is another one, or there is nothing to compare with.
    Wrong,
    /// It is the one.
    Right,
    /// It is the one, and this hash should replace the stored one, whose form is old.
    Renewed(String),
}

/// Hashes passwords, a few at a time.
#[derive(Debug, Clone)]
pub(super) struct Hasher {
    turns: Arc<Semaphore>,
}

impl Default for Hasher {
    fn default() -> Self {
        Self { turns: Arc::new(Semaphore::new(TURNS)) }
    }
}

impl Hasher {
    /// Hashes a new password.
    ///
    /// # Errors
    /// It is too short or too long.
    pub(super) async fn hash(&self, password: Zeroizing<String>) -> Result<String, Unfit> {
        let password = normal(&password);
        if password.chars().count() < CHARACTERS_MIN {
            return Err(Unfit::Short);
        }
        if password.len() > BYTES_MAX {
            return Err(Unfit::Long);
        }
        self.blocking(move || new_hash(&password)).await.flatten().ok_or(Unfit::System)
    }

    /// Compares a password with a stored hash. Without one it takes as long and is wrong: the time does not tell whether
    /// there is a password.
    pub(super) async fn verify(&self, password: Zeroizing<String>, stored: Option<String>) -> Verdict {
        if password.len() > BYTES_MAX {
            return Verdict::Wrong;
        }
        self.blocking(move || verify(&normal(&password), stored.as_deref())).await.unwrap_or(Verdict::Wrong)
    }

    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let turn = Arc::clone(&self.turns).acquire_owned().await.ok()?;
        let done = tokio::task::spawn_blocking(move || {
            // The turn belongs to the work: a caller that leaves must not make room while the thread still hashes.
            let _turn = turn;
            work()
        });
        done.await.ok()
    }
}

/// Hashes a new password, for who keeps no hasher.
///
/// # Errors
/// It is too short or too long.
pub async fn hash_password(password: Zeroizing<String>) -> Result<String, Unfit> {
    Hasher::default().hash(password).await
}

/// NFC: the same characters, typed on any keyboard, are the same bytes.
fn normal(password: &str) -> Zeroizing<String> {
    Zeroizing::new(ComposingNormalizerBorrowed::new_nfc().normalize(password).into_owned())
}

fn argon2() -> Option<Argon2<'static>> {
    let (memory, passes, lanes) = COST;
    let params = Params::new(memory, passes, lanes, None).ok()?;
    Some(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn new_hash(password: &str) -> Option<String> {
    use argon2::PasswordHasher as _;
    let mut salt = [0u8; SALT];
    getrandom::fill(&mut salt).ok()?;
    let hash: PasswordHash = argon2()?.hash_password_with_salt(password.as_bytes(), &salt).ok()?;
    Some(hash.to_string())
}

fn verify(password: &str, stored: Option<&str>) -> Verdict {
    let Some(stored) = stored else {
        // The same work, for nothing.
        drop(new_hash(password));
        return Verdict::Wrong;
    };
    if is_legacy(stored) {
        let given = digest::digest(&digest::SHA256, [LEGACY_PREFIX, password].concat().as_bytes());
        let given = crate::store::digest::hex(given.as_ref());
        let renewed = new_hash(password);
        let equal = verify_slices_are_equal(given.as_bytes(), stored.to_ascii_lowercase().as_bytes()).is_ok();
        return match (equal, renewed) {
            (true, Some(hash)) => Verdict::Renewed(hash),
            (true, None) => Verdict::Right,
            (false, _) => Verdict::Wrong,
        };
    }
    let Ok(hash) = PasswordHash::new(stored) else { return Verdict::Wrong };
    let Some(argon2) = argon2() else { return Verdict::Wrong };
    if !bearable(&hash) || argon2.verify_password(password.as_bytes(), &hash).is_err() {
        return Verdict::Wrong;
    }
    if cost(&hash) == Some(COST) {
        return Verdict::Right;
    }
    new_hash(password).map_or(Verdict::Right, Verdict::Renewed)
}

/// 64 hexadecimal digits: what the Go program kept before it used Argon2.
fn is_legacy(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn cost(hash: &PasswordHash) -> Option<(u32, u32, u32)> {
    let params = Params::try_from(hash).ok()?;
    Some((params.m_cost(), params.t_cost(), params.p_cost()))
}

fn bearable(hash: &PasswordHash) -> bool {
    cost(hash).is_some_and(|(memory, passes, lanes)| {
        memory <= COST_MAX.0 && passes <= COST_MAX.1 && lanes <= COST_MAX.2 && hash.hash.is_some()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn secret(text: &str) -> Zeroizing<String> {
        Zeroizing::new(text.to_owned())
    }

    #[tokio::test]
    async fn a_password_is_known_again_and_another_is_not() {
        let hasher = Hasher::default();
        let hash = hasher.hash(secret("correct horse")).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        let again = hasher.hash(secret("correct horse")).await.unwrap();
        assert_ne!(hash, again, "salted");
        assert_eq!(hasher.verify(secret("correct horse"), Some(hash.clone())).await, Verdict::Right);
        assert_eq!(hasher.verify(secret("correct horsE"), Some(hash)).await, Verdict::Wrong);
        assert_eq!(hasher.verify(secret("correct horse"), None).await, Verdict::Wrong);
    }

    #[tokio::test]
    async fn length_is_the_only_rule() {
        let hasher = Hasher::default();
        assert_eq!(hasher.hash(secret("123456789")).await, Err(Unfit::Short));
        assert!(hasher.hash(secret("1234567890")).await.is_ok());
        assert!(hasher.hash(secret("ééééééééé")).await.is_err(), "characters count, not bytes");
        assert_eq!(hasher.hash(secret(&"x".repeat(1025))).await, Err(Unfit::Long));
        assert_eq!(hasher.verify(secret(&"x".repeat(1025)), None).await, Verdict::Wrong);
    }

    #[tokio::test]
    async fn one_character_typed_in_two_ways_is_one_character() {
        let hasher = Hasher::default();
        let hash = hasher.hash(secret("caf\u{e9} cr\u{e8}me!")).await.unwrap();
        assert_eq!(hasher.verify(secret("cafe\u{301} cre\u{300}me!"), Some(hash)).await, Verdict::Right);
    }

    #[tokio::test]
    async fn hashes_of_the_go_program_are_renewed() {
        // printf 'flow_router_local_v1:correct horse' | sha256sum
        let old = "1a60c41f36d24a71d9e4cffb032a6129e4f2fff1f03200b47474ef235af06fe5";
        let hasher = Hasher::default();
        assert_eq!(hasher.verify(secret("correct horsE"), Some(old.to_owned())).await, Verdict::Wrong);
        let Verdict::Renewed(new) = hasher.verify(secret("correct horse"), Some(old.to_owned())).await else {
            panic!("an old form is renewed");
        };
        assert_eq!(hasher.verify(secret("correct horse"), Some(new)).await, Verdict::Right);

        // Its Argon2id parameters were others.
        let params = Params::new(65_536, 1, 4, None).unwrap();
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        use argon2::PasswordHasher as _;
        let hash: PasswordHash = argon2.hash_password_with_salt(b"correct horse", &[7; 16]).unwrap();
        let verdict = hasher.verify(secret("correct horse"), Some(hash.to_string())).await;
        assert!(matches!(verdict, Verdict::Renewed(_)), "{verdict:?}");
    }

    #[tokio::test]
    async fn what_is_no_hash_matches_nothing() {
        let hasher = Hasher::default();
        let greedy =
            "$argon2id$v=19$m=4194304,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        for text in ["", "plain", "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA", greedy] {
            assert_eq!(hasher.verify(secret("correct horse"), Some(text.to_owned())).await, Verdict::Wrong, "{text}");
        }
    }
}
