//! Providers: upstream services with their credentials.
//!
//! Those of the store can be changed; those of the file and the environment are listed beside them. Credentials only ever
//! go in: answers say whether there is one, and hint at which.

mod asking;
mod catalogues;
mod forms;
pub(in crate::api) mod nodes;
mod shown;

pub(in crate::api::resources) use asking::{shown_test, try_model, upstream};
pub(in crate::api) use catalogues::{Availability, Catalogues, Tested};
use codecs::dialect::Dialect;
use forms::{
    BATCH, BATCH_RESULT, CLIENT, MODELS, PROVIDER, PROVIDERS, REORDER, TEST_MODELS, TESTED_MODELS, VALIDATE, WRITE,
};
use proxy::Method;
use serde_json::{Map, Value, json};
use shown::{DOTS, Shown};

use super::{
    ids, pinned, place,
    probe::{self, PROBED},
    remove, stored, texts,
};
use crate::{
    api::{
        Api, Problem, Reply, Request,
        merge::merge,
        page::{self, CURSOR_PARAM, LIMIT_PARAM, Page, Q_PARAM},
        route::{Body, Content, Param, ROUTE, Route},
        schema::{Needs, Schema, line},
    },
    live::ChangeError,
    settings::{Provider, Secret, Settings, Source, presets},
    store::{
        StoreError,
        providers::{self as rows, ProviderRow},
    },
};

