//! How to dress a request for a provider: address, credential, fields. Pure: nothing is sent from here.
//!
//! All five public dialects have fixed places for these things, so one table row per dialect serves every vendor that
//! speaks it; what differs per vendor is data of its [`Provider`].

mod forbidden;

use std::{borrow::Cow, net::IpAddr, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use codecs::{
    dialect::{Dialect, Placeholder, Target},
    patch::{RequestEdits, is_deepseek_alias, placeholder_for},
};
pub use forbidden::{is_forbidden, is_forbidden_name, is_inside};
use memchr::memmem;
use proxy::{Headers, Origin};

use crate::{
    settings::{self, Provider, Secret, Settings},
    telemetry::metrics::Books,
    usage::pricing::{Buyer, Place},
};

/// Stall limit where the vendor sends pings.
const STALL_PINGED: Duration = Duration::from_secs(35);
/// Stall limit where a thinking model is silent for minutes.
const STALL_SILENT: Duration = Duration::from_secs(300);

/// The version that Anthropic requires when the client did not say one.
const ANTHROPIC_VERSION: &str = "2023-06-01";

/// What is asked of an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// A chat answer.
    Chat {
        /// As a stream.
        stream: bool,
    },
    /// An Ollama completion.
    Generate,
    /// A token count.
    CountTokens,
}

/// A provider, ready to be called.
#[derive(Debug)]
pub struct Upstream {
    /// Its name.
    pub name: Arc<str>,
    /// Its name as the value of a header field.
    pub shown: Bytes,
    /// Its counters.
    pub books: Books,
    /// As configured.
    pub provider: Provider,
    /// Where it is; `None` for the embedded demo.
    pub origin: Option<Origin>,
    /// Whose machine it is on, as far as prices are concerned.
    place: Place,
    /// Path part of its base URL, without a trailing slash.
    base_path: String,
    /// Target of a chat where neither model nor query is part of it: most requests.
    chat_target: Bytes,
    /// The field of its credential as it is sent.
    credential: Option<(&'static str, Bytes)>,
    /// How long a prologue is held back.
    pub hold: Duration,
    /// Limit for the response head, if any.
    pub first_byte: Option<Duration>,
    /// Limit for silence inside a stream, if any.
    pub stall: Option<Duration>,
    /// Limit for connecting.
    pub connect: Duration,
}

impl Upstream {
    /// Resolves a provider's overrides against the settings.
    pub fn new(provider: &Provider, settings: &Settings) -> Self {
        let by_dialect = match provider.dialect {
            Dialect::Anthropic => STALL_PINGED,
            _ => STALL_SILENT,
        };
        let limit = |duration: Duration| (!duration.is_zero()).then_some(duration);
        let origin = Origin::parse(settings::provider::origin_of(&provider.base_url)).ok();
        let mut upstream = Self {
            name: provider.name.as_str().into(),
            shown: Bytes::from(provider.name.clone()),
            books: Books::new(&provider.name),
            place: origin.as_ref().map_or(Place::Embedded, |origin| place(origin.host())),
            origin,
            base_path: base_path(&provider.base_url, provider.dialect),
            chat_target: Bytes::new(),
            credential: provider.api_key.as_ref().map(|key| credential(provider.dialect, key.expose())),
            hold: provider.hold_prologue.unwrap_or(settings.hold_prologue),
            first_byte: limit(provider.first_byte_timeout.unwrap_or(settings.first_byte_timeout)),
            stall: limit(provider.stall_timeout.or(settings.stall_timeout).unwrap_or(by_dialect)),
            connect: settings.connect_timeout,
            provider: provider.clone(),
        };
        if provider.dialect != Dialect::Gemini {
            upstream.chat_target = upstream.written_target(Ask::Chat { stream: false }, "", None);
        }
        upstream
    }

    /// Whether requests to `other` would be the same ones.
    pub fn is_same(&self, other: &Self) -> bool {
        let limits = |upstream: &Self| (upstream.hold, upstream.first_byte, upstream.stall, upstream.connect);
        self.provider == other.provider && limits(self) == limits(other)
    }

    /// Who sells what it answers.
    pub fn buyer(&self) -> Buyer<'_> {
        Buyer { provider: &self.name, vendor: self.provider.preset, place: self.place }
    }

    /// Its wire language.
    pub fn dialect(&self) -> Dialect {
        self.provider.dialect
    }

