//! Names for models: aliases, the list of all that clients may ask for, and whether they answer.

use std::time::Instant;

use proxy::Method;
use serde_json::{Value, json};

use super::{
    SOURCE,
    combos::{PRICE, fixed, price},
    custom, pinned, place, probe,
    providers::{Tested, shown_test, try_model, upstream},
    stored,
};
use crate::{
    api::{
        Api, Problem, Reply, Request, or_null,
        page::{self, CURSOR_PARAM, LIMIT_PARAM, Page, Q_PARAM, list_of},
        route::{Body, Content, ROUTE, Route},
        schema::{
            COUNT, COUNT_OR_NULL, Object, Schema, TEXT, TEXT_OR_NULL, TEXTS, TIME, TIME_OR_NULL, line, name, needed,
            optional,
        },
    },
    gateway::Snapshot,
    route::Listed,
    settings::{Alias, Source},
    store::combos::{self as rows, AliasRow},
    usage::live::rfc3339,
};

const ALIAS_WRITE: Object = Object {
    name: "AliasWrite",
    members: &[
        needed("alias", name(128), "the name that clients use"),
        needed("model", name(256), "the model, provider/model, or a combo"),
        optional("providerId", Schema::Nullable(&name(80)), "only at this provider"),
    ],
};
const ALIAS: Object = Object {
    name: "Alias",
    members: &[
        needed("alias", TEXT, ""),
        needed("model", TEXT, ""),
        needed("providerId", TEXT_OR_NULL, ""),
        needed("source", SOURCE, ""),
        needed("readOnly", Schema::Bool, ""),
        needed("createdAt", TIME_OR_NULL, ""),
        needed("updatedAt", TIME_OR_NULL, ""),
    ],
};
const ALIASES: Schema = list_of!("AliasList", Schema::Object(&ALIAS));
const MODEL: Object = Object {
    name: "Model",
    members: &[
        needed("id", TEXT, "what clients ask for"),
        needed("provider", TEXT, "who is asked first"),
        needed("kind", Schema::Word(&["model", "alias", "combo"]), ""),
        needed("connections", TEXTS, "providers that would be tried, in order"),
        needed(
            "price",
            Schema::Nullable(&Schema::Object(&PRICE)),
            "USD per million tokens at the first; null if unknown",
        ),
        needed("displayName", TEXT_OR_NULL, "its name for people, where you have described it"),
        needed("contextWindow", COUNT_OR_NULL, "tokens, where you or a list of prices say"),
        needed("maxOutput", COUNT_OR_NULL, "likewise"),
        needed("caps", Schema::Nullable(&TEXTS), "what it can do, where you have described it"),
    ],
};
const TEST: Object = Object {
    name: "ModelTest",
    members: &[
        needed("model", name(256), "as clients ask for it; with `provider`, its name there"),
        optional("provider", Schema::Nullable(&name(80)), "only at this one, by id or `name:` and its name"),
        optional("prompt", line(1_000), "what it is asked; Hi unless said"),
    ],
};
const TESTED: Object = Object {
    name: "ModelAvailability",
    members: &[
        needed("provider", TEXT, "who was asked"),
        needed("model", TEXT, "its name there"),
        needed("status", Schema::Word(&["up", "down"]), "whether it answered"),
        needed("latencyMs", COUNT, ""),
        needed("httpCode", COUNT_OR_NULL, "the status of its answer; null if there was none"),
        needed("error", TEXT_OR_NULL, "what was wrong"),
        needed("checkedAt", TIME, ""),
    ],
};
const AVAILABILITY: Schema = list_of!("ModelAvailabilityList", Schema::Object(&TESTED));
const FREE: Object = Object {
    name: "FreeModels",
    members: &[
        needed(
            "data",
            Schema::List(
                &Schema::Object(&Object {
                    name: "FreeModel",
                    members: &[
                        needed("id", TEXT, "what clients ask for"),
                        needed("name", TEXT, ""),
                        needed("provider", TEXT, ""),
                        needed("free", Schema::Bool, "always true"),
                    ],
                }),
                usize::MAX,
            ),
            "",
        ),
        needed("count", COUNT, ""),
    ],
};
const MODELS: Schema = list_of!("ModelList", Schema::Object(&MODEL));

