//! Logging in and out: what the pure parts say, put together and written down.
//!
//! A login is one attempt of the limiter, one hash and one row in the store. The store has to know of sessions only so
//! that they outlast a restart: where it fails, a login still works, and ends with the program.

use std::{path::Path, time::Instant};

use serde_json::json;
use tracing::{info, warn};
use zeroize::Zeroizing;

use super::{
    Auth, Caller, Principal, cookie,
    limiter::{Limiter, Locked},
    oidc,
    password::{Hasher, Unfit, Verdict},
    session::{self, Begun, Method, Sessions, Standing},
    token::AdminToken,
};
use crate::{
    api::Reply,
    gateway::Snapshot,
    live::Live,
    settings::{AuthMode, Secret, Settings, Source},
    store::{
        Change, Store, StoreError,
        audit::{self, AuditRow},
        sessions::{self, SessionRow},
        settings as rows,
    },
};

/// Who somebody is that knows the password.
const ADMIN: &str = "admin";

/// One request, with all that logging in needs to know of it.
pub struct Visit<'a> {
    /// Where it comes from.
    pub caller: Caller<'a>,
    /// The configuration by which it is decided.
    pub snapshot: &'a Snapshot,
    /// The configuration, to be changed.
    pub live: &'a Live,
    /// Who it is.
    pub principal: &'a Principal,
    /// Milliseconds since the epoch.
    pub now_ms: i64,
}

impl Visit<'_> {
    fn settings(&self) -> &Settings {
        &self.snapshot.settings
    }

    fn is_https(&self) -> bool {
        self.caller.is_https(self.settings())
    }

    pub(super) fn audit(&self, action: &str, detail: Option<serde_json::Value>) -> AuditRow {
        AuditRow {
            ts_ms: self.now_ms,
            actor: self.principal.actor(),
            ip: Some(self.caller.address(self.settings()).to_string()),
            action: action.to_owned(),
            detail,
            ..AuditRow::default()
        }
    }
}

/// Why a login with the password did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// There is no login with a password, or not from there.
    Closed,
    /// Too many attempts.
    Locked(Locked),
    /// It is not the password.
    Wrong,
    /// The system has no randomness.
    System,
}

/// A session that has begun.
#[derive(Debug)]
pub struct LoggedIn {
    /// Its token, for a client without cookies.
    pub token: Zeroizing<String>,
    /// The cookie for the browser.
    pub cookie: String,
    /// When it ends at the latest, in milliseconds since the epoch.
    pub expires_ms: i64,
}

impl Auth {
    /// Makes the token of this run in `data_dir` and takes over the sessions that the store has.
    ///
    /// # Errors
    /// The system has no randomness.
    pub async fn open(data_dir: &Path, store: &Store, now_ms: i64) -> std::io::Result<Self> {
        let auth = Self {
            token: AdminToken::create(data_dir)?,
            sessions: Sessions::default(),
            limiter: Limiter::default(),
            hasher: Hasher::default(),
            provider: oidc::Provider::new().ok_or_else(|| std::io::Error::other("the system has no randomness"))?,
        };
        auth.remember(store, now_ms).await;
        Ok(auth)
    }

    /// Does what could not be done at the start, because the data folder could not be used: makes the token, and takes
    /// over the sessions that the store has.
    ///
    /// # Errors
    /// As [`Auth::open`].
    pub async fn again(&self, data_dir: &Path, store: &Store, now_ms: i64) -> std::io::Result<()> {
        self.token.again(data_dir)?;
        self.remember(store, now_ms).await;
        Ok(())
    }

    /// Takes over the sessions that the store has, beside those that have begun since.
    async fn remember(&self, store: &Store, now_ms: i64) {
        match store.read(move |connection| sessions::list(connection, now_ms)).await {
            Ok(rows) => self.sessions.load(rows, now_ms),
            Err(error) => warn!(%error, "sessions of earlier runs are not known: people have to log in again"),
        }
    }

