//! Requests.
//!
//! ```text
//!   body ─decode─▶ Request      decode.rs: members · messages.rs: conversation · content.rs: parts · reasoning.rs
//!   Request ─encode─▶ body      encode.rs: members · conversation.rs: messages
//! ```

mod content;
mod conversation;
mod decode;
mod encode;
mod messages;
mod reasoning;

pub use decode::decode;
pub use encode::encode;
