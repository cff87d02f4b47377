//! Who is at the other end: this machine, or somebody that only looks like it.
//!
//! Tunnels, reverse proxies and port forwarders connect from 127.0.0.1, so that a loopback peer proves nothing by itself.
//! A request is *from here* only if nothing in it says that it was passed on, and everything that it says of its target
//! is this machine. Whatever is in doubt counts as from elsewhere; that costs a login and no more.
//!
//! What cannot be seen: a forwarder that hides itself completely, such as `ssh -L` or a reverse proxy that sends
//! HTTP/1.1, no header of its own and `Host: 127.0.0.1`. Who sets one up has to name it in `trusted_proxies` or to ask
//! for a login; docs/reverse-proxy.md says so.

use std::net::{IpAddr, SocketAddr};

use proxy::{RequestHead, Version};

use crate::{
    gateway::{client_address, was_forwarded},
    settings::Settings,
};

/// One request with both ends of its connection.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// The request's head.
    pub head: &'a RequestHead,
    /// The client's address on the connection.
    pub peer: SocketAddr,
    /// Our address on the connection, if it is known.
    pub local: Option<SocketAddr>,
}

impl Caller<'_> {
    /// Whether the request is from this machine beyond doubt: *trusted loopback*.
    pub fn is_here(&self, settings: &Settings) -> bool {
        self.is_direct()
            // nginx speaks 1.0 to its upstreams unless it is told otherwise, and adds no header.
            && self.head.version != Version::Http10
            && !settings.trusted_proxies.iter().any(|net| net.contains(self.peer.ip()))
            && self.names_this_machine()
            && (!settings.strict_loopback || crate::peer_user::is_ours(self.peer, self.local))
    }

    /// Whether both ends are loopback and nothing says that the request was passed on. Less than [`Caller::is_here`]:
    /// enough for who has a secret that lies on this machine.
    pub fn is_direct(&self) -> bool {
        let loopback = |address: IpAddr| address.to_canonical().is_loopback();
        loopback(self.peer.ip())
            && self.local.is_some_and(|local| loopback(local.ip()))
            && !was_forwarded(&self.head.headers)
    }

    /// Where the request comes from: the peer, or what a trusted reverse proxy says of it.
    pub fn address(&self, settings: &Settings) -> IpAddr {
        client_address(self.head, self.peer, &settings.trusted_proxies)
    }

    /// Whether the browser speaks https to a trusted reverse proxy. We ourselves speak plain HTTP.
    pub fn is_https(&self, settings: &Settings) -> bool {
        let trusted = settings.trusted_proxies.iter().any(|net| net.contains(self.peer.ip()));
        // The last one is what our neighbour wrote; what stands before it may come from the client.
        let said = self.head.headers.all("x-forwarded-proto").last();
        let last = said.and_then(|value| value.rsplit(|byte| *byte == b',').next());
        trusted && last.is_some_and(|proto| proto.trim_ascii().eq_ignore_ascii_case(b"https"))
    }

    /// The host and port that the client asked for, in lower case; `None` if that is nothing sensible.
    pub fn authority(&self) -> Option<Authority> {
        Authority::parse(std::str::from_utf8(&self.head.authority).ok()?)
    }

    /// Whether the client asked for this machine by a name that cannot mean another one.
    fn names_this_machine(&self) -> bool {
        let Some(authority) = self.authority() else { return false };
        match authority.host.parse::<IpAddr>() {
            // 127.0.0.2 and the like: only if it is the very address that was dialled.
            Ok(ip) => {
                let dialled = self.local.map(|local| local.ip().to_canonical());
                ip == IpAddr::from([127, 0, 0, 1])
                    || ip == IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])
                    || Some(ip) == dialled
            }
            Err(_) => authority.host == "localhost",
        }
    }
}

/// Host and port as a client writes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// Lower case, IPv6 without brackets.
    pub host: String,
    /// The port, if it is named.
    pub port: Option<u16>,
}

