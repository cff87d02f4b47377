//! Writes the ladder.
//!
//! ```text
//!   Fresh ──Start──▶ Open ──Finish──▶ Finished ──End──▶ Closed
//!     └───────────────┴── Error, or too much to hold ────┘
//! ```
//!
//! An item stays open until it is known how it ended: a message until something else begins (neighbouring texts share
//! it), a call whose arguments are not complete until the next part or the finish. The terminal event waits for `End`,
//! because usage may come behind the finish. After an error nothing is closed: clients run a call as soon as its item
//! is done.
//!
//! Parts must come one after the other (`hub::serial`); deltas for any other part than the open one are ignored.

use std::sync::Arc;

use bytes::BytesMut;

use super::super::{
    items::{self, CallHead, Saying, Skeleton, Status},
    unwrap::Unwrap,
};
use crate::{
    dialect::{Context, Dialect, StreamEncode, ToolTable},
    hub::{
        ApiError, ErrorKind, EscapedBuf, Event, Field, Finish, Logprobs, Open, Rider, ToolKind, Usage,
        arguments::Completeness, ids,
    },
    json::{Text, Writer, write},
};

/// Bytes held for the `*.done` events and the terminal event. Above it the answer fails.
const HELD_BYTES_MAX: usize = 32 << 20;

/// Writes a Responses stream.
#[derive(Debug)]
pub struct Encoder {
    context: Context,
    tools: Arc<ToolTable>,
    phase: Phase,
    sequence: u64,
    /// Number of items that were added.
    items: u32,
    item: Item,
    /// Part that may grow the open item.
    part: Option<u32>,
    item_id: String,
    /// The middle of a delta event of the open item, from `,"item_id"` to the quote of `delta`.
    middle: Vec<u8>,
    /// Text of the open item.
    text: EscapedBuf,
    /// Log probabilities of the open message, and how many bytes of them were written in deltas.
    scores: Logprobs,
    scored: usize,
    /// JSON of the finished items, separated by commas.
    output: Vec<u8>,
    usage: Option<Usage>,
}

#[derive(Debug)]
enum Phase {
    Fresh,
    Open(Skeleton),
    Finished(Skeleton, Ending),
    Closed,
}

#[derive(Debug, Clone, Copy)]
struct Ending {
    status: Status,
    reason: Option<&'static str>,
}

/// The open item.
#[derive(Debug)]
enum Item {
    None,
    Message(Saying),
    Reasoning { encrypted: Option<String> },
    Call { head: CallHead, input: Input },
}

/// How the arguments of an open call arrive.
#[derive(Debug)]
enum Input {
    /// JSON text of a function's arguments.
    Json(Completeness),
    /// Raw input of a custom tool.
    Raw,
    /// Input of a custom tool inside a function's arguments.
    Wrapped(Unwrap, Completeness),
}

/// A kind of delta event: everything before the sequence number, everything behind the delta.
struct DeltaKind {
    head: &'static [u8],
    tail: &'static [u8],
}

macro_rules! delta_kind {
    ($name:ident, $type:literal, $tail:literal) => {
        const $name: DeltaKind = DeltaKind {
            head: concat!("event: ", $type, "\ndata: {\"type\":\"", $type, "\",\"sequence_number\":").as_bytes(),
            tail: concat!("\"", $tail, "}\n\n").as_bytes(),
        };
    };
}

delta_kind!(TEXT_DELTA, "response.output_text.delta", ",\"logprobs\":[]");
delta_kind!(REFUSAL_DELTA, "response.refusal.delta", "");
delta_kind!(SUMMARY_DELTA, "response.reasoning_summary_text.delta", "");
delta_kind!(ARGUMENTS_DELTA, "response.function_call_arguments.delta", "");
delta_kind!(INPUT_DELTA, "response.custom_tool_call_input.delta", "");

impl Encoder {
    /// An encoder at the start of a stream.
    pub fn new(context: &Context) -> Self {
        Self {
            tools: context.tools.clone(),
            context: context.clone(),
            phase: Phase::Fresh,
            sequence: 0,
            items: 0,
            item: Item::None,
            part: None,
            item_id: String::new(),
            middle: Vec::new(),
            text: EscapedBuf::default(),
            scores: Logprobs::default(),
            scored: 0,
            output: Vec::new(),
            usage: None,
        }
    }

    /// Goes on behind `events` events that somebody else has written: the upstream, in a stream that was passed on.
    pub(crate) fn resume(&mut self, events: u64) {
        self.sequence = events;
    }

