//! Accepts connections, bounds their number, finds out which HTTP they speak and drains them in the end.
//!
//! Every connection is one task, owned and awaited by [`Server::serve`]: when that returns, nothing is left running.
//!
//! ```text
//!   Serving ──drain──▶ Draining ──no exchange runs──▶ Closing ──all closed, or the grace is over──▶ end
//! ```
//!
//! While it drains nobody listens, HTTP/2 clients have their GOAWAY, and what HTTP/1 clients still ask on connections
//! that are open is answered with `connection: close`: closing idle ones at once would lose the request that is on its
//! way, and HTTP/1 has no other way to say that the end is near.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;

use crate::call::Handler;
use crate::count::Count;
use crate::h1::server::{Conn, Sniffed};
use crate::net::accepted::{Accepted, Rewind};
use crate::{Limits, Timeouts};

/// Pause after an `accept` that failed for want of descriptors or memory: trying at once would only burn the CPU.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How near the end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Far away.
    Serving,
    /// No new connections; answers say that they are the last.
    Draining,
    /// Connections without an exchange close.
    Closing,
}

/// What all connections of one server share.
pub(crate) struct Shared {
    /// Bounds in size.
    pub(crate) limits: Limits,
    /// Bounds in time.
    pub(crate) timeouts: Timeouts,
    /// What the stage says, for those who ask with every answer.
    draining: AtomicBool,
    stage: watch::Sender<Stage>,
    /// Exchanges that run.
    exchanges: AtomicUsize,
    /// Rung when the last exchange of a draining server has ended.
    quiet: Notify,
    /// Connections that are open.
    connections: Count,
    full: AtomicU64,
    accept_failures: AtomicU64,
}

impl Shared {
    pub(crate) fn new(limits: Limits, timeouts: Timeouts) -> Self {
        Self {
            limits,
            timeouts,
            draining: AtomicBool::new(false),
            stage: watch::Sender::new(Stage::Serving),
            exchanges: AtomicUsize::new(0),
            quiet: Notify::new(),
            connections: Count::default(),
            full: AtomicU64::new(0),
            accept_failures: AtomicU64::new(0),
        }
    }

    /// Whether the server wants to end.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Resolves when the server has come to `stage`.
    pub(crate) fn ear(&self, stage: Stage) -> Drain {
        let mut told = self.stage.subscribe();
        Drain {
            wait: Box::pin(async move {
                // An error means that the server is gone, which is an end as well.
                drop(told.wait_for(|now| *now >= stage).await);
            }),
            over: false,
        }
    }

    /// Tells every connection that the server wants to end.
    pub(crate) fn start_drain(&self) {
        // Before the count is looked at in `quiet`: either that sees an exchange, or the exchange sees this.
        self.draining.store(true, Ordering::SeqCst);
        self.stage.send_replace(Stage::Draining);
    }

    /// Has connections close that wait for a request.
    pub(crate) fn close_idle(&self) {
        self.stage.send_replace(Stage::Closing);
    }

    /// Resolves when no exchange runs; meant for a server that drains.
    async fn quiet(&self) {
        while self.exchanges.load(Ordering::SeqCst) > 0 {
            // A bell that was rung in between is remembered.
            self.quiet.notified().await;
        }
    }

    /// Counts an exchange until what is returned is dropped.
    pub(crate) fn begin_exchange(self: &Arc<Self>) -> Running {
        self.exchanges.fetch_add(1, Ordering::SeqCst);
        Running(Arc::clone(self))
    }
}

/// An exchange that runs.
pub(crate) struct Running(Arc<Shared>);

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.exchanges.fetch_sub(1, Ordering::SeqCst) == 1 && self.0.draining.load(Ordering::SeqCst) {
            self.0.quiet.notify_one();
        }
    }
}

/// Looks at a server from outside. Costs the server nothing.
#[derive(Clone)]
pub struct Monitor {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Monitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Monitor").field(&self.load()).finish()
    }
}

impl Monitor {
    /// What the server carries now.
    pub fn load(&self) -> ServerLoad {
        let Shared { limits, exchanges, connections, full, accept_failures, .. } = &*self.shared;
        ServerLoad {
            connections: connections.get(),
            limit: limits.connections,
            exchanges: exchanges.load(Ordering::Relaxed),
            full: full.load(Ordering::Relaxed),
            accept_failures: accept_failures.load(Ordering::Relaxed),
        }
    }
}

/// What a server carries at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerLoad {
    /// Client connections that are open.
    pub connections: usize,
    /// Most connections that are served at once.
    pub limit: usize,
    /// Requests whose answer is not complete.
    pub exchanges: usize,
    /// How often the limit stopped the server from accepting, since it was made.
    pub full: u64,
    /// Accepts that the system refused (descriptors, memory), since it was made.
    pub accept_failures: u64,
}

/// One connection's ear for a stage. Made once per connection, so that waiting for the next request costs no
/// registration.
pub(crate) struct Drain {
    wait: Pin<Box<dyn Future<Output = ()> + Send>>,
    over: bool,
}

