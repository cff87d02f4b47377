//! `AgentService/Run`: the first message, and what the editor sends while its turn runs.
//!
//! | Cursor | hub |
//! |---|---|
//! | `conversation_state`: turns, else the root prompt | earlier messages |
//! | `action.user_message_action`: what is selected, text | the last user message |
//! | `custom_system_prompt`, rules, instructions of MCP servers, environment | system |
//! | `mcp_tools`, tools of the request context | tools, in agent mode only |
//! | mode `agent` | the editor's own tools as well, in our words |
//!
//! Form and texts of rules and selections are not known in detail: their texts are told in their order. Images of a
//! selection are dropped, and so are plans, subagents and questions to the user.

use std::{
    borrow::Cow,
    cell::OnceCell,
    collections::{HashMap, HashSet},
};

use super::{
    Asked, bad,
    chat::function,
    each,
    history::{Blobs, State},
    inside, last,
    names::{Names, TOOLS_MAX},
    text, unreadable,
};
use crate::{
    dialect::cursor::{
        Facts, McpTool,
        schema::{
            action, agent_client, agent_server, agent_tool, append, bidi_request_id, blob, env, exec, exec_control, kv,
            kv_server, model_details, request_context, run, selected, user_action, user_message,
        },
        toolbox, value,
    },
    frame::write_envelope,
    hub::{
        ApiError,
        request::{Message as Turn, Part, Request, Role, SystemText},
    },
    json::{Raw, Str, Writer},
    proto::{Field, Message, MessageWriter},
};

/// What a model is told where the client gives it no instructions.
const INSTRUCTIONS: &str = "You are a coding assistant in the user's editor. Use the tools to look at the user's files, to \
change them and to run commands; their results come from the user's machine. Say briefly what you do, and stop when the \
task is done.";

/// A message of the client.
#[derive(Debug, Clone, PartialEq)]
pub enum ClientMessage<'a> {
    /// The request: [`decode`] reads it.
    Run,
    /// What came of an execution, or a piece of it.
    Executed {
        /// The execution's number.
        id: u32,
        /// Number of the kind of result.
        kind: u32,
        /// The result, a message of that kind.
        result: &'a [u8],
    },
    /// No more will come of an execution. With words: it failed.
    Closed {
        /// The execution's number.
        id: u32,
        /// Why it failed.
        error: Option<Cow<'a, str>>,
    },
    /// A blob that was asked for by [`ask_blob`]; `None`: there is none.
    Blob {
        /// Number of the question.
        id: u32,
        /// The blob.
        data: Option<&'a [u8]>,
    },
    /// A blob that was sent is stored, or with words: it is not.
    Stored {
        /// Number of the message that sent it.
        id: u32,
        /// Why it is not.
        error: Option<Cow<'a, str>>,
    },
    /// The user does not want an answer any more.
    Cancel,
    /// A sign of life.
    Heartbeat,
    /// Something else, by its number; zero where the message has no fields.
    Other(u32),
}

/// Reads a message of the client, without its envelope.
///
/// # Errors
/// It cannot be read.
pub fn read(message: &[u8]) -> Result<ClientMessage<'_>, ApiError> {
    let mut found = ClientMessage::Other(0);
    each(Message::new(message), |field| {
        found = match field.number {
            agent_client::RUN => ClientMessage::Run,
            agent_client::EXEC => executed(field)?,
            agent_client::KV => stored(field)?,
            agent_client::ACTION => acted(field)?,
            agent_client::EXEC_CONTROL => closed(field)?,
            agent_client::HEARTBEAT => ClientMessage::Heartbeat,
            other => ClientMessage::Other(other),
        };
        Ok(())
    })?;
    Ok(found)
}

/// A number that is an id.
fn id(field: Field<'_>) -> u32 {
    field.varint().and_then(|id| u32::try_from(id).ok()).unwrap_or(0)
}

