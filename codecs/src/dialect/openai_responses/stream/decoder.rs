//! Reads the ladder, and whole answers with the same rules.
//!
//! Every item is known by its `output_index`; some servers change item ids in the middle. Text is taken from deltas;
//! whatever was not streamed is taken from `output_item.done`, and items that never showed up from the terminal event.
//! The decoder remembers how much of an item it has passed on, never the text itself.

use super::{
    super::{failure, items::text_of, usage},
    units::{skip_units, units},
};
use crate::{
    dialect::{Context, StreamDecode},
    hub::{
        ApiError, CallIds, Emit, ErrorKind, EscapedBuf, Event, Field, Finish, Form, Logprobs, Open, Origin, Refused,
        Rider, ToolKind,
    },
    json::{Raw, Text},
};

/// Items of one answer. Above it the stream fails.
const ITEMS_MAX: usize = 8_192;
/// Argument text held for calls whose id or name has not come yet. Above it the stream fails.
const HELD_BYTES_MAX: usize = 32 << 20;

/// Reads a Responses stream.
#[derive(Debug)]
pub struct Decoder {
    phase: Phase,
    items: Vec<Item>,
    parts: u32,
    call_ids: CallIds,
    held_bytes: usize,
    /// Log probabilities on their way; empty between events.
    scores: Logprobs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Fresh,
    Live,
    Over,
}

#[derive(Debug)]
struct Item {
    index: u64,
    id: Option<String>,
    body: Body,
    /// The hub part that is open.
    part: Option<u32>,
    done: bool,
}

#[derive(Debug)]
enum Body {
    Message {
        /// Whether the open part is a refusal.
        refusing: bool,
        /// Units passed on.
        text: u64,
        refusal: u64,
        /// Log probabilities passed on.
        scores: u64,
    },
    Reasoning {
        summary: u64,
        content: u64,
        /// Where the last text stood.
        section: Option<Section>,
    },
    Call {
        kind: ToolKind,
        sent: u64,
        /// Arguments that came before id and name.
        held: EscapedBuf,
    },
    /// Hosted tools and everything unknown.
    Hidden,
}

/// A part of a reasoning item. Sections are joined by a blank line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Section {
    Summary(u64),
    Content(u64),
}

/// What a delta event grows.
#[derive(Debug, Clone, Copy)]
enum Growth {
    Text,
    Refusal,
    Reasoning(Section),
    Call(ToolKind),
}

impl Growth {
    fn body(self) -> Body {
        match self {
            Self::Text | Self::Refusal => Body::Message { refusing: false, text: 0, refusal: 0, scores: 0 },
            Self::Reasoning(_) => Body::Reasoning { summary: 0, content: 0, section: None },
            Self::Call(kind) => Body::Call { kind, sent: 0, held: EscapedBuf::default() },
        }
    }
}

/// The members of an event that matter, from one walk.
#[derive(Default)]
struct Frame<'a> {
    kind: Option<Text<'a>>,
    index: Option<u64>,
    item_id: Option<Text<'a>>,
    section: u64,
    delta: Option<Text<'a>>,
    scores: Option<Raw<'a>>,
    item: Option<Raw<'a>>,
    response: Option<Raw<'a>>,
    error: Option<Raw<'a>>,
}

impl<'a> Frame<'a> {
    #[inline]
    fn read(value: Raw<'a>) -> Self {
        let mut frame = Self::default();
        for (key, value) in value.members() {
            let Text::Escaped(key) = key else { continue };
            match key {
                "type" => frame.kind = value.as_text(),
                "output_index" => frame.index = value.as_u64(),
                "item_id" => frame.item_id = value.as_text(),
                "content_index" | "summary_index" => frame.section = value.as_u64().unwrap_or(0),
                "delta" => frame.delta = value.as_text(),
                // Most servers always write a list, which is empty.
                "logprobs" if value.as_bytes().len() > 2 => frame.scores = Some(value),
                "item" => frame.item = Some(value).filter(|value| value.is_object()),
                "response" => frame.response = Some(value).filter(|value| value.is_object()),
                "error" => frame.error = Some(value).filter(|value| !value.is_null()),
                _ => {}
            }
        }
        frame
    }
}

impl Decoder {
    /// A decoder at the start of a stream.
    pub fn new(context: &Context) -> Self {
        Self {
            phase: Phase::Fresh,
            items: Vec::new(),
            parts: 0,
            call_ids: CallIds::new(context),
            held_bytes: 0,
            scores: Logprobs::default(),
        }
    }

