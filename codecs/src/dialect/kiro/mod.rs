//! Amazon CodeWhisperer's `GenerateAssistantResponse`, as Kiro asks and reads it.
//!
//! A request is one JSON document; an answer is a stream of AWS messages, each with three headers and JSON. There are no
//! whole answers. The client's side only: no provider is asked in this dialect.
//!
//! | file | what |
//! |---|---|
//! | [`request`] | a conversation in the words of Anthropic Messages |
//! | [`reply`] | answers from collected ones, errors before one |
//! | [`stream`] | encoder |
//! | `failure` | what both say of a failure |

pub(super) mod failure;
pub mod reply;
pub mod request;
pub mod stream;

#[cfg(test)]
mod tests;
