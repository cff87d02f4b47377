//! Who may call: keys, and the names under which we are called.
//!
//! A gateway on loopback is reachable from every web page that the user opens. Two checks keep pages out: a foreign
//! `Origin` is refused, and so is a `Host` that is neither an address nor a known name (DNS rebinding).

use std::{
    borrow::Cow,
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use codecs::hub::{ApiError, ErrorKind};
use proxy::{RequestHead, is_loopback};

use super::{forwarded::was_forwarded, paths::query_value};
use crate::store::digest;
use crate::{
    route::Candidate,
    settings::{Cidr, KeyHash, Scope, Settings},
    usage::live::now_ms,
};

/// How keys begin that we make.
const KEY_PREFIX: &str = "flr_";
/// How those began that earlier versions made, and their length.
const KEY_BEFORE: (&str, usize) = ("fr-", 67);

/// Why a caller is turned away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No key, or a wrong one.
    Key(&'static str),
    /// Called under a foreign name, from a foreign page or address, or with a key that does not reach that far.
    Place(String),
}

impl Refusal {
    /// The error that the caller gets.
    pub(super) fn error(self) -> ApiError {
        match self {
            Refusal::Key(message) => ApiError::new(ErrorKind::Auth, message),
            Refusal::Place(message) => ApiError::new(ErrorKind::Permission, message),
        }
    }
}

/// What is wrong with a key that looks like one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyFault {
    /// Nobody has it.
    Unknown,
    /// It was taken back.
    Revoked,
    /// Its time is over.
    Expired,
}

impl KeyFault {
    /// In words, for the one who presented it.
    pub fn message(self) -> &'static str {
        match self {
            KeyFault::Unknown => "this key is unknown here: make one with `flow-router key NAME`",
            KeyFault::Revoked => "this key has been revoked",
            KeyFault::Expired => "this key has expired",
        }
    }
}

/// The rules of admission.
#[derive(Debug)]
pub(super) struct Admission {
    required: bool,
    /// Keys by digest. A lookup tells nothing by its time: who wants to choose a digest must invert SHA-256.
    keys: HashMap<[u8; 32], Arc<KeyHash>>,
    hosts: Vec<String>,
    proxies: Vec<Cidr>,
}

impl Admission {
    /// Rules as configured.
    pub(super) fn new(settings: &Settings) -> Self {
        let mut keys = HashMap::with_capacity(settings.keys.len());
        for key in &settings.keys {
            // Of two entries for one key the first one counts: files come before the store.
            keys.entry(key.sha256).or_insert_with(|| Arc::new(key.clone()));
        }
        let public_host = url::Url::parse(&settings.public_url).ok().and_then(|url| Some(url.host_str()?.to_owned()));
        Self {
            required: settings.require_key,
            keys,
            hosts: settings.allowed_hosts.iter().cloned().chain(public_host).collect(),
            proxies: settings.trusted_proxies.clone(),
        }
    }

    /// The key that `token` is; `None` if it is none of ours and does not look like one, such as a vendor's key that the
    /// client has anyway.
    pub(super) fn key(&self, token: &str) -> Result<Option<&Arc<KeyHash>>, KeyFault> {
        let ours = token.starts_with(KEY_PREFIX) || token.starts_with(KEY_BEFORE.0) && token.len() == KEY_BEFORE.1;
        let found = match self.keys.is_empty() {
            true => None,
            false => self.keys.get(&digest::sha256(token.as_bytes())),
        };
        match found {
            Some(key) if !key.is_active => Err(KeyFault::Revoked),
            // The clock is asked only for keys that run out.
            Some(key) if key.expires_at_ms.is_some() && key.is_expired(now_ms()) => Err(KeyFault::Expired),
            None if ours => Err(KeyFault::Unknown),
            found => Ok(found),
        }
    }

