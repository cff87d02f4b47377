//! Token counts for every model: asked of the upstream where it has a way to count, estimated elsewhere and marked so.

use std::time::Duration;

use bytes::Bytes;
use codecs::{
    dialect::Dialect,
    hub::ApiError,
    json::{Raw, Writer},
    translate::{count_tokens_request, estimate_tokens},
};
use proxy::{Call, Client, Fresh, Method, Outbound, ResponseHead, StatusCode};

use super::{attempt::malformed, demo, edit, exchange::Exchange, reply};
use crate::{route::Candidate, settings::Settings, vendor::Ask};

/// Largest answer that is read.
const ANSWER_BYTES: usize = 1024 * 1024;
/// A count that takes longer than this is estimated instead: clients ask for it between keystrokes.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// Answers a request for a count.
pub(super) async fn answer(
    mut call: Call<'_, Fresh>,
    exchange: &mut Exchange,
    candidate: &Candidate,
    client: &Client,
    settings: &Settings,
) {
    exchange.ledger.asked(candidate, exchange.complete);
    let estimate = match estimated(exchange) {
        Ok(tokens) => tokens,
        Err(error) => {
            exchange.ledger.fault(&error);
            return reply::error(call, exchange.client, &error, &exchange.id).await;
        }
    };
    let counted = tokio::select! {
        counted = tokio::time::timeout(ANSWER_TIME, counted(exchange, candidate, client, settings)) => counted,
        () = call.gone() => return,
    };
    let counted = counted.ok().flatten();
    let mut body = Vec::with_capacity(64);
    write(exchange.asked, counted.unwrap_or(estimate), &mut Writer::new(&mut body));
    let mut head = ResponseHead::new(StatusCode::OK).with("content-type", "application/json");
    if counted.is_none() {
        head = head.with("x-flow-router-estimated", "1");
    }
    head = reply::mark(head, exchange, candidate, 1);
    exchange.ledger.outcome("ok");
    exchange.ledger.sent(body.len() as u64);
    drop(call.respond(head, body.into()).await);
}

fn estimated(exchange: &Exchange) -> Result<u64, ApiError> {
    let raw = Raw::parse(&exchange.body).map_err(|error| malformed(&error))?;
    estimate_tokens(exchange.asked, raw, &exchange.url())
}

/// Asks the upstream. `None` where it cannot count or does not answer well.
async fn counted(exchange: &Exchange, candidate: &Candidate, client: &Client, settings: &Settings) -> Option<u64> {
    let upstream = &candidate.upstream;
    if demo::is_demo(candidate) {
        return None;
    }
    let dialect = upstream.dialect();
    let (headers, body) = if dialect == exchange.asked {
        let quirks = upstream.quirks(&candidate.model);
        let body = edit::forwarded(exchange, &candidate.model, exchange.stream, quirks).ok()?;
        (upstream.forwarded(&exchange.head.headers), body)
    } else {
        let target = upstream.encode_target(&candidate.model, false, settings.adjust_max_tokens);
        let raw = Raw::parse(&exchange.body).ok()?;
        let encoded = count_tokens_request(exchange.asked, dialect, raw, &exchange.url(), &target).ok()??;
        (upstream.headers(&encoded.betas), vec![Bytes::from(encoded.body)])
    };
    if !matches!(dialect, Dialect::Anthropic | Dialect::Gemini | Dialect::OpenAiResponses) {
        return None;
    }
    let query = if dialect == exchange.asked { exchange.head.query() } else { None };
    let target = upstream.target(Ask::CountTokens, &candidate.model, query);
    let mut request = Outbound::new(upstream.origin.clone()?, Method::POST, target);
    request.headers = headers;
    request.body = body;
    request.connect_timeout = Some(upstream.connect);
    let mut response = client.send(request).await.ok()?;
    if !response.head.status.is_success() {
        return None;
    }
    let body = response.body.collect(ANSWER_BYTES).await.ok()?;
    let body = super::relay::inflate::whole(&response.head.headers, &body, ANSWER_BYTES).ok()?;
    let raw = Raw::parse(&body).ok()?;
    raw.get_u64("input_tokens").or_else(|| raw.get_u64("totalTokens"))
}

fn write(dialect: Dialect, tokens: u64, w: &mut Writer<'_, Vec<u8>>) {
    w.begin_object();
    match dialect {
        Dialect::Gemini => w.key("totalTokens").number(tokens),
        Dialect::OpenAiResponses => w.key("object").string("response.input_tokens").key("input_tokens").number(tokens),
        Dialect::Anthropic | Dialect::OpenAiChat | Dialect::Ollama => w.key("input_tokens").number(tokens),
    };
    w.end_object();
}