fn executed(field: Field<'_>) -> Result<ClientMessage<'_>, ApiError> {
    let (mut number, mut kind, mut result) = (0, 0, &[][..]);
    inside(field, |field| {
        match (field.number, field.bytes()) {
            (exec::ID, _) => number = id(field),
            (exec::EXEC_ID, _) => {}
            // The results have numbers below that of `exec_id` or, for kinds that are never asked for here, above it.
            (other, Some(bytes)) => (kind, result) = (other, bytes),
            _ => {}
        }
        Ok(())
    })?;
    Ok(ClientMessage::Executed { id: number, kind, result })
}

fn stored(field: Field<'_>) -> Result<ClientMessage<'_>, ApiError> {
    let (mut number, mut found) = (0, ClientMessage::Other(agent_client::KV));
    inside(field, |field| {
        match field.number {
            kv::ID => number = id(field),
            kv::GET_RESULT => {
                let data = last(field, kv::DATA)?.and_then(|field| field.bytes());
                found = ClientMessage::Blob { id: 0, data };
            }
            kv::SET_RESULT => {
                let error = last(field, kv::ERROR)?.map(text).filter(|text| !text.is_empty());
                found = ClientMessage::Stored { id: 0, error };
            }
            _ => {}
        }
        Ok(())
    })?;
    if let ClientMessage::Blob { id, .. } | ClientMessage::Stored { id, .. } = &mut found {
        *id = number;
    }
    Ok(found)
}

fn acted(field: Field<'_>) -> Result<ClientMessage<'_>, ApiError> {
    let mut cancelled = false;
    inside(field, |field| {
        cancelled |= field.number == action::CANCEL;
        Ok(())
    })?;
    Ok(if cancelled { ClientMessage::Cancel } else { ClientMessage::Other(agent_client::ACTION) })
}

fn closed(field: Field<'_>) -> Result<ClientMessage<'_>, ApiError> {
    let mut found = ClientMessage::Heartbeat;
    inside(field, |field| {
        if !matches!(field.number, exec_control::STREAM_CLOSE | exec_control::THROW) {
            return Ok(());
        }
        let (mut number, mut error) = (0, None);
        let thrown = field.number == exec_control::THROW;
        inside(field, |field| {
            match field.number {
                exec_control::ID => number = id(field),
                exec_control::ERROR => error = field.text(),
                _ => {}
            }
            Ok(())
        })?;
        found = ClientMessage::Closed { id: number, error: thrown.then(|| error.unwrap_or("failed".into())) };
        Ok(())
    })?;
    Ok(found)
}

/// Appends the question for a blob.
pub fn ask_blob(number: u32, id: &[u8], out: &mut bytes::BytesMut) {
    write_envelope(false, out, |out| {
        MessageWriter::new(out).message(agent_server::KV, |w| {
            w.varint(kv_server::ID, number.into()).message(kv_server::GET_BLOB, |w| {
                w.bytes(kv_server::BLOB_ID, id);
            });
        });
    });
}

/// A message that came by another call, for clients whose HTTP/1.1 has no two-way streams (`BidiService/BidiAppend`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append<'a> {
    /// Id of the run that it belongs to.
    pub request_id: Cow<'a, str>,
    /// Place in the order of messages.
    pub number: u64,
    /// An `AgentClientMessage`, or the first message of a chat.
    pub message: Vec<u8>,
}

/// Reads the body of a `BidiAppend`, which has no envelope.
///
/// # Errors
/// It cannot be read, or its data is no text of hexadecimal digits.
pub fn append(body: &[u8]) -> Result<Append<'_>, ApiError> {
    let (mut data, mut found) = (&[][..], Append { request_id: "".into(), number: 0, message: Vec::new() });
    each(Message::new(body), |field| {
        match field.number {
            append::DATA => data = field.bytes().unwrap_or_default(),
            append::REQUEST_ID => found.request_id = last(field, bidi_request_id::ID)?.map(text).unwrap_or_default(),
            append::SEQNO => found.number = field.varint().unwrap_or(0),
            _ => {}
        }
        Ok(())
    })?;
    let (pairs, rest) = data.as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let byte = |[high, low]: &[u8; 2]| Some(digit(*high)? << 4 | digit(*low)?);
    let message: Option<Vec<u8>> = pairs.iter().map(byte).collect();
    found.message = message.filter(|_| rest.is_empty()).ok_or_else(|| bad("the data is not hexadecimal".to_owned()))?;
    Ok(found)
}

/// The id in a `BidiRequestId`, the only message of `RunSSE`.
///
/// # Errors
/// It cannot be read.
pub fn request_id(message: &[u8]) -> Result<Cow<'_, str>, ApiError> {
    let mut found = Cow::default();
    each(Message::new(message), |field| {
        if field.number == bidi_request_id::ID {
            found = text(field);
        }
        Ok(())
    })?;
    Ok(found)
}

/// Ids of the blobs that a request names and `blobs` does not have, at most 200. Those that come along with the request count
/// as there. Blobs name others: ask again when they have come.
///
/// # Errors
/// The message cannot be read, or names more than is read of a conversation (64 MiB).
pub fn missing_blobs<'a>(message: &'a [u8], blobs: Blobs<'_, 'a>) -> Result<Vec<&'a [u8]>, ApiError> {
    let seen = Seen::read(Message::new(message))?;
    seen.state.missing(&|id| seen.blobs.get(id).copied().or_else(|| blobs(id)))
}

