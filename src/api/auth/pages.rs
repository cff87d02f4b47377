//! What the routes of logging in answer: requests read, answers made.
//!
//! Nothing here decides who may call; by the time that one of these runs, [`Auth::decide`] has let the caller in.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::{
    Auth, LoggedIn, Principal, Refused, Unfit, Visit, mode_name,
    oidc::{CALLBACK, Failure, Provider, START, Ways},
    session,
};
use crate::{
    api::{Problem, Reply, page},
    settings::{Secret, Settings},
    store::{Change, StoreError, Vault, settings as rows},
    usage::live::rfc3339,
};

/// Body of a login.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The password.
    password: String,
    /// The user's name, which may be left out.
    username: Option<String>,
}

/// Body of a change of the login.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct LoginRules {
    /// Whether a login is asked for on this machine too.
    require_login: Option<bool>,
    /// How people log in: `none`, `password` or `oidc`.
    auth_mode: Option<String>,
    /// A new password; `null` removes it.
    #[serde(default, with = "double")]
    password: Option<Option<String>>,
    /// The identity provider.
    oidc_config: Option<OidcRules>,
}

/// The identity provider, as it is changed. What is left out stays; `null` clears.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct OidcRules {
    #[serde(default, with = "double")]
    issuer: Option<Option<String>>,
    #[serde(default, with = "double")]
    client_id: Option<Option<String>>,
    #[serde(default, with = "double")]
    client_secret: Option<Option<String>>,
    #[serde(default, with = "double")]
    scopes: Option<Option<Vec<String>>>,
    #[serde(default, with = "double")]
    allowed_emails: Option<Option<Vec<String>>>,
    #[serde(default, with = "double")]
    allowed_domains: Option<Option<Vec<String>>>,
    #[serde(default, with = "double")]
    allowed_subjects: Option<Option<Vec<String>>>,
    #[serde(default, with = "double")]
    role_claim: Option<Option<String>>,
    #[serde(default, with = "double")]
    oidc_only: Option<Option<bool>>,
}

/// Tells a member that is left out from one that is null (RFC 7396).
mod double {
    use serde::{Deserialize, Deserializer};

    pub(super) fn deserialize<'de, T, D>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
    where
        T: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Option::deserialize(deserializer).map(Some)
    }
}

impl Auth {
    /// `GET /api/auth/status`
    pub fn status_page(&self, visit: &Visit<'_>) -> Reply {
        let settings = &visit.snapshot.settings;
        let mut body = json!({
            "authenticated": !matches!(visit.principal, Principal::Nobody),
            "principal": visit.principal.kind(),
            "requireLogin": settings.require_login,
            "authMode": mode_name(settings.auth_mode),
        });
        if let Principal::Session(session) = visit.principal {
            let row = session.row();
            body["session"] = json!({
                "userId": row.user_id,
                "createdAt": rfc3339(row.created_at_ms),
                "expiresAt": rfc3339(row.expires_at_ms),
            });
        }
        Reply::json(body)
    }

    /// `POST /api/auth/login`. The token is in the document only where it is asked for: browsers have the cookie, and
    /// scripts of a page have no business with it.
    pub async fn login_page(&self, visit: &Visit<'_>, body: Login, wants_token: bool) -> Result<Reply, Problem> {
        match self.login(visit, body.username.as_deref(), Zeroizing::new(body.password)).await {
            Ok(LoggedIn { token, cookie, expires_ms }) => {
                let mut document = json!({"expiresAt": rfc3339(expires_ms)});
                if wants_token {
                    document["token"] = json!(token.as_str());
                }
                Ok(Reply::json(document).with("set-cookie", cookie))
            }
            Err(Refused::Locked(locked)) => {
                let seconds = whole_seconds(locked.retry_after);
                let message = format!("too many attempts: try again in {seconds} s");
                let problem = Problem::new(429, "login_locked", message).retry_after(seconds);
                Err(problem.details(json!({"retryAfter": seconds})))
            }
            Err(Refused::Wrong) => Err(Problem::new(401, "invalid_credentials", "this is not the password")),
            Err(Refused::Closed) => Err(Problem::new(
                403,
                "login_disabled",
                "there is no login with a password here: see authMode in /api/auth/status",
            )),
            Err(Refused::System) => Err(Problem::new(500, "internal", "the system has no randomness")),
        }
    }

