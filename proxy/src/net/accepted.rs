//! A connection that somebody opened to us, whatever it runs over.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::call::Ends;
use crate::front::TlsInfo;

/// The byte stream under a client's connection. An enum, so that nothing above it is generic over I/O.
#[derive(Debug)]
pub(crate) enum Accepted {
    /// Plain TCP.
    Tcp(TcpStream),
    /// TLS that ends here.
    Tls(Box<Terminated>),
    /// An in-memory pipe.
    #[cfg(test)]
    Pipe(crate::tests::Pipe),
}

impl Accepted {
    /// What calls on this connection say of it. Our own address is a system call.
    pub(crate) fn ends(&self, peer: SocketAddr) -> Ends {
        let (local, tls) = match self {
            Accepted::Tcp(io) => (io.local_addr().ok(), None),
            Accepted::Tls(tls) => (tls.io.get_ref().0.inner().ends(peer).local, Some(Arc::clone(&tls.info))),
            #[cfg(test)]
            Accepted::Pipe(_) => (None, None),
        };
        Ends { peer, local, tls }
    }
}

/// The inside of a TLS connection, and what its handshake agreed on.
#[derive(Debug)]
pub(crate) struct Terminated {
    pub(crate) io: TlsStream<Rewind>,
    pub(crate) info: Arc<TlsInfo>,
}

macro_rules! each {
    ($self:ident, $io:ident => $call:expr) => {
        match $self.get_mut() {
            Accepted::Tcp($io) => $call,
            Accepted::Tls(tls) => {
                let $io = &mut tls.io;
                $call
            }
            #[cfg(test)]
            Accepted::Pipe($io) => $call,
        }
    };
}

impl AsyncRead for Accepted {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, io => Pin::new(io).poll_read(cx, buf))
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, io => Pin::new(io).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, io => Pin::new(io).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Accepted::Tcp(io) => io.is_write_vectored(),
            Accepted::Tls(tls) => tls.io.is_write_vectored(),
            #[cfg(test)]
            Accepted::Pipe(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, io => Pin::new(io).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, io => Pin::new(io).poll_shutdown(cx))
    }
}

/// A connection whose first bytes were already read: they are given out again before anything else.
#[derive(Debug)]
pub(crate) struct Rewind {
    head: BytesMut,
    io: Accepted,
}

impl Rewind {
    /// Puts `head` back in front of `io`.
    pub(crate) fn new(head: BytesMut, io: Accepted) -> Self {
        Self { head, io }
    }

    /// What lies under it.
    pub(crate) fn inner(&self) -> &Accepted {
        &self.io
    }
}

impl AsyncRead for Rewind {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.head.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let n = self.head.len().min(buf.remaining());
        buf.put_slice(&self.head[..n]);
        self.head.advance(n);
        if self.head.is_empty() {
            self.head = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewind {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
