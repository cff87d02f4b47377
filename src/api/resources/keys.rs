//! Keys of callers. A key is shown once, when it is made; what is kept is its digest.

use aws_lc_rs::digest;
use proxy::Method;
use serde_json::{Map, Value, json};

use super::{SOURCE, ids, integer, pinned, remove, stored, texts};
use crate::{
    api::{
        Api, Problem, Reply, Request, or_null,
        page::{self, CURSOR_PARAM, LIMIT_PARAM, Page, Q_PARAM, list_of},
        route::{Body, Content, ROUTE, Route},
        schema::{Object, Schema, TEXT, TEXTS, TIME, TIME_OR_NULL, name, needed, optional},
    },
    gateway::new_key,
    settings::{KeyHash, Settings, Source},
    store::{
        StoreError,
        keys::{self as rows, KeyRow},
    },
    usage::live::{now_ms, rfc3339},
};

/// Characters of a key that are kept for people.
const PREFIX: usize = 14;
/// Longest time for which a key stays good beside the one that replaces it, in seconds: 30 days.
const GRACE_MAX: i64 = 30 * 86_400;

const SCOPES: &[&str] =
    &["inference", "models:read", "usage:read", "admin", "brain:read", "brain:write", "sync:read", "metrics:read"];
const ALL: Schema = Schema::Word(&["*"]);
const NAMES: Schema = Schema::Either(&[Schema::List(&name(256), 200), ALL]);

const WRITE: Object = Object {
    name: "KeyWrite",
    members: &[
        needed("name", name(64), "unique; shown where the key was used"),
        optional("scopes", Schema::List(&Schema::Word(SCOPES), 8), "what it may be used for; inference unless said"),
        optional("allowedProviders", NAMES, "names, ids or presets; all unless said"),
        optional("allowedModels", NAMES, "names, or prefix*; all unless said"),
        optional("allowedCidrs", Schema::List(&name(64), 100), "networks that it may come from; all unless said"),
        optional("expiresAt", Schema::Nullable(&TIME), "when it ends"),
        optional("isActive", Schema::Bool, "false revokes it"),
        optional("id", Schema::Any, "passed over, as are all below"),
        optional("keyPrefix", Schema::Any, ""),
        optional("status", Schema::Any, ""),
        optional("source", Schema::Any, ""),
        optional("readOnly", Schema::Any, ""),
        optional("lastUsedAt", Schema::Any, ""),
        optional("createdAt", Schema::Any, ""),
        optional("updatedAt", Schema::Any, ""),
    ],
};

/// The members of a key, with more of them for one that was just made.
macro_rules! key {
    ($name:literal $(, $more:expr)*) => {
        Object {
            name: $name,
            members: &[
                needed("id", TEXT, ""),
                needed("name", TEXT, ""),
                needed("keyPrefix", TEXT, "its first characters"),
                needed("scopes", Schema::List(&Schema::Word(SCOPES), usize::MAX), ""),
                needed("allowedProviders", TEXTS, "empty = all"),
                needed("allowedModels", TEXTS, "empty = all"),
                needed("allowedCidrs", TEXTS, "empty = all"),
                needed("expiresAt", TIME_OR_NULL, ""),
                needed("isActive", Schema::Bool, ""),
                needed("status", Schema::Word(&["active", "revoked", "expired"]), ""),
                needed("source", SOURCE, ""),
                needed("readOnly", Schema::Bool, ""),
                needed("lastUsedAt", TIME_OR_NULL, ""),
                needed("createdAt", TIME_OR_NULL, ""),
                needed("updatedAt", TIME_OR_NULL, ""),
                $($more),*
            ],
        }
    };
}

const KEY: Object = key!("Key");
const NEW_KEY: Object = key!(
    "NewKey",
    needed("plaintextKey", TEXT, "the key itself: it is shown this once"),
    needed("plaintext", TEXT, "the same, for older clients")
);
const KEYS: Schema = list_of!("KeyList", Schema::Object(&KEY));
const ROTATE: Object = Object {
    name: "KeyRotate",
    members: &[optional(
        "graceSeconds",
        Schema::Integer(0, GRACE_MAX),
        "how long the old key stays good; 0 unless said",
    )],
};

