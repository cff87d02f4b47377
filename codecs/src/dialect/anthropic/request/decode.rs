//! Reads a client's request.

use super::blocks;
use crate::{
    dialect::expect::{array, boolean, missing, number, object, text, whole, wrong},
    hub::{
        ApiError, Request, ToolKind,
        request::{ChoiceMode, Effort, Format, Message, Part, Reasoning, Role, SystemText, Tool},
    },
    json::{Kind, Raw, Text},
};

/// Members of this dialect that share their name, but not their meaning, with a chat parameter.
const FALSE_FRIENDS: [&str; 1] = ["service_tier"];

/// Reads a request.
pub fn decode<'a>(body: Raw<'a>) -> Result<Request<'a>, ApiError> {
    object(body, "the body")?;
    let mut request = Request::default();
    let mut seen = Seen::default();
    for (key, value) in body.members() {
        if !value.is_null() {
            member(key, value, &mut request, &mut seen)?;
        }
    }
    if !seen.model {
        return Err(missing("model"));
    }
    if !seen.messages {
        return Err(missing("messages"));
    }
    // A choice of a tool that only the service could have run means nothing elsewhere.
    if let Some(ChoiceMode::Tool(name)) = &request.choice.mode
        && seen.typed_tools.iter().any(|typed| name.is(typed))
        && !request.tools.iter().any(|tool| tool.name == *name)
    {
        request.choice.mode = None;
        request.dropped.push("tool_choice".into());
    }
    Ok(request)
}

/// What was met on the way and is needed at the end.
#[derive(Default)]
struct Seen {
    model: bool,
    messages: bool,
    /// Names of tools that were left out.
    typed_tools: Vec<String>,
}

fn member<'a>(key: Text<'a>, value: Raw<'a>, request: &mut Request<'a>, seen: &mut Seen) -> Result<(), ApiError> {
    let name = key.plain();
    match name.as_ref() {
        "model" => {
            request.model = text(value, "model")?;
            seen.model = true;
        }
        "messages" => {
            seen.messages = true;
            request.messages.clear();
            for (at, message) in array(value, "messages")?.enumerate() {
                read_message(message, at, request)?;
            }
        }
        "system" => request.system = system(value)?,
        "stream" => {
            request.stream = boolean(value, "stream")?;
            request.stream_said = true;
        }
        "max_tokens" => request.max_tokens = Some(whole(value, "max_tokens")?),
        "temperature" => request.sampling.temperature = Some(number(value, "temperature")?),
        "top_p" => request.sampling.top_p = Some(number(value, "top_p")?),
        "top_k" => request.sampling.top_k = Some(number(value, "top_k")?),
        "stop_sequences" => {
            let entries = array(value, "stop_sequences")?.enumerate();
            request.stop = entries
                .map(|(at, entry)| text(entry, format_args!("stop_sequences[{at}]")))
                .collect::<Result<_, _>>()?;
        }
        "tools" => {
            request.tools.clear();
            for (at, tool) in array(value, "tools")?.enumerate() {
                read_tool(tool, at, request, seen)?;
            }
        }
        "tool_choice" => tool_choice(value, request)?,
        "thinking" => thinking(value, request)?,
        "output_config" => output_config(value, request)?,
        "output_format" => output_format(value, "output_format", request)?,
        "metadata" => {
            for (key, value) in object(value, "metadata")?.members() {
                if key.is("user_id") && !value.is_null() {
                    request.user = Some(text(value, "metadata.user_id")?);
                }
            }
        }
        other if FALSE_FRIENDS.contains(&other) => request.dropped.push(other.to_owned()),
        _ => request.extras.push((key.to_str(), value)),
    }
    Ok(())
}

fn system<'a>(value: Raw<'a>) -> Result<Vec<SystemText<'a>>, ApiError> {
    if let Some(text) = value.as_text() {
        return Ok(vec![SystemText { text: text.to_str(), cache: None }]);
    }
    if !value.is_array() {
        return Err(wrong(value, "system", "a string or an array"));
    }
    let block = |(at, block): (usize, Raw<'a>)| {
        let block = object(block, format_args!("system[{at}]"))?;
        let content = block.get("text").ok_or_else(|| missing(format_args!("system[{at}].text")))?;
        Ok(SystemText { text: text(content, format_args!("system[{at}].text"))?, cache: blocks::cache_mark(block) })
    };
    value.elements().enumerate().map(block).collect()
}

fn read_message<'a>(message: Raw<'a>, at: usize, request: &mut Request<'a>) -> Result<(), ApiError> {
    let place = format!("messages[{at}]");
    object(message, &place)?;
    let role = message.get("role").ok_or_else(|| missing(format_args!("{place}.role")))?;
    let role = match text(role, format_args!("{place}.role"))?.plain().as_ref() {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        other => {
            let param = format!("{place}.role");
            let message = format!("{param} is \"{other}\", which is none of user, assistant, system");
            return Err(ApiError::invalid(param, message));
        }
    };
    let content = message.member("content").ok_or_else(|| missing(format_args!("{place}.content")))?;
    let place = format!("{place}.content");
    let parts = match content.kind() {
        Kind::String => {
            let text = content.as_text().map(Text::to_str).unwrap_or_default();
            vec![Part::Text { text, cache: None }]
        }
        Kind::Array => blocks::read(content, &place, &mut request.dropped)?,
        _ => return Err(wrong(content, place, "a string or an array")),
    };
    if role != Role::User {
        request.messages.push(Message { role, parts });
        return Ok(());
    }
    let (results, rest): (Vec<_>, Vec<_>) = parts.into_iter().partition(|part| matches!(part, Part::Result(_)));
    let split = !results.is_empty();
    if split {
        request.messages.push(Message { role: Role::Tool, parts: results });
    }
    if !split || !rest.is_empty() {
        request.messages.push(Message { role, parts: rest });
    }
    Ok(())
}

