//! The files of the authority.
//!
//! ```text
//! <folder>/                 0700
//!   rootCA.pem              the certificate that users trust
//!   issuingCA.pem           what signs leaves, with nameConstraints
//!   issuingCA.key    0600   its key
//!   rootCA.key       0600   only if the authority is not sealed
//!   ca.lock                 held while the files change
//!   ca.new/                 being written; worth nothing
//!   ca.next/                whole, and waiting to be trusted; with the file `activate` in it: on its way up
//!   ca.old/<alias>.pem      roots that were in force: to be removed from trust stores
//! ```
//!
//! A new authority is written to `ca.new`, made durable, and renamed to `ca.next`. To activate it, a marker is written
//! first; from then on every load finishes the move, whenever the power fails. So an authority is there as a whole or not
//! at all, and a key is never in force beside a foreign certificate.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::SystemTime,
};

use zeroize::Zeroizing;

use crate::{
    Authority, Error, Profile, Root,
    authority::{Made, Texts, confined},
};

const ROOT: &str = "rootCA.pem";
const ISSUING: &str = "issuingCA.pem";
const ISSUING_KEY: &str = "issuingCA.key";
const ROOT_KEY: &str = "rootCA.key";
const LOCK: &str = "ca.lock";
const NEW: &str = "ca.new";
const NEXT: &str = "ca.next";
const OLD: &str = "ca.old";
const MARKER: &str = "activate";
/// Says in `ca.next` that a root's key in force must go.
const SEALED: &str = "sealed";
/// Largest file that is read: certificates are 2 KiB.
const FILE_MAX: u64 = 64 * 1024;
/// Most retired roots that are listed.
const RETIRED_MAX: usize = 64;

/// The folder that holds an authority's files.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
    owner: Option<u32>,
}

