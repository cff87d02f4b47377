//! Streams: objects of the document's shape, each an increment. There is no terminal marker.

mod decode;
mod encode;

pub use decode::Decoder;
pub use encode::Encoder;
pub(in crate::dialect) use encode::Envelope;
pub(super) use encode::names;
