//! Price lists that the user brings along.
//!
//! The form is the one of the `litellm` project's price file: an object with a member per model, prices in USD per token.
//! The same facts are taken over as by the built-in card's generator, for all vendors of the file. Reading happens in
//! management only; nothing is fetched from here.

use codecs::json::{DecodeError, Kind, Tape, Value};

use super::pricing::{Override, Price, Rates, Source, Tier};

/// USD per token to pico-USD.
const PICO: f64 = 1e12;
/// Dearer than this is a list in another unit: 1,000 USD per million tokens.
const RATE_MAX: f64 = 1e-3;

/// Prices of one list at most: four times as many as there are.
const ROWS_MAX: usize = 20_000;
/// Longest name of a model or vendor that is taken, in bytes.
const NAME_BYTES: usize = 256;

/// What a list held.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Imported {
    /// Its prices, by vendors' ids here, in lower case. A name that stands there twice is there twice, the later one counts.
    pub rows: Vec<Override>,
    /// How many entries have no price per token, or no name that can be taken.
    pub skipped: usize,
}

/// Why a list was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is no JSON.
    #[error("the price list is not JSON: {0}")]
    NotJson(DecodeError),
    /// It is JSON of another form.
    #[error("the price list {0}")]
    NotAList(&'static str),
}

/// Reads a price list of at most [`Tape::BYTES_MAX`]. Faults are those of the file as a whole.
pub fn read(list: &[u8]) -> Result<Imported, Fault> {
    let mut tape = Tape::new();
    let list = tape.parse(list).map_err(Fault::NotJson)?;
    if list.kind() != Kind::Object {
        return Err(Fault::NotAList("is not an object with a member per model"));
    }
    let mut imported = Imported::default();
    for (name, entry) in list.members() {
        let vendor = entry.get("litellm_provider").and_then(Value::as_str).unwrap_or_default();
        let is_named = !name.is_empty() && name.len().max(vendor.len()) <= NAME_BYTES;
        let Some(price) = price(entry).filter(|_| is_named) else {
            imported.skipped += 1;
            continue;
        };
        let model = name.strip_prefix(vendor).and_then(|rest| rest.strip_prefix('/')).unwrap_or(name);
        let (provider, model) = (ours(vendor).to_ascii_lowercase(), model.to_ascii_lowercase());
        imported.rows.push(Override { provider, model, price, source: Source::Import });
        if imported.rows.len() > ROWS_MAX {
            return Err(Fault::NotAList("has more than 20,000 prices"));
        }
    }
    if imported.rows.is_empty() {
        return Err(Fault::NotAList("has no entry with `input_cost_per_token`"));
    }
    Ok(imported)
}

/// Their words for vendors whose presets have another id here.
fn ours(vendor: &str) -> &str {
    match vendor {
        "together_ai" => "together",
        "fireworks_ai" => "fireworks",
        "zai" => "glm",
        "bigmodel" => "zhipuai",
        "dashscope" => "qwen-cloud",
        "volcengine" => "volcengine-ark",
        "cohere_chat" => "cohere",
        "text-completion-openai" => "openai",
        "nvidia_nim" => "nvidia",
        other => other,
    }
}

fn price(entry: Value<'_>) -> Option<Price> {
    let rates = rates(entry, "", None)?;
    let mut sizes: Vec<u64> = entry.members().filter_map(|(member, _)| size(member)).collect();
    sizes.sort_unstable();
    let tier = |size: u64| {
        let rates = self::rates(entry, &format!("_above_{size}k_tokens"), Some(rates))?;
        Some(Tier { above: size * 1_000, rates })
    };
    let tokens = |member: &str| entry.get(member).and_then(Value::as_u64).filter(|tokens| *tokens > 0);
    Some(Price {
        rates,
        tiers: sizes.into_iter().filter_map(tier).collect(),
        context: tokens("max_input_tokens"),
        max_output: tokens("max_output_tokens"),
        deprecated: entry.get("deprecation_date").and_then(Value::as_str).and_then(day),
    })
}

/// The size in a tier's member: 200 in `input_cost_per_token_above_200k_tokens`.
fn size(member: &str) -> Option<u64> {
    member.strip_prefix("input_cost_per_token_above_")?.strip_suffix("k_tokens")?.parse().ok()
}

