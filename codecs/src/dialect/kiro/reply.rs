//! Whole answers, which are streams too, and errors before one.

use bytes::BytesMut;

use super::{
    failure::{exception, members},
    stream::Encoder,
};
use crate::{
    dialect::{Context, StreamEncode},
    hub::{ApiError, Reply, replay::replay},
    json::{Writer, write::Sink},
};

/// Writes a whole answer: the messages of its stream.
pub fn encode(reply: &Reply, context: &Context, out: &mut Vec<u8>) {
    let mut encoder = Encoder::new(context);
    let mut messages = BytesMut::new();
    replay(reply, &mut |event| encoder.event(&event, &mut messages));
    out.put(&messages);
}

/// Writes an error, for an answer that has not begun.
pub fn encode_error(error: &ApiError, out: &mut Vec<u8>) -> u16 {
    let (name, status) = exception(error.kind);
    let mut w = Writer::new(out);
    w.begin_object();
    w.key("__type").string(name);
    members(error, &mut w);
    w.end_object();
    status
}
