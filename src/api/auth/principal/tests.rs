#![allow(clippy::unwrap_used)]

use std::fs;

use super::*;
use crate::{
    api::auth::{
        session::{Method, Standing},
        testing::{call, head},
        token,
    },
    gateway::new_key,
    settings::{Scopes, Secret, Source},
};

const NOW: i64 = 1_700_000_000_000;
const HERE: &str = "127.0.0.1:50000";
const US: &str = "127.0.0.1:2402";
const LAN: &str = "192.168.1.9:50000";
const LAN_US: &str = "192.168.1.2:2402";
const HOST: &str = "127.0.0.1:2402";

const ADMIN: Capability = Capability::Scope(Scope::Admin);

struct Stage {
    auth: Auth,
    token: String,
    _dir: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let auth = Auth::bare(dir.path());
        let token = fs::read_to_string(token::path(dir.path())).unwrap().trim().to_owned();
        Self { auth, token, _dir: dir }
    }

    fn session(&self, settings: &Settings) -> String {
        let standing = Standing::now(settings, Method::Password).unwrap();
        let ip = [127, 0, 0, 1].into();
        self.auth.sessions.begin("admin", Method::Password, &standing, ip, None, NOW).unwrap().token.to_string()
    }

    fn ask(
        &self,
        settings: &Settings,
        ends: (&str, &str),
        host: &str,
        fields: &[(&str, &str)],
        capability: Capability,
    ) -> Result<&'static str, &'static str> {
        let snapshot = Snapshot::new(settings.clone(), Arc::default(), None);
        let head = head("GET", "/api/providers?key=flr_in-the-address", host, fields);
        let decided = self.auth.decide(&call(&head, ends.0, ends.1), &snapshot, capability, NOW);
        decided.map(|principal| principal.kind()).map_err(|denied| denied.code())
    }
}

fn locked() -> Settings {
    Settings {
        require_login: true,
        auth_mode: AuthMode::Password,
        password_hash: Some(Secret::new("hash")),
        ..Settings::default()
    }
}

fn open() -> Settings {
    Settings { remote_management: true, ..locked() }
}

fn with_key(settings: Settings, change: impl FnOnce(&mut KeyHash)) -> (String, Settings) {
    let (key, sha256) = new_key().unwrap();
    let mut hash = KeyHash::new("id", "me", sha256, Source::Store);
    hash.scopes = Scopes::parse(["usage:read"]).unwrap();
    change(&mut hash);
    (key, Settings { keys: vec![hash], ..settings })
}

#[test]
fn without_a_login_this_machine_manages_and_nobody_else() {
    let stage = Stage::new();
    let settings = Settings::default();
    let ask = |ends, host, fields: &[(&str, &str)]| stage.ask(&settings, ends, host, fields, ADMIN);
    assert_eq!(ask((HERE, US), HOST, &[]), Ok("local"));
    assert_eq!(ask((HERE, US), "localhost", &[("authorization", "Bearer sk-of-a-vendor")]), Ok("local"));
    assert_eq!(ask((LAN, LAN_US), "192.168.1.2:2402", &[]), Err("remote_management_disabled"));
    // A tunnel on this machine.
    for fields in [("CF-Connecting-IP", "203.0.113.9"), ("X-Forwarded-For", "127.0.0.1"), ("Via", "1.1 x")] {
        assert_eq!(ask((HERE, US), HOST, &[fields]), Err("remote_management_disabled"), "{fields:?}");
    }
    assert_eq!(ask((HERE, US), "x.trycloudflare.com", &[]), Err("bad_host"));
    let known = Settings { allowed_hosts: vec!["x.trycloudflare.com".into()], ..settings.clone() };
    let result = stage.ask(&known, (HERE, US), "x.trycloudflare.com", &[], ADMIN);
    assert_eq!(result, Err("remote_management_disabled"));
    let any = Settings { allowed_hosts: vec!["*".into()], ..settings.clone() };
    assert_eq!(stage.ask(&any, (HERE, US), "evil.example", &[], ADMIN), Err("remote_management_disabled"));
}

