//! Reads and replaces the hosts file.
//!
//! The file is the old one or the new one at any moment: the new bytes are written beside it, with the owner, mode and
//! extended attributes (access lists, SELinux label) of the old one, made durable, and renamed over it. What stood there
//! before is kept as `<hosts>.flow_router.bak` until our block is out again, and once, as it was before we first touched
//! it, in our own folder. Where renaming is impossible (containers mount the file itself) it is rewritten in place, after
//! the copy is safe; the new bytes stay beside it meanwhile, so that a write that was cut is recognised and taken back by
//! the next call.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use super::block::{self, FILE_MAX, Refusal, Wanted};
use crate::files;

/// Why the hosts file was not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostsError {
    /// Its content forbids it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Writing needs the administrator's rights.
    #[error("changing {} needs the administrator's rights", .path.display())]
    NeedsPrivilege {
        /// The file.
        path: PathBuf,
    },
    /// Another program is changing it through us.
    #[error("another program is changing {}", .path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// What a call did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The file was as it should be; it was not written.
    None,
    /// It was replaced.
    Written,
}

/// Where a system keeps its hosts file. `system_root` is `%SystemRoot%` of Windows.
pub fn default_path(windows: bool, system_root: Option<&str>) -> PathBuf {
    if windows {
        let root = system_root.filter(|root| !root.is_empty()).unwrap_or(r"C:\Windows");
        PathBuf::from(format!(r"{}\System32\drivers\etc\hosts", root.trim_end_matches('\\')))
    } else {
        PathBuf::from("/etc/hosts")
    }
}

/// A hosts file, and the folder where we keep what belongs to its editing.
#[derive(Debug, Clone)]
pub struct HostsFile {
    path: PathBuf,
    own: PathBuf,
}

