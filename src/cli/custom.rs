//! `custom-models`: models that the user describes.

use clap::Subcommand;
use proxy::Method;
use serde_json::{Value, json};

use super::{
    cell::Cell,
    context::Context,
    failure::Failure,
    http::{encoded, reference},
    out::Column,
};

#[derive(Debug, Default, Subcommand)]
pub(crate) enum Action {
    /// List the models that you have described
    #[default]
    List,
    /// Describe a model of a provider, which serves it from then on
    #[command(visible_alias = "new")]
    Add {
        /// The provider
        provider: String,
        /// The model's name there
        model: String,
        /// Its name for people
        #[arg(long)]
        name: Option<String>,
        /// Tokens of request and answer together
        #[arg(long, value_name = "TOKENS")]
        context: Option<u32>,
        /// Tokens of an answer
        #[arg(long, value_name = "TOKENS")]
        max_output: Option<u32>,
        /// What it can do: tools, vision, stream, reasoning, json
        #[arg(long, value_delimiter = ',', value_name = "WORDS")]
        caps: Option<Vec<String>>,
    },
    /// Remove a description
    #[command(visible_alias = "remove")]
    Rm {
        /// The provider
        provider: String,
        /// The model's name there
        model: String,
    },
}

const LIST: &[Column] = &[
    Column { title: "MODEL", cell: |v| Cell::of(&v["model"]) },
    Column { title: "PROVIDER", cell: |v| Cell::of(&v["provider"]) },
    Column { title: "NAME", cell: |v| Cell::of(&v["displayName"]) },
    Column { title: "CONTEXT", cell: |v| Cell::count(&v["contextWindow"]) },
    Column { title: "MAX OUTPUT", cell: |v| Cell::count(&v["maxOutput"]) },
    Column { title: "CAN", cell: |v| Cell::of(&v["caps"]) },
];

pub(crate) async fn run(context: &Context, action: Action) -> Result<(), Failure> {
    const ALL: &str = "/api/models/custom";
    let (router, out) = (&context.router, &context.out);
    match action {
        Action::List => out.list(LIST, &router.list(ALL).await?),
        Action::Add { provider, model, name, context: window, max_output, caps } => {
            let body = json!({
                "providerId": reference(&provider),
                "model": model,
                "displayName": name,
                "contextWindow": window,
                "maxOutput": max_output,
                "caps": caps,
            });
            let made = router.send(Method::POST, ALL, Some(&body)).await?;
            out.done(&format!("{provider} serves {model}"), &made)
        }
        Action::Rm { provider, model } => {
            let what = format!("{model} of {provider}");
            let all = router.list(ALL).await?;
            let same = |value: &Value, text: &str| value.as_str().is_some_and(|v| v.eq_ignore_ascii_case(text));
            let found = all.iter().find(|entry| {
                entry["model"] == *model && (same(&entry["provider"], &provider) || entry["providerId"] == *provider)
            });
            let id = found
                .and_then(|entry| entry["id"].as_str())
                .ok_or_else(|| Failure::NotFound(format!("{what} is not described")))?;
            context.remove(&format!("{ALL}/{}", encoded(id)), &what).await
        }
    }
}
