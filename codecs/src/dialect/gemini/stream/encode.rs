//! Writes the stream of a Gemini client.
//!
//! Every object is an increment: text as it comes, calls whole (the SDKs know no partial calls), and one last object
//! with finish reason and counts. Parts must come one after the other. Nothing is written before the first payload and
//! nothing keeps the stream alive from here: comment lines break the SDKs.

use bytes::BytesMut;

use crate::{
    dialect::{
        Context, StreamEncode,
        gemini::{
            logprobs::{self, Mean},
            parts::{self, Foreign, Seals},
            reply, usage, words,
        },
    },
    hub::{
        ApiError, ErrorKind, EscapedBuf, Event, Field, Finish, Logprobs, Open, Rider, ToolKind, Usage, ids,
        logprobs::WAITING_BYTES_MAX,
    },
    json::{Text, Writer, write::Sink},
};

/// Argument text that is held at most, since a call is one part.
const ARGS_BYTES_MAX: usize = 32 * 1024 * 1024;

const TEXT_HEAD: &[u8] = br#"{"candidates":[{"content":{"role":"model","parts":[{"text":""#;
const PARTS_HEAD: &[u8] = br#"{"candidates":[{"content":{"role":"model","parts":["#;

/// Writes a stream.
#[derive(Debug)]
pub struct Encoder {
    context: Context,
    framing: Framing,
    envelope: Envelope,
    over: bool,
    /// `,"modelVersion":…,"responseId":…`, the same in every object.
    names: Vec<u8>,
    /// What follows a text token.
    text_tail: Vec<u8>,
    /// What follows a thought token.
    thought_tail: Vec<u8>,
    call: Option<OpenCall>,
    seals: Seals,
    usage: Usage,
    finish: Option<Finish<'static>>,
    /// Log probabilities for the next words, or for the end of the part.
    scores: Logprobs,
    mean: Mean,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Sse,
    /// One array over the body; nothing is written yet.
    ArrayStart,
    /// The next object needs a comma.
    ArrayOpen,
}

#[derive(Debug)]
struct OpenCall {
    part: u32,
    id: String,
    name: String,
    kind: ToolKind,
    args: EscapedBuf,
    signature: Option<Rider<'static>>,
}

/// What stands around every object of the answer; nothing in this dialect. Errors stand alone.
#[derive(Debug)]
pub(in crate::dialect) struct Envelope {
    pub(in crate::dialect) before: &'static [u8],
    pub(in crate::dialect) behind: Vec<u8>,
    /// How an event ends.
    pub(in crate::dialect) line_end: &'static [u8],
    /// What becomes of other vendors' signatures.
    pub(in crate::dialect) seals: Foreign,
    /// Status and word of an error.
    pub(in crate::dialect) error_status: fn(ErrorKind) -> (u16, &'static str),
}

impl Default for Envelope {
    fn default() -> Self {
        Self {
            before: b"",
            behind: Vec::new(),
            line_end: b"\n\n",
            seals: Foreign::Tagged,
            error_status: words::error_status,
        }
    }
}

impl Encoder {
    /// An encoder at the start of a stream.
    pub fn new(context: &Context) -> Self {
        Self::enveloped(context, Envelope::default())
    }

    /// An encoder whose objects stand in envelopes.
    pub(in crate::dialect) fn enveloped(context: &Context, envelope: Envelope) -> Self {
        Self {
            framing: if context.json_array { Framing::ArrayStart } else { Framing::Sse },
            seals: Seals::new(envelope.seals),
            envelope,
            context: context.clone(),
            over: false,
            names: Vec::new(),
            text_tail: Vec::new(),
            thought_tail: Vec::new(),
            call: None,
            usage: Usage::default(),
            finish: None,
            scores: Logprobs::default(),
            mean: Mean::default(),
        }
    }

    fn start(&mut self, id: Text<'_>, model: Text<'_>) {
        self.names = names(&id.plain(), model, &self.context);
        let end = if self.framing == Framing::Sse { self.envelope.line_end } else { b"" };
        let end = [b"}", self.envelope.behind.as_slice(), end].concat();
        self.text_tail = [b"\"}]},\"index\":0}]", self.names.as_slice(), &end].concat();
        self.thought_tail = [b"\",\"thought\":true}]},\"index\":0}]", self.names.as_slice(), &end].concat();
    }

    /// The beginning of an object that is part of the answer.
    fn begin(&mut self, out: &mut BytesMut) {
        self.begin_bare(out);
        out.put(self.envelope.before);
    }

    fn begin_bare(&mut self, out: &mut BytesMut) {
        match self.framing {
            Framing::Sse => out.put(b"data: "),
            Framing::ArrayStart => {
                self.framing = Framing::ArrayOpen;
                out.put(b"[");
            }
            Framing::ArrayOpen => out.put(b",\n"),
        }
    }

    fn end(&self, out: &mut BytesMut) {
        out.put(&self.envelope.behind);
        self.end_bare(out);
    }

    fn end_bare(&self, out: &mut BytesMut) {
        if self.framing == Framing::Sse {
            out.put(self.envelope.line_end);
        }
    }

    fn close_body(&mut self, out: &mut BytesMut) {
        self.over = true;
        match self.framing {
            Framing::Sse => {}
            Framing::ArrayStart => out.put(b"[]"),
            Framing::ArrayOpen => out.put(b"]"),
        }
    }

