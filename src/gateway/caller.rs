//! Who calls: the client's program, by family, and its session.
//!
//! Both are what the client says of itself: good enough to tell traffic apart in lists and sums, and for nothing else.

use std::sync::{Arc, LazyLock};

use proxy::Headers;

/// Beginnings of user agents, lower case, and the family that each one means. Those that begin with the same letter stand
/// together; the first match counts.
const FAMILIES: [(&str, &str); 38] = [
    ("aider", "aider"),
    ("asyncopenai/python", "openai-python"),
    ("anthropic/python", "anthropic-python"),
    ("asyncanthropic/python", "anthropic-python"),
    ("anthropic/js", "anthropic-js"),
    ("ai-sdk", "ai-sdk"),
    ("ai/", "ai-sdk"),
    ("bun/", "bun"),
    ("claude-cli/", "claude-code"),
    ("claude-code/", "claude-code"),
    ("codex", "codex"),
    ("cursor", "cursor"),
    ("cline", "cline"),
    ("continue", "continue"),
    ("crush", "crush"),
    ("curl/", "curl"),
    ("geminicli", "gemini-cli"),
    ("gemini-cli", "gemini-cli"),
    ("githubcopilot", "copilot"),
    ("google-genai-sdk", "google-genai"),
    ("go-http-client", "go"),
    ("kilo-code", "kilo-code"),
    ("litellm", "litellm"),
    ("langchain", "langchain"),
    ("mozilla/", "browser"),
    ("node", "node"),
    ("opencode", "opencode"),
    ("openai/python", "openai-python"),
    ("openai/js", "openai-js"),
    ("ollama-python", "ollama"),
    ("ollama-js", "ollama"),
    ("ollama", "ollama"),
    ("python", "python"),
    ("qwencode", "qwen-code"),
    ("qwen-code", "qwen-code"),
    ("roo-code", "roo-code"),
    ("roocode", "roo-code"),
    ("zed/", "zed"),
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
        let is_agent = is(name, AGENT);
        if !is_agent && (caller.session.is_some() || !SESSION.iter().any(|known| is(name, known))) {
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

/// Whether a field has that name. Nearly all that have not differ in length or in the first letter.
fn is(name: &[u8], known: &str) -> bool {
    name.len() == known.len()
        && name.first().map(u8::to_ascii_lowercase) == known.bytes().next()
        && name.eq_ignore_ascii_case(known.as_bytes())
}

fn family(agent: &str) -> Option<Arc<str>> {
    let first = agent.as_bytes().first()?.to_ascii_lowercase();
    let letter = |(start, _): &(&str, &str)| start.bytes().next();
    let from = FAMILIES.partition_point(|row| letter(row) < Some(first));
    let begins = |start: &str| agent.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start));
    let alike = FAMILIES[from..].iter().take_while(|row| letter(row) == Some(first));
    let at = alike.into_iter().position(|(start, _)| begins(start)).map_or(FAMILIES.len(), |at| from + at);
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
    fn families_stand_by_their_first_letter() {
        assert!(FAMILIES.is_sorted_by_key(|(start, _)| start.as_bytes()[0]));
        for (start, family) in FAMILIES {
            let agent = format!("{}x", start.to_uppercase());
            assert_eq!(caller(&with("user-agent", &agent)).family.as_deref(), Some(family), "{start}");
        }
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
            assert_eq!(caller(&with(&name.to_uppercase(), "0199")).session.as_deref(), Some("0199"));
        }
        assert_eq!(caller(&with("x-session-id", &"x".repeat(WORD_BYTES + 1))).session, None);
        assert_eq!(caller(&with("x-session-ix", "0199")).session, None);
    }
}
