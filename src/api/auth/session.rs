//! Who has logged in: sessions in memory, by the digest of their token.
//!
//! Pure: time is an argument, and whoever calls writes to the store what has to outlast a restart. Tokens are
//! 32 random bytes, made anew at each login, so that there is nothing to fix beforehand; only their SHA-256 is kept.
//!
//! A session ends [`LIFE_MS`] after its login, after [`IDLE_MS`] without a request, at a logout, and when what it was
//! granted by has changed: each carries a [`Standing`] of the password or of the rules of the identity provider, and is
//! good only as long as that is the present one. A changed password ends all sessions that it granted, wherever it was
//! changed.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use crate::{
    settings::{AuthMode, Settings},
    store::{
        digest::{hex, sha256},
        sessions::SessionRow,
    },
};

/// How long a session lasts at most, in milliseconds: 7 days.
pub(super) const LIFE_MS: i64 = 7 * 24 * 3600 * 1000;

/// How long a session lasts without a request, in milliseconds: 24 hours.
pub(super) const IDLE_MS: i64 = 24 * 3600 * 1000;

/// How often the time of the last request is written to the store, in milliseconds.
const TOUCH_MS: i64 = 5 * 60 * 1000;

/// Sessions at once; beyond, the one that was used longest ago ends.
const SESSIONS: usize = 1000;

/// Most bytes of what a browser says of itself.
const USER_AGENT: usize = 200;

/// How somebody logged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    /// With the password.
    Password,
    /// At the identity provider.
    Oidc,
}

impl Method {
    /// The word in the API and in the store.
    pub(super) fn name(self) -> &'static str {
        match self {
            Method::Password => "password",
            Method::Oidc => "oidc",
        }
    }
}

/// What a login rests upon, as a short digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing(String);

impl Standing {
    /// The present one; `None` where this way of logging in is closed.
    pub(super) fn now(settings: &Settings, method: Method) -> Option<Self> {
        let rest: Vec<&str> = match (method, settings.auth_mode) {
            (Method::Password, AuthMode::Password) => vec![settings.password_hash.as_ref()?.expose()],
            (Method::Password, AuthMode::Oidc) if !settings.oidc.only => {
                vec![settings.password_hash.as_ref()?.expose()]
            }
            (Method::Oidc, AuthMode::Oidc) => {
                let oidc = &settings.oidc;
                let lists = [&oidc.allowed_emails, &oidc.allowed_domains, &oidc.allowed_subjects];
                let mut rest = vec![oidc.issuer.as_str(), &oidc.client_id];
                for list in lists {
                    rest.push("\u{1}");
                    rest.extend(list.iter().map(String::as_str));
                }
                rest.extend(oidc.role.iter().flat_map(|(claim, value)| ["\u{1}", claim, value]));
                rest
            }
            _ => return None,
        };
        let mut context = digest::Context::new(&digest::SHA256);
        for part in std::iter::once(method.name()).chain(rest) {
            context.update(part.as_bytes());
            context.update(&[0]);
        }
        Some(Self(hex(&context.finish().as_ref()[..8])))
    }
}

/// A session's name in the API: nothing that lets in.
pub(super) fn id(row: &SessionRow) -> String {
    hex(&row.token_hash[..8])
}

/// How a session began, without what it rests upon.
pub(super) fn method(row: &SessionRow) -> &str {
    row.method.split(':').next().unwrap_or_default()
}

/// A session that is good.
#[derive(Debug)]
pub struct Session {
    row: SessionRow,
    seen_ms: AtomicI64,
    /// What the store has as `seen_ms`.
    written_ms: AtomicI64,
}

impl Session {
    fn new(row: SessionRow) -> Self {
        let seen = row.last_seen_ms;
        Self { row, seen_ms: AtomicI64::new(seen), written_ms: AtomicI64::new(seen) }
    }

    /// What it is, with the time of the last request.
    pub fn row(&self) -> SessionRow {
        SessionRow { last_seen_ms: self.seen_ms.load(Ordering::Relaxed), ..self.row.clone() }
    }

    /// Who it is.
    pub fn user(&self) -> &str {
        &self.row.user_id
    }

