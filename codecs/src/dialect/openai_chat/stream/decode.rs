//! Reads the chunks of an upstream.
//!
//! ```text
//!   Fresh ──first chunk──▶ Running ──finish_reason──▶ Finished ──[DONE], end of input──▶ Over
//!     └──────────────── error, end of input ────────────────────────────────────────────▶ Over
//! ```
//!
//! Chunks have no part borders: a part ends where another kind of text begins, and calls end with the answer, so that
//! fragments of several calls may alternate. Chunks behind the finish count for their usage only.

use super::pieces::{Chunk, Delta, Piece};
use crate::{
    dialect::{Context, StreamDecode, openai_chat::details, openai_chat::words},
    hub::{
        ApiError, CallIds, Emit, ErrorKind, EscapedBuf, Event, Field, Finish, Form, Logprobs, Open, Origin, Rider,
        ToolKind, Usage,
    },
    json::{Kind, Raw, Text},
};

/// What is said when the input ends too early.
pub(in crate::dialect::openai_chat) const CUT: &str = "upstream stream ended before completion";
/// Calls of one answer.
const CALLS_MAX: usize = 1024;
/// Bytes of arguments that wait for their call's id and name.
const HELD_BYTES_MAX: usize = 32 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing has come.
    Fresh,
    /// The answer grows.
    Running,
    /// The reason of its end is known; usage may follow.
    Finished,
    /// Nothing more is said.
    Over,
}

/// Kinds of text that grow one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Voice {
    Text,
    Thinking,
    Refusal,
}

/// The part of text that is open.
#[derive(Debug, Clone, Copy)]
struct Spoken {
    part: u32,
    voice: Voice,
    /// A thinking part has its signature: further words belong to another part.
    signed: bool,
    /// Index of the entry of `reasoning_details` that signed it.
    detail: Option<u64>,
}

/// A call as far as it is known.
#[derive(Debug)]
struct Call {
    index: Option<u64>,
    /// The upstream's id, or empty.
    id: String,
    name: String,
    kind: ToolKind,
    signature: Option<Rider<'static>>,
    /// Arguments that came before id and name.
    held: EscapedBuf,
    /// The part, once it is open.
    part: Option<u32>,
    /// Arguments were passed on.
    said: bool,
}

/// Reads a stream.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    ids: CallIds,
    parts: u32,
    spoken: Option<Spoken>,
    calls: Vec<Call>,
    held_bytes: usize,
    usage: Option<Usage>,
    scores: Scores,
}

/// Log probabilities whose words have not come yet.
#[derive(Debug, Default)]
struct Scores {
    said: Logprobs,
    refused: Logprobs,
    /// Whether `said` waits for thinking instead of text.
    of_thinking: bool,
}

impl Scores {
    /// Reads the `logprobs` of a choice with this delta. Servers score thinking and calls in the list of the content;
    /// those of calls have no place on the hub.
    fn read(&mut self, scores: Raw<'_>, delta: &Delta<'_>) {
        let says =
            |value: Option<Raw<'_>>| value.is_some_and(|value| value.as_text().is_none_or(|text| !text.is_empty()));
        let (text, thinking) = (says(delta.content), says(delta.reasoning_content) || says(delta.reasoning));
        if text || thinking || delta.tool_calls.is_none() {
            self.of_thinking = thinking && !text;
            self.said.read(scores.get("content"), 0);
        }
        self.refused.read(scores.get("refusal"), 0);
    }

    #[inline]
    fn are_waiting(&self) -> bool {
        !self.said.is_empty() || !self.refused.is_empty()
    }

    /// Words of `voice` follow, in `part`.
    fn tell(&mut self, voice: Voice, part: u32, emit: Emit<'_>) {
        match voice {
            Voice::Refusal => self.refused.tell(part, emit),
            Voice::Text if !self.of_thinking => self.said.tell(part, emit),
            Voice::Thinking if self.of_thinking => self.said.tell(part, emit),
            Voice::Text | Voice::Thinking => {}
        }
    }

