//! `StreamUnifiedChat`, with or without its wrapper.
//!
//! | Cursor | hub |
//! |---|---|
//! | `conversation[]`: human | user: results, images, text |
//! | `conversation[]`: AI | assistant: thinking, text, calls; then the calls' results |
//! | `explicit_context`, its rules | system |
//! | `current_file` with contents | a text before the last user's |
//! | `mcp_tools` | tools; the editor's own tools (`supported_tools`) are numbers without a schema, and dropped |
//! | `should_disable_tools`, `thinking_level` | choice `none`, effort |
//!
//! A call stands in the conversation only with its result, so that both are made of one entry. What says who and where the
//! client is (environment, checksums, modes) stays here.

use std::{borrow::Cow, collections::HashSet};

use super::{Asked, bad, each, first_line, image_part, inside, last, names::Names, names::TOOLS_MAX, text, unreadable};
use crate::{
    dialect::cursor::{
        Facts, McpTool, Rpc,
        schema::{
            bubble, bubble_result, chat, chat_client, current_file, explicit_context, image, mcp_result, mcp_tool,
            model_details, result_error, rule, side_call, side_result, thinking,
        },
    },
    hub::{
        ApiError, Rider, ToolKind,
        request::{
            Call, ChoiceMode, Effort, Message as Turn, Part, Reasoning, Request, Role, SystemText, Tool, ToolResult,
        },
    },
    json::{Raw, Str},
    proto::{Field, Message},
};

/// Most messages of a conversation.
const BUBBLES_MAX: usize = 1 << 16;

/// Reads the first message of a stream.
pub(super) fn decode(message: Message<'_>, rpc: Rpc) -> Result<Asked<'_>, ApiError> {
    let mut seen = Seen::default();
    if rpc == Rpc::Chat {
        each(message, |field| seen.field(field))?;
    } else {
        each(message, |field| match field.number {
            chat_client::REQUEST => inside(field, |field| seen.field(field)),
            _ => Ok(()),
        })?;
    }
    seen.asked()
}

/// A result that came as a later message of a stream with tools; `None`: another message. The call's id is the one that the
/// answer gave it.
///
/// # Errors
/// The message cannot be read.
pub fn result_of(message: &[u8]) -> Result<Option<ToolResult<'_>>, ApiError> {
    let mut found = None;
    each(Message::new(message), |field| {
        if field.number == chat_client::TOOL_RESULT {
            let result: &mut Outcome<'_> = found.get_or_insert_default();
            inside(field, |field| result.side(field))?;
        }
        Ok(())
    })?;
    Ok(found.map(Outcome::result))
}

/// What a request says. The conversation waits: which names its tools have is known at the end only.
#[derive(Debug, Default)]
struct Seen<'a> {
    model: Cow<'a, str>,
    conversation_id: Cow<'a, str>,
    bubbles: Vec<Message<'a>>,
    system: Vec<SystemText<'a>>,
    path: Cow<'a, str>,
    contents: Cow<'a, str>,
    tools: Vec<Declared<'a>>,
    own_tools: Vec<u64>,
    disabled: bool,
    level: u64,
}

#[derive(Debug, Default)]
struct Declared<'a> {
    name: Cow<'a, str>,
    description: Cow<'a, str>,
    parameters: Option<&'a [u8]>,
    server: Cow<'a, str>,
}

