//! Streams: decoder and encoder.

use bytes::BytesMut;

use crate::{
    dialect::{Context, Emit, StreamDecode, StreamEncode},
    hub::Event,
    json::Raw,
};

/// Reads a stream.
#[derive(Debug)]
pub struct Decoder {}

impl Decoder {
    /// A decoder at the start of a stream.
    pub fn new(_context: &Context) -> Self {
        Self {}
    }
}

impl StreamDecode for Decoder {
    fn json(&mut self, _name: Option<&str>, _value: Raw<'_>, _emit: Emit<'_>) {}
    fn done(&mut self, _emit: Emit<'_>) {}
    fn end(&mut self, _emit: Emit<'_>) {}
}

/// Writes a stream.
#[derive(Debug)]
pub struct Encoder {}

impl Encoder {
    /// An encoder at the start of a stream.
    pub fn new(_context: &Context) -> Self {
        Self {}
    }
}

impl StreamEncode for Encoder {
    fn event(&mut self, _event: &Event<'_>, _out: &mut BytesMut) {}
}