#[test]
fn a_tunnel_never_is_this_machine_whatever_is_open() {
    let stage = Stage::new();
    let free = Settings { remote_management: true, require_login: false, ..locked() };
    for fields in [("CF-Connecting-IP", "203.0.113.9"), ("X-Forwarded-For", "127.0.0.1"), ("Forwarded", "for=::1")] {
        assert_eq!(stage.ask(&free, (HERE, US), HOST, &[fields], ADMIN), Err("login_required"), "{fields:?}");
    }
    assert_eq!(stage.ask(&free, (HERE, US), HOST, &[], ADMIN), Ok("local"));
}

#[test]
fn where_a_login_is_asked_for_it_is_asked_of_everybody() {
    let stage = Stage::new();
    let settings = locked();
    assert_eq!(stage.ask(&settings, (HERE, US), HOST, &[], ADMIN), Err("login_required"));
    let cookie = format!("flow_router_session={}", stage.session(&settings));
    assert_eq!(stage.ask(&settings, (HERE, US), HOST, &[("cookie", &cookie)], ADMIN), Ok("session"));
    // It stays closed to others until that is opened.
    let from_lan =
        |settings: &Settings, fields: &[(&str, &str)]| stage.ask(settings, (LAN, LAN_US), "192.168.1.2", fields, ADMIN);
    assert_eq!(from_lan(&settings, &[("cookie", &cookie)]), Err("remote_management_disabled"));
    assert_eq!(from_lan(&open(), &[]), Err("login_required"));
    assert_eq!(from_lan(&open(), &[("cookie", &cookie)]), Ok("session"));
    // Opened without a login that works it is not open.
    let broken = Settings { password_hash: None, ..open() };
    assert_eq!(from_lan(&broken, &[("cookie", &cookie)]), Err("remote_management_disabled"));
    assert_eq!(stage.ask(&broken, (HERE, US), HOST, &[], ADMIN), Err("login_required"), "closed, not open");
}

#[test]
fn the_token_is_good_on_this_machine() {
    let stage = Stage::new();
    let bearer = format!("Bearer {}", stage.token);
    let field = [("authorization", bearer.as_str())];
    assert_eq!(stage.ask(&locked(), (HERE, US), HOST, &field, ADMIN), Ok("token"));
    assert_eq!(stage.ask(&locked(), (HERE, US), HOST, &[("x-api-key", &stage.token)], ADMIN), Ok("token"));
    // Also where a proxy on this machine is trusted, but not through it.
    let proxied = Settings { trusted_proxies: vec!["127.0.0.1".parse().unwrap()], ..locked() };
    assert_eq!(stage.ask(&proxied, (HERE, US), HOST, &field, ADMIN), Ok("token"));
    let through = [field[0], ("x-forwarded-for", "203.0.113.9")];
    assert_eq!(stage.ask(&proxied, (HERE, US), HOST, &through, ADMIN), Err("remote_management_disabled"));
    assert_eq!(stage.ask(&locked(), (LAN, LAN_US), "192.168.1.2", &field, ADMIN), Err("remote_management_disabled"));
    assert_eq!(stage.ask(&open(), (LAN, LAN_US), "192.168.1.2", &field, ADMIN), Ok("token"));
    // One of an earlier start is worth nothing, not even where nothing is asked for.
    let other = Stage::new();
    assert_eq!(other.ask(&Settings::default(), (HERE, US), HOST, &field, ADMIN), Err("invalid_key"));
}

#[test]
fn keys_reach_as_far_as_their_scopes() {
    let stage = Stage::new();
    let (key, settings) = with_key(locked(), |_| {});
    let usage = Capability::Scope(Scope::UsageRead);
    let ask =
        |settings: &Settings, capability| stage.ask(settings, (HERE, US), HOST, &[("x-api-key", &key)], capability);
    assert_eq!(ask(&settings, usage), Ok("key"));
    assert_eq!(ask(&settings, ADMIN), Err("scope_missing"));
    // A key narrows who shows it, even on this machine.
    let free = Settings { require_login: false, ..settings.clone() };
    assert_eq!(ask(&free, ADMIN), Err("scope_missing"));

    let (key, settings) = with_key(open(), |hash| hash.scopes = Scopes::parse(["admin"]).unwrap());
    for capability in [ADMIN, usage, Capability::Scope(Scope::SyncRead)] {
        assert_eq!(stage.ask(&settings, (LAN, LAN_US), "192.168.1.2", &[("x-api-key", &key)], capability), Ok("key"));
    }
    let narrow = |change: fn(&mut KeyHash)| {
        let (key, settings) = with_key(open(), change);
        stage.ask(&settings, (LAN, LAN_US), "192.168.1.2", &[("x-api-key", &key)], usage)
    };
    assert_eq!(narrow(|hash| hash.is_active = false), Err("invalid_key"));
    assert_eq!(narrow(|hash| hash.expires_at_ms = Some(1)), Err("key_expired"));
    assert_eq!(narrow(|hash| hash.allowed_cidrs = vec!["10.0.0.0/8".parse().unwrap()]), Err("ip_not_allowed"));
    assert_eq!(narrow(|hash| hash.allowed_cidrs = vec!["192.168.0.0/16".parse().unwrap()]), Ok("key"));
}