    /// No words come in this chunk: what waits belongs to the part that is open, or to the next text.
    fn tell_rest(&mut self, spoken: Option<Spoken>, emit: Emit<'_>) {
        match spoken {
            Some(Spoken { voice: Voice::Refusal, part, .. }) => self.refused.tell(part, emit),
            Some(Spoken { part, .. }) => self.said.tell(part, emit),
            None => {}
        }
        self.of_thinking = false;
    }
}

impl Decoder {
    /// A decoder at the start of a stream.
    pub fn new(context: &Context) -> Self {
        Self {
            state: State::Fresh,
            ids: CallIds::new(context),
            parts: 0,
            spoken: None,
            calls: Vec::new(),
            held_bytes: 0,
            usage: None,
            scores: Scores::default(),
        }
    }

    fn fail(&mut self, error: ApiError, emit: Emit<'_>) {
        self.state = State::Over;
        emit(Event::Error(error));
    }

    fn start(&mut self, chunk: &Chunk<'_>, emit: Emit<'_>) {
        self.state = State::Running;
        let id = chunk.id.unwrap_or_default();
        self.ids.answer_id(id);
        emit(Event::Start {
            id,
            model: chunk.model.unwrap_or_default(),
            created: chunk.created.and_then(Raw::as_u64),
            usage: None,
        });
    }

    fn choice(&mut self, choice: Raw<'_>, emit: Emit<'_>) {
        let (mut delta, mut document, mut scores, mut finish, mut usage) = (None, false, None, None, None);
        for (key, value) in choice.members() {
            match key {
                Text::Escaped("delta") if value.is_object() => delta = Some(value),
                // Servers that only pretend to stream send the whole message.
                Text::Escaped("message") if value.is_object() && delta.is_none() => {
                    (delta, document) = (Some(value), true);
                }
                Text::Escaped("logprobs") if value.is_object() => scores = Some(value),
                Text::Escaped("finish_reason") => finish = value.as_text(),
                Text::Escaped("usage") => usage = words::read_usage(value),
                // Only the first of several answers is translated.
                Text::Escaped("index") if value.as_u64().is_some_and(|index| index > 0) => return,
                _ => {}
            }
        }
        if self.state == State::Running {
            if let Some(delta) = delta {
                let delta = Delta::read(delta);
                if let Some(scores) = scores {
                    self.scores.read(scores, &delta);
                }
                self.delta(&delta, document, emit);
                if self.scores.are_waiting() && self.state == State::Running {
                    self.scores.tell_rest(self.spoken, emit);
                }
            }
            if let Some(word) = finish.filter(|word| !word.is_empty() && self.state == State::Running) {
                self.finish(words::read_finish(word), emit);
            }
        }
        if let Some(usage) = usage {
            self.count(usage, emit);
        }
    }

