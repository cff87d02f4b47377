//! Reads an Ollama client's request, of `/api/chat` or of `/api/generate`.

use crate::{
    dialect::{UrlParts, expect, media},
    hub::{
        ApiError, ToolKind,
        request::{
            Call, Effort, Format, Message, Part, Reasoning, Request, Role, Source, SystemText, Tool, ToolResult,
        },
    },
    json::{Kind, Raw, Str, Text},
};

/// Reads a request. Streaming is what these clients get unless they decline.
pub fn decode<'a>(body: Raw<'a>, url: &UrlParts<'a>) -> Result<Request<'a>, ApiError> {
    let mut request = Request { stream: true, ..Request::default() };
    let mut prompt = Prompt::default();
    for (key, value) in expect::object(body, "the body")?.members() {
        if value.is_null() {
            continue;
        }
        match (&*key.plain(), url.generate) {
            ("model", _) => request.model = expect::text(value, "model")?,
            ("stream", _) => {
                request.stream = expect::boolean(value, "stream")?;
                request.stream_said = true;
            }
            ("options", _) => options(value, &mut request)?,
            ("format", _) => request.format = format(value)?,
            ("think", _) => request.reasoning = Some(think(value)?),
            ("logprobs", _) => request.logprobs = Some(expect::boolean(value, "logprobs")?),
            ("top_logprobs", _) => request.top_logprobs = Some(expect::whole(value, "top_logprobs")?),
            ("messages", false) => messages(value, &mut request)?,
            ("tools", false) => tools(value, &mut request)?,
            ("prompt", true) => prompt.text = expect::text(value, "prompt")?,
            ("system", true) => prompt.system = expect::text(value, "system")?,
            ("images", true) => prompt.images = images(value, "images")?,
            (other, _) => request.dropped.push(other.to_owned()),
        }
    }
    if request.model.is_empty() {
        return Err(expect::missing("model"));
    }
    prompt.apply(&mut request);
    Ok(request)
}

/// What `/api/generate` has instead of messages.
#[derive(Default)]
struct Prompt<'a> {
    text: Str<'a>,
    system: Str<'a>,
    images: Vec<Part<'a>>,
}

impl<'a> Prompt<'a> {
    fn apply(self, request: &mut Request<'a>) {
        if !self.system.is_empty() {
            request.system.push(SystemText { text: self.system, cache: None });
        }
        let parts = with_images(self.text, self.images);
        if !parts.is_empty() {
            request.messages.push(Message { role: Role::User, parts });
        }
    }
}

fn with_images<'a>(text: Str<'a>, images: Vec<Part<'a>>) -> Vec<Part<'a>> {
    let text = Some(text).filter(|text| !text.is_empty()).map(|text| Part::Text { text, cache: None });
    text.into_iter().chain(images).collect()
}

fn messages<'a>(value: Raw<'a>, request: &mut Request<'a>) -> Result<(), ApiError> {
    for (place, message) in expect::array(value, "messages")?.enumerate() {
        let seen = Seen::read(message, place, &mut request.dropped)?;
        let role = seen.role.as_ref().ok_or_else(|| expect::missing(format_args!("messages[{place}].role")))?.plain();
        let message = match &*role {
            "system" => {
                if !seen.content.is_empty() {
                    request.system.push(SystemText { text: seen.content, cache: None });
                }
                continue;
            }
            "user" => Message { role: Role::User, parts: with_images(seen.content, seen.images) },
            "assistant" => seen.assistant(place)?,
            "tool" => seen.result(),
            other => {
                let at = format!("messages[{place}].role");
                let message = format!("{at} must be system, user, assistant or tool, not {other:?}");
                return Err(ApiError::invalid(at, message));
            }
        };
        if !message.parts.is_empty() {
            request.messages.push(message);
        }
    }
    Ok(())
}

