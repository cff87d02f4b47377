//! The OpenAPI 3.1 document, made from the table.

use std::sync::LazyLock;

use proxy::Method;
use serde_json::{Map, Value, json};

use super::{
    auth::{Capability, scope_name},
    route::{Body, Content, Param, Route},
    router::routes,
    schema::{Needs, Object, Schema, TEXT, needed, optional},
};

/// The envelope of errors.
const PROBLEM: Object = Object {
    name: "Problem",
    members: &[needed(
        "error",
        Schema::Object(&Object {
            name: "ProblemError",
            members: &[
                needed("type", TEXT, "the kind of error, by its status"),
                needed("code", TEXT, "what exactly, as a word"),
                needed("message", TEXT, "for people"),
                optional("param", TEXT, "the member or parameter that it is about"),
                optional("details", Schema::Any, "more, for programs"),
                needed("requestId", TEXT, "the request's id, as in X-Request-Id"),
            ],
        }),
        "",
    )],
};

const ABOUT: &str = "Everything that the gateway lets you manage. Names are camelCase, times RFC 3339 in UTC, money USD. \
    PUT and PATCH merge (RFC 7396): what is not named stays, null takes back. Unknown members are refused. \
    A change may carry If-Match with the ETag of what it changes, and an Idempotency-Key under which it happens once.";

/// The document. It is the same for every request, and made once.
pub(super) fn document() -> &'static Value {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(make);
    &DOCUMENT
}

fn make() -> Value {
    let mut named = Map::new();
    let problem = Schema::Object(&PROBLEM).document(&mut named);
    let mut paths: Map<String, Value> = Map::new();
    for route in routes() {
        for (at, path) in route.paths().enumerate() {
            for method in route.methods() {
                let mut operation = operation(route, &problem, &mut named);
                operation["operationId"] = operation_id(route, method, at).into();
                if at > 0 {
                    operation["deprecated"] = true.into();
                }
                let place = paths.entry(path.to_owned()).or_insert_with(|| json!({}));
                place[method.as_str().to_ascii_lowercase()] = operation;
            }
        }
    }
    let mut tags: Vec<&str> = Vec::new();
    for route in routes() {
        if !tags.contains(&route.tag) {
            tags.push(route.tag);
        }
    }
    let tags: Vec<_> = tags.into_iter().map(|name| json!({ "name": name })).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Flow Router management API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": named,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "a key (flr_…) with the scope that is asked for, or the token in run/admin.token"},
                "session": {"type": "apiKey", "in": "cookie", "name": "flow_router_session"},
            },
        },
    })
}

/// The name of an operation: aliases and second methods have one of their own.
fn operation_id(route: &Route, method: &Method, alias: usize) -> String {
    let mut id = route.operation.to_owned();
    if *method != route.method {
        let name = method.as_str();
        id.push_str(&name[..1]);
        id.push_str(&name[1..].to_ascii_lowercase());
    }
    if alias > 0 {
        id.push_str(&format!("Alias{alias}"));
    }
    id
}

fn operation(route: &Route, problem: &Value, named: &mut Map<String, Value>) -> Value {
    let mut operation = json!({"tags": [route.tag], "summary": route.summary});
    let mut parameters: Vec<Value> = Vec::new();
    let segments = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    for name in segments {
        let schema = json!({"type": "string", "minLength": 1});
        parameters.push(json!({"name": name, "in": "path", "required": true, "schema": schema}));
    }
    parameters.extend(route.query.iter().map(|param| query_parameter(param, named)));
    if route.versioned && route.method != Method::GET {
        let help = "the ETag of what is to be changed; 412 if it has changed since";
        parameters.push(header_parameter("If-Match", json!({"type": "string"}), help));
    }
    if route.changes {
        let schema = json!({"type": "string", "minLength": 8, "maxLength": 255, "pattern": "^[\\x21-\\x7e]*$"});
        parameters.push(header_parameter("Idempotency-Key", schema, "the change happens once under this key"));
    }
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if let Some((schema, required)) = body(route, named) {
        operation["requestBody"] = json!({"required": required, "content": {"application/json": {"schema": schema}}});
    }
    let mut responses = Map::new();
    for (status, content) in route.replies {
        let mut response = json!({"description": phrase(*status), "headers": headers(route, *status)});
        let content = match content {
            Content::Empty => None,
            Content::Json(schema) => Some(json!({"application/json": {"schema": schema.document(named)}})),
            Content::Events => Some(json!({"text/event-stream": {"schema": {"type": "string"}}})),
            Content::Other(media) => {
                let media = media.iter().map(|media| ((*media).to_owned(), json!({})));
                Some(Value::Object(media.collect()))
            }
        };
        if let Some(content) = content {
            response["content"] = content;
        }
        responses.insert(status.to_string(), response);
    }
    for status in route.problems() {
        if !responses.contains_key(&status.to_string()) {
            let response = json!({
                "description": phrase(status),
                "headers": {"X-Request-Id": {"required": true, "schema": {"type": "string"}}},
                "content": {"application/json": {"schema": problem}},
            });
            responses.insert(status.to_string(), response);
        }
    }
    operation["responses"] = responses.into();
    match route.capability {
        Capability::Public | Capability::Login => operation["security"] = json!([]),
        Capability::Scope(scope) => {
            // Without a login, whoever is on this machine needs no credential.
            operation["security"] = json!([{}, {"key": []}, {"session": []}]);
            operation["x-scope"] = scope_name(scope).into();
        }
    }
    operation
}