    /// Logs somebody in who knows the password. There is one user; a name may be given and has to be hers.
    ///
    /// # Errors
    /// Says why not; a wrong name and a wrong password look alike and take as long.
    pub async fn login(
        &self,
        visit: &Visit<'_>,
        name: Option<&str>,
        password: Zeroizing<String>,
    ) -> Result<LoggedIn, Refused> {
        let settings = visit.settings();
        if !password_is_open(visit) {
            return Err(Refused::Closed);
        }
        let address = visit.caller.address(settings);
        if let Err(locked) = self.limiter.admit(address, Instant::now()) {
            info!(%address, "a login was refused: too many attempts");
            return Err(Refused::Locked(locked));
        }
        let known = name.is_none_or(|name| name == ADMIN);
        let stored = settings.password_hash.as_ref().filter(|_| known).map(|hash| hash.expose().to_owned());
        let verdict = self.hasher.verify(password, stored).await;
        if verdict == Verdict::Wrong {
            let mut row = visit.audit("auth.login_failed", None);
            noted(visit.live.store().write(move |change| audit::append(change, &mut row)).await);
            return Err(Refused::Wrong);
        }
        self.limiter.success(address);
        if let Verdict::Renewed(hash) = verdict {
            renew(visit.live, hash).await;
        }
        // A renewed hash is another standing.
        let snapshot = visit.live.snapshot();
        let standing = Standing::now(&snapshot.settings, Method::Password).ok_or(Refused::Closed)?;
        self.begin(visit, ADMIN, Method::Password, &standing).await.ok_or(Refused::System)
    }

    /// Begins a session for somebody who has proved who it is. What the browser had before ends.
    async fn begin(&self, visit: &Visit<'_>, user: &str, method: Method, standing: &Standing) -> Option<LoggedIn> {
        let head = visit.caller.head;
        let address = visit.caller.address(visit.settings());
        let agent = head.headers.text("user-agent");
        let Begun { token, row, mut ended } =
            self.sessions.begin(user, method, standing, address, agent, visit.now_ms)?;
        if let Principal::Session(before) = visit.principal {
            ended.extend(self.sessions.end(|row| row.token_hash == *before.token_hash()));
        }
        let mut entry = AuditRow {
            actor: format!("session:{user}"),
            ..visit.audit("auth.login", Some(json!({"method": method.name(), "session": session::id(&row)})))
        };
        let expires_ms = row.expires_at_ms;
        let cookie = cookie::set_session(&token, session::LIFE_MS / 1000, visit.is_https());
        let written = visit.live.store().write(move |change| {
            remove(change, &ended)?;
            sessions::insert(change, &row)?;
            audit::append(change, &mut entry)
        });
        noted(written.await);
        Some(LoggedIn { token, cookie, expires_ms })
    }

    /// Ends the caller's session; gives the cookie that makes the browser forget it.
    pub async fn logout(&self, visit: &Visit<'_>) -> String {
        if let Principal::Session(session) = visit.principal {
            let ended = self.sessions.end(|row| row.token_hash == *session.token_hash());
            self.forget(visit, ended, "auth.logout").await;
        }
        cookie::set_session("", 0, visit.is_https())
    }

    /// All sessions that are good, the youngest first.
    pub fn sessions(&self, visit: &Visit<'_>) -> Vec<SessionRow> {
        self.sessions.list(visit.settings(), visit.now_ms)
    }

    /// Ends the session of that name, or all but the caller's own. Gives how many ended.
    pub async fn end_sessions(&self, visit: &Visit<'_>, id: Option<&str>) -> usize {
        let own = match visit.principal {
            Principal::Session(session) => Some(*session.token_hash()),
            _ => None,
        };
        let ended = self.sessions.end(|row| match id {
            Some(id) => session::id(row) == id,
            None => own != Some(row.token_hash),
        });
        let count = ended.len();
        self.forget(visit, ended, "auth.end_sessions").await;
        count
    }

    async fn forget(&self, visit: &Visit<'_>, ended: Vec<[u8; 32]>, action: &str) {
        let mut entry = visit.audit(action, Some(json!({"sessions": ended.len()})));
        let written = visit.live.store().write(move |change| {
            remove(change, &ended)?;
            audit::append(change, &mut entry)
        });
        noted(written.await);
    }

    /// Writes down that a session was used, every few minutes. To be called with each request that is let in.
    pub async fn touch(&self, principal: &Principal, store: &Store) {
        let Principal::Session(session) = principal else { return };
        let Some(seen) = session.due() else { return };
        let row = session.row();
        noted(store.write(move |change| sessions::seen(change, &row.token_hash, seen, row.expires_at_ms)).await);
    }

    /// Hashes a new password.
    ///
    /// # Errors
    /// It is too short or too long.
    pub async fn hash(&self, password: Zeroizing<String>) -> Result<String, Unfit> {
        self.hasher.hash(password).await
    }