    /// The request target for `ask`. `query` is the client's, passed on in its own dialect.
    pub fn target(&self, ask: Ask, model: &str, query: Option<&[u8]>) -> Bytes {
        if matches!(ask, Ask::Chat { .. }) && query.is_none() && self.dialect() != Dialect::Gemini {
            return self.chat_target.clone();
        }
        self.written_target(ask, model, query)
    }

    fn written_target(&self, ask: Ask, model: &str, query: Option<&[u8]>) -> Bytes {
        let mut target = String::with_capacity(self.base_path.len() + model.len() + 48);
        target.push_str(&self.base_path);
        match (self.dialect(), ask) {
            (Dialect::OpenAiChat, _) => target.push_str("/chat/completions"),
            (Dialect::OpenAiResponses, Ask::CountTokens) => target.push_str("/responses/input_tokens"),
            (Dialect::OpenAiResponses, _) => target.push_str("/responses"),
            (Dialect::Anthropic, Ask::CountTokens) => target.push_str("/messages/count_tokens"),
            (Dialect::Anthropic, _) => target.push_str("/messages"),
            (Dialect::Gemini, _) => {
                target.push_str("/models/");
                push_model(&mut target, model);
                target.push_str(match ask {
                    Ask::Chat { stream: true } => ":streamGenerateContent",
                    Ask::CountTokens => ":countTokens",
                    Ask::Chat { stream: false } | Ask::Generate => ":generateContent",
                });
            }
            (Dialect::Ollama, Ask::Generate) => target.push_str("/api/generate"),
            (Dialect::Ollama, _) => target.push_str("/api/chat"),
        }
        let query = query.and_then(|query| std::str::from_utf8(query).ok()).unwrap_or_default();
        // A key in the URL is a credential for us, never for an upstream.
        let passed = query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("key=")).peekable();
        let mut separator = '?';
        if self.dialect() == Dialect::Gemini && ask == (Ask::Chat { stream: true }) && !query.contains("alt=") {
            target.push_str("?alt=sse");
            separator = '&';
        }
        for pair in passed {
            target.push(separator);
            target.push_str(pair);
            separator = '&';
        }
        target.into()
    }

    /// The target of the list of models that it offers.
    pub fn list_target(&self) -> Bytes {
        let path = match self.dialect() {
            Dialect::OpenAiChat | Dialect::OpenAiResponses => "/models",
            Dialect::Anthropic => "/models?limit=1000",
            Dialect::Gemini => "/models?pageSize=1000",
            Dialect::Ollama => "/api/tags",
        };
        format!("{}{path}", self.base_path).into()
    }

    /// Fields for a request that is translated: nothing of the client's passes.
    pub fn headers(&self, betas: &[&'static str]) -> Headers {
        let mut headers = Headers::with_capacity(8);
        headers.append("content-type", "application/json");
        headers.append("accept-encoding", "identity");
        headers.append("user-agent", concat!("flow-router/", env!("CARGO_PKG_VERSION")));
        self.dress(&mut headers);
        if !betas.is_empty() {
            headers.set("anthropic-beta", betas.join(","));
        }
        headers
    }

    /// Fields for a request that is forwarded: the client's own in order and case, less what belongs to its connection
    /// to us, with our credential in place of the one that was meant for us.
    pub fn forwarded(&self, client: &Headers) -> Headers {
        let mut headers = Headers::with_capacity(client.len() + 4);
        let keep_credential = self.provider.client_auth;
        let named = client.names_fields();
        for (name, value) in client.iter() {
            let stays = if is_credential(name) { keep_credential } else { !is_ours(name) };
            if stays && !(named && client.is_named(name)) {
                headers.append(name.clone(), value.clone());
            }
        }
        headers.append("accept-encoding", "identity");
        self.dress(&mut headers);
        headers
    }

    /// Credential, version and configured fields.
    fn dress(&self, headers: &mut Headers) {
        if self.dialect() == Dialect::Anthropic && !headers.contains("anthropic-version") {
            headers.append("anthropic-version", ANTHROPIC_VERSION);
        }
        if let Some((name, value)) = &self.credential {
            headers.set(name, value.clone());
        }
        for (name, value) in &self.provider.headers {
            headers.remove(name);
            headers.append(name.clone(), value.expose().to_owned());
        }
    }

    /// `text` without this provider's secrets: some vendors quote the key that they refuse.
    pub fn masked<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.secrets().fold(
            text.into(),
            |text, secret| {
                if text.contains(secret) { text.replace(secret, "***").into() } else { text }
            },
        )
    }

    /// Likewise, for bytes that need not be text. What holds no secret is returned as it is.
    pub fn masked_bytes(&self, bytes: Bytes) -> Bytes {
        self.secrets().fold(bytes, |bytes, secret| {
            let finder = memmem::Finder::new(secret);
            let mut out = BytesMut::new();
            let mut from = 0;
            for at in finder.find_iter(&bytes) {
                out.extend_from_slice(&bytes[from..at]);
                out.extend_from_slice(b"***");
                from = at + secret.len();
            }
            if from == 0 {
                return bytes;
            }
            out.extend_from_slice(&bytes[from..]);
            out.freeze()
        })
    }

    /// Whether there is anything to mask.
    pub fn has_secrets(&self) -> bool {
        self.secrets().next().is_some()
    }

    fn secrets(&self) -> impl Iterator<Item = &str> {
        /// Shorter ones are no secrets, and would blot out ordinary words.
        const SECRET_MIN: usize = 6;
        let headers = self.provider.headers.iter().map(|(_, value)| value);
        let secrets = self.provider.api_key.iter().chain(headers).map(Secret::expose);
        secrets.filter(|secret| secret.len() >= SECRET_MIN)
    }

    /// What an encoder has to know about this provider and model.
    pub fn encode_target(&self, model: &str, stream: bool, adjust_max_tokens: bool) -> Target {
        let provider = &self.provider;
        let mut target = Target {
            model: model.to_owned(),
            stream,
            flavour: provider.flavour,
            thinking: provider.thinking,
            reasoning_echo: provider.reasoning_echo,
            placeholder: self.placeholder(model),
            cache_control: provider.cache_control,
            gemini3: gemini_generation(model) >= 3,
            adjust_max_tokens,
            max_output_tokens: provider.max_output_tokens,
            drop_params: provider.drop_params.clone(),
            ..Target::default()
        };
        target.reasoning_echo |= target.placeholder != Placeholder::Off;
        target
    }

    /// The edits that this provider needs in a request of its own dialect, besides the model's name.
    pub fn quirks(&self, model: &str) -> RequestEdits {
        let chat = self.dialect() == Dialect::OpenAiChat;
        RequestEdits {
            remove: self.provider.drop_params.clone(),
            placeholder: if chat { self.placeholder(model) } else { Placeholder::Off },
            dedupe_tools: self.provider.dedupe_tools,
            ..self.finishing(model)
        }
    }

    /// The edits that a request written for this provider needs: what its encoder does not know.
    pub fn finishing(&self, model: &str) -> RequestEdits {
        RequestEdits {
            rename: self.provider.rename_params.clone(),
            set: self.provider.force_params.clone(),
            deepseek_aliases: self.dialect() == Dialect::OpenAiChat && is_deepseek_alias(model),
            ..RequestEdits::default()
        }
    }

    /// Which turns need a placeholder: as configured, or by the model's family. Brokers serve these models under their own
    /// roof; the model's rule follows the model.
    fn placeholder(&self, model: &str) -> Placeholder {
        match self.provider.placeholder {
            Placeholder::Off => placeholder_for(model.rsplit('/').next().unwrap_or(model)),
            configured => configured,
        }
    }
}

