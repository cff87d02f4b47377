//! Reads the rows of an Ollama upstream.
//!
//! ```text
//!   Waiting ──first row──▶ Open ──done:true──▶ Over
//!      ╰─────────error row, EOF──┴───────────▶ Over
//! ```
//!
//! Calls come whole, in any row; text of the last row counts too.

use crate::{
    dialect::{Context, StreamDecode, expect, ollama::reply, parts::Parts},
    hub::{ApiError, CallIds, Emit, ErrorKind, Event, Field, Finish, Open, ToolKind, Usage},
    json::{Raw, Text},
};

/// Reads a stream.
#[derive(Debug)]
pub struct Decoder {
    phase: Phase,
    parts: Parts,
    ids: CallIds,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Waiting,
    Open,
    Over,
}

/// The members of one row that matter here; those of `message` stand beside those of `/api/generate`.
#[derive(Default)]
struct Row<'a> {
    model: Option<Text<'a>>,
    content: Option<Text<'a>>,
    thinking: Option<Text<'a>>,
    calls: Option<Raw<'a>>,
    scores: Option<Raw<'a>>,
    error: Option<Raw<'a>>,
    done: bool,
    reason: Option<Text<'a>>,
    input: Option<u64>,
    output: Option<u64>,
}

impl<'a> Row<'a> {
    fn read(value: Raw<'a>) -> Self {
        let mut row = Row::default();
        for (key, value) in value.members() {
            let Text::Escaped(key) = key else { continue };
            match key {
                "model" => row.model = value.as_text(),
                "message" => row.message(value),
                "response" => row.content = value.as_text(),
                "thinking" => row.thinking = value.as_text(),
                "tool_calls" => row.calls = Some(value),
                "logprobs" => row.scores = Some(value).filter(|value| value.is_array()),
                "error" => row.error = Some(value).filter(|value| !value.is_null()),
                "done" => row.done = value.as_bool() == Some(true),
                "done_reason" => row.reason = value.as_text(),
                "prompt_eval_count" => row.input = expect::count(value),
                "eval_count" => row.output = expect::count(value),
                _ => {}
            }
        }
        row
    }

    fn message(&mut self, message: Raw<'a>) {
        for (key, value) in message.members() {
            let Text::Escaped(key) = key else { continue };
            match key {
                "content" => self.content = value.as_text(),
                "thinking" => self.thinking = value.as_text(),
                "tool_calls" => self.calls = Some(value),
                _ => {}
            }
        }
    }
}

impl Decoder {
    /// A decoder at the start of a stream.
    pub fn new(context: &Context) -> Self {
        Self { phase: Phase::Waiting, parts: Parts::default(), ids: CallIds::new(context) }
    }

    fn row(&mut self, row: &Row<'_>, emit: Emit<'_>) {
        if let Some(error) = row.error {
            self.phase = Phase::Over;
            return emit(Event::Error(reply::error(None, error)));
        }
        if self.phase == Phase::Waiting {
            self.phase = Phase::Open;
            // `created_at` is the row's time; clients of other dialects get one time for the whole answer.
            let model = row.model.unwrap_or(Text::EMPTY);
            emit(Event::Start { id: Text::EMPTY, model, created: None, usage: None });
        }
        let says = |text: Option<Text<'_>>| text.is_some_and(|text| !text.is_empty());
        // One list for the row: it scores its text, or thinking that is alone.
        self.parts.scores(says(row.thinking) && !says(row.content)).read(row.scores, 0);
        if let Some(text) = row.thinking.filter(|text| !text.is_empty()) {
            self.parts.text(text, true, emit);
        }
        if let Some(text) = row.content.filter(|text| !text.is_empty()) {
            self.parts.text(text, false, emit);
        }
        self.parts.scored(row.calls.is_some(), emit);
        for call in row.calls.into_iter().flat_map(Raw::elements) {
            self.call(call, emit);
        }
        if row.done {
            self.finish(row, emit);
        }
    }

    fn call(&mut self, call: Raw<'_>, emit: Emit<'_>) {
        let own = call.get_text("id").filter(|id| !id.is_empty());
        let function = call.get("function").unwrap_or(Raw::EMPTY_OBJECT);
        let name = function.get_text("name").filter(|name| !name.is_empty());
        let args = match function.get("arguments") {
            Some(args) if args.members().next().is_some() => Some(Text::Plain(args.as_str())),
            // Some servers send the text of the object instead.
            Some(args) => args.as_text().filter(|args| !args.is_empty()),
            None => None,
        };
        if name.is_none() && own.is_none() && args.is_none() {
            return;
        }
        let invented = format!("tool_{}", self.ids.count());
        let id = self.ids.assign(own);
        let name = name.unwrap_or(Text::Plain(&invented));
        let open = Open::Tool { id: Text::Plain(&id), name, kind: ToolKind::Function, signature: None };
        let part = self.parts.open(open, emit);
        emit(Event::Delta { part, field: Field::Args, text: args.unwrap_or(Text::Plain("{}")) });
        emit(Event::Stop { part });
    }

    fn finish(&mut self, row: &Row<'_>, emit: Emit<'_>) {
        self.parts.close(emit);
        self.phase = Phase::Over;
        if row.input.is_some() || row.output.is_some() {
            let (uncached, output) = (row.input.unwrap_or(0), row.output.unwrap_or(0));
            emit(Event::Usage(Usage { uncached, output, ..Usage::default() }));
        }
        emit(Event::Finish(match row.reason {
            Some(reason) if reason.is("length") => Finish::Length,
            _ if self.ids.count() > 0 => Finish::Tool,
            _ => Finish::End,
        }));
        emit(Event::End);
    }
}

impl StreamDecode for Decoder {
    fn json(&mut self, _name: Option<&str>, value: Raw<'_>, emit: Emit<'_>) {
        if self.phase != Phase::Over && value.is_object() {
            self.row(&Row::read(value), emit);
        }
    }

    fn done(&mut self, emit: Emit<'_>) {
        self.end(emit);
    }

    fn end(&mut self, emit: Emit<'_>) {
        if self.phase != Phase::Over {
            self.phase = Phase::Over;
            let message = "upstream stream ended before completion";
            emit(Event::Error(ApiError::new(ErrorKind::Truncated, message)));
        }
    }
}
