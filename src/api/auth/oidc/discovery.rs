//! What an identity provider says of itself (OpenID Connect Discovery §3, §4), and whether that can be believed.

use proxy::Client;
use serde::Deserialize;
use url::{Host, Url};

use super::{
    Failure,
    fetch::{self, Ways},
};

/// The parts of a provider's document that are used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::api::auth) struct Document {
    /// Exactly as the provider writes it: tokens have to say the same.
    pub(in crate::api::auth) issuer: String,
    /// The page where people log in.
    pub(in crate::api::auth) authorization: Url,
    /// Where codes are exchanged.
    pub(in crate::api::auth) token: Url,
    /// Where the keys are.
    pub(in crate::api::auth) jwks: Url,
    /// Whether our secret goes into a header; otherwise it goes into the form.
    pub(in crate::api::auth) basic: bool,
    /// Whether answers name the provider (RFC 9207).
    pub(super) names_itself: bool,
    /// Host of the issuer.
    host: String,
    /// Whether the issuer is on a local network, and so may be what it names.
    inside: bool,
}

#[derive(Deserialize)]
struct Raw {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

/// Asks the provider at `issuer`.
pub(super) async fn fetch(ways: &Ways, issuer: &str) -> Result<Document, Failure> {
    let url = Url::parse(&format!("{issuer}/.well-known/openid-configuration"));
    let url = url.map_err(|_| Failure::Unusable("the issuer is no address".to_owned()))?;
    match fetch::get(&ways.outside, &url).await {
        // The administrator typed it, so that it may be on a local network.
        Err(Failure::Forbidden(_)) => Document::read(&fetch::get(&ways.any, &url).await?, issuer, true),
        answer => Document::read(&answer?, issuer, false),
    }
}

impl Document {
    /// The way to an address that the provider names. Names are judged by where they lead when they are used: one of the
    /// internet must not make us ask a machine beside us.
    pub(super) fn way<'w>(&self, ways: &'w Ways, url: &Url) -> &'w Client {
        let own = url.host_str() == Some(self.host.as_str());
        if own || self.inside { &ways.any } else { &ways.outside }
    }

    /// Reads a document that was found at `issuer`.
    pub(super) fn read(bytes: &[u8], issuer: &str, inside: bool) -> Result<Self, Failure> {
        let unusable = |what: &str| Failure::Unusable(what.to_owned());
        let raw: Raw = serde_json::from_slice(bytes).map_err(|_| unusable("this is no provider's document"))?;
        // Settings hold the issuer without a final slash, with which some providers name themselves.
        if raw.issuer.strip_suffix('/').unwrap_or(&raw.issuer) != issuer {
            return Err(unusable("the provider names another issuer than the configured one"));
        }
        let base = Url::parse(issuer).map_err(|_| unusable("the issuer is no address"))?;
        let endpoint = |name: &str, text: &str| {
            let url = Url::parse(text).ok().filter(|url| may_be_asked(url, &base));
            url.ok_or_else(|| Failure::Unusable(format!("{name} is not at a place that may be asked")))
        };
        let methods = raw.token_endpoint_auth_methods_supported;
        Ok(Self {
            authorization: endpoint("authorization_endpoint", &raw.authorization_endpoint)?,
            token: endpoint("token_endpoint", &raw.token_endpoint)?,
            jwks: endpoint("jwks_uri", &raw.jwks_uri)?,
            // §3 of the discovery standard: basic, if nothing is said.
            basic: methods.is_none_or(|methods| methods.iter().any(|method| method == "client_secret_basic")),
            names_itself: raw.authorization_response_iss_parameter_supported,
            host: base.host_str().unwrap_or_default().to_owned(),
            inside,
            issuer: raw.issuer,
        })
    }
}

/// Whether an address that the provider names may be asked. The issuer was typed by the administrator; what it names was
/// not: only https unless the issuer itself is on this machine, and no address of a local network unless it is the
/// issuer's own host.
fn may_be_asked(url: &Url, issuer: &Url) -> bool {
    let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    let secure = url.scheme() == "https" || (url.scheme() == "http" && issuer.scheme() == "http");
    if !plain || !secure {
        return false;
    }
    if url.host() == issuer.host() {
        return true;
    }
    match url.host() {
        Some(Host::Domain(name)) => {
            url.scheme() == "https" && name.contains('.') && !proxy::is_loopback(name) && !name.ends_with(".internal")
        }
        // Providers have names.
        Some(Host::Ipv4(_) | Host::Ipv6(_)) | None => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn document() -> Value {
        json!({
            "issuer": "https://id.example/realm", "authorization_endpoint": "https://id.example/a?x=1",
            "token_endpoint": "https://api.id.example/t", "jwks_uri": "https://id.example/k",
        })
    }

    fn read(name: &str, value: Value) -> Result<Document, Failure> {
        let mut document = document();
        document[name] = value;
        Document::read(document.to_string().as_bytes(), "https://id.example/realm", false)
    }

    #[test]
    fn a_document_is_by_the_issuer_that_was_asked() {
        let plain = read("x", Value::Null).unwrap();
        assert!(plain.basic && !plain.names_itself);
        assert_eq!(read("issuer", json!("https://id.example/realm/")).unwrap().issuer, "https://id.example/realm/");
        for wrong in [
            "https://id.example",
            "https://id.example/realm2",
            "http://id.example/realm",
            "https://id.example/realm//",
            "",
        ] {
            assert!(matches!(read("issuer", json!(wrong)), Err(Failure::Unusable(_))), "{wrong}");
        }
        for wrong in [&b""[..], b"{}", b"<html>", b"[]"] {
            assert!(Document::read(wrong, "https://id.example/realm", false).is_err());
        }
    }

    #[test]
    fn endpoints_are_where_a_provider_may_be() {
        for name in ["authorization_endpoint", "token_endpoint", "jwks_uri"] {
            for wrong in [
                "http://id.example/x",
                "https://127.0.0.1/x",
                "https://169.254.169.254/latest",
                "https://[::1]/x",
                "https://10.0.0.1/",
                "https://localhost/x",
                "https://x.localhost/",
                "https://metadata.google.internal/",
                "https://intranet/x",
                "https://u:p@id.example/",
                "ftp://id.example/",
                "/relative",
                "",
                "https://8.8.8.8/",
            ] {
                assert!(read(name, json!(wrong)).is_err(), "{name} {wrong}");
            }
            assert!(read(name, json!("https://other.example:8443/x")).is_ok());
        }
        // On a local network everything is at the issuer's own host.
        let lan = json!({"issuer": "https://10.0.0.5", "authorization_endpoint": "https://10.0.0.5/a",
            "token_endpoint": "https://10.0.0.5:8443/t", "jwks_uri": "https://10.0.0.5/k"});
        assert!(Document::read(lan.to_string().as_bytes(), "https://10.0.0.5", true).is_ok());
    }

    #[test]
    fn our_secret_goes_where_the_provider_wants_it() {
        let basic = |methods: Value| read("token_endpoint_auth_methods_supported", methods).unwrap().basic;
        assert!(basic(json!(["client_secret_post", "client_secret_basic"])));
        assert!(!basic(json!(["client_secret_post"])));
        assert!(read("authorization_response_iss_parameter_supported", json!(true)).unwrap().names_itself);
    }
}
