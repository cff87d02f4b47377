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
        /// NAME=VALUE; an empty value takes it back to what the file or the default says
        #[arg(required = true, value_name = "NAME=VALUE")]
        changes: Vec<String>,
    },
}

const LIST: &[Column] = &[
    Column { title: "SETTING", cell: |v| Cell::of(&v["name"]) },
    Column { title: "VALUE", cell: |v| Cell::of(&v["value"]) },
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
            out.done(&format!("set {}", changes.join(" ")), &now)
        }
    }
}

/// Settings as rows: members of objects have their names joined with points.
fn rows(settings: &Value) -> Vec<Value> {
    fn walk(value: &Value, name: String, pinned: &Value, rows: &mut Vec<Value>) {
        match value {
            Value::Object(members) if !members.is_empty() => {
                for (member, value) in members {
                    let inner = if name.is_empty() { member.clone() } else { format!("{name}.{member}") };
                    walk(value, inner, pinned, rows);
                }
            }
            value => {
                let by = pinned_by(pinned, &name);
                rows.push(json!({"name": name, "value": value, "pinned": by}));
            }
        }
    }
    let mut rows = Vec::new();
    let own = settings.as_object().into_iter().flatten().filter(|(name, _)| !name.starts_with('_'));
    for (name, value) in own {
        walk(value, name.clone(), &settings["_pinned"], &mut rows);
    }
    rows
}

/// What fixes a setting: the router lists names, or says for each of them what it is.
fn pinned_by(pinned: &Value, name: &str) -> Value {
    match pinned {
        Value::Object(by) => by.get(name).cloned().unwrap_or_default(),
        Value::Array(names) if names.iter().any(|other| other == name) => "file, environment or flag".into(),
        _ => Value::Null,
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
            "_pinned": {"budget.warnUsd": "file"},
        });
        let rows = rows(&settings);
        let names: Vec<_> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["defaultModel", "requireApiKey", "budget.enforce", "budget.warnUsd", "hosts"]);
        assert_eq!((&rows[3]["pinned"], &rows[2]["pinned"]), (&json!("file"), &Value::Null));
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
