//! The authority through its public surface: by itself, and as other programs see it.
#![allow(clippy::unwrap_used)]

mod authority;
mod peers;
mod support;