pub(in crate::api) const ROUTES: &[Route] = &[
    Route {
        path: "/api/models",
        operation: "listModels",
        summary: "All names that clients may ask for",
        tag: "models",
        query: &[Q_PARAM, LIMIT_PARAM, CURSOR_PARAM],
        replies: &[(200, Content::Json(MODELS))],
        handler: |api, request| Box::pin(models(api, request)),
        ..ROUTE
    },
    Route {
        path: "/api/providers/kilo/free-models",
        operation: "listFreeModels",
        summary: "Models by name of providers that ask for no credential",
        tag: "models",
        replies: &[(200, Content::Json(Schema::Object(&FREE)))],
        handler: |api, request| Box::pin(free(api, request)),
        ..ROUTE
    },
    Route {
        method: Method::POST,
        path: "/api/models/test",
        operation: "testModel",
        summary: "Asks a model for one token at the provider that would be asked first",
        tag: "models",
        body: Body::Json(&TEST),
        replies: &[(200, Content::Json(Schema::Object(&TESTED)))],
        errors: &[404],
        handler: |api, request| Box::pin(test(api, request)),
        ..ROUTE
    },
    Route {
        path: "/api/models/availability",
        operation: "listModelAvailability",
        summary: "How models answered when they were last tested, since the start",
        tag: "models",
        query: &[Q_PARAM, LIMIT_PARAM, CURSOR_PARAM],
        replies: &[(200, Content::Json(AVAILABILITY))],
        handler: |api, request| Box::pin(availability(api, request)),
        ..ROUTE
    },
    Route {
        path: "/api/models/alias",
        operation: "listAliases",
        summary: "All aliases, by name",
        tag: "models",
        query: &[Q_PARAM, LIMIT_PARAM, CURSOR_PARAM],
        replies: &[(200, Content::Json(ALIASES))],
        handler: |api, request| Box::pin(list_aliases(api, request)),
        ..ROUTE
    },
    Route {
        method: Method::POST,
        path: "/api/models/alias",
        operation: "putAlias",
        summary: "Adds an alias, or replaces the one of that name",
        tag: "models",
        body: Body::Json(&ALIAS_WRITE),
        replies: &[(200, Content::Json(Schema::Object(&ALIAS))), (201, Content::Json(Schema::Object(&ALIAS)))],
        versioned: true,
        changes: true,
        handler: |api, request| Box::pin(put_alias(api, request)),
        ..ROUTE
    },
    Route {
        path: "/api/models/alias/{alias}",
        operation: "getAlias",
        summary: "One alias",
        tag: "models",
        replies: &[(200, Content::Json(Schema::Object(&ALIAS)))],
        versioned: true,
        handler: |api, request| Box::pin(get_alias(api, request)),
        ..ROUTE
    },
    Route {
        method: Method::DELETE,
        path: "/api/models/alias/{alias}",
        operation: "deleteAlias",
        summary: "Removes an alias",
        tag: "models",
        replies: &[(204, Content::Empty)],
        versioned: true,
        changes: true,
        handler: |api, request| Box::pin(delete_alias(api, request)),
        ..ROUTE
    },
];

async fn models(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let page = Page::of(request)?;
    let snapshot = api.live().snapshot();
    let listed = snapshot.catalog.listed().into_iter();
    let listed = listed.filter(|model| page::holds(request.query("q"), &[&model.id, &model.provider]));
    let mut entries: Vec<_> = listed.map(|model| (model.id.clone(), model)).collect();
    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    entries.dedup_by(|(a, _), (b, _)| a == b);
    // To know who would be asked takes a plan for each.
    Ok(Reply::json(page.cut_with(entries, |model| shown(api, &snapshot, &model))))
}

fn shown(api: &Api, snapshot: &Snapshot, model: &Listed) -> Value {
    let alias = snapshot.settings.aliases.iter().find(|alias| alias.name.eq_ignore_ascii_case(&model.id));
    let kind = match alias {
        None => "model",
        Some(alias) if alias.models.len() > 1 => "combo",
        Some(_) => "alias",
    };
    let plan = snapshot.catalog.plan(&model.id, &api.live().shared().health, Instant::now()).unwrap_or_default();
    let (price, context, output) =
        plan.first().map_or((Value::Null, None, None), |first| price(snapshot, &first.upstream, &first.model));
    let described = plan.first().and_then(|first| first.upstream.provider.described(&first.model));
    let mut connections: Vec<&str> = plan.iter().map(|candidate| &*candidate.upstream.name).collect();
    connections.dedup();
    json!({
        "id": model.id,
        "provider": model.provider,
        "kind": kind,
        "connections": connections,
        "price": price,
        "displayName": or_null(described.and_then(|described| described.display_name.clone())),
        "contextWindow": or_null(described.and_then(|described| described.context_window).or(context)),
        "maxOutput": or_null(described.and_then(|described| described.max_output).or(output)),
        "caps": custom::words(described.and_then(|described| described.caps)),
    })
}

async fn free(api: &Api, _: &Request) -> Result<Reply, Problem> {
    let snapshot = api.live().snapshot();
    let open =
        snapshot.settings.providers.iter().filter(|provider| provider.api_key.is_none() && !provider.client_auth);
    let named = open.flat_map(|provider| {
        let plain = provider.models.iter().filter(|model| !model.ends_with('*'));
        plain.map(move |model| {
            let name = provider.described(model).and_then(|described| described.display_name.clone());
            let id = format!("{}/{model}", provider.name);
            json!({"id": id, "name": name.as_ref().unwrap_or(model), "provider": provider.name, "free": true})
        })
    });
    let data: Vec<Value> = named.collect();
    Ok(Reply::json(json!({"count": data.len(), "data": data})))
}

fn shown_tested(tested: &Tested) -> Value {
    let mut entry = shown_test(tested);
    entry["provider"] = tested.provider.as_str().into();
    entry["checkedAt"] = rfc3339(tested.at_ms).into();
    entry
}

