//! Time, room and the ways outside.

use super::{LIMIT, Life, PLAIN, Row, home_path};
use crate::settings::value;

pub(super) const ROWS: &[Row] = &[
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
];