impl Folder {
    /// The folder at `path`, which need not exist yet. Files in it must belong to the user of this process.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), owner: None }
    }

    /// Accepts files of another user: a program that was started by sudo for user id `uid` reads that user's files.
    /// Without effect on Windows.
    #[must_use]
    pub fn owned_by(mut self, uid: u32) -> Self {
        self.owner = Some(uid);
        self
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The certificate for users to trust and download: `rootCA.pem`.
    pub fn root_path(&self) -> PathBuf {
        self.path.join(ROOT)
    }

    /// The certificate of the authority that waits to be activated.
    pub fn staged_root_path(&self) -> PathBuf {
        self.path.join(NEXT).join(ROOT)
    }

    /// Makes an authority where none is: seconds of CPU. An existing one is never replaced, see [`stage`](Self::stage).
    pub fn create(&self, profile: &Profile, now: SystemTime) -> Result<Authority, Error> {
        profile.check()?;
        {
            let _lock = self.lock()?;
            self.finish()?;
            if FILES.iter().any(|name| self.path.join(name).exists()) {
                return Err(Error::AlreadyThere { folder: self.path.clone() });
            }
            // One that waited is not in force anywhere.
            remove_folder(&self.path.join(NEXT))?;
            self.write_next(&Made::new(profile, now)?, true)?;
            self.finish()?;
        }
        self.load(now)
    }

    /// Loads the authority and checks it: all files there, for their owner only, whole, valid now, confined to names, key
    /// and certificates belonging together. Finishes an interrupted activation first.
    pub fn load(&self, now: SystemTime) -> Result<Authority, Error> {
        if self.path.join(NEXT).join(MARKER).exists() {
            let _lock = self.lock()?;
            self.finish()?;
        }
        let missing: Vec<PathBuf> = [ROOT, ISSUING, ISSUING_KEY]
            .map(|name| self.path.join(name))
            .into_iter()
            .filter(|path| !path.exists())
            .collect();
        match missing.into_iter().next() {
            Some(_) if !FILES.iter().any(|name| self.path.join(name).exists()) => {
                return Err(Error::Missing { folder: self.path.clone() });
            }
            Some(path) => return Err(Error::Incomplete { path }),
            None => {}
        }
        self.read_from(&self.path, now)
    }

    /// Makes a new authority beside the one in force, to be trusted before it is used: seconds of CPU. One that already
    /// waited is replaced.
    pub fn stage(&self, profile: &Profile, now: SystemTime) -> Result<Root, Error> {
        profile.check()?;
        let _lock = self.lock()?;
        self.finish()?;
        remove_folder(&self.path.join(NEXT))?;
        self.write_next(&Made::new(profile, now)?, false)?;
        self.staged()?.ok_or_else(|| Error::NothingStaged { folder: self.path.clone() })
    }

    /// The root of the authority that waits, if one does.
    pub fn staged(&self) -> Result<Option<Root>, Error> {
        let path = self.staged_root_path();
        if !path.exists() {
            return Ok(None);
        }
        Root::from_pem(&read(&path)?).map(Some).map_err(|what| Error::damaged(&path, what))
    }

    /// Puts the waiting authority in force. The old root's certificate moves to the retired ones; its keys are gone.
    pub fn activate(&self, now: SystemTime) -> Result<Authority, Error> {
        {
            let _lock = self.lock()?;
            let next = self.path.join(NEXT);
            if !next.join(ROOT).exists() && !next.join(MARKER).exists() {
                return Err(Error::NothingStaged { folder: self.path.clone() });
            }
            let marker = next.join(MARKER);
            if !marker.exists() {
                // Before the one in force is given up for it.
                self.read_from(&next, now)?;
            }
            write_private(&marker, b"").or_else(|error| if marker.exists() { Ok(()) } else { Err(error) })?;
            sync_folder(&next)?;
            self.finish()?;
        }
        self.load(now)
    }

    /// Throws the waiting authority away, if one waits.
    pub fn discard_staged(&self) -> Result<(), Error> {
        let _lock = self.lock()?;
        self.finish()?;
        remove_folder(&self.path.join(NEXT))
    }

    /// Makes a new issuing authority under the same root and puts it in force: nobody has to trust anything anew. Needs
    /// the root's key ([`Error::Sealed`] otherwise).
    pub fn renew_issuing(&self, now: SystemTime) -> Result<Authority, Error> {
        {
            let _lock = self.lock()?;
            self.finish()?;
            let root_path = self.path.join(ROOT);
            let key_path = self.path.join(ROOT_KEY);
            if !root_path.exists() {
                return Err(Error::Missing { folder: self.path.clone() });
            }
            if !key_path.exists() {
                return Err(Error::Sealed);
            }
            let root = Root::from_pem(&read(&root_path)?).map_err(|what| Error::damaged(&root_path, what))?;
            if now >= root.not_after() {
                return Err(Error::Expired { path: root_path, end: root.not_after() });
            }
            let names = confined(&root_path, root.der())?;
            let made = Made::renew(&root, (&key_path, &self.read_private(&key_path)?), &names, now)?;
            remove_folder(&self.path.join(NEXT))?;
            self.write_next(&made, true)?;
            self.finish()?;
        }
        self.load(now)
    }

    /// Roots that were in force once and may still be trusted somewhere.
    pub fn retired(&self) -> Result<Vec<Root>, Error> {
        let folder = self.path.join(OLD);
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(Error::io("list", &folder))?,
        };
        let mut roots = Vec::new();
        for entry in entries.take(RETIRED_MAX) {
            let path = entry.map_err(Error::io("list", &folder))?.path();
            if path.extension().is_some_and(|extension| extension == "pem") {
                roots.push(Root::from_pem(&read(&path)?).map_err(|what| Error::damaged(&path, what))?);
            }
        }
        roots.sort_by_key(Root::not_after);
        Ok(roots)
    }

    /// Forgets a retired root, when no store trusts it any more.
    pub fn forget_retired(&self, root: &Root) -> Result<(), Error> {
        let path = self.path.join(OLD).join(format!("{}.pem", root.alias()));
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", &path)(error)),
            _ => Ok(()),
        }
    }

    /// Takes the rights of other users from the folder and its keys; [`Error::Owner`] is beyond it.
    pub fn fix_permissions(&self) -> Result<(), Error> {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let next = self.path.join(NEXT);
            for (path, mode) in [
                (self.path.clone(), 0o700),
                (self.path.join(ISSUING_KEY), 0o600),
                (self.path.join(ROOT_KEY), 0o600),
                (next.join(ISSUING_KEY), 0o600),
                (next.join(ROOT_KEY), 0o600),
            ] {
                if path.exists() {
                    fs::set_permissions(&path, fs::Permissions::from_mode(mode))
                        .map_err(Error::io("change the mode of", &path))?;
                }
            }
        }
        Ok(())
    }

    /// Reads the authority whose files lie in `folder`, this one or one below it.
    fn read_from(&self, folder: &Path, now: SystemTime) -> Result<Authority, Error> {
        let metadata = fs::metadata(folder).map_err(Error::io("look at", folder))?;
        // Who may write here may put another key in place.
        check_owner(folder, &metadata, 0o022, self.owner)?;
        let (root_path, issuing_path, key_path) = (folder.join(ROOT), folder.join(ISSUING), folder.join(ISSUING_KEY));
        let root = read(&root_path)?;
        let issuing = read(&issuing_path)?;
        let issuing_key = self.read_private(&key_path)?;
        let root_key = folder.join(ROOT_KEY);
        if root_key.exists() {
            // Not needed here, but a key that others can read must not go unnoticed.
            self.read_private(&root_key)?;
        }
        let texts = Texts {
            root: (&root_path, &root),
            issuing: (&issuing_path, &issuing),
            issuing_key: (&key_path, &issuing_key),
        };
        Authority::read(&texts, now)
    }

    fn read_private(&self, path: &Path) -> Result<Zeroizing<Vec<u8>>, Error> {
        let mut file = File::open(path).map_err(Error::io("open", path))?;
        // Of the open file: its name may lead elsewhere a moment later.
        let metadata = file.metadata().map_err(Error::io("look at", path))?;
        check_owner(path, &metadata, 0o077, self.owner)?;
        read_file(&mut file, path).map(Zeroizing::new)
    }

    /// The lock on changes, held until it is dropped.
    fn lock(&self) -> Result<File, Error> {
        make_folder(&self.path)?;
        let path = self.path.join(LOCK);
        let file = private().create(true).truncate(false).open(&path).map_err(Error::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(Error::Busy { folder: self.path.clone() }),
            Err(TryLockError::Error(error)) => Err(Error::io("lock", &path)(error)),
        }
    }

    /// Writes an authority as `ca.next`, whole. With `marked` it is on its way up from the moment it is there.
    fn write_next(&self, made: &Made, marked: bool) -> Result<(), Error> {
        let new = self.path.join(NEW);
        remove_folder(&new)?;
        make_folder(&new)?;
        write_private(&new.join(ISSUING_KEY), made.issuing_key.as_bytes())?;
        match &made.root_key {
            Some(key) => write_private(&new.join(ROOT_KEY), key.as_bytes())?,
            None => write_private(&new.join(SEALED), b"")?,
        }
        write_public(&new.join(ISSUING), made.issuing.as_bytes())?;
        write_public(&new.join(ROOT), made.root.as_bytes())?;
        if marked {
            write_private(&new.join(MARKER), b"")?;
        }
        sync_folder(&new)?;
        let next = self.path.join(NEXT);
        fs::rename(&new, &next).map_err(Error::io("make", &next))?;
        sync_folder(&self.path)
    }

    /// Finishes a marked activation; does nothing without one.
    fn finish(&self) -> Result<(), Error> {
        if !self.path.join(NEXT).join(MARKER).exists() {
            return Ok(());
        }
        for step in STEPS {
            self.step(step)?;
        }
        Ok(())
    }

    /// One step of an activation. Each may be repeated after all those before it.
    fn step(&self, step: Step) -> Result<(), Error> {
        let next = self.path.join(NEXT);
        match step {
            Step::Retire => self.retire(&next),
            // A kept key of the new root overwrites the old one's.
            Step::DropRootKey if next.join(SEALED).exists() => remove(&self.path.join(ROOT_KEY)),
            Step::DropRootKey => Ok(()),
            Step::Move(name) => {
                let path = self.path.join(name);
                match fs::rename(next.join(name), &path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    other => other.map_err(Error::io("replace", &path))?,
                }
                sync_folder(&self.path)
            }
            Step::Close => {
                remove(&next.join(MARKER))?;
                remove_folder(&next)?;
                sync_folder(&self.path)
            }
        }
    }

    /// Keeps the certificate of the root that goes, unless the same root stays.
    fn retire(&self, next: &Path) -> Result<(), Error> {
        let (old, new) = (self.path.join(ROOT), next.join(ROOT));
        if !old.exists() || !new.exists() {
            return Ok(());
        }
        let bytes = read(&old)?;
        let Ok(root) = Root::from_pem(&bytes) else {
            return Ok(());
        };
        if Root::from_pem(&read(&new)?).is_ok_and(|new| new == root) {
            return Ok(());
        }
        let folder = self.path.join(OLD);
        make_folder(&folder)?;
        let path = folder.join(format!("{}.pem", root.alias()));
        remove(&path)?;
        write_public(&path, root.pem().as_bytes())?;
        sync_folder(&folder)
    }
}

