//! TLS.

pub(crate) mod connect;
