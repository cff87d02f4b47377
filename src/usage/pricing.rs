//! Which price a model has: the user's rows over the built-in card.
//!
//! ```text
//!   the user's rows: exact ──▶ the user's patterns for one provider ──▶ built-in card ──▶ the user's patterns for all
//!   a name is tried as it is, behind its last "/", without date and variant, with "-" for "."; nothing else
//! ```
//!
//! A miss is `None` and stays one: an unknown price is not zero. Prices are list prices without taxes, discounts and
//! service tiers.

use std::{borrow::Cow, cmp::Ordering};

use serde_json::{Map, Value};

use super::card;
use crate::store::pricing::PriceRow;

/// Prices of one model and size of input, in pico-USD per token. `None` falls back to the rate that it is a kind of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates {
    /// Input that no cache has to do with.
    pub input: u64,
    /// Output.
    pub output: u64,
    /// Input read from a cache; else `input`.
    pub cache_read: Option<u64>,
    /// Input written to a cache; else `input`.
    pub cache_write: Option<u64>,
    /// Input written to a cache for an hour; else `cache_write`.
    pub cache_write_1h: Option<u64>,
    /// Reasoning; else `output`.
    pub reasoning: Option<u64>,
    /// Sound in the input; else `input`.
    pub audio_in: Option<u64>,
    /// Sound read from a cache; else `cache_read`.
    pub audio_cached: Option<u64>,
    /// Sound in the output; else `output`.
    pub audio_out: Option<u64>,
    /// Pictures in the input; else `input`.
    pub image_in: Option<u64>,
    /// Pictures in the output; else `output`.
    pub image_out: Option<u64>,
}

impl Rates {
    /// Rates without exceptions.
    pub fn plain(input: u64, output: u64) -> Self {
        Self { input, output, ..Self::default() }
    }

    /// The optional rate of that name in the API.
    fn named(&mut self, name: &str) -> Option<&mut Option<u64>> {
        Some(match name {
            "cacheRead" => &mut self.cache_read,
            "cacheWrite" => &mut self.cache_write,
            "cacheWrite1h" => &mut self.cache_write_1h,
            "reasoning" => &mut self.reasoning,
            "audioIn" => &mut self.audio_in,
            "audioCached" => &mut self.audio_cached,
            "audioOut" => &mut self.audio_out,
            "imageIn" => &mut self.image_in,
            "imageOut" => &mut self.image_out,
            _ => return None,
        })
    }

    /// The rates by their names in the API, in pico-USD per token, without those that fall back.
    pub fn members(&self) -> Map<String, Value> {
        let rates = [
            ("input", Some(self.input)),
            ("output", Some(self.output)),
            ("cacheRead", self.cache_read),
            ("cacheWrite", self.cache_write),
            ("cacheWrite1h", self.cache_write_1h),
            ("reasoning", self.reasoning),
            ("audioIn", self.audio_in),
            ("audioCached", self.audio_cached),
            ("audioOut", self.audio_out),
            ("imageIn", self.image_in),
            ("imageOut", self.image_out),
        ];
        rates.into_iter().filter_map(|(name, rate)| Some((name.to_owned(), rate?.into()))).collect()
    }
}

/// Rates from a size of input on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tier {
    /// The rates hold for inputs of more tokens than this.
    pub above: u64,
    /// They replace the base rates altogether.
    pub rates: Rates,
}

/// The price of a model, and what the list knows besides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Price {
    /// For small inputs.
    pub rates: Rates,
    /// For large ones, ascending.
    pub tiers: Vec<Tier>,
    /// Context window in tokens.
    pub context: Option<u64>,
    /// Largest answer in tokens.
    pub max_output: Option<u64>,
    /// Day on which the vendor stops it, as the number YYYYMMDD.
    pub deprecated: Option<u32>,
}

impl Price {
    /// A price without exceptions, in pico-USD per token.
    pub fn plain(input: u64, output: u64) -> Self {
        Self { rates: Rates::plain(input, output), ..Self::default() }
    }

    /// The rates for a request with that many input tokens.
    pub fn rates_for(&self, input: u64) -> &Rates {
        let tier = self.tiers.iter().rev().find(|tier| input > tier.above);
        tier.map_or(&self.rates, |tier| &tier.rates)
    }
}

