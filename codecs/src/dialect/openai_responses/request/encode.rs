//! Writes a request.

use super::{
    decode::LOGPROBS,
    media::{default_name, is_own_file_id},
    tools,
};
use crate::{
    dialect::{Encoded, Target},
    hub::{
        ApiError, Form, Origin, Request, Rider, ToolKind,
        names::sha256_hex,
        reasoning,
        request::{Effort, Format, Message, Part, Reasoning, Role, Source, ToolResult},
        schema::{Given, as_given},
    },
    json::{Raw, Str, Text, Writer},
};

/// Members of the chat dialect that exist here under the same name.
const SHARED: [&str; 4] = ["metadata", "service_tier", "prompt_cache_key", "prompt_cache_retention"];
/// Longest end-user id.
const USER_CHARS_MAX: usize = 64;

/// Writes a request.
pub fn encode(request: &Request<'_>, target: &Target) -> Result<Encoded, ApiError> {
    let mut body = Vec::with_capacity(4096);
    let mut dropped = Vec::new();
    let mut w = Writer::new(&mut body);
    w.begin_object();
    let model = if target.model.is_empty() { request.model.text() } else { Text::Plain(&target.model) };
    w.key("model").text(model);
    w.key("input").begin_array();
    Input { w: &mut w, items: 0 }.write(&request.messages)?;
    w.end_array();
    instructions(request, &mut w);
    tools::encode(request, target, &mut w)?;
    let mut out = Members { w: &mut w, target, dropped: &mut dropped };
    out.limits(request);
    let reasons = out.reasoning(request.reasoning.as_ref());
    out.include(request, reasons);
    out.text(request);
    out.rest(request);
    w.end_object();
    dropped.sort();
    dropped.dedup();
    Ok(Encoded { body, dropped, ..Encoded::default() })
}

fn instructions(request: &Request<'_>, w: &mut Writer<'_, Vec<u8>>) {
    let mut pieces = Vec::new();
    let system = request.system.iter().map(|piece| piece.text.text());
    for text in system.filter(|text| !text.is_empty()) {
        if !pieces.is_empty() {
            pieces.push(Text::Plain("\n\n"));
        }
        pieces.push(text);
    }
    if !pieces.is_empty() {
        w.key("instructions").texts(pieces);
    }
}

/// The list of input items while it is written.
struct Input<'w, 'o> {
    w: &'w mut Writer<'o, Vec<u8>>,
    items: usize,
}

