//! Reads the members of a request; [`messages`](super::messages) reads the conversation.
//!
//! Absent and `null` are the same. Every other value counts, `false`, `0`, `""` and `[]` included.

use super::{messages, reasoning};
use crate::{
    dialect::expect::{
        self, missing,
        optional::{boolean, number, text, whole},
        wrong,
    },
    hub::{
        ApiError, Request, ToolKind,
        request::{Choice, ChoiceMode, Format, Sampling, Tool},
    },
    json::{Raw, Str},
};

/// Reads a request.
pub fn decode(body: Raw<'_>) -> Result<Request<'_>, ApiError> {
    if !body.is_object() {
        let message = format!("the request body must be an object, not {}", body.kind().name());
        return Err(ApiError::new(crate::hub::ErrorKind::Invalid, message));
    }
    let members = Members::read(body);
    let mut request = Request {
        model: text(members.model, "model")?.ok_or_else(|| missing("model"))?,
        stream: boolean(members.stream, "stream")?.unwrap_or(false),
        stream_said: members.stream.is_some(),
        include_usage: include_usage(members.stream_options)?,
        max_tokens: max_tokens(&members)?,
        stop: stop(members.stop)?,
        n: whole(members.n, "n")?,
        sampling: members.sampling()?,
        logprobs: boolean(members.logprobs, "logprobs")?,
        top_logprobs: whole(members.top_logprobs, "top_logprobs")?,
        reasoning: reasoning::wish(&members.reasoning)?,
        format: format(members.response_format)?,
        user: text(members.safety_identifier.or(members.user), "user")?,
        verbosity: text(members.verbosity, "verbosity")?,
        extras: members.extras,
        ..Request::default()
    };
    match (members.tools, members.functions) {
        (Some(tools), _) => read_tools(tools, &mut request)?,
        (None, Some(functions)) => read_functions(functions, &mut request)?,
        (None, None) => {}
    }
    request.choice = choice(members.tool_choice.or(members.function_call))?;
    request.choice.parallel = boolean(members.parallel_tool_calls, "parallel_tool_calls")?;
    messages::read(members.messages.ok_or_else(|| missing("messages"))?, &mut request)?;
    Ok(request)
}

/// The members of a request that the hub knows, without `null`s; the last of equal names counts.
#[derive(Default)]
struct Members<'a> {
    model: Option<Raw<'a>>,
    messages: Option<Raw<'a>>,
    stream: Option<Raw<'a>>,
    stream_options: Option<Raw<'a>>,
    max_completion_tokens: Option<Raw<'a>>,
    max_tokens: Option<Raw<'a>>,
    temperature: Option<Raw<'a>>,
    top_p: Option<Raw<'a>>,
    top_k: Option<Raw<'a>>,
    seed: Option<Raw<'a>>,
    presence_penalty: Option<Raw<'a>>,
    frequency_penalty: Option<Raw<'a>>,
    logprobs: Option<Raw<'a>>,
    top_logprobs: Option<Raw<'a>>,
    stop: Option<Raw<'a>>,
    n: Option<Raw<'a>>,
    tools: Option<Raw<'a>>,
    functions: Option<Raw<'a>>,
    tool_choice: Option<Raw<'a>>,
    function_call: Option<Raw<'a>>,
    parallel_tool_calls: Option<Raw<'a>>,
    response_format: Option<Raw<'a>>,
    reasoning: reasoning::Wishes<'a>,
    user: Option<Raw<'a>>,
    safety_identifier: Option<Raw<'a>>,
    verbosity: Option<Raw<'a>>,
    extras: Vec<(Str<'a>, Raw<'a>)>,
}

impl<'a> Members<'a> {
    fn read(body: Raw<'a>) -> Self {
        let mut read = Self::default();
        for (key, value) in body.members() {
            let name = key.plain();
            let Some(slot) = read.slot(&name) else {
                read.extras.retain(|(other, _)| !other.is(&name));
                if !value.is_null() {
                    read.extras.push((key.to_str(), value));
                }
                continue;
            };
            *slot = (!value.is_null()).then_some(value);
        }
        read
    }

