//! Writes the rows of an Ollama client.
//!
//! One row per delta; calls are gathered into the last row, since clients take them whole, or into one of their own before
//! it ([`Context::early_calls`]). No blank lines and no other
//! signs of life: clients parse every line.

use bytes::BytesMut;

use crate::{
    dialect::{
        Context, StreamEncode,
        ollama::{reply, row},
    },
    hub::{
        ApiError, ErrorKind, EscapedBuf, Event, Field, Finish, Logprobs, Open, ToolKind, Usage,
        logprobs::WAITING_BYTES_MAX,
    },
    json::{Text, Writer, write::Sink},
};

/// Argument text that is held at most, over all calls of an answer.
const ARGS_BYTES_MAX: usize = 32 * 1024 * 1024;

/// How every row but the last one ends.
const ROW_END: &[u8] = b",\"done\":false}\n";

/// Writes a stream.
#[derive(Debug)]
pub struct Encoder {
    context: Context,
    over: bool,
    /// `{"model":…,"created_at":…`, the same in every row.
    head: Vec<u8>,
    /// What stands before and behind the token of a text row, and of a thinking row.
    text: Around,
    thinking: Around,
    calls: Vec<OpenCall>,
    args_bytes: usize,
    usage: Usage,
    finish: Option<Finish<'static>>,
    /// Log probabilities for the next words, or for the end of the part.
    scores: Logprobs,
}

#[derive(Debug, Default)]
struct Around {
    before: Vec<u8>,
    behind: &'static [u8],
}

#[derive(Debug)]
struct OpenCall {
    part: u32,
    id: String,
    name: String,
    kind: ToolKind,
    args: EscapedBuf,
}

impl Encoder {
    /// An encoder at the start of a stream.
    pub fn new(context: &Context) -> Self {
        Self {
            context: context.clone(),
            over: false,
            head: Vec::new(),
            text: Around::default(),
            thinking: Around::default(),
            calls: Vec::new(),
            args_bytes: 0,
            usage: Usage::default(),
            finish: None,
            scores: Logprobs::default(),
        }
    }

    fn start(&mut self, model: Text<'_>, created: Option<u64>) {
        self.head = b"{".to_vec();
        row::head(model, created, &self.context, &mut self.head);
        let head = self.head.as_slice();
        let around = |before: &[u8], behind| Around { before: [head, before].concat(), behind };
        if self.context.generate {
            self.text = around(br#","response":""#, b"\",\"done\":false}\n");
            self.thinking = around(br#","response":"","thinking":""#, b"\",\"done\":false}\n");
        } else {
            self.text = around(br#","message":{"role":"assistant","content":""#, b"\"},\"done\":false}\n");
            let thinking = br#","message":{"role":"assistant","content":"","thinking":""#;
            self.thinking = around(thinking, b"\"},\"done\":false}\n");
        }
    }

    fn open(&mut self, part: u32, open: &Open<'_>) {
        match open {
            Open::Tool { id, name, kind, .. } => self.calls.push(OpenCall {
                part,
                id: id.plain().into_owned(),
                name: name.plain().into_owned(),
                kind: *kind,
                args: EscapedBuf::default(),
            }),
            // Images and sealed reasoning have no place here.
            Open::Text | Open::Thinking | Open::Refusal | Open::Redacted(_) | Open::Image { .. } => {}
        }
    }

    fn grow(&mut self, part: u32, field: &Field<'_>, text: Text<'_>, out: &mut BytesMut) {
        if let (false, Field::Text | Field::Refusal | Field::Think) = (self.scores.is_empty(), field) {
            return self.scored(field, text, out);
        }
        let around = match field {
            Field::Text | Field::Refusal => &self.text,
            Field::Think => &self.thinking,
            Field::Args => return self.grow_args(part, text, out),
            Field::Logprobs => return self.score(text, out),
            Field::Sig { .. } => return,
        };
        out.put(&around.before);
        text.write_escaped(out);
        out.put(around.behind);
    }

    /// A row with the log probabilities that wait.
    fn scored(&mut self, field: &Field<'_>, text: Text<'_>, out: &mut BytesMut) {
        let around = if matches!(field, Field::Think) { &self.thinking } else { &self.text };
        out.put(&around.before);
        text.write_escaped(out);
        out.put(around.behind.strip_suffix(ROW_END).unwrap_or_default());
        out.put(b",\"logprobs\":[");
        out.put(self.scores.as_bytes());
        out.put(b"]");
        out.put(ROW_END);
        self.scores.clear();
    }

    fn score(&mut self, list: Text<'_>, out: &mut BytesMut) {
        self.scores.push(list);
        if self.scores.len() > WAITING_BYTES_MAX {
            self.scored(&Field::Text, Text::EMPTY, out);
        }
    }

    fn grow_args(&mut self, part: u32, text: Text<'_>, out: &mut BytesMut) {
        let Some(call) = self.calls.iter_mut().find(|call| call.part == part) else { return };
        let before = call.args.len();
        call.args.push(text);
        self.args_bytes += call.args.len() - before;
        if self.args_bytes > ARGS_BYTES_MAX {
            self.fail(&ApiError::new(ErrorKind::Api, "the arguments of the tool calls are too long"), out);
        }
    }

    fn last(&mut self, out: &mut BytesMut) {
        self.over = true;
        let early = self.context.early_calls && !self.context.generate && !self.calls.is_empty();
        if early {
            self.message(true, out);
            out.put(ROW_END);
        }
        self.message(!early, out);
        out.put(b",");
        row::done(self.finish.as_ref(), &self.usage, &mut Writer::new(out));
        out.put(b"}\n");
    }

    /// A row without text up to its message, with or without the calls.
    fn message(&self, calls: bool, out: &mut BytesMut) {
        out.put(&self.head);
        out.put(b",");
        let mut w = Writer::new(out);
        if self.context.generate {
            w.key("response").string("");
        } else {
            w.key("message").begin_object();
            w.key("role").string("assistant");
            w.key("content").string("");
        }
        if calls && !self.calls.is_empty() {
            let calls = self.calls.iter().map(|call| row::Call {
                id: &call.id,
                name: &call.name,
                kind: call.kind,
                args: call.args.text(),
            });
            row::calls(calls, &self.context.tools, w.key("tool_calls"));
        }
        if !self.context.generate {
            w.end_object();
        }
    }

    fn fail(&mut self, error: &ApiError, out: &mut BytesMut) {
        self.over = true;
        reply::error_object(error, out);
        out.put(b"\n");
    }
}

impl StreamEncode for Encoder {
    fn event(&mut self, event: &Event<'_>, out: &mut BytesMut) {
        if self.over {
            return;
        }
        match event {
            Event::Start { model, created, usage, .. } => {
                self.usage = usage.unwrap_or_default();
                self.start(*model, *created);
            }
            Event::Part { part, open } => self.open(*part, open),
            Event::Delta { part, field, text } => self.grow(*part, field, *text, out),
            Event::Usage(usage) => self.usage = *usage,
            Event::Finish(finish) => self.finish = Some(finish.clone().into_owned()),
            Event::Stop { .. } if !self.scores.is_empty() => self.scored(&Field::Text, Text::EMPTY, out),
            Event::Stop { .. } | Event::Ping => {}
            Event::Error(error) => self.fail(error, out),
            Event::End => self.last(out),
        }
    }
}