    /// After a change of what logins rest upon: ends the sessions that rest upon something else now, and gives the
    /// caller, who may have made the change, a new one for the one that it had.
    pub async fn settle(&self, visit: &Visit<'_>) -> Option<LoggedIn> {
        let snapshot = visit.live.snapshot();
        let own = match visit.principal {
            Principal::Session(session) => Some(session.row()),
            _ => None,
        };
        let ended = self.sessions.end(|row| !session::stands(row, &snapshot.settings));
        let again = own.filter(|own| ended.contains(&own.token_hash));
        let count = ended.len();
        if count > 0 {
            let removed = visit.live.store().write(move |change| remove(change, &ended));
            noted(removed.await);
            info!(count, "sessions have ended: what they rested upon has changed");
        }
        let own = again?;
        let method = if session::method(&own) == "oidc" { Method::Oidc } else { Method::Password };
        let standing = Standing::now(&snapshot.settings, method)?;
        self.begin(visit, &own.user_id, method, &standing).await
    }

    /// An answer to a change that logins may rest upon, after [`Auth::settle`]: with the caller's new cookie, if it got
    /// one.
    pub(in crate::api) async fn settled(&self, reply: Reply, visit: &Visit<'_>) -> Reply {
        match self.settle(visit).await {
            Some(again) => reply.with("set-cookie", again.cookie),
            None => reply,
        }
    }

    /// Begins a login at the identity provider.
    pub(super) async fn depart(
        &self,
        visit: &Visit<'_>,
        ways: &oidc::Ways,
    ) -> Result<(oidc::Departure, Option<String>), oidc::Failure> {
        if visit.settings().auth_mode != AuthMode::Oidc {
            return Err(oidc::Failure::Disabled);
        }
        let departure = self.provider.start(ways, visit.settings(), &visit.caller, visit.now_ms).await?;
        let sealed = departure.sealed.as_deref();
        let cookie = sealed.map(|sealed| cookie::set_oidc(sealed, oidc::LIFE_S, visit.is_https()));
        Ok((departure, cookie))
    }

    /// Ends a login at the identity provider. The cookie of the way there is to be deleted in any case.
    pub(super) async fn arrive(&self, visit: &Visit<'_>, ways: &oidc::Ways) -> Result<LoggedIn, oidc::Failure> {
        let settings = visit.settings();
        let head = visit.caller.head;
        let result = match settings.auth_mode {
            AuthMode::Oidc => {
                let sealed = cookie::oidc(&head.headers, visit.is_https());
                let query = head.query().unwrap_or_default();
                self.provider.finish(ways, settings, query, sealed, visit.now_ms).await
            }
            AuthMode::None | AuthMode::Password => Err(oidc::Failure::Disabled),
        };
        match result {
            Ok(user) => {
                let standing = Standing::now(settings, Method::Oidc).ok_or(oidc::Failure::Disabled)?;
                self.begin(visit, &user, Method::Oidc, &standing).await.ok_or(oidc::Failure::System)
            }
            Err(failure) => {
                info!(%failure, detail = failure.detail(), "a login at the identity provider failed");
                let mut row = visit.audit("auth.login_failed", Some(json!({"reason": failure.to_string()})));
                noted(visit.live.store().write(move |change| audit::append(change, &mut row)).await);
                Err(failure)
            }
        }
    }

    /// The cookie that makes the browser forget a login under way.
    pub(super) fn arrived(visit: &Visit<'_>) -> String {
        cookie::set_oidc("", 0, visit.is_https())
    }

    /// What is known of the identity provider.
    pub(super) fn provider(&self) -> &oidc::Provider {
        &self.provider
    }
}

/// Whether the password lets in: everywhere in its own mode; beside an identity provider on this machine only, for the
/// day on which that does not answer.
fn password_is_open(visit: &Visit<'_>) -> bool {
    let settings = visit.settings();
    match settings.auth_mode {
        AuthMode::None => false,
        AuthMode::Password => true,
        AuthMode::Oidc => !settings.oidc.only && visit.caller.is_here(settings),
    }
}

/// Puts a hash of the present form in place of an old one. If that fails, the old one stays good.
async fn renew(live: &Live, hash: String) {
    if live.source("password_hash") != Source::Store {
        return;
    }
    let vault = live.store().clone();
    let renewed = live.change("settings", "password_hash".to_owned(), move |change| {
        rows::set_secret(change, vault.vault(), "password_hash", &Secret::new(hash))
    });
    if let Err(error) = renewed.await {
        warn!(%error, "the hash of the password keeps its old form");
    }
}

fn remove(change: &Change<'_>, ended: &[[u8; 32]]) -> Result<(), StoreError> {
    for hash in ended {
        sessions::delete(change, hash)?;
    }
    Ok(())
}

/// Sessions work without the store; that it does not is worth a line.
fn noted(written: Result<(), StoreError>) {
    if let Err(error) = written {
        warn!(%error, "a login or its end could not be written down");
    }
}

#[cfg(test)]
pub(super) mod tests;