impl Drain {
    /// Ready, and ready ever after, once the server has come to the stage.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.over {
            std::task::ready!(self.wait.as_mut().poll(cx));
            self.over = true;
        }
        Poll::Ready(())
    }
}

/// Awaits `future`; true if it panicked. One bad exchange must not take others along.
pub(crate) async fn catch_panic<F: Future<Output = ()>>(mut future: Pin<&mut F>) -> bool {
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(poll) => poll.map(|()| false),
        Err(_) => Poll::Ready(true),
    })
    .await
}

/// An HTTP server.
pub struct Server {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("limits", &self.shared.limits).finish_non_exhaustive()
    }
}

impl Server {
    /// A server with these bounds.
    pub fn new(limits: Limits, timeouts: Timeouts) -> Self {
        Self { shared: Arc::new(Shared::new(limits, timeouts)) }
    }

    /// For those who want to know what the server carries.
    pub fn monitor(&self) -> Monitor {
        Monitor { shared: Arc::clone(&self.shared) }
    }

    /// Serves `listener` until `drain` resolves; then stops accepting, tells live connections to end, waits up to
    /// `grace` for their exchanges and cuts the rest. As long as an exchange runs, requests that come on connections
    /// which are open already are answered.
    ///
    /// HTTP/2 with prior knowledge is told from HTTP/1 by its first bytes.
    pub async fn serve<H: Handler>(
        self,
        listener: TcpListener,
        handler: Arc<H>,
        drain: impl Future<Output = ()> + Send,
        grace: Duration,
    ) {
        let serve = |socket, peer, shared| connection(Accepted::Tcp(socket), peer, shared, Arc::clone(&handler));
        self.accept(listener, serve, drain, grace).await;
    }

    /// [`Server::serve`] with another idea of what a connection is.
    pub(crate) async fn accept<F: Future<Output = ()> + Send + 'static>(
        self,
        listener: TcpListener,
        serve: impl Fn(TcpStream, SocketAddr, Arc<Shared>) -> F,
        drain: impl Future<Output = ()> + Send,
        grace: Duration,
    ) {
        let mut connections = JoinSet::new();
        let mut drain = pin!(drain);
        let permits = Arc::new(Semaphore::new(self.shared.limits.connections.min(Semaphore::MAX_PERMITS)));
        // The wait below starts anew whenever a connection ends; it is counted once.
        let mut full = false;
        loop {
            let accept = async {
                // Above the cap, clients wait in the backlog: nothing is accepted that cannot be served.
                let permit = match Arc::clone(&permits).try_acquire_owned() {
                    Ok(permit) => Ok(permit),
                    Err(_) => {
                        if !std::mem::replace(&mut full, true) {
                            self.shared.full.fetch_add(1, Ordering::Relaxed);
                        }
                        Arc::clone(&permits).acquire_owned().await
                    }
                };
                full = false;
                (permit, listener.accept().await)
            };
            tokio::select! {
                biased;
                () = &mut drain => break,
                Some(_) = connections.join_next() => {}
                (permit, accepted) = accept => match accepted {
                    Ok((socket, peer)) => {
                        let _ = socket.set_nodelay(true);
                        let open = self.shared.connections.one();
                        let connection = serve(socket, peer, Arc::clone(&self.shared));
                        connections.spawn(async move {
                            let _held = (permit, open);
                            connection.await;
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "accept failed");
                        self.shared.accept_failures.fetch_add(1, Ordering::Relaxed);
                        if !is_of_connection(&error) {
                            tokio::time::sleep(ACCEPT_PAUSE).await;
                        }
                    }
                },
            }
        }
        // In this order: once nobody listens, every answer says that its connection ends.
        self.shared.start_drain();
        drop(listener);
        let all = async {
            self.shared.quiet().await;
            self.shared.close_idle();
            while connections.join_next().await.is_some() {}
        };
        if tokio::time::timeout(grace, all).await.is_err() {
            tracing::info!(left = connections.len(), "drain time is over");
            connections.shutdown().await;
        }
    }
}

/// Whether an accept error says something about one connection only.
fn is_of_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Serves one connection to its end.
pub(crate) async fn connection<H: Handler>(io: Accepted, peer: SocketAddr, shared: Arc<Shared>, handler: Arc<H>) {
    // In a box: it moves into the future that serves it, and would have its place in both.
    let mut conn = Box::new(Conn::new(io, peer, Arc::clone(&shared)));
    match conn.sniff().await {
        Sniffed::Nothing => {}
        Sniffed::Http1 => conn.serve(&*handler).await,
        Sniffed::Http2 => {
            let (io, head) = conn.into_parts();
            // Boxed, so that connections that speak HTTP/1 need no room for it.
            Box::pin(crate::h2::server::serve(Rewind::new(head, io), peer, shared, handler)).await;
        }
    }
}
