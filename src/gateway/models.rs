//! Model lists in every dialect, and Ollama's questions about models.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use codecs::{
    dialect::Dialect,
    hub::{ApiError, ErrorKind},
    json::{Raw, Writer},
};
use proxy::{Call, Fresh};

use super::{Shared, Snapshot, admit::narrow, reply};
use crate::{
    route::Listed,
    settings::KeyHash,
    store::{
        digest::{hex, sha256},
        models::CAPS,
    },
};

/// Context window that is claimed for models of which nothing is known.
const CONTEXT_TOKENS: u64 = 128_000;
/// Answer size that is claimed likewise.
const OUTPUT_TOKENS: u64 = 32_000;
/// The Ollama version that we claim: the first one with tools, thinking and structured output all together.
pub const OLLAMA_VERSION: &str = "0.12.6";

type Out<'o> = Writer<'o, Vec<u8>>;

/// Who asks, of which configuration.
pub(super) type Asked<'a> = (&'a Shared, &'a Snapshot, Option<&'a Arc<KeyHash>>);

/// Answers with the list of what the caller may use.
pub(super) async fn list(call: Call<'_, Fresh>, asked: Asked<'_>, dialect: Dialect) {
    reply::json(call, document(asked, dialect)).await;
}

/// The list of what the caller may use.
pub(super) fn document(asked: Asked<'_>, dialect: Dialect) -> Vec<u8> {
    let (shared, snapshot, key) = asked;
    let started = shared.started;
    let mut models = snapshot.catalog.listed();
    if key.is_some_and(|key| key.is_restricted()) {
        models.retain(|model| known(asked, &model.id).is_some());
    }
    let mut body = Vec::with_capacity(64 + 160 * models.len());
    let mut w = Writer::new(&mut body);
    w.begin_object();
    match dialect {
        Dialect::OpenAiChat | Dialect::OpenAiResponses => {
            w.key("object").string("list").key("data").begin_array();
        }
        Dialect::Anthropic => {
            w.key("data").begin_array();
        }
        Dialect::Gemini | Dialect::Ollama => {
            w.key("models").begin_array();
        }
    }
    models.iter().for_each(|model| entry(&mut w, dialect, model, started));
    w.end_array();
    if dialect == Dialect::Anthropic {
        w.key("has_more").bool(false);
        for (key, model) in [("first_id", models.first()), ("last_id", models.last())] {
            match model {
                Some(model) => w.key(key).string(&model.id),
                None => w.key(key).null(),
            };
        }
    }
    w.end_object();
    body
}

/// Answers with one model, if its name leads anywhere.
pub(super) async fn one(call: Call<'_, Fresh>, asked: Asked<'_>, dialect: Dialect, name: &str, request_id: &str) {
    let Some(model) = known(asked, name) else { return unknown(call, dialect, name, request_id).await };
    let mut body = Vec::with_capacity(256);
    entry(&mut Writer::new(&mut body), dialect, &model, asked.0.started);
    reply::json(call, body).await;
}

fn known((shared, snapshot, key): Asked<'_>, name: &str) -> Option<Listed> {
    let mut candidates = snapshot.catalog.plan(name, &shared.health, Instant::now()).ok()?;
    narrow(key, name, &mut candidates).ok()?;
    let first = candidates.first()?;
    let described = first.upstream.provider.described(&first.model).cloned();
    Some(Listed { id: name.to_owned(), provider: first.upstream.name.to_string(), described })
}

async fn unknown(call: Call<'_, Fresh>, dialect: Dialect, name: &str, request_id: &str) {
    let error = ApiError::new(ErrorKind::NotFound, format!("no provider serves the model `{name}`"));
    reply::error(call, dialect, &error, request_id).await;
}

fn entry(w: &mut Out<'_>, dialect: Dialect, model: &Listed, started: u64) {
    w.begin_object();
    match dialect {
        Dialect::OpenAiChat | Dialect::OpenAiResponses => {
            w.key("id").string(&model.id).key("object").string("model");
            w.key("created").number(started).key("owned_by").string(&model.provider);
        }
        Dialect::Anthropic => {
            w.key("type").string("model").key("id").string(&model.id).key("display_name").string(display_name(model));
            w.key("created_at").string(&rfc3339(started));
        }
        Dialect::Gemini => {
            w.key("name").string(&format!("models/{}", model.id)).key("displayName").string(display_name(model));
            w.key("inputTokenLimit").number(context(model)).key("outputTokenLimit").number(output(model));
            w.key("supportedGenerationMethods").begin_array();
            w.string("generateContent").string("countTokens");
            w.end_array();
        }
        Dialect::Ollama => {
            w.key("name").string(&model.id).key("model").string(&model.id);
            w.key("modified_at").string(&rfc3339(started)).key("size").number(0);
            w.key("digest").string(&hex(&sha256(model.id.as_bytes())));
            details(w);
            capabilities(w, model);
        }
    }
    w.end_object();
}

