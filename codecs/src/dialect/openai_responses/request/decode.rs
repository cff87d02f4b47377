//! Reads the members of a request.

use super::{input, tools};
use crate::{
    hub::{
        ApiError, Request,
        request::{Effort, Format, Reasoning, SystemText},
    },
    json::{Kind, Raw, Str, Text},
};

/// Reads a request.
pub fn decode<'a>(body: Raw<'a>) -> Result<Request<'a>, ApiError> {
    if !body.is_object() {
        return Err(ApiError::new(
            crate::hub::ErrorKind::Invalid,
            format!("the body must be an object, not {}", body.kind().name()),
        ));
    }
    let mut request = Request { include_usage: true, ..Request::default() };
    if let Some(instructions) = body.get("instructions") {
        let text = string(instructions, "instructions")?;
        if !text.is_empty() {
            request.system.push(SystemText { text: text.to_str(), cache: None });
        }
    }
    let mut end_user = None;
    for (key, value) in body.members() {
        if value.is_null() {
            continue;
        }
        let name = key.plain();
        match &*name {
            "instructions" => {}
            "model" => request.model = string(value, "model")?.to_str(),
            "input" => input::decode(value, &mut request)?,
            "stream" => request.stream = boolean(value, "stream")?,
            // Padding against traffic analysis: translated streams have none.
            "stream_options" => {}
            "max_output_tokens" => request.max_tokens = Some(count(value, "max_output_tokens")?),
            "temperature" => request.sampling.temperature = Some(number(value, "temperature")?),
            "top_p" => request.sampling.top_p = Some(number(value, "top_p")?),
            "tools" => tools::decode(value, &mut request)?,
            "tool_choice" => tools::decode_choice(value, &mut request)?,
            "parallel_tool_calls" => request.choice.parallel = Some(boolean(value, "parallel_tool_calls")?),
            "reasoning" => reasoning(value, &mut request)?,
            "text" => text(value, &mut request)?,
            "safety_identifier" => request.user = Some(string(value, "safety_identifier")?.to_str()),
            "user" => end_user = Some(string(value, "user")?.to_str()),
            "previous_response_id" | "conversation" => return Err(needs_memory(&name)),
            _ => request.extras.push((key.to_str(), value)),
        }
    }
    request.user = request.user.or(end_user);
    Ok(request)
}

/// What needs the memory of the server that gave the earlier answer.
pub(super) fn needs_memory(what: &str) -> ApiError {
    let message = format!("{what} refers to what another server keeps: send the full input instead");
    ApiError { param: Some(what.to_owned()), ..ApiError::unsupported(message) }
}

pub(super) fn wrong(at: &str, wanted: &str, value: Raw<'_>) -> ApiError {
    ApiError::invalid(at, format!("{at} must be {wanted}, not {}", value.kind().name()))
}

pub(super) fn string<'a>(value: Raw<'a>, at: &str) -> Result<Text<'a>, ApiError> {
    value.as_text().ok_or_else(|| wrong(at, "a string", value))
}

fn boolean(value: Raw<'_>, at: &str) -> Result<bool, ApiError> {
    value.as_bool().ok_or_else(|| wrong(at, "a boolean", value))
}

fn count(value: Raw<'_>, at: &str) -> Result<u64, ApiError> {
    match value.kind() {
        Kind::Number => value
            .as_u64()
            .ok_or_else(|| ApiError::invalid(at, format!("{at} must be a whole number that is not negative"))),
        _ => Err(wrong(at, "a number", value)),
    }
}

fn number<'a>(value: Raw<'a>, at: &str) -> Result<Raw<'a>, ApiError> {
    if value.kind() == Kind::Number { Ok(value) } else { Err(wrong(at, "a number", value)) }
}

pub(super) fn object<'a>(value: Raw<'a>, at: &str) -> Result<Raw<'a>, ApiError> {
    if value.is_object() { Ok(value) } else { Err(wrong(at, "an object", value)) }
}

fn reasoning<'a>(value: Raw<'a>, request: &mut Request<'a>) -> Result<(), ApiError> {
    let value = object(value, "reasoning")?;
    let mut wish = Reasoning::default();
    if let Some(effort) = value.get("effort") {
        match Effort::parse(&string(effort, "reasoning.effort")?.plain()) {
            Some(effort) => wish.effort = Some(effort),
            // A word of the future: the model's default is better than a refusal.
            None => request.dropped.push("reasoning".to_owned()),
        }
    }
    wish.summary = value.get_text("summary").or_else(|| value.get_text("generate_summary")).map(Text::to_str);
    request.reasoning = Some(wish);
    Ok(())
}

fn text<'a>(value: Raw<'a>, request: &mut Request<'a>) -> Result<(), ApiError> {
    let value = object(value, "text")?;
    if let Some(verbosity) = value.get("verbosity") {
        request.verbosity = Some(string(verbosity, "text.verbosity")?.to_str());
    }
    let Some(format) = value.get("format") else { return Ok(()) };
    let kind = object(format, "text.format")?.get_text("type").unwrap_or(Text::EMPTY).plain();
    request.format = match &*kind {
        "text" => Format::Text,
        "json_object" => Format::JsonObject,
        "json_schema" => Format::JsonSchema {
            name: format.get_text("name").map(Text::to_str),
            description: format.get_text("description").map(Text::to_str),
            schema: match format.get("schema") {
                Some(schema) => object(schema, "text.format.schema")?,
                None => return Err(ApiError::invalid("text.format.schema", "text.format.schema is missing")),
            },
            strict: format.get("strict").and_then(Raw::as_bool),
            gemini_types: false,
        },
        other => {
            return Err(ApiError::invalid("text.format.type", format!("text.format.type {other:?} is unknown")));
        }
    };
    Ok(())
}

/// A string member that is no error when it has another type.
pub(super) fn lenient<'a>(value: Raw<'a>, name: &str) -> Option<Str<'a>> {
    value.get_text(name).map(Text::to_str)
}
