//! The way from the exchanges to the writer: bounded, and nobody waits for it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::mpsc;

use super::UsageRow;

/// Rows that may wait for the writer.
pub const QUEUE_ROWS: usize = 65_536;

/// The exchanges' side. Each request clones it: that is one count, not one for each part.
#[derive(Debug, Clone)]
pub struct Queue(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    rows: mpsc::Sender<UsageRow>,
    dropped: AtomicU64,
}

/// The writer's side. Memory grows with what waits, and shrinks again.
pub(crate) type Rows = mpsc::Receiver<UsageRow>;

/// A queue of [`QUEUE_ROWS`] rows.
pub(crate) fn queue() -> (Queue, Rows) {
    bounded(QUEUE_ROWS)
}

fn bounded(rows: usize) -> (Queue, Rows) {
    let (sender, receiver) = mpsc::channel(rows);
    (Queue(Arc::new(Inner { rows: sender, dropped: AtomicU64::new(0) })), receiver)
}

impl Queue {
    /// Hands a row over, without a lock and without waiting. Returns false, and counts, if the queue is full or its
    /// writer has stopped.
    pub fn try_push(&self, row: UsageRow) -> bool {
        let taken = self.0.rows.try_send(row).is_ok();
        if !taken {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    /// Rows that were dropped since the start.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Rows that wait.
    pub fn waiting(&self) -> usize {
        self.0.rows.max_capacity() - self.0.rows.capacity()
    }

    /// A queue without a writer, for gateways without a store: every row is dropped and counted.
    pub fn closed() -> Self {
        bounded(1).0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{super::write::tests::row, *};

    #[test]
    fn a_full_queue_drops_and_counts() {
        let (queue, mut rows) = bounded(2);
        let pushed: Vec<_> = (0..4).map(|n| queue.try_push(row(n))).collect();
        assert_eq!(pushed, [true, true, false, false]);
        assert_eq!((queue.dropped(), queue.waiting()), (2, 2));
        assert_eq!(rows.try_recv().unwrap().ts_ms, 0);
        assert!(queue.try_push(row(9)));
        drop(rows);
        assert!(!queue.try_push(row(10)));
        assert_eq!(queue.dropped(), 3);
        assert!(!Queue::closed().try_push(row(11)));
    }
}
