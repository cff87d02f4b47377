//! openai_chat.

mod details;

pub mod reply;
pub mod request;
pub mod stream;