/// Where a price comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Set by the user.
    User,
    /// From a list that the user has imported.
    Import,
    /// The card in the program.
    Card,
    /// The embedded demo: free.
    Demo,
}

impl Source {
    /// The word for it in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Import => "import",
            Self::Card => "card",
            Self::Demo => "demo",
        }
    }
}

/// A price that the user has set or imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// A provider's name or a vendor's id; empty or `*` for all.
    pub provider: String,
    /// A model's name, or a pattern with `*`.
    pub model: String,
    /// What it costs.
    pub price: Price,
    /// Who says so.
    pub source: Source,
}

impl Override {
    /// Reads a row of the store. `tiers` is a list of objects like `{"above": 200000, "input": 2500000}` in pico-USD per
    /// token, with the members `input`, `output`, `cacheRead`, `cacheWrite`, `cacheWrite1h`, `reasoning`, `audioIn`,
    /// `audioCached`, `audioOut`, `imageIn`, `imageOut`; what a tier does not say is as it is below. A tier above zero
    /// holds rates that the row has no column for.
    ///
    /// # Errors
    /// Says what is wrong, in words for the one who wrote it.
    pub fn of(row: &PriceRow) -> Result<Self, String> {
        let rate = |name: &str, value: i64| u64::try_from(value).map_err(|_| format!("{name} must not be negative"));
        let some = |name: &str, value: Option<i64>| value.map(|value| rate(name, value)).transpose();
        let base = Rates {
            cache_read: some("cacheRead", row.cache_read)?,
            cache_write: some("cacheWrite", row.cache_write)?,
            cache_write_1h: some("cacheWrite1h", row.cache_write_1h)?,
            reasoning: some("reasoning", row.reasoning)?,
            audio_in: some("audioIn", row.audio_in)?,
            image_in: some("imageIn", row.image_in)?,
            ..Rates::plain(rate("input", row.input)?, rate("output", row.output)?)
        };
        let mut price = Price { rates: base, ..Price::default() };
        let tiers = match &row.tiers {
            None | Some(Value::Null) => &[][..],
            Some(Value::Array(tiers)) => tiers,
            Some(_) => return Err("tiers must be a list".to_owned()),
        };
        for tier in tiers {
            let tier = tier.as_object().ok_or("a tier must be an object")?;
            let Some(above) = tier.get("above").and_then(Value::as_u64) else {
                return Err("a tier needs `above`, a number of tokens".to_owned());
            };
            let mut rates = price.rates;
            for (name, value) in tier.iter().filter(|(name, _)| *name != "above") {
                let value = value.as_u64().ok_or_else(|| format!("{name} must be a whole number of pico-USD"))?;
                match name.as_str() {
                    "input" => rates.input = value,
                    "output" => rates.output = value,
                    _ => match rates.named(name) {
                        Some(rate) => *rate = Some(value),
                        None => return Err(format!("a tier has no `{name}`")),
                    },
                }
            }
            match above {
                0 => price.rates = rates,
                _ => price.tiers.push(Tier { above, rates }),
            }
        }
        price.tiers.sort_by_key(|tier| tier.above);
        let source = if row.source == Source::Import.name() { Source::Import } else { Source::User };
        Ok(Self { provider: row.provider.clone(), model: row.model.clone(), price, source })
    }

    /// The row that the store keeps.
    pub fn row(&self) -> PriceRow {
        let number = |rate: u64| i64::try_from(rate).unwrap_or(i64::MAX);
        let base = self.price.rates;
        let unlisted = [("audioCached", base.audio_cached), ("audioOut", base.audio_out), ("imageOut", base.image_out)];
        let unlisted: Map<_, _> =
            unlisted.into_iter().filter_map(|(name, rate)| Some((name.to_owned(), rate?.into()))).collect();
        let tier = |above: u64, mut members: Map<String, Value>| {
            members.insert("above".to_owned(), above.into());
            Value::Object(members)
        };
        let first = (!unlisted.is_empty()).then(|| tier(0, unlisted));
        let others = self.price.tiers.iter().map(|Tier { above, rates }| tier(*above, rates.members()));
        let tiers: Vec<_> = first.into_iter().chain(others).collect();
        PriceRow {
            provider: self.provider.clone(),
            model: self.model.clone(),
            input: number(base.input),
            output: number(base.output),
            cache_read: base.cache_read.map(number),
            cache_write: base.cache_write.map(number),
            cache_write_1h: base.cache_write_1h.map(number),
            reasoning: base.reasoning.map(number),
            audio_in: base.audio_in.map(number),
            image_in: base.image_in.map(number),
            tiers: (!tiers.is_empty()).then_some(Value::Array(tiers)),
            source: self.source.name().to_owned(),
            updated_at_ms: 0,
        }
    }
}

