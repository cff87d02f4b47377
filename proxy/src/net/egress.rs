//! Which way out: direct, or through which proxy. Reads the conventional variables.
//!
//! This decides and nothing else; `net/dial.rs` does the talking. Loopback is never sent to a proxy: no proxy elsewhere
//! can mean our loopback, and local model servers are the common case. A value that cannot be read is an error, not
//! "direct": a typing mistake must not make traffic leave by another way.

use std::{net::IpAddr, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::{
    Error, Kind, Retry, Side,
    pool::key::{Origin, Scheme, split_host_port},
};

/// Entries of `NO_PROXY` that are kept.
const EXEMPTIONS_MAX: usize = 1024;

/// How connections leave this machine.
#[derive(Debug, Clone, Default)]
pub struct Egress {
    http: Option<Arc<Proxy>>,
    https: Option<Arc<Proxy>>,
    exempt: Arc<[Exemption]>,
}

/// How a proxy is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProxyKind {
    /// HTTP: CONNECT for https origins, absolute form for http ones.
    Http,
    /// The same, through TLS.
    Https,
    /// SOCKS5; names are resolved by the proxy.
    Socks5,
}

/// One proxy.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Proxy {
    pub(crate) kind: ProxyKind,
    /// Where it listens. The scheme says whether TLS is spoken to the proxy itself.
    pub(crate) at: Origin,
    pub(crate) user: Option<(Vec<u8>, Vec<u8>)>,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The credentials stay out.
        f.debug_struct("Proxy").field("kind", &self.kind).field("at", &self.at).finish_non_exhaustive()
    }
}

impl Proxy {
    /// Value of `proxy-authorization`, if the URL had credentials.
    pub(crate) fn basic_auth(&self) -> Option<String> {
        let (user, password) = self.user.as_ref()?;
        Some(format!("Basic {}", STANDARD.encode([user.as_slice(), b":", password].concat())))
    }

    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let (kind, scheme, port) = match scheme.to_ascii_lowercase().as_str() {
            "http" => (ProxyKind::Http, Scheme::Http, 80),
            "https" => (ProxyKind::Https, Scheme::Https, 443),
            "socks5" | "socks5h" | "socks" => (ProxyKind::Socks5, Scheme::Http, 1080),
            _ => return None,
        };
        let rest = rest.split(['/', '?', '#']).next()?;
        let (user, rest) = match rest.rsplit_once('@') {
            Some((user, rest)) => (Some(user), rest),
            None => (None, rest),
        };
        let user = match user {
            Some(user) => {
                let (name, password) = user.split_once(':').unwrap_or((user, ""));
                Some((percent_decode(name)?, percent_decode(password)?))
            }
            None => None,
        };
        // RFC 1929 carries both in one length byte each.
        let long = |u: &(Vec<u8>, Vec<u8>)| u.0.len() > 255 || u.1.len() > 255;
        if user.as_ref().is_some_and(long) {
            return None;
        }
        let (host, given) = split_host_port(rest)?;
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        let at = Origin::parse(&format!("{}://{host}:{}", scheme.as_str(), given.unwrap_or(port))).ok()?;
        Some(Self { kind, at, user })
    }
}

/// One entry of `NO_PROXY`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Exemption {
    host: Pattern,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    All,
    /// A name and everything below it.
    Suffix(String),
    Net {
        base: IpAddr,
        bits: u8,
    },
}

impl Egress {
    /// Always direct.
    pub fn direct() -> Self {
        Self::default()
    }

    /// Reads `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` from the environment, lower case first.
    ///
    /// # Errors
    /// A proxy or an exemption that cannot be read.
    pub fn from_env() -> Result<Self, Error> {
        // In a CGI-like process `HTTP_PROXY` is the request header `Proxy:` of some client, not a setting.
        let cgi = std::env::var_os("REQUEST_METHOD").is_some();
        Self::from_vars(|name| {
            let lower = std::env::var(name.to_ascii_lowercase()).ok().filter(|v| !v.is_empty());
            let upper = || if cgi && name == "HTTP_PROXY" { None } else { std::env::var(name).ok() };
            lower.or_else(upper)
        })
    }

