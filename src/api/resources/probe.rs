//! Asking an upstream whether it answers: its list of models, or a chat of one token.
//!
//! Whoever may manage may have any address of the local network asked: that is where local models run. The addresses of
//! clouds' metadata are refused when the connection is made, and here in words; so is our own address, which would ask
//! itself.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use bytes::Bytes;
use codecs::dialect::{ChatFlavour, Dialect};
use proxy::{Kind, Method, Outbound, Response, is_loopback};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    api::{
        Api, Problem, or_null,
        schema::{COUNT, COUNT_OR_NULL, Object, Schema, TEXT, TEXT_OR_NULL, needed},
    },
    vendor::{Ask, Upstream, is_forbidden_name},
};

/// How long an upstream may take.
const PATIENCE: Duration = Duration::from_secs(8);
/// The same for an answer of a model.
const CHAT_PATIENCE: Duration = Duration::from_secs(30);
/// Largest answer that is read, in bytes.
const ANSWER_BYTES: usize = 8 << 20;
/// How much of an upstream's own words is shown, in characters.
const WORDS: usize = 300;
/// Models that are taken from a list.
const MODELS: usize = 5_000;

/// What is known of a model that an upstream offers.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::api) struct Offered {
    /// Its name in requests.
    pub(super) id: String,
    /// Its name for people.
    pub(super) name: String,
    /// Its context window in tokens.
    pub(super) context: Option<u64>,
}

/// What came of asking.
#[derive(Debug, Clone)]
pub(super) struct Probed {
    /// Whether it would answer requests.
    pub(super) valid: bool,
    /// The status that it answered with.
    pub(super) status: Option<u16>,
    /// For people.
    pub(super) detail: String,
    /// How long it took, in milliseconds.
    pub(super) latency_ms: u64,
    /// Its models, if it has a list.
    pub(super) models: Option<Vec<Offered>>,
}

/// The form of what came of asking.
pub(super) const PROBED: Object = Object {
    name: "ProviderTest",
    members: &[
        needed("id", TEXT_OR_NULL, "the provider; null where none is kept"),
        needed("valid", Schema::Bool, "whether it would answer requests"),
        needed("statusCode", COUNT_OR_NULL, "its status; null if it could not be reached"),
        needed("detail", TEXT, "for people"),
        needed("latencyMs", COUNT, ""),
        needed("modelCount", COUNT_OR_NULL, "how many models it lists"),
    ],
};

impl Probed {
    fn failed(detail: impl Into<String>, status: Option<u16>, began: Instant) -> Self {
        Self { valid: false, status, detail: detail.into(), latency_ms: ms(began), models: None }
    }

    /// As the API shows it.
    pub(super) fn document(&self, id: Option<&str>) -> Value {
        json!({
            "id": id,
            "valid": self.valid,
            "statusCode": self.status,
            "detail": self.detail,
            "latencyMs": self.latency_ms,
            "modelCount": or_null(self.models.as_ref().map(Vec::len)),
        })
    }
}

/// Milliseconds since then.
pub(super) fn ms(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Refuses addresses that must not be asked.
///
/// # Errors
/// 403.
pub(super) fn allowed(api: &Api, base_url: &str) -> Result<(), Problem> {
    let blocked = |message: String| Problem::new(403, "blocked_target", message).param("baseUrl");
    let Ok(url) = url::Url::parse(base_url) else { return Ok(()) };
    let Some(host) = url.host_str().map(|host| host.trim_start_matches('[').trim_end_matches(']')) else {
        return Ok(());
    };
    if is_forbidden_name(host) {
        return Err(blocked(format!("{host} serves a cloud's metadata and is never asked")));
    }
    let port = url.port_or_known_default();
    if api.shared.addr.get().is_some_and(|addr| port == Some(addr.port()) && leads_to(*addr, host)) {
        return Err(blocked("this is the gateway's own address: it would ask itself".to_owned()));
    }
    Ok(())
}

/// Whether a host, at the port where we listen, is where we listen. Names other than this machine's are not looked up.
fn leads_to(listener: SocketAddr, host: &str) -> bool {
    let own = listener.ip().to_canonical();
    match host.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
        // Whoever asks for "any address" asks this machine.
        Ok(ip) if ip.is_unspecified() => own.is_loopback() || own.is_unspecified(),
        Ok(ip) if ip == own => true,
        Ok(ip) if ip.is_loopback() => own.is_loopback() || own.is_unspecified(),
        // One can bind to addresses of this machine only. Nothing is sent.
        Ok(ip) => own.is_unspecified() && UdpSocket::bind((ip, 0)).is_ok(),
        Err(_) => is_loopback(host) && (own.is_loopback() || own.is_unspecified()),
    }
}

