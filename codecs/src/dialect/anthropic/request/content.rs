//! Writes the conversation: turns of content blocks.
//!
//! ```text
//!   hub messages ──Turns::of──▶ turns: neighbours of equal role joined, results first, nothing blank
//!                 └─▶ write: blocks with their cache marks
//! ```

use std::collections::HashMap;

use base64::{Engine, prelude::BASE64_STANDARD};

use crate::{
    dialect::anthropic::words,
    hub::{
        ApiError, Origin, Request, Rider, arguments,
        request::{CacheMark, CacheTtl, Call, Part, Role, Source, ToolResult},
    },
    json::{Str, Text, Writer},
};

/// Cache marks that the service takes per request.
const MARKS_MAX: usize = 4;

type Out<'o> = Writer<'o, Vec<u8>>;

/// Hands out the cache marks that may be written: the last ones.
#[derive(Debug)]
pub(super) struct Marks {
    skip: usize,
}

impl Marks {
    /// Marks of a request that has `total` of them.
    pub(super) fn of(total: usize) -> Self {
        Self { skip: total.saturating_sub(MARKS_MAX) }
    }

    /// Writes a mark unless it is one of the first of too many. Marks must come in the order of the prompt.
    pub(super) fn write(&mut self, mark: Option<CacheMark>, w: &mut Out<'_>) {
        let Some(mark) = mark else { return };
        if self.skip > 0 {
            self.skip -= 1;
            return;
        }
        w.key("cache_control").begin_object().key("type").string("ephemeral");
        match mark.ttl {
            Some(CacheTtl::FiveMinutes) => {
                w.key("ttl").string("5m");
            }
            Some(CacheTtl::OneHour) => {
                w.key("ttl").string("1h");
            }
            None => {}
        }
        w.end_object();
    }
}

/// Something that becomes a block.
#[derive(Debug, Clone, Copy)]
enum Block<'r, 'a> {
    /// A part as it is.
    Part(&'r Part<'a>),
    /// Thinking whose signature came with a call.
    Signed(Option<&'r Str<'a>>, &'r Rider<'a>),
}

/// One message as it leaves.
#[derive(Debug)]
struct Turn<'r, 'a> {
    assistant: bool,
    blocks: Vec<Block<'r, 'a>>,
}

/// The conversation as it leaves.
#[derive(Debug)]
pub(super) struct Turns<'r, 'a> {
    turns: Vec<Turn<'r, 'a>>,
    /// What replaces the very last text.
    prefill: Option<String>,
}

impl<'r, 'a> Turns<'r, 'a> {
    /// Sorts the conversation into turns. Reports parts that have no place.
    pub(super) fn of(request: &'r Request<'a>, dropped: &mut Vec<String>) -> Self {
        let mut turns: Vec<Turn<'r, 'a>> = Vec::new();
        for message in &request.messages {
            let assistant = message.role == Role::Assistant;
            let blocks =
                if assistant { assistant_blocks(&message.parts, dropped) } else { user_blocks(&message.parts) };
            match turns.last_mut() {
                _ if blocks.is_empty() => {}
                Some(last) if last.assistant == assistant => last.blocks.extend(blocks),
                _ => turns.push(Turn { assistant, blocks }),
            }
        }
        for turn in &mut turns {
            // The service wants results before everything else.
            turn.blocks.sort_by_key(|block| !matches!(block, Block::Part(Part::Result(_))));
        }
        let prefill = trimmed_prefill(&turns);
        Self { turns, prefill }
    }

    /// Whether the last assistant turn has no calls, or begins with thinking that the service can verify.
    pub(super) fn last_calls_are_signed(&self) -> bool {
        let Some(turn) = self.turns.iter().rev().find(|turn| turn.assistant) else { return true };
        let calls = turn.blocks.iter().any(|block| matches!(block, Block::Part(Part::Call(_))));
        let thinks = |block: &Block<'_, '_>| {
            matches!(block, Block::Signed(..) | Block::Part(Part::Thinking { .. } | Part::Redacted(_)))
        };
        !calls || turn.blocks.first().is_some_and(thinks)
    }