    /// An object with parts other than growing text, and with the log probabilities that wait.
    fn object(&mut self, out: &mut BytesMut, parts: impl FnOnce(&mut Writer<'_, BytesMut>)) {
        self.begin(out);
        out.put(PARTS_HEAD);
        parts(&mut Writer::new(out));
        out.put(b"]},\"index\":0");
        if !self.scores.is_empty() {
            out.put(b",");
            logprobs::write(&self.scores, &mut self.mean, out);
            self.scores.clear();
        }
        out.put(b"}]");
        out.put(&self.names);
        out.put(b"}");
        self.end(out);
    }

    fn seal(&mut self, signature: Option<String>, out: &mut BytesMut) {
        if let Some(signature) = signature {
            self.object(out, |w| parts::text(Text::EMPTY, false, Some(&signature), w));
        }
    }

    fn open(&mut self, part: u32, open: &Open<'_>, out: &mut BytesMut) {
        match open {
            Open::Thinking => {
                let waiting = self.seals.take();
                self.seal(waiting, out);
            }
            Open::Tool { id, name, kind, signature } => {
                self.flush_call(out);
                self.call = Some(OpenCall {
                    part,
                    id: id.plain().into_owned(),
                    name: name.plain().into_owned(),
                    kind: *kind,
                    args: EscapedBuf::default(),
                    signature: signature.clone().map(Rider::into_owned),
                });
            }
            Open::Image { mime, data } => self.object(out, |w| parts::image(*mime, *data, w)),
            // Redacted reasoning has no place here.
            Open::Text | Open::Refusal | Open::Redacted(_) => {}
        }
    }

    fn grow(&mut self, part: u32, field: &Field<'_>, text: Text<'_>, out: &mut BytesMut) {
        match field {
            Field::Text | Field::Refusal => self.text(text, false, out),
            Field::Think => self.text(text, true, out),
            Field::Args => {
                let Some(call) = self.call.as_mut().filter(|call| call.part == part) else { return };
                call.args.push(text);
                if call.args.len() > ARGS_BYTES_MAX {
                    self.fail(&ApiError::new(ErrorKind::Api, "the arguments of a tool call are too long"), out);
                }
            }
            Field::Sig { origin, form, item_id } => {
                let rider = Rider::of_sig(*origin, *form, *item_id, text);
                self.seals.wait(&rider);
            }
            Field::Logprobs => {
                self.scores.push(text);
                if self.scores.len() > WAITING_BYTES_MAX {
                    self.flush_scores(out);
                }
            }
        }
    }

    fn flush_scores(&mut self, out: &mut BytesMut) {
        if !self.scores.is_empty() {
            self.object(out, |w| parts::text(Text::EMPTY, false, None, w));
        }
    }

    fn text(&mut self, text: Text<'_>, thought: bool, out: &mut BytesMut) {
        if !self.scores.is_empty() {
            return self.object(out, |w| parts::text(text, thought, None, w));
        }
        self.begin(out);
        out.put(TEXT_HEAD);
        text.write_escaped(out);
        out.put(if thought { &self.thought_tail } else { &self.text_tail });
    }

    fn flush_call(&mut self, out: &mut BytesMut) {
        let Some(call) = self.call.take() else { return };
        let (before, signature) = self.seals.for_call(call.signature.as_ref());
        self.seal(before, out);
        let tools = self.context.tools.clone();
        let part = parts::Call {
            id: &call.id,
            name: &call.name,
            kind: call.kind,
            args: call.args.text(),
            signature: signature.as_deref(),
        };
        self.object(out, |w| parts::call(&part, &tools, w));
    }

    fn last(&mut self, out: &mut BytesMut) {
        self.flush_call(out);
        self.begin(out);
        out.put(PARTS_HEAD);
        let waiting = self.seals.take();
        parts::text(Text::EMPTY, false, waiting.as_deref(), &mut Writer::new(out));
        out.put(b"]},\"index\":0,");
        self.mean.write(out);
        reply::finish_members(self.finish.as_ref(), out);
        out.put(b"}]");
        out.put(&self.names);
        out.put(b",\"usageMetadata\":");
        usage::write(&self.usage, &mut Writer::new(out));
        out.put(b"}");
        self.end(out);
        self.close_body(out);
    }

    fn fail(&mut self, error: &ApiError, out: &mut BytesMut) {
        self.begin_bare(out);
        reply::error_object(error, (self.envelope.error_status)(error.kind), out);
        self.end_bare(out);
        self.close_body(out);
    }
}

impl StreamEncode for Encoder {
    fn event(&mut self, event: &Event<'_>, out: &mut BytesMut) {
        if self.over {
            return;
        }
        match event {
            Event::Start { id, model, usage, .. } => {
                self.usage = usage.unwrap_or_default();
                self.start(*id, *model);
            }
            Event::Part { part, open } => self.open(*part, open, out),
            Event::Delta { part, field, text } => self.grow(*part, field, *text, out),
            Event::Stop { part } => {
                if self.call.as_ref().is_some_and(|call| call.part == *part) {
                    self.flush_call(out);
                }
                self.flush_scores(out);
            }
            Event::Usage(usage) => self.usage = *usage,
            Event::Finish(finish) => self.finish = Some(finish.clone().into_owned()),
            Event::Ping => {}
            Event::Error(error) => self.fail(error, out),
            Event::End => self.last(out),
        }
    }
}

/// `,"modelVersion":…,"responseId":…`
pub(in crate::dialect::gemini) fn names(id: &str, model: Text<'_>, context: &Context) -> Vec<u8> {
    let model = if model.is_empty() { Text::Plain(&context.model) } else { model };
    let id = if id.is_empty() { &context.new_id } else { ids::core(id) };
    let mut names = Vec::new();
    for (key, value) in [("modelVersion", model), ("responseId", Text::Plain(id))] {
        if !value.is_empty() {
            names.put(b",");
            Writer::new(&mut names).key(key).text(value);
        }
    }
    names
}
