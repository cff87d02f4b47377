//! `settings`: what the router is told, and where from.

use clap::Subcommand;
use proxy::Method;
use serde_json::{Map, Value, json};

use super::{
    cell::Cell,
    context::Context,
    failure::Failure,
    out::{Column, Form},
};

#[derive(Debug, Default, Subcommand)]
pub(crate) enum Action {
    /// List all settings
    #[default]
    List,
    /// Print one setting
    Get {
        /// Its name, such as defaultModel
        key: String,
    },
    /// Change settings
    Set {
        /// NAME=VALUE; an empty value takes it back to its default
        #[arg(required = true, value_name = "NAME=VALUE")]
        changes: Vec<String>,
    },
}

const LIST: &[Column] = &[
    Column { title: "SETTING", cell: |v| Cell::of(&v["name"]) },
    Column { title: "VALUE", cell: |v| Cell::of(&v["value"]) },
    Column { title: "FROM", cell: |v| Cell::of(&v["source"]) },
    Column { title: "FIXED BY", cell: |v| Cell::of(&v["pinned"]) },
];

pub(crate) async fn run(context: &Context, action: Action) -> Result<(), Failure> {
    let (router, out) = (&context.router, &context.out);
    let settings = router.get("/api/settings").await?;
    match action {
        Action::List if out.form == Form::Json => out.json(&settings),
        Action::List => out.list(LIST, &rows(&settings)),
        Action::Get { key } => {
            let value = found(&settings, &key)
                .ok_or_else(|| Failure::NotFound(format!("there is no setting {key} (see `flow-cli settings`)")))?;
            if out.form == Form::Json {
                return out.json(value);
            }
            out.text(&format!("{}\n", super::out::clean(&super::cell::plain(value))))
        }
        Action::Set { changes } => {
            let patch = patch(&settings, &changes)?;
            let now = router.send(Method::PATCH, "/api/settings", Some(&patch)).await?;
            // A value may be a password.
            let names: Vec<_> = patch.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
            out.done(&format!("set {}", names.join(", ")), &now)?;
            let waits: Vec<_> = now["_pending"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            if waits.iter().any(|name| names.contains(name)) {
                out.warn(&format!("these take effect at the next start: {}", waits.join(", ")));
            }
            Ok(())
        }
    }
}

/// Settings as rows: members of objects have their names joined with points.
fn rows(settings: &Value) -> Vec<Value> {
    fn walk(value: &Value, name: String, settings: &Value, rows: &mut Vec<Value>) {
        match value {
            Value::Object(members) if !members.is_empty() => {
                for (member, value) in members {
                    let inner = if name.is_empty() { member.clone() } else { format!("{name}.{member}") };
                    walk(value, inner, settings, rows);
                }
            }
            value => {
                let (by, source) = (pinned_by(&settings["_pinned"], &name), &settings["_sources"][&name]);
                rows.push(json!({"name": name, "value": value, "source": source, "pinned": by}));
            }
        }
    }
    let mut rows = Vec::new();
    let own = settings.as_object().into_iter().flatten().filter(|(name, _)| !name.starts_with('_'));
    for (name, value) in own {
        walk(value, name.clone(), settings, &mut rows);
    }
    rows
}

/// What fixes a setting, so that it cannot be changed here: the source, and where in it.
fn pinned_by(pinned: &Value, name: &str) -> Value {
    let pin = &pinned[name];
    match (pin["source"].as_str(), pin["place"].as_str()) {
        (Some(source), Some(place)) if !place.is_empty() => format!("{source}: {place}").into(),
        (Some(source), _) => source.into(),
        (None, _) => Value::Null,
    }
}

fn found<'s>(settings: &'s Value, key: &str) -> Option<&'s Value> {
    key.split('.').try_fold(settings, |value, part| value.get(part))
}

/// A merge patch. What is a text now stays one; anything else may be written as JSON.
fn patch(settings: &Value, changes: &[String]) -> Result<Value, Failure> {
    let mut patch = Value::Object(Map::new());
    for change in changes {
        let (key, text) = change
            .split_once('=')
            .ok_or_else(|| Failure::Usage(format!("`{change}` is no change: write NAME=VALUE")))?;
        let is_text = matches!(found(settings, key), Some(Value::String(_)));
        let value = match serde_json::from_str(text) {
            _ if text.is_empty() => Value::Null,
            Ok(value) if !is_text => value,
            // Written with quotes, a text is meant as well.
            Ok(value @ Value::String(_)) => value,
            _ => text.into(),
        };
        let mut place = &mut patch;
        for part in key.split('.') {
            if !place.is_object() {
                *place = Value::Object(Map::new());
            }
            place = &mut place[part];
        }
        *place = value;
    }
    Ok(patch)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn settings_are_rows_and_changes_are_patches() {
        let settings = json!({
            "defaultModel": "a", "requireApiKey": false, "budget": {"enforce": true, "warnUsd": 0.5}, "hosts": [],
            "_pinned": {"budget.warnUsd": {"source": "file", "place": "config.toml:3:1"}},
        });
        let rows = rows(&settings);
        let names: Vec<_> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["defaultModel", "requireApiKey", "budget.enforce", "budget.warnUsd", "hosts"]);
        assert_eq!((&rows[3]["pinned"], &rows[2]["pinned"]), (&json!("file: config.toml:3:1"), &Value::Null));
        let change = |text: &str| patch(&settings, &[text.to_owned()]);
        for (text, expected) in [
            ("defaultModel=5", json!({"defaultModel": "5"})),
            ("defaultModel=\"5\"", json!({"defaultModel": "5"})),
            ("defaultModel=", json!({"defaultModel": null})),
            ("requireApiKey=true", json!({"requireApiKey": true})),
            ("budget.warnUsd=1.5", json!({"budget": {"warnUsd": 1.5}})),
            ("hosts=[\"a\",\"b\"]", json!({"hosts": ["a", "b"]})),
            ("drain=30s", json!({"drain": "30s"})),
            ("a=b=c", json!({"a": "b=c"})),
        ] {
            assert_eq!(change(text).unwrap(), expected, "{text}");
        }
        assert_eq!(change("defaultModel").unwrap_err().code(), 2);
        let both = patch(&settings, &["budget.enforce=false".into(), "budget.warnUsd=1".into()]).unwrap();
        assert_eq!(both, json!({"budget": {"enforce": false, "warnUsd": 1}}));
    }
}
