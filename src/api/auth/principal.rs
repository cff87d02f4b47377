//! Who a caller is, what that allows, and the decision.
//!
//! ```text
//!   rules (host, origin) ─▶ open to all? ─▶ from elsewhere: is management open there? ─▶ credential ─▶ scope
//! ```
//!
//! Everything is decided by what is in memory: a store that fails can neither let in nor lock out. Whatever is in doubt
//! is refused.

use std::sync::Arc;

use proxy::Headers;
use serde_json::{Value, json};

use super::{
    Auth,
    caller::Caller,
    rules::{self, Breach, Exposure},
    session::Session,
};
use crate::{
    gateway::{KeyFault, Snapshot},
    settings::{AuthMode, KeyHash, Scope, Settings},
};

/// What a route asks of its callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
    /// Nothing.
    Public,
    /// Nothing but to come from where management is allowed: what leads to a login.
    Login,
    /// A principal with this scope.
    Scope(Scope),
}

/// A caller that is known.
#[derive(Debug, Clone)]
pub enum Principal {
    /// Somebody; may use what is open to all.
    Nobody,
    /// A program on this machine, while no login is asked for. May do everything.
    Local,
    /// Somebody who has logged in. May do everything.
    Session(Arc<Session>),
    /// The holder of a key. May do what the key's scopes say.
    Key(Arc<KeyHash>),
    /// A program on this machine that can read our files. May do everything.
    AdminToken,
}

impl Principal {
    /// Whether it has `scope`.
    pub fn allows(&self, scope: Scope) -> bool {
        match self {
            Principal::Nobody => false,
            Principal::Local | Principal::Session(_) | Principal::AdminToken => true,
            Principal::Key(key) => key.scopes.allow(scope),
        }
    }

    /// The kind of it, in the API.
    pub fn kind(&self) -> &'static str {
        match self {
            Principal::Nobody => "none",
            Principal::Local => "local",
            Principal::Session(_) => "session",
            Principal::Key(_) => "key",
            Principal::AdminToken => "token",
        }
    }

    /// Who it is, for the audit log: never a secret.
    pub fn actor(&self) -> String {
        match self {
            Principal::Session(session) => format!("session:{}", session.user()),
            Principal::Key(key) => format!("key:{}", key.name),
            other => other.kind().to_owned(),
        }
    }
}

/// Why a caller is turned away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denied {
    /// A rule against web pages is broken.
    Rule(Breach),
    /// Management is not open to callers from elsewhere.
    Remote,
    /// A login or another credential is needed, and there is none that is good.
    Login {
        /// Whether a login is asked for on this machine too.
        require_login: bool,
        /// How people log in.
        mode: AuthMode,
    },
    /// The key is not good.
    Key(KeyFault),
    /// The administrator's token is not that of this run.
    Token,
    /// The key may not be used from there.
    Address,
    /// The key is not made for this.
    Scope(Scope),
}

impl Denied {
    /// Status of the answer.
    pub fn status(&self) -> u16 {
        match self {
            Denied::Login { .. } | Denied::Key(_) | Denied::Token => 401,
            Denied::Rule(_) | Denied::Remote | Denied::Address | Denied::Scope(_) => 403,
        }
    }

    /// `code` of the error.
    pub fn code(&self) -> &'static str {
        match self {
            Denied::Rule(Breach::Host(_)) => "bad_host",
            Denied::Rule(Breach::CrossSite(_) | Breach::Preflight) => "csrf",
            Denied::Remote => "remote_management_disabled",
            Denied::Login { .. } => "login_required",
            Denied::Key(KeyFault::Expired) => "key_expired",
            Denied::Key(KeyFault::Unknown | KeyFault::Revoked) | Denied::Token => "invalid_key",
            Denied::Address => "ip_not_allowed",
            Denied::Scope(_) => "scope_missing",
        }
    }

    /// What to tell the caller, and what to do about it.
    pub fn message(&self) -> String {
        match self {
            Denied::Rule(Breach::Host(host)) => {
                format!("we are not known under the name {host}: add it to allowed_hosts if it is yours")
            }
            Denied::Rule(Breach::CrossSite(site)) => format!(
                "a page of another site is behind this request ({site}): behind a reverse proxy, set public_url or trusted_proxies"
            ),
            Denied::Rule(Breach::Preflight) => "pages of the internet may not reach the local network".to_owned(),
            Denied::Remote => {
                "management is open on this machine only: set remote_management and a login to open it".to_owned()
            }
            Denied::Login { mode: AuthMode::None, .. } => {
                "a key with the scope admin or the token in run/admin.token is needed".to_owned()
            }
            Denied::Login { .. } => "log in, or send a key with the right scope".to_owned(),
            Denied::Key(fault) => fault.message().to_owned(),
            Denied::Token => "this is not the token of the running program: read run/admin.token again".to_owned(),
            Denied::Address => "this key may not be used from this address".to_owned(),
            Denied::Scope(scope) => format!("the key needs the scope {}", scope_name(*scope)),
        }
    }

    /// `details` of the error, if there are any.
    pub fn details(&self) -> Option<Value> {
        match self {
            Denied::Login { require_login, mode } => {
                Some(json!({"requireLogin": require_login, "authMode": mode_name(*mode)}))
            }
            Denied::Scope(scope) => Some(json!({"scope": scope_name(*scope)})),
            _ => None,
        }
    }
}

