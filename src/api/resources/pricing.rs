//! What models cost: the user's prices, imported lists, the card in the program.
//!
//! Prices are whole pico-USD per token, which are micro-USD per million tokens: 3 USD per million is 3,000,000. Names are
//! kept in lower case, and `*` as a provider is kept as no provider, so that a price has one row.

use std::collections::HashSet;

use proxy::Method;
use serde_json::{Map, Value, json};

use super::integer;
use crate::{
    api::{
        Api, Problem, Reply, Request, or_null,
        page::{CURSOR_PARAM, LIMIT_PARAM, Page, Q_PARAM, holds, list_of},
        route::{Body, Content, Param, ROUTE, Route},
        schema::{
            COUNT, COUNT_OR_NULL, Object, Schema, TEXT, TEXT_OR_NULL, TIME_OR_NULL, line, name, needed, optional,
        },
    },
    settings::presets::preset,
    store::{
        StoreError,
        pricing::{self as rows, PriceRow},
    },
    usage::{
        RateCard,
        import::{self, Fault},
        live::rfc3339,
        pricing::{Buyer, Override, Price, Rates, Source, Tier},
    },
};

/// The dearest token: 1,000 USD.
const RATE: Schema = Schema::Integer(0, 1_000_000_000_000_000);
const RATE_OR_NULL: Schema = Schema::Nullable(&RATE);
/// Longest price list, in bytes.
const LIST_BYTES: usize = codecs::json::Tape::BYTES_MAX;

/// The rates that fall back to another one, with a schema each.
macro_rules! rates {
    ($name:literal, $member:ident, $rate:expr, [$($before:expr),*], [$($behind:expr),*]) => {
        Object {
            name: $name,
            members: &[
                $($before,)*
                $member("cacheRead", $rate, "else input"),
                $member("cacheWrite", $rate, "else input"),
                $member("cacheWrite1h", $rate, "for an hour; else cacheWrite"),
                $member("reasoning", $rate, "else output"),
                $member("audioIn", $rate, "else input"),
                $member("audioCached", $rate, "else cacheRead"),
                $member("audioOut", $rate, "else output"),
                $member("imageIn", $rate, "else input"),
                $member("imageOut", $rate, "else output"),
                $($behind,)*
            ],
        }
    };
}

const TIER: Object = rates!(
    "PriceTier",
    optional,
    RATE,
    [
        needed("above", Schema::Integer(1, i64::MAX), "for inputs of more tokens than this"),
        optional("input", RATE, "what a tier does not say is as it is below"),
        optional("output", RATE, "")
    ],
    []
);
const WRITE: Object = rates!(
    "PriceWrite",
    optional,
    RATE_OR_NULL,
    [
        optional("provider", line(64), "a provider's name or a preset; empty or * for all"),
        needed("model", name(256), "a name, or a pattern with *"),
        needed("input", RATE, "pico-USD per token, as are all"),
        needed("output", RATE, "")
    ],
    [optional("tiers", Schema::Nullable(&Schema::List(&Schema::Object(&TIER), 16)), "prices for long inputs")]
);
const PRICE: Object = rates!(
    "Price",
    needed,
    RATE_OR_NULL,
    [
        needed("provider", TEXT, "a provider's name or a vendor; empty for all"),
        needed("model", TEXT, "a name, or a pattern with *"),
        needed("source", Schema::Word(&["user", "import", "card", "demo"]), ""),
        needed("input", RATE, "pico-USD per token, as are all"),
        needed("output", RATE, "")
    ],
    [
        needed("tiers", Schema::List(&Schema::Object(&TIER), usize::MAX), "prices for long inputs"),
        needed("contextWindow", COUNT_OR_NULL, "in tokens, where the card knows it"),
        needed("maxOutput", COUNT_OR_NULL, "in tokens, where the card knows it"),
        needed("deprecatedOn", TEXT_OR_NULL, "the day on which the vendor stops it, where the card knows it"),
        needed("updatedAt", TIME_OR_NULL, "of the user's and imported ones"),
        needed("usdPerMillion", Schema::Object(&USD), "the first two, for people: in USD per million tokens")
    ]
);
const USD: Object = Object {
    name: "UsdPerMillion",
    members: &[needed("input", Schema::Number(0.0), ""), needed("output", Schema::Number(0.0), "")],
};
const PRICES: Schema = list_of!("PriceList", Schema::Object(&PRICE));
const FOUND: Object = Object {
    name: "PriceFound",
    members: &[
        needed("provider", TEXT, "as asked"),
        needed("model", TEXT, "as asked"),
        needed("priced", Schema::Bool, "whether anybody knows a price; an unknown one is not zero"),
        needed("source", TEXT_OR_NULL, "who knows it: user, import, card or demo"),
        needed("matched", TEXT_OR_NULL, "the entry that it was found under: vendor/model"),
        needed("price", Schema::Nullable(&Schema::Object(&PRICE)), "the entry itself"),
    ],
};
const IMPORTED: Object = Object {
    name: "PricesImported",
    members: &[
        needed("imported", COUNT, "entries that are now there"),
        needed("skipped", COUNT, "entries without a price per token"),
        needed("kept", COUNT, "entries that stay the user's own"),
        needed("replaced", COUNT, "entries of an earlier import that were there before"),
    ],
};
const PROVIDER: Param = Param { name: "provider", schema: line(64), help: "a provider's name or a preset" };
const MODEL: Param = Param { name: "model", schema: line(256), help: "the model" };

