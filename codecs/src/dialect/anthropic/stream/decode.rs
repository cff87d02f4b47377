//! Reads an upstream's stream.
//!
//! ```text
//!   Fresh ──message_start──▶ Running ──message_delta with a stop_reason──▶ Finished ──message_stop, EOF──▶ Over
//!     └──────────────────────────┴──── error, EOF ─────────────────────────────────────────────────────▶ Over
//! ```
//!
//! Lenient where servers are known to differ: text or input that stands in `content_block_start` already, blocks that
//! nobody stops, several open blocks, missing starts of text blocks. Citations and server tools are not read.

use crate::{
    dialect::{Context, StreamDecode, anthropic::words},
    hub::{ApiError, CallIds, Emit, ErrorKind, Event, Field, Finish, Form, Open, Origin, Rider, ToolKind, Usage},
    json::{Raw, Str, Text},
};

/// Blocks that may be open at once; the service itself opens one at a time.
const OPEN_BLOCKS_MAX: usize = 64;

/// Reads a stream.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    ids: CallIds,
    usage: Usage,
    /// Number of the next part.
    next_part: u32,
    /// Open blocks, the newest last.
    blocks: Vec<Block>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Fresh,
    Running,
    Finished,
    Over,
}

#[derive(Debug)]
struct Block {
    index: u64,
    kind: BlockKind,
}

#[derive(Debug)]
enum BlockKind {
    /// Not for clients: server tools, and whatever is not known.
    Hidden,
    /// Opened as a part at its first delta.
    Text(Option<u32>),
    /// Opened as a part at its first delta.
    Thinking(Option<u32>),
    /// Complete at its start.
    Redacted(u32),
    Tool {
        part: u32,
        /// The input as it stood in the start; sent at the stop unless fragments came. Empty: they came.
        input: String,
    },
}

impl Decoder {
    /// A decoder at the start of a stream.
    pub fn new(context: &Context) -> Self {
        Self {
            state: State::Fresh,
            ids: CallIds::new(context),
            usage: Usage::default(),
            next_part: 0,
            blocks: Vec::new(),
        }
    }

    /// A whole message: a stream in one piece, whose blocks are complete at their start.
    pub(in crate::dialect::anthropic) fn message(&mut self, message: Raw<'_>, content: Raw<'_>, emit: Emit<'_>) {
        self.start(Some(message), emit);
        for (index, block) in (0u64..).zip(content.elements()) {
            self.open(index, block, emit);
            self.blocks.drain(..).for_each(|block| stop(block, emit));
        }
        emit(Event::Usage(self.usage));
        if let Some(finish) = words::read_finish(message) {
            self.finish(finish, emit);
        }
        self.over(emit);
    }

    fn start(&mut self, message: Option<Raw<'_>>, emit: Emit<'_>) {
        if self.state != State::Fresh {
            return;
        }
        self.state = State::Running;
        let text = |name| message.and_then(|message| message.get_text(name)).unwrap_or(Text::EMPTY);
        let usage = message.and_then(|message| message.get("usage"));
        if let Some(value) = usage {
            words::read_usage(&mut self.usage, value);
        }
        self.ids.answer_id(text("id"));
        let usage = usage.map(|_| self.usage);
        emit(Event::Start { id: text("id"), model: text("model"), created: None, usage });
    }

    fn open(&mut self, index: u64, block: Raw<'_>, emit: Emit<'_>) {
        self.start(None, emit);
        if let Some(at) = self.place(index) {
            let stale = self.blocks.remove(at);
            stop(stale, emit);
        } else if self.blocks.len() == OPEN_BLOCKS_MAX {
            return self.fail(ApiError::new(ErrorKind::Api, "upstream opened too many content blocks at once"), emit);
        }
        let text = |name| block.get_text(name).unwrap_or(Text::EMPTY);
        let kind = text("type").plain();
        match kind.as_ref() {
            "text" => {
                self.blocks.push(Block { index, kind: BlockKind::Text(None) });
                self.text(index, text("text"), emit);
            }
            "thinking" => {
                self.blocks.push(Block { index, kind: BlockKind::Thinking(None) });
                self.thinking(index, text("thinking"), emit);
                self.signature(index, text("signature"), emit);
            }
            "redacted_thinking" if !text("data").is_empty() => {
                let part = self.part();
                let rider = Rider::from_field(text("data").to_str(), Origin::Anthropic, Form::Red);
                emit(Event::Part { part, open: Open::Redacted(rider) });
                self.blocks.push(Block { index, kind: BlockKind::Redacted(part) });
            }
            "tool_use" => {
                let part = self.part();
                let minted_name = format!("tool_{}", self.ids.count());
                let name = Some(text("name")).filter(|name| !name.is_empty()).unwrap_or(Text::Plain(&minted_name));
                let id = self.ids.assign(Some(text("id")));
                let open = Open::Tool { id: Text::Plain(&id), name, kind: ToolKind::Function, signature: None };
                emit(Event::Part { part, open });
                let input = block.get("input").filter(|input| input.is_object()).unwrap_or(Raw::EMPTY_OBJECT);
                let input = if input.members().next().is_none() { "{}" } else { input.as_str() };
                self.blocks.push(Block { index, kind: BlockKind::Tool { part, input: input.to_owned() } });
            }
            _ => self.blocks.push(Block { index, kind: BlockKind::Hidden }),
        }
    }

