//! OpenAI Responses.
//!
//! | module | what |
//! |---|---|
//! | [`request`] | input items, tools and parameters, both ways |
//! | [`stream`] | the event ladder: decoder and encoder |
//! | [`reply`] | the answer document, and errors |
//! | [`collapse`] | a stream of this dialect folded into its own document |
//! | [`echo`] | request values that an answer repeats |
//!
//! Nothing here keeps state between requests: whatever needs a server's memory (`previous_response_id`,
//! `conversation`, `item_reference`) is refused by the request decoder.

pub mod collapse;
pub mod echo;
pub mod reply;
pub mod request;
pub mod stream;

mod failure;
mod items;
mod unwrap;
mod usage;