pub(in crate::api) const ROUTES: &[Route] = &[
    Route {
        path: "/api/pricing",
        operation: "listPrices",
        summary: "The user's prices and imported ones, or those of the card in the program",
        tag: "pricing",
        query: &[
            Param {
                name: "source",
                schema: Schema::Word(&["user", "import", "card"]),
                help: "user and import unless said",
            },
            PROVIDER,
            Q_PARAM,
            LIMIT_PARAM,
            CURSOR_PARAM,
        ],
        replies: &[(200, Content::Json(PRICES))],
        errors: &[504],
        handler: |api, request| Box::pin(list(api, request)),
        ..ROUTE
    },
    Route {
        method: Method::POST,
        or: Some(Method::PUT),
        path: "/api/pricing",
        operation: "putPrice",
        summary: "Sets the price of a model, from the next request on",
        tag: "pricing",
        body: Body::Json(&WRITE),
        replies: &[(200, Content::Json(Schema::Object(&PRICE)))],
        versioned: true,
        changes: true,
        handler: |api, request| Box::pin(put(api, request)),
        ..ROUTE
    },
    Route {
        method: Method::DELETE,
        path: "/api/pricing",
        operation: "deletePrice",
        summary: "Takes back the price of a model, or with source=import the whole imported list",
        tag: "pricing",
        query: &[
            PROVIDER,
            MODEL,
            Param { name: "source", schema: Schema::Word(&["import"]), help: "in the place of a model" },
        ],
        replies: &[(204, Content::Empty)],
        errors: &[404],
        versioned: true,
        changes: true,
        handler: |api, request| Box::pin(delete(api, request)),
        ..ROUTE
    },
    Route {
        path: "/api/pricing/lookup",
        operation: "lookUpPrice",
        summary: "The price that a request would be booked with, and where it comes from",
        tag: "pricing",
        query: &[PROVIDER, MODEL],
        replies: &[(200, Content::Json(Schema::Object(&FOUND)))],
        handler: |api, request| Box::pin(look_up(api, request)),
        ..ROUTE
    },
    Route {
        method: Method::POST,
        path: "/api/pricing/import",
        operation: "importPrices",
        summary: "Takes over a price list in the form of LiteLLM's, in the place of one that was imported before",
        tag: "pricing",
        body: Body::Long(&Schema::Map(&Schema::Any)),
        body_bytes: LIST_BYTES,
        replies: &[(200, Content::Json(Schema::Object(&IMPORTED)))],
        changes: true,
        handler: |api, request| Box::pin(import_list(api, request)),
        ..ROUTE
    },
];

