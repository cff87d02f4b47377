//! Writes `contents` for a Gemini upstream.
//!
//! Neighbours of one role are one content: a tool turn is one model content with text and calls, then one user content
//! with all responses in call order, their media, and what the user says next.

use std::{borrow::Cow, collections::HashMap};

use crate::{
    dialect::{Target, gemini::words::NOT_CHECKED, media},
    hub::{
        ApiError, Origin, Rider, arguments,
        request::{Call, Message, Part, Request, Role, Source, ToolResult},
    },
    json::{Str, Text, Writer},
};

/// What the user says where the conversation needs a user turn and has none.
const FILLER: &str = "...";
/// What the user says after a conversation that ends with the model.
const GO_ON: &str = "Continue.";

/// Writes the value of `contents`.
pub(super) fn write(request: &Request<'_>, target: &Target, w: &mut Writer<'_, Vec<u8>>) -> Result<(), ApiError> {
    w.begin_array();
    let mut contents = Contents { w, role: None, calls: 0, signature: None, target, names: names(request) };
    if starts_with_call(request) {
        contents.filler(FILLER);
    }
    for message in &request.messages {
        contents.message(message)?;
    }
    match contents.role {
        None => contents.filler(FILLER),
        Some(Side::Model) => contents.filler(GO_ON),
        Some(Side::User) => {}
    }
    contents.close();
    w.end_array();
    Ok(())
}

/// Name of every call by its id: responses name their function.
fn names<'r>(request: &'r Request<'_>) -> HashMap<Cow<'r, str>, Text<'r>> {
    let parts = request.messages.iter().flat_map(|message| &message.parts);
    let calls = parts.filter_map(|part| if let Part::Call(call) = part { Some(call) } else { None });
    calls.map(|call| (call.id.plain(), call.name.text())).collect()
}

/// The service wants calls and responses behind a user turn.
fn starts_with_call(request: &Request<'_>) -> bool {
    let written = |part: &Part<'_>| match part {
        Part::Text { text, .. } => !text.is_empty(),
        Part::Refusal(text) => !text.is_empty(),
        Part::Thinking { .. } | Part::Redacted(_) => false,
        Part::Image { .. } | Part::Audio { .. } | Part::File { .. } | Part::Call(_) | Part::Result(_) => true,
    };
    let first = request.messages.iter().find(|message| message.parts.iter().any(written));
    first.is_some_and(|message| message.parts.iter().any(|part| matches!(part, Part::Call(_) | Part::Result(_))))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    User,
    Model,
}

struct Contents<'w, 'o, 'r> {
    w: &'w mut Writer<'o, Vec<u8>>,
    /// Whose content is open.
    role: Option<Side>,
    /// Calls in the open content.
    calls: usize,
    /// A signature of Gemini's own that came as reasoning and belongs to the next call of its turn.
    signature: Option<&'r Rider<'r>>,
    target: &'r Target,
    names: HashMap<Cow<'r, str>, Text<'r>>,
}

impl<'r> Contents<'_, '_, 'r> {
    fn message(&mut self, message: &'r Message<'_>) -> Result<(), ApiError> {
        let side = if message.role == Role::Assistant { Side::Model } else { Side::User };
        self.signature = None;
        for part in &message.parts {
            self.part(part, side)?;
        }
        // Media of results come after all responses.
        for part in &message.parts {
            let Part::Result(result) = part else { continue };
            for part in result.parts.iter().filter(|part| !matches!(part, Part::Text { .. })) {
                self.part(part, side)?;
            }
        }
        Ok(())
    }

    fn part(&mut self, part: &'r Part<'_>, side: Side) -> Result<(), ApiError> {
        match part {
            Part::Text { text, .. } | Part::Refusal(text) => self.text(text.text(), side),
            Part::Image { source, .. } => self.media(source, None, side)?,
            Part::File { source, name, .. } => self.media(source, name.as_ref(), side)?,
            Part::Audio { mime, data } => self.inline(mime.text(), data.text(), side),
            Part::Thinking { rider, .. } => {
                // The words stay out: only the signature is checked, and it is checked at the call.
                self.signature = rider.as_ref().filter(|rider| rider.origin == Origin::Gemini).or(self.signature);
            }
            Part::Redacted(_) => {}
            Part::Call(call) => self.call(call),
            Part::Result(result) => self.response(result),
        }
        Ok(())
    }

