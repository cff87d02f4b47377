//! Message heads, shared by server and client, HTTP/1.1 and HTTP/2.

use bytes::Bytes;
pub use http::{Method, StatusCode};

use crate::Headers;

/// Protocol of one leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2
    Http2,
}

/// The head of a request.
#[derive(Debug, Clone)]
pub struct RequestHead {
    /// Method.
    pub method: Method,
    /// Path and query in origin form, starting with `/` (or `*`). Percent-encoding is untouched.
    pub target: Bytes,
    /// Host and port that the client named (`Host` or `:authority`), empty when there was none.
    pub authority: Bytes,
    /// Protocol in which the head arrived.
    pub version: Version,
    /// Fields without pseudo headers.
    pub headers: Headers,
}

impl RequestHead {
    /// The path without its query.
    pub fn path(&self) -> &[u8] {
        match memchr::memchr(b'?', &self.target) {
            Some(at) => &self.target[..at],
            None => &self.target,
        }
    }

    /// The query without its question mark.
    pub fn query(&self) -> Option<&[u8]> {
        memchr::memchr(b'?', &self.target).map(|at| &self.target[at + 1..])
    }
}

/// The head of a response.
#[derive(Debug, Clone)]
pub struct ResponseHead {
    /// Status.
    pub status: StatusCode,
    /// Fields. Framing fields (`content-length`, `transfer-encoding`, `connection`) are written by the connection.
    pub headers: Headers,
}

impl ResponseHead {
    /// A head without fields.
    pub fn new(status: StatusCode) -> Self {
        Self { status, headers: Headers::new() }
    }

    /// The same head with one more field.
    pub fn with(mut self, name: &'static str, value: impl Into<Bytes>) -> Self {
        self.headers.append(Bytes::from_static(name.as_bytes()), value);
        self
    }
}
