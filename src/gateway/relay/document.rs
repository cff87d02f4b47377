//! Answers that are whole on at least one side.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use codecs::{
    dialect::{ClientDialect, Context, Dialect, openai_chat, openai_responses},
    frame::Framing,
    hub::ApiError,
    json::{JsonError, Raw},
    patch::StreamPatch,
    translate::{Collector, Observed, glance, observe_reply, reply_as_stream, translate_reply},
};
use proxy::{Body, Call, Fresh, Headers, ResponseHead};

use super::{Answer, head, inflate, settle, stalled, unreadable, useless};
use crate::gateway::{
    attempt::{Failure, Outcome, Speed},
    edit,
    exchange::Exchange,
    scratch,
};

/// Largest document of an upstream.
const DOCUMENT_BYTES: usize = 64 * 1024 * 1024;

/// Document to document.
pub(super) async fn relay<'a>(
    call: Call<'a, Fresh>,
    exchange: &mut Exchange,
    mut answer: Box<Answer<'_>>,
) -> Outcome<'a> {
    let (call, body) = match collected(call, &mut answer).await {
        Ok(Some(both)) => both,
        Ok(None) => return Ok(()),
        Err(failed) => return Err(*failed),
    };
    let upstream = answer.candidate.upstream.dialect();
    match translated(upstream, exchange, &body, &mut answer) {
        Ok((body, mut observed)) => {
            exchange.memory.keep(observed.kept());
            let content_type = exchange.client.document_content_type();
            let mut head = head(exchange, &mut answer, content_type);
            if observed.estimated {
                head = head.with("x-flow-router-estimated", "1");
            }
            let body = edited(exchange, &answer, body);
            respond(call, exchange, head, body, &observed).await;
            Ok(())
        }
        Err(error) => Err((call, Failure::judged(error))),
    }
}

/// The document for the client, and what was seen in it.
fn translated(
    upstream: Dialect,
    exchange: &Exchange,
    body: &Bytes,
    answer: &mut Answer<'_>,
) -> Result<(Bytes, Observed), ApiError> {
    scratch::read(body, |raw| {
        let raw = object(raw)?;
        match answer.speed {
            // The bytes pass as they are; the walk is for the books and to notice an error in a 200.
            Speed::Forward => {
                let observed = match glance(upstream, raw) {
                    Some(observed) => observed,
                    None => observe_reply(upstream, raw, answer.context(exchange))?,
                };
                Ok((body.clone(), observed))
            }
            Speed::Translate => {
                let mut out = Vec::with_capacity(body.len() + 256);
                let observed = translate_reply(upstream, exchange.client, raw, answer.context(exchange), &mut out)?;
                Ok((out.into(), observed))
            }
        }
    })
}

/// An upstream that answers with a document where a stream was asked for.
pub(super) async fn as_stream<'a>(
    call: Call<'a, Fresh>,
    exchange: &mut Exchange,
    mut answer: Box<Answer<'_>>,
) -> Outcome<'a> {
    let (call, body) = match collected(call, &mut answer).await {
        Ok(Some(both)) => both,
        Ok(None) => return Ok(()),
        Err(failed) => return Err(*failed),
    };
    let upstream = answer.candidate.upstream.dialect();
    if answer.speed == Speed::Forward {
        // A forwarded request is not read for this; now the stream is ours to write.
        answer.context(exchange).include_usage = exchange.wants_usage();
    }
    let mut out = BytesMut::new();
    let read = scratch::read(&body, |raw| {
        object(raw).map(|raw| reply_as_stream(upstream, exchange.client, raw, answer.context(exchange), &mut out))
    });
    let mut observed = match read {
        Ok(observed) => observed,
        Err(error) => return Err((call, Failure::judged(error))),
    };
    if let Some(error) = observed.error.take() {
        return Err((call, Failure::judged(error)));
    }
    exchange.memory.keep(observed.kept());
    // The upstream's content type says "document": it must not pass.
    let content_type = exchange.stream_content_type();
    let mut head = head(exchange, &mut answer, content_type);
    head.headers.set("content-type", content_type);
    let edits = edit::answer(exchange, answer.candidate, answer.settings, answer.speed);
    if let (false, Some(dialect)) = (edits.is_empty(), exchange.client.public()) {
        let framing = if exchange.json_array { Framing::JsonArray } else { dialect.framing() };
        let mut patch = StreamPatch::new(dialect, framing, edits);
        let written = out.split();
        patch.push(&written, &mut out);
        patch.finish(&mut out);
    }
    respond(call, exchange, head, out.freeze(), &observed).await;
    Ok(())
}

