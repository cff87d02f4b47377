//! Writes the members of a request; [`conversation`](super::conversation) writes the messages.

use super::conversation;
use crate::{
    dialect::{ChatFlavour, Encoded, Target, ThinkingForm},
    hub::{
        ApiError, Request, ToolKind, names, reasoning,
        request::{ChoiceMode, Effort, Format, Reasoning, Tool},
        schema::{self, Given},
    },
    json::{Raw, Str, Writer},
};

/// Stop sequences that the service takes.
const STOP_MAX: usize = 4;
/// Members that only OpenAI itself takes, by their chat names.
const OPENAI_EXTRAS: [&str; 4] = ["metadata", "service_tier", "prompt_cache_key", "prompt_cache_retention"];
/// OpenAI's words for `service_tier`; Anthropic's `standard_only` is none of them.
const SERVICE_TIERS: [&str; 6] = ["auto", "default", "flex", "scale", "priority", "fast"];

/// Writes a request.
pub fn encode(request: &Request<'_>, target: &Target) -> Result<Encoded, ApiError> {
    let mut body = Vec::new();
    let mut encoder = Encoder { target, w: Writer::new(&mut body), dropped: Vec::new() };
    encoder.w.begin_object();
    encoder.w.key("model");
    match target.model.is_empty() {
        true => encoder.w.text(request.model.text()),
        false => encoder.w.string(&target.model),
    };
    encoder.w.key("messages");
    conversation::write(request, target, &mut encoder.w)?;
    encoder.tools(request);
    encoder.limits(request);
    encoder.sampling(request);
    encoder.wishes(request);
    encoder.extras(request);
    encoder.stream(request);
    encoder.w.end_object();
    let mut dropped = encoder.dropped;
    dropped.sort();
    dropped.dedup();
    Ok(Encoded { body, dropped, ..Encoded::default() })
}

struct Encoder<'t, 'o> {
    target: &'t Target,
    w: Writer<'o, Vec<u8>>,
    dropped: Vec<String>,
}

impl Encoder<'_, '_> {
    /// Whether the connection takes the member; if not it is reported.
    fn takes(&mut self, member: &str) -> bool {
        let takes = !self.target.drop_params.iter().any(|name| name == member);
        if !takes {
            self.dropped.push(member.to_owned());
        }
        takes
    }

    fn raw(&mut self, member: &str, value: Option<Raw<'_>>) {
        if let Some(value) = value
            && self.takes(member)
        {
            self.w.key(member).raw(value);
        }
    }

    fn text(&mut self, member: &str, value: Option<&Str<'_>>) {
        if let Some(value) = value
            && self.takes(member)
        {
            self.w.key(member).text(value.text());
        }
    }

    fn tools(&mut self, request: &Request<'_>) {
        if request.tools.is_empty() || !self.takes("tools") {
            return;
        }
        self.w.key("tools").begin_array();
        for tool in &request.tools {
            write_tool(tool, self.target, &mut self.w);
        }
        self.w.end_array();
        if let Some(mode) = &request.choice.mode
            && self.takes("tool_choice")
        {
            self.w.key("tool_choice");
            self.choice(mode, request);
        }
        if let Some(parallel) = request.choice.parallel
            && self.takes("parallel_tool_calls")
        {
            self.w.key("parallel_tool_calls").bool(parallel);
        }
    }

    fn choice(&mut self, mode: &ChoiceMode<'_>, request: &Request<'_>) {
        let name = match mode {
            ChoiceMode::Auto => {
                self.w.string("auto");
                return;
            }
            ChoiceMode::None => {
                self.w.string("none");
                return;
            }
            ChoiceMode::Required => {
                self.w.string("required");
                return;
            }
            ChoiceMode::Tool(name) => name,
        };
        let custom = request.tools.iter().any(|tool| tool.kind == ToolKind::Custom && tool.name == *name);
        let kind = if custom { "custom" } else { "function" };
        self.w.begin_object().key("type").string(kind);
        self.w.key(kind).begin_object().key("name").text(name.text());
        self.w.end_object().end_object();
    }

