//! Lanes: tokio runtimes of at most eight workers, each with a listener and upstream connections of its own.
//!
//! Up to eight cores there is one lane, which is plain tokio. Above, one epoll set for all workers is what limits a
//! runtime, so there are several, and the kernel spreads connections between them (SO_REUSEPORT). Where that does not
//! balance (macOS, Windows) there is always one.

use std::{io, num::NonZeroUsize, thread::available_parallelism};

use tokio::{
    runtime::{Builder, Runtime},
    sync::watch,
};

/// Workers of one lane at most.
const WIDTH: usize = 8;

/// How many lanes, and how many workers each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Lanes.
    pub lanes: usize,
    /// Workers per lane.
    pub workers: usize,
}

impl Layout {
    /// The layout for `cores` cores; `wanted` lanes, or as many as are right (0).
    pub fn of(cores: usize, wanted: usize) -> Self {
        let cores = cores.max(1);
        let lanes = if !cfg!(target_os = "linux") {
            1
        } else if wanted > 0 {
            wanted
        } else {
            cores.div_ceil(WIDTH)
        };
        Self { lanes, workers: cores.div_ceil(lanes).clamp(1, WIDTH) }
    }

    /// The layout for this machine, or for as much of it as the container sees.
    pub fn here(wanted: usize) -> Self {
        Self::of(available_parallelism().map_or(1, NonZeroUsize::get), wanted)
    }
}

/// What is to come behind the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// Nothing.
    Nothing,
    /// The program once more, in the same process.
    Again,
}

/// The wish that the program ends, from inside of it. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Stop(watch::Sender<Option<After>>);

impl Stop {
    /// Asks for the end. Of several wishes the first one counts.
    pub fn raise(&self, after: After) {
        self.0.send_if_modified(|raised| {
            let first = raised.is_none();
            raised.get_or_insert(after);
            first
        });
    }

    /// Waits until somebody asks for the end.
    pub async fn raised(&self) -> After {
        let mut wish = self.0.subscribe();
        // The sender is here: waiting cannot fail.
        let raised = wish.wait_for(Option::is_some).await.map(|raised| *raised);
        raised.ok().flatten().unwrap_or(After::Nothing)
    }
}

/// Makes the runtime of one lane. One worker gets the flavour without stealing.
pub fn lane(workers: usize) -> io::Result<Runtime> {
    let mut builder = match workers {
        1 => Builder::new_current_thread(),
        _ => {
            let mut builder = Builder::new_multi_thread();
            builder.worker_threads(workers);
            builder
        }
    };
    builder.thread_name("lane").max_blocking_threads(32).enable_all().build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stop_is_seen_by_those_who_wait_and_those_who_come_later() {
        let stop = Stop::default();
        let waiting = tokio::spawn({
            let stop = stop.clone();
            async move { stop.raised().await }
        });
        stop.raise(After::Again);
        assert_eq!(waiting.await.ok(), Some(After::Again));
        stop.raise(After::Nothing);
        assert_eq!(stop.raised().await, After::Again, "the first wish counts");
    }

    #[test]
    fn layouts() {
        let of = |cores, wanted| {
            let layout = Layout::of(cores, wanted);
            (layout.lanes, layout.workers)
        };
        assert_eq!(of(1, 0), (1, 1));
        assert_eq!(of(2, 0), (1, 2));
        assert_eq!(of(8, 0), (1, 8));
        #[cfg(target_os = "linux")]
        {
            assert_eq!(of(64, 0), (8, 8));
            assert_eq!(of(12, 0), (2, 6));
            assert_eq!(of(4, 2), (2, 2));
        }
    }
}
