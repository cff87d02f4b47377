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
/// Longest user agent that is looked at, and longest session that is kept, in bytes.
const WORD_BYTES: usize = 128;
/// Fields in which clients name their session.
const SESSION: [&str; 5] =
    ["x-claude-code-session-id", "session_id", "session-id", "x-session-id", "x-session-affinity"];

/// One text per family, made once: a row of the log takes a reference.
static NAMES: LazyLock<Vec<Arc<str>>> =
    LazyLock::new(|| FAMILIES.iter().map(|(_, family)| *family).chain([OTHER]).map(Arc::from).collect());

/// The family of the client's program, if it says what it is.
pub(super) fn family(headers: &Headers) -> Option<Arc<str>> {
    let agent = headers.text("user-agent").filter(|agent| !agent.is_empty())?;
    let begins = |start: &str| agent.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start));
    let at = FAMILIES.iter().position(|(start, _)| begins(start)).unwrap_or(FAMILIES.len());
    NAMES.get(at).cloned()
}

/// The client's id of its session, if it sends one.
pub(super) fn session(headers: &Headers) -> Option<Arc<str>> {
    let fields = SESSION.into_iter().filter_map(|name| headers.text(name));
    let mut usable = fields.filter(|id| !id.is_empty() && id.len() <= WORD_BYTES);
    usable.next().map(Arc::from)
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
            assert_eq!(family(&with("User-Agent", agent)).as_deref(), expected, "{agent}");
        }
        assert_eq!(family(&Headers::new()), None);
    }

    #[test]
    fn sessions_are_taken_from_the_fields_that_clients_use() {
        assert_eq!(session(&with("Session_Id", "0199")).as_deref(), Some("0199"));
        assert_eq!(session(&with("x-claude-code-session-id", "abc")).as_deref(), Some("abc"));
        assert_eq!(session(&with("x-session-id", &"x".repeat(WORD_BYTES + 1))), None);
        assert_eq!(session(&Headers::new()), None);
    }
}