    fn limits(&mut self, request: &Request<'_>) {
        if let Some(max) = request.max_tokens {
            let member = match self.target.flavour {
                ChatFlavour::OpenAi => "max_completion_tokens",
                ChatFlavour::Compat => "max_tokens",
            };
            if self.takes(member) {
                self.w.key(member).number(max);
            }
        }
        if !request.stop.is_empty() && self.takes("stop") {
            self.w.key("stop").begin_array();
            for stop in request.stop.iter().take(STOP_MAX) {
                self.w.text(stop.text());
            }
            self.w.end_array();
            if request.stop.len() > STOP_MAX {
                self.dropped.push(format!("stop[{STOP_MAX}..]"));
            }
        }
        if let Some(n) = request.n.filter(|n| *n > 1)
            && self.takes("n")
        {
            self.w.key("n").number(n);
        }
    }

    fn sampling(&mut self, request: &Request<'_>) {
        let sampling = &request.sampling;
        self.raw("temperature", sampling.temperature);
        self.raw("top_p", sampling.top_p);
        match self.target.flavour {
            ChatFlavour::Compat => self.raw("top_k", sampling.top_k),
            ChatFlavour::OpenAi if sampling.top_k.is_some() => self.dropped.push("top_k".to_owned()),
            ChatFlavour::OpenAi => {}
        }
        self.raw("seed", sampling.seed);
        self.raw("presence_penalty", sampling.presence);
        self.raw("frequency_penalty", sampling.frequency);
        if let Some(wanted) = request.logprobs
            && self.takes("logprobs")
        {
            self.w.key("logprobs").bool(wanted);
            if let Some(top) = request.top_logprobs()
                && self.takes("top_logprobs")
            {
                self.w.key("top_logprobs").number(top);
            }
        }
        request.drop_logprobs(true, |name| self.dropped.push(name.to_owned()));
    }

    fn wishes(&mut self, request: &Request<'_>) {
        if let Some(user) = &request.user
            && self.takes("user")
        {
            self.w.key("user").string(&names::user_id(&user.plain()));
        }
        self.text("verbosity", request.verbosity.as_ref());
        if let Some(wish) = &request.reasoning {
            self.thinking(wish);
        }
        if request.format != Format::Text && self.takes("response_format") {
            self.w.key("response_format");
            write_format(&request.format, &mut self.w);
        }
    }

    /// The wish for thinking, in the form that the server takes. A wish without numbers and words is "on".
    fn thinking(&mut self, wish: &Reasoning<'_>) {
        let effort = reasoning::effort(wish);
        let on = effort != Some(Effort::None);
        let form = self.target.thinking;
        if matches!(form, ThinkingForm::Type | ThinkingForm::TypeEffort) && self.takes("thinking") {
            let word = if on { "enabled" } else { "disabled" };
            self.w.key("thinking").begin_object().key("type").string(word).end_object();
        }
        match form {
            ThinkingForm::Type => {}
            ThinkingForm::Effort | ThinkingForm::TypeEffort => {
                let sends_none = form == ThinkingForm::Effort && self.target.effort_none;
                if let Some(effort) = effort.filter(|_| on || sends_none)
                    && self.takes("reasoning_effort")
                {
                    self.w.key("reasoning_effort").string(effort.name());
                }
            }
            ThinkingForm::Enable => {
                if self.takes("enable_thinking") {
                    self.w.key("enable_thinking").bool(on);
                }
                // The most that a model can do is its default; our number for it may be more than it takes.
                let budget = wish.budget.or_else(|| effort.filter(|e| *e != Effort::Max).map(Effort::budget));
                if let Some(budget) = budget.filter(|_| on)
                    && self.takes("thinking_budget")
                {
                    self.w.key("thinking_budget").number(budget);
                }
            }
            ThinkingForm::Reasoning => {
                if self.takes("reasoning") {
                    self.w.key("reasoning").begin_object();
                    // One of the two, not both.
                    match (wish.budget.filter(|_| on && wish.effort.is_none()), effort) {
                        (Some(budget), _) => self.w.key("max_tokens").number(budget),
                        (None, Some(effort)) => self.w.key("effort").string(effort.name()),
                        (None, None) => self.w.key("enabled").bool(true),
                    };
                    self.w.end_object();
                }
            }
        }
    }

