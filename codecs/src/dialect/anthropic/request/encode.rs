//! Writes a request for an upstream.

use super::{
    content::{Marks, Turns},
    limits::{Limits, Thinking},
};
use crate::{
    dialect::{Encoded, Target},
    hub::{
        ApiError, Request,
        request::{ChoiceMode, Format, Tool},
        schema::{self, Given},
    },
    json::{Raw, Text, Writer},
};

/// Stands in for a JSON mode, which this dialect does not have.
const JSON_OBJECT: &str = "Respond with a single valid JSON object and nothing else.";
/// Thinking between calls, for models that think with a budget.
const INTERLEAVED_THINKING: &str = "interleaved-thinking-2025-05-14";

type Out<'o> = Writer<'o, Vec<u8>>;

/// Writes a request for `/v1/messages`.
pub fn encode(request: &Request<'_>, target: &Target) -> Result<Encoded, ApiError> {
    Encoder::new(request, target, Form::Messages).run()
}

/// Writes a request for `/v1/messages/count_tokens`: without limits, sampling and streaming, which it refuses.
pub fn encode_count_tokens(request: &Request<'_>, target: &Target) -> Result<Encoded, ApiError> {
    Encoder::new(request, target, Form::CountTokens).run()
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Form {
    Messages,
    CountTokens,
}

struct Encoder<'r, 'a> {
    request: &'r Request<'a>,
    target: &'r Target,
    form: Form,
    turns: Turns<'r, 'a>,
    limits: Limits,
    dropped: Vec<String>,
}

impl<'r, 'a> Encoder<'r, 'a> {
    fn new(request: &'r Request<'a>, target: &'r Target, form: Form) -> Self {
        let mut dropped = Vec::new();
        let turns = Turns::of(request, &mut dropped);
        let mut limits = Limits::of(request, target, turns.last_calls_are_signed());
        if limits.thinking != Thinking::Off && target.drop_params.iter().any(|name| name == "thinking") {
            limits.thinking = Thinking::Off;
            limits.thinking_dropped = true;
        }
        Self { request, target, form, turns, limits, dropped }
    }

    fn run(mut self) -> Result<Encoded, ApiError> {
        let mut body = Vec::new();
        let mut w = Writer::new(&mut body);
        w.begin_object().key("model");
        if self.target.model.is_empty() {
            w.text(self.request.model.text());
        } else {
            w.string(&self.target.model);
        }
        if self.form == Form::Messages {
            w.key("max_tokens").number(self.limits.max_tokens);
            if self.target.stream || self.request.stream_said {
                w.key("stream").bool(self.target.stream);
            }
        }
        // In the order of the prompt, which is the order of the cache marks.
        let mut marks = Marks::of(self.marks());
        self.tools(&mut marks, &mut w);
        self.system(&mut marks, &mut w);
        w.key("messages");
        self.turns.write(&mut marks, &mut w)?;
        self.thinking(&mut w);
        self.output_config(&mut w);
        if self.form == Form::Messages {
            self.sampling(&mut w);
            self.stop(&mut w);
            self.user(&mut w);
        }
        w.end_object();
        self.report();
        let betas = self.betas();
        self.dropped.sort_unstable();
        self.dropped.dedup();
        Ok(Encoded { body, dropped: self.dropped, betas, ..Encoded::default() })
    }

    fn marks(&self) -> usize {
        let system = self.request.system.iter().filter(|block| !block.text.is_blank() && block.cache.is_some()).count();
        let tools = self.request.tools.iter().filter(|tool| tool.cache.is_some()).count();
        system + tools + self.turns.marks()
    }

    /// Whether a member may be sent; reports it if the connection forbids it.
    fn allowed(&mut self, member: &str, reported: &str) -> bool {
        let allowed = !self.target.drop_params.iter().any(|name| name == member);
        if !allowed {
            self.drop(reported);
        }
        allowed
    }

    fn drop(&mut self, name: &str) {
        self.dropped.push(name.to_owned());
    }

    fn tools(&mut self, marks: &mut Marks, w: &mut Out<'_>) {
        if self.request.tools.is_empty() {
            return;
        }
        w.key("tools").begin_array();
        for tool in &self.request.tools {
            write_tool(tool, marks, w);
        }
        w.end_array();
        self.tool_choice(w);
    }

    fn tool_choice(&mut self, w: &mut Out<'_>) {
        let choice = &self.request.choice;
        let alone = choice.parallel == Some(false) && choice.mode != Some(ChoiceMode::None);
        if (choice.mode.is_none() && !alone) || !self.allowed("tool_choice", "tool_choice") {
            return;
        }
        w.key("tool_choice").begin_object().key("type");
        match &choice.mode {
            None | Some(ChoiceMode::Auto) => w.string("auto"),
            Some(ChoiceMode::None) => w.string("none"),
            Some(ChoiceMode::Required) => w.string("any"),
            Some(ChoiceMode::Tool(name)) => w.string("tool").key("name").text(name.text()),
        };
        if alone {
            w.key("disable_parallel_tool_use").bool(true);
        }
        w.end_object();
    }

    fn system(&mut self, marks: &mut Marks, w: &mut Out<'_>) {
        let wants_object = self.request.format == Format::JsonObject;
        let mut blocks = self.request.system.iter().filter(|block| !block.text.is_blank()).peekable();
        if blocks.peek().is_none() && !wants_object {
            return;
        }
        w.key("system").begin_array();
        for block in blocks {
            w.begin_object().key("type").string("text").key("text").text(block.text.text());
            marks.write(block.cache, w);
            w.end_object();
        }
        if wants_object {
            w.begin_object().key("type").string("text").key("text").string(JSON_OBJECT).end_object();
        }
        w.end_array();
    }

    fn thinking(&mut self, w: &mut Out<'_>) {
        match self.limits.thinking {
            Thinking::Off => {}
            Thinking::Budget(tokens) => {
                w.key("thinking").begin_object().key("type").string("enabled");
                w.key("budget_tokens").number(tokens).end_object();
            }
            Thinking::Adaptive(_) => {
                w.key("thinking").begin_object().key("type").string("adaptive");
                w.key("display").string("summarized").end_object();
            }
        }
    }

    fn output_config(&mut self, w: &mut Out<'_>) {
        let effort = if let Thinking::Adaptive(effort) = self.limits.thinking { effort } else { None };
        let schema = match self.request.format {
            Format::JsonSchema { schema, gemini_types, .. } => Some(Given::new(schema, gemini_types)),
            Format::Text | Format::JsonObject => None,
        };
        if (effort.is_none() && schema.is_none()) || !self.allowed("output_config", "response_format") {
            return;
        }
        w.key("output_config").begin_object();
        if let Some(effort) = effort {
            w.key("effort").string(effort);
        }
        if let Some(given) = schema {
            w.key("format").begin_object().key("type").string("json_schema").key("schema");
            schema::strict(given, w.value_sink());
            w.end_object();
        }
        w.end_object();
    }

    fn sampling(&mut self, w: &mut Out<'_>) {
        let sampling = self.request.sampling;
        // The service takes none of them together with thinking, and only one of the first two.
        let thinks = self.limits.thinking != Thinking::Off;
        let mut send = |encoder: &mut Self, name: &str, value: Option<Raw<'_>>, possible: bool| {
            let Some(value) = value else { return false };
            if !possible {
                encoder.drop(name);
                return false;
            }
            if !encoder.allowed(name, name) {
                return false;
            }
            w.key(name);
            let above = name == "temperature" && value.as_f64().is_some_and(|value| value > 1.0);
            if above {
                w.number(1)
            } else {
                w.raw(value)
            };
            true
        };
        let heated = send(self, "temperature", sampling.temperature, !thinks);
        send(self, "top_p", sampling.top_p, !thinks && !heated);
        send(self, "top_k", sampling.top_k, !thinks);
    }

    fn stop(&mut self, w: &mut Out<'_>) {
        let stop: Vec<_> = self.request.stop.iter().filter(|entry| !entry.is_blank()).collect();
        if stop.len() < self.request.stop.len() {
            self.drop("stop");
        }
        if stop.is_empty() || !self.allowed("stop_sequences", "stop") {
            return;
        }
        w.key("stop_sequences").begin_array();
        for entry in stop {
            w.text(entry.text());
        }
        w.end_array();
    }

    fn user(&mut self, w: &mut Out<'_>) {
        let Some(user) = self.request.user.as_ref().filter(|user| !user.is_empty()) else { return };
        if is_personal(&user.plain()) {
            return self.drop("user");
        }
        if self.allowed("metadata", "user") {
            w.key("metadata").begin_object().key("user_id").text(user.text()).end_object();
        }
    }

    /// Reports what has no place in this dialect.
    fn report(&mut self) {
        let request = self.request;
        let facts = [
            ("seed", request.sampling.seed.is_some()),
            ("presence_penalty", request.sampling.presence.is_some()),
            ("frequency_penalty", request.sampling.frequency.is_some()),
            ("n", request.n.is_some_and(|n| n > 1)),
            ("verbosity", request.verbosity.is_some()),
            ("reasoning", self.limits.thinking_dropped),
        ];
        for (name, is_dropped) in facts {
            if is_dropped {
                self.drop(name);
            }
        }
        request.drop_logprobs(false, |name| self.drop(name));
        let extras = request.extras.iter().filter(|(_, value)| !value.is_null());
        self.dropped.extend(extras.map(|(name, _)| name.plain().into_owned()));
    }

    fn betas(&self) -> Vec<&'static str> {
        let interleaved = matches!(self.limits.thinking, Thinking::Budget(_)) && !self.request.tools.is_empty();
        if interleaved { vec![INTERLEAVED_THINKING] } else { Vec::new() }
    }
}