    /// `POST /api/auth/logout`
    pub async fn logout_page(&self, visit: &Visit<'_>) -> Reply {
        let cookie = self.logout(visit).await;
        Reply::empty().with("set-cookie", cookie)
    }

    /// `GET /api/auth/sessions`
    pub fn sessions_page(&self, visit: &Visit<'_>) -> Reply {
        let own = match visit.principal {
            Principal::Session(session) => Some(*session.token_hash()),
            _ => None,
        };
        let all = self.sessions(visit);
        let shown = all.iter().map(|row| {
            json!({
                "id": session::id(row),
                "userId": row.user_id,
                "method": session::method(row),
                "createdAt": rfc3339(row.created_at_ms),
                "expiresAt": rfc3339(row.expires_at_ms),
                "lastSeenAt": rfc3339(row.last_seen_ms),
                "ip": row.ip,
                "userAgent": row.user_agent,
                "current": own == Some(row.token_hash),
            })
        });
        Reply::json(page::document(shown.collect(), Some(all.len()), None))
    }

    /// `DELETE /api/auth/sessions/{id}`, and without an id: all but the caller's own.
    pub async fn end_sessions_page(&self, visit: &Visit<'_>, id: Option<&str>) -> Result<Reply, Problem> {
        match (self.end_sessions(visit, id).await, id) {
            (0, Some(_)) => Err(Problem::new(404, "not_found", "there is no such session")),
            _ => Ok(Reply::empty()),
        }
    }

    /// `GET /api/auth/oidc`
    pub fn oidc_page(&self, visit: &Visit<'_>) -> Reply {
        let settings = &visit.snapshot.settings;
        let oidc = &settings.oidc;
        Reply::json(json!({
            "authMode": mode_name(settings.auth_mode),
            "issuer": oidc.issuer,
            "clientId": oidc.client_id,
            "redirectUri": Provider::redirect_uri(settings, &visit.caller).ok(),
            "scopes": oidc.scopes,
            "configured": oidc.missing().is_none(),
            "startUrl": START,
        }))
    }

    /// `GET /api/auth/oidc/start`: browsers are sent on, programs are told where to.
    pub async fn oidc_start_page(&self, visit: &Visit<'_>, ways: &Ways) -> Result<Reply, Problem> {
        let (departure, cookie) = self.depart(visit, ways).await.map_err(|failure| failed(&failure))?;
        let accepts = visit.caller.head.headers.text("accept").unwrap_or_default();
        let answer = match accepts.contains("application/json") {
            true => Reply::json(json!({"authUrl": departure.url, "state": departure.state})),
            false => moved(departure.url),
        };
        Ok(match cookie {
            Some(cookie) => answer.with("set-cookie", cookie),
            None => answer,
        })
    }

    /// `GET /api/auth/oidc/callback`: back to the first page, with a session or with the reason why there is none.
    pub async fn oidc_callback_page(&self, visit: &Visit<'_>, ways: &Ways) -> Reply {
        let home = &visit.snapshot.settings.public_url;
        let answer = match self.arrive(visit, ways).await {
            Ok(logged_in) => moved(format!("{home}/")).with("set-cookie", logged_in.cookie),
            Err(failure) => moved(format!("{home}/?login_error={failure}")),
        };
        answer.with("set-cookie", Self::arrived(visit))
    }

    /// `GET /api/auth/oidc/test`: asks the provider anew.
    pub async fn oidc_test_page(&self, visit: &Visit<'_>, ways: &Ways) -> Result<Reply, Problem> {
        self.provider().forget();
        let found = self.provider().document(ways, &visit.snapshot.settings.oidc).await;
        let document = found.map_err(|failure| failed(&failure))?;
        Ok(Reply::json(json!({
            "issuer": document.issuer,
            "authorizationEndpoint": document.authorization.as_str(),
            "tokenEndpoint": document.token.as_str(),
            "jwksUri": document.jwks.as_str(),
        })))
    }

    /// `GET /api/settings/require-login`
    pub fn rules_page(&self, visit: &Visit<'_>) -> Reply {
        Reply::json(rules(&visit.live.snapshot().settings))
    }

