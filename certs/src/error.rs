//! What can go wrong, said so that somebody can act on it. No error holds key material.

use std::{
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// Why there is no authority to sign with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing was created yet.
    #[error("there is no certificate authority in {}", .folder.display())]
    Missing {
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// Some of its files are there, this one is not.
    #[error("{} is missing, other files of the certificate authority are there", .path.display())]
    Incomplete {
        /// The missing file.
        path: PathBuf,
    },
    /// One exists; creating never replaces it.
    #[error("a certificate authority is already in {}", .folder.display())]
    AlreadyThere {
        /// Where it lies.
        folder: PathBuf,
    },
    /// No new authority waits to be activated.
    #[error("no new certificate authority waits in {}", .folder.display())]
    NothingStaged {
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// Another program is changing the authority.
    #[error("another program is changing the certificate authority in {}", .folder.display())]
    Busy {
        /// Its folder.
        folder: PathBuf,
    },
    /// The operation needs the root's key, which a sealed authority does not keep.
    #[error("the root's key was not kept: a new root is needed")]
    Sealed,
    /// A file does not hold what it should.
    #[error("{} is damaged: {what}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Others may read a key, or change its folder.
    #[error("{} is open to other users (mode {mode:04o})", .path.display())]
    Permissions {
        /// The file or folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A key, or its folder, belongs to somebody else.
    #[error("{} belongs to user {owner}, not to user {expected}", .path.display())]
    Owner {
        /// The file or folder.
        path: PathBuf,
        /// User id of the owner.
        owner: u32,
        /// User id that it should belong to.
        expected: u32,
    },
    /// The private key is not the one of the certificate.
    #[error("the key {} does not fit its certificate", .path.display())]
    KeyMismatch {
        /// The key's file.
        path: PathBuf,
    },
    /// A certificate without name constraints could vouch for every site: it is not used.
    #[error("{} is not confined to names: it could vouch for every site", .path.display())]
    Unconstrained {
        /// The certificate's file.
        path: PathBuf,
    },
    /// A certificate is past its end.
    #[error("{} has expired", .path.display())]
    Expired {
        /// The certificate's file.
        path: PathBuf,
        /// When it ended.
        end: SystemTime,
    },
    /// A certificate begins in the future: the clock is probably wrong.
    #[error("{} is not valid yet: is the clock right?", .path.display())]
    NotYetValid {
        /// The certificate's file.
        path: PathBuf,
        /// When it begins.
        begin: SystemTime,
    },
    /// The profile asks for something that cannot be made.
    #[error("{0}")]
    Profile(&'static str),
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
    /// The cryptographic library refused.
    #[error("cannot make a key or certificate: {0}")]
    Crypto(String),
}

impl Error {
    pub(crate) fn io<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    pub(crate) fn damaged(path: &Path, what: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), what: what.into() }
    }
}

impl From<rcgen::Error> for Error {
    fn from(error: rcgen::Error) -> Self {
        Self::Crypto(error.to_string())
    }
}

/// Why a text is no host name that a certificate could be for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No name, or one of more than 253 characters.
    #[error("a host name has 1 to 253 characters")]
    Length,
    /// An empty label (also a dot at the end), one above 63 characters, or one with a hyphen at an end.
    #[error("a label of a host name has 1 to 63 characters and no hyphen at its ends")]
    Label,
    /// Anything but ASCII letters, digits, `-` and `_`; a wildcard too.
    #[error("a host name has letters, digits, hyphens and underscores only")]
    Character,
    /// An address: certificates are for names here.
    #[error("an address is no host name")]
    Address,
}

/// Why there is no leaf for a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MintError {
    /// It is no host name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The authority is not made for this name; nothing was signed.
    #[error("the certificate authority is not made for {0}")]
    OutsideConstraint(String),
    /// The authority is outside of its validity, or too near to its end.
    #[error("the certificate authority is not valid now")]
    AuthorityExpired,
    /// The cryptographic library refused.
    #[error("cannot sign: {0}")]
    Crypto(String),
}

impl From<rcgen::Error> for MintError {
    fn from(error: rcgen::Error) -> Self {
        Self::Crypto(error.to_string())
    }
}
