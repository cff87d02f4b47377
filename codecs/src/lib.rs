//! Bytes to meaning and back: framings, JSON scanning, and the LLM dialects.
//!
//! Sans-IO: no sockets, no clock, no async. Bytes are pushed in, items come out; time is an argument where it matters.
//!
//! | module | what |
//! |---|---|
//! | [`json`] | scan, borrowed text, writer, byte-range edits |
//! | [`frame`] | cuts a byte stream into events: SSE, NDJSON, JSON array, whole body, Connect envelopes, AWS messages |
//! | [`proto`] | protobuf on the wire: a walk through fields, and a writer |
//! | [`hub`] | the neutral model between dialects |
//! | [`dialect`] | the five public dialects, both directions |
//! | [`patch`] | same-dialect edits that leave everything else byte for byte |
//! | [`translate`] | the pipeline: a request, a stream or a document from one dialect to another |

pub mod dialect;
pub mod frame;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod hub;
pub mod json;
pub mod patch;
pub mod proto;
pub mod translate;