/// Generation in a Gemini model name: `gemini-2.5-pro` is 2, `gemini-3-pro-preview` is 3, others 0.
fn gemini_generation(model: &str) -> u32 {
    let family = model.rsplit('/').next().unwrap_or(model);
    let digits = family.strip_prefix("gemini-").unwrap_or_default();
    digits.split(['.', '-']).next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// Whether a host is this machine or one beside it: private addresses, and names without a dot.
fn place(host: &str) -> Place {
    let near = match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_unspecified(),
        Ok(IpAddr::V6(ip)) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
        Err(_) => !host.contains('.') || proxy::is_loopback(host) || host.ends_with(".local"),
    };
    if near { Place::Local } else { Place::Remote }
}

/// Path part of a base URL, completed to where the dialect's own path begins: people write Anthropic's address with and
/// without `/v1`, Gemini's with and without `/v1beta`.
fn base_path(base_url: &str, dialect: Dialect) -> String {
    let after_scheme = base_url.split_once("://").map_or(base_url, |(_, rest)| rest);
    let path = after_scheme.find('/').map_or("", |at| &after_scheme[at..]).trim_end_matches('/');
    let versioned = path
        .rsplit('/')
        .next()
        .is_some_and(|last| last.strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())));
    let version = match dialect {
        Dialect::Anthropic if !versioned => "/v1",
        Dialect::Gemini if !versioned => "/v1beta",
        _ => "",
    };
    format!("{path}{version}")
}

