//! The table of settings. A new setting is one row here and one field of [`Settings`].

use std::{net::SocketAddr, path::PathBuf};

use super::{
    AuthMode, Demo, Disabled, LogFormat, Secret, SecretStore, Settings, Unsupported,
    interception::{self, OnFailure, Unknown},
    login, value,
};

/// When a change of a setting takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// At the next start.
    Boot,
    /// With the next request.
    Live,
}

impl Life {
    /// The word in documentation and API.
    pub fn name(self) -> &'static str {
        match self {
            Life::Boot => "boot",
            Life::Live => "live",
        }
    }
}

/// One setting.
pub struct Row {
    /// Key in the file; the flag has hyphens, the variable is `FLOW_ROUTER_` and capitals.
    pub name: &'static str,
    /// What the value looks like.
    pub value: &'static str,
    /// Default, as text.
    pub default: &'static str,
    /// One line for `--help` and the documentation.
    pub help: &'static str,
    /// When a change takes effect.
    pub life: Life,
    /// Whether the management API may keep a value in the store. What says where the store is, or who may write to it,
    /// cannot come from there.
    pub stored: bool,
    /// Whether the value is a secret: sealed in the store, and never shown.
    pub secret: bool,
    /// Puts a text into the settings.
    pub set: fn(&mut Settings, &str) -> Result<(), String>,
}

impl Row {
    /// The flag without its dashes.
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// The environment variable.
    pub fn variable(&self) -> String {
        format!("FLOW_ROUTER_{}", self.name.to_ascii_uppercase())
    }
}

/// The row of that name.
pub fn row(name: &str) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.name == name)
}

/// What most rows have in common.
const PLAIN: Row = Row {
    name: "",
    value: "",
    default: "",
    help: "",
    life: Life::Live,
    stored: true,
    secret: false,
    set: |_, _| Ok(()),
};

/// A duration where zero means "no limit".
const LIMIT: &str = "DURATION";

