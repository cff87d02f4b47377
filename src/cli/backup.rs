//! `backup`: copies of the router's database. Its key file, `secret.key`, is in none of them.

use clap::Subcommand;
use proxy::Method;
use serde_json::{Map, Value, json};

use super::{
    ask::Sure,
    cell::Cell,
    context::Context,
    failure::Failure,
    http::encoded,
    out::{Column, Form},
};

#[derive(Debug, Default, Subcommand)]
pub(crate) enum Action {
    /// List backups, the newest first
    #[default]
    List,
    /// Make a backup now
    Create {
        /// What it is kept under; old ones of a label make room for new ones [default: manual]
        #[arg(long)]
        label: Option<String>,
        /// How many of that label are kept
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        keep: Option<u32>,
    },
    /// Read a backup through and say whether it is whole
    Verify {
        /// Its name
        name: String,
    },
    /// Put a backup in the place of the database; what is there is backed up first
    Restore {
        /// Its name
        name: String,
        #[command(flatten)]
        sure: Sure,
    },
}

const LIST: &[Column] = &[
    Column { title: "NAME", cell: |v| Cell::of(&v["name"]) },
    Column { title: "LABEL", cell: |v| Cell::of(&v["label"]) },
    Column { title: "CREATED", cell: |v| Cell::time(&v["createdAt"]) },
    Column { title: "SIZE", cell: |v| Cell::bytes(&v["sizeBytes"]) },
    Column { title: "SCHEMA", cell: |v| Cell::of(&v["schemaVersion"]) },
    Column { title: "BY", cell: |v| Cell::of(&v["appVersion"]) },
];

pub(crate) async fn run(context: &Context, action: Action) -> Result<(), Failure> {
    let (router, out) = (&context.router, &context.out);
    let path = "/api/settings/backups";
    match action {
        Action::List => out.list(LIST, &router.list(path).await?),
        Action::Create { label, keep } => {
            let mut body = Map::new();
            if let Some(label) = label {
                body.insert("label".into(), label.into());
            }
            if let Some(keep) = keep {
                body.insert("keepN".into(), keep.into());
            }
            let made = router.send(Method::POST, path, Some(&Value::Object(body))).await?;
            match out.form {
                Form::Json => out.json(&made)?,
                Form::Table | Form::Tsv => out.list(LIST, std::slice::from_ref(&made))?,
            }
            out.note("the file secret.key is not in it: keep a copy of that elsewhere, or its secrets are lost");
            Ok(())
        }
        Action::Verify { name } => {
            let answer = router
                .send(Method::POST, &format!("{path}/{}/verify", encoded(&name)), None)
                .await
                .map_err(|failure| failure.about(&name))?;
            if answer["ok"] == true {
                return out.done(&format!("{name} is whole"), &answer);
            }
            if out.form == Form::Json {
                out.json(&answer)?;
            }
            let faults: Vec<_> = answer["faults"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            Err(Failure::Failed(format!("{name} is damaged: {}", faults.join("; "))))
        }
        Action::Restore { name, sure } => {
            sure.ask(&format!("Replace all providers, keys, settings and usage by those of {name}?"))?;
            let body = json!({"confirm": name});
            let done = router
                .send(Method::POST, &format!("{path}/{}/restore", encoded(&name)), Some(&body))
                .await
                .map_err(|failure| failure.about(&name))?;
            out.done(&format!("restored {name}"), &done)?;
            if let Some(before) = done["before"]["name"].as_str() {
                out.note(&format!("what was there before is in the backup {before}"));
            }
            if let Some(lost @ 1..) = done["secretsLost"].as_u64() {
                out.warn(&format!("{lost} secrets were sealed with another secret.key: set them again"));
            }
            Ok(())
        }
    }
}
