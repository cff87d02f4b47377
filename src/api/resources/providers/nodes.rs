//! Provider nodes: services of your own that speak a known dialect, each with a prefix for `prefix/model`.
//!
//! A node *is* a provider, whose name is the prefix, seen with fewer members: what can be done to providers can be done to
//! it, and the other way round. The mark is its display name, `nodeName` among the provider's data.

use proxy::Method;
use serde_json::{Map, Value, json};

use super::{Patch, apply, check, delete, find, fixed, rows};
use crate::{
    api::{
        Api, Problem, Reply, Request, or_null,
        page::{self, CURSOR_PARAM, LIMIT_PARAM, Page, Q_PARAM, list_of},
        resources::{hidden, stored},
        route::{Body, Content, ROUTE, Route},
        schema::{Object, Schema, TEXT, TEXT_OR_NULL, TEXTS, TIME, line, name, needed, optional},
    },
    store::{StoreError, providers::ProviderRow},
    usage::live::rfc3339,
};

/// Where the display name lies.
const MARK: &str = "nodeName";
const FORMATS: Schema = Schema::Word(&["openai_chat", "openai_responses", "anthropic", "gemini", "ollama", "openai"]);

const WRITE: Object = Object {
    name: "ProviderNodeWrite",
    members: &[
        needed("name", name(128), "for people"),
        needed("prefix", name(64), "unique; clients ask for prefix/model"),
        needed("url", line(2_048), "up to where the dialect's own path begins"),
        optional("format", FORMATS, "its dialect; openai_chat unless said"),
        optional("apiKey", Schema::Nullable(&name(16_384)), "the credential, if it needs one; it is never shown again"),
        optional("models", Schema::List(&name(256), 1_000), "names and patterns that it serves without the prefix too"),
        optional("enabled", Schema::Bool, ""),
        optional("id", Schema::Any, "passed over, as are all below"),
        optional("apiKeySet", Schema::Any, ""),
        optional("apiKeyHint", Schema::Any, ""),
        optional("createdAt", Schema::Any, ""),
        optional("updatedAt", Schema::Any, ""),
    ],
};
const NODE: Object = Object {
    name: "ProviderNode",
    members: &[
        needed("id", TEXT, "also the provider's"),
        needed("name", TEXT, ""),
        needed("prefix", TEXT, "the provider's name"),
        needed("url", TEXT_OR_NULL, ""),
        needed("format", Schema::Nullable(&FORMATS), ""),
        needed("apiKeySet", Schema::Bool, ""),
        needed("apiKeyHint", TEXT_OR_NULL, ""),
        needed("models", TEXTS, ""),
        needed("enabled", Schema::Bool, ""),
        needed("createdAt", TIME, ""),
        needed("updatedAt", TIME, ""),
    ],
};
const NODES: Schema = list_of!("ProviderNodeList", Schema::Object(&NODE));

pub(in crate::api) const ROUTES: &[Route] = &[
    Route {
        path: "/api/provider-nodes",
        operation: "listProviderNodes",
        summary: "Services of your own, by prefix",
        tag: "providers",
        query: &[Q_PARAM, LIMIT_PARAM, CURSOR_PARAM],
        replies: &[(200, Content::Json(NODES))],
        handler: |api, request| Box::pin(list(api, request)),
        ..ROUTE
    },
    Route {
        method: Method::POST,
        path: "/api/provider-nodes",
        operation: "createProviderNode",
        summary: "Adds a service of your own",
        tag: "providers",
        body: Body::Json(&WRITE),
        replies: &[(201, Content::Json(Schema::Object(&NODE)))],
        versioned: true,
        changes: true,
        handler: |api, request| Box::pin(create(api, request)),
        ..ROUTE
    },
    Route {
        path: "/api/provider-nodes/{id}",
        operation: "getProviderNode",
        summary: "One service of your own, by its id or as name:PREFIX",
        tag: "providers",
        replies: &[(200, Content::Json(Schema::Object(&NODE)))],
        versioned: true,
        handler: |api, request| Box::pin(get(api, request)),
        ..ROUTE
    },
    Route {
        method: Method::PATCH,
        or: Some(Method::PUT),
        path: "/api/provider-nodes/{id}",
        operation: "updateProviderNode",
        summary: "Changes what is named of a service of your own",
        tag: "providers",
        body: Body::Merge(&WRITE),
        replies: &[(200, Content::Json(Schema::Object(&NODE)))],
        versioned: true,
        changes: true,
        handler: |api, request| Box::pin(update(api, request)),
        ..ROUTE
    },
    Route {
        method: Method::DELETE,
        path: "/api/provider-nodes/{id}",
        operation: "deleteProviderNode",
        summary: "Removes a service of your own",
        tag: "providers",
        replies: &[(204, Content::Empty)],
        versioned: true,
        changes: true,
        handler: |api, request| Box::pin(remove(api, request)),
        ..ROUTE
    },
];