/// Who sells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buyer<'a> {
    /// The provider's name in the configuration.
    pub provider: &'a str,
    /// The vendor behind it, by its preset's id, if it is a known one.
    pub vendor: Option<&'a str>,
    /// Where it runs.
    pub place: Place,
}

impl<'a> Buyer<'a> {
    /// A provider somewhere, of which nothing else is known.
    pub fn remote(provider: &'a str) -> Self {
        Self { provider, vendor: None, place: Place::Remote }
    }
}

/// Where a provider runs: decides whether a model's name says anything about its price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Somewhere else.
    Remote,
    /// On this machine: names of models are anything, and no list knows what the electricity costs.
    Local,
    /// Inside this program: the demo.
    Embedded,
}

/// A price and where it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found<'c> {
    /// What it costs.
    pub price: Price,
    /// Who says so.
    pub source: Source,
    /// The vendor or provider under which it is listed.
    pub vendor: &'c str,
    /// The name or pattern under which it is listed.
    pub model: &'c str,
}

/// Families that only their maker sells, or that others sell at the maker's list price: here a name alone is enough. Models
/// with open weights are not among them, because every host has a price of its own.
const MAKERS: [(&str, &[&str]); 7] = [
    ("openai", &["gpt-", "chatgpt-", "codex-", "o1", "o3", "o4", "text-embedding-"]),
    ("anthropic", &["claude-"]),
    ("gemini", &["gemini-"]),
    ("xai", &["grok-"]),
    ("cohere", &["command-", "embed-"]),
    ("perplexity", &["sonar"]),
    ("qwen-cloud", &["qwen-max", "qwen-plus", "qwen-flash", "qwen-turbo", "qwen3-max"]),
];
/// Presets that are another door to a vendor of the card.
const SAME_VENDOR: [(&str, &str); 1] = [("openai-responses", "openai")];
/// Endings that name a way to run a model, not a model.
const VARIANTS: [&str; 3] = ["-thinking", "-agentic", "-latest"];

/// All prices. Immutable; a change makes a new one.
#[derive(Debug, Default)]
pub struct RateCard {
    /// Exact names, lower case, sorted by provider and model.
    exact: Vec<Override>,
    /// Patterns, the most specific first.
    patterns: Vec<Override>,
}

impl RateCard {
    /// The built-in card under `rows`. Of two rows for the same name the last one counts.
    pub fn new(rows: Vec<Override>) -> Self {
        let mut card = Self::default();
        for mut row in rows {
            row.provider.make_ascii_lowercase();
            row.model.make_ascii_lowercase();
            if row.provider == "*" {
                row.provider.clear();
            }
            let list = if row.model.contains('*') { &mut card.patterns } else { &mut card.exact };
            list.push(row);
        }
        card.exact.sort_by(|a, b| key(a).cmp(&key(b)));
        // The sort is stable: the last of equals is the newest.
        card.exact.reverse();
        card.exact.dedup_by(|b, a| key(a) == key(b));
        card.exact.reverse();
        card.patterns.reverse();
        card.patterns.sort_by_key(|row| std::cmp::Reverse(row.model.len()));
        card
    }

    /// The built-in card under the store's rows, and what is wrong with those that were left out.
    pub fn of(rows: &[PriceRow]) -> (Self, Vec<String>) {
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for row in rows {
            match Override::of(row) {
                Ok(row) => good.push(row),
                Err(message) => bad.push(format!("price of {} {}: {message}", row.provider, row.model)),
            }
        }
        (Self::new(good), bad)
    }

    /// The user's own rows.
    pub fn overrides(&self) -> impl Iterator<Item = &Override> {
        self.exact.iter().chain(&self.patterns)
    }

