//! How much thinking a client wants, and the reasoning that it sends back.

use crate::{
    dialect::{
        expect::{
            optional::{boolean, whole},
            wrong,
        },
        openai_chat::details,
    },
    hub::{
        ApiError, Form, Origin, Rider,
        request::{Effort, Part, Reasoning},
    },
    json::{Raw, Str},
};

/// The members that ask for thinking. The first that speaks wins: `thinking`, `reasoning`, `reasoning_effort`,
/// `enable_thinking`.
#[derive(Default)]
pub(super) struct Wishes<'a> {
    /// Anthropic's and DeepSeek's `{type, budget_tokens}`.
    pub(super) thinking: Option<Raw<'a>>,
    /// OpenRouter's `{effort, max_tokens, enabled}`.
    pub(super) reasoning: Option<Raw<'a>>,
    /// OpenAI's word.
    pub(super) effort: Option<Raw<'a>>,
    /// Qwen's switch.
    pub(super) enable: Option<Raw<'a>>,
    /// Qwen's budget.
    pub(super) budget: Option<Raw<'a>>,
}

/// What the client wishes, in the hub's words.
pub(super) fn wish<'a>(wishes: &Wishes<'a>) -> Result<Option<Reasoning<'a>>, ApiError> {
    let word = effort(wishes.effort, "reasoning_effort")?;
    if let Some(thinking) = wishes.thinking
        && let Some(reasoning) = of_thinking(thinking, word)?
    {
        return Ok(Some(reasoning));
    }
    if let Some(reasoning) = wishes.reasoning
        && let Some(reasoning) = of_reasoning(reasoning)?
    {
        return Ok(Some(reasoning));
    }
    if word.is_some() {
        return Ok(Some(Reasoning { effort: word, ..Reasoning::default() }));
    }
    let budget = whole(wishes.budget, "thinking_budget")?;
    Ok(match boolean(wishes.enable, "enable_thinking")? {
        Some(false) => Some(Reasoning { off: true, ..Reasoning::default() }),
        Some(true) if budget.is_some() => Some(Reasoning { budget, ..Reasoning::default() }),
        Some(true) => Some(Reasoning { effort: Some(Effort::Medium), ..Reasoning::default() }),
        None => None,
    })
}

fn effort(value: Option<Raw<'_>>, param: &str) -> Result<Option<Effort>, ApiError> {
    let Some(value) = value else { return Ok(None) };
    let word = value.as_text().ok_or_else(|| wrong(value, param, "a string"))?.plain();
    let unknown = || ApiError::invalid(param, format!("{param} {word:?} is unknown"));
    Effort::parse(&word).map(Some).ok_or_else(unknown)
}

fn of_thinking<'a>(thinking: Raw<'a>, word: Option<Effort>) -> Result<Option<Reasoning<'a>>, ApiError> {
    if !thinking.is_object() {
        return Err(wrong(thinking, "thinking", "an object"));
    }
    let kind = thinking.get_text("type").map(|kind| kind.plain());
    Ok(match kind.as_deref() {
        Some("disabled") => Some(Reasoning { off: true, ..Reasoning::default() }),
        Some("enabled") => match whole(thinking.get("budget_tokens"), "thinking.budget_tokens")? {
            Some(budget) => Some(Reasoning { budget: Some(budget), ..Reasoning::default() }),
            None => Some(Reasoning { effort: word.or(Some(Effort::Medium)), ..Reasoning::default() }),
        },
        Some("adaptive" | "auto") => Some(Reasoning { effort: word, adaptive: true, ..Reasoning::default() }),
        _ => None,
    })
}

