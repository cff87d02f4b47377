//! Settings: the rows of the table by their names in camelCase, with who said what.

use std::sync::LazyLock;

use aws_lc_rs::digest;
use proxy::Method;
use serde_json::{Map, Value, json};

use crate::{
    api::{
        Api, Problem, Reply, Request,
        route::{Body, Content, ROUTE, Route},
        schema::{Member, Object, Schema, TEXT, TEXTS, line, optional},
    },
    live::ChangeError,
    settings::{Effective, Row, Secret, TABLE, value},
    store::{StoreError, digest::hex, settings as rows},
};

/// Longest text of a setting, in characters.
const TEXT_CHARS: usize = 4_096;
/// An entry of a list.
const ENTRY: Schema = line(256);
/// Entries of a list at most.
const ENTRIES: usize = 500;

const PIN: Object = Object {
    name: "SettingSource",
    members: &[
        optional("source", TEXT, "flag, environment, file, store or default"),
        optional("place", TEXT, "where exactly"),
    ],
};

/// What the API adds to the rows; passed over in what is sent back.
const ABOUT: [Member; 5] = [
    optional("_pinned", Schema::Map(&Schema::Object(&PIN)), "settings that the API cannot change, and who says them"),
    optional("_sources", Schema::Map(&TEXT), "who says them: flag, environment, file, store or default"),
    optional("_lives", Schema::Map(&TEXT), "when a change takes effect: live, or boot for the next start"),
    optional("_pending", TEXTS, "settings that wait for the next start"),
    optional(
        "_notes",
        Schema::List(&Schema::Object(&super::system::NOTE), usize::MAX),
        "what the store says and is not in force",
    ),
];

pub(in crate::api) const ROUTES: &[Route] = &[
    Route {
        path: "/api/settings",
        operation: "getSettings",
        summary: "All settings with their sources; secrets only as …Set",
        tag: "settings",
        replies: &[(200, Content::Json(Schema::Made(document)))],
        versioned: true,
        handler: |api, request| Box::pin(get(api, request)),
        ..ROUTE
    },
    Route {
        method: Method::PATCH,
        or: Some(Method::PUT),
        path: "/api/settings",
        operation: "updateSettings",
        summary: "Changes the settings that are named; null gives them back to their default",
        tag: "settings",
        body: Body::Made(document),
        replies: &[(200, Content::Json(Schema::Made(document)))],
        versioned: true,
        changes: true,
        handler: |api, request| Box::pin(update(api, request)),
        ..ROUTE
    },
];

/// What the value of a row is in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Flag,
    Whole,
    List,
    Text,
}

impl Kind {
    fn of(row: &Row) -> Self {
        match row.value {
            "BOOL" => Kind::Flag,
            "N" => Kind::Whole,
            list if list.ends_with(",…") => Kind::List,
            _ => Kind::Text,
        }
    }

    fn schema(self) -> Schema {
        match self {
            Kind::Flag => Schema::Bool,
            Kind::Whole => Schema::Integer(0, i64::MAX),
            Kind::List => Schema::List(&ENTRY, ENTRIES),
            Kind::Text => line(TEXT_CHARS),
        }
    }

    /// A value of the table as JSON.
    fn json(self, text: &str) -> Value {
        match self {
            Kind::Flag => value::boolean(text).map_or(Value::Null, Value::Bool),
            Kind::Whole => text.trim().parse::<u64>().map_or(Value::Null, Value::from),
            Kind::List => value::list(text).into(),
            Kind::Text => text.into(),
        }
    }
}

/// The form of the settings: made from the table once, and kept for ever.
fn document() -> &'static Object {
    static FORM: LazyLock<&'static Object> = LazyLock::new(|| {
        let mut members: Vec<Member> = Vec::new();
        for row in TABLE {
            let name = name_of(row);
            if row.secret {
                members.push(optional(leaked(format!("{name}Set")), Schema::Any, "whether it is set; passed over"));
            }
            members.push(optional(leaked(name), Kind::of(row).schema(), row.help));
        }
        members.extend(ABOUT);
        Box::leak(Box::new(Object { name: "Settings", members: members.leak() }))
    });
    &FORM
}

fn leaked(text: String) -> &'static str {
    text.leak()
}

/// `hold_prologue` as `holdPrologue`.
fn camel(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut upper = false;
    for c in name.chars() {
        match c {
            '_' => upper = true,
            c if upper => {
                out.push(c.to_ascii_uppercase());
                upper = false;
            }
            c => out.push(c),
        }
    }
    out
}

/// The name of a row in the API.
pub(super) fn name_of(row: &Row) -> String {
    camel(row.name)
}

