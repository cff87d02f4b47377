//! A whole answer: events folded together. What non-streamed encoders write.

use super::{ApiError, Event, Field, Finish, Form, Logprobs, Open, Origin, Rider, ToolKind, Usage};
use crate::json::{Text, write::Sink};

/// Text that grows in its escaped form, so that pieces of escaped and plain text join without loss (also the two
/// halves of a surrogate pair).
#[derive(Debug, Clone, Default)]
pub struct EscapedBuf(Vec<u8>);

impl EscapedBuf {
    /// Appends a piece.
    pub fn push(&mut self, text: Text<'_>) {
        text.write_escaped(&mut self.0);
    }

    /// The text so far.
    pub fn text(&self) -> Text<'_> {
        // Only whole `str`s are ever appended.
        Text::Escaped(std::str::from_utf8(&self.0).unwrap_or_default())
    }

    /// Whether nothing was appended.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes held.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Forgets the text and keeps the allocation.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

impl Sink for EscapedBuf {
    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

impl PartialEq for EscapedBuf {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

/// A finished part.
#[derive(Debug, Clone, PartialEq)]
pub enum ReplyPart {
    /// Visible text.
    Text(EscapedBuf),
    /// Reasoning, with the blob that belongs to it.
    Thinking {
        /// The words.
        text: EscapedBuf,
        /// Signature or encrypted reasoning.
        rider: Option<Rider<'static>>,
    },
    /// Redacted reasoning.
    Redacted(Rider<'static>),
    /// A tool call.
    Tool {
        /// Call id.
        id: String,
        /// Name as sent to the upstream.
        name: String,
        /// Function or custom.
        kind: ToolKind,
        /// Argument text (JSON text for functions, raw input for custom tools).
        args: EscapedBuf,
        /// Signature on the call.
        signature: Option<Rider<'static>>,
    },
    /// A refusal.
    Refusal(EscapedBuf),
    /// An image.
    Image {
        /// Media type.
        mime: String,
        /// Base64.
        data: String,
    },
}

/// A whole answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reply {
    /// The upstream's id, or empty.
    pub id: String,
    /// The upstream's model name, or empty.
    pub model: String,
    /// Creation time in Unix seconds.
    pub created: Option<u64>,
    /// The parts in the order in which they began.
    pub parts: Vec<ReplyPart>,
    /// Log probabilities of the parts that have any: place in `parts`, rising, and entries.
    pub logprobs: Vec<(usize, Logprobs)>,
    /// Token counts; zeros when the upstream gave none.
    pub usage: Usage,
    /// Why it ended; `None` for an answer that broke off.
    pub finish: Option<Finish<'static>>,
    /// Why it failed.
    pub error: Option<ApiError>,
    /// Whether [`Event::End`] was seen.
    pub ended: bool,
    /// For every part number of the stream, its place in `parts`.
    places: Vec<usize>,
}

impl Reply {
    /// Folds one event in. Deltas for parts that were never opened are ignored.
    pub fn fold(&mut self, event: &Event<'_>) {
        match event {
            Event::Start { id, model, created, usage } => {
                self.id = id.plain().into_owned();
                self.model = model.plain().into_owned();
                self.created = *created;
                self.usage = usage.unwrap_or(self.usage);
            }
            Event::Part { part, open } => {
                let number = *part as usize;
                if self.places.len() <= number {
                    self.places.resize(number + 1, usize::MAX);
                }
                self.places[number] = self.parts.len();
                self.parts.push(ReplyPart::open(open));
            }
            Event::Delta { part, field, text } => self.grow(*part, field, *text),
            Event::Usage(usage) => self.usage = *usage,
            Event::Finish(finish) => self.finish = Some(finish.clone().into_owned()),
            Event::Error(error) => self.error = Some(error.clone()),
            Event::End => self.ended = true,
            Event::Stop { .. } | Event::Ping => {}
        }
    }

    fn grow(&mut self, part: u32, field: &Field<'_>, text: Text<'_>) {
        let place = self.places.get(part as usize).copied().unwrap_or(usize::MAX);
        if matches!(field, Field::Logprobs) {
            self.score(place, text);
        } else if let Some(part) = self.parts.get_mut(place) {
            part.grow(field, text);
        }
    }

    fn score(&mut self, place: usize, list: Text<'_>) {
        if place >= self.parts.len() {
            return;
        }
        let at = self.logprobs.partition_point(|(other, _)| *other < place);
        if self.logprobs.get(at).is_none_or(|(other, _)| *other != place) {
            self.logprobs.insert(at, (place, Logprobs::default()));
        }
        self.logprobs[at].1.push(list);
    }

    /// The log probabilities of the parts that `wanted` picks, as one list.
    pub fn logprobs_of(&self, wanted: impl Fn(usize, &ReplyPart) -> bool) -> Logprobs {
        let mut all = Logprobs::default();
        for (place, list) in &self.logprobs {
            if self.parts.get(*place).is_some_and(|part| wanted(*place, part)) {
                all.push(list.text());
            }
        }
        all
    }

    /// Whether a tool call is among the parts.
    pub fn has_calls(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, ReplyPart::Tool { .. }))
    }
}

impl ReplyPart {
    /// A part that begins.
    pub fn open(open: &Open<'_>) -> Self {
        match open {
            Open::Text => Self::Text(EscapedBuf::default()),
            Open::Thinking => Self::Thinking { text: EscapedBuf::default(), rider: None },
            Open::Redacted(rider) => Self::Redacted(rider.clone().into_owned()),
            Open::Tool { id, name, kind, signature } => Self::Tool {
                id: id.plain().into_owned(),
                name: name.plain().into_owned(),
                kind: *kind,
                args: EscapedBuf::default(),
                signature: signature.clone().map(Rider::into_owned),
            },
            Open::Refusal => Self::Refusal(EscapedBuf::default()),
            Open::Image { mime, data } => {
                Self::Image { mime: mime.plain().into_owned(), data: data.plain().into_owned() }
            }
        }
    }

    /// Adds a delta; one of another kind than the part is ignored, and so are log probabilities.
    pub fn grow(&mut self, field: &Field<'_>, text: Text<'_>) {
        match (self, field) {
            (Self::Text(buf), Field::Text)
            | (Self::Refusal(buf), Field::Refusal)
            | (Self::Thinking { text: buf, .. }, Field::Think)
            | (Self::Tool { args: buf, .. }, Field::Args) => buf.push(text),
            (Self::Thinking { rider, .. }, Field::Sig { origin, form, item_id }) => {
                *rider = Some(owned_rider(*origin, *form, *item_id, text));
            }
            _ => {}
        }
    }

    /// Bytes of content that the part holds.
    pub fn bytes(&self) -> usize {
        let rider = |rider: &Rider<'_>| rider.payload.len();
        match self {
            Self::Text(text) | Self::Refusal(text) => text.len(),
            Self::Thinking { text, rider: blob } => text.len() + blob.as_ref().map_or(0, rider),
            Self::Redacted(blob) => rider(blob),
            Self::Tool { id, name, args, signature, .. } => {
                id.len() + name.len() + args.len() + signature.as_ref().map_or(0, rider)
            }
            Self::Image { mime, data } => mime.len() + data.len(),
        }
    }
}

fn owned_rider(origin: Origin, form: Form, item_id: Option<Text<'_>>, payload: Text<'_>) -> Rider<'static> {
    Rider { origin, form, item_id: item_id.map(Text::to_owned_str), payload: payload.to_owned_str() }
}
