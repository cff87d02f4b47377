//! Reads the conversation. Instructions are hoisted to the head wherever they stand.

use super::{
    content::{self, Place},
    reasoning,
};
use crate::{
    dialect::expect::{missing, wrong},
    hub::{
        ApiError, Form, Origin, Request, Rider, ToolKind,
        request::{Call, Message, Part, Role, SystemText, ToolResult},
    },
    json::{Kind, Raw, Str},
};

/// Reads `messages` into the request.
pub(super) fn read<'a>(messages: Raw<'a>, request: &mut Request<'a>) -> Result<(), ApiError> {
    if !messages.is_array() {
        return Err(wrong(messages, "messages", "an array"));
    }
    for (place, message) in messages.elements().enumerate() {
        let param = format!("messages[{place}]");
        if !message.is_object() {
            return Err(wrong(message, param, "an object"));
        }
        let role = message.get("role").ok_or_else(|| missing(format_args!("{param}.role")))?;
        let role = role.as_text().ok_or_else(|| wrong(role, format_args!("{param}.role"), "a string"))?;
        match role.plain().as_ref() {
            "system" | "developer" => system(message, &param, request)?,
            "user" => user(message, &param, request)?,
            "assistant" => assistant(message, place, &param, request)?,
            "tool" => tool(message, &param, request)?,
            "function" => function(message, &param, request)?,
            other => {
                let param = format!("{param}.role");
                return Err(ApiError::invalid(&*param, format!("{param} {other:?} is unknown")));
            }
        }
    }
    Ok(())
}

fn system<'a>(message: Raw<'a>, param: &str, request: &mut Request<'a>) -> Result<(), ApiError> {
    let mark = content::cache_mark(message);
    for part in content::read(message, &format!("{param}.content"), Place::Instructions)? {
        if let Part::Text { text, cache } = part {
            request.system.push(SystemText { text, cache: cache.or(mark) });
        }
    }
    Ok(())
}

fn user<'a>(message: Raw<'a>, param: &str, request: &mut Request<'a>) -> Result<(), ApiError> {
    let content = format!("{param}.content");
    if let Some(null) = message.member("content").filter(|value| value.is_null()) {
        return Err(wrong(null, content, "a string or an array"));
    }
    let mut parts = content::read(message, &content, Place::User)?;
    content::mark_last(&mut parts, content::cache_mark(message));
    note(message, "name", request);
    request.messages.push(Message { role: Role::User, parts });
    Ok(())
}

/// Reports a member of a message that the hub has no place for.
fn note(message: Raw<'_>, member: &str, request: &mut Request<'_>) {
    if message.get(member).is_some() {
        request.dropped.push(format!("messages.{member}"));
    }
}

fn assistant<'a>(message: Raw<'a>, place: usize, param: &str, request: &mut Request<'a>) -> Result<(), ApiError> {
    let mut parts = reasoning::history(message);
    let mut said = content::read(message, &format!("{param}.content"), Place::Assistant)?;
    content::mark_last(&mut said, content::cache_mark(message));
    parts.extend(said);
    if let Some(refusal) = message.get_text("refusal").filter(|refusal| !refusal.is_empty()) {
        parts.push(Part::Refusal(refusal.to_str()));
    }
    match (message.get("tool_calls"), message.get("function_call")) {
        (Some(calls), _) => {
            if !calls.is_array() {
                return Err(wrong(calls, format_args!("{param}.tool_calls"), "an array"));
            }
            for (n, call) in calls.elements().enumerate() {
                parts.push(Part::Call(tool_call(call, place, n, &format!("{param}.tool_calls[{n}]"))?));
            }
        }
        (None, Some(function)) => {
            let id = Str::from(format!("call_{place}_0"));
            parts.push(Part::Call(function_call(function, id, &format!("{param}.function_call"))?));
        }
        (None, None) => {}
    }
    for member in ["audio", "images"] {
        note(message, member, request);
    }
    request.messages.push(Message { role: Role::Assistant, parts });
    Ok(())
}

