//! The thread that writes. Nobody else does, so that a write never waits for another one's lock.
//!
//! ```text
//!            ┌─ commands wait ──▶ each in its own transaction, durable ──▶ after-commit steps ──▶ acknowledgement
//!   wait ────┼─ 50 ms after a usage row, half a second after the rows before ──▶ all that came, in one transaction ─▶ wait
//!     ▲      ├─ every ten minutes ──▶ one small pass of upkeep; none before it is known how long usage is kept
//!     └──────┴─ a batch failed ──▶ it is kept, and tried again after 0.1 s … 5 s; commands go on in between
//! ```
//!
//! While rows are gathered the thread sleeps: a request that hands its row over wakes nobody.

use std::{
    ops::Deref,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{sleep, sleep_until},
};

use super::{StoreError, connect, keys, reader::Slots, schema, upkeep::Upkeep, usage};

/// Commands that may wait; further callers wait before the queue.
pub(super) const COMMANDS: usize = 256;
/// Commands that go before other work that is due.
const TURN: usize = 16;
/// Usage rows per transaction: a few milliseconds of work, for which commands wait.
const BATCH: usize = 4_096;
/// Room for rows that is kept after a batch as small as this.
const BATCH_KEPT: usize = 256;
/// How long the first row of a batch waits for others.
const GATHER: Duration = Duration::from_millis(50);
/// Least time between two batches, unless one is full: what a crash may cost. A commit costs as much as the packing of a
/// thousand rows, so that many small ones would be most of what records cost.
const PAUSE: Duration = Duration::from_millis(500);
/// Pauses after batches that failed.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How long a batch or a pass of upkeep waits for another program's lock. Short: commands wait behind it, and it is
/// tried again anyway.
const BATCH_BUSY: Duration = Duration::from_millis(250);

/// A step that runs after the commit.
type After = Box<dyn FnOnce() + Send>;

/// A transaction in which a command works. Committed when its closure returns `Ok`, undone otherwise.
pub struct Change<'c> {
    tx: Transaction<'c>,
    after: Vec<After>,
}

impl Change<'_> {
    /// Runs `step` on the writer's thread when the change is durable, in the order of commits, before the caller hears of
    /// it. It must be quick: other writers wait.
    pub fn after_commit(&mut self, step: impl FnOnce() + Send + 'static) {
        self.after.push(Box::new(step));
    }
}

impl Deref for Change<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.tx
    }
}

