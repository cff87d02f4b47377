//! Model name → ordered candidates.
//!
//! ```text
//!   name ──alias?──▶ its list ─┐
//!   provider/model ────────────┼─▶ candidates ─▶ cooling ones to the back
//!   name ──patterns, best class┘
//! ```

pub mod cooldown;
mod list;

use std::{sync::Arc, time::Instant};

use codecs::dialect::Dialect;
use list::List;

use crate::{
    health::Health,
    settings::{Demo, Described, Disabled, Provider, Settings},
    usage::{RateCard, pricing::Place},
    vendor::Upstream,
};

/// Name of the embedded provider and of its model.
pub const DEMO: &str = "demo";

/// One provider with the model name to send to it.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Where to send.
    pub upstream: Arc<Upstream>,
    /// The model's name there.
    pub model: Arc<str>,
}

/// Why a name leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotFound {
    /// What and what to do.
    pub message: String,
    /// Whether it would lead somewhere, were it not for `disabled_models`.
    pub disabled: bool,
}

/// A served model, for lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The name that clients may use.
    pub id: String,
    /// Who serves it.
    pub provider: String,
    /// What the user says of it.
    pub described: Option<Arc<Described>>,
}

/// All providers and aliases, immutable.
#[derive(Debug)]
pub struct Catalog {
    upstreams: Vec<Arc<Upstream>>,
    lists: Vec<List>,
    /// Answers any name, while nothing else is configured.
    catch_all: Option<Arc<Upstream>>,
    default_model: String,
    /// What is not to be used.
    disabled: Vec<Disabled>,
}

impl Catalog {
    /// Builds the catalog from valid settings. An upstream that is the same in `before` is taken from there, so that
    /// its counters, and what compares it by address, go on.
    pub fn new(settings: &Settings, prices: &RateCard, before: Option<&Catalog>) -> Self {
        let kept = before.map_or(&[][..], |before| &before.upstreams);
        let upstream = |provider: &Provider| {
            let new = Upstream::new(provider, settings);
            kept.iter().find(|old| old.is_same(&new)).cloned().unwrap_or_else(|| Arc::new(new))
        };
        let mut upstreams: Vec<_> = settings.providers.iter().map(upstream).collect();
        upstreams.sort_by_key(|upstream| upstream.provider.priority);
        let demo_on = match settings.demo {
            Demo::Auto => settings.providers.is_empty(),
            Demo::On => true,
            Demo::Off => false,
        };
        let mut catch_all = None;
        if demo_on {
            let mut provider = Provider::new(DEMO, Dialect::OpenAiChat, "demo://embedded");
            provider.models = vec![DEMO.to_owned()];
            let demo = upstream(&provider);
            if upstreams.is_empty() {
                catch_all = Some(demo.clone());
            }
            upstreams.push(demo);
        }
        let (default_model, disabled) = (settings.default_model.clone(), settings.disabled_models.clone());
        let mut catalog = Self { upstreams, lists: Vec::new(), catch_all, default_model, disabled };
        let cost = |model: &str| catalog.cost(model, prices);
        catalog.lists = settings.aliases.iter().map(|alias| List::new(alias, cost)).collect();
        catalog
    }

    /// What a thousand tokens in and as many out cost at the first candidate of `model`, in pico-USD.
    fn cost(&self, model: &str, prices: &RateCard) -> Option<u64> {
        const TOKENS: u64 = 1_000;
        let mut candidates = Vec::new();
        self.resolve(model, &mut candidates);
        let Candidate { upstream, model } = candidates.first()?;
        let buyer = upstream.buyer();
        match prices.find(&buyer, model) {
            Some(found) => {
                let rates = found.price.rates_for(TOKENS);
                Some(rates.input.saturating_add(rates.output).saturating_mul(TOKENS))
            }
            // What runs here is paid already.
            None => (buyer.place == Place::Local).then_some(0),
        }
    }

