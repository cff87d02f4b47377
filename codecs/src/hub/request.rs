//! What a client asks for, in no dialect's words.
//!
//! Text borrows from the request body wherever it is passed on unchanged; numbers and schemas stay raw so that their
//! spelling survives.

use super::{Rider, ToolKind};
use crate::json::{Raw, Str};

/// One chat request.
#[derive(Debug, Clone, Default)]
pub struct Request<'a> {
    /// Model name as the client wrote it (for Gemini: from the URL).
    pub model: Str<'a>,
    /// Whether the client wants a stream.
    pub stream: bool,
    /// Whether the client wrote its wish for a stream down: an explicit `false` is a value and is passed on.
    pub stream_said: bool,
    /// Whether a chat client asked for the usage chunk.
    pub include_usage: bool,
    /// Instructions, in order.
    pub system: Vec<SystemText<'a>>,
    /// The conversation.
    pub messages: Vec<Message<'a>>,
    /// Declared tools.
    pub tools: Vec<Tool<'a>>,
    /// The tools are stubs that hygiene made from the history: they do not count as the client's own.
    pub stub_tools: bool,
    /// Which tools may or must be used.
    pub choice: Choice<'a>,
    /// Limit of the answer in tokens.
    pub max_tokens: Option<u64>,
    /// Stop sequences.
    pub stop: Vec<Str<'a>>,
    /// Number of answers.
    pub n: Option<u64>,
    /// Sampling parameters.
    pub sampling: Sampling<'a>,
    /// Whether the answer shall say the log probabilities of its tokens; `None`: the client did not say.
    pub logprobs: Option<bool>,
    /// How many of the likeliest tokens to tell at every place. Means nothing without `logprobs`.
    pub top_logprobs: Option<u64>,
    /// Thinking wish; `None` when the client did not say anything about it.
    pub reasoning: Option<Reasoning<'a>>,
    /// Form of the answer.
    pub format: Format<'a>,
    /// End-user id.
    pub user: Option<Str<'a>>,
    /// `low`, `medium`, `high`.
    pub verbosity: Option<Str<'a>>,
    /// Members without a place above. Names are the chat names where the hub knows them (`metadata`, `service_tier`,
    /// `prompt_cache_key`, `logit_bias`, …), else the client's own. Encoders take what their dialect has, the rest is
    /// reported as dropped.
    pub extras: Vec<(Str<'a>, Raw<'a>)>,
    /// Names that the decoder itself had to leave out (`tools.web_search`).
    pub dropped: Vec<String>,
}

impl Request<'_> {
    /// The likeliest tokens that count: none without log probabilities.
    pub fn top_logprobs(&self) -> Option<u64> {
        self.top_logprobs.filter(|_| self.logprobs == Some(true))
    }

    /// Reports the wish for log probabilities, for a dialect that has none; or the part of it that nobody can keep.
    pub fn drop_logprobs(&self, known: bool, mut drop: impl FnMut(&str)) {
        let wanted = self.logprobs == Some(true);
        if wanted && !known {
            drop("logprobs");
        }
        if self.top_logprobs.is_some_and(|top| top > 0) && !(wanted && known) {
            drop("top_logprobs");
        }
    }
}

/// A piece of instructions.
#[derive(Debug, Clone, PartialEq)]
pub struct SystemText<'a> {
    /// The text.
    pub text: Str<'a>,
    /// Cache mark behind it.
    pub cache: Option<CacheMark>,
}

/// A prompt-cache breakpoint behind a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheMark {
    /// Lifetime, where the client says one.
    pub ttl: Option<CacheTtl>,
}

/// Lifetime of a cache entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheTtl {
    /// Five minutes.
    FiveMinutes,
    /// One hour.
    OneHour,
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The user; in Anthropic and Gemini histories also tool results.
    User,
    /// The model.
    Assistant,
    /// Tool results (chat, Ollama, Responses outputs).
    Tool,
    /// Instructions in the middle of a conversation.
    System,
}