/// The rates as members, those that fall back as `null`.
fn rates(rates: &Rates) -> Map<String, Value> {
    let said = rates.members();
    let names = WRITE.members.iter().map(|member| member.name);
    let names = names.filter(|name| !matches!(*name, "provider" | "model" | "tiers"));
    names.map(|name| (name.to_owned(), or_null(said.get(name).cloned()))).collect()
}

fn shown(entry: &Override, updated_at_ms: Option<i64>) -> Value {
    let price = &entry.price;
    let mut document = Map::new();
    document.insert("provider".to_owned(), entry.provider.as_str().into());
    document.insert("model".to_owned(), entry.model.as_str().into());
    document.insert("source".to_owned(), entry.source.name().into());
    document.extend(rates(&price.rates));
    let tier = |tier: &Tier| {
        let mut members = Map::from_iter([("above".to_owned(), tier.above.into())]);
        members.extend(tier.rates.members());
        Value::Object(members)
    };
    document.insert("tiers".to_owned(), price.tiers.iter().map(tier).collect());
    document.insert("contextWindow".to_owned(), or_null(price.context));
    document.insert("maxOutput".to_owned(), or_null(price.max_output));
    document.insert("deprecatedOn".to_owned(), or_null(price.deprecated.map(day)));
    document.insert("updatedAt".to_owned(), or_null(updated_at_ms.map(rfc3339)));
    document.insert("usdPerMillion".to_owned(), usd_per_million(&price.rates));
    Value::Object(document)
}

/// Input and output in USD per million tokens.
pub(super) fn usd_per_million(rates: &Rates) -> Value {
    let usd = |pico: u64| pico as f64 / 1e6;
    json!({"input": usd(rates.input), "output": usd(rates.output)})
}

/// 20261130 as `2026-11-30`.
fn day(number: u32) -> String {
    format!("{:04}-{:02}-{:02}", number / 10_000, number / 100 % 100, number % 100)
}

/// An entry of the user's, if it is one that can be in force.
fn shown_row(row: &PriceRow) -> Option<Value> {
    Override::of(row).ok().map(|entry| shown(&entry, Some(row.updated_at_ms)))
}

async fn list(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let page = Page::of(request)?;
    let source = request.query("source");
    let provider = request.query("provider").map(provider_name);
    let wanted = |of: &str, model: &str| {
        provider.as_deref().is_none_or(|provider| provider == of) && holds(request.query("q"), &[of, model])
    };
    let place = |provider: &str, model: &str| format!("{provider}\n{model}");
    let entries: Vec<(String, Value)> = if source == Some(Source::Card.name()) {
        let rows = RateCard::built_in().filter(|(vendor, model, _)| wanted(vendor, model));
        rows.map(|(vendor, model, price)| (place(vendor, model), shown(&card(vendor, model, price), None))).collect()
    } else {
        let rows = api.live().store().read(rows::list).await?;
        let rows = rows.iter().filter(|row| source.is_none_or(|source| row.source == source));
        let rows = rows.filter(|row| wanted(&row.provider, &row.model));
        rows.filter_map(|row| Some((place(&row.provider, &row.model), shown_row(row)?))).collect()
    };
    Ok(Reply::json(page.cut(entries)))
}

fn card(vendor: &str, model: &str, price: Price) -> Override {
    Override { provider: vendor.to_owned(), model: model.to_owned(), price, source: Source::Card }
}

/// A provider's name as rows have it.
fn provider_name(text: &str) -> String {
    match text.trim() {
        "*" => String::new(),
        name => name.to_ascii_lowercase(),
    }
}

