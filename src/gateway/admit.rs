//! Who may call: keys, and the names under which we are called.
//!
//! A gateway on loopback is reachable from every web page that the user opens. Two checks keep pages out: a foreign
//! `Origin` is refused, and so is a `Host` that is neither an address nor a known name (DNS rebinding).

use aws_lc_rs::{constant_time::verify_slices_are_equal, digest};
use proxy::RequestHead;

use super::paths::query_value;
use crate::settings::{KeyHash, Settings};

/// Why a caller is turned away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No key, or a wrong one.
    Key(&'static str),
    /// Called under a foreign name or from a foreign page.
    Place(String),
}

/// The rules of admission.
#[derive(Debug)]
pub(super) struct Admission {
    required: bool,
    keys: Vec<KeyHash>,
    hosts: Vec<String>,
}

impl Admission {
    /// Rules as configured.
    pub(super) fn new(settings: &Settings) -> Self {
        Self { required: settings.require_key, keys: settings.keys.clone(), hosts: settings.allowed_hosts.clone() }
    }

    /// Checks one request; returns the name of the caller's key, if it presented one of ours.
    pub(super) fn check(&self, head: &RequestHead) -> Result<Option<&str>, Refusal> {
        let caller = match self.keys.is_empty() {
            true => None,
            false => presented(head).and_then(|key| self.owner(&key)),
        };
        if caller.is_some() {
            // A key is proof enough: no page knows it.
            return Ok(caller);
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
        match self.required {
            false => Ok(None),
            true => Err(Refusal::Key("this gateway needs a key: send one made by `flow-router key NAME`")),
        }
    }

    fn owner(&self, key: &str) -> Option<&str> {
        let digest = digest::digest(&digest::SHA256, key.as_bytes());
        // Every entry is compared, so that the time says nothing about which one it is.
        self.keys.iter().fold(None, |found, entry| {
            let equal = verify_slices_are_equal(&entry.sha256, digest.as_ref()).is_ok();
            if equal { Some(entry.name.as_str()) } else { found }
        })
    }

    /// Whether `authority` (host and maybe port) is an IP address, localhost or configured.
    fn known(&self, authority: &str) -> bool {
        let host = match authority.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
        };
        host.parse::<std::net::IpAddr>().is_ok()
            || host.eq_ignore_ascii_case("localhost")
            || host.to_ascii_lowercase().ends_with(".localhost")
            || self.hosts.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(host))
    }
}

/// The key in any of the places where clients put theirs.
fn presented(head: &RequestHead) -> Option<String> {
    let headers = &head.headers;
    let bearer = headers.text("authorization").and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    let header = bearer.or_else(|| headers.text("x-api-key")).or_else(|| headers.text("x-goog-api-key"));
    header.map(str::to_owned).or_else(|| query_value(head.query(), "key").map(|key| key.into_owned()))
}

/// A new key and its digest: 32 random bytes, shown once.
pub fn new_key() -> Option<(String, [u8; 32])> {
    let mut random = [0u8; 32];
    aws_lc_rs::rand::fill(&mut random).ok()?;
    let key = format!("fr-{}", hex(&random));
    let digest = digest::digest(&digest::SHA256, key.as_bytes());
    let mut sha256 = [0u8; 32];
    sha256.copy_from_slice(digest.as_ref());
    Some((key, sha256))
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proxy::{Headers, Method, Version};

    use super::*;

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

    #[test]
    fn pages_and_foreign_names_are_refused() {
        let admission = Admission::new(&Settings::default());
        for host in ["127.0.0.1:2402", "localhost:2402", "[::1]:2402", "x.localhost", "host.docker.internal:1", ""] {
            assert_eq!(admission.check(&head(host, &[])), Ok(None), "{host}");
        }
        assert!(matches!(admission.check(&head("evil.example", &[])), Err(Refusal::Place(_))));
        let page = head("127.0.0.1:2402", &[("origin", "https://evil.example")]);
        assert!(matches!(admission.check(&page), Err(Refusal::Place(_))));
        assert_eq!(admission.check(&head("127.0.0.1", &[("origin", "http://localhost:3000")])), Ok(None));
    }

    #[test]
    fn keys_are_found_wherever_clients_put_them() {
        let (key, sha256) = new_key().unwrap();
        let settings =
            Settings { require_key: true, keys: vec![KeyHash { name: "me".into(), sha256 }], ..Settings::default() };
        let admission = Admission::new(&settings);
        let bearer = format!("bearer {key}");
        for field in [("authorization", bearer.as_str()), ("x-api-key", &key), ("x-goog-api-key", &key)] {
            assert_eq!(admission.check(&head("evil.example", &[field])), Ok(Some("me")));
        }
        let wrong = head("127.0.0.1", &[("x-api-key", "fr-wrong")]);
        assert!(matches!(admission.check(&wrong), Err(Refusal::Key(_))));
    }
}
