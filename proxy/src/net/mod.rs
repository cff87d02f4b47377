//! Sockets: how they are opened and what is read from or written to them. No HTTP here.

pub(crate) mod accepted;
pub(crate) mod listen;
