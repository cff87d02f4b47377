//! Logging in at an identity provider: OpenID Connect, authorization code with PKCE.
//!
//! ```text
//!   start ──▶ sealed cookie: state, nonce, verifier ──▶ the provider's page ──▶ callback?code&state
//!                                                                                  │
//!   session ◀── admitted ◀── id token verified ◀── code exchanged ◀── state is that of the cookie, unused
//! ```
//!
//! Nothing of a login under way is kept here: it travels in a cookie that only we can open, so that any number of people
//! log in at once, and a callback that another browser started is refused. The address to come back to is never made
//! from what a request says of itself.
//!
//! Claims of the id token decide who is admitted; the userinfo endpoint is not asked, and no token of the provider is
//! kept.

mod discovery;
mod fetch;
mod pending;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use url::{Url, form_urlencoded};

pub(super) use discovery::Document;
pub use fetch::Ways;
pub(super) use pending::LIFE_S;
use pending::{Pending, Seal, Used};

use super::{
    caller::Caller,
    jwt::{self, Claims, Expected, Flaw, Keys},
};
use crate::settings::{Oidc, Settings};

/// How long a provider's document and keys are believed.
const FRESH: Duration = Duration::from_secs(3600);

/// How often keys are fetched again because a token names one that we do not know.
const REFETCH: Duration = Duration::from_secs(300);

/// Where the provider sends people back to, below our own address.
pub(super) const CALLBACK: &str = "/api/auth/oidc/callback";

/// Where a login begins.
pub(super) const START: &str = "/api/auth/oidc/start";

/// Why a login did not succeed. The names end up in the address of the page that says so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// Logging in this way is not configured.
    #[error("oidc_disabled")]
    Disabled,
    /// There is no address to come back to: `public_url` is not set, and the caller is not on this machine.
    #[error("public_url_missing")]
    NoWayBack,
    /// The browser brought no cookie of a login under way, or one that is not ours.
    #[error("no_login_under_way")]
    NoCookie,
    /// The login took too long.
    #[error("login_expired")]
    TooLate,
    /// The answer belongs to another login.
    #[error("wrong_state")]
    State,
    /// The answer has been used before.
    #[error("state_replayed")]
    Replayed,
    /// The answer is by another provider.
    #[error("wrong_issuer")]
    Issuer,
    /// The provider said no; its own word for it is on the log.
    #[error("provider_refused")]
    Refused(String),
    /// The provider could not be asked; why is on the log.
    #[error("provider_unreachable")]
    Unreachable(String),
    /// It is, or names, a place that must not be asked.
    #[error("provider_forbidden")]
    Forbidden(String),
    /// The provider's document is not one that we can work with.
    #[error("provider_unusable")]
    Unusable(String),
    /// The token is not good.
    #[error("{0}")]
    Token(Flaw),
    /// The person is not one of those who are let in.
    #[error("not_admitted")]
    NotAdmitted,
    /// The system has no randomness.
    #[error("no_randomness")]
    System,
}

impl Failure {
    /// What is behind it, for the log.
    pub(super) fn detail(&self) -> &str {
        match self {
            Failure::Refused(detail)
            | Failure::Unreachable(detail)
            | Failure::Forbidden(detail)
            | Failure::Unusable(detail) => detail,
            _ => "",
        }
    }
}

/// The way out to the provider, and back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Departure {
    /// The page to open.
    pub(super) url: String,
    /// What the answer will carry; `None` if the browser has to come back here first, under the name of the way back.
    pub(super) state: Option<String>,
    /// For the cookie.
    pub(super) sealed: Option<String>,
}

/// What we remember of the provider, and what seals logins under way.
#[derive(Debug)]
pub(super) struct Provider {
    seal: Seal,
    used: Used,
    known: Mutex<Option<Known>>,
}

#[derive(Debug, Clone)]
struct Known {
    /// As it is configured.
    issuer: String,
    document: Arc<Document>,
    keys: Arc<Keys>,
    fetched: Instant,
    /// When keys were last fetched for an unknown name.
    refetched: Option<Instant>,
}

impl Provider {
    /// Knows nothing yet. `None`: the system has no randomness.
    pub(super) fn new() -> Option<Self> {
        Some(Self { seal: Seal::new()?, used: Used::default(), known: Mutex::new(None) })
    }

    /// The address that the provider sends `caller` back to.
    ///
    /// # Errors
    /// [`Failure::NoWayBack`].
    pub(super) fn redirect_uri(settings: &Settings, caller: &Caller<'_>) -> Result<String, Failure> {
        if !settings.public_url.is_empty() {
            return Ok(format!("{}{CALLBACK}", settings.public_url));
        }
        match caller.local {
            Some(local) if caller.is_here(settings) => Ok(format!("http://127.0.0.1:{}{CALLBACK}", local.port())),
            _ => Err(Failure::NoWayBack),
        }
    }

