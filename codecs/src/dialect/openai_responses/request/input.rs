//! Input items to turns.
//!
//! ```text
//!   reasoning · message(assistant) · function_call …        ─▶ one assistant message
//!   function_call_output …                                  ─▶ one tool message, behind the turn that called
//!   message(developer | system)                             ─▶ system
//!   additional_tools                                        ─▶ the request's tools
//! ```

use std::borrow::Cow;

use super::{
    media::{audio_mime, data_url, mime_of_name, url_source},
    tools,
};
use crate::{
    dialect::expect,
    hub::{
        ApiError, Form, Origin, Request, Rider, ToolKind,
        request::{CacheMark, CacheTtl, Call, Message, Part, Role, Source, SystemText, ToolResult},
    },
    json::{Raw, Str, Text},
};

/// Reads `input`.
pub(super) fn decode<'a>(value: Raw<'a>, request: &mut Request<'a>) -> Result<(), ApiError> {
    if let Some(text) = value.as_text() {
        let parts = vec![Part::Text { text: text.to_str(), cache: None }];
        request.messages.push(Message { role: Role::User, parts });
        return Ok(());
    }
    if !value.is_array() {
        return Err(expect::wrong(value, "input", "a string or an array"));
    }
    for (i, item) in value.elements().enumerate() {
        one(item, &format!("input[{i}]"), request)?;
    }
    Ok(())
}

fn one<'a>(item: Raw<'a>, at: &str, request: &mut Request<'a>) -> Result<(), ApiError> {
    let kind = expect::object(item, at)?.get_text("type").map(|text| text.plain());
    match kind.as_deref() {
        Some("message") => message(item, at, request),
        None if item.get("role").is_some() => message(item, at, request),
        Some("reasoning") => {
            if let Some(part) = reasoning(item) {
                assistant(request).push(part);
            }
            Ok(())
        }
        Some("function_call") => call(item, ToolKind::Function, at, request),
        Some("custom_tool_call") => call(item, ToolKind::Custom, at, request),
        Some("function_call_output" | "custom_tool_call_output") => output(item, at, request),
        Some("local_shell_call" | "shell_call") => shell_call(item, request),
        Some("local_shell_call_output" | "shell_call_output") => output(item, at, request),
        // The newest Codex offers its tools here; without them no other vendor's model could act.
        Some("additional_tools") => match item.get("tools") {
            Some(list) => tools::decode(list, &format!("{at}.tools"), request),
            None => Ok(()),
        },
        Some("item_reference") | None => Err(needs_memory(at)),
        // Hosted tools have run on another server, and their records mean nothing elsewhere.
        Some(other) => {
            request.dropped.push(format!("input.{other}"));
            Ok(())
        }
    }
}

/// The parts of the assistant turn that is being collected.
fn assistant<'r, 'a>(request: &'r mut Request<'a>) -> &'r mut Vec<Part<'a>> {
    turn(request, Role::Assistant)
}

/// The parts of the last message if it has that role, else those of a new one.
fn turn<'r, 'a>(request: &'r mut Request<'a>, role: Role) -> &'r mut Vec<Part<'a>> {
    let messages = &mut request.messages;
    if messages.last().is_none_or(|last| last.role != role) {
        messages.push(Message { role, parts: Vec::new() });
    }
    let last = messages.len() - 1;
    &mut messages[last].parts
}

fn message<'a>(item: Raw<'a>, at: &str, request: &mut Request<'a>) -> Result<(), ApiError> {
    let role = match item.get("role") {
        Some(role) => expect::text(role, format_args!("{at}.role"))?,
        None => return Err(expect::missing(format_args!("{at}.role"))),
    };
    let at_content = format!("{at}.content");
    let content = item.get("content");
    match &*role.plain() {
        "user" => {
            let parts = content_parts(content, &at_content, false)?;
            request.messages.push(Message { role: Role::User, parts });
        }
        "assistant" => {
            let parts = content_parts(content, &at_content, true)?;
            assistant(request).extend(parts);
        }
        "system" | "developer" => {
            for part in content_parts(content, &at_content, false)? {
                match part {
                    Part::Text { text, cache } => request.system.push(SystemText { text, cache }),
                    _ => return Err(ApiError::invalid(&at_content, format!("{at_content} may hold text only"))),
                }
            }
        }
        other => {
            let at = format!("{at}.role");
            return Err(ApiError::invalid(&at, format!("{at} {other:?} is unknown")));
        }
    }
    Ok(())
}

