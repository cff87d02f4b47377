//! Combos: names that lead to ordered lists of models.

use std::time::Instant;

use proxy::Method;
use serde_json::{Map, Value, json};

use super::{SOURCE, ids, integer, pinned, place, pricing::usd_per_million, remove, stored, texts, time::ahead};
use crate::{
    api::{
        Api, Problem, Reply, Request,
        page::{self, CURSOR_PARAM, LIMIT_PARAM, Page, Q_PARAM, list_of},
        route::{Body, Content, ROUTE, Route},
        schema::{
            COUNT, NUMBER_OR_NULL, Object, Schema, TEXT, TEXT_OR_NULL, TEXTS, TIME_OR_NULL, line, name, needed,
            optional,
        },
    },
    settings::{Alias, Settings, Source, Strategy},
    store::{
        StoreError,
        combos::{self as rows, ComboEntry, ComboRow},
    },
    usage::live::rfc3339,
};

const STRATEGIES: &[&str] = &["priority", "round_robin", "random", "cost_optimal"];

const ENTRY: Object = Object {
    name: "ComboEntry",
    members: &[
        needed("model", name(256), "a model, provider/model, or another combo"),
        optional("providerId", Schema::Nullable(&name(80)), "only at this provider"),
        optional("weight", Schema::Integer(1, 1_000_000), "share of a random choice; 1 unless said"),
        optional("enabled", Schema::Bool, "true unless said"),
    ],
};
const WRITE: Object = Object {
    name: "ComboWrite",
    members: &[
        needed("name", name(128), "unique; clients use it in the place of a model"),
        optional("strategy", Schema::Word(STRATEGIES), "how the order is made; priority unless said"),
        optional("models", Schema::List(&name(256), 100), "the plain form of entries"),
        optional("entries", Schema::List(&Schema::Object(&ENTRY), 100), "what is tried, in order"),
        optional("isActive", Schema::Bool, ""),
        optional("description", line(1_000), ""),
        optional("tags", Schema::List(&name(64), 50), ""),
        optional("id", Schema::Any, "passed over, as are all below"),
        optional("source", Schema::Any, ""),
        optional("readOnly", Schema::Any, ""),
        optional("inForce", Schema::Any, ""),
        optional("notes", Schema::Any, ""),
        optional("createdAt", Schema::Any, ""),
        optional("updatedAt", Schema::Any, ""),
    ],
};
const SHOWN_ENTRY: Object = Object {
    name: "ComboEntryShown",
    members: &[
        needed("model", TEXT, ""),
        needed("providerId", TEXT_OR_NULL, ""),
        needed("weight", COUNT, ""),
        needed("enabled", Schema::Bool, ""),
    ],
};
const COMBO: Object = Object {
    name: "Combo",
    members: &[
        needed("id", TEXT, ""),
        needed("name", TEXT, ""),
        needed("strategy", Schema::Word(STRATEGIES), ""),
        needed("models", TEXTS, ""),
        needed("entries", Schema::List(&Schema::Object(&SHOWN_ENTRY), usize::MAX), ""),
        needed("isActive", Schema::Bool, ""),
        needed("description", TEXT, ""),
        needed("tags", TEXTS, ""),
        needed("source", SOURCE, "where it is defined"),
        needed("readOnly", Schema::Bool, ""),
        needed("inForce", Schema::Bool, ""),
        needed("notes", TEXTS, "why it is not in force"),
        needed("createdAt", TIME_OR_NULL, ""),
        needed("updatedAt", TIME_OR_NULL, ""),
    ],
};
const COMBOS: Schema = list_of!("ComboList", Schema::Object(&COMBO));
const SIMULATED: Object = Object {
    name: "Simulated",
    members: &[
        needed(
            "data",
            Schema::List(
                &Schema::Object(&Object {
                    name: "SimulatedStep",
                    members: &[
                        needed("position", COUNT, "from 1"),
                        needed("provider", TEXT, ""),
                        needed("model", TEXT, ""),
                        needed("status", Schema::Word(&["ok", "cooling"]), ""),
                        needed("cooldownUntil", TIME_OR_NULL, ""),
                        needed(
                            "price",
                            Schema::Nullable(&Schema::Object(&PRICE)),
                            "USD per million tokens; null if unknown",
                        ),
                    ],
                }),
                usize::MAX,
            ),
            "in the order in which they would be tried now",
        ),
        needed("count", COUNT, ""),
    ],
};
pub(super) const PRICE: Object = Object {
    name: "PricePerMillion",
    members: &[needed("input", NUMBER_OR_NULL, ""), needed("output", NUMBER_OR_NULL, "")],
};
pub(in crate::api) const ROUTES: &[Route] = &[
    Route {
        path: "/api/combos",
        operation: "listCombos",
        summary: "All combos, by name; ordered aliases of the file are among them",
        tag: "models",
        query: &[Q_PARAM, LIMIT_PARAM, CURSOR_PARAM],
        replies: &[(200, Content::Json(COMBOS))],
        handler: |api, request| Box::pin(list(api, request)),
        ..ROUTE
    },
    Route {
        method: Method::POST,
        path: "/api/combos",
        operation: "createCombo",
        summary: "Adds a name for an ordered list of models",
        tag: "models",
        body: Body::Json(&WRITE),
        replies: &[(201, Content::Json(Schema::Object(&COMBO)))],
        versioned: true,
        changes: true,
        handler: |api, request| Box::pin(create(api, request)),
        ..ROUTE
    },
    Route {
        path: "/api/combos/{id}",
        operation: "getCombo",
        summary: "One combo, by its id or as name:NAME",
        tag: "models",
        replies: &[(200, Content::Json(Schema::Object(&COMBO)))],
        versioned: true,
        handler: |api, request| Box::pin(get(api, request)),
        ..ROUTE
    },
    Route {
        method: Method::PATCH,
        or: Some(Method::PUT),
        path: "/api/combos/{id}",
        operation: "updateCombo",
        summary: "Changes what is named of a combo",
        tag: "models",
        body: Body::Merge(&WRITE),
        replies: &[(200, Content::Json(Schema::Object(&COMBO)))],
        versioned: true,
        changes: true,
        handler: |api, request| Box::pin(update(api, request)),
        ..ROUTE
    },
    Route {
        method: Method::DELETE,
        path: "/api/combos/{id}",
        operation: "deleteCombo",
        summary: "Removes a combo",
        tag: "models",
        replies: &[(204, Content::Empty)],
        versioned: true,
        changes: true,
        handler: |api, request| Box::pin(delete(api, request)),
        ..ROUTE
    },
    Route {
        method: Method::POST,
        path: "/api/combos/{id}/simulate",
        operation: "simulateCombo",
        summary: "Who would be asked now, in which order; nobody is asked",
        tag: "models",
        replies: &[(200, Content::Json(Schema::Object(&SIMULATED)))],
        handler: |api, request| Box::pin(simulate(api, request)),
        ..ROUTE
    },
];

