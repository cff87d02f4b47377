//! The editor's own tools in the agent protocol: what a model is told of them, the messages that run them, and what came of
//! it in words.
//!
//! The vendor's descriptions are not ours to ship; these are our own. Editing is reading and writing: there is no tool for a
//! part of a file. What a search or a listing found has no form that is known, so that its texts are shown in their order.

use std::fmt::Write;

use super::{
    Facts, McpTool,
    facts::CUSTOM,
    schema::{agent_mcp_result, exec, mcp_args, tool_call},
    value,
};
use crate::{
    hub::arguments,
    json::{Raw, Text, Writer},
    proto::{Buffer, Field, Message, MessageWriter, Value, WireError},
};

/// One of the editor's own tools.
#[derive(Debug)]
pub(super) struct Own {
    /// Its name for models.
    pub(super) name: &'static str,
    pub(super) description: &'static str,
    /// JSON schema of its arguments.
    pub(super) schema: &'static str,
    /// Number of its arguments, and of its result, in executions.
    exec: u32,
    /// Number of its kind in `ToolCall`, and its arguments there.
    kind: u32,
    shown: &'static [Argument],
    arguments: &'static [Argument],
    /// Number of the call's id among the arguments of an execution.
    call_id: u32,
    /// What a result is whose field is not that of success.
    failures: &'static [(u32, &'static str)],
}

/// An argument: member of the JSON, number, type.
type Argument = (&'static str, u32, Type);

#[derive(Debug, Clone, Copy)]
enum Type {
    Text,
    Texts,
    Number,
    Flag,
}

/// Field of a result that is one of success.
const SUCCESS: u32 = 1;
/// Number of reading, and of the file's text in its result.
const READ: u32 = 7;
const READ_CONTENT: u32 = 2;
/// Longest text that is made of one result, in bytes.
pub(super) const RESULT_BYTES_MAX: usize = 1 << 20;
/// Deepest message that is searched for texts.
const STRINGS_DEPTH_MAX: u8 = 12;

/// All of them.
pub(super) const OWN: [Own; 6] = [
    Own {
        name: "read_file",
        description: "Reads a file of the user's machine. Long files can be read in part.",
        schema: r#"{"type":"object","properties":{"path":{"type":"string","description":"Path of the file"},"offset":{"type":"integer","description":"First line, counted from 1"},"limit":{"type":"integer","description":"Most lines to read"}},"required":["path"]}"#,
        exec: READ,
        kind: 8,
        shown: &[("path", 1, Type::Text)],
        arguments: &[("path", 1, Type::Text), ("offset", 4, Type::Number), ("limit", 5, Type::Number)],
        call_id: 2,
        failures: &[
            (2, "error"),
            (3, "rejected by the user"),
            (4, "no such file"),
            (5, "not allowed"),
            (6, "invalid file"),
        ],
    },
    Own {
        name: "write_file",
        description: "Writes a whole file and replaces what was in it. To change a part of a file, read it first and write all of it.",
        schema: r#"{"type":"object","properties":{"path":{"type":"string","description":"Path of the file"},"contents":{"type":"string","description":"Everything that the file is to hold"}},"required":["path","contents"]}"#,
        exec: 3,
        kind: 12,
        shown: &[("path", 1, Type::Text), ("contents", 6, Type::Text)],
        arguments: &[("path", 1, Type::Text), ("contents", 2, Type::Text)],
        call_id: 3,
        failures: &[(3, "not allowed"), (4, "no space left"), (5, "error"), (6, "rejected by the user")],
    },
    Own {
        name: "delete_file",
        description: "Deletes a file.",
        schema: r#"{"type":"object","properties":{"path":{"type":"string","description":"Path of the file"}},"required":["path"]}"#,
        exec: 4,
        kind: 3,
        shown: &[("path", 1, Type::Text)],
        arguments: &[("path", 1, Type::Text)],
        call_id: 2,
        failures: &[],
    },
    Own {
        name: "grep",
        description: "Searches files for a regular expression.",
        schema: r#"{"type":"object","properties":{"pattern":{"type":"string","description":"Regular expression"},"path":{"type":"string","description":"File or folder to search in"},"glob":{"type":"string","description":"Only files of these names"},"output_mode":{"type":"string","enum":["content","files_with_matches","count"]},"ignore_case":{"type":"boolean"},"head_limit":{"type":"integer","description":"Most lines to show"},"multiline":{"type":"boolean"}},"required":["pattern"]}"#,
        exec: 5,
        kind: 5,
        shown: &[("pattern", 1, Type::Text), ("path", 2, Type::Text), ("glob", 3, Type::Text)],
        arguments: &[
            ("pattern", 1, Type::Text),
            ("path", 2, Type::Text),
            ("glob", 3, Type::Text),
            ("output_mode", 4, Type::Text),
            ("ignore_case", 8, Type::Flag),
            ("head_limit", 10, Type::Number),
            ("multiline", 11, Type::Flag),
        ],
        call_id: 14,
        failures: &[(2, "error")],
    },
    Own {
        name: "list_dir",
        description: "Lists a folder.",
        schema: r#"{"type":"object","properties":{"path":{"type":"string","description":"Path of the folder"},"ignore":{"type":"array","items":{"type":"string"},"description":"Names to leave out"}},"required":["path"]}"#,
        exec: 8,
        kind: 13,
        shown: &[("path", 1, Type::Text)],
        arguments: &[("path", 1, Type::Text), ("ignore", 2, Type::Texts)],
        call_id: 3,
        failures: &[(2, "error"), (3, "rejected by the user"), (4, "took too long")],
    },
    Own {
        name: "run_terminal_cmd",
        description: "Runs a command in the user's shell and returns what it prints.",
        schema: r#"{"type":"object","properties":{"command":{"type":"string"},"cwd":{"type":"string","description":"Working directory"},"timeout":{"type":"integer","description":"Milliseconds"},"description":{"type":"string","description":"What the command does, in five words"}},"required":["command"]}"#,
        exec: exec::SHELL_STREAM,
        kind: 1,
        shown: &[("command", 1, Type::Text), ("cwd", 2, Type::Text)],
        arguments: &[
            ("command", 1, Type::Text),
            ("cwd", 2, Type::Text),
            ("timeout", 3, Type::Number),
            ("description", 15, Type::Text),
        ],
        call_id: 4,
        failures: &[(5, "rejected by the user"), (6, "not allowed")],
    },
];

/// A call: one of the editor's own tools, or one of an MCP server.
#[derive(Debug)]
pub(super) struct ToolCall<'t> {
    tool: Tool<'t>,
    id: &'t str,
}

