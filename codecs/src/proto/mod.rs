//! Protobuf on the wire (<https://protobuf.dev/programming-guides/encoding/>), without schemas: callers know the numbers.
//!
//! `read` walks through the fields of a message where they stand; `write` appends them. Neither allocates nor copies more
//! than it appends. Deliberately absent: generated types, groups (deprecated, wire types 3 and 4), services.

mod read;
mod write;

pub use read::{DEPTH_MAX, Field, Fields, Message, Value, Varints, WireError, WireFault};
pub use write::{Buffer, MessageWriter};