/// One turn or a part of one.
#[derive(Debug, Clone, PartialEq)]
pub struct Message<'a> {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub parts: Vec<Part<'a>>,
}

/// A piece of a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Part<'a> {
    /// Text.
    Text {
        /// The text.
        text: Str<'a>,
        /// Cache mark.
        cache: Option<CacheMark>,
    },
    /// An image.
    Image {
        /// Where its bytes are.
        source: Source<'a>,
        /// `auto`, `low`, `high`.
        detail: Option<Str<'a>>,
        /// Cache mark.
        cache: Option<CacheMark>,
    },
    /// Sound, base64.
    Audio {
        /// Media type (`audio/wav`, `audio/mpeg`).
        mime: Str<'a>,
        /// Base64.
        data: Str<'a>,
    },
    /// A document.
    File {
        /// File name or title.
        name: Option<Str<'a>>,
        /// Where its bytes are.
        source: Source<'a>,
        /// Cache mark.
        cache: Option<CacheMark>,
    },
    /// Reasoning of an earlier answer.
    Thinking {
        /// The words; may be empty.
        text: Str<'a>,
        /// Its signature or encrypted form.
        rider: Option<Rider<'a>>,
    },
    /// Redacted reasoning of an earlier answer.
    Redacted(Rider<'a>),
    /// A refusal of an earlier answer.
    Refusal(Str<'a>),
    /// A tool call of an earlier answer.
    Call(Call<'a>),
    /// A tool's result.
    Result(ToolResult<'a>),
}

/// Where the bytes of an attachment are.
#[derive(Debug, Clone, PartialEq)]
pub enum Source<'a> {
    /// Inside the request.
    Base64 {
        /// Media type; empty where the dialect does not say (Ollama): the decoder sniffs it.
        mime: Str<'a>,
        /// Base64.
        data: Str<'a>,
    },
    /// At an address.
    Url {
        /// The address.
        url: Str<'a>,
        /// Media type, where known.
        mime: Option<Str<'a>>,
    },
    /// Uploaded to the vendor earlier.
    FileId(Str<'a>),
    /// Plain text (Anthropic text documents).
    Text(Str<'a>),
}

/// A tool call in history.
#[derive(Debug, Clone, PartialEq)]
pub struct Call<'a> {
    /// Call id; empty where the dialect has none (the decoder mints one).
    pub id: Str<'a>,
    /// Tool name in the client's words.
    pub name: Str<'a>,
    /// Responses namespace of the tool.
    pub namespace: Option<Str<'a>>,
    /// Argument text: JSON text, escaped if it came inside a string, plain if it came as an object. For custom tools
    /// the raw input.
    pub arguments: Str<'a>,
    /// Function or custom.
    pub kind: ToolKind,
    /// Signature on the call.
    pub signature: Option<Rider<'a>>,
    /// Cache mark.
    pub cache: Option<CacheMark>,
}

/// A tool's result in history.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolResult<'a> {
    /// Id of the call; empty where the client gave none.
    pub call_id: Str<'a>,
    /// Tool name, where the dialect pairs by name.
    pub name: Option<Str<'a>>,
    /// Text, images and files.
    pub parts: Vec<Part<'a>>,
    /// Whether the tool failed.
    pub is_error: bool,
    /// Cache mark.
    pub cache: Option<CacheMark>,
}

/// A declared tool.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool<'a> {
    /// Name in the client's words.
    pub name: Str<'a>,
    /// Responses namespace.
    pub namespace: Option<Str<'a>>,
    /// For the model.
    pub description: Option<Str<'a>>,
    /// JSON schema of the arguments.
    pub schema: Option<Raw<'a>>,
    /// Whether arguments must match the schema exactly.
    pub strict: Option<bool>,
    /// Function or custom.
    pub kind: ToolKind,
    /// Format of a custom tool's input.
    pub format: Option<Raw<'a>>,
    /// Cache mark.
    pub cache: Option<CacheMark>,
    /// Whether `schema` is written in Gemini's upper-case type names.
    pub gemini_types: bool,
}

/// Which tools may or must be used.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Choice<'a> {
    /// `None`: the client did not say.
    pub mode: Option<ChoiceMode<'a>>,
    /// If not empty, only these may be used.
    pub allowed: Vec<Str<'a>>,
    /// Whether several calls in one answer are welcome.
    pub parallel: Option<bool>,
}

