//! Reads a Gemini client's request. Every member is known by its camelCase and its snake_case name.

use super::history;
use crate::{
    dialect::{UrlParts, expect},
    hub::{
        ApiError, ToolKind,
        request::{Choice, ChoiceMode, Effort, Format, Reasoning, Request, SystemText, Tool},
    },
    json::{Raw, Str},
};

/// Reads a request. Model and stream flag stand in the URL.
pub fn decode<'a>(body: Raw<'a>, url: &UrlParts<'a>) -> Result<Request<'a>, ApiError> {
    let mut body = expect::object(body, "the body")?;
    // `:countTokens` may carry the whole request in a member.
    if let Some(inner) = body.get("generateContentRequest").or_else(|| body.get("generate_content_request")) {
        body = expect::object(inner, "generateContentRequest")?;
    }
    let mut request = Request { stream: url.stream, stream_said: url.stream, ..Request::default() };
    for (key, value) in body.members() {
        if value.is_null() {
            continue;
        }
        match &*key.plain() {
            "model" => request.model = expect::text(value, "model")?,
            "contents" => history::decode(value, &mut request)?,
            "systemInstruction" | "system_instruction" => system(value, &mut request)?,
            "tools" => tools(value, &mut request)?,
            "toolConfig" | "tool_config" => tool_config(value, &mut request)?,
            "generationConfig" | "generation_config" => generation_config(value, &mut request)?,
            other => request.dropped.push(other.to_owned()),
        }
    }
    match url.model {
        Some(model) => request.model = model.into(),
        None if request.model.is_empty() => return Err(expect::missing("model")),
        None => {}
    }
    Ok(request)
}

fn system<'a>(value: Raw<'a>, request: &mut Request<'a>) -> Result<(), ApiError> {
    const AT: &str = "systemInstruction";
    if let Some(text) = value.as_text() {
        request.system.push(SystemText { text: text.to_str(), cache: None });
        return Ok(());
    }
    let Some(parts) = expect::object(value, AT)?.get("parts") else { return Ok(()) };
    for part in expect::one_or_many(parts, "systemInstruction.parts")? {
        let part = expect::object(part, "systemInstruction.parts[]")?;
        for (key, value) in part.members() {
            match &*key.plain() {
                "text" => {
                    let text = expect::text(value, "systemInstruction.parts[].text")?;
                    request.system.push(SystemText { text, cache: None });
                }
                _ if value.is_null() => {}
                other => request.dropped.push(format!("systemInstruction.{other}")),
            }
        }
    }
    Ok(())
}

fn tools<'a>(value: Raw<'a>, request: &mut Request<'a>) -> Result<(), ApiError> {
    for (place, tool) in expect::one_or_many(value, "tools")?.enumerate() {
        for (key, value) in expect::object(tool, format_args!("tools[{place}]"))?.members() {
            match &*key.plain() {
                _ if value.is_null() => {}
                "functionDeclarations" | "function_declarations" => {
                    for (n, declaration) in expect::one_or_many(value, "functionDeclarations")?.enumerate() {
                        let at = format!("tools[{place}].functionDeclarations[{n}]");
                        let tool = function(declaration, &at, &mut request.dropped)?;
                        request.tools.push(tool);
                    }
                }
                other => request.dropped.push(format!("tools.{other}")),
            }
        }
    }
    Ok(())
}

fn function<'a>(value: Raw<'a>, at: &str, dropped: &mut Vec<String>) -> Result<Tool<'a>, ApiError> {
    let (mut name, mut description, mut subset, mut schema) = (None, None, None, None);
    for (key, value) in expect::object(value, at)?.members() {
        match &*key.plain() {
            _ if value.is_null() => {}
            "name" => name = Some(expect::text(value, format_args!("{at}.name"))?),
            "description" => description = Some(expect::text(value, format_args!("{at}.description"))?),
            "parameters" => subset = Some(expect::object(value, format_args!("{at}.parameters"))?),
            "parametersJsonSchema" | "parameters_json_schema" => {
                schema = Some(expect::object(value, format_args!("{at}.parametersJsonSchema"))?);
            }
            other => dropped.push(format!("functionDeclarations.{other}")),
        }
    }
    Ok(Tool {
        name: name.filter(|name| !name.is_blank()).ok_or_else(|| expect::missing(format_args!("{at}.name")))?,
        namespace: None,
        description,
        schema: schema.or(subset),
        strict: None,
        kind: ToolKind::Function,
        format: None,
        cache: None,
        gemini_types: schema.is_none(),
    })
}

fn tool_config<'a>(value: Raw<'a>, request: &mut Request<'a>) -> Result<(), ApiError> {
    for (key, value) in expect::object(value, "toolConfig")?.members() {
        match &*key.plain() {
            _ if value.is_null() => {}
            "functionCallingConfig" | "function_calling_config" => request.choice = choice(value)?,
            other => request.dropped.push(format!("toolConfig.{other}")),
        }
    }
    Ok(())
}