    /// The candidates for `model`, best first, those that cool down last.
    pub fn plan(&self, model: &str, health: &Health, now: Instant) -> Result<Vec<Candidate>, NotFound> {
        let model = if model.is_empty() { self.default_model.as_str() } else { model };
        let mut candidates = Vec::new();
        self.collect(model, &mut candidates);
        if !self.disabled.is_empty() {
            candidates.retain(|candidate| !self.is_disabled(&candidate.upstream, &candidate.model));
        }
        if candidates.is_empty() {
            return Err(self.not_found(model));
        }
        if candidates.len() > 1 {
            let cooling = |c: &Candidate| health.cooling_until(&c.upstream.name, &c.model, now).is_some();
            candidates.sort_by_cached_key(cooling);
        }
        Ok(candidates)
    }

    /// Whether `model` is an alias, and so stands for other models.
    pub fn is_alias(&self, model: &str) -> bool {
        self.lists.iter().any(|list| list.name == model)
    }

    /// The candidates for a name, in the order of its list if it has one.
    fn collect(&self, model: &str, candidates: &mut Vec<Candidate>) {
        match self.lists.iter().find(|list| list.name == model) {
            Some(list) => list.ordered(|model| self.resolve(model, candidates)),
            None => self.resolve(model, candidates),
        }
    }

    fn is_disabled(&self, upstream: &Upstream, model: &str) -> bool {
        self.disabled.iter().any(|rule| rule.covers(&upstream.provider, model))
    }

    fn resolve(&self, model: &str, candidates: &mut Vec<Candidate>) {
        if let Some((name, rest)) = model.split_once('/')
            && let Some(upstream) = self.upstreams.iter().find(|upstream| &*upstream.name == name)
            && !rest.is_empty()
        {
            candidates.push(Candidate { upstream: upstream.clone(), model: rest.into() });
            return;
        }
        // Those that may be used compete; if there is none, those that may not are found, and left out by who asks.
        let serving = |u: &Upstream| u.provider.serves(model).map(|class| (!self.is_disabled(u, model), class));
        let matches = || self.upstreams.iter().filter_map(|u| serving(u).map(|class| (class, u)));
        if let Some(best) = matches().map(|(class, _)| class).max() {
            let model: Arc<str> = model.into();
            let chosen = matches().filter(|(class, _)| *class == best);
            candidates.extend(chosen.map(|(_, u)| Candidate { upstream: u.clone(), model: model.clone() }));
        } else if let Some(demo) = &self.catch_all {
            candidates.push(Candidate { upstream: demo.clone(), model: model.into() });
        }
    }

    fn not_found(&self, model: &str) -> NotFound {
        let mut without = Vec::new();
        self.collect(model, &mut without);
        let disabled = !without.is_empty();
        let message = if disabled {
            format!("the model `{model}` is disabled (`disabled_models`)")
        } else if model.is_empty() {
            "the request names no model, and no default_model is configured".to_owned()
        } else if let Some((prefix, _)) = model.split_once('/') {
            let names: Vec<_> = self.upstreams.iter().map(|upstream| &*upstream.name).collect();
            format!(
                "no provider serves the model `{model}`, and there is no provider `{prefix}` (providers: {})",
                names.join(", ")
            )
        } else {
            format!("no provider serves the model `{model}`: use provider/model, or add it to a provider's `models`")
        };
        NotFound { message, disabled }
    }

    /// The models that have names of their own: aliases, then listed models without patterns.
    pub fn listed(&self) -> Vec<Listed> {
        let lists = self.lists.iter().map(|list| Listed {
            id: list.name.clone(),
            provider: "alias".to_owned(),
            described: None,
        });
        let mut all: Vec<Listed> = lists.collect();
        for upstream in &self.upstreams {
            let named = upstream.provider.models.iter().filter(|model| !model.ends_with('*'));
            for model in named.filter(|model| !self.is_disabled(upstream, model)) {
                if all.iter().all(|listed| listed.id != *model) {
                    let described = upstream.provider.described(model).cloned();
                    all.push(Listed { id: model.clone(), provider: upstream.name.to_string(), described });
                }
            }
        }
        all
    }