/// The members of one message.
#[derive(Default)]
struct Seen<'a> {
    role: Option<Str<'a>>,
    content: Str<'a>,
    thinking: Str<'a>,
    images: Vec<Part<'a>>,
    calls: Option<Raw<'a>>,
    tool_name: Option<Str<'a>>,
    call_id: Str<'a>,
}

impl<'a> Seen<'a> {
    fn read(message: Raw<'a>, place: usize, dropped: &mut Vec<String>) -> Result<Self, ApiError> {
        let mut seen = Seen::default();
        for (key, value) in expect::object(message, format_args!("messages[{place}]"))?.members() {
            if value.is_null() {
                continue;
            }
            let key = key.plain();
            let at = format_args!("messages[{place}].{key}");
            match &*key {
                "role" => seen.role = Some(expect::text(value, at)?),
                "content" => seen.content = expect::text(value, at)?,
                "thinking" => seen.thinking = expect::text(value, at)?,
                "images" => seen.images = images(value, &at.to_string())?,
                "tool_calls" => seen.calls = Some(value),
                // `name` is what older clients write.
                "tool_name" | "name" => seen.tool_name = Some(expect::text(value, at)?),
                "tool_call_id" => seen.call_id = expect::text(value, at)?,
                other => dropped.push(format!("messages.{other}")),
            }
        }
        Ok(seen)
    }

    fn assistant(self, place: usize) -> Result<Message<'a>, ApiError> {
        let mut parts = Vec::new();
        if !self.thinking.is_empty() {
            parts.push(Part::Thinking { text: self.thinking, rider: None });
        }
        parts.extend(with_images(self.content, self.images));
        if let Some(calls) = self.calls {
            let at = format!("messages[{place}].tool_calls");
            for (n, value) in expect::array(calls, &at)?.enumerate() {
                parts.push(Part::Call(call(value, &format!("{at}[{n}]"), format!("call_{place}_{n}"))?));
            }
        }
        Ok(Message { role: Role::Assistant, parts })
    }

    fn result(self) -> Message<'a> {
        let mut parts = vec![Part::Text { text: self.content, cache: None }];
        parts.extend(self.images);
        let result = ToolResult { call_id: self.call_id, name: self.tool_name, parts, is_error: false, cache: None };
        Message { role: Role::Tool, parts: vec![Part::Result(result)] }
    }
}

fn call<'a>(value: Raw<'a>, at: &str, minted: String) -> Result<Call<'a>, ApiError> {
    let value = expect::object(value, at)?;
    let function = value.get("function").ok_or_else(|| expect::missing(format_args!("{at}.function")))?;
    let function = expect::object(function, format_args!("{at}.function"))?;
    let name = function.get("name").ok_or_else(|| expect::missing(format_args!("{at}.function.name")))?;
    let arguments = match function.get("arguments") {
        None => "{}".into(),
        Some(arguments) => match arguments.kind() {
            Kind::Object => arguments.as_str().into(),
            // The text of the object, as chat clients write it.
            Kind::String => arguments.as_text().unwrap_or(Text::EMPTY).to_str(),
            _ => return Err(expect::wrong(arguments, format_args!("{at}.function.arguments"), "an object")),
        },
    };
    let id = expect::optional::text(value.get("id"), format_args!("{at}.id"))?;
    Ok(Call {
        id: id.filter(|id| !id.is_empty()).unwrap_or_else(|| minted.into()),
        name: expect::text(name, format_args!("{at}.function.name"))?,
        namespace: None,
        arguments,
        kind: ToolKind::Function,
        signature: None,
        cache: None,
    })
}

/// Base64 images without a type; a `data:` prefix, which some clients leave in, goes.
fn images<'a>(value: Raw<'a>, at: &str) -> Result<Vec<Part<'a>>, ApiError> {
    let image = |(n, image): (usize, Raw<'a>)| {
        let data = expect::text(image, format_args!("{at}[{n}]"))?;
        let plain = data.plain();
        let prefixed = plain.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,"));
        let (mime, data) = match prefixed {
            Some((mime, data)) => (mime.to_owned(), data.to_owned().into()),
            None => (media::sniff_image(&plain).to_owned(), data.clone()),
        };
        let source = Source::Base64 { mime: mime.into(), data };
        Ok(Part::Image { source, detail: None, cache: None })
    };
    expect::array(value, at)?.enumerate().map(image).collect()
}