/// Asks for the list of models; where there is none, asks a model for one token.
pub(super) async fn probe(api: &Api, upstream: &Upstream) -> Probed {
    let began = Instant::now();
    let listed = match timeout(PATIENCE, listed(api, upstream)).await {
        Ok(listed) => listed,
        Err(_) => return Probed::failed(format!("no answer within {} s", PATIENCE.as_secs()), None, began),
    };
    match listed {
        Ok((status @ 200..=299, body)) => {
            let models = models(&body);
            let detail = match &models {
                Some(models) => format!("{} models", models.len()),
                None => "it answers, but not with a list of models".to_owned(),
            };
            Probed { valid: true, status: Some(status), detail, latency_ms: ms(began), models }
        }
        // There is no list, or not for this credential's kind: a model says more.
        Ok((status @ (404 | 405 | 501), body)) => {
            match upstream.provider.models.iter().find(|name| !name.contains('*')) {
                Some(model) => {
                    let tried = chat(api, upstream, model, None).await;
                    Probed { latency_ms: ms(began), ..tried }
                }
                None => {
                    let words = words(upstream, status, &body);
                    let detail =
                        format!("it has no list of models, and no model is named that could be asked: {words}");
                    Probed { valid: true, status: Some(status), detail, latency_ms: ms(began), models: None }
                }
            }
        }
        Ok((status, body)) => {
            let valid = !matches!(status, 401 | 403 | 500..);
            Probed { valid, ..Probed::failed(words(upstream, status, &body), Some(status), began) }
        }
        Err(detail) => Probed::failed(detail, None, began),
    }
}

/// The models that an upstream lists.
///
/// # Errors
/// 502 and 504 with its words.
pub(super) async fn offered(api: &Api, upstream: &Upstream) -> Result<Vec<Offered>, Problem> {
    match timeout(PATIENCE, listed(api, upstream)).await {
        Err(_) => Err(Problem::new(504, "upstream_timeout", "the upstream did not answer in time")),
        Ok(Err(detail)) => Err(Problem::new(502, "upstream_error", detail)),
        Ok(Ok((200..=299, body))) => match models(&body) {
            Some(models) => Ok(models),
            None => Err(Problem::new(502, "upstream_error", "the upstream's list of models cannot be understood")),
        },
        Ok(Ok((status, body))) => {
            let details = json!({ "statusCode": status });
            Err(Problem::new(502, "upstream_error", words(upstream, status, &body)).details(details))
        }
    }
}

async fn listed(api: &Api, upstream: &Upstream) -> Result<(u16, Bytes), String> {
    let mut request = outbound(upstream, Method::GET, upstream.list_target())?;
    request.headers.remove("content-type");
    ask(api, upstream, request).await
}