impl Input<'_, '_> {
    fn write(&mut self, messages: &[Message<'_>]) -> Result<(), ApiError> {
        for (at, message) in messages.iter().enumerate() {
            match message.role {
                Role::User => self.message("user", &message.parts)?,
                Role::System => self.message("developer", &message.parts)?,
                Role::Assistant => self.assistant(&message.parts)?,
                Role::Tool => self.results(&message.parts, &messages[..at])?,
            }
        }
        if self.items == 0 {
            let parts = [Part::Text { text: "...".into(), cache: None }];
            self.message("user", &parts)?;
        }
        Ok(())
    }

    fn message(&mut self, role: &str, parts: &[Part<'_>]) -> Result<(), ApiError> {
        if parts.is_empty() {
            return Ok(());
        }
        self.begin_message(role);
        for part in parts {
            input_part(part, self.w)?;
        }
        self.w.end_array().end_object();
        Ok(())
    }

    fn begin_message(&mut self, role: &str) {
        self.items += 1;
        self.w.begin_object().key("type").string("message").key("role").string(role);
        self.w.key("content").begin_array();
    }

    /// Text and refusals side by side share a message item; everything else is an item of its own.
    fn assistant(&mut self, parts: &[Part<'_>]) -> Result<(), ApiError> {
        let mut saying = false;
        for part in parts {
            let says = matches!(part, Part::Text { .. } | Part::Refusal(_));
            if saying && !says {
                self.w.end_array().end_object();
            }
            if says && !saying {
                self.begin_message("assistant");
            }
            saying = says;
            match part {
                Part::Text { text, .. } => {
                    self.w.begin_object().key("type").string("output_text").key("text").text(text.text()).end_object();
                }
                Part::Refusal(text) => {
                    self.w.begin_object().key("type").string("refusal").key("refusal").text(text.text()).end_object();
                }
                Part::Thinking { text, rider: Some(rider) } => self.reasoning(Some(text), rider),
                Part::Redacted(rider) => self.reasoning(None, rider),
                // Reasoning of others, or nobody's: the service takes only what it has encrypted itself.
                Part::Thinking { rider: None, .. } => {}
                Part::Call(call) => {
                    if let Some(rider) = &call.signature {
                        self.reasoning(None, rider);
                    }
                    self.items += 1;
                    let (kind, member) = match call.kind {
                        ToolKind::Function => ("function_call", "arguments"),
                        ToolKind::Custom => ("custom_tool_call", "input"),
                    };
                    self.w.begin_object().key("type").string(kind).key("call_id").text(call.id.text());
                    self.w.key("name").text(call.name.text()).key(member).text(call.arguments.text()).end_object();
                }
                Part::Image { .. } | Part::Audio { .. } | Part::File { .. } | Part::Result(_) => {
                    return Err(ApiError::unsupported("an assistant turn holds an attachment"));
                }
            }
        }
        if saying {
            self.w.end_array().end_object();
        }
        Ok(())
    }

    /// A reasoning item, if the blob comes from this vendor.
    fn reasoning(&mut self, text: Option<&Str<'_>>, rider: &Rider<'_>) {
        if rider.origin != Origin::Responses || rider.form == Form::Sig {
            return;
        }
        self.items += 1;
        self.w.begin_object().key("type").string("reasoning").key("summary").begin_array();
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            self.w.begin_object().key("type").string("summary_text").key("text").text(text.text()).end_object();
        }
        self.w.end_array().key("encrypted_content").text(rider.payload.text());
        if let Some(id) = &rider.item_id {
            self.w.key("id").text(id.text());
        }
        self.w.end_object();
    }

    fn results(&mut self, parts: &[Part<'_>], before: &[Message<'_>]) -> Result<(), ApiError> {
        for part in parts {
            match part {
                Part::Result(result) => self.result(result, is_custom(result, before))?,
                // A tool message holds results; anything else that got here is said by the user.
                other => self.message("user", std::slice::from_ref(other))?,
            }
        }
        Ok(())
    }

    fn result(&mut self, result: &ToolResult<'_>, custom: bool) -> Result<(), ApiError> {
        self.items += 1;
        let kind = if custom { "custom_tool_call_output" } else { "function_call_output" };
        self.w.begin_object().key("type").string(kind).key("call_id").text(result.call_id.text()).key("output");
        let first = result.parts.iter().find_map(|part| match part {
            Part::Text { text, .. } => Some(text),
            _ => None,
        });
        let mut prefix = result.is_error && !first.is_some_and(|text| text.plain().trim_start().starts_with("Error"));
        if result.parts.iter().all(|part| matches!(part, Part::Text { .. })) {
            let mut pieces = Vec::new();
            if prefix {
                pieces.push(Text::Plain("Error: "));
            }
            for (at, part) in result.parts.iter().enumerate() {
                let Part::Text { text, .. } = part else { continue };
                if at > 0 {
                    pieces.push(Text::Plain("\n"));
                }
                pieces.push(text.text());
            }
            self.w.texts(pieces);
        } else {
            self.w.begin_array();
            if prefix && first.is_none() {
                input_part(&Part::Text { text: "Error: ".into(), cache: None }, self.w)?;
                prefix = false;
            }
            for part in &result.parts {
                match part {
                    Part::Text { text, .. } if prefix => {
                        prefix = false;
                        self.w.begin_object().key("type").string("input_text");
                        self.w.key("text").texts([Text::Plain("Error: "), text.text()]).end_object();
                    }
                    part => input_part(part, self.w)?,
                }
            }
            self.w.end_array();
        }
        self.w.end_object();
        Ok(())
    }
}

/// Whether a result answers a custom tool's call.
fn is_custom(result: &ToolResult<'_>, before: &[Message<'_>]) -> bool {
    let calls = before.iter().rev().flat_map(|message| &message.parts).find_map(|part| match part {
        Part::Call(call) if call.id == result.call_id => Some(call.kind),
        _ => None,
    });
    calls == Some(ToolKind::Custom)
}

/// A content part of a user message, a developer message or a result.
fn input_part(part: &Part<'_>, w: &mut Writer<'_, Vec<u8>>) -> Result<(), ApiError> {
    match part {
        Part::Text { text, .. } | Part::Refusal(text) => input_text([text.text()], w),
        Part::Image { source, detail, .. } => {
            w.begin_object().key("type").string("input_image");
            w.key("detail").text(detail.as_ref().map_or(Text::Plain("auto"), Str::text));
            match source {
                Source::Base64 { mime, data } => {
                    w.key("image_url");
                    data_url(mime, data, w);
                }
                Source::Url { url, .. } => {
                    w.key("image_url").text(url.text());
                }
                Source::FileId(id) => {
                    w.key("file_id").text(own_file_id(id)?);
                }
                Source::Text(_) => return Err(ApiError::unsupported("an image is made of text")),
            }
            w.end_object();
        }
        Part::File { name, source, .. } => file(name.as_ref(), source, w)?,
        Part::Audio { .. } => return Err(ApiError::unsupported("audio input cannot be sent to this upstream")),
        Part::Thinking { .. } | Part::Redacted(_) | Part::Call(_) | Part::Result(_) => {
            return Err(ApiError::unsupported("a user message holds a part of an answer"));
        }
    }
    Ok(())
}

fn input_text<'t>(pieces: impl IntoIterator<Item = Text<'t>>, w: &mut Writer<'_, Vec<u8>>) {
    w.begin_object().key("type").string("input_text").key("text").texts(pieces).end_object();
}