fn read_tool<'a>(tool: Raw<'a>, at: usize, request: &mut Request<'a>, seen: &mut Seen) -> Result<(), ApiError> {
    object(tool, format_args!("tools[{at}]"))?;
    let name = match tool.get("name") {
        Some(name) => Some(text(name, format_args!("tools[{at}].name"))?),
        None => None,
    };
    let kind = tool.get_text("type").map(|kind| kind.plain());
    if let Some(kind) = kind.filter(|kind| kind != "custom") {
        let name = name.map_or_else(|| kind.into_owned(), |name| name.plain().into_owned());
        request.dropped.push(format!("tools.{name}"));
        seen.typed_tools.push(name);
        return Ok(());
    }
    let description = match tool.get("description") {
        Some(description) => Some(text(description, format_args!("tools[{at}].description"))?),
        None => None,
    };
    let schema = match tool.get("input_schema") {
        Some(schema) => Some(object(schema, format_args!("tools[{at}].input_schema"))?),
        None => None,
    };
    request.tools.push(Tool {
        name: name.ok_or_else(|| missing(format_args!("tools[{at}].name")))?,
        namespace: None,
        description,
        schema,
        strict: tool.get("strict").and_then(Raw::as_bool),
        kind: ToolKind::Function,
        format: None,
        cache: blocks::cache_mark(tool),
        gemini_types: false,
    });
    Ok(())
}

fn tool_choice<'a>(value: Raw<'a>, request: &mut Request<'a>) -> Result<(), ApiError> {
    object(value, "tool_choice")?;
    let kind = value.get("type").ok_or_else(|| missing("tool_choice.type"))?;
    request.choice.mode = Some(match text(kind, "tool_choice.type")?.plain().as_ref() {
        "auto" => ChoiceMode::Auto,
        "any" => ChoiceMode::Required,
        "none" => ChoiceMode::None,
        "tool" => {
            let name = value.get("name").ok_or_else(|| missing("tool_choice.name"))?;
            ChoiceMode::Tool(text(name, "tool_choice.name")?)
        }
        other => {
            let message = format!("tool_choice.type is \"{other}\", which is none of auto, any, tool, none");
            return Err(ApiError::invalid("tool_choice.type", message));
        }
    });
    if let Some(disabled) = value.get("disable_parallel_tool_use") {
        // `false` is the default of every dialect and says nothing.
        let disabled = boolean(disabled, "tool_choice.disable_parallel_tool_use")?;
        request.choice.parallel = disabled.then_some(false);
    }
    Ok(())
}

fn thinking<'a>(value: Raw<'a>, request: &mut Request<'a>) -> Result<(), ApiError> {
    object(value, "thinking")?;
    let kind = value.get("type").ok_or_else(|| missing("thinking.type"))?;
    let kind = text(kind, "thinking.type")?;
    let wish = request.reasoning.get_or_insert_with(Reasoning::default);
    match kind.plain().as_ref() {
        "disabled" => wish.off = true,
        "enabled" => {
            let budget = value.get("budget_tokens").ok_or_else(|| missing("thinking.budget_tokens"))?;
            wish.budget = Some(whole(budget, "thinking.budget_tokens")?);
        }
        // `adaptive`, the beta `between_tools`, and whatever leaves it to the model next.
        _ => wish.adaptive = true,
    }
    Ok(())
}

fn output_config<'a>(value: Raw<'a>, request: &mut Request<'a>) -> Result<(), ApiError> {
    for (key, value) in object(value, "output_config")?.members() {
        if value.is_null() {
            continue;
        }
        match key.plain().as_ref() {
            "effort" => match Effort::parse(&text(value, "output_config.effort")?.plain()) {
                Some(effort) => request.reasoning.get_or_insert_with(Reasoning::default).effort = Some(effort),
                None => request.dropped.push("reasoning".into()),
            },
            "format" => output_format(value, "output_config.format", request)?,
            other => request.dropped.push(format!("output_config.{other}")),
        }
    }
    Ok(())
}

fn output_format<'a>(value: Raw<'a>, place: &str, request: &mut Request<'a>) -> Result<(), ApiError> {
    object(value, place)?;
    if value.get_text("type").is_some_and(|kind| kind.is("json_schema")) {
        let schema = value.get("schema").ok_or_else(|| missing(format_args!("{place}.schema")))?;
        let schema = object(schema, format_args!("{place}.schema"))?;
        // Formats of this dialect are always binding.
        request.format =
            Format::JsonSchema { name: None, description: None, schema, strict: Some(true), gemini_types: false };
    } else if !value.get_text("type").is_some_and(|kind| kind.is("text")) {
        request.dropped.push("response_format".into());
    }
    Ok(())
}