    /// Checks one request; returns the caller's key, if it presented one of ours.
    pub(super) fn check(&self, head: &RequestHead, peer: SocketAddr) -> Result<Option<&Arc<KeyHash>>, Refusal> {
        let presented = presented(head);
        let key = presented.as_deref().map_or(Ok(None), |token| self.key(token));
        let key = key.map_err(|fault| Refusal::Key(fault.message()))?;
        if let Some(key) = key {
            if !key.allowed_cidrs.is_empty() {
                let address = client_address(head, peer, &self.proxies);
                if !key.may_come_from(address) {
                    return Err(Refusal::Place(format!("the key {} may not be used from {address}", key.name)));
                }
            }
            // A key is proof enough: no page knows it.
            return Ok(Some(key));
        }
        if let Some(origin) = head.headers.text("origin") {
            let host = origin.split_once("://").map_or(origin, |(_, host)| host);
            if !self.known(host) {
                return Err(Refusal::Place(format!("requests from the web page {origin} are refused: use a key")));
            }
        }
        let authority = std::str::from_utf8(&head.authority).unwrap_or("?");
        if !authority.is_empty() && !self.known(authority) {
            let hint = "add it to allowed_hosts if it is yours";
            return Err(Refusal::Place(format!("we are not known under the name {authority}: {hint}")));
        }
        let passed_on = || self.proxies.iter().any(|net| net.contains(peer.ip())) || was_forwarded(&head.headers);
        if !self.required && passed_on() {
            // What comes through a tunnel or a reverse proxy is not from this machine, though its peer is.
            let hint = "requests that were passed on by a proxy or a tunnel need a key made by `flow-router key NAME`";
            return Err(Refusal::Key(hint));
        }
        match self.required {
            false => Ok(None),
            true => Err(Refusal::Key("this gateway needs a key: send one made by `flow-router key NAME`")),
        }
    }

    /// Whether `authority` (host and maybe port) is an IP address, localhost or configured.
    fn known(&self, authority: &str) -> bool {
        let host = match authority.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
        };
        host.parse::<IpAddr>().is_ok()
            || is_loopback(host)
            || self.hosts.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(host))
    }
}

/// Checks that a key reaches as far as one of `scopes`, if there are any. Who needs no key has no limits.
pub(super) fn scope(key: Option<&Arc<KeyHash>>, scopes: &[Scope]) -> Result<(), Refusal> {
    match key {
        Some(key) if !scopes.is_empty() && !scopes.iter().any(|scope| key.scopes.allow(*scope)) => {
            Err(Refusal::Place(format!("the key {} is not made for this", key.name)))
        }
        _ => Ok(()),
    }
}

/// Takes the candidates away that a key may not use. `asked` is the model as the client named it.
pub(super) fn narrow(key: Option<&Arc<KeyHash>>, asked: &str, candidates: &mut Vec<Candidate>) -> Result<(), Refusal> {
    let Some(key) = key.filter(|key| key.is_restricted()) else { return Ok(()) };
    let mut by = "provider";
    candidates.retain(|candidate| {
        let provider = &candidate.upstream.provider;
        let whole = format!("{}/{}", provider.name, candidate.model);
        let model = key.may_use_model([asked, &candidate.model, &whole]);
        if !model {
            by = "model";
        }
        model && key.may_use_provider([&*provider.id, &provider.name, provider.preset.unwrap_or_default()])
    });
    match candidates.is_empty() {
        true => Err(Refusal::Place(format!("the key {} may not use the {by} that `{asked}` leads to", key.name))),
        false => Ok(()),
    }
}

/// Where a request comes from: the peer, or what a trusted reverse proxy says of it.
pub fn client_address(head: &RequestHead, peer: SocketAddr, trusted: &[Cidr]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(*address));
    let peer = peer.ip().to_canonical();
    if !is_trusted(&peer) {
        return peer;
    }
    // Each proxy appends whom it saw: from the right, the first one that is not ours. What a client wrote stands further
    // to the left.
    // Some append a line of their own instead, so that the last line is the nearest.
    let lines: Vec<_> = head.headers.all("x-forwarded-for").collect();
    let hops = lines.into_iter().rev().flat_map(|line| line.rsplit(|byte| *byte == b','));
    let mut hops = hops.map_while(|hop| std::str::from_utf8(hop).ok()?.trim().parse::<IpAddr>().ok());
    hops.find(|hop| !is_trusted(hop)).map_or(peer, |hop| hop.to_canonical())
}

