//! Ollama: `/api/chat` and `/api/generate`.
//!
//! Upstreams are always asked through `/api/chat`; clients may call either. Model management (`/api/tags`, `/api/show`)
//! is no translation and not here.
//!
//! | file | what |
//! |---|---|
//! | [`request`] | requests, both directions |
//! | [`reply`] | whole answers, errors |
//! | [`stream`] | rows: decoder and encoder |
//! | `date` | `created_at` |
//! | `row` | the members of rows, as the stream and the document encoder write them |

pub mod reply;
pub mod request;
pub mod stream;

mod date;
mod row;

#[cfg(test)]
mod tests;
