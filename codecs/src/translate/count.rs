//! Token counts: the request for an upstream that can count, and an estimate for the others.

use crate::{
    dialect::{Dialect, Encoded, Target, UrlParts, anthropic, gemini},
    hub::{
        ApiError, Request, hygiene,
        request::{Part, Source},
    },
    json::Raw,
};

/// Bytes of text per token, roughly.
const BYTES_PER_TOKEN: u64 = 4;
/// Tokens of an image or document, roughly.
const ATTACHMENT_TOKENS: u64 = 1_500;

/// Writes a client's request for the upstream's counting endpoint; `None` where the dialect has none.
pub fn count_tokens_request(
    from: Dialect,
    to: Dialect,
    body: Raw<'_>,
    url: &UrlParts<'_>,
    target: &Target,
) -> Result<Option<Encoded>, ApiError> {
    let encode = match to {
        Dialect::Anthropic => anthropic::request::encode_count_tokens,
        Dialect::Gemini => gemini::request::encode_count_tokens,
        // Only OpenAI itself counts Responses input, and few who speak the dialect are OpenAI.
        Dialect::OpenAiChat | Dialect::OpenAiResponses | Dialect::Ollama => return Ok(None),
    };
    let mut request = from.decode_request(body, url)?;
    hygiene::prepare(&mut request, to, target);
    encode(&request, target).map(Some)
}

/// Estimates the tokens of a request: its JSON text without attachments, and a flat price for each of these.
pub fn estimate_tokens(from: Dialect, body: Raw<'_>, url: &UrlParts<'_>) -> Result<u64, ApiError> {
    let request = from.decode_request(body, url)?;
    let (attachments, base64_bytes) = attachments(&request);
    let text_bytes = (body.as_bytes().len() as u64).saturating_sub(base64_bytes);
    Ok(text_bytes.div_ceil(BYTES_PER_TOKEN) + attachments * ATTACHMENT_TOKENS)
}

fn attachments(request: &Request<'_>) -> (u64, u64) {
    let (mut count, mut bytes) = (0, 0);
    let mut pending: Vec<&Part<'_>> = request.messages.iter().flat_map(|message| &message.parts).collect();
    while let Some(part) = pending.pop() {
        match part {
            Part::Image { source, .. } | Part::File { source, .. } => {
                count += 1;
                if let Source::Base64 { data, .. } = source {
                    bytes += data.plain().len() as u64;
                }
            }
            Part::Audio { data, .. } => {
                count += 1;
                bytes += data.plain().len() as u64;
            }
            Part::Result(result) => pending.extend(&result.parts),
            _ => {}
        }
    }
    (count, bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn attachments_have_a_flat_price() {
        let data = "A".repeat(8_000);
        let body = format!(
            r#"{{"model":"m","max_tokens":1,"messages":[{{"role":"user","content":[{{"type":"text","text":"hi"}},
               {{"type":"image","source":{{"type":"base64","media_type":"image/png","data":"{data}"}}}}]}}]}}"#
        );
        let raw = Raw::parse(body.as_bytes()).unwrap();
        let tokens = estimate_tokens(Dialect::Anthropic, raw, &UrlParts::default()).unwrap();
        assert_eq!(tokens, (body.len() as u64 - 8_000).div_ceil(4) + 1_500);
    }

    #[test]
    fn only_two_dialects_count() {
        let body = br#"{"model":"m","messages":[{"role":"user","content":"hi"}],"temperature":0.5}"#;
        let raw = Raw::parse(body).unwrap();
        let target = Target { model: "claude-x".into(), ..Target::default() };
        let count = |to| count_tokens_request(Dialect::OpenAiChat, to, raw, &UrlParts::default(), &target).unwrap();
        assert!(count(Dialect::Ollama).is_none());
        let encoded = count(Dialect::Anthropic).unwrap();
        let sent = Raw::parse(&encoded.body).unwrap();
        assert!(
            sent.get("messages").is_some() && sent.get("max_tokens").is_none() && sent.get("temperature").is_none()
        );
    }
}
