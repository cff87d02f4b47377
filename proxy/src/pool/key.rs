//! What makes two connections interchangeable: scheme, host and port.
//!
//! Egress and TLS identity are not part of the key because one [`crate::Client`], and so one pool, has exactly one of
//! each. Nothing here resolves or dials.

use std::{
    fmt,
    hash::{Hash, Hasher},
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use bytes::Bytes;

use crate::{Error, Kind, Retry, Side};

/// Scheme of an origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Scheme {
    /// Plain TCP.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

/// Scheme, host and port of a server. Parsed once, cheap to clone and to compare.
#[derive(Clone)]
pub struct Origin(Arc<Parts>);

#[derive(PartialEq, Eq, Hash)]
struct Parts {
    scheme: Scheme,
    /// Lower-case name or address, without brackets.
    host: String,
    port: u16,
    /// What stands in `host` and `:authority`: brackets kept, default port left out.
    authority: Bytes,
    ip: Option<IpAddr>,
}

impl Origin {
    /// Reads `http://host[:port]` or `https://host[:port]`, with at most a `/` behind it.
    ///
    /// # Errors
    /// Anything else: user information, a path, a host that is not ASCII, a port that is no number.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let bad = || Error {
            side: Side::Internal,
            kind: Kind::Protocol { reason: "bad_origin", status: 400 },
            retry: Retry::Never,
        };
        let (scheme, rest) = text.split_once("://").ok_or_else(bad)?;
        let scheme = match scheme {
            s if s.eq_ignore_ascii_case("http") => Scheme::Http,
            s if s.eq_ignore_ascii_case("https") => Scheme::Https,
            _ => return Err(bad()),
        };
        let (host, port) = split_host_port(rest.strip_suffix('/').unwrap_or(rest)).ok_or_else(bad)?;
        let port = port.unwrap_or(scheme.default_port());
        let ip = host.parse::<IpAddr>().ok();
        let shown = if matches!(ip, Some(IpAddr::V6(_))) { format!("[{host}]") } else { host.clone() };
        let authority = if port == scheme.default_port() { shown } else { format!("{shown}:{port}") };
        Ok(Self(Arc::new(Parts { scheme, host, port, authority: Bytes::from(authority), ip })))
    }

    /// The origin behind TLS of a host, a name or an address without brackets, and a port.
    ///
    /// # Errors
    /// As [`Origin::parse`].
    pub fn https(host: &str, port: u16) -> Result<Self, Error> {
        let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
        Self::parse(&format!("https://{open}{host}{close}:{port}"))
    }

    /// Lower-case host name or address, without brackets.
    pub fn host(&self) -> &str {
        &self.0.host
    }

    /// Port, explicit or the scheme's own.
    pub fn port(&self) -> u16 {
        self.0.port
    }

    /// Whether the origin is reached through TLS.
    pub fn is_https(&self) -> bool {
        self.0.scheme == Scheme::Https
    }

    pub(crate) fn scheme(&self) -> Scheme {
        self.0.scheme
    }

    /// Value of `host`.
    pub(crate) fn authority(&self) -> &Bytes {
        &self.0.authority
    }

    /// Whether the host can only be this machine: see [`is_loopback`].
    pub fn is_loopback(&self) -> bool {
        self.0.ip.map_or_else(|| is_loopback(&self.0.host), |ip| ip.to_canonical().is_loopback())
    }

    /// The host, when it is an address.
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        self.0.ip
    }

    /// `host:port`, always with the port: target of CONNECT and text of error messages.
    pub(crate) fn host_port(&self) -> String {
        match self.0.ip {
            Some(IpAddr::V6(_)) => format!("[{}]:{}", self.0.host, self.0.port),
            Some(IpAddr::V4(_)) | None => format!("{}:{}", self.0.host, self.0.port),
        }
    }
}

