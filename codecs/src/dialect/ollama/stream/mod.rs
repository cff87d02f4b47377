//! Streams: one JSON object per row, the last one with `done:true`.

mod decode;
mod encode;

pub use decode::Decoder;
pub use encode::Encoder;
