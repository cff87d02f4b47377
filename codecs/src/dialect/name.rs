//! The wire languages by name, and what is plain to say of each.

use crate::frame::Framing;

/// A wire language for chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dialect {
    /// OpenAI Chat Completions.
    OpenAiChat,
    /// OpenAI Responses.
    OpenAiResponses,
    /// Anthropic Messages.
    Anthropic,
    /// Gemini generateContent (v1beta).
    Gemini,
    /// Ollama chat and generate.
    Ollama,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Dialect; 5] =
        [Self::OpenAiChat, Self::OpenAiResponses, Self::Anthropic, Self::Gemini, Self::Ollama];

    /// The name in configuration, logs and vectors.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenAiChat => "openai_chat",
            Self::OpenAiResponses => "openai_responses",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::Ollama => "ollama",
        }
    }

    /// The dialect of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dialect| dialect.name() == name)
    }

    /// Framing of its streams.
    pub fn framing(self) -> Framing {
        match self {
            Self::Ollama => Framing::NdJson,
            _ => Framing::Sse,
        }
    }

    /// Content type of its streams.
    pub fn stream_content_type(self) -> &'static str {
        match self {
            Self::Ollama => "application/x-ndjson",
            _ => "text/event-stream",
        }
    }

    /// What keeps a silent client stream alive; empty where the dialect has no harmless bytes.
    pub fn keep_alive(self) -> &'static [u8] {
        match self {
            Self::OpenAiChat | Self::OpenAiResponses => b": keep-alive\n\n",
            Self::Anthropic => b"event: ping\ndata: {\"type\": \"ping\"}\n\n",
            Self::Gemini => b"\n",
            Self::Ollama => b"",
        }
    }

    /// Whether a body of this dialect carries riders: opaque blobs of other vendors in this dialect's fields, which its own
    /// vendors would refuse. Looks for the mark in the only form that this dialect's fields can have, not for the fields:
    /// it may say yes without need, never no.
    pub fn holds_riders(self, body: &[u8]) -> bool {
        let mark: &[u8] = match self {
            // Base64 of the mark: Gemini's fields hold bytes.
            Self::Gemini => b"\"ZnJ0MS",
            Self::OpenAiChat | Self::OpenAiResponses | Self::Anthropic => b"\"frt1.",
            // No field of its could hold one.
            Self::Ollama => return false,
        };
        memchr::memmem::find(body, mark).is_some()
    }

    /// The member of its streams' frames that holds random letters, to hide the length of the text from who listens to the
    /// connection. Decoders ignore it.
    pub fn padding(self) -> Option<&'static str> {
        matches!(self, Self::OpenAiChat | Self::OpenAiResponses).then_some("obfuscation")
    }

    /// Whether its clients need parts one after the other, so that a [serialiser](crate::hub) stands before its encoder.
    pub fn wants_serial_parts(self) -> bool {
        matches!(self, Self::OpenAiResponses | Self::Anthropic | Self::Gemini)
    }
}
