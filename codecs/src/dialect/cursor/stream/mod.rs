//! Encoders: hub events as envelopes.

mod agent;
mod chat;

pub(super) use agent::{write_turn_ended, write_update};
use bytes::BytesMut;

use super::Rpc;
use crate::{
    dialect::{Context, StreamEncode},
    frame::write_envelope,
    hub::Event,
};

/// Writes the answer of any call.
#[derive(Debug)]
pub struct Encoder(Form);

#[derive(Debug)]
enum Form {
    Chat(chat::Encoder),
    Agent(Box<agent::Encoder>),
}

impl Encoder {
    /// An encoder at the start of a stream, or of a later round of one. [`Context::cursor`] has the facts of the request.
    pub fn new(rpc: Rpc, context: &Context) -> Self {
        Self(match rpc {
            Rpc::Chat | Rpc::ChatWithTools => Form::Chat(chat::Encoder::new(rpc, context)),
            Rpc::Agent => Form::Agent(Box::new(agent::Encoder::new(context))),
        })
    }
}

impl StreamEncode for Encoder {
    fn event(&mut self, event: &Event<'_>, out: &mut BytesMut) {
        match &mut self.0 {
            Form::Chat(encoder) => encoder.event(event, out),
            Form::Agent(encoder) => encoder.event(event, out),
        }
    }
}

/// Appends the last envelope of an answer without an error.
fn write_end(out: &mut BytesMut) {
    write_envelope(true, out, |out| out.extend_from_slice(b"{}"));
}

/// Longest text of one message, in bytes: readers refuse long envelopes.
const TEXT_BYTES_MAX: usize = 4 << 20;

/// Calls `each` with pieces of a text that are not too long.
fn pieces(mut text: &str, mut each: impl FnMut(&str)) {
    while text.len() > TEXT_BYTES_MAX {
        let (piece, rest) = text.split_at(text.floor_char_boundary(TEXT_BYTES_MAX));
        each(piece);
        text = rest;
    }
    each(text);
}