fn write_tool(tool: &Tool<'_>, marks: &mut Marks, w: &mut Out<'_>) {
    w.begin_object().key("name").text(tool.name.text()).key("input_schema");
    let given = Given::of_tool(tool);
    let strict = tool.strict == Some(true);
    let out = w.value_sink();
    let note = if strict { schema::anthropic_strict(given, out) } else { schema::anthropic(given, out) };
    let description = tool.description.as_ref().filter(|description| !description.is_empty());
    match (description, note) {
        (None, None) => {}
        (Some(description), None) => {
            w.key("description").text(description.text());
        }
        (None, Some(note)) => {
            w.key("description").string(&note);
        }
        (Some(description), Some(note)) => {
            w.key("description").texts([description.text(), Text::Plain("\n\n"), Text::Plain(&note)]);
        }
    }
    if strict {
        w.key("strict").bool(true);
    }
    marks.write(tool.cache, w);
    w.end_object();
}

/// Whether a user id looks like an e-mail address or a phone number, which the service does not want.
fn is_personal(user: &str) -> bool {
    let email = user.split_once('@').is_some_and(|(name, host)| !name.is_empty() && host.contains('.'));
    let digits = user.bytes().filter(u8::is_ascii_digit).count();
    let dialled = user.bytes().all(|b| b.is_ascii_digit() || b"+-()/. ".contains(&b));
    email || (dialled && (10..=15).contains(&digits)) || (dialled && user.starts_with('+') && digits >= 7)
}
