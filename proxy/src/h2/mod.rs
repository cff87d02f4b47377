//! HTTP/2, on top of the `h2` crate. Its types stay behind this module.

pub(crate) mod client;
