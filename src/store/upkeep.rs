//! What must be done now and then: old rows go, in passes so small that no write waits for long.

use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::{StoreError, audit, now_ms, sessions};

/// Pause between two rounds.
const EVERY: Duration = Duration::from_secs(600);
/// How long the audit log is kept, in milliseconds.
const AUDIT_MS: i64 = 90 * 86_400_000;

/// When the next pass is, and where it stands.
#[derive(Debug)]
pub(super) struct Upkeep {
    due: Instant,
}

impl Upkeep {
    /// The first pass is due at once.
    pub(super) fn new() -> Self {
        Self { due: Instant::now() }
    }

    pub(super) fn due(&self) -> Instant {
        self.due
    }

    pub(super) fn is_due(&self) -> bool {
        self.due <= Instant::now()
    }

    pub(super) fn postpone(&mut self) {
        self.due = Instant::now() + EVERY;
    }

    /// One pass.
    pub(super) fn pass(&mut self, conn: &mut Connection) -> Result<(), StoreError> {
        let now = now_ms();
        sessions::expire(conn, now)?;
        audit::expire(conn, now - AUDIT_MS)?;
        self.postpone();
        Ok(())
    }
}
