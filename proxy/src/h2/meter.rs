//! Watches what a peer's HTTP/2 frames are for, on both sides.
//!
//! The `h2` crate answers every SETTINGS and PING, walks every PRIORITY and adds every WINDOW_UPDATE, however many there
//! are; a peer can so keep us busy without ever asking for anything or answering. The meter walks the frame headers in
//! the bytes that were just read, without copying them, and lets such frames be paid for: each takes one from a budget
//! that refills slowly, and quicker the more is exchanged in earnest. A reader that opens its window after each piece,
//! or measures its line with a PING per piece, pays with the bytes of those pieces; one that opens it byte by byte does
//! not get far. A client's RST_STREAM has a budget of its own: a stream that was begun and given up has cost most of what
//! an answer costs, also where the crate's limit, on streams reset before we saw them, does not see it (CVE-2023-44487).
//!
//! It also wants the first frame to be SETTINGS, which the crate does not (RFC 9113 §3.4), tells a client whose frame has a
//! wrong size so, which the crate calls by a more general code, and says when a connection is
//! worn: the crate ends it, with all of its streams, after 100 empty DATA frames in its whole life, which peers send in
//! good faith now and then.
//!
//! Not counted are DATA, which windows and the crate's own budget bound, and a client's HEADERS, which are requests.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use ::h2::Reason;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// Housekeeping frames that may come at once, and per second in the long run.
const HOUSEKEEPING: (u32, u32) = (1_000, 100);
/// The same for a client's RST_STREAM. A client that gives up all of its streams at once is no flood.
const RESETS: (u32, u32) = (1_000, 33);
/// Bytes of bodies, either way, that pay for one housekeeping frame.
const BYTES_PER_FRAME: u64 = 32;
/// Frames that a request pays for: interim answers, the answer, trailers, windows.
const FRAMES_PER_REQUEST: u64 = 16;
/// Empty DATA frames after which a connection should take no new streams.
const EMPTY_FRAMES: u32 = 50;
/// Bytes of a client's preface, before its first frame.
const PREFACE_BYTES: usize = 24;
const HEADER_BYTES: usize = 9;

/// Frame types (RFC 9113 §6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
/// Flags of DATA and SETTINGS.
const END_STREAM: u8 = 1;
const ACK: u8 = 1;

/// Whether a frame of this kind may have this size.
fn fits(kind: u8, flags: u8, size: usize) -> bool {
    match kind {
        PRIORITY => size == 5,
        RST_STREAM | WINDOW_UPDATE => size == 4,
        SETTINGS if flags & ACK != 0 => size == 0,
        SETTINGS => size.is_multiple_of(6),
        PING => size == 8,
        GOAWAY => size >= 8,
        _ => true,
    }
}

/// Whose frames are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// A client's.
    Client,
    /// An upstream's.
    Server,
}

/// So many at once, so many per second in the long run.
#[derive(Debug)]
struct Budget {
    left: u32,
    most: u32,
    per_second: u32,
    since: Instant,
}

impl Budget {
    fn new((most, per_second): (u32, u32)) -> Self {
        Self { left: most, most, per_second, since: Instant::now() }
    }

    /// Takes one. False: there is none. The clock and `earned` are asked only when it has run out.
    fn take(&mut self, earned: impl FnOnce() -> u64) -> bool {
        if self.left == 0 {
            let now = Instant::now();
            let rate = u128::from(self.per_second);
            let refill = u64::try_from(now.duration_since(self.since).as_millis() * rate / 1_000).unwrap_or(u64::MAX);
            if refill > 0 {
                self.since = now;
            }
            let left = refill.saturating_add(earned()).min(u64::from(self.most));
            self.left = u32::try_from(left).unwrap_or(self.most);
        }
        let any = self.left > 0;
        self.left = self.left.saturating_sub(1);
        any
    }
}

/// Position in the frame stream.
///
/// ```text
///   Payload { left } ──left = 0──▶ Header { got } ──nine bytes──▶ Payload
/// ```
#[derive(Debug)]
enum Place {
    /// Inside a payload, or the preface.
    Payload { left: usize },
    /// Inside a frame header.
    Header { bytes: [u8; HEADER_BYTES], got: usize },
}

/// Counts frames.
#[derive(Debug)]
struct Counter {
    peer: Peer,
    place: Place,
    /// A frame has been there.
    begun: bool,
    housekeeping: Budget,
    resets: Budget,
    /// What DATA from the peer has paid and was not yet used.
    received: u64,
    /// DATA that held nothing and ended nothing.
    empty: u32,
    purse: Purse,
}

impl Counter {
    fn new(peer: Peer, purse: Purse) -> Self {
        let place = match peer {
            Peer::Client => Place::Payload { left: PREFACE_BYTES },
            Peer::Server => Place::Header { bytes: [0; HEADER_BYTES], got: 0 },
        };
        let (housekeeping, resets) = (Budget::new(HOUSEKEEPING), Budget::new(RESETS));
        Self { peer, place, begun: false, housekeeping, resets, received: 0, empty: 0, purse }
    }