impl<'a> Seen<'a> {
    fn field(&mut self, field: Field<'a>) -> Result<(), ApiError> {
        match field.number {
            chat::CONVERSATION => {
                if self.bubbles.len() == BUBBLES_MAX {
                    return Err(bad(format!("more than {BUBBLES_MAX} messages")));
                }
                self.bubbles.extend(field.message().map_err(unreadable)?);
            }
            chat::EXPLICIT_CONTEXT => return inside(field, |field| self.context(field)),
            chat::MODEL_DETAILS => {
                if let Some(name) = last(field, model_details::NAME)? {
                    self.model = text(name);
                }
            }
            chat::CURRENT_FILE => {
                return inside(field, |field| {
                    match field.number {
                        current_file::PATH => self.path = text(field),
                        current_file::CONTENTS => self.contents = text(field),
                        _ => {}
                    }
                    Ok(())
                });
            }
            chat::CONVERSATION_ID => self.conversation_id = text(field),
            chat::SUPPORTED_TOOLS => {
                let room = TOOLS_MAX - self.own_tools.len();
                for number in field.varints().take(room) {
                    self.own_tools.push(number.map_err(unreadable)?);
                }
            }
            chat::MCP_TOOLS if self.tools.len() < TOOLS_MAX => {
                let mut tool = Declared::default();
                inside(field, |field| {
                    match field.number {
                        mcp_tool::NAME => tool.name = text(field),
                        mcp_tool::DESCRIPTION => tool.description = text(field),
                        mcp_tool::PARAMETERS => tool.parameters = field.bytes(),
                        mcp_tool::SERVER => tool.server = text(field),
                        _ => {}
                    }
                    Ok(())
                })?;
                self.tools.push(tool);
            }
            chat::SHOULD_DISABLE_TOOLS => self.disabled = field.varint() == Some(1),
            chat::THINKING_LEVEL => self.level = field.varint().unwrap_or(0),
            _ => {}
        }
        Ok(())
    }

    fn context(&mut self, field: Field<'a>) -> Result<(), ApiError> {
        match field.number {
            explicit_context::CONTEXT | explicit_context::REPO_CONTEXT | explicit_context::MODE_SPECIFIC_CONTEXT => {
                self.instruct(text(field))
            }
            explicit_context::RULES => {
                let rule = rule_of(field)?;
                self.instruct(rule.into());
            }
            _ => {}
        }
        Ok(())
    }

    fn instruct(&mut self, text: Cow<'a, str>) {
        if !text.trim().is_empty() {
            self.system.push(SystemText { text: Str::plain_from(text), cache: None });
        }
    }

    fn asked(self) -> Result<Asked<'a>, ApiError> {
        if self.model.is_empty() {
            return Err(ApiError::invalid("model_details.model_name", "the request names no model"));
        }
        let mut request = Request {
            model: Str::plain_from(self.model),
            stream: true,
            stream_said: true,
            system: self.system,
            ..Request::default()
        };
        let mut names = Names::new();
        for tool in self.tools {
            declare(tool, &mut names, &mut request);
        }
        let own = self.own_tools.iter().filter(|number| **number != side_call::MCP && !request.tools.is_empty());
        request.dropped.extend(own.map(|number| format!("supported_tools.{number}")));
        if self.disabled && !request.tools.is_empty() {
            request.choice.mode = Some(ChoiceMode::None);
        }
        let effort = [(1, Effort::Medium), (2, Effort::High)].into_iter().find(|(level, _)| *level == self.level);
        request.reasoning = effort.map(|(_, effort)| Reasoning { effort: Some(effort), ..Reasoning::default() });
        let mut history = History { names: &mut names, told: HashSet::new(), turns: Vec::new() };
        for bubble in self.bubbles {
            history.bubble(bubble)?;
        }
        request.messages = history.turns;
        if !self.contents.trim().is_empty() {
            open_file(&self.path, &self.contents, &mut request.messages);
        }
        let has_tools = !request.tools.is_empty();
        let facts = Facts { tools: names.into_tools().into(), has_tools, ..Facts::default() };
        let conversation = Some(self.conversation_id).filter(|id| !id.is_empty());
        Ok(Asked { request, facts, conversation })
    }
}

/// A rule as a text: what it is for, and what it says.
pub(super) fn rule_of(field: Field<'_>) -> Result<String, ApiError> {
    let mut parts = [(rule::NAME, Cow::default()), (rule::DESCRIPTION, Cow::default()), (rule::BODY, Cow::default())];
    inside(field, |field| {
        if let Some((_, part)) = parts.iter_mut().find(|(number, _)| *number == field.number) {
            *part = text(field);
        }
        Ok(())
    })?;
    let [(_, name), (_, description), (_, body)] = parts;
    let said = [name, description, body].into_iter().filter(|part| !part.trim().is_empty());
    Ok(said.collect::<Vec<_>>().join("\n"))
}