    /// SHA-256 of its token.
    pub fn token_hash(&self) -> &[u8; 32] {
        &self.row.token_hash
    }

    /// The time to write to the store now, if it is time to write it; the caller that gets it writes it.
    pub fn due(&self) -> Option<i64> {
        let seen = self.seen_ms.load(Ordering::Relaxed);
        let written = self.written_ms.load(Ordering::Relaxed);
        let due = seen.saturating_sub(written) >= TOUCH_MS
            && self.written_ms.compare_exchange(written, seen, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        due.then_some(seen)
    }

    fn is_alive(&self, now_ms: i64) -> bool {
        now_ms < self.row.expires_at_ms && now_ms.saturating_sub(self.seen_ms.load(Ordering::Relaxed)) < IDLE_MS
    }
}

/// All sessions.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    by_hash: Mutex<HashMap<[u8; 32], Arc<Session>>>,
}

/// A session that has just begun.
#[derive(Debug)]
pub(super) struct Begun {
    /// For the client; nowhere else.
    pub token: Zeroizing<String>,
    /// For the store.
    pub row: SessionRow,
    /// Those that had to end for it: to be removed from the store.
    pub ended: Vec<[u8; 32]>,
}

impl Sessions {
    /// Takes over what the store has kept.
    pub(super) fn load(&self, rows: impl IntoIterator<Item = SessionRow>, now_ms: i64) {
        let mut map = self.map();
        let alive = rows.into_iter().map(Session::new).filter(|session| session.is_alive(now_ms));
        let room = SESSIONS.saturating_sub(map.len());
        map.extend(alive.take(room).map(|session| (session.row.token_hash, Arc::new(session))));
    }

    /// Begins a session. `None`: the system has no randomness.
    pub(super) fn begin(
        &self,
        user: &str,
        method: Method,
        standing: &Standing,
        ip: IpAddr,
        user_agent: Option<&str>,
        now_ms: i64,
    ) -> Option<Begun> {
        let mut random = Zeroizing::new([0u8; 32]);
        getrandom::fill(&mut *random).ok()?;
        let token = Zeroizing::new(URL_SAFE_NO_PAD.encode(*random));
        let row = SessionRow {
            token_hash: sha256(token.as_bytes()),
            user_id: user.to_owned(),
            method: format!("{}:{}", method.name(), standing.0),
            created_at_ms: now_ms,
            expires_at_ms: now_ms.saturating_add(LIFE_MS),
            last_seen_ms: now_ms,
            ip: Some(ip.to_string()),
            user_agent: user_agent.map(|text| text.chars().take(USER_AGENT).collect()),
        };
        let mut map = self.map();
        let mut ended: Vec<_> = map.values().filter(|s| !s.is_alive(now_ms)).map(|s| *s.token_hash()).collect();
        for hash in &ended {
            map.remove(hash);
        }
        if map.len() >= SESSIONS
            && let Some(oldest) =
                map.values().min_by_key(|s| s.seen_ms.load(Ordering::Relaxed)).map(|s| *s.token_hash())
        {
            map.remove(&oldest);
            ended.push(oldest);
        }
        map.insert(row.token_hash, Arc::new(Session::new(row.clone())));
        Some(Begun { token, row, ended })
    }

    /// The session of `token`, if it is good at `now_ms`; this counts as its use.
    pub(super) fn find(&self, token: &str, settings: &Settings, now_ms: i64) -> Option<Arc<Session>> {
        let session = self.map().get(&sha256(token.as_bytes())).cloned()?;
        if !session.is_alive(now_ms) || !stands(&session.row, settings) {
            return None;
        }
        session.seen_ms.fetch_max(now_ms, Ordering::Relaxed);
        Some(session)
    }

    /// All that are good, the youngest first.
    pub(super) fn list(&self, settings: &Settings, now_ms: i64) -> Vec<SessionRow> {
        let good = |session: &&Arc<Session>| session.is_alive(now_ms) && stands(&session.row, settings);
        let mut list: Vec<_> = self.map().values().filter(good).map(|session| session.row()).collect();
        list.sort_by(|a, b| b.created_at_ms.cmp(&a.created_at_ms).then_with(|| a.token_hash.cmp(&b.token_hash)));
        list
    }