pub(in crate::api) const ROUTES: &[Route] = &[
    Route {
        path: "/api/keys",
        operation: "listKeys",
        summary: "All keys, by name",
        tag: "keys",
        query: &[Q_PARAM, LIMIT_PARAM, CURSOR_PARAM],
        replies: &[(200, Content::Json(KEYS))],
        handler: |api, request| Box::pin(list(api, request)),
        ..ROUTE
    },
    Route {
        method: Method::POST,
        path: "/api/keys",
        operation: "createKey",
        summary: "Makes a key; the answer is the only place where it stands",
        tag: "keys",
        body: Body::Json(&WRITE),
        replies: &[(201, Content::Json(Schema::Object(&NEW_KEY)))],
        versioned: true,
        changes: true,
        handler: |api, request| Box::pin(create(api, request)),
        ..ROUTE
    },
    Route {
        path: "/api/keys/{id}",
        operation: "getKey",
        summary: "One key, by its id or as name:NAME",
        tag: "keys",
        replies: &[(200, Content::Json(Schema::Object(&KEY)))],
        versioned: true,
        handler: |api, request| Box::pin(get(api, request)),
        ..ROUTE
    },
    Route {
        method: Method::PATCH,
        or: Some(Method::PUT),
        path: "/api/keys/{id}",
        operation: "updateKey",
        summary: "Changes what is named of a key",
        tag: "keys",
        body: Body::Merge(&WRITE),
        replies: &[(200, Content::Json(Schema::Object(&KEY)))],
        versioned: true,
        changes: true,
        handler: |api, request| Box::pin(update(api, request)),
        ..ROUTE
    },
    Route {
        method: Method::DELETE,
        path: "/api/keys/{id}",
        operation: "deleteKey",
        summary: "Removes a key; who still sends it is refused",
        tag: "keys",
        replies: &[(204, Content::Empty)],
        versioned: true,
        changes: true,
        handler: |api, request| Box::pin(delete(api, request)),
        ..ROUTE
    },
    Route {
        method: Method::POST,
        path: "/api/keys/{id}/revoke",
        operation: "revokeKey",
        summary: "Ends a key and keeps its entry",
        tag: "keys",
        replies: &[(200, Content::Json(Schema::Object(&KEY)))],
        versioned: true,
        changes: true,
        handler: |api, request| Box::pin(revoke(api, request)),
        ..ROUTE
    },
    Route {
        method: Method::POST,
        path: "/api/keys/{id}/rotate",
        operation: "rotateKey",
        summary: "Puts a new key in the place of an old one",
        tag: "keys",
        body: Body::Optional(&ROTATE),
        replies: &[(200, Content::Json(Schema::Object(&NEW_KEY)))],
        versioned: true,
        changes: true,
        handler: |api, request| Box::pin(rotate(api, request)),
        ..ROUTE
    },
];

fn status(is_active: bool, expires_at_ms: Option<i64>) -> &'static str {
    match (is_active, expires_at_ms) {
        (false, _) => "revoked",
        (true, Some(at)) if at <= now_ms() => "expired",
        (true, _) => "active",
    }
}

fn shown(row: &KeyRow, read_only: bool) -> Value {
    let scopes: Vec<&str> = match row.scopes.is_empty() {
        true => vec!["inference"],
        false => row.scopes.iter().map(String::as_str).collect(),
    };
    json!({
        "id": row.id,
        "name": row.name,
        "keyPrefix": format!("{}…", row.prefix),
        "scopes": scopes,
        "allowedProviders": row.allowed_providers,
        "allowedModels": row.allowed_models,
        "allowedCidrs": row.allowed_cidrs,
        "expiresAt": or_null(row.expires_at_ms.map(rfc3339)),
        "isActive": row.is_active,
        "status": status(row.is_active, row.expires_at_ms),
        "source": "store",
        "readOnly": read_only,
        "lastUsedAt": or_null(row.last_used_ms.map(rfc3339)),
        "createdAt": rfc3339(row.created_at_ms),
        "updatedAt": rfc3339(row.updated_at_ms),
    })
}