    /// One delta: reasoning, details, content, refusal, images, calls, in this order.
    fn delta<'a>(&mut self, delta: &Delta<'a>, document: bool, emit: Emit<'_>) {
        let text = |value: Option<Raw<'a>>| value.and_then(Raw::as_text).filter(|text| !text.is_empty());
        let words = text(delta.reasoning_content).or_else(|| text(delta.reasoning));
        // A document tells which signature belongs to which words only in its details.
        let listed = document && delta.details.is_some_and(|list| list.elements().any(|e| details::text(e).is_some()));
        if let Some(words) = words.filter(|_| !listed) {
            self.speak(Voice::Thinking, words, emit);
        }
        for entry in delta.details.into_iter().flat_map(Raw::elements) {
            self.detail(entry, words.is_none() || listed, emit);
        }
        if let Some(content) = delta.content {
            self.content(content, emit);
        }
        if let Some(refusal) = delta.refusal.and_then(Raw::as_text) {
            self.speak(Voice::Refusal, refusal, emit);
        }
        for image in delta.images.into_iter().flat_map(Raw::elements) {
            self.image(image, emit);
        }
        for (place, call) in delta.tool_calls.into_iter().flat_map(Raw::elements).enumerate() {
            let mut piece = Piece::read(call);
            if document {
                piece.index = Some(place as u64);
            }
            self.call(&piece, emit);
        }
        if let Some(function) = delta.function_call.filter(|function| function.is_object()) {
            let mut piece = Piece { index: Some(0), legacy: true, ..Piece::default() };
            piece.body(function);
            self.call(&piece, emit);
        }
    }

    /// Text, or a list of typed pieces (Mistral).
    fn content(&mut self, content: Raw<'_>, emit: Emit<'_>) {
        if let Some(text) = content.as_text() {
            return self.speak(Voice::Text, text, emit);
        }
        for piece in content.elements() {
            if let Some(text) = piece.get_text("text") {
                self.speak(Voice::Text, text, emit);
            }
            match piece.get("thinking") {
                Some(words) if words.as_text().is_some() => {
                    self.speak(Voice::Thinking, words.as_text().unwrap_or_default(), emit);
                }
                Some(list) => {
                    for text in list.elements().filter_map(|piece| piece.get_text("text")) {
                        self.speak(Voice::Thinking, text, emit);
                    }
                }
                None => {}
            }
        }
    }

    /// Grows the part of that voice; opens it if need be.
    fn speak(&mut self, voice: Voice, text: Text<'_>, emit: Emit<'_>) {
        if text.is_empty() {
            return;
        }
        let part = match self.spoken {
            Some(spoken) if spoken.voice == voice && !spoken.signed => spoken.part,
            _ => self.open_voice(voice, emit),
        };
        if self.scores.are_waiting() {
            self.scores.tell(voice, part, emit);
        }
        let field = match voice {
            Voice::Text => Field::Text,
            Voice::Thinking => Field::Think,
            Voice::Refusal => Field::Refusal,
        };
        emit(Event::Delta { part, field, text });
    }

    fn open_voice(&mut self, voice: Voice, emit: Emit<'_>) -> u32 {
        self.close_voice(emit);
        let open = match voice {
            Voice::Text => Open::Text,
            Voice::Thinking => Open::Thinking,
            Voice::Refusal => Open::Refusal,
        };
        let part = self.next_part();
        self.spoken = Some(Spoken { part, voice, signed: false, detail: None });
        emit(Event::Part { part, open });
        part
    }

    fn close_voice(&mut self, emit: Emit<'_>) {
        if let Some(spoken) = self.spoken.take() {
            emit(Event::Stop { part: spoken.part });
        }
    }

    fn next_part(&mut self) -> u32 {
        self.parts += 1;
        self.parts - 1
    }

    /// An entry of `reasoning_details`.
    fn detail(&mut self, entry: Raw<'_>, with_words: bool, emit: Emit<'_>) {
        if let Some(words) = details::text(entry).filter(|_| with_words) {
            self.speak(Voice::Thinking, words.text(), emit);
        }
        let Some(rider) = details::rider(entry) else { return };
        if rider.form == Form::Red && rider.origin == Origin::Anthropic {
            self.close_voice(emit);
            let part = self.next_part();
            emit(Event::Part { part, open: Open::Redacted(rider) });
            return emit(Event::Stop { part });
        }
        let index = entry.get_u64("index");
        let fits = |spoken: &Spoken| spoken.voice == Voice::Thinking && (!spoken.signed || spoken.detail == index);
        let part = match self.spoken.filter(fits) {
            Some(spoken) => spoken.part,
            None => self.open_voice(Voice::Thinking, emit),
        };
        self.spoken = Some(Spoken { part, voice: Voice::Thinking, signed: true, detail: index });
        let item_id = rider.item_id.as_ref().map(|id| id.text());
        let field = Field::Sig { origin: rider.origin, form: rider.form, item_id };
        emit(Event::Delta { part, field, text: rider.payload.text() });
    }

    /// An image inside the answer, as OpenRouter sends it. One at an address has no place on the hub.
    fn image(&mut self, image: Raw<'_>, emit: Emit<'_>) {
        let Some(url) = image.at(&["image_url", "url"]).and_then(Raw::as_text) else { return };
        let plain = url.plain();
        let Some((mime, data)) = plain.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,")) else {
            return;
        };
        self.close_voice(emit);
        let part = self.next_part();
        emit(Event::Part { part, open: Open::Image { mime: Text::Plain(mime), data: Text::Plain(data) } });
        emit(Event::Stop { part });
    }

    /// A piece of a call.
    fn call(&mut self, piece: &Piece<'_>, emit: Emit<'_>) {
        if self.state != State::Running {
            return;
        }
        let known = self.calls.iter().map(|call| (call.index, call.id.as_str()));
        let at = match find_call(known, piece.index, piece.id) {
            Some(at) => at,
            None if self.calls.len() == CALLS_MAX => {
                let message = format!("the upstream made more than {CALLS_MAX} tool calls");
                return self.fail(ApiError::new(ErrorKind::Api, message), emit);
            }
            None => {
                self.calls.push(Call::new(piece));
                self.calls.len() - 1
            }
        };
        let call = &mut self.calls[at];
        call.learn(piece);
        if call.part.is_none() && !call.name.is_empty() && (!call.id.is_empty() || piece.legacy) {
            self.open_call(at, emit);
        }
        let Some(arguments) = piece.arguments else { return };
        let text = match arguments.kind() {
            Kind::String => arguments.as_text().unwrap_or_default(),
            Kind::Null => return,
            // Some servers send the object itself.
            _ => Text::Plain(arguments.as_str()),
        };
        if text.is_empty() {
            return;
        }
        let call = &mut self.calls[at];
        match call.part {
            Some(part) => {
                call.said = true;
                emit(Event::Delta { part, field: Field::Args, text });
            }
            None => {
                let before = call.held.len();
                call.held.push(text);
                self.held_bytes += call.held.len() - before;
                if self.held_bytes > HELD_BYTES_MAX {
                    let message = "the upstream sent too many arguments without a call id";
                    self.fail(ApiError::new(ErrorKind::Api, message), emit);
                }
            }
        }
    }

    fn open_call(&mut self, at: usize, emit: Emit<'_>) {
        self.close_voice(emit);
        let part = self.next_part();
        let call = &mut self.calls[at];
        let n = call.index.and_then(|index| u32::try_from(index).ok()).unwrap_or(at as u32);
        let id = self.ids.assign_as(n, (!call.id.is_empty()).then_some(Text::Plain(&call.id)));
        call.part = Some(part);
        emit(Event::Part {
            part,
            open: Open::Tool {
                id: Text::Plain(&id),
                name: Text::Plain(&call.name),
                kind: call.kind,
                signature: call.signature.take(),
            },
        });
        if !call.held.is_empty() {
            call.said = true;
            emit(Event::Delta { part, field: Field::Args, text: call.held.text() });
            call.held = EscapedBuf::default();
        }
    }

    /// Ends the calls: what never got an id or a name gets one, and empty arguments become an empty object.
    fn close_calls(&mut self, emit: Emit<'_>) {
        for at in 0..self.calls.len() {
            let call = &mut self.calls[at];
            if call.name.is_empty() && call.part.is_none() {
                if call.id.is_empty() && call.held.is_empty() {
                    continue;
                }
                call.name = format!("tool_{}", call.index.unwrap_or(at as u64));
            }
            if call.part.is_none() {
                self.open_call(at, emit);
            }
            let call = &mut self.calls[at];
            let Some(part) = call.part else { continue };
            if !call.said && call.kind == ToolKind::Function {
                emit(Event::Delta { part, field: Field::Args, text: Text::Plain("{}") });
            }
            emit(Event::Stop { part });
        }
    }

    fn finish(&mut self, finish: Finish<'_>, emit: Emit<'_>) {
        self.close_voice(emit);
        self.close_calls(emit);
        self.state = State::Finished;
        emit(Event::Finish(finish));
    }

    fn count(&mut self, usage: Usage, emit: Emit<'_>) {
        if self.state != State::Over && self.usage != Some(usage) {
            self.usage = Some(usage);
            emit(Event::Usage(usage));
        }
    }
}

