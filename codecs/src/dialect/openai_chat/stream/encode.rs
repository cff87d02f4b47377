//! Writes chunks for a chat client.
//!
//! Role, ids, names and types are sent exactly once, because the SDKs concatenate every string of a delta, and lists
//! carry dense indices, because they are merged by them. The usage chunk has no choices, so it comes only when it was
//! asked for.

use bytes::BytesMut;

use crate::{
    dialect::{
        Context, StreamEncode,
        openai_chat::{details, words},
    },
    hub::{
        ApiError, EscapedBuf, Event, Field, Finish, Logprobs, Open, Origin, Rider, ToolKind, Usage, arguments, ids,
        logprobs::WAITING_BYTES_MAX,
    },
    json::{
        Text, Writer,
        write::{Sink, escape},
    },
};

/// What stands behind the members of a delta.
const SUFFIX: &[u8] = b"},\"finish_reason\":null}]}\n\n";

/// What stands behind the members of a delta instead, where log probabilities follow.
const SCORED: &[u8] = b"},\"logprobs\":";
/// What stands behind those.
const SCORED_SUFFIX: &[u8] = b",\"finish_reason\":null}]}\n\n";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first chunk.
    Fresh,
    /// Chunks flow.
    Running,
    /// The end or an error was written.
    Over,
}

/// How the arguments of a call reach the client.
#[derive(Debug)]
enum Shape {
    /// A function on both sides: copied.
    Function,
    /// A custom tool on both sides: copied.
    Custom,
    /// A custom tool of the upstream that the client knows as a function: `{"input":…}` around it, on the fly.
    Wrapped,
    /// A function of the upstream that the client declared as a custom tool: held until it can be unwrapped.
    Unwrapped(EscapedBuf),
}

/// A part of the answer.
#[derive(Debug)]
enum Slot {
    /// Text, and what has no deltas.
    Plain,
    /// A refusal.
    Refusal,
    /// Thinking; its blob is written at the end, because a later one replaces it.
    Thinking { blob: Option<Rider<'static>> },
    /// A call with its index among the calls.
    Call { index: u64, shape: Shape, said: bool },
}

/// Writes a stream.
#[derive(Debug)]
pub struct Encoder {
    context: Context,
    state: State,
    /// A chunk up to the members of its delta.
    prefix: Vec<u8>,
    /// How much of `prefix` stands before `choices`.
    head: usize,
    slots: Vec<Slot>,
    calls: u64,
    details: u64,
    images: u64,
    usage: Usage,
    /// Log probabilities for the next words, or for the end of the part.
    scores: Scores,
}

/// The value of `logprobs` in a choice.
#[derive(Debug, Default)]
pub(in crate::dialect::openai_chat) struct Scores {
    pub(in crate::dialect::openai_chat) said: Logprobs,
    pub(in crate::dialect::openai_chat) refused: Logprobs,
}

impl Scores {
    #[inline]
    pub(in crate::dialect::openai_chat) fn is_empty(&self) -> bool {
        // One branch: this is asked for every piece of text.
        self.said.len() | self.refused.len() == 0
    }

    pub(in crate::dialect::openai_chat) fn write(&self, out: &mut impl Sink) {
        out.put(b"{");
        for (name, list) in [(&b"\"content\":"[..], &self.said), (b",\"refusal\":", &self.refused)] {
            out.put(name);
            if list.is_empty() {
                out.put(b"null");
            } else {
                out.put(b"[");
                out.put(list.as_bytes());
                out.put(b"]");
            }
        }
        out.put(b"}");
    }
}

impl Encoder {
    /// An encoder at the start of a stream.
    pub fn new(context: &Context) -> Self {
        Self {
            context: context.clone(),
            state: State::Fresh,
            prefix: Vec::new(),
            head: 0,
            slots: Vec::new(),
            calls: 0,
            details: 0,
            images: 0,
            usage: Usage::default(),
            scores: Scores::default(),
        }
    }

