//! TLS: what a client's hello says, and connections to upstreams.

pub(crate) mod client_hello;
pub(crate) mod connect;
pub(crate) mod probe;

#[cfg(test)]
mod vectors;
