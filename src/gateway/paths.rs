//! The path table: method and path → what is asked, in which dialect.

use std::borrow::Cow;

use codecs::dialect::Dialect;
use proxy::{Headers, Method};

use crate::settings::Scope;

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Operation {
    /// A chat answer. For Gemini the model and the wish for a stream are in the path.
    Chat(Dialect, Option<GeminiPath>),
    /// An Ollama completion.
    Generate,
    /// A token count.
    CountTokens(Dialect, Option<GeminiPath>),
    /// The model list.
    Models(Dialect),
    /// One model.
    Model(Dialect, String),
    /// Ollama's `/api/show`.
    Show,
    /// Ollama's `/api/version`.
    Version,
    /// Ollama's `/api/ps`.
    Running,
    /// `/`, which Ollama clients probe.
    Root,
    /// A WebSocket upgrade of `/v1/responses`, which we answer with 426 so that Codex falls back to SSE at once.
    ResponsesSocket,
    /// Liveness.
    Health,
    /// Readiness.
    Ready,
    /// Metrics.
    Metrics,
}

/// What Gemini puts into the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GeminiPath {
    /// Model, percent-decoded, without `models/`.
    pub model: String,
    /// Whether `streamGenerateContent` was called.
    pub stream: bool,
}

impl GeminiPath {
    /// Whether an array is wanted, with this query.
    pub(super) fn wants_array(&self, query: Option<&[u8]>) -> bool {
        self.stream && !wants_events(query)
    }
}

/// Why a path leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Miss {
    /// No such path.
    NotFound,
    /// The path exists for another method.
    Method(&'static str),
}

impl Operation {
    /// The dialect in which errors are told.
    pub(super) fn dialect(&self) -> Dialect {
        match self {
            Self::Chat(dialect, _)
            | Self::CountTokens(dialect, _)
            | Self::Models(dialect)
            | Self::Model(dialect, _) => *dialect,
            Self::Generate | Self::Show | Self::Version | Self::Running | Self::Root => Dialect::Ollama,
            Self::ResponsesSocket | Self::Health | Self::Ready | Self::Metrics => Dialect::OpenAiChat,
        }
    }

    /// What a key must be made for, one of these; nothing where every key will do.
    pub(super) fn scopes(&self) -> &'static [Scope] {
        match self {
            Self::Chat(..) | Self::Generate | Self::CountTokens(..) => &[Scope::Inference],
            Self::Models(_) | Self::Model(..) | Self::Show => &[Scope::ModelsRead, Scope::Inference],
            Self::Metrics => &[Scope::MetricsRead],
            Self::Version | Self::Running | Self::Root | Self::ResponsesSocket | Self::Health | Self::Ready => &[],
        }
    }
}

/// The dialect of the client's library, by the fields that only it sends; OpenAI's where nothing speaks against it.
/// It decides the shape of `/v1/models`, which three vendors have.
pub(super) fn speaks(headers: &Headers) -> Dialect {
    if headers.contains("anthropic-version") {
        Dialect::Anthropic
    } else if headers.contains("x-goog-api-key") || headers.contains("x-goog-api-client") {
        Dialect::Gemini
    } else {
        Dialect::OpenAiChat
    }
}

/// The dialect in which to say that a path leads nowhere, so that the client's library can show it.
pub(super) fn likely(path: &str, client: Dialect) -> Dialect {
    let gemini = |method| path.contains("/models/") && path.ends_with(method);
    match () {
        () if path.starts_with("/api/") => Dialect::Ollama,
        () if path.starts_with("/v1beta/") => Dialect::Gemini,
        () if [":generateContent", ":streamGenerateContent", ":countTokens"].into_iter().any(gemini) => Dialect::Gemini,
        () if path.contains("/messages") => Dialect::Anthropic,
        () => client,
    }
}