    #[inline]
    fn delta(&mut self, index: u64, delta: Raw<'_>, emit: Emit<'_>) {
        let mut kind = "";
        let (mut text, mut thinking, mut json, mut signature) = (None, None, None, None);
        for (key, value) in delta.members() {
            let Text::Escaped(key) = key else { continue };
            match key {
                "type" => kind = plain_word(value),
                "text" => text = value.as_text(),
                "thinking" => thinking = value.as_text(),
                "partial_json" => json = value.as_text(),
                "signature" => signature = value.as_text(),
                _ => {}
            }
        }
        let given = |value: Option<Text<'_>>| value.filter(|text| !text.is_empty()).is_some();
        match kind {
            "text_delta" if given(text) => self.text(index, text.unwrap_or(Text::EMPTY), emit),
            "thinking_delta" if given(thinking) => self.thinking(index, thinking.unwrap_or(Text::EMPTY), emit),
            "input_json_delta" if given(json) => self.arguments(index, json.unwrap_or(Text::EMPTY), emit),
            "signature_delta" if given(signature) => self.signature(index, signature.unwrap_or(Text::EMPTY), emit),
            // Empty deltas, citations, compaction and what may come.
            _ => {}
        }
    }

    fn text(&mut self, index: u64, text: Text<'_>, emit: Emit<'_>) {
        if text.is_empty() {
            return;
        }
        let Some(at) = self.place_or_new(index, BlockKind::Text(None), emit) else { return };
        let BlockKind::Text(part) = &mut self.blocks[at].kind else { return };
        let part = match *part {
            Some(part) => part,
            None => {
                let new = self.next_part;
                *part = Some(new);
                self.next_part += 1;
                emit(Event::Part { part: new, open: Open::Text });
                new
            }
        };
        emit(Event::Delta { part, field: Field::Text, text });
    }

    /// The part of a thinking block, opened if it is not yet.
    fn thinking_part(&mut self, index: u64, emit: Emit<'_>) -> Option<u32> {
        let at = self.place_or_new(index, BlockKind::Thinking(None), emit)?;
        let BlockKind::Thinking(part) = &mut self.blocks[at].kind else { return None };
        if part.is_none() {
            *part = Some(self.next_part);
            emit(Event::Part { part: self.next_part, open: Open::Thinking });
            self.next_part += 1;
        }
        *part
    }

    fn thinking(&mut self, index: u64, text: Text<'_>, emit: Emit<'_>) {
        if text.is_empty() {
            return;
        }
        if let Some(part) = self.thinking_part(index, emit) {
            emit(Event::Delta { part, field: Field::Think, text });
        }
    }

    fn signature(&mut self, index: u64, text: Text<'_>, emit: Emit<'_>) {
        if text.is_empty() {
            return;
        }
        let Some(part) = self.thinking_part(index, emit) else { return };
        let rider = Rider::from_field(text.to_str(), Origin::Anthropic, Form::Sig);
        let item_id = rider.item_id.as_ref().map(Str::text);
        let field = Field::Sig { origin: rider.origin, form: rider.form, item_id };
        if !rider.payload.is_empty() {
            emit(Event::Delta { part, field, text: rider.payload.text() });
        }
    }

    fn arguments(&mut self, index: u64, text: Text<'_>, emit: Emit<'_>) {
        let Some(at) = self.place(index) else { return };
        if let BlockKind::Tool { part, input } = &mut self.blocks[at].kind {
            input.clear();
            emit(Event::Delta { part: *part, field: Field::Args, text });
        }
    }

    fn finish(&mut self, finish: Finish<'_>, emit: Emit<'_>) {
        if self.state != State::Running {
            return;
        }
        self.state = State::Finished;
        self.blocks.drain(..).for_each(|block| stop(block, emit));
        emit(Event::Finish(finish));
    }