    /// Ends those that `ends` names, and gives their digests for the store.
    pub(super) fn end(&self, ends: impl Fn(&SessionRow) -> bool) -> Vec<[u8; 32]> {
        let mut map = self.map();
        let ended: Vec<_> = map.values().filter(|s| ends(&s.row)).map(|s| *s.token_hash()).collect();
        for hash in &ended {
            map.remove(hash);
        }
        ended
    }

    fn map(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 32], Arc<Session>>> {
        // The map is consistent after every statement.
        self.by_hash.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether what a session rests upon is still so.
pub(super) fn stands(row: &SessionRow, settings: &Settings) -> bool {
    let Some((method, standing)) = row.method.split_once(':') else { return false };
    let method = match method {
        "password" => Method::Password,
        "oidc" => Method::Oidc,
        _ => return false,
    };
    Standing::now(settings, method).is_some_and(|now| now.0 == standing)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::settings::{Oidc, Secret};

    const NOW: i64 = 1_700_000_000_000;
    const MINUTE: i64 = 60_000;

    fn settings(password: &str) -> Settings {
        Settings { auth_mode: AuthMode::Password, password_hash: Some(Secret::new(password)), ..Settings::default() }
    }

    fn begin(sessions: &Sessions, settings: &Settings, now_ms: i64) -> Begun {
        let standing = Standing::now(settings, Method::Password).unwrap();
        let ip = [192, 0, 2, 1].into();
        sessions.begin("admin", Method::Password, &standing, ip, Some("Browser/1"), now_ms).unwrap()
    }

    #[test]
    fn a_token_is_random_and_only_its_digest_is_kept() {
        let (sessions, settings) = (Sessions::default(), settings("h"));
        let (one, two) = (begin(&sessions, &settings, NOW), begin(&sessions, &settings, NOW));
        assert_ne!(one.token, two.token);
        assert_eq!(URL_SAFE_NO_PAD.decode(&*one.token).unwrap().len(), 32);
        assert!(!format!("{:?}", one.row).contains(&*one.token));
        assert_eq!(method(&one.row), "password");
        assert_eq!(sessions.find(&one.token, &settings, NOW).unwrap().user(), "admin");
        for wrong in ["", "x", &one.token[1..], &hex(&one.row.token_hash), &id(&one.row)] {
            assert!(sessions.find(wrong, &settings, NOW).is_none(), "{wrong}");
        }
    }

    #[test]
    fn sessions_end_by_age_and_by_idleness() {
        let (sessions, settings) = (Sessions::default(), settings("h"));
        let token = begin(&sessions, &settings, NOW).token;
        let mut now = NOW;
        // Used every 23 hours it lives for seven days, and not a moment longer.
        while now + 23 * 60 * MINUTE < NOW + LIFE_MS {
            now += 23 * 60 * MINUTE;
            assert!(sessions.find(&token, &settings, now).is_some());
        }
        assert!(sessions.find(&token, &settings, NOW + LIFE_MS - 1).is_some());
        assert!(sessions.find(&token, &settings, NOW + LIFE_MS).is_none());
        // Unused it lives for 24 hours.
        let token = begin(&sessions, &settings, NOW).token;
        assert!(sessions.find(&token, &settings, NOW + IDLE_MS).is_none());
        let token = begin(&sessions, &settings, NOW).token;
        assert!(sessions.find(&token, &settings, NOW + IDLE_MS - 1).is_some());
        assert!(sessions.find(&token, &settings, NOW + 2 * IDLE_MS - 2).is_some(), "use prolongs it");
    }

    #[test]
    fn a_changed_password_ends_what_it_granted() {
        let sessions = Sessions::default();
        let token = begin(&sessions, &settings("old"), NOW).token;
        assert!(sessions.find(&token, &settings("new"), NOW).is_none());
        assert_eq!(sessions.list(&settings("new"), NOW).len(), 0);
        assert!(sessions.find(&token, &settings("old"), NOW).is_some());
        let closed = Settings { auth_mode: AuthMode::None, ..settings("old") };
        assert!(sessions.find(&token, &closed, NOW).is_none());
    }

    #[test]
    fn changed_rules_of_the_provider_end_what_they_granted() {
        let oidc = Oidc { issuer: "https://i".into(), client_id: "c".into(), ..Oidc::default() };
        let with = |change: &dyn Fn(&mut Oidc)| {
            let mut oidc = oidc.clone();
            change(&mut oidc);
            Settings { auth_mode: AuthMode::Oidc, oidc, ..settings("h") }
        };
        let now = |settings: &Settings| Standing::now(settings, Method::Oidc);
        let plain = with(&|oidc| oidc.allowed_emails = vec!["a@x".into(), "b@x".into()]);
        for other in [
            with(&|oidc| oidc.allowed_emails = vec!["a@x".into()]),
            with(&|oidc| oidc.allowed_emails = vec!["a@xb@x".into()]),
            with(&|oidc| oidc.allowed_domains = vec!["a@x".into(), "b@x".into()]),
            with(&|oidc| oidc.role = Some(("a@x".into(), "b@x".into()))),
            with(&|oidc| oidc.client_id = "d".into()),
        ] {
            assert_ne!(now(&plain), now(&other));
        }
        assert_eq!(now(&plain), now(&with(&|oidc| oidc.allowed_emails = vec!["a@x".into(), "b@x".into()])));
        // The password stays a way in beside the provider, unless that is switched off.
        assert!(Standing::now(&plain, Method::Password).is_some());
        assert!(Standing::now(&with(&|oidc| oidc.only = true), Method::Password).is_none());
        assert!(now(&settings("h")).is_none());
    }

    #[test]
    fn sessions_outlast_a_restart_by_what_is_kept() {
        let settings = settings("h");
        let before = Sessions::default();
        let (one, two) = (begin(&before, &settings, NOW), begin(&before, &settings, NOW - IDLE_MS));
        let after = Sessions::default();
        after.load([one.row.clone(), two.row], NOW);
        assert!(after.find(&one.token, &settings, NOW).is_some());
        assert!(after.find(&two.token, &settings, NOW).is_none(), "it had ended");
        assert_eq!(after.list(&settings, NOW), [one.row]);
    }

    #[test]
    fn the_store_hears_of_use_every_five_minutes() {
        let (sessions, settings) = (Sessions::default(), settings("h"));
        let token = begin(&sessions, &settings, NOW).token;
        let due = |at: i64| sessions.find(&token, &settings, at).unwrap().due();
        assert_eq!(due(NOW + 5 * MINUTE - 1), None);
        assert_eq!(due(NOW + 5 * MINUTE), Some(NOW + 5 * MINUTE));
        assert_eq!(due(NOW + 6 * MINUTE), None);
        assert_eq!(due(NOW + 10 * MINUTE), Some(NOW + 10 * MINUTE));
    }

    #[test]
    fn ends_are_named_for_the_store() {
        let (sessions, settings) = (Sessions::default(), settings("h"));
        let (one, two) = (begin(&sessions, &settings, NOW), begin(&sessions, &settings, NOW));
        assert_eq!(sessions.end(|row| id(row) == id(&one.row)), [one.row.token_hash]);
        assert!(sessions.find(&one.token, &settings, NOW).is_none());
        assert!(sessions.find(&two.token, &settings, NOW).is_some());
        // A login sweeps out what is over.
        let three = begin(&sessions, &settings, NOW + IDLE_MS);
        assert_eq!(three.ended, [two.row.token_hash]);
    }

    #[test]
    fn their_number_is_bounded() {
        let (sessions, settings) = (Sessions::default(), settings("h"));
        let first = begin(&sessions, &settings, NOW - 1);
        for _ in 1..SESSIONS {
            begin(&sessions, &settings, NOW);
        }
        let last = begin(&sessions, &settings, NOW);
        assert_eq!(last.ended, [first.row.token_hash]);
        assert_eq!(sessions.list(&settings, NOW).len(), SESSIONS);
    }
}
