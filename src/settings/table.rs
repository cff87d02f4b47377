//! The table of settings. A new setting is one row here and one field of [`Settings`].

use std::{net::SocketAddr, path::PathBuf};

use super::{Demo, LogFormat, Settings, Unsupported, value};

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

/// A duration where zero means "no limit".
const LIMIT: &str = "DURATION";

/// All settings.
pub const TABLE: &[Row] = &[
    Row {
        name: "addr",
        value: "IP:PORT",
        default: "127.0.0.1:2402",
        help: "Address to listen on. Beyond loopback a key is needed",
        set: |s, text| {
            s.addr = text
                .trim()
                .replace("localhost", "127.0.0.1")
                .parse::<SocketAddr>()
                .map_err(|_| format!("`{text}` is not an address: use IP:PORT, such as 127.0.0.1:2402"))?;
            Ok(())
        },
    },
    Row {
        name: "data_dir",
        value: "DIR",
        default: "~/.flow_router",
        help: "Folder for everything that the program keeps",
        set: |s, text| {
            s.data_dir = home_path(text);
            Ok(())
        },
    },
    Row {
        name: "log",
        value: "FILTER",
        default: "info",
        help: "Log level or filter: error, warn, info, debug, trace, or target=level pairs",
        set: |s, text| {
            tracing_subscriber::EnvFilter::try_new(text).map_err(|e| format!("`{text}` is not a log filter: {e}"))?;
            s.log = text.to_owned();
            Ok(())
        },
    },
    Row {
        name: "log_format",
        value: "text|json",
        default: "text",
        help: "Form of log lines",
        set: |s, text| {
            s.log_format = value::word(text, &[("text", LogFormat::Text), ("json", LogFormat::Json)])?;
            Ok(())
        },
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
    },
    Row {
        name: "drain",
        value: LIMIT,
        default: "30s",
        help: "Time for running exchanges to end at shutdown",
        set: |s, text| {
            s.drain = value::duration(text)?;
            Ok(())
        },
    },
    Row {
        name: "drain_delay",
        value: LIMIT,
        default: "0",
        help: "Part of drain in which new connections are still served while /readyz answers 503; for load balancers",
        set: |s, text| {
            s.drain_delay = value::duration(text)?;
            Ok(())
        },
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
    },
    Row {
        name: "max_connections",
        value: "N",
        default: "16384",
        help: "Client connections at once; further ones wait",
        set: |s, text| {
            s.max_connections = value::whole(text, 1)?;
            Ok(())
        },
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
    },
    Row {
        name: "lanes",
        value: "N",
        default: "0",
        help: "Runtimes with a listener of their own; 0 = one per eight cores",
        set: |s, text| {
            s.lanes = value::whole(text, 0)?;
            Ok(())
        },
    },
    Row {
        name: "proxy",
        value: "env|direct|URL",
        default: "env",
        help: "Way to upstreams: env = HTTPS_PROXY and friends, or an http:// or socks5:// URL",
        set: |s, text| {
            let text = text.trim();
            let known = ["http://", "socks5://", "socks5h://"].iter().any(|scheme| text.starts_with(scheme));
            if !known && text != "env" && text != "direct" {
                return Err(format!("`{text}` is not allowed here: use env, direct, http://… or socks5://…"));
            }
            s.proxy = text.to_owned();
            Ok(())
        },
    },
    Row {
        name: "ca_file",
        value: "FILE",
        default: "",
        help: "PEM certificates to trust besides the bundled roots",
        set: |s, text| {
            s.ca_file = (!text.trim().is_empty()).then(|| home_path(text));
            Ok(())
        },
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
    },
];

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