    /// Number of cache marks.
    pub(super) fn marks(&self) -> usize {
        let blocks = self.turns.iter().flat_map(|turn| &turn.blocks);
        blocks.map(|block| if let Block::Part(part) = block { marks_of(part) } else { 0 }).sum()
    }

    /// Writes the array of messages.
    pub(super) fn write(&self, marks: &mut Marks, w: &mut Out<'_>) -> Result<(), ApiError> {
        w.begin_array();
        // The first message must be the user's.
        if self.turns.first().is_none_or(|turn| turn.assistant) {
            w.begin_object().key("role").string("user").key("content").begin_array();
            write_text(Text::Plain("..."), None, marks, w);
            w.end_array().end_object();
        }
        for (at, turn) in self.turns.iter().enumerate() {
            let prefill = self.prefill.as_deref().filter(|_| at + 1 == self.turns.len());
            turn.write(prefill, marks, w)?;
        }
        w.end_array();
        Ok(())
    }
}

impl Turn<'_, '_> {
    fn write(&self, prefill: Option<&str>, marks: &mut Marks, w: &mut Out<'_>) -> Result<(), ApiError> {
        w.begin_object().key("role").string(if self.assistant { "assistant" } else { "user" });
        w.key("content").begin_array();
        let whole = self.blocks.len() - usize::from(prefill.is_some());
        for block in &self.blocks[..whole] {
            match block {
                Block::Part(part) => write_part(part, marks, w)?,
                Block::Signed(text, rider) => write_thinking(text.map_or(Text::EMPTY, Str::text), rider, w),
            }
        }
        if let Some(text) = prefill {
            let cache = match self.blocks.last() {
                Some(Block::Part(Part::Text { cache, .. })) => *cache,
                _ => None,
            };
            write_text(Text::Plain(text), cache, marks, w);
        }
        w.end_array().end_object();
        Ok(())
    }
}

fn marks_of(part: &Part<'_>) -> usize {
    match part {
        Part::Text { cache, .. } | Part::Image { cache, .. } | Part::File { cache, .. } => usize::from(cache.is_some()),
        Part::Call(call) => usize::from(call.cache.is_some()),
        Part::Result(result) => match result_body(result) {
            Body::Text(_, cache) => usize::from(cache.is_some()),
            Body::Parts(parts) => usize::from(result.cache.is_some()) + parts.into_iter().map(marks_of).sum::<usize>(),
        },
        Part::Audio { .. } | Part::Thinking { .. } | Part::Redacted(_) | Part::Refusal(_) => 0,
    }
}

fn is_blank(part: &Part<'_>) -> bool {
    matches!(part, Part::Text { text, .. } | Part::Refusal(text) if text.is_blank())
}

fn user_blocks<'r, 'a>(parts: &'r [Part<'a>]) -> Vec<Block<'r, 'a>> {
    let speaks = |part: &&Part<'a>| !is_blank(part) && !matches!(part, Part::Thinking { .. } | Part::Redacted(_));
    parts.iter().filter(speaks).map(Block::Part).collect()
}

/// The blocks of an assistant turn: without foreign or unsigned thinking, and with the signatures that rode on calls
/// back in thinking blocks.
fn assistant_blocks<'r, 'a>(parts: &'r [Part<'a>], dropped: &mut Vec<String>) -> Vec<Block<'r, 'a>> {
    let riders = Carried::of(parts);
    let mut blocks: Vec<Block<'r, 'a>> = Vec::new();
    let mut thought = false;
    for (at, part) in parts.iter().enumerate() {
        match part {
            Part::Thinking { rider: Some(rider), .. } | Part::Redacted(rider) => {
                if rider.origin == Origin::Anthropic {
                    thought = true;
                    blocks.push(Block::Part(part));
                }
            }
            Part::Thinking { text, rider: None } => {
                if let Some(rider) = riders.thoughts.get(&at) {
                    thought = true;
                    blocks.push(Block::Signed(Some(text), rider));
                }
            }
            Part::Image { .. } | Part::File { .. } => dropped.push("content.image".into()),
            Part::Call(_) => {
                if let Some(rider) = riders.calls.get(&at) {
                    // Thinking comes first in its turn.
                    let place = if thought { blocks.len() } else { 0 };
                    thought = true;
                    blocks.insert(place, Block::Signed(None, rider));
                }
                blocks.push(Block::Part(part));
            }
            part if is_blank(part) => {}
            part => blocks.push(Block::Part(part)),
        }
    }
    blocks
}

