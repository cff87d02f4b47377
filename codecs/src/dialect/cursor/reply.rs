//! Whole answers and errors. An answer is a stream in any case: a whole one comes at once.

use bytes::BytesMut;

use super::{
    Rpc,
    failure::{end_with, error_object, words},
    stream::Encoder,
};
use crate::{
    dialect::{Context, StreamEncode},
    hub::{ApiError, Reply, replay::replay},
    json::write::Sink,
};

/// Writes a whole answer.
pub fn encode(reply: &Reply, rpc: Rpc, context: &Context, out: &mut Vec<u8>) {
    let mut encoder = Encoder::new(rpc, context);
    let mut stream = BytesMut::new();
    replay(reply, &mut |event| encoder.event(&event, &mut stream));
    out.put(&stream);
}

/// Writes an error as the only envelope of an answer, and returns its HTTP status, which is 200 for every stream: clients
/// read no body behind another one.
pub fn encode_error(error: &ApiError, out: &mut Vec<u8>) -> u16 {
    let mut stream = BytesMut::new();
    end_with(error, &mut stream);
    out.put(&stream);
    200
}

/// Writes an error as the answer to a call that is no stream (`BidiAppend`), as JSON, and returns its HTTP status.
pub fn encode_unary_error(error: &ApiError, out: &mut Vec<u8>) -> u16 {
    error_object(error, out);
    words(error.kind).status
}