/// The name of a scope in files and in the API.
pub fn scope_name(scope: Scope) -> &'static str {
    crate::settings::SCOPES.iter().find(|(_, known)| *known == scope).map_or("", |(name, _)| name)
}

/// The name of a mode in files and in the API.
pub fn mode_name(mode: AuthMode) -> &'static str {
    match mode {
        AuthMode::None => "none",
        AuthMode::Password => "password",
        AuthMode::Oidc => "oidc",
    }
}

impl Auth {
    /// Decides whether a caller may use a route, and as whom. `now_ms` is in milliseconds since the epoch.
    ///
    /// # Errors
    /// Says why not.
    pub fn decide(
        &self,
        caller: &Caller<'_>,
        snapshot: &Snapshot,
        capability: Capability,
        now_ms: i64,
    ) -> Result<Principal, Denied> {
        let settings = &snapshot.settings;
        let exposure = match capability {
            Capability::Public | Capability::Login => Exposure::Open,
            Capability::Scope(_) => Exposure::Guarded,
        };
        rules::check(caller, settings, exposure).map_err(Denied::Rule)?;
        let here = caller.is_here(settings);
        if capability == Capability::Public {
            // A credential that is not good takes nothing away from what everybody may do.
            return Ok(self.known(caller, snapshot, here, now_ms).unwrap_or(Principal::Nobody));
        }
        // The token lies on this machine, and so does who has it, also where a proxy on this machine is trusted.
        let local = here || (caller.is_direct() && self.has_token(caller.head));
        if !local && !settings.remote_management_is_open() {
            return Err(Denied::Remote);
        }
        let known = self.known(caller, snapshot, here, now_ms);
        match (capability, known) {
            (Capability::Public | Capability::Login, known) => Ok(known.unwrap_or(Principal::Nobody)),
            (Capability::Scope(_), Err(denied)) => Err(denied),
            (Capability::Scope(_), Ok(Principal::Nobody)) => Err(login(settings)),
            (Capability::Scope(scope), Ok(principal)) if !principal.allows(scope) => Err(Denied::Scope(scope)),
            (Capability::Scope(_), Ok(principal)) => Ok(principal),
        }
    }

    /// Who the caller is, by its credential or by where it is.
    fn known(&self, caller: &Caller<'_>, snapshot: &Snapshot, here: bool, now_ms: i64) -> Result<Principal, Denied> {
        let settings = &snapshot.settings;
        if let Some(token) = credential(&caller.head.headers) {
            match self.token.is(token) {
                Some(true) => return Ok(Principal::AdminToken),
                Some(false) => return Err(Denied::Token),
                None => {}
            }
            if let Some(key) = snapshot.key(token).map_err(Denied::Key)? {
                return match key.may_come_from(caller.address(settings)) {
                    true => Ok(Principal::Key(Arc::clone(key))),
                    false => Err(Denied::Address),
                };
            }
            // A vendor's key, which clients often carry along, says nothing.
        }
        let session = super::cookie::session(&caller.head.headers, caller.is_https(settings));
        if let Some(session) = session.and_then(|token| self.sessions.find(token, settings, now_ms)) {
            return Ok(Principal::Session(session));
        }
        Ok(if here && !settings.require_login { Principal::Local } else { Principal::Nobody })
    }

    fn has_token(&self, head: &proxy::RequestHead) -> bool {
        credential(&head.headers).is_some_and(|token| self.token.is(token) == Some(true))
    }
}

/// The token in a header; one that is ours before those that clients carry along for vendors. Not from the address: that
/// ends up in histories and logs.
fn credential(headers: &Headers) -> Option<&str> {
    let bearer = headers.text("authorization").and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    let fields = [bearer, headers.text("x-api-key")];
    let ours = |token: &&str| token.starts_with("flr_") || token.starts_with("fra_");
    fields.into_iter().flatten().find(ours).or_else(|| fields.into_iter().flatten().next())
}

fn login(settings: &Settings) -> Denied {
    Denied::Login { require_login: settings.require_login, mode: settings.auth_mode }
}

#[cfg(test)]
mod tests;