impl Authority {
    /// Reads `host`, `host:port`, `[v6]` or `[v6]:port`; nothing else, and no user information.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']')?;
                host.parse::<std::net::Ipv6Addr>().ok()?;
                (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
            }
            None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
        if host.is_empty() || !host.bytes().all(plain) {
            return None;
        }
        let port = match port {
            Some(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse().ok()?)
            }
            Some(_) => return None,
            None => None,
        };
        Some(Self { host: host.to_ascii_lowercase(), port })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::api::auth::testing::{call, head};

    const HERE: &str = "127.0.0.1:50000";
    const US: &str = "127.0.0.1:2402";

    fn is_here(host: &str, fields: &[(&str, &str)]) -> bool {
        call(&head("GET", "/api/x", host, fields), HERE, US).is_here(&Settings::default())
    }

    #[test]
    fn a_program_on_this_machine_is_here() {
        for host in ["127.0.0.1:2402", "localhost:2402", "LocalHost", "[::1]:2402", "127.0.0.1", "localhost:8080"] {
            assert!(is_here(host, &[("accept", "*/*"), ("user-agent", "curl/8")]), "{host}");
        }
        let settings = Settings::default();
        let plain = head("GET", "/", "localhost", &[]);
        for (peer, local) in [("[::1]:5", "[::1]:2402"), ("[::ffff:127.0.0.1]:5", "[::ffff:127.0.0.1]:2402")] {
            assert!(call(&plain, peer, local).is_here(&settings), "{peer}");
        }
        let second = head("GET", "/", "127.0.0.2:2402", &[]);
        assert!(call(&second, "127.0.0.1:5", "127.0.0.2:2402").is_here(&settings));
        assert!(!call(&second, HERE, US).is_here(&settings));
    }

    #[test]
    fn tunnels_and_forwarders_are_not_here() {
        for name in [
            "CF-Connecting-IP",
            "CF-Ray",
            "cf-visitor",
            "Cdn-Loop",
            "X-Forwarded-For",
            "x-forwarded-host",
            "X-FORWARDED-PROTO",
            "X_Forwarded_For",
            "Forwarded",
            "X-Real-IP",
            "Via",
            "Tailscale-User-Login",
            "X-Flow-Edge-Secret",
            "True-Client-IP",
            "X-Original-Host",
            "X-Envoy-External-Address",
            "Ngrok-Skip-Browser-Warning",
            "Fly-Client-IP",
            "X-Amzn-Trace-Id",
        ] {
            assert!(!is_here("127.0.0.1:2402", &[(name, "203.0.113.9")]), "{name}");
            assert!(!is_here("localhost", &[("accept", "*/*"), (name, "")]), "{name}");
        }
        for host in [
            "x.trycloudflare.com",
            "flow.tailnet.ts.net",
            "evil.example:2402",
            "localhost.evil.example",
            "127.0.0.1.nip.io",
            "",
            "localhost.",
            "a.localhost",
            "127.1",
            "2130706433",
            "0.0.0.0:2402",
            "192.168.1.2:2402",
            "localhost@evil.example",
            "evil.example@localhost",
            "localhost:",
            "localhost:99999",
            "[::1",
            "[::1]x",
            "[127.0.0.1]",
            "localhost:2402:1",
            "[::]",
        ] {
            assert!(!is_here(host, &[]), "{host}");
        }
    }

    #[test]
    fn both_ends_have_to_be_loopback() {
        let plain = head("GET", "/", "localhost:2402", &[]);
        let settings = Settings::default();
        for (peer, local) in [
            ("192.168.1.9:5", "192.168.1.2:2402"),
            ("192.168.1.9:5", US),
            (HERE, "192.168.1.2:2402"),
            ("[fe80::1]:5", "[::1]:2402"),
            ("[::ffff:10.0.0.1]:5", US),
        ] {
            assert!(!call(&plain, peer, local).is_here(&settings), "{peer} {local}");
        }
        let unknown = Caller { head: &plain, peer: HERE.parse().unwrap(), local: None };
        assert!(!unknown.is_here(&settings));
    }

    #[test]
    fn a_named_proxy_is_never_here_and_neither_is_http_1_0() {
        let settings = Settings { trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()], ..Settings::default() };
        let plain = head("GET", "/", "localhost:2402", &[]);
        assert!(!call(&plain, HERE, US).is_here(&settings));
        assert!(call(&plain, HERE, US).is_direct());
        let mut old = plain.clone();
        old.version = Version::Http10;
        assert!(!call(&old, HERE, US).is_here(&Settings::default()));
    }

    #[test]
    fn https_is_what_a_trusted_proxy_says_last() {
        let trusting = Settings { trusted_proxies: vec!["127.0.0.1".parse().unwrap()], ..Settings::default() };
        for (fields, expected) in [
            (&[("x-forwarded-proto", "https")][..], true),
            (&[("X-Forwarded-Proto", "http, HTTPS ")], true),
            (&[("x-forwarded-proto", "https, http")], false),
            (&[("x-forwarded-proto", "https"), ("x-forwarded-proto", "http")], false),
            (&[], false),
        ] {
            let head = head("GET", "/", "x", fields);
            assert_eq!(call(&head, HERE, US).is_https(&trusting), expected, "{fields:?}");
            assert!(!call(&head, HERE, US).is_https(&Settings::default()), "{fields:?}");
        }
    }
}
