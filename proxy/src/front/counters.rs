//! What has come to the front, by what became of it.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::net::tunnel::Moved;

/// Adds up; read for metrics only.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) terminated: AtomicU64,
    pub(super) tunnelled: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) closed: AtomicU64,
    pub(super) not_tls: AtomicU64,
    pub(super) rejected: AtomicU64,
    pub(super) late: AtomicU64,
    pub(super) evicted: AtomicU64,
    pub(super) handshake_failed: AtomicU64,
    pub(super) unreachable: AtomicU64,
    pub(super) plain: AtomicU64,
    pub(super) moved: Moved,
}

/// Adds one.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// What a front carries and has carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FrontLoad {
    /// Connections before the end of their handshake.
    pub handshakes: usize,
    /// Bytes from clients through tunnels.
    pub tunnel_up: u64,
    /// Bytes to clients through tunnels.
    pub tunnel_down: u64,
    /// What became of connections.
    pub hellos: Hellos,
}

/// What became of connections, since the front was made. One connection counts once, but for those that are terminated
/// and then fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hellos {
    /// The gate said: terminate.
    pub terminated: u64,
    /// The gate said: tunnel.
    pub tunnelled: u64,
    /// The gate said: refuse.
    pub refused: u64,
    /// The gate said: close, or took too long.
    pub closed: u64,
    /// Something else than TLS came.
    pub not_tls: u64,
    /// A hello against the rules.
    pub rejected: u64,
    /// Too slow.
    pub late: u64,
    /// Shown out because too many were waiting.
    pub evicted: u64,
    /// Handshakes that failed.
    pub handshake_failed: u64,
    /// Tunnels whose other end could not be reached.
    pub unreachable: u64,
    /// Connections with plain requests for the explicit proxy.
    pub plain: u64,
}

impl Counters {
    pub(super) fn load(&self, handshakes: usize) -> FrontLoad {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        FrontLoad {
            handshakes,
            tunnel_up: of(&self.moved.up),
            tunnel_down: of(&self.moved.down),
            hellos: Hellos {
                terminated: of(&self.terminated),
                tunnelled: of(&self.tunnelled),
                refused: of(&self.refused),
                closed: of(&self.closed),
                not_tls: of(&self.not_tls),
                rejected: of(&self.rejected),
                late: of(&self.late),
                evicted: of(&self.evicted),
                handshake_failed: of(&self.handshake_failed),
                unreachable: of(&self.unreachable),
                plain: of(&self.plain),
            },
        }
    }
}