    /// Walks newly read bytes. An error says why the connection has to end.
    fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Reason> {
        while !bytes.is_empty() {
            match &mut self.place {
                Place::Payload { left } => {
                    let n = bytes.len().min(*left);
                    bytes = &bytes[n..];
                    *left -= n;
                    if *left == 0 {
                        self.place = Place::Header { bytes: [0; HEADER_BYTES], got: 0 };
                    }
                }
                Place::Header { bytes: header, got } => {
                    let n = bytes.len().min(HEADER_BYTES - *got);
                    header[*got..*got + n].copy_from_slice(&bytes[..n]);
                    bytes = &bytes[n..];
                    *got += n;
                    if *got == HEADER_BYTES {
                        let [a, b, c, kind, flags, ..] = *header;
                        let left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                        self.place = match left {
                            0 => Place::Header { bytes: [0; HEADER_BYTES], got: 0 },
                            left => Place::Payload { left },
                        };
                        self.frame(kind, flags, left)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn frame(&mut self, kind: u8, flags: u8, size: usize) -> Result<(), Reason> {
        if !std::mem::replace(&mut self.begun, true) && kind != SETTINGS {
            return Err(Reason::PROTOCOL_ERROR);
        }
        // An upstream hears of it by the crate: a failed read has no last word.
        if self.peer == Peer::Client && !fits(kind, flags, size) {
            return Err(Reason::FRAME_SIZE_ERROR);
        }
        let paid = match (kind, self.peer) {
            (DATA, _) => {
                self.received = self.received.saturating_add(size as u64);
                self.empty += u32::from(size == 0 && flags & END_STREAM == 0);
                true
            }
            (HEADERS, Peer::Client) => true,
            (RST_STREAM, Peer::Client) => self.resets.take(|| 0),
            _ => {
                let (received, purse) = (&mut self.received, &self.purse);
                self.housekeeping.take(|| std::mem::take(received) / BYTES_PER_FRAME + purse.empty())
            }
        };
        if paid { Ok(()) } else { Err(Reason::ENHANCE_YOUR_CALM) }
    }
}

/// What we have sent, which pays for frames of the peer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Purse(Arc<AtomicU64>);

impl Purse {
    /// So many bytes of a body were queued.
    pub(crate) fn sent(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// A request was sent.
    pub(crate) fn asked(&self) {
        self.0.fetch_add(FRAMES_PER_REQUEST * BYTES_PER_FRAME, Ordering::Relaxed);
    }

    /// All that is in it, in frames.
    fn empty(&self) -> u64 {
        self.0.swap(0, Ordering::Relaxed) / BYTES_PER_FRAME
    }
}

/// Raised when a peer has to be got rid of.
#[derive(Debug, Clone, Default)]
pub(crate) struct Alarm(Arc<Raised>);

#[derive(Debug, Default)]
struct Raised {
    /// Why; zero for not at all.
    reason: AtomicU32,
    worn: AtomicBool,
}

impl Alarm {
    /// Why, once it is raised.
    pub(crate) fn reason(&self) -> Option<Reason> {
        match self.0.reason.load(Ordering::Relaxed) {
            0 => None,
            code => Some(Reason::from(code)),
        }
    }

    /// Whether the connection should take no new streams.
    pub(crate) fn is_worn(&self) -> bool {
        self.0.worn.load(Ordering::Relaxed)
    }
}

/// A byte stream under an HTTP/2 connection, with a meter in its reading half.
///
/// Once the alarm is raised it gives out nothing more: a client's connection waits for the task that serves it to look
/// at the alarm, an upstream's fails.
#[derive(Debug)]
pub(crate) struct Metered<T> {
    io: T,
    counter: Counter,
    alarm: Alarm,
}

impl<T> Metered<T> {
    /// Meters `io`, on which `peer` has not said anything yet; what is put into `purse` pays.
    pub(crate) fn new(io: T, peer: Peer, alarm: Alarm, purse: Purse) -> Self {
        Self { io, counter: Counter::new(peer, purse), alarm }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Metered<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Metered { io, counter, alarm } = self.get_mut();
        let before = buf.filled().len();
        if alarm.reason().is_none() {
            ready!(Pin::new(io).poll_read(cx, buf))?;
            if let Err(reason) = counter.feed(&buf.filled()[before..]) {
                alarm.0.reason.store(reason.into(), Ordering::Relaxed);
            }
            if counter.empty > EMPTY_FRAMES {
                alarm.0.worn.store(true, Ordering::Relaxed);
            }
        }
        match (alarm.reason(), counter.peer) {
            (None, _) => Poll::Ready(Ok(())),
            (Some(_), Peer::Client) => {
                buf.set_filled(before);
                Poll::Pending
            }
            (Some(reason), Peer::Server) => {
                buf.set_filled(before);
                Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, reason.description())))
            }
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Metered<T> {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::*;

    fn frame(kind: u8, size: u8) -> Vec<u8> {
        [&[0, 0, size, kind, 0, 0, 0, 0, 0][..], &vec![7; usize::from(size)]].concat()
    }

    /// A counter behind the preface and SETTINGS.
    fn begun(peer: Peer, purse: &Purse) -> Counter {
        let mut counter = Counter::new(peer, purse.clone());
        if peer == Peer::Client {
            counter.feed(&[b'P'; PREFACE_BYTES]).unwrap();
        }
        counter.feed(&frame(SETTINGS, 0)).unwrap();
        counter
    }

    #[tokio::test(start_paused = true)]
    async fn frames_are_counted_however_they_are_cut() {
        let frames =
            [frame(SETTINGS, 6), frame(PING, 8), frame(WINDOW_UPDATE, 4), frame(99, 0), frame(DATA, 64)].concat();
        let all = [&[b'P'; PREFACE_BYTES], &frames[..]].concat();
        for step in 1..=all.len() {
            let mut counter = Counter::new(Peer::Client, Purse::default());
            all.chunks(step).for_each(|piece| counter.feed(piece).unwrap());
            assert_eq!((counter.housekeeping.left, counter.received), (996, 64), "{step}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn masses_are_a_flood_and_a_trickle_is_none() {
        for (kind, size) in [(PRIORITY, 5), (SETTINGS, 6), (PING, 8), (WINDOW_UPDATE, 4), (9, 0), (99, 3)] {
            let mut counter = begun(Peer::Client, &Purse::default());
            assert_eq!(counter.feed(&frame(kind, size).repeat(999)), Ok(()));
            assert_eq!(counter.feed(&frame(kind, size)), Err(Reason::ENHANCE_YOUR_CALM), "{kind}");
            let mut counter = begun(Peer::Client, &Purse::default());
            for _ in 0..3_000 {
                tokio::time::advance(Duration::from_millis(10)).await;
                assert_eq!(counter.feed(&frame(kind, size)), Ok(()), "{kind}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_exchanged_pays() {
        let purse = Purse::default();
        let mut counter = begun(Peer::Client, &purse);
        // A piece of 100 bytes, then what a careful reader says to it.
        for _ in 0..10_000 {
            purse.sent(100);
            counter.feed(&[frame(WINDOW_UPDATE, 4), frame(WINDOW_UPDATE, 4), frame(PING, 8)].concat()).unwrap();
        }
        for _ in 0..10_000 {
            counter.feed(&[frame(DATA, 64), frame(PING, 8)].concat()).unwrap();
        }
        let dribble = (0..10_000).find(|_| {
            purse.sent(1);
            counter.feed(&frame(WINDOW_UPDATE, 4)).is_err()
        });
        assert!((500..3_000).contains(&dribble.unwrap()), "{dribble:?}");
        let mut counter = begun(Peer::Server, &purse);
        for _ in 0..10_000 {
            purse.asked();
            counter.feed(&[frame(HEADERS, 9).repeat(3), frame(DATA, 0), frame(WINDOW_UPDATE, 4)].concat()).unwrap();
        }
        assert!(counter.feed(&frame(HEADERS, 9).repeat(2_000)).is_err(), "interim answers without end");
    }

    #[tokio::test(start_paused = true)]
    async fn resets_have_a_budget_of_their_own() {
        let mut counter = begun(Peer::Client, &Purse::default());
        let given_up = [frame(HEADERS, 9), frame(DATA, 200), frame(RST_STREAM, 4)].concat();
        assert_eq!(counter.feed(&given_up.repeat(1_000)), Ok(()));
        assert_eq!(counter.feed(&given_up), Err(Reason::ENHANCE_YOUR_CALM));
        let mut counter = begun(Peer::Client, &Purse::default());
        for _ in 0..3_000 {
            tokio::time::advance(Duration::from_millis(31)).await;
            assert_eq!(counter.feed(&given_up), Ok(()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn sizes_are_those_of_the_kind() {
        for (kind, good, bad) in [
            (PRIORITY, 5, 4),
            (RST_STREAM, 4, 5),
            (SETTINGS, 12, 11),
            (PING, 8, 9),
            (GOAWAY, 20, 7),
            (WINDOW_UPDATE, 4, 3),
        ] {
            for (peer, fault) in [(Peer::Client, Err(Reason::FRAME_SIZE_ERROR)), (Peer::Server, Ok(()))] {
                let mut counter = begun(peer, &Purse::default());
                assert_eq!(counter.feed(&frame(kind, good)), Ok(()));
                assert_eq!(counter.feed(&frame(kind, bad)), fault, "{kind}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn settings_come_first() {
        for peer in [Peer::Client, Peer::Server] {
            let mut counter = Counter::new(peer, Purse::default());
            let preface = if peer == Peer::Client { PREFACE_BYTES } else { 0 };
            assert_eq!(
                counter.feed(&[&vec![b'P'; preface], &frame(PING, 8)[..]].concat()),
                Err(Reason::PROTOCOL_ERROR)
            );
        }
    }
}
