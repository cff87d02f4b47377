//! What keeps web pages out of the management API.
//!
//! A browser on this machine can reach us with every page that its user opens. Three rules, none of which needs a token,
//! so that `curl` works:
//!
//! * **Host.** We answer under names that are ours: loopback, addresses, `public_url`, `allowed_hosts`. A page that made
//!   its own name point at us (DNS rebinding) still sends that name.
//! * **Origin.** A request with an `Origin` comes from a page; the page has to be ours. Without one, `Sec-Fetch-Site` must
//!   not say that another site is behind it. Reading is held to this too: some of it costs something.
//! * **Preflight.** Nobody is ever allowed to share: no `Access-Control-*` is answered, and a page of the internet that
//!   asks for the local network is refused.
//!
//! Only what is open to everybody may be read from anywhere, such as a link to a version; so may the address to which
//! an identity provider sends its users back.

use proxy::{Headers, Method};
use url::Url;

use super::caller::{Authority, Caller};
use crate::settings::Settings;

/// A rule that a request breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Breach {
    /// It was sent to a name that is not ours.
    Host(String),
    /// Another site's page is behind it.
    CrossSite(String),
    /// A page of the internet asks whether it may reach the local network.
    Preflight,
}

/// Whether the answer to a request is worth protecting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exposure {
    /// Everybody may read it.
    Open,
    /// Only who has the right to.
    Guarded,
}

/// Holds a request to the rules.
///
/// # Errors
/// The rule that it breaks.
pub(super) fn check(caller: &Caller<'_>, settings: &Settings, exposure: Exposure) -> Result<(), Breach> {
    let head = caller.head;
    let Some(authority) = caller.authority().filter(|authority| is_ours(authority, settings)) else {
        return Err(Breach::Host(shown(&head.authority)));
    };
    if head.method == Method::OPTIONS {
        // The older and the newer name of the question.
        let asks = ["access-control-request-private-network", "access-control-request-local-network"];
        return if asks.iter().any(|name| head.headers.contains(name)) { Err(Breach::Preflight) } else { Ok(()) };
    }
    let reads = matches!(head.method, Method::GET | Method::HEAD);
    if reads && exposure == Exposure::Open {
        return Ok(());
    }
    let mut origins = head.headers.all("origin");
    match (origins.next(), origins.next()) {
        (None, _) => fetched_here(&head.headers),
        (Some(origin), None) if is_own(origin, &authority, caller, settings) => Ok(()),
        (Some(origin), _) => Err(Breach::CrossSite(shown(origin))),
    }
}

/// Whether we answer under that name.
fn is_ours(authority: &Authority, settings: &Settings) -> bool {
    let host = authority.host.as_str();
    // An address cannot be made to point elsewhere.
    host.parse::<std::net::IpAddr>().is_ok()
        || proxy::is_loopback(host)
        || settings.allowed_hosts.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(host))
        || Url::parse(&settings.public_url).is_ok_and(|url| url.host_str().is_some_and(|name| name == host))
}

/// Whether a page of `origin` is ours: it has the scheme, host and port of this very request, or of `public_url`.
fn is_own(origin: &[u8], authority: &Authority, caller: &Caller<'_>, settings: &Settings) -> bool {
    let Some(origin) = std::str::from_utf8(origin).ok().and_then(site) else { return false };
    let (scheme, standard) = if caller.is_https(settings) { ("https", 443) } else { ("http", 80) };
    let own = (scheme.to_owned(), authority.host.clone(), authority.port.unwrap_or(standard));
    origin == own || site(&settings.public_url).is_some_and(|public| public == origin)
}

/// Scheme, host and port of an address; `None` for what is no web page (`null`, `file://`, an app's own scheme).
fn site(address: &str) -> Option<(String, String, u16)> {
    let url = Url::parse(address).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']').to_owned();
    Some((url.scheme().to_owned(), host, url.port_or_known_default()?))
}

/// What browsers say of requests without an `Origin`, such as images, links and forms.
fn fetched_here(headers: &Headers) -> Result<(), Breach> {
    match headers.get("sec-fetch-site") {
        // No browser, an old one, or one whose user typed the address.
        None => Ok(()),
        Some(site) if [&b"same-origin"[..], b"none"].contains(&&site[..]) => Ok(()),
        Some(site) => Err(Breach::CrossSite(shown(site))),
    }
}

