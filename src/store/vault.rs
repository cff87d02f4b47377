//! Secrets at rest: sealed with AES-256-GCM-SIV, each bound to its place, so that a sealed value cannot be moved to
//! another row or column.
//!
//! ```text
//!   blob  = format 0x02 · key id · nonce (12) · ciphertext · tag (16)
//!   bound = "flow-router" 0 table 0 row id 0 column 0 format
//!   file  = secret.key: keys of 32 bytes one after the other; the last one seals, all of them open. How they lie there is
//!           the `guard`'s
//! ```
//!
//! A file of 32 bytes is what the Go program has at the same place. A rotation appends a key first and seals every row
//! again afterwards, so that a crash in between loses nothing. Old keys stay for the sake of older backups until they are
//! forgotten; a forgotten key is 32 zero bytes, so that ids keep their meaning.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use rusqlite::Connection;
use zeroize::Zeroizing;

use super::{Guard, OpenError, Options, StoreError};
use crate::files;

/// Form of what this program seals.
const FORMAT: u8 = 2;
/// Bytes of a key.
const KEY_BYTES: usize = 32;
/// Bytes in front of the ciphertext.
const HEAD_BYTES: usize = 2 + NONCE_LEN;
/// The file in the data folder.
const FILE: &str = "secret.key";
/// Every sealed column: table, row id, column. A rotation walks them.
pub(super) const SEALED: &[(&str, &str, &str)] = &[("providers", "id", "secret"), ("settings", "key", "secret")];

/// A text that is never printed and is wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes a secret in.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The secret, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// Seals and opens secrets. Clones share the keys.
#[derive(Clone)]
pub struct Vault {
    keys: Arc<ArcSwap<Keys>>,
    place: Arc<Place>,
}

/// Where the keys lie, and what guards them there.
struct Place {
    path: PathBuf,
    guard: Guard,
}

/// The keys by id, which begins at 1; `None` is a forgotten one. Never empty, and the last one is there.
struct Keys {
    raw: Zeroizing<Vec<u8>>,
    ready: Vec<Option<RandomizedNonceKey>>,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("path", &self.place.path).finish_non_exhaustive()
    }
}

impl Keys {
    fn new(raw: Zeroizing<Vec<u8>>) -> Result<Self, String> {
        if raw.is_empty() || !raw.len().is_multiple_of(KEY_BYTES) || raw.len() / KEY_BYTES > usize::from(u8::MAX) {
            return Err(format!("{} bytes are not a number of keys of {KEY_BYTES} bytes", raw.len()));
        }
        let mut ready = Vec::with_capacity(raw.len() / KEY_BYTES);
        for bytes in raw.chunks_exact(KEY_BYTES) {
            ready.push(if bytes.iter().all(|byte| *byte == 0) {
                None
            } else {
                let key = RandomizedNonceKey::new(&AES_256_GCM_SIV, bytes);
                Some(key.map_err(|_| "the key cannot be used".to_owned())?)
            });
        }
        match ready.last() {
            Some(Some(_)) => Ok(Self { raw, ready }),
            _ => Err("the last key is empty".to_owned()),
        }
    }

    fn random() -> Result<Zeroizing<Vec<u8>>, String> {
        let mut raw = Zeroizing::new(vec![0; KEY_BYTES]);
        // Straight from the system: the generator of the crypto library spends a tenth of a second on its own seed first.
        getrandom::fill(&mut raw).map_err(|_| "the system has no randomness".to_owned())?;
        Ok(raw)
    }

    /// The id of the key that seals, and the key.
    fn current(&self) -> Result<(u8, &RandomizedNonceKey), StoreError> {
        let id = u8::try_from(self.ready.len()).ok();
        id.zip(self.ready.last().and_then(Option::as_ref)).ok_or_else(|| StoreError::Key("there is none".to_owned()))
    }
}

