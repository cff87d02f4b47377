//! Streams.

mod decode;
mod encode;
mod pieces;

pub use decode::Decoder;
pub(super) use decode::{CUT, find_call};
pub use encode::Encoder;
pub(super) use encode::{Scores, write_image, write_signature};