/// A stream-only upstream and a client that wants a document.
pub(super) async fn from_stream<'a>(
    mut call: Call<'a, Fresh>,
    exchange: &mut Exchange,
    mut answer: Box<Answer<'_>>,
) -> Outcome<'a> {
    let upstream = answer.candidate.upstream.dialect();
    let mut fold = Fold::new(upstream, exchange.client, answer.context(exchange));
    let mut inflate = match inflate::Inflate::of(&answer.response.head.headers) {
        Ok(inflate) => inflate,
        Err(error) => return Err((call, Failure::judged(unreadable(&error)))),
    };
    let stall = answer.candidate.upstream.stall;
    loop {
        let chunk = tokio::select! {
            biased;
            chunk = within(stall, &mut answer.response.body) => chunk,
            () = call.gone() => return Ok(()),
        };
        match chunk {
            Ok(Some(chunk)) => match inflate.push(chunk) {
                Ok(plain) => fold.push(&plain),
                Err(error) => return Err((call, Failure::judged(unreadable(&error)))),
            },
            Ok(None) => break,
            Err(error) => return Err((call, Failure::judged(error))),
        }
        if fold.bytes > DOCUMENT_BYTES {
            return Err((call, Failure::judged(too_large())));
        }
    }
    match fold.finish(exchange.client, answer.context(exchange)) {
        Ok((body, mut observed)) => {
            exchange.memory.keep(observed.kept());
            let content_type = exchange.client.document_content_type();
            let mut head = head(exchange, &mut answer, content_type);
            head.headers.set("content-type", content_type);
            if observed.estimated {
                head = head.with("x-flow-router-estimated", "1");
            }
            let body = edited(exchange, &answer, body);
            respond(call, exchange, head, body, &observed).await;
            Ok(())
        }
        Err(error) => Err((call, Failure::judged(error))),
    }
}

/// A document with the edits that are configured; mostly there are none.
fn edited(exchange: &Exchange, answer: &Answer<'_>, body: Bytes) -> Bytes {
    let mut edits = edit::answer(exchange, answer.candidate, answer.settings, answer.speed);
    match exchange.client.public() {
        Some(dialect) if !edits.is_empty() => edits.document(dialect, &body).concat().into(),
        _ => body,
    }
}

/// A stream becoming a document. Two dialects have collapsers of their own, which keep what the hub does not know.
struct Fold {
    /// Bytes taken in.
    bytes: usize,
    collector: Collector,
    own: Own,
}

enum Own {
    Chat(Box<openai_chat::collapse::Collapse>),
    Responses(Box<openai_responses::collapse::Collapse>),
    None,
}

impl Fold {
    fn new(upstream: Dialect, client: ClientDialect, context: &Context) -> Self {
        let own = match (upstream, client) {
            (Dialect::OpenAiChat, ClientDialect::Public(Dialect::OpenAiChat)) => {
                Own::Chat(Box::new(openai_chat::collapse::Collapse::new()))
            }
            (Dialect::OpenAiResponses, ClientDialect::Public(Dialect::OpenAiResponses)) => {
                Own::Responses(Box::new(openai_responses::collapse::Collapse::new()))
            }
            _ => Own::None,
        };
        Self { bytes: 0, collector: Collector::new(upstream, context), own }
    }

