//! Sockets: which way out, names, connections.

pub(crate) mod dial;
pub(crate) mod egress;
pub(crate) mod resolve;
pub(crate) mod stream;
