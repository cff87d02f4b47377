//! Bytes from one connection to another, both ways, untouched and unread.
//!
//! ```text
//!   each way:  Open ──end of its source──▶ Ending ──shutdown sent──▶ Over          both ways Over: closed
//!                └──any error, idle too long──▶ both connections are reset
//! ```
//!
//! An end is passed on and the other way goes on. A way begins by copying; once it has carried [`SPLICE_AFTER`] bytes between
//! two bare sockets, Linux moves them through a pipe without showing them to us (`splice(2)`). Where the system cannot, or the
//! upstream is inside another proxy's TLS, it goes on copying through one bounded buffer, which is given back whenever there
//! is nothing in it.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use super::{
    accepted::Accepted,
    splice::{Pipe, Pipes},
    stream::{Stream, poll_read_buf},
};
use crate::{server::Drain, timer::Silence};

/// Bytes of one way after which it stops copying: short tunnels never pay for pipes.
const SPLICE_AFTER: u64 = 256 * 1024;
/// The buffer of a way that copies, before and after that many bytes.
const BUFFER_BYTES: (usize, usize) = (16 * 1024, 64 * 1024);
/// Steps that one way takes before it is the other's turn.
const TURNS: usize = 16;
/// A tunnel that was silent for so long is not missed when the server ends.
const QUIET: Duration = Duration::from_millis(500);

/// One end of a tunnel.
pub(crate) trait End: AsyncRead + AsyncWrite + Unpin {
    /// The socket, where nothing lies between it and the bytes.
    fn socket(&self) -> Option<&TcpStream>;
    /// The socket below everything.
    fn base(&self) -> Option<&TcpStream>;
}

impl End for TcpStream {
    fn socket(&self) -> Option<&TcpStream> {
        Some(self)
    }

    fn base(&self) -> Option<&TcpStream> {
        Some(self)
    }
}

impl End for Stream {
    fn socket(&self) -> Option<&TcpStream> {
        match self {
            Stream::Tcp(tcp) => Some(tcp),
            Stream::Tls(_) => None,
        }
    }

    fn base(&self) -> Option<&TcpStream> {
        match self {
            Stream::Tcp(tcp) => Some(tcp),
            Stream::Tls(tls) => tls.get_ref().0.base(),
        }
    }
}

impl End for Accepted {
    fn socket(&self) -> Option<&TcpStream> {
        match self {
            Accepted::Tcp(tcp) => Some(tcp),
            Accepted::Tls(_) => None,
            #[cfg(test)]
            Accepted::Pipe(_) => None,
        }
    }

    fn base(&self) -> Option<&TcpStream> {
        match self {
            Accepted::Tcp(tcp) => Some(tcp),
            Accepted::Tls(tls) => tls.io.get_ref().0.inner().base(),
            #[cfg(test)]
            Accepted::Pipe(_) => None,
        }
    }
}

/// Bytes that tunnels have moved.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    /// From clients.
    pub(crate) up: AtomicU64,
    /// To clients.
    pub(crate) down: AtomicU64,
}

/// What all tunnels of one owner share.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Means<'a> {
    pub(crate) pipes: &'a Pipes,
    pub(crate) moved: &'a Moved,
    /// Silence in both directions after which a tunnel ends.
    pub(crate) idle: Duration,
}

/// Bytes that were read before there was a tunnel, and are to be written before any other.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    pub(crate) up: Bytes,
    pub(crate) down: Bytes,
}

/// Carries bytes until both ways are over, or `closing` says that the server ends and nothing moves.
pub(crate) async fn run(
    client: &mut impl End,
    upstream: &mut impl End,
    ahead: Ahead,
    mut closing: Drain,
    means: Means<'_>,
) -> io::Result<()> {
    let (mut up, mut down) = (Way::new(ahead.up), Way::new(ahead.down));
    let mut silence = Silence::new();
    let mut up_first = true;
    let ended = poll_fn(|cx| {
        // Who was first the last time may have used up what a task may do in one go.
        up_first = !up_first;
        for turn in [up_first, !up_first] {
            let step = if turn {
                up.poll(cx, client, upstream, means.pipes, &means.moved.up)
            } else {
                down.poll(cx, upstream, client, means.pipes, &means.moved.down)
            };
            if let Poll::Ready(Err(error)) = step {
                return Poll::Ready(Err(error));
            }
        }
        if matches!((&up.stage, &down.stage), (Stage::Over, Stage::Over)) {
            return Poll::Ready(Ok(()));
        }
        let idle = if closing.poll(cx).is_ready() { QUIET.min(means.idle) } else { means.idle };
        silence.poll(cx, up.moved + down.moved, idle).map(|()| Err(io::ErrorKind::TimedOut.into()))
    })
    .await;
    up.leave(means.pipes);
    down.leave(means.pipes);
    if ended.is_err() {
        for socket in [client.base(), upstream.base()].into_iter().flatten() {
            // Fails only on a socket that is gone already.
            let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
        }
    }
    ended
}

