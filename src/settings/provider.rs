//! Providers, aliases and keys as configured.

use std::{fmt, sync::Arc, time::Duration};

use codecs::dialect::{ChatFlavour, Dialect, Placeholder, ThinkingForm};

use super::{Fault, Settings, Source};
pub use crate::store::Secret;

/// An upstream service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// Id: the row's in the store, `file:NAME` or `environment:NAME` elsewhere.
    pub id: Arc<str>,
    /// Where it is defined.
    pub source: Source,
    /// Id of the known service that it is, if it is one.
    pub preset: Option<&'static str>,
    /// Name, unique; the prefix in `provider/model`.
    pub name: String,
    /// Its wire language.
    pub dialect: Dialect,
    /// Address up to where the dialect's own path begins, without a trailing slash.
    pub base_url: String,
    /// Credential, if it needs one.
    pub api_key: Option<Secret>,
    /// Model names and patterns (`claude-*`, `*`) that it serves.
    pub models: Vec<String>,
    /// What is said of some of them.
    pub described: Vec<Arc<Described>>,
    /// Lower comes first.
    pub priority: i64,
    /// Send the caller's own credential instead of one of ours (same dialect only).
    pub client_auth: bool,
    /// Fields added to every request; they win over ours.
    pub headers: Vec<(String, Secret)>,
    /// Chat: whose rules.
    pub flavour: ChatFlavour,
    /// Chat: how a wish for thinking is said when a request is translated.
    pub thinking: ThinkingForm,
    /// Chat: send earlier reasoning back.
    pub reasoning_echo: bool,
    /// Chat: placeholder for turns without reasoning.
    pub placeholder: Placeholder,
    /// Chat: cache marks pass as `cache_control`.
    pub cache_control: bool,
    /// The service answers streams only.
    pub stream_only: bool,
    /// Remove declared tools that a more capable declared one replaces.
    pub dedupe_tools: bool,
    /// Chat: replace answers' ids that clients cannot work with.
    pub fix_id: bool,
    /// Members never to send.
    pub drop_params: Vec<String>,
    /// Members to rename: from, to.
    pub rename_params: Vec<(String, String)>,
    /// Members to set whatever the client says: name, JSON text.
    pub force_params: Vec<(String, String)>,
    /// Largest answer in tokens, where known.
    pub max_output_tokens: Option<u64>,
    /// Overrides of the settings of the same name.
    pub hold_prologue: Option<Duration>,
    /// See above.
    pub first_byte_timeout: Option<Duration>,
    /// See above.
    pub stall_timeout: Option<Duration>,
}

impl Provider {
    /// A provider with nothing but what every one has.
    pub fn new(name: impl Into<String>, dialect: Dialect, base_url: impl Into<String>) -> Self {
        Self {
            id: "".into(),
            source: Source::Default,
            preset: None,
            name: name.into(),
            dialect,
            base_url: base_url.into(),
            api_key: None,
            models: Vec::new(),
            described: Vec::new(),
            priority: 0,
            client_auth: false,
            headers: Vec::new(),
            flavour: ChatFlavour::default(),
            thinking: ThinkingForm::default(),
            reasoning_echo: false,
            placeholder: Placeholder::default(),
            cache_control: false,
            stream_only: false,
            dedupe_tools: false,
            fix_id: false,
            drop_params: Vec::new(),
            rename_params: Vec::new(),
            force_params: Vec::new(),
            max_output_tokens: None,
            hold_prologue: None,
            first_byte_timeout: None,
            stall_timeout: None,
        }
    }

    /// Whether one of its patterns covers `model`, and how well: exact before long prefix before `*`.
    pub fn serves(&self, model: &str) -> Option<Match> {
        self.models.iter().filter_map(|pattern| matches(pattern, model)).max()
    }

    /// What is said of a model.
    pub fn described(&self, model: &str) -> Option<&Arc<Described>> {
        self.described.iter().find(|described| described.model == model)
    }
}

/// What the user says of a model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Described {
    /// Its name at the provider.
    pub model: String,
    /// Its name for people.
    pub display_name: Option<String>,
    /// Tokens of request and answer together.
    pub context_window: Option<u64>,
    /// Tokens of an answer.
    pub max_output: Option<u64>,
    /// What it can do, in bits of [`CAPS`](crate::store::models::CAPS); `None` if nothing is said.
    pub caps: Option<u8>,
}

/// A model that is not to be used, at one provider, at all of a service, or everywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disabled {
    /// Name or id of a provider, id of a preset, or `*`.
    pub scope: String,
    /// Its name there, `prefix*` or `*`.
    pub model: String,
}