fn shown(api: &Api, row: &ComboRow) -> Value {
    let snapshot = api.live().snapshot();
    let place = format!("combos/{}", row.name);
    let also = format!("aliases/{}", row.name);
    let notes = api.live().notes();
    let notes: Vec<_> = notes
        .iter()
        .filter(|note| note.place == place || note.place == also)
        .map(|note| note.message.as_str())
        .collect();
    let own = |alias: &&Alias| alias.source == Source::Store && alias.name == row.name;
    let entry = |entry: &ComboEntry| json!({"model": entry.model, "providerId": entry.provider_id, "weight": entry.weight, "enabled": entry.enabled});
    json!({
        "id": row.id,
        "name": row.name,
        "strategy": row.strategy,
        "models": row.entries.iter().map(|entry| entry.model.as_str()).collect::<Vec<_>>(),
        "entries": row.entries.iter().map(entry).collect::<Vec<_>>(),
        "isActive": row.is_active,
        "description": row.description,
        "tags": row.tags,
        "source": "store",
        "readOnly": snapshot.settings.read_only,
        "inForce": row.is_active && snapshot.settings.aliases.iter().any(|alias| own(&alias)),
        "notes": notes,
        "createdAt": rfc3339(row.created_at_ms),
        "updatedAt": rfc3339(row.updated_at_ms),
    })
}