fn tool_call<'a>(call: Raw<'a>, place: usize, n: usize, param: &str) -> Result<Call<'a>, ApiError> {
    if !call.is_object() {
        return Err(wrong(call, param, "an object"));
    }
    let id = match call.get("id") {
        Some(id) => id.as_text().ok_or_else(|| wrong(id, format_args!("{param}.id"), "a string"))?.to_str(),
        None => Str::default(),
    };
    let id = if id.is_empty() { Str::from(format!("call_{place}_{n}")) } else { id };
    if let Some(custom) = call.get("custom") {
        let input = custom.get("input").unwrap_or(Raw::NULL);
        return Ok(Call {
            name: custom.get_text("name").unwrap_or_default().to_str(),
            arguments: argument_text(input, &format!("{param}.custom.input"))?,
            kind: ToolKind::Custom,
            ..blank_call(id)
        });
    }
    let function = call.get("function").ok_or_else(|| missing(format_args!("{param}.function")))?;
    let signature = call.at(&["extra_content", "google", "thought_signature"]).and_then(Raw::as_text);
    Ok(Call {
        signature: signature.map(|blob| Rider::from_field(blob.to_str(), Origin::Gemini, Form::Sig)),
        cache: content::cache_mark(call),
        ..function_call(function, id, &format!("{param}.function"))?
    })
}

fn function_call<'a>(function: Raw<'a>, id: Str<'a>, param: &str) -> Result<Call<'a>, ApiError> {
    let arguments = function.get("arguments").unwrap_or(Raw::NULL);
    Ok(Call {
        name: function.get_text("name").unwrap_or_default().to_str(),
        arguments: argument_text(arguments, &format!("{param}.arguments"))?,
        ..blank_call(id)
    })
}

fn blank_call(id: Str<'_>) -> Call<'_> {
    Call {
        id,
        name: Str::default(),
        namespace: None,
        arguments: Str::default(),
        kind: ToolKind::Function,
        signature: None,
        cache: None,
    }
}

/// Argument text; some clients send the object itself.
fn argument_text<'a>(value: Raw<'a>, param: &str) -> Result<Str<'a>, ApiError> {
    match value.kind() {
        Kind::String => Ok(value.as_text().unwrap_or_default().to_str()),
        Kind::Null => Ok(Str::default()),
        Kind::Object => Ok(Str::from(value.as_str())),
        _ => Err(wrong(value, param, "a string")),
    }
}

fn tool<'a>(message: Raw<'a>, param: &str, request: &mut Request<'a>) -> Result<(), ApiError> {
    let call_id = match message.get("tool_call_id") {
        Some(id) => id.as_text().ok_or_else(|| wrong(id, format_args!("{param}.tool_call_id"), "a string"))?.to_str(),
        None => Str::default(),
    };
    // The name counts only where there is no id: old clients write both.
    let name = message.get_text("name").filter(|_| call_id.is_empty()).map(|name| name.to_str());
    result(message, call_id, name, param, request)
}

/// A result of the legacy form, which pairs by name.
fn function<'a>(message: Raw<'a>, param: &str, request: &mut Request<'a>) -> Result<(), ApiError> {
    let name = message.get_str("name");
    result(message, Str::default(), name, param, request)
}

fn result<'a>(
    message: Raw<'a>,
    call_id: Str<'a>,
    name: Option<Str<'a>>,
    param: &str,
    request: &mut Request<'a>,
) -> Result<(), ApiError> {
    let parts = content::read(message, &format!("{param}.content"), Place::Result)?;
    let cache = content::cache_mark(message);
    let result = Part::Result(ToolResult { call_id, name, parts, is_error: false, cache });
    match request.messages.last_mut() {
        Some(last) if last.role == Role::Tool => last.parts.push(result),
        _ => request.messages.push(Message { role: Role::Tool, parts: vec![result] }),
    }
    Ok(())
}