    /// Reads a whole answer.
    pub(in super::super) fn document(&mut self, value: Raw<'_>, emit: Emit<'_>) {
        let response = value.get("response").filter(|inner| inner.is_object()).unwrap_or(value);
        if response.get("output").is_none() && response.get("error").is_some() {
            return self.fail(failure::read(response), emit);
        }
        self.start(Some(response), emit);
        self.terminal("", Some(response), emit);
    }

    fn start(&mut self, response: Option<Raw<'_>>, emit: Emit<'_>) {
        if self.phase != Phase::Fresh {
            return;
        }
        self.phase = Phase::Live;
        let (mut id, mut model, mut created) = (Text::EMPTY, Text::EMPTY, None);
        if let Some(response) = response {
            id = text_of(response, "id");
            model = text_of(response, "model");
            // Some servers give fractions of a second.
            created = response.get("created_at").and_then(Raw::as_f64).filter(|at| *at >= 0.0).map(|at| at as u64);
        }
        self.call_ids.answer_id(id);
        emit(Event::Start { id, model, created, usage: None });
    }

    fn fail(&mut self, error: ApiError, emit: Emit<'_>) {
        self.phase = Phase::Over;
        emit(Event::Error(error));
    }

    /// The place of the item that an event is about.
    fn find(&self, index: Option<u64>, id: Option<Text<'_>>) -> Option<usize> {
        match (index, id) {
            (Some(index), _) => self.items.iter().rposition(|item| item.index == index),
            (None, Some(id)) => self.items.iter().rposition(|item| item.id.as_deref().is_some_and(|own| id.is(own))),
            (None, None) => self.items.iter().rposition(|item| !item.done),
        }
    }

    fn add(&mut self, index: Option<u64>, id: Option<Text<'_>>, body: Body, emit: Emit<'_>) -> Option<usize> {
        if self.items.len() == ITEMS_MAX {
            self.fail(ApiError::new(ErrorKind::Api, "the upstream sent too many output items"), emit);
            return None;
        }
        let place = self.items.len();
        let index = index.unwrap_or_else(|| self.items.iter().map(|item| item.index + 1).max().unwrap_or(0));
        let id = id.filter(|id| !id.is_empty()).map(|id| id.plain().into_owned());
        self.items.push(Item { index, id, body, part: None, done: false });
        Some(place)
    }

    fn added(&mut self, frame: &Frame<'_>, emit: Emit<'_>) {
        let Some(item) = frame.item else { return };
        self.start(None, emit);
        let id = item.get_text("id");
        // The same place again: a repeat, unless the earlier item there is complete (servers without a counter).
        let place = match self.find(frame.index, id).filter(|place| !self.items[*place].done) {
            Some(place) => place,
            None => match self.add(frame.index, id, body_of(item), emit) {
                Some(place) => place,
                None => return,
            },
        };
        if matches!(self.items[place].body, Body::Call { .. }) {
            let (id, name) = (text_of(item, "call_id"), text_of(item, "name"));
            if !id.is_empty() && !name.is_empty() {
                self.open_call(place, id, name, emit);
            }
        }
    }

    /// Announces a call and passes on what came before its name.
    fn open_call(&mut self, place: usize, id: Text<'_>, name: Text<'_>, emit: Emit<'_>) {
        if self.items[place].part.is_some() {
            return;
        }
        let ordinal = self.call_ids.count();
        let id = self.call_ids.assign(Some(id));
        let fallback;
        let name = if name.is_empty() {
            fallback = format!("tool_{ordinal}");
            Text::Plain(&fallback)
        } else {
            name
        };
        let part = self.parts;
        self.parts += 1;
        self.items[place].part = Some(part);
        let Body::Call { kind, held, .. } = &mut self.items[place].body else { return };
        emit(Event::Part { part, open: Open::Tool { id: Text::Plain(&id), name, kind: *kind, signature: None } });
        if !held.is_empty() {
            emit(Event::Delta { part, field: Field::Args, text: held.text() });
            self.held_bytes -= held.len();
            *held = EscapedBuf::default();
        }
    }

    fn delta(&mut self, frame: &Frame<'_>, growth: Growth, emit: Emit<'_>) {
        let Some(text) = frame.delta.filter(|text| !text.is_empty()) else { return };
        self.start(None, emit);
        let place = match self.find(frame.index, frame.item_id) {
            Some(place) => place,
            None => match self.add(frame.index, frame.item_id, growth.body(), emit) {
                Some(place) => place,
                None => return,
            },
        };
        if !self.items[place].done {
            if let (Growth::Text, Some(list)) = (growth, frame.scores) {
                self.score(place, Some(list), 0, true, emit);
            }
            self.grow(place, growth, text, emit);
        }
        if self.held_bytes > HELD_BYTES_MAX {
            self.fail(ApiError::new(ErrorKind::Api, "the upstream sent arguments of a call without a name"), emit);
        }
    }