    /// The same from any source of values. `lookup` is asked for the upper-case names.
    ///
    /// # Errors
    /// A proxy or an exemption that cannot be read.
    pub fn from_vars(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let proxy = |name: &str| match lookup(name).as_deref().map(str::trim) {
            None | Some("") => Ok(None),
            Some(text) => match Proxy::parse(text) {
                Some(proxy) => Ok(Some(Arc::new(proxy))),
                // The value may hold a password: only the variable is named.
                None => Err(bad_setting(format!("cannot read {name}"))),
            },
        };
        let all = proxy("ALL_PROXY")?;
        let http = proxy("HTTP_PROXY")?.or_else(|| all.clone());
        let https = proxy("HTTPS_PROXY")?.or(all);
        let exempt = lookup("NO_PROXY").unwrap_or_default();
        let entries = exempt.split([',', ' ', '\t']).filter(|e| !e.is_empty());
        let exempt: Vec<_> = entries
            .map(|e| Exemption::parse(e).ok_or_else(|| bad_setting(format!("cannot read {e:?} in NO_PROXY"))))
            .collect::<Result<_, _>>()?;
        if exempt.len() > EXEMPTIONS_MAX {
            return Err(bad_setting(format!("more than {EXEMPTIONS_MAX} entries in NO_PROXY")));
        }
        Ok(Self { http, https, exempt: exempt.into() })
    }

    /// The proxy for this origin, none for a direct connection.
    pub(crate) fn proxy_for(&self, origin: &Origin) -> Option<&Arc<Proxy>> {
        let proxy = match origin.scheme() {
            Scheme::Http => self.http.as_ref(),
            Scheme::Https => self.https.as_ref(),
        }?;
        let exempt = origin.is_loopback() || self.exempt.iter().any(|e| e.matches(origin));
        (!exempt).then_some(proxy)
    }
}

impl Exemption {
    fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self { host: Pattern::All, port: None });
        }
        if let Some((base, bits)) = text.split_once('/') {
            let base: IpAddr = base.parse().ok()?;
            let bits: u8 = bits.parse().ok()?;
            let width = if base.is_ipv4() { 32 } else { 128 };
            return (bits <= width).then_some(Self { host: Pattern::Net { base, bits }, port: None });
        }
        // A bare IPv6 address has colons that are no port.
        let (host, port) = match text.parse::<IpAddr>() {
            Ok(ip) => (ip.to_string(), None),
            Err(_) => split_host_port(text.strip_prefix('*').unwrap_or(text))?,
        };
        if let Ok(base) = host.parse::<IpAddr>() {
            let bits = if base.is_ipv4() { 32 } else { 128 };
            return Some(Self { host: Pattern::Net { base, bits }, port });
        }
        let name = host.trim_start_matches('.').to_owned();
        (!name.is_empty()).then_some(Self { host: Pattern::Suffix(name), port })
    }

    fn matches(&self, origin: &Origin) -> bool {
        if self.port.is_some_and(|port| port != origin.port()) {
            return false;
        }
        match &self.host {
            Pattern::All => true,
            Pattern::Suffix(name) => {
                let host = origin.host().strip_suffix('.').unwrap_or(origin.host());
                host.strip_suffix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }
            Pattern::Net { base, bits } => origin.ip().is_some_and(|ip| in_net(ip, *base, *bits)),
        }
    }
}