fn query_parameter(param: &Param, named: &mut Map<String, Value>) -> Value {
    json!({"name": param.name, "in": "query", "description": param.help, "schema": param.schema.document(named)})
}

fn header_parameter(name: &str, schema: Value, help: &str) -> Value {
    json!({"name": name, "in": "header", "description": help, "schema": schema})
}

/// The schema of the body and whether there must be one.
fn body(route: &Route, named: &mut Map<String, Value>) -> Option<(Value, bool)> {
    Some(match route.body {
        Body::None => return None,
        Body::Json(form) => (Schema::Object(form).document(named), true),
        Body::Optional(form) => (Schema::Object(form).document(named), false),
        Body::Merge(form) => (form.document(Needs::Nothing, named), true),
        Body::Made(form) => (form().document(Needs::Nothing, named), true),
        Body::Value(schema) | Body::Long(schema) => (schema.document(named), true),
    })
}

/// The fields that an answer has for sure.
fn headers(route: &Route, status: u16) -> Value {
    let text = || json!({"required": true, "schema": {"type": "string"}});
    let mut headers = json!({"X-Request-Id": text()});
    if route.versioned && route.method != Method::DELETE {
        headers["ETag"] = text();
    }
    if status == 201 {
        headers["Location"] = text();
    }
    headers
}

fn phrase(status: u16) -> &'static str {
    proxy::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("an answer")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_document_is_the_table() {
        let document = document();
        let mut ids = HashSet::new();
        let mut count = 0;
        for (path, place) in document["paths"].as_object().unwrap() {
            for (method, operation) in place.as_object().unwrap() {
                let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes()).unwrap();
                let route = routes().find(|route| {
                    route.paths().any(|known| known == path) && route.methods().any(|known| *known == method)
                });
                let route = route.unwrap_or_else(|| panic!("{method} {path} is not in the table"));
                assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{method} {path}");
                assert_eq!(operation["summary"], route.summary);
                for (status, _) in route.replies {
                    assert!(operation["responses"][status.to_string()].is_object(), "{path} {status}");
                }
                count += 1;
            }
        }
        let rows: usize = routes().map(|route| route.paths().count() * route.methods().count()).sum();
        assert_eq!(count, rows);
    }

    /// Every reference leads somewhere, and nothing is left open.
    #[test]
    fn references_lead_to_schemas() {
        fn walk(value: &Value, found: &mut HashSet<String>) {
            match value {
                Value::Object(members) => members.iter().for_each(|(name, value)| match value.as_str() {
                    Some(reference) if name == "$ref" => drop(found.insert(reference.to_owned())),
                    _ => walk(value, found),
                }),
                Value::Array(items) => items.iter().for_each(|item| walk(item, found)),
                _ => {}
            }
        }
        let document = document();
        let mut found = HashSet::new();
        walk(document, &mut found);
        assert!(found.len() > 10);
        for reference in &found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some_and(Value::is_object), "{reference}");
        }
        let named = document["components"]["schemas"].as_object().unwrap();
        for name in named.keys() {
            assert!(found.contains(&format!("#/components/schemas/{name}")), "{name} is used nowhere");
        }
    }
}
