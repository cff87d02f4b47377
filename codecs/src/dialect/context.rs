//! What the codecs of a dialect need to know besides the bytes.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{cursor::Facts, openai_responses::echo::Echo};
use crate::hub::ToolKind;

/// Facts of one exchange that stream and reply codecs ask for. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// Unix seconds, written as `created` where the upstream gives no time.
    pub now: u64,
    /// Id core (24 characters of base36) where the upstream gives no id.
    pub new_id: String,
    /// Whether the chat client asked for the usage chunk.
    pub include_usage: bool,
    /// Prompt size in tokens as estimated before the upstream speaks; 0 = none.
    pub input_tokens_estimate: u64,
    /// Whether signatures are noted in [`Observed`](crate::translate::Observed), for clients that drop them.
    pub keep_riders: bool,
    /// Whether token counts are estimated where the upstream gives none.
    pub estimate_usage: bool,
    /// Names that were changed on the way to the upstream, with the client's own.
    pub tools: Arc<ToolTable>,
    /// Tool call ids that the request's history holds already.
    pub used_ids: Arc<HashSet<String>>,
    /// Whether an Ollama client called `/api/generate`.
    pub generate: bool,
    /// Whether calls leave in a row of their own before the last one (Ollama client).
    pub early_calls: bool,
    /// Whether a Gemini client asked for a stream without `alt=sse`: one JSON array over the whole body.
    pub json_array: bool,
    /// Model name that the client asked for, written where the upstream names none.
    pub model: String,
    /// Cursor client: facts of its request.
    pub cursor: Option<Arc<Facts>>,
    /// Responses client: values of its request that the answer repeats. `None`: the dialect's defaults.
    pub echo: Option<Arc<Echo>>,
    /// Whether a chat client is Copilot: it reads thinking under names of its own, and calls one after the other.
    pub copilot: bool,
    /// Kiro client: its id of the conversation, which the answer repeats. `None`: `new_id` stands in.
    pub conversation: Option<Arc<str>>,
}

/// The client's identity of a tool.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ToolIdentity {
    /// Name in the client's words.
    pub name: String,
    /// Namespace of a Responses client.
    pub namespace: Option<String>,
    /// Function or custom, as the client declared it.
    pub kind: ToolKind,
}

/// Sent name → client's identity. Holds only tools whose identity differs from the sent name and kind `Function`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToolTable {
    entries: HashMap<String, ToolIdentity>,
}

impl ToolTable {
    /// Adds an entry.
    pub fn insert(&mut self, sent: impl Into<String>, identity: ToolIdentity) {
        self.entries.insert(sent.into(), identity);
    }

    /// The client's identity of a sent name, if it is in the table.
    pub fn get(&self, sent: &str) -> Option<&ToolIdentity> {
        self.entries.get(sent)
    }

    /// The client's name of a sent name.
    pub fn client_name<'a>(&'a self, sent: &'a str) -> &'a str {
        self.get(sent).map_or(sent, |identity| &identity.name)
    }

    /// Whether the client declared the tool as custom.
    pub fn is_custom(&self, sent: &str) -> bool {
        self.get(sent).is_some_and(|identity| identity.kind == ToolKind::Custom)
    }

    /// All entries.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &ToolIdentity)> {
        self.entries.iter().map(|(sent, identity)| (sent.as_str(), identity))
    }

    /// Whether the table is empty.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// What a client put into the URL instead of the body.
#[derive(Debug, Clone, Copy, Default)]
pub struct UrlParts<'a> {
    /// Model (Gemini).
    pub model: Option<&'a str>,
    /// Stream or not (Gemini).
    pub stream: bool,
    /// Whether an Ollama client called `/api/generate`.
    pub generate: bool,
}

/// Rules of a Chat Completions server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChatFlavour {
    /// api.openai.com: `max_completion_tokens`, no `top_k`, `metadata` and friends pass.
    OpenAi,
    /// Everybody else: `max_tokens`, `top_k`.
    #[default]
    Compat,
}

/// Which assistant turns get a placeholder `reasoning_content` of one blank when they have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Placeholder {
    /// None.
    #[default]
    Off,
    /// Every assistant turn (DeepSeek).
    All,
    /// Turns with tool calls (Kimi).
    Tool,
}

/// In which members a Chat Completions server takes a wish for thinking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ThinkingForm {
    /// `reasoning_effort` (OpenAI and most others).
    #[default]
    Effort,
    /// `thinking: {type}`, on or off (GLM, Kimi).
    Type,
    /// `thinking: {type}` and `reasoning_effort` (DeepSeek).
    TypeEffort,
    /// `enable_thinking` and `thinking_budget` (Qwen).
    Enable,
    /// `reasoning: {effort}` or `{max_tokens}` (OpenRouter).
    Reasoning,
}

/// What is known about the upstream to which a request is written.
#[derive(Debug, Clone)]
pub struct Target {
    /// Model name to send.
    pub model: String,
    /// Whether to ask for a stream.
    pub stream: bool,
    /// Chat: whose rules.
    pub flavour: ChatFlavour,
    /// Chat: how a wish for thinking is said.
    pub thinking: ThinkingForm,
    /// Chat: send earlier reasoning back as `reasoning_content`.
    pub reasoning_echo: bool,
    /// Chat: placeholder for turns without reasoning.
    pub placeholder: Placeholder,
    /// Chat: cache marks pass as `cache_control` (OpenRouter and the like).
    pub cache_control: bool,
    /// Chat, Responses: effort `none` may be sent.
    pub effort_none: bool,
    /// Gemini: the model is of generation 3 or later.
    pub gemini3: bool,
    /// Gemini: send ids of function calls.
    pub gemini_call_ids: bool,
    /// Gemini: send `parameters` (cleaned schema subset) instead of `parametersJsonSchema`.
    pub gemini_schema_subset: bool,
    /// Anthropic: the model takes adaptive thinking. `None`: judge by the model's name.
    pub adaptive: Option<bool>,
    /// Anthropic: default and raise `max_tokens` (32,000 with tools, budget + 1,024 with thinking).
    pub adjust_max_tokens: bool,
    /// The model's own limit of output tokens, where known.
    pub max_output_tokens: Option<u64>,
    /// Leave out all signatures and the reasoning that needs them.
    pub strip_riders: bool,
    /// Members never to send, by their name in the target dialect.
    pub drop_params: Vec<String>,
}

impl Default for Target {
    fn default() -> Self {
        Self {
            model: String::new(),
            stream: false,
            flavour: ChatFlavour::default(),
            thinking: ThinkingForm::default(),
            reasoning_echo: false,
            placeholder: Placeholder::default(),
            cache_control: false,
            effort_none: false,
            gemini3: false,
            gemini_call_ids: false,
            gemini_schema_subset: false,
            adaptive: None,
            adjust_max_tokens: true,
            max_output_tokens: None,
            strip_riders: false,
            drop_params: Vec::new(),
        }
    }
}

/// A request as it leaves.
#[derive(Debug, Clone, Default)]
pub struct Encoded {
    /// The body.
    pub body: Vec<u8>,
    /// Names of what could not be said in the target dialect, sorted, without repeats.
    pub dropped: Vec<String>,
    /// The way back for tool names.
    pub tools: ToolTable,
    /// Ids of the calls in history, as sent.
    pub used_ids: HashSet<String>,
    /// `anthropic-beta` values that the body needs.
    pub betas: Vec<&'static str>,
}
