//! A whole answer as the events of a stream: one delta per part. For clients that stream while the upstream does not.

use super::{ApiError, Emit, ErrorKind, Event, Field, Open, Reply, ReplyPart};
use crate::json::{Str, Text};

/// Emits the events of `reply`, from `Start` to `End` or `Error`.
pub fn replay(reply: &Reply, emit: Emit<'_>) {
    emit(Event::Start {
        id: Text::Plain(&reply.id),
        model: Text::Plain(&reply.model),
        created: reply.created,
        usage: Some(reply.usage).filter(super::Usage::is_known),
    });
    for (number, part) in reply.parts.iter().enumerate() {
        let scores = reply.logprobs.binary_search_by_key(&number, |(place, _)| *place).ok();
        part.replay(number as u32, scores.map_or(Text::EMPTY, |at| reply.logprobs[at].1.text()), emit);
        emit(Event::Stop { part: number as u32 });
    }
    if let Some(error) = &reply.error {
        emit(Event::Error(error.clone()));
        return;
    }
    let Some(finish) = &reply.finish else {
        emit(Event::Error(ApiError::new(ErrorKind::Truncated, "upstream stream ended before completion")));
        return;
    };
    if reply.usage.is_known() {
        emit(Event::Usage(reply.usage));
    }
    emit(Event::Finish(finish.clone()));
    emit(Event::End);
}

impl ReplyPart {
    /// Emits the part's beginning and its content, without its stop. `scores` are its log probabilities.
    pub fn replay(&self, part: u32, scores: Text<'_>, emit: Emit<'_>) {
        let delta = |field: Field<'_>, text: Text<'_>, emit: Emit<'_>| {
            if !text.is_empty() {
                emit(Event::Delta { part, field, text });
            }
        };
        match self {
            Self::Text(text) => {
                emit(Event::Part { part, open: Open::Text });
                delta(Field::Logprobs, scores, emit);
                delta(Field::Text, text.text(), emit);
            }
            Self::Refusal(text) => {
                emit(Event::Part { part, open: Open::Refusal });
                delta(Field::Logprobs, scores, emit);
                delta(Field::Refusal, text.text(), emit);
            }
            Self::Thinking { text, rider } => {
                emit(Event::Part { part, open: Open::Thinking });
                delta(Field::Logprobs, scores, emit);
                delta(Field::Think, text.text(), emit);
                if let Some(rider) = rider {
                    let item_id = rider.item_id.as_ref().map(Str::text);
                    let field = Field::Sig { origin: rider.origin, form: rider.form, item_id };
                    delta(field, rider.payload.text(), emit);
                }
            }
            Self::Redacted(rider) => emit(Event::Part { part, open: Open::Redacted(rider.clone()) }),
            Self::Tool { id, name, kind, args, signature } => {
                let (id, name) = (Text::Plain(id), Text::Plain(name));
                emit(Event::Part { part, open: Open::Tool { id, name, kind: *kind, signature: signature.clone() } });
                delta(Field::Args, args.text(), emit);
            }
            Self::Image { mime, data } => {
                emit(Event::Part { part, open: Open::Image { mime: Text::Plain(mime), data: Text::Plain(data) } });
            }
        }
    }
}
