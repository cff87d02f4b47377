//! What the program was told: flags over environment over file over defaults, merged once and then immutable.
//!
//! Every setting is one row of [`table::TABLE`]; flags, variables, file keys, `--help` and the documentation are made
//! from it. Providers, aliases and keys come from the file, providers also from the environment.

pub mod env;
pub mod file;
pub mod presets;
pub mod provider;
pub mod table;
pub mod value;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

pub use provider::{Alias, KeyHash, Provider, Secret};
pub use table::{Row, TABLE};

/// When the embedded demo provider answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demo {
    /// While no other provider is configured.
    Auto,
    /// Always, as provider `demo` beside the others.
    On,
    /// Never.
    Off,
}

/// What happens to a parameter that the target dialect cannot express.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsupported {
    /// It is left out and named in `x-flow-router-dropped`.
    Drop,
    /// The request is refused.
    Refuse,
}

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// All settings, valid.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Address to listen on.
    pub addr: SocketAddr,
    /// Folder for everything that the program keeps.
    pub data_dir: PathBuf,
    /// Log filter in `tracing` syntax.
    pub log: String,
    /// Form of log lines.
    pub log_format: LogFormat,
    /// Whether every request needs one of our keys.
    pub require_key: bool,
    /// Host names under which browsers and clients may reach us, besides loopback and IP addresses.
    pub allowed_hosts: Vec<String>,
    /// Model for requests that name none.
    pub default_model: String,
    /// When the demo provider answers.
    pub demo: Demo,
    /// How long the beginning of a stream without content is held back for a fallback; zero = not at all.
    pub hold_prologue: Duration,
    /// Limit for connecting to an upstream.
    pub connect_timeout: Duration,
    /// Limit for an upstream's response head; zero = none.
    pub first_byte_timeout: Duration,
    /// Limit for silence inside an upstream's stream; `None` = by dialect; zero = none.
    pub stall_timeout: Option<Duration>,
    /// Silence towards a streaming client after which a comment is sent; zero = never.
    pub keep_alive: Duration,
    /// Time for running exchanges to end at shutdown.
    pub drain: Duration,
    /// Part of `drain` in which new connections are still served while `/readyz` says no.
    pub drain_delay: Duration,
    /// Largest request body in bytes.
    pub max_body: usize,
    /// Client connections at once.
    pub max_connections: usize,
    /// Attempts per request, over all candidates.
    pub max_attempts: usize,
    /// Lanes (runtimes with a listener of their own); zero = one per eight cores.
    pub lanes: usize,
    /// Way out: `env`, `direct`, or a proxy URL.
    pub proxy: String,
    /// Certificates to trust besides the bundled roots.
    pub ca_file: Option<PathBuf>,
    /// Whether missing token counts are estimated.
    pub estimate_usage: bool,
    /// What happens to parameters that the target cannot express.
    pub unsupported: Unsupported,
    /// Whether `max_tokens` is raised for Anthropic upstreams when a request is translated.
    pub adjust_max_tokens: bool,
    /// Configured providers, in order.
    pub providers: Vec<Provider>,
    /// Aliases.
    pub aliases: Vec<Alias>,
    /// Keys of callers.
    pub keys: Vec<KeyHash>,
}

impl Default for Settings {
    fn default() -> Self {
        let mut settings = Self {
            addr: SocketAddr::from(([127, 0, 0, 1], 0)),
            data_dir: PathBuf::new(),
            log: String::new(),
            log_format: LogFormat::Text,
            require_key: false,
            allowed_hosts: Vec::new(),
            default_model: String::new(),
            demo: Demo::Auto,
            hold_prologue: Duration::ZERO,
            connect_timeout: Duration::ZERO,
            first_byte_timeout: Duration::ZERO,
            stall_timeout: None,
            keep_alive: Duration::ZERO,
            drain: Duration::ZERO,
            drain_delay: Duration::ZERO,
            max_body: 0,
            max_connections: 0,
            max_attempts: 0,
            lanes: 0,
            proxy: String::new(),
            ca_file: None,
            estimate_usage: true,
            unsupported: Unsupported::Drop,
            adjust_max_tokens: true,
            providers: Vec::new(),
            aliases: Vec::new(),
            keys: Vec::new(),
        };
        for row in TABLE {
            let applied = (row.set)(&mut settings, row.default);
            debug_assert!(applied.is_ok(), "the default of {} is invalid", row.name);
        }
        settings
    }
}

/// A fault in what the program was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where: `file:line:column`, a flag or a variable.
    pub place: String,
    /// What is wrong and what is allowed.
    pub message: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// Where settings come from.
#[derive(Debug, Default)]
pub struct Sources {
    /// Settings given as flags: row name and text.
    pub flags: Vec<(&'static str, String)>,
    /// The environment.
    pub env: Vec<(String, String)>,
    /// The file's name and text.
    pub file: Option<(PathBuf, String)>,
}

/// Merges the sources and reports every fault at once.
pub fn load(sources: &Sources) -> Result<Settings, Vec<Fault>> {
    let mut settings = Settings::default();
    let mut faults = Vec::new();
    if let Some((path, text)) = &sources.file {
        file::apply(&mut settings, &path.display().to_string(), text, &sources.env, &mut faults);
    }
    env::apply(&mut settings, &sources.env, &mut faults);
    for (name, text) in &sources.flags {
        if let Some(row) = table::row(name)
            && let Err(message) = (row.set)(&mut settings, text)
        {
            faults.push(Fault { place: format!("--{}", row.flag()), message });
        }
    }
    provider::check_aliases(&settings, &mut faults);
    if faults.is_empty() { Ok(settings) } else { Err(faults) }
}