fn data_url(mime: &Str<'_>, data: &Str<'_>, w: &mut Writer<'_, Vec<u8>>) {
    w.texts([Text::Plain("data:"), mime.text(), Text::Plain(";base64,"), data.text()]);
}

fn own_file_id<'t>(id: &'t Str<'_>) -> Result<Text<'t>, ApiError> {
    if is_own_file_id(&id.plain()) {
        Ok(id.text())
    } else {
        Err(ApiError::unsupported("a file id of another vendor cannot be used here"))
    }
}

fn file(name: Option<&Str<'_>>, source: &Source<'_>, w: &mut Writer<'_, Vec<u8>>) -> Result<(), ApiError> {
    if let Source::Text(text) = source {
        let title = name.filter(|name| !name.is_empty());
        let newline = title.map(|_| Text::Plain("\n"));
        input_text(title.map(Str::text).into_iter().chain(newline).chain([text.text()]), w);
        return Ok(());
    }
    w.begin_object().key("type").string("input_file");
    match source {
        Source::Base64 { mime, data } => {
            let default = default_name(&mime.plain());
            w.key("filename").text(name.map_or(Text::Plain(default), Str::text)).key("file_data");
            data_url(mime, data, w);
        }
        Source::Url { url, .. } => {
            w.key("file_url").text(url.text());
        }
        Source::FileId(id) => {
            w.key("file_id").text(own_file_id(id)?);
        }
        Source::Text(_) => {}
    }
    w.end_object();
    Ok(())
}

/// The members behind `tools`.
struct Members<'w, 'o, 't> {
    w: &'w mut Writer<'o, Vec<u8>>,
    target: &'t Target,
    dropped: &'t mut Vec<String>,
}

