//! Whole messages and errors.

use crate::{
    dialect::{
        Context,
        anthropic::{
            stream::{Decoder, write_identity},
            words,
        },
    },
    hub::{ApiError, Emit, ErrorKind, Event, Finish, Reply, ReplyPart, Rider, ToolKind, Usage, arguments, error},
    json::{Raw, Text, Writer, write::Sink},
};

/// Reads a whole message as the events of a stream with one delta per part.
///
/// A message is a stream in one piece: its blocks go through the stream decoder as blocks that are complete at their
/// start.
pub fn decode(body: Raw<'_>, context: &Context, emit: Emit<'_>) {
    let error = body.get("error").is_some() || body.get_text("type").is_some_and(|kind| kind.is("error"));
    if error {
        return emit(Event::Error(words::read_error(body, None)));
    }
    let Some(content) = body.get("content").filter(|content| content.is_array()) else {
        let message = "upstream answered without content";
        return emit(Event::Error(ApiError::new(ErrorKind::Api, message)));
    };
    let mut decoder = Decoder::new(context);
    decoder.message(body, content, emit);
}

/// Writes a whole message.
pub fn encode(reply: &Reply, context: &Context, out: &mut Vec<u8>) {
    let mut w = Writer::new(out);
    w.begin_object();
    write_identity(Text::Plain(&reply.id), Text::Plain(&reply.model), context, &mut w);
    w.key("content").begin_array();
    let mut said = words::Said::default();
    for part in &reply.parts {
        write_part(part, context, &mut said, &mut w);
    }
    w.end_array();
    words::write_finish(reply.finish.as_ref().unwrap_or(&Finish::End), said, &mut w);
    let estimate = || Usage { uncached: context.input_tokens_estimate, ..Usage::default() };
    w.key("usage");
    words::write_usage(&if reply.usage.is_known() { reply.usage } else { estimate() }, &mut w);
    w.end_object();
}

fn write_part(part: &ReplyPart, context: &Context, said: &mut words::Said, w: &mut Writer<'_, Vec<u8>>) {
    match part {
        ReplyPart::Text(text) => write_text(text.text(), w),
        ReplyPart::Refusal(text) => {
            said.refusal = true;
            write_text(text.text(), w);
        }
        ReplyPart::Thinking { text, rider } => {
            w.begin_object().key("type").string("thinking");
            w.key("thinking").text(text.text()).key("signature");
            write_signature(rider.as_ref(), w);
            w.end_object();
        }
        ReplyPart::Redacted(rider) if words::is_redacted(rider) => {
            w.begin_object().key("type").string("redacted_thinking");
            w.key("data").text(rider.payload.text());
            w.end_object();
        }
        ReplyPart::Redacted(rider) => write_signed(rider, w),
        ReplyPart::Tool { id, name, kind, args, signature } => {
            said.call = true;
            if let Some(rider) = signature {
                write_signed(rider, w);
            }
            w.begin_object().key("type").string("tool_use");
            w.key("id").string(id).key("name").string(context.tools.client_name(name)).key("input");
            match kind {
                ToolKind::Function => w.verbatim(&arguments::object(args.text())),
                ToolKind::Custom => w.begin_object().key("input").text(args.text()).end_object(),
            };
            w.end_object();
        }
        // This dialect has no images in answers.
        ReplyPart::Image { .. } => {}
    }
}

fn write_text(text: Text<'_>, w: &mut Writer<'_, Vec<u8>>) {
    if !text.is_empty() {
        w.begin_object().key("type").string("text").key("text").text(text).end_object();
    }
}

/// An empty thinking block that carries a blob.
fn write_signed(rider: &Rider<'_>, w: &mut Writer<'_, Vec<u8>>) {
    w.begin_object().key("type").string("thinking").key("thinking").string("").key("signature");
    write_signature(Some(rider), w);
    w.end_object();
}

fn write_signature(rider: Option<&Rider<'_>>, w: &mut Writer<'_, Vec<u8>>) {
    let out = w.value_sink();
    out.put(b"\"");
    if let Some(rider) = rider {
        words::write_rider(rider, out);
    }
    out.put(b"\"");
}

/// Reads an error answer: by its body, else by its status.
pub fn decode_error(status: u16, body: &[u8]) -> ApiError {
    match Raw::parse(body) {
        Ok(value) if value.is_object() => words::read_error(value, Some(status)),
        _ => error::from_plain_body(status, body),
    }
}