impl StreamDecode for Decoder {
    fn json(&mut self, _name: Option<&str>, value: Raw<'_>, emit: Emit<'_>) {
        if self.state == State::Over {
            return;
        }
        let chunk = Chunk::read(value);
        if chunk.failed {
            return self.fail(words::read_error(value, None), emit);
        }
        if !value.is_object() {
            let message = format!("the upstream sent {} instead of a chunk", value.kind().name());
            return self.fail(ApiError::new(ErrorKind::Api, message), emit);
        }
        let mut choices = chunk.choices.into_iter().flat_map(Raw::elements).peekable();
        if self.state == State::Fresh {
            // Azure sends its filter results first, in a chunk without an id.
            if choices.peek().is_none() && chunk.id.is_none_or(|id| id.is_empty()) && chunk.usage.is_none() {
                return;
            }
            self.start(&chunk, emit);
        }
        for choice in choices {
            self.choice(choice, emit);
        }
        if let Some(usage) = chunk.usage.and_then(words::read_usage) {
            self.count(usage, emit);
        }
    }

    fn done(&mut self, emit: Emit<'_>) {
        match self.state {
            State::Over => return,
            State::Fresh => {
                return self.fail(ApiError::new(ErrorKind::Api, "the upstream sent an empty answer"), emit);
            }
            State::Running => {
                self.close_voice(emit);
                self.close_calls(emit);
                let called = self.calls.iter().any(|call| call.part.is_some());
                emit(Event::Finish(if called { Finish::Tool } else { Finish::End }));
            }
            State::Finished => {}
        }
        self.state = State::Over;
        emit(Event::End);
    }

