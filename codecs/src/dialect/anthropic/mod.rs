//! Anthropic Messages.
//!
//! ```text
//!   request/decode, request/encode ── messages with content blocks ⇄ hub request
//!   stream  ── message_start (block_start delta* block_stop)* message_delta message_stop ⇄ hub events
//!   reply   ── whole messages and errors
//!   words   ── what streams and replies share: usage, stop reasons, error types
//! ```
//!
//! Server tools (`server_tool_use` and their results) are the service's own business: invisible to clients of other
//! dialects and never part of a translated history.

pub mod reply;
pub mod request;
pub mod stream;

mod words;

#[cfg(test)]
mod mutants;