    /// Passes the entries of a message's list on, behind the first `skip` ones. `said` tells whether words follow:
    /// entries alone open no part. Returns how many there were.
    fn score(&mut self, place: usize, list: Option<Raw<'_>>, skip: u64, said: bool, emit: Emit<'_>) -> u64 {
        let seen = self.scores.read(list, skip);
        let item = &mut self.items[place];
        let Body::Message { refusing, scores, .. } = &mut item.body else {
            self.scores.clear();
            return seen;
        };
        *scores += seen.saturating_sub(skip);
        if !self.scores.is_empty() && (said || (item.part.is_some() && !*refusing)) {
            let part = part_of_message(&mut item.part, refusing, false, &mut self.parts, emit);
            self.scores.tell(part, emit);
        }
        self.scores.clear();
        seen
    }

    /// Passes a piece of an item on, if the item is of that kind.
    fn grow(&mut self, place: usize, growth: Growth, text: Text<'_>, emit: Emit<'_>) {
        let parts = &mut self.parts;
        let item = &mut self.items[place];
        match (&mut item.body, growth) {
            (Body::Message { refusing, text: sent, .. }, Growth::Text) => {
                *sent += units(text);
                let part = part_of_message(&mut item.part, refusing, false, parts, emit);
                emit(Event::Delta { part, field: Field::Text, text });
            }
            (Body::Message { refusing, refusal: sent, .. }, Growth::Refusal) => {
                *sent += units(text);
                let part = part_of_message(&mut item.part, refusing, true, parts, emit);
                emit(Event::Delta { part, field: Field::Refusal, text });
            }
            (Body::Reasoning { summary, content, section }, Growth::Reasoning(new)) => {
                match new {
                    Section::Summary(_) => *summary += units(text),
                    Section::Content(_) => *content += units(text),
                }
                let part = part_of(&mut item.part, || Open::Thinking, parts, emit);
                if section.is_some_and(|old| old != new) {
                    emit(Event::Delta { part, field: Field::Think, text: Text::Plain("\n\n") });
                }
                *section = Some(new);
                emit(Event::Delta { part, field: Field::Think, text });
            }
            (Body::Call { sent, held, .. }, Growth::Call(_)) => {
                *sent += units(text);
                match item.part {
                    Some(part) => emit(Event::Delta { part, field: Field::Args, text }),
                    None => {
                        let before = held.len();
                        held.push(text);
                        self.held_bytes += held.len() - before;
                    }
                }
            }
            _ => {}
        }
    }

    fn done_item(&mut self, index: Option<u64>, item: Raw<'_>, emit: Emit<'_>) {
        self.start(None, emit);
        let id = item.get_text("id");
        let place = match self.find(index, id) {
            Some(place) => place,
            None => match self.add(index, id, body_of(item), emit) {
                Some(place) => place,
                None => return,
            },
        };
        if self.items[place].done {
            return;
        }
        match self.items[place].body {
            Body::Message { text, refusal, scores, .. } => {
                self.rest_of_message(place, item, (text, refusal, scores), emit);
            }
            Body::Reasoning { summary, content, .. } => self.rest_of_reasoning(place, item, summary, content, emit),
            Body::Call { kind, sent, .. } => {
                let (id, name) = (text_of(item, "call_id"), text_of(item, "name"));
                let whole = text_of(item, if kind == ToolKind::Custom { "input" } else { "arguments" });
                // Nothing but an empty shell is no call.
                if !(id.is_empty() && name.is_empty() && whole.is_empty()) {
                    self.open_call(place, id, name, emit);
                }
                self.rest(place, Growth::Call(kind), whole, sent, emit);
            }
            Body::Hidden => {}
        }
        self.close(place, emit);
    }

    /// Passes on what of `whole` lies behind the first `sent` units.
    fn rest(&mut self, place: usize, growth: Growth, whole: Text<'_>, sent: u64, emit: Emit<'_>) {
        let rest = skip_units(whole, sent);
        if !rest.is_empty() {
            self.grow(place, growth, rest, emit);
        }
    }

