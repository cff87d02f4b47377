//! Requests and streams by example.
#![allow(clippy::unwrap_used)]

use bytes::BytesMut;
use serde_json::{Value, json};

use super::{reply, request::transcribe, stream::Encoder};
use crate::{
    dialect::{
        Context, Dialect, StreamEncode, Target, ToolIdentity, ToolTable, UrlParts,
        testing::{json as parsed, raw},
    },
    frame::Aws,
    hub::{
        ApiError, ErrorKind, Event, Field, Finish, Form, Open, Origin, Refused, Reply, Rider, ToolKind, Usage,
        request::Part,
    },
    json::Text,
    translate::translate_request,
};

/// A conversation with everything in it that the service knows.
const CONVERSATION: &str = r#"{
  "conversationState": {
    "conversationId": "c-1", "chatTriggerType": "MANUAL", "agentTaskType": "vibe", "customizationArn": "arn:x",
    "history": [
      {"userInputMessage": {"content": "Rules: be short.\u00e9", "modelId": "auto", "origin": "AI_EDITOR",
        "cachePoint": {"type": "default"}}},
      {"assistantResponseMessage": {"content": "I look.", "messageId": "m1",
        "reasoningContent": {"reasoningText": {"text": "hm", "signature": "EqoB"}},
        "toolUses": [{"toolUseId": "t1", "name": "read", "input": {"path": "a\"b", "n": 1.50}},
                     {"toolUseId": "t2", "name": "ls", "input": "{\"path\":\".\"}"}, {"toolUseId": "t3", "name": "ls"}]}},
      {"userInputMessage": {"content": "", "userInputMessageContext": {"toolResults": [
        {"toolUseId": "t1", "status": "success", "content": [{"text": "data"}, {"json": {"a": [1]}}]},
        {"toolUseId": "t2", "status": "error", "content": [{"text": "no such folder"}]},
        {"toolUseId": "t3", "content": []}]}}},
      {"assistantResponseMessage": {"content": "Done.", "reasoningContent": {"redactedContent": "AAEC"}}}
    ],
    "currentMessage": {"userInputMessage": {"content": "And this?", "modelId": "claude-sonnet-4.5",
      "images": [{"format": "jpeg", "source": {"bytes": "/9j/4AAQ"}}],
      "userInputMessageContext": {
        "envState": {"operatingSystem": "linux", "currentWorkingDirectory": "/home/u/p", "environmentVariables": []},
        "editorState": {"document": {"relativeFilePath": "x.rs"}},
        "tools": [
          {"toolSpecification": {"name": "read", "description": "Reads a file",
            "inputSchema": {"json": {"type": "object", "properties": {"path": {"type": "string"}}}}}},
          {"cachePoint": {"type": "default"}},
          {"toolSpecification": {"name": "ls"}}]}}}
  },
  "profileArn": "arn:aws:codewhisperer:us-east-1:1:profile/X",
  "inferenceConfig": {"maxTokens": 32000, "temperature": 0.50, "topP": null}
}"#;

#[test]
fn a_conversation_is_written_down_whole() {
    let transcript = transcribe(raw(CONVERSATION)).unwrap();
    assert_eq!((transcript.dialect, transcript.model.as_str()), (Dialect::Anthropic, "claude-sonnet-4.5"));
    assert_eq!(transcript.conversation.as_deref(), Some("c-1"));
    let body = std::str::from_utf8(&transcript.body).unwrap();
    // Tokens are copied: an escape stays one, and so does the spelling of a number.
    assert!(body.contains(r"be short.\u00e9") && body.contains("1.50") && body.contains("0.50"), "{body}");
    assert!(!body.contains("arn:"), "{body}");
    let mark = json!({"type": "ephemeral"});
    let text = |text: &str| json!({"type": "text", "text": text});
    let call = |id: &str, name: &str, input: Value| json!({"type": "tool_use", "id": id, "name": name, "input": input});
    let result = |id: &str, content: Value| json!({"type": "tool_result", "tool_use_id": id, "content": content});
    let mut failed = result("t2", json!([text("no such folder")]));
    failed["is_error"] = true.into();
    let expected = json!({
        "model": "claude-sonnet-4.5", "stream": true, "max_tokens": 32000, "temperature": 0.5,
        "tools": [
            {"name": "read", "description": "Reads a file", "cache_control": mark,
             "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}}},
            {"name": "ls"}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Rules: be short.é", "cache_control": mark}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "EqoB"}, text("I look."),
                call("t1", "read", json!({"path": "a\"b", "n": 1.5})), call("t2", "ls", json!({"path": "."})),
                call("t3", "ls", json!({}))]},
            {"role": "user", "content": [
                result("t1", json!([text("data"), text("{\"a\": [1]}")])), failed, result("t3", json!([]))]},
            {"role": "assistant", "content": [{"type": "redacted_thinking", "data": "AAEC"}, text("Done.")]},
            {"role": "user", "content": [
                text("Operating system: linux\nWorking directory: /home/u/p"), text("And this?"),
                {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "/9j/4AAQ"}}]}]
    });
    assert_eq!(parsed(body), expected);
}

