use serde_json::json;

use super::{raw, value};
use crate::{
    dialect::{Context, openai_chat::reply},
    hub::{ErrorKind, Finish, Form, Origin, Reply, ReplyPart, Rider, ToolKind},
};

fn read(body: &str) -> Reply {
    let mut folded = Reply::default();
    reply::decode(raw(body), &Context::default(), &mut |event| folded.fold(&event));
    folded
}

fn folded(parts: Vec<ReplyPart>) -> Reply {
    let mut reply = Reply::default();
    reply.parts = parts;
    reply.finish = Some(Finish::End);
    reply
}

fn write(folded: &Reply) -> serde_json::Value {
    let mut out = Vec::new();
    reply::encode(folded, &Context { new_id: "n".into(), model: "asked".into(), ..Context::default() }, &mut out);
    value(&out)
}

fn answer(message: serde_json::Value, finish: &str) -> String {
    json!({"id": "chatcmpl-a", "object": "chat.completion", "created": 3, "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6}})
    .to_string()
}

#[test]
fn a_document_survives_the_hub() {
    let message = json!({"role": "assistant", "content": "a", "refusal": "no", "reasoning_content": "r",
    "reasoning_details": [{"index": 0, "type": "reasoning.text", "format": "anthropic-claude-v1", "signature": "S"}],
    "images": [{"index": 0, "type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}}],
    "tool_calls": [
        {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"a\": 1.0}"}, "extra_content": {"google": {"thought_signature": "G"}}},
        {"id": "d", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]});
    let folded = read(&answer(message.clone(), "tool_calls"));
    assert!(folded.ended && folded.error.is_none());
    let body = write(&folded);
    assert_eq!(
        body["choices"][0],
        json!({"index": 0, "message": message, "logprobs": null, "finish_reason": "tool_calls"})
    );
    assert_eq!((&body["id"], &body["created"], &body["model"]), (&json!("chatcmpl-a"), &json!(3), &json!("m")));
    assert_eq!(body["usage"]["total_tokens"], 6);
}

#[test]
fn empty_content_is_a_string_unless_something_else_was_said() {
    let content = |parts| write(&folded(parts))["choices"][0]["message"]["content"].clone();
    assert_eq!(content(vec![]), "");
    assert_eq!(content(vec![ReplyPart::Thinking { text: Default::default(), rider: None }]), "");
    let mut refusal = crate::hub::EscapedBuf::default();
    refusal.push("no".into());
    assert_eq!(content(vec![ReplyPart::Refusal(refusal)]), json!(null));
}

#[test]
fn signatures_in_documents_stay_with_their_words() {
    let details = json!([
        {"index": 0, "type": "reasoning.text", "format": "anthropic-claude-v1", "text": "one", "signature": "S"},
        {"index": 1, "type": "reasoning.text", "format": "anthropic-claude-v1", "text": "two", "signature": "T"},
    ]);
    let folded = read(&answer(json!({"content": "a", "reasoning": "onetwo", "reasoning_details": details}), "stop"));
    let texts: Vec<_> = folded
        .parts
        .iter()
        .filter_map(|part| match part {
            ReplyPart::Thinking { text, rider } => Some((text.text().plain().into_owned(), rider.clone())),
            _ => None,
        })
        .collect();
    let rider = |blob: &'static str| Some(Rider::new(Origin::Anthropic, Form::Sig, blob));
    assert_eq!(texts, [("one".to_owned(), rider("S")), ("two".to_owned(), rider("T"))]);
}

#[test]
fn documents_that_are_no_answers() {
    for (body, kind) in [
        (r#"{"id":"chatcmpl-a","choices":[]}"#, ErrorKind::Api),
        (r#"{}"#, ErrorKind::Api),
        (r#"[]"#, ErrorKind::Api),
        (r#"{"error":{"message":"m","code":"rate_limit_exceeded"}}"#, ErrorKind::RateLimit),
        (r#"{"detail":"d"}"#, ErrorKind::Api),
    ] {
        let folded = read(body);
        assert_eq!(folded.error.map(|error| error.kind), Some(kind), "{body}");
        assert!(!folded.ended && folded.finish.is_none());
    }
}

#[test]
fn a_document_without_a_finish_is_judged_by_its_calls() {
    let calls = json!([{"id": "c", "function": {"name": "f", "arguments": ""}}]);
    let body =
        json!({"choices": [{"message": {"content": null, "tool_calls": calls}, "finish_reason": null}]}).to_string();
    let folded = read(&body);
    assert_eq!(folded.finish, Some(Finish::Tool));
    let body = write(&folded);
    assert_eq!((&body["id"], &body["model"]), (&json!("chatcmpl-n"), &json!("asked")));
    assert_eq!(body["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"], "{}");
}

#[test]
fn custom_calls_in_documents() {
    let call = |kind, name: &str, text: &str| {
        let mut args = crate::hub::EscapedBuf::default();
        args.push(text.into());
        ReplyPart::Tool { id: "c".into(), name: name.into(), kind, args, signature: None }
    };
    let mut tools = crate::dialect::ToolTable::default();
    let identity = crate::dialect::ToolIdentity { name: "p".into(), namespace: None, kind: ToolKind::Custom };
    tools.insert("p", identity);
    let context = Context { tools: std::sync::Arc::new(tools), ..Context::default() };
    let parts = vec![
        call(ToolKind::Function, "p", "{\"input\":\"x\"}"),
        call(ToolKind::Custom, "p", "y"),
        call(ToolKind::Custom, "q", "z\""),
    ];
    let mut out = Vec::new();
    reply::encode(&folded(parts), &context, &mut out);
    let calls = &value(&out)["choices"][0]["message"]["tool_calls"];
    assert_eq!(calls[0]["custom"], json!({"name": "p", "input": "x"}));
    assert_eq!(calls[1]["custom"], json!({"name": "p", "input": "y"}));
    assert_eq!(calls[2]["function"], json!({"name": "q", "arguments": "{\"input\":\"z\\\"\"}"}));
}

#[test]
fn error_bodies_that_are_no_json() {
    let html = reply::decode_error(503, b"<html><h1>Bad gateway</h1>");
    assert_eq!((html.kind, html.message.as_str()), (ErrorKind::Overloaded, "upstream returned HTML"));
    let text = reply::decode_error(401, b"key sk-abcdef1234567890 is wrong");
    assert_eq!((text.kind, text.message.as_str()), (ErrorKind::Auth, "key sk-*** is wrong"));
    assert_eq!(reply::decode_error(500, b"\"quoted\"").message, "quoted");
    assert_eq!(reply::decode_error(429, b"").message, "upstream answered with status 429");
    let mut out = Vec::new();
    assert_eq!(reply::encode_error(&text, &mut out), 401);
    assert_eq!(value(&out)["error"]["code"], "invalid_api_key");
}