/// The key in any of the places where clients put theirs; one that looks like ours before all others.
pub fn presented(head: &RequestHead) -> Option<Cow<'_, str>> {
    let headers = &head.headers;
    let bearer = headers.text("authorization").and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    let fields = [bearer, headers.text("x-api-key"), headers.text("x-goog-api-key")];
    let ours = fields.into_iter().flatten().find(|token| token.starts_with(KEY_PREFIX));
    let field = ours.or_else(|| fields.into_iter().flatten().next());
    field.map(Cow::Borrowed).or_else(|| query_value(head.query(), "key"))
}

/// A new key and its digest: 32 random bytes, shown once.
pub fn new_key() -> Option<(String, [u8; 32])> {
    let mut random = [0u8; 32];
    getrandom::fill(&mut random).ok()?;
    let key = format!("{KEY_PREFIX}{}", digest::hex(&random));
    let sha256 = digest::sha256(key.as_bytes());
    Some((key, sha256))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proxy::{Headers, Method, Version};

    use super::*;
    use crate::settings::{Provider, Source};

    fn head(host: &str, fields: &[(&str, &str)]) -> RequestHead {
        let mut headers = Headers::new();
        for (name, value) in fields {
            headers.append((*name).to_owned(), (*value).to_owned());
        }
        RequestHead {
            method: Method::POST,
            target: "/v1/messages?key=q".into(),
            authority: host.to_owned().into(),
            version: Version::Http11,
            headers,
        }
    }

    const HERE: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9);

    fn keyed(change: impl FnOnce(&mut KeyHash)) -> (String, Admission) {
        let (key, sha256) = new_key().unwrap();
        let mut hash = KeyHash::new("id", "me", sha256, Source::Store);
        change(&mut hash);
        (key, Admission::new(&Settings { keys: vec![hash], ..Settings::default() }))
    }

    #[test]
    fn pages_and_foreign_names_are_refused() {
        let admission = Admission::new(&Settings::default());
        let check =
            |host: &str, fields: &[(&str, &str)]| admission.check(&head(host, fields), HERE).map(|key| key.cloned());
        for host in ["127.0.0.1:2402", "localhost:2402", "[::1]:2402", "x.localhost", "host.docker.internal:1", ""] {
            assert_eq!(check(host, &[]), Ok(None), "{host}");
        }
        assert!(matches!(check("evil.example", &[]), Err(Refusal::Place(_))));
        assert!(matches!(check("127.0.0.1:2402", &[("origin", "https://evil.example")]), Err(Refusal::Place(_))));
        assert_eq!(check("127.0.0.1", &[("origin", "http://localhost:3000")]), Ok(None));
    }

    #[test]
    fn the_public_address_is_a_name_of_ours() {
        let public_url = "https://flow.example:8443/router".to_owned();
        let admission = Admission::new(&Settings { public_url, ..Settings::default() });
        assert!(admission.check(&head("flow.example:8443", &[("origin", "https://flow.example:8443")]), HERE).is_ok());
        assert!(matches!(admission.check(&head("xflow.example", &[]), HERE), Err(Refusal::Place(_))));
    }

    #[test]
    fn what_was_passed_on_needs_a_key() {
        let admission = Admission::new(&Settings::default());
        assert!(matches!(admission.check(&head("localhost", &[("via", "1.1 x")]), HERE), Err(Refusal::Key(_))));
        let trusting = Settings { trusted_proxies: vec!["127.0.0.1".parse().unwrap()], ..Settings::default() };
        let admission = Admission::new(&trusting);
        // A proxy need not say that it is one.
        assert!(matches!(admission.check(&head("localhost", &[]), HERE), Err(Refusal::Key(_))));
    }

    #[test]
    fn keys_are_found_wherever_clients_put_them() {
        let (key, admission) = keyed(|_| {});
        assert!(key.starts_with("flr_") && key.len() == 68);
        let bearer = format!("bearer {key}");
        for fields in [
            &[("authorization", bearer.as_str())][..],
            &[("x-api-key", &key)],
            &[("x-goog-api-key", &key)],
            &[("authorization", "Bearer sk-ant-vendor"), ("x-api-key", &key)],
        ] {
            let found = admission.check(&head("evil.example", fields), HERE).unwrap();
            assert_eq!(found.map(|key| &*key.id), Some("id"));
        }
    }

    #[test]
    fn a_key_of_our_form_must_be_good_even_where_none_is_needed() {
        let refused = |admission: &Admission, key: &str| {
            matches!(admission.check(&head("127.0.0.1", &[("x-api-key", key)]), HERE), Err(Refusal::Key(_)))
        };
        let (key, admission) = keyed(|_| {});
        assert!(!refused(&admission, &key) && !refused(&admission, "sk-vendor"));
        assert!(refused(&admission, "flr_wrong") && refused(&admission, &format!("fr-{}", "0".repeat(64))));
        assert!(refused(&Admission::new(&Settings::default()), &key), "also where there are no keys at all");
        let (key, admission) = keyed(|hash| hash.is_active = false);
        assert!(refused(&admission, &key));
        let (key, admission) = keyed(|hash| hash.expires_at_ms = Some(now_ms() - 1));
        assert!(refused(&admission, &key));
        let (key, admission) = keyed(|hash| hash.expires_at_ms = Some(now_ms() + 60_000));
        assert!(!refused(&admission, &key));
    }

    #[test]
    fn addresses_are_the_peers_unless_a_trusted_proxy_speaks() {
        let (key, admission) = keyed(|hash| hash.allowed_cidrs = vec!["127.0.0.0/8".parse().unwrap()]);
        let from = |peer: [u8; 4]| admission.check(&head("x", &[("x-api-key", &key)]), SocketAddr::from((peer, 1)));
        assert!(from([127, 0, 0, 1]).is_ok());
        assert!(matches!(from([10, 0, 0, 1]), Err(Refusal::Place(_))));
        let trusted: Vec<Cidr> = vec!["127.0.0.1".parse().unwrap()];
        let forwarded = head("x", &[("x-forwarded-for", "6.6.6.6, 10.1.2.3, 127.0.0.1")]);
        assert_eq!(client_address(&forwarded, HERE, &trusted), IpAddr::from([10, 1, 2, 3]));
        assert_eq!(client_address(&forwarded, HERE, &[]), HERE.ip());
        let lines = [("x-forwarded-for", "10.9.9.9"), ("X-Forwarded-For", "203.0.113.7")];
        assert_eq!(client_address(&head("x", &lines), HERE, &trusted), IpAddr::from([203, 0, 113, 7]));
        assert_eq!(client_address(&head("x", &[("x-forwarded-for", "?, nonsense")]), HERE, &trusted), HERE.ip());
    }

    #[test]
    fn scopes_and_lists_narrow_what_a_key_reaches() {
        let mut hash = KeyHash::new("id", "me", [0; 32], Source::Store);
        hash.allowed_models = vec!["gpt-*".into()];
        hash.allowed_providers = vec!["openai".into()];
        let key = Arc::new(hash);
        assert!(scope(Some(&key), &[Scope::Inference]).is_ok() && scope(None, &[Scope::Admin]).is_ok());
        assert!(scope(Some(&key), &[Scope::MetricsRead]).is_err());
        let candidate = |name: &str, model: &str| {
            let provider = Provider::new(name, codecs::dialect::Dialect::OpenAiChat, "http://x");
            let upstream = Arc::new(crate::vendor::Upstream::new(&provider, &Settings::default()));
            Candidate { upstream, model: model.into() }
        };
        let mut both = vec![candidate("openai", "gpt-5"), candidate("other", "gpt-5")];
        assert!(narrow(Some(&key), "gpt-5", &mut both).is_ok());
        assert_eq!(both.len(), 1);
        assert!(narrow(Some(&key), "o9", &mut vec![candidate("openai", "o9")]).is_err());
        assert!(narrow(None, "o9", &mut vec![candidate("openai", "o9")]).is_ok());
    }
}
