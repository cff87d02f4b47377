//! Writes a client's stream.
//!
//! `message_delta` is held until the end on purpose: counts come after the reason. Expects parts one after the other
//! (the [serialiser](crate::hub) stands before it); a part that begins while another one is open closes that one first.

use bytes::BytesMut;

use crate::{
    dialect::{Context, StreamEncode, anthropic::words},
    hub::{ApiError, Event, Field, Finish, Form, Open, Origin, Rider, ToolKind, Usage, ids},
    json::{
        Str, Text, Writer,
        write::{Sink, escape, number},
    },
};

/// Ends a delta whose text was copied between a prefix and this.
const DELTA_END: &[u8] = b"\"}}\n\n";

/// Writes a stream.
#[derive(Debug)]
pub struct Encoder {
    context: Context,
    state: State,
    /// Index of the next block.
    next_index: u64,
    open: Option<OpenBlock>,
    /// What stands before a delta's text in the open block.
    prefix: Vec<u8>,
    said: words::Said,
    finish: Finish<'static>,
    usage: Option<Usage>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Fresh,
    Running,
    Over,
}

#[derive(Debug, Clone, Copy)]
struct OpenBlock {
    part: u32,
    index: u64,
    /// A custom tool's free text is wrapped into an object on the way.
    wrap: Wrap,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Wrap {
    No,
    /// Nothing of the object was written yet.
    Waiting,
    Begun,
}

impl Encoder {
    /// An encoder at the start of a stream.
    pub fn new(context: &Context) -> Self {
        Self {
            context: context.clone(),
            state: State::Fresh,
            next_index: 0,
            open: None,
            prefix: Vec::new(),
            said: words::Said::default(),
            finish: Finish::End,
            usage: None,
        }
    }

    fn start(&mut self, id: Text<'_>, model: Text<'_>, usage: Option<Usage>, out: &mut BytesMut) {
        self.state = State::Running;
        self.usage = usage;
        let first = match usage {
            // Output is counted at the end.
            Some(usage) => Usage { output: 0, reasoning: 0, ..usage },
            None => self.estimate(),
        };
        begin("message_start", out);
        let mut w = Writer::new(out);
        w.begin_object().key("type").string("message_start").key("message").begin_object();
        write_identity(id, model, &self.context, &mut w);
        w.key("content").begin_array().end_array();
        w.key("stop_reason").null().key("stop_sequence").null().key("usage");
        words::write_usage(&first, &mut w);
        w.end_object().end_object();
        out.put(b"\n\n");
    }

    fn estimate(&self) -> Usage {
        Usage { uncached: self.context.input_tokens_estimate, ..Usage::default() }
    }

