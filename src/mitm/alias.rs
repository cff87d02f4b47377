//! Where a tool's chat goes: its name of the model → a model, alias or combo of ours. Pure.
//!
//! First hit wins: what is never mapped → the name itself → a name that means the same → the longest key that is the
//! beginning of the name, up to a `-`, a `.` or its end → what kind of model it looks like → `*` → nothing, which leaves it
//! to the vendor. `off` as a target leaves it to the vendor, too.

use crate::settings::{interception::ToolAlias, tools::Tool};

/// Names of Antigravity's models that mean the same.
const SYNONYMS: [(&str, &str); 6] = [
    ("gemini-default", "gemini-3.5-flash-low"),
    ("gemini-3.5-flash-high", "gemini-3-flash-agent"),
    ("gemini-3.5-flash-medium", "gemini-3.5-flash-low"),
    ("gemini-3.1-pro-high", "gemini-pro-agent"),
    ("gemini-3-pro-high", "gemini-pro-agent"),
    ("gemini-3-pro-low", "gemini-3.1-pro-low"),
];

/// What kind of model of Antigravity a name looks like: all of these words are in it. The first row that fits counts.
const PATTERNS: [(&[&str], &str); 9] = [
    (&["low", "flash"], "gemini-3.5-flash-extra-low"),
    (&["medium", "flash"], "gemini-3.5-flash-low"),
    (&["flash"], "gemini-3-flash-agent"),
    (&["low", "pro"], "gemini-3.1-pro-low"),
    (&["gemini", "pro"], "gemini-pro-agent"),
    (&["opus"], "claude-opus-4-6-thinking"),
    (&["sonnet"], "claude-sonnet-4-6"),
    (&["claude"], "claude-sonnet-4-6"),
    (&["oss"], "gpt-oss-120b-medium"),
];

/// The target that leaves a model to the vendor.
const OFF: &str = "off";

/// Our model for a model of a tool; `None`: the vendor's own.
pub fn target<'a>(aliases: &'a [ToolAlias], tool: Tool, model: &str) -> Option<&'a str> {
    let model = model.strip_prefix("models/").unwrap_or(model).to_ascii_lowercase();
    if model.is_empty() || is_never_mapped(tool, &model) {
        return None;
    }
    let of_tool = || aliases.iter().filter(|alias| alias.tool == tool);
    let exact = |name: &str| of_tool().find(|alias| alias.model.eq_ignore_ascii_case(name));
    let begins = || {
        let fits = of_tool().filter(|alias| is_beginning(&alias.model, &model));
        fits.max_by_key(|alias| alias.model.len())
    };
    exact(&model)
        .or_else(|| exact(&synonym(tool, &model)?))
        .or_else(begins)
        .or_else(|| exact(pattern(tool, &model)?))
        .or_else(|| exact("*"))
        .map(|alias| alias.target.as_str())
        .filter(|target| *target != OFF)
}

/// Models where every millisecond counts, which no other can stand in for: completion while one types.
fn is_never_mapped(tool: Tool, model: &str) -> bool {
    tool == Tool::Antigravity && (model.starts_with("tab_") || model.starts_with("tab-"))
}

fn synonym(tool: Tool, model: &str) -> Option<String> {
    match tool {
        Tool::Antigravity => SYNONYMS.iter().find(|(name, _)| *name == model).map(|(_, same)| (*same).to_owned()),
        // Versions are written with a hyphen at times: gpt-5-6.
        Tool::Kiro => dotted(model),
        Tool::Copilot | Tool::Cursor => None,
    }
}

/// `a-5-6` as `a-5.6`; `None` if there is nothing to change.
fn dotted(model: &str) -> Option<String> {
    let bytes = model.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    // One digit on both sides: dates have more.
    let at = (1..bytes.len()).find(|&at| {
        bytes[at] == b'-' && digit(at - 1) && digit(at + 1) && !digit(at + 2) && !(at >= 2 && digit(at - 2))
    })?;
    Some(format!("{}.{}", &model[..at], &model[at + 1..]))
}

fn is_beginning(key: &str, model: &str) -> bool {
    // In bytes: a key may end inside of a letter of the model.
    let fits = model.len() >= key.len() && model.as_bytes()[..key.len()].eq_ignore_ascii_case(key.as_bytes());
    fits && matches!(model.as_bytes().get(key.len()), None | Some(b'-' | b'.'))
}

fn pattern(tool: Tool, model: &str) -> Option<&'static str> {
    if tool != Tool::Antigravity {
        return None;
    }
    PATTERNS.iter().find(|(words, _)| words.iter().all(|word| model.contains(word))).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn table(entries: &[(Tool, &str, &str)]) -> Vec<ToolAlias> {
        let one = |&(tool, model, target): &(Tool, &str, &str)| ToolAlias {
            tool,
            model: model.into(),
            target: target.into(),
        };
        entries.iter().map(one).collect()
    }

    #[test]
    fn the_first_hit_wins_in_the_order_of_the_rules() {
        use Tool::*;
        let aliases = table(&[
            (Antigravity, "*", "any"),
            (Antigravity, "gemini-pro-agent", "pro"),
            (Antigravity, "gemini-3-pro", "three"),
            (Antigravity, "gemini-3", "short"),
            (Antigravity, "claude-sonnet-4-6", "sonnet"),
            (Antigravity, "gpt-oss-120b-medium", "off"),
            (Kiro, "gpt-5.6", "five"),
            (Kiro, "auto", "fast"),
        ]);
        for (tool, model, expected) in [
            (Antigravity, "gemini-pro-agent", Some("pro")),
            (Antigravity, "models/Gemini-Pro-Agent", Some("pro")),
            (Antigravity, "gemini-3-pro-high", Some("pro")),
            (Antigravity, "gemini-3-pro-preview", Some("three")),
            (Antigravity, "gemini-3.5-x", Some("short")),
            (Antigravity, "gemini-35", Some("any")),
            (Antigravity, "claude-next", Some("sonnet")),
            (Antigravity, "some-oss", None),
            (Antigravity, "tab_flash", None),
            (Antigravity, "tabby", Some("any")),
            (Antigravity, "", None),
            (Kiro, "gpt-5-6", Some("five")),
            (Kiro, "auto", Some("fast")),
            (Kiro, "simple-task", None),
            (Cursor, "auto", None),
        ] {
            assert_eq!(target(&aliases, tool, model), expected, "{model}");
        }
    }

    #[test]
    fn a_model_of_strange_letters_is_no_fault() {
        let aliases = table(&[(Tool::Cursor, "gem", "x")]);
        for model in ["ge\u{301}m", "g\u{20ac}", "\u{1f600}", "gem\u{301}"] {
            assert_eq!(target(&aliases, Tool::Cursor, model), None, "{model}");
        }
        assert_eq!(dotted("claude-4-20250514"), None);
        assert_eq!(dotted("a-5-6-fast").unwrap(), "a-5.6-fast");
    }
}
