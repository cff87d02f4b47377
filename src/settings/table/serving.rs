//! What is served, and to whom.

use super::{LIMIT, Life, PLAIN, Row, home_path};
use crate::settings::{Demo, Disabled, LogFormat, value};

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "addr",
        value: "IP:PORT",
        default: "127.0.0.1:2402",
        help: "Address to listen on. Beyond loopback a key is needed",
        life: Life::Boot,
        set: |s, text| {
            s.addr = value::socket(text, "127.0.0.1:2402")?;
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
];