impl Vault {
    /// Reads the key file of a data folder; makes it if it is missing and `may_create`. A bare one is wrapped if there is a
    /// guard, and it may be written.
    pub(super) fn load(options: &Options, may_create: bool) -> Result<Self, OpenError> {
        let place = Place::of(options);
        let Place { path, guard } = &place;
        let broken = |why: String| OpenError::Key(format!("{}: {why}", path.display()));
        let file = match fs::read(path) {
            Ok(file) => Zeroizing::new(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound && may_create => {
                let file = Keys::random().and_then(|keys| guard.wrap(&keys)).map_err(broken)?;
                match files::create(path, &file) {
                    Ok(()) => file,
                    // Another program was faster: its key is the key.
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                        Zeroizing::new(fs::read(path).map_err(|error| broken(error.to_string()))?)
                    }
                    Err(error) => return Err(broken(format!("cannot be made: {error}"))),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let why = "is missing, and the database holds secrets sealed with it: put it back from your copy, or \
                           give the secrets up with `flow-router secrets forget`";
                return Err(broken(why.to_owned()));
            }
            Err(error) => return Err(broken(error.to_string())),
        };
        private(path).map_err(broken)?;
        let (raw, otherwise) = guard.unwrap(&file).map_err(broken)?;
        let keys = Keys::new(raw).map_err(broken)?;
        if otherwise && options.may_wrap {
            place.write(&keys).map_err(|error| broken(format!("cannot be wrapped: {error}")))?;
            tracing::info!("the keys of the vault are guarded now; copies of the file from before are not");
        }
        Ok(Self { keys: Arc::new(ArcSwap::from_pointee(keys)), place: Arc::new(place) })
    }

    /// A vault with a random key that is kept nowhere, for a data folder whose key cannot be read yet.
    pub(super) fn passing(options: &Options) -> Result<Self, StoreError> {
        let keys = Keys::random().and_then(Keys::new).map_err(StoreError::Key)?;
        Ok(Self { keys: Arc::new(ArcSwap::from_pointee(keys)), place: Arc::new(Place::of(options)) })
    }

    /// Lays the keys bare in their file: guarded by its mode alone, as before there was a guard.
    pub(super) fn unwrap(&self) -> Result<(), StoreError> {
        let bare = Place { path: self.place.path.clone(), guard: Guard::Mode };
        bare.write(&self.keys.load())
    }

    /// Takes the keys of `other`, for all clones.
    pub(super) fn adopt(&self, other: &Self) {
        self.keys.store(other.keys.load_full());
    }

    /// Seals `secret` for one place.
    pub fn seal(&self, table: &str, row: &str, column: &str, secret: &[u8]) -> Result<Vec<u8>, StoreError> {
        let keys = self.keys.load();
        let (id, key) = keys.current()?;
        // Sealed in place: the clear text is in one buffer, which is overwritten.
        let mut sealed = secret.to_vec();
        let nonce = key
            .seal_in_place_append_tag(Aad::from(place(table, row, column)), &mut sealed)
            .map_err(|_| StoreError::Key("cannot seal".to_owned()))?;
        let mut blob = Vec::with_capacity(HEAD_BYTES + sealed.len());
        blob.extend_from_slice(&[FORMAT, id]);
        blob.extend_from_slice(nonce.as_ref());
        blob.extend_from_slice(&sealed);
        Ok(blob)
    }

    /// Opens what was sealed for that place.
    pub fn open(&self, table: &str, row: &str, column: &str, blob: &[u8]) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let wrong = |why: &str| StoreError::Key(format!("{table}.{column} of {row}: {why}"));
        let [FORMAT, id, rest @ ..] = blob else { return Err(wrong("not a sealed value of this program")) };
        let keys = self.keys.load();
        let key = keys.ready.get(usize::from(*id).wrapping_sub(1)).and_then(Option::as_ref);
        let key = key.ok_or_else(|| wrong("sealed with a key that is not in secret.key"))?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN).ok_or_else(|| wrong("cut off"))?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| wrong("cut off"))?;
        let mut bytes = Zeroizing::new(sealed.to_vec());
        let opened = key.open_in_place(nonce, Aad::from(place(table, row, column)), &mut bytes);
        let length = opened.map_err(|_| wrong("the key does not fit, or the value was changed or moved"))?.len();
        bytes.truncate(length);
        Ok(bytes)
    }

    /// Whether the key that seals also sealed `blob`.
    fn is_current(&self, blob: &[u8]) -> bool {
        matches!(blob, [FORMAT, id, ..] if usize::from(*id) == self.keys.load().ready.len())
    }

    /// Appends a new key, which seals from now on. The caller seals every row again.
    pub(super) fn append_key(&self) -> Result<(), StoreError> {
        let mut raw = Zeroizing::new(Vec::with_capacity(self.keys.load().raw.len() + KEY_BYTES));
        raw.extend_from_slice(&self.keys.load().raw);
        raw.extend_from_slice(&Keys::random().map_err(StoreError::Key)?);
        self.put(raw)
    }

    /// Wipes every key but the one that seals.
    pub(super) fn forget_old(&self) -> Result<(), StoreError> {
        let mut raw = self.keys.load().raw.clone();
        let old = raw.len() - KEY_BYTES;
        raw[..old].fill(0);
        self.put(raw)
    }

    fn put(&self, raw: Zeroizing<Vec<u8>>) -> Result<(), StoreError> {
        let keys = Keys::new(raw).map_err(StoreError::Key)?;
        self.place.write(&keys)?;
        self.keys.store(Arc::new(keys));
        Ok(())
    }

    /// Seals every row with the current key that another one sealed. Returns how many there were, and how many cannot be
    /// opened any more; these stay as they are.
    pub(super) fn seal_again(&self, conn: &Connection) -> Result<Resealed, StoreError> {
        let mut count = Resealed::default();
        for (table, key, column) in SEALED {
            let mut select =
                conn.prepare(&format!("SELECT {key}, {column} FROM {table} WHERE {column} IS NOT NULL"))?;
            let rows = select.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?)))?;
            let rows = rows.collect::<Result<Vec<_>, _>>()?;
            let mut update = conn.prepare(&format!("UPDATE {table} SET {column} = ?2 WHERE {key} = ?1"))?;
            for (row, blob) in rows.into_iter().filter(|(_, blob)| !self.is_current(blob)) {
                match self.open(table, &row, column, &blob) {
                    Ok(secret) => {
                        update.execute((&row, self.seal(table, &row, column, &secret)?))?;
                        count.sealed += 1;
                    }
                    Err(_) => count.lost += 1,
                }
            }
        }
        Ok(count)
    }
}