/// How free the model is.
#[derive(Debug, Clone, PartialEq)]
pub enum ChoiceMode<'a> {
    /// It decides.
    Auto,
    /// No calls.
    None,
    /// At least one call.
    Required,
    /// A call of this tool.
    Tool(Str<'a>),
}

/// Sampling parameters, numbers as spelled.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sampling<'a> {
    /// Temperature.
    pub temperature: Option<Raw<'a>>,
    /// Nucleus.
    pub top_p: Option<Raw<'a>>,
    /// Candidates.
    pub top_k: Option<Raw<'a>>,
    /// Seed.
    pub seed: Option<Raw<'a>>,
    /// Presence penalty.
    pub presence: Option<Raw<'a>>,
    /// Frequency penalty.
    pub frequency: Option<Raw<'a>>,
}

/// How much thinking the client wants.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reasoning<'a> {
    /// Effort word.
    pub effort: Option<Effort>,
    /// Budget in tokens.
    pub budget: Option<u64>,
    /// The model decides (Anthropic `adaptive`).
    pub adaptive: bool,
    /// Switched off.
    pub off: bool,
    /// Summary wish of Responses (`auto`, `concise`, `detailed`).
    pub summary: Option<Str<'a>>,
}

/// Effort words, in rising order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    /// No thinking.
    None,
    /// `minimal`
    Minimal,
    /// `low`
    Low,
    /// `medium`
    Medium,
    /// `high`
    High,
    /// `xhigh`
    Xhigh,
    /// `max`
    Max,
}

impl Effort {
    /// All words with their budgets in tokens, rising.
    pub const TABLE: [(Effort, &'static str, u64); 7] = [
        (Effort::None, "none", 0),
        (Effort::Minimal, "minimal", 1_024),
        (Effort::Low, "low", 4_096),
        (Effort::Medium, "medium", 8_192),
        (Effort::High, "high", 16_384),
        (Effort::Xhigh, "xhigh", 32_768),
        (Effort::Max, "max", 65_536),
    ];

    /// The effort of that name.
    pub fn parse(word: &str) -> Option<Self> {
        Self::TABLE.iter().find(|(_, name, _)| *name == word).map(|(effort, ..)| *effort)
    }

    /// Its word.
    pub fn name(self) -> &'static str {
        Self::TABLE[self as usize].1
    }

    /// Its budget in tokens.
    pub fn budget(self) -> u64 {
        Self::TABLE[self as usize].2
    }

    /// The smallest effort whose budget is at least `tokens`, else the largest.
    pub fn of_budget(tokens: u64) -> Self {
        Self::TABLE.iter().find(|(.., budget)| tokens <= *budget).map_or(Effort::Max, |(effort, ..)| *effort)
    }
}

/// Form of the answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Format<'a> {
    /// The client did not ask for a form, or asked for text.
    #[default]
    Text,
    /// Any JSON object.
    JsonObject,
    /// JSON after a schema.
    JsonSchema {
        /// Schema name.
        name: Option<Str<'a>>,
        /// For the model.
        description: Option<Str<'a>>,
        /// The schema.
        schema: Raw<'a>,
        /// Whether the answer must match exactly.
        strict: Option<bool>,
        /// Whether `schema` is written in Gemini's upper-case type names.
        gemini_types: bool,
    },
}
