//! Tags, and what carries them. `GET /api/tags` is Ollama's list of models too: one object has both.

use proxy::Method;
use serde_json::{Map, Value, json};

use super::{ids, remove};
use crate::{
    api::{
        Api, Problem, Reply, Request,
        auth::Principal,
        route::{Body, Content, ROUTE, Route},
        schema::{COUNT, Form, Object, Schema, TEXT, TIME, Text, name, needed, optional},
    },
    gateway::ollama_models,
    store::tags::{self as rows, TagRow},
    usage::live::rfc3339,
};

const KINDS: &[&str] = &["generic", "provider", "combo", "model", "pool"];
const COLOR: Schema = Schema::Text(Text { min: 0, max: 7, form: Form::Color });

const WRITE: Object = Object {
    name: "TagWrite",
    members: &[
        needed("name", name(64), "unique"),
        optional("color", COLOR, "#rrggbb, or empty"),
        optional("kind", Schema::Word(KINDS), "what it is for; generic unless said"),
        optional("id", Schema::Any, "passed over, as are all below"),
        optional("uses", Schema::Any, ""),
        optional("targets", Schema::Any, ""),
        optional("createdAt", Schema::Any, ""),
        optional("updatedAt", Schema::Any, ""),
    ],
};
const TARGET: Object = Object {
    name: "TagTarget",
    members: &[needed("kind", Schema::Word(KINDS), ""), needed("id", name(128), "of the thing that carries the tag")],
};
const SHOWN_TARGET: Object =
    Object { name: "TagTargetShown", members: &[needed("kind", TEXT, ""), needed("id", TEXT, "")] };
const TAG: Object = Object {
    name: "Tag",
    members: &[
        needed("id", TEXT, ""),
        needed("name", TEXT, ""),
        needed("color", TEXT, ""),
        needed("kind", TEXT, ""),
        needed("uses", COUNT, "how many things carry it"),
        optional(
            "targets",
            Schema::List(&Schema::Object(&SHOWN_TARGET), usize::MAX),
            "what carries it; of one tag only",
        ),
        needed("createdAt", TIME, ""),
        needed("updatedAt", TIME, ""),
    ],
};
const TAGS: Object = Object {
    name: "TagsAndModels",
    members: &[
        needed("models", Schema::List(&Schema::Any, usize::MAX), "Ollama's list of models"),
        optional("tags", Schema::List(&Schema::Object(&TAG), usize::MAX), "tags, by name; for administrators"),
    ],
};

pub(in crate::api) const ROUTES: &[Route] = &[
    Route {
        path: "/api/tags",
        operation: "listTags",
        summary: "All tags, beside Ollama's list of models; who may not manage gets the models only",
        tag: "tags",
        replies: &[(200, Content::Json(Schema::Object(&TAGS)))],
        handler: |api, request| Box::pin(list(api, request)),
        ..ROUTE
    },
    Route {
        method: Method::POST,
        path: "/api/tags",
        operation: "createTag",
        summary: "Adds a tag",
        tag: "tags",
        body: Body::Json(&WRITE),
        replies: &[(201, Content::Json(Schema::Object(&TAG)))],
        versioned: true,
        changes: true,
        handler: |api, request| Box::pin(create(api, request)),
        ..ROUTE
    },
    Route {
        path: "/api/tags/{id}",
        operation: "getTag",
        summary: "One tag and what carries it, by its id or as name:NAME",
        tag: "tags",
        replies: &[(200, Content::Json(Schema::Object(&TAG)))],
        versioned: true,
        handler: |api, request| Box::pin(get(api, request)),
        ..ROUTE
    },
    Route {
        method: Method::PATCH,
        or: Some(Method::PUT),
        path: "/api/tags/{id}",
        operation: "updateTag",
        summary: "Changes what is named of a tag",
        tag: "tags",
        body: Body::Merge(&WRITE),
        replies: &[(200, Content::Json(Schema::Object(&TAG)))],
        versioned: true,
        changes: true,
        handler: |api, request| Box::pin(update(api, request)),
        ..ROUTE
    },
    Route {
        method: Method::DELETE,
        path: "/api/tags/{id}",
        operation: "deleteTag",
        summary: "Removes a tag from everything that carries it, and then itself",
        tag: "tags",
        replies: &[(204, Content::Empty)],
        versioned: true,
        changes: true,
        handler: |api, request| Box::pin(delete(api, request)),
        ..ROUTE
    },
    Route {
        method: Method::POST,
        path: "/api/tags/{id}/targets",
        operation: "addTagTarget",
        summary: "Puts a tag on something",
        tag: "tags",
        body: Body::Json(&TARGET),
        replies: &[(200, Content::Json(Schema::Object(&TAG)))],
        changes: true,
        handler: |api, request| Box::pin(mark(api, request, true)),
        ..ROUTE
    },
    Route {
        method: Method::DELETE,
        path: "/api/tags/{id}/targets",
        operation: "removeTagTarget",
        summary: "Takes a tag off something",
        tag: "tags",
        body: Body::Json(&TARGET),
        replies: &[(200, Content::Json(Schema::Object(&TAG)))],
        changes: true,
        handler: |api, request| Box::pin(mark(api, request, false)),
        ..ROUTE
    },
];