/// A key of a file.
fn shown_fixed(key: &KeyHash) -> Value {
    json!({
        "id": &*key.id,
        "name": &*key.name,
        "keyPrefix": "flr_…",
        "scopes": key.scopes.names().collect::<Vec<_>>(),
        "allowedProviders": key.allowed_providers,
        "allowedModels": key.allowed_models,
        "allowedCidrs": key.allowed_cidrs.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "expiresAt": or_null(key.expires_at_ms.map(rfc3339)),
        "isActive": key.is_active,
        "status": status(key.is_active, key.expires_at_ms),
        "source": key.source.name(),
        "readOnly": true,
        "lastUsedAt": null,
        "createdAt": null,
        "updatedAt": null,
    })
}

fn fixed(settings: &Settings) -> impl Iterator<Item = &KeyHash> {
    settings.keys.iter().filter(|key| key.source != Source::Store)
}

async fn list(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let page = Page::of(request)?;
    let rows = stored(api, rows::list).await?;
    let snapshot = api.live().snapshot();
    let read_only = snapshot.settings.read_only;
    let stored = rows.iter().map(|row| (format!("{} {}", row.name.to_lowercase(), row.id), shown(row, read_only)));
    let others =
        fixed(&snapshot.settings).map(|key| (format!("{} {}", key.name.to_lowercase(), key.id), shown_fixed(key)));
    let entries = stored
        .chain(others)
        .filter(|(_, entry)| page::holds(request.query("q"), &[entry["name"].as_str().unwrap_or_default()]));
    Ok(Reply::json(page.cut(entries.collect())))
}

async fn find(api: &Api, id: &str) -> Result<KeyRow, Problem> {
    let rows = stored(api, rows::list).await?;
    if let Some(row) = rows.into_iter().find(|row| ids::is(id, &row.id, &row.name)) {
        return Ok(row);
    }
    let snapshot = api.live().snapshot();
    match fixed(&snapshot.settings).find(|key| ids::is(id, &key.id, &key.name)) {
        Some(key) => Err(pinned(&key.name, key.source)),
        None => Err(Problem::not_found(format!("key {id}"))),
    }
}

async fn get(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let snapshot = api.live().snapshot();
    let id = request.param("id");
    match find(api, id).await {
        Ok(row) => Ok(answer(api, &row)),
        Err(problem) => match fixed(&snapshot.settings).find(|key| ids::is(id, &key.id, &key.name)) {
            Some(key) => Ok(Reply::json(shown_fixed(key)).etag(0)),
            None => Err(problem),
        },
    }
}

fn answer(api: &Api, row: &KeyRow) -> Reply {
    Reply::json(shown(row, api.live().read_only())).etag(row.updated_at_ms)
}

/// The answer that shows a key, for the only time.
fn reveal(api: &Api, row: &KeyRow, key: &str) -> Reply {
    let mut document = shown(row, api.live().read_only());
    document["plaintextKey"] = key.into();
    document["plaintext"] = key.into();
    Reply::json(document).etag(row.updated_at_ms)
}

/// Puts what a body says into a row. The body has the form of [`WRITE`].
fn apply(row: &mut KeyRow, members: &Map<String, Value>) -> Result<(), StoreError> {
    let names = |value: &Value| {
        let list = texts(value);
        // A star among others makes the others say nothing.
        if list.iter().any(|item| item == "*") { Vec::new() } else { list }
    };
    for (name, value) in members {
        match name.as_str() {
            "name" => row.name = value.as_str().unwrap_or_default().trim().to_owned(),
            "scopes" => row.scopes = names(value),
            "allowedProviders" => row.allowed_providers = names(value),
            "allowedModels" => row.allowed_models = names(value),
            "allowedCidrs" => row.allowed_cidrs = names(value),
            "isActive" => row.is_active = value.as_bool().unwrap_or(true),
            "expiresAt" => {
                row.expires_at_ms =
                    value.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok()).map(|at| at.as_millisecond());
            }
            _ => {}
        }
    }
    let message = "a name must not be empty".to_owned();
    match row.name.is_empty() {
        true => Err(StoreError::Invalid { field: "name".to_owned(), message }),
        false => Ok(()),
    }
}

