//! anthropic.

pub mod reply;
pub mod request;
pub mod stream;