impl HostsFile {
    /// The file at `path`. `own` is our folder (`mitm` of the data folder), for the lock and the first copy.
    pub fn new(path: impl Into<PathBuf>, own: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), own: own.into() }
    }

    /// Puts our block in. A file that is as it should be is not touched.
    pub fn apply(&self, wanted: &Wanted<'_>) -> Result<Change, HostsError> {
        let _lock = self.lock()?;
        let (path, old) = self.read_whole()?;
        let new = block::apply(&old, wanted)?;
        if new == old {
            return Ok(Change::None);
        }
        self.keep_original(&block::remove(&old, wanted.catalogue)?)?;
        self.replace(&path, &old, &new)?;
        Ok(Change::Written)
    }

    /// Takes our block out, and the copy beside the file with it.
    pub fn remove(&self, catalogue: &[&str]) -> Result<Change, HostsError> {
        let _lock = self.lock()?;
        let (path, old) = self.read_whole()?;
        let new = block::remove(&old, catalogue)?;
        let change = if new == old {
            Change::None
        } else {
            self.replace(&path, &old, &new)?;
            Change::Written
        };
        remove_file(&backup(&path))?;
        remove_file(&beside(&path))?;
        Ok(change)
    }

    /// Where the file is kept as it was before we first touched it.
    fn original_path(&self) -> PathBuf {
        self.own.join("hosts.orig")
    }

    /// Whether the file has our block, or what is left of one.
    pub fn has_block(&self, catalogue: &[&str]) -> Result<bool, HostsError> {
        let (_, bytes) = self.read()?;
        Ok(block::remove(&bytes, catalogue)? != bytes)
    }

    /// As [`read`](Self::read), after a write in place that was cut has been taken back: then the file is a true beginning
    /// of the new bytes beside it, and the copy has the old ones.
    fn read_whole(&self) -> Result<(PathBuf, Vec<u8>), HostsError> {
        let (path, bytes) = self.read()?;
        let (Ok(old), Ok(new)) = (fs::read(backup(&path)), fs::read(beside(&path))) else { return Ok((path, bytes)) };
        let cut = bytes.len() < new.len() && new.starts_with(&bytes) && bytes != old;
        if !cut || old.len() > FILE_MAX {
            return Ok((path, bytes));
        }
        rewrite(&path, &old).map_err(failed("write", &path))?;
        Ok((path, old))
    }

    /// The file behind links, and its bytes.
    fn read(&self) -> Result<(PathBuf, Vec<u8>), HostsError> {
        let path = fs::canonicalize(&self.path).map_err(failed("find", &self.path))?;
        let file = File::open(&path).map_err(failed("read", &path))?;
        let mut bytes = Vec::new();
        // One byte more than is edited: enough to see that it is too large.
        file.take(FILE_MAX as u64 + 1).read_to_end(&mut bytes).map_err(failed("read", &path))?;
        Ok((path, bytes))
    }

    fn lock(&self) -> Result<File, HostsError> {
        files::private_dir(&self.own).map_err(failed("make", &self.own))?;
        let path = self.own.join("hosts.lock");
        let mut options = files::private();
        let lock = options.write(true).create(true).truncate(false).open(&path).map_err(failed("open", &path))?;
        files::like_folder(&lock, &self.own).map_err(failed("give away", &path))?;
        match lock.try_lock() {
            Ok(()) => Ok(lock),
            Err(TryLockError::WouldBlock) => Err(HostsError::Busy { path: self.path.clone() }),
            Err(TryLockError::Error(error)) => Err(failed("lock", &path)(error)),
        }
    }

    /// Keeps the file as it was without us, unless it is kept already.
    fn keep_original(&self, bytes: &[u8]) -> Result<(), HostsError> {
        let path = self.original_path();
        if path.exists() {
            return Ok(());
        }
        let new = self.own.join("hosts.orig.new");
        remove_file(&new)?;
        write_new(&new, bytes).map_err(failed("write", &new))?;
        let kept = File::open(&new).map_err(failed("open", &new))?;
        files::like_folder(&kept, &self.own).map_err(failed("give away", &new))?;
        fs::rename(&new, &path).map_err(failed("make", &path))?;
        files::sync_parent(&path).map_err(failed("sync", &path))
    }

    fn replace(&self, path: &Path, old: &[u8], new: &[u8]) -> Result<(), HostsError> {
        let copy = backup(path);
        remove_file(&copy)?;
        write_like(path, &copy, old).map_err(failed("write", &copy))?;
        let beside = beside(path);
        remove_file(&beside)?;
        let renamed = write_like(path, &beside, new).and_then(|()| rename(&beside, path));
        match renamed {
            // A file that is a mount of its own cannot be renamed over, only written.
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                files::sync_parent(path).map_err(failed("sync", path))?;
                rewrite(path, new).map_err(failed("write", path))?;
                remove_file(&beside)
            }
            Err(error) => {
                // Half a file is worth nothing; that it cannot be removed says less than why it could not be written.
                let _ = fs::remove_file(&beside);
                Err(failed("replace", path)(error))
            }
            Ok(()) => files::sync_parent(path).map_err(failed("sync", path)),
        }
    }
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> HostsError + 'a {
    move |source| match source.kind() {
        io::ErrorKind::PermissionDenied if action != "read" => HostsError::NeedsPrivilege { path: path.to_owned() },
        _ => HostsError::Io { action, path: path.to_owned(), source },
    }
}

/// Where the copy of a file lies while our block is in.
fn backup(path: &Path) -> PathBuf {
    files::with_suffix(path, ".flow_router.bak")
}

fn beside(path: &Path) -> PathBuf {
    files::with_suffix(path, ".flow_router.new")
}

/// A file that was not there: nobody can have laid a link in its place.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = files::private().write(true).create_new(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// A new file with the bytes given and everything else like `model`.
fn write_like(model: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = files::private().write(true).create_new(true).open(path)?;
    file.write_all(bytes)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, fchown};
        let (like, own) = (fs::metadata(model)?, file.metadata()?);
        if (like.uid(), like.gid()) != (own.uid(), own.gid()) {
            fchown(&file, Some(like.uid()), Some(like.gid()))?;
        }
        // After the owner, for a change of owner may take mode bits away.
        file.set_permissions(like.permissions())?;
    }
    #[cfg(target_os = "linux")]
    copy_attributes(model, &file)?;
    #[cfg(not(unix))]
    let _ = model;
    file.sync_all()
}