/// Appends a model name as a path segment; slashes stay (`tunedModels/x`), what would end the path is escaped. A name that
/// climbs (`../files/x`) gets no slashes: with our credential it would ask for something else than a model.
fn push_model(target: &mut String, model: &str) {
    let climbs = model.split('/').any(|segment| matches!(segment, "." | ".."));
    for c in model.chars() {
        match c {
            '/' if climbs => target.push_str("%2F"),
            'A'..='Z' | 'a'..='z' | '0'..='9' | '-' | '_' | '.' | '~' | '/' | ':' | '@' => target.push(c),
            _ => {
                let mut buffer = [0; 4];
                for byte in c.encode_utf8(&mut buffer).bytes() {
                    target.push_str(&format!("%{byte:02X}"));
                }
            }
        }
    }
}

/// Name and value of the field that carries a provider's key.
fn credential(dialect: Dialect, key: &str) -> (&'static str, Bytes) {
    match dialect {
        Dialect::Anthropic => ("x-api-key", key.to_owned().into()),
        Dialect::Gemini => ("x-goog-api-key", key.to_owned().into()),
        _ => ("authorization", format!("Bearer {key}").into()),
    }
}

/// Fields that carry a caller's credential.
fn is_credential(name: &[u8]) -> bool {
    // Asked for every field of every request: most have other lengths.
    matches!(name.len(), 6 | 7 | 9 | 13 | 14)
        && ["authorization", "x-api-key", "x-goog-api-key", "api-key", "cookie"]
            .iter()
            .any(|own| name.eq_ignore_ascii_case(own.as_bytes()))
}