/// The settings as they are in force.
fn shown(api: &Api) -> (Value, String) {
    let rows = api.live().effective();
    let (mut members, mut pinned, mut sources, mut lives) = (Map::new(), Map::new(), Map::new(), Map::new());
    for entry in &rows {
        let name = name_of(entry.row);
        if entry.is_pinned() {
            pinned.insert(name.clone(), json!({"source": entry.source.name(), "place": entry.place}));
        }
        sources.insert(name.clone(), entry.source.name().into());
        lives.insert(name.clone(), entry.row.life.name().into());
        match entry.row.secret {
            true => members.insert(format!("{name}Set"), (!entry.value.is_empty()).into()),
            false => members.insert(name, Kind::of(entry.row).json(&entry.value)),
        };
    }
    let pending: Vec<_> = api.live().pending().into_iter().map(camel).collect();
    members.insert("_pinned".to_owned(), pinned.into());
    members.insert("_sources".to_owned(), sources.into());
    members.insert("_lives".to_owned(), lives.into());
    members.insert("_pending".to_owned(), pending.into());
    members.insert("_notes".to_owned(), super::system::notes(api));
    (Value::Object(members), version(&rows))
}

/// The version of the settings: they have no time of a last change, because files change them too.
fn version(rows: &[Effective]) -> String {
    let mut hash = digest::Context::new(&digest::SHA256);
    for entry in rows {
        for part in [entry.row.name, "=", &entry.value, "\n"] {
            hash.update(part.as_bytes());
        }
    }
    format!("\"{}\"", hex(&hash.finish().as_ref()[..8]))
}

fn answer(api: &Api) -> Reply {
    let (document, version) = shown(api);
    Reply::json(document).with("etag", version)
}

async fn get(api: &Api, _: &Request) -> Result<Reply, Problem> {
    Ok(answer(api))
}

/// What is to be done with one row.
enum Change {
    Remove,
    Set(Value),
    Seal(Secret),
}

async fn update(api: &Api, request: &Request) -> Result<Reply, Problem> {
    change(api, request).await?;
    Ok(api.auth().settled(answer(api), &request.visit(api)).await)
}

/// The version of the settings, as an `ETag`.
pub(super) fn etag(api: &Api) -> String {
    version(&api.live().effective())
}

/// Changes the settings that the request's body names.
pub(super) async fn change(api: &Api, request: &Request) -> Result<(), Problem> {
    let before = api.live().effective();
    let mut changes: Vec<(&'static str, Change)> = Vec::new();
    for (name, value) in request.members() {
        let Some(entry) = before.iter().find(|entry| name_of(entry.row) == *name) else { continue };
        let row = entry.row;
        // The whole document may be sent back: what is the same is no change, also of what cannot be changed.
        if !row.secret && Kind::of(row).json(&entry.value) == *value {
            continue;
        }
        if !row.stored {
            let message =
                format!("{name} cannot be kept in the store: set it in the file, the environment or by a flag");
            return Err(Problem::new(423, "pinned_by_config", message).param(name.clone()));
        }
        let commas = value.as_array().into_iter().flatten().filter_map(Value::as_str).any(|item| item.contains(','));
        if commas {
            return Err(Problem::invalid(name.clone(), format!("entries of `{name}` must not have commas")));
        }
        let change = match value {
            Value::Null => Change::Remove,
            Value::String(text) if row.secret && text.is_empty() => Change::Remove,
            Value::String(text) if row.secret => Change::Seal(Secret::new(text)),
            value => Change::Set(value.clone()),
        };
        changes.push((row.name, change));
    }
    let wanted = wanted_version(request);
    if let Some(wanted) = &wanted
        && *wanted != version(&before)
    {
        return Err(StoreError::Stale.into());
    }
    if changes.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = changes.iter().map(|(name, _)| camel(name)).collect();
    let audit = request.audit("settings.update", "settings", Some(json!({ "changed": names })));
    let (live, store) = (api.live().clone(), api.live().store().clone());
    let done = api
        .change("settings", &names.join(","), audit, move |change, _| {
            // On the writer's thread nothing changes in between.
            if wanted.is_some_and(|wanted| wanted != version(&live.effective())) {
                return Err(StoreError::Stale);
            }
            for (name, what) in &changes {
                match what {
                    Change::Remove => drop(rows::remove(change, name)?),
                    Change::Set(value) => rows::set(change, name, value)?,
                    Change::Seal(secret) => rows::set_secret(change, store.vault(), name, secret)?,
                }
            }
            Ok(())
        })
        .await;
    done.map_err(told)
}

/// The version that the caller wants to change.
fn wanted_version(request: &Request) -> Option<String> {
    let value = request.head.headers.get("if-match")?;
    let text = String::from_utf8_lossy(value).trim().to_owned();
    (text != "*").then_some(text)
}

/// A refusal in the names of the API.
fn told(error: ChangeError) -> Problem {
    let named = |place: &str| camel(place.strip_prefix("settings/").unwrap_or(place));
    let param = match &error {
        ChangeError::Invalid(faults) => faults.first().map(|fault| named(&fault.place)),
        ChangeError::Pinned { key, .. } => Some(named(key)),
        _ => None,
    };
    let problem = Problem::from(error);
    match param {
        Some(param) => problem.param(param),
        None => problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_form_that_its_default_has() {
        for row in TABLE {
            let member = document().member(&name_of(row));
            let Some(member) = member else { panic!("{} has no member", row.name) };
            let value = Kind::of(row).json(row.default);
            let checked = member.schema.check(&value, crate::api::schema::Needs::Marked);
            assert!(checked.is_ok(), "{}: {value} {checked:?}", row.name);
        }
        assert_eq!(camel("retention_usage_days"), "retentionUsageDays");
    }
}