fn tools<'a>(value: Raw<'a>, request: &mut Request<'a>) -> Result<(), ApiError> {
    for (n, tool) in expect::array(value, "tools")?.enumerate() {
        let at = format!("tools[{n}]");
        let tool = expect::object(tool, &at)?;
        let word = tool.get_text("type").map_or("function".into(), |word| word.plain());
        if word != "function" {
            request.dropped.push(format!("tools.{word}"));
            continue;
        }
        let function = tool.get("function").ok_or_else(|| expect::missing(format_args!("{at}.function")))?;
        let function = expect::object(function, format_args!("{at}.function"))?;
        let text = |name: &str| expect::optional::text(function.get(name), format_args!("{at}.function.{name}"));
        let name = text("name")?.filter(|name| !name.is_blank());
        let schema = function.get("parameters");
        request.tools.push(Tool {
            name: name.ok_or_else(|| expect::missing(format_args!("{at}.function.name")))?,
            namespace: None,
            description: text("description")?,
            schema: schema
                .map(|schema| expect::object(schema, format_args!("{at}.function.parameters")))
                .transpose()?,
            strict: None,
            kind: ToolKind::Function,
            format: None,
            cache: None,
            gemini_types: false,
        });
    }
    Ok(())
}

fn options<'a>(value: Raw<'a>, request: &mut Request<'a>) -> Result<(), ApiError> {
    for (key, value) in expect::object(value, "options")?.members() {
        if value.is_null() {
            continue;
        }
        let key = key.plain();
        let at = format_args!("options.{key}");
        let sampling = &mut request.sampling;
        match &*key {
            "temperature" => sampling.temperature = Some(expect::number(value, at)?),
            "top_p" => sampling.top_p = Some(expect::number(value, at)?),
            "top_k" => sampling.top_k = Some(expect::number(value, at)?),
            "seed" => sampling.seed = Some(expect::number(value, at)?),
            "presence_penalty" => sampling.presence = Some(expect::number(value, at)?),
            "frequency_penalty" => sampling.frequency = Some(expect::number(value, at)?),
            // Negative numbers mean: no limit.
            "num_predict" => request.max_tokens = expect::number(value, at)?.as_u64().filter(|tokens| *tokens > 0),
            "stop" if value.as_text().is_some() => request.stop.extend(value.as_text().map(Text::to_str)),
            "stop" => {
                for stop in expect::array(value, at)? {
                    request.stop.push(expect::text(stop, "options.stop[]")?);
                }
            }
            other => request.dropped.push(format!("options.{other}")),
        }
    }
    Ok(())
}

fn format(value: Raw<'_>) -> Result<Format<'_>, ApiError> {
    match value.as_text() {
        Some(word) if word.is("json") => Ok(Format::JsonObject),
        Some(word) if word.is_empty() => Ok(Format::Text),
        Some(_) => Err(ApiError::invalid("format", "format must be \"json\" or a JSON schema")),
        None => {
            let schema = expect::object(value, "format")?;
            Ok(Format::JsonSchema { name: None, description: None, schema, strict: None, gemini_types: false })
        }
    }
}

fn think<'a>(value: Raw<'a>) -> Result<Reasoning<'a>, ApiError> {
    if let Some(on) = value.as_bool() {
        let effort = on.then_some(Effort::Medium);
        return Ok(Reasoning { effort, off: !on, ..Reasoning::default() });
    }
    let word = value.as_text().map(|word| word.plain());
    match word.as_deref().and_then(Effort::parse) {
        Some(effort) => Ok(Reasoning { effort: Some(effort), ..Reasoning::default() }),
        None => Err(ApiError::invalid("think", "think must be a boolean or one of low, medium, high and max")),
    }
}
