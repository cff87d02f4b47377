//! How many of something there are, counted by those that exist.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// A number that everybody who is counted holds.
#[derive(Debug, Default)]
pub(crate) struct Count(Arc<AtomicUsize>);

impl Count {
    /// One more, until it is dropped.
    pub(crate) fn one(&self) -> Counted {
        self.0.fetch_add(1, Ordering::Relaxed);
        Counted(Arc::clone(&self.0))
    }

    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// One of those that are counted.
#[derive(Debug)]
pub(crate) struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Upstream connections of one [`crate::Client`] at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoolLoad {
    /// HTTP/1 connections that wait for a request.
    pub h1_idle: usize,
    /// HTTP/1 connections that carry an exchange.
    pub h1_in_use: usize,
    /// HTTP/2 connections without a stream.
    pub h2_idle: usize,
    /// HTTP/2 connections with streams, and those that are about to end.
    pub h2_in_use: usize,
    /// Streams on the HTTP/2 connections that take new ones.
    pub h2_streams: usize,
    /// Requests that wait for a connection: for their turn to dial, resolution, TCP, TLS.
    pub connecting: usize,
}
