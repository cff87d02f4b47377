//! JSON without a tree: a validating scan, borrowed views, byte-range edits and an append-only writer.
//!
//! ```text
//!   bytes ──Raw::parse──▶ Raw (one valid value) ──members/elements/get──▶ Raw …          (scan.rs, walk.rs)
//!                          │ as_text ──▶ Text::Escaped: the string token, untouched      (text.rs)
//!                          └─ writer copies tokens verbatim                              (write.rs)
//!   bytes ──top_level──▶ byte ranges ──Splice──▶ slices for one vectored write           (splice.rs)
//!   bytes ──Tape::parse──▶ Value: read by name in any order, for documents of our own     (tape.rs)
//! ```
//!
//! Strings are never unescaped unless their meaning is needed: between JSON dialects the token is copied as it came, so
//! lone surrogates, `\u00e9` spellings and signatures survive.

mod blocks;
mod fast;
pub mod scan;
mod spans;
pub mod splice;
mod swar;
pub mod tape;
pub mod text;
mod validate;
mod walk;
pub mod write;

pub(crate) use fast::string_end;
pub use scan::{JsonError, Kind, Raw};
pub use spans::Recorder;
pub use splice::{MemberEdits, Splice};
pub use tape::{DecodeError, Tape, Value};
pub use text::{Str, Text};
pub use walk::{Elements, Members};
pub use write::Writer;