fn of_reasoning<'a>(reasoning: Raw<'a>) -> Result<Option<Reasoning<'a>>, ApiError> {
    if !reasoning.is_object() {
        return Err(wrong(reasoning, "reasoning", "an object"));
    }
    let word = effort(reasoning.get("effort"), "reasoning.effort")?;
    let budget = whole(reasoning.get("max_tokens"), "reasoning.max_tokens")?;
    Ok(match (word, budget, boolean(reasoning.get("enabled"), "reasoning.enabled")?) {
        (None, None, Some(true)) => Some(Reasoning { effort: Some(Effort::Medium), ..Reasoning::default() }),
        (None, None, Some(false)) => Some(Reasoning { off: true, ..Reasoning::default() }),
        (None, None, None) => None,
        (effort, budget, _) => Some(Reasoning { effort, budget, ..Reasoning::default() }),
    })
}

/// One block of reasoning: entries of one index that came in pieces belong together.
struct Block<'a> {
    index: Option<u64>,
    text: Option<Str<'a>>,
    rider: Option<Rider<'a>>,
}

/// The reasoning of an assistant message, as parts that stand before its other parts.
pub(super) fn history<'a>(message: Raw<'a>) -> Vec<Part<'a>> {
    // The last name is Copilot's.
    let words = ["reasoning_content", "reasoning", "reasoning_text"].iter().find_map(|name| message.get_text(name));
    let words = words.filter(|words| !words.is_empty()).map(|words| words.to_str());
    let mut blocks = message.get("reasoning_details").map(blocks).unwrap_or_default();
    // What we have not put there is its vendor's.
    let opaque = message.get_text("reasoning_opaque").and_then(|tag| Rider::from_tag(&tag.plain()));
    blocks.extend(opaque.map(|rider| Block { index: None, text: None, rider: Some(rider) }));
    if blocks.iter().any(|block| block.text.is_some()) {
        return blocks.into_iter().map(|block| part(block.text, block.rider)).collect();
    }
    let Some(words) = words else {
        return blocks.into_iter().map(|block| part(None, block.rider)).collect();
    };
    attach(words, blocks)
}

/// Puts the words on the block they belong to. Signatures cover certain words: several of them cannot be told apart.
/// Encrypted reasoning of OpenAI holds its own words, so that all of its items are kept.
fn attach<'a>(words: Str<'a>, blocks: Vec<Block<'a>>) -> Vec<Part<'a>> {
    let covers = |block: &Block<'_>| block.rider.as_ref().is_some_and(|rider| rider.form != Form::Red);
    let several = blocks.iter().filter(|block| covers(block)).count() > 1;
    let mut words = Some(words);
    let mut parts = Vec::new();
    for block in blocks {
        let Some(rider) = block.rider else { continue };
        let lost = several && rider.origin != Origin::Responses;
        match rider.form {
            Form::Red => parts.push(Part::Redacted(rider)),
            _ if lost => {}
            _ => parts.push(Part::Thinking { text: words.take().unwrap_or_default(), rider: Some(rider) }),
        }
    }
    if let Some(words) = words {
        parts.insert(0, Part::Thinking { text: words, rider: None });
    }
    parts
}

fn part<'a>(text: Option<Str<'a>>, rider: Option<Rider<'a>>) -> Part<'a> {
    match rider {
        Some(rider) if rider.form == Form::Red && text.is_none() => Part::Redacted(rider),
        rider => Part::Thinking { text: text.unwrap_or_default(), rider },
    }
}

fn blocks<'a>(list: Raw<'a>) -> Vec<Block<'a>> {
    let mut blocks: Vec<Block<'a>> = Vec::new();
    for entry in list.elements() {
        let (index, text, rider) = (entry.get_u64("index"), details::text(entry), details::rider(entry));
        if text.is_none() && rider.is_none() {
            continue;
        }
        let same = |block: &Block<'_>| index.is_some() && block.index == index && block.rider.is_none();
        match blocks.last_mut().filter(|block| same(block)) {
            Some(block) => {
                block.text = match (block.text.take(), text) {
                    (Some(first), Some(more)) => Some(Str::from(format!("{}{}", first.plain(), more.plain()))),
                    (first, more) => first.or(more),
                };
                block.rider = rider;
            }
            None => blocks.push(Block { index, text, rider }),
        }
    }
    blocks
}
