//! Sockets: which way out, names, connections.

pub(crate) mod egress;