    fn text(&mut self, text: Text<'_>, side: Side) {
        if !text.is_empty() {
            self.open(side);
            self.w.begin_object().key("text").text(text);
            self.w.end_object();
        }
    }

    fn filler(&mut self, text: &str) {
        self.text(Text::Plain(text), Side::User);
    }

    fn call(&mut self, call: &'r Call<'_>) {
        self.open(Side::Model);
        self.w.begin_object().key("functionCall").begin_object();
        if self.target.gemini_call_ids {
            self.w.key("id").text(call.id.text());
        }
        self.w.key("name").text(call.name.text());
        self.w.key("args").verbatim(&arguments::call_object(call.kind, call.arguments.text()));
        self.w.end_object();
        let own = call.signature.as_ref().filter(|rider| rider.origin == Origin::Gemini);
        match own.or(self.signature.take()) {
            Some(rider) => {
                self.w.key("thoughtSignature").text(rider.payload.text());
            }
            // Generation 3 checks the first call of each turn; later parallel calls have none by design.
            None if self.target.gemini3 && self.calls == 0 => {
                self.w.key("thoughtSignature").string(NOT_CHECKED);
            }
            None => {}
        }
        self.w.end_object();
        self.calls += 1;
    }

    fn response(&mut self, result: &'r ToolResult<'_>) {
        self.open(Side::User);
        self.w.begin_object().key("functionResponse").begin_object();
        if self.target.gemini_call_ids {
            self.w.key("id").text(result.call_id.text());
        }
        let named = result.name.as_ref().map(Str::text);
        let name = self.names.get(&result.call_id.plain()).copied().or(named).unwrap_or(Text::Plain("tool"));
        self.w.key("name").text(name);
        self.w.key("response").begin_object().key(if result.is_error { "error" } else { "output" });
        let texts =
            result.parts.iter().filter_map(|part| if let Part::Text { text, .. } = part { Some(text) } else { None });
        let pieces = texts.enumerate().flat_map(|(n, text)| {
            let border = if n > 0 { Text::Plain("\n") } else { Text::EMPTY };
            [border, text.text()]
        });
        self.w.texts(pieces);
        self.w.end_object().end_object().end_object();
    }

    fn media(&mut self, source: &'r Source<'_>, name: Option<&'r Str<'_>>, side: Side) -> Result<(), ApiError> {
        match source {
            Source::Base64 { mime, data } if mime.is_empty() => {
                self.inline(Text::Plain(media::sniff_image(&data.plain())), data.text(), side);
            }
            Source::Base64 { mime, data } => self.inline(mime.text(), data.text(), side),
            Source::Url { url, mime } => {
                let address = url.plain();
                let mime = mime.as_ref().map(Str::text).or(media::type_of_url(&address).map(Text::Plain));
                let Some(mime) = mime else {
                    let message = "the media type of an attachment's address is not known, and Gemini needs it";
                    return Err(ApiError::unsupported(message));
                };
                self.open(side);
                self.w.begin_object().key("fileData").begin_object();
                self.w.key("mimeType").text(mime);
                self.w.key("fileUri").text(url.text());
                self.w.end_object().end_object();
            }
            Source::FileId(_) => {
                return Err(ApiError::unsupported("files uploaded to another vendor cannot be sent to Gemini"));
            }
            Source::Text(text) => {
                self.open(side);
                self.w.begin_object().key("text");
                match name {
                    Some(name) => self.w.texts([name.text(), Text::Plain("\n"), text.text()]),
                    None => self.w.text(text.text()),
                };
                self.w.end_object();
            }
        }
        Ok(())
    }

    fn inline(&mut self, mime: Text<'_>, data: Text<'_>, side: Side) {
        self.open(side);
        crate::dialect::gemini::parts::image(mime, data, self.w);
    }

    /// Makes sure that a content of `side` is open.
    fn open(&mut self, side: Side) {
        if self.role == Some(side) {
            return;
        }
        self.close();
        self.role = Some(side);
        self.calls = 0;
        self.w.begin_object().key("role").string(if side == Side::User { "user" } else { "model" });
        self.w.key("parts").begin_array();
    }

    fn close(&mut self) {
        if self.role.take().is_some() {
            self.w.end_array().end_object();
        }
    }
}