    fn slot(&mut self, name: &str) -> Option<&mut Option<Raw<'a>>> {
        Some(match name {
            "model" => &mut self.model,
            "messages" => &mut self.messages,
            "stream" => &mut self.stream,
            "stream_options" => &mut self.stream_options,
            "max_completion_tokens" => &mut self.max_completion_tokens,
            "max_tokens" => &mut self.max_tokens,
            "temperature" => &mut self.temperature,
            "top_p" => &mut self.top_p,
            "top_k" => &mut self.top_k,
            "seed" => &mut self.seed,
            "presence_penalty" => &mut self.presence_penalty,
            "frequency_penalty" => &mut self.frequency_penalty,
            "logprobs" => &mut self.logprobs,
            "top_logprobs" => &mut self.top_logprobs,
            "stop" => &mut self.stop,
            "n" => &mut self.n,
            "tools" => &mut self.tools,
            "functions" => &mut self.functions,
            "tool_choice" => &mut self.tool_choice,
            "function_call" => &mut self.function_call,
            "parallel_tool_calls" => &mut self.parallel_tool_calls,
            "response_format" => &mut self.response_format,
            "thinking" => &mut self.reasoning.thinking,
            "reasoning" => &mut self.reasoning.reasoning,
            "reasoning_effort" => &mut self.reasoning.effort,
            "enable_thinking" => &mut self.reasoning.enable,
            "thinking_budget" => &mut self.reasoning.budget,
            "user" => &mut self.user,
            "safety_identifier" => &mut self.safety_identifier,
            "verbosity" => &mut self.verbosity,
            _ => return None,
        })
    }

    fn sampling(&self) -> Result<Sampling<'a>, ApiError> {
        Ok(Sampling {
            temperature: number(self.temperature, "temperature")?,
            top_p: number(self.top_p, "top_p")?,
            top_k: number(self.top_k, "top_k")?,
            seed: number(self.seed, "seed")?,
            presence: number(self.presence_penalty, "presence_penalty")?,
            frequency: number(self.frequency_penalty, "frequency_penalty")?,
        })
    }
}

fn include_usage(options: Option<Raw<'_>>) -> Result<bool, ApiError> {
    let Some(options) = options else { return Ok(false) };
    if !options.is_object() {
        return Err(wrong(options, "stream_options", "an object"));
    }
    Ok(boolean(options.get("include_usage"), "stream_options.include_usage")?.unwrap_or(false))
}

fn max_tokens(members: &Members<'_>) -> Result<Option<u64>, ApiError> {
    match members.max_completion_tokens {
        Some(_) => whole(members.max_completion_tokens, "max_completion_tokens"),
        None => whole(members.max_tokens, "max_tokens"),
    }
}

fn stop(value: Option<Raw<'_>>) -> Result<Vec<Str<'_>>, ApiError> {
    let Some(value) = value else { return Ok(Vec::new()) };
    if let Some(text) = value.as_text() {
        return Ok(vec![text.to_str()]);
    }
    if !value.is_array() {
        return Err(wrong(value, "stop", "a string or an array"));
    }
    value.elements().enumerate().map(|(n, entry)| expect::text(entry, format_args!("stop[{n}]"))).collect()
}

fn format(value: Option<Raw<'_>>) -> Result<Format<'_>, ApiError> {
    let Some(value) = value else { return Ok(Format::Text) };
    let kind = value.get_text("type").ok_or_else(|| missing("response_format.type"))?;
    match kind.plain().as_ref() {
        "text" => Ok(Format::Text),
        "json_object" => Ok(Format::JsonObject),
        "json_schema" => {
            let param = "response_format.json_schema";
            let inner = value.get("json_schema").ok_or_else(|| missing(param))?;
            let schema = inner.get("schema").unwrap_or(Raw::EMPTY_OBJECT);
            if !schema.is_object() {
                return Err(wrong(schema, format_args!("{param}.schema"), "an object"));
            }
            Ok(Format::JsonSchema {
                name: text(inner.get("name"), format_args!("{param}.name"))?,
                description: text(inner.get("description"), format_args!("{param}.description"))?,
                schema,
                strict: boolean(inner.get("strict"), format_args!("{param}.strict"))?,
                gemini_types: false,
            })
        }
        other => Err(ApiError::invalid("response_format.type", format!("response_format.type {other:?} is unknown"))),
    }
}

fn read_tools<'a>(tools: Raw<'a>, request: &mut Request<'a>) -> Result<(), ApiError> {
    if !tools.is_array() {
        return Err(wrong(tools, "tools", "an array"));
    }
    for (place, tool) in tools.elements().enumerate() {
        let param = format!("tools[{place}]");
        if !tool.is_object() {
            return Err(wrong(tool, param, "an object"));
        }
        let kind = tool.get_text("type").map(|kind| kind.plain());
        match kind.as_deref().unwrap_or("function") {
            "function" => {
                let function = tool.get("function").ok_or_else(|| missing(format_args!("{param}.function")))?;
                request.tools.push(read_function(function, &format!("{param}.function"), tool)?);
            }
            "custom" => {
                let custom = tool.get("custom").ok_or_else(|| missing(format_args!("{param}.custom")))?;
                request.tools.push(read_custom(custom, &format!("{param}.custom"), tool)?);
            }
            hosted => request.dropped.push(format!("tools.{hosted}")),
        }
    }
    Ok(())
}

/// The legacy form: functions without a wrapper.
fn read_functions<'a>(functions: Raw<'a>, request: &mut Request<'a>) -> Result<(), ApiError> {
    if !functions.is_array() {
        return Err(wrong(functions, "functions", "an array"));
    }
    for (place, function) in functions.elements().enumerate() {
        request.tools.push(read_function(function, &format!("functions[{place}]"), function)?);
    }
    Ok(())
}

