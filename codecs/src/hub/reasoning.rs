//! How a wish for thinking is said in each dialect: effort words, token budgets, levels, or "you decide".
//!
//! The table of efforts and budgets is [`Effort::TABLE`]; this file only converts. Which of the forms an upstream takes
//! is the business of its encoder.

use super::request::{Effort, Reasoning};

/// Largest budget that a Gemini 2.x model gets from an effort word.
const GEMINI_BUDGET_MAX: u64 = 24_576;

/// The effort for dialects that know effort words (`reasoning_effort`, `reasoning.effort`, `thinkingLevel`).
///
/// A budget without an effort becomes the smallest effort that covers it. `None`: the client left it to the model.
pub fn effort(wish: &Reasoning<'_>) -> Option<Effort> {
    if wish.off {
        return Some(Effort::None);
    }
    wish.effort.or_else(|| wish.budget.map(Effort::of_budget))
}

/// The budget in tokens for dialects that count. 0 is off; `None`: the client left it to the model.
pub fn budget(wish: &Reasoning<'_>) -> Option<u64> {
    if wish.off {
        return Some(0);
    }
    wish.budget.or_else(|| wish.effort.map(Effort::budget))
}

/// Gemini's `thinkingLevel` (generation 3; it has no "off").
pub fn gemini_level(effort: Effort) -> &'static str {
    match effort {
        Effort::None | Effort::Minimal => "MINIMAL",
        Effort::Low => "LOW",
        Effort::Medium => "MEDIUM",
        Effort::High | Effort::Xhigh | Effort::Max => "HIGH",
    }
}

/// Gemini's `thinkingBudget` (generation 2): 0 is off, −1 leaves it to the model, `None` says nothing.
pub fn gemini_budget(wish: &Reasoning<'_>) -> Option<i64> {
    if wish.off {
        return Some(0);
    }
    if let Some(tokens) = wish.budget {
        return Some(i64::try_from(tokens).unwrap_or(i64::MAX));
    }
    match wish.effort {
        Some(effort) => i64::try_from(effort.budget().min(GEMINI_BUDGET_MAX)).ok(),
        None => wish.adaptive.then_some(-1),
    }
}

/// Ollama's `think`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OllamaThink {
    /// `false`
    Off,
    /// `true`
    On,
    /// `"low"`, `"medium"`, `"high"`, `"max"`
    Word(&'static str),
}

/// Ollama's `think`; `None` says nothing.
pub fn ollama_think(wish: &Reasoning<'_>) -> Option<OllamaThink> {
    match effort(wish) {
        Some(Effort::None) => Some(OllamaThink::Off),
        Some(Effort::Minimal | Effort::Low) => Some(OllamaThink::Word("low")),
        Some(Effort::Medium) => Some(OllamaThink::Word("medium")),
        Some(Effort::High | Effort::Xhigh) => Some(OllamaThink::Word("high")),
        Some(Effort::Max) => Some(OllamaThink::Word("max")),
        None => wish.adaptive.then_some(OllamaThink::On),
    }
}

/// Anthropic's `output_config.effort`; `None` for no thinking at all.
pub fn anthropic_effort(effort: Effort) -> Option<&'static str> {
    match effort {
        Effort::None => None,
        Effort::Minimal => Some(Effort::Low.name()),
        other => Some(other.name()),
    }
}

/// Whether an Anthropic model, judged by its name, takes adaptive thinking: generation 4.6 and later.
///
/// Names are `claude-<family>-<major>[-<minor>][-<date>]`, in older ones the version stands before the family. Names
/// without a version that can be read are taken for older models, which refuse what they do not know.
pub fn takes_adaptive(model: &str) -> bool {
    let Some(at) = model.find("claude") else { return false };
    // A date of eight digits is no version.
    let mut numbers = model[at..]
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| word.len() <= 2)
        .filter_map(|word| word.parse::<u32>().ok());
    let Some(major) = numbers.next() else { return false };
    (major, numbers.next().unwrap_or(0)) >= (4, 6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_effort(effort: Effort) -> Reasoning<'static> {
        Reasoning { effort: Some(effort), ..Reasoning::default() }
    }

    fn of_budget(tokens: u64) -> Reasoning<'static> {
        Reasoning { budget: Some(tokens), ..Reasoning::default() }
    }

    #[test]
    fn efforts_follow_the_table() {
        // effort, budget, adaptive, Gemini 3, Gemini 2, Ollama
        let rows = [
            (Effort::None, 0, None, "MINIMAL", 0, OllamaThink::Off),
            (Effort::Minimal, 1_024, Some("low"), "MINIMAL", 1_024, OllamaThink::Word("low")),
            (Effort::Low, 4_096, Some("low"), "LOW", 4_096, OllamaThink::Word("low")),
            (Effort::Medium, 8_192, Some("medium"), "MEDIUM", 8_192, OllamaThink::Word("medium")),
            (Effort::High, 16_384, Some("high"), "HIGH", 16_384, OllamaThink::Word("high")),
            (Effort::Xhigh, 32_768, Some("xhigh"), "HIGH", 24_576, OllamaThink::Word("high")),
            (Effort::Max, 65_536, Some("max"), "HIGH", 24_576, OllamaThink::Word("max")),
        ];
        for (word, tokens, adaptive, level, gemini, ollama) in rows {
            let wish = of_effort(word);
            assert_eq!(effort(&wish), Some(word));
            assert_eq!(budget(&wish), Some(tokens));
            assert_eq!(anthropic_effort(word), adaptive);
            assert_eq!(gemini_level(word), level);
            assert_eq!(gemini_budget(&wish), Some(gemini));
            assert_eq!(ollama_think(&wish), Some(ollama));
        }
    }

    #[test]
    fn budgets_become_the_smallest_effort_that_covers_them() {
        let rows = [(1, Effort::Minimal), (1_024, Effort::Minimal), (1_025, Effort::Low), (65_536, Effort::Max)];
        for (tokens, word) in rows {
            assert_eq!(effort(&of_budget(tokens)), Some(word), "{tokens}");
        }
        assert_eq!(effort(&of_budget(100_000)), Some(Effort::Max));
        assert_eq!(gemini_budget(&of_budget(100_000)), Some(100_000), "an explicit budget goes as it is");
    }

    #[test]
    fn off_and_adaptive() {
        let off = Reasoning { off: true, effort: Some(Effort::High), ..Reasoning::default() };
        assert_eq!((effort(&off), budget(&off), gemini_budget(&off)), (Some(Effort::None), Some(0), Some(0)));
        let adaptive = Reasoning { adaptive: true, ..Reasoning::default() };
        assert_eq!((effort(&adaptive), budget(&adaptive), gemini_budget(&adaptive)), (None, None, Some(-1)));
        assert_eq!(ollama_think(&adaptive), Some(OllamaThink::On));
        assert_eq!(ollama_think(&Reasoning::default()), None);
    }

    #[test]
    fn adaptive_models_are_known_by_their_name() {
        for model in ["claude-opus-4-6", "anthropic/claude-sonnet-4.6", "claude-sonnet-5", "claude-opus-5-1-20261001"] {
            assert!(takes_adaptive(model), "{model}");
        }
        for model in
            ["claude-sonnet-4-5-20250929", "claude-opus-4-20250514", "claude-3-7-sonnet-latest", "claude", "gpt-5"]
        {
            assert!(!takes_adaptive(model), "{model}");
        }
    }
}
