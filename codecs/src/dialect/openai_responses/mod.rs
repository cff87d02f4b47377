//! openai_responses.

pub mod reply;
pub mod request;
pub mod stream;
