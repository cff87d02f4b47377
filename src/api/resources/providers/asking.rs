//! Asking providers: whether they answer, and what they offer.

use std::sync::Arc;

use codecs::dialect::Dialect;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{
    super::{
        ids,
        probe::{self, Offered, Probed},
        texts,
    },
    Tested, apply, find,
};
use crate::{
    api::{Api, Problem, Reply, Request},
    live::ChangeError,
    settings::presets,
    store::{now_ms, providers::ProviderRow},
    vendor::Upstream,
};

/// Providers that are asked at once.
const AT_ONCE: usize = 8;
/// Models that are asked at once.
const MODELS_AT_ONCE: usize = 4;

/// A provider, ready to be asked: one in force as it is, another one as it would be.
pub(in crate::api::resources) async fn upstream(api: &Api, id: &str) -> Result<(String, Upstream), Problem> {
    let snapshot = api.live().snapshot();
    let settings = &snapshot.settings;
    let provider = match settings.providers.iter().find(|provider| ids::is(id, &provider.id, &provider.name)) {
        Some(provider) => provider.clone(),
        None => {
            let row = find(api, id).await?;
            api.live().provider(&row).map_err(|faults| Problem::from(ChangeError::Invalid(faults)))?
        }
    };
    probe::allowed(api, &provider.base_url)?;
    Ok((provider.id.to_string(), Upstream::new(&provider, settings)))
}

pub(super) async fn test(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let (id, upstream) = upstream(api, request.param("id")).await?;
    let probed = probe::probe(api, &upstream).await;
    Ok(Reply::json(tested(api, &id, &probed)))
}

/// Keeps what was learned, and shows it.
fn tested(api: &Api, id: &str, probed: &Probed) -> Value {
    if let Some(models) = &probed.models {
        api.shared.catalogues.put(id, models);
    }
    probed.document(Some(id))
}

pub(super) async fn test_batch(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let mut ids = request.body.get("providerIds").map(texts).unwrap_or_default();
    if ids.is_empty() {
        ids = api.live().snapshot().settings.providers.iter().map(|provider| provider.id.to_string()).collect();
    }
    let mut asked = Vec::with_capacity(ids.len());
    for id in &ids {
        asked.push(upstream(api, id).await?);
    }
    let jobs = asked.into_iter().map(|(id, upstream)| {
        let api = api.clone();
        async move {
            let probed = probe::probe(&api, &upstream).await;
            tested(&api, &id, &probed)
        }
    });
    let results = at_once(AT_ONCE, jobs).await;
    Ok(Reply::json(json!({"count": results.len(), "results": results})))
}