/// An ordered alias of the file.
fn shown_fixed(alias: &Alias) -> Value {
    let strategy = match alias.strategy {
        Strategy::Priority => "priority",
        Strategy::RoundRobin => "round_robin",
        Strategy::Random => "random",
        Strategy::CostOptimal => "cost_optimal",
    };
    let entry = |model: &String| json!({"model": model, "providerId": null, "weight": 1, "enabled": true});
    json!({
        "id": fixed_id(alias),
        "name": alias.name,
        "strategy": strategy,
        "models": alias.models,
        "entries": alias.models.iter().map(entry).collect::<Vec<_>>(),
        "isActive": true,
        "description": "",
        "tags": [],
        "source": alias.source.name(),
        "readOnly": true,
        "inForce": true,
        "notes": [],
        "createdAt": null,
        "updatedAt": null,
    })
}

fn fixed_id(alias: &Alias) -> String {
    format!("{}:{}", alias.source.name(), alias.name)
}

/// Aliases of the file: those with several models are shown as combos, the others as aliases.
pub(super) fn fixed(settings: &Settings, several: bool) -> impl Iterator<Item = &Alias> {
    settings.aliases.iter().filter(move |alias| alias.source != Source::Store && (alias.models.len() > 1) == several)
}

/// The one of them that is shown as a combo and named so.
fn fixed_combo<'s>(settings: &'s Settings, id: &str) -> Option<&'s Alias> {
    fixed(settings, true).find(|alias| ids::is(id, &fixed_id(alias), &alias.name))
}

async fn list(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let page = Page::of(request)?;
    let rows = stored(api, rows::list).await?;
    let snapshot = api.live().snapshot();
    let stored = rows.iter().map(|row| (row.name.clone(), row.description.clone(), shown(api, row)));
    let others = fixed(&snapshot.settings, true).map(|alias| (alias.name.clone(), String::new(), shown_fixed(alias)));
    let entries = stored.chain(others).filter(|(name, text, _)| page::holds(request.query("q"), &[name, text]));
    Ok(Reply::json(page.cut(entries.map(|(name, _, entry)| (place(&name, &entry), entry)).collect())))
}

async fn find(api: &Api, id: &str) -> Result<ComboRow, Problem> {
    if let Some(alias) = fixed_combo(&api.live().snapshot().settings, id) {
        return Err(pinned(&alias.name, alias.source));
    }
    let rows = api.live().store().read(rows::list).await?;
    let row = rows.into_iter().find(|row| ids::is(id, &row.id, &row.name));
    row.ok_or_else(|| Problem::not_found(format!("combo {id}")))
}

async fn get(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let id = request.param("id");
    let snapshot = api.live().snapshot();
    if let Some(alias) = fixed_combo(&snapshot.settings, id) {
        return Ok(Reply::json(shown_fixed(alias)).etag(0));
    }
    let row = find(api, id).await?;
    Ok(Reply::json(shown(api, &row)).etag(row.updated_at_ms))
}

/// Puts what a body says into a row. The body has the form of [`WRITE`].
fn apply(row: &mut ComboRow, members: &Map<String, Value>) {
    let default = ComboRow::default();
    for (name, value) in members {
        match name.as_str() {
            "name" => row.name = value.as_str().unwrap_or_default().trim().to_owned(),
            "strategy" => row.strategy = value.as_str().map_or(default.strategy.clone(), str::to_owned),
            "isActive" => row.is_active = value.as_bool().unwrap_or(true),
            "description" => row.description = value.as_str().unwrap_or_default().to_owned(),
            "tags" => row.tags = texts(value),
            "models" if !members.contains_key("entries") => {
                let entry = |model| ComboEntry { model, provider_id: None, weight: 1, enabled: true };
                row.entries = texts(value).into_iter().map(entry).collect();
            }
            "entries" => row.entries = value.as_array().into_iter().flatten().map(entry).collect(),
            _ => {}
        }
    }
}