/// A new key for a row.
fn fresh(row: &mut KeyRow) -> Result<String, Problem> {
    let Some((key, hash)) = new_key() else {
        tracing::error!("the system has no randomness: no key can be made");
        return Err(Problem::internal());
    };
    debug_assert_eq!(digest::digest(&digest::SHA256, key.as_bytes()).as_ref(), hash);
    row.prefix = key.chars().take(PREFIX).collect();
    row.hash = hash;
    Ok(key)
}

async fn create(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let mut row = KeyRow::default();
    apply(&mut row, request.members()).map_err(Problem::from)?;
    let key = fresh(&mut row)?;
    let detail = json!({"name": row.name, "scopes": row.scopes});
    let audit = request.audit("key.create", "", Some(detail));
    let row = api
        .change("key", &row.name.clone(), audit, move |change, audit| {
            rows::insert(change, &mut row)?;
            audit.target = Some(format!("key/{}", row.id));
            Ok(row)
        })
        .await?;
    Ok(reveal(api, &row, &key).status(201).with("location", format!("/api/keys/{}", row.id)))
}

/// Changes a key inside a transaction.
async fn changed(
    api: &Api,
    request: &Request,
    action: &str,
    detail: Option<Value>,
    change_row: impl FnOnce(&mut KeyRow) -> Result<Option<KeyRow>, StoreError> + Send + 'static,
) -> Result<KeyRow, Problem> {
    let found = find(api, request.param("id")).await?;
    let if_match = request.if_match()?;
    let audit = request.audit(action, format!("key/{}", found.id), detail);
    let id = found.id.clone();
    let row = api
        .change("key", &found.id, audit, move |change, _| {
            let mut row = rows::get(change, &id)?;
            let beside = change_row(&mut row)?;
            rows::update(change, &mut row, if_match)?;
            if let Some(mut beside) = beside {
                rows::insert(change, &mut beside)?;
            }
            Ok(row)
        })
        .await?;
    Ok(row)
}

async fn update(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let (detail, patch) = (request.changed(), request.members().clone());
    let row = changed(api, request, "key.update", Some(detail), move |row| apply(row, &patch).map(|()| None)).await?;
    Ok(answer(api, &row))
}

async fn revoke(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let row = changed(api, request, "key.revoke", None, |row| {
        row.is_active = false;
        Ok(None)
    })
    .await?;
    Ok(answer(api, &row))
}

async fn rotate(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let grace = request.body.get("graceSeconds").and_then(integer).unwrap_or(0);
    let mut new = KeyRow::default();
    let key = fresh(&mut new)?;
    let now = request.now_ms;
    let detail = json!({ "graceSeconds": grace });
    let row = changed(api, request, "key.rotate", Some(detail), move |row| {
        let until = now.saturating_add(grace * 1_000);
        // The old key goes on under a name of its own, with all that it may do, until then.
        let old = (grace > 0).then(|| KeyRow {
            id: String::new(),
            name: format!("{} (until {})", row.name, rfc3339(until)),
            expires_at_ms: Some(row.expires_at_ms.map_or(until, |at| at.min(until))),
            ..row.clone()
        });
        (row.hash, row.prefix) = (new.hash, new.prefix);
        row.is_active = true;
        Ok(old)
    })
    .await?;
    Ok(reveal(api, &row, &key))
}

async fn delete(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let found = find(api, request.param("id")).await?;
    remove(api, request, "key", (&found.id, &found.name), rows::delete).await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn words_for_scopes_are_those_of_settings() {
        assert_eq!(SCOPES, crate::settings::SCOPES.map(|(name, _)| name));
    }

    #[test]
    fn a_star_allows_all() {
        let mut row = KeyRow { name: "k".to_owned(), allowed_models: vec!["m".to_owned()], ..KeyRow::default() };
        let body = json!({"allowedProviders": "*", "allowedModels": ["a", "*"], "expiresAt": "2030-01-01T00:00:00Z"});
        apply(&mut row, body.as_object().unwrap()).unwrap();
        assert!(row.allowed_providers.is_empty() && row.allowed_models.is_empty());
        assert_eq!(row.expires_at_ms, Some(1_893_456_000_000));
        apply(&mut row, json!({"expiresAt": null}).as_object().unwrap()).unwrap();
        assert_eq!(row.expires_at_ms, None);
    }
}
