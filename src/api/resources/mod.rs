//! What there is to manage, a file each.

pub(super) mod combos;
pub(super) mod custom;
pub(super) mod database;
pub(super) mod disabled;
pub(super) mod events;
mod export;
pub(super) mod keys;
pub(super) mod locale;
pub(super) mod mitm;
pub(super) mod models;
pub(super) mod outside;
pub(super) mod presets;
pub(super) mod pricing;
mod probe;
pub(super) mod providers;
pub(super) mod requests;
pub(super) mod settings;
pub(super) mod system;
pub(super) mod tags;
mod time;
pub(super) mod usage;

use serde_json::{Value, json};

use super::{
    Api, Problem, Reply, Request,
    schema::{Schema, whole},
};
use crate::{
    settings::Source,
    store::{Connection, Secret, StoreError},
};

/// A parameter that is true or false.
const FLAG: Schema = Schema::Word(&["true", "false", "1", "0"]);
/// Where an entry is defined: the names of [`Source`].
const SOURCE: Schema = Schema::Word(&["store", "file", "environment", "flag", "default"]);

/// Enough of a secret to recognise it, if it is so long that this gives nothing away.
fn hidden(secret: &Secret) -> Option<String> {
    let text = secret.expose();
    let chars = text.chars().count();
    if chars < 16 {
        return None;
    }
    let head: String = text.chars().take(3).collect();
    let tail: String = text.chars().skip(chars - 4).collect();
    Some(format!("{head}…{tail}"))
}

/// A whole number, however it is written.
fn integer(value: &Value) -> Option<i64> {
    whole(value).and_then(|number| i64::try_from(number).ok())
}

/// The store's entries of a kind. Where the store cannot be read there are none: those of files are shown all the same.
async fn stored<T: Send + 'static>(
    api: &Api,
    list: impl FnOnce(&Connection) -> Result<Vec<T>, StoreError> + Send + 'static,
) -> Result<Vec<T>, Problem> {
    match api.live().unavailable() {
        Some(_) => Ok(Vec::new()),
        None => Ok(api.live().store().read(list).await?),
    }
}

/// What entries of the store and of files are ordered by: their names, and where they are defined for two of one name.
/// [`Page::cut`](super::page::Page::cut) goes on behind such a place, so no two entries may share one.
fn place(name: &str, entry: &Value) -> String {
    format!("{}\n{}", name.to_lowercase(), entry["source"].as_str().unwrap_or_default())
}

/// The texts of a list; none if it is no list.
fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The refusal to change what a file, the environment or a flag has defined.
fn pinned(name: &str, source: Source) -> Problem {
    let message = format!("{name} is defined by the {}: change it there", source.name());
    Problem::new(423, "pinned_by_config", message).param(name).details(json!({ "source": source.name() }))
}

/// Removes an entry of the store, known by its id and name, if it is the version that the caller has seen.
async fn remove(
    api: &Api,
    request: &Request,
    kind: &'static str,
    (id, name): (&str, &str),
    delete: fn(&Connection, &str, Option<i64>) -> Result<(), StoreError>,
) -> Result<Reply, Problem> {
    let if_match = request.if_match()?;
    let audit = request.audit(&format!("{kind}.delete"), format!("{kind}/{id}"), Some(json!({ "name": name })));
    let own = id.to_owned();
    api.change(kind, id, audit, move |change, _| delete(change, &own, if_match)).await?;
    Ok(Reply::empty())
}

/// How entries are named in paths.
mod ids {
    /// Whether `given` names the entry: its id, or `name:` and its name without regard to case.
    pub(super) fn is(given: &str, id: &str, name: &str) -> bool {
        given == id || given.strip_prefix("name:").is_some_and(|given| given.eq_ignore_ascii_case(name))
    }
}