/// A string, or a list of content parts. `own`: of the assistant, whose refusals are parts too.
fn content_parts<'a>(content: Option<Raw<'a>>, at: &str, own: bool) -> Result<Vec<Part<'a>>, ApiError> {
    let Some(content) = content else { return Ok(Vec::new()) };
    if let Some(text) = content.as_text() {
        return Ok(vec![Part::Text { text: text.to_str(), cache: None }]);
    }
    if !content.is_array() {
        return Err(expect::wrong(content, at, "a string or an array"));
    }
    content.elements().enumerate().map(|(i, part)| content_part(part, &format!("{at}[{i}]"), own)).collect()
}

fn content_part<'a>(part: Raw<'a>, at: &str, own: bool) -> Result<Part<'a>, ApiError> {
    let kind = expect::object(part, at)?.get_text("type").unwrap_or(Text::EMPTY).plain();
    let cache = cache_mark(part);
    match &*kind {
        "input_text" | "output_text" | "text" => Ok(Part::Text { text: required_text(part, "text", at)?, cache }),
        "refusal" if own => Ok(Part::Refusal(required_text(part, "refusal", at)?)),
        "input_image" => {
            let source = match (part.get("image_url"), part.get("file_id")) {
                (Some(url), _) => url_source(image_url(url, at)?),
                (None, Some(id)) => Source::FileId(expect::text(id, format_args!("{at}.file_id"))?),
                (None, None) => {
                    return Err(ApiError::invalid(at, format!("{at} has neither image_url nor file_id")));
                }
            };
            // No other dialect knows the original size.
            let detail = part.get_str("detail").map(|word| if word.is("original") { "high".into() } else { word });
            Ok(Part::Image { source, detail, cache })
        }
        "input_file" => Ok(Part::File { name: part.get_str("filename"), source: file_source(part, at)?, cache }),
        "input_audio" => {
            let audio = part.get("input_audio").filter(|inner| inner.is_object()).unwrap_or(part);
            let format = audio.get_text("format").map_or(Cow::Borrowed("wav"), |text| text.plain());
            Ok(Part::Audio { mime: Str::plain_from(audio_mime(&format)), data: required_text(audio, "data", at)? })
        }
        other => Err(ApiError::unsupported(format!("{at} has the type {other:?}, which cannot be translated"))),
    }
}

/// A URL, or the chat dialect's object around it.
fn image_url<'a>(value: Raw<'a>, at: &str) -> Result<Text<'a>, ApiError> {
    let url = value.get("url").unwrap_or(value);
    url.as_text().ok_or_else(|| expect::wrong(url, format_args!("{at}.image_url"), "a string"))
}

fn required_text<'a>(value: Raw<'a>, name: &str, at: &str) -> Result<Str<'a>, ApiError> {
    match value.get(name) {
        Some(text) => expect::text(text, format_args!("{at}.{name}")),
        None => Err(expect::missing(format_args!("{at}.{name}"))),
    }
}

fn file_source<'a>(part: Raw<'a>, at: &str) -> Result<Source<'a>, ApiError> {
    if let Some(data) = part.get_text("file_data") {
        return Ok(data_url(data).unwrap_or_else(|| {
            let name = part.get_text("filename").map(|text| text.plain());
            Source::Base64 { mime: mime_of_name(name.as_deref()).into(), data: data.to_str() }
        }));
    }
    if let Some(url) = part.get_text("file_url") {
        return Ok(url_source(url));
    }
    match part.get_text("file_id") {
        Some(id) => Ok(Source::FileId(id.to_str())),
        None => Err(ApiError::invalid(at, format!("{at} has none of file_data, file_url and file_id"))),
    }
}

fn cache_mark(part: Raw<'_>) -> Option<CacheMark> {
    let mark = part.get("prompt_cache_breakpoint").or_else(|| part.get("cache_control"))?;
    let ttl = mark.get_text("ttl").and_then(|ttl| match &*ttl.plain() {
        "1h" => Some(CacheTtl::OneHour),
        "5m" => Some(CacheTtl::FiveMinutes),
        _ => None,
    });
    Some(CacheMark { ttl })
}