/// How far one way is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// Its source has ended and everything was written.
    Ending,
    Over,
}

/// One way through a tunnel.
#[derive(Debug)]
struct Way {
    stage: Stage,
    /// What was read and not yet written.
    buffer: BytesMut,
    /// Was read before the tunnel began.
    ahead: Bytes,
    /// Something was written that may not have left yet.
    unflushed: bool,
    pipe: Option<Pipe>,
    moved: u64,
}

impl Way {
    fn new(ahead: Bytes) -> Self {
        Self { stage: Stage::Open, buffer: BytesMut::new(), ahead, unflushed: false, pipe: None, moved: 0 }
    }

    /// Gives back what others can use.
    fn leave(&mut self, pipes: &Pipes) {
        if let Some(pipe) = self.pipe.take() {
            pipes.give_back(pipe);
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut impl End,
        to: &mut impl End,
        pipes: &Pipes,
        counter: &AtomicU64,
    ) -> Poll<io::Result<()>> {
        for _ in 0..TURNS {
            match self.stage {
                Stage::Over => return Poll::Ready(Ok(())),
                Stage::Ending => {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.stage = Stage::Over;
                    self.leave(pipes);
                    return Poll::Ready(Ok(()));
                }
                Stage::Open => {
                    let n = ready!(self.poll_step(cx, from, to, pipes))?;
                    self.moved += n;
                    counter.fetch_add(n, Ordering::Relaxed);
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// One read or one write. Gives how many bytes have left.
    fn poll_step(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut impl End,
        to: &mut impl End,
        pipes: &Pipes,
    ) -> Poll<io::Result<u64>> {
        if !self.ahead.is_empty() {
            let n = ready!(Pin::new(&mut *to).poll_write(cx, &self.ahead))?;
            self.ahead.advance(n);
            return self.wrote(n);
        }
        if !self.buffer.is_empty() {
            let n = ready!(Pin::new(&mut *to).poll_write(cx, &self.buffer))?;
            self.buffer.advance(n);
            return self.wrote(n);
        }
        if std::mem::take(&mut self.unflushed) && Pin::new(&mut *to).poll_flush(cx)?.is_pending() {
            self.unflushed = true;
            return Poll::Pending;
        }
        if let (Some(from), Some(to)) = (from.socket(), to.socket()) {
            if self.pipe.is_none() && self.moved >= SPLICE_AFTER {
                self.pipe = pipes.take();
            }
            if let Some(pipe) = &mut self.pipe {
                match ready!(pipe.poll_move(cx, from, to)) {
                    Ok(Some(n)) => return Poll::Ready(Ok(n)),
                    Ok(None) => {
                        self.stage = Stage::Ending;
                        return Poll::Ready(Ok(0));
                    }
                    Err(error) if pipe.is_empty() && pipes.cannot(&error) => self.pipe = None,
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
        }
        let size = if self.moved < SPLICE_AFTER { BUFFER_BYTES.0 } else { BUFFER_BYTES.1 };
        if let Some(socket) = from.socket()
            && socket.poll_read_ready(cx)?.is_pending()
        {
            self.buffer = BytesMut::new();
            return Poll::Pending;
        }
        self.buffer.reserve(size);
        match poll_read_buf(from, cx, &mut self.buffer) {
            Poll::Ready(Ok(0)) => self.stage = Stage::Ending,
            Poll::Ready(Ok(_)) => {}
            // A peer inside TLS that closes without saying so has closed all the same.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => self.stage = Stage::Ending,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        }
        Poll::Ready(Ok(0))
    }

    fn wrote(&mut self, n: usize) -> Poll<io::Result<u64>> {
        if n == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.unflushed = true;
        Poll::Ready(Ok(n as u64))
    }
}