/// All settings.
pub const TABLE: &[Row] = &[
    Row {
        name: "addr",
        value: "IP:PORT",
        default: "127.0.0.1:2402",
        help: "Address to listen on. Beyond loopback a key is needed",
        life: Life::Boot,
        set: |s, text| {
            s.addr = text
                .trim()
                .replace("localhost", "127.0.0.1")
                .parse::<SocketAddr>()
                .map_err(|_| format!("`{text}` is not an address: use IP:PORT, such as 127.0.0.1:2402"))?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "data_dir",
        value: "DIR",
        default: "~/.flow_router",
        help: "Folder for everything that the program keeps",
        life: Life::Boot,
        stored: false,
        set: |s, text| {
            s.data_dir = home_path(text);
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "log",
        value: "FILTER",
        default: "info",
        help: "Log level or filter: error, warn, info, debug, trace, or target=level pairs",
        set: |s, text| {
            text.parse::<tracing_subscriber::filter::Targets>()
                .map_err(|e| format!("`{text}` is not a log filter: {e}"))?;
            s.log = text.to_owned();
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "log_format",
        value: "text|json",
        default: "text",
        help: "Form of log lines",
        life: Life::Boot,
        set: |s, text| {
            s.log_format = value::word(text, &[("text", LogFormat::Text), ("json", LogFormat::Json)])?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "require_key",
        value: "BOOL",
        default: "false",
        help: "Refuse requests without one of our keys (see `flow-router key`)",
        set: |s, text| {
            s.require_key = value::boolean(text)?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "allowed_hosts",
        value: "HOST,…",
        default: "host.docker.internal",
        help: "Host names under which we may be called, besides localhost and IP addresses; * allows all",
        set: |s, text| {
            s.allowed_hosts = value::list(text);
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "default_model",
        value: "MODEL",
        default: "",
        help: "Model for requests that name none",
        set: |s, text| {
            s.default_model = text.trim().to_owned();
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "disabled_models",
        value: "PROVIDER/MODEL,…",
        default: "",
        help: "Models that are not used, by provider or preset and name; gpt-4* and * stand for several",
        set: |s, text| {
            s.disabled_models =
                value::list(text).iter().map(|entry| Disabled::parse(entry)).collect::<Result<_, _>>()?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "demo",
        value: "auto|on|off",
        default: "auto",
        help: "Embedded demo provider: auto = while no other provider is configured",
        set: |s, text| {
            s.demo = value::word(text, &[("auto", Demo::Auto), ("on", Demo::On), ("off", Demo::Off)])?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "hold_prologue",
        value: LIMIT,
        default: "5s",
        help: "How long a stream without content is held back so that a hidden overload can fall back; 0 = not at all",
        set: |s, text| {
            s.hold_prologue = value::duration(text)?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "connect_timeout",
        value: LIMIT,
        default: "10s",
        help: "Limit for reaching an upstream: resolution, TCP, proxy and TLS together",
        set: |s, text| {
            s.connect_timeout = value::duration(text)?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "first_byte_timeout",
        value: LIMIT,
        default: "300s",
        help: "Limit for an upstream's response head; 0 = none",
        set: |s, text| {
            s.first_byte_timeout = value::duration(text)?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "stall_timeout",
        value: "auto|DURATION",
        default: "auto",
        help: "Limit for silence inside an upstream's stream: auto = 35s where the vendor pings, 300s elsewhere; 0 = none",
        set: |s, text| {
            s.stall_timeout = if text.trim() == "auto" { None } else { Some(value::duration(text)?) };
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "keep_alive",
        value: LIMIT,
        default: "15s",
        help: "Silence towards a streaming client after which a harmless comment is sent; 0 = never",
        set: |s, text| {
            s.keep_alive = value::duration(text)?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "client_head_timeout",
        value: LIMIT,
        default: "30s",
        help: "Limit for the head of a client's request, from its first byte; above it 408",
        life: Life::Boot,
        set: |s, text| {
            s.client_head_timeout = value::patience(text)?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "client_body_timeout",
        value: LIMIT,
        default: "60s",
        help: "Limit for silence inside the body of a client's request; above it 408",
        life: Life::Boot,
        set: |s, text| {
            s.client_body_timeout = value::patience(text)?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "client_write_timeout",
        value: LIMIT,
        default: "300s",
        help: "Limit for a client that does not read what is written to it; above it the connection is closed",
        life: Life::Boot,
        set: |s, text| {
            s.client_write_timeout = value::patience(text)?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "client_idle_timeout",
        value: LIMIT,
        default: "300s",
        help: "Limit for a client's connection without a request; above it the connection is closed",
        life: Life::Boot,
        set: |s, text| {
            s.client_idle_timeout = value::patience(text)?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "drain",
        value: LIMIT,
        default: "30s",
        help: "Time for running exchanges to end at shutdown",
        life: Life::Boot,
        set: |s, text| {
            s.drain = value::duration(text)?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "drain_delay",
        value: LIMIT,
        default: "0",
        help: "Part of drain in which new connections are still served while /readyz answers 503; for load balancers",
        life: Life::Boot,
        set: |s, text| {
            s.drain_delay = value::duration(text)?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "max_body",
        value: "SIZE",
        default: "64MiB",
        help: "Largest request body; above it 413",
        set: |s, text| {
            s.max_body = value::size(text)?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "max_connections",
        value: "N",
        default: "16384",
        help: "Client connections at once; further ones wait",
        life: Life::Boot,
        set: |s, text| {
            s.max_connections = value::whole(text, 1)?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "max_attempts",
        value: "N",
        default: "6",
        help: "Attempts per request, over all candidates",
        set: |s, text| {
            s.max_attempts = value::whole(text, 1)?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "lanes",
        value: "N",
        default: "0",
        help: "Runtimes with a listener of their own; 0 = one per eight cores",
        life: Life::Boot,
        set: |s, text| {
            s.lanes = value::whole(text, 0)?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "proxy",
        value: "env|direct|URL",
        default: "env",
        help: "Way to upstreams: env = HTTPS_PROXY and friends, or an http:// or socks5:// URL",
        life: Life::Boot,
        set: |s, text| {
            let text = text.trim();
            let known = ["http://", "socks5://", "socks5h://"].iter().any(|scheme| text.starts_with(scheme));
            if !known && text != "env" && text != "direct" {
                return Err(format!("`{text}` is not allowed here: use env, direct, http://… or socks5://…"));
            }
            s.proxy = text.to_owned();
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "ca_file",
        value: "FILE",
        default: "",
        help: "PEM certificates to trust besides the bundled roots",
        life: Life::Boot,
        set: |s, text| {
            s.ca_file = (!text.trim().is_empty()).then(|| home_path(text));
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "estimate_usage",
        value: "BOOL",
        default: "true",
        help: "Estimate token counts (characters / 4) where the upstream gives none; marked as an estimate",
        set: |s, text| {
            s.estimate_usage = value::boolean(text)?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "usage_pad",
        value: "N",
        default: "0",
        help: "Tokens added to the prompt counts and totals that clients see, so that agents compact earlier; never in metrics",
        set: |s, text| {
            s.usage_pad = value::whole(text, 0)? as u64;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "echo_model",
        value: "BOOL",
        default: "false",
        help: "Answers name the model as the client did (an alias, say) instead of as the provider does",
        set: |s, text| {
            s.echo_model = value::boolean(text)?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "ollama_tools_row",
        value: "last|early",
        default: "last",
        help: "Where calls of a translated stream stand for Ollama clients: in the last row, or in one of their own before it",
        set: |s, text| {
            s.early_calls = value::word(text, &[("last", false), ("early", true)])?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "unsupported",
        value: "drop|refuse",
        default: "drop",
        help: "Parameters that the target dialect has no place for: drop and report, or refuse the request",
        set: |s, text| {
            s.unsupported = value::word(text, &[("drop", Unsupported::Drop), ("refuse", Unsupported::Refuse)])?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "adjust_max_tokens",
        value: "BOOL",
        default: "true",
        help: "Raise max_tokens for translated requests to Anthropic: 32,000 with tools, budget + 1,024 with thinking",
        set: |s, text| {
            s.adjust_max_tokens = value::boolean(text)?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "read_only",
        value: "BOOL",
        default: "false",
        help: "Refuse changes by the management API: the configuration is the file's alone (GitOps)",
        stored: false,
        set: |s, text| {
            s.read_only = value::boolean(text)?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "require_login",
        value: "BOOL",
        default: "false",
        help: "Ask for a login also on this machine before anything is managed",
        set: |s, text| {
            s.require_login = value::boolean(text)?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "auth_mode",
        value: "none|password|oidc",
        default: "none",
        help: "How people log in to manage the gateway",
        set: |s, text| {
            let words = [("none", AuthMode::None), ("password", AuthMode::Password), ("oidc", AuthMode::Oidc)];
            s.auth_mode = value::word(text, &words)?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "password_hash",
        value: "HASH",
        default: "",
        help: "Hash of the password for managing, in PHC form (argon2id); `flow-router auth hash-password` makes one",
        secret: true,
        set: |s, text| {
            s.password_hash = login::password_hash(text)?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "strict_loopback",
        value: "BOOL",
        default: "false",
        help: "Without a login, only programs of our own user on this machine may manage (Linux)",
        set: |s, text| {
            s.strict_loopback = value::boolean(text)?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "remote_management",
        value: "BOOL",
        default: "false",
        help: "Allow management from other machines; needs a login",
        set: |s, text| {
            s.remote_management = value::boolean(text)?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "public_url",
        value: "URL",
        default: "",
        help: "Address under which people reach the gateway from elsewhere: scheme, host and maybe port and path",
        set: |s, text| {
            s.public_url = address(text)?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "trusted_proxies",
        value: "CIDR,…",
        default: "",
        help: "Reverse proxies whose X-Forwarded-For is believed",
        set: |s, text| {
            s.trusted_proxies = value::list(text).iter().map(|item| item.parse()).collect::<Result<_, _>>()?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "oidc_issuer",
        value: "URL",
        default: "",
        help: "OpenID Connect: address of the identity provider",
        set: |s, text| {
            s.oidc.issuer = address(text)?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "oidc_client_id",
        value: "TEXT",
        default: "",
        help: "OpenID Connect: our name at the identity provider",
        set: |s, text| {
            s.oidc.client_id = text.trim().to_owned();
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "oidc_client_secret",
        value: "TEXT",
        default: "",
        help: "OpenID Connect: our secret at the identity provider, if it gave one",
        secret: true,
        set: |s, text| {
            let text = text.trim();
            s.oidc.client_secret = (!text.is_empty()).then(|| Secret::new(text));
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "oidc_scopes",
        value: "TEXT,…",
        default: "openid,email,profile",
        help: "OpenID Connect: what is asked for",
        set: |s, text| {
            s.oidc.scopes = value::list(text);
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "oidc_allowed_emails",
        value: "TEXT,…",
        default: "",
        help: "OpenID Connect: verified addresses that are let in",
        set: |s, text| {
            s.oidc.allowed_emails = value::list(text);
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "oidc_allowed_domains",
        value: "TEXT,…",
        default: "",
        help: "OpenID Connect: domains of verified addresses that are let in",
        set: |s, text| {
            s.oidc.allowed_domains = value::list(text);
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "oidc_allowed_subjects",
        value: "TEXT,…",
        default: "",
        help: "OpenID Connect: subjects that are let in",
        set: |s, text| {
            s.oidc.allowed_subjects = value::list(text);
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "oidc_role",
        value: "CLAIM=VALUE",
        default: "",
        help: "OpenID Connect: a claim that lets in, such as groups=ops or realm_access.roles=admin",
        set: |s, text| {
            s.oidc.role = login::role(text)?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "oidc_only",
        value: "BOOL",
        default: "false",
        help: "OpenID Connect: refuse the password on this machine too",
        set: |s, text| {
            s.oidc.only = value::boolean(text)?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "usage_log",
        value: "BOOL",
        default: "true",
        help: "Keep one row per attempt: who, which model, how many tokens, what it cost; never what was said",
        set: |s, text| {
            s.usage_log = value::boolean(text)?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "retention_days",
        value: "N",
        default: "30",
        help: "Days for which the rows of single requests are kept",
        set: |s, text| {
            s.retention.days = whole32(text)?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "retention_rows",
        value: "N",
        default: "1000000",
        help: "Rows of single requests that are kept at most",
        set: |s, text| {
            s.retention.rows = value::whole(text, 1)? as u64;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "retention_usage_days",
        value: "N",
        default: "90",
        help: "Days for which sums are kept by the quarter of an hour; older ones are kept by the day",
        set: |s, text| {
            s.retention.usage_days = whole32(text)?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "timezone",
        value: "ZONE",
        default: "",
        help: "Time zone in which days begin, such as Europe/Berlin; empty = the system's",
        set: |s, text| {
            let text = text.trim();
            if !text.is_empty() {
                jiff::tz::TimeZone::get(text).map_err(|_| format!("`{text}` is not a time zone: use Europe/Berlin"))?;
            }
            s.timezone = text.to_owned();
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "mitm",
        value: "BOOL",
        default: "false",
        help: "Interception begins with the program; see docs/interception.md",
        life: Life::Boot,
        set: |s, text| {
            s.mitm.start = value::boolean(text)?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "mitm_mode",
        value: "hosts|proxy|reverse:HOST",
        default: "hosts",
        help: "How intercepted traffic gets here: the hosts file, as an HTTP and SOCKS5 proxy, or as the service itself",
        life: Life::Boot,
        set: |s, text| {
            s.mitm.mode = interception::mode(text)?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "mitm_addr",
        value: "IP:PORT",
        default: "auto",
        help: "Where it is awaited, on a loopback address; auto = 127.0.0.1:443, for proxy and reverse 127.0.0.1:2403",
        life: Life::Boot,
        set: |s, text| {
            s.mitm.addr = interception::addr(text)?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "mitm_tools",
        value: "TOOL[=intercept|observe|off],…",
        default: "",
        help: "Tools whose traffic is intercepted: antigravity, copilot, cursor, kiro; observe = decrypt and change nothing",
        set: |s, text| {
            s.mitm.tools = interception::switches(text)?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "mitm_hosts",
        value: "HOST,…",
        default: "",
        help: "Hosts of these tools for other plans, regions and versions, besides the usual ones",
        set: |s, text| {
            s.mitm.hosts = interception::hosts(text)?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "mitm_aliases",
        value: "TOOL/MODEL=TARGET,…",
        default: "",
        help: "Where chats go: a tool's model (* = any) and our model, alias or combo (off = the vendor); others go to the vendor",
        set: |s, text| {
            s.mitm.aliases = interception::aliases(text)?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "mitm_on_failure",
        value: "vendor|error",
        default: "vendor",
        help: "A chat that no candidate answers goes to the vendor untouched, or the tool is told",
        set: |s, text| {
            s.mitm.on_failure = value::word(text, &[("vendor", OnFailure::Vendor), ("error", OnFailure::Error)])?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "mitm_unknown",
        value: "refuse|tunnel",
        default: "refuse",
        help: "Names that are nobody's: refuse the handshake, or carry the bytes to the true host",
        set: |s, text| {
            s.mitm.unknown = value::word(text, &[("refuse", Unknown::Refuse), ("tunnel", Unknown::Tunnel)])?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "mitm_all_users",
        value: "BOOL",
        default: "false",
        help: "Intercept the programs of this machine's other users too",
        set: |s, text| {
            s.mitm.all_users = value::boolean(text)?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "mitm_hosts_file",
        value: "FILE",
        default: "",
        help: "The hosts file, if it is not the system's",
        life: Life::Boot,
        stored: false,
        set: |s, text| {
            let text = text.trim();
            s.mitm.hosts_file = (!text.is_empty()).then(|| home_path(text));
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "mitm_resolvers",
        value: "IP[:PORT],…",
        default: "",
        help: "Name servers for the vendors' true addresses; empty = the system's",
        life: Life::Boot,
        set: |s, text| {
            s.mitm.resolvers = interception::resolvers(text)?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "mitm_addresses",
        value: "HOST=IP,…",
        default: "",
        help: "True addresses of hosts that no name server knows",
        life: Life::Boot,
        set: |s, text| {
            s.mitm.addresses = interception::addresses(text)?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "mitm_upstream_port",
        value: "PORT",
        default: "443",
        help: "Port of the true hosts; another one is for tests",
        life: Life::Boot,
        set: |s, text| {
            s.mitm.upstream_port = port(text)?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "mitm_sealed",
        value: "BOOL",
        default: "true",
        help: "A new certificate authority throws its root's key away; false keeps it, so that it can be renewed",
        life: Life::Boot,
        set: |s, text| {
            s.mitm.sealed = value::boolean(text)?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "mitm_ca_days",
        value: "N",
        default: "1825",
        help: "Life of a new certificate authority, days",
        life: Life::Boot,
        set: |s, text| {
            s.mitm.days = ca_days(text)?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "locale",
        value: "TAG",
        default: "en",
        help: "Language and region of the dashboard, such as en or de-CH; texts that are not translated are English",
        set: |s, text| {
            let text = text.trim();
            let subtag = |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric());
            if text.len() > 35 || !text.split('-').all(subtag) {
                return Err(format!("`{text}` is not a language tag: use en or de-CH"));
            }
            s.locale = text.to_owned();
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "theme",
        value: "auto|light|dark",
        default: "auto",
        help: "Colours of the dashboard; auto = as the browser says",
        set: |s, text| {
            s.theme = value::word(text, &THEMES.map(|theme| (theme, theme)))?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "secret_store",
        value: "file|env|passphrase",
        default: "file",
        help: "What guards the keys in secret.key: its mode alone, the key in FLOW_ROUTER_SECRET_KEY, or the passphrase in \
               FLOW_ROUTER_SECRET_PASSPHRASE (with _FILE behind it: the file that has it)",
        life: Life::Boot,
        stored: false,
        set: |s, text| {
            if text.trim() == "keyring" {
                return Err(
                    "keyrings of desktops are not used, because services and containers have none: use env with \
                            FLOW_ROUTER_SECRET_KEY_FILE, or passphrase"
                        .to_owned(),
                );
            }
            let known =
                [("file", SecretStore::File), ("env", SecretStore::Env), ("passphrase", SecretStore::Passphrase)];
            s.secret_store = value::word(text, &known)?;
            Ok(())
        },
        ..PLAIN
    },
];

/// Colours that a dashboard can have.
pub const THEMES: [&str; 3] = ["auto", "light", "dark"];

/// A number of days or rows.
fn whole32(text: &str) -> Result<u32, String> {
    let number = value::whole(text, 1)?;
    u32::try_from(number).map_err(|_| format!("`{}` is too large", text.trim()))
}

/// A port that can be dialled.
fn port(text: &str) -> Result<u16, String> {
    u16::try_from(value::whole(text, 1)?).map_err(|_| format!("`{}` is not a port", text.trim()))
}

/// The life of a certificate authority.
fn ca_days(text: &str) -> Result<u32, String> {
    match whole32(text)? {
        days if days <= certs::DAYS_MAX => Ok(days),
        _ => Err(format!("at most {} days", certs::DAYS_MAX)),
    }
}

/// An HTTP address without query, or nothing.
fn address(text: &str) -> Result<String, String> {
    let text = text.trim().trim_end_matches('/');
    if text.is_empty() {
        return Ok(String::new());
    }
    let wrong = || format!("`{text}` is not an address: use http:// or https://, a host, and no query");
    let parsed = url::Url::parse(text).map_err(|_| wrong())?;
    let plain = matches!(parsed.scheme(), "http" | "https") && parsed.has_host();
    let bare = parsed.query().is_none() && parsed.fragment().is_none() && parsed.username().is_empty();
    if plain && bare { Ok(text.to_owned()) } else { Err(wrong()) }
}

/// A path with a leading `~` resolved.
fn home_path(text: &str) -> PathBuf {
    let text = text.trim();
    match (text.strip_prefix('~'), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest.trim_start_matches(['/', '\\'])),
        _ => PathBuf::from(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_defaults_are_valid() {
        for (i, row) in TABLE.iter().enumerate() {
            assert!(TABLE[..i].iter().all(|other| other.name != row.name), "{}", row.name);
            assert!((row.set)(&mut Settings::default(), row.default).is_ok(), "{}", row.name);
        }
        assert_eq!(Settings::default().addr.port(), 2402);
    }
}