pub(in crate::api) const ROUTES: &[Route] = &[
    Route {
        path: "/api/providers",
        operation: "listProviders",
        summary: "All providers in the order in which they are tried",
        tag: "providers",
        query: &[
            Param { name: "provider", schema: line(64), help: "only of this preset or service" },
            Param { name: "active", schema: super::FLAG, help: "only active ones, or only others" },
            Param { name: "tag", schema: line(64), help: "only with this tag" },
            Q_PARAM,
            LIMIT_PARAM,
            CURSOR_PARAM,
        ],
        replies: &[(200, Content::Json(PROVIDERS))],
        handler: |api, request| Box::pin(list(api, request)),
        ..ROUTE
    },
    Route {
        method: Method::POST,
        path: "/api/providers",
        operation: "createProvider",
        summary: "Adds a provider",
        tag: "providers",
        body: Body::Json(&WRITE),
        replies: &[(201, Content::Json(Schema::Object(&PROVIDER)))],
        versioned: true,
        changes: true,
        handler: |api, request| Box::pin(create(api, request)),
        ..ROUTE
    },
    Route {
        path: "/api/providers/{id}",
        operation: "getProvider",
        summary: "One provider, by its id or as name:NAME",
        tag: "providers",
        replies: &[(200, Content::Json(Schema::Object(&PROVIDER)))],
        versioned: true,
        handler: |api, request| Box::pin(get(api, request)),
        ..ROUTE
    },
    Route {
        method: Method::PATCH,
        or: Some(Method::PUT),
        path: "/api/providers/{id}",
        operation: "updateProvider",
        summary: "Changes what is named of a provider",
        tag: "providers",
        body: Body::Merge(&WRITE),
        replies: &[(200, Content::Json(Schema::Object(&PROVIDER)))],
        versioned: true,
        changes: true,
        handler: |api, request| Box::pin(update(api, request)),
        ..ROUTE
    },
    Route {
        method: Method::DELETE,
        path: "/api/providers/{id}",
        operation: "deleteProvider",
        summary: "Removes a provider",
        tag: "providers",
        replies: &[(204, Content::Empty)],
        versioned: true,
        changes: true,
        handler: |api, request| Box::pin(delete(api, request)),
        ..ROUTE
    },
    Route {
        method: Method::POST,
        or: Some(Method::GET),
        path: "/api/providers/{id}/test",
        operation: "testProvider",
        summary: "Asks a provider for its models, with the credential that is kept",
        tag: "providers",
        replies: &[(200, Content::Json(Schema::Object(&PROBED)))],
        handler: |api, request| Box::pin(asking::test(api, request)),
        ..ROUTE
    },
    Route {
        path: "/api/providers/{id}/models",
        operation: "listProviderModels",
        summary: "The models that a provider offers",
        tag: "providers",
        query: &[Param { name: "refresh", schema: super::FLAG, help: "asks the provider now" }],
        replies: &[(200, Content::Json(Schema::Object(&MODELS)))],
        errors: &[502, 504],
        handler: |api, request| Box::pin(asking::models(api, request)),
        ..ROUTE
    },
    Route {
        method: Method::POST,
        path: "/api/providers/{id}/test-models",
        operation: "testProviderModels",
        summary: "Asks models of a provider for one token each",
        tag: "providers",
        body: Body::Optional(&TEST_MODELS),
        replies: &[(200, Content::Json(Schema::Object(&TESTED_MODELS)))],
        handler: |api, request| Box::pin(asking::test_models(api, request)),
        ..ROUTE
    },
    Route {
        method: Method::POST,
        path: "/api/providers/{id}/reorder",
        operation: "reorderProvider",
        summary: "Puts a provider in front of another, or gives it a priority",
        tag: "providers",
        body: Body::Json(&REORDER),
        replies: &[(200, Content::Json(Schema::Object(&PROVIDER)))],
        changes: true,
        handler: |api, request| Box::pin(reorder(api, request)),
        ..ROUTE
    },
    Route {
        method: Method::POST,
        path: "/api/providers/validate",
        aliases: &["/api/provider-nodes/validate"],
        operation: "validateProvider",
        summary: "Asks a service that is not kept yet",
        tag: "providers",
        body: Body::Json(&VALIDATE),
        replies: &[(200, Content::Json(Schema::Object(&PROBED)))],
        handler: |api, request| Box::pin(asking::validate(api, request)),
        ..ROUTE
    },
    Route {
        method: Method::POST,
        path: "/api/providers/suggested-models",
        operation: "suggestModels",
        summary: "The models of a service that is not kept yet",
        tag: "providers",
        body: Body::Json(&VALIDATE),
        replies: &[(200, Content::Json(Schema::Object(&MODELS)))],
        errors: &[502, 504],
        handler: |api, request| Box::pin(asking::suggested(api, request)),
        ..ROUTE
    },
    Route {
        method: Method::POST,
        path: "/api/providers/test-batch",
        operation: "testProviders",
        summary: "Asks several providers at once",
        tag: "providers",
        body: Body::Optional(&BATCH),
        replies: &[(200, Content::Json(Schema::Object(&BATCH_RESULT)))],
        errors: &[404],
        handler: |api, request| Box::pin(asking::test_batch(api, request)),
        ..ROUTE
    },
    Route {
        path: "/api/providers/client",
        operation: "getClientHints",
        summary: "What to tell a client so that it uses this gateway",
        tag: "providers",
        replies: &[(200, Content::Json(Schema::Object(&CLIENT)))],
        handler: |api, request| Box::pin(client(api, request)),
        ..ROUTE
    },
];

async fn list(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let page = Page::of(request)?;
    let store = api.live().store().clone();
    let rows = stored(api, move |conn| rows::list(conn, store.vault())).await?;
    let snapshot = api.live().snapshot();
    let shown = Shown::new(api, &snapshot.settings);
    // Ascending as texts: priorities are lifted above zero first.
    let keyed = |priority: i64, name: &str, entry: Value| {
        let lifted = i128::from(priority) - i128::from(i64::MIN);
        (format!("{lifted:020} {}", place(name, &entry)), entry)
    };
    let stored = rows.iter().map(|row| keyed(row.priority, &row.name, shown.row(row)));
    let others = snapshot.settings.providers.iter().filter(|provider| provider.source != Source::Store);
    let others = others.map(|provider| keyed(provider.priority, &provider.name, shown.fixed(provider)));
    let entries = stored.chain(others).filter(|(_, entry)| {
        let text = |member: &str| entry[member].as_str().unwrap_or_default();
        let tagged = |tag: &str| entry["tags"].as_array().is_some_and(|tags| tags.iter().any(|other| other == tag));
        request.query("provider").is_none_or(|wanted| text("provider").eq_ignore_ascii_case(wanted))
            && request.query("active").is_none_or(|_| entry["isActive"] == request.flag("active"))
            && request.query("tag").is_none_or(tagged)
            && page::holds(request.query("q"), &[text("name"), text("provider"), text("baseUrl"), text("email")])
    });
    Ok(Reply::json(page.cut(entries.collect())))
}

