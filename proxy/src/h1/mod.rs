//! HTTP/1.0 and 1.1. `head`, `framing` and `chunked` are pure and serve both sides; only `server`, `reply` and
//! `passing`, towards clients, and `client` and `duplex`, towards servers, await.

pub(crate) mod chunked;
pub(crate) mod client;
pub(crate) mod duplex;
pub(crate) mod framing;
pub(crate) mod head;
pub(crate) mod passing;
pub(crate) mod probe;
mod reply;
pub(crate) mod server;

#[cfg(test)]
mod vectors;
