//! The event ladder.
//!
//! ```text
//!   created in_progress
//!   ( output_item.added  [part.added  delta*  text.done  part.done]  output_item.done )*     one item at a time
//!   completed | incomplete | failed
//! ```
//!
//! The decoder forgives more than the encoder dares: items may overlap, events may be missing, ids may change; what is
//! written is the full ladder with `sequence_number` 0, 1, 2, … and `output_index` without gaps.

mod decoder;
mod encoder;
#[cfg(test)]
mod tests;
mod units;

pub use decoder::Decoder;
pub use encoder::Encoder;
