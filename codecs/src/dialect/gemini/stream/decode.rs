//! Reads the stream of a Gemini upstream.
//!
//! ```text
//!   Waiting ──first object──▶ Open ──finishReason, blockReason──▶ Finished ──EOF──▶ Over
//!      │                       │ ╰──MALFORMED_… before any part, error──▶ Over
//!      ╰───────EOF─────────────┴──▶ truncated ──▶ Over
//! ```
//!
//! Only candidate 0 is read. Server tools, grounding, citations and signatures of text parts are left out.

use crate::{
    dialect::{
        Context, StreamDecode,
        gemini::{logprobs, reply, usage, words},
        parts::Parts,
    },
    hub::{ApiError, CallIds, Emit, ErrorKind, Event, Field, Finish, Open, Origin, Refused, Rider, ToolKind, Usage},
    json::{Raw, Text},
};

/// Reads a stream.
#[derive(Debug)]
pub struct Decoder {
    phase: Phase,
    parts: Parts,
    ids: CallIds,
    usage: Usage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Waiting,
    Open,
    Finished,
    Over,
}

/// The members of one object that matter here.
#[derive(Default)]
struct Seen<'a> {
    candidates: Option<Raw<'a>>,
    usage: Option<Raw<'a>>,
    feedback: Option<Raw<'a>>,
    error: Option<Raw<'a>>,
    wrapped: Option<Raw<'a>>,
    id: Option<Text<'a>>,
    model: Option<Text<'a>>,
}

impl<'a> Seen<'a> {
    fn read(value: Raw<'a>) -> Self {
        let mut seen = Seen::default();
        for (key, value) in value.members() {
            let Text::Escaped(key) = key else { continue };
            match key {
                "candidates" => seen.candidates = Some(value),
                "usageMetadata" | "usage_metadata" => seen.usage = Some(value).filter(|value| value.is_object()),
                "promptFeedback" | "prompt_feedback" => seen.feedback = Some(value),
                "error" => seen.error = Some(value).filter(|value| !value.is_null()),
                // The Cloud Code backends put the same object into a member.
                "response" => seen.wrapped = Some(value).filter(|value| value.is_object()),
                "responseId" | "response_id" => seen.id = value.as_text(),
                "modelVersion" | "model_version" => seen.model = value.as_text(),
                _ => {}
            }
        }
        seen
    }

    fn is_empty(&self) -> bool {
        self.candidates.is_none() && self.usage.is_none() && self.feedback.is_none() && self.id.is_none()
    }
}

impl Decoder {
    /// A decoder at the start of a stream.
    pub fn new(context: &Context) -> Self {
        Self { phase: Phase::Waiting, parts: Parts::default(), ids: CallIds::new(context), usage: Usage::default() }
    }

    fn object(&mut self, value: Raw<'_>, emit: Emit<'_>) {
        let mut seen = Seen::read(value);
        if let (Some(inner), true, None) = (seen.wrapped, seen.is_empty(), seen.error) {
            seen = Seen::read(inner);
        }
        if let Some(error) = seen.error {
            return self.fail(reply::error(None, error), emit);
        }
        if self.phase == Phase::Waiting {
            if seen.is_empty() {
                return;
            }
            self.start(&seen, emit);
        }
        if !self.candidates(seen.candidates, emit) {
            self.feedback(seen.feedback, emit);
        }
        if let (Some(counts), false) = (seen.usage, self.phase == Phase::Over) {
            let counts = usage::read(counts);
            if counts != self.usage {
                self.usage = counts;
                emit(Event::Usage(counts));
            }
        }
    }

    fn start(&mut self, seen: &Seen<'_>, emit: Emit<'_>) {
        let id = seen.id.unwrap_or(Text::EMPTY);
        self.ids.answer_id(id);
        let counts = seen.usage.map(usage::read);
        self.usage = counts.unwrap_or_default();
        self.phase = Phase::Open;
        emit(Event::Start { id, model: seen.model.unwrap_or(Text::EMPTY), created: None, usage: counts });
    }