    fn extras(&mut self, request: &Request<'_>) {
        for (name, value) in &request.extras {
            let name = name.plain();
            let tier = || value.as_text().is_some_and(|word| SERVICE_TIERS.contains(&word.plain().as_ref()));
            let known = self.target.flavour == ChatFlavour::OpenAi
                && OPENAI_EXTRAS.contains(&name.as_ref())
                && (name != "service_tier" || tier());
            match known {
                true => self.raw(&name, Some(*value)),
                false => self.dropped.push(name.into_owned()),
            }
        }
    }

    fn stream(&mut self, request: &Request<'_>) {
        if self.target.stream {
            self.w.key("stream").bool(true);
            if self.takes("stream_options") {
                self.w.key("stream_options").begin_object().key("include_usage").bool(true);
                self.w.end_object();
            }
        } else if request.stream_said {
            self.w.key("stream").bool(false);
        }
    }
}

fn write_tool(tool: &Tool<'_>, target: &Target, w: &mut Writer<'_, Vec<u8>>) {
    let kind = match tool.kind {
        ToolKind::Function => "function",
        ToolKind::Custom => "custom",
    };
    w.begin_object().key("type").string(kind);
    w.key(kind).begin_object().key("name").text(tool.name.text());
    if let Some(description) = &tool.description {
        w.key("description").text(description.text());
    }
    match tool.kind {
        ToolKind::Function => {
            w.key("parameters");
            schema::parameters(Given::of_tool(tool), w.value_sink());
            if let Some(strict) = tool.strict {
                w.key("strict").bool(strict);
            }
        }
        ToolKind::Custom => {
            if let Some(format) = tool.format {
                w.key("format");
                write_custom_format(format, w);
            }
        }
    }
    w.end_object();
    if let Some(mark) = tool.cache.filter(|_| target.cache_control) {
        w.key("cache_control");
        conversation::write_mark(mark, w);
    }
    w.end_object();
}

/// The format of a custom tool's input: Responses writes a grammar flat, chat one level deeper.
fn write_custom_format(format: Raw<'_>, w: &mut Writer<'_, Vec<u8>>) {
    if format.get("syntax").is_none() {
        w.raw(format);
        return;
    }
    w.begin_object().key("type").string("grammar").key("grammar").begin_object();
    for (key, value) in format.members().filter(|(key, _)| !key.is("type")) {
        w.key_text(key).raw(value);
    }
    w.end_object().end_object();
}

fn write_format(format: &Format<'_>, w: &mut Writer<'_, Vec<u8>>) {
    let (name, description, schema, strict, gemini_types) = match format {
        Format::Text => {
            w.verbatim(r#"{"type":"text"}"#);
            return;
        }
        Format::JsonObject => {
            w.verbatim(r#"{"type":"json_object"}"#);
            return;
        }
        Format::JsonSchema { name, description, schema, strict, gemini_types } => {
            (name, description, *schema, *strict, *gemini_types)
        }
    };
    w.begin_object().key("type").string("json_schema").key("json_schema").begin_object();
    match name {
        Some(name) => w.key("name").text(name.text()),
        None => w.key("name").string("output"),
    };
    if let Some(description) = description {
        w.key("description").text(description.text());
    }
    w.key("schema");
    schema::as_given(Given::new(schema, gemini_types), w.value_sink());
    if let Some(strict) = strict {
        w.key("strict").bool(strict);
    }
    w.end_object().end_object();
}
