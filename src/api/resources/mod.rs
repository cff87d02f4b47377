//! What there is to manage, a file each.

pub(super) mod system;
mod time;
