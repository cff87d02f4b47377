//! Models that are not to be used: the setting `disabled_models`, entry by entry.

use proxy::Method;
use serde_json::{Value, json};

use super::{SOURCE, pinned};
use crate::{
    api::{
        Api, Problem, Reply, Request,
        page::{self, CURSOR_PARAM, LIMIT_PARAM, Page, Q_PARAM, list_of},
        route::{Body, Content, Param, ROUTE, Route},
        schema::{Object, Schema, TEXT, name, needed},
    },
    settings::{Disabled, Settings, Source, presets::preset},
    store::{Change, StoreError, settings as rows},
};

/// The setting.
const SETTING: &str = "disabled_models";
/// Entries at most.
const ENTRIES: usize = 500;

const WRITE: Object = Object {
    name: "DisabledModelWrite",
    members: &[
        needed("provider", name(80), "a provider by name or id, a preset for all of that service, or *"),
        needed("model", name(160), "its name there; gpt-4* and * stand for several"),
    ],
};
const ENTRY: Object = Object {
    name: "DisabledModel",
    members: &[
        needed("provider", TEXT, "a provider by name or id, a preset, or *"),
        needed("model", TEXT, "its name there, prefix* or *"),
        needed("source", SOURCE, ""),
        needed("readOnly", Schema::Bool, ""),
    ],
};
const LIST: Schema = list_of!("DisabledModelList", Schema::Object(&ENTRY));
const PROVIDER: Param = Param { name: "provider", schema: name(80), help: "as it is listed" };
const MODEL: Param = Param { name: "model", schema: name(160), help: "as it is listed" };

pub(in crate::api) const ROUTES: &[Route] = &[
    Route {
        path: "/api/models/disabled",
        operation: "listDisabledModels",
        summary: "Models that are not used",
        tag: "models",
        query: &[Q_PARAM, LIMIT_PARAM, CURSOR_PARAM],
        replies: &[(200, Content::Json(LIST))],
        handler: |api, request| Box::pin(list(api, request)),
        ..ROUTE
    },
    Route {
        method: Method::POST,
        path: "/api/models/disabled",
        operation: "disableModel",
        summary: "Has a model not used any more",
        tag: "models",
        body: Body::Json(&WRITE),
        replies: &[(200, Content::Json(Schema::Object(&ENTRY))), (201, Content::Json(Schema::Object(&ENTRY)))],
        changes: true,
        handler: |api, request| Box::pin(add(api, request)),
        ..ROUTE
    },
    Route {
        method: Method::DELETE,
        path: "/api/models/disabled",
        operation: "enableModel",
        summary: "Has a model used again",
        tag: "models",
        query: &[PROVIDER, MODEL],
        replies: &[(204, Content::Empty)],
        errors: &[404],
        changes: true,
        handler: |api, request| Box::pin(remove(api, request)),
        ..ROUTE
    },
];

/// Refuses a change of what a source stronger than the store says as a whole.
fn writable(api: &Api) -> Result<(), Problem> {
    let source = api.live().source(SETTING);
    if source.is_pinned() { Err(pinned("disabledModels", source)) } else { Ok(()) }
}

fn shown(rule: &Disabled, source: Source, read_only: bool) -> Value {
    json!({"provider": rule.scope, "model": rule.model, "source": source.name(), "readOnly": read_only})
}

async fn list(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let page = Page::of(request)?;
    let source = api.live().source(SETTING);
    let read_only = source.is_pinned() || api.live().read_only();
    let snapshot = api.live().snapshot();
    let rules = snapshot.settings.disabled_models.iter();
    let rules = rules.filter(|rule| page::holds(request.query("q"), &[&rule.scope, &rule.model]));
    Ok(Reply::json(page.cut(rules.map(|rule| (rule.to_string(), shown(rule, source, read_only))).collect())))
}

/// A scope as the setting has it, if it names something that there is.
fn known(scope: &str, settings: &Settings) -> Option<String> {
    let name = scope.strip_prefix("name:").unwrap_or(scope);
    let named = settings.providers.iter().find(|provider| provider.name.eq_ignore_ascii_case(name));
    let id = || settings.providers.iter().any(|provider| &*provider.id == scope);
    match named {
        Some(provider) => Some(provider.name.clone()),
        None => (scope == "*" || preset(scope).is_some() || id()).then(|| scope.to_owned()),
    }
}

/// The list as the store has it.
fn kept(change: &Change<'_>) -> Result<Vec<String>, StoreError> {
    let value = rows::get(change, SETTING)?.unwrap_or_default();
    Ok(super::texts(&value))
}

fn keep(change: &Change<'_>, list: &[String]) -> Result<(), StoreError> {
    if list.is_empty() { rows::remove(change, SETTING).map(drop) } else { rows::set(change, SETTING, &json!(list)) }
}

async fn add(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let text = |name: &str| request.text(name).unwrap_or_default().trim().to_owned();
    let (scope, model) = (text("provider"), text("model"));
    if model.is_empty() || model.contains(',') {
        return Err(Problem::invalid("model", "a model must not be empty, and has no comma"));
    }
    let scope = known(&scope, &api.live().snapshot().settings).ok_or_else(|| {
        Problem::invalid("provider", format!("there is no provider and no preset {scope}; * stands for all"))
    })?;
    writable(api)?;
    let rule = Disabled { scope, model };
    let entry = rule.to_string();
    let audit = request.audit("model.disable", format!("model/{entry}"), None);
    let wanted = entry.clone();
    let new = api
        .change("model", &entry, audit, move |change, _| {
            let mut list = kept(change)?;
            let new = !list.contains(&wanted);
            if new {
                if list.len() >= ENTRIES {
                    let message = format!("there are {ENTRIES} entries already: use patterns");
                    return Err(StoreError::Invalid { field: "model".to_owned(), message });
                }
                list.push(wanted);
                keep(change, &list)?;
            }
            Ok(new)
        })
        .await?;
    let reply = Reply::json(shown(&rule, Source::Store, false));
    if !new {
        return Ok(reply);
    }
    let query: String = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("provider", &rule.scope)
        .append_pair("model", &rule.model)
        .finish();
    Ok(reply.status(201).with("location", format!("/api/models/disabled?{query}")))
}

async fn remove(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let named = |param: &str| match request.query(param) {
        Some(text) => Ok(text.to_owned()),
        None => Err(Problem::query(param, format!("name the entry: `{param}` is missing"))),
    };
    let entry = Disabled { scope: named("provider")?, model: named("model")? }.to_string();
    writable(api)?;
    let audit = request.audit("model.enable", format!("model/{entry}"), None);
    let wanted = entry.clone();
    let gone = api.change("model", &entry, audit, move |change, _| {
        let mut list = kept(change)?;
        let before = list.len();
        list.retain(|kept| *kept != wanted);
        if list.len() == before { Err(StoreError::NotFound) } else { keep(change, &list) }
    });
    gone.await?;
    Ok(Reply::empty())
}
