//! Answers of handlers.

use std::{future::Future, pin::Pin};

use bytes::Bytes;
use serde_json::Value;

/// An answer that is no error.
pub struct Reply {
    /// HTTP status; the route must list it.
    pub status: u16,
    /// Fields besides those that every answer has.
    pub headers: Vec<(&'static str, String)>,
    /// Its content.
    pub payload: Payload,
}

/// The content of an answer.
pub enum Payload {
    /// None.
    Empty,
    /// JSON.
    Json(Value),
    /// Bytes of a media type.
    Bytes(&'static str, Bytes),
    /// A stream of a media type.
    Stream(&'static str, Box<dyn Pieces>),
    /// Server-sent events. It gets comments where it is silent, and ends when the gateway drains.
    Events(Box<dyn Pieces>),
}

/// The pieces of a stream, made when they are wanted.
pub trait Pieces: Send {
    /// The next piece; `None` at the end, `Err` if the stream cannot go on: it is then cut, so that nobody takes a part
    /// for the whole. Cancel safe.
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Result<Option<Bytes>, Cut>> + Send + '_>>;
}

/// A stream cannot go on; the log says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut;

impl Reply {
    /// 200 with some content.
    pub fn of(payload: Payload) -> Self {
        Self { status: 200, headers: Vec::new(), payload }
    }

    /// 200 with a document.
    pub fn json(document: Value) -> Self {
        Self::of(Payload::Json(document))
    }

    /// 201 with what was made and where it is.
    pub fn created(location: String, document: Value) -> Self {
        Self::json(document).status(201).with("location", location)
    }

    /// 204.
    pub fn empty() -> Self {
        Self::of(Payload::Empty).status(204)
    }

    /// The same with another status.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// The same with one more field.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The same with the version of the row that it shows, in Unix milliseconds.
    #[must_use]
    pub fn etag(self, version_ms: i64) -> Self {
        self.with("etag", format!("\"{version_ms}\""))
    }
}

/// A numbered server-sent event, as text.
pub(super) fn event(id: u64, name: &str, document: &Value) -> Bytes {
    format!("id: {id}\nevent: {name}\ndata: {document}\n\n").into()
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Documents may hold a secret that is shown once.
        f.debug_struct("Reply").field("status", &self.status).finish_non_exhaustive()
    }
}
