//! Clients on this machine: their programs, and where their files and variables send them. Files are read, never written.

use std::path::PathBuf;

use clap::ValueEnum;
use serde_json::Value;

use super::{
    http::{Router, url_of},
    place,
};

/// Longest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Variables that send clients somewhere.
const VARIABLES: [&str; 4] = ["ANTHROPIC_BASE_URL", "OPENAI_BASE_URL", "GOOGLE_GEMINI_BASE_URL", "OLLAMA_HOST"];

/// A client that can be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tool {
    /// Claude Code
    Claude,
    /// OpenAI Codex
    Codex,
    /// Gemini CLI
    Gemini,
    /// OpenCode
    Opencode,
}

impl Tool {
    /// Its program.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Tool::Claude => "claude",
            Tool::Codex => "codex",
            Tool::Gemini => "gemini",
            Tool::Opencode => "opencode",
        }
    }
}

/// Where something sends a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// The file or variable that says so.
    pub(crate) place: String,
    /// The address.
    pub(crate) address: String,
}

impl Target {
    /// Whether that is this router.
    pub(crate) fn leads_to(&self, router: &Router) -> bool {
        let Ok(url) = url_of(self.address.trim()) else { return false };
        let (host, port) = router.host_and_port();
        let theirs = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let same = theirs.eq_ignore_ascii_case(host) || (proxy::is_loopback(theirs) && proxy::is_loopback(host));
        same && url.port_or_known_default() == Some(port)
    }
}

/// Where variables send clients.
pub(crate) fn variables() -> Vec<Target> {
    let set = |name: &str| place::variable(name).filter(|value| !value.trim().is_empty());
    let found = VARIABLES.into_iter().filter_map(|name| Some(Target { place: name.to_owned(), address: set(name)? }));
    found.collect()
}

/// Where a client's own files send it, if they do.
pub(crate) fn of(tool: Tool) -> Option<Target> {
    let home = place::home()?;
    let folder = |variable: &str, usual: &str| place::folder(variable).unwrap_or_else(|| home.join(usual));
    match tool {
        Tool::Claude => in_file(folder("CLAUDE_CONFIG_DIR", ".claude").join("settings.json"), claude),
        Tool::Codex => in_file(folder("CODEX_HOME", ".codex").join("config.toml"), codex),
        Tool::Gemini => in_file(home.join(".gemini").join(".env"), gemini),
        Tool::Opencode => {
            in_file(folder("XDG_CONFIG_HOME", ".config").join("opencode").join("opencode.json"), opencode)
        }
    }
}

fn in_file(file: PathBuf, find: fn(&str) -> Option<String>) -> Option<Target> {
    let text = place::text(&file, FILE_BYTES_MAX)?;
    Some(Target { address: find(&text)?, place: file.display().to_string() })
}

fn claude(text: &str) -> Option<String> {
    let settings: Value = serde_json::from_str(text).ok()?;
    settings["env"]["ANTHROPIC_BASE_URL"].as_str().map(str::to_owned)
}

fn codex(text: &str) -> Option<String> {
    let settings: toml::Table = text.parse().ok()?;
    let name = settings.get("model_provider")?.as_str()?;
    settings.get("model_providers")?.get(name)?.get("base_url")?.as_str().map(str::to_owned)
}

fn gemini(text: &str) -> Option<String> {
    let mut lines = text.lines().filter_map(|line| {
        let line = line.trim();
        let value = line.strip_prefix("export ").unwrap_or(line).strip_prefix("GOOGLE_GEMINI_BASE_URL")?;
        Some(value.trim_start().strip_prefix('=')?.trim().trim_matches(['"', '\'']).to_owned())
    });
    lines.next_back()
}

/// The address of the provider that its model names; without one, of the only provider that has an address.
fn opencode(text: &str) -> Option<String> {
    let settings: Value = serde_json::from_str(text).ok()?;
    let address = |provider: &Value| provider["options"]["baseURL"].as_str().map(str::to_owned);
    let providers = settings["provider"].as_object()?;
    if let Some((name, _)) = settings["model"].as_str().and_then(|model| model.split_once('/')) {
        return address(providers.get(name)?);
    }
    let mut addresses = providers.values().filter_map(address);
    addresses.next().filter(|_| addresses.next().is_none())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;

    #[test]
    fn files_of_clients_are_understood() {
        let to = |found: Option<String>| found.unwrap_or_default();
        assert_eq!(to(claude(r#"{"env": {"ANTHROPIC_BASE_URL": "http://a"}}"#)), "http://a");
        assert_eq!(claude("{}"), None);
        assert_eq!(claude("// no"), None);
        let codex_file = "model_provider = \"r\"\n[model_providers.r]\nbase_url = \"http://b/v1\"\n";
        assert_eq!(to(codex(codex_file)), "http://b/v1");
        assert_eq!(codex("model_provider = \"openai\""), None);
        assert_eq!(to(gemini("A=1\nexport GOOGLE_GEMINI_BASE_URL = \"http://c\"\n")), "http://c");
        assert_eq!(gemini("GOOGLE_GEMINI_BASE_URLS=x"), None);
        let provider = r#""provider": {"x": {"options": {"baseURL": "http://d"}}}"#;
        assert_eq!(to(opencode(&format!(r#"{{"model": "x/y", {provider}}}"#))), "http://d");
        assert_eq!(to(opencode(&format!("{{{provider}}}"))), "http://d");
        assert_eq!(opencode(&format!(r#"{{"model": "other/y", {provider}}}"#)), None);
    }

    #[test]
    fn a_router_is_known_by_all_names_of_loopback() {
        let router = Router::new("http://127.0.0.1:2402", None, || None, Duration::from_secs(1)).unwrap();
        for (address, expected) in [
            ("http://localhost:2402/v1", true),
            ("http://[::1]:2402", true),
            ("127.0.0.1:2402", true),
            ("http://127.0.0.1:2403", false),
            ("https://api.example", false),
            ("", false),
        ] {
            let target = Target { place: String::new(), address: address.to_owned() };
            assert_eq!(target.leads_to(&router), expected, "{address}");
        }
    }
}
