//! What a client sends on a stream: its first message, which is the request, and what follows it.
//!
//! ```text
//!   body ─▶ first_envelope ─▶ chat │ agent ─▶ hub::Request, Facts ─▶ transcript ─▶ JSON of a public dialect
//! ```

pub mod agent;
pub(super) mod chat;
mod history;
mod names;
mod transcript;

use std::borrow::Cow;

pub use agent::Scratch;
use base64::{Engine, prelude::BASE64_STANDARD};
pub use chat::result_of as chat_result;
pub use history::Blobs;
pub use transcript::write as write_transcript;

use super::{Facts, Rpc};
use crate::{
    dialect::{Transcript, media},
    frame::{ENVELOPE_BYTES_MAX, first_envelope},
    hub::{
        ApiError,
        request::{Part, Request, Source},
    },
    proto::{Field, Message, WireError},
};

/// A request, with what belongs to it.
#[derive(Debug, Clone)]
pub struct Asked<'a> {
    /// What is asked for. Its tools have names that every dialect takes.
    pub request: Request<'a>,
    /// What the answer's encoder must know.
    pub facts: Facts,
    /// The client's id of its conversation, where it has one.
    pub conversation: Option<Cow<'a, str>>,
}

/// Reads the first message of a stream, without its envelope.
///
/// # Errors
/// It is no such request: it cannot be read, or names no model. The agent's first message may also be another one
/// (`prewarm_request`): read those by [`agent::read`].
pub fn decode<'a>(message: &'a [u8], rpc: Rpc, scratch: &'a Scratch) -> Result<Asked<'a>, ApiError> {
    match rpc {
        Rpc::Chat | Rpc::ChatWithTools => chat::decode(Message::new(message), rpc),
        Rpc::Agent => agent::decode(message, &|_| None, scratch),
    }
}

/// Writes the request of a body down in the words of Anthropic Messages. The body may have come in part: what is wanted
/// is its first envelope.
///
/// # Errors
/// As [`decode`]; and the envelope is not complete, or cannot be read.
pub fn transcribe(body: &[u8], rpc: Rpc) -> Result<(Transcript, Facts), ApiError> {
    let first = first_envelope(body, ENVELOPE_BYTES_MAX).map_err(|error| bad(error.to_string()))?;
    let Some(envelope) = first.filter(|envelope| !envelope.end) else {
        return Err(bad("the body holds no complete message".to_owned()));
    };
    let scratch = Scratch::default();
    let asked = decode(&envelope.data, rpc, &scratch)?;
    Ok((transcript::write(&asked), asked.facts))
}

fn bad(message: String) -> ApiError {
    ApiError::invalid("body", message)
}

fn unreadable(error: WireError) -> ApiError {
    bad(error.to_string())
}

/// Walks through a message. A message field that comes in pieces is walked piece by piece, which merges it.
fn each<'a>(message: Message<'a>, mut visit: impl FnMut(Field<'a>) -> Result<(), ApiError>) -> Result<(), ApiError> {
    message.fields().try_for_each(|field| visit(field.map_err(unreadable)?))
}

/// Walks through the message in a field; a field of another type has none.
fn inside<'a>(field: Field<'a>, visit: impl FnMut(Field<'a>) -> Result<(), ApiError>) -> Result<(), ApiError> {
    match field.message().map_err(unreadable)? {
        Some(message) => each(message, visit),
        None => Ok(()),
    }
}

/// The last field of that number in the message in a field.
fn last<'a>(field: Field<'a>, number: u32) -> Result<Option<Field<'a>>, ApiError> {
    let mut found = None;
    inside(field, |field| {
        found = Some(field).filter(|field| field.number == number).or(found);
        Ok(())
    })?;
    Ok(found)
}

/// The text of a field; empty for a field of another type.
fn text(field: Field<'_>) -> Cow<'_, str> {
    field.text().unwrap_or_default()
}

/// Call ids may have a second line, with another id.
fn first_line(id: Cow<'_, str>) -> Cow<'_, str> {
    match id.find('\n') {
        None => id,
        Some(end) => match id {
            Cow::Borrowed(id) => Cow::Borrowed(&id[..end]),
            Cow::Owned(mut id) => {
                id.truncate(end);
                Cow::Owned(id)
            }
        },
    }
}

/// An image, which comes without its type.
pub(super) fn image_part(data: &[u8]) -> Part<'static> {
    let data = BASE64_STANDARD.encode(data);
    let source = Source::Base64 { mime: media::sniff_image(&data).into(), data: data.into() };
    Part::Image { source, detail: None, cache: None }
}
