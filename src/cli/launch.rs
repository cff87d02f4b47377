//! `launch`: starts a client that uses the router, by its environment alone. No file is touched.
//!
//! On Unix the client takes the place of this program: terminal, signals and exit code are its own. Elsewhere it is a
//! child that is waited for.
//!
//! The key goes into the environment, never onto a command line, where every process can read it. The token for
//! administrators is handed to nobody: if the router asks clients for a key, one must have been given.

use std::{
    ffi::OsString,
    io,
    path::Path,
    process::{Command, ExitCode},
};

use clap::Args;
use proxy::Method;
use serde_json::{Map, Value, json};

use super::{
    clients::{self, Tool},
    context::Context,
    failure::Failure,
    place,
};

/// What stands in the place of a key where none is needed: clients want one.
const NO_KEY: &str = "none-needed";
/// Models that are named to a client that does not ask for them itself.
const MODELS_MAX: usize = 500;

#[derive(Debug, Args)]
pub(crate) struct Launch {
    /// Which client
    tool: Tool,
    /// The model to use, such as work/gpt-5
    #[arg(long, short)]
    model: Option<String>,
    /// The model for small tasks, where the client has such; the same one unless said
    #[arg(long, value_name = "MODEL", requires = "model")]
    small_model: Option<String>,
    /// Arguments for the client, behind --
    #[arg(last = true)]
    args: Vec<OsString>,
}

/// What a client is told.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    /// Arguments in front of the user's.
    args: Vec<String>,
    /// Variables to set.
    set: Vec<(&'static str, String)>,
    /// Variables that would lead elsewhere.
    unset: &'static [&'static str],
}

/// What a plan is made from.
struct Facts<'a> {
    base: &'a str,
    key: &'a str,
    model: Option<&'a str>,
    small: Option<&'a str>,
    models: &'a [String],
}

impl Plan {
    fn of(tool: Tool, facts: &Facts<'_>) -> Self {
        match tool {
            Tool::Claude => Self::claude(facts),
            Tool::Codex => Self::codex(facts),
            Tool::Gemini => Self::gemini(facts),
            Tool::Opencode => Self::opencode(facts),
        }
    }

    fn claude(facts: &Facts<'_>) -> Self {
        let mut set =
            vec![("ANTHROPIC_BASE_URL", facts.base.to_owned()), ("ANTHROPIC_AUTH_TOKEN", facts.key.to_owned())];
        if let Some(model) = facts.model {
            let small = facts.small.unwrap_or(model);
            set.push(("ANTHROPIC_MODEL", model.to_owned()));
            // The older name, and the one that took its place.
            set.push(("ANTHROPIC_SMALL_FAST_MODEL", small.to_owned()));
            set.push(("ANTHROPIC_DEFAULT_HAIKU_MODEL", small.to_owned()));
        }
        let unset =
            &["ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN", "CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX"];
        Self { args: Vec::new(), set, unset }
    }

    fn codex(facts: &Facts<'_>) -> Self {
        // Values are TOML. The key is named by the variable that holds it.
        let mut settings = vec![
            ("model_provider".to_owned(), "flow_router".to_owned()),
            ("model_providers.flow_router.name".to_owned(), "Flow Router".to_owned()),
            ("model_providers.flow_router.base_url".to_owned(), format!("{}/v1", facts.base)),
            ("model_providers.flow_router.wire_api".to_owned(), "responses".to_owned()),
            ("model_providers.flow_router.env_key".to_owned(), "FLOW_ROUTER_KEY".to_owned()),
        ];
        if let Some(model) = facts.model {
            settings.push(("model".to_owned(), model.to_owned()));
        }
        let args = settings.into_iter().flat_map(|(name, value)| {
            let value = toml::Value::String(value);
            ["-c".to_owned(), format!("{name}={value}")]
        });
        let set = vec![("FLOW_ROUTER_KEY", facts.key.to_owned())];
        Self { args: args.collect(), set, unset: &["OPENAI_BASE_URL"] }
    }

    fn gemini(facts: &Facts<'_>) -> Self {
        let mut set = vec![("GOOGLE_GEMINI_BASE_URL", facts.base.to_owned()), ("GEMINI_API_KEY", facts.key.to_owned())];
        if let Some(model) = facts.model {
            set.push(("GEMINI_MODEL", model.to_owned()));
        }
        Self { args: Vec::new(), set, unset: &["GOOGLE_API_KEY", "GOOGLE_GENAI_USE_VERTEXAI", "GOOGLE_GENAI_USE_GCA"] }
    }

    fn opencode(facts: &Facts<'_>) -> Self {
        let named = facts.models.iter().map(String::as_str).chain(facts.model).chain(facts.small);
        let models: Map<String, Value> = named.map(|model| (model.to_owned(), json!({ "name": model }))).collect();
        let mut config = json!({
            "$schema": "https://opencode.ai/config.json",
            "provider": { "flow-router": {
                "npm": "@ai-sdk/openai-compatible",
                "name": "Flow Router",
                "options": { "baseURL": format!("{}/v1", facts.base), "apiKey": facts.key },
                "models": models,
            }},
        });
        if let Some(model) = facts.model {
            config["model"] = format!("flow-router/{model}").into();
            config["small_model"] = format!("flow-router/{}", facts.small.unwrap_or(model)).into();
        }
        Self { args: Vec::new(), set: vec![("OPENCODE_CONFIG_CONTENT", config.to_string())], unset: &[] }
    }
}