/// Writes an error answer and returns its HTTP status.
pub fn encode_error(error: &ApiError, request_id: &str, out: &mut Vec<u8>) -> u16 {
    words::write_error(error, request_id, &mut Writer::new(out));
    words::error_word(error.kind).1
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::hub::{Form, Origin, Refused};

    fn fold(text: &str) -> Reply {
        let mut reply = Reply::default();
        decode(Raw::parse_str(text).unwrap(), &Context::default(), &mut |event| reply.fold(&event));
        reply
    }

    fn written(reply: &Reply) -> serde_json::Value {
        let mut out = Vec::new();
        encode(reply, &Context::default(), &mut out);
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn messages_survive_the_trip() {
        let text = r#"{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[
            {"type":"thinking","thinking":"t","signature":"S"},{"type":"redacted_thinking","data":"D"},
            {"type":"text","text":"a\nb"},{"type":"tool_use","id":"x","name":"f","input":{"a":1.0}},
            {"type":"thinking","thinking":"","signature":"frt1.gemini.sig.G"}],
            "stop_reason":"tool_use","stop_sequence":null,"usage":{"input_tokens":1,"cache_creation_input_tokens":2,
            "cache_read_input_tokens":3,"output_tokens":4,"output_tokens_details":{"thinking_tokens":2}}}"#;
        let reply = fold(text);
        assert!(reply.ended && reply.has_calls());
        assert_eq!(reply.parts.len(), 5);
        assert_eq!(written(&reply), serde_json::from_str::<serde_json::Value>(text).unwrap());
    }

    #[test]
    fn server_tools_are_hidden_and_empty_input_is_an_object() {
        let reply = fold(
            r#"{"id":"msg_1","model":"m","content":[{"type":"server_tool_use","id":"s","name":"web_search","input":{}},
                {"type":"web_search_tool_result","tool_use_id":"s","content":[]},
                {"type":"tool_use","id":"x","name":"f"}],"stop_reason":"end_turn"}"#,
        );
        let out = written(&reply);
        assert_eq!(out["content"], serde_json::json!([{"type":"tool_use","id":"x","name":"f","input":{}}]));
        assert_eq!(out["stop_reason"], "tool_use");
    }

    #[test]
    fn refusals_and_foreign_blobs() {
        let mut text = crate::hub::EscapedBuf::default();
        text.push(Text::Plain("no"));
        let mut reply = Reply::default();
        reply.parts = vec![
            ReplyPart::Redacted(Rider::new(Origin::Responses, Form::Enc, "E")),
            ReplyPart::Thinking { text: text.clone(), rider: None },
            ReplyPart::Refusal(text),
        ];
        reply.finish = Some(Finish::Filter(Refused { category: None, explanation: Some("e".into()) }));
        let out = written(&reply);
        assert_eq!(out["content"][0]["signature"], "frt1.responses.enc.E");
        assert_eq!(out["content"][1]["signature"], "");
        assert_eq!(out["content"][2], serde_json::json!({"type":"text","text":"no"}));
        let details = serde_json::json!({"type":"refusal","category":null,"explanation":"e"});
        assert_eq!((&out["stop_reason"], &out["stop_details"]), (&"refusal".into(), &details));
    }

    #[test]
    fn nonsense_is_an_error() {
        assert_eq!(fold(r#"{"ok":true}"#).error.unwrap().kind, ErrorKind::Api);
        let error = fold(r#"{"type":"error","error":{"type":"not_found_error","message":"m"}}"#).error.unwrap();
        assert_eq!((error.kind, error.message.as_str()), (ErrorKind::NotFound, "m"));
    }

    #[test]
    fn errors_are_read_by_body_then_status() {
        let body = |kind: &str| format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"m"}}}}"#);
        for (kind, status, expected) in [
            ("rate_limit_error", 400, ErrorKind::RateLimit),
            ("billing_error", 400, ErrorKind::Billing),
            ("invalid_request_error", 500, ErrorKind::Invalid),
            ("request_too_large", 400, ErrorKind::TooLarge),
            ("brand_new_error", 529, ErrorKind::Overloaded),
        ] {
            let error = decode_error(status, body(kind).as_bytes());
            assert_eq!((error.kind, error.status), (expected, Some(status)), "{kind}");
        }
        assert_eq!(decode_error(529, body("brand_new_error").as_bytes()).code.as_deref(), Some("brand_new_error"));
        assert_eq!(decode_error(502, b"<html><body>").message, "upstream returned HTML");
        assert_eq!(decode_error(503, br#"{"error":"down"}"#).message, "down");
    }

    #[test]
    fn errors_are_written_with_their_status() {
        for (kind, status, word) in [
            (ErrorKind::UnsupportedContent, 400, "invalid_request_error"),
            (ErrorKind::Auth, 401, "authentication_error"),
            (ErrorKind::Overloaded, 529, "overloaded_error"),
            (ErrorKind::Truncated, 502, "api_error"),
        ] {
            let mut out = Vec::new();
            assert_eq!(encode_error(&ApiError::new(kind, "m"), "req_1", &mut out), status);
            let body: serde_json::Value = serde_json::from_slice(&out).unwrap();
            let expected = serde_json::json!({"type":"error","error":{"type":word,"message":"m"},"request_id":"req_1"});
            assert_eq!(body, expected);
        }
    }
}
