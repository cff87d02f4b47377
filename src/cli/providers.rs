//! `providers`: services that answer requests.

use clap::{Args, Subcommand};
use proxy::Method;
use serde_json::{Map, Value, json};

use super::{
    ask::{SecretSource, Sure},
    cell::Cell,
    context::Context,
    failure::Failure,
    http::named,
    out::Column,
};

#[derive(Debug, Default, Subcommand)]
pub(crate) enum Action {
    /// List all providers, in the order in which they are tried
    #[default]
    List,
    /// List the services that are known by name
    Presets,
    /// Add a provider; its key is asked for, or comes from standard input or a variable
    Add(Box<Add>),
    /// Ask a provider whether it answers
    Test {
        /// Names or ids
        #[arg(required_unless_present = "all")]
        names: Vec<String>,
        /// All that are in force
        #[arg(long, conflicts_with = "names")]
        all: bool,
    },
    /// Send requests to a provider again
    Enable {
        /// Name or id
        name: String,
    },
    /// Send no more requests to a provider, and keep it
    Disable {
        /// Name or id
        name: String,
    },
    /// Remove a provider and its key
    #[command(visible_alias = "rm")]
    Remove {
        /// Name or id
        name: String,
        #[command(flatten)]
        sure: Sure,
    },
    /// List the models that a provider offers
    Models {
        /// Name or id
        name: String,
        /// Ask the provider now
        #[arg(long)]
        refresh: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Add {
    /// What people call it; the prefix in NAME/model. The name of a preset says everything else
    name: String,
    /// The service, if the name does not say it (see `providers presets`)
    #[arg(long)]
    preset: Option<String>,
    /// Where it is, up to where the dialect's own path begins
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
    /// Its dialect: openai_chat, openai_responses, anthropic, gemini or ollama
    #[arg(long, value_name = "DIALECT")]
    format: Option<String>,
    /// A plain model name, or a pattern such as gpt-*, that leads here; may be repeated
    #[arg(long = "model", value_name = "MODEL")]
    models: Vec<String>,
    /// Lower is tried first
    #[arg(long, allow_negative_numbers = true)]
    priority: Option<i64>,
    /// A mark to find it by; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Keep it, but send it no requests yet
    #[arg(long)]
    disabled: bool,
    /// Ask it whether it answers, and do not add it if it does not
    #[arg(long)]
    test: bool,
    #[command(flatten)]
    secret: SecretSource,
}

const LIST: &[Column] = &[
    Column { title: "NAME", cell: |v| Cell::of(&v["name"]) },
    Column { title: "SERVICE", cell: |v| Cell::of(&v["provider"]) },
    Column { title: "DIALECT", cell: |v| Cell::of(&v["format"]) },
    Column { title: "STATE", cell: |v| Cell::of(&v["state"]["status"]) },
    Column { title: "KEY", cell: |v| key(v) },
    Column { title: "PRIORITY", cell: |v| Cell::of(&v["priority"]) },
    Column { title: "MODELS", cell: |v| Cell::of(&v["models"]) },
    Column { title: "FROM", cell: |v| Cell::of(&v["source"]) },
    Column { title: "ADDRESS", cell: |v| Cell::of(&v["baseUrl"]) },
];
const TESTS: &[Column] = &[
    Column { title: "NAME", cell: |v| Cell::of(&v["name"]) },
    Column { title: "ANSWERS", cell: |v| Cell::yes(&v["valid"]) },
    Column { title: "STATUS", cell: |v| Cell::of(&v["statusCode"]) },
    Column { title: "TOOK", cell: |v| Cell::ms(&v["latencyMs"]) },
    Column { title: "MODELS", cell: |v| Cell::of(&v["modelCount"]) },
    Column { title: "DETAIL", cell: |v| Cell::of(&v["detail"]) },
];
const MODELS: &[Column] = &[
    Column { title: "MODEL", cell: |v| Cell::of(&v["id"]) },
    Column { title: "NAME", cell: |v| Cell::of(&v["name"]) },
    Column { title: "CONTEXT", cell: |v| Cell::count(&v["contextWindow"]) },
];
const PRESETS: &[Column] = &[
    Column { title: "PRESET", cell: |v| Cell::of(&v["id"]) },
    Column { title: "SERVICE", cell: |v| Cell::of(&v["name"]) },
    Column { title: "DIALECT", cell: |v| Cell::of(&v["format"]) },
    Column { title: "ADDRESS", cell: |v| Cell::of(&v["baseUrl"]) },
];

fn key(provider: &Value) -> Cell {
    match (&provider["apiKeyHint"], provider["apiKeySet"].as_bool()) {
        (Value::String(hint), _) => Cell::plain(hint.as_str()),
        (_, Some(true)) => Cell::plain("set"),
        _ => Cell::plain(""),
    }
}

pub(crate) async fn run(context: &Context, action: Action) -> Result<(), Failure> {
    let (router, out) = (&context.router, &context.out);
    match action {
        Action::List => out.list(LIST, &router.list("/api/providers").await?),
        Action::Presets => out.list(PRESETS, &router.list("/api/presets").await?),
        Action::Add(add) => added(context, &add).await,
        Action::Test { names, all } => test(context, &names, all).await,
        Action::Enable { name } => active(context, &name, true).await,
        Action::Disable { name } => active(context, &name, false).await,
        Action::Remove { name, sure } => {
            sure.ask(&format!("Remove the provider {name} and its key?"))?;
            context.remove(&format!("/api/providers/{}", named(&name)), &name).await
        }
        Action::Models { name, refresh } => {
            let refresh = if refresh { "?refresh=true" } else { "" };
            let models = router
                .get(&format!("/api/providers/{}/models{refresh}", named(&name)))
                .await
                .map_err(|failure| failure.about(&name))?;
            out.list(MODELS, models["data"].as_array().map_or(&[], Vec::as_slice))
        }
    }
}

async fn added(context: &Context, add: &Add) -> Result<(), Failure> {
    let key = add.secret.read(&add.name)?;
    let mut body = Map::new();
    body.insert("provider".into(), add.preset.as_deref().unwrap_or(&add.name).into());
    body.insert("name".into(), add.name.as_str().into());
    if let Some(url) = &add.base_url {
        body.insert("baseUrl".into(), url.as_str().into());
    }
    if let Some(format) = &add.format {
        body.insert("format".into(), format.as_str().into());
    }
    if let Some(key) = key {
        body.insert("apiKey".into(), key.into());
    } else if add.base_url.is_some() {
        // A service of one's own without a key.
        body.insert("authType".into(), "none".into());
    }
    if add.test {
        let mut asked = body.clone();
        let preset = asked.remove("provider").unwrap_or_default();
        asked.retain(|member, _| matches!(member.as_str(), "baseUrl" | "format" | "apiKey"));
        // Asked where there is no list of models.
        let plain = add.models.iter().filter(|model| !model.contains('*')).take(10);
        asked.insert("models".into(), plain.map(String::as_str).collect::<Vec<_>>().into());
        if add.base_url.is_none() {
            asked.insert("preset".into(), preset);
        }
        let path = "/api/providers/validate";
        let tested = context.router.send(Method::POST, path, Some(&Value::Object(asked))).await?;
        if tested["valid"] != true {
            let detail = tested["detail"].as_str().unwrap_or("it does not answer");
            return Err(Failure::Failed(format!("{} was not added: {detail}", add.name)));
        }
    }
    if !add.models.is_empty() {
        body.insert("models".into(), add.models.clone().into());
    }
    if !add.tags.is_empty() {
        body.insert("tags".into(), add.tags.clone().into());
    }
    if let Some(priority) = add.priority {
        body.insert("priority".into(), priority.into());
    }
    if add.disabled {
        body.insert("isActive".into(), false.into());
    }
    let provider = context.router.send(Method::POST, "/api/providers", Some(&Value::Object(body))).await?;
    context.out.done(&format!("added {}; test it with: flow-cli providers test {}", add.name, add.name), &provider)?;
    for note in provider["notes"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        context.out.warn(note);
    }
    Ok(())
}

async fn active(context: &Context, name: &str, active: bool) -> Result<(), Failure> {
    let path = format!("/api/providers/{}", named(name));
    let provider = context.router.send(Method::PATCH, &path, Some(&json!({"isActive": active}))).await?;
    context.out.done(&format!("{} {name}", if active { "enabled" } else { "disabled" }), &provider)
}

/// Asks providers; fails if one of them does not answer.
async fn test(context: &Context, names: &[String], all: bool) -> Result<(), Failure> {
    let router = &context.router;
    let mut results = Vec::new();
    if all {
        let providers = router.list("/api/providers").await?;
        let mut batch = router.send(Method::POST, "/api/providers/test-batch", Some(&json!({}))).await?;
        let Value::Array(tested) = batch["results"].take() else {
            return Err(Failure::Failed("the server's answer holds no results".to_owned()));
        };
        for mut result in tested {
            let of = providers.iter().find(|provider| provider["id"] == result["id"]);
            result["name"] = of.map_or_else(|| result["id"].clone(), |provider| provider["name"].clone());
            results.push(result);
        }
    }
    for name in names {
        let path = format!("/api/providers/{}/test", named(name));
        let mut result = router.send(Method::POST, &path, None).await?;
        result["name"] = name.as_str().into();
        results.push(result);
    }
    context.out.list(TESTS, &results)?;
    let failed: Vec<_> = results.iter().filter(|result| result["valid"] != true).collect();
    let names: Vec<_> = failed.iter().filter_map(|result| result["name"].as_str()).collect();
    if failed.is_empty() { Ok(()) } else { Err(Failure::Failed(format!("no good answer from {}", names.join(", ")))) }
}
