//! openai_chat.

pub mod reply;
pub mod request;
pub mod stream;
