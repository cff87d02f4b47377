//! What guards the vault's keys where they lie, in `secret.key`.
//!
//! ```text
//!   bare     keys of 32 bytes one after the other: the file's mode alone guards them
//!   wrapped  "FLOW KEYS v1\n\0\0\0" (16)  kind (1)  salt (16)  nonce (12)  AES-256-GCM-SIV of the keys  tag (16)
//!            sealed with a key of the user's, or with one that Argon2id makes of a passphrase; head to salt are bound to it
//! ```
//!
//! Wrapping is around the keys and not in their place: rotation, old keys and backups are the same with every guard, and a
//! guard can be changed without touching a row. A bare file is wrapped by the first start with a guard; the way back is
//! [`unwrap`](super::Vault::unwrap). What it does not do: keep the guard's own secret, which comes from outside at each start.

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use zeroize::Zeroizing;

use super::Secret;

/// In front of every wrapped file.
const MAGIC: &[u8; 16] = b"FLOW KEYS v1\n\0\0\0";
/// Bytes of a salt.
const SALT: usize = 16;
/// Bytes that are bound to what is sealed: magic, kind, salt.
const HEAD: usize = MAGIC.len() + 1 + SALT;
/// Bytes of a key.
const KEY: usize = 32;
/// Argon2id: memory in KiB, passes, lanes. It runs once at a start.
const COST: (u32, u32, u32) = (64 * 1024, 3, 1);

/// What the user has given to guard the keys.
#[derive(Debug, Clone, Default)]
pub enum Guard {
    /// Nothing: the file's mode.
    #[default]
    Mode,
    /// A key of 32 bytes, in base64.
    Key(Secret),
    /// A passphrase.
    Passphrase(Secret),
}

impl Guard {
    /// Its number in the file, and its name for people.
    fn kind(&self) -> (u8, &'static str) {
        match self {
            Guard::Mode => (0, "nothing"),
            Guard::Key(_) => (1, "a key (secret_store = \"env\")"),
            Guard::Passphrase(_) => (2, "a passphrase (secret_store = \"passphrase\")"),
        }
    }

    /// What seals the keys. `None` where nothing does.
    fn key(&self, salt: &[u8]) -> Result<Option<RandomizedNonceKey>, String> {
        let mut raw = Zeroizing::new([0; KEY]);
        match self {
            Guard::Mode => return Ok(None),
            Guard::Key(text) => {
                // 32 bytes and a byte more: what is too long is not cut off.
                let mut decoded = Zeroizing::new([0; KEY + 3]);
                let text = text.expose().trim().trim_end_matches('=');
                let engine = if text.contains(['-', '_']) { UNPADDED_URL } else { UNPADDED };
                match engine.decode_slice(text, &mut *decoded) {
                    Ok(KEY) => raw.copy_from_slice(&decoded[..KEY]),
                    _ => {
                        return Err(
                            "the key that guards it is not base64 of 32 bytes: `openssl rand -base64 32`".into()
                        );
                    }
                }
            }
            Guard::Passphrase(text) => {
                let (memory, passes, lanes) = COST;
                let params = Params::new(memory, passes, lanes, Some(KEY)).map_err(|error| error.to_string())?;
                let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
                let made = argon2.hash_password_into(text.expose().as_bytes(), salt, &mut *raw);
                made.map_err(|error| format!("the passphrase cannot be used: {error}"))?;
            }
        }
        RandomizedNonceKey::new(&AES_256_GCM_SIV, &*raw).map(Some).map_err(|_| "the key cannot be used".to_owned())
    }

    /// The keys as they are to lie in the file.
    ///
    /// # Errors
    /// The guard is none, or the system has no randomness.
    pub(super) fn wrap(&self, keys: &[u8]) -> Result<Zeroizing<Vec<u8>>, String> {
        let mut salt = [0; SALT];
        getrandom::fill(&mut salt).map_err(|_| "the system has no randomness".to_owned())?;
        let Some(key) = self.key(&salt)? else { return Ok(Zeroizing::new(keys.to_vec())) };
        let mut file = Zeroizing::new(Vec::with_capacity(HEAD + NONCE_LEN + keys.len() + AES_256_GCM_SIV.tag_len()));
        file.extend_from_slice(MAGIC);
        file.push(self.kind().0);
        file.extend_from_slice(&salt);
        // With room for the tag, so that no half of it is left behind where it grew.
        let mut sealed = Zeroizing::new(Vec::with_capacity(keys.len() + AES_256_GCM_SIV.tag_len()));
        sealed.extend_from_slice(keys);
        let nonce = key
            .seal_in_place_append_tag(Aad::from(&file[..HEAD]), &mut *sealed)
            .map_err(|_| "the keys cannot be sealed".to_owned())?;
        file.extend_from_slice(nonce.as_ref());
        file.extend_from_slice(&sealed);
        Ok(file)
    }