/// Access lists and labels. File systems without them have none to copy.
#[cfg(target_os = "linux")]
fn copy_attributes(model: &Path, to: &File) -> io::Result<()> {
    use rustix::{
        fs::{XattrFlags, fgetxattr, flistxattr, fsetxattr},
        io::Errno,
    };
    /// Room for all names, and for each value: Linux allows no more.
    const ATTRIBUTES_MAX: usize = 64 * 1024;
    let model = File::open(model)?;
    let mut names = vec![0_u8; ATTRIBUTES_MAX];
    let length = match flistxattr(&model, &mut names[..]) {
        Ok(length) => length,
        Err(Errno::NOTSUP | Errno::NOSYS) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let mut value = vec![0_u8; ATTRIBUTES_MAX];
    for name in names[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let length = fgetxattr(&model, name, &mut value[..])?;
        fsetxattr(to, name, &value[..length], XattrFlags::empty())?;
    }
    Ok(())
}

#[cfg(not(windows))]
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)
}

/// Virus scanners hold a file open for a moment after it was written.
#[cfg(windows)]
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    const TRIES: u32 = 10;
    let mut last = fs::rename(from, to);
    for _ in 1..TRIES {
        if !matches!(&last, Err(error) if error.kind() == io::ErrorKind::PermissionDenied) {
            break;
        }
        std::thread::park_timeout(std::time::Duration::from_millis(100));
        last = fs::rename(from, to);
    }
    last
}