/// What a command does to the database, and how its caller hears of it.
pub(super) trait Job: Send {
    /// Whether somebody still waits.
    fn wanted(&self) -> bool;
    /// Works in the transaction.
    fn run(&mut self, change: &mut Change<'_>) -> Result<(), StoreError>;
    /// Tells the caller.
    fn answer(self: Box<Self>, result: Result<(), StoreError>);
}

/// A closure with its reply.
pub(super) struct Write<T, F> {
    pub(super) change: Option<F>,
    pub(super) value: Option<T>,
    pub(super) reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Job for Write<T, F>
where
    T: Send,
    F: FnOnce(&mut Change<'_>) -> Result<T, StoreError> + Send,
{
    fn wanted(&self) -> bool {
        !self.reply.is_closed()
    }

    fn run(&mut self, change: &mut Change<'_>) -> Result<(), StoreError> {
        let Some(work) = self.change.take() else { return Err(StoreError::Closed) };
        self.value = Some(work(change)?);
        Ok(())
    }

    fn answer(self: Box<Self>, result: Result<(), StoreError>) {
        let Self { value, reply, .. } = *self;
        // The receiver may be gone: then nobody wants to know.
        let _ = reply.send(result.and_then(|()| value.ok_or(StoreError::Closed)));
    }
}

/// Work with the connection, or with why there is none.
pub(super) type Alone = Box<dyn FnOnce(Result<&mut Connection, StoreError>) + Send>;

/// What the writer is asked for.
pub(super) enum Command {
    /// A change in its own transaction.
    Change(Box<dyn Job>),
    /// Work with the connection itself, outside transactions: a restore.
    Alone(Alone),
}

/// What the writer shows of itself. Atomics, so that a look costs nothing.
#[derive(Debug)]
pub(super) struct Gauges {
    began: Instant,
    /// Rows taken from the queue and not yet written.
    pub(super) held: AtomicU64,
    /// Rows given up.
    pub(super) lost: AtomicU64,
    /// Rows written.
    pub(super) written: AtomicU64,
    /// Rows of the last batch.
    pub(super) batch: AtomicU64,
    /// When the rows that are held were taken, in milliseconds after `began`, plus one; 0 if none are.
    since: AtomicU64,
    /// Why batches fail, if they do.
    trouble: Mutex<Option<StoreError>>,
}

impl Gauges {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            held: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            written: AtomicU64::new(0),
            batch: AtomicU64::new(0),
            since: AtomicU64::new(0),
            trouble: Mutex::new(None),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// From now on a row waits, if none has before.
    pub(super) fn waits(&self) {
        if self.since.load(Ordering::Relaxed) == 0 {
            self.since.store(self.now() + 1, Ordering::Relaxed);
        }
    }

    /// How long the oldest row that was taken has been waiting.
    pub(super) fn lag(&self) -> Duration {
        let since = self.since.load(Ordering::Relaxed);
        if since == 0 { Duration::ZERO } else { Duration::from_millis((self.now() + 1).saturating_sub(since)) }
    }

    /// Why batches fail, if they do.
    pub(super) fn trouble(&self) -> Option<StoreError> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the trouble; returns whether that is news.
    fn report(&self, trouble: Option<StoreError>) -> bool {
        let mut kept = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let news = *kept != trouble;
        *kept = trouble;
        news
    }
}

/// What the writer is made from.
pub(super) struct Parts {
    /// The database's file.
    pub(super) path: PathBuf,
    /// How long a command waits for another program's lock.
    pub(super) busy: Duration,
    /// What callers want.
    pub(super) commands: mpsc::Receiver<Command>,
    /// What exchanges used.
    pub(super) rows: usage::Rows,
    /// When to have ended, once the store is being closed.
    pub(super) closing: watch::Receiver<Option<Instant>>,
    /// What it shows of itself.
    pub(super) gauges: Arc<Gauges>,
    /// What is done now and then.
    pub(super) upkeep: Upkeep,
    /// The readers' connections.
    pub(super) readers: Slots,
}

impl Parts {
    /// Ends without a database: takes no more rows, and counts those that wait as lost.
    pub(super) fn give_up(mut self) {
        self.rows.close();
        let lost = self.rows.len();
        self.gauges.lost.fetch_add(lost as u64, Ordering::Relaxed);
        if lost > 0 {
            tracing::error!(lost, "usage rows could not be written: there is no database");
        }
    }
}

/// Everything that the thread owns.
pub(super) struct Writer {
    path: PathBuf,
    busy: Duration,
    /// `None` after an error that a new connection may not have.
    conn: Option<Connection>,
    commands: mpsc::Receiver<Command>,
    rows: usage::Rows,
    closing: watch::Receiver<Option<Instant>>,
    gauges: Arc<Gauges>,
    upkeep: Upkeep,
    readers: Slots,
    dims: usage::Dims,
    /// The batch: taken from the queue, not yet written.
    held: Vec<usage::UsageRow>,
    /// When to write the batch; `None` while it is empty.
    flush_at: Option<Instant>,
    /// When the last batch was written.
    flushed: Option<Instant>,
    /// Pause after the next failure.
    backoff: Duration,
    /// Whether a durable commit is to be copied into the database.
    checkpoint: bool,
    /// Commands since other work had its turn.
    in_turn: usize,
}

impl Writer {
    pub(super) fn new(parts: Parts, conn: Connection) -> Self {
        let Parts { path, busy, commands, rows, closing, gauges, upkeep, readers } = parts;
        Self {
            path,
            busy,
            conn: Some(conn),
            commands,
            rows,
            closing,
            gauges,
            upkeep,
            readers,
            dims: usage::Dims::default(),
            held: Vec::with_capacity(BATCH_KEPT),
            flush_at: None,
            flushed: None,
            backoff: BACKOFF.0,
            checkpoint: false,
            in_turn: 0,
        }
    }

    /// Works until the store is closed or all its handles are dropped.
    pub(super) async fn run(mut self) {
        loop {
            // Also while commands never end.
            if self.flush_at.is_none() && !self.rows.is_empty() {
                self.gather();
            }
            if self.in_turn < TURN {
                match self.commands.try_recv() {
                    Ok(command) => {
                        self.in_turn += 1;
                        self.command(command);
                        continue;
                    }
                    Err(mpsc::error::TryRecvError::Disconnected) => break,
                    Err(mpsc::error::TryRecvError::Empty) => {}
                }
            }
            self.in_turn = 0;
            if self.flush_at.is_some_and(|at| at <= Instant::now()) {
                self.flush();
                continue;
            }
            if self.checkpoint {
                self.checkpoint = false;
                self.copy_log();
                continue;
            }
            if self.upkeep.is_due() {
                self.keep_up();
                continue;
            }
            let look = self.flush_at.filter(|_| self.held.len() < BATCH).map(|at| at.min(Instant::now() + GATHER));
            let wake = look.or(self.flush_at).into_iter().chain(self.upkeep.due()).min();
            tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => break,
                },
                _ = self.closing.changed() => self.commands.close(),
                taken = self.rows.recv_many(&mut self.held, BATCH), if self.flush_at.is_none() && !self.rows.is_closed() => {
                    if taken > 0 {
                        self.gather();
                    }
                }
                // The turn begins anew with what is due now.
                Some(()) = self.upkeep.told() => {}
                () = sleep_until(wake.unwrap_or_else(Instant::now).into()), if wake.is_some() => self.look(),
            }
        }
        self.finish().await;
    }

