//! Writes the request for `/api/chat` of an Ollama upstream.

use crate::{
    dialect::{Encoded, Target},
    hub::{
        ApiError, arguments,
        reasoning::{self, OllamaThink},
        request::{ChoiceMode, Format, Message, Part, Request, Role, Source, ToolResult},
        schema::{self, Given},
    },
    json::{Raw, Str, Text, Writer},
};

/// Writes a request.
pub fn encode(request: &Request<'_>, target: &Target) -> Result<Encoded, ApiError> {
    let mut encoded = Encoded { dropped: dropped(request), ..Encoded::default() };
    let mut out = Out { w: Writer::new(&mut encoded.body), target, dropped: &mut encoded.dropped };
    out.w.begin_object().key("model").string(&target.model);
    out.messages(request)?;
    out.tools(request);
    out.options(request);
    out.format(&request.format);
    out.think(request);
    out.logprobs(request);
    out.w.key("stream").bool(target.stream);
    out.w.end_object();
    Ok(encoded)
}

/// Members that have no place here.
fn dropped(request: &Request<'_>) -> Vec<String> {
    let mut dropped: Vec<String> = request.extras.iter().map(|(name, _)| name.plain().into_owned()).collect();
    let forced = matches!(request.choice.mode, Some(ChoiceMode::Required | ChoiceMode::Tool(_)));
    for (is_set, name) in [
        (request.user.is_some(), "user"),
        (request.verbosity.is_some(), "verbosity"),
        (request.choice.parallel == Some(false), "parallel_tool_calls"),
        (request.n.is_some_and(|n| n > 1), "n"),
        (forced && !request.tools.is_empty(), "tool_choice"),
    ] {
        if is_set {
            dropped.push(name.to_owned());
        }
    }
    dropped
}

struct Out<'w, 'o> {
    w: Writer<'o, Vec<u8>>,
    target: &'w Target,
    dropped: &'w mut Vec<String>,
}

impl Out<'_, '_> {
    fn messages(&mut self, request: &Request<'_>) -> Result<(), ApiError> {
        self.w.key("messages").begin_array();
        let system: Vec<&Str<'_>> =
            request.system.iter().map(|system| &system.text).filter(|t| !t.is_empty()).collect();
        if !system.is_empty() {
            self.w.begin_object().key("role").string("system");
            self.w.key("content").texts(between(system.into_iter(), "\n\n"));
            self.w.end_object();
        }
        for message in &request.messages {
            match message.role {
                Role::User => self.plain("user", message)?,
                Role::System => self.plain("system", message)?,
                Role::Assistant => self.assistant(message),
                Role::Tool => {
                    for part in &message.parts {
                        if let Part::Result(result) = part {
                            self.result(result)?;
                        }
                    }
                }
            }
        }
        self.w.end_array();
        Ok(())
    }

    fn plain(&mut self, role: &str, message: &Message<'_>) -> Result<(), ApiError> {
        let content = Content::of(&message.parts)?;
        self.w.begin_object().key("role").string(role);
        self.content(&content, "");
        self.w.end_object();
        Ok(())
    }

    /// `content` and, where there are any, `images`.
    fn content(&mut self, content: &Content<'_>, prefix: &'static str) {
        let texts = between(content.texts.iter().copied(), "\n");
        self.w.key("content").texts([Text::Plain(prefix)].into_iter().chain(texts));
        if !content.images.is_empty() {
            self.w.key("images").begin_array();
            for image in &content.images {
                self.w.text(image.text());
            }
            self.w.end_array();
        }
    }