#[derive(Debug, Clone, Copy)]
enum Tool<'t> {
    Own(&'static Own),
    Mcp { server: &'t str, name: &'t str, short: &'t str },
}

impl<'t> ToolCall<'t> {
    /// The call `id` of the tool that has this name on the hub. A name that nobody has declared is asked of no server in
    /// particular: the editor says that it does not know it.
    pub(super) fn new(name: &'t str, id: &'t str, facts: &'t Facts) -> Self {
        let own = OWN.iter().find(|own| own.name == name);
        let tool = match (own, facts.tools.get(name)) {
            (Some(own), _) => Tool::Own(own),
            (None, Some(McpTool { server, name, short })) => Tool::Mcp { server, name, short },
            (None, None) => Tool::Mcp { server: CUSTOM, name, short: name },
        };
        Self { tool, id }
    }

    /// Writes `ToolCall`; `None` where the arguments are not known yet. `result` is that of `ExecClientMessage`.
    pub(super) fn write<B: Buffer>(&self, args: Option<&str>, result: Option<&[u8]>, w: &mut MessageWriter<'_, B>) {
        let args = args.map(|args| arguments::object(Text::Plain(args)));
        let args = args.as_deref().and_then(|args| Raw::parse_str(args).ok());
        let kind = match self.tool {
            Tool::Own(own) => own.kind,
            Tool::Mcp { .. } => tool_call::MCP,
        };
        w.message(kind, |w| {
            w.message(tool_call::ARGS, |w| match self.tool {
                Tool::Own(own) => write_arguments(own.shown, args, w),
                Tool::Mcp { .. } => self.mcp(args, w),
            });
            if let Some(result) = result {
                w.bytes(tool_call::RESULT, result);
            }
        });
    }

    /// Writes the fields of `ExecServerMessage`.
    pub(super) fn execute<B: Buffer>(&self, id: u32, exec_id: &str, args: &str, w: &mut MessageWriter<'_, B>) {
        let args = arguments::object(Text::Plain(args));
        let args = Raw::parse_str(&args).ok();
        w.varint(exec::ID, id.into());
        match self.tool {
            Tool::Own(own) => {
                w.message(own.exec, |w| {
                    write_arguments(own.arguments, args, w);
                    w.text(own.call_id, self.id);
                });
            }
            Tool::Mcp { .. } => {
                w.message(exec::MCP, |w| self.mcp(args, w));
            }
        }
        w.text(exec::EXEC_ID, exec_id);
    }

    fn mcp<B: Buffer>(&self, args: Option<Raw<'_>>, w: &mut MessageWriter<'_, B>) {
        let Tool::Mcp { server, name, short } = self.tool else { return };
        w.text(mcp_args::NAME, name);
        if let Some(args) = args {
            value::entries(args, mcp_args::ARGS, w);
        }
        w.text(mcp_args::CALL_ID, self.id).text(mcp_args::PROVIDER, server).text(mcp_args::TOOL_NAME, short);
    }
}

fn write_arguments<B: Buffer>(arguments: &[Argument], args: Option<Raw<'_>>, w: &mut MessageWriter<'_, B>) {
    let Some(args) = args else { return };
    for (name, number, kind) in arguments {
        let Some(given) = args.get(name) else { continue };
        match kind {
            Type::Text => {
                // A model that means a text may write a number.
                let text = given.as_text().unwrap_or(Text::Plain(given.as_str()));
                w.text(*number, &text.plain());
            }
            Type::Texts => {
                for item in given.elements().filter_map(Raw::as_text) {
                    w.text(*number, &item.plain());
                }
            }
            Type::Number => {
                if let Some(value) = given.as_u64() {
                    w.varint(*number, value);
                }
            }
            Type::Flag => {
                if given.as_bool() == Some(true) {
                    w.varint(*number, 1);
                }
            }
        }
    }
}

/// A call of an earlier turn.
#[derive(Debug)]
pub(super) struct Past<'a> {
    /// Name of the tool: one of ours, or as the editor knows it.
    pub(super) name: String,
    pub(super) id: Option<String>,
    /// JSON text of an object.
    pub(super) arguments: String,
    /// What came of it, and whether it failed.
    pub(super) result: Option<(String, bool)>,
    /// Images of the result.
    pub(super) images: Vec<&'a [u8]>,
}

