//! Streams.
//!
//! ```text
//!   message_start (ping | block)* message_delta message_stop
//!   block = content_block_start content_block_delta* content_block_stop        one open at a time, indices 0, 1, 2, …
//! ```

mod decode;
mod encode;

pub use decode::Decoder;
pub use encode::Encoder;
pub(super) use encode::write_identity;

#[cfg(test)]
mod tests;