    fn start(&mut self, id: Text<'_>, model: Text<'_>, created: Option<u64>, out: &mut BytesMut) {
        let skeleton = Skeleton::new(id, model, created, &self.context);
        for name in ["response.created", "response.in_progress"] {
            self.begin(name, out);
            out.extend_from_slice(b",\"response\":");
            skeleton.write(Status::InProgress, None, None, &[], None, out);
            out.extend_from_slice(b"}\n\n");
        }
        self.phase = Phase::Open(skeleton);
    }

    fn ensure_started(&mut self, out: &mut BytesMut) {
        if matches!(self.phase, Phase::Fresh) {
            self.start(Text::EMPTY, Text::EMPTY, None, out);
        }
    }

    /// Writes an event up to its sequence number.
    fn begin(&mut self, name: &str, out: &mut BytesMut) {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\ndata: {\"type\":\"");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\",\"sequence_number\":");
        self.number(out);
    }

    fn number(&mut self, out: &mut BytesMut) {
        write::number(self.sequence, out);
        self.sequence += 1;
    }

    /// Writes `,"output_index":n`.
    fn output_index(&self, out: &mut BytesMut) {
        out.extend_from_slice(b",\"output_index\":");
        write::number(u64::from(self.items.saturating_sub(1)), out);
    }

    /// Writes an event about the open item up to `,"item_id":…,"output_index":…`.
    fn begin_inside(&mut self, name: &str, out: &mut BytesMut) {
        self.begin(name, out);
        out.extend_from_slice(b",\"item_id\":\"");
        out.extend_from_slice(self.item_id.as_bytes());
        out.extend_from_slice(b"\"");
        self.output_index(out);
    }

    /// Gives the next item its place and id. Returns the id.
    fn next_item(&mut self, prefix: &str) -> String {
        let slug = match &self.phase {
            Phase::Open(skeleton) | Phase::Finished(skeleton, _) => skeleton.slug.as_str(),
            Phase::Fresh | Phase::Closed => "",
        };
        self.item_id = ids::item_id(prefix, slug, self.items);
        self.items += 1;
        self.item_id.clone()
    }

    /// Writes `output_item.added` or `.done` with the item that `write` makes, and returns the item's JSON.
    fn item_event(
        &mut self,
        name: &str,
        out: &mut BytesMut,
        write: impl FnOnce(&mut Writer<'_, BytesMut>),
    ) -> std::ops::Range<usize> {
        self.begin(name, out);
        self.output_index(out);
        out.extend_from_slice(b",\"item\":");
        let from = out.len();
        write(&mut Writer::new(out));
        let to = out.len();
        out.extend_from_slice(b"}\n\n");
        from..to
    }

    fn item_added(&mut self, out: &mut BytesMut, write: impl FnOnce(&mut Writer<'_, BytesMut>)) {
        self.item_event("response.output_item.added", out, write);
    }

    /// The item is done and joins the output of the terminal event.
    fn item_done(&mut self, out: &mut BytesMut, write: impl FnOnce(&mut Writer<'_, BytesMut>)) {
        let json = self.item_event("response.output_item.done", out, write);
        if !self.output.is_empty() {
            self.output.push(b',');
        }
        self.output.extend_from_slice(&out[json]);
        self.text.clear();
        self.scores.clear();
        self.scored = 0;
        self.part = None;
    }

    /// Prepares the middle of delta events; `index` is `content_index` or `summary_index`.
    fn set_middle(&mut self, index: Option<&str>) {
        let mut middle = std::mem::take(&mut self.middle);
        middle.clear();
        middle.extend_from_slice(b",\"item_id\":\"");
        middle.extend_from_slice(self.item_id.as_bytes());
        middle.extend_from_slice(b"\",\"output_index\":");
        write::number(u64::from(self.items.saturating_sub(1)), &mut middle);
        if let Some(index) = index {
            middle.extend_from_slice(b",\"");
            middle.extend_from_slice(index.as_bytes());
            middle.extend_from_slice(b"\":0");
        }
        middle.extend_from_slice(b",\"delta\":\"");
        self.middle = middle;
    }

    /// Writes a delta of the open item. The hot path: three copies of ready bytes, the number and the token.
    #[inline]
    fn delta(&mut self, kind: &DeltaKind, text: Text<'_>, out: &mut BytesMut) {
        out.extend_from_slice(kind.head);
        self.number(out);
        out.extend_from_slice(&self.middle);
        text.write_escaped(out);
        out.extend_from_slice(kind.tail);
        self.text.push(text);
    }

    /// Writes a text delta with the log probabilities that wait for it.
    fn scored_delta(&mut self, text: Text<'_>, out: &mut BytesMut) {
        out.extend_from_slice(TEXT_DELTA.head);
        self.number(out);
        out.extend_from_slice(&self.middle);
        text.write_escaped(out);
        out.extend_from_slice(b"\",\"logprobs\":[");
        let waiting = &self.scores.as_bytes()[self.scored..];
        out.extend_from_slice(waiting.strip_prefix(b",").unwrap_or(waiting));
        out.extend_from_slice(b"]}\n\n");
        self.scored = self.scores.len();
        self.text.push(text);
    }

    fn open_part(&mut self, part: u32, open: &Open<'_>, out: &mut BytesMut) {
        let saying = match open {
            Open::Text => Some(Saying::Text),
            Open::Refusal => Some(Saying::Refusal),
            _ => None,
        };
        // Neighbouring texts share one message.
        let same = matches!((&self.item, saying), (Item::Message(open), Some(new)) if *open == new);
        if !same {
            self.close_item(None, out);
            match open {
                Open::Text => self.add_message(Saying::Text, out),
                Open::Refusal => self.add_message(Saying::Refusal, out),
                Open::Thinking => self.add_reasoning(out),
                Open::Redacted(rider) => self.whole_reasoning(rider, out),
                Open::Tool { id, name, kind, signature } => {
                    if let Some(rider) = signature {
                        self.whole_reasoning(rider, out);
                    }
                    self.add_call(CallHead::new(*id, *name, *kind == ToolKind::Custom, &self.tools), *kind, out);
                }
                Open::Image { data, .. } => {
                    let id = self.next_item("ig");
                    self.item_added(out, |w| items::image(&id, Text::EMPTY, w));
                    self.item_done(out, |w| items::image(&id, *data, w));
                }
            }
        }
        self.part = Some(part);
    }

    fn add_message(&mut self, saying: Saying, out: &mut BytesMut) {
        let id = self.next_item("msg");
        self.item_added(out, |w| items::message(&id, Status::InProgress, None, w));
        self.begin_inside("response.content_part.added", out);
        out.extend_from_slice(b",\"content_index\":0,\"part\":");
        items::content_part(saying, Text::EMPTY, &Logprobs::default(), &mut Writer::new(out));
        out.extend_from_slice(b"}\n\n");
        self.set_middle(Some("content_index"));
        self.item = Item::Message(saying);
    }

    fn add_reasoning(&mut self, out: &mut BytesMut) {
        let id = self.next_item("rs");
        self.item_added(out, |w| items::reasoning(&id, Text::EMPTY, None, w));
        self.set_middle(Some("summary_index"));
        self.item = Item::Reasoning { encrypted: None };
    }

    /// A reasoning item that is nothing but a blob.
    fn whole_reasoning(&mut self, rider: &Rider<'_>, out: &mut BytesMut) {
        self.add_reasoning(out);
        self.item = Item::Reasoning { encrypted: Some(items::encrypted_content(rider)) };
        self.close_item(None, out);
    }

    fn add_call(&mut self, head: CallHead, kind: ToolKind, out: &mut BytesMut) {
        let id = self.next_item(head.prefix());
        self.item_added(out, |w| head.write(&id, Status::InProgress, Text::EMPTY, w));
        self.set_middle(None);
        let input = match kind {
            ToolKind::Custom => Input::Raw,
            ToolKind::Function if head.custom => Input::Wrapped(Unwrap::default(), Completeness::default()),
            ToolKind::Function => Input::Json(Completeness::default()),
        };
        self.item = Item::Call { head, input };
    }

    fn grow(&mut self, part: u32, field: &Field<'_>, text: Text<'_>, out: &mut BytesMut) {
        if self.part != Some(part) {
            return;
        }
        match (&mut self.item, field) {
            (Item::Message(Saying::Text), Field::Text) if self.scored < self.scores.len() => {
                self.scored_delta(text, out);
            }
            (Item::Message(Saying::Text), Field::Text) => self.delta(&TEXT_DELTA, text, out),
            (Item::Message(Saying::Text), Field::Logprobs) => self.scores.push(text),
            (Item::Message(Saying::Refusal), Field::Refusal) => self.delta(&REFUSAL_DELTA, text, out),
            (Item::Reasoning { .. }, Field::Think) => {
                if self.text.is_empty() {
                    self.begin_inside("response.reasoning_summary_part.added", out);
                    out.extend_from_slice(b",\"summary_index\":0,\"part\":");
                    items::summary_part(Text::EMPTY, &mut Writer::new(out));
                    out.extend_from_slice(b"}\n\n");
                }
                self.delta(&SUMMARY_DELTA, text, out);
            }
            (Item::Reasoning { encrypted }, Field::Sig { origin, form, item_id }) => {
                *encrypted = Some(items::encrypted_content(&Rider::of_sig(*origin, *form, *item_id, text)));
            }
            (Item::Call { .. }, Field::Args) => self.grow_call(text, out),
            _ => {}
        }
    }

    fn grow_call(&mut self, text: Text<'_>, out: &mut BytesMut) {
        let Item::Call { input, .. } = &mut self.item else { return };
        match input {
            Input::Json(scan) => {
                scan.push(text);
                self.delta(&ARGUMENTS_DELTA, text, out);
            }
            Input::Raw => self.delta(&INPUT_DELTA, text, out),
            Input::Wrapped(unwrap, scan) => {
                scan.push(text);
                let mut taken = std::mem::take(unwrap);
                taken.push(text, &mut |piece| self.delta(&INPUT_DELTA, piece, out));
                if let Item::Call { input: Input::Wrapped(unwrap, _), .. } = &mut self.item {
                    *unwrap = taken;
                }
            }
        }
    }

    fn stop(&mut self, part: u32, out: &mut BytesMut) {
        if self.part != Some(part) {
            return;
        }
        let done = match &self.item {
            // More text may follow in another part.
            Item::None | Item::Message(_) => false,
            Item::Reasoning { .. } => true,
            Item::Call { input: Input::Json(scan), .. } => scan.is_complete() || self.text.is_empty(),
            Item::Call { input: Input::Wrapped(_, scan), .. } => scan.is_complete(),
            Item::Call { input: Input::Raw, .. } => false,
        };
        if done {
            self.close_item(None, out);
        } else {
            self.part = None;
        }
    }

    /// Closes the open item. `ending` is how the answer ended, if that is why the item is closed.
    fn close_item(&mut self, ending: Option<Status>, out: &mut BytesMut) {
        match std::mem::replace(&mut self.item, Item::None) {
            Item::None => {}
            Item::Message(saying) => self.close_message(saying, ending.unwrap_or(Status::Completed), out),
            Item::Reasoning { encrypted } => self.close_reasoning(encrypted, out),
            Item::Call { head, input } => self.close_call(head, input, ending, out),
        }
        self.part = None;
    }

    fn close_message(&mut self, saying: Saying, status: Status, out: &mut BytesMut) {
        let (text, scores) = (std::mem::take(&mut self.text), std::mem::take(&mut self.scores));
        let (name, member) = match saying {
            Saying::Text => ("response.output_text.done", "text"),
            Saying::Refusal => ("response.refusal.done", "refusal"),
        };
        self.begin_inside(name, out);
        out.extend_from_slice(b",\"content_index\":0,");
        Writer::new(out).key(member).text(text.text());
        out.extend_from_slice(match saying {
            Saying::Text => b",\"logprobs\":[",
            Saying::Refusal => b"}\n\n",
        });
        if saying == Saying::Text {
            out.extend_from_slice(scores.as_bytes());
            out.extend_from_slice(b"]}\n\n");
        }
        self.begin_inside("response.content_part.done", out);
        out.extend_from_slice(b",\"content_index\":0,\"part\":");
        items::content_part(saying, text.text(), &scores, &mut Writer::new(out));
        out.extend_from_slice(b"}\n\n");
        let id = std::mem::take(&mut self.item_id);
        self.item_done(out, |w| items::message(&id, status, Some((saying, text.text(), &scores)), w));
        self.reuse(text);
    }

    fn close_reasoning(&mut self, encrypted: Option<String>, out: &mut BytesMut) {
        let text = std::mem::take(&mut self.text);
        if !text.is_empty() {
            self.begin_inside("response.reasoning_summary_text.done", out);
            out.extend_from_slice(b",\"summary_index\":0,");
            Writer::new(out).key("text").text(text.text());
            out.extend_from_slice(b"}\n\n");
            self.begin_inside("response.reasoning_summary_part.done", out);
            out.extend_from_slice(b",\"summary_index\":0,\"part\":");
            items::summary_part(text.text(), &mut Writer::new(out));
            out.extend_from_slice(b"}\n\n");
        }
        let id = std::mem::take(&mut self.item_id);
        self.item_done(out, |w| items::reasoning(&id, text.text(), encrypted.as_deref(), w));
        self.reuse(text);
    }

    fn close_call(&mut self, head: CallHead, input: Input, ending: Option<Status>, out: &mut BytesMut) {
        let complete = match input {
            Input::Json(_) if self.text.is_empty() => {
                self.delta(&ARGUMENTS_DELTA, Text::Plain("{}"), out);
                true
            }
            Input::Json(scan) => scan.is_complete(),
            Input::Wrapped(mut unwrap, scan) => {
                unwrap.finish(&mut |piece| self.delta(&INPUT_DELTA, piece, out));
                scan.is_complete()
            }
            // Free text looks complete at any place: only the answer's end tells that it was cut.
            Input::Raw => ending.is_none(),
        };
        let status = if complete { Status::Completed } else { ending.unwrap_or(Status::Incomplete) };
        let text = std::mem::take(&mut self.text);
        if head.custom {
            self.begin_inside("response.custom_tool_call_input.done", out);
            out.extend_from_slice(b",");
            Writer::new(out).key("input").text(text.text());
        } else {
            self.begin_inside("response.function_call_arguments.done", out);
            out.extend_from_slice(b",");
            Writer::new(out).key("name").string(&head.name).key("arguments").text(text.text());
        }
        out.extend_from_slice(b"}\n\n");
        let id = std::mem::take(&mut self.item_id);
        self.item_done(out, |w| head.write(&id, status, text.text(), w));
        self.reuse(text);
    }

    /// Takes a text buffer back for the next item.
    fn reuse(&mut self, mut text: EscapedBuf) {
        text.clear();
        self.text = text;
    }

    fn finish(&mut self, finish: &Finish<'_>, out: &mut BytesMut) {
        self.ensure_started(out);
        let ending = Ending { status: Status::after(finish), reason: items::incomplete_reason(finish) };
        self.close_item(Some(ending.status), out);
        self.phase = match std::mem::replace(&mut self.phase, Phase::Closed) {
            Phase::Open(skeleton) => Phase::Finished(skeleton, ending),
            other => other,
        };
    }

    fn end(&mut self, out: &mut BytesMut) {
        if !matches!(self.phase, Phase::Finished(..)) {
            self.finish(&Finish::End, out);
        }
        if let Phase::Finished(skeleton, ending) = std::mem::replace(&mut self.phase, Phase::Closed) {
            let name = if ending.status == Status::Completed { "response.completed" } else { "response.incomplete" };
            let usage = self.usage.unwrap_or_default();
            self.terminal(name, &skeleton, ending, None, Some(&usage), out);
        }
    }

    fn fail(&mut self, error: &ApiError, out: &mut BytesMut) {
        self.ensure_started(out);
        if let Phase::Open(skeleton) | Phase::Finished(skeleton, _) = std::mem::replace(&mut self.phase, Phase::Closed)
        {
            let ending = Ending { status: Status::Failed, reason: None };
            let usage = self.usage.take();
            self.terminal("response.failed", &skeleton, ending, Some(error), usage.as_ref(), out);
        }
    }

    fn terminal(
        &mut self,
        name: &str,
        skeleton: &Skeleton,
        ending: Ending,
        error: Option<&ApiError>,
        usage: Option<&Usage>,
        out: &mut BytesMut,
    ) {
        self.begin(name, out);
        out.extend_from_slice(b",\"response\":");
        skeleton.write(ending.status, ending.reason, error, &self.output, usage, out);
        out.extend_from_slice(b"}\n\n");
        self.output = Vec::new();
        self.text = EscapedBuf::default();
        self.scores = Logprobs::default();
        self.scored = 0;
    }

    fn held(&self) -> usize {
        let wrapped = match &self.item {
            Item::Call { input: Input::Wrapped(unwrap, _), .. } => unwrap.len(),
            _ => 0,
        };
        self.output.len() + self.text.len() + self.scores.len() + wrapped
    }
}

impl StreamEncode for Encoder {
    fn event(&mut self, event: &Event<'_>, out: &mut BytesMut) {
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        match event {
            Event::Start { id, model, created, usage } => {
                if matches!(self.phase, Phase::Fresh) {
                    self.usage = *usage;
                    self.start(*id, *model, *created, out);
                }
            }
            Event::Delta { part, field, text } => self.grow(*part, field, *text, out),
            Event::Part { part, open } => {
                self.ensure_started(out);
                if matches!(self.phase, Phase::Open(_)) {
                    self.open_part(*part, open, out);
                }
            }
            Event::Stop { part } => self.stop(*part, out),
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::Finish(finish) => self.finish(finish, out),
            Event::Ping => out.extend_from_slice(Dialect::OpenAiResponses.keep_alive()),
            Event::Error(error) => self.fail(error, out),
            Event::End => self.end(out),
        }
        if self.held() > HELD_BYTES_MAX {
            self.fail(&ApiError::new(ErrorKind::Api, "the answer is larger than this gateway holds"), out);
        }
    }
}