fn in_net(ip: IpAddr, base: IpAddr, bits: u8) -> bool {
    match (ip, base) {
        (IpAddr::V4(ip), IpAddr::V4(base)) => {
            let shift = 32 - u32::from(bits);
            ip.to_bits().checked_shr(shift) == base.to_bits().checked_shr(shift)
        }
        (IpAddr::V6(ip), IpAddr::V6(base)) => {
            let shift = 128 - u32::from(bits);
            ip.to_bits().checked_shr(shift) == base.to_bits().checked_shr(shift)
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let high = char::from(bytes.next()?).to_digit(16)?;
        let low = char::from(bytes.next()?).to_digit(16)?;
        out.push(u8::try_from(high * 16 + low).ok()?);
    }
    Some(out)
}

fn bad_setting(what: String) -> Error {
    Error { side: Side::Internal, kind: Kind::Egress(what), retry: Retry::Safe }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn egress(vars: &[(&str, &str)]) -> Result<Egress, Error> {
        Egress::from_vars(|name| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
    }

    fn goes_to(egress: &Egress, origin: &str) -> Option<String> {
        egress.proxy_for(&Origin::parse(origin).unwrap()).map(|p| format!("{:?} {}", p.kind, p.at.host_port()))
    }

    #[test]
    fn scheme_picks_the_variable() {
        let out = egress(&[("HTTP_PROXY", "http://p1:3128"), ("HTTPS_PROXY", "p2"), ("ALL_PROXY", "x")]).unwrap();
        assert_eq!(goes_to(&out, "http://a.com").unwrap(), "Http p1:3128");
        assert_eq!(goes_to(&out, "https://a.com").unwrap(), "Http p2:80");
        let all = egress(&[("ALL_PROXY", "socks5h://[fd00::1]")]).unwrap();
        assert_eq!(goes_to(&all, "http://a.com").unwrap(), "Socks5 [fd00::1]:1080");
        assert_eq!(goes_to(&all, "https://a.com").unwrap(), "Socks5 [fd00::1]:1080");
        let tls = egress(&[("ALL_PROXY", "https://p")]).unwrap();
        assert_eq!(goes_to(&tls, "https://a.com").unwrap(), "Https p:443");
        assert_eq!(goes_to(&Egress::direct(), "https://a.com"), None);
        assert_eq!(goes_to(&egress(&[("HTTPS_PROXY", " ")]).unwrap(), "https://a.com"), None);
    }

    #[test]
    fn no_proxy_knows_names_nets_ports_and_stars() {
        let no = "example.com,.corp, 10.0.0.0/8  fd00::/8,192.168.1.7,*.star.dev,one.dev:8443,::2,/bad";
        assert!(egress(&[("ALL_PROXY", "p"), ("NO_PROXY", no)]).is_err());
        let out = egress(&[("ALL_PROXY", "p"), ("NO_PROXY", no.trim_end_matches(",/bad"))]).unwrap();
        for direct in [
            "https://example.com",
            "https://API.Example.com",
            "https://example.com.",
            "http://a.b.corp",
            "http://corp",
            "http://10.255.0.1",
            "http://[fd12::1]",
            "http://[::2]",
            "http://192.168.1.7:99",
            "https://x.star.dev",
            "https://one.dev:8443",
        ] {
            assert_eq!(goes_to(&out, direct), None, "{direct}");
        }
        for proxied in
            ["https://notexample.com", "http://11.0.0.1", "http://[fe80::1]", "http://192.168.1.8", "https://one.dev"]
        {
            assert!(goes_to(&out, proxied).is_some(), "{proxied}");
        }
        let star = egress(&[("ALL_PROXY", "p"), ("NO_PROXY", "*")]).unwrap();
        assert_eq!(goes_to(&star, "https://any.where"), None);
        let zero = egress(&[("ALL_PROXY", "p"), ("NO_PROXY", "0.0.0.0/0")]).unwrap();
        assert_eq!(goes_to(&zero, "https://9.9.9.9"), None);
        assert!(goes_to(&zero, "https://any.where").is_some());
    }

    #[test]
    fn loopback_is_never_proxied() {
        let out = egress(&[("ALL_PROXY", "p")]).unwrap();
        for direct in [
            "http://localhost:1",
            "https://a.localhost",
            "http://127.8.9.1",
            "http://[::1]",
            "http://[::ffff:127.0.0.1]",
        ] {
            assert_eq!(goes_to(&out, direct), None, "{direct}");
        }
    }

    #[test]
    fn credentials_are_decoded_and_never_shown() {
        let proxy = Proxy::parse("http://us%40er:p%3Ass@proxy.example:8080/").unwrap();
        assert_eq!(proxy.basic_auth().unwrap(), format!("Basic {}", STANDARD.encode("us@er:p:ss")));
        let shown = format!("{proxy:?}");
        assert!(shown.contains("proxy.example") && !shown.contains("us@er") && !shown.contains("p:ss"));
        for bad in ["ftp://p", "http://", "http://u:%zz@p", "http://p:99999", "socks4://p"] {
            let err = egress(&[("ALL_PROXY", bad)]).unwrap_err();
            assert!(!err.to_string().contains("zz"), "{err}");
        }
    }
}