    /// The price of `model` at `buyer`'s, if anybody knows it.
    pub fn find<'c>(&'c self, buyer: &Buyer<'c>, model: &'c str) -> Option<Found<'c>> {
        if buyer.place == Place::Embedded {
            let price = Price::plain(0, 0);
            return Some(Found { price, source: Source::Demo, vendor: buyer.provider, model });
        }
        let model = lower(model);
        // Nearly always: nobody has set prices, and the model is on the card as it is called.
        if self.exact.is_empty() && self.patterns.is_empty() {
            // What runs here is on no card.
            if buyer.vendor.is_none() && buyer.place != Place::Remote {
                return None;
            }
            let others = || Names::of(&model).iter().find_map(|name| Self::listed(buyer, name));
            return Self::listed(buyer, &model).or_else(others);
        }
        let names = Names::of(&model);
        if let Some(row) = names.iter().find_map(|name| self.own(buyer, name)) {
            return Some(found(row));
        }
        let pattern = |any: bool| {
            let rows = self.patterns.iter().filter(move |row| row.provider.is_empty() == any);
            let mut rows = rows.filter(|row| any || is(buyer, &row.provider));
            rows.find(|row| covers(&row.model, &model)).map(found)
        };
        let listed = || names.iter().find_map(|name| Self::listed(buyer, name));
        pattern(false).or_else(listed).or_else(|| pattern(true))
    }

    /// A row of the user's for exactly that name: the provider's, its vendor's, anybody's.
    fn own(&self, buyer: &Buyer<'_>, model: &str) -> Option<&Override> {
        let provider = lower(buyer.provider);
        [Some(&*provider), buyer.vendor, Some("")].into_iter().flatten().find_map(|provider| {
            let at = self.exact.binary_search_by(|row| key(row).cmp(&(provider, model))).ok()?;
            self.exact.get(at)
        })
    }

    /// The price on the built-in card, under exactly that name.
    fn listed(buyer: &Buyer<'_>, name: &str) -> Option<Found<'static>> {
        let sold = buyer.vendor.and_then(|vendor| {
            let door = SAME_VENDOR.iter().find(|(door, _)| *door == vendor);
            card::find(door.map_or(vendor, |(_, vendor)| vendor), name)
        });
        let row = sold.or_else(|| {
            // What runs here under a famous name is not what the maker sells, unless the configuration says so.
            let famous = |names: &[&str]| names.iter().any(|start| name.starts_with(start));
            let maker = MAKERS.iter().find(|(_, names)| buyer.place == Place::Remote && famous(names));
            maker.and_then(|(vendor, _)| card::find(vendor, name))
        })?;
        Some(Found { price: row.price(), source: Source::Card, vendor: row.vendor, model: row.model })
    }

    /// The built-in card: vendor, model and price, sorted. `version` of the list is in [`RateCard::version`].
    pub fn built_in() -> impl Iterator<Item = (&'static str, &'static str, Price)> {
        card::rows().iter().map(|row| (row.vendor, row.model, row.price()))
    }

    /// Where the built-in card comes from and how new it is.
    pub fn version() -> &'static str {
        card::version()
    }
}

fn key(row: &Override) -> (&str, &str) {
    (&row.provider, &row.model)
}

fn is(buyer: &Buyer<'_>, provider: &str) -> bool {
    buyer.provider.eq_ignore_ascii_case(provider) || buyer.vendor == Some(provider)
}

fn found(row: &Override) -> Found<'_> {
    Found { price: row.price.clone(), source: row.source, vendor: &row.provider, model: &row.model }
}

fn lower(text: &str) -> Cow<'_, str> {
    match text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => text.to_ascii_lowercase().into(),
        false => text.into(),
    }
}

/// Whether a pattern covers a name; `*` stands for any text.
pub(crate) fn covers(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    // No star at all.
    rest.is_empty()
}

/// The names under which a model may be listed, most exact first.
#[derive(Debug)]
struct Names<'m> {
    list: [Option<Cow<'m, str>>; 5],
}

impl<'m> Names<'m> {
    fn of(model: &'m str) -> Self {
        let bare = model.rsplit_once('/').map(|(_, bare)| bare);
        let last = bare.unwrap_or(model);
        let cut = stripped(last);
        let dashed = |name: &'m str| versions(name).map(Cow::Owned);
        let stripped = (cut.len() < last.len()).then_some(cut);
        let list = [
            Some(model.into()),
            bare.map(Cow::Borrowed),
            dashed(last),
            stripped.map(Cow::Borrowed),
            stripped.and_then(dashed),
        ];
        Self { list }
    }

