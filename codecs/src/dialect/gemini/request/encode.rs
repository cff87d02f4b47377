//! Writes the request for a Gemini upstream. Model and stream flag go into the URL, which is not made here.

use super::contents;
use crate::{
    dialect::{Encoded, Target},
    hub::{
        ApiError, reasoning,
        request::{ChoiceMode, Format, Reasoning, Request, Tool},
        schema::{self, Given},
    },
    json::{Raw, Str, Text, Writer},
};

/// The service takes no more.
const STOP_MAX: usize = 5;

/// Writes a request.
pub fn encode(request: &Request<'_>, target: &Target) -> Result<Encoded, ApiError> {
    let mut encoded = Encoded { dropped: dropped(request), ..Encoded::default() };
    let mut w = Writer::new(&mut encoded.body);
    w.begin_object();
    conversation(request, target, &mut w, &mut encoded.dropped)?;
    let config = generation_config(request, target, &mut encoded.dropped);
    if config != "{}" {
        w.key("generationConfig").verbatim(&config);
    }
    w.end_object();
    Ok(encoded)
}

/// Writes the body for `:countTokens`: instructions and tools count only inside a whole request.
pub fn encode_count_tokens(request: &Request<'_>, target: &Target) -> Result<Encoded, ApiError> {
    let mut encoded = Encoded::default();
    let mut w = Writer::new(&mut encoded.body);
    w.begin_object().key("generateContentRequest").begin_object();
    let model: &str = &target.model;
    let prefix = if model.contains('/') { "" } else { "models/" };
    w.key("model").texts([Text::Plain(prefix), Text::Plain(model)]);
    conversation(request, target, &mut w, &mut encoded.dropped)?;
    w.end_object().end_object();
    Ok(encoded)
}

/// What costs prompt tokens: contents, instructions, tools.
fn conversation(
    request: &Request<'_>,
    target: &Target,
    w: &mut Writer<'_, Vec<u8>>,
    dropped: &mut Vec<String>,
) -> Result<(), ApiError> {
    w.key("contents");
    contents::write(request, target, w)?;
    system(request, target, w, dropped);
    tools(request, target, w);
    Ok(())
}

/// Members that have no place here.
fn dropped(request: &Request<'_>) -> Vec<String> {
    let mut dropped: Vec<String> = request.extras.iter().map(|(name, _)| name.plain().into_owned()).collect();
    let mut drop = |is_set: bool, name: &str| {
        if is_set {
            dropped.push(name.to_owned());
        }
    };
    drop(request.user.is_some(), "user");
    drop(request.verbosity.is_some(), "verbosity");
    drop(request.choice.parallel == Some(false), "parallel_tool_calls");
    drop(request.stop.len() > STOP_MAX, "stop[5..]");
    request.drop_logprobs(true, |name| drop(true, name));
    dropped
}

/// Generation 2 refuses JSON output together with tools; the wish becomes an instruction.
fn wish_in_words(request: &Request<'_>, target: &Target) -> Option<String> {
    if target.gemini3 || request.tools.is_empty() {
        return None;
    }
    match &request.format {
        Format::Text => None,
        Format::JsonObject => Some("Respond with a single valid JSON object and nothing else.".to_owned()),
        Format::JsonSchema { schema, gemini_types, .. } => {
            let mut text =
                b"Respond with a single valid JSON value that matches this JSON schema and nothing else:\n".to_vec();
            let mut json = Vec::new();
            schema::gemini_json(Given::new(*schema, *gemini_types), &mut json);
            compact(&json, &mut text);
            String::from_utf8(text).ok()
        }
    }
}

/// Copies JSON without the white space around its tokens.
fn compact(json: &[u8], out: &mut Vec<u8>) {
    let (mut in_string, mut escape) = (false, false);
    for &b in json {
        match b {
            _ if escape => escape = false,
            b'\\' => escape = in_string,
            b'"' => in_string = !in_string,
            b' ' | b'\n' | b'\r' | b'\t' if !in_string => continue,
            _ => {}
        }
        out.push(b);
    }
}

fn system(request: &Request<'_>, target: &Target, w: &mut Writer<'_, Vec<u8>>, dropped: &mut Vec<String>) {
    let wish = wish_in_words(request, target);
    if wish.is_some() {
        dropped.push("response_format".to_owned());
    }
    let texts = request.system.iter().map(|system| system.text.text()).chain(wish.as_deref().map(Text::Plain));
    let mut texts = texts.filter(|text| !text.is_empty()).peekable();
    if texts.peek().is_none() {
        return;
    }
    w.key("systemInstruction").begin_object().key("parts").begin_array();
    for text in texts {
        w.begin_object().key("text").text(text);
        w.end_object();
    }
    w.end_array().end_object();
}

fn tools(request: &Request<'_>, target: &Target, w: &mut Writer<'_, Vec<u8>>) {
    if request.tools.is_empty() {
        return;
    }
    w.key("tools").begin_array().begin_object().key("functionDeclarations").begin_array();
    for tool in &request.tools {
        function(tool, target, w);
    }
    w.end_array().end_object().end_array();
    let choice = &request.choice;
    let (mode, one) = match &choice.mode {
        Some(ChoiceMode::Tool(name)) => ("ANY", Some(name)),
        Some(ChoiceMode::Required) => ("ANY", None),
        Some(ChoiceMode::None) => ("NONE", None),
        // With AUTO the service ignores the list of names.
        Some(ChoiceMode::Auto) | None if !choice.allowed.is_empty() => ("VALIDATED", None),
        Some(ChoiceMode::Auto) => ("AUTO", None),
        None => return,
    };
    w.key("toolConfig").begin_object().key("functionCallingConfig").begin_object();
    w.key("mode").string(mode);
    let names: Vec<&Str<'_>> = match one {
        Some(name) => vec![name],
        None if mode == "NONE" => Vec::new(),
        None => choice.allowed.iter().collect(),
    };
    if !names.is_empty() {
        w.key("allowedFunctionNames").begin_array();
        for name in names {
            w.text(name.text());
        }
        w.end_array();
    }
    w.end_object().end_object();
}