    /// Lets the first row of a batch wait for others.
    fn gather(&mut self) {
        let soon = Instant::now() + GATHER;
        self.flush_at = self.flushed.map(|last| last + PAUSE).max(Some(soon));
        self.count_held();
    }

    /// Takes what has come while the batch waits: the queue's memory is used again while it is warm.
    fn look(&mut self) {
        if self.flush_at.is_none() {
            return;
        }
        self.take();
        self.count_held();
        if self.held.len() >= BATCH && self.gauges.trouble().is_none() {
            self.flush_at = Some(Instant::now());
        }
    }

    /// Fills the batch from the queue.
    fn take(&mut self) {
        while self.held.len() < BATCH {
            match self.rows.try_recv() {
                Ok(row) => self.held.push(row),
                Err(_) => break,
            }
        }
    }

    fn count_held(&self) {
        self.gauges.held.store(self.held.len() as u64, Ordering::Relaxed);
        self.gauges.waits();
    }

    /// The connection, opened again if an error closed it.
    fn conn(&mut self) -> Result<&mut Connection, StoreError> {
        if self.conn.is_none() {
            self.conn = Some(connect::writer(&self.path, self.busy)?);
        }
        self.conn.as_mut().ok_or(StoreError::Closed)
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Change(job) if !job.wanted() => {}
            Command::Change(mut job) => {
                let result = catch_unwind(AssertUnwindSafe(|| self.change(&mut *job)));
                let result =
                    result.unwrap_or_else(|_| Err(StoreError::Other("the change ended unexpectedly".to_owned())));
                self.doubt(&result);
                job.answer(result);
            }
            Command::Alone(work) => {
                self.dims.forget();
                let busy = self.busy;
                match self.conn() {
                    Ok(conn) => {
                        let _ = catch_unwind(AssertUnwindSafe(|| work(Ok(conn))));
                        // Whatever it did: the next one finds the connection as it should be.
                        self.conn = connect::writer(&self.path, busy).ok();
                    }
                    Err(error) => work(Err(error)),
                }
            }
        }
    }

    fn change(&mut self, job: &mut dyn Job) -> Result<(), StoreError> {
        let conn = self.conn()?;
        connect::full(conn)?;
        let done: Result<Vec<After>, StoreError> = (|| {
            let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut change = Change { tx, after: Vec::new() };
            job.run(&mut change)?;
            let Change { tx, after } = change;
            tx.commit()?;
            Ok(after)
        })();
        connect::normal(conn)?;
        for step in done? {
            if catch_unwind(AssertUnwindSafe(step)).is_err() {
                tracing::error!("a step after a commit ended unexpectedly");
            }
        }
        self.checkpoint = true;
        Ok(())
    }

    /// Gives the connection up after errors that a new one may not have: a file that became writable again, a folder that
    /// was mounted again.
    fn doubt<T>(&mut self, result: &Result<T, StoreError>) {
        if matches!(
            result,
            Err(StoreError::ReadOnly | StoreError::Disk(_) | StoreError::Other(_) | StoreError::Corrupt(_))
        ) {
            self.conn = None;
            self.dims.forget();
        }
        if matches!(result, Err(StoreError::ReadOnly)) {
            self.readers.close_idle();
        }
    }