async fn put(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let rate = |name: &str| request.body.get(name).and_then(integer);
    // Those that the store has no column for are a tier of its own there.
    let unlisted = ["audioCached", "audioOut", "imageOut"];
    let mut unlisted: Map<_, _> =
        unlisted.into_iter().filter_map(|name| Some((name.to_owned(), rate(name)?.into()))).collect();
    unlisted.insert("above".to_owned(), 0.into());
    let tiers = request.body.get("tiers").and_then(Value::as_array).into_iter().flatten().map(whole);
    let row = PriceRow {
        provider: provider_name(request.text("provider").unwrap_or_default()),
        model: request.text("model").unwrap_or_default().trim().to_ascii_lowercase(),
        input: rate("input").unwrap_or(0),
        output: rate("output").unwrap_or(0),
        cache_read: rate("cacheRead"),
        cache_write: rate("cacheWrite"),
        cache_write_1h: rate("cacheWrite1h"),
        reasoning: rate("reasoning"),
        audio_in: rate("audioIn"),
        image_in: rate("imageIn"),
        tiers: Some(std::iter::once(Value::Object(unlisted)).chain(tiers).collect()),
        source: Source::User.name().to_owned(),
        updated_at_ms: 0,
    };
    if row.model.is_empty() {
        return Err(Problem::invalid("model", "the model must not be empty"));
    }
    let entry = Override::of(&row).map_err(|message| Problem::invalid("tiers", message))?;
    let mut row = entry.row();
    let expected = request.if_match()?;
    let id = format!("{}/{}", row.provider, row.model);
    let detail = json!({"input": row.input, "output": row.output});
    let audit = request.audit("price.put", format!("price/{id}"), Some(detail));
    let version = api
        .change("pricing", &id, audit, move |change, _| {
            is_expected(rows::get(change, &row.provider, &row.model), expected)?;
            rows::put(change, &mut row)?;
            Ok(row.updated_at_ms)
        })
        .await?;
    Ok(Reply::json(shown(&entry, Some(version))).etag(version))
}

/// Whether the row is the one that the caller has seen.
fn is_expected(row: Result<PriceRow, StoreError>, expected: Option<i64>) -> Result<(), StoreError> {
    match (row, expected) {
        (_, None) => Ok(()),
        (Ok(row), Some(version)) if row.updated_at_ms == version => Ok(()),
        (Ok(_) | Err(StoreError::NotFound), Some(_)) => Err(StoreError::Stale),
        (Err(error), Some(_)) => Err(error),
    }
}

/// A tier with whole numbers: `1.0` is one as well.
fn whole(tier: &Value) -> Value {
    let members = tier.as_object().into_iter().flatten();
    members.map(|(name, value)| (name.clone(), integer(value).map_or_else(|| value.clone(), Value::from))).collect()
}

async fn delete(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let expected = request.if_match()?;
    match (request.query("model"), request.query("source")) {
        (Some(_), Some(_)) => Err(Problem::query("source", "either a model or a source: not both")),
        (None, None) => Err(Problem::query("model", "the parameter `model` is missing")),
        (None, Some(source)) => {
            let (source, audit) = (source.to_owned(), request.audit("price.clear", "pricing", None));
            let cleared =
                api.change("pricing", "import", audit, move |change, _| match rows::clear(change, &source)? {
                    0 => Err(StoreError::NotFound),
                    _ => Ok(()),
                });
            cleared.await?;
            Ok(Reply::empty())
        }
        (Some(model), None) => {
            let provider = provider_name(request.query("provider").unwrap_or_default());
            let model = model.trim().to_ascii_lowercase();
            let id = format!("{provider}/{model}");
            let audit = request.audit("price.delete", format!("price/{id}"), None);
            let deleted = api.change("pricing", &id, audit, move |change, _| {
                is_expected(rows::get(change, &provider, &model), expected)?;
                rows::delete(change, &provider, &model)
            });
            deleted.await?;
            Ok(Reply::empty())
        }
    }
}