fn declare<'a>(tool: Declared<'a>, names: &mut Names, request: &mut Request<'a>) {
    if tool.name.trim().is_empty() {
        request.dropped.push("mcp_tools".to_owned());
        return;
    }
    let (server, name) = (tool.server.into_owned(), tool.name.clone().into_owned());
    let given = names.assign(McpTool { server, short: name.clone(), name });
    let schema = tool.parameters.and_then(|text| Raw::parse(text).ok()).filter(|schema| schema.is_object());
    let name = if given == *tool.name { Str::plain_from(tool.name) } else { given.into() };
    let description = Some(tool.description).filter(|text| !text.is_empty()).map(Str::plain_from);
    request.tools.push(function(name, description, schema));
}

pub(super) fn function<'a>(name: Str<'a>, description: Option<Str<'a>>, schema: Option<Raw<'a>>) -> Tool<'a> {
    Tool {
        name,
        namespace: None,
        description,
        schema,
        strict: None,
        kind: ToolKind::Function,
        format: None,
        cache: None,
        gemini_types: false,
    }
}

/// The file that the user looks at, before what he said last.
fn open_file(path: &str, contents: &str, turns: &mut Vec<Turn<'_>>) {
    let shown = format!("<open_file path=\"{path}\">\n{contents}\n</open_file>");
    let shown = Part::Text { text: shown.into(), cache: None };
    match turns.iter_mut().rev().find(|turn| turn.role == Role::User) {
        Some(turn) => turn.parts.insert(0, shown),
        None => turns.push(Turn { role: Role::User, parts: vec![shown] }),
    }
}

/// The conversation so far.
struct History<'n, 'a> {
    names: &'n mut Names,
    /// Ids of the calls that stand in it: a result may be told again by a later message.
    told: HashSet<String>,
    turns: Vec<Turn<'a>>,
}

impl<'a> History<'_, 'a> {
    fn bubble(&mut self, message: Message<'a>) -> Result<(), ApiError> {
        let mut is_ai = false;
        let (mut words, mut images, mut thoughts, mut outcomes) =
            (Cow::default(), Vec::new(), Vec::new(), Vec::<Outcome<'a>>::new());
        let mut all_blocks = false;
        each(message, |field| {
            match field.number {
                bubble::TEXT => words = text(field),
                bubble::TYPE => is_ai = field.varint() == Some(bubble::AI),
                bubble::IMAGES => images.extend(image_of(field)?),
                // The blocks hold what the single field holds, and what came before it.
                bubble::THINKING if !all_blocks => thoughts.extend(thought(field)?),
                bubble::ALL_THINKING_BLOCKS => {
                    if !std::mem::replace(&mut all_blocks, true) {
                        thoughts.clear();
                    }
                    thoughts.extend(thought(field)?);
                }
                bubble::TOOL_RESULTS => {
                    let mut outcome = Outcome::default();
                    inside(field, |field| outcome.field(field))?;
                    outcomes.push(outcome);
                }
                _ => {}
            }
            Ok(())
        })?;
        outcomes.retain(|outcome| !outcome.id.is_empty() && self.told.insert(outcome.id.clone().into_owned()));
        let calls: Vec<_> = outcomes.iter_mut().map(|outcome| outcome.call(self.names)).collect();
        let results: Vec<_> = outcomes.into_iter().map(|outcome| Part::Result(outcome.result())).collect();
        let words = Some(words).filter(|words| !words.is_empty());
        let words = words.map(|words| Part::Text { text: Str::plain_from(words), cache: None });
        if is_ai {
            self.turn(Role::Assistant, thoughts.into_iter().chain(words).chain(calls));
            self.turn(Role::Tool, results);
        } else {
            self.turn(Role::Assistant, calls);
            self.turn(Role::Tool, results);
            self.turn(Role::User, words.into_iter().chain(images));
        }
        Ok(())
    }

    fn turn(&mut self, role: Role, parts: impl IntoIterator<Item = Part<'a>>) {
        let parts: Vec<_> = parts.into_iter().collect();
        if !parts.is_empty() {
            self.turns.push(Turn { role, parts });
        }
    }
}