fn tool_name<'a>(tool: Raw<'a>, param: &str) -> Result<Str<'a>, ApiError> {
    let param = format!("{param}.name");
    let name = text(tool.get("name"), &param)?.ok_or_else(|| missing(&param))?;
    if name.is_blank() {
        return Err(ApiError::invalid(&*param, format!("{param} must not be blank")));
    }
    Ok(name)
}

fn read_function<'a>(function: Raw<'a>, param: &str, outer: Raw<'a>) -> Result<Tool<'a>, ApiError> {
    if !function.is_object() {
        return Err(wrong(function, param, "an object"));
    }
    let schema = function.get("parameters");
    if let Some(schema) = schema.filter(|schema| !schema.is_object()) {
        return Err(wrong(schema, format_args!("{param}.parameters"), "an object"));
    }
    Ok(Tool {
        name: tool_name(function, param)?,
        namespace: None,
        description: text(function.get("description"), format_args!("{param}.description"))?,
        schema,
        strict: boolean(function.get("strict"), format_args!("{param}.strict"))?,
        kind: ToolKind::Function,
        format: None,
        cache: super::content::cache_mark(outer).or_else(|| super::content::cache_mark(function)),
        gemini_types: false,
    })
}

fn read_custom<'a>(custom: Raw<'a>, param: &str, outer: Raw<'a>) -> Result<Tool<'a>, ApiError> {
    if !custom.is_object() {
        return Err(wrong(custom, param, "an object"));
    }
    Ok(Tool {
        name: tool_name(custom, param)?,
        namespace: None,
        description: text(custom.get("description"), format_args!("{param}.description"))?,
        schema: None,
        strict: None,
        kind: ToolKind::Custom,
        format: custom.get("format"),
        cache: super::content::cache_mark(outer),
        gemini_types: false,
    })
}

/// `tool_choice`, or the legacy `function_call`.
fn choice(value: Option<Raw<'_>>) -> Result<Choice<'_>, ApiError> {
    let Some(value) = value else { return Ok(Choice::default()) };
    if let Some(word) = value.as_text() {
        return Ok(Choice { mode: Some(mode(&word.plain())?), ..Choice::default() });
    }
    if !value.is_object() {
        return Err(wrong(value, "tool_choice", "a string or an object"));
    }
    let kind = value.get_text("type").map(|kind| kind.plain());
    match kind.as_deref() {
        Some("allowed_tools") => {
            let allowed = value.get("allowed_tools").unwrap_or(value);
            let mode = match allowed.get_text("mode") {
                Some(word) => mode(&word.plain())?,
                None => ChoiceMode::Auto,
            };
            let tools = allowed.get("tools").ok_or_else(|| missing("tool_choice.allowed_tools.tools"))?;
            let allowed = tools.elements().filter_map(chosen_name).collect();
            Ok(Choice { mode: Some(mode), allowed, parallel: None })
        }
        Some("function" | "custom") | None => {
            let name = chosen_name(value).ok_or_else(|| missing("tool_choice.function.name"))?;
            Ok(Choice { mode: Some(ChoiceMode::Tool(name)), ..Choice::default() })
        }
        Some(other) => Err(ApiError::invalid("tool_choice.type", format!("tool_choice.type {other:?} is unknown"))),
    }
}

fn mode(word: &str) -> Result<ChoiceMode<'static>, ApiError> {
    match word {
        "auto" => Ok(ChoiceMode::Auto),
        "none" => Ok(ChoiceMode::None),
        // Some servers and their clients say `any`.
        "required" | "any" => Ok(ChoiceMode::Required),
        other => Err(ApiError::invalid("tool_choice", format!("tool_choice {other:?} is unknown"))),
    }
}

/// The name in `{function:{name}}`, `{custom:{name}}` or `{name}`.
fn chosen_name(value: Raw<'_>) -> Option<Str<'_>> {
    let inner = value.get("function").or_else(|| value.get("custom")).unwrap_or(value);
    inner.get_str("name")
}