fn entry(value: &Value) -> ComboEntry {
    let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let weight = value.get("weight").and_then(integer).and_then(|weight| u32::try_from(weight).ok());
    ComboEntry {
        model: text("model").unwrap_or_default(),
        provider_id: text("providerId"),
        weight: weight.unwrap_or(1),
        enabled: value.get("enabled").and_then(Value::as_bool).unwrap_or(true),
    }
}

/// What the merge does not look at: an inactive combo without a name.
fn check(row: &ComboRow) -> Result<(), StoreError> {
    let wrong = row.name.is_empty() || row.name.contains(',');
    let message = "a name must not be empty, and has no comma".to_owned();
    if wrong { Err(StoreError::Invalid { field: "name".to_owned(), message }) } else { Ok(()) }
}

async fn create(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let mut row = ComboRow::default();
    apply(&mut row, request.members());
    check(&row).map_err(Problem::from)?;
    let audit = request.audit("combo.create", "", Some(json!({ "name": row.name })));
    let row = api
        .change("combo", &row.name.clone(), audit, move |change, audit| {
            rows::insert(change, &mut row)?;
            audit.target = Some(format!("combo/{}", row.id));
            Ok(row)
        })
        .await?;
    let location = format!("/api/combos/{}", row.id);
    Ok(Reply::created(location, shown(api, &row)).etag(row.updated_at_ms))
}

async fn update(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let found = find(api, request.param("id")).await?;
    let if_match = request.if_match()?;
    let audit = request.audit("combo.update", format!("combo/{}", found.id), Some(request.changed()));
    let (patch, id) = (request.members().clone(), found.id.clone());
    let row = api
        .change("combo", &found.id, audit, move |change, _| {
            let mut row = rows::get(change, &id)?;
            apply(&mut row, &patch);
            check(&row)?;
            rows::update(change, &mut row, if_match)?;
            Ok(row)
        })
        .await?;
    Ok(Reply::json(shown(api, &row)).etag(row.updated_at_ms))
}

async fn delete(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let found = find(api, request.param("id")).await?;
    remove(api, request, "combo", (&found.id, &found.name), rows::delete).await
}

async fn simulate(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let id = request.param("id");
    let snapshot = api.live().snapshot();
    let name = match fixed_combo(&snapshot.settings, id) {
        Some(alias) => alias.name.clone(),
        None => find(api, id).await?.name,
    };
    let now = Instant::now();
    let health = &api.live().shared().health;
    let plan =
        snapshot.catalog.plan(&name, health, now).map_err(|miss| Problem::new(404, "not_found", miss.message))?;
    let steps: Vec<_> = (1..)
        .zip(&plan)
        .map(|(position, candidate)| {
            let until = health.cooling_until(&candidate.upstream.name, &candidate.model, now);
            json!({
                "position": position,
                "provider": &*candidate.upstream.name,
                "model": &*candidate.model,
                "status": if until.is_some() { "cooling" } else { "ok" },
                "cooldownUntil": until.map(|until| ahead(until, now)),
                "price": price(&snapshot, &candidate.upstream, &candidate.model).0,
            })
        })
        .collect();
    Ok(Reply::json(json!({"count": steps.len(), "data": steps})))
}

/// Price per million tokens, context window and largest answer, where they are known.
pub(super) fn price(
    snapshot: &crate::gateway::Snapshot,
    upstream: &crate::vendor::Upstream,
    model: &str,
) -> (Value, Option<u64>, Option<u64>) {
    let Some(found) = snapshot.prices.find(&upstream.buyer(), model) else { return (Value::Null, None, None) };
    (usd_per_million(&found.price.rates), found.price.context, found.price.max_output)
}
