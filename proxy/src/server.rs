//! Accepts connections, bounds their number, finds out which HTTP they speak and drains them in the end.
//!
//! Every connection is one task, owned and awaited by [`Server::serve`]: when that returns, nothing is left running.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::call::Handler;
use crate::h1::server::{Conn, Sniffed};
use crate::net::accepted::{Accepted, Rewind};
use crate::{Limits, Timeouts};

/// Pause after an `accept` that failed for want of descriptors or memory: trying at once would only burn the CPU.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What all connections of one server share.
pub(crate) struct Shared {
    /// Bounds in size.
    pub(crate) limits: Limits,
    /// Bounds in time.
    pub(crate) timeouts: Timeouts,
    draining: AtomicBool,
    signal: watch::Sender<()>,
}

impl Shared {
    pub(crate) fn new(limits: Limits, timeouts: Timeouts) -> Self {
        Self { limits, timeouts, draining: AtomicBool::new(false), signal: watch::Sender::new(()) }
    }

    /// Whether the server wants to end.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Resolves when the server wants to end.
    pub(crate) fn drain(self: &Arc<Self>) -> Drain {
        let shared = Arc::clone(self);
        let mut signal = self.signal.subscribe();
        Drain {
            wait: Box::pin(async move {
                // Subscribed before the flag is read: a signal between the two is seen by `changed`.
                if !shared.is_draining() {
                    let _ = signal.changed().await;
                }
            }),
            over: false,
        }
    }

    /// Tells every connection that the server wants to end.
    pub(crate) fn start_drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.signal.send_replace(());
    }
}

/// One connection's ear for the end. Made once per connection, so that waiting for the next request costs no
/// registration.
pub(crate) struct Drain {
    wait: Pin<Box<dyn Future<Output = ()> + Send>>,
    over: bool,
}

impl Drain {
    /// Ready, and ready ever after, once the server wants to end.
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

    /// Serves `listener` until `drain` resolves; then stops accepting, tells live connections to end, waits up to
    /// `grace` for their exchanges and cuts the rest.
    ///
    /// HTTP/2 with prior knowledge is told from HTTP/1 by its first bytes.
    pub async fn serve<H: Handler>(
        self,
        listener: TcpListener,
        handler: Arc<H>,
        drain: impl Future<Output = ()> + Send,
        grace: Duration,
    ) {
        let mut connections = JoinSet::new();
        let mut drain = pin!(drain);
        let permits = Arc::new(Semaphore::new(self.shared.limits.connections.min(Semaphore::MAX_PERMITS)));
        loop {
            let accept = async {
                // Above the cap, clients wait in the backlog: nothing is accepted that cannot be served.
                let permit = Arc::clone(&permits).acquire_owned().await;
                (permit, listener.accept().await)
            };
            tokio::select! {
                biased;
                () = &mut drain => break,
                Some(_) = connections.join_next() => {}
                (permit, accepted) = accept => match accepted {
                    Ok((socket, peer)) => {
                        let _ = socket.set_nodelay(true);
                        let shared = Arc::clone(&self.shared);
                        let handler = Arc::clone(&handler);
                        connections.spawn(async move {
                            let _permit = permit;
                            connection(Accepted::Tcp(socket), peer, shared, handler).await;
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "accept failed");
                        if !is_of_connection(&error) {
                            tokio::time::sleep(ACCEPT_PAUSE).await;
                        }
                    }
                },
            }
        }
        drop(listener);
        self.shared.start_drain();
        let all = async { while connections.join_next().await.is_some() {} };
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
    let mut conn = Conn::new(io, peer, Arc::clone(&shared));
    match conn.sniff().await {
        Sniffed::Nothing => {}
        Sniffed::Http1 => conn.serve(&*handler).await,
        Sniffed::Http2 => {
            let (io, head) = conn.into_parts();
            crate::h2::server::serve(Rewind::new(head, io), peer, shared, handler).await;
        }
    }
}