/// Reads `ToolCall`. `None`: a kind of tool that no model is told of here.
pub(super) fn past(message: Message<'_>) -> Result<Option<Past<'_>>, WireError> {
    for field in message.fields() {
        let field = field?;
        let own = OWN.iter().find(|own| own.kind == field.number);
        if own.is_none() && field.number != tool_call::MCP {
            continue;
        }
        let Some(inner) = field.message()? else { continue };
        let (mut args, mut result) = (None, None);
        for field in inner.fields() {
            let field = field?;
            match field.number {
                tool_call::ARGS => args = field.message()?,
                tool_call::RESULT => result = field.message()?,
                _ => {}
            }
        }
        let mut past =
            Past { name: String::new(), id: None, arguments: "{}".to_owned(), result: None, images: Vec::new() };
        match (own, args) {
            (Some(own), args) => {
                own.name.clone_into(&mut past.name);
                if let Some(args) = args {
                    past.arguments = read_arguments(own.shown, args)?;
                }
            }
            (None, Some(args)) => read_mcp_args(args, &mut past)?,
            (None, None) => continue,
        }
        if let Some(result) = result {
            let number = own.map_or(exec::MCP, |own| own.exec);
            let (text, failed) = outcome(number, result, &mut past.images)?;
            past.result = Some((text, failed));
        }
        return Ok(Some(past));
    }
    Ok(None)
}

fn read_mcp_args(args: Message<'_>, past: &mut Past<'_>) -> Result<(), WireError> {
    for field in args.fields() {
        let field = field?;
        match field.number {
            mcp_args::NAME => past.name = field.text().unwrap_or_default().into_owned(),
            mcp_args::CALL_ID => past.id = field.text().filter(|id| !id.is_empty()).map(Into::into),
            _ => {}
        }
    }
    let mut out = Vec::new();
    let mut w = Writer::new(&mut out);
    w.begin_object();
    value::read_entries(args, mcp_args::ARGS, &mut w)?;
    w.end_object();
    past.arguments = String::from_utf8(out).unwrap_or_default();
    Ok(())
}

fn read_arguments(arguments: &[Argument], args: Message<'_>) -> Result<String, WireError> {
    let mut out = Vec::new();
    let mut w = Writer::new(&mut out);
    w.begin_object();
    for (name, number, _) in arguments {
        let mut value = None;
        for field in args.fields() {
            let field = field?;
            if field.number == *number {
                value = field.text().or(value);
            }
        }
        if let Some(value) = value {
            w.key(name).string(&value);
        }
    }
    w.end_object();
    Ok(String::from_utf8(out).unwrap_or_default())
}

/// The result in field `number` of `ExecClientMessage` in words, and whether the tool failed. Not for `SHELL_STREAM`, which
/// comes in pieces.
pub(super) fn outcome<'a>(
    number: u32,
    message: Message<'a>,
    images: &mut Vec<&'a [u8]>,
) -> Result<(String, bool), WireError> {
    let mut last = None;
    for field in message.fields() {
        last = Some(field?);
    }
    let Some(field) = last else { return Ok((String::new(), false)) };
    let Some(inner) = field.message()? else { return Ok((field.text().unwrap_or_default().into_owned(), false)) };
    if field.number != SUCCESS {
        return Ok((failure(number, field.number, inner), true));
    }
    match number {
        exec::MCP => mcp_outcome(inner, images),
        READ => {
            let mut content = None;
            for field in inner.fields() {
                let field = field?;
                if field.number == READ_CONTENT {
                    content = field.text();
                }
            }
            Ok((content.unwrap_or_default().into_owned(), false))
        }
        _ => {
            let said = strings(inner);
            Ok((if said.is_empty() { "done".to_owned() } else { said }, false))
        }
    }
}