    fn begin_part(&mut self, part: u32, open: &Open<'_>, out: &mut BytesMut) {
        self.close(out);
        match open {
            Open::Text => self.begin_block(part, r#"{"type":"text","text":""}"#, "text_delta", "text", out),
            Open::Refusal => {
                self.said.refusal = true;
                self.begin_block(part, r#"{"type":"text","text":""}"#, "text_delta", "text", out);
            }
            Open::Thinking => self.begin_thinking(part, out),
            Open::Redacted(rider) if words::is_redacted(rider) => {
                self.begin_with(part, out, |w| {
                    w.begin_object().key("type").string("redacted_thinking");
                    w.key("data").text(rider.payload.text());
                    w.end_object();
                });
            }
            Open::Redacted(rider) => {
                self.begin_thinking(part, out);
                self.signature_of(rider, out);
            }
            Open::Tool { id, name, kind, signature } => {
                if let Some(rider) = signature {
                    // The signature needs a place that clients send back: an empty block right before the call.
                    self.begin_thinking(part, out);
                    self.signature_of(rider, out);
                    self.close(out);
                }
                self.said.call = true;
                let sent = name.plain();
                let known = self.context.tools.get(&sent).map(|identity| identity.name.clone());
                self.begin_with(part, out, |w| {
                    w.begin_object().key("type").string("tool_use");
                    w.key("id").text(*id);
                    w.key("name").text(known.as_deref().map_or(*name, Text::Plain));
                    w.key("input").begin_object().end_object();
                    w.end_object();
                });
                self.render_prefix("input_json_delta", "partial_json");
                if let (ToolKind::Custom, Some(block)) = (kind, &mut self.open) {
                    block.wrap = Wrap::Waiting;
                }
            }
            // This dialect has no images in answers.
            Open::Image { .. } => {}
        }
    }

    fn begin_thinking(&mut self, part: u32, out: &mut BytesMut) {
        let empty = r#"{"type":"thinking","thinking":"","signature":""}"#;
        self.begin_block(part, empty, "thinking_delta", "thinking", out);
    }

    fn begin_block(&mut self, part: u32, block: &str, delta: &str, member: &str, out: &mut BytesMut) {
        self.begin_with(part, out, |w| {
            w.verbatim(block);
        });
        self.render_prefix(delta, member);
    }

    fn begin_with(&mut self, part: u32, out: &mut BytesMut, block: impl FnOnce(&mut Writer<'_, BytesMut>)) {
        let index = self.next_index;
        self.next_index += 1;
        self.open = Some(OpenBlock { part, index, wrap: Wrap::No });
        begin("content_block_start", out);
        let mut w = Writer::new(out);
        w.begin_object().key("type").string("content_block_start").key("index").number(index).key("content_block");
        block(&mut w);
        w.end_object();
        out.put(b"\n\n");
    }

    /// Renders what stands before the text of every delta of the open block.
    fn render_prefix(&mut self, delta: &str, member: &str) {
        self.prefix.clear();
        let index = self.open.map_or(0, |block| block.index);
        delta_head(index, delta, member, &mut self.prefix);
    }

    #[inline]
    fn delta(&mut self, part: u32, field: &Field<'_>, text: Text<'_>, out: &mut BytesMut) {
        let Some(block) = self.open.filter(|block| block.part == part) else { return };
        match field {
            Field::Sig { origin, form, item_id } => self.signature(*origin, *form, *item_id, text, out),
            Field::Args if block.wrap != Wrap::No => self.wrapped(block, text, out),
            Field::Text | Field::Refusal | Field::Think | Field::Args => {
                out.put(&self.prefix);
                text.write_escaped(out);
                out.put(DELTA_END);
            }
            // Not known here.
            Field::Logprobs => {}
        }
    }

    /// A piece of a custom tool's free text, as a piece of the string in `{"input":"…"}`.
    fn wrapped(&mut self, block: OpenBlock, text: Text<'_>, out: &mut BytesMut) {
        out.put(&self.prefix);
        if block.wrap == Wrap::Waiting {
            out.put(br#"{\"input\":\""#);
            self.open = Some(OpenBlock { wrap: Wrap::Begun, ..block });
        }
        // Escaped once for the string inside the arguments, once more for the arguments' own string.
        match text {
            Text::Escaped(inner) => escape(inner, out),
            Text::Plain(_) => {
                let mut inner = Vec::new();
                text.write_escaped(&mut inner);
                escape(std::str::from_utf8(&inner).unwrap_or_default(), out);
            }
        }
        out.put(DELTA_END);
    }

    fn signature(
        &mut self,
        origin: Origin,
        form: Form,
        item_id: Option<Text<'_>>,
        payload: Text<'_>,
        out: &mut BytesMut,
    ) {
        let Some(block) = self.open else { return };
        delta_head(block.index, "signature_delta", "signature", out);
        words::write_signature(origin, form, item_id, payload, out);
        out.put(DELTA_END);
    }

    fn signature_of(&mut self, rider: &Rider<'_>, out: &mut BytesMut) {
        let item_id = rider.item_id.as_ref().map(Str::text);
        self.signature(rider.origin, rider.form, item_id, rider.payload.text(), out);
    }

    fn close(&mut self, out: &mut BytesMut) {
        let Some(block) = self.open.take() else { return };
        match block.wrap {
            Wrap::No => {}
            Wrap::Waiting => self.put_raw(br#"{\"input\":\"\"}"#, out),
            Wrap::Begun => self.put_raw(br#"\"}"#, out),
        }
        begin("content_block_stop", out);
        out.put(br#"{"type":"content_block_stop","index":"#);
        number(block.index, out);
        out.put(b"}\n\n");
    }

    fn put_raw(&self, escaped: &[u8], out: &mut BytesMut) {
        out.put(&self.prefix);
        out.put(escaped);
        out.put(DELTA_END);
    }

    fn end(&mut self, out: &mut BytesMut) {
        self.close(out);
        self.state = State::Over;
        begin("message_delta", out);
        let mut w = Writer::new(out);
        w.begin_object().key("type").string("message_delta").key("delta").begin_object();
        words::write_finish(&self.finish, self.said, &mut w);
        w.end_object().key("usage");
        words::write_usage(&self.usage.unwrap_or_else(|| self.estimate()), &mut w);
        w.end_object();
        out.put(b"\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
    }

    fn error(&mut self, error: &ApiError, out: &mut BytesMut) {
        self.state = State::Over;
        begin("error", out);
        words::write_error(error, "", &mut Writer::new(out));
        out.put(b"\n\n");
    }
}

fn begin(event: &str, out: &mut BytesMut) {
    out.put(b"event: ");
    out.put(event.as_bytes());
    out.put(b"\ndata: ");
}

fn delta_head(index: u64, delta: &str, member: &str, out: &mut impl Sink) {
    out.put(b"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":");
    number(index, out);
    out.put(b",\"delta\":{\"type\":\"");
    out.put(delta.as_bytes());
    out.put(b"\",\"");
    out.put(member.as_bytes());
    out.put(b"\":\"");
}

/// The members of a message that say who it is.
pub(in crate::dialect::anthropic) fn write_identity(
    id: Text<'_>,
    model: Text<'_>,
    context: &Context,
    w: &mut Writer<'_, impl Sink>,
) {
    let plain = id.plain();
    let core = if plain.is_empty() { context.new_id.as_str() } else { ids::core(&plain) };
    w.key("id").string(&ids::client_id(crate::dialect::Dialect::Anthropic, core));
    w.key("type").string("message").key("role").string("assistant").key("model");
    w.text(if model.is_empty() { Text::Plain(&context.model) } else { model });
}

impl StreamEncode for Encoder {
    fn event(&mut self, event: &Event<'_>, out: &mut BytesMut) {
        match (event, self.state) {
            (_, State::Over) => {}
            (Event::Delta { part, field, text }, _) => self.delta(*part, field, *text, out),
            (Event::Start { id, model, usage, .. }, State::Fresh) => self.start(*id, *model, *usage, out),
            (Event::Start { .. }, State::Running) => {}
            (Event::Part { part, open }, _) => self.begin_part(*part, open, out),
            (Event::Stop { part }, _) => {
                if self.open.is_some_and(|block| block.part == *part) {
                    self.close(out);
                }
            }
            (Event::Usage(usage), _) => self.usage = Some(*usage),
            (Event::Finish(finish), _) => self.finish = finish.clone().into_owned(),
            (Event::Ping, _) => out.put(b"event: ping\ndata: {\"type\":\"ping\"}\n\n"),
            (Event::Error(error), _) => self.error(error, out),
            (Event::End, _) => self.end(out),
        }
    }
}
