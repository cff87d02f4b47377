//! Writes the stream: AWS messages of JSON.
//!
//! ```text
//!   initial-response (reasoningContentEvent | assistantResponseEvent | toolUseEvent)*
//!       metadataEvent contextUsageEvent meteringEvent          without the stop reason the client asks once more
//!       … exception                                            at any point, last
//! ```
//!
//! Parts must come one after the other. Images have no place here, and nothing keeps the stream alive.

use bytes::BytesMut;

use super::failure;
use crate::{
    dialect::{Context, StreamEncode},
    frame::{HeaderValue, MessageHead},
    hub::{ApiError, Event, Field, Finish, Form, Open, Origin, Rider, Usage},
    json::{Text, Writer, write::Sink},
};

const JSON: &str = "application/json";
/// What the client's context meter is relative to, in tokens.
const WINDOW_TOKENS: u64 = 200_000;

/// Writes a stream.
#[derive(Debug)]
pub struct Encoder {
    context: Context,
    heads: Heads,
    over: bool,
    /// What follows a text token: the model, in the client's words, stands in every message.
    text_tail: Vec<u8>,
    call: Option<OpenCall>,
    usage: Usage,
    finish: Option<Finish<'static>>,
    has_calls: bool,
}

#[derive(Debug)]
struct OpenCall {
    part: u32,
    /// `{"name":…,"toolUseId":…`, the same in every message.
    head: Vec<u8>,
    has_input: bool,
}

impl Encoder {
    /// An encoder at the start of a stream.
    pub fn new(context: &Context) -> Self {
        let mut text_tail = b"\",".to_vec();
        Writer::new(&mut text_tail).key("modelId").string(&context.model);
        text_tail.put(b"}");
        Self {
            context: context.clone(),
            heads: Heads::new(),
            over: false,
            text_tail,
            call: None,
            usage: Usage::default(),
            finish: None,
            has_calls: false,
        }
    }

    fn start(&mut self, out: &mut BytesMut) {
        let conversation = self.context.conversation.as_deref().unwrap_or(&self.context.new_id);
        event_head("initial-response", "application/x-amz-json-1.0").write(out, |out| {
            Writer::new(out).begin_object().key("conversationId").string(conversation).end_object();
        });
    }

    fn open(&mut self, part: u32, open: &Open<'_>, out: &mut BytesMut) {
        match open {
            Open::Tool { id, name, .. } => {
                let mut head = b"{".to_vec();
                let mut w = Writer::new(&mut head);
                w.key("name").string(self.context.tools.client_name(&name.plain()));
                w.key("toolUseId").text(*id);
                self.heads.tool(&head, b"", out);
                self.has_calls = true;
                self.call = Some(OpenCall { part, head, has_input: false });
            }
            Open::Redacted(rider) => {
                let rider = rider.gemini_field();
                self.heads.reasoning.write(out, |out| {
                    Writer::new(out).begin_object().key("redactedContent").string(&rider).end_object();
                });
            }
            Open::Text | Open::Thinking | Open::Refusal | Open::Image { .. } => {}
        }
    }

