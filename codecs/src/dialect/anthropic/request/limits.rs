//! How much may be thought and said: `thinking` and `max_tokens`, which depend on each other.

use crate::{
    dialect::Target,
    hub::{
        Request,
        reasoning::{self, anthropic_effort, takes_adaptive},
        request::{ChoiceMode, Effort},
    },
};

/// `max_tokens` where the client gave none.
const TOKENS_DEFAULT: u64 = 4_096;
/// Least `max_tokens` with tools: cut argument JSON is worth nothing.
const TOKENS_WITH_TOOLS: u64 = 32_000;
/// Room for the answer beside the thinking budget.
const TOKENS_BESIDE_BUDGET: u64 = 1_024;
/// Least budget that the service takes.
const BUDGET_MIN: u64 = 1_024;

/// The `thinking` of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Thinking {
    /// None: left out.
    Off,
    /// A budget in tokens, for older models.
    Budget(u64),
    /// The model decides how much, along an effort if there is one.
    Adaptive(Option<&'static str>),
}

/// `thinking` and `max_tokens` together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) thinking: Thinking,
    pub(super) max_tokens: u64,
    /// A wish for thinking could not be granted.
    pub(super) thinking_dropped: bool,
}

impl Limits {
    /// Decides. `signed`: the last assistant turn with calls begins with thinking that the service can verify (or there
    /// is no such turn); without it the service refuses a budget.
    pub(super) fn of(request: &Request<'_>, target: &Target, signed: bool) -> Self {
        let wished = wished(request, target);
        let forced = matches!(request.choice.mode, Some(ChoiceMode::Required | ChoiceMode::Tool(_)));
        let refused = forced || (matches!(wished, Thinking::Budget(_)) && !signed);
        let thinking = if refused { Thinking::Off } else { wished };
        let mut limits = fit(request, target, thinking);
        limits.thinking_dropped = wished != Thinking::Off && limits.thinking == Thinking::Off;
        limits
    }
}

fn wished(request: &Request<'_>, target: &Target) -> Thinking {
    let Some(wish) = &request.reasoning else { return Thinking::Off };
    if target.adaptive.unwrap_or_else(|| takes_adaptive(&target.model)) {
        return match reasoning::effort(wish) {
            Some(Effort::None) => Thinking::Off,
            Some(effort) => Thinking::Adaptive(anthropic_effort(effort)),
            None if wish.adaptive => Thinking::Adaptive(None),
            None => Thinking::Off,
        };
    }
    match reasoning::budget(wish) {
        Some(0) => Thinking::Off,
        Some(tokens) => Thinking::Budget(tokens.max(BUDGET_MIN)),
        None if wish.adaptive => Thinking::Budget(Effort::Medium.budget()),
        None => Thinking::Off,
    }
}

/// The steps of the default and the bump, in their order.
fn fit(request: &Request<'_>, target: &Target, mut thinking: Thinking) -> Limits {
    let mut tokens = request.max_tokens.unwrap_or(TOKENS_DEFAULT);
    let own_tools = !request.tools.is_empty() && !request.stub_tools;
    if target.adjust_max_tokens && own_tools {
        tokens = tokens.max(TOKENS_WITH_TOOLS);
    }
    if let Thinking::Budget(budget) = thinking
        && tokens <= budget
    {
        tokens = budget.saturating_add(TOKENS_BESIDE_BUDGET);
    }
    if let Some(max) = target.max_output_tokens.filter(|max| target.adjust_max_tokens && tokens > *max) {
        tokens = max;
        if let Thinking::Budget(budget) = thinking {
            let budget = budget.min(max.saturating_sub(TOKENS_BESIDE_BUDGET));
            thinking = if budget < BUDGET_MIN { Thinking::Off } else { Thinking::Budget(budget) };
        }
    }
    Limits { thinking, max_tokens: tokens, thinking_dropped: false }
}