/// A header's value, for a message.
fn shown(value: &[u8]) -> String {
    String::from_utf8_lossy(&value[..value.len().min(100)]).into_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::api::auth::testing::{call, head};

    fn settings() -> Settings {
        Settings {
            public_url: "https://flow.example.org/router".to_owned(),
            allowed_hosts: vec!["box.lan".to_owned()],
            trusted_proxies: vec!["10.0.0.1".parse().unwrap()],
            ..Settings::default()
        }
    }

    fn judged(method: &str, host: &str, fields: &[(&str, &str)], exposure: Exposure) -> Result<(), Breach> {
        check(&call(&head(method, "/api/x", host, fields), "127.0.0.1:5", "127.0.0.1:2402"), &settings(), exposure)
    }

    const HOST: &str = "localhost:2402";

    #[test]
    fn we_answer_under_our_own_names_only() {
        for host in [
            "localhost",
            "localhost:2402",
            "LOCALHOST:1",
            "127.0.0.1:2402",
            "[::1]:2402",
            "192.168.1.2",
            "x.localhost:2402",
            "box.lan",
            "BOX.lan:2402",
            "flow.example.org",
            "flow.example.org:443",
        ] {
            for exposure in [Exposure::Open, Exposure::Guarded] {
                assert_eq!(judged("GET", host, &[], exposure), Ok(()), "{host}");
                assert_eq!(judged("POST", host, &[], exposure), Ok(()), "{host}");
            }
        }
        for host in [
            "evil.example",
            "evil.example:2402",
            "localhost.evil.example",
            "127.0.0.1.nip.io",
            "xbox.lan",
            "example.org",
            "evil.example/localhost",
            "localhost@evil.example",
            "flow.example.org.",
            "",
            " ",
        ] {
            for method in ["GET", "HEAD", "POST", "OPTIONS", "DELETE"] {
                let result = judged(method, host, &[], Exposure::Open);
                assert_eq!(result, Err(Breach::Host(host.to_owned())), "{method} {host}");
            }
        }
    }

    #[test]
    fn pages_of_other_sites_change_and_read_nothing() {
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] {
            for origin in [
                "https://evil.example",
                "http://evil.example:2402",
                "null",
                "file://",
                "vscode-file://vscode-app",
                "http://localhost:3000",
                "http://localhost",
                "https://localhost:2402",
                "http://127.0.0.1:2402",
                "http://localhost:2402.evil.example",
                "http://sub.localhost:2402",
                "chrome-extension://abc",
                "",
                "http://flow.example.org",
                "https://flow.example.org:8443",
            ] {
                let result = judged(method, HOST, &[("origin", origin)], Exposure::Guarded);
                assert_eq!(result, Err(Breach::CrossSite(origin.to_owned())), "{method} {origin}");
            }
            for site in ["cross-site", "same-site", "", "Same-Origin"] {
                let result = judged(method, HOST, &[("sec-fetch-site", site)], Exposure::Guarded);
                assert_eq!(result, Err(Breach::CrossSite(site.to_owned())), "{method} {site}");
            }
            let twice = [("origin", "http://localhost:2402"), ("origin", "https://evil.example")];
            assert!(judged(method, HOST, &twice, Exposure::Guarded).is_err());
        }
        // What is open may be read from anywhere, but not more.
        let foreign = [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")];
        assert_eq!(judged("GET", HOST, &foreign, Exposure::Open), Ok(()));
        assert!(judged("POST", HOST, &foreign, Exposure::Open).is_err());
    }

    #[test]
    fn our_own_pages_and_programs_pass() {
        for method in ["GET", "POST", "DELETE"] {
            for fields in [
                &[][..],
                &[("user-agent", "curl/8")],
                &[("origin", "http://localhost:2402")],
                &[("origin", "http://LOCALHOST:2402"), ("sec-fetch-site", "same-origin")],
                &[("sec-fetch-site", "same-origin")],
                &[("sec-fetch-site", "none")],
                &[("origin", "https://flow.example.org")],
            ] {
                assert_eq!(judged(method, HOST, fields, Exposure::Guarded), Ok(()), "{method} {fields:?}");
            }
        }
        assert!(judged("POST", "[::1]:2402", &[("origin", "http://[::1]:2402")], Exposure::Guarded).is_ok());
        assert!(judged("POST", "box.lan", &[("origin", "http://box.lan")], Exposure::Guarded).is_ok());
    }

    #[test]
    fn behind_a_trusted_proxy_https_is_our_scheme() {
        let fields = [("origin", "https://box.lan"), ("x-forwarded-proto", "https")];
        let request = head("POST", "/api/x", "box.lan", &fields);
        assert!(check(&call(&request, "10.0.0.1:5", "10.0.0.2:2402"), &settings(), Exposure::Guarded).is_ok());
        assert!(check(&call(&request, "10.0.0.9:5", "10.0.0.2:2402"), &settings(), Exposure::Guarded).is_err());
        let plain = head("POST", "/api/x", "box.lan", &[("origin", "http://box.lan"), ("x-forwarded-proto", "https")]);
        assert!(check(&call(&plain, "10.0.0.1:5", "10.0.0.2:2402"), &settings(), Exposure::Guarded).is_err());
    }

    #[test]
    fn preflights_from_the_internet_are_refused() {
        for name in ["Access-Control-Request-Private-Network", "Access-Control-Request-Local-Network"] {
            let fields = [("origin", "https://evil.example"), (name, "true")];
            assert_eq!(judged("OPTIONS", HOST, &fields, Exposure::Open), Err(Breach::Preflight), "{name}");
        }
        assert_eq!(judged("OPTIONS", HOST, &[("origin", "https://evil.example")], Exposure::Guarded), Ok(()));
    }
}
