//! Tools and the choice among them, both ways.

use std::borrow::Cow;

use crate::{
    dialect::{Target, expect},
    hub::{
        ApiError, Request, ToolKind,
        request::{Choice, ChoiceMode, Tool},
        schema::{self, Given},
    },
    json::{Raw, Str, Text, Writer},
};

/// Reads a list of tools, that of the request or that of an input item.
pub(super) fn decode<'a>(value: Raw<'a>, at: &str, request: &mut Request<'a>) -> Result<(), ApiError> {
    for (i, tool) in expect::array(value, at)?.enumerate() {
        let at = format!("{at}[{i}]");
        let kind = expect::object(tool, &at)?.get_text("type").unwrap_or(Text::EMPTY).plain();
        if kind == "namespace" {
            let name = required(tool, "name", &at)?;
            for (k, member) in tool.get("tools").into_iter().flat_map(Raw::elements).enumerate() {
                one(member, Some(&name), &format!("{at}.tools[{k}]"), request)?;
            }
        } else {
            one(tool, None, &at, request)?;
        }
    }
    Ok(())
}

fn one<'a>(tool: Raw<'a>, namespace: Option<&Str<'a>>, at: &str, request: &mut Request<'a>) -> Result<(), ApiError> {
    let word = expect::object(tool, at)?.get_text("type").unwrap_or(Text::EMPTY).plain();
    // The nested form of the chat dialect is accepted.
    let (kind, tool) = match &*word {
        "function" => (ToolKind::Function, tool.get("function").filter(|inner| inner.is_object()).unwrap_or(tool)),
        "custom" => (ToolKind::Custom, tool.get("custom").filter(|inner| inner.is_object()).unwrap_or(tool)),
        hosted => {
            request.dropped.push(format!("tools.{hosted}"));
            return Ok(());
        }
    };
    request.tools.push(Tool {
        name: required(tool, "name", at)?,
        namespace: namespace.cloned(),
        description: tool.get_str("description"),
        schema: match tool.get("parameters") {
            Some(schema) => Some(expect::object(schema, format_args!("{at}.parameters"))?),
            None => None,
        },
        strict: tool.get("strict").and_then(Raw::as_bool),
        kind,
        format: tool.get("format"),
        cache: None,
        gemini_types: false,
    });
    Ok(())
}

fn required<'a>(value: Raw<'a>, name: &str, at: &str) -> Result<Str<'a>, ApiError> {
    let at = format!("{at}.{name}");
    match value.get(name) {
        Some(text) => expect::text(text, &at),
        None => Err(expect::missing(&at)),
    }
}

/// Reads `tool_choice`.
pub(super) fn decode_choice<'a>(value: Raw<'a>, request: &mut Request<'a>) -> Result<(), ApiError> {
    const AT: &str = "tool_choice";
    if let Some(word) = value.as_text() {
        request.choice.mode = Some(mode(&word.plain(), AT)?);
        return Ok(());
    }
    let kind = expect::object(value, AT).map_err(|_| expect::wrong(value, AT, "a string or an object"))?;
    match &*kind.get_text("type").unwrap_or(Text::EMPTY).plain() {
        "function" | "custom" => {
            // The nested form of the chat dialect is accepted.
            let inner = value.get("function").or_else(|| value.get("custom")).filter(|inner| inner.is_object());
            request.choice.mode = Some(ChoiceMode::Tool(required(inner.unwrap_or(value), "name", AT)?));
        }
        "allowed_tools" => {
            let word = value.get_text("mode").map_or(Cow::Borrowed("auto"), |text| text.plain());
            request.choice.mode = Some(mode(&word, "tool_choice.mode")?);
            for tool in value.get("tools").into_iter().flat_map(Raw::elements) {
                match tool.get_text("name") {
                    Some(name) => request.choice.allowed.push(name.to_str()),
                    None => request.dropped.push(AT.to_owned()),
                }
            }
        }
        // A hosted tool that no other dialect has.
        _ => request.dropped.push(AT.to_owned()),
    }
    Ok(())
}

fn mode(word: &str, at: &str) -> Result<ChoiceMode<'static>, ApiError> {
    match word {
        "auto" => Ok(ChoiceMode::Auto),
        "none" => Ok(ChoiceMode::None),
        "required" => Ok(ChoiceMode::Required),
        other => Err(ApiError::invalid(at, format!("{at} {other:?} is unknown: auto, none or required"))),
    }
}

/// Writes `tools`, `tool_choice` and `parallel_tool_calls`; nothing when there are no tools.
pub(super) fn encode(request: &Request<'_>, target: &Target, w: &mut Writer<'_, Vec<u8>>) -> Result<(), ApiError> {
    let allowed = |name: &str| !target.drop_params.iter().any(|dropped| dropped == name);
    if request.tools.is_empty() || !allowed("tools") {
        return Ok(());
    }
    w.key("tools").begin_array();
    for tool in &request.tools {
        write_tool(tool, w);
    }
    w.end_array();
    if allowed("tool_choice") {
        write_choice(&request.choice, &request.tools, w);
    }
    if let Some(parallel) = request.choice.parallel.filter(|_| allowed("parallel_tool_calls")) {
        w.key("parallel_tool_calls").bool(parallel);
    }
    Ok(())
}

fn write_tool(tool: &Tool<'_>, w: &mut Writer<'_, Vec<u8>>) {
    w.begin_object();
    match tool.kind {
        ToolKind::Function => {
            w.key("type").string("function").key("name").text(tool.name.text());
            w.key("parameters");
            schema::parameters(Given::of_tool(tool), w.value_sink());
            // Left out it would mean true here.
            w.key("strict").bool(tool.strict == Some(true));
        }
        ToolKind::Custom => {
            w.key("type").string("custom").key("name").text(tool.name.text());
            if let Some(format) = tool.format {
                w.key("format");
                write_format(format, w);
            }
        }
    }
    if let Some(description) = &tool.description {
        w.key("description").text(description.text());
    }
    w.end_object();
}

/// The format of a custom tool. The chat dialect nests the grammar, this one does not.
fn write_format(format: Raw<'_>, w: &mut Writer<'_, Vec<u8>>) {
    match format.get("grammar").filter(|grammar| grammar.is_object()) {
        Some(grammar) => {
            w.begin_object().key("type").string("grammar");
            for (key, value) in grammar.members() {
                w.key_text(key).raw(value);
            }
            w.end_object();
        }
        None => {
            w.raw(format);
        }
    }
}

fn write_choice(choice: &Choice<'_>, tools: &[Tool<'_>], w: &mut Writer<'_, Vec<u8>>) {
    let Some(mode) = &choice.mode else { return };
    w.key("tool_choice");
    match mode {
        ChoiceMode::Auto => w.string("auto"),
        ChoiceMode::None => w.string("none"),
        ChoiceMode::Required => w.string("required"),
        ChoiceMode::Tool(name) => {
            let custom = tools.iter().any(|tool| tool.kind == ToolKind::Custom && tool.name == *name);
            w.begin_object().key("type").string(if custom { "custom" } else { "function" });
            w.key("name").text(name.text()).end_object()
        }
    };
}
