//! Ids of answers, items and calls: one core, dressed for each dialect. Deterministic, so that retries and logs agree.

use crate::dialect::name::Dialect;

/// Prefixes that dialects put before an answer's id.
const PREFIXES: [&str; 4] = ["chatcmpl-", "msg_", "resp_", "gen-"];

/// An answer's id without its dialect's prefix.
pub fn core(id: &str) -> &str {
    PREFIXES.iter().find_map(|prefix| id.strip_prefix(prefix)).unwrap_or(id)
}

/// An answer's id in the client's dialect.
pub fn client_id(dialect: Dialect, core: &str) -> String {
    let prefix = match dialect {
        Dialect::OpenAiChat => "chatcmpl-",
        Dialect::OpenAiResponses => "resp_",
        Dialect::Anthropic => "msg_",
        Dialect::Gemini | Dialect::Ollama => "",
    };
    format!("{prefix}{core}")
}

/// Characters of an answer's id that stand in minted ids.
pub(crate) const SLUG_CHARS: usize = 24;

/// The core with only `[A-Za-z0-9_-]`, at most 24 characters: the stem of minted ids.
pub fn slug(core: &str) -> String {
    core.chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' })
        .take(SLUG_CHARS)
        .collect()
}

/// A tool call id for an upstream that gave none: `n` is the call's ordinal in the answer.
pub fn minted(slug: &str, n: u32) -> String {
    format!("call_{slug}_{n}")
}

/// Id of a Responses item; `prefix` is `msg`, `rs`, `fc` or `ctc`.
pub fn item_id(prefix: &str, slug: &str, output_index: u32) -> String {
    format!("{prefix}_{slug}_{output_index}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_change_dress() {
        assert_eq!(client_id(Dialect::Anthropic, core("chatcmpl-abc")), "msg_abc");
        assert_eq!(client_id(Dialect::Gemini, core("resp_x")), "x");
        assert_eq!(slug("a.b/ü0123456789012345678901234567"), "a_b__0123456789012345678");
        assert_eq!(minted("abc", 2), "call_abc_2");
    }
}
