//! Named edits of same-dialect traffic: everything outside the edited spans stays as it came, byte for byte.
//!
//! | edit | where |
//! |---|---|
//! | model name, members to set or remove | [`request`](RequestEdits) |
//! | DeepSeek aliases, reasoning placeholder, tool deduper | [`request`](RequestEdits), tables in `request.rs` |
//! | model name, bad answer ids, usage pad | [`stream`](StreamPatch) and [`document`](ReplyEdits) |
//!
//! Nothing here filters, reorders or re-frames: comments, empty deltas, unknown events and odd spellings pass.

mod reply;
mod request;
mod stream;

pub use reply::{FixId, ReplyEdits};
pub use request::{RequestEdits, is_deepseek_alias, placeholder_for};
pub use stream::StreamPatch;
