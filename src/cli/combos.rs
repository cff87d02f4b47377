//! `combos`: lists of models to fall back on, under one name.

use clap::Subcommand;
use proxy::Method;
use serde_json::json;

use super::{cell::Cell, context::Context, failure::Failure, http::named, out::Column};

#[derive(Debug, Default, Subcommand)]
pub(crate) enum Action {
    /// List combos
    #[default]
    List,
    /// Make a combo
    #[command(visible_alias = "add")]
    New {
        /// The name that clients ask for
        name: String,
        /// Models, the first one first
        #[arg(required = true)]
        models: Vec<String>,
        /// In which order they are tried
        #[arg(long, value_name = "WORD")]
        strategy: Option<String>,
    },
    /// Remove a combo
    #[command(visible_alias = "remove")]
    Rm {
        /// Name or id
        name: String,
    },
}

const LIST: &[Column] = &[
    Column { title: "COMBO", cell: |v| Cell::of(&v["name"]) },
    Column { title: "STRATEGY", cell: |v| Cell::of(&v["strategy"]) },
    Column { title: "ACTIVE", cell: |v| Cell::yes(&v["isActive"]) },
    Column { title: "MODELS", cell: |v| Cell::of(&v["models"]) },
    Column { title: "FROM", cell: |v| Cell::of(&v["source"]) },
];

pub(crate) async fn run(context: &Context, action: Action) -> Result<(), Failure> {
    let (router, out) = (&context.router, &context.out);
    match action {
        Action::List => out.list(LIST, &router.list("/api/combos").await?),
        Action::New { name, models, strategy } => {
            let mut body = json!({"name": name, "models": models});
            if let Some(strategy) = strategy {
                body["strategy"] = strategy.into();
            }
            let made = router.send(Method::POST, "/api/combos", Some(&body)).await?;
            out.done(&format!("made the combo {name}"), &made)
        }
        Action::Rm { name } => context.remove(&format!("/api/combos/{}", named(&name)), &name).await,
    }
}
