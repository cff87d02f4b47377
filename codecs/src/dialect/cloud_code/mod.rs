//! Google Cloud Code, as Antigravity asks and reads it: Gemini's requests and answers in envelopes.
//!
//! Nothing here knows parts, tools or counts: the inner bytes are [Gemini's](super::gemini). What is particular:
//!
//! * the model stands in the envelope, and the answer repeats the client's name of it;
//! * events end with CRLF CRLF;
//! * calls whose signature is not Gemini's own are marked as not to be checked, since the client may ask the true service
//!   in its next turn;
//! * no error has status 401: for it the client takes its user for logged out.
//!
//! | file | what |
//! |---|---|
//! | [`request`] | the envelope of a request |
//! | [`reply`] | whole answers, errors |
//! | [`stream`] | encoder |

pub mod reply;
pub mod request;
pub mod stream;

#[cfg(test)]
mod tests;