/// Asks a model for one token. The detail is empty if it answers.
pub(super) async fn chat(api: &Api, upstream: &Upstream, model: &str, prompt: Option<&str>) -> Probed {
    let began = Instant::now();
    let stream = upstream.provider.stream_only;
    let target = upstream.target(Ask::Chat { stream }, model, None);
    let asked = outbound(upstream, Method::POST, target).map(|mut request| {
        request.body = vec![Bytes::from(question(upstream, model, prompt.unwrap_or("Hi"), stream).to_string())];
        request
    });
    let answer = match asked {
        Ok(request) => timeout(CHAT_PATIENCE, ask(api, upstream, request)).await,
        Err(detail) => return Probed::failed(detail, None, began),
    };
    match answer {
        Err(_) => Probed::failed(format!("no answer within {} s", CHAT_PATIENCE.as_secs()), None, began),
        Ok(Err(detail)) => Probed::failed(detail, None, began),
        Ok(Ok((status @ 200..=299, _))) => {
            let detail = format!("{model} answers");
            Probed { valid: true, status: Some(status), detail, latency_ms: ms(began), models: None }
        }
        Ok(Ok((status, body))) => Probed::failed(words(upstream, status, &body), Some(status), began),
    }
}

/// The smallest question of each dialect.
fn question(upstream: &Upstream, model: &str, prompt: &str, stream: bool) -> Value {
    let messages = json!([{"role": "user", "content": prompt}]);
    match upstream.dialect() {
        Dialect::OpenAiChat => {
            let limit = match upstream.provider.flavour {
                ChatFlavour::OpenAi => "max_completion_tokens",
                ChatFlavour::Compat => "max_tokens",
            };
            let mut body = json!({"model": model, "messages": messages, "stream": stream});
            body[limit] = 1.into();
            body
        }
        // Fewer than 16 are refused there.
        Dialect::OpenAiResponses => {
            json!({"model": model, "input": prompt, "max_output_tokens": 16, "stream": stream, "store": false})
        }
        Dialect::Anthropic => json!({"model": model, "max_tokens": 1, "messages": messages, "stream": stream}),
        Dialect::Gemini => json!({
            "contents": [{"role": "user", "parts": [{"text": prompt}]}],
            "generationConfig": {"maxOutputTokens": 1},
        }),
        Dialect::Ollama => {
            json!({"model": model, "messages": messages, "stream": stream, "options": {"num_predict": 1}})
        }
    }
}

fn outbound(upstream: &Upstream, method: Method, target: Bytes) -> Result<Outbound, String> {
    let origin = upstream.origin.clone().ok_or("it has no address")?;
    let mut request = Outbound::new(origin, method, target);
    request.headers = upstream.headers(&[]);
    request.connect_timeout = Some(upstream.connect.min(PATIENCE));
    Ok(request)
}

/// Sends and reads the whole answer; an error is told in words.
async fn ask(api: &Api, upstream: &Upstream, request: Outbound) -> Result<(u16, Bytes), String> {
    let told = |error: proxy::Error| match error.kind {
        Kind::TooLarge { .. } => "its answer is too long".to_owned(),
        kind => upstream.masked(&kind.to_string()).into_owned(),
    };
    let Response { head, mut body, .. } = api.client().send(request).await.map_err(told)?;
    let body = body.collect(ANSWER_BYTES).await.map_err(told)?;
    Ok((head.status.as_u16(), body))
}

/// The upstream's own words about a failure, short and without our secrets.
fn words(upstream: &Upstream, status: u16, body: &[u8]) -> String {
    let parsed: Option<Value> = serde_json::from_slice(body).ok();
    let message = parsed.as_ref().and_then(|document| {
        let error = document.get("error").unwrap_or(document);
        [error.get("message"), Some(error), document.get("detail")].into_iter().flatten().find_map(Value::as_str)
    });
    let message: String = message.unwrap_or_default().chars().filter(|c| !c.is_control()).take(WORDS).collect();
    match message.is_empty() {
        true => format!("it answers {status}"),
        false => format!("it answers {status}: {}", upstream.masked(&message)),
    }
}

