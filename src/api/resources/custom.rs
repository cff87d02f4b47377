//! Models that the user describes: names at a provider that it serves besides those of its list, with what clients want to
//! know of them. Only at providers of the store: those of files say their models there.

use proxy::Method;
use serde_json::{Map, Value, json};

use super::{ids, integer, pinned, remove, stored, texts};
use crate::{
    api::{
        Api, Problem, Reply, Request, or_null,
        page::{self, CURSOR_PARAM, LIMIT_PARAM, Page, Q_PARAM, list_of},
        route::{Body, Content, ROUTE, Route},
        schema::{COUNT_OR_NULL, Object, Schema, TEXT, TEXT_OR_NULL, TEXTS, TIME, line, name, needed, optional},
    },
    settings::Source,
    store::{
        StoreError,
        models::{self as rows, CAPS, ModelRow},
        providers,
    },
    usage::live::rfc3339,
};

/// Words of [`CAPS`].
const WORDS: Schema = Schema::Word(&["tools", "vision", "stream", "reasoning", "json"]);
/// Tokens.
const TOKENS: Schema = Schema::Nullable(&Schema::Integer(1, u32::MAX as i64));

const WRITE: Object = Object {
    name: "CustomModelWrite",
    members: &[
        needed("providerId", name(80), "a provider of the store, by id or `name:` and its name; it stays"),
        needed("model", name(256), "its name there"),
        optional("displayName", Schema::Nullable(&line(128)), "its name for people"),
        optional("contextWindow", TOKENS, "tokens of request and answer together"),
        optional("maxOutput", TOKENS, "tokens of an answer"),
        optional("caps", Schema::Nullable(&Schema::List(&WORDS, 5)), "what it can do; null where that is not said"),
        optional("id", Schema::Any, "passed over, as are all below"),
        optional("provider", Schema::Any, ""),
        optional("createdAt", Schema::Any, ""),
        optional("updatedAt", Schema::Any, ""),
    ],
};
const MODEL: Object = Object {
    name: "CustomModel",
    members: &[
        needed("id", TEXT, ""),
        needed("providerId", TEXT, ""),
        needed("provider", TEXT, "its name"),
        needed("model", TEXT, ""),
        needed("displayName", TEXT_OR_NULL, ""),
        needed("contextWindow", COUNT_OR_NULL, ""),
        needed("maxOutput", COUNT_OR_NULL, ""),
        needed("caps", Schema::Nullable(&TEXTS), ""),
        needed("createdAt", TIME, ""),
        needed("updatedAt", TIME, ""),
    ],
};
const MODELS: Schema = list_of!("CustomModelList", Schema::Object(&MODEL));

pub(in crate::api) const ROUTES: &[Route] = &[
    Route {
        path: "/api/models/custom",
        operation: "listCustomModels",
        summary: "Models that you have described",
        tag: "models",
        query: &[Q_PARAM, LIMIT_PARAM, CURSOR_PARAM],
        replies: &[(200, Content::Json(MODELS))],
        handler: |api, request| Box::pin(list(api, request)),
        ..ROUTE
    },
    Route {
        method: Method::POST,
        path: "/api/models/custom",
        operation: "createCustomModel",
        summary: "Describes a model of a provider, which serves it from then on",
        tag: "models",
        body: Body::Json(&WRITE),
        replies: &[(201, Content::Json(Schema::Object(&MODEL)))],
        errors: &[404],
        versioned: true,
        changes: true,
        handler: |api, request| Box::pin(create(api, request)),
        ..ROUTE
    },
    Route {
        path: "/api/models/custom/{id}",
        operation: "getCustomModel",
        summary: "One described model",
        tag: "models",
        replies: &[(200, Content::Json(Schema::Object(&MODEL)))],
        versioned: true,
        handler: |api, request| Box::pin(get(api, request)),
        ..ROUTE
    },
    Route {
        method: Method::PATCH,
        or: Some(Method::PUT),
        path: "/api/models/custom/{id}",
        operation: "updateCustomModel",
        summary: "Changes what is named of a described model",
        tag: "models",
        body: Body::Merge(&WRITE),
        replies: &[(200, Content::Json(Schema::Object(&MODEL)))],
        versioned: true,
        changes: true,
        handler: |api, request| Box::pin(update(api, request)),
        ..ROUTE
    },
    Route {
        method: Method::DELETE,
        path: "/api/models/custom/{id}",
        operation: "deleteCustomModel",
        summary: "Removes a description",
        tag: "models",
        replies: &[(204, Content::Empty)],
        versioned: true,
        changes: true,
        handler: |api, request| Box::pin(delete(api, request)),
        ..ROUTE
    },
];

/// The words of these bits; `null` where nothing is said.
pub(super) fn words(caps: Option<u8>) -> Value {
    or_null(caps.map(|caps| CAPS.iter().filter(|(_, bit)| caps & bit != 0).map(|(word, _)| *word).collect::<Vec<_>>()))
}

