//! Writes the stream: Gemini's, every object in an envelope.

use bytes::BytesMut;

use super::reply;
use crate::{
    dialect::{
        Context, StreamEncode,
        gemini::{
            parts::Foreign,
            stream::{Encoder as Inner, Envelope},
        },
    },
    hub::Event,
    json::Text,
};

/// Writes a stream.
#[derive(Debug)]
pub struct Encoder {
    inner: Inner,
}

impl Encoder {
    /// An encoder at the start of a stream.
    pub fn new(context: &Context) -> Self {
        let envelope = Envelope {
            before: reply::BEFORE,
            behind: reply::behind(context),
            line_end: b"\r\n\r\n",
            seals: Foreign::Skipped,
            error_status: reply::status,
        };
        Self { inner: Inner::enveloped(context, envelope) }
    }
}

impl StreamEncode for Encoder {
    #[inline]
    fn event(&mut self, event: &Event<'_>, out: &mut BytesMut) {
        match event {
            // The client knows the model by its own name for it.
            Event::Start { id, created, usage, .. } => {
                self.inner.event(&Event::Start { id: *id, model: Text::EMPTY, created: *created, usage: *usage }, out);
            }
            other => self.inner.event(other, out),
        }
    }
}