async fn test(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let (model, prompt) = (request.text("model").unwrap_or_default(), request.text("prompt"));
    let tested = match request.text("provider") {
        Some(id) => {
            let (_, upstream) = upstream(api, id).await?;
            try_model(api, &upstream, model, prompt).await
        }
        None => {
            let plan = api.live().snapshot().catalog.plan(model, &api.live().shared().health, Instant::now());
            let plan = plan.map_err(|miss| Problem::new(404, "not_found", miss.message).param("model"))?;
            let first = plan.into_iter().next().ok_or_else(|| Problem::not_found(format!("model {model}")))?;
            probe::allowed(api, &first.upstream.provider.base_url)?;
            try_model(api, &first.upstream, &first.model, prompt).await
        }
    };
    Ok(Reply::json(shown_tested(&tested)))
}

async fn availability(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let page = Page::of(request)?;
    let all = api.shared.availability.all().into_iter();
    let all = all.filter(|tested| page::holds(request.query("q"), &[&tested.provider, &tested.model]));
    let entries = all.map(|tested| (format!("{}\n{}", tested.provider, tested.model), shown_tested(&tested)));
    Ok(Reply::json(page.cut(entries.collect())))
}

fn shown_alias(row: &AliasRow, read_only: bool) -> Value {
    json!({
        "alias": row.alias,
        "model": row.model,
        "providerId": row.provider_id,
        "source": "store",
        "readOnly": read_only,
        "createdAt": rfc3339(row.created_at_ms),
        "updatedAt": rfc3339(row.updated_at_ms),
    })
}

fn shown_fixed_alias(alias: &Alias) -> Value {
    json!({
        "alias": alias.name,
        "model": alias.models.first(),
        "providerId": null,
        "source": alias.source.name(),
        "readOnly": true,
        "createdAt": null,
        "updatedAt": null,
    })
}

async fn list_aliases(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let page = Page::of(request)?;
    let rows = stored(api, rows::aliases).await?;
    let snapshot = api.live().snapshot();
    let read_only = snapshot.settings.read_only;
    let stored = rows.iter().map(|row| (row.alias.clone(), row.model.clone(), shown_alias(row, read_only)));
    let others = fixed(&snapshot.settings, false)
        .map(|alias| (alias.name.clone(), alias.models.concat(), shown_fixed_alias(alias)));
    let entries = stored.chain(others).filter(|(alias, model, _)| page::holds(request.query("q"), &[alias, model]));
    Ok(Reply::json(page.cut(entries.map(|(alias, _, entry)| (place(&alias, &entry), entry)).collect())))
}

async fn get_alias(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let name = request.param("alias").to_owned();
    let snapshot = api.live().snapshot();
    if let Some(alias) = fixed(&snapshot.settings, false).find(|alias| alias.name.eq_ignore_ascii_case(&name)) {
        return Ok(Reply::json(shown_fixed_alias(alias)).etag(0));
    }
    let row = api.live().store().read(move |conn| rows::alias(conn, &name)).await?;
    Ok(Reply::json(shown_alias(&row, snapshot.settings.read_only)).etag(row.updated_at_ms))
}

/// Refuses what the file has defined.
fn writable(api: &Api, name: &str) -> Result<(), Problem> {
    let snapshot = api.live().snapshot();
    let mut others = snapshot.settings.aliases.iter().filter(|alias| alias.source != Source::Store);
    match others.find(|alias| alias.name.eq_ignore_ascii_case(name)) {
        Some(alias) => Err(pinned(&alias.name, alias.source)),
        None => Ok(()),
    }
}

async fn put_alias(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let text = |name: &str| request.text(name).unwrap_or_default().trim().to_owned();
    let (alias, model) = (text("alias"), text("model"));
    if alias.is_empty() || alias.contains([',']) {
        return Err(Problem::invalid("alias", "an alias must not be empty, and has no comma"));
    }
    writable(api, &alias)?;
    let if_match = request.if_match()?;
    let provider_id = request.text("providerId").map(str::to_owned);
    let target = format!("alias/{alias}");
    let mut row = AliasRow { alias: alias.clone(), provider_id, model, created_at_ms: 0, updated_at_ms: 0 };
    let audit = request.audit("alias.put", target, Some(json!({ "model": row.model })));
    let (new, row) = api
        .change("alias", &alias, audit, move |change, _| {
            let new = rows::put_alias(change, &mut row, if_match)?;
            Ok((new, row))
        })
        .await?;
    let reply = Reply::json(shown_alias(&row, false)).etag(row.updated_at_ms);
    if !new {
        return Ok(reply);
    }
    let segment: String = url::form_urlencoded::byte_serialize(row.alias.as_bytes()).collect();
    Ok(reply.status(201).with("location", format!("/api/models/alias/{}", segment.replace('+', "%20"))))
}

async fn delete_alias(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let name = request.param("alias").to_owned();
    writable(api, &name)?;
    let if_match = request.if_match()?;
    let audit = request.audit("alias.delete", format!("alias/{name}"), None);
    let alias = name.clone();
    api.change("alias", &name, audit, move |change, _| rows::delete_alias(change, &alias, if_match)).await?;
    Ok(Reply::empty())
}
