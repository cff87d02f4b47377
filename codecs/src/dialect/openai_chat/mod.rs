//! OpenAI Chat Completions, and the many servers that speak it in their own accents.
//!
//! | file | what |
//! |---|---|
//! | [`request`] | decode and encode requests |
//! | [`stream`] | decoder and encoder of chunks |
//! | [`reply`] | whole answers, errors |
//! | [`collapse`] | a stream of this dialect folded into its own document |
//! | `words` | finish reasons, usage, error types |
//! | `details` | opaque reasoning in `reasoning_details` |

pub mod collapse;
mod details;
pub mod reply;
pub mod request;
pub mod stream;
#[cfg(test)]
mod tests;
mod words;