async fn look_up(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let asked = request.query("model").ok_or_else(|| Problem::query("model", "the parameter `model` is missing"))?;
    let snapshot = api.live().snapshot();
    let upstream = |name: &str| {
        let mut all = snapshot.catalog.upstreams().iter();
        all.find(|upstream| upstream.name.eq_ignore_ascii_case(name))
    };
    // `provider/model` is how requests name it.
    let named = asked.split_once('/').filter(|(provider, _)| upstream(provider).is_some());
    let (provider, model) = match (request.query("provider"), named) {
        (Some(provider), _) => (provider, asked),
        (None, Some(named)) => named,
        (None, None) => ("", asked),
    };
    let buyer = match upstream(provider) {
        Some(upstream) => upstream.buyer(),
        None => Buyer { vendor: preset(provider).map(|preset| preset.id), ..Buyer::remote(provider) },
    };
    let found = snapshot.prices.find(&buyer, model);
    let price = found.as_ref().map(|found| {
        let (provider, model, price) = (found.vendor.to_owned(), found.model.to_owned(), found.price.clone());
        shown(&Override { provider, model, price, source: found.source }, None)
    });
    Ok(Reply::json(json!({
        "provider": provider,
        "model": model,
        "priced": found.is_some(),
        "source": or_null(found.as_ref().map(|found| found.source.name())),
        "matched": or_null(found.as_ref().map(|found| format!("{}/{}", found.vendor, found.model))),
        "price": or_null(price),
    })))
}

async fn import_list(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let list = request.bytes.clone();
    // Thousands of entries: not on a worker that serves requests.
    let read = tokio::task::spawn_blocking(move || import::read(&list)).await;
    let imported = read.map_err(|_| Problem::internal())?.map_err(|fault| match fault {
        Fault::NotJson(_) => Problem::new(400, "bad_json", fault.to_string()),
        Fault::NotAList(_) => Problem::invalid("", fault.to_string()),
    })?;
    let skipped = imported.skipped;
    let audit = request.audit("price.import", "pricing", Some(json!({ "entries": imported.rows.len() })));
    let (kept, replaced, there) = api
        .change("pricing", "import", audit, move |change, _| {
            let replaced = rows::clear(change, Source::Import.name())?;
            // What is left is the user's own, and counts more.
            let own = rows::list(change)?;
            let own: HashSet<_> = own.iter().map(|row| (row.provider.as_str(), row.model.as_str())).collect();
            let (mut kept, mut there) = (HashSet::new(), HashSet::new());
            for row in &imported.rows {
                let place = (row.provider.as_str(), row.model.as_str());
                if own.contains(&place) {
                    kept.insert(place);
                    continue;
                }
                rows::put(change, &mut row.row())?;
                there.insert(place);
            }
            Ok((kept.len(), replaced, there.len()))
        })
        .await?;
    Ok(Reply::json(json!({"imported": there, "skipped": skipped, "kept": kept, "replaced": replaced})))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_entry_of_the_card_can_be_shown() {
        for (vendor, model, price) in RateCard::built_in() {
            let document = shown(&card(vendor, model, price), None);
            let checked = Schema::Object(&PRICE).check(&document, crate::api::schema::Needs::Marked);
            assert!(checked.is_ok(), "{document} {checked:?}");
        }
        assert_eq!(day(20_260_105), "2026-01-05");
    }

    #[test]
    fn rates_that_fall_back_are_null() {
        let members = rates(&Rates { cache_read: Some(3), ..Rates::plain(1, 2) });
        assert_eq!(members.len(), 11);
        assert_eq!(
            (&members["input"], &members["cacheRead"], &members["imageOut"]),
            (&1.into(), &3.into(), &Value::Null)
        );
        assert_eq!(whole(&json!({"above": 1e3, "input": 5})), json!({"above": 1_000, "input": 5}));
        assert_eq!((provider_name(" * "), provider_name("OpenAI")), (String::new(), "openai".to_owned()));
    }
}