fn function(tool: &Tool<'_>, target: &Target, w: &mut Writer<'_, Vec<u8>>) {
    w.begin_object().key("name").text(tool.name.text());
    if let Some(description) = &tool.description {
        w.key("description").text(description.text());
    }
    let given = Given::of_tool(tool);
    if given.raw.is_some() {
        json_schema(given, target, ("parameters", "parametersJsonSchema"), w);
    }
    w.end_object();
}

/// A schema under the name that goes with its form.
fn json_schema(given: Given<'_>, target: &Target, names: (&str, &str), w: &mut Writer<'_, Vec<u8>>) {
    if !target.gemini_schema_subset {
        w.key(names.1);
        schema::gemini_json(given, w.value_sink());
    } else if let Some(subset) = schema::gemini_subset(given) {
        w.key(names.0).value_sink().extend_from_slice(&subset);
    }
}

fn generation_config(request: &Request<'_>, target: &Target, dropped: &mut Vec<String>) -> String {
    let mut body = Vec::new();
    let mut config = Config { w: Writer::new(&mut body), target, dropped };
    config.w.begin_object();
    config.limits(request);
    config.form(request);
    config.thinking(request.reasoning.as_ref());
    config.w.end_object();
    String::from_utf8(body).unwrap_or_default()
}

/// Writes the members of `generationConfig` that the connection allows.
struct Config<'w, 'o> {
    w: Writer<'o, Vec<u8>>,
    target: &'w Target,
    dropped: &'w mut Vec<String>,
}

impl<'o> Config<'_, 'o> {
    /// Begins a member, unless the connection never sends it; then `hub_name` is reported.
    fn key(&mut self, name: &str, hub_name: &str) -> Option<&mut Writer<'o, Vec<u8>>> {
        if self.target.drop_params.iter().any(|param| param == name) {
            self.dropped.push(hub_name.to_owned());
            return None;
        }
        Some(self.w.key(name))
    }

    fn raw(&mut self, name: &str, hub_name: &str, value: Option<Raw<'_>>) {
        if let Some(value) = value
            && let Some(w) = self.key(name, hub_name)
        {
            w.raw(value);
        }
    }

    fn number(&mut self, name: &str, hub_name: &str, value: Option<u64>) {
        if let Some(value) = value
            && let Some(w) = self.key(name, hub_name)
        {
            w.number(value);
        }
    }

    fn limits(&mut self, request: &Request<'_>) {
        let sampling = &request.sampling;
        self.number("maxOutputTokens", "max_tokens", request.max_tokens);
        self.raw("temperature", "temperature", sampling.temperature);
        self.raw("topP", "top_p", sampling.top_p);
        self.raw("topK", "top_k", sampling.top_k);
        self.raw("seed", "seed", sampling.seed);
        self.raw("presencePenalty", "presence_penalty", sampling.presence);
        self.raw("frequencyPenalty", "frequency_penalty", sampling.frequency);
        self.number("candidateCount", "n", request.n.filter(|n| *n > 1));
        if let Some(wanted) = request.logprobs
            && let Some(w) = self.key("responseLogprobs", "logprobs")
        {
            w.bool(wanted);
            self.number("logprobs", "top_logprobs", request.top_logprobs());
        }
        if !request.stop.is_empty()
            && let Some(w) = self.key("stopSequences", "stop")
        {
            w.begin_array();
            for stop in request.stop.iter().take(STOP_MAX) {
                w.text(stop.text());
            }
            w.end_array();
        }
    }

    fn form(&mut self, request: &Request<'_>) {
        if request.format == Format::Text || wish_in_words(request, self.target).is_some() {
            return;
        }
        let Some(w) = self.key("responseMimeType", "response_format") else { return };
        w.string("application/json");
        if let Format::JsonSchema { schema, gemini_types, .. } = &request.format {
            let given = Given::new(*schema, *gemini_types);
            json_schema(given, self.target, ("responseSchema", "responseJsonSchema"), &mut self.w);
        }
    }

    fn thinking(&mut self, wish: Option<&Reasoning<'_>>) {
        let Some(wish) = wish else { return };
        // Budgets and levels exclude each other: generation 3 has levels and no way to switch thinking off.
        let level = reasoning::effort(wish).map(reasoning::gemini_level).filter(|_| self.target.gemini3);
        let budget = reasoning::gemini_budget(wish).filter(|_| !self.target.gemini3);
        if level.is_none() && budget.is_none() && !wish.adaptive {
            return;
        }
        let Some(w) = self.key("thinkingConfig", "reasoning") else { return };
        w.begin_object();
        if budget != Some(0) {
            w.key("includeThoughts").bool(true);
        }
        if let Some(level) = level {
            w.key("thinkingLevel").string(level);
        }
        if let Some(budget) = budget {
            w.key("thinkingBudget").verbatim(&budget.to_string());
        }
        w.end_object();
    }
}