    fn start(&mut self, id: Text<'_>, model: Text<'_>, created: Option<u64>, out: &mut BytesMut) {
        self.state = State::Running;
        let (id, core) = (id.plain(), &self.context.new_id);
        let core = if id.is_empty() { core } else { ids::core(&id) };
        self.prefix.put(b"data: ");
        let mut w = Writer::new(&mut self.prefix);
        w.begin_object().key("id").string(&ids::client_id(crate::dialect::Dialect::OpenAiChat, core));
        w.key("object").string("chat.completion.chunk");
        w.key("created").number(created.unwrap_or(self.context.now)).key("model");
        match model.is_empty() {
            true => w.string(&self.context.model),
            false => w.text(model),
        };
        self.head = self.prefix.len();
        self.prefix.put(b",\"choices\":[{\"index\":0,\"delta\":{");
        self.chunk(out, |out| out.put(b"\"role\":\"assistant\",\"content\":\"\""));
    }

    /// A chunk whose delta holds the members that `write` writes.
    #[inline]
    fn chunk(&self, out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
        out.put(&self.prefix);
        write(out);
        out.put(SUFFIX);
    }

    /// A chunk whose delta holds one string.
    #[inline]
    fn string(&mut self, member: &[u8], text: Text<'_>, out: &mut BytesMut) {
        let write = |out: &mut BytesMut| {
            out.put(member);
            text.write_escaped(out);
            out.put(b"\"");
        };
        match self.scores.is_empty() {
            true => self.chunk(out, write),
            false => self.scored(out, write),
        }
    }

    /// A chunk with the log probabilities that wait.
    fn scored(&mut self, out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
        out.put(&self.prefix);
        write(out);
        out.put(SCORED);
        self.scores.write(out);
        out.put(SCORED_SUFFIX);
        self.scores.said.clear();
        self.scores.refused.clear();
    }

    fn score(&mut self, part: u32, list: Text<'_>, out: &mut BytesMut) {
        match self.slots.get(part as usize) {
            Some(Slot::Refusal) => self.scores.refused.push(list),
            _ => self.scores.said.push(list),
        }
        if self.scores.said.len() + self.scores.refused.len() > WAITING_BYTES_MAX {
            self.scored(out, |_| {});
        }
    }

    fn open(&mut self, open: &Open<'_>, out: &mut BytesMut) {
        let slot = match open {
            Open::Text => Slot::Plain,
            Open::Refusal => Slot::Refusal,
            Open::Thinking => Slot::Thinking { blob: None },
            Open::Redacted(rider) => {
                self.detail(rider, out);
                Slot::Plain
            }
            Open::Image { mime, data } => {
                self.image(*mime, *data, out);
                Slot::Plain
            }
            Open::Tool { id, name, kind, signature } => self.call(*id, *name, *kind, signature.as_ref(), out),
        };
        self.slots.push(slot);
    }

    fn detail(&mut self, rider: &Rider<'_>, out: &mut BytesMut) {
        if self.context.copilot {
            // One text, which comes back as it is.
            return self.string(b"\"reasoning_opaque\":\"", Text::Plain(&rider.tag()), out);
        }
        let index = self.details;
        self.details += 1;
        self.chunk(out, |out| {
            out.put(b"\"reasoning_details\":[");
            details::write(index, details::Blob::of(rider), None, &mut Writer::new(out));
            out.put(b"]");
        });
    }

    fn image(&mut self, mime: Text<'_>, data: Text<'_>, out: &mut BytesMut) {
        let index = self.images;
        self.images += 1;
        self.chunk(out, |out| {
            out.put(b"\"images\":[");
            write_image(Some(index), mime, data, &mut Writer::new(out));
            out.put(b"]");
        });
    }