    /// `PUT` and `PATCH /api/settings/require-login`: all of it is changed at once, or nothing.
    pub async fn set_rules_page(&self, visit: &Visit<'_>, body: LoginRules) -> Result<Reply, Problem> {
        let hash = match body.password {
            Some(Some(password)) => {
                Some(Some(self.hash(Zeroizing::new(password)).await.map_err(|unfit| match unfit {
                    Unfit::System => Problem::new(500, "internal", unfit.to_string()),
                    Unfit::Short | Unfit::Long => Problem::invalid("password", unfit.to_string()),
                })?))
            }
            Some(None) => Some(None),
            None => None,
        };
        let mut plain = Vec::new();
        let mut secret = Vec::new();
        plain.extend(body.require_login.map(|on| ("require_login", json!(on))));
        plain.extend(body.auth_mode.map(|mode| ("auth_mode", json!(mode))));
        secret.extend(hash.map(|hash| ("password_hash", hash.map(Secret::new))));
        if let Some(oidc) = body.oidc_config {
            let mut text = |name, value: Option<Value>| plain.extend(value.map(|value| (name, value)));
            text("oidc_issuer", oidc.issuer.map(|value| json!(value)));
            text("oidc_client_id", oidc.client_id.map(|value| json!(value)));
            text("oidc_scopes", oidc.scopes.map(|value| json!(value)));
            text("oidc_allowed_emails", oidc.allowed_emails.map(|value| json!(value)));
            text("oidc_allowed_domains", oidc.allowed_domains.map(|value| json!(value)));
            text("oidc_allowed_subjects", oidc.allowed_subjects.map(|value| json!(value)));
            text("oidc_role", oidc.role_claim.map(|value| json!(value)));
            text("oidc_only", oidc.oidc_only.map(|value| json!(value)));
            let given = oidc.client_secret.map(|secret| secret.map(Secret::new));
            secret.extend(given.map(|given| ("oidc_client_secret", given)));
        }
        let store = visit.live.store().clone();
        let mut entry = visit.changed(&plain, &secret);
        let changed = visit.live.change("settings", "require_login".to_owned(), move |change| {
            write(change, store.vault(), &plain, &secret)?;
            crate::store::audit::append(change, &mut entry)
        });
        changed.await?;
        Ok(self.settled(Reply::json(rules(&visit.live.snapshot().settings)), visit).await)
    }
}

impl Visit<'_> {
    /// What was changed, for the audit log; of secrets the name only.
    fn changed(
        &self,
        plain: &[(&'static str, Value)],
        secret: &[(&'static str, Option<Secret>)],
    ) -> crate::store::audit::AuditRow {
        let mut detail: Map<String, Value> =
            plain.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        detail.extend(secret.iter().map(|(name, _)| ((*name).to_owned(), json!("changed"))));
        self.audit("settings.login", Some(Value::Object(detail)))
    }
}

fn write(
    change: &Change<'_>,
    vault: &Vault,
    plain: &[(&'static str, Value)],
    secret: &[(&'static str, Option<Secret>)],
) -> Result<(), StoreError> {
    for (name, value) in plain {
        match value {
            Value::Null => drop(rows::remove(change, name)?),
            value => rows::set(change, name, value)?,
        }
    }
    for (name, value) in secret {
        match value {
            Some(value) => rows::set_secret(change, vault, name, value)?,
            None => drop(rows::remove(change, name)?),
        }
    }
    Ok(())
}

fn rules(settings: &Settings) -> Value {
    json!({
        "requireLogin": settings.require_login,
        "authMode": mode_name(settings.auth_mode),
        "passwordSet": settings.password_hash.is_some(),
        "oidcConfigured": settings.oidc.missing().is_none(),
    })
}

/// A login at the provider that could not even begin.
fn failed(failure: &Failure) -> Problem {
    let (status, code) = match failure {
        Failure::Disabled => (403, "oidc_disabled"),
        Failure::NoWayBack => (422, "public_url_missing"),
        _ => (502, "upstream_error"),
    };
    let message = match failure {
        Failure::Disabled => "logging in at an identity provider is not configured".to_owned(),
        Failure::NoWayBack => format!("set public_url, so that the provider can send people back to {CALLBACK}"),
        other => format!("{other}: {}", other.detail()),
    };
    Problem::new(status, code, message)
}

/// 302.
fn moved(to: String) -> Reply {
    Reply::empty().status(302).with("location", to)
}

/// Rounded up: asking too early would only be refused again.
fn whole_seconds(time: std::time::Duration) -> u64 {
    time.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
