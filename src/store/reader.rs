//! Two threads that answer queries. They cannot write, and no query takes longer than its deadline.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{StoreError, connect};

/// Threads, and connections.
const READERS: usize = 2;
/// Queries that may wait; further callers wait before the queue.
const WAITING: usize = 64;
/// Longest query.
const DEADLINE: Duration = Duration::from_secs(5);
/// Steps of SQLite's machine between two looks at the clock: about a millisecond.
const STEPS: i32 = 10_000;
/// How long a reader waits for a lock; in a write-ahead log only recovery takes one.
const BUSY: Duration = Duration::from_secs(1);

/// A query. It gets the connection, or why there is none, and answers its caller itself.
type Query = Box<dyn FnOnce(Result<&Connection, StoreError>) + Send>;

/// A reader's connection, while it has one. Locked for as long as a query runs.
type Slot = Mutex<Option<Connection>>;

/// The readers' connections, for whoever must close them.
#[derive(Debug, Clone, Default)]
pub(super) struct Slots {
    conns: Arc<[Slot; READERS]>,
    /// No connection is opened any more.
    closed: Arc<AtomicBool>,
}

impl Slots {
    /// Closes the connections of readers that rest; each opens a new one for its next query. All connections of a program
    /// share what they know of the file: as long as one is open, none notices that it can be written again.
    pub(super) fn close_idle(&self) {
        for slot in self.conns.iter() {
            if let Ok(mut conn) = slot.try_lock() {
                *conn = None;
            }
        }
    }

    /// Closes them for good, once the queries that run have ended. The connection that is closed last takes the log beside
    /// the database away, and that must be one that may write.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        for slot in self.conns.iter() {
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }
}

/// The callers' side.
#[derive(Debug, Clone)]
pub(super) struct Readers {
    queries: mpsc::Sender<Query>,
}

impl Readers {
    /// Starts the threads. They end when the last clone is dropped.
    pub(super) fn start(path: PathBuf, slots: &Slots) -> std::io::Result<Self> {
        let (queries, waiting) = mpsc::channel(WAITING);
        let waiting = Arc::new(Mutex::new(waiting));
        for number in 0..READERS {
            let (path, waiting, slots) = (path.clone(), Arc::clone(&waiting), slots.clone());
            let run = move || read(&path, &waiting, &slots.conns[number], &slots.closed);
            thread::Builder::new().name(format!("store-reader-{number}")).spawn(run)?;
        }
        Ok(Self { queries })
    }

    /// Runs `query` on a reader's thread. A caller that is dropped leaves the query to its deadline.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job: Query = Box::new(move |conn| {
            // The receiver may be gone: then nobody wants to know.
            if !reply.is_closed() {
                let _ = reply.send(conn.and_then(query));
            }
        });
        self.queries.send(job).await.map_err(|_| StoreError::Closed)?;
        // A query that panicked took its reply along.
        answer.await.map_err(|_| StoreError::Other("the query ended unexpectedly".to_owned()))?
    }
}

/// When the running query must end.
#[derive(Clone)]
struct Clock {
    began: Instant,
    /// Milliseconds after `began`.
    limit: Arc<AtomicU64>,
}

impl Clock {
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

fn read(path: &Path, waiting: &Mutex<mpsc::Receiver<Query>>, slot: &Slot, closed: &AtomicBool) {
    let clock = Clock { began: Instant::now(), limit: Arc::default() };
    loop {
        // The other reader waits for the lock while this one waits for a query: one of them is woken per query.
        let query = waiting.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        let Some(query) = query else { return };
        let mut conn = slot.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the slot's lock: who closed it has seen to the connection that was there.
        if closed.load(Ordering::Relaxed) {
            query(Err(StoreError::Closed));
            continue;
        }
        if conn.is_none() {
            match open(path, &clock) {
                Ok(opened) => *conn = Some(opened),
                Err(error) => {
                    query(Err(error.into()));
                    continue;
                }
            }
        }
        let Some(open) = &*conn else { continue };
        clock.limit.store(clock.now() + DEADLINE.as_millis() as u64, Ordering::Relaxed);
        let run = std::panic::AssertUnwindSafe(|| match open.unchecked_transaction() {
            // All statements of a query see the same state.
            Ok(tx) => query(Ok(&tx)),
            Err(error) => query(Err(error.into())),
        });
        // A panic of the query is its caller's fault, not the next caller's; the connection may be in any state.
        if std::panic::catch_unwind(run).is_err() {
            *conn = None;
        }
    }
}

fn open(path: &Path, clock: &Clock) -> rusqlite::Result<Connection> {
    let mut conn = connect::reader(path, BUSY)?;
    let clock = clock.clone();
    conn.progress_handler(STEPS, Some(move || clock.now() > clock.limit.load(Ordering::Relaxed)))?;
    Ok(conn)
}