#[test]
fn every_public_dialect_takes_what_was_written() {
    let transcript = transcribe(raw(CONVERSATION)).unwrap();
    let body = std::str::from_utf8(&transcript.body).unwrap();
    for to in Dialect::ALL {
        let target = Target { model: "m".into(), stream: true, ..Target::default() };
        let written = translate_request(transcript.dialect, to, raw(body), &UrlParts::default(), &target).unwrap();
        let text = String::from_utf8(written.body).unwrap();
        for piece in ["be short", "I look.", "no such folder", "And this?", "Reads a file", "/9j/4AAQ"] {
            assert!(text.contains(piece), "{to:?}: {piece} is missing in {text}");
        }
    }
}

#[test]
fn tools_of_an_earlier_message_do_where_the_newest_has_none() {
    let tools =
        |name: &str| format!(r#""userInputMessageContext":{{"tools":[{{"toolSpecification":{{"name":"{name}"}}}}]}}"#);
    let body = format!(
        r#"{{"conversationState":{{"history":[{{"userInputMessage":{{"content":"a",{}}}}},{{"userInputMessage":{{"content":"b",{}}}}}],"currentMessage":{{"userInputMessage":{{"content":"c","modelId":"auto"}}}}}}}}"#,
        tools("first"),
        tools("second")
    );
    let written = parsed(std::str::from_utf8(&transcribe(raw(&body)).unwrap().body).unwrap());
    assert_eq!(written["tools"], json!([{"name": "first"}]));
    assert_eq!(written["messages"].as_array().unwrap().len(), 3);
}

#[test]
fn what_is_no_conversation_is_named() {
    let state = |state: &str| format!(r#"{{"conversationState":{{{state}}}}}"#);
    let current = r#""currentMessage":{"userInputMessage":{"content":"x","modelId":"auto"}}"#;
    for (body, expected) in [
        ("[]".to_owned(), "the body must be an object, not an array"),
        ("{}".to_owned(), "conversationState is missing"),
        (state(""), "conversationState.currentMessage is missing"),
        (state(r#""currentMessage":{}"#), "conversationState.currentMessage.userInputMessage is missing"),
        (
            state(r#""currentMessage":{"userInputMessage":{"content":"x"}}"#),
            "conversationState.currentMessage.userInputMessage.modelId is missing",
        ),
        (state(&format!(r#"{current},"history":{{}}"#)), "conversationState.history must be an array, not an object"),
        (
            state(&format!(r#"{current},"history":[{{"role":"user"}}]"#)),
            "conversationState.history[0] must hold a userInputMessage or an assistantResponseMessage",
        ),
        (
            state(&format!(r#"{current},"history":[{{"assistantResponseMessage":{{"toolUses":[{{"name":"x"}}]}}}}]"#)),
            "conversationState.history[0].toolUses[0].toolUseId is missing",
        ),
    ] {
        assert_eq!(transcribe(raw(&body)).unwrap_err().message, expected, "{body}");
    }
}

/// Messages by name, with their JSON.
fn messages(stream: &[u8]) -> Vec<(String, Value)> {
    let mut aws = Aws::default();
    let mut seen = Vec::new();
    let mut each = |message: crate::frame::Message<'_>| {
        let kind = message.headers.text(":message-type").unwrap();
        let name = message.headers.text(if kind == "exception" { ":exception-type" } else { ":event-type" }).unwrap();
        let content = message.headers.text(":content-type").unwrap();
        let first = name == "initial-response";
        assert_eq!(content, if first { "application/x-amz-json-1.0" } else { "application/json" });
        seen.push((name.to_owned(), parsed(std::str::from_utf8(message.payload).unwrap())));
    };
    aws.push(stream, &mut each).unwrap();
    aws.finish().unwrap();
    seen
}

fn context() -> Context {
    let mut tools = ToolTable::default();
    tools.insert("read_file", ToolIdentity { name: "read/file".into(), ..ToolIdentity::default() });
    Context {
        model: "auto".into(),
        new_id: "n1".into(),
        conversation: Some("c-1".into()),
        tools: tools.into(),
        ..Context::default()
    }
}

fn encoded(events: &[Event<'_>]) -> Vec<(String, Value)> {
    let mut encoder = Encoder::new(&context());
    let mut out = BytesMut::new();
    events.iter().for_each(|event| encoder.event(event, &mut out));
    messages(&out)
}

fn start() -> Event<'static> {
    Event::Start { id: Text::Plain("x"), model: Text::Plain("gpt-5"), created: None, usage: None }
}

fn delta(part: u32, field: Field<'static>, text: &'static str) -> Event<'static> {
    Event::Delta { part, field, text: Text::Escaped(text) }
}

fn named(name: &str, payload: Value) -> (String, Value) {
    (name.to_owned(), payload)
}

fn turn() -> Vec<Event<'static>> {
    let sig = |origin, form| Field::Sig { origin, form, item_id: None };
    let tool = |id| Open::Tool {
        id: Text::Plain(id),
        name: Text::Plain("read_file"),
        kind: ToolKind::Function,
        signature: None,
    };
    vec![
        start(),
        Event::Part { part: 0, open: Open::Thinking },
        delta(0, Field::Think, "hm\\n"),
        delta(0, sig(Origin::Anthropic, Form::Sig), "EqoB"),
        Event::Stop { part: 0 },
        Event::Part { part: 1, open: Open::Redacted(Rider::new(Origin::Anthropic, Form::Red, "RED")) },
        Event::Stop { part: 1 },
        Event::Part { part: 2, open: Open::Text },
        delta(2, Field::Text, "I \\\"look\\\" \\u00e9"),
        Event::Ping,
        Event::Stop { part: 2 },
        Event::Part { part: 3, open: tool("t1") },
        delta(3, Field::Args, "{\\\"path\\\":"),
        delta(3, Field::Args, "\\\"a\\\"}"),
        Event::Stop { part: 3 },
        Event::Part { part: 4, open: tool("t2") },
        Event::Stop { part: 4 },
        Event::Usage(Usage { uncached: 20, cache_read: 100, output: 9, ..Usage::default() }),
        Event::Finish(Finish::Tool),
        Event::End,
    ]
}

#[test]
fn a_turn_as_its_messages() {
    let tool = |id: &str, member: Option<(&str, Value)>| {
        let mut payload = json!({"name": "read/file", "toolUseId": id});
        if let Some((name, value)) = member {
            payload[name] = value;
        }
        named("toolUseEvent", payload)
    };
    let input = |text: &str| Some(("input", json!(text)));
    let rider = Rider::new(Origin::Anthropic, Form::Red, "RED").gemini_field();
    let expected = [
        named("initial-response", json!({"conversationId": "c-1"})),
        named("reasoningContentEvent", json!({"text": "hm\n"})),
        named("reasoningContentEvent", json!({"signature": "EqoB"})),
        named("reasoningContentEvent", json!({"redactedContent": rider})),
        named("assistantResponseEvent", json!({"content": "I \"look\" é", "modelId": "auto"})),
        tool("t1", None),
        tool("t1", input("{\"path\":")),
        tool("t1", input("\"a\"}")),
        tool("t1", Some(("stop", json!(true)))),
        tool("t2", None),
        tool("t2", input("{}")),
        tool("t2", Some(("stop", json!(true)))),
        named(
            "metadataEvent",
            json!({"stopReason": "TOOL_USE", "tokenUsage": {"uncachedInputTokens": 20, "outputTokens": 9,
                "totalTokens": 129, "cacheReadInputTokens": 100, "cacheWriteInputTokens": 0}}),
        ),
        named("contextUsageEvent", json!({"contextUsagePercentage": 0.06})),
        named("meteringEvent", json!({"unit": "credit", "unitPlural": "credits", "usage": 0})),
    ];
    assert_eq!(encoded(&turn()), expected);
}

#[test]
fn a_whole_answer_is_the_same_stream() {
    let mut reply = Reply::default();
    turn().iter().for_each(|event| reply.fold(event));
    let mut out = Vec::new();
    reply::encode(&reply, &context(), &mut out);
    let whole = messages(&out);
    let streamed = encoded(&turn());
    assert_eq!(whole.first(), streamed.first());
    assert_eq!(whole.last(), streamed.last());
    // Deltas are joined: one input where two came.
    assert_eq!(whole.len() + 1, streamed.len());
}

#[test]
fn ends_have_names() {
    let end = |finish: Option<Finish<'static>>| {
        let events = [Some(start()), finish.map(Event::Finish), Some(Event::End)];
        encoded(&events.into_iter().flatten().collect::<Vec<_>>())[1].1["stopReason"].clone()
    };
    for (finish, expected) in [
        (Some(Finish::End), "END_TURN"),
        (Some(Finish::StopSequence(Some("x".into()))), "END_TURN"),
        (Some(Finish::Length), "MAX_TOKENS"),
        (Some(Finish::Tool), "TOOL_USE"),
        (Some(Finish::Filter(Refused::default())), "CONTENT_FILTERED"),
        (Some(Finish::Pause), "END_TURN"),
        (None, "END_TURN"),
    ] {
        assert_eq!(end(finish), expected);
    }
}

#[test]
fn an_error_is_the_last_message_and_names_no_account() {
    for (kind, name, status) in [
        (ErrorKind::RateLimit, "ThrottlingException", 429),
        (ErrorKind::Invalid, "ValidationException", 400),
        (ErrorKind::TooLarge, "ValidationException", 400),
        (ErrorKind::Overloaded, "ServiceUnavailableException", 503),
        (ErrorKind::Timeout, "ServiceUnavailableException", 503),
        (ErrorKind::Auth, "InternalServerException", 500),
        (ErrorKind::Billing, "InternalServerException", 500),
        (ErrorKind::Permission, "InternalServerException", 500),
        (ErrorKind::NotFound, "InternalServerException", 500),
        (ErrorKind::Truncated, "InternalServerException", 500),
    ] {
        let error = ApiError::new(kind, "why");
        let seen = encoded(&[start(), Event::Error(error.clone()), Event::End]);
        assert_eq!(seen.len(), 2, "nothing follows");
        assert_eq!((seen[1].0.as_str(), &seen[1].1["message"]), (name, &json!("why")));
        let mut out = Vec::new();
        assert_eq!(reply::encode_error(&error, &mut out), status);
        let body = parsed(std::str::from_utf8(&out).unwrap());
        assert_eq!((&body["__type"], &body["message"]), (&json!(name), &json!("why")));
        let reason = (kind == ErrorKind::TooLarge).then_some("CONTENT_LENGTH_EXCEEDS_THRESHOLD");
        assert_eq!(body["reason"].as_str(), reason);
    }
}

#[test]
fn sealed_reasoning_of_other_vendors_comes_back_as_what_it_is() {
    let sig = Field::Sig { origin: Origin::Responses, form: Form::Enc, item_id: Some(Text::Plain("rs_1")) };
    let red = Rider::new(Origin::Anthropic, Form::Red, "RED");
    let seen = encoded(&[
        start(),
        Event::Part { part: 0, open: Open::Thinking },
        delta(0, sig, "gAAA"),
        Event::Stop { part: 0 },
        Event::Part { part: 1, open: Open::Redacted(red.clone()) },
    ]);
    let reasoning = |content: Value| json!({"assistantResponseMessage": {"content": "x", "reasoningContent": content}});
    let body = json!({"conversationState": {
        "history": [reasoning(json!({"reasoningText": {"text": "", "signature": seen[1].1["signature"]}})),
                    reasoning(json!({"redactedContent": seen[2].1["redactedContent"]}))],
        "currentMessage": {"userInputMessage": {"content": "go on", "modelId": "auto"}}}});
    let transcript = transcribe(raw(&body.to_string())).unwrap();
    let text = String::from_utf8(transcript.body).unwrap();
    let request = Dialect::Anthropic.decode_request(raw(&text), &UrlParts::default()).unwrap();
    let riders = request.messages.iter().flat_map(|message| &message.parts).filter_map(|part| match part {
        Part::Thinking { rider, .. } => rider.clone().map(Rider::into_owned),
        Part::Redacted(rider) => Some(rider.clone().into_owned()),
        _ => None,
    });
    let mut sealed = Rider::new(Origin::Responses, Form::Enc, "gAAA");
    sealed.item_id = Some("rs_1".into());
    assert_eq!(riders.collect::<Vec<_>>(), [sealed, red]);
}
