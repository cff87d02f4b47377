//! Gemini `generateContent` (v1beta).
//!
//! Model and stream flag stand in the URL; camelCase and snake_case are both read, camelCase is written. Server tools,
//! grounding and citations are not translated.
//!
//! | file | what |
//! |---|---|
//! | [`request`] | requests, both directions, and the body of `:countTokens` |
//! | [`reply`] | whole answers, counts, errors |
//! | [`stream`] | decoder and encoder |
//! | `parts` | parts of an answer, as both encoders write them |
//! | `usage`, `words` | token counts; finish reasons and error words |

pub mod reply;
pub mod request;
pub mod stream;

mod logprobs;
pub(in crate::dialect) mod parts;
mod usage;
pub(in crate::dialect) mod words;

#[cfg(test)]
mod tests;
