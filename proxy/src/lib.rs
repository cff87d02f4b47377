//! Sockets to messages and back: a hand-written HTTP/1.1 and HTTP/2 server and client.
//!
//! This crate moves bytes. It knows no vendor, no dialect and no JSON; it decides nothing about a request.

mod call;
mod count;
mod error;
pub mod front;
mod h1;
mod h2;
mod headers;
mod limits;
mod message;
mod net;
mod refusal;
mod server;
#[cfg(test)]
mod tests;
mod timer;

pub use call::{Call, Committed, Fresh, Handler};
pub use error::{Error, Kind, Phase, Retry, Side};
pub use headers::Headers;
pub use limits::{Limits, Timeouts};
pub use message::{Method, RequestHead, ResponseHead, StatusCode, Version};

pub use net::{listen::listen, own::OwnAddresses, past_hosts::PastHosts, resolve::Names};
pub use server::{Monitor, Server, ServerLoad};

// Client half.
mod body;
mod client;
mod pool;
mod tls;
pub mod verbatim;

pub use body::Body;
pub use client::{Client, ClientConfig, Outbound, Response, Roots, Timing};
pub use net::egress::Egress;
pub use pool::{
    PoolLoad,
    key::{Origin, is_loopback},
};
pub use rustls::pki_types::{CertificateDer, pem::PemObject};
pub use tls::client_hello::{HELLO_BYTES_MAX, Hello, NotTls, Reject, Sniff, Sniffer};
pub use tls::connect::{Offer, Protocol};
pub use verbatim::Relay;

/// Entry points for fuzzers and benchmarks; no part of the crate's promise.
#[doc(hidden)]
pub mod probe {
    pub use crate::front::opening::probe::opening;
    pub use crate::h1::probe::{Message, Transcript, answer, forward, requests, responses};
    pub use crate::tls::probe::client_hello;
}