/// Signatures that rode on calls through a client of another dialect, by the place where they become a block.
#[derive(Default)]
struct Carried<'r, 'a> {
    /// Thoughts that came without a signature and get one.
    thoughts: HashMap<usize, &'r Rider<'a>>,
    /// Calls before which a block without words is made.
    calls: HashMap<usize, &'r Rider<'a>>,
}

impl<'r, 'a> Carried<'r, 'a> {
    fn of(parts: &'r [Part<'a>]) -> Self {
        let mut carried = Self::default();
        let unsigned = |part: &Part<'_>| matches!(part, Part::Thinking { text, rider: None } if !text.is_empty());
        let mut thoughts = parts.iter().enumerate().filter(|(_, part)| unsigned(part)).map(|(at, _)| at);
        for (at, part) in parts.iter().enumerate() {
            let Part::Call(Call { signature: Some(rider), .. }) = part else { continue };
            if rider.origin != Origin::Anthropic {
                continue;
            }
            match thoughts.next() {
                Some(thought) => carried.thoughts.insert(thought, rider),
                None => carried.calls.insert(at, rider),
            };
        }
        carried
    }
}

/// The last text of a last assistant turn without the blanks at its end, which the service refuses; `None` if it has
/// none.
fn trimmed_prefill(turns: &[Turn<'_, '_>]) -> Option<String> {
    let turn = turns.last().filter(|turn| turn.assistant)?;
    let Block::Part(Part::Text { text, .. } | Part::Refusal(text)) = turn.blocks.last()? else { return None };
    let plain = text.plain();
    let trimmed = plain.trim_end();
    (trimmed.len() < plain.len()).then(|| trimmed.to_owned())
}

fn write_text(text: Text<'_>, cache: Option<CacheMark>, marks: &mut Marks, w: &mut Out<'_>) {
    w.begin_object().key("type").string("text").key("text").text(text);
    marks.write(cache, w);
    w.end_object();
}

fn write_thinking(text: Text<'_>, rider: &Rider<'_>, w: &mut Out<'_>) {
    if words::is_redacted(rider) {
        w.begin_object().key("type").string("redacted_thinking").key("data").text(rider.payload.text());
    } else {
        w.begin_object().key("type").string("thinking").key("thinking").text(text);
        w.key("signature").text(rider.payload.text());
    }
    w.end_object();
}

fn write_part(part: &Part<'_>, marks: &mut Marks, w: &mut Out<'_>) -> Result<(), ApiError> {
    match part {
        Part::Text { text, cache } => write_text(text.text(), *cache, marks, w),
        Part::Refusal(text) => write_text(text.text(), None, marks, w),
        Part::Image { source, cache, .. } => write_image(source, *cache, marks, w)?,
        Part::File { name, source, cache } => write_document(name.as_ref(), source, *cache, marks, w)?,
        Part::Thinking { text, rider: Some(rider) } => write_thinking(text.text(), rider, w),
        Part::Redacted(rider) => write_thinking(Text::EMPTY, rider, w),
        // Sorted out before.
        Part::Thinking { rider: None, .. } => {}
        Part::Call(call) => {
            w.begin_object().key("type").string("tool_use");
            w.key("id").text(call.id.text()).key("name").text(call.name.text());
            w.key("input").verbatim(&arguments::call_object(call.kind, call.arguments.text()));
            marks.write(call.cache, w);
            w.end_object();
        }
        Part::Result(result) => write_result(result, marks, w)?,
        Part::Audio { .. } => return Err(ApiError::unsupported("audio cannot be sent to this model")),
    }
    Ok(())
}