    fn call(
        &mut self,
        id: Text<'_>,
        name: Text<'_>,
        kind: ToolKind,
        signature: Option<&Rider<'_>>,
        out: &mut BytesMut,
    ) -> Slot {
        let index = self.calls;
        self.calls += 1;
        let sent = name.plain();
        let shape = match (kind, self.context.tools.is_custom(&sent)) {
            (ToolKind::Function, false) => Shape::Function,
            (ToolKind::Function, true) => Shape::Unwrapped(EscapedBuf::default()),
            (ToolKind::Custom, true) => Shape::Custom,
            (ToolKind::Custom, false) => Shape::Wrapped,
        };
        let (kind, member) = match shape {
            Shape::Function | Shape::Wrapped => ("function", "arguments"),
            Shape::Custom | Shape::Unwrapped(_) => ("custom", "input"),
        };
        let name = self.context.tools.client_name(&sent);
        self.chunk(out, |out| {
            out.put(b"\"tool_calls\":[");
            let mut w = Writer::new(out);
            w.begin_object().key("index").number(index).key("id").text(id).key("type").string(kind);
            w.key(kind).begin_object().key("name").string(name).key(member).string("").end_object();
            if let Some(rider) = signature {
                write_signature(rider, &mut w);
            }
            w.end_object();
            out.put(b"]");
        });
        Slot::Call { index, shape, said: false }
    }

    /// A chunk with a piece of a call's arguments, which `write` writes as the inside of a string token.
    fn arguments(&self, index: u64, custom: bool, out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
        self.chunk(out, |out| {
            out.put(b"\"tool_calls\":[{\"index\":");
            crate::json::write::number(index, out);
            out.put(if custom { b",\"custom\":{\"input\":\"" } else { b",\"function\":{\"arguments\":\"" });
            write(out);
            out.put(b"\"}}]");
        });
    }

    fn delta(&mut self, part: u32, field: &Field<'_>, text: Text<'_>, out: &mut BytesMut) {
        match field {
            Field::Text => self.string(b"\"content\":\"", text, out),
            Field::Think if self.context.copilot => self.string(b"\"reasoning_text\":\"", text, out),
            Field::Think => self.string(b"\"reasoning_content\":\"", text, out),
            Field::Refusal => self.string(b"\"refusal\":\"", text, out),
            Field::Sig { origin, form, item_id } => {
                if let Some(Slot::Thinking { blob }) = self.slots.get_mut(part as usize) {
                    let item_id = item_id.map(Text::to_owned_str);
                    *blob = Some(Rider { origin: *origin, form: *form, item_id, payload: text.to_owned_str() });
                }
            }
            Field::Args => self.grow_call(part, text, out),
            Field::Logprobs => self.score(part, text, out),
        }
    }