fn shown(row: &TagRow, targets: Option<&[(String, String)]>) -> Value {
    let mut document = json!({
        "id": row.id,
        "name": row.name,
        "color": row.color,
        "kind": row.kind,
        "uses": row.uses,
        "createdAt": rfc3339(row.created_at_ms),
        "updatedAt": rfc3339(row.updated_at_ms),
    });
    if let Some(targets) = targets {
        let targets: Vec<_> = targets.iter().map(|(kind, id)| json!({"kind": kind, "id": id})).collect();
        document["targets"] = targets.into();
    }
    document
}

async fn list(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let key = match &request.principal {
        Principal::Key(key) => Some(key),
        _ => None,
    };
    let models = ollama_models(api.live().shared(), &request.snapshot, key);
    let mut document: Value = serde_json::from_slice(&models).unwrap_or_else(|_| json!({ "models": [] }));
    // Models are listed also where the store fails.
    if api.live().unavailable().is_none() {
        let tags = api.live().store().read(rows::list).await?;
        document["tags"] = tags.iter().map(|row| shown(row, None)).collect();
    }
    Ok(Reply::json(document))
}

async fn find(api: &Api, id: &str) -> Result<TagRow, Problem> {
    let rows = api.live().store().read(rows::list).await?;
    let row = rows.into_iter().find(|row| ids::is(id, &row.id, &row.name));
    row.ok_or_else(|| Problem::not_found(format!("tag {id}")))
}

async fn get(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let row = find(api, request.param("id")).await?;
    answer(api, &row.id).await
}

async fn answer(api: &Api, id: &str) -> Result<Reply, Problem> {
    let id = id.to_owned();
    let read = move |conn: &crate::store::Connection| Ok((rows::get(conn, &id)?, rows::targets(conn, &id)?));
    let (row, targets) = api.live().store().read(read).await?;
    Ok(Reply::json(shown(&row, Some(&targets))).etag(row.updated_at_ms))
}

fn apply(row: &mut TagRow, members: &Map<String, Value>) -> Result<(), crate::store::StoreError> {
    let text = |value: &Value| value.as_str().unwrap_or_default().trim().to_owned();
    for (name, value) in members {
        match name.as_str() {
            "name" => row.name = text(value),
            "color" => row.color = text(value),
            "kind" => row.kind = value.as_str().unwrap_or("generic").to_owned(),
            _ => {}
        }
    }
    let message = "a name must not be empty".to_owned();
    match row.name.is_empty() {
        true => Err(crate::store::StoreError::Invalid { field: "name".to_owned(), message }),
        false => Ok(()),
    }
}

async fn create(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let mut row = TagRow::default();
    apply(&mut row, request.members()).map_err(Problem::from)?;
    let audit = request.audit("tag.create", "", Some(json!({ "name": row.name })));
    let row = api
        .change("tag", &row.name.clone(), audit, move |change, audit| {
            rows::insert(change, &mut row)?;
            audit.target = Some(format!("tag/{}", row.id));
            Ok(row)
        })
        .await?;
    Ok(Reply::created(format!("/api/tags/{}", row.id), shown(&row, Some(&[]))).etag(row.updated_at_ms))
}

async fn update(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let found = find(api, request.param("id")).await?;
    let if_match = request.if_match()?;
    let audit = request.audit("tag.update", format!("tag/{}", found.id), Some(request.changed()));
    let (patch, id) = (request.members().clone(), found.id.clone());
    api.change("tag", &found.id, audit, move |change, _| {
        let mut row = rows::get(change, &id)?;
        apply(&mut row, &patch)?;
        rows::update(change, &mut row, if_match)
    })
    .await?;
    answer(api, &found.id).await
}

async fn delete(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let found = find(api, request.param("id")).await?;
    remove(api, request, "tag", (&found.id, &found.name), rows::delete).await
}

async fn mark(api: &Api, request: &Request, on: bool) -> Result<Reply, Problem> {
    let found = find(api, request.param("id")).await?;
    let text = |name: &str| request.text(name).unwrap_or_default().to_owned();
    let (kind, target) = (text("kind"), text("id"));
    let action = if on { "tag.attach" } else { "tag.detach" };
    let audit = request.audit(action, format!("tag/{}", found.id), Some(json!({"kind": kind, "id": target})));
    let id = found.id.clone();
    api.change("tag", &found.id, audit, move |change, _| rows::mark(change, &id, &kind, &target, on)).await?;
    answer(api, &found.id).await
}
