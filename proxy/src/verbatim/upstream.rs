//! The server's side of a passage, whichever protocol it is in.

use std::task::{Context, Poll};

use ::h2::Reason;
use bytes::Bytes;

use crate::{Error, Headers, h1, h1::duplex::Beginning, h2};

/// An exchange with the true server.
#[derive(Debug)]
pub(super) enum Upstream {
    H1(Box<h1::duplex::Duplex>),
    H2(Box<h2::duplex::Duplex>),
}

impl Upstream {
    /// Lets leave what waits to leave.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::H1(exchange) => exchange.poll_flush(cx),
            Self::H2(_) => Poll::Ready(()),
        }
    }

    /// Sends a piece of the request, and its end with it if it is the `last`.
    pub(super) fn poll_push(&mut self, cx: &mut Context<'_>, data: &mut Bytes, last: bool) -> Poll<Result<(), Error>> {
        match self {
            Self::H1(exchange) => exchange.poll_push(cx, data),
            Self::H2(exchange) => exchange.poll_push(cx, data, last).map(Ok),
        }
    }

    /// Ends the request.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>, trailers: Option<&Headers>) -> Poll<Result<(), Error>> {
        match self {
            Self::H1(exchange) => exchange.poll_end(cx, trailers),
            Self::H2(exchange) => {
                exchange.end_upload(trailers);
                Poll::Ready(Ok(()))
            }
        }
    }

    /// The next beginning of the answer.
    pub(super) fn poll_beginning(&mut self, cx: &mut Context<'_>) -> Poll<Result<Beginning, Error>> {
        match self {
            Self::H1(exchange) => exchange.poll_beginning(cx),
            Self::H2(exchange) => exchange.poll_beginning(cx),
        }
    }

    /// The next piece of the answer, and whether it is known to be the last.
    pub(super) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<(Bytes, bool)>, Error>> {
        match self {
            Self::H1(exchange) => exchange.poll_piece(cx),
            Self::H2(exchange) => exchange.poll_piece(cx),
        }
    }

    /// Fields behind an answer that was read to its end.
    pub(super) fn take_trailers(&mut self) -> Option<Headers> {
        match self {
            Self::H1(exchange) => exchange.take_trailers(),
            Self::H2(exchange) => exchange.take_trailers(),
        }
    }

    /// Ends an answer that was read to its end.
    pub(super) fn end(self) {
        match self {
            Self::H1(exchange) => exchange.end(),
            // Its claim goes with it.
            Self::H2(_) => {}
        }
    }

    /// Why the server has reset its stream, if it has.
    pub(super) fn reset(&self) -> Option<Reason> {
        match self {
            Self::H1(_) => None,
            Self::H2(exchange) => exchange.reset(),
        }
    }

    /// Whether its connection had carried an exchange before.
    pub(super) fn is_reused(&self) -> bool {
        match self {
            Self::H1(exchange) => exchange.is_reused(),
            Self::H2(exchange) => exchange.is_reused(),
        }
    }
}