impl Members<'_, '_, '_> {
    /// Whether a member may be sent; reports `hub_name` if the connection forbids it.
    fn allowed(&mut self, name: &str, hub_name: &str) -> bool {
        let allowed = !self.target.drop_params.iter().any(|dropped| dropped == name);
        if !allowed {
            self.dropped.push(hub_name.to_owned());
        }
        allowed
    }

    fn limits(&mut self, request: &Request<'_>) {
        if let Some(limit) = request.max_tokens
            && self.allowed("max_output_tokens", "max_completion_tokens")
        {
            self.w.key("max_output_tokens").number(limit);
        }
        let sampling = &request.sampling;
        for (name, value) in [("temperature", sampling.temperature), ("top_p", sampling.top_p)] {
            if let Some(value) = value
                && self.allowed(name, name)
            {
                self.w.key(name).raw(value);
            }
        }
        for (name, given) in [
            ("top_k", sampling.top_k.is_some()),
            ("seed", sampling.seed.is_some()),
            ("presence_penalty", sampling.presence.is_some()),
            ("frequency_penalty", sampling.frequency.is_some()),
            ("stop", !request.stop.is_empty()),
            ("n", request.n.is_some_and(|n| n > 1)),
        ] {
            if given {
                self.dropped.push(name.to_owned());
            }
        }
    }

    /// Whether the model is asked to think.
    fn reasoning(&mut self, wish: Option<&Reasoning<'_>>) -> bool {
        let Some(wish) = wish else { return false };
        if !self.allowed("reasoning", "reasoning") {
            return false;
        }
        let effort = reasoning::effort(wish);
        if wish.off || effort == Some(Effort::None) {
            if self.target.effort_none {
                self.w.key("reasoning").begin_object().key("effort").string(Effort::None.name());
                self.w.end_object();
            }
            return false;
        }
        self.w.key("reasoning").begin_object();
        self.w.key("summary").text(wish.summary.as_ref().map_or(Text::Plain("auto"), Str::text));
        if let Some(effort) = effort {
            self.w.key("effort").string(effort.name());
        }
        self.w.end_object();
        true
    }

    /// What shall be in the answer besides its text.
    fn include(&mut self, request: &Request<'_>, reasons: bool) {
        let scored = request.logprobs == Some(true) && self.allowed("include", "logprobs");
        let encrypted = reasons && self.allowed("include", "include");
        if scored || encrypted {
            self.w.key("include").begin_array();
            if encrypted {
                self.w.string("reasoning.encrypted_content");
            }
            if scored {
                self.w.string(LOGPROBS);
            }
            self.w.end_array();
        }
        if let Some(top) = request.top_logprobs().filter(|_| scored)
            && self.allowed("top_logprobs", "top_logprobs")
        {
            self.w.key("top_logprobs").number(top);
        }
        request.drop_logprobs(true, |name| self.dropped.push(name.to_owned()));
    }

    fn text(&mut self, request: &Request<'_>) {
        let format = request.format != Format::Text && self.allowed("text.format", "response_format");
        let verbosity = request.verbosity.as_ref();
        let verbosity = verbosity.filter(|_| self.allowed("text.verbosity", "verbosity"));
        if !format && verbosity.is_none() {
            return;
        }
        self.w.key("text").begin_object();
        if format {
            self.w.key("format");
            self.format(&request.format);
        }
        if let Some(verbosity) = verbosity {
            self.w.key("verbosity").text(verbosity.text());
        }
        self.w.end_object();
    }

    fn format(&mut self, format: &Format<'_>) {
        self.w.begin_object();
        match format {
            Format::Text => {
                self.w.key("type").string("text");
            }
            Format::JsonObject => {
                self.w.key("type").string("json_object");
            }
            Format::JsonSchema { name, description, schema, strict, gemini_types } => {
                self.w.key("type").string("json_schema");
                self.w.key("name").text(name.as_ref().map_or(Text::Plain("output"), Str::text));
                if let Some(description) = description {
                    self.w.key("description").text(description.text());
                }
                self.w.key("schema");
                as_given(Given::new(*schema, *gemini_types), self.w.value_sink());
                if let Some(strict) = strict {
                    self.w.key("strict").bool(*strict);
                }
            }
        }
        self.w.end_object();
    }

    fn rest(&mut self, request: &Request<'_>) {
        if let Some(user) = &request.user
            && self.allowed("safety_identifier", "user")
        {
            self.w.key("safety_identifier");
            let plain = user.plain();
            if plain.chars().count() > USER_CHARS_MAX {
                self.w.string(&sha256_hex(&plain));
            } else {
                self.w.text(user.text());
            }
        }
        for (name, value) in &request.extras {
            let name = name.plain();
            if SHARED.contains(&&*name) {
                if self.allowed(&name, &name) {
                    self.w.key(&name).raw(*value);
                }
            } else if !is_met(&name, *value) {
                self.dropped.push(name.into_owned());
            }
        }
        self.w.key("store").bool(false);
        if self.target.stream {
            self.w.key("stream").bool(true);
        }
    }
}

/// Whether a member without a place here asks for what happens anyway.
fn is_met(name: &str, value: Raw<'_>) -> bool {
    name == "store" && value.as_bool() == Some(false)
}
