//! One re-armed deadline per exchange.
//!
//! Arming a timer takes the runtime's timer lock, so nothing is armed before something has to be waited for.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};

use tokio::time::{Sleep, sleep_until};

/// A timer that exists once it was needed; pinned in the future of its exchange.
pub(crate) type Timer = Option<Sleep>;

/// Waits for the earliest of `deadlines` and says which it was; pending for ever if there is none.
pub(crate) fn poll_due<T: Copy>(
    mut timer: Pin<&mut Timer>,
    cx: &mut Context<'_>,
    deadlines: impl IntoIterator<Item = Option<(Instant, T)>>,
) -> Poll<T> {
    let Some((deadline, what)) = deadlines.into_iter().flatten().min_by_key(|(deadline, _)| *deadline) else {
        return Poll::Pending;
    };
    match timer.as_mut().as_pin_mut() {
        Some(armed) if armed.deadline() == deadline.into() => {}
        Some(armed) => armed.reset(deadline.into()),
        None => timer.set(Some(sleep_until(deadline.into()))),
    }
    let Some(armed) = timer.as_mut().as_pin_mut() else { return Poll::Pending };
    ready!(armed.poll(cx));
    Poll::Ready(what)
}
