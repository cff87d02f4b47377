//! Who calls: the client's program, by family, and its session.
//!
//! Both are what the client says of itself: good enough to tell traffic apart in lists and sums, and for nothing else.

use std::sync::{Arc, LazyLock};

use proxy::Headers;

/// Beginnings of user agents, lower case, and the family that each one means. The first match counts.
const FAMILIES: [(&str, &str); 38] = [
    ("claude-cli/", "claude-code"),
    ("claude-code/", "claude-code"),
    ("codex", "codex"),
    ("geminicli", "gemini-cli"),
    ("gemini-cli", "gemini-cli"),
    ("opencode", "opencode"),
    ("cursor", "cursor"),
    ("cline", "cline"),
    ("roo-code", "roo-code"),
    ("roocode", "roo-code"),
    ("kilo-code", "kilo-code"),
    ("aider", "aider"),
    ("continue", "continue"),
    ("zed/", "zed"),
    ("githubcopilot", "copilot"),
    ("qwencode", "qwen-code"),
    ("qwen-code", "qwen-code"),
    ("crush", "crush"),
    ("openai/python", "openai-python"),
    ("asyncopenai/python", "openai-python"),
    ("openai/js", "openai-js"),
    ("anthropic/python", "anthropic-python"),
    ("asyncanthropic/python", "anthropic-python"),
    ("anthropic/js", "anthropic-js"),
    ("google-genai-sdk", "google-genai"),
    ("ollama-python", "ollama"),
    ("ollama-js", "ollama"),
    ("ollama", "ollama"),
    ("ai-sdk", "ai-sdk"),
    ("ai/", "ai-sdk"),
    ("litellm", "litellm"),
    ("langchain", "langchain"),
    ("curl/", "curl"),
    ("python", "python"),
    ("node", "node"),
    ("bun/", "bun"),
    ("go-http-client", "go"),
    ("mozilla/", "browser"),
];
/// A program that no row knows.
const OTHER: &str = "other";
/// Longest session that is kept, in bytes.
const WORD_BYTES: usize = 128;
const AGENT: &str = "user-agent";
/// Fields in which clients name their session.
const SESSION: [&str; 5] =
    ["x-claude-code-session-id", "session_id", "session-id", "x-session-id", "x-session-affinity"];

/// One text per family, made once: a row of the log takes a reference.
static NAMES: LazyLock<Vec<Arc<str>>> =
    LazyLock::new(|| FAMILIES.iter().map(|(_, family)| *family).chain([OTHER]).map(Arc::from).collect());

/// What a client says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Caller {
    /// The family of its program.
    pub(super) family: Option<Arc<str>>,
    /// Its id of its session.
    pub(super) session: Option<Arc<str>>,
}

/// Who calls, in one pass over the fields.
pub(super) fn caller(headers: &Headers) -> Caller {
    let mut caller = Caller::default();
    for (name, value) in headers.iter() {
        // Most fields have other lengths.
        if !matches!(name.len(), 10 | 12 | 18 | 24) {
            continue;
        }
        let is_agent = name.eq_ignore_ascii_case(AGENT.as_bytes());
        if !is_agent && (caller.session.is_some() || !is_session(name)) {
            continue;
        }
        let Ok(text) = std::str::from_utf8(value) else { continue };
        if is_agent {
            caller.family = family(text);
        } else {
            caller.session = Some(text).filter(|id| !id.is_empty() && id.len() <= WORD_BYTES).map(Arc::from);
        }
    }
    caller
}

fn is_session(name: &[u8]) -> bool {
    SESSION.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}

fn family(agent: &str) -> Option<Arc<str>> {
    let first = agent.as_bytes().first()?.to_ascii_lowercase();
    let begins = |start: &str| {
        start.as_bytes().first() == Some(&first)
            && agent.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start))
    };
    let at = FAMILIES.iter().position(|(start, _)| begins(start)).unwrap_or(FAMILIES.len());
    NAMES.get(at).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &str, value: &str) -> Headers {
        let mut headers = Headers::new();
        headers.append(name.to_owned(), value.to_owned());
        headers
    }

    #[test]
    fn programs_are_known_by_how_they_begin() {
        for (agent, expected) in [
            ("claude-cli/2.0.14 (external, cli)", Some("claude-code")),
            ("codex_cli_rs/0.50.0 (Ubuntu 24.4.0; x86_64)", Some("codex")),
            ("GeminiCLI/0.1 (linux; x64)", Some("gemini-cli")),
            ("AsyncOpenAI/Python 2.1.0", Some("openai-python")),
            ("Mozilla/5.0", Some("browser")),
            ("my own", Some("other")),
            ("é", Some("other")),
            ("", None),
        ] {
            assert_eq!(caller(&with("User-Agent", agent)).family.as_deref(), expected, "{agent}");
        }
        assert_eq!(caller(&Headers::new()), Caller::default());
    }

    #[test]
    fn sessions_are_taken_from_the_fields_that_clients_use() {
        for name in SESSION {
            assert!(matches!(name.len(), 10 | 12 | 18 | 24), "{name}");
            assert_eq!(caller(&with(&name.to_uppercase(), "0199")).session.as_deref(), Some("0199"));
        }
        assert_eq!(caller(&with("x-session-id", &"x".repeat(WORD_BYTES + 1))).session, None);
        assert_eq!(caller(&with("x-session-ix", "0199")).session, None);
    }
}
