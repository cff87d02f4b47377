//! Requests: decode and encode.
//!
//! | file | what |
//! |---|---|
//! | `decode` | a client's body; tools, choice, configuration |
//! | `history` | a client's `contents` |
//! | `encode` | the body for an upstream; tools, choice, configuration |
//! | `contents` | `contents` for an upstream |

mod contents;
mod decode;
mod encode;
mod history;

pub use decode::decode;
pub use encode::{encode, encode_count_tokens};