    fn end(&mut self, emit: Emit<'_>) {
        match self.state {
            State::Over => {}
            State::Finished => self.done(emit),
            State::Fresh | State::Running => {
                self.fail(ApiError::new(ErrorKind::Truncated, CUT), emit);
            }
        }
    }
}

/// Which of the known calls a piece belongs to; `None`: a new one. `known` are index and id of each call.
pub(in crate::dialect::openai_chat) fn find_call<'c>(
    known: impl ExactSizeIterator<Item = (Option<u64>, &'c str)> + DoubleEndedIterator,
    index: Option<u64>,
    id: Option<Text<'_>>,
) -> Option<usize> {
    let id = id.filter(|id| !id.is_empty());
    let mut known = known.enumerate().rev();
    match (index, id) {
        (Some(index), id) => {
            let (at, (_, own)) = known.find(|(_, (other, _))| *other == Some(index))?;
            // Another id at the same index is another call: some servers count every call as the first.
            id.is_none_or(|id| own.is_empty() || id.is(own)).then_some(at)
        }
        (None, Some(id)) => known.find(|(_, (_, own))| id.is(own)).map(|(at, _)| at),
        (None, None) => known.next().map(|(at, _)| at),
    }
}

impl Call {
    fn new(piece: &Piece<'_>) -> Self {
        Self {
            index: piece.index,
            id: String::new(),
            name: String::new(),
            kind: piece.kind,
            signature: None,
            held: EscapedBuf::default(),
            part: None,
            said: false,
        }
    }

    /// Takes over what is new; repeated ids and names are ignored.
    fn learn(&mut self, piece: &Piece<'_>) {
        if let Some(id) = piece.id.filter(|id| self.id.is_empty() && !id.is_empty()) {
            self.id = id.plain().into_owned();
        }
        if let Some(name) = piece.name.filter(|name| self.name.is_empty() && !name.is_empty()) {
            self.name = name.plain().into_owned();
        }
        if let Some(blob) = piece.signature.filter(|blob| !blob.is_empty()) {
            self.signature = Some(Rider::from_field(blob.to_owned_str(), Origin::Gemini, Form::Sig));
        }
        if piece.kind == ToolKind::Custom && self.part.is_none() {
            self.kind = ToolKind::Custom;
        }
    }
}