fn details(w: &mut Out<'_>) {
    w.key("details").begin_object().key("parent_model").string("").key("format").string("gguf");
    w.key("family").string("flow-router").key("families").null();
    w.key("parameter_size").string("").key("quantization_level").string("").end_object();
}

/// Ollama's words for what a model can do: all of them where nothing is said.
fn capabilities(w: &mut Out<'_>, model: &Listed) {
    let caps = model.described.as_ref().and_then(|described| described.caps);
    let can = |word: &str| caps.is_none_or(|caps| CAPS.iter().any(|(other, bit)| *other == word && caps & bit != 0));
    w.key("capabilities").begin_array().string("completion");
    for (ours, ollamas) in [("tools", "tools"), ("vision", "vision"), ("reasoning", "thinking")] {
        if can(ours) {
            w.string(ollamas);
        }
    }
    w.end_array();
}

fn display_name(model: &Listed) -> &str {
    model.described.as_ref().and_then(|described| described.display_name.as_deref()).unwrap_or(&model.id)
}

fn context(model: &Listed) -> u64 {
    model.described.as_ref().and_then(|described| described.context_window).unwrap_or(CONTEXT_TOKENS)
}

fn output(model: &Listed) -> u64 {
    model.described.as_ref().and_then(|described| described.max_output).unwrap_or(OUTPUT_TOKENS)
}

/// Ollama's `/api/show`: editors read capabilities and context length from it.
pub(super) async fn show(mut call: Call<'_, Fresh>, asked: Asked<'_>, request_id: &str) {
    let body = call.body(64 * 1024).await.unwrap_or_default();
    let raw = Raw::parse(&body).ok();
    let name = raw.and_then(|raw| raw.get_text("model").or_else(|| raw.get_text("name")));
    let Some(name) = name.map(|name| name.plain().into_owned()) else {
        let error = ApiError::invalid("model", "the body must be an object with the member `model`");
        return reply::error(call, Dialect::Ollama, &error, request_id).await;
    };
    let Some(model) = known(asked, &name) else {
        return unknown(call, Dialect::Ollama, &name, request_id).await;
    };
    let mut out = Vec::with_capacity(512);
    let mut w = Writer::new(&mut out);
    w.begin_object();
    w.key("modelfile").string(&format!("FROM {}", model.id)).key("parameters").string("").key("template").string("");
    details(&mut w);
    w.key("model_info").begin_object().key("general.architecture").string("flow-router");
    w.key("flow-router.context_length").number(context(&model)).end_object();
    capabilities(&mut w, &model);
    w.key("modified_at").string(&rfc3339(asked.0.started)).end_object();
    reply::json(call, out).await;
}

/// Ollama's `/api/version`.
pub(super) async fn version(call: Call<'_, Fresh>) {
    reply::json(call, Bytes::from(format!("{{\"version\":\"{OLLAMA_VERSION}\"}}"))).await;
}

fn rfc3339(unix_seconds: u64) -> String {
    let seconds = i64::try_from(unix_seconds).unwrap_or(0);
    jiff::Timestamp::from_second(seconds).map_or_else(|_| String::new(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{route::Catalog, settings::Settings, usage::RateCard};

    #[test]
    fn entries_have_every_dialects_members() {
        let model = Listed { id: "m".into(), provider: "p".into(), described: None };
        for (dialect, members) in [
            (Dialect::OpenAiChat, &["id", "object", "created", "owned_by"][..]),
            (Dialect::Anthropic, &["type", "id", "display_name", "created_at"]),
            (Dialect::Gemini, &["name", "inputTokenLimit", "supportedGenerationMethods"]),
            (Dialect::Ollama, &["name", "model", "modified_at", "size", "digest", "details", "capabilities"]),
        ] {
            let mut out = Vec::new();
            entry(&mut Writer::new(&mut out), dialect, &model, 1_700_000_000);
            let raw = Raw::parse(&out).unwrap();
            for member in members {
                assert!(raw.get(member).is_some(), "{dialect:?} {member}");
            }
        }
        assert_eq!(rfc3339(1_700_000_000), "2023-11-14T22:13:20Z");
    }

    #[test]
    fn an_empty_configuration_lists_the_demo() {
        let listed = Catalog::new(&Settings::default(), &RateCard::default(), None).listed();
        assert!(listed.iter().any(|model| model.id == crate::route::DEMO));
    }
}
