//! What the program was told: flags over environment over file over store over defaults, merged into one value that is
//! immutable. A change makes a new one.
//!
//! Every setting is one row of [`table::TABLE`]; flags, variables, file keys, `--help` and the documentation are made
//! from it. Providers, aliases and keys come from the file and from the store, providers also from the environment.

mod cidr;
mod env;
pub mod fields;
mod file;
pub mod interception;
mod keys;
mod login;
mod merge;
pub mod presets;
pub mod provider;
mod sources;
pub mod table;
mod told;
pub mod tools;
pub mod value;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

pub use cidr::Cidr;
pub use interception::Interception;
use jiff::tz::TimeZone;
pub use keys::{KeyHash, SCOPES, Scope, Scopes};
pub use merge::{Merged, Stored, StoredProvider, draft, draft_source, load, merge, provider_of};
pub use provider::{Alias, Described, Disabled, Provider, Secret, Strategy};
pub use sources::{KEYS_FILE, Sources};
pub use table::{Life, Row, TABLE};
pub use told::{Effective, Source};

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

/// What guards the keys that seal secrets, where they lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretStore {
    /// The mode of their file.
    File,
    /// A key in the environment, or in a file that it names.
    Env,
    /// A passphrase, likewise.
    Passphrase,
}

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// How people log in to manage the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMode {
    /// Not at all: who is on this machine manages it.
    None,
    /// With the password.
    Password,
    /// At an identity provider.
    Oidc,
}

/// OpenID Connect, as configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Oidc {
    /// Address of the identity provider, without a trailing slash; empty = none.
    pub issuer: String,
    /// Our name there.
    pub client_id: String,
    /// Our secret there, if there is one.
    pub client_secret: Option<Secret>,
    /// What is asked for.
    pub scopes: Vec<String>,
    /// Verified addresses that are let in.
    pub allowed_emails: Vec<String>,
    /// Domains of verified addresses that are let in.
    pub allowed_domains: Vec<String>,
    /// Subjects that are let in.
    pub allowed_subjects: Vec<String>,
    /// Claim and value that let in.
    pub role: Option<(String, String)>,
    /// Whether the password is refused on this machine too.
    pub only: bool,
}

/// How long usage is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// Days for rows of single requests.
    pub days: u32,
    /// Rows of single requests at most.
    pub rows: u64,
    /// Days for sums by the quarter of an hour.
    pub usage_days: u32,
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
    /// Models that are not to be used.
    pub disabled_models: Vec<Disabled>,
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
    /// Limit for the head of a client's request.
    pub client_head_timeout: Duration,
    /// Limit for silence in the body of a client's request.
    pub client_body_timeout: Duration,
    /// Limit for a client that does not read.
    pub client_write_timeout: Duration,
    /// Limit for a client's connection without a request.
    pub client_idle_timeout: Duration,
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
    /// Tokens added to the prompt counts and totals that clients see.
    pub usage_pad: u64,
    /// Whether answers name the model as the client did.
    pub echo_model: bool,
    /// Whether calls to Ollama clients leave in a row of their own before the last one.
    pub early_calls: bool,
    /// Whether `max_tokens` is raised for Anthropic upstreams when a request is translated.
    pub adjust_max_tokens: bool,
    /// Whether the management API may change nothing.
    pub read_only: bool,
    /// Whether management needs a login on this machine too.
    pub require_login: bool,
    /// How people log in.
    pub auth_mode: AuthMode,
    /// Hash of the password, if there is one.
    pub password_hash: Option<Secret>,
    /// Whether other users of this machine count as strangers.
    pub strict_loopback: bool,
    /// Whether other machines may manage.
    pub remote_management: bool,
    /// Address from elsewhere, without a trailing slash; empty = none.
    pub public_url: String,
    /// Reverse proxies that are believed.
    pub trusted_proxies: Vec<Cidr>,
    /// OpenID Connect.
    pub oidc: Oidc,
    /// Whether a row is kept per attempt.
    pub usage_log: bool,
    /// How long usage is kept.
    pub retention: Retention,
    /// IANA name of the time zone in which days begin; empty = the system's.
    pub timezone: String,
    /// Interception.
    pub mitm: Interception,
    /// Language tag of the dashboard.
    pub locale: String,
    /// Colours of the dashboard: one of [`table::THEMES`].
    pub theme: &'static str,
    /// What guards the vault's keys.
    pub secret_store: SecretStore,
    /// Configured providers, in order.
    pub providers: Vec<Provider>,
    /// Aliases.
    pub aliases: Vec<Alias>,
    /// Keys of callers.
    pub keys: Vec<KeyHash>,
}

impl Settings {
    /// The time zone in which days begin: the configured one, else the system's, else UTC.
    pub fn zone(&self) -> TimeZone {
        match self.timezone.as_str() {
            "" => TimeZone::try_system().unwrap_or(TimeZone::UTC),
            name => TimeZone::get(name).unwrap_or(TimeZone::UTC),
        }
    }
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
            disabled_models: Vec::new(),
            demo: Demo::Auto,
            hold_prologue: Duration::ZERO,
            connect_timeout: Duration::ZERO,
            first_byte_timeout: Duration::ZERO,
            stall_timeout: None,
            keep_alive: Duration::ZERO,
            client_head_timeout: Duration::ZERO,
            client_body_timeout: Duration::ZERO,
            client_write_timeout: Duration::ZERO,
            client_idle_timeout: Duration::ZERO,
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
            usage_pad: 0,
            echo_model: false,
            early_calls: false,
            adjust_max_tokens: true,
            read_only: false,
            require_login: false,
            auth_mode: AuthMode::None,
            password_hash: None,
            strict_loopback: false,
            remote_management: false,
            public_url: String::new(),
            trusted_proxies: Vec::new(),
            oidc: Oidc::default(),
            usage_log: true,
            retention: Retention::default(),
            timezone: String::new(),
            mitm: Interception::default(),
            locale: String::new(),
            theme: "",
            secret_store: SecretStore::File,
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