/// Finds the operation. `client` is what [`speaks`] says; `upgrade` tells whether a WebSocket is asked for.
pub(super) fn operation(method: &Method, path: &str, client: Dialect, upgrade: bool) -> Result<Operation, Miss> {
    let path = path.trim_end_matches('/');
    // Clients with a base URL that ends in /v1 append /v1 once more.
    let rest = path.strip_prefix("/v1/v1/").or_else(|| path.strip_prefix("/v1/")).or_else(|| path.strip_prefix('/'));
    let rest = rest.unwrap_or_default();
    let get = *method == Method::GET || *method == Method::HEAD;
    let post = *method == Method::POST;
    let on =
        |allowed: bool, allow: &'static str, operation| if allowed { Ok(operation) } else { Err(Miss::Method(allow)) };
    match rest {
        "" => on(get, "GET", Operation::Root),
        "chat/completions" => on(post, "POST", Operation::Chat(Dialect::OpenAiChat, None)),
        "responses" if get && upgrade => Ok(Operation::ResponsesSocket),
        "responses" => on(post, "POST", Operation::Chat(Dialect::OpenAiResponses, None)),
        "responses/input_tokens" => on(post, "POST", Operation::CountTokens(Dialect::OpenAiResponses, None)),
        "messages" => on(post, "POST", Operation::Chat(Dialect::Anthropic, None)),
        "messages/count_tokens" => on(post, "POST", Operation::CountTokens(Dialect::Anthropic, None)),
        "api/chat" => on(post, "POST", Operation::Chat(Dialect::Ollama, None)),
        "api/generate" => on(post, "POST", Operation::Generate),
        "api/tags" => on(get, "GET", Operation::Models(Dialect::Ollama)),
        "api/show" => on(post, "POST", Operation::Show),
        "api/version" => on(get, "GET", Operation::Version),
        "api/ps" => on(get, "GET", Operation::Running),
        "healthz" => on(get, "GET", Operation::Health),
        "readyz" => on(get, "GET", Operation::Ready),
        "metrics" => on(get, "GET", Operation::Metrics),
        "models" => on(get, "GET", Operation::Models(client)),
        "v1beta/models" => on(get, "GET", Operation::Models(Dialect::Gemini)),
        _ => model_path(rest, get, post, client),
    }
}

/// `models/NAME` and Gemini's `models/NAME:method`.
fn model_path(rest: &str, get: bool, post: bool, client: Dialect) -> Result<Operation, Miss> {
    let gemini = rest.strip_prefix("v1beta/models/").or_else(|| rest.strip_prefix("v1beta/tunedModels/"));
    let Some(name) = gemini.or_else(|| rest.strip_prefix("models/")) else { return Err(Miss::NotFound) };
    if let Some((model, method)) = name.rsplit_once(':') {
        let path = |stream| Some(GeminiPath { model: decoded(model), stream });
        let operation = match method {
            "generateContent" => Operation::Chat(Dialect::Gemini, path(false)),
            "streamGenerateContent" => Operation::Chat(Dialect::Gemini, path(true)),
            "countTokens" => Operation::CountTokens(Dialect::Gemini, path(false)),
            _ if get => Operation::Model(client, decoded(name)),
            _ => return Err(Miss::NotFound),
        };
        return if post || matches!(operation, Operation::Model(..)) {
            Ok(operation)
        } else {
            Err(Miss::Method("POST"))
        };
    }
    let dialect = if gemini.is_some() { Dialect::Gemini } else { client };
    if get { Ok(Operation::Model(dialect, decoded(name))) } else { Err(Miss::Method("GET")) }
}