    /// All providers.
    pub fn upstreams(&self) -> &[Arc<Upstream>] {
        &self.upstreams
    }

    /// Whether the demo provider answers every name.
    pub fn demo_only(&self) -> bool {
        self.catch_all.is_some()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;
    use crate::{
        health::{Cooldown, Scope},
        settings::{Alias, Source, Strategy},
    };

    fn provider(name: &str, priority: i64, models: &[&str]) -> Provider {
        let mut provider = Provider::new(name, Dialect::OpenAiChat, "http://127.0.0.1:1/v1");
        provider.priority = priority;
        provider.models = models.iter().map(|m| (*m).to_owned()).collect();
        provider
    }

    fn catalog() -> Catalog {
        let settings = Settings {
            providers: vec![provider("b", 2, &["gpt-*", "*"]), provider("a", 1, &["gpt-*", "x"])],
            aliases: vec![Alias::new("fast", vec!["b/one".into(), "x".into()], String::new(), Source::File)],
            ..Settings::default()
        };
        Catalog::new(&settings, &RateCard::default(), None)
    }

    fn plan(catalog: &Catalog, health: &Health, model: &str) -> Vec<String> {
        let candidates = catalog.plan(model, health, Instant::now()).unwrap();
        candidates.iter().map(|c| format!("{}/{}", c.upstream.name, c.model)).collect()
    }

    #[test]
    fn names_lead_to_candidates_in_order() {
        let (catalog, health) = (catalog(), Health::default());
        assert_eq!(plan(&catalog, &health, "gpt-5"), ["a/gpt-5", "b/gpt-5"]);
        assert_eq!(plan(&catalog, &health, "x"), ["a/x"]);
        assert_eq!(plan(&catalog, &health, "unheard-of"), ["b/unheard-of"]);
        assert_eq!(plan(&catalog, &health, "b/org/model"), ["b/org/model"]);
        assert_eq!(plan(&catalog, &health, "fast"), ["b/one", "a/x"]);
        assert_eq!(catalog.listed().iter().map(|l| l.id.as_str()).collect::<Vec<_>>(), ["fast", "x"]);
    }

    #[test]
    fn the_cheapest_goes_first_and_the_unpriced_last() {
        let mut there = provider("there", 0, &["*"]);
        there.base_url = "https://there.example/v1".into();
        let models = ["there/unheard-of", "there/claude-opus-4-5", "there/gpt-5-mini", "here/any"].map(str::to_owned);
        let alias = Alias::new("cheap", models.to_vec(), String::new(), Source::Store);
        let settings = Settings {
            providers: vec![there, provider("here", 0, &[])],
            aliases: vec![Alias { strategy: Strategy::CostOptimal, ..alias }],
            ..Settings::default()
        };
        let catalog = Catalog::new(&settings, &RateCard::default(), None);
        assert_eq!(
            plan(&catalog, &Health::default(), "cheap"),
            ["here/any", "there/gpt-5-mini", "there/claude-opus-4-5", "there/unheard-of"]
        );
    }

    #[test]
    fn disabled_models_are_passed_over() {
        let with = |rules: &[&str]| {
            let settings = Settings {
                providers: vec![provider("b", 2, &["gpt-*", "*"]), provider("a", 1, &["gpt-*", "x"])],
                aliases: vec![Alias::new("fast", vec!["b/one".into(), "x".into()], String::new(), Source::File)],
                disabled_models: rules.iter().map(|rule| Disabled::parse(rule).unwrap()).collect(),
                ..Settings::default()
            };
            Catalog::new(&settings, &RateCard::default(), None)
        };
        let health = Health::default();
        let plans = |rules: &[&str], model: &str| plan(&with(rules), &health, model);
        assert_eq!(plans(&[], "x"), ["a/x"]);
        assert_eq!(plans(&["a/x"], "x"), ["b/x"], "a wider pattern elsewhere counts then");
        assert_eq!(plans(&["a/gpt-*"], "gpt-5"), ["b/gpt-5"]);
        assert_eq!(plans(&["b/gpt-4"], "gpt-5"), ["a/gpt-5", "b/gpt-5"]);
        assert_eq!(plans(&["b/*"], "fast"), ["a/x"]);
        for (rules, model) in [
            (&["*/x"][..], "x"),
            (&["a/x", "b/x"], "x"),
            (&["*/x"], "a/x"),
            (&["*/*"], "fast"),
            (&["b/one", "*/x"], "fast"),
        ] {
            let miss = with(rules).plan(model, &health, Instant::now()).unwrap_err();
            assert!(miss.disabled && miss.message.contains("disabled_models"), "{rules:?} {model}: {miss:?}");
        }
        let miss = Catalog::new(&Settings::default(), &RateCard::default(), None);
        assert!(miss.plan("x", &health, Instant::now()).is_ok(), "the demo answers");
        let listed = |rules: &[&str]| with(rules).listed().into_iter().map(|l| l.id).collect::<Vec<_>>();
        assert_eq!((listed(&[]), listed(&["a/x"])), (vec!["fast".to_owned(), "x".to_owned()], vec!["fast".to_owned()]));
    }

    #[test]
    fn a_rule_names_a_provider_or_its_service() {
        let mut provider = Provider::new("work", Dialect::OpenAiChat, "https://h");
        provider.id = "01a2".into();
        provider.preset = Some("openai");
        let covers = |rule: &str, model: &str| Disabled::parse(rule).unwrap().covers(&provider, model);
        for rule in ["work/gpt-4", "01a2/gpt-4", "openai/gpt-4", "*/gpt-4", "work/gpt-*", "work/*"] {
            assert!(covers(rule, "gpt-4"), "{rule}");
        }
        for rule in ["Work/gpt-4", "w/gpt-4", "openai/gpt-5", "work/gpt", "wo*/gpt-4"] {
            assert!(!covers(rule, "gpt-4"), "{rule}");
        }
        assert!(covers("work/org/model", "org/model"));
        for wrong in ["", "gpt-4", "/gpt-4", "work/"] {
            assert!(Disabled::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn cooling_candidates_go_to_the_back_and_stay() {
        let (catalog, health) = (catalog(), Health::default());
        let wait = Cooldown::Fixed(Duration::from_secs(60));
        health.failed(&"a".into(), &"gpt-5".into(), (Scope::Model, wait), Instant::now());
        assert_eq!(plan(&catalog, &health, "gpt-5"), ["b/gpt-5", "a/gpt-5"]);
    }

    #[test]
    fn an_unchanged_provider_stays_the_same_over_a_change() {
        let mut settings =
            Settings { providers: vec![provider("a", 1, &["x"]), provider("b", 2, &["y"])], ..Settings::default() };
        let before = Catalog::new(&settings, &RateCard::default(), None);
        settings.providers[1].models.push("z".into());
        let after = Catalog::new(&settings, &RateCard::default(), Some(&before));
        assert!(Arc::ptr_eq(&before.upstreams()[0], &after.upstreams()[0]));
        assert!(!Arc::ptr_eq(&before.upstreams()[1], &after.upstreams()[1]));
        // A setting that providers inherit changes those that do not say it themselves.
        settings.connect_timeout = Duration::from_millis(1);
        let again = Catalog::new(&settings, &RateCard::default(), Some(&after));
        assert!(!Arc::ptr_eq(&after.upstreams()[0], &again.upstreams()[0]));
    }

    #[test]
    fn the_demo_answers_everything_only_while_alone() {
        let alone = Catalog::new(&Settings::default(), &RateCard::default(), None);
        assert_eq!(plan(&alone, &Health::default(), "whatever"), ["demo/whatever"]);
        let settings = Settings { providers: vec![provider("a", 0, &["x"])], ..Settings::default() };
        let beside = Catalog::new(&settings, &RateCard::default(), None);
        assert!(beside.plan("demo", &Health::default(), Instant::now()).is_err());
        let error = beside.plan("nope", &Health::default(), Instant::now()).unwrap_err();
        assert!(error.message.contains("`nope`"));
    }
}