/// An image without its type.
pub(super) fn image_of(field: Field<'_>) -> Result<Option<Part<'static>>, ApiError> {
    let data = last(field, image::DATA)?.and_then(|field| field.bytes());
    Ok(data.filter(|data| !data.is_empty()).map(image_part))
}

/// Thinking. Only what went through our encoder says whose its signature is; any other is the vendor's and of no use.
fn thought(field: Field<'_>) -> Result<Option<Part<'_>>, ApiError> {
    let (mut words, mut rider, mut redacted) = (Cow::default(), None, None);
    inside(field, |field| {
        match field.number {
            thinking::TEXT => words = text(field),
            thinking::SIGNATURE => rider = Rider::from_tag(&text(field)),
            thinking::REDACTED => redacted = Rider::from_tag(&text(field)),
            _ => {}
        }
        Ok(())
    })?;
    Ok(match redacted {
        Some(redacted) => Some(Part::Redacted(redacted)),
        None if words.is_empty() && rider.is_none() => None,
        None => Some(Part::Thinking { text: Str::plain_from(words), rider }),
    })
}

/// What became of a call.
#[derive(Debug, Default)]
struct Outcome<'a> {
    id: Cow<'a, str>,
    name: Cow<'a, str>,
    args: Cow<'a, str>,
    content: Cow<'a, str>,
    result: Cow<'a, str>,
    error: Option<Cow<'a, str>>,
    images: Vec<Part<'a>>,
}

impl<'a> Outcome<'a> {
    /// A field of `ConversationMessage.ToolResult`.
    fn field(&mut self, field: Field<'a>) -> Result<(), ApiError> {
        match field.number {
            bubble_result::CALL_ID => self.id = first_line(text(field)),
            bubble_result::NAME => self.name = text(field),
            bubble_result::ARGS if self.args.is_empty() => self.args = text(field),
            bubble_result::RAW_ARGS => self.args = text(field),
            bubble_result::CONTENT => self.content = text(field),
            bubble_result::RESULT => return inside(field, |field| self.side(field)),
            bubble_result::ERROR => self.error = Some(error_of(field)?),
            bubble_result::IMAGES => self.images.extend(image_of(field)?),
            bubble_result::CALL => return inside(field, |field| self.side_call(field)),
            _ => {}
        }
        Ok(())
    }

    /// A field of `ClientSideToolV2Result`.
    fn side(&mut self, field: Field<'a>) -> Result<(), ApiError> {
        match field.number {
            side_result::CALL_ID if self.id.is_empty() => self.id = first_line(text(field)),
            side_result::ERROR => self.error = Some(error_of(field)?),
            side_result::MCP_RESULT => {
                if let Some(result) = last(field, mcp_result::RESULT)? {
                    self.result = text(result);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A field of the call that the result belongs to: it fills in what the result itself does not say.
    fn side_call(&mut self, field: Field<'a>) -> Result<(), ApiError> {
        match field.number {
            side_call::CALL_ID if self.id.is_empty() => self.id = first_line(text(field)),
            side_call::NAME if self.name.is_empty() => self.name = text(field),
            side_call::RAW_ARGS if self.args.is_empty() => self.args = text(field),
            _ => {}
        }
        Ok(())
    }

    fn call(&mut self, names: &mut Names) -> Part<'a> {
        self.name = names.find(std::mem::take(&mut self.name)).into();
        let args = std::mem::take(&mut self.args);
        Part::Call(Call {
            id: Str::plain_from(self.id.clone()),
            name: Str::plain_from(self.name.clone()),
            namespace: None,
            arguments: if args.trim().is_empty() { "{}".into() } else { Str::plain_from(args) },
            kind: ToolKind::Function,
            signature: None,
            cache: None,
        })
    }

    fn result(self) -> ToolResult<'a> {
        let is_error = self.error.is_some();
        let text = [self.error.unwrap_or_default(), self.result, self.content];
        let text = text.into_iter().find(|text| !text.is_empty()).unwrap_or_default();
        let mut parts = vec![Part::Text { text: Str::plain_from(text), cache: None }];
        parts.extend(self.images);
        let name = Some(self.name).filter(|name| !name.is_empty()).map(Str::plain_from);
        ToolResult { call_id: Str::plain_from(self.id), name, parts, is_error, cache: None }
    }
}

/// The words of an error: those for the model, else those for people.
fn error_of(field: Field<'_>) -> Result<Cow<'_, str>, ApiError> {
    let (mut for_people, mut for_model) = (Cow::default(), Cow::default());
    inside(field, |field| {
        match field.number {
            result_error::CLIENT_TEXT => for_people = text(field),
            result_error::MODEL_TEXT => for_model = text(field),
            _ => {}
        }
        Ok(())
    })?;
    Ok(if for_model.is_empty() { for_people } else { for_model })
}