/// Runs jobs, so many at once, and gives their results in order. Dropping it ends them all.
async fn at_once<F>(most: usize, jobs: impl Iterator<Item = F>) -> Vec<Value>
where
    F: Future<Output = Value> + Send + 'static,
{
    let mut jobs = jobs.enumerate();
    let mut running = JoinSet::new();
    let mut results: Vec<(usize, Value)> = Vec::new();
    loop {
        while running.len() < most
            && let Some((at, job)) = jobs.next()
        {
            running.spawn(async move { (at, job.await) });
        }
        match running.join_next().await {
            Some(done) => results.extend(done.ok()),
            None => break,
        }
    }
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

pub(super) async fn test_models(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let (_, upstream) = upstream(api, request.param("id")).await?;
    let mut models = request.body.get("models").map(texts).unwrap_or_default();
    if models.is_empty() {
        let declared = upstream.provider.models.iter().filter(|model| !model.contains('*'));
        models = declared.take(50).cloned().collect();
    }
    if models.is_empty() {
        return Err(Problem::invalid("models", "name the models: the provider declares none by name"));
    }
    let (upstream, prompt) = (Arc::new(upstream), request.text("prompt").map(str::to_owned));
    let jobs = models.into_iter().map(|model| {
        let (api, upstream, prompt) = (api.clone(), upstream.clone(), prompt.clone());
        async move {
            let tested = try_model(&api, &upstream, &model, prompt.as_deref()).await;
            shown_test(&tested)
        }
    });
    let results = at_once(MODELS_AT_ONCE, jobs).await;
    Ok(Reply::json(json!({"count": results.len(), "results": results})))
}

/// Asks a model for one token, and remembers how it answered.
pub(in crate::api::resources) async fn try_model(
    api: &Api,
    upstream: &Upstream,
    model: &str,
    prompt: Option<&str>,
) -> Tested {
    let tried = probe::chat(api, upstream, model, prompt).await;
    let tested = Tested {
        provider: upstream.name.to_string(),
        model: model.to_owned(),
        up: tried.valid,
        latency_ms: tried.latency_ms,
        status: tried.status,
        detail: if tried.valid { String::new() } else { tried.detail },
        at_ms: now_ms(),
    };
    api.shared.availability.put(tested.clone());
    tested
}

/// How a model answered, without where it is.
pub(in crate::api::resources) fn shown_test(tested: &Tested) -> Value {
    json!({
        "model": tested.model,
        "status": if tested.up { "up" } else { "down" },
        "latencyMs": tested.latency_ms,
        "httpCode": tested.status,
        "error": if tested.up { Value::Null } else { tested.detail.as_str().into() },
    })
}

fn shown_models(models: &[Offered], source: &str) -> Value {
    let data: Vec<_> = models
        .iter()
        .map(|model| json!({"id": model.id, "name": model.name, "contextWindow": model.context}))
        .collect();
    json!({"count": data.len(), "data": data, "source": source})
}

pub(super) async fn models(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let (id, upstream) = upstream(api, request.param("id")).await?;
    let refresh = request.flag("refresh");
    if let Some(models) = api.shared.catalogues.get(&id).filter(|_| !refresh) {
        return Ok(Reply::json(shown_models(&models, "cache")));
    }
    match probe::offered(api, &upstream).await {
        Ok(models) => {
            api.shared.catalogues.put(&id, &models);
            Ok(Reply::json(shown_models(&models, "live")))
        }
        Err(problem) if refresh => Err(problem),
        Err(_) => {
            let declared = upstream.provider.models.iter().filter(|model| !model.contains('*'));
            let declared: Vec<_> =
                declared.map(|model| Offered { id: model.clone(), name: model.clone(), context: None }).collect();
            Ok(Reply::json(shown_models(&declared, "declared")))
        }
    }
}

/// A service that is described by the body and kept nowhere.
fn described(api: &Api, request: &Request) -> Result<Upstream, Problem> {
    let mut row = ProviderRow { name: "validated".to_owned(), ..ProviderRow::default() };
    row.provider = request.text("preset").unwrap_or("custom").to_owned();
    apply(&mut row, request.members()).map_err(Problem::from)?;
    if presets::preset(&row.provider).is_none() {
        if row.base_url.is_none() {
            return Err(Problem::new(422, "field_required", "`baseUrl` is missing").param("baseUrl"));
        }
        row.format.get_or_insert_with(|| Dialect::OpenAiChat.name().to_owned());
    }
    if row.api_key.is_none() {
        // Whether one is needed is what is asked.
        row.auth_type = "none".to_owned();
    }
    let snapshot = api.live().snapshot();
    let provider = api.live().provider(&row).map_err(|faults| Problem::from(ChangeError::Invalid(faults)))?;
    probe::allowed(api, &provider.base_url)?;
    Ok(Upstream::new(&provider, &snapshot.settings))
}

pub(super) async fn validate(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let upstream = described(api, request)?;
    Ok(Reply::json(probe::probe(api, &upstream).await.document(None)))
}

pub(super) async fn suggested(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let upstream = described(api, request)?;
    let models = probe::offered(api, &upstream).await?;
    Ok(Reply::json(shown_models(&models, "live")))
}
