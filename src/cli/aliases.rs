//! `aliases`: names that stand for models.

use clap::Subcommand;
use proxy::Method;
use serde_json::json;

use super::{cell::Cell, context::Context, failure::Failure, http::encoded, out::Column};

#[derive(Debug, Default, Subcommand)]
pub(crate) enum Action {
    /// List aliases
    #[default]
    List,
    /// Let a name stand for a model
    #[command(visible_alias = "add")]
    New {
        /// The name that clients ask for
        alias: String,
        /// The model that they get, such as work/gpt-5
        model: String,
    },
    /// Remove an alias
    #[command(visible_alias = "remove")]
    Rm {
        /// Its name
        alias: String,
    },
}

const LIST: &[Column] = &[
    Column { title: "ALIAS", cell: |v| Cell::of(&v["alias"]) },
    Column { title: "MODEL", cell: |v| Cell::of(&v["model"]) },
    Column { title: "PROVIDER", cell: |v| Cell::of(&v["providerId"]) },
    Column { title: "FROM", cell: |v| Cell::of(&v["source"]) },
];

pub(crate) async fn run(context: &Context, action: Action) -> Result<(), Failure> {
    let (router, out) = (&context.router, &context.out);
    match action {
        Action::List => out.list(LIST, &router.list("/api/models/alias").await?),
        Action::New { alias, model } => {
            let body = json!({"alias": alias, "model": model});
            let made = router.send(Method::POST, "/api/models/alias", Some(&body)).await?;
            out.done(&format!("{alias} stands for {model}"), &made)
        }
        Action::Rm { alias } => context.remove(&format!("/api/models/alias/{}", encoded(&alias)), &alias).await,
    }
}
