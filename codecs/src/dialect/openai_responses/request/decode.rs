//! Reads the members of a request.

use super::{input, tools};
use crate::{
    dialect::expect,
    hub::{
        ApiError, ErrorKind, Request,
        request::{Effort, Format, Reasoning, SystemText},
    },
    json::{Raw, Text},
};

/// The entry of `include` that asks for log probabilities.
pub(super) const LOGPROBS: &str = "message.output_text.logprobs";

/// Reads a request.
pub fn decode<'a>(body: Raw<'a>) -> Result<Request<'a>, ApiError> {
    if !body.is_object() {
        return Err(ApiError::new(
            ErrorKind::Invalid,
            format!("the body must be an object, not {}", body.kind().name()),
        ));
    }
    let mut request = Request { include_usage: true, ..Request::default() };
    if let Some(instructions) = body.get("instructions") {
        let text = expect::text(instructions, "instructions")?;
        if !text.is_empty() {
            request.system.push(SystemText { text, cache: None });
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
            "model" => request.model = expect::text(value, "model")?,
            "input" => input::decode(value, &mut request)?,
            "stream" => request.stream = expect::boolean(value, "stream")?,
            // Padding against traffic analysis: translated streams have none.
            "stream_options" => {}
            "max_output_tokens" => request.max_tokens = Some(expect::whole(value, "max_output_tokens")?),
            "temperature" => request.sampling.temperature = Some(expect::number(value, "temperature")?),
            "top_p" => request.sampling.top_p = Some(expect::number(value, "top_p")?),
            "tools" => tools::decode(value, "tools", &mut request)?,
            "tool_choice" => tools::decode_choice(value, &mut request)?,
            "parallel_tool_calls" => request.choice.parallel = Some(expect::boolean(value, "parallel_tool_calls")?),
            "reasoning" => reasoning(value, &mut request)?,
            "text" => text(value, &mut request)?,
            "safety_identifier" => request.user = Some(expect::text(value, "safety_identifier")?),
            "top_logprobs" => request.top_logprobs = Some(expect::whole(value, "top_logprobs")?),
            "include" => include(value, key, &mut request),
            "user" => end_user = Some(expect::text(value, "user")?),
            "previous_response_id" | "conversation" => return Err(input::needs_memory(&name)),
            _ => request.extras.push((key.to_str(), value)),
        }
    }
    request.user = request.user.or(end_user);
    Ok(request)
}

/// What shall be in the answer besides; only log probabilities have a place on the hub. Whatever else is asked for is
/// reported as a whole.
fn include<'a>(value: Raw<'a>, key: Text<'a>, request: &mut Request<'a>) {
    let is_logprobs = |entry: Raw<'_>| entry.as_text().is_some_and(|entry| entry.is(LOGPROBS));
    if value.elements().any(is_logprobs) {
        request.logprobs = Some(true);
    }
    if !value.is_array() || value.elements().next().is_none() || !value.elements().all(is_logprobs) {
        request.extras.push((key.to_str(), value));
    }
}

fn reasoning<'a>(value: Raw<'a>, request: &mut Request<'a>) -> Result<(), ApiError> {
    let value = expect::object(value, "reasoning")?;
    let mut wish = Reasoning::default();
    if let Some(effort) = value.get("effort") {
        match Effort::parse(&expect::text(effort, "reasoning.effort")?.plain()) {
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
    let value = expect::object(value, "text")?;
    if let Some(verbosity) = value.get("verbosity") {
        request.verbosity = Some(expect::text(verbosity, "text.verbosity")?);
    }
    let Some(format) = value.get("format") else { return Ok(()) };
    let kind = expect::object(format, "text.format")?.get_text("type").unwrap_or(Text::EMPTY).plain();
    request.format = match &*kind {
        "text" => Format::Text,
        "json_object" => Format::JsonObject,
        "json_schema" => Format::JsonSchema {
            name: format.get_str("name"),
            description: format.get_str("description"),
            schema: match format.get("schema") {
                Some(schema) => expect::object(schema, "text.format.schema")?,
                None => return Err(expect::missing("text.format.schema")),
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