    fn grow_call(&mut self, part: u32, text: Text<'_>, out: &mut BytesMut) {
        let Some(Slot::Call { index, shape, said }) = self.slots.get_mut(part as usize) else { return };
        let (index, first) = (*index, !std::mem::replace(said, true));
        match shape {
            Shape::Unwrapped(held) => held.push(text),
            Shape::Function => self.arguments(index, false, out, |out| text.write_escaped(out)),
            Shape::Custom => self.arguments(index, true, out, |out| text.write_escaped(out)),
            Shape::Wrapped => {
                let inner = escaped(text);
                self.arguments(index, false, out, |out| {
                    if first {
                        out.put(br#"{\"input\":\""#);
                    }
                    escape(&inner, out);
                });
            }
        }
    }

    fn stop(&mut self, part: u32, out: &mut BytesMut) {
        if !self.scores.is_empty() {
            self.scored(out, |_| {});
        }
        let Some(slot) = self.slots.get_mut(part as usize) else { return };
        match std::mem::replace(slot, Slot::Plain) {
            Slot::Plain | Slot::Refusal | Slot::Thinking { blob: None } => {}
            Slot::Thinking { blob: Some(rider) } => self.detail(&rider, out),
            Slot::Call { index, shape: Shape::Unwrapped(held), .. } => {
                let input = arguments::custom_input(held.text());
                if !input.is_empty() {
                    self.arguments(index, true, out, |out| escape(&input, out));
                }
            }
            Slot::Call { index, shape: Shape::Wrapped, said } => {
                let rest: &[u8] = if said { br#"\"}"# } else { br#"{\"input\":\"\"}"# };
                self.arguments(index, false, out, |out| out.put(rest));
            }
            Slot::Call { index, shape: Shape::Function, said: false } => {
                self.arguments(index, false, out, |out| out.put(b"{}"));
            }
            Slot::Call { shape: Shape::Function | Shape::Custom, .. } => {}
        }
    }

    fn finish(&self, finish: &Finish<'_>, out: &mut BytesMut) {
        out.put(&self.prefix);
        out.put(b"},\"finish_reason\":\"");
        out.put(words::finish_word(finish, self.calls > 0).as_bytes());
        out.put(b"\"}]}\n\n");
    }

    fn end(&mut self, out: &mut BytesMut) {
        self.state = State::Over;
        if self.context.include_usage && !self.prefix.is_empty() {
            out.put(&self.prefix[..self.head]);
            out.put(b",\"choices\":[],\"usage\":");
            words::write_usage(&self.usage, &mut Writer::new(out));
            out.put(b"}\n\n");
        }
        out.put(b"data: [DONE]\n\n");
    }

    fn fail(&mut self, error: &ApiError, out: &mut BytesMut) {
        self.state = State::Over;
        out.put(b"data: ");
        words::write_error(error, &mut Writer::new(out));
        out.put(b"\n\n");
    }
}

/// The text as the inside of a JSON string token.
fn escaped(text: Text<'_>) -> std::borrow::Cow<'_, str> {
    match text {
        Text::Escaped(raw) => raw.into(),
        Text::Plain(_) => {
            let mut out = Vec::new();
            text.write_escaped(&mut out);
            String::from_utf8(out).unwrap_or_default().into()
        }
    }
}

/// Writes Google's place for a signature on a call.
pub(in crate::dialect::openai_chat) fn write_signature(rider: &Rider<'_>, w: &mut Writer<'_, impl Sink>) {
    w.key("extra_content").begin_object().key("google").begin_object().key("thought_signature");
    match rider.origin {
        Origin::Gemini => w.text(rider.payload.text()),
        _ => w.string(&rider.tag()),
    };
    w.end_object().end_object();
}

/// Writes an entry of `images`.
pub(in crate::dialect::openai_chat) fn write_image(
    index: Option<u64>,
    mime: Text<'_>,
    data: Text<'_>,
    w: &mut Writer<'_, impl Sink>,
) {
    w.begin_object();
    if let Some(index) = index {
        w.key("index").number(index);
    }
    w.key("type").string("image_url").key("image_url").begin_object();
    w.key("url").texts([Text::Plain("data:"), mime, Text::Plain(";base64,"), data]);
    w.end_object().end_object();
}

impl StreamEncode for Encoder {
    fn event(&mut self, event: &Event<'_>, out: &mut BytesMut) {
        if self.state == State::Over {
            return;
        }
        match event {
            Event::Start { id, model, created, usage } => {
                self.usage = usage.unwrap_or(self.usage);
                if self.state == State::Fresh {
                    self.start(*id, *model, *created, out);
                }
            }
            Event::Part { open, .. } => self.open(open, out),
            Event::Delta { part, field, text } => self.delta(*part, field, *text, out),
            Event::Stop { part } => self.stop(*part, out),
            Event::Usage(usage) => self.usage = *usage,
            Event::Finish(finish) => self.finish(finish, out),
            Event::Ping => out.put(b": keep-alive\n\n"),
            Event::Error(error) => self.fail(error, out),
            Event::End => self.end(out),
        }
    }
}