    /// Reads candidate 0 and says whether there was one; the others are not translated.
    fn candidates(&mut self, list: Option<Raw<'_>>, emit: Emit<'_>) -> bool {
        for candidate in list.into_iter().flat_map(Raw::elements).filter(|candidate| candidate.is_object()) {
            let (mut index, mut content, mut scores, mut reason, mut message) = (0, None, None, None, None);
            for (key, value) in candidate.members() {
                let Text::Escaped(key) = key else { continue };
                match key {
                    "index" => index = value.as_u64().unwrap_or(0),
                    "content" => content = Some(value),
                    "logprobsResult" | "logprobs_result" if value.is_object() => scores = Some(value),
                    "finishReason" | "finish_reason" => reason = value.as_text(),
                    "finishMessage" | "finish_message" => message = value.as_text(),
                    _ => {}
                }
            }
            if index > 0 {
                continue;
            }
            if self.phase == Phase::Open {
                if let Some(scores) = scores {
                    self.score(scores, content);
                }
                self.candidate(content, reason, message, emit);
            }
            return true;
        }
        false
    }

    fn candidate(
        &mut self,
        content: Option<Raw<'_>>,
        reason: Option<Text<'_>>,
        message: Option<Text<'_>>,
        emit: Emit<'_>,
    ) {
        if let Some(parts) = content.and_then(|content| content.get("parts")) {
            for part in parts.elements() {
                self.part(part, emit);
            }
        }
        self.parts.scored(self.ids.count() > 0, emit);
        if let Some(reason) = reason {
            self.candidate_end(reason, message, emit);
        }
    }

