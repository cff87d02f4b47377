//! How many may be in their handshake at once. Who comes when it is full takes the place of the one that waits longest.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::oneshot;

/// Connections whose handshake is not over, oldest first.
#[derive(Debug)]
pub(super) struct Lobby {
    most: usize,
    waiting: Mutex<VecDeque<(u64, oneshot::Sender<()>)>>,
    next: AtomicU64,
}

/// A place in the lobby, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    lobby: Arc<Lobby>,
    id: u64,
    shown_out: oneshot::Receiver<()>,
}

impl Lobby {
    /// For at most `most`, and at least one.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most: most.max(1), waiting: Mutex::default(), next: AtomicU64::new(0) })
    }

    /// Lets one in; shows the oldest out if it is one too many.
    pub(super) fn enter(self: &Arc<Self>) -> Place {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (bell, shown_out) = oneshot::channel();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= self.most
            && let Some((_, oldest)) = waiting.pop_front()
        {
            // Its receiver is gone only if it leaves at this moment anyway.
            let _ = oldest.send(());
        }
        waiting.push_back((id, bell));
        drop(waiting);
        Place { lobby: Arc::clone(self), id, shown_out }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Place {
    /// Resolves when the place is somebody else's.
    pub(super) async fn shown_out(&mut self) {
        // An error would mean that the lobby forgot us, which it does only after ringing.
        let _ = (&mut self.shown_out).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = self.lobby.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // Ids grow from front to back.
        if let Ok(at) = waiting.binary_search_by_key(&self.id, |(id, _)| *id) {
            waiting.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_makes_room() {
        let lobby = Lobby::new(2);
        let mut first = lobby.enter();
        let second = lobby.enter();
        let third = lobby.enter();
        first.shown_out().await;
        assert_eq!(lobby.len(), 2);
        drop(first);
        assert_eq!(lobby.len(), 2, "its place was gone already");
        drop(second);
        drop(third);
        assert_eq!(lobby.len(), 0);
    }
}
