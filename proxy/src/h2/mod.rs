//! HTTP/2, over the `h2` crate: what it leaves to its user (limits, checks on heads, back-pressure) is here, and its
//! types stay here.

pub(crate) mod client;
pub(crate) mod duplex;
pub(crate) mod head;
mod meter;
pub(crate) mod passing;
pub(crate) mod server;
pub(crate) mod set;