    /// Reads log probabilities that stand beside `content`. They are those of its text, or of a thought that is alone.
    fn score(&mut self, scores: Raw<'_>, content: Option<Raw<'_>>) {
        let is_text = |part: Raw<'_>| {
            let thought = part.get("thought").and_then(Raw::as_bool) == Some(true);
            !thought && part.get_text("text").is_some_and(|text| !text.is_empty())
        };
        let mut parts = content.and_then(|content| content.get("parts")).into_iter().flat_map(Raw::elements);
        logprobs::read(scores, self.parts.scores(!parts.any(is_text)));
    }

    fn candidate_end(&mut self, word: Text<'_>, message: Option<Text<'_>>, emit: Emit<'_>) {
        let word = word.plain();
        let finish = match words::reason(&word) {
            // An empty answer for such a reason would look like success; an error lets the caller try elsewhere.
            words::Reason::Broken if self.parts.is_empty() => {
                let message = match message.map(|message| message.plain()) {
                    Some(message) if !message.is_empty() => format!("upstream returned {word}: {message}"),
                    _ => format!("upstream returned {word}"),
                };
                return self.fail(ApiError::new(ErrorKind::Api, message), emit);
            }
            words::Reason::Stop if self.ids.count() > 0 => Finish::Tool,
            words::Reason::Length => Finish::Length,
            words::Reason::Filter => refused(message),
            words::Reason::Stop | words::Reason::Broken | words::Reason::Other => Finish::End,
        };
        self.finish(finish, emit);
    }

    fn feedback(&mut self, feedback: Option<Raw<'_>>, emit: Emit<'_>) {
        let Some(feedback) = feedback else { return };
        let member = |camel, snake| feedback.get_text(camel).or_else(|| feedback.get_text(snake));
        if self.phase == Phase::Open && member("blockReason", "block_reason").is_some() {
            self.finish(refused(member("blockReasonMessage", "block_reason_message")), emit);
        }
    }

    fn finish(&mut self, finish: Finish<'_>, emit: Emit<'_>) {
        self.parts.close(emit);
        self.phase = Phase::Finished;
        emit(Event::Finish(finish));
    }

    fn fail(&mut self, error: ApiError, emit: Emit<'_>) {
        self.phase = Phase::Over;
        emit(Event::Error(error));
    }

    fn part(&mut self, part: Raw<'_>, emit: Emit<'_>) {
        let (mut text, mut thought, mut signature, mut call, mut media) = (None, false, None, None, None);
        for (key, value) in part.members() {
            let Text::Escaped(key) = key else { continue };
            match key {
                "text" => text = value.as_text(),
                "thought" => thought = value.as_bool() == Some(true),
                "thoughtSignature" | "thought_signature" => {
                    signature = value.as_text().filter(|signature| !signature.is_empty());
                }
                "functionCall" | "function_call" => call = Some(value).filter(|value| value.is_object()),
                "inlineData" | "inline_data" => media = Some(value),
                _ => {}
            }
        }
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            self.parts.text(text, thought, emit);
        }
        match (call, signature) {
            (Some(call), signature) => self.call(call, signature, emit),
            (None, Some(signature)) => {
                // A signature of Gemini's own on a text part is a hint for quality only and stays out.
                let rider = Rider::from_gemini_field(signature.to_str());
                if rider.origin != Origin::Gemini {
                    self.foreign(&rider, emit);
                }
            }
            (None, None) => {}
        }
        if let Some(media) = media {
            self.image(media, emit);
        }
    }

    fn call(&mut self, call: Raw<'_>, signature: Option<Text<'_>>, emit: Emit<'_>) {
        let own = call.get_text("id").filter(|id| !id.is_empty());
        let args = call.get("args").filter(|args| args.is_object() && args.members().next().is_some());
        let name = call.get_text("name").filter(|name| !name.is_empty());
        if name.is_none() && own.is_none() && args.is_none() {
            return;
        }
        let mut rider = signature.map(|signature| Rider::from_gemini_field(signature.to_str()));
        if let Some(foreign) = rider.take_if(|rider| rider.origin != Origin::Gemini) {
            self.foreign(&foreign, emit);
        }
        let invented = format!("tool_{}", self.ids.count());
        let id = self.ids.assign(own);
        let name = name.unwrap_or(Text::Plain(&invented));
        let open = Open::Tool { id: Text::Plain(&id), name, kind: ToolKind::Function, signature: rider };
        let part = self.parts.open(open, emit);
        emit(Event::Delta { part, field: Field::Args, text: Text::Plain(args.map_or("{}", Raw::as_str)) });
        emit(Event::Stop { part });
    }

    /// A blob of another vendor, brought here by a gateway like this one: it belongs to the thinking before it.
    fn foreign(&mut self, rider: &Rider<'_>, emit: Emit<'_>) {
        let part = match self.parts.thinking() {
            Some(part) => part,
            None => self.parts.open_thinking(emit),
        };
        let field =
            Field::Sig { origin: rider.origin, form: rider.form, item_id: rider.item_id.as_ref().map(|id| id.text()) };
        emit(Event::Delta { part, field, text: rider.payload.text() });
        // The next thought is another part: this one is sealed.
        self.parts.close(emit);
    }

    fn image(&mut self, media: Raw<'_>, emit: Emit<'_>) {
        let mime = media.get_text("mimeType").or_else(|| media.get_text("mime_type")).unwrap_or(Text::EMPTY);
        let Some(data) = media.get_text("data").filter(|data| !data.is_empty()) else { return };
        if mime.plain().starts_with("image/") {
            let part = self.parts.open(Open::Image { mime, data }, emit);
            emit(Event::Stop { part });
        }
    }
}

impl StreamDecode for Decoder {
    fn json(&mut self, _name: Option<&str>, value: Raw<'_>, emit: Emit<'_>) {
        // A whole array is what a server sends that knows no `alt=sse`.
        let single = (!value.is_array()).then_some(value);
        for value in value.elements().chain(single) {
            if self.phase != Phase::Over {
                self.object(value, emit);
            }
        }
    }

    fn done(&mut self, emit: Emit<'_>) {
        self.end(emit);
    }

    fn end(&mut self, emit: Emit<'_>) {
        match self.phase {
            Phase::Over => {}
            Phase::Finished => {
                self.phase = Phase::Over;
                emit(Event::End);
            }
            Phase::Waiting | Phase::Open => {
                self.fail(ApiError::new(ErrorKind::Truncated, "upstream stream ended before completion"), emit);
            }
        }
    }
}

fn refused(message: Option<Text<'_>>) -> Finish<'_> {
    // The reason's word is no category of another vendor.
    Finish::Filter(Refused { category: None, explanation: message.filter(|m| !m.is_empty()).map(Text::to_str) })
}
