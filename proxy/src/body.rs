//! The body of a response, pulled slice by slice.
//!
//! It decodes framing and nothing else. Reading it to its end gives the connection back to the pool; dropping it earlier
//! closes the connection (HTTP/1) or resets the stream (HTTP/2), so a half-read body can never be served to the next
//! request.

use std::{
    future::poll_fn,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};

use crate::{
    Error, Headers, Kind, Retry,
    h1::client::{H1Body, Step},
    h2::client::H2Body,
};

/// A response body that is still arriving.
#[derive(Debug)]
pub struct Body {
    inner: Inner,
    trailers: Option<Headers>,
}

#[derive(Debug)]
enum Inner {
    /// Nothing more will come.
    Done,
    /// It failed; asking again gives the same answer, so that a failure is never taken for an end.
    Failed(Error),
    /// Already here as a whole.
    Whole(Bytes),
    H1(H1Body),
    H2(H2Body),
}

impl Body {
    /// A body that never was on a wire.
    pub fn whole(bytes: Bytes) -> Self {
        let inner = if bytes.is_empty() { Inner::Done } else { Inner::Whole(bytes) };
        Self { inner, trailers: None }
    }

    pub(crate) fn h1(body: H1Body) -> Self {
        Self { inner: Inner::H1(body), trailers: None }
    }

    pub(crate) fn h2(body: H2Body) -> Self {
        Self { inner: Inner::H2(body), trailers: None }
    }

    /// The next slice, `None` at the end. Cancel safe.
    ///
    /// # Errors
    /// The body was cut short or broke its framing. A clean end is never reported for a truncated body.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        poll_fn(|cx| self.poll_chunk(cx)).await
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Error>> {
        let next = match &mut self.inner {
            Inner::Done => return Poll::Ready(Ok(None)),
            Inner::Failed(error) => return Poll::Ready(Err(error.clone())),
            Inner::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.inner = Inner::Done;
                return Poll::Ready(Ok(Some(bytes)));
            }
            Inner::H1(body) => ready!(body.poll_chunk(cx)),
            Inner::H2(body) => ready!(body.poll_chunk(cx)),
        };
        self.settle(&next);
        Poll::Ready(next)
    }

    /// The next slice if it is already here. Never waits and makes no system call; `None` says nothing about the end.
    pub fn ready(&mut self) -> Option<Result<Bytes, Error>> {
        let next = match &mut self.inner {
            Inner::Done | Inner::Failed(_) => return None,
            Inner::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.inner = Inner::Done;
                return Some(Ok(bytes));
            }
            Inner::H1(body) => match body.step() {
                Ok(Step::Data(data)) => Ok(Some(data)),
                Ok(Step::End) => Ok(None),
                Ok(Step::More) => return None,
                Err(error) => Err(error),
            },
            Inner::H2(body) => body.ready()?.map(Some),
        };
        self.settle(&next);
        next.transpose()
    }

    /// Lets go of the connection when nothing more will come over it.
    fn settle(&mut self, next: &Result<Option<Bytes>, Error>) {
        let over = match (next, &self.inner) {
            (Err(error), _) => {
                self.inner = Inner::Failed(error.clone());
                return;
            }
            (Ok(None), _) => true,
            // A counted body is known to be over with its last slice.
            (Ok(Some(_)), Inner::H1(body)) => body.is_done(),
            (Ok(Some(_)), _) => false,
        };
        if over {
            self.trailers = match std::mem::replace(&mut self.inner, Inner::Done) {
                Inner::H1(body) => body.end(),
                Inner::H2(body) => body.end(),
                Inner::Done | Inner::Failed(_) | Inner::Whole(_) => None,
            };
        }
    }

    /// The whole rest in one buffer of at most `limit` bytes.
    ///
    /// # Errors
    /// As [`Body::chunk`], and `TooLarge`.
    pub async fn collect(&mut self, limit: usize) -> Result<Bytes, Error> {
        let too_large = || Error::upstream(Kind::TooLarge { what: "response body", limit, status: 502 }, Retry::Never);
        let Some(first) = self.chunk().await? else { return Ok(Bytes::new()) };
        if first.len() > limit {
            return Err(too_large());
        }
        let Some(second) = self.chunk().await? else { return Ok(first) };
        let mut whole = BytesMut::with_capacity(first.len() + second.len());
        whole.extend_from_slice(&first);
        let mut next = Some(second);
        while let Some(chunk) = next {
            if whole.len() + chunk.len() > limit {
                return Err(too_large());
            }
            whole.extend_from_slice(&chunk);
            next = self.chunk().await?;
        }
        Ok(whole.freeze())
    }

    /// Trailer fields, once [`Body::chunk`] has said `None`.
    pub fn trailers(&mut self) -> Option<Headers> {
        self.trailers.take()
    }
}
