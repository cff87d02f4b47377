//! Futures that live inside one task: the streams of a connection, polled by the connection itself.
//!
//! Only those that were woken are polled. Nothing is spawned, so dropping the set cancels everything in it, and all
//! users of one `h2` connection take turns instead of fighting for its lock.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Wake, Waker};

/// A bounded set of futures; the bound is its caller's (the stream limit of the connection).
pub(crate) struct Set<F> {
    slots: Vec<Option<Slot<F>>>,
    free: Vec<usize>,
    ready: Arc<Mutex<Ready>>,
    /// Ids that are polled right now; kept for its capacity.
    batch: Vec<usize>,
}

struct Slot<F> {
    future: Pin<Box<F>>,
    signal: Arc<Signal>,
    waker: Waker,
}

#[derive(Default)]
struct Ready {
    ids: Vec<usize>,
    /// The task that polls the set.
    task: Option<Waker>,
}

/// The waker of one future: puts it on the list and wakes the task.
struct Signal {
    id: usize,
    queued: AtomicBool,
    ready: Arc<Mutex<Ready>>,
}

impl Signal {
    fn queue(&self) -> Option<Waker> {
        // Only the first wake between two polls matters.
        if self.queued.swap(true, Ordering::AcqRel) {
            return None;
        }
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        ready.ids.push(self.id);
        ready.task.clone()
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(task) = self.queue() {
            task.wake();
        }
    }
}

impl<F: Future<Output = ()>> Set<F> {
    /// An empty set.
    pub(crate) fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), ready: Arc::default(), batch: Vec::new() }
    }

    /// Number of unfinished futures.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Adds a future; it is due at the next [`Set::poll`].
    pub(crate) fn push(&mut self, future: F) {
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        let signal = Arc::new(Signal { id, queued: AtomicBool::new(false), ready: Arc::clone(&self.ready) });
        let _ = signal.queue();
        let waker = Waker::from(Arc::clone(&signal));
        self.slots[id] = Some(Slot { future: Box::pin(future), signal, waker });
    }

    /// Whether a future waits to be polled.
    pub(crate) fn is_due(&self) -> bool {
        !self.ready.lock().unwrap_or_else(PoisonError::into_inner).ids.is_empty()
    }

    /// Polls each future that was woken once, and forgets those that finish. The task is woken for later ones.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) {
        let mut batch = std::mem::take(&mut self.batch);
        {
            let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
            if !ready.task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
                ready.task = Some(cx.waker().clone());
            }
            std::mem::swap(&mut ready.ids, &mut batch);
        }
        for id in batch.drain(..) {
            // A finished future's late wake finds its slot empty, or polls the successor once too often.
            let Some(slot) = self.slots.get_mut(id).and_then(Option::as_mut) else { continue };
            slot.signal.queued.store(false, Ordering::Release);
            if slot.future.as_mut().poll(&mut Context::from_waker(&slot.waker)).is_ready() {
                self.slots[id] = None;
                self.free.push(id);
            }
        }
        self.batch = batch;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::future::poll_fn;
    use std::sync::atomic::AtomicUsize;
    use std::task::Poll;

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn only_woken_futures_are_polled() {
        let polls: Arc<Vec<AtomicUsize>> = Arc::new((0..3).map(|_| AtomicUsize::new(0)).collect());
        let bells: Arc<Vec<Notify>> = Arc::new((0..3).map(|_| Notify::new()).collect());
        let waiting = |id: usize| {
            let (polls, bells) = (Arc::clone(&polls), Arc::clone(&bells));
            async move {
                let mut bell = std::pin::pin!(bells[id].notified());
                poll_fn(|cx| {
                    polls[id].fetch_add(1, Ordering::Relaxed);
                    bell.as_mut().poll(cx)
                })
                .await;
            }
        };
        let mut set = Set::new();
        for id in 0..3 {
            set.push(waiting(id));
        }
        let count = || polls.iter().map(|p| p.load(Ordering::Relaxed)).collect::<Vec<_>>();
        let mut turn = 0;
        poll_fn(|cx| {
            set.poll(cx);
            turn += 1;
            match turn {
                1 => {
                    assert_eq!((count(), set.len()), (vec![1, 1, 1], 3));
                    bells[1].notify_one();
                    assert!(set.is_due());
                    Poll::Pending
                }
                2 => {
                    assert_eq!((count(), set.len()), (vec![1, 2, 1], 2));
                    bells[0].notify_one();
                    bells[2].notify_one();
                    Poll::Pending
                }
                _ => Poll::Ready(()),
            }
        })
        .await;
        assert_eq!((count(), set.len()), (vec![2, 2, 2], 0));
        set.push(waiting(0));
        assert_eq!(set.slots.len(), 3, "slots are used again");
    }
}
