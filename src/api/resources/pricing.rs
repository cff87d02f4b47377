//! Prices: the user's rows over the card in the program.
//!
//! Prices are integers here, in pico-USD per token: a million of them is one USD per million tokens.

use proxy::Method;
use serde_json::{Map, Value, json};

use super::integer;
use crate::{
    api::{
        Api, Problem, Reply, Request, or_null,
        page::{CURSOR_PARAM, LIMIT_PARAM, Page, Q_PARAM, holds, list_of},
        schema::{
            COUNT, COUNT_OR_NULL, NUMBER_OR_NULL, Object, Schema, TEXT, TEXT_OR_NULL, TIME_OR_NULL, line, name, needed,
            optional,
        },
        table::{Body, Content, Param, ROUTE, Route},
    },
    settings::presets::preset,
    store::pricing::{self as rows, PriceRow},
    usage::{
        RateCard, import,
        live::rfc3339,
        pricing::{Buyer, Override, Price},
    },
};

/// The dearest token: 1,000 USD.
const RATE: Schema = Schema::Integer(0, 1_000_000_000_000_000);
/// Longest price list, in bytes.
const LIST_BYTES: usize = 32 << 20;

const TIER: Object = Object {
    name: "PriceTier",
    members: &[
        needed("above", COUNT, "for inputs of more tokens than this"),
        optional("input", RATE, ""),
        optional("output", RATE, ""),
        optional("cacheRead", RATE, ""),
        optional("cacheWrite", RATE, ""),
        optional("cacheWrite1h", RATE, ""),
        optional("reasoning", RATE, ""),
        optional("audioIn", RATE, ""),
        optional("audioCached", RATE, ""),
        optional("audioOut", RATE, ""),
        optional("imageIn", RATE, ""),
        optional("imageOut", RATE, ""),
    ],
};
const WRITE: Object = Object {
    name: "PriceWrite",
    members: &[
        optional("provider", line(64), "a provider's name or a preset; empty for all"),
        needed("model", name(256), "a name, or a pattern with *"),
        needed("input", RATE, "pico-USD per token, as are all"),
        needed("output", RATE, ""),
        optional("cacheRead", Schema::Nullable(&RATE), "input unless said"),
        optional("cacheWrite", Schema::Nullable(&RATE), "input unless said"),
        optional("cacheWrite1h", Schema::Nullable(&RATE), "cacheWrite unless said"),
        optional("reasoning", Schema::Nullable(&RATE), "output unless said"),
        optional("audioIn", Schema::Nullable(&RATE), "input unless said"),
        optional("imageIn", Schema::Nullable(&RATE), "input unless said"),
        optional("tiers", Schema::Nullable(&Schema::List(&Schema::Object(&TIER), 16)), "prices for long inputs"),
    ],
};
const PRICE: Object = Object {
    name: "Price",
    members: &[
        needed("provider", TEXT, "empty = all"),
        needed("model", TEXT, ""),
        needed("input", COUNT, "pico-USD per token, as are all"),
        needed("output", COUNT, ""),
        needed("cacheRead", COUNT_OR_NULL, ""),
        needed("cacheWrite", COUNT_OR_NULL, ""),
        needed("cacheWrite1h", COUNT_OR_NULL, ""),
        needed("reasoning", COUNT_OR_NULL, ""),
        needed("audioIn", COUNT_OR_NULL, ""),
        needed("imageIn", COUNT_OR_NULL, ""),
        needed("tiers", Schema::Nullable(&Schema::List(&Schema::Object(&TIER), usize::MAX)), ""),
        needed("source", TEXT, "user, import or card"),
        needed("updatedAt", TIME_OR_NULL, ""),
        needed("usdPerMillion", Schema::Object(&USD), "the first two in USD per million tokens"),
    ],
};
const USD: Object = Object {
    name: "UsdPerMillion",
    members: &[needed("input", NUMBER_OR_NULL, ""), needed("output", NUMBER_OR_NULL, "")],
};
const PRICES: Schema = list_of!("PriceList", Schema::Object(&PRICE));
const FOUND: Object = Object {
    name: "PriceFound",
    members: &[
        needed("provider", TEXT, "as asked"),
        needed("model", TEXT, "as asked"),
        needed("priced", Schema::Bool, "whether anybody knows a price; an unknown one is not zero"),
        needed("price", Schema::Nullable(&Schema::Object(&PRICE)), ""),
        needed("source", TEXT_OR_NULL, "user, card or demo"),
        needed("matched", TEXT_OR_NULL, "the entry that it was found under: vendor/model"),
        needed("contextWindow", COUNT_OR_NULL, ""),
        needed("maxOutput", COUNT_OR_NULL, ""),
    ],
};
const IMPORTED: Object = Object {
    name: "PricesImported",
    members: &[
        needed("imported", COUNT, "entries"),
        needed("skipped", COUNT, "entries without a price per token"),
        needed("replaced", COUNT, "entries of an earlier import"),
    ],
};
const PROVIDER: Param = Param { name: "provider", schema: line(64), help: "a provider's name or a preset" };
const MODEL: Param = Param { name: "model", schema: line(256), help: "the model; needed" };

