//! The first bytes of a connection, up to a whole ClientHello, read and kept. Bounded in bytes by the sniffer, in time here.

use std::{io, time::Duration};

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};

use crate::{HELLO_BYTES_MAX, Hello, NotTls, Reject, Sniff, Sniffer};

/// First block for a hello: most fit.
const BLOCK_BYTES: usize = 4 * 1024;
/// How long, and how much, a connection is read that was told why it ends: closing over unread bytes would take our last
/// word back (RFC 9112 §9.6, and the same under TLS).
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 64 * 1024;

/// Why there is no hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strange {
    /// The client left before it said anything, or its socket failed.
    Gone,
    /// It did not say it in time.
    Late,
    /// It speaks something else.
    NotTls(NotTls),
    /// It speaks TLS in a way that no client of good faith does.
    Reject(Reject),
}

/// Two deadlines: for the first byte, and for the whole.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub(super) first: Instant,
    pub(super) whole: Instant,
}

impl Patience {
    /// Counted from now.
    pub(super) fn new(first: Duration, whole: Duration) -> Self {
        let now = Instant::now();
        Self { first: now + first, whole: now + whole }
    }

    /// One more read into `read`. `Ok(false)` at the end.
    pub(super) async fn read(&self, io: &mut TcpStream, read: &mut BytesMut) -> Result<bool, Strange> {
        let deadline = if read.is_empty() { self.first.min(self.whole) } else { self.whole };
        // Who says nothing gets no buffer either.
        let some = async {
            io.readable().await?;
            if read.capacity() - read.len() < BLOCK_BYTES / 4 {
                read.reserve(BLOCK_BYTES);
            }
            io.read_buf(read).await
        };
        match timeout_at(deadline, some).await {
            Ok(Ok(n)) => Ok(n > 0),
            Ok(Err(_)) => Err(Strange::Gone),
            Err(_) => Err(Strange::Late),
        }
    }
}

/// Reads until there is a hello in `read`, which keeps it.
pub(super) async fn hello(io: &mut TcpStream, read: &mut BytesMut, patience: Patience) -> Result<Hello, Strange> {
    let mut sniffer = Sniffer::new();
    loop {
        let mut seen = sniffer.look(read);
        if seen == Sniff::NeedMore && !patience.read(io, read).await? {
            if read.is_empty() {
                return Err(Strange::Gone);
            }
            seen = sniffer.end();
        }
        match seen {
            Sniff::NeedMore => debug_assert!(read.len() < HELLO_BYTES_MAX + BLOCK_BYTES * 2, "undecided for ever"),
            Sniff::Hello(hello) => return Ok(hello),
            Sniff::NotTls(what) => return Err(Strange::NotTls(what)),
            Sniff::Reject(why) => return Err(Strange::Reject(why)),
        }
    }
}

/// A fatal alert in the clear, as it is sent before a handshake began.
pub(super) fn alert(description: u8) -> [u8; 7] {
    [21, 3, 3, 0, 2, 2, description]
}

/// Says `last` and closes so that it arrives.
pub(super) async fn bid_farewell(mut io: TcpStream, last: &[u8]) {
    let farewell = async {
        io.write_all(last).await?;
        io.shutdown().await?;
        let mut room = LINGER_BYTES;
        let mut waste = [0; 1024];
        while room > 0 {
            match io.read(&mut waste).await? {
                0 => break,
                n => room = room.saturating_sub(n),
            }
        }
        io::Result::Ok(())
    };
    // Nobody is left to be told of a failure.
    let _ = timeout(LINGER, farewell).await;
}