/// Where JSON is kept that is made of a request's protobuf.
#[derive(Debug, Default)]
pub struct Scratch(OnceCell<Vec<String>>);

/// Reads the request in the first message of a stream. Earlier turns are read as far as their blobs are there.
///
/// # Errors
/// It is no request: another message, an action without a message of the user, no model.
pub fn decode<'a>(message: &'a [u8], blobs: Blobs<'_, 'a>, scratch: &'a Scratch) -> Result<Asked<'a>, ApiError> {
    let mut seen = Seen::read(Message::new(message))?;
    seen.tools.append(&mut seen.context_tools);
    let schemas = seen.tools.iter().map(|tool| tool.schema.map(json).transpose().map(Option::unwrap_or_default));
    let schemas = schemas.collect::<Result<Vec<_>, _>>()?;
    seen.asked(blobs, scratch.0.get_or_init(|| schemas))
}

fn json(schema: Message<'_>) -> Result<String, ApiError> {
    let mut out = Vec::new();
    value::read(schema, &mut Writer::new(&mut out)).map_err(unreadable)?;
    String::from_utf8(out).map_err(|error| bad(error.to_string()))
}

/// What a run says.
#[derive(Debug, Default)]
struct Seen<'a> {
    is_run: bool,
    model: Cow<'a, str>,
    display_model: Cow<'a, str>,
    conversation_id: Cow<'a, str>,
    prompt: Cow<'a, str>,
    state: State<'a>,
    blobs: HashMap<&'a [u8], &'a [u8]>,
    user: Option<User<'a>>,
    system: Vec<String>,
    tools: Vec<Declared<'a>>,
    /// Those that the context of the message names; `tools` knows better.
    context_tools: Vec<Declared<'a>>,
}

#[derive(Debug, Default)]
struct User<'a> {
    text: Cow<'a, str>,
    text_blob: Option<&'a [u8]>,
    selected: Vec<String>,
    mode: u64,
    has_images: bool,
}

#[derive(Debug, Default)]
struct Declared<'a> {
    name: Cow<'a, str>,
    description: Cow<'a, str>,
    schema: Option<Message<'a>>,
    provider: Cow<'a, str>,
    short: Cow<'a, str>,
}