impl Place {
    fn of(options: &Options) -> Self {
        Self { path: path(options), guard: options.guard.clone() }
    }

    /// Puts keys in the place of those that lie there.
    fn write(&self, keys: &Keys) -> Result<(), StoreError> {
        let file = self.guard.wrap(&keys.raw).map_err(StoreError::Key)?;
        Ok(files::replace(&self.path, &file)?)
    }
}

/// What a rotation did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resealed {
    /// Secrets that are sealed with the new key now.
    pub sealed: usize,
    /// Secrets that no key opens; they are as before.
    pub lost: usize,
}

/// Whether the database holds anything sealed.
pub(super) fn holds_secrets(conn: &Connection) -> rusqlite::Result<bool> {
    for (table, _, column) in SEALED {
        let sql = format!("SELECT EXISTS (SELECT 1 FROM {table} WHERE {column} IS NOT NULL)");
        if conn.query_row(&sql, [], |row| row.get(0))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Where the keys of a data folder lie.
pub(super) fn path(options: &Options) -> PathBuf {
    options.dir.join(FILE)
}

/// What a sealed value is bound to.
fn place(table: &str, row: &str, column: &str) -> Vec<u8> {
    let mut bound = Vec::with_capacity(15 + table.len() + row.len() + column.len());
    for part in ["flow-router", table, row, column] {
        bound.extend_from_slice(part.as_bytes());
        bound.push(0);
    }
    bound.push(FORMAT);
    bound
}

/// Refuses a key file that others may read: it may have been read already, so that the user should know.
fn private(path: &Path) -> Result<(), String> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(path).map_err(|error| error.to_string())?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(format!("others may read it (mode {mode:o}): `chmod 600` it, and rotate it if they did"));
        }
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn vault(dir: &Path) -> Vault {
        Vault::load(&Options::new(dir), true).unwrap()
    }

    #[test]
    fn a_sealed_value_opens_only_in_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let vault = vault(dir.path());
        let blob = vault.seal("providers", "a", "secret", b"sk-1").unwrap();
        assert_eq!(&**vault.open("providers", "a", "secret", &blob).unwrap(), b"sk-1");
        assert_ne!(blob, vault.seal("providers", "a", "secret", b"sk-1").unwrap(), "nonces are random");
        for (table, row, column) in [
            ("settings", "a", "secret"),
            ("providers", "b", "secret"),
            ("providers", "a", "data"),
            ("providers", "", "a\0secret"),
        ] {
            assert!(vault.open(table, row, column, &blob).is_err(), "{table} {row} {column}");
        }
        for cut in 0..blob.len() {
            assert!(vault.open("providers", "a", "secret", &blob[..cut]).is_err(), "{cut}");
            let mut changed = blob.clone();
            changed[cut] ^= 1;
            assert!(vault.open("providers", "a", "secret", &changed).is_err(), "{cut}");
        }
    }

    #[test]
    fn the_key_file_is_private_whole_and_stable() {
        let dir = tempfile::tempdir().unwrap();
        let blob = vault(dir.path()).seal("t", "r", "c", b"x").unwrap();
        assert_eq!(fs::read(dir.path().join(FILE)).unwrap().len(), KEY_BYTES);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left behind");
        assert_eq!(&**vault(dir.path()).open("t", "r", "c", &blob).unwrap(), b"x");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let path = dir.path().join(FILE);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
            assert!(Vault::load(&Options::new(dir.path()), true).unwrap_err().to_string().contains("chmod 600"));
        }
        assert!(Keys::new(Zeroizing::new(vec![1; 33])).is_err());
        assert!(Keys::new(Zeroizing::new(vec![0; 32])).is_err());
        let none = tempfile::tempdir().unwrap();
        assert!(Vault::load(&Options::new(none.path()), false).unwrap_err().to_string().contains("is missing"));
    }

    #[test]
    fn old_keys_open_until_they_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let first = vault(dir.path());
        let old = first.seal("t", "r", "c", b"old").unwrap();
        first.append_key().unwrap();
        let new = first.seal("t", "r", "c", b"new").unwrap();
        assert!(!first.is_current(&old) && first.is_current(&new));
        for vault in [first.clone(), vault(dir.path())] {
            assert_eq!(&**vault.open("t", "r", "c", &old).unwrap(), b"old");
            assert_eq!(&**vault.open("t", "r", "c", &new).unwrap(), b"new");
        }
        first.forget_old().unwrap();
        for vault in [first.clone(), vault(dir.path())] {
            assert!(vault.open("t", "r", "c", &old).is_err());
            assert_eq!(&**vault.open("t", "r", "c", &new).unwrap(), b"new");
        }
    }

    #[test]
    fn a_guard_wraps_the_file_and_outlasts_a_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let bare = Options::new(dir.path());
        let guarded =
            Options { guard: Guard::Key(Secret::new("AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=")), ..bare.clone() };
        let first = Vault::load(&bare, true).unwrap();
        let blob = first.seal("t", "r", "c", b"x").unwrap();
        let kept = fs::read(dir.path().join(FILE)).unwrap();
        // Who only looks changes nothing.
        Vault::load(&Options { may_wrap: false, ..guarded.clone() }, false).unwrap();
        assert_eq!(fs::read(dir.path().join(FILE)).unwrap(), kept);

        let second = Vault::load(&guarded, false).unwrap();
        second.append_key().unwrap();
        let file = fs::read(dir.path().join(FILE)).unwrap();
        assert!(!file.windows(KEY_BYTES).any(|window| window == kept));
        let why = Vault::load(&bare, false).unwrap_err().to_string();
        assert!(why.contains("secret_store = \"env\""), "{why}");
        assert_eq!(&**Vault::load(&guarded, false).unwrap().open("t", "r", "c", &blob).unwrap(), b"x");

        second.unwrap().unwrap();
        assert_eq!(fs::read(dir.path().join(FILE)).unwrap()[..KEY_BYTES], kept[..]);
        assert_eq!(&**vault(dir.path()).open("t", "r", "c", &blob).unwrap(), b"x");
    }

    #[test]
    fn secrets_do_not_print() {
        assert_eq!(format!("{:?}", Secret::new("sk-planted")), "<redacted>");
    }
}