#[test]
fn a_wrong_key_is_refused_and_never_taken_for_nobody() {
    let stage = Stage::new();
    let unknown = format!("flr_{}", "0".repeat(64));
    for (fields, code) in [
        ([("x-api-key", unknown.as_str())], "invalid_key"),
        ([("authorization", "Bearer flr_short")], "invalid_key"),
        ([("authorization", "Bearer fra_wrong")], "invalid_key"),
    ] {
        assert_eq!(stage.ask(&Settings::default(), (HERE, US), HOST, &fields, ADMIN), Err(code), "{fields:?}");
    }
    // Ours counts before a vendor's that comes along.
    let both = [("authorization", "Bearer sk-vendor"), ("x-api-key", unknown.as_str())];
    assert_eq!(stage.ask(&Settings::default(), (HERE, US), HOST, &both, ADMIN), Err("invalid_key"));
}

#[test]
fn what_is_open_to_all_stays_so_and_logins_are_where_management_is() {
    let stage = Stage::new();
    let settings = locked();
    let lan = |settings: &Settings, capability| stage.ask(settings, (LAN, LAN_US), "192.168.1.2", &[], capability);
    assert_eq!(lan(&settings, Capability::Public), Ok("none"));
    assert_eq!(lan(&settings, Capability::Login), Err("remote_management_disabled"));
    assert_eq!(lan(&open(), Capability::Login), Ok("none"));
    assert_eq!(stage.ask(&settings, (HERE, US), HOST, &[], Capability::Login), Ok("none"));
    let wrong = [("authorization", "Bearer fra_wrong")];
    assert_eq!(stage.ask(&settings, (HERE, US), HOST, &wrong, Capability::Public), Ok("none"));
    assert_eq!(stage.ask(&settings, (HERE, US), "evil.example", &[], Capability::Public), Err("bad_host"));
    let page = [("origin", "https://evil.example")];
    assert_eq!(stage.ask(&Settings::default(), (HERE, US), HOST, &page, ADMIN), Err("csrf"));
}

#[test]
fn behind_a_trusted_proxy_the_cookie_of_https_counts() {
    let stage = Stage::new();
    let settings = Settings {
        trusted_proxies: vec!["127.0.0.1".parse().unwrap()],
        public_url: "https://f.example".into(),
        ..open()
    };
    let token = stage.session(&settings);
    let (plain, host) = (format!("flow_router_session={token}"), format!("__Host-flow_router_session={token}"));
    let ask = |cookie: &str| {
        let fields = [("x-forwarded-proto", "https"), ("x-forwarded-for", "203.0.113.9"), ("cookie", cookie)];
        stage.ask(&settings, (HERE, US), "f.example", &fields, ADMIN)
    };
    assert_eq!(ask(&host), Ok("session"));
    assert_eq!(ask(&plain), Err("login_required"));
}

#[cfg(target_os = "linux")]
#[test]
fn strict_loopback_asks_whose_socket_it_is() {
    let stage = Stage::new();
    let settings = Settings { strict_loopback: true, ..Settings::default() };
    // Nobody's socket.
    assert_eq!(stage.ask(&settings, ("127.0.0.1:1", US), HOST, &[], ADMIN), Err("remote_management_disabled"));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let local = listener.local_addr().unwrap().to_string();
    let client = std::net::TcpStream::connect(&local).unwrap();
    let peer = client.local_addr().unwrap().to_string();
    assert_eq!(stage.ask(&settings, (&peer, &local), HOST, &[], ADMIN), Ok("local"));
}