/// Whether a host can only be this machine: a loopback address, also IPv4 dressed as IPv6; `localhost`; and every name
/// below it (RFC 6761 §6.3). The host has no port, and brackets around IPv6 or none. Nothing is looked up: a name that
/// leads here by chance is another matter.
pub fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    match bare.parse::<IpAddr>() {
        Ok(ip) => ip.to_canonical().is_loopback(),
        Err(_) => {
            let name = bare.strip_suffix('.').unwrap_or(bare);
            let last = name.rsplit('.').next().unwrap_or_default();
            last.eq_ignore_ascii_case("localhost")
        }
    }
}

/// Splits `host`, `host:port`, `[v6]`, `[v6]:port`; the host comes back in lower case and without brackets.
pub(crate) fn split_host_port(text: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            let port = match rest {
                "" => None,
                _ => Some(rest.strip_prefix(':')?),
            };
            (host, port)
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = match port {
        // `u16::from_str` would take a sign.
        Some(p) if p.is_empty() || !p.bytes().all(|b| b.is_ascii_digit()) => return None,
        Some(p) => Some(p.parse::<u16>().ok().filter(|p| *p != 0)?),
        None => None,
    };
    let v6 = text.starts_with('[');
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_') || (v6 && b == b':');
    (!host.is_empty() && host.len() <= 253 && host.bytes().all(legal)).then(|| (host.to_ascii_lowercase(), port))
}

impl PartialEq for Origin {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Eq for Origin {}

impl Hash for Origin {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // The authority and the address follow from these three.
        (self.0.scheme, &self.0.host, self.0.port).hash(state);
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.0.scheme.as_str(), String::from_utf8_lossy(&self.0.authority))
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn equal_origins_are_one_key() {
        let a = Origin::parse("https://API.example.com").unwrap();
        let b = Origin::parse("https://api.example.com:443/").unwrap();
        assert_eq!(a, b);
        assert_eq!(a.authority(), "api.example.com");
        assert_eq!(a.host_port(), "api.example.com:443");
        assert_ne!(a, Origin::parse("http://api.example.com:443").unwrap());
        assert_ne!(a, Origin::parse("https://api.example.com:8443").unwrap());
    }

    #[test]
    fn addresses_keep_their_brackets_in_the_authority() {
        let v6 = Origin::parse("http://[::1]:8080").unwrap();
        assert_eq!((v6.host(), v6.port(), v6.authority().as_ref()), ("::1", 8080, b"[::1]:8080".as_ref()));
        assert_eq!(v6.ip(), Some("::1".parse().unwrap()));
        assert_eq!(v6.to_string(), "http://[::1]:8080");
    }

    #[test]
    fn this_machine_has_many_names() {
        for host in [
            "127.0.0.1",
            "127.9.9.9",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "localhost",
            "LocalHost",
            "x.localhost",
            "a.b.localhost",
            "localhost.",
            "x.localhost.",
        ] {
            assert!(is_loopback(host), "{host}");
            assert!(Origin::parse(&format!("http://{host}:2402")).unwrap().is_loopback(), "{host}");
        }
        for host in ["128.0.0.1", "0.0.0.0", "[::2]", "localhost.example", "notlocalhost", "x-localhost", "10.0.0.1"] {
            assert!(!is_loopback(host), "{host}");
            assert!(!Origin::parse(&format!("http://{host}:2402")).unwrap().is_loopback(), "{host}");
        }
    }

    #[test]
    fn refuses_what_is_no_origin() {
        for text in [
            "",
            "example.com",
            "ftp://example.com",
            "http://",
            "http://a:0",
            "http://a:+1",
            "http://a:65536",
            "http://a:",
            "http://a/b",
            "http://u:p@a",
            "http://a b",
            "http://a\r\nx",
            "http://[::1",
            "http://[1.2.3.4]",
            "http://::1",
            "http://ä.de",
        ] {
            assert!(Origin::parse(text).is_err(), "{text}");
        }
    }
}
