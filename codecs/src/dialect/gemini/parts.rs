//! Parts of an answer, as the stream and the document encoder write them, and the way of signatures through them.

use crate::{
    dialect::{ToolTable, gemini::words::NOT_CHECKED},
    hub::{Origin, Rider, ToolKind, arguments},
    json::{Text, Writer, write::Sink},
};

/// A finished call.
pub(super) struct Call<'a> {
    pub(super) id: &'a str,
    /// As sent to the upstream.
    pub(super) name: &'a str,
    pub(super) kind: ToolKind,
    pub(super) args: Text<'a>,
    /// The base64 text of its `thoughtSignature`.
    pub(super) signature: Option<&'a str>,
}

/// `{"functionCall":{…}}`: a call is always one whole part.
pub(super) fn call<S: Sink>(call: &Call<'_>, tools: &ToolTable, w: &mut Writer<'_, S>) {
    w.begin_object().key("functionCall").begin_object();
    w.key("id").string(call.id);
    w.key("name").string(tools.client_name(call.name));
    w.key("args").verbatim(&arguments::call_object(call.kind, call.args));
    w.end_object();
    signature(call.signature, w);
    w.end_object();
}

/// A text part with a signature, or the empty part that a final object needs.
pub(super) fn text<S: Sink>(text: Text<'_>, thought: bool, sealed: Option<&str>, w: &mut Writer<'_, S>) {
    w.begin_object().key("text").text(text);
    if thought {
        w.key("thought").bool(true);
    }
    signature(sealed, w);
    w.end_object();
}

/// `{"inlineData":{…}}`
pub(super) fn image<S: Sink>(mime: Text<'_>, data: Text<'_>, w: &mut Writer<'_, S>) {
    w.begin_object().key("inlineData").begin_object();
    w.key("mimeType").text(mime);
    w.key("data").text(data);
    w.end_object().end_object();
}

fn signature<S: Sink>(signature: Option<&str>, w: &mut Writer<'_, S>) {
    if let Some(signature) = signature {
        w.key("thoughtSignature").string(signature);
    }
}

/// What becomes of other vendors' signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::dialect) enum Foreign {
    /// They ride along, marked as what they are.
    #[default]
    Tagged,
    /// They stay here, and a call without one of Gemini's own is marked as not to be checked: a client that asks Gemini
    /// itself next brings nothing that is refused there.
    Skipped,
}

/// Signatures on their way to the client: a call carries its own, or that of the thinking before it.
///
/// What finds no call rides on an empty text part: before the next thinking begins, before a call that has a signature
/// of its own, or at the end.
#[derive(Debug, Default)]
pub(super) struct Seals {
    waiting: Option<String>,
    foreign: Foreign,
}

impl Seals {
    /// None yet.
    pub(super) fn new(foreign: Foreign) -> Self {
        Self { waiting: None, foreign }
    }

    /// A thinking part got a signature.
    pub(super) fn wait(&mut self, rider: &Rider<'_>) {
        if self.passes(rider) {
            self.waiting = Some(rider.gemini_field());
        }
    }

    fn passes(&self, rider: &Rider<'_>) -> bool {
        self.foreign == Foreign::Tagged || rider.origin == Origin::Gemini
    }

    /// The signature that must have a part of its own now, since nothing else may carry it.
    pub(super) fn take(&mut self) -> Option<String> {
        self.waiting.take()
    }

    /// For a call with or without a signature of its own: what must go out before it, and what it carries.
    pub(super) fn for_call(&mut self, own: Option<&Rider<'_>>) -> (Option<String>, Option<String>) {
        let (before, carried) = match own.filter(|rider| self.passes(rider)) {
            Some(rider) => (self.take(), Some(rider.gemini_field())),
            None => (None, self.take()),
        };
        let unchecked = || (self.foreign == Foreign::Skipped).then(|| NOT_CHECKED.to_owned());
        (before, carried.or_else(unchecked))
    }
}
