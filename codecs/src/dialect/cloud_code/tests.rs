//! Envelopes by example. What stands inside is Gemini's, and tested there.
#![allow(clippy::unwrap_used)]

use bytes::BytesMut;
use serde_json::{Value, json};

use super::{
    reply,
    request::{purpose, transcribe},
    stream::Encoder,
};
use crate::{
    dialect::{
        Context, Dialect, StreamEncode, UrlParts,
        testing::{json as parsed, raw},
    },
    hub::{
        ApiError, ErrorKind, Event, Field, Finish, Form, Open, Origin, Reply, Rider, ToolKind, Usage, request::Part,
    },
    json::Text,
};

#[test]
fn the_inner_request_is_copied_and_says_nothing_of_the_client() {
    let body = r#"{"project":"p-1","model":"models/gemini-3-pro","userAgent":"antigravity","requestType":"agent","requestId":"r",
        "request":{"contents":[{"role":"user", "parts":[{"text":"H\u0069"}]}],"sessionId":"-12","labels":{"trajectory_id":"t"},
        "generationConfig":{"temperature":1.0}}}"#;
    let transcript = transcribe(raw(body)).unwrap();
    assert_eq!((transcript.dialect, transcript.model.as_str()), (Dialect::Gemini, "gemini-3-pro"));
    assert_eq!(transcript.conversation.as_deref(), Some("-12"));
    let expected =
        r#"{"contents":[{"role":"user", "parts":[{"text":"H\u0069"}]}],"generationConfig":{"temperature":1.0}}"#;
    assert_eq!(std::str::from_utf8(&transcript.body).unwrap(), expected);
    assert!(purpose(raw(body)).unwrap().is("agent"));
    for (body, expected) in [
        ("1", "the body must be an object, not a number"),
        (r#"{"model":"m"}"#, "request is missing"),
        (r#"{"model":"m","request":[]}"#, "request must be an object, not an array"),
        (r#"{"request":{}}"#, "model is missing"),
        (r#"{"request":{},"model":"models/"}"#, "model must not be empty"),
    ] {
        assert_eq!(transcribe(raw(body)).unwrap_err().message, expected, "{body}");
    }
}

fn context(json_array: bool) -> Context {
    Context { model: "gemini-3-pro".into(), new_id: "n1".into(), json_array, ..Context::default() }
}

fn tool(id: &'static str, signature: Option<Rider<'static>>) -> Open<'static> {
    Open::Tool { id: Text::Plain(id), name: Text::Plain("read"), kind: ToolKind::Function, signature }
}

fn turn() -> Vec<Event<'static>> {
    let delta = |part, field, text| Event::Delta { part, field, text: Text::Escaped(text) };
    let sig = Field::Sig { origin: Origin::Anthropic, form: Form::Sig, item_id: None };
    vec![
        Event::Start { id: Text::Plain("msg_1"), model: Text::Plain("claude-x"), created: None, usage: None },
        Event::Part { part: 0, open: Open::Thinking },
        delta(0, Field::Think, "hm"),
        delta(0, sig, "EqoB"),
        Event::Stop { part: 0 },
        Event::Part { part: 1, open: Open::Text },
        delta(1, Field::Text, "\\\"Hi\\\""),
        Event::Stop { part: 1 },
        Event::Part { part: 2, open: tool("t1", None) },
        delta(2, Field::Args, "{\\\"a\\\":1"),
        delta(2, Field::Args, "}"),
        Event::Stop { part: 2 },
        Event::Part { part: 3, open: tool("t2", Some(Rider::new(Origin::Gemini, Form::Sig, "R0VN"))) },
        Event::Stop { part: 3 },
        Event::Usage(Usage { uncached: 11, output: 5, reasoning: 2, ..Usage::default() }),
        Event::Finish(Finish::Tool),
        Event::End,
    ]
}

fn encoded(context: &Context, events: &[Event<'_>]) -> String {
    let mut encoder = Encoder::new(context);
    let mut out = BytesMut::new();
    events.iter().for_each(|event| encoder.event(event, &mut out));
    String::from_utf8(out.to_vec()).unwrap()
}

/// The objects inside the envelopes.
fn unpacked(objects: Vec<Value>) -> Vec<Value> {
    let each = |mut object: Value| {
        assert_eq!((&object["traceId"], &object["metadata"]), (&json!("n1"), &json!({})));
        assert_eq!(object.as_object().unwrap().len(), 3);
        let mut inner = object["response"].take();
        assert_eq!((inner["modelVersion"].take(), inner["responseId"].take()), (json!("gemini-3-pro"), json!("1")));
        inner
    };
    objects.into_iter().map(each).collect()
}

fn parts(objects: &[Value]) -> Vec<Value> {
    objects.iter().map(|object| object["candidates"][0]["content"]["parts"][0].clone()).collect()
}

#[test]
fn a_turn_as_events_and_as_an_array() {
    let text = encoded(&context(false), &turn());
    let events: Vec<_> = text.split_terminator("\r\n\r\n").collect();
    let objects = unpacked(events.iter().map(|event| parsed(event.strip_prefix("data: ").unwrap())).collect());
    let call = |id: &str, args: Value, signature: &str| json!({"functionCall": {"id": id, "name": "read", "args": args}, "thoughtSignature": signature});
    let expected = [
        json!({"text": "hm", "thought": true}),
        json!({"text": "\"Hi\""}),
        call("t1", json!({"a": 1}), "skip_thought_signature_validator"),
        call("t2", json!({}), "R0VN"),
        json!({"text": ""}),
    ];
    assert_eq!(parts(&objects), expected);
    let last = objects.last().unwrap();
    assert_eq!(last["candidates"][0]["finishReason"], "STOP");
    assert_eq!(last["usageMetadata"]["promptTokenCount"], 11);
    assert_eq!(last["usageMetadata"]["thoughtsTokenCount"], 2);
    assert!(objects[..4].iter().all(|object| object["candidates"][0].get("finishReason").is_none()));
    let array = parsed(&encoded(&context(true), &turn()));
    assert_eq!(unpacked(array.as_array().unwrap().clone()), objects);
}

#[test]
fn a_whole_answer_says_the_same() {
    let mut reply = Reply::default();
    turn().iter().for_each(|event| reply.fold(event));
    let mut out = Vec::new();
    reply::encode(&reply, &context(false), &mut out);
    let objects = unpacked(vec![parsed(std::str::from_utf8(&out).unwrap())]);
    let parts = objects[0]["candidates"][0]["content"]["parts"].as_array().unwrap();
    assert_eq!(parts[2]["thoughtSignature"], "skip_thought_signature_validator");
    assert_eq!((parts.len(), &parts[3]["thoughtSignature"]), (4, &json!("R0VN")));
    let mut array = Vec::new();
    reply::encode(&reply, &context(true), &mut array);
    assert_eq!(array, [b"[", &out[..], b"]"].concat());
}

#[test]
fn errors_stand_alone_and_log_nobody_out() {
    for (kind, code, word) in [
        (ErrorKind::Invalid, 400, "INVALID_ARGUMENT"),
        (ErrorKind::NotFound, 400, "INVALID_ARGUMENT"),
        (ErrorKind::Auth, 500, "INTERNAL"),
        (ErrorKind::Permission, 500, "INTERNAL"),
        (ErrorKind::Billing, 500, "INTERNAL"),
        (ErrorKind::RateLimit, 429, "RESOURCE_EXHAUSTED"),
        (ErrorKind::Overloaded, 503, "UNAVAILABLE"),
        (ErrorKind::Timeout, 504, "DEADLINE_EXCEEDED"),
    ] {
        let error = ApiError::new(kind, "why");
        let mut out = Vec::new();
        assert_eq!(reply::encode_error(&error, &mut out), code);
        let expected = json!({"error": {"code": code, "message": "why", "status": word}});
        assert_eq!(parsed(std::str::from_utf8(&out).unwrap()), expected);
        let mut events = turn();
        events.truncate(7);
        events.push(Event::Error(error));
        let text = encoded(&context(false), &events);
        let last = text.split_terminator("\r\n\r\n").last().unwrap();
        assert_eq!(parsed(last.strip_prefix("data: ").unwrap()), expected);
        assert!(!text.contains("finishReason"));
        assert_eq!(parsed(&encoded(&context(true), &events))[2], expected);
    }
}

#[test]
fn the_stand_in_for_a_signature_is_no_signature_when_it_comes_back() {
    let body = r#"{"model":"m","request":{"contents":[{"role":"model","parts":[
        {"functionCall":{"name":"read","args":{}},"thoughtSignature":"skip_thought_signature_validator"},
        {"functionCall":{"name":"read","args":{}},"thoughtSignature":"R0VN"}]}]}}"#;
    let transcript = transcribe(raw(body)).unwrap();
    let text = String::from_utf8(transcript.body).unwrap();
    let url = UrlParts { model: Some("m"), ..UrlParts::default() };
    let request = Dialect::Gemini.decode_request(raw(&text), &url).unwrap();
    let signatures = request.messages[0].parts.iter().map(|part| match part {
        Part::Call(call) => call.signature.as_ref().map(|rider| rider.payload.plain().into_owned()),
        other => panic!("{other:?}"),
    });
    assert_eq!(signatures.collect::<Vec<_>>(), [None, Some("R0VN".to_owned())]);
}