    fn rest_of_message(&mut self, place: usize, item: Raw<'_>, sent: (u64, u64, u64), emit: Emit<'_>) {
        let (mut text, mut refusal, mut scores) = sent;
        for part in item.get("content").into_iter().flat_map(Raw::elements) {
            let (whole, growth, sent) = match part.get_text("refusal") {
                Some(whole) => (whole, Growth::Refusal, &mut refusal),
                None => {
                    let whole = text_of(part, "text");
                    let said = !skip_units(whole, text).is_empty();
                    let seen = self.score(place, part.get("logprobs"), scores, said, emit);
                    scores = scores.saturating_sub(seen);
                    (whole, Growth::Text, &mut text)
                }
            };
            self.rest(place, growth, whole, *sent, emit);
            *sent = sent.saturating_sub(units(whole));
        }
    }

    fn rest_of_reasoning(&mut self, place: usize, item: Raw<'_>, summary: u64, content: u64, emit: Emit<'_>) {
        for (list, mut sent) in [("summary", summary), ("content", content)] {
            for (at, part) in (0u64..).zip(item.get(list).into_iter().flat_map(Raw::elements)) {
                let section = if list == "summary" { Section::Summary(at) } else { Section::Content(at) };
                let whole = text_of(part, "text");
                self.rest(place, Growth::Reasoning(section), whole, sent, emit);
                sent = sent.saturating_sub(units(whole));
            }
        }
        let Some(blob) = item.get_text("encrypted_content").filter(|blob| !blob.is_empty()) else { return };
        let rider = Rider::from_field(blob.to_str(), Origin::Responses, Form::Enc);
        let item = &mut self.items[place];
        if rider.form == Form::Red {
            stop(&mut item.part, emit);
            part_of(&mut item.part, || Open::Redacted(rider), &mut self.parts, emit);
            return;
        }
        let part = part_of(&mut item.part, || Open::Thinking, &mut self.parts, emit);
        let own = item.id.as_deref().filter(|_| rider.origin == Origin::Responses);
        let item_id = rider.item_id.as_ref().map(|id| id.text()).or(own.map(Text::Plain));
        emit(Event::Delta {
            part,
            field: Field::Sig { origin: rider.origin, form: rider.form, item_id },
            text: rider.payload.text(),
        });
    }

    /// The item is complete.
    fn close(&mut self, place: usize, emit: Emit<'_>) {
        let item = &self.items[place];
        if item.part.is_none() && matches!(&item.body, Body::Call { held, .. } if !held.is_empty()) {
            self.open_call(place, Text::EMPTY, Text::EMPTY, emit);
        }
        let item = &mut self.items[place];
        if let (Body::Call { kind: ToolKind::Function, sent: 0, .. }, Some(part)) = (&item.body, item.part) {
            emit(Event::Delta { part, field: Field::Args, text: Text::Plain("{}") });
        }
        item.done = true;
        stop(&mut item.part, emit);
    }

    /// The answer is over. `name` is the event's, empty for a document.
    fn terminal(&mut self, name: &str, response: Option<Raw<'_>>, emit: Emit<'_>) {
        let Some(response) = response else {
            return self.fail(ApiError::new(ErrorKind::Api, "the upstream's last event holds no response"), emit);
        };
        self.start(Some(response), emit);
        let status = response.get_text("status").map(|text| text.plain());
        let status = status.as_deref().unwrap_or(name.strip_prefix("response.").unwrap_or("completed"));
        let failed = match status {
            "failed" => Some(failure::read(response)),
            "cancelled" | "queued" | "in_progress" if name.is_empty() || status == "cancelled" => {
                Some(ApiError::new(ErrorKind::Api, format!("the upstream's answer is {status}")))
            }
            _ => None,
        };
        if failed.is_none() {
            self.late_items(response, emit);
        }
        if self.phase == Phase::Over {
            return;
        }
        if let Some(counts) = response.get("usage").filter(|counts| counts.is_object()) {
            emit(Event::Usage(usage::read(counts)));
        }
        if let Some(error) = failed {
            return self.fail(error, emit);
        }
        emit(Event::Finish(self.finish(status, name, response)));
        self.phase = Phase::Over;
        emit(Event::End);
    }