/// What is said of a result, in field `number`, whose field `which` is none of success.
pub(super) fn failure(number: u32, which: u32, message: Message<'_>) -> String {
    let own = OWN.iter().find(|own| own.exec == number);
    let word = own.and_then(|own| own.failures.iter().find(|(number, _)| *number == which));
    let mut text = word.map_or("failed", |(_, word)| word).to_owned();
    let said = strings(message);
    if !said.is_empty() {
        let _ = write!(text, ": {said}");
    }
    text
}

fn mcp_outcome<'a>(success: Message<'a>, images: &mut Vec<&'a [u8]>) -> Result<(String, bool), WireError> {
    let (mut text, mut failed) = (String::new(), false);
    for field in success.fields() {
        let field = field?;
        match field.number {
            agent_mcp_result::IS_ERROR => failed = field.varint() == Some(1),
            agent_mcp_result::CONTENT => {
                let Some(content) = field.message()? else { continue };
                for field in content.fields() {
                    let field = field?;
                    let Some(inner) = field.message()? else { continue };
                    for piece in inner.fields() {
                        let piece = piece?;
                        match (field.number, piece.number) {
                            (agent_mcp_result::TEXT, 1) => add_line(&mut text, &piece.text().unwrap_or_default()),
                            (agent_mcp_result::IMAGE, 1) => images.extend(piece.bytes()),
                            _ => {}
                        }
                    }
                }
            }
            _ => {}
        }
    }
    Ok((text, failed))
}

/// All texts in a message, in their order, a line each.
pub(super) fn strings(message: Message<'_>) -> String {
    let mut out = String::new();
    collect(message, 0, &mut out);
    out
}

fn collect(message: Message<'_>, depth: u8, out: &mut String) {
    for field in message.fields().map_while(Result::ok) {
        let Value::Bytes(bytes) = field.value else { continue };
        // Text hardly ever reads as a message; messages often read as text.
        match inner(field).filter(|_| depth < STRINGS_DEPTH_MAX) {
            Some(message) => collect(message, depth + 1, out),
            None => {
                if let Some(text) = std::str::from_utf8(bytes).ok().filter(|text| !text.is_empty() && is_shown(text)) {
                    add_line(out, text);
                }
            }
        }
        if out.len() >= RESULT_BYTES_MAX {
            return;
        }
    }
}

/// The message in a field, if all of it reads as one with small numbers.
fn inner(field: Field<'_>) -> Option<Message<'_>> {
    const NUMBER_MAX: u32 = 64;
    let message = field.message().ok()??;
    let mut fields = message.fields().peekable();
    fields.peek()?;
    fields.all(|field| field.is_ok_and(|field| field.number < NUMBER_MAX)).then_some(message)
}

fn is_shown(text: &str) -> bool {
    !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
}

fn add_line(out: &mut String, text: &str) {
    if !out.is_empty() {
        out.push('\n');
    }
    push_bounded(out, text);
}

/// Appends as much as there is room for.
pub(super) fn push_bounded(out: &mut String, text: &str) {
    let room = RESULT_BYTES_MAX.saturating_sub(out.len());
    out.push_str(&text[..text.floor_char_boundary(room)]);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn schemas_are_objects_whose_members_are_the_arguments() {
        for own in &OWN {
            let schema = Raw::parse_str(own.schema).unwrap();
            assert!(schema.get("properties").unwrap().is_object());
            let members: Vec<_> =
                schema.get("properties").unwrap().members().map(|(key, _)| key.plain().into_owned()).collect();
            let mut written: Vec<_> = own.arguments.iter().map(|(name, ..)| (*name).to_owned()).collect();
            assert!(own.shown.iter().all(|(name, ..)| written.iter().any(|other| other == name)), "{}", own.name);
            written.sort();
            let mut sorted = members.clone();
            sorted.sort();
            assert_eq!(sorted, written, "{}", own.name);
        }
    }

    #[test]
    fn texts_are_found_wherever_they_are() {
        let mut bytes = Vec::new();
        MessageWriter::new(&mut bytes).varint(1, 7).message(2, |w| {
            w.text(1, "src/lib.rs").message(3, |w| {
                w.varint(1, 12).text(2, "fn main() {}");
            });
        });
        MessageWriter::new(&mut bytes).text(4, "last").bytes(5, b"\xff\xfe").text(6, "");
        assert_eq!(strings(Message::new(&bytes)), "src/lib.rs\nfn main() {}\nlast");
    }
}