impl<'a> Seen<'a> {
    fn read(message: Message<'a>) -> Result<Self, ApiError> {
        let mut seen = Self::default();
        each(message, |field| {
            if field.number != agent_client::RUN {
                return Ok(());
            }
            seen.is_run = true;
            inside(field, |field| seen.run(field))
        })?;
        Ok(seen)
    }

    fn run(&mut self, field: Field<'a>) -> Result<(), ApiError> {
        match field.number {
            run::STATE => {
                return inside(field, |field| {
                    self.state.field(field);
                    Ok(())
                });
            }
            run::ACTION => {
                return inside(field, |field| match field.number {
                    action::USER_MESSAGE => inside(field, |field| self.user_action(field)),
                    _ => Ok(()),
                });
            }
            run::MODEL_DETAILS | run::REQUESTED_MODEL => {
                let model =
                    if field.number == run::REQUESTED_MODEL { &mut self.model } else { &mut self.display_model };
                if let Some(name) = last(field, model_details::NAME)?.and_then(|field| field.text()) {
                    *model = name;
                }
            }
            run::MCP_TOOLS => {
                return inside(field, |field| match field.number {
                    1 => tool(field, &mut self.tools),
                    _ => Ok(()),
                });
            }
            run::CONVERSATION_ID => self.conversation_id = text(field),
            run::CUSTOM_SYSTEM_PROMPT => self.prompt = text(field),
            run::PRE_FETCHED_BLOBS => {
                let (mut id, mut data) = (None, None);
                inside(field, |field| {
                    match field.number {
                        blob::ID => id = field.bytes(),
                        blob::DATA => data = field.bytes(),
                        _ => {}
                    }
                    Ok(())
                })?;
                self.blobs.extend(id.zip(data));
            }
            _ => {}
        }
        Ok(())
    }

    fn user_action(&mut self, field: Field<'a>) -> Result<(), ApiError> {
        match field.number {
            user_action::MESSAGE => {
                let user = self.user.get_or_insert_default();
                inside(field, |field| {
                    match field.number {
                        user_message::TEXT => user.text = text(field),
                        user_message::TEXT_BLOB => user.text_blob = field.bytes(),
                        user_message::MODE => user.mode = field.varint().unwrap_or(0),
                        user_message::SELECTED_CONTEXT => {
                            return inside(field, |field| {
                                user.has_images |= field.number == selected::IMAGES;
                                if selected::TEXTS.contains(&field.number) {
                                    user.selected.extend(strings(field)?);
                                }
                                Ok(())
                            });
                        }
                        _ => {}
                    }
                    Ok(())
                })
            }
            user_action::REQUEST_CONTEXT => inside(field, |field| self.context(field)),
            _ => Ok(()),
        }
    }

    fn context(&mut self, field: Field<'a>) -> Result<(), ApiError> {
        match field.number {
            request_context::RULES | request_context::MCP_INSTRUCTIONS => self.system.extend(strings(field)?),
            request_context::TOOLS => return tool(field, &mut self.context_tools),
            request_context::ENV => {
                let mut lines = Vec::new();
                inside(field, |field| {
                    let known =
                        [(env::OS_VERSION, "Operating system"), (env::WORKSPACES, "Workspace"), (env::SHELL, "Shell")];
                    let name = known.iter().find(|(number, _)| *number == field.number);
                    lines.extend(name.map(|(_, name)| format!("{name}: {}", text(field))));
                    Ok(())
                })?;
                self.system.push(lines.join("\n"));
            }
            _ => {}
        }
        Ok(())
    }