    fn finish<'a>(&self, status: &str, name: &str, response: Raw<'a>) -> Finish<'a> {
        if status == "incomplete" || name == "response.incomplete" {
            let reason = response.at(&["incomplete_details", "reason"]).and_then(Raw::as_text);
            return match reason {
                Some(reason) if reason.is("content_filter") => Finish::Filter(Refused::default()),
                _ => Finish::Length,
            };
        }
        if self.call_ids.count() == 0 { Finish::End } else { Finish::Tool }
    }

    /// Takes what the stream did not bring from the terminal event, then closes everything.
    fn late_items(&mut self, response: Raw<'_>, emit: Emit<'_>) {
        for (index, item) in (0u64..).zip(response.get("output").into_iter().flat_map(Raw::elements)) {
            // An item that was seen at another place must not come twice.
            let id = text_of(item, "id");
            let seen = self.items.iter().find(|seen| seen.id.as_deref().is_some_and(|own| id.is(own)));
            self.done_item(Some(seen.map_or(index, |seen| seen.index)), item, emit);
            if self.phase == Phase::Over {
                return;
            }
        }
        for place in 0..self.items.len() {
            if !self.items[place].done {
                self.close(place, emit);
            }
        }
    }

    fn event(&mut self, kind: &str, frame: &Frame<'_>, value: Raw<'_>, emit: Emit<'_>) {
        match kind {
            "response.output_text.delta" => self.delta(frame, Growth::Text, emit),
            "response.refusal.delta" => self.delta(frame, Growth::Refusal, emit),
            "response.reasoning_summary_text.delta" => {
                self.delta(frame, Growth::Reasoning(Section::Summary(frame.section)), emit);
            }
            "response.reasoning_text.delta" => {
                self.delta(frame, Growth::Reasoning(Section::Content(frame.section)), emit);
            }
            "response.function_call_arguments.delta" => self.delta(frame, Growth::Call(ToolKind::Function), emit),
            "response.custom_tool_call_input.delta" => self.delta(frame, Growth::Call(ToolKind::Custom), emit),
            "response.output_item.added" => self.added(frame, emit),
            "response.output_item.done" => {
                if let Some(item) = frame.item {
                    self.done_item(frame.index, item, emit);
                }
            }
            "response.created" | "response.in_progress" => self.start(frame.response, emit),
            "response.completed" | "response.incomplete" | "response.failed" | "response.cancelled" => {
                self.terminal(kind, frame.response, emit);
            }
            "error" => self.fail(failure::read(value), emit),
            // Ends of parts, hosted tools, annotations, audio, and whatever will be invented.
            _ => {}
        }
    }
}

impl StreamDecode for Decoder {
    fn json(&mut self, name: Option<&str>, value: Raw<'_>, emit: Emit<'_>) {
        if self.phase == Phase::Over {
            return;
        }
        let frame = Frame::read(value);
        match (frame.kind, name) {
            (Some(Text::Escaped(kind) | Text::Plain(kind)), _) | (None, Some(kind)) => {
                self.event(kind, &frame, value, emit);
            }
            // An error object in the chat dialect's form.
            (None, None) if frame.error.is_some() => self.fail(failure::read(value), emit),
            (None, None) => {}
        }
    }

    fn done(&mut self, _emit: Emit<'_>) {
        // Not a part of this dialect; the terminal event alone ends an answer.
    }

    fn end(&mut self, emit: Emit<'_>) {
        if self.phase != Phase::Over {
            self.fail(ApiError::new(ErrorKind::Truncated, "upstream stream ended before completion"), emit);
        }
    }
}

fn body_of(item: Raw<'_>) -> Body {
    match item.get_text("type").map(|text| text.plain()).as_deref() {
        Some("message") => Growth::Text.body(),
        Some("reasoning") => Growth::Reasoning(Section::Summary(0)).body(),
        Some("function_call") => Growth::Call(ToolKind::Function).body(),
        Some("custom_tool_call") => Growth::Call(ToolKind::Custom).body(),
        _ => Body::Hidden,
    }
}

/// The item's open part; opens one if there is none.
fn part_of<'e>(part: &mut Option<u32>, open: impl FnOnce() -> Open<'e>, parts: &mut u32, emit: Emit<'_>) -> u32 {
    *part.get_or_insert_with(|| {
        let number = *parts;
        *parts += 1;
        emit(Event::Part { part: number, open: open() });
        number
    })
}

/// The open part of a message, of the right kind.
fn part_of_message(part: &mut Option<u32>, refusing: &mut bool, refusal: bool, parts: &mut u32, emit: Emit<'_>) -> u32 {
    if *refusing != refusal {
        stop(part, emit);
        *refusing = refusal;
    }
    part_of(part, || if refusal { Open::Refusal } else { Open::Text }, parts, emit)
}

fn stop(part: &mut Option<u32>, emit: Emit<'_>) {
    if let Some(part) = part.take() {
        emit(Event::Stop { part });
    }
}
