//! Pipes through which Linux moves bytes between two sockets without copying them to us; elsewhere there are none.
//!
//! A pipe that may hold bytes is closed and never lent again.

#[cfg(not(target_os = "linux"))]
pub(crate) use elsewhere::{Pipe, Pipes};
#[cfg(target_os = "linux")]
pub(crate) use linux::{Pipe, Pipes};

#[cfg(target_os = "linux")]
mod linux {
    use std::{
        io,
        os::fd::OwnedFd,
        sync::{
            Mutex, PoisonError,
            atomic::{AtomicBool, Ordering},
        },
        task::{Context, Poll, ready},
    };

    use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
    use tokio::{io::Interest, net::TcpStream};

    /// Wished for; the system may allow less, and then the pipe has its usual 64 KiB.
    const PIPE_BYTES: usize = 1024 * 1024;
    /// Empty pipes kept for the next tunnels.
    const POOL_MAX: usize = 16;

    /// Empty pipes.
    #[derive(Debug, Default)]
    pub(crate) struct Pipes {
        empty: Mutex<Vec<Pipe>>,
        /// The system has said that it cannot.
        impossible: AtomicBool,
    }

    /// A pipe, and how much is in it.
    #[derive(Debug)]
    pub(crate) struct Pipe {
        out: OwnedFd,
        into: OwnedFd,
        held: usize,
        size: usize,
    }

    impl Pipes {
        /// An empty one, if the system gives one.
        pub(crate) fn take(&self) -> Option<Pipe> {
            if self.impossible.load(Ordering::Relaxed) {
                return None;
            }
            let pooled = self.empty.lock().unwrap_or_else(PoisonError::into_inner).pop();
            pooled.or_else(|| Pipe::new().ok())
        }

        /// Takes one back, if it is empty and there is room.
        pub(crate) fn give_back(&self, pipe: Pipe) {
            let mut empty = self.empty.lock().unwrap_or_else(PoisonError::into_inner);
            if pipe.is_empty() && empty.len() < POOL_MAX {
                empty.push(pipe);
            }
        }

        /// Whether `error` says that the system cannot do it at all; then it is not asked again.
        pub(crate) fn cannot(&self, error: &io::Error) -> bool {
            let cannot = matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported);
            if cannot && !self.impossible.swap(true, Ordering::Relaxed) {
                tracing::info!(%error, "tunnels copy: this system does not splice sockets");
            }
            cannot
        }
    }

    impl Pipe {
        fn new() -> io::Result<Self> {
            let (out, into) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
            let size = fcntl_setpipe_size(&into, PIPE_BYTES).unwrap_or(64 * 1024);
            Ok(Self { out, into, held: 0, size })
        }

        pub(crate) fn is_empty(&self) -> bool {
            self.held == 0
        }

        /// One move: into the empty pipe, or out of a full one. Gives how many bytes have reached `to`; `None` at the end
        /// of `from`.
        ///
        /// The pipe is emptied before it is filled again. That it cannot be filled then always means that the socket has
        /// nothing; with bytes in it, it could mean that the pipe is full, for which nobody would wake us.
        pub(crate) fn poll_move(
            &mut self,
            cx: &mut Context<'_>,
            from: &TcpStream,
            to: &TcpStream,
        ) -> Poll<io::Result<Option<u64>>> {
            const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);
            loop {
                if self.held > 0 {
                    ready!(to.poll_write_ready(cx))?;
                    let moved =
                        to.try_io(Interest::WRITABLE, || Ok(splice(&self.out, None, to, None, self.held, FLAGS)?));
                    match moved {
                        Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                        Ok(n) => {
                            self.held = self.held.saturating_sub(n);
                            return Poll::Ready(Ok(Some(n as u64)));
                        }
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        Err(error) => return Poll::Ready(Err(error)),
                    }
                } else {
                    ready!(from.poll_read_ready(cx))?;
                    let moved =
                        from.try_io(Interest::READABLE, || Ok(splice(from, None, &self.into, None, self.size, FLAGS)?));
                    match moved {
                        Ok(0) => return Poll::Ready(Ok(None)),
                        Ok(n) => self.held = n,
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        Err(error) => return Poll::Ready(Err(error)),
                    }
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use std::{
        convert::Infallible,
        io,
        task::{Context, Poll},
    };

    use tokio::net::TcpStream;

    /// No pipes.
    #[derive(Debug, Default)]
    pub(crate) struct Pipes(());

    /// There is none.
    #[derive(Debug)]
    pub(crate) struct Pipe(Infallible);

    impl Pipes {
        pub(crate) fn take(&self) -> Option<Pipe> {
            None
        }

        pub(crate) fn give_back(&self, pipe: Pipe) {
            match pipe.0 {}
        }

        pub(crate) fn cannot(&self, _error: &io::Error) -> bool {
            false
        }
    }

    impl Pipe {
        pub(crate) fn is_empty(&self) -> bool {
            match self.0 {}
        }

        pub(crate) fn poll_move(
            &mut self,
            _cx: &mut Context<'_>,
            _from: &TcpStream,
            _to: &TcpStream,
        ) -> Poll<io::Result<Option<u64>>> {
            match self.0 {}
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::future::poll_fn;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
        (ours.unwrap(), theirs.unwrap().0)
    }

    #[tokio::test]
    async fn bytes_go_through_the_pipe_and_the_pipe_is_lent_again() {
        let pipes = Pipes::default();
        let mut pipe = pipes.take().unwrap();
        let ((mut source, from), (to, mut sink)) = (pair().await, pair().await);
        let sent: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
        let moving = async {
            let mut moved = 0;
            while let Some(n) = poll_fn(|cx| pipe.poll_move(cx, &from, &to)).await.unwrap() {
                moved += n;
            }
            assert!(pipe.is_empty());
            drop(to);
            moved
        };
        let feeding = async {
            source.write_all(&sent).await.unwrap();
            source.shutdown().await.unwrap();
        };
        let mut got = Vec::new();
        let (moved, (), read) = tokio::join!(moving, feeding, sink.read_to_end(&mut got));
        assert_eq!((moved, read.unwrap()), (300_000, 300_000));
        assert!(got == sent);
        pipes.give_back(pipe);
        let again = pipes.take().unwrap();
        assert!(again.is_empty());
    }

    #[tokio::test]
    async fn a_pipe_with_bytes_in_it_is_not_lent_again() {
        let pipes = Pipes::default();
        let mut pipe = pipes.take().unwrap();
        let ((mut source, from), (to, sink)) = (pair().await, pair().await);
        source.write_all(&[1; 1000]).await.unwrap();
        drop(sink);
        // The reader is gone: what is in the pipe stays there.
        let mut broken = false;
        for _ in 0..100 {
            match poll_fn(|cx| pipe.poll_move(cx, &from, &to)).await {
                Ok(_) => source.write_all(&[1; 1000]).await.unwrap(),
                Err(_) => {
                    broken = true;
                    break;
                }
            }
        }
        assert!(broken && !pipe.is_empty());
        pipes.give_back(pipe);
        let other = pipes.take().unwrap();
        assert!(other.is_empty());
    }
}