/// What a result consists of.
enum Body<'r, 'a> {
    /// One text, or nothing, with the mark of text or result.
    Text(Text<'r>, Option<CacheMark>),
    Parts(Vec<&'r Part<'a>>),
}

fn result_body<'r, 'a>(result: &'r ToolResult<'a>) -> Body<'r, 'a> {
    let parts: Vec<_> = result.parts.iter().filter(|part| !is_blank(part)).collect();
    match parts[..] {
        [] => Body::Text(Text::EMPTY, result.cache),
        [Part::Text { text, cache }] => Body::Text(text.text(), result.cache.or(*cache)),
        _ => Body::Parts(parts),
    }
}

fn write_result(result: &ToolResult<'_>, marks: &mut Marks, w: &mut Out<'_>) -> Result<(), ApiError> {
    w.begin_object().key("type").string("tool_result");
    w.key("tool_use_id").text(result.call_id.text()).key("content");
    let cache = match result_body(result) {
        Body::Text(text, cache) => {
            w.text(text);
            cache
        }
        Body::Parts(parts) => {
            w.begin_array();
            parts.into_iter().try_for_each(|part| write_part(part, marks, w))?;
            w.end_array();
            result.cache
        }
    };
    if result.is_error {
        w.key("is_error").bool(true);
    }
    marks.write(cache, w);
    w.end_object();
    Ok(())
}

fn write_image(
    source: &Source<'_>,
    cache: Option<CacheMark>,
    marks: &mut Marks,
    w: &mut Out<'_>,
) -> Result<(), ApiError> {
    if let Source::FileId(_) | Source::Text(_) = source {
        return Err(foreign_file());
    }
    w.begin_object().key("type").string("image").key("source");
    write_source(source, w);
    marks.write(cache, w);
    w.end_object();
    Ok(())
}

fn foreign_file() -> ApiError {
    ApiError::unsupported("a file that was uploaded to another vendor cannot be sent to this model: send its content")
}

fn write_source(source: &Source<'_>, w: &mut Out<'_>) {
    w.begin_object().key("type");
    match source {
        Source::Base64 { mime, data } => {
            w.string("base64").key("media_type").text(mime.text()).key("data").text(data.text());
        }
        Source::Url { url, .. } => {
            w.string("url").key("url").text(url.text());
        }
        Source::Text(text) => {
            w.string("text").key("media_type").string("text/plain").key("data").text(text.text());
        }
        Source::FileId(id) => {
            w.string("file").key("file_id").text(id.text());
        }
    }
    w.end_object();
}

fn write_document(
    name: Option<&Str<'_>>,
    source: &Source<'_>,
    cache: Option<CacheMark>,
    marks: &mut Marks,
    w: &mut Out<'_>,
) -> Result<(), ApiError> {
    let decoded;
    let source = match source {
        Source::FileId(_) => return Err(foreign_file()),
        Source::Base64 { mime, .. } if mime.is("application/pdf") => source,
        Source::Base64 { mime, .. } if mime.plain().starts_with("image/") => {
            return write_image(source, cache, marks, w);
        }
        Source::Base64 { mime, data } => {
            decoded = Source::Text(plain_text(&mime.plain(), &data.plain())?.into());
            &decoded
        }
        Source::Url { .. } | Source::Text(_) => source,
    };
    w.begin_object().key("type").string("document").key("source");
    write_source(source, w);
    if let Some(name) = name.filter(|name| !name.is_empty()) {
        w.key("title").text(name.text());
    }
    marks.write(cache, w);
    w.end_object();
    Ok(())
}

/// The text of a file that is neither PDF nor image.
fn plain_text(mime: &str, data: &str) -> Result<String, ApiError> {
    let bytes = BASE64_STANDARD.decode(data).map_err(|_| ApiError::unsupported("a file is not valid base64"))?;
    let refused = || ApiError::unsupported(format!("files of type {mime} cannot be sent to this model"));
    String::from_utf8(bytes)
        .map_err(|_| refused())
        .and_then(|text| if text.contains('\0') { Err(refused()) } else { Ok(text) })
}
