//! One deadline per connection or stream, armed only when somebody really waits.
//!
//! Arming a timer costs a lock on the runtime's wheel, so a deadline that moves into the future leaves the armed one
//! where it is: that fires early, sees the true deadline and arms itself again. A busy connection thus touches the
//! wheel once per timeout, not once per read.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// A lazily created, lazily re-armed deadline.
#[derive(Debug, Default)]
pub(crate) struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    /// Ready once `deadline` has passed. Every poll may name another deadline.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= deadline || Instant::now() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}

/// Notices that nothing has moved for a while.
#[derive(Debug)]
pub(crate) struct Silence {
    timer: Timer,
    moved: u64,
    since: Instant,
}

impl Silence {
    /// Begins now.
    pub(crate) fn new() -> Self {
        Self { timer: Timer::default(), moved: 0, since: Instant::now() }
    }

    /// Ready once `moved`, whatever it counts, was the same for `patience`. Every poll may name another patience.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, moved: u64, patience: Duration) -> Poll<()> {
        if moved != self.moved {
            (self.moved, self.since) = (moved, Instant::now());
        }
        self.timer.poll(cx, self.since + patience)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_moves_both_ways() {
        let start = Instant::now();
        let mut timer = Timer::default();
        let at = |seconds| start + Duration::from_secs(seconds);
        poll_fn(|cx| {
            assert!(timer.poll(cx, at(10)).is_pending());
            assert!(timer.poll(cx, at(20)).is_pending());
            Poll::Ready(())
        })
        .await;
        poll_fn(|cx| timer.poll(cx, at(20))).await;
        assert_eq!(Instant::now().duration_since(start).as_secs(), 20);
        poll_fn(|cx| {
            assert!(timer.poll(cx, at(40)).is_pending());
            Poll::Ready(())
        })
        .await;
        poll_fn(|cx| timer.poll(cx, at(30))).await;
        assert_eq!(Instant::now().duration_since(start).as_secs(), 30);
    }
}
