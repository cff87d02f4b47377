//! Who may manage, and how people log in.

use super::{PLAIN, Row};
use crate::settings::{AuthMode, Secret, login, value};

pub(super) const ROWS: &[Row] = &[
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
];

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