/// Percent-decodes a path segment; what is no valid escape stays.
fn decoded(segment: &str) -> String {
    if !segment.contains('%') {
        return segment.to_owned();
    }
    let bytes = segment.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = segment.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match escape.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Whether a stream of Gemini's is wanted as events: `alt=sse`. Without it a stream is an array.
pub(super) fn wants_events(query: Option<&[u8]>) -> bool {
    query_value(query, "alt").as_deref() == Some("sse")
}

/// The value of a query parameter, undecoded.
pub(super) fn query_value<'q>(query: Option<&'q [u8]>, name: &str) -> Option<Cow<'q, str>> {
    let query = std::str::from_utf8(query?).ok()?;
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(method: Method, path: &str) -> Result<Operation, Miss> {
        operation(&method, path, Dialect::OpenAiChat, false)
    }

    #[test]
    fn the_table() {
        let gemini = |model: &str, stream| Some(GeminiPath { model: model.into(), stream });
        for (path, expected) in [
            ("/v1/chat/completions", Operation::Chat(Dialect::OpenAiChat, None)),
            ("/v1/v1/messages", Operation::Chat(Dialect::Anthropic, None)),
            ("/messages", Operation::Chat(Dialect::Anthropic, None)),
            ("/v1/messages/count_tokens", Operation::CountTokens(Dialect::Anthropic, None)),
            ("/v1/responses/", Operation::Chat(Dialect::OpenAiResponses, None)),
            ("/v1beta/models/gemini-x:generateContent", Operation::Chat(Dialect::Gemini, gemini("gemini-x", false))),
            ("/v1beta/models/a%2Fb:streamGenerateContent", Operation::Chat(Dialect::Gemini, gemini("a/b", true))),
            ("/v1beta/models/a/b:c:countTokens", Operation::CountTokens(Dialect::Gemini, gemini("a/b:c", false))),
            ("/api/chat", Operation::Chat(Dialect::Ollama, None)),
            ("/api/generate", Operation::Generate),
        ] {
            assert_eq!(find(Method::POST, path), Ok(expected), "{path}");
        }
        for (path, expected) in [
            ("/", Operation::Root),
            ("/v1/models", Operation::Models(Dialect::OpenAiChat)),
            ("/v1/models/a/b", Operation::Model(Dialect::OpenAiChat, "a/b".into())),
            ("/v1/models/llama3:8b", Operation::Model(Dialect::OpenAiChat, "llama3:8b".into())),
            ("/v1beta/models", Operation::Models(Dialect::Gemini)),
            ("/api/tags", Operation::Models(Dialect::Ollama)),
            ("/healthz", Operation::Health),
        ] {
            assert_eq!(find(Method::GET, path), Ok(expected), "{path}");
        }
        assert_eq!(find(Method::GET, "/v1/messages"), Err(Miss::Method("POST")));
        assert_eq!(find(Method::POST, "/v1/nothing"), Err(Miss::NotFound));
        assert_eq!(operation(&Method::GET, "/v1/responses", Dialect::OpenAiChat, true), Ok(Operation::ResponsesSocket));
        for client in [Dialect::OpenAiChat, Dialect::Anthropic, Dialect::Gemini] {
            assert_eq!(operation(&Method::GET, "/v1/models", client, false), Ok(Operation::Models(client)));
            assert_eq!(
                operation(&Method::GET, "/v1/models/m", client, false),
                Ok(Operation::Model(client, "m".into()))
            );
        }
        // Newer Google libraries use /v1 for everything.
        let path = "/v1/models/gemini-x:streamGenerateContent";
        assert_eq!(find(Method::POST, path), Ok(Operation::Chat(Dialect::Gemini, gemini("gemini-x", true))));
    }

    #[test]
    fn libraries_are_known_by_their_fields() {
        for (name, dialect) in [
            ("Anthropic-Version", Dialect::Anthropic),
            ("X-Goog-Api-Key", Dialect::Gemini),
            ("x-goog-api-client", Dialect::Gemini),
            ("authorization", Dialect::OpenAiChat),
        ] {
            let mut headers = Headers::new();
            headers.append(name, "1");
            assert_eq!(speaks(&headers), dialect, "{name}");
        }
        assert_eq!(likely("/v1/messages/batches", Dialect::OpenAiChat), Dialect::Anthropic);
        assert_eq!(likely("/v1/files", Dialect::Gemini), Dialect::Gemini);
        assert_eq!(likely("/api/pull", Dialect::OpenAiChat), Dialect::Ollama);
    }

    #[test]
    fn query_values() {
        assert_eq!(query_value(Some(b"alt=sse&key=k"), "key").as_deref(), Some("k"));
        assert_eq!(query_value(None, "key"), None);
        for (stream, query, array) in [
            (true, None, true),
            (true, Some(&b"alt=json"[..]), true),
            (true, Some(b"alt=sse"), false),
            (false, None, false),
        ] {
            assert_eq!(GeminiPath { model: "m".into(), stream }.wants_array(query), array, "{stream} {query:?}");
        }
    }
}