    fn message_delta(&mut self, delta: Option<Raw<'_>>, usage: Option<Raw<'_>>, emit: Emit<'_>) {
        self.start(None, emit);
        if let Some(value) = usage {
            words::read_usage(&mut self.usage, value);
            emit(Event::Usage(self.usage));
        }
        if let Some(finish) = delta.and_then(words::read_finish) {
            self.finish(finish, emit);
        }
    }

    fn over(&mut self, emit: Emit<'_>) {
        self.start(None, emit);
        let finish = if self.ids.count() > 0 { Finish::Tool } else { Finish::End };
        self.finish(finish, emit);
        self.state = State::Over;
        emit(Event::End);
    }

    fn fail(&mut self, error: ApiError, emit: Emit<'_>) {
        self.state = State::Over;
        self.blocks.clear();
        emit(Event::Error(error));
    }

    fn part(&mut self) -> u32 {
        let part = self.next_part;
        self.next_part += 1;
        part
    }

    #[inline]
    fn place(&self, index: u64) -> Option<usize> {
        self.blocks.iter().rposition(|block| block.index == index)
    }

    /// The place of a block; one that was never started begins now, unless there are too many.
    #[inline]
    fn place_or_new(&mut self, index: u64, kind: BlockKind, emit: Emit<'_>) -> Option<usize> {
        if let Some(at) = self.place(index) {
            return Some(at);
        }
        self.start(None, emit);
        if self.blocks.len() == OPEN_BLOCKS_MAX {
            return None;
        }
        self.blocks.push(Block { index, kind });
        Some(self.blocks.len() - 1)
    }
}

/// A word without escapes; other values are no words that anybody knows.
#[inline]
fn plain_word(value: Raw<'_>) -> &str {
    match value.as_text() {
        Some(Text::Escaped(word)) => word,
        _ => "",
    }
}

fn stop(block: Block, emit: Emit<'_>) {
    let part = match block.kind {
        BlockKind::Hidden | BlockKind::Text(None) | BlockKind::Thinking(None) => return,
        BlockKind::Text(Some(part)) | BlockKind::Thinking(Some(part)) | BlockKind::Redacted(part) => part,
        BlockKind::Tool { part, input } => {
            if !input.is_empty() {
                emit(Event::Delta { part, field: Field::Args, text: Text::Plain(&input) });
            }
            part
        }
    };
    emit(Event::Stop { part });
}

impl StreamDecode for Decoder {
    fn json(&mut self, name: Option<&str>, value: Raw<'_>, emit: Emit<'_>) {
        if self.state == State::Over {
            return;
        }
        let mut kind = "";
        let mut index = None;
        let (mut delta, mut block, mut message, mut usage, mut error) = (None, None, None, None, None);
        for (key, value) in value.members() {
            let Text::Escaped(key) = key else { continue };
            match key {
                "type" => kind = plain_word(value),
                "index" => index = value.as_u64(),
                "delta" => delta = Some(value),
                "content_block" => block = Some(value),
                "message" => message = Some(value),
                "usage" => usage = Some(value).filter(|usage| usage.is_object()),
                "error" => error = Some(value).filter(|error| !error.is_null()),
                _ => {}
            }
        }
        if kind.is_empty() {
            kind = if error.is_some() { "error" } else { name.unwrap_or_default() };
        }
        // Content after the finish is nothing that a client could still place.
        let running = self.state != State::Finished;
        let index = index.or_else(|| self.blocks.last().map(|block| block.index)).unwrap_or(0);
        match kind {
            "content_block_delta" if running => {
                if let Some(delta) = delta {
                    self.delta(index, delta, emit);
                }
            }
            "content_block_start" if running => self.open(index, block.unwrap_or(Raw::NULL), emit),
            "content_block_stop" if running => {
                if let Some(at) = self.place(index) {
                    let block = self.blocks.remove(at);
                    stop(block, emit);
                }
            }
            "message_start" => self.start(message, emit),
            "message_delta" => self.message_delta(delta, usage, emit),
            "message_stop" => self.over(emit),
            "ping" => emit(Event::Ping),
            "error" => self.fail(words::read_error(value, None), emit),
            _ => {}
        }
    }

    fn done(&mut self, _emit: Emit<'_>) {
        // Not a marker of this dialect. Proxies append it behind `message_stop`; the end of input decides.
    }

    fn end(&mut self, emit: Emit<'_>) {
        match self.state {
            State::Over => {}
            State::Finished => self.over(emit),
            State::Fresh | State::Running => {
                self.fail(ApiError::new(ErrorKind::Truncated, "upstream stream ended before completion"), emit);
            }
        }
    }
}
