//! Every bound on what a peer can make us hold or wait for.

use std::time::Duration;

/// Bounds in size. Hitting one is an error for that peer alone.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Request line in bytes. Above it: 414.
    pub request_line_bytes: usize,
    /// Whole head in bytes. Above it: 431 to a client, a failure of an upstream.
    pub head_bytes: usize,
    /// Header fields in one head or trailer section. Above it: 431.
    pub fields: usize,
    /// Trailer section in bytes. Above it: 431.
    pub trailer_bytes: usize,
    /// Sum of chunk extensions of one message in bytes. Above it: 400.
    pub chunk_extension_bytes: usize,
    /// Request body in bytes. Above it: 413.
    pub body_bytes: usize,
    /// Interim (1xx) responses before a final one. Above it: a failure of the upstream.
    pub interim_responses: usize,
    /// One read from a socket in bytes.
    pub read_bytes: usize,
    /// Connections served at once; further ones wait in the backlog.
    pub connections: usize,
    /// Concurrent streams per HTTP/2 connection that a client may open.
    pub h2_streams: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_line_bytes: 8_192,
            head_bytes: 65_536,
            fields: 100,
            trailer_bytes: 8_192,
            chunk_extension_bytes: 16_384,
            body_bytes: 64 * 1024 * 1024,
            interim_responses: 8,
            read_bytes: 16 * 1024,
            connections: 16_384,
            h2_streams: 256,
        }
    }
}

/// Bounds in time, one per phase.
#[derive(Debug, Clone)]
pub struct Timeouts {
    /// A client's request head, from its first byte. Above it: 408 and close.
    pub head: Duration,
    /// Silence in a client's request body. Above it: 408 and close.
    pub body: Duration,
    /// An idle keep-alive connection of a client.
    pub idle: Duration,
    /// A client that does not take the bytes we write.
    pub write: Duration,
    /// Resolution, TCP, egress proxy and TLS handshakes towards an upstream, together.
    pub connect: Duration,
    /// An idle pooled connection to an upstream.
    pub pool_idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(30),
            body: Duration::from_secs(60),
            idle: Duration::from_secs(300),
            write: Duration::from_secs(300),
            connect: Duration::from_secs(10),
            pool_idle: Duration::from_secs(60),
        }
    }
}