    fn push(&mut self, chunk: &[u8]) {
        self.bytes += chunk.len();
        self.collector.push(chunk);
        match &mut self.own {
            Own::Chat(collapse) => collapse.push(chunk),
            Own::Responses(collapse) => collapse.push(chunk),
            Own::None => {}
        }
    }

    fn finish(mut self, client: ClientDialect, context: &Context) -> Result<(Bytes, Observed), ApiError> {
        let reply = self.collector.finish();
        let observed = self.collector.into_observed();
        if let Some(error) = reply.error {
            return Err(error);
        }
        let mut out = Vec::with_capacity(self.bytes / 2);
        match self.own {
            Own::Chat(collapse) => collapse.finish(&mut out)?,
            Own::Responses(collapse) => collapse.finish(&mut out)?,
            Own::None => client.encode_reply(&reply, context, &mut out),
        }
        Ok((out.into(), observed))
    }
}

/// Reads the whole body, unless the client leaves first (`None`).
async fn collected<'a>(
    mut call: Call<'a, Fresh>,
    answer: &mut Answer<'_>,
) -> Result<Option<(Call<'a, Fresh>, Bytes)>, Box<(Call<'a, Fresh>, Failure)>> {
    let stall = answer.candidate.upstream.stall;
    let body = tokio::select! {
        biased;
        body = whole(stall, &mut answer.response.body) => body,
        () = call.gone() => return Ok(None),
    };
    let headers: &Headers = &answer.response.head.headers;
    let body = match body {
        Ok(body) => inflate::whole(headers, &body, DOCUMENT_BYTES).map_err(|error| unreadable(&error)),
        Err(failure) => Err(failure),
    };
    match body {
        Ok(body) => Ok(Some((call, body))),
        Err(error) => Err(Box::new((call, Failure::judged(error)))),
    }
}

/// A whole body that never falls silent for longer than `stall`. One that came in one piece is not copied.
async fn whole(stall: Option<Duration>, body: &mut Body) -> Result<Bytes, ApiError> {
    let Some(first) = within(stall, body).await? else { return Ok(Bytes::new()) };
    let Some(second) = within(stall, body).await? else { return Ok(first) };
    let mut all = BytesMut::with_capacity(2 * (first.len() + second.len()));
    all.extend_from_slice(&first);
    all.extend_from_slice(&second);
    while let Some(chunk) = within(stall, body).await? {
        if all.len() + chunk.len() > DOCUMENT_BYTES {
            return Err(too_large());
        }
        all.extend_from_slice(&chunk);
    }
    Ok(all.freeze())
}

async fn within(stall: Option<Duration>, body: &mut Body) -> Result<Option<Bytes>, ApiError> {
    // What is here already needs no timer.
    let chunk = match (body.ready(), stall) {
        (Some(chunk), _) => chunk.map(Some),
        (None, Some(limit)) => match tokio::time::timeout(limit, body.chunk()).await {
            Ok(chunk) => chunk,
            Err(_) => return Err(stalled(limit)),
        },
        (None, None) => body.chunk().await,
    };
    chunk.map_err(|error| Failure::wire(&error).error)
}

/// A document that can be an answer.
fn object(read: Result<Raw<'_>, JsonError>) -> Result<Raw<'_>, ApiError> {
    let raw = read.map_err(|error| useless(format_args!("is not valid JSON: {error}")))?;
    if !raw.is_object() {
        return Err(useless(format_args!("is {}, not a JSON object", raw.kind().name())));
    }
    Ok(raw)
}

fn too_large() -> ApiError {
    useless("is too large")
}

async fn respond(call: Call<'_, Fresh>, exchange: &mut Exchange, head: ResponseHead, body: Bytes, observed: &Observed) {
    exchange.ledger.observed(observed);
    exchange.ledger.sent(body.len() as u64);
    if call.respond(head, body).await.is_ok() {
        settle(exchange, observed);
    }
}