    fn iter(&self) -> impl Iterator<Item = &str> {
        self.list.iter().flatten().map(|name| &**name)
    }
}

/// A name without its date and variant.
fn stripped(name: &str) -> &str {
    let mut rest = name;
    loop {
        let shorter = VARIANTS.iter().find_map(|variant| rest.strip_suffix(variant)).or_else(|| undated(rest));
        match shorter {
            Some(shorter) if !shorter.is_empty() => rest = shorter,
            _ => return rest,
        }
    }
}

/// A name without a date at its end: `-20250929` or `-2025-09-29`.
fn undated(name: &str) -> Option<&str> {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (head, last) = name.rsplit_once('-')?;
    if last.len() == 8 && digits(last) {
        return Some(head);
    }
    let (head, middle) = head.rsplit_once('-')?;
    let (head, first) = head.rsplit_once('-')?;
    let dated = [(first, 4), (middle, 2), (last, 2)].iter().all(|(part, len)| part.len() == *len && digits(part));
    dated.then_some(head)
}

/// A name with `-` for every `.` between digits, if there is one: vendors disagree about `4.5` and `4-5`.
fn versions(name: &str) -> Option<String> {
    if !name.contains('.') {
        return None;
    }
    let bytes = name.as_bytes();
    let between = |at: usize| {
        let digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
        at > 0 && digit(bytes.get(at - 1)) && digit(bytes.get(at + 1))
    };
    let dashed: String =
        name.char_indices().map(|(at, char)| if char == '.' && between(at) { '-' } else { char }).collect();
    (dashed.as_str().cmp(name) != Ordering::Equal).then_some(dashed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn vendor(id: &str) -> Buyer<'_> {
        Buyer { vendor: Some(id), ..Buyer::remote(id) }
    }

    fn input(card: &RateCard, buyer: &Buyer<'_>, model: &str) -> Option<u64> {
        card.find(buyer, model).map(|found| found.price.rates.input)
    }

    fn row(provider: &str, model: &str, input: u64) -> Override {
        let (price, source) = (Price::plain(input, 0), Source::User);
        Override { provider: provider.to_owned(), model: model.to_owned(), price, source }
    }

    #[test]
    fn names_are_tried_from_exact_to_plain() {
        let names: Vec<_> =
            Names::of("anthropic/claude-sonnet-4.5-20250929-thinking").iter().map(str::to_owned).collect();
        assert_eq!(
            names,
            [
                "anthropic/claude-sonnet-4.5-20250929-thinking",
                "claude-sonnet-4.5-20250929-thinking",
                "claude-sonnet-4-5-20250929-thinking",
                "claude-sonnet-4.5",
                "claude-sonnet-4-5"
            ]
        );
        assert_eq!(Names::of("gpt-5").iter().count(), 1);
        assert_eq!(stripped("gpt-5-2025-08-07"), "gpt-5");
        // Not dates, not versions.
        assert_eq!((stripped("glm-4-32b-0414"), versions("v.x"), versions("a.1")), ("glm-4-32b-0414", None, None));
        assert_eq!((stripped("-latest"), undated("20250929")), ("-latest", None));
    }

    #[test]
    fn the_card_knows_vendors_and_famous_names_and_guesses_nothing() {
        let card = RateCard::default();
        assert_eq!(input(&card, &vendor("anthropic"), "claude-sonnet-4-5"), Some(3_000_000));
        assert_eq!(input(&card, &vendor("openai-responses"), "GPT-5"), Some(1_250_000));
        let broker = Buyer::remote("broker");
        assert_eq!(input(&card, &broker, "anthropic/claude-sonnet-4.5"), Some(3_000_000));
        assert_eq!(input(&card, &broker, "claude-sonnet-4-5-20250929-thinking"), Some(3_000_000));
        // Open weights cost what their host says.
        assert!(input(&card, &vendor("deepseek"), "deepseek-chat").is_some());
        assert_eq!(input(&card, &broker, "deepseek-chat"), None);
        // No prefixes, no neighbours.
        for model in ["claude-opus-99", "claude-son", "gpt-5-ultra-new", "", "/", "x"] {
            assert_eq!(input(&card, &broker, model), None, "{model}");
        }
        // A local server may call its model as it likes, unless it is declared to be the vendor.
        let local = Buyer { place: Place::Local, ..broker };
        assert_eq!(input(&card, &local, "gpt-5"), None);
        assert_eq!(input(&card, &Buyer { vendor: Some("openai"), ..local }, "gpt-5"), Some(1_250_000));
        let demo = card.find(&Buyer { place: Place::Embedded, ..broker }, "demo").unwrap();
        assert_eq!((demo.source, demo.price.rates), (Source::Demo, Rates::plain(0, 0)));
    }

    #[test]
    fn the_users_word_counts_more() {
        let card = RateCard::new(vec![
            row("mine", "gpt-5", 1),
            row("OpenAI", "gpt-5", 2),
            row("", "o3", 3),
            row("mine", "free-*", 0),
            row("*", "gpt-*", 9),
            row("", "*", 8),
            row("", "*-local", 7),
            row("mine", "GPT-5", 4),
        ]);
        let mine = Buyer { vendor: Some("openai"), ..Buyer::remote("mine") };
        assert_eq!(input(&card, &mine, "gpt-5"), Some(4), "the last row of a name, and the provider before its vendor");
        assert_eq!(input(&card, &vendor("openai"), "gpt-5"), Some(2));
        assert_eq!(input(&card, &vendor("openai"), "o3"), Some(3));
        assert_eq!(input(&card, &mine, "free-lunch"), Some(0));
        assert_eq!(input(&card, &vendor("openai"), "gpt-5-mini"), Some(250_000), "patterns for all fill gaps only");
        assert_eq!(input(&card, &mine, "gpt-99"), Some(9));
        assert_eq!((input(&card, &mine, "x-local"), input(&card, &mine, "x")), (Some(7), Some(8)));
        assert_eq!(card.overrides().count(), 7);
        let found = card.find(&mine, "free-lunch").unwrap();
        assert_eq!((found.source, found.vendor, found.model), (Source::User, "mine", "free-*"));
    }

    #[test]
    fn rows_of_the_store_keep_every_rate() {
        let rates = Rates {
            input: 1,
            output: 2,
            cache_read: Some(3),
            cache_write: Some(4),
            cache_write_1h: Some(5),
            reasoning: Some(6),
            audio_in: Some(7),
            audio_cached: Some(8),
            audio_out: Some(9),
            image_in: Some(10),
            image_out: Some(11),
        };
        let tiers = vec![Tier { above: 200_000, rates: Rates { input: 20, ..rates } }];
        let whole = Override { price: Price { rates, tiers, ..Price::default() }, ..row("mine", "m", 0) };
        assert_eq!(Override::of(&whole.row()), Ok(whole));
        let plain = Override { source: Source::Import, ..row("", "*", 5) };
        assert_eq!((plain.row().tiers, Override::of(&plain.row())), (None, Ok(plain)));
    }

    #[test]
    fn what_is_wrong_with_a_row_is_said() {
        let bad = |change: fn(&mut PriceRow)| {
            let mut bad = row("p", "m", 1).row();
            change(&mut bad);
            let (card, faults) = RateCard::of(&[bad, row("p", "good", 3).row()]);
            assert_eq!(card.overrides().count(), 1);
            faults.concat()
        };
        assert_eq!(bad(|row| row.input = -1), "price of p m: input must not be negative");
        assert_eq!(bad(|row| row.tiers = Some(7.into())), "price of p m: tiers must be a list");
        assert_eq!(
            bad(|row| row.tiers = serde_json::from_str(r#"[{"input":1}]"#).ok()),
            "price of p m: a tier needs `above`, a number of tokens"
        );
        assert_eq!(
            bad(|row| row.tiers = serde_json::from_str(r#"[{"above":1,"inputs":1}]"#).ok()),
            "price of p m: a tier has no `inputs`"
        );
    }

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, name, expected) in [
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*c", "abc", true),
            ("a*b*c", "a--b--c", true),
            ("a*c", "ab", false),
            ("*", "", true),
            ("a**", "a", true),
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("ab*ba", "aba", false),
        ] {
            assert_eq!(covers(pattern, name), expected, "{pattern} {name}");
        }
    }
}