    /// The keys of a file; and whether they lay there otherwise than this guard has them.
    ///
    /// # Errors
    /// The guard does not fit, or the file was cut off or changed.
    pub(super) fn unwrap(&self, file: &[u8]) -> Result<(Zeroizing<Vec<u8>>, bool), String> {
        let Some((head, rest)) = file.split_at_checked(HEAD).filter(|(head, _)| head.starts_with(MAGIC)) else {
            return Ok((Zeroizing::new(file.to_vec()), !matches!(self, Guard::Mode)));
        };
        let (kind, name) = self.kind();
        if head[MAGIC.len()] != kind {
            let other = match head[MAGIC.len()] {
                1 => Guard::Key(Secret::new("")),
                2 => Guard::Passphrase(Secret::new("")),
                other => return Err(format!("is guarded by something that this program does not know ({other})")),
            };
            return Err(format!("is guarded by {}, and {name} was given", other.kind().1));
        }
        let Some(key) = self.key(&head[MAGIC.len() + 1..])? else { return Err("is damaged".to_owned()) };
        let misfit = || format!("{name} was given and does not fit, or the file was changed");
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN).ok_or_else(misfit)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| misfit())?;
        let mut keys = Zeroizing::new(sealed.to_vec());
        let length = key.open_in_place(nonce, Aad::from(head), &mut keys).map_err(|_| misfit())?.len();
        keys.truncate(length);
        Ok((keys, false))
    }
}

/// Base64 of either alphabet; padding was taken off.
const UNPADDED: base64::engine::GeneralPurpose = base64::engine::general_purpose::STANDARD_NO_PAD;
/// See above.
const UNPADDED_URL: base64::engine::GeneralPurpose = base64::engine::general_purpose::URL_SAFE_NO_PAD;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn key(byte: u8) -> Guard {
        Guard::Key(Secret::new(base64::engine::general_purpose::STANDARD.encode([byte; 32])))
    }

    #[test]
    fn keys_come_back_by_the_same_guard_only() {
        let passphrase = |text: &str| Guard::Passphrase(Secret::new(text));
        let keys = [7; 64];
        for (guard, others) in [
            (key(1), [key(2), passphrase("open sesame"), Guard::Mode]),
            (passphrase("open sesame"), [passphrase("open says me"), key(1), Guard::Mode]),
        ] {
            let file = guard.wrap(&keys).unwrap();
            assert!(!file.windows(8).any(|window| window == [7; 8]), "{guard:?}");
            assert_ne!(file, guard.wrap(&keys).unwrap(), "salts and nonces are random");
            let (found, otherwise) = guard.unwrap(&file).unwrap();
            assert_eq!((&found[..], otherwise), (&keys[..], false));
            for other in others {
                let why = other.unwrap(&file).unwrap_err();
                assert!(why.contains("was given"), "{guard:?} {other:?}: {why}");
            }
        }
    }

    #[test]
    fn a_changed_file_does_not_open() {
        let file = key(1).wrap(&[7; 32]).unwrap();
        for at in 0..file.len() {
            let mut changed = file.to_vec();
            changed[at] ^= 1;
            // Without its magic it is no wrapped file, and of no length that bare ones have.
            let opened = key(1).unwrap(&changed);
            assert!(opened.is_err() || opened.is_ok_and(|(keys, _)| at < MAGIC.len() && keys.len() % KEY != 0), "{at}");
            let cut = key(1).unwrap(&file[..at]);
            assert!(cut.is_err() || at < HEAD, "{at}");
        }
    }

    #[test]
    fn a_bare_file_is_taken_by_every_guard() {
        assert!(!Guard::Mode.unwrap(&[7; 32]).unwrap().1);
        assert!(key(1).unwrap(&[7; 32]).unwrap().1, "it lies otherwise than the guard has it");
        assert_eq!(&Guard::Mode.wrap(&[7; 32]).unwrap()[..], [7; 32]);
    }

    #[test]
    fn keys_are_base64_of_either_alphabet_and_of_one_length() {
        let engine = base64::engine::general_purpose::URL_SAFE;
        let file = key(0xfb).wrap(&[7; 32]).unwrap();
        assert!(Guard::Key(Secret::new(engine.encode([0xfb; 32]))).unwrap(&file).is_ok());
        for wrong in ["", "short", &engine.encode([1; 31]), &engine.encode([1; 33]), &"A".repeat(43)[..42]] {
            let why = Guard::Key(Secret::new(wrong)).wrap(&[7; 32]).unwrap_err();
            assert!(why.contains("base64 of 32 bytes"), "{wrong}: {why}");
        }
    }
}
