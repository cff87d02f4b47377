//! The hosts file: the names that are intercepted lead to this machine while, and only while, somebody listens here.
//!
//! `block` is pure: bytes of the file in, bytes out. `file` reads and replaces the file so that it is the old one or the new
//! one at any moment, with the owner, mode and attributes that it had.

mod block;
mod file;

pub use block::{Refusal, Wanted};
pub use file::{Change, HostsError, HostsFile, default_path};
