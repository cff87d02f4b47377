//! Earlier turns of an agent's conversation. The editor keeps them as blobs: the state holds ids, and what they stand for
//! comes along with the request or is asked for.
//!
//! ```text
//!   state.turns[] ─id─▶ turn { user_message ─id─▶ UserMessage, steps[] ─id─▶ assistant │ tool call │ thinking }
//!   state.root_prompt[] ─id─▶ JSON { role, content }          used where there are no turns
//! ```

use std::borrow::Cow;

use super::{bad, each, inside, last, names::Names, text, unreadable};
use crate::{
    dialect::cursor::{
        schema::{delta, state, step, turn, user_message},
        toolbox,
    },
    hub::{
        ApiError, ToolKind,
        request::{Call, Message as Turn, Part, Role, ToolResult},
    },
    json::{Raw, Str, Text},
    proto::{Field, Message},
};

/// Where blobs are found by their id.
pub type Blobs<'b, 'a> = &'b dyn Fn(&[u8]) -> Option<&'a [u8]>;

/// Most blobs that are asked for.
pub(super) const BLOBS_MAX: usize = 200;
/// Most turns that are read.
const TURNS_MAX: usize = 1_024;
/// Most bytes of blobs that are read, counted as often as they are named: a small state can name much.
const BYTES_MAX: usize = 64 << 20;
/// What a blob costs at least.
const BLOB_BYTES_MIN: usize = 64;

/// Blobs, as long as it is not too much.
struct Shelf<'b, 'a> {
    blobs: Blobs<'b, 'a>,
    left: usize,
}

impl<'b, 'a> Shelf<'b, 'a> {
    fn new(blobs: Blobs<'b, 'a>) -> Self {
        Self { blobs, left: BYTES_MAX }
    }

    /// The blob of that id, if it is there.
    fn take(&mut self, id: &[u8]) -> Result<Option<&'a [u8]>, ApiError> {
        let found = (self.blobs)(id);
        let cost = found.map_or(0, <[u8]>::len).max(BLOB_BYTES_MIN);
        self.left = self.left.checked_sub(cost).ok_or_else(|| bad("the conversation is too long".to_owned()))?;
        Ok(found)
    }
}

/// The ids in a state.
#[derive(Debug, Default)]
pub(super) struct State<'a> {
    turns: Vec<&'a [u8]>,
    root_prompt: Vec<&'a [u8]>,
    summary: Option<&'a [u8]>,
}

impl<'a> State<'a> {
    pub(super) fn field(&mut self, field: Field<'a>) {
        match field.number {
            state::TURNS if self.turns.len() < TURNS_MAX => self.turns.extend(field.bytes()),
            state::ROOT_PROMPT if self.root_prompt.len() < TURNS_MAX => self.root_prompt.extend(field.bytes()),
            state::SUMMARY => self.summary = field.bytes(),
            _ => {}
        }
    }

    /// Ids of blobs that are not there, as far as it can be told from those that are.
    pub(super) fn missing(&self, blobs: Blobs<'_, 'a>) -> Result<Vec<&'a [u8]>, ApiError> {
        let mut shelf = Shelf::new(blobs);
        let mut missing = Vec::new();
        let mut want = |id: &'a [u8]| -> Result<Option<&'a [u8]>, ApiError> {
            let found = shelf.take(id)?;
            if found.is_none() && !id.is_empty() && missing.len() < BLOBS_MAX && !missing.contains(&id) {
                missing.push(id);
            }
            Ok(found)
        };
        for id in self.root_prompt.iter().filter(|_| self.turns.is_empty()) {
            want(id)?;
        }
        for id in &self.turns {
            for (_, id) in want(id)?.and_then(|blob| ids_of(blob).ok()).unwrap_or_default() {
                want(id)?;
            }
        }
        Ok(missing)
    }

    /// The turns. Where one is lost, what was before it is told by the summary, if there is one.
    pub(super) fn read(&self, blobs: Blobs<'_, 'a>, names: &mut Names) -> Result<Vec<Turn<'a>>, ApiError> {
        let mut shelf = Shelf::new(blobs);
        let mut turns = Vec::new();
        for id in self.root_prompt.iter().filter(|_| self.turns.is_empty()) {
            if let Some(blob) = shelf.take(id)? {
                root_message(blob, names, &mut turns);
            }
        }
        for (number, id) in self.turns.iter().enumerate() {
            if !read_turn(id, number, &mut shelf, names, &mut turns)? {
                turns.clear();
                let summary = self.summary.and_then(blobs).and_then(|blob| std::str::from_utf8(blob).ok());
                if let Some(summary) = summary {
                    let text =
                        format!("<summary_of_earlier_conversation>\n{summary}\n</summary_of_earlier_conversation>");
                    turns.push(Turn { role: Role::User, parts: vec![Part::Text { text: text.into(), cache: None }] });
                }
            }
        }
        Ok(turns)
    }
}

/// The blobs of a turn: whether it is a step, and the id.
fn ids_of(turn: &[u8]) -> Result<Vec<(bool, &[u8])>, ApiError> {
    let mut ids = Vec::new();
    each(Message::new(turn), |field| match field.number {
        turn::AGENT => inside(field, |field| {
            if matches!(field.number, turn::USER_MESSAGE | turn::STEPS) {
                ids.extend(field.bytes().map(|id| (field.number == turn::STEPS, id)));
            }
            Ok(())
        }),
        _ => Ok(()),
    })?;
    Ok(ids)
}

