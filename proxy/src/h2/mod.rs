//! HTTP/2, over the `h2` crate: what it leaves to its user (limits, checks on heads, back-pressure) is here, and its
//! types stay here.

pub(crate) mod client;
pub(crate) mod duplex;
pub(crate) mod head;
mod meter;
pub(crate) mod passing;
pub(crate) mod server;
pub(crate) mod set;

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::SendStream;

/// Asks for room for `wanted` bytes, at least one; ready with how many may be sent, `None` where the peer wants no more.
fn poll_room(stream: &mut SendStream<Bytes>, cx: &mut Context<'_>, wanted: usize) -> Poll<Option<usize>> {
    stream.reserve_capacity(wanted);
    while stream.capacity() == 0 {
        match ready!(stream.poll_capacity(cx)) {
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Poll::Ready(None),
        }
    }
    Poll::Ready(Some(stream.capacity().min(wanted)))
}