/// In place: not atomic, so the copy must be safe already.
fn rewrite(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).truncate(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn remove_file(path: &Path) -> Result<(), HostsError> {
    files::remove(path).map_err(failed("remove", path))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    const NAMES: &[&str] = &["a.example"];

    fn wanted() -> Wanted<'static> {
        const V4: &[IpAddr] = &[IpAddr::V4(Ipv4Addr::LOCALHOST)];
        Wanted { hosts: NAMES, addresses: V4, catalogue: NAMES, windows: false }
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_file_comes_back_as_it_was() {
        let place = tempfile::tempdir().unwrap();
        let etc = place.path().join("etc");
        fs::create_dir(&etc).unwrap();
        let path = etc.join("hosts");
        let hosts = HostsFile::new(&path, place.path().join("mitm"));
        let before = b"127.0.0.1\tlocalhost\r\n10.0.0.1 nas # of Zo\xeb";
        fs::write(&path, before).unwrap();
        assert_eq!(hosts.remove(NAMES).unwrap(), Change::None);
        assert_eq!(hosts.apply(&wanted()).unwrap(), Change::Written);
        let with = fs::read(&path).unwrap();
        assert!(with.starts_with(before) && with.ends_with(b"# flow_router MITM end\r\n"));
        assert_eq!(fs::read(backup(&path)).unwrap(), before);
        assert_eq!(fs::read(hosts.original_path()).unwrap(), before);
        let written = fs::metadata(&path).unwrap().modified().unwrap();
        assert_eq!(hosts.apply(&wanted()).unwrap(), Change::None);
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), written, "not even touched");
        assert_eq!(names(&etc), ["hosts", "hosts.flow_router.bak"]);
        // What an interrupted call left lying is in nobody's way.
        fs::write(beside(&path), "half").unwrap();
        assert_eq!(hosts.remove(NAMES).unwrap(), Change::Written);
        assert_eq!(fs::read(&path).unwrap(), before);
        assert_eq!(names(&etc), ["hosts"]);
        // The first copy stays the first.
        fs::write(&path, "other\n").unwrap();
        hosts.apply(&wanted()).unwrap();
        assert_eq!(fs::read(hosts.original_path()).unwrap(), before);
    }

    #[test]
    fn a_refusal_changes_nothing() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("hosts");
        let own = place.path().join("mitm");
        let hosts = HostsFile::new(&path, &own);
        assert!(matches!(hosts.apply(&wanted()), Err(HostsError::Io { action: "find", .. })));
        fs::write(&path, "10.0.0.1 a.example\n").unwrap();
        let refused = hosts.apply(&wanted());
        assert!(matches!(refused, Err(HostsError::Refused(Refusal::Conflict { line: 1, .. }))));
        fs::write(&path, vec![b'#'; FILE_MAX + 10]).unwrap();
        assert!(matches!(hosts.apply(&wanted()), Err(HostsError::Refused(Refusal::TooLarge))));
        assert_eq!(names(place.path()), ["hosts", "mitm"]);
        let held = hosts.lock().unwrap();
        assert!(matches!(hosts.remove(NAMES), Err(HostsError::Busy { .. })));
        drop(held);
    }

    #[test]
    fn a_write_in_place_that_was_cut_is_taken_back() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("hosts");
        let hosts = HostsFile::new(&path, place.path().join("mitm"));
        let old = b"127.0.0.1 localhost\n10.0.0.1 nas\n";
        let new = block::apply(old, &wanted()).unwrap();
        for length in 0..new.len() {
            fs::write(&path, &new[..length]).unwrap();
            fs::write(backup(&path), old).unwrap();
            fs::write(beside(&path), &new).unwrap();
            hosts.remove(NAMES).unwrap();
            assert_eq!(fs::read(&path).unwrap(), old, "cut at {length}");
            assert_eq!(names(place.path()), ["hosts", "mitm"]);
            // The other way: it was being taken out.
            fs::write(&path, &old[..length.min(old.len())]).unwrap();
            fs::write(backup(&path), &new).unwrap();
            fs::write(beside(&path), old).unwrap();
            hosts.remove(NAMES).unwrap();
            assert_eq!(fs::read(&path).unwrap(), old, "cut at {length} on the way out");
        }
        // What somebody else has written since is theirs.
        fs::write(&path, "10.0.0.2 other\n").unwrap();
        fs::write(backup(&path), old).unwrap();
        fs::write(beside(&path), &new).unwrap();
        hosts.remove(NAMES).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"10.0.0.2 other\n");
    }

    #[cfg(unix)]
    #[test]
    fn owner_mode_and_links_stay() {
        use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
        let place = tempfile::tempdir().unwrap();
        let (real, link) = (place.path().join("real"), place.path().join("hosts"));
        fs::write(&real, "x\n").unwrap();
        symlink(&real, &link).unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o664)).unwrap();
        // Only the administrator can give files away; others see their own stay.
        let _ = std::os::unix::fs::chown(&real, Some(12_345), Some(54_321));
        let facts = |path: &Path| {
            let facts = fs::metadata(path).unwrap();
            (facts.uid(), facts.gid(), facts.mode() & 0o7777)
        };
        let before = facts(&real);
        let hosts = HostsFile::new(&link, place.path().join("mitm"));
        hosts.apply(&wanted()).unwrap();
        assert_eq!((facts(&real), facts(&backup(&real))), (before, before));
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        hosts.remove(NAMES).unwrap();
        assert_eq!((facts(&real), fs::read(&real).unwrap()), (before, b"x\n".to_vec()));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn attributes_stay() {
        use rustix::fs::{XattrFlags, getxattr, setxattr};
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("hosts");
        fs::write(&path, "x\n").unwrap();
        if setxattr(&path, "user.label", b"ours", XattrFlags::empty()).is_err() {
            println!("skipped: this file system has no attributes");
            return;
        }
        HostsFile::new(&path, place.path().join("mitm")).apply(&wanted()).unwrap();
        let mut value = [0; 16];
        let length = getxattr(&path, "user.label", &mut value[..]).unwrap();
        assert_eq!(&value[..length], b"ours");
    }

    #[test]
    fn each_system_has_its_place() {
        assert_eq!(default_path(false, None), Path::new("/etc/hosts"));
        assert_eq!(default_path(true, None), Path::new(r"C:\Windows\System32\drivers\etc\hosts"));
        assert_eq!(default_path(true, Some("")), Path::new(r"C:\Windows\System32\drivers\etc\hosts"));
        assert_eq!(default_path(true, Some(r"D:\Win\")), Path::new(r"D:\Win\System32\drivers\etc\hosts"));
    }
}