/// Reads a turn. `false`: one of its blobs is lost.
fn read_turn<'a>(
    id: &[u8],
    number: usize,
    shelf: &mut Shelf<'_, 'a>,
    names: &mut Names,
    turns: &mut Vec<Turn<'a>>,
) -> Result<bool, ApiError> {
    let Some(Ok(ids)) = shelf.take(id)?.map(ids_of) else { return Ok(false) };
    let mut steps = 0usize;
    for (is_step, id) in ids {
        let Some(blob) = shelf.take(id)? else { return Ok(false) };
        let message = Message::new(blob);
        if is_step {
            steps += 1;
            each(message, |field| read_step(field, (number, steps), names, turns))?;
        } else {
            let mut said: Cow<'a, str> = Cow::default();
            each(message, |field| {
                match field.number {
                    user_message::TEXT if said.is_empty() => said = text(field),
                    user_message::TEXT_BLOB => {
                        let blob = field.bytes().map(|id| shelf.take(id)).transpose()?.flatten();
                        said = blob.map(String::from_utf8_lossy).unwrap_or(std::mem::take(&mut said));
                    }
                    _ => {}
                }
                Ok(())
            })?;
            push(turns, Role::User, Part::Text { text: Str::plain_from(said), cache: None });
        }
    }
    Ok(true)
}

fn read_step<'a>(
    field: Field<'a>,
    (turn, step): (usize, usize),
    names: &mut Names,
    turns: &mut Vec<Turn<'a>>,
) -> Result<(), ApiError> {
    let Some(message) = field.message().map_err(unreadable)? else { return Ok(()) };
    let words = || Ok(Str::plain_from(last(field, delta::TEXT)?.map(text).unwrap_or_default()));
    match field.number {
        step::ASSISTANT => push(turns, Role::Assistant, Part::Text { text: words()?, cache: None }),
        step::THINKING => push(turns, Role::Assistant, Part::Thinking { text: words()?, rider: None }),
        step::TOOL_CALL => {
            let Some(past) = toolbox::past(message).map_err(unreadable)? else { return Ok(()) };
            let id: Str<'_> = past.id.unwrap_or_else(|| format!("call_{turn}_{step}")).into();
            let name = names.find(past.name.into());
            let (text, is_error) = past.result.unwrap_or_else(|| ("no result".to_owned(), true));
            call(turns, id.clone(), name.clone(), past.arguments.into());
            let mut parts = vec![Part::Text { text: text.into(), cache: None }];
            parts.extend(past.images.into_iter().map(super::image_part));
            result(turns, id, name, parts, is_error);
        }
        _ => {}
    }
    Ok(())
}

fn call<'a>(turns: &mut Vec<Turn<'a>>, id: Str<'a>, name: String, arguments: Str<'a>) {
    let call = Call {
        id,
        name: name.into(),
        namespace: None,
        arguments,
        kind: ToolKind::Function,
        signature: None,
        cache: None,
    };
    push(turns, Role::Assistant, Part::Call(call));
}

fn result<'a>(turns: &mut Vec<Turn<'a>>, id: Str<'a>, name: String, parts: Vec<Part<'a>>, is_error: bool) {
    let result = ToolResult { call_id: id, name: Some(name.into()), parts, is_error, cache: None };
    push(turns, Role::Tool, Part::Result(result));
}

/// Adds a part to the turn of its role.
fn push<'a>(turns: &mut Vec<Turn<'a>>, role: Role, part: Part<'a>) {
    match turns.last_mut().filter(|turn| turn.role == role) {
        Some(turn) => turn.parts.push(part),
        None => turns.push(Turn { role, parts: vec![part] }),
    }
}

/// A message of the root prompt: `{"role","content"}`, the content a text or parts of type `text`, `reasoning`, `tool-call`,
/// `tool-result`. Instructions are the vendor's own and stay with it.
fn root_message<'a>(blob: &'a [u8], names: &mut Names, turns: &mut Vec<Turn<'a>>) {
    let Ok(message) = Raw::parse(blob) else { return };
    let role = match message.get_text("role") {
        Some(role) if role.is("user") => Role::User,
        Some(role) if role.is("assistant") => Role::Assistant,
        Some(role) if role.is("tool") => Role::Tool,
        _ => return,
    };
    let Some(content) = message.get("content") else { return };
    if let Some(text) = content.as_text() {
        return push(turns, role, Part::Text { text: text.to_str(), cache: None });
    }
    for part in content.elements() {
        let text = |name: &str| part.get_text(name).unwrap_or(Text::EMPTY).to_str();
        match part.get_text("type").map(|kind| kind.plain()).as_deref() {
            Some("text") => push(turns, role, Part::Text { text: text("text"), cache: None }),
            Some("reasoning") => push(turns, role, Part::Thinking { text: text("text"), rider: None }),
            Some("tool-call") => {
                let args = part.get("args").or_else(|| part.get("input")).map_or("{}", |args| args.as_str());
                let name = names.find(text("toolName").plain());
                call(turns, text("toolCallId"), name, args.into());
            }
            Some("tool-result") => {
                let output = part.get("result").or_else(|| part.get("output"));
                let output =
                    output.map_or(Text::EMPTY, |output| output.as_text().unwrap_or(Text::Plain(output.as_str())));
                let name = names.find(text("toolName").plain());
                let parts = vec![Part::Text { text: output.to_str(), cache: None }];
                let failed = part.get("isError").and_then(Raw::as_bool) == Some(true);
                result(turns, text("toolCallId"), name, parts, failed);
            }
            _ => {}
        }
    }
}