/// Files of an authority in force.
const FILES: [&str; 4] = [ROOT, ISSUING, ISSUING_KEY, ROOT_KEY];

/// What an activation does, in this order.
#[derive(Debug, Clone, Copy)]
enum Step {
    Retire,
    DropRootKey,
    Move(&'static str),
    Close,
}

const STEPS: [Step; 7] = [
    Step::Retire,
    Step::DropRootKey,
    Step::Move(ROOT_KEY),
    Step::Move(ISSUING_KEY),
    Step::Move(ISSUING),
    Step::Move(ROOT),
    Step::Close,
];

/// Whether a file is its owner's alone: `denied` are the bits that must not be set.
#[cfg(unix)]
fn check_owner(path: &Path, metadata: &fs::Metadata, denied: u32, owner: Option<u32>) -> Result<(), Error> {
    use std::os::unix::fs::MetadataExt;
    let expected = owner.unwrap_or_else(|| rustix::process::geteuid().as_raw());
    if metadata.uid() != expected {
        return Err(Error::Owner { path: path.to_owned(), owner: metadata.uid(), expected });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & denied != 0 { Err(Error::Permissions { path: path.to_owned(), mode }) } else { Ok(()) }
}

/// Windows: files below the user's profile are the user's by inheritance; there is nothing to read off a mode.
#[cfg(not(unix))]
fn check_owner(_: &Path, _: &fs::Metadata, _: u32, _: Option<u32>) -> Result<(), Error> {
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    read_file(&mut File::open(path).map_err(Error::io("open", path))?, path)
}

fn read_file(file: &mut File, path: &Path) -> Result<Vec<u8>, Error> {
    // Room for all of it: a buffer that grows leaves copies of a key behind.
    let mut bytes = Vec::with_capacity(FILE_MAX as usize + 1);
    file.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(Error::damaged(path, "too large"));
    }
    Ok(bytes)
}

/// Options that write a file, and make it for its owner only.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn make_folder(path: &Path) -> Result<(), Error> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(Error::io("make", path))
}

/// A new file with mode 0600 from its first moment.
fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    write(private().create_new(true), path, bytes)
}

fn write_public(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    write(OpenOptions::new().write(true).create_new(true), path, bytes)
}

fn write(options: &OpenOptions, path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut file = options.open(path).map_err(Error::io("make", path))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(Error::io("write", path))
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}

fn remove_folder(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Makes a folder's entries durable. Systems that cannot open folders have no need for it.
fn sync_folder(path: &Path) -> Result<(), Error> {
    #[cfg(unix)]
    File::open(path).and_then(|folder| folder.sync_all()).map_err(Error::io("sync", path))?;
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

#[cfg(test)]
mod tests;
