//! Requests: decode and encode, also in the form of `count_tokens`.
//!
//! Decoding splits a user message with tool results in two, results first, as the hub has it; encoding joins
//! neighbours of equal role again. Betas are headers: they are named in
//! [`Encoded::betas`](crate::dialect::Encoded::betas), not written here.

mod blocks;
mod content;
mod decode;
mod encode;
mod limits;

pub use decode::decode;
pub use encode::{encode, encode_count_tokens};

#[cfg(test)]
mod tests;