/// One of the store's providers, by its id or as `name:NAME`.
async fn find(api: &Api, id: &str) -> Result<ProviderRow, Problem> {
    if let Some(fixed) = fixed(&api.live().snapshot().settings, id) {
        return Err(pinned(&fixed.name, fixed.source));
    }
    let store = api.live().store().clone();
    let rows = api.live().store().read(move |conn| rows::list(conn, store.vault())).await?;
    let row = rows.into_iter().find(|row| ids::is(id, &row.id, &row.name));
    row.ok_or_else(|| Problem::not_found(format!("provider {id}")))
}

/// A provider of the file or the environment.
fn fixed<'s>(settings: &'s Settings, id: &str) -> Option<&'s Provider> {
    let mut others = settings.providers.iter().filter(|provider| provider.source != Source::Store);
    others.find(|provider| ids::is(id, &provider.id, &provider.name))
}

async fn get(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let id = request.param("id");
    let snapshot = api.live().snapshot();
    if let Some(fixed) = fixed(&snapshot.settings, id) {
        return Ok(Reply::json(Shown::new(api, &snapshot.settings).fixed(fixed)).etag(0));
    }
    let row = find(api, id).await?;
    Ok(answer(api, &row))
}

/// A row with its version.
fn answer(api: &Api, row: &ProviderRow) -> Reply {
    let snapshot = api.live().snapshot();
    Reply::json(Shown::new(api, &snapshot.settings).row(row)).etag(row.updated_at_ms)
}

async fn create(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let mut row = ProviderRow::default();
    apply(&mut row, request.members()).map_err(Problem::from)?;
    if row.name.is_empty() {
        row.name.clone_from(&row.provider);
    }
    if presets::preset(&row.provider).is_some_and(|preset| preset.keyless)
        && !request.members().contains_key("authType")
    {
        row.auth_type = "none".to_owned();
    }
    check(api, &row)?;
    let store = api.live().store().clone();
    let detail = json!({"name": row.name, "provider": row.provider});
    let audit = request.audit("provider.create", "", Some(detail));
    let row = api
        .change("provider", &row.name.clone(), audit, move |change, audit| {
            rows::insert(change, store.vault(), &mut row)?;
            audit.target = Some(format!("provider/{}", row.id));
            Ok(row)
        })
        .await?;
    let reply = answer(api, &row);
    Ok(reply.status(201).with("location", format!("/api/providers/{}", row.id)))
}

/// What the store would take and must not.
fn check(api: &Api, row: &ProviderRow) -> Result<(), Problem> {
    if let Some(url) = &row.base_url {
        probe::allowed(api, url)?;
    }
    // What is wrong with an active one is said when it comes into force; an inactive one would keep its faults to itself.
    match api.live().provider(row) {
        Err(faults) if !row.is_active => Err(ChangeError::Invalid(faults).into()),
        _ => Ok(()),
    }
}

async fn update(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let found = find(api, request.param("id")).await?;
    let if_match = request.if_match()?;
    let mut preview = found.clone();
    apply(&mut preview, request.members()).map_err(Problem::from)?;
    check(api, &preview)?;
    drop(preview);
    let audit = request.audit("provider.update", format!("provider/{}", found.id), Some(request.changed()));
    let (store, patch, id) = (api.live().store().clone(), Patch(request.members().clone()), found.id.clone());
    let row = api
        .change("provider", &found.id, audit, move |change, _| {
            // Read again inside the transaction: it may have changed.
            let mut row = rows::get(change, store.vault(), &id)?;
            apply(&mut row, &patch.0)?;
            rows::update(change, store.vault(), &mut row, if_match)?;
            Ok(row)
        })
        .await?;
    api.shared.catalogues.forget(&row.id);
    Ok(answer(api, &row))
}