/// The rates with that ending; what a tier does not say is as `base` has it.
fn rates(entry: Value<'_>, ending: &str, base: Option<Rates>) -> Option<Rates> {
    let rate = |member: &str| {
        let usd = entry.get(&format!("{member}{ending}"))?.as_f64()?;
        (usd > 0.0 && usd <= RATE_MAX).then(|| (usd * PICO).round() as u64)
    };
    let input = rate("input_cost_per_token");
    let base = match base {
        Some(base) => base,
        // A zero here means that nobody filled it in.
        None => Rates::plain(input?, 0),
    };
    Some(Rates {
        input: input.unwrap_or(base.input),
        output: rate("output_cost_per_token").unwrap_or(base.output),
        cache_read: rate("cache_read_input_token_cost").or(base.cache_read),
        cache_write: rate("cache_creation_input_token_cost").or(base.cache_write),
        cache_write_1h: rate("cache_creation_input_token_cost_above_1hr").or(base.cache_write_1h),
        reasoning: rate("output_cost_per_reasoning_token").or(base.reasoning),
        audio_in: rate("input_cost_per_audio_token").or(base.audio_in),
        audio_cached: rate("cache_read_input_audio_token_cost").or(base.audio_cached),
        audio_out: rate("output_cost_per_audio_token").or(base.audio_out),
        image_in: rate("input_cost_per_image_token").or(base.image_in),
        image_out: rate("output_cost_per_image_token").or(base.image_out),
    })
}

/// `2026-11-30` as 20261130.
fn day(date: &str) -> Option<u32> {
    let date: jiff::civil::Date = date.parse().ok()?;
    u32::try_from(i64::from(date.year()) * 10_000 + i64::from(date.month()) * 100 + i64::from(date.day())).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_list_becomes_rows() {
        let list = br#"{
            "sample_spec": {"input_cost_per_token": "a number"},
            "together_ai/acme/large": {"litellm_provider": "together_ai", "input_cost_per_token": 1.25e-06,
                "output_cost_per_token": 1e-05, "cache_read_input_token_cost": 1.25e-07,
                "input_cost_per_token_above_200k_tokens": 2.5e-06, "output_cost_per_token_above_200k_tokens": 1.5e-05,
                "max_input_tokens": 1000, "deprecation_date": "2026-11-30"},
            "free": {"litellm_provider": "acme", "input_cost_per_token": 0.0, "output_cost_per_token": 0.0},
            "picture": {"litellm_provider": "acme", "output_cost_per_image": 0.04},
            "per-million": {"litellm_provider": "acme", "input_cost_per_token": 3.0}
        }"#;
        let imported = read(list).unwrap();
        assert_eq!((imported.rows.len(), imported.skipped), (1, 4));
        let row = &imported.rows[0];
        assert_eq!((&*row.provider, &*row.model), ("together", "acme/large"));
        let base = Rates { cache_read: Some(125_000), ..Rates::plain(1_250_000, 10_000_000) };
        let above = Rates { input: 2_500_000, output: 15_000_000, ..base };
        let expected = Price {
            rates: base,
            tiers: vec![Tier { above: 200_000, rates: above }],
            context: Some(1_000),
            max_output: None,
            deprecated: Some(20_261_130),
        };
        assert_eq!(row.price, expected);
    }

    #[test]
    fn what_is_no_list_is_said_so() {
        let fault = |list: &[u8]| read(list).unwrap_err().to_string();
        assert_eq!(fault(b"[]"), "the price list is not an object with a member per model");
        assert!(fault(b"{\"a\":}").starts_with("the price list is not JSON: "));
        assert_eq!(fault(b"{}"), "the price list has no entry with `input_cost_per_token`");
    }

    #[test]
    fn a_list_has_a_bound() {
        let entries = |count| {
            let entries: Vec<_> = (0..count).map(|n| format!("\"m{n}\":{{\"input_cost_per_token\":1e-6}}")).collect();
            format!("{{{}}}", entries.join(","))
        };
        assert_eq!(read(entries(ROWS_MAX).as_bytes()).unwrap().rows.len(), ROWS_MAX);
        assert_eq!(read(entries(ROWS_MAX + 1).as_bytes()), Err(Fault::NotAList("has more than 20,000 prices")));
    }
}