/// A reasoning item; `None` if it says nothing at all.
fn reasoning(item: Raw<'_>) -> Option<Part<'_>> {
    let mut texts = Vec::new();
    for list in ["summary", "content"] {
        let parts = item.get(list).into_iter().flat_map(Raw::elements);
        texts.extend(parts.filter_map(|part| part.get_text("text")).filter(|text| !text.is_empty()));
    }
    let text = match texts.as_slice() {
        [] => Str::default(),
        [one] => one.to_str(),
        many => Str::from(many.iter().map(|text| text.plain()).collect::<Vec<_>>().join("\n\n")),
    };
    let blob = item.get_text("encrypted_content").filter(|blob| !blob.is_empty());
    let rider = blob.map(|blob| {
        let mut rider = Rider::from_field(blob.to_str(), Origin::Responses, Form::Enc);
        if rider.origin == Origin::Responses && rider.item_id.is_none() {
            rider.item_id = item.get_text("id").filter(|id| !id.is_empty()).map(Text::to_str);
        }
        rider
    });
    match rider {
        Some(rider) if rider.form == Form::Red => Some(Part::Redacted(rider)),
        None if text.is_empty() => None,
        rider => Some(Part::Thinking { text, rider }),
    }
}

fn call<'a>(item: Raw<'a>, kind: ToolKind, at: &str, request: &mut Request<'a>) -> Result<(), ApiError> {
    let Some(name) = item.get_str("name").filter(|name| !name.is_blank()) else {
        // Seen from agents that stream a call badly; nobody could answer to it.
        return Ok(());
    };
    let member = if kind == ToolKind::Custom { "input" } else { "arguments" };
    let arguments = match item.get(member) {
        None => Str::default(),
        Some(value) => match value.as_text() {
            Some(text) => text.to_str(),
            None if value.is_object() && kind == ToolKind::Function => Str::from(value.as_str()),
            None => return Err(expect::wrong(value, format_args!("{at}.{member}"), "a string")),
        },
    };
    let id = item.get_str("call_id").or_else(|| item.get_str("id")).unwrap_or_default();
    let namespace = item.get_str("namespace").filter(|namespace| !namespace.is_empty());
    let call = Call { id, name, namespace, arguments, kind, signature: None, cache: None };
    assistant(request).push(Part::Call(call));
    Ok(())
}

/// A call of the vendor's own shell tool, kept as an ordinary call so that its output keeps its place.
fn shell_call<'a>(item: Raw<'a>, request: &mut Request<'a>) -> Result<(), ApiError> {
    let call = Call {
        id: item.get_str("call_id").or_else(|| item.get_str("id")).unwrap_or_default(),
        name: "shell".into(),
        namespace: None,
        arguments: Str::from(item.get("action").unwrap_or(Raw::EMPTY_OBJECT).as_str()),
        kind: ToolKind::Function,
        signature: None,
        cache: None,
    };
    assistant(request).push(Part::Call(call));
    Ok(())
}

fn output<'a>(item: Raw<'a>, at: &str, request: &mut Request<'a>) -> Result<(), ApiError> {
    let parts = match item.get("output") {
        None => Vec::new(),
        // Only `input_*` parts make a list of content; any other value is the tool's own JSON.
        Some(value) if value.is_array() && is_content(value) => {
            content_parts(Some(value), &format!("{at}.output"), false)?
        }
        Some(value) => {
            let text = value.as_text().unwrap_or(Text::Plain(value.as_str())).to_str();
            vec![Part::Text { text, cache: None }]
        }
    };
    let call_id = item.get_str("call_id").or_else(|| item.get_str("id")).unwrap_or_default();
    let result = ToolResult { call_id, name: None, parts, is_error: false, cache: cache_mark(item) };
    let place = place_of_output(&request.messages, &result.call_id);
    match place {
        Some(place) if request.messages.get(place).is_some_and(|at| at.role == Role::Tool) => {
            request.messages[place].parts.push(Part::Result(result));
        }
        Some(place) => {
            let parts = vec![Part::Result(result)];
            request.messages.insert(place, Message { role: Role::Tool, parts });
        }
        None => turn(request, Role::Tool).push(Part::Result(result)),
    }
    Ok(())
}

fn is_content(list: Raw<'_>) -> bool {
    list.elements().all(|part| part.get_text("type").is_some_and(|kind| kind.plain().starts_with("input_")))
}

/// Where the output of a call belongs when user messages have come between: behind the latest assistant turn, if that
/// turn made the call. `None`: at the end.
fn place_of_output(messages: &[Message<'_>], call_id: &Str<'_>) -> Option<usize> {
    if messages.last().is_none_or(|last| last.role != Role::User) {
        return None;
    }
    let turn = messages.iter().rposition(|message| message.role == Role::Assistant)?;
    let made = |part: &Part<'_>| matches!(part, Part::Call(call) if call.id == *call_id);
    messages[turn].parts.iter().any(made).then_some(turn + 1)
}

/// What needs the memory of the server that gave the earlier answer.
pub(super) fn needs_memory(what: &str) -> ApiError {
    let message = format!("{what} refers to what another server keeps: send the full input instead");
    ApiError { param: Some(what.to_owned()), ..ApiError::unsupported(message) }
}