/// The display name of a provider that is a node.
fn mark(row: &ProviderRow) -> Option<&str> {
    row.data.get(MARK).and_then(Value::as_str)
}

fn shown(row: &ProviderRow) -> Value {
    json!({
        "id": row.id,
        "name": mark(row),
        "prefix": row.name,
        "url": row.base_url,
        "format": row.format,
        "apiKeySet": row.api_key.is_some(),
        "apiKeyHint": or_null(row.api_key.as_ref().and_then(hidden)),
        "models": row.models,
        "enabled": row.is_active,
        "createdAt": rfc3339(row.created_at_ms),
        "updatedAt": rfc3339(row.updated_at_ms),
    })
}

/// The members of a node as those of the provider that it is. One without a credential needs none.
fn provider(row: &ProviderRow, members: &Map<String, Value>) -> Map<String, Value> {
    let mut out = Map::new();
    for (member, value) in members {
        let name = match member.as_str() {
            "prefix" => "name",
            "url" => "baseUrl",
            "enabled" => "isActive",
            "format" | "apiKey" | "models" => member,
            "name" => {
                out.insert("data".to_owned(), json!({ MARK: value.as_str().unwrap_or_default().trim() }));
                continue;
            }
            _ => continue,
        };
        out.insert(name.to_owned(), value.clone());
    }
    let keyless = match members.get("apiKey") {
        Some(key) => key.as_str().is_none_or(|key| key.trim().is_empty()),
        None => row.api_key.is_none() && !row.secret_lost,
    };
    out.insert("authType".to_owned(), if keyless { "none" } else { "api_key" }.into());
    out
}

/// Puts what a body says into a row. The body has the form of [`WRITE`].
fn take(row: &mut ProviderRow, members: &Map<String, Value>) -> Result<(), StoreError> {
    let members = Patch(provider(row, members));
    apply(row, &members.0)?;
    // A vendor of its own: no preset's rules are meant by it, whatever its prefix.
    let family = if row.format.as_deref() == Some("anthropic") { "anthropic" } else { "openai" };
    row.provider = format!("{family}-compatible-{}", row.name);
    row.format.get_or_insert_with(|| "openai_chat".to_owned());
    Ok(())
}

/// The node of that id, or `name:PREFIX`.
async fn node(api: &Api, id: &str) -> Result<ProviderRow, Problem> {
    let none = || Problem::not_found(format!("provider node {id}"));
    if fixed(&api.live().snapshot().settings, id).is_some() {
        return Err(none());
    }
    let row = find(api, id).await?;
    if mark(&row).is_some() { Ok(row) } else { Err(none()) }
}

async fn list(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let page = Page::of(request)?;
    let store = api.live().store().clone();
    let rows = stored(api, move |conn| rows::list(conn, store.vault())).await?;
    let nodes = rows.iter().filter(|row| {
        let url = row.base_url.as_deref().unwrap_or_default();
        mark(row).is_some_and(|name| page::holds(request.query("q"), &[name, &row.name, url]))
    });
    Ok(Reply::json(page.cut(nodes.map(|row| (row.name.to_lowercase(), shown(row))).collect())))
}

async fn get(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let row = node(api, request.param("id")).await?;
    Ok(Reply::json(shown(&row)).etag(row.updated_at_ms))
}

async fn create(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let mut row = ProviderRow::default();
    take(&mut row, request.members()).map_err(Problem::from)?;
    check(api, &row)?;
    let store = api.live().store().clone();
    let audit = request.audit("provider.create", "", Some(json!({"name": row.name, "provider": row.provider})));
    let row = api
        .change("provider", &row.name.clone(), audit, move |change, audit| {
            rows::insert(change, store.vault(), &mut row)?;
            audit.target = Some(format!("provider/{}", row.id));
            Ok(row)
        })
        .await?;
    Ok(Reply::created(format!("/api/provider-nodes/{}", row.id), shown(&row)).etag(row.updated_at_ms))
}

async fn update(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let found = node(api, request.param("id")).await?;
    let if_match = request.if_match()?;
    let mut preview = found.clone();
    take(&mut preview, request.members()).map_err(Problem::from)?;
    check(api, &preview)?;
    let audit = request.audit("provider.update", format!("provider/{}", found.id), Some(request.changed()));
    let (store, patch, id) = (api.live().store().clone(), Patch(request.members().clone()), found.id.clone());
    let row = api
        .change("provider", &found.id, audit, move |change, _| {
            let mut row = rows::get(change, store.vault(), &id)?;
            take(&mut row, &patch.0)?;
            rows::update(change, store.vault(), &mut row, if_match)?;
            Ok(row)
        })
        .await?;
    api.shared.catalogues.forget(&row.id);
    Ok(Reply::json(shown(&row)).etag(row.updated_at_ms))
}

async fn remove(api: &Api, request: &Request) -> Result<Reply, Problem> {
    node(api, request.param("id")).await?;
    delete(api, request).await
}