impl Disabled {
    /// Reads `SCOPE/MODEL`.
    ///
    /// # Errors
    /// What is missing.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.trim().split_once('/') {
            Some((scope, model)) if !scope.is_empty() && !model.is_empty() => {
                Ok(Self { scope: scope.to_owned(), model: model.to_owned() })
            }
            _ => Err(format!("`{text}` is not PROVIDER/MODEL; */MODEL stands for all providers")),
        }
    }

    /// Whether it is said of `model` at `provider`.
    pub fn covers(&self, provider: &Provider, model: &str) -> bool {
        let scope = self.scope.as_str();
        let here = scope == "*" || scope == provider.name || scope == &*provider.id || provider.preset == Some(scope);
        here && matches(&self.model, model).is_some()
    }
}

impl fmt::Display for Disabled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.scope, self.model)
    }
}

/// How well a pattern covers a name; better is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Match {
    /// `*`
    Any,
    /// `prefix*`, with the prefix's length.
    Prefix(usize),
    /// The name itself.
    Exact,
}

/// How well a model's name, `prefix*` or `*` covers a name.
pub(super) fn matches(pattern: &str, model: &str) -> Option<Match> {
    match pattern.strip_suffix('*') {
        Some("") => Some(Match::Any),
        Some(prefix) => model.starts_with(prefix).then_some(Match::Prefix(prefix.len())),
        None => (pattern == model).then_some(Match::Exact),
    }
}

/// Scheme, host and port of a base URL.
pub(crate) fn origin_of(base_url: &str) -> &str {
    let host = base_url.find("://").map_or(0, |at| at + 3);
    base_url[host..].find('/').map_or(base_url, |slash| &base_url[..host + slash])
}

/// One name for an ordered list of models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// The name that clients use.
    pub name: String,
    /// `provider/model` or plain model names, tried in order.
    pub models: Vec<String>,
    /// How the order is made.
    pub strategy: Strategy,
    /// How much each model weighs when they are shuffled; one that is missing weighs 1.
    pub weights: Vec<u32>,
    /// Where it is defined, for messages.
    pub place: String,
    /// Where it is defined.
    pub source: Source,
}

impl Alias {
    /// An alias whose models are tried in order.
    pub fn new(name: &str, models: Vec<String>, place: String, source: Source) -> Self {
        Self { name: name.to_owned(), models, strategy: Strategy::Priority, weights: Vec::new(), place, source }
    }
}

/// How the models of one name are ordered for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// As listed.
    Priority,
    /// Each request begins with the next one; the rest follow as they are listed, and around.
    RoundRobin,
    /// Shuffled for each request, by weight.
    Random,
    /// The cheapest first, by list price for as many tokens in as out; what has no price comes last.
    CostOptimal,
}

/// Aliases may name models only, not other aliases, and `provider/` prefixes that exist.
pub(super) fn check_aliases(settings: &Settings, faults: &mut Vec<(Source, Fault)>) {
    for alias in &settings.aliases {
        for model in &alias.models {
            let message = if settings.aliases.iter().any(|other| other.name == *model) {
                format!("alias `{}` leads to the alias `{model}`: name the models themselves", alias.name)
            } else if resolves(settings, model) {
                continue;
            } else {
                format!("alias `{}`: no provider serves `{model}`; use provider/model or a listed model", alias.name)
            };
            faults.push((alias.source, Fault { place: alias.place.clone(), message }));
        }
    }
}

fn resolves(settings: &Settings, model: &str) -> bool {
    let pinned = model.split_once('/').is_some_and(|(name, _)| settings.providers.iter().any(|p| p.name == name));
    pinned || model == "demo" || settings.providers.iter().any(|provider| provider.serves(model).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_pattern_wins() {
        let mut provider = Provider::new("p", Dialect::OpenAiChat, "http://x");
        provider.models = ["*", "gpt-*", "gpt-5"].map(str::to_owned).to_vec();
        assert_eq!(provider.serves("gpt-5"), Some(Match::Exact));
        assert_eq!(provider.serves("gpt-4"), Some(Match::Prefix(4)));
        assert_eq!(provider.serves("o9"), Some(Match::Any));
        assert!(Match::Exact > Match::Prefix(99) && Match::Prefix(0) > Match::Any);
    }

    #[test]
    fn secrets_do_not_print() {
        let mut provider = Provider::new("p", Dialect::OpenAiChat, "http://x");
        provider.api_key = Some(Secret::new("sk-planted"));
        assert!(!format!("{provider:?}").contains("planted"));
    }
}
