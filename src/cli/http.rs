//! The management API, spoken through our own HTTP client.
//!
//! The token for administrators is only ever sent to loopback. A key that was given goes where the user said.

use std::time::Duration;

use proxy::{Body, Client, ClientConfig, Egress, Kind, Method, Origin, Outbound};
use serde_json::Value;
use url::Url;

use super::failure::Failure;

/// Longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Most entries of a list that are read, over all of its pages.
const ENTRIES_MAX: usize = 100_000;
/// Entries that are asked for at once.
const PAGE: usize = 1_000;

/// A router and how to speak to it.
#[derive(Debug)]
pub(crate) struct Router {
    client: Client,
    origin: Origin,
    /// Path in front of everything, for routers behind a reverse proxy; without a slash at its end.
    prefix: String,
    /// The address without a slash at its end.
    pub(crate) base: String,
    /// Whether it is on this machine.
    pub(crate) loopback: bool,
    /// What we show: a key, or the token for administrators.
    credential: Option<String>,
    timeout: Duration,
}

/// An answer of any status.
#[derive(Debug)]
pub(crate) struct Answer {
    /// HTTP status.
    pub(crate) status: u16,
    /// Its body; `null` if that is no JSON.
    pub(crate) document: Value,
}

impl Answer {
    /// The document of a success.
    pub(crate) fn ok(self) -> Result<Value, Failure> {
        if (200..300).contains(&self.status) {
            Ok(self.document)
        } else {
            Err(Failure::of_answer(self.status, &self.document))
        }
    }
}