    /// Writes one batch, or keeps it for later.
    fn flush(&mut self) {
        self.take();
        if self.held.is_empty() {
            self.flush_at = None;
            return;
        }
        self.count_held();
        let mut rows = std::mem::take(&mut self.held);
        let mut result = self.write(&rows);
        if let Err(StoreError::Invalid { .. } | StoreError::Taken { .. }) = result {
            // A row that the tables refuse must not stop the others.
            rows.retain(|row| {
                let alone = self.write(std::slice::from_ref(row));
                let refused = matches!(alone, Err(StoreError::Invalid { .. } | StoreError::Taken { .. }));
                if refused {
                    self.gauges.lost.fetch_add(1, Ordering::Relaxed);
                }
                !refused && alone.is_err()
            });
            result = if rows.is_empty() { Ok(()) } else { result };
        }
        self.doubt(&result);
        match result {
            Ok(()) => {
                self.gauges.batch.store(rows.len() as u64, Ordering::Relaxed);
                self.gauges.since.store(0, Ordering::Relaxed);
                // Under load the room is needed again: fresh memory costs more than all the rest of a row.
                let idle = rows.len() <= BATCH_KEPT;
                rows.clear();
                if idle {
                    rows.shrink_to(BATCH_KEPT);
                }
                self.backoff = BACKOFF.0;
                let now = Instant::now();
                self.flushed = Some(now);
                // The next batch follows at once if it is full already.
                self.flush_at = (self.rows.len() >= BATCH).then_some(now);
                if self.gauges.report(None) {
                    tracing::info!("usage is written again");
                }
            }
            Err(error) => {
                self.flush_at = Some(Instant::now() + self.backoff);
                self.backoff = (self.backoff * 2).min(BACKOFF.1);
                if self.gauges.report(Some(error.clone())) {
                    tracing::error!(%error, "usage cannot be written; rows wait, requests go on");
                }
            }
        }
        self.held = rows;
        self.gauges.held.store(self.held.len() as u64, Ordering::Relaxed);
    }

    fn write(&mut self, rows: &[usage::UsageRow]) -> Result<(), StoreError> {
        let busy = self.busy;
        self.conn()?;
        let (Some(conn), dims) = (self.conn.as_mut(), &mut self.dims) else { return Err(StoreError::Closed) };
        conn.busy_timeout(BATCH_BUSY)?;
        let written = (|| {
            let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            usage::write(&tx, dims, rows)?;
            keys::used(&tx, rows)?;
            tx.commit()
        })();
        conn.busy_timeout(busy)?;
        match written {
            Ok(()) => {
                self.gauges.written.fetch_add(rows.len() as u64, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => {
                // The numbers that it has given out are undone.
                self.dims.forget();
                Err(error.into())
            }
        }
    }

    /// Copies durable commits from the log into the database, without waiting for readers.
    fn copy_log(&mut self) {
        if let Ok(conn) = self.conn()
            && let Err(error) = conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
        {
            tracing::debug!(%error, "no checkpoint");
        }
    }

    fn keep_up(&mut self) {
        let busy = self.busy;
        let mut pass = || {
            self.conn()?;
            let Some(conn) = self.conn.as_ref() else { return Err(StoreError::Closed) };
            conn.busy_timeout(BATCH_BUSY)?;
            let done = self.upkeep.pass(conn);
            conn.busy_timeout(busy)?;
            done
        };
        let result = pass();
        if let Err(error) = &result {
            tracing::warn!(%error, "upkeep of the database failed; it is tried again later");
            self.upkeep.postpone();
        }
        self.doubt(&result);
    }

    /// Writes what waits, until the deadline, and leaves the database as one file.
    async fn finish(mut self) {
        let deadline = self.closing.borrow().unwrap_or_else(|| Instant::now() + super::CLOSE);
        self.rows.close();
        self.backoff = BACKOFF.0;
        loop {
            self.flush();
            match self.flush_at {
                _ if self.held.is_empty() && self.rows.is_empty() => break,
                None => {}
                Some(at) if at < deadline => sleep(at.saturating_duration_since(Instant::now())).await,
                Some(_) => {
                    let lost = self.held.len() + self.rows.len();
                    self.gauges.lost.fetch_add(lost as u64, Ordering::Relaxed);
                    tracing::error!(lost, "usage rows could not be written before the end");
                    break;
                }
            }
        }
        // Before the writer's, which takes the log beside the database away if it is the last one.
        self.readers.close();
        let Some(conn) = self.conn.take() else { return };
        let closed = (|| {
            schema::note(&conn, "last_clean_shutdown", &super::now_ms().to_string())?;
            conn.execute_batch("PRAGMA optimize")?;
            conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        })();
        if let Err(error) = closed.and_then(|()| conn.close().map_err(|(_, error)| error)) {
            tracing::warn!(%error, "the database was not closed cleanly; nothing is lost by that");
        }
    }
}
