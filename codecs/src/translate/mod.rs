//! The pipeline: a request, a stream or a whole answer from one dialect to another.
//!
//! ```text
//!   upstream bytes ─▶ Deframer ─▶ Raw ─▶ StreamDecoder ─▶ Observed ─▶ Surrogates ─▶ Serial ─▶ StreamEncoder ─▶ client bytes
//! ```
//!
//! No sockets, no clock, no waiting: every byte that can be written is written before `push` returns. The pipeline never
//! decides what an exchange is worth; it says what it saw ([`Observed`]), and the gateway commits, retries or logs.

mod count;
mod observed;
mod shape;
mod stream;

pub use count::{count_tokens_request, estimate_tokens};
pub use observed::Observed;
pub use stream::{Collector, StreamTranslator, Tap};

use std::sync::Arc;

use bytes::BytesMut;

pub use crate::hub::replay::replay;
use crate::{
    dialect::{ClientDialect, Context, Dialect, Encoded, Target, UrlParts},
    hub::{
        ApiError, ErrorKind, Reply, hygiene,
        recall::{self, Kept},
    },
    json::Raw,
};

/// Writes a client's request in the upstream's dialect.
pub fn translate_request(
    from: Dialect,
    to: Dialect,
    body: Raw<'_>,
    url: &UrlParts<'_>,
    target: &Target,
) -> Result<Encoded, ApiError> {
    translate_recalling(from, to, body, url, target, &|_| None)
}

/// As [`translate_request`], with what an earlier answer said and the client did not send back.
pub fn translate_recalling(
    from: Dialect,
    to: Dialect,
    body: Raw<'_>,
    url: &UrlParts<'_>,
    target: &Target,
    known: &dyn Fn(&str) -> Option<Arc<Kept>>,
) -> Result<Encoded, ApiError> {
    let mut request = from.decode_request(body, url)?;
    if target.strip_riders {
        recall::strip(&mut request);
    } else {
        recall::restore(&mut request, known);
    }
    let prepared = hygiene::prepare(&mut request, to, target);
    let mut encoded = to.encode_request(&request, target)?;
    encoded.tools = prepared.tools;
    encoded.used_ids = prepared.used_ids;
    encoded.dropped.extend(request.dropped.into_iter().chain(prepared.dropped));
    encoded.dropped.sort();
    encoded.dropped.dedup();
    Ok(encoded)
}

/// Writes a whole answer of an upstream in the client's dialect. An answer that is an error, or breaks off, is `Err`.
pub fn translate_reply(
    upstream: Dialect,
    client: impl Into<ClientDialect>,
    body: Raw<'_>,
    context: &Context,
    out: &mut Vec<u8>,
) -> Result<Observed, ApiError> {
    let mut pipe = stream::Fold::new(context);
    upstream.decode_reply(body, context, &mut |event| pipe.event(event));
    let (reply, observed) = pipe.finish();
    if let Some(error) = reply.error {
        return Err(error);
    }
    if reply.finish.is_none() {
        return Err(ApiError::new(ErrorKind::Api, "the upstream's answer is incomplete"));
    }
    client.into().encode_reply(&reply, context, out);
    Ok(observed)
}

/// A first look at a whole answer that is passed on as it is: what [`observe_reply`] would see, for answers that are plainly
/// good and say what they cost. `None` says nothing: look closer. Estimates nothing and leaves id, model and length out.
pub fn glance(upstream: Dialect, body: Raw<'_>) -> Option<Observed> {
    let usage = match upstream {
        Dialect::OpenAiChat => crate::dialect::openai_chat::reply::glance(body)?,
        _ => return None,
    };
    Some(Observed::good(usage))
}

/// Reads a whole answer that is passed on as it is. An answer that is an error is `Err`.
pub fn observe_reply(upstream: Dialect, body: Raw<'_>, context: &Context) -> Result<Observed, ApiError> {
    let estimate = context.estimate_usage.then_some(context.input_tokens_estimate);
    let mut observed = Observed::default();
    upstream.decode_reply(body, context, &mut |event| observed.watched(&event, estimate));
    match observed.error.take() {
        Some(error) => Err(error),
        None => Ok(observed),
    }
}

/// Writes a whole answer of an upstream as a stream of the client's dialect, one delta per part.
pub fn reply_as_stream(
    upstream: Dialect,
    client: impl Into<ClientDialect>,
    body: Raw<'_>,
    context: &Context,
    out: &mut BytesMut,
) -> Observed {
    let mut pipe = stream::Pipe::new(client.into(), context);
    upstream.decode_reply(body, context, &mut |event| pipe.event(event, out));
    pipe.into_observed()
}

/// Writes a reply that was collected or stored as a stream of the client's dialect.
pub fn replay_as_stream(
    reply: &Reply,
    client: impl Into<ClientDialect>,
    context: &Context,
    out: &mut BytesMut,
) -> Observed {
    let mut pipe = stream::Pipe::new(client.into(), context);
    replay(reply, &mut |event| pipe.event(event, out));
    pipe.into_observed()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_glance_sees_what_a_look_sees_or_nothing() {
        let document = |choice: &str, rest: &str| format!(r#"{{"id":"c","model":"m","choices":[{choice}]{rest}}}"#);
        let said =
            r#"{"index":0,"message":{"role":"assistant","content":"Hi","tool_calls":null},"finish_reason":"stop"}"#;
        let usage =
            r#","usage":{"prompt_tokens":12,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":2}}"#;
        let good = document(said, usage);
        let raw = Raw::parse_str(&good).unwrap();
        let glanced = glance(Dialect::OpenAiChat, raw).unwrap();
        let looked = observe_reply(Dialect::OpenAiChat, raw, &Context::default()).unwrap();
        assert_eq!(glanced.usage, looked.usage);
        let facts = |seen: &Observed| (seen.content, seen.finished, seen.ended, seen.error.is_some(), seen.estimated);
        assert_eq!(facts(&glanced), facts(&looked));
        for closer in [
            document(said, ""),
            document(said, r#","usage":null"#),
            document(said, r#","usage":{"prompt_tokens":0,"completion_tokens":0}"#),
            document(said, &format!(r#","error":{{"message":"no"}}{usage}"#)),
            document(said, &format!(r#","detail":"no"{usage}"#)),
            document("", usage),
            document(&format!("{said},{said}"), usage),
            document(&said.replace("\"stop\"", "null"), usage),
            document(&said.replace("\"index\":0", "\"index\":1"), usage),
            document(&said.replace("\"tool_calls\":null", "\"tool_calls\":[{\"id\":\"x\"}]"), usage),
            document(&said.replace("message", "delta"), usage),
            "[]".to_owned(),
            "{}".to_owned(),
        ] {
            let raw = Raw::parse_str(&closer).unwrap();
            assert!(glance(Dialect::OpenAiChat, raw).is_none(), "{closer}");
        }
        assert!(glance(Dialect::Anthropic, Raw::parse_str(&good).unwrap()).is_none());
    }
}
