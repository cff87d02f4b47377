//! Interception of programs that talk to fixed hosts.

use super::{Life, PLAIN, Row, home_path, whole32};
use crate::settings::{
    interception::{self, OnFailure, Unknown},
    value,
};

pub(super) const ROWS: &[Row] = &[
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
];

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
