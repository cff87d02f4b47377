//! Requests: decode and encode.
//!
//! Decoding groups the flat list of items into turns; encoding writes turns as items. Neither touches ids, names or
//! the order of results beyond that: hygiene does.

mod decode;
mod encode;
mod input;
mod media;
#[cfg(test)]
mod tests;
mod tools;

pub use decode::decode;
pub use encode::encode;