    fn assistant(&mut self, message: &Message<'_>) {
        // An answer holds words, thinking and calls in this dialect.
        for part in &message.parts {
            let name = match part {
                Part::Image { .. } => "messages.images",
                Part::Audio { .. } => "messages.audio",
                Part::File { .. } => "messages.files",
                Part::Text { .. } | Part::Thinking { .. } | Part::Redacted(_) | Part::Refusal(_) => continue,
                Part::Call(_) | Part::Result(_) => continue,
            };
            self.dropped.push(name.to_owned());
        }
        let of = |wanted: fn(&Part<'_>) -> bool| message.parts.iter().any(wanted);
        let words = |part: &Part<'_>| matches!(part, Part::Text { text, .. } | Part::Refusal(text) if !text.is_empty());
        let thoughts = |part: &Part<'_>| matches!(part, Part::Thinking { text, .. } if !text.is_empty());
        let (has_words, has_thoughts) = (of(words), of(thoughts));
        let has_calls = of(|part| matches!(part, Part::Call(_)));
        if !has_words && !has_thoughts && !has_calls {
            return;
        }
        self.w.begin_object().key("role").string("assistant");
        self.w.key("content").texts(message.parts.iter().filter_map(|part| match part {
            Part::Text { text, .. } | Part::Refusal(text) => Some(text.text()),
            _ => None,
        }));
        if has_thoughts {
            let thoughts = message.parts.iter().filter_map(|part| match part {
                Part::Thinking { text, .. } if !text.is_empty() => Some(text),
                _ => None,
            });
            self.w.key("thinking").texts(between(thoughts, "\n\n"));
        }
        if has_calls {
            self.w.key("tool_calls").begin_array();
            for part in &message.parts {
                let Part::Call(call) = part else { continue };
                self.w.begin_object().key("id").text(call.id.text());
                self.w.key("function").begin_object();
                self.w.key("name").text(call.name.text());
                self.w.key("arguments").verbatim(&arguments::call_object(call.kind, call.arguments.text()));
                self.w.end_object().end_object();
            }
            self.w.end_array();
        }
        self.w.end_object();
    }

    fn result(&mut self, result: &ToolResult<'_>) -> Result<(), ApiError> {
        let content = Content::of(&result.parts)?;
        self.w.begin_object().key("role").string("tool");
        if let Some(name) = &result.name {
            self.w.key("tool_name").text(name.text());
        }
        if !result.call_id.is_empty() {
            self.w.key("tool_call_id").text(result.call_id.text());
        }
        let marked = content.texts.first().is_some_and(|text| text.text().starts_with("Error"));
        self.content(&content, if result.is_error && !marked { "Error: " } else { "" });
        self.w.end_object();
        Ok(())
    }

    fn tools(&mut self, request: &Request<'_>) {
        if request.tools.is_empty() || request.choice.mode == Some(ChoiceMode::None) {
            return;
        }
        self.w.key("tools").begin_array();
        for tool in &request.tools {
            self.w.begin_object().key("type").string("function");
            self.w.key("function").begin_object().key("name").text(tool.name.text());
            if let Some(description) = &tool.description {
                self.w.key("description").text(description.text());
            }
            self.w.key("parameters");
            schema::as_given(Given::of_tool(tool), self.w.value_sink());
            self.w.end_object().end_object();
        }
        self.w.end_array();
    }

    /// Whether a member may be sent; if the connection never sends it, `hub_name` is reported.
    fn allows(&mut self, name: &str, hub_name: &str) -> bool {
        let allowed = !self.target.drop_params.iter().any(|param| param == name);
        if !allowed {
            self.dropped.push(hub_name.to_owned());
        }
        allowed
    }

    fn options(&mut self, request: &Request<'_>) {
        let sampling = &request.sampling;
        let numbers: Vec<(&str, Raw<'_>)> = [
            ("temperature", sampling.temperature),
            ("top_p", sampling.top_p),
            ("top_k", sampling.top_k),
            ("seed", sampling.seed),
            ("presence_penalty", sampling.presence),
            ("frequency_penalty", sampling.frequency),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)).filter(|_| self.allows(name, name)))
        .collect();
        let limit = request.max_tokens.filter(|tokens| *tokens > 0 && self.allows("num_predict", "max_tokens"));
        let stop = !request.stop.is_empty() && self.allows("stop", "stop");
        if numbers.is_empty() && limit.is_none() && !stop {
            return;
        }
        self.w.key("options").begin_object();
        for (name, value) in numbers {
            self.w.key(name).raw(value);
        }
        if let Some(limit) = limit {
            self.w.key("num_predict").number(limit);
        }
        if stop {
            self.w.key("stop").begin_array();
            for stop in &request.stop {
                self.w.text(stop.text());
            }
            self.w.end_array();
        }
        self.w.end_object();
    }

    fn format(&mut self, format: &Format<'_>) {
        if *format == Format::Text || !self.allows("format", "response_format") {
            return;
        }
        self.w.key("format");
        match format {
            Format::JsonSchema { schema, gemini_types, .. } => {
                schema::as_given(Given::new(*schema, *gemini_types), self.w.value_sink());
            }
            Format::JsonObject | Format::Text => {
                self.w.string("json");
            }
        }
    }

    fn logprobs(&mut self, request: &Request<'_>) {
        if let Some(wanted) = request.logprobs
            && self.allows("logprobs", "logprobs")
        {
            self.w.key("logprobs").bool(wanted);
            if let Some(top) = request.top_logprobs()
                && self.allows("top_logprobs", "top_logprobs")
            {
                self.w.key("top_logprobs").number(top);
            }
        }
        request.drop_logprobs(true, |name| self.dropped.push(name.to_owned()));
    }

    fn think(&mut self, request: &Request<'_>) {
        let Some(think) = request.reasoning.as_ref().and_then(reasoning::ollama_think) else { return };
        if !self.allows("think", "reasoning") {
            return;
        }
        self.w.key("think");
        match think {
            OllamaThink::Off => self.w.bool(false),
            OllamaThink::On => self.w.bool(true),
            OllamaThink::Word(word) => self.w.string(word),
        };
    }
}

/// What a user message or a result holds, as far as it can be said here.
struct Content<'r> {
    texts: Vec<&'r Str<'r>>,
    images: Vec<&'r Str<'r>>,
}

impl<'r> Content<'r> {
    fn of(parts: &'r [Part<'_>]) -> Result<Self, ApiError> {
        let mut content = Content { texts: Vec::new(), images: Vec::new() };
        for part in parts {
            match part {
                Part::Text { text, .. } | Part::Refusal(text) => content.texts.push(text),
                Part::Image { source: Source::Base64 { data, .. }, .. } => content.images.push(data),
                Part::File { source: Source::Text(text), name, .. } => {
                    content.texts.extend(name);
                    content.texts.push(text);
                }
                Part::Image { .. } => {
                    return Err(ApiError::unsupported("Ollama takes images only as base64 inside the request"));
                }
                Part::Audio { .. } => return Err(ApiError::unsupported("Ollama takes no audio")),
                Part::File { .. } => return Err(ApiError::unsupported("Ollama takes no files")),
                Part::Thinking { .. } | Part::Redacted(_) | Part::Call(_) | Part::Result(_) => {}
            }
        }
        Ok(content)
    }
}

/// The texts with `border` between them.
fn between<'t>(texts: impl Iterator<Item = &'t Str<'t>>, border: &'static str) -> impl Iterator<Item = Text<'t>> {
    texts.enumerate().flat_map(move |(n, text)| {
        let border = if n > 0 { Text::Plain(border) } else { Text::EMPTY };
        [border, text.text()]
    })
}
