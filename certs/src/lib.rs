//! Keys and trust: a certificate authority of this machine's own, leaves for the names that are intercepted, and the
//! answer to "who trusts our root".
//!
//! | module | content |
//! |---|---|
//! | `names` | host names as certificates take them, and the set that the authority is confined to |
//! | `profile` | what stands in each of the three certificates |
//! | `authority` | the two-tier authority: made, and read with every check |
//! | `folder` | its files: created whole, for their owner only, rotated without a moment in which half is there |
//! | `leaf`, `cache`, `resolver` | a leaf for a name, once; what rustls asks during a handshake |
//! | `trust` | which store or runtime trusts the root, and the exact command to change that |
//!
//! **Sealed.** An RSA-4096 root signs one P-256 issuing authority and is thrown away before anything is written. What
//! stays on disk can sign for the names of the constraint only: whoever steals the key can impersonate these hosts and not
//! the user's bank. The constraint stands in both certificates, because Java reads it only below its trust anchor.
//!
//! Deliberately absent: no trust store is ever changed (commands are given, others run them on request), no socket, no
//! async, no host name of a vendor, and no way to read a private key back out.

mod authority;
mod cache;
mod error;
mod folder;
mod leaf;
mod names;
mod profile;
mod resolver;
mod root;
pub mod trust;

pub use authority::{Authority, EXPIRY_WARNING};
pub use cache::{Cache, CacheLoad, NAMES_MAX};
pub use error::{Error, MintError, NameError};
pub use folder::Folder;
pub use leaf::LeafKey;
pub use names::{Host, Names};
pub use profile::{DAYS_MAX, Profile};
pub use resolver::{Resolver, server_config};
pub use root::Root;
