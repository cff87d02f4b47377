//! Watches what a client's HTTP/2 frames are for.
//!
//! The `h2` crate answers every SETTINGS and PING, however many there are; a client can so keep us writing without ever
//! asking for anything. The meter walks the frame headers in the bytes that were just read, without copying them, and
//! calls it a flood when housekeeping frames come in masses with no request between them. WINDOW_UPDATE is not counted:
//! a client that reads a long answer sends many, and they cost nothing. RST_STREAM has its own limit in the crate.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// Housekeeping frames within [`FLOOD_WINDOW`] that make a flood.
const FLOOD_FRAMES: u32 = 1_000;
const FLOOD_WINDOW: Duration = Duration::from_secs(10);
/// Bytes of the client's preface, before its first frame.
const PREFACE_BYTES: usize = 24;
const HEADER_BYTES: usize = 9;

/// Frame types (RFC 9113 §6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

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

/// Counts housekeeping frames.
#[derive(Debug)]
struct Counter {
    place: Place,
    housekeeping: u32,
    since: Instant,
}

impl Counter {
    fn new() -> Self {
        Self { place: Place::Payload { left: PREFACE_BYTES }, housekeeping: 0, since: Instant::now() }
    }

    /// Walks newly read bytes. True: this is a flood.
    fn feed(&mut self, mut bytes: &[u8]) -> bool {
        let mut flood = false;
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
                        let [a, b, c, kind, ..] = *header;
                        let left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                        self.place = match left {
                            0 => Place::Header { bytes: [0; HEADER_BYTES], got: 0 },
                            left => Place::Payload { left },
                        };
                        flood |= self.frame(kind);
                    }
                }
            }
        }
        flood
    }

    fn frame(&mut self, kind: u8) -> bool {
        match kind {
            DATA | HEADERS | CONTINUATION => self.housekeeping = 0,
            RST_STREAM | WINDOW_UPDATE => {}
            _ => self.housekeeping += 1,
        }
        // The clock is asked only once per thousand frames.
        if self.housekeeping < FLOOD_FRAMES {
            return false;
        }
        self.housekeeping = 0;
        let before = std::mem::replace(&mut self.since, Instant::now());
        self.since.duration_since(before) < FLOOD_WINDOW
    }
}

/// Raised when a client floods us.
#[derive(Debug, Clone, Default)]
pub(crate) struct Alarm(Arc<AtomicBool>);

impl Alarm {
    /// Whether a flood was seen.
    pub(crate) fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A byte stream under an HTTP/2 server connection, with a meter in its reading half.
#[derive(Debug)]
pub(crate) struct Metered<T> {
    io: T,
    counter: Counter,
    alarm: Alarm,
}

impl<T> Metered<T> {
    /// Meters `io`, which has not given out a byte of HTTP/2 yet.
    pub(crate) fn new(io: T, alarm: Alarm) -> Self {
        Self { io, counter: Counter::new(), alarm }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Metered<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Metered { io, counter, alarm } = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(io).poll_read(cx, buf))?;
        if counter.feed(&buf.filled()[before..]) {
            alarm.0.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
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
    use super::*;

    fn frame(kind: u8, size: u8) -> Vec<u8> {
        [&[0, 0, size, kind, 0, 0, 0, 0, 0][..], &vec![7; usize::from(size)]].concat()
    }

    fn counted(frames: &[u8], step: usize) -> (bool, u32) {
        let mut counter = Counter::new();
        let all = [&[b'P'; PREFACE_BYTES], frames].concat();
        let flood = all.chunks(step).fold(false, |flood, piece| counter.feed(piece) | flood);
        (flood, counter.housekeeping)
    }

    #[tokio::test(start_paused = true)]
    async fn frames_are_counted_however_they_are_cut() {
        let frames = [frame(4, 6), frame(6, 8), frame(WINDOW_UPDATE, 4), frame(99, 0), frame(RST_STREAM, 4)].concat();
        for step in 1..=frames.len() + PREFACE_BYTES {
            assert_eq!(counted(&frames, step), (false, 3), "{step}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requests_between_pings_make_them_harmless() {
        let pings = frame(6, 8).repeat(999);
        assert!(!counted(&[&pings[..], &frame(HEADERS, 3), &pings].concat(), 100).0);
        assert!(counted(&[pings, frame(6, 8)].concat(), 100).0);
    }

    #[tokio::test(start_paused = true)]
    async fn slow_pings_are_no_flood() {
        let mut counter = Counter::new();
        assert!(!counter.feed(&[b'P'; PREFACE_BYTES]));
        for _ in 0..3_000 {
            tokio::time::advance(Duration::from_millis(20)).await;
            assert!(!counter.feed(&frame(6, 8)));
        }
    }
}
