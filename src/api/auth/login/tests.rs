//! Logins over a real store and a live configuration.
#![allow(clippy::unwrap_used)]

use std::{sync::LazyLock, time::Duration};

use super::*;
use crate::{
    api::auth::{
        Capability,
        testing::{call, head},
    },
    settings::{Scope, Sources},
    store::{Options, now_ms},
};

/// The real clock, but standing still: the store removes by it what is over.
static NOW: LazyLock<i64> = LazyLock::new(now_ms);
const HOST: &str = "127.0.0.1:2402";
pub(in crate::api::auth) const RIGHT: &str = "correct horse";

pub(in crate::api::auth) struct Stage {
    pub(in crate::api::auth) auth: Auth,
    pub(in crate::api::auth) live: Live,
    dir: tempfile::TempDir,
}

/// The hash of [`RIGHT`] in the form of the Go program: cheap to make, and renewed by the first login.
fn legacy() -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"flow_router_local_v1:correct horse");
    crate::store::digest::hex(digest.as_ref())
}

impl Stage {
    pub(in crate::api::auth) async fn new() -> Self {
        let stage = Self::open(tempfile::tempdir().unwrap(), &[]).await;
        stage.set_password(&legacy()).await;
        stage
    }

    pub(in crate::api::auth) async fn open(dir: tempfile::TempDir, flags: &[(&'static str, &str)]) -> Self {
        let store = Store::open(&Options::new(dir.path())).unwrap();
        let flags = flags.iter().map(|(name, text)| (*name, (*text).to_owned())).collect();
        let live = Live::open(Sources { flags, ..Sources::default() }, store.clone()).await.unwrap();
        let auth = Auth::open(dir.path(), &store, *NOW).await.unwrap();
        Self { auth, live, dir }
    }

    async fn set_password(&self, hash: &str) {
        let (store, hash) = (self.live.store().clone(), Secret::new(hash));
        self.live
            .change("settings", "login".to_owned(), move |change| {
                rows::set_secret(change, store.vault(), "password_hash", &hash)?;
                rows::set(change, "auth_mode", &json!("password"))?;
                rows::set(change, "require_login", &json!(true))
            })
            .await
            .unwrap();
    }

    /// Stops and starts again.
    async fn restarted(self) -> Self {
        let Self { auth, live, dir } = self;
        live.store().close(Duration::from_secs(5));
        drop((auth, live));
        Self::open(dir, &[]).await
    }

    /// Lets `act` act as whoever the cookie says.
    pub(in crate::api::auth) async fn as_session<T>(&self, cookie: &str, act: impl AsyncFnOnce(&Visit<'_>) -> T) -> T {
        let fields = [("cookie", cookie.split(';').next().unwrap())];
        self.visit(if cookie.is_empty() { &[] } else { &fields }, act).await
    }

    async fn visit<T>(&self, fields: &[(&str, &str)], act: impl AsyncFnOnce(&Visit<'_>) -> T) -> T {
        let head = head("POST", "/api/auth/login", HOST, fields);
        let snapshot = self.live.snapshot();
        let caller = call(&head, "127.0.0.1:50000", HOST);
        let principal = self.auth.decide(&caller, &snapshot, Capability::Login, *NOW).unwrap();
        act(&Visit { caller, snapshot: &snapshot, live: &self.live, principal: &principal, now_ms: *NOW }).await
    }

    pub(in crate::api::auth) async fn login(&self, password: &str) -> Result<LoggedIn, Refused> {
        self.visit(&[], async |visit| self.auth.login(visit, None, Zeroizing::new(password.to_owned())).await).await
    }

    /// Whether that cookie lets in.
    pub(in crate::api::auth) fn is_in(&self, cookie: &str) -> bool {
        let head = head("GET", "/api/providers", HOST, &[("cookie", cookie.split(';').next().unwrap())]);
        let caller = call(&head, "127.0.0.1:50000", HOST);
        self.auth.decide(&caller, &self.live.snapshot(), Capability::Scope(Scope::Admin), *NOW).is_ok()
    }

    pub(in crate::api::auth) async fn audit_details(&self) -> String {
        let rows = self.live.store().read(|connection| audit::page(connection, None, 100)).await.unwrap();
        rows.into_iter().filter_map(|row| row.detail).map(|detail| detail.to_string()).collect()
    }

    async fn audit(&self) -> Vec<String> {
        let rows = self.live.store().read(|connection| audit::page(connection, None, 100)).await.unwrap();
        rows.into_iter().rev().map(|row| format!("{} {}", row.actor, row.action)).collect()
    }
}

#[tokio::test]
async fn a_login_makes_a_session_that_outlasts_a_restart() {
    let stage = Stage::new().await;
    assert!(!stage.is_in("flow_router_session="));
    assert_eq!(stage.login("wrong horse").await.unwrap_err(), Refused::Wrong);
    let logged_in = stage.login(RIGHT).await.unwrap();
    assert!(stage.is_in(&logged_in.cookie));
    assert_eq!(logged_in.expires_ms, *NOW + session::LIFE_MS);
    assert!(logged_in.cookie.contains(&*logged_in.token) && logged_in.cookie.contains("HttpOnly; SameSite=Lax"));
    // The old form of the hash was replaced on the way.
    let hash = stage.live.snapshot().settings.password_hash.clone().unwrap();
    assert!(hash.expose().starts_with("$argon2id$"));
    let sessions = stage.visit(&[], async |visit| stage.auth.sessions(visit)).await;
    assert_eq!(
        (sessions.len(), sessions[0].user_id.as_str(), sessions[0].ip.as_deref()),
        (1, "admin", Some("127.0.0.1"))
    );
    let stage = stage.restarted().await;
    assert!(stage.is_in(&logged_in.cookie));
    assert!(stage.login(RIGHT).await.is_ok());
    assert_eq!(stage.audit().await, ["none auth.login_failed", "session:admin auth.login", "session:admin auth.login"]);
    // Nothing that lets in lies on the disk.
    for entry in std::fs::read_dir(stage.dir.path().join("db")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let holds = |secret: &str| bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!holds(&logged_in.token) && !holds(hash.expose()) && !holds(RIGHT) && !holds("wrong horse"));
    }
}

#[tokio::test]
async fn a_logout_ends_one_session_and_others_can_be_ended() {
    let stage = Stage::new().await;
    let one = stage.login(RIGHT).await.unwrap().cookie;
    let (two, three) = (stage.login(RIGHT).await.unwrap().cookie, stage.login(RIGHT).await.unwrap().cookie);
    let gone = stage.as_session(&one, async |visit| stage.auth.logout(visit).await).await;
    assert!(gone.starts_with("flow_router_session=; ") && gone.contains("Max-Age=0"));
    assert!(!stage.is_in(&one) && stage.is_in(&two) && stage.is_in(&three));
    // All but the own one.
    assert_eq!(stage.as_session(&two, async |visit| stage.auth.end_sessions(visit, None).await).await, 1);
    assert!(stage.is_in(&two) && !stage.is_in(&three));
    let id = stage.visit(&[], async |visit| session::id(&stage.auth.sessions(visit)[0])).await;
    assert_eq!(stage.visit(&[], async |visit| stage.auth.end_sessions(visit, Some("0000")).await).await, 0);
    assert_eq!(stage.visit(&[], async |visit| stage.auth.end_sessions(visit, Some(&id)).await).await, 1);
    assert!(!stage.is_in(&two));
    let stage = stage.restarted().await;
    for cookie in [&one, &two, &three] {
        assert!(!stage.is_in(cookie), "a restart brings nothing back");
    }
}

#[tokio::test]
async fn a_login_replaces_what_the_browser_had() {
    let stage = Stage::new().await;
    let planted = stage.login(RIGHT).await.unwrap().cookie;
    let login =
        async |visit: &Visit<'_>| stage.auth.login(visit, Some("admin"), Zeroizing::new(RIGHT.to_owned())).await;
    let fresh = stage.as_session(&planted, login).await.unwrap().cookie;
    assert_ne!(planted, fresh);
    assert!(stage.is_in(&fresh) && !stage.is_in(&planted));
}

#[tokio::test]
async fn a_changed_password_ends_all_but_a_new_session_of_who_changed_it() {
    let stage = Stage::new().await;
    let (mine, other) = (stage.login(RIGHT).await.unwrap().cookie, stage.login(RIGHT).await.unwrap().cookie);
    let hash = stage.auth.hash(Zeroizing::new("another horse".to_owned())).await.unwrap();
    let fresh = stage
        .as_session(&mine, async |visit| {
            stage.set_password(&hash).await;
            assert!(!stage.is_in(&mine) && !stage.is_in(&other), "at once, before anybody tidies up");
            stage.auth.settle(visit).await
        })
        .await
        .unwrap();
    assert!(stage.is_in(&fresh.cookie));
    assert_eq!(stage.login(RIGHT).await.unwrap_err(), Refused::Wrong);
    let stage = stage.restarted().await;
    assert!(stage.is_in(&fresh.cookie) && !stage.is_in(&mine) && !stage.is_in(&other));
    assert!(stage.login("another horse").await.is_ok());
}

#[tokio::test]
async fn a_hundred_guesses_at_once_are_five() {
    let stage = Stage::new().await;
    let stage = std::sync::Arc::new(stage);
    let guesses: Vec<_> = (0..100)
        .map(|n| {
            let stage = std::sync::Arc::clone(&stage);
            tokio::spawn(async move { stage.login(&format!("guess number {n}")).await.unwrap_err() })
        })
        .collect();
    let (mut wrong, mut locked) = (0, 0);
    for guess in guesses {
        match guess.await.unwrap() {
            Refused::Wrong => wrong += 1,
            Refused::Locked(Locked { retry_after }) => {
                assert!(retry_after <= Duration::from_secs(30));
                locked += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((wrong, locked), (5, 95));
    // Locked is locked, also for the right one.
    assert!(matches!(stage.login(RIGHT).await, Err(Refused::Locked(_))));
}

#[tokio::test]
async fn a_name_that_nobody_has_is_a_wrong_password() {
    let stage = Stage::new().await;
    for (name, good) in [("admin", true), ("root", false), ("", false), ("Admin", false)] {
        let login =
            async |visit: &Visit<'_>| stage.auth.login(visit, Some(name), Zeroizing::new(RIGHT.to_owned())).await;
        assert_eq!(stage.visit(&[], login).await.is_ok(), good, "{name}");
    }
}

#[tokio::test]
async fn a_password_opens_nothing_where_there_is_no_login() {
    let stage = Stage::open(tempfile::tempdir().unwrap(), &[]).await;
    assert_eq!(stage.login(RIGHT).await.unwrap_err(), Refused::Closed);
    // Beside an identity provider it opens on this machine only, and not at all where that is said.
    let hash = legacy();
    let oidc = [
        ("auth_mode", "oidc"),
        ("oidc_issuer", "https://id.example"),
        ("oidc_client_id", "flow"),
        ("oidc_allowed_subjects", "u-1"),
        ("password_hash", &hash),
    ];
    let stage = Stage::open(tempfile::tempdir().unwrap(), &oidc).await;
    let login = async |visit: &Visit<'_>| stage.auth.login(visit, None, Zeroizing::new(RIGHT.to_owned())).await;
    assert!(stage.login(RIGHT).await.is_ok());
    assert_eq!(stage.live.snapshot().settings.password_hash.as_ref().unwrap().expose(), hash, "a pinned hash stays");
    let open = [("remote_management", "true"), ("trusted_proxies", "127.0.0.1")];
    let remote = Stage::open(tempfile::tempdir().unwrap(), &[&oidc[..], &open].concat()).await;
    let through = [("x-forwarded-for", "203.0.113.9")];
    assert_eq!(remote.visit(&through, login).await.unwrap_err(), Refused::Closed);
    let only = Stage::open(tempfile::tempdir().unwrap(), &[&oidc[..], &[("oidc_only", "true")]].concat()).await;
    assert_eq!(only.login(RIGHT).await.unwrap_err(), Refused::Closed);
}

#[tokio::test]
async fn a_store_that_fails_keeps_nobody_out() {
    let stage = Stage::new().await;
    stage.live.store().close(Duration::from_secs(5));
    let cookie = stage.login(RIGHT).await.unwrap().cookie;
    assert!(stage.is_in(&cookie));
    stage.as_session(&cookie, async |visit| stage.auth.logout(visit).await).await;
    assert!(!stage.is_in(&cookie));
}