pub(crate) async fn run(context: &Context, launch: Launch) -> Result<ExitCode, Failure> {
    let name = launch.tool.program();
    let program = place::program(name)
        .ok_or_else(|| Failure::NotFound(format!("there is no program `{name}` on PATH: install it first")))?;
    let models = ready(context).await?;
    let facts = Facts {
        base: &context.router.base,
        key: context.key.as_deref().unwrap_or(NO_KEY),
        model: launch.model.as_deref(),
        small: launch.small_model.as_deref(),
        models: &models,
    };
    let plan = Plan::of(launch.tool, &facts);
    // A client's own file may say more than its environment: that is worth a word, not a change.
    if let Some(found) = clients::of(launch.tool).filter(|found| !found.leads_to(&context.router)) {
        context.out.warn(&format!("{} sends this client to {}", found.place, found.address));
    }
    let mut command = Command::new(program);
    command.args(&plan.args).args(&launch.args);
    for name in plan.unset {
        command.env_remove(name);
    }
    command.envs(plan.set);
    if let Some((name, value)) = no_proxy(context.router.host_and_port().0) {
        command.env(name, value);
    }
    start(command).await
}

/// Whether the router lets the client in, and the models that it names.
async fn ready(context: &Context) -> Result<Vec<String>, Failure> {
    let answer = context.router.ask_as(context.key.as_deref(), Method::GET, "/v1/models").await?;
    if answer.status == 401 && context.key.is_none() {
        return Err(Failure::Unauthorised(
            "this router asks clients for a key: make one with `flow-cli keys new NAME` and set FLOW_ROUTER_KEY to it"
                .to_owned(),
        ));
    }
    let document = answer.ok()?;
    let models = document["data"].as_array().into_iter().flatten();
    Ok(models.filter_map(|model| model["id"].as_str()).take(MODELS_MAX).map(str::to_owned).collect())
}

/// `NO_PROXY` with the router in it, where a proxy is set that would get its requests otherwise.
fn no_proxy(host: &str) -> Option<(&'static str, String)> {
    if !proxy::is_loopback(host) || place::proxies().is_empty() {
        return None;
    }
    match place::no_proxy() {
        Some((_, list)) if place::spares(&list, host) => None,
        Some((name, list)) => Some((name, format!("{list},{host}"))),
        None => Some(("NO_PROXY", host.to_owned())),
    }
}

#[cfg(unix)]
async fn start(mut command: Command) -> Result<ExitCode, Failure> {
    use std::os::unix::process::CommandExt as _;
    // Comes back only if it failed.
    let error = command.exec();
    Err(not_started(Path::new(command.get_program()), &error))
}

#[cfg(not(unix))]
async fn start(command: Command) -> Result<ExitCode, Failure> {
    let program = std::path::PathBuf::from(command.get_program());
    let mut child = tokio::process::Command::from(command).spawn().map_err(|error| not_started(&program, &error))?;
    loop {
        tokio::select! {
            status = child.wait() => {
                let code = status?.code().unwrap_or(1);
                return Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)));
            }
            // The client gets the same one from its console, and decides.
            _ = tokio::signal::ctrl_c() => {}
        }
    }
}

fn not_started(program: &Path, error: &io::Error) -> Failure {
    Failure::Failed(format!("{} does not start: {error}", program.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn no_key_is_ever_an_argument() {
        let models = ["a".to_owned(), "b".to_owned()];
        for model in [None, Some("work/gpt \"5\"")] {
            let facts = Facts { base: "http://127.0.0.1:1", key: "flr_secret", model, small: None, models: &models };
            for tool in Tool::value_variants() {
                let plan = Plan::of(*tool, &facts);
                assert!(plan.args.iter().all(|arg| !arg.contains("flr_secret")), "{tool:?}");
                assert!(plan.set.iter().any(|(_, value)| value.contains("flr_secret")), "{tool:?}");
                let everything = format!("{plan:?}");
                assert!(everything.contains("http://127.0.0.1:1"), "{tool:?}");
            }
        }
    }

    #[test]
    fn codex_is_told_in_toml_and_opencode_in_json() {
        let models = ["a".to_owned()];
        let facts = Facts { base: "http://h", key: "k", model: Some("x \"y\""), small: Some("s"), models: &models };
        for pair in Plan::codex(&facts).args.chunks(2) {
            assert_eq!(pair[0], "-c");
            let (_, value) = pair[1].split_once('=').unwrap();
            let parsed: toml::Table = format!("v = {value}").parse().unwrap();
            assert!(parsed["v"].is_str());
        }
        let plan = Plan::opencode(&facts);
        let config: Value = serde_json::from_str(&plan.set[0].1).unwrap();
        assert_eq!(config["model"], "flow-router/x \"y\"");
        assert_eq!(config["small_model"], "flow-router/s");
        let names: Vec<_> = config["provider"]["flow-router"]["models"].as_object().unwrap().keys().collect();
        assert_eq!(names, ["a", "x \"y\"", "s"]);
    }
}
