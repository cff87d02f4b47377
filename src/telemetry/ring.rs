//! The last lines of the log, in memory, for those who look at the program from elsewhere.
//!
//! Lines are structured here as they are on standard error: the same filter holds, and what must not be in a line is not
//! in it. Nothing is kept before the log is installed.

use std::{
    collections::VecDeque,
    fmt::Write as _,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use tokio::sync::Notify;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context};

use crate::store::now_ms;

/// Lines that are kept.
pub const LINES: usize = 2_000;
/// Longest text of a line, and longest value of a field, in bytes.
const TEXT_BYTES: usize = 4_096;
/// Fields of a line at most.
const FIELDS: usize = 24;

/// A line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its number, from 1.
    pub id: u64,
    /// When, in Unix milliseconds.
    pub ts_ms: i64,
    /// How bad.
    pub level: Level,
    /// The part of the program.
    pub target: &'static str,
    /// What happened.
    pub message: String,
    /// With what.
    pub fields: Vec<(&'static str, String)>,
}

/// The ring.
#[derive(Debug, Default)]
pub struct Ring {
    lines: Mutex<Lines>,
    grown: Notify,
}

#[derive(Debug, Default)]
struct Lines {
    kept: VecDeque<Arc<Line>>,
    last: u64,
}

/// The ring of this process, which has one log.
pub fn ring() -> &'static Ring {
    static RING: LazyLock<Ring> = LazyLock::new(Ring::default);
    &RING
}

impl Ring {
    fn push(&self, mut line: Line) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.last += 1;
        line.id = lines.last;
        if lines.kept.len() == LINES {
            lines.kept.pop_front();
        }
        lines.kept.push_back(Arc::new(line));
        drop(lines);
        self.grown.notify_waiters();
    }

    /// Lines behind the one numbered `after`, the oldest first. What is no longer kept is left out.
    pub fn behind(&self, after: u64) -> Vec<Arc<Line>> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let from = lines.kept.partition_point(|line| line.id <= after);
        lines.kept.iter().skip(from).cloned().collect()
    }

    /// The number of the last line; 0 if there was none.
    pub fn last(&self) -> u64 {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).last
    }

    /// Waits for lines behind the one numbered `after`. Cancel safe.
    pub async fn wait(&self, after: u64) -> Vec<Arc<Line>> {
        loop {
            // Made before the look, so that nothing written in between is missed.
            let grown = self.grown.notified();
            let lines = self.behind(after);
            if !lines.is_empty() {
                return lines;
            }
            grown.await;
        }
    }
}

/// What fills the ring.
pub(super) struct Keep(pub(super) &'static Ring);

impl<S: Subscriber> Layer<S> for Keep {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let mut line = Line {
            id: 0,
            ts_ms: now_ms(),
            level: *metadata.level(),
            target: metadata.target(),
            message: String::new(),
            fields: Vec::new(),
        };
        event.record(&mut line);
        self.0.push(line);
    }
}

impl Line {
    fn put(&mut self, field: &Field, mut text: String) {
        if text.len() > TEXT_BYTES {
            let end = (0..=TEXT_BYTES).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            text.truncate(end);
        }
        match field.name() {
            "message" => self.message = text,
            name if self.fields.len() < FIELDS => self.fields.push((name, text)),
            _ => {}
        }
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let mut text = String::new();
        // Writing into a text fails only where a `Debug` says so.
        let _ = write!(text, "{value:?}");
        self.put(field, text);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    fn leaked() -> &'static Ring {
        Box::leak(Box::default())
    }

    #[test]
    fn lines_are_kept_with_their_fields() {
        let ring = leaked();
        let log = tracing_subscriber::registry().with(Keep(ring));
        tracing::subscriber::with_default(log, || {
            tracing::warn!(status = 500, name = "x", shown = %1.5, "it failed");
            tracing::info!("{}", "é".repeat(TEXT_BYTES));
        });
        let lines = ring.behind(0);
        assert_eq!((lines.len(), ring.last(), ring.behind(1).len()), (2, 2, 1));
        let line = &lines[0];
        assert_eq!((line.id, line.level, line.message.as_str()), (1, Level::WARN, "it failed"));
        let fields: Vec<_> = line.fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(fields, [("status", "500"), ("name", "x"), ("shown", "1.5")]);
        assert_eq!(lines[1].message.len(), TEXT_BYTES);
    }

    #[tokio::test]
    async fn the_ring_is_bounded_and_wakes_those_who_wait() {
        let ring = leaked();
        let line =
            Line { id: 0, ts_ms: 0, level: Level::INFO, target: "t", message: String::new(), fields: Vec::new() };
        for _ in 0..LINES + 5 {
            ring.push(line.clone());
        }
        assert_eq!(ring.behind(0).len(), LINES);
        assert_eq!(ring.behind(0)[0].id, 6);
        let last = ring.last();
        let (found, ()) = tokio::join!(ring.wait(last), async { ring.push(line.clone()) });
        assert_eq!(found.len(), 1);
    }
}