    /// Begins a login. `now_ms` is in milliseconds since the epoch.
    ///
    /// # Errors
    /// The provider is not configured, cannot be asked, or there is no way back.
    pub(super) async fn start(
        &self,
        ways: &Ways,
        settings: &Settings,
        caller: &Caller<'_>,
        now_ms: i64,
    ) -> Result<Departure, Failure> {
        let redirect_uri = Self::redirect_uri(settings, caller)?;
        if !same_host(&redirect_uri, caller) {
            // The cookie has to be set under the name that the answer comes to.
            let url = redirect_uri.replace(CALLBACK, START);
            return Ok(Departure { url, state: None, sealed: None });
        }
        let document = self.document(ways, &settings.oidc).await?;
        let pending = Pending::new(document.issuer.clone(), redirect_uri, now_ms).ok_or(Failure::System)?;
        let mut url = document.authorization.clone();
        let mut scopes: Vec<&str> = settings.oidc.scopes.iter().map(String::as_str).collect();
        if !scopes.contains(&"openid") {
            scopes.insert(0, "openid");
        }
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &settings.oidc.client_id)
            .append_pair("redirect_uri", &pending.redirect_uri)
            .append_pair("scope", &scopes.join(" "))
            .append_pair("state", &pending.state)
            .append_pair("nonce", &pending.nonce)
            .append_pair("code_challenge", &pending.challenge())
            .append_pair("code_challenge_method", "S256");
        let sealed = self.seal.close(&pending).ok_or(Failure::System)?;
        Ok(Departure { url: url.into(), state: Some(pending.state), sealed: Some(sealed) })
    }

    /// Ends a login: `query` is what the provider sent along, `sealed` the cookie. Gives who it is.
    ///
    /// # Errors
    /// Everything that is wrong with the answer, the token or the person.
    pub(super) async fn finish(
        &self,
        ways: &Ways,
        settings: &Settings,
        query: &[u8],
        sealed: Option<&str>,
        now_ms: i64,
    ) -> Result<String, Failure> {
        let answer = Answer::read(query);
        let pending = sealed.and_then(|sealed| self.seal.open(sealed)).ok_or(Failure::NoCookie)?;
        pending.check(&answer.state, now_ms)?;
        // From here on this login is over, whatever comes of it.
        if !self.used.first(&pending.state, now_ms) {
            return Err(Failure::Replayed);
        }
        let document = self.document(ways, &settings.oidc).await?;
        // The provider that was asked is the one that answers (RFC 9207), and the one that is configured now.
        let named = answer.issuer.as_deref();
        if pending.issuer != document.issuer
            || named.is_some_and(|issuer| issuer != document.issuer)
            || (document.names_itself && named.is_none())
        {
            return Err(Failure::Issuer);
        }
        if let Some(error) = answer.error {
            return Err(Failure::Refused(error));
        }
        let code = answer.code.ok_or_else(|| Failure::Refused("no code".to_owned()))?;
        let token = exchange(ways, &document, &settings.oidc, &pending, &code).await?;
        let claims = self.verify(ways, settings, &document, &token, &pending.nonce, now_ms / 1000).await?;
        admit(&settings.oidc, &claims).ok_or(Failure::NotAdmitted)
    }

    /// What the provider says of itself, from memory or anew.
    ///
    /// # Errors
    /// It is not configured, cannot be asked, or says nothing that we can work with.
    pub(super) async fn document(&self, ways: &Ways, oidc: &Oidc) -> Result<Arc<Document>, Failure> {
        Ok(self.known(ways, oidc).await?.document)
    }

    async fn known(&self, ways: &Ways, oidc: &Oidc) -> Result<Known, Failure> {
        if oidc.missing().is_some() {
            return Err(Failure::Disabled);
        }
        let known = self.memory().clone();
        if let Some(known) = known.filter(|known| known.issuer == oidc.issuer && known.fetched.elapsed() < FRESH) {
            return Ok(known);
        }
        let document = Arc::new(discovery::fetch(ways, &oidc.issuer).await?);
        let keys = Arc::new(fetch_keys(ways, &document).await?);
        let known = Known { issuer: oidc.issuer.clone(), document, keys, fetched: Instant::now(), refetched: None };
        *self.memory() = Some(known.clone());
        Ok(known)
    }

    /// Forgets what is known of the provider, so that it is asked anew.
    pub(super) fn forget(&self) {
        *self.memory() = None;
    }

    async fn verify(
        &self,
        ways: &Ways,
        settings: &Settings,
        document: &Document,
        token: &str,
        nonce: &str,
        now: i64,
    ) -> Result<Claims, Failure> {
        let expected = Expected { issuer: &document.issuer, client_id: &settings.oidc.client_id, nonce, now };
        let known = self.known(ways, &settings.oidc).await?;
        match jwt::verify(token, &known.keys, &expected) {
            // Providers change their keys, and announce that only in their set.
            Err(Flaw::UnknownKey) if self.may_refetch() => {
                let keys = Arc::new(fetch_keys(ways, document).await?);
                if let Some(known) = self.memory().as_mut() {
                    known.keys = Arc::clone(&keys);
                }
                jwt::verify(token, &keys, &expected)
            }
            result => result,
        }
        .map_err(Failure::Token)
    }

    /// Whether keys may be fetched again; true once per [`REFETCH`].
    fn may_refetch(&self) -> bool {
        match self.memory().as_mut() {
            Some(known) if known.refetched.is_none_or(|at| at.elapsed() >= REFETCH) => {
                known.refetched = Some(Instant::now());
                true
            }
            _ => false,
        }
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Option<Known>> {
        // Replaced as a whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the provider sent along with the browser.
#[derive(Debug, Default)]
struct Answer {
    state: String,
    code: Option<String>,
    issuer: Option<String>,
    error: Option<String>,
}

impl Answer {
    fn read(query: &[u8]) -> Self {
        let mut answer = Self::default();
        for (name, value) in form_urlencoded::parse(query) {
            let value = value.into_owned();
            match &*name {
                "state" => answer.state = value,
                "code" => answer.code = Some(value),
                "iss" => answer.issuer = Some(value),
                "error" => answer.error = Some(value.chars().take(100).collect()),
                _ => {}
            }
        }
        answer
    }
}

/// Whether the caller asked for us under the name of that address. Otherwise its cookie would not come back.
fn same_host(address: &str, caller: &Caller<'_>) -> bool {
    let (Ok(url), Some(authority)) = (Url::parse(address), caller.authority()) else { return false };
    url.host_str().is_some_and(|host| host.trim_start_matches('[').trim_end_matches(']') == authority.host)
}

async fn fetch_keys(ways: &Ways, document: &Document) -> Result<Keys, Failure> {
    let bytes = fetch::get(document.way(ways, &document.jwks), &document.jwks).await?;
    Keys::parse(&bytes).ok_or_else(|| Failure::Unusable("the key set cannot be read".to_owned()))
}

/// Exchanges the code for an id token.
async fn exchange(
    ways: &Ways,
    document: &Document,
    oidc: &Oidc,
    pending: &Pending,
    code: &str,
) -> Result<String, Failure> {
    let (form, authorization) = grant(document, oidc, pending, code);
    let bytes = fetch::post(document.way(ways, &document.token), &document.token, form, authorization).await?;
    let answer: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    match answer.get("id_token").and_then(Value::as_str) {
        Some(token) => Ok(token.to_owned()),
        None => Err(Failure::Refused("the answer has no id_token".to_owned())),
    }
}

/// The form that asks for a token, and the credential in the header, if it goes there.
fn grant(document: &Document, oidc: &Oidc, pending: &Pending, code: &str) -> (String, Option<String>) {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "authorization_code")
        .append_pair("code", code)
        .append_pair("redirect_uri", &pending.redirect_uri)
        .append_pair("code_verifier", &pending.verifier);
    let mut authorization = None;
    match &oidc.client_secret {
        Some(secret) if document.basic => {
            // RFC 6749 §2.3.1: both parts are form-encoded first.
            let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            let pair = format!("{}:{}", encoded(&oidc.client_id), encoded(secret.expose()));
            authorization = Some(format!("Basic {}", STANDARD.encode(pair)));
        }
        Some(secret) => {
            form.append_pair("client_id", &oidc.client_id).append_pair("client_secret", secret.expose());
        }
        None => {
            form.append_pair("client_id", &oidc.client_id);
        }
    }
    (form.finish(), authorization)
}

/// Who it is, if one of the lists lets them in.
fn admit(oidc: &Oidc, claims: &Claims) -> Option<String> {
    let email = claims.verified_email();
    let listed = |list: &[String], text: &str| list.iter().any(|item| item.eq_ignore_ascii_case(text));
    let domain = email.and_then(|email| email.rsplit_once('@')).map(|(_, domain)| domain);
    let admitted = oidc.allowed_subjects.iter().any(|subject| subject == claims.subject())
        || email.is_some_and(|email| listed(&oidc.allowed_emails, email))
        || domain.is_some_and(|domain| listed(&oidc.allowed_domains, domain))
        || oidc.role.as_ref().is_some_and(|(claim, value)| claims.has(claim, value));
    let name = email.unwrap_or(claims.subject());
    admitted.then(|| name.chars().take(200).collect())
}

#[cfg(test)]
mod tests;