/// Fields that belong to the client's connection to us, or that we write ourselves.
fn is_ours(name: &[u8]) -> bool {
    const OURS: [&str; 18] = [
        "host",
        "connection",
        "content-length",
        "transfer-encoding",
        "accept-encoding",
        "content-encoding",
        "expect",
        "te",
        "trailer",
        "upgrade",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "origin",
    ];
    /// A bit for each length and first letter that one of them has: most fields end here.
    const BEGINNINGS: [u32; 32] = {
        let mut masks = [0; 32];
        let mut at = 0;
        while at < OURS.len() {
            let own = OURS[at].as_bytes();
            masks[own.len()] |= 1 << (own[0] & 31);
            at += 1;
        }
        masks
    };
    let Some(first) = name.first() else { return false };
    if BEGINNINGS.get(name.len()).is_some_and(|letters| letters & (1 << (first & 31)) != 0)
        && OURS.iter().any(|own| name.eq_ignore_ascii_case(own.as_bytes()))
    {
        return true;
    }
    first | 32 == b'x' && name.get(..14).is_some_and(|start| start.eq_ignore_ascii_case(b"x-flow-router-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(dialect: Dialect, base_url: &str) -> Upstream {
        let mut provider = Provider::new("p", dialect, base_url);
        provider.api_key = Some(Secret::new("key-1"));
        Upstream::new(&provider, &Settings::default())
    }

    #[test]
    fn targets_per_dialect() {
        let stream = Ask::Chat { stream: true };
        for (dialect, base, ask, query, expected) in [
            (Dialect::OpenAiChat, "http://h/v1", stream, None, "/v1/chat/completions"),
            (Dialect::OpenAiResponses, "http://h/v1", stream, None, "/v1/responses"),
            (Dialect::Anthropic, "http://h", stream, Some("beta=true"), "/v1/messages?beta=true"),
            (Dialect::Anthropic, "http://h/v1/", Ask::CountTokens, None, "/v1/messages/count_tokens"),
            (Dialect::Anthropic, "http://h/api/anthropic", stream, None, "/api/anthropic/v1/messages"),
            (Dialect::Gemini, "http://h", stream, Some("key=k"), "/v1beta/models/m%20x:streamGenerateContent?alt=sse"),
            (
                Dialect::Gemini,
                "http://h/v1beta",
                stream,
                Some("alt=sse&key=k"),
                "/v1beta/models/m%20x:streamGenerateContent?alt=sse",
            ),
            (Dialect::Gemini, "http://h", Ask::Chat { stream: false }, None, "/v1beta/models/m%20x:generateContent"),
            (Dialect::Ollama, "http://h", stream, None, "/api/chat"),
            (Dialect::Ollama, "http://h", Ask::Generate, None, "/api/generate"),
        ] {
            let target = upstream(dialect, base).target(ask, "m x", query.map(str::as_bytes));
            assert_eq!(target, expected, "{dialect:?} {base} {ask:?}");
        }
    }

    #[test]
    fn a_models_name_asks_for_a_model_only() {
        for (model, expected) in [
            ("a/b", "/v1beta/models/a/b:generateContent"),
            ("a..b/.c", "/v1beta/models/a..b/.c:generateContent"),
            ("../files", "/v1beta/models/..%2Ffiles:generateContent"),
            ("a/./b", "/v1beta/models/a%2F.%2Fb:generateContent"),
            ("a?b#c\r\nd", "/v1beta/models/a%3Fb%23c%0D%0Ad:generateContent"),
        ] {
            let target = upstream(Dialect::Gemini, "http://h").target(Ask::Chat { stream: false }, model, None);
            assert_eq!(target, expected, "{model:?}");
        }
    }

    #[test]
    fn what_connection_names_is_for_us_alone() {
        let mut client = Headers::new();
        for (name, value) in
            [("Connection", "keep-alive, X-Hop"), ("connection", "x-api-key , close"), ("X-Hop", "1"), ("X-End", "1")]
        {
            client.append(name, value);
        }
        let sent = upstream(Dialect::Anthropic, "http://h").forwarded(&client);
        assert!(!sent.contains("x-hop") && sent.contains("x-end"));
        assert_eq!(sent.text("x-api-key"), Some("key-1"), "our own fields are not the client's to strip");
    }

    #[test]
    fn forwarding_swaps_the_credential_and_keeps_order_and_case() {
        let mut client = Headers::new();
        for (name, value) in [
            ("Host", "127.0.0.1"),
            ("X-Custom", "1"),
            ("Authorization", "Bearer ours"),
            ("Anthropic-Beta", "b1"),
            ("x-api-key", "ours"),
            ("X-Flow-Router-Debug", "1"),
            ("Content-Type", "application/json"),
        ] {
            client.append(name, value);
        }
        let sent = upstream(Dialect::Anthropic, "http://h").forwarded(&client);
        let names: Vec<_> = sent.iter().map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect();
        assert_eq!(
            names,
            ["X-Custom", "Anthropic-Beta", "Content-Type", "accept-encoding", "anthropic-version", "x-api-key"]
        );
        assert_eq!(sent.text("x-api-key"), Some("key-1"));
        assert!(!sent.contains("authorization"));
    }

    #[test]
    fn secrets_are_blotted_out_of_what_a_vendor_says() {
        let mut provider = Provider::new("p", Dialect::Anthropic, "http://h");
        provider.api_key = Some(Secret::new("odd~key~1"));
        provider.headers = vec![("x".into(), Secret::new("hidden-2")), ("y".into(), Secret::new("a"))];
        let upstream = Upstream::new(&provider, &Settings::default());
        assert_eq!(upstream.masked("odd~key~1, hidden-2 and odd~key~1"), "***, *** and ***");
        assert!(matches!(upstream.masked("a plain word"), Cow::Borrowed("a plain word")));
        assert!(upstream.has_secrets());
        let bytes = upstream.masked_bytes(Bytes::from_static(b"odd~key~1\xff, hidden-2 and odd~key~1."));
        assert_eq!(bytes, &b"***\xff, *** and ***."[..]);
        let plain = Bytes::from_static(b"a plain word\xff");
        assert_eq!(upstream.masked_bytes(plain.clone()).as_ptr(), plain.as_ptr());
    }

    #[test]
    fn generations() {
        assert_eq!(gemini_generation("gemini-2.5-pro"), 2);
        assert_eq!(gemini_generation("google/gemini-3-pro-preview"), 3);
        assert_eq!(gemini_generation("gpt-5"), 0);
    }
}
