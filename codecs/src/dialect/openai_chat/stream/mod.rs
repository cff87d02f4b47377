//! Streams.

mod decode;
mod encode;

pub use decode::Decoder;
pub(super) use decode::{CUT, find_call};
pub use encode::Encoder;
pub(super) use encode::{write_image, write_signature};
