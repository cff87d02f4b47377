//! The body of a response, pulled slice by slice.
//!
//! It decodes framing and nothing else. Reading it to its end gives the connection back to the pool; dropping it earlier
//! closes the connection (HTTP/1) or resets the stream (HTTP/2), so a half-read body can never be served to the next
//! request.

use bytes::{Bytes, BytesMut};

use crate::{Error, Headers, Kind, Retry};

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
    /// Already here as a whole.
    Whole(Bytes),
}

impl Body {
    /// A body that never was on a wire.
    pub fn whole(bytes: Bytes) -> Self {
        let inner = if bytes.is_empty() { Inner::Done } else { Inner::Whole(bytes) };
        Self { inner, trailers: None }
    }

    /// The next slice, `None` at the end. Cancel safe.
    ///
    /// # Errors
    /// The body was cut short or broke its framing. A clean end is never reported for a truncated body.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        match std::mem::replace(&mut self.inner, Inner::Done) {
            Inner::Done => Ok(None),
            Inner::Whole(bytes) => Ok(Some(bytes)),
        }
    }

    /// The next slice if it is already here. Never waits and makes no system call; `None` says nothing about the end.
    pub fn ready(&mut self) -> Option<Result<Bytes, Error>> {
        match std::mem::replace(&mut self.inner, Inner::Done) {
            Inner::Done => None,
            Inner::Whole(bytes) => Some(Ok(bytes)),
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