fn shown(row: &ModelRow, provider: &str) -> Value {
    json!({
        "id": row.id,
        "providerId": row.provider_id,
        "provider": provider,
        "model": row.model,
        "displayName": row.display_name,
        "contextWindow": row.context_window,
        "maxOutput": row.max_output,
        "caps": words(row.caps),
        "createdAt": rfc3339(row.created_at_ms),
        "updatedAt": rfc3339(row.updated_at_ms),
    })
}

/// All rows, with the names of their providers.
async fn all(api: &Api) -> Result<Vec<(ModelRow, String)>, Problem> {
    stored(api, |conn| {
        let names = providers::names(conn)?;
        let named = |row: ModelRow| {
            let name = names.iter().find(|(id, _)| *id == row.provider_id).map(|(_, name)| name.clone());
            (row, name.unwrap_or_default())
        };
        Ok(rows::list(conn)?.into_iter().map(named).collect())
    })
    .await
}

async fn list(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let page = Page::of(request)?;
    let entries = all(api).await?.into_iter().filter(|(row, provider)| {
        let display = row.display_name.as_deref().unwrap_or_default();
        page::holds(request.query("q"), &[&row.model, provider, display])
    });
    let entries = entries.map(|(row, provider)| (format!("{}\n{}", row.model, row.id), shown(&row, &provider)));
    Ok(Reply::json(page.cut(entries.collect())))
}

async fn find(api: &Api, id: &str) -> Result<(ModelRow, String), Problem> {
    let found = all(api).await?.into_iter().find(|(row, _)| row.id == id);
    found.ok_or_else(|| Problem::not_found(format!("described model {id}")))
}

async fn get(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let (row, provider) = find(api, request.param("id")).await?;
    Ok(Reply::json(shown(&row, &provider)).etag(row.updated_at_ms))
}

/// Puts what a body says into a row, but for the provider. The body has the form of [`WRITE`].
fn apply(row: &mut ModelRow, members: &Map<String, Value>) -> Result<(), StoreError> {
    let tokens = |value: &Value| integer(value).and_then(|tokens| u32::try_from(tokens).ok());
    for (name, value) in members {
        match name.as_str() {
            "model" => row.model = value.as_str().unwrap_or_default().trim().to_owned(),
            "displayName" => {
                row.display_name = value.as_str().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
            }
            "contextWindow" => row.context_window = tokens(value),
            "maxOutput" => row.max_output = tokens(value),
            "caps" => {
                let words = texts(value);
                let bit = |(word, bit): &(&str, u8)| if words.iter().any(|other| other == word) { *bit } else { 0 };
                row.caps = value.as_array().map(|_| CAPS.iter().map(bit).sum());
            }
            _ => {}
        }
    }
    if row.model.is_empty() || row.model.contains([',', '*']) {
        let message = "a model must not be empty, and has no comma and no *".to_owned();
        return Err(StoreError::Invalid { field: "model".to_owned(), message });
    }
    Ok(())
}

async fn create(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let named = request.text("providerId").unwrap_or_default();
    let snapshot = api.live().snapshot();
    let mut others = snapshot.settings.providers.iter().filter(|provider| provider.source != Source::Store);
    if let Some(fixed) = others.find(|provider| ids::is(named, &provider.id, &provider.name)) {
        return Err(pinned(&fixed.name, fixed.source));
    }
    let all = api.live().store().read(providers::names).await?;
    let provider = all.into_iter().find(|(id, name)| ids::is(named, id, name));
    let (id, provider) = provider.ok_or_else(|| Problem::not_found(format!("provider {named}")).param("providerId"))?;
    let mut row = ModelRow { provider_id: id, ..ModelRow::default() };
    apply(&mut row, request.members()).map_err(Problem::from)?;
    let audit = request.audit("model.create", "", Some(json!({"model": row.model, "provider": provider})));
    let row = api
        .change("model", &row.model.clone(), audit, move |change, audit| {
            rows::insert(change, &mut row)?;
            audit.target = Some(format!("model/{}", row.id));
            Ok(row)
        })
        .await?;
    let location = format!("/api/models/custom/{}", row.id);
    Ok(Reply::created(location, shown(&row, &provider)).etag(row.updated_at_ms))
}

async fn update(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let (found, provider) = find(api, request.param("id")).await?;
    if request.text("providerId").is_some_and(|named| !ids::is(named, &found.provider_id, &provider)) {
        return Err(Problem::invalid("providerId", "a model stays at its provider: describe another one there"));
    }
    let if_match = request.if_match()?;
    let audit = request.audit("model.update", format!("model/{}", found.id), Some(request.changed()));
    let (patch, id) = (request.members().clone(), found.id.clone());
    let row = api
        .change("model", &found.id, audit, move |change, _| {
            let mut row = rows::get(change, &id)?;
            apply(&mut row, &patch)?;
            rows::update(change, &mut row, if_match)?;
            Ok(row)
        })
        .await?;
    Ok(Reply::json(shown(&row, &provider)).etag(row.updated_at_ms))
}

async fn delete(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let (found, _) = find(api, request.param("id")).await?;
    remove(api, request, "model", (&found.id, &found.model), rows::delete).await
}