/// The models of a list in any of the dialects' forms: `data[].id`, `models[].name`, or a bare list.
fn models(body: &[u8]) -> Option<Vec<Offered>> {
    let document: Value = serde_json::from_slice(body).ok()?;
    let list = [document.get("data"), document.get("models"), Some(&document)];
    let list = list.into_iter().flatten().find_map(Value::as_array)?;
    let entry = |entry: &Value| {
        let text = |names: &[&str]| names.iter().find_map(|name| entry.get(name)?.as_str());
        let id = entry.as_str().or_else(|| text(&["id", "name", "model"]))?;
        let id = id.strip_prefix("models/").unwrap_or(id);
        let name = text(&["display_name", "displayName", "name"]).filter(|name| !name.starts_with("models/"));
        let context = ["context_length", "context_window", "inputTokenLimit", "max_input_tokens", "max_model_len"];
        let context = context.iter().find_map(|name| entry.get(name)?.as_u64());
        Some(Offered { id: id.to_owned(), name: name.unwrap_or(id).to_owned(), context })
    };
    Some(list.iter().filter_map(entry).take(MODELS).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::settings::{Provider, Secret, Settings};

    #[test]
    fn lists_of_all_vendors_are_understood() {
        for (body, expected) in [
            (json!({"object": "list", "data": [{"id": "gpt-5", "object": "model"}]}), ("gpt-5", "gpt-5", None)),
            (json!({"data": [{"id": "claude-x", "display_name": "Claude X"}]}), ("claude-x", "Claude X", None)),
            (
                json!({"models": [{"name": "models/gemini-x", "displayName": "Gemini X", "inputTokenLimit": 9}]}),
                ("gemini-x", "Gemini X", Some(9)),
            ),
            (json!({"models": [{"name": "llama3:8b", "model": "llama3:8b"}]}), ("llama3:8b", "llama3:8b", None)),
            (json!([{"id": "a/b", "context_length": 7}]), ("a/b", "a/b", Some(7))),
        ] {
            let found = models(body.to_string().as_bytes()).unwrap();
            let (id, name, context) = expected;
            assert_eq!(found, [Offered { id: id.to_owned(), name: name.to_owned(), context }]);
        }
        assert_eq!(models(b"<html>"), None);
        assert_eq!(models(br#"{"data": 1}"#), None);
    }

    #[test]
    fn our_own_address_has_many_names() {
        let at = |listener: &str, host: &str| leads_to(listener.parse().unwrap(), host);
        for listener in ["127.0.0.1:2402", "[::1]:2402", "0.0.0.0:2402", "[::]:2402"] {
            for host in ["127.0.0.1", "127.0.0.2", "::1", "::ffff:127.0.0.1", "localhost", "x.localhost", "localhost."]
            {
                assert!(at(listener, host), "{listener} {host}");
            }
            assert!(at(listener, "0.0.0.0") && at(listener, "::"), "{listener}");
            // Documentation addresses are nobody's, and names are not looked up.
            for host in ["192.0.2.1", "2001:db8::1", "example.org", "localhost.example.org"] {
                assert!(!at(listener, host), "{listener} {host}");
            }
        }
        assert!(at("192.0.2.7:2402", "192.0.2.7") && !at("192.0.2.7:2402", "localhost"));
    }

    #[test]
    fn vendors_words_are_shown_without_our_key() {
        let mut provider = Provider::new("p", Dialect::OpenAiChat, "http://h/v1");
        provider.api_key = Some(Secret::new("sk-secret-1"));
        let upstream = Upstream::new(&provider, &Settings::default());
        let body = json!({"error": {"message": "Incorrect API key: sk-secret-1\n"}}).to_string();
        assert_eq!(words(&upstream, 401, body.as_bytes()), "it answers 401: Incorrect API key: ***");
        assert_eq!(words(&upstream, 500, b"<html>"), "it answers 500");
        assert_eq!(words(&upstream, 404, br#"{"error":"model not found"}"#), "it answers 404: model not found");
    }
}
