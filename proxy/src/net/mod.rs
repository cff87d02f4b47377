//! Sockets: how they are opened, where they lead, and what is read from or written to them. No HTTP here.

pub(crate) mod accepted;
pub(crate) mod dial;
pub(crate) mod egress;
pub(crate) mod listen;
pub(crate) mod own;
pub(crate) mod past_hosts;
pub(crate) mod resolve;
pub(crate) mod splice;
pub(crate) mod stream;
pub(crate) mod tunnel;