impl Router {
    /// Reads the address. `token` is asked for the token of administrators if no key was given and the address is this
    /// machine.
    pub(crate) fn new(
        address: &str,
        key: Option<String>,
        token: impl FnOnce() -> Option<String>,
        timeout: Duration,
    ) -> Result<Self, Failure> {
        let bad = |why: &str| Failure::Usage(format!("`{address}` is not the address of a router: {why}"));
        let url = url_of(address).map_err(|error| bad(&error.to_string()))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad("it holds a user; give a key with FLOW_ROUTER_KEY"));
        }
        if !matches!(url.scheme(), "http" | "https") {
            return Err(bad("use http:// or https://"));
        }
        let host = url.host_str().ok_or_else(|| bad("it has no host"))?;
        let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
        let origin_text = format!("{}://{host}{port}", url.scheme());
        let origin = Origin::parse(&origin_text).map_err(|_| bad("its host cannot be used"))?;
        let prefix = url.path().trim_end_matches('/').to_owned();
        let loopback = origin.is_loopback();
        let credential = key.or_else(|| loopback.then(token).flatten());
        if credential.as_deref().is_some_and(|key| !key.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(Failure::Usage("the key holds characters that no key has".to_owned()));
        }
        let egress = Egress::from_env().map_err(|error| Failure::Usage(error.kind.to_string()))?;
        let client = Client::new(ClientConfig { egress, ..ClientConfig::default() })
            .map_err(|error| Failure::Failed(error.kind.to_string()))?;
        Ok(Self { client, origin, base: format!("{origin_text}{prefix}"), prefix, loopback, credential, timeout })
    }

    /// Host and port.
    pub(crate) fn host_and_port(&self) -> (&str, u16) {
        (self.origin.host(), self.origin.port())
    }

    /// Reads something.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.ask(Method::GET, path, None).await?.ok()
    }

    /// Does something.
    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        self.ask(method, path, body).await?.ok()
    }

    /// Asks and hands back the answer, whatever it is.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, Failure> {
        self.exchange(self.request(method, path, body, self.credential.as_deref())?).await
    }

    /// The same with another key, or without any.
    pub(crate) async fn ask_as(&self, key: Option<&str>, method: Method, path: &str) -> Result<Answer, Failure> {
        self.exchange(self.request(method, path, None, key)?).await
    }

    async fn exchange(&self, request: Outbound) -> Result<Answer, Failure> {
        let answered = async {
            let mut response = self.client.send(request).await.map_err(|error| self.lost(&error))?;
            let bytes = response.body.collect(ANSWER_BYTES_MAX).await.map_err(|error| self.lost(&error))?;
            let document = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
            Ok(Answer { status: response.head.status.as_u16(), document })
        };
        match tokio::time::timeout(self.timeout, answered).await {
            Ok(answer) => answer,
            Err(_) => Err(self.late()),
        }
    }

    /// All entries of a list, page by page.
    pub(crate) async fn list(&self, path: &str) -> Result<Vec<Value>, Failure> {
        self.list_up_to(path, ENTRIES_MAX).await
    }

    /// The first entries of a list.
    pub(crate) async fn list_up_to(&self, path: &str, most: usize) -> Result<Vec<Value>, Failure> {
        let sign = if path.contains('?') { '&' } else { '?' };
        let mut entries: Vec<Value> = Vec::new();
        let mut cursor = String::new();
        loop {
            let limit = PAGE.min(most - entries.len());
            let mut page = self.get(&format!("{path}{sign}limit={limit}{cursor}")).await?;
            let Value::Array(data) = page["data"].take() else {
                return Err(Failure::Failed("the server's answer is no list: is this a Flow Router?".to_owned()));
            };
            let came = !data.is_empty();
            entries.extend(data);
            match page["nextCursor"].as_str() {
                Some(next) if came && entries.len() < most => cursor = format!("&cursor={}", encoded(next)),
                _ => {
                    entries.truncate(most);
                    return Ok(entries);
                }
            }
        }
    }

    /// Begins to listen to events. The body has no limit in time.
    pub(crate) async fn listen(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        last: Option<&str>,
    ) -> Result<Body, Failure> {
        let mut request = self.request(method, path, body, self.credential.as_deref())?;
        request.headers.append("accept", "text/event-stream");
        if let Some(last) = last {
            request.headers.append("last-event-id", last.to_owned());
        }
        let sent = tokio::time::timeout(self.timeout, self.client.send(request)).await;
        let mut response = sent.map_err(|_| self.late())?.map_err(|error| self.lost(&error))?;
        let status = response.head.status.as_u16();
        if status == 200 {
            return Ok(response.body);
        }
        let bytes = response.body.collect(ANSWER_BYTES_MAX).await.unwrap_or_default();
        Err(Failure::of_answer(status, &serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        key: Option<&str>,
    ) -> Result<Outbound, Failure> {
        let mut request = Outbound::new(self.origin.clone(), method, format!("{}{path}", self.prefix));
        request.connect_timeout = Some(self.timeout);
        request.headers.append("user-agent", concat!("flow-cli/", env!("CARGO_PKG_VERSION")));
        if let Some(key) = key {
            request.headers.append("authorization", format!("Bearer {key}"));
        }
        if let Some(body) = body {
            request.headers.append("content-type", "application/json");
            request.body = vec![serde_json::to_vec(body).map_err(std::io::Error::from)?.into()];
        }
        Ok(request)
    }

    fn late(&self) -> Failure {
        Failure::Unreachable(format!("{} did not answer within {} s", self.base, self.timeout.as_secs_f64()))
    }

    /// A transport that failed: nobody is there, whoever it was.
    fn lost(&self, error: &proxy::Error) -> Failure {
        let hint =
            if self.loopback && matches!(error.kind, Kind::Connect(_)) { "; is flow-router running?" } else { "" };
        Failure::Unreachable(format!("{} cannot be reached: {}{hint}", self.base, error.kind))
    }
}

/// An address as people write it, also without `http://`.
pub(crate) fn url_of(address: &str) -> Result<Url, url::ParseError> {
    if address.contains("://") { Url::parse(address) } else { Url::parse(&format!("http://{address}")) }
}

/// Text as a segment of a path or a value of a query.
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// A thing by its name, or by its id, as a segment of a path.
pub(crate) fn named(text: &str) -> String {
    let reference = reference(text);
    match reference.strip_prefix("name:") {
        Some(name) => format!("name:{}", encoded(name)),
        None => encoded(&reference),
    }
}

/// A thing by its name, or by its id, as the API takes it in documents.
pub(crate) fn reference(text: &str) -> String {
    // Ids are UUIDs; whoever names a provider so gets what he asked for by `name:`.
    let id = text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    if id || text.starts_with("name:") { text.to_owned() } else { format!("name:{text}") }
}

/// A query: pairs without a value are left out.
pub(crate) fn query(pairs: &[(&str, Option<&str>)]) -> String {
    let pairs = pairs.iter().filter_map(|(name, value)| Some(format!("{name}={}", encoded((*value)?))));
    let text = pairs.collect::<Vec<_>>().join("&");
    if text.is_empty() { text } else { format!("?{text}") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn router(address: &str, key: Option<&str>) -> Result<Router, Failure> {
        let token = || Some("fra_token".to_owned());
        Router::new(address, key.map(str::to_owned), token, Duration::from_secs(1))
    }

    #[test]
    fn the_token_is_for_loopback_only() {
        for (address, base, credential) in [
            ("http://127.0.0.1:2402", "http://127.0.0.1:2402", Some("fra_token")),
            ("http://127.0.0.1:2402/", "http://127.0.0.1:2402", Some("fra_token")),
            ("localhost:2402", "http://localhost:2402", Some("fra_token")),
            ("http://[::1]:2402", "http://[::1]:2402", Some("fra_token")),
            ("http://localhost.example", "http://localhost.example", None),
            ("http://127.0.0.1.example:2402", "http://127.0.0.1.example:2402", None),
            ("https://router.example/llm/", "https://router.example/llm", None),
            ("http://10.0.0.7:2402", "http://10.0.0.7:2402", None),
        ] {
            let router = router(address, None).unwrap();
            assert_eq!((router.base.as_str(), router.credential.as_deref()), (base, credential), "{address}");
        }
        assert_eq!(router("localhost", Some("flr_1")).unwrap().credential.as_deref(), Some("flr_1"));
    }

    #[test]
    fn addresses_and_keys_that_cannot_be() {
        for address in ["", "ftp://a", "http://u:p@127.0.0.1", "http://:1", "http://a:99999"] {
            assert_eq!(router(address, None).unwrap_err().code(), 2, "{address}");
        }
        assert_eq!(router("localhost", Some("a\r\nb: c")).unwrap_err().code(), 2);
    }

    #[test]
    fn things_are_found_by_name_and_id() {
        assert_eq!(named("work"), "name:work");
        assert_eq!(named("a/b ü"), "name:a%2Fb%20%C3%BC");
        assert_eq!(named("name:x y"), "name:x%20y");
        assert_eq!(named("0190f3c2-1111-7abc-8def-0123456789ab"), "0190f3c2-1111-7abc-8def-0123456789ab");
        assert_eq!(query(&[("a", Some("x&y")), ("b", None)]), "?a=x%26y");
        assert_eq!(query(&[("b", None)]), "");
    }
}