    fn asked(self, blobs: Blobs<'_, 'a>, schemas: &'a [String]) -> Result<Asked<'a>, ApiError> {
        if !self.is_run {
            return Err(ApiError::invalid("run_request", "the message holds no request"));
        }
        let model = if self.model.is_empty() { self.display_model } else { self.model };
        if model.is_empty() {
            return Err(ApiError::invalid("requested_model.model_id", "the request names no model"));
        }
        let Some(user) = self.user else {
            return Err(ApiError::invalid("action.user_message_action", "the request holds no message of the user"));
        };
        let find = |id: &[u8]| self.blobs.get(id).copied().or_else(|| blobs(id));
        let mut request =
            Request { model: Str::plain_from(model), stream: true, stream_said: true, ..Request::default() };
        let is_agent = user.mode == user_message::AGENT;
        let mut names = Names::new();
        if is_agent {
            declare(self.tools, schemas, &mut names, &mut request);
        }
        let system = |text: Str<'a>| SystemText { text, cache: None };
        if !self.prompt.trim().is_empty() {
            request.system.push(system(Str::plain_from(self.prompt)));
        } else if is_agent {
            request.system.push(system(INSTRUCTIONS.into()));
        }
        let told = self.system.into_iter().filter(|text| !text.trim().is_empty());
        request.system.extend(told.map(|text| system(text.into())));
        request.messages = self.state.read(&find, &mut names)?;
        if user.has_images {
            request.dropped.push("selected_context.images".to_owned());
        }
        let blob = user.text_blob.and_then(find).map(String::from_utf8_lossy);
        let said = if user.text.is_empty() { blob.unwrap_or_default() } else { user.text };
        let mut parts: Vec<_> = user.selected.into_iter().filter(|text| !text.is_empty()).map(selection).collect();
        parts.push(Part::Text { text: Str::plain_from(said), cache: None });
        request.messages.push(Turn { role: Role::User, parts });
        let has_tools = !request.tools.is_empty();
        let facts = Facts { tools: names.into_tools().into(), two_way: true, has_tools, executions: 0 };
        let conversation = Some(self.conversation_id).filter(|id| !id.is_empty());
        Ok(Asked { request, facts, conversation })
    }
}

fn tool<'a>(field: Field<'a>, tools: &mut Vec<Declared<'a>>) -> Result<(), ApiError> {
    if tools.len() == TOOLS_MAX {
        return Ok(());
    }
    let mut tool = Declared::default();
    inside(field, |field| {
        match field.number {
            agent_tool::NAME => tool.name = text(field),
            agent_tool::DESCRIPTION => tool.description = text(field),
            agent_tool::INPUT_SCHEMA => tool.schema = field.message().map_err(unreadable)?,
            agent_tool::PROVIDER => tool.provider = text(field),
            agent_tool::TOOL_NAME => tool.short = text(field),
            _ => {}
        }
        Ok(())
    })?;
    tools.push(tool);
    Ok(())
}

fn strings(field: Field<'_>) -> Result<Option<String>, ApiError> {
    Ok(field.message().map_err(unreadable)?.map(toolbox::strings))
}

fn selection(text: String) -> Part<'static> {
    Part::Text { text: format!("<selected_context>\n{text}\n</selected_context>").into(), cache: None }
}

/// The editor's own tools first: their names are kept.
fn declare<'a>(tools: Vec<Declared<'a>>, schemas: &'a [String], names: &mut Names, request: &mut Request<'a>) {
    for own in &toolbox::OWN {
        names.reserve(own.name);
        request.tools.push(function(own.name.into(), Some(own.description.into()), Raw::parse_str(own.schema).ok()));
    }
    // Two lists may name the same tool.
    let mut seen = HashSet::new();
    for (tool, schema) in tools.into_iter().zip(schemas) {
        if tool.name.trim().is_empty() || !seen.insert(tool.name.clone()) {
            continue;
        }
        let short = if tool.short.is_empty() { tool.name.clone() } else { tool.short };
        let known =
            McpTool { server: tool.provider.into_owned(), name: tool.name.into_owned(), short: short.into_owned() };
        let given = names.assign(known);
        let schema = Raw::parse_str(schema).ok().filter(|schema| schema.is_object());
        let description = Some(tool.description).filter(|text| !text.is_empty()).map(Str::plain_from);
        request.tools.push(function(given.into(), description, schema));
    }
}