/// A patch on its way to another thread; it holds a credential, which is wiped.
struct Patch(Map<String, Value>);

impl Drop for Patch {
    fn drop(&mut self) {
        self.0.values_mut().for_each(crate::api::request::forget);
    }
}

async fn delete(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let found = find(api, request.param("id")).await?;
    let reply = remove(api, request, "provider", (&found.id, &found.name), rows::delete).await?;
    api.shared.catalogues.forget(&found.id);
    Ok(reply)
}

/// Puts what a body says into a row. The body has the form of [`WRITE`].
fn apply(row: &mut ProviderRow, members: &Map<String, Value>) -> Result<(), StoreError> {
    let invalid = |field: &str, message: String| StoreError::Invalid { field: field.to_owned(), message };
    let default = ProviderRow::default();
    let text = |value: &Value| value.as_str().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    let mut rest = Map::new();
    if let Some(data) = members.get("data").and_then(Value::as_object) {
        // Older clients put these there; what stands outside counts more.
        const LIFTED: [&str; 6] = ["baseUrl", "apiKey", "models", "format", "headers", "tags"];
        let (lifted, own): (Map<_, _>, Map<_, _>) =
            data.clone().into_iter().partition(|(name, _)| LIFTED.contains(&name.as_str()));
        let lifted: Map<_, _> = lifted.into_iter().filter(|(name, _)| !members.contains_key(name)).collect();
        Schema::Object(&WRITE)
            .check(&Value::Object(lifted.clone()), Needs::Nothing)
            .map_err(|problem| invalid("data", problem.message))?;
        apply(row, &lifted)?;
        rest = own;
    }
    for (name, value) in members {
        match name.as_str() {
            "provider" => {
                row.provider = text(value).ok_or_else(|| invalid("provider", "it must not be empty".into()))?
            }
            "name" => row.name = text(value).unwrap_or_else(|| row.provider.clone()),
            "authType" => row.auth_type = text(value).unwrap_or_else(|| default.auth_type.clone()),
            "format" => row.format = text(value).map(|word| if word == "openai" { "openai_chat".into() } else { word }),
            "baseUrl" => row.base_url = text(value),
            "email" => row.email = text(value),
            "priority" => row.priority = super::integer(value).unwrap_or(default.priority),
            "isActive" => row.is_active = value.as_bool().unwrap_or(default.is_active),
            "models" => row.models = texts(value),
            "tags" => row.tags = texts(value),
            "apiKey" => row.api_key = text(value).map(Secret::new),
            "headers" => match value {
                Value::Object(headers) => {
                    for (name, value) in headers {
                        row.headers.retain(|known, _| !known.eq_ignore_ascii_case(name) || value == DOTS);
                        if let Some(value) = value.as_str().filter(|value| *value != DOTS) {
                            row.headers.insert(name.clone(), Secret::new(value));
                        }
                    }
                }
                _ => row.headers.clear(),
            },
            "data" if value.is_null() => row.data.clear(),
            "data" => {
                merge(&mut row.data, &rest);
                bounded(&row.data).map_err(|message| invalid("data", message))?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Bounds of `data`: it is for settings and short notes.
fn bounded(data: &Map<String, Value>) -> Result<(), String> {
    /// Members, and bytes of all of them.
    const MEMBERS: usize = 100;
    const BYTES: usize = 64 * 1024;
    if data.len() > MEMBERS || serde_json::to_string(data).map_or(0, |text| text.len()) > BYTES {
        return Err(format!("data may have {MEMBERS} members and {BYTES} bytes"));
    }
    Ok(())
}

async fn reorder(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let row = find(api, request.param("id")).await?;
    let (id, store) = (row.id.clone(), api.live().store().clone());
    let priority = request.body.get("priority").and_then(super::integer);
    let audit = request.audit("provider.reorder", format!("provider/{id}"), Some(request.body.clone()));
    let before = match (request.body.get("before"), priority) {
        (None, None) => {
            return Err(Problem::new(422, "field_required", "`before` or `priority` is missing").param("before"));
        }
        (Some(Value::String(before)), _) => Some(find(api, before).await?.id),
        _ => None,
    };
    let row = api
        .change("provider", &row.id, audit, move |change, _| {
            match priority {
                Some(priority) => {
                    let mut row = rows::get(change, store.vault(), &id)?;
                    row.priority = priority;
                    rows::update(change, store.vault(), &mut row, None)?;
                }
                None => {
                    let all = rows::list(change, store.vault())?;
                    let mut order: Vec<String> =
                        all.into_iter().map(|row| row.id).filter(|other| *other != id).collect();
                    let at = before.and_then(|before| order.iter().position(|other| *other == before));
                    order.insert(at.unwrap_or(order.len()), id.clone());
                    rows::reorder(change, &order)?;
                }
            }
            rows::get(change, store.vault(), &id)
        })
        .await?;
    Ok(answer(api, &row))
}

async fn client(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let origin = super::system::base_url(api, request);
    Ok(Reply::json(json!({
        "baseURL": format!("{origin}/v1"),
        "origin": origin,
        "apiKeyEnv": "FLOW_ROUTER_API_KEY",
        "compatible": Dialect::ALL.map(|dialect| dialect.name()),
        "endpoints": {
            "openai_chat": format!("{origin}/v1/chat/completions"),
            "openai_responses": format!("{origin}/v1/responses"),
            "anthropic": format!("{origin}/v1/messages"),
            "gemini": format!("{origin}/v1beta/models"),
            "ollama": format!("{origin}/api/chat"),
        },
    })))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn applied(row: &mut ProviderRow, body: Value) {
        apply(row, body.as_object().unwrap()).unwrap();
    }

    #[test]
    fn a_patch_changes_what_it_names() {
        let mut row = ProviderRow::default();
        applied(
            &mut row,
            json!({"provider": "openai", "apiKey": "sk-1", "headers": {"X-A": "1", "X-B": "2"},
            "models": ["m"], "data": {"flavour": "openai", "note": {"a": 1}}}),
        );
        let before = row.clone();
        applied(&mut row, json!({"isActive": false}));
        assert_eq!(row, ProviderRow { is_active: false, ..before });
        applied(
            &mut row,
            json!({"headers": {"x-a": null, "X-B": DOTS, "X-C": "3"}, "data": {"note": {"b": 2}, "flavour": null},
            "priority": null, "models": null, "apiKeySet": true}),
        );
        assert_eq!(row.headers.keys().collect::<Vec<_>>(), ["X-B", "X-C"]);
        assert_eq!(row.headers["X-B"].expose(), "2");
        assert_eq!(Value::Object(row.data.clone()), json!({"note": {"a": 1, "b": 2}}));
        assert_eq!((row.priority, row.models.len(), row.api_key.is_some()), (100, 0, true));
        applied(&mut row, json!({"apiKey": null, "headers": null, "data": null}));
        assert!(row.api_key.is_none() && row.headers.is_empty() && row.data.is_empty());
    }

    #[test]
    fn older_clients_put_fields_into_data() {
        let mut row = ProviderRow::default();
        applied(
            &mut row,
            json!({"provider": "custom", "models": ["top"],
            "data": {"baseUrl": "http://h", "apiKey": "sk-2", "models": ["in"], "format": "openai", "note": 1}}),
        );
        assert_eq!((row.base_url.as_deref(), row.format.as_deref()), (Some("http://h"), Some("openai_chat")));
        assert_eq!((row.models, row.api_key.unwrap().expose().to_owned()), (vec!["top".to_owned()], "sk-2".to_owned()));
        assert_eq!(Value::Object(row.data), json!({"note": 1}));
        let mut row = ProviderRow::default();
        let wrong = json!({"data": {"models": 1}});
        assert!(matches!(apply(&mut row, wrong.as_object().unwrap()), Err(StoreError::Invalid { .. })));
    }
}