fn choice(value: Raw<'_>) -> Result<Choice<'_>, ApiError> {
    const AT: &str = "toolConfig.functionCallingConfig";
    let value = expect::object(value, AT)?;
    let mode = expect::optional::text(value.get("mode"), format_args!("{AT}.mode"))?;
    let mut allowed = Vec::new();
    if let Some(names) = value.get("allowedFunctionNames").or_else(|| value.get("allowed_function_names")) {
        for name in expect::array(names, format_args!("{AT}.allowedFunctionNames"))? {
            allowed.push(expect::text(name, format_args!("{AT}.allowedFunctionNames[]"))?);
        }
    }
    let mode = match mode.map(|mode| mode.plain().to_ascii_uppercase()).as_deref() {
        Some("ANY") if allowed.len() == 1 => allowed.pop().map(ChoiceMode::Tool),
        Some("ANY") => Some(ChoiceMode::Required),
        Some("NONE") => Some(ChoiceMode::None),
        Some("AUTO" | "VALIDATED") => Some(ChoiceMode::Auto),
        Some("MODE_UNSPECIFIED") | None => None,
        Some(other) => {
            let message = format!("{AT}.mode must be AUTO, ANY, NONE or VALIDATED, not {other:?}");
            return Err(ApiError::invalid(format!("{AT}.mode"), message));
        }
    };
    Ok(Choice { mode, allowed, parallel: None })
}

fn generation_config<'a>(value: Raw<'a>, request: &mut Request<'a>) -> Result<(), ApiError> {
    let mut answer = AnswerForm::default();
    for (key, value) in expect::object(value, "generationConfig")?.members() {
        if value.is_null() {
            continue;
        }
        let key = key.plain();
        let at = format_args!("generationConfig.{key}");
        let sampling = &mut request.sampling;
        match &*key {
            "maxOutputTokens" | "max_output_tokens" => request.max_tokens = Some(expect::whole(value, at)?),
            "temperature" => sampling.temperature = Some(expect::number(value, at)?),
            "topP" | "top_p" => sampling.top_p = Some(expect::number(value, at)?),
            "topK" | "top_k" => sampling.top_k = Some(expect::number(value, at)?),
            "seed" => sampling.seed = Some(expect::number(value, at)?),
            "presencePenalty" | "presence_penalty" => sampling.presence = Some(expect::number(value, at)?),
            "frequencyPenalty" | "frequency_penalty" => sampling.frequency = Some(expect::number(value, at)?),
            "candidateCount" | "candidate_count" => request.n = Some(expect::whole(value, at)?),
            "responseLogprobs" | "response_logprobs" => request.logprobs = Some(expect::boolean(value, at)?),
            "logprobs" => request.top_logprobs = Some(expect::whole(value, at)?),
            "stopSequences" | "stop_sequences" => {
                for stop in expect::array(value, at)? {
                    request.stop.push(expect::text(stop, "generationConfig.stopSequences[]")?);
                }
            }
            "responseMimeType" | "response_mime_type" => answer.mime = Some(expect::text(value, at)?),
            "responseSchema" | "response_schema" => answer.subset = Some(expect::object(value, at)?),
            "responseJsonSchema" | "response_json_schema" | "_responseJsonSchema" => {
                answer.schema = Some(expect::object(value, at)?);
            }
            "thinkingConfig" | "thinking_config" => request.reasoning = thinking(value, &mut request.dropped)?,
            other => request.dropped.push(other.to_owned()),
        }
    }
    answer.apply(request);
    Ok(())
}

/// The three members that together say which form the answer takes.
#[derive(Default)]
struct AnswerForm<'a> {
    mime: Option<Str<'a>>,
    subset: Option<Raw<'a>>,
    schema: Option<Raw<'a>>,
}

impl<'a> AnswerForm<'a> {
    fn apply(self, request: &mut Request<'a>) {
        let schema = self.schema.map(|schema| (schema, false)).or(self.subset.map(|schema| (schema, true)));
        let mime = self.mime.as_ref().map(|mime| mime.plain());
        request.format = match (mime.as_deref(), schema) {
            (Some("application/json") | None, Some((schema, gemini_types))) => {
                Format::JsonSchema { name: None, description: None, schema, strict: None, gemini_types }
            }
            (Some("application/json"), None) => Format::JsonObject,
            (Some("text/plain") | None, None) => Format::Text,
            // A bare enum word, or a schema for text: nobody else has that.
            _ => {
                request.dropped.push("response_format".to_owned());
                Format::Text
            }
        };
    }
}

fn thinking<'a>(value: Raw<'a>, dropped: &mut Vec<String>) -> Result<Option<Reasoning<'a>>, ApiError> {
    let mut wish = None;
    for (key, value) in expect::object(value, "generationConfig.thinkingConfig")?.members() {
        match &*key.plain() {
            _ if value.is_null() => {}
            "thinkingBudget" | "thinking_budget" => {
                const AT: &str = "generationConfig.thinkingConfig.thinkingBudget";
                let tokens = expect::number(value, AT)?.as_i64();
                match tokens.ok_or_else(|| expect::wrong(value, AT, "a whole number"))? {
                    0 => wish = Some(Reasoning { off: true, ..Reasoning::default() }),
                    tokens => {
                        if let Ok(tokens) = u64::try_from(tokens) {
                            wish = Some(Reasoning { budget: Some(tokens), ..Reasoning::default() });
                        }
                    }
                }
            }
            "thinkingLevel" | "thinking_level" => {
                let word = expect::text(value, "generationConfig.thinkingConfig.thinkingLevel")?;
                match Effort::parse(&word.plain().to_ascii_lowercase()) {
                    Some(effort) => wish = Some(Reasoning { effort: Some(effort), ..Reasoning::default() }),
                    None if word.is("THINKING_LEVEL_UNSPECIFIED") => {}
                    None => dropped.push("reasoning".to_owned()),
                }
            }
            "includeThoughts" | "include_thoughts" => {}
            other => dropped.push(format!("thinkingConfig.{other}")),
        }
    }
    Ok(wish)
}