pub(in crate::api) const ROUTES: &[Route] = &[
    Route {
        path: "/api/pricing",
        operation: "listPrices",
        summary: "The user's prices, or those of the card in the program",
        tag: "pricing",
        query: &[
            Param { name: "source", schema: Schema::Word(&["user", "card"]), help: "user unless said" },
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
        path: "/api/pricing",
        operation: "putPrice",
        summary: "Sets the price of a model",
        tag: "pricing",
        body: Body::Json(&WRITE),
        replies: &[(200, Content::Json(Schema::Object(&PRICE)))],
        changes: true,
        handler: |api, request| Box::pin(put(api, request)),
        ..ROUTE
    },
    Route {
        method: Method::DELETE,
        path: "/api/pricing",
        operation: "deletePrice",
        summary: "Takes a price of the user's back",
        tag: "pricing",
        query: &[PROVIDER, MODEL],
        replies: &[(204, Content::Empty)],
        errors: &[404],
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
        body: Body::Value(&Schema::Map(&Schema::Any)),
        body_bytes: LIST_BYTES,
        replies: &[(200, Content::Json(Schema::Object(&IMPORTED)))],
        changes: true,
        handler: |api, request| Box::pin(import_list(api, request)),
        ..ROUTE
    },
];

fn shown(row: &PriceRow) -> Value {
    let usd = |pico: i64| pico as f64 / 1e6;
    json!({
        "provider": row.provider,
        "model": row.model,
        "input": row.input,
        "output": row.output,
        "cacheRead": row.cache_read,
        "cacheWrite": row.cache_write,
        "cacheWrite1h": row.cache_write_1h,
        "reasoning": row.reasoning,
        "audioIn": row.audio_in,
        "imageIn": row.image_in,
        "tiers": or_null(row.tiers.clone()),
        "source": row.source,
        "updatedAt": or_null(Some(row.updated_at_ms).filter(|at| *at > 0).map(rfc3339)),
        "usdPerMillion": {"input": usd(row.input), "output": usd(row.output)},
    })
}

/// A price of the card as a row.
fn card_row(vendor: &str, model: &str, price: Price) -> PriceRow {
    Override { provider: vendor.to_owned(), model: model.to_owned(), price }.row("card")
}

async fn list(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let page = Page::of(request)?;
    let rows = match request.query("source") {
        Some("card") => RateCard::built_in().map(|(vendor, model, price)| card_row(vendor, model, price)).collect(),
        _ => api.live().store().read(|conn| rows::list(conn)).await?,
    };
    let wanted = |row: &&PriceRow| {
        request.query("provider").is_none_or(|provider| row.provider.eq_ignore_ascii_case(provider))
            && holds(request.query("q"), &[&row.provider, &row.model])
    };
    let mut entries: Vec<_> =
        rows.iter().filter(wanted).map(|row| (format!("{}\n{}", row.provider, row.model), shown(row))).collect();
    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(Reply::json(page.cut(entries)))
}

async fn put(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let text = |name: &str| request.text(name).unwrap_or_default().trim().to_owned();
    let rate = |name: &str| request.body.get(name).and_then(integer);
    let mut row = PriceRow {
        provider: text("provider"),
        model: text("model"),
        input: rate("input").unwrap_or(0),
        output: rate("output").unwrap_or(0),
        cache_read: rate("cacheRead"),
        cache_write: rate("cacheWrite"),
        cache_write_1h: rate("cacheWrite1h"),
        reasoning: rate("reasoning"),
        audio_in: rate("audioIn"),
        image_in: rate("imageIn"),
        tiers: request.body.get("tiers").filter(|tiers| !tiers.is_null()).cloned().map(whole),
        source: "user".to_owned(),
        updated_at_ms: 0,
    };
    if row.model.is_empty() {
        return Err(Problem::invalid("model", "the model must not be empty"));
    }
    Override::of(&row).map_err(|message| Problem::invalid("tiers", message))?;
    let target = format!("price/{}/{}", row.provider, row.model);
    let detail = json!({"input": row.input, "output": row.output});
    let audit = request.audit("price.put", target.clone(), Some(detail));
    let row = api
        .change("pricing", &target, audit, move |change, _| {
            rows::put(change, &mut row)?;
            Ok(row)
        })
        .await?;
    Ok(Reply::json(shown(&row)))
}

/// Numbers of tiers as integers: `1.0` is one as well.
fn whole(mut tiers: Value) -> Value {
    for tier in tiers.as_array_mut().into_iter().flatten() {
        for value in tier.as_object_mut().into_iter().flat_map(Map::values_mut) {
            if let Some(number) = integer(value) {
                *value = number.into();
            }
        }
    }
    tiers
}

/// The model that is asked for.
fn model(request: &Request) -> Result<String, Problem> {
    let model = request.query("model").ok_or_else(|| Problem::query("model", "the parameter `model` is missing"))?;
    Ok(model.to_owned())
}

async fn delete(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let (provider, model) = (request.query("provider").unwrap_or_default().to_owned(), model(request)?);
    let target = format!("price/{provider}/{model}");
    let audit = request.audit("price.delete", target.clone(), None);
    api.change("pricing", &target, audit, move |change, _| rows::delete(change, &provider, &model)).await?;
    Ok(Reply::empty())
}

async fn look_up(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let (provider, model) = (request.query("provider").unwrap_or_default().to_owned(), model(request)?);
    let snapshot = api.live().snapshot();
    let known = snapshot.catalog.upstreams().iter().find(|upstream| upstream.name.eq_ignore_ascii_case(&provider));
    let buyer = match known {
        Some(upstream) => upstream.buyer(),
        None => Buyer { vendor: preset(&provider).map(|preset| preset.id), ..Buyer::remote(&provider) },
    };
    let found = snapshot.prices.find(&buyer, &model);
    let price = found.as_ref().map(|found| {
        let row =
            Override { provider: found.vendor.to_owned(), model: found.model.to_owned(), price: found.price.clone() };
        shown(&row.row(found.source.name()))
    });
    Ok(Reply::json(json!({
        "provider": provider,
        "model": model,
        "priced": found.is_some(),
        "price": price,
        "source": or_null(found.as_ref().map(|found| found.source.name())),
        "matched": or_null(found.as_ref().map(|found| format!("{}/{}", found.vendor, found.model))),
        "contextWindow": or_null(found.as_ref().and_then(|found| found.price.context)),
        "maxOutput": or_null(found.as_ref().and_then(|found| found.price.max_output)),
    })))
}

async fn import_list(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let text = request.body.to_string();
    // Thousands of entries: not on a worker that serves requests.
    let read = tokio::task::spawn_blocking(move || import::read(text.as_bytes())).await;
    let imported = read.map_err(|_| Problem::internal())?.map_err(|message| Problem::invalid("", message))?;
    let (count, skipped) = (imported.rows.len(), imported.skipped);
    let audit = request.audit("price.import", "pricing", Some(json!({ "entries": count })));
    let replaced = api
        .change("pricing", "import", audit, move |change, _| {
            let replaced = rows::clear(change, "import")?;
            for row in &imported.rows {
                rows::put(change, &mut row.row("import"))?;
            }
            Ok(replaced)
        })
        .await?;
    Ok(Reply::json(json!({"imported": count, "skipped": skipped, "replaced": replaced})))
}
