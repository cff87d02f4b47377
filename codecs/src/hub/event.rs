//! What an answer says, event by event.
//!
//! ```text
//!   Start (Part Delta* Stop | Usage | Ping)* Finish Usage* End          parts may overlap
//!   … Error                                                             at any point, last
//! ```

use super::{ApiError, Usage};
use crate::json::{Str, Text};

/// Receives events one by one.
pub type Emit<'e> = &'e mut dyn FnMut(Event<'_>);

/// One step of an answer. Text is borrowed from the upstream's frame.
#[derive(Debug, Clone, PartialEq)]
pub enum Event<'a> {
    /// Exactly once, first.
    Start {
        /// The upstream's id, or empty.
        id: Text<'a>,
        /// The model that answers, in the upstream's words, or empty.
        model: Text<'a>,
        /// Creation time in Unix seconds, where the upstream gives it.
        created: Option<u64>,
        /// Prompt size, where the upstream knows it at once.
        usage: Option<Usage>,
    },
    /// A part begins: at its first non-empty delta for text, thinking and refusal; at once for the others.
    Part {
        /// Part number, counted from 0 without gaps.
        part: u32,
        /// What begins.
        open: Open<'a>,
    },
    /// A part grows. Never empty.
    Delta {
        /// Part number.
        part: u32,
        /// What grows.
        field: Field<'a>,
        /// The new piece. For `Field::Args` the text is JSON text of the arguments; for `Field::Sig` the whole blob; for
        /// `Field::Logprobs` a list.
        text: Text<'a>,
    },
    /// A part is complete. Once per part, after its last delta.
    Stop {
        /// Part number.
        part: u32,
    },
    /// Cumulative counts; the last one wins.
    Usage(Usage),
    /// Why the answer ended. At most once, after all parts have stopped.
    Finish(Finish<'a>),
    /// A sign of life of the upstream.
    Ping,
    /// The answer failed; nothing follows, and nothing was stopped or finished because of it.
    Error(ApiError),
    /// The answer is complete; nothing follows.
    End,
}

/// What a part is.
#[derive(Debug, Clone, PartialEq)]
pub enum Open<'a> {
    /// Visible text.
    Text,
    /// Reasoning in words.
    Thinking,
    /// Reasoning that the vendor keeps to itself; opaque. The part has no deltas.
    Redacted(Rider<'a>),
    /// A tool call. Its arguments follow as `Field::Args` deltas.
    Tool {
        /// Call id, never empty: decoders mint one where the upstream has none.
        id: Text<'a>,
        /// The name as it was sent to the upstream; encoders ask the tool table for the client's name.
        name: Text<'a>,
        /// Function or free-form custom tool.
        kind: ToolKind,
        /// A signature that rides on the call (Gemini).
        signature: Option<Rider<'a>>,
    },
    /// A refusal in words.
    Refusal,
    /// A whole image. The part has no deltas.
    Image {
        /// Media type.
        mime: Text<'a>,
        /// Base64.
        data: Text<'a>,
    },
}

/// What a delta grows.
#[derive(Debug, Clone, PartialEq)]
pub enum Field<'a> {
    /// Text of a text part.
    Text,
    /// Words of a thinking part.
    Think,
    /// Argument text of a tool part.
    Args,
    /// Words of a refusal part.
    Refusal,
    /// Log probabilities of tokens of a text, thinking or refusal part: entries in the form of
    /// [`Logprobs`](super::Logprobs), behind those that came before. They come directly before the words that they
    /// score, if there are any.
    Logprobs,
    /// An opaque blob that belongs to a thinking part: origin, form and, for Responses, its item id. A blob that comes
    /// again replaces the earlier one.
    Sig {
        /// The vendor family that made it.
        origin: Origin,
        /// Signature or encrypted reasoning.
        form: Form,
        /// Id of the Responses reasoning item.
        item_id: Option<Text<'a>>,
    },
}

/// Function or free-form tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ToolKind {
    /// Arguments are a JSON object.
    #[default]
    Function,
    /// The input is free text (`apply_patch`). On the hub a custom call's arguments are that raw text.
    Custom,
}

/// The vendor family that made an opaque blob and alone can read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Anthropic thinking signatures and redacted thinking.
    Anthropic,
    /// Encrypted reasoning of OpenAI Responses.
    Responses,
    /// Gemini thought signatures.
    Gemini,
    /// Chat Completions servers.
    Chat,
}

/// What an opaque blob is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// A signature over visible text.
    Sig,
    /// Encrypted reasoning.
    Enc,
    /// A redacted block.
    Red,
}

/// An opaque blob with its maker.
#[derive(Debug, Clone, PartialEq)]
pub struct Rider<'a> {
    /// Who made it.
    pub origin: Origin,
    /// What it is.
    pub form: Form,
    /// Id of the Responses reasoning item it came with.
    pub item_id: Option<Str<'a>>,
    /// The blob, byte for byte.
    pub payload: Str<'a>,
}

impl Rider<'_> {
    /// A copy that borrows nothing.
    pub fn into_owned(self) -> Rider<'static> {
        Rider {
            origin: self.origin,
            form: self.form,
            item_id: self.item_id.map(Str::into_owned),
            payload: self.payload.into_owned(),
        }
    }
}

/// Why an answer ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Finish<'a> {
    /// Naturally.
    End,
    /// At a stop sequence, if the upstream says which.
    StopSequence(Option<Str<'a>>),
    /// At the token limit or the end of the context window.
    Length,
    /// To call tools.
    Tool,
    /// Cut by a filter, or refused.
    Filter(Refused<'a>),
    /// A server-side tool loop paused (Anthropic `pause_turn`).
    Pause,
}

impl Finish<'_> {
    /// A copy that borrows nothing.
    pub fn into_owned(self) -> Finish<'static> {
        match self {
            Finish::End => Finish::End,
            Finish::StopSequence(which) => Finish::StopSequence(which.map(Str::into_owned)),
            Finish::Length => Finish::Length,
            Finish::Tool => Finish::Tool,
            Finish::Filter(Refused { category, explanation }) => Finish::Filter(Refused {
                category: category.map(Str::into_owned),
                explanation: explanation.map(Str::into_owned),
            }),
            Finish::Pause => Finish::Pause,
        }
    }
}

/// Details of a refusal, as far as the upstream gives any.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Refused<'a> {
    /// The vendor's category word.
    pub category: Option<Str<'a>>,
    /// For people.
    pub explanation: Option<Str<'a>>,
}