    fn grow(&mut self, part: u32, field: &Field<'_>, text: Text<'_>, out: &mut BytesMut) {
        match field {
            Field::Text | Field::Refusal => self.heads.text.write(out, |out| {
                out.put(br#"{"content":""#);
                text.write_escaped(out);
                out.put(&self.text_tail);
            }),
            Field::Think => self.heads.reasoning.write(out, |out| {
                Writer::new(out).begin_object().key("text").text(text).end_object();
            }),
            Field::Sig { origin, form, item_id } => {
                let rider = Rider::of_sig(*origin, *form, *item_id, text);
                // The service's own signatures are those of the models behind it.
                let home = (*origin, *form) == (Origin::Anthropic, Form::Sig);
                let sealed = if home { text.plain().into_owned() } else { rider.tag() };
                self.heads.reasoning.write(out, |out| {
                    Writer::new(out).begin_object().key("signature").string(&sealed).end_object();
                });
            }
            Field::Args => {
                if let Some(call) = self.call.as_mut().filter(|call| call.part == part) {
                    call.has_input = true;
                    call.input(text, &self.heads, out);
                }
            }
            Field::Logprobs => {}
        }
    }

    fn stop(&mut self, part: u32, out: &mut BytesMut) {
        if let Some(call) = self.call.take_if(|call| call.part == part) {
            if !call.has_input {
                call.input(Text::Plain("{}"), &self.heads, out);
            }
            self.heads.tool(&call.head, br#","stop":true"#, out);
        }
    }

    fn last(&mut self, out: &mut BytesMut) {
        self.over = true;
        let usage = self.usage;
        let reason = stop_reason(self.finish.as_ref(), self.has_calls);
        event_head("metadataEvent", JSON).write(out, |out| {
            let mut w = Writer::new(out);
            w.begin_object().key("stopReason").string(reason);
            w.key("tokenUsage").begin_object();
            w.key("uncachedInputTokens").number(usage.uncached);
            w.key("outputTokens").number(usage.output);
            w.key("totalTokens").number(usage.total());
            w.key("cacheReadInputTokens").number(usage.cache_read);
            w.key("cacheWriteInputTokens").number(usage.cache_write);
            w.end_object().end_object();
        });
        event_head("contextUsageEvent", JSON).write(out, |out| {
            // Two decimals of a hundredth are four of the whole.
            let hundredths = usage.total().saturating_mul(10_000) / WINDOW_TOKENS;
            let percentage = format!("{}.{:02}", hundredths / 100, hundredths % 100);
            Writer::new(out).begin_object().key("contextUsagePercentage").verbatim(&percentage).end_object();
        });
        let nothing = br#"{"unit":"credit","unitPlural":"credits","usage":0}"#;
        event_head("meteringEvent", JSON).write(out, |out| out.put(nothing));
    }

    fn fail(&mut self, error: &ApiError, out: &mut BytesMut) {
        self.over = true;
        let name = (":exception-type", failure::exception(error.kind).0);
        head("exception", name, JSON).write(out, |out| {
            let mut w = Writer::new(out);
            w.begin_object();
            failure::members(error, &mut w);
            w.end_object();
        });
    }
}

impl OpenCall {
    /// A piece of the arguments: a string, never an object.
    fn input(&self, text: Text<'_>, heads: &Heads, out: &mut BytesMut) {
        heads.tool.write(out, |out| {
            out.put(&self.head);
            out.put(br#","input":""#);
            text.write_escaped(out);
            out.put(b"\"}");
        });
    }
}

impl StreamEncode for Encoder {
    fn event(&mut self, event: &Event<'_>, out: &mut BytesMut) {
        if self.over {
            return;
        }
        match event {
            Event::Start { usage, .. } => {
                self.usage = usage.unwrap_or_default();
                self.start(out);
            }
            Event::Part { part, open } => self.open(*part, open, out),
            Event::Delta { part, field, text } => self.grow(*part, field, *text, out),
            Event::Stop { part } => self.stop(*part, out),
            Event::Usage(usage) => self.usage = *usage,
            Event::Finish(finish) => self.finish = Some(finish.clone().into_owned()),
            Event::Ping => {}
            Event::Error(error) => self.fail(error, out),
            Event::End => self.last(out),
        }
    }
}

fn stop_reason(finish: Option<&Finish<'_>>, has_calls: bool) -> &'static str {
    match finish {
        Some(Finish::Length) => "MAX_TOKENS",
        Some(Finish::Filter(_)) => "CONTENT_FILTERED",
        Some(Finish::Tool) => "TOOL_USE",
        // Some upstreams end a turn with calls like any other.
        Some(Finish::End | Finish::Pause) | None if has_calls => "TOOL_USE",
        Some(Finish::End | Finish::StopSequence(_) | Finish::Pause) | None => "END_TURN",
    }
}

/// The heads of a stream's messages; the client drops the stream where one of the headers is missing.
#[derive(Debug)]
struct Heads {
    text: MessageHead,
    reasoning: MessageHead,
    tool: MessageHead,
}

impl Heads {
    fn new() -> Self {
        Self {
            text: event_head("assistantResponseEvent", JSON),
            reasoning: event_head("reasoningContentEvent", JSON),
            tool: event_head("toolUseEvent", JSON),
        }
    }

    fn tool(&self, head: &[u8], rest: &[u8], out: &mut BytesMut) {
        self.tool.write(out, |out| {
            out.put(head);
            out.put(rest);
            out.put(b"}");
        });
    }
}

fn event_head(name: &str, content: &str) -> MessageHead {
    head("event", (":event-type", name), content)
}

fn head(kind: &str, (header, name): (&str, &str), content: &str) -> MessageHead {
    let text = HeaderValue::Text;
    MessageHead::new(&[(header, text(name)), (":content-type", text(content)), (":message-type", text(kind))])
}
