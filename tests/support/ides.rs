//! Answers as the programs behind interception read them, which know nothing of the hub.

// Every test program uses its part of this.
#![allow(dead_code, clippy::unwrap_used)]

#[path = "ides/cursor.rs"]
pub(crate) mod cursor;

use codecs::frame::Aws;
use serde_json::Value;

/// The model by the programs' own name.
pub(crate) const MODEL: &str = "auto";
/// Their conversation.
pub(crate) const CONVERSATION: &str = "c-1";

/// What a program has read.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Heard {
    pub(crate) text: String,
    pub(crate) thinking: String,
    /// Name and arguments.
    pub(crate) calls: Vec<(String, Value)>,
    /// Why it ended, if it ended well.
    pub(crate) end: Option<String>,
    /// Tokens in and out.
    pub(crate) usage: Option<(u64, u64)>,
    pub(crate) error: Option<String>,
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// Reads as Kiro does: calls are gathered by their id.
pub(crate) fn kiro(stream: &[u8]) -> Heard {
    let mut heard = Heard::default();
    let mut calls: Vec<(String, String, String, bool)> = Vec::new();
    let mut n = 0;
    let mut each = |message: codecs::frame::Message<'_>| {
        let payload: Value = serde_json::from_slice(message.payload).unwrap();
        assert!(heard.error.is_none(), "nothing follows an exception");
        if message.headers.text(":message-type") == Some("exception") {
            assert!(message.headers.text(":exception-type").is_some());
            heard.error = Some(text(&payload["message"]).to_owned());
            return;
        }
        let name = message.headers.text(":event-type").unwrap();
        assert_eq!(n == 0, name == "initial-response", "{name}");
        n += 1;
        match name {
            "initial-response" => assert_eq!(payload["conversationId"], CONVERSATION),
            "assistantResponseEvent" => {
                assert_eq!(payload["modelId"], MODEL);
                heard.text += text(&payload["content"]);
            }
            "reasoningContentEvent" => heard.thinking += text(&payload["text"]),
            "toolUseEvent" => {
                let id = text(&payload["toolUseId"]);
                if calls.last().is_none_or(|(last, ..)| last != id) {
                    assert!(calls.iter().all(|(other, .., over)| other != id && *over), "calls come one by one");
                    calls.push((id.to_owned(), text(&payload["name"]).to_owned(), String::new(), false));
                }
                let (_, _, input, over) = calls.last_mut().unwrap();
                assert!(!*over && payload.get("input").is_none_or(Value::is_string));
                *input += text(&payload["input"]);
                *over = payload["stop"] == true;
            }
            "metadataEvent" => {
                let usage = &payload["tokenUsage"];
                let input = ["uncachedInputTokens", "cacheReadInputTokens", "cacheWriteInputTokens"];
                let input = input.iter().map(|name| number(&usage[*name])).sum();
                heard.usage = Some((input, number(&usage["outputTokens"])));
                heard.end = Some(text(&payload["stopReason"]).to_owned());
            }
            "contextUsageEvent" => assert!(payload["contextUsagePercentage"].is_number()),
            "meteringEvent" => assert_eq!(payload["unit"], "credit"),
            other => panic!("{other}"),
        }
    };
    let mut aws = Aws::default();
    aws.push(stream, &mut each).unwrap();
    aws.finish().unwrap();
    // One that was not ended is not made.
    let whole = calls.into_iter().filter(|(.., over)| *over);
    heard.calls = whole.map(|(_, name, input, _)| (name, serde_json::from_str(&input).unwrap())).collect();
    heard
}

/// Reads as Antigravity does.
pub(crate) fn cloud_code(stream: &str) -> Heard {
    let events = stream.split_terminator("\r\n\r\n").map(|event| event.strip_prefix("data: ").unwrap());
    cloud_code_objects(events.map(|event| serde_json::from_str(event).unwrap()).collect())
}

/// The same of objects, however they came: in events, in an array, or alone.
pub(crate) fn cloud_code_objects(objects: Vec<Value>) -> Heard {
    let mut heard = Heard::default();
    for object in objects {
        assert!(heard.error.is_none() && heard.end.is_none(), "nothing follows the end");
        if let Some(error) = object.get("error") {
            heard.error = Some(text(&error["message"]).to_owned());
            continue;
        }
        let inner = &object["response"];
        assert_eq!(inner["modelVersion"], MODEL);
        assert!(object["traceId"].is_string() && object["metadata"].is_object());
        let candidate = &inner["candidates"][0];
        for part in candidate["content"]["parts"].as_array().unwrap() {
            if let Some(call) = part.get("functionCall") {
                assert!(part["thoughtSignature"].is_string());
                heard.calls.push((text(&call["name"]).to_owned(), call["args"].clone()));
            } else if part["thought"] == true {
                heard.thinking += text(&part["text"]);
            } else {
                heard.text += text(&part["text"]);
            }
        }
        if let Some(reason) = candidate.get("finishReason") {
            let usage = &inner["usageMetadata"];
            let output = number(&usage["candidatesTokenCount"]) + number(&usage["thoughtsTokenCount"]);
            heard.usage = Some((number(&usage["promptTokenCount"]), output));
            heard.end = Some(text(reason).to_owned());
        }
    }
    heard
}

/// Reads a chat stream as Copilot does: fragments of calls are known by their ids, and those without one belong to the last
/// call.
pub(crate) fn copilot(stream: &str) -> Heard {
    let mut heard = Heard::default();
    let mut calls: Vec<(String, String, String)> = Vec::new();
    let data = stream.lines().filter_map(|line| line.strip_prefix("data: "));
    for data in data {
        if data == "[DONE]" {
            assert!(heard.usage.is_some(), "the counts come before the end");
            continue;
        }
        let chunk: Value = serde_json::from_str(data).unwrap();
        assert_eq!(chunk["model"], MODEL);
        if chunk["usage"].is_object() {
            heard.usage =
                Some((number(&chunk["usage"]["prompt_tokens"]), number(&chunk["usage"]["completion_tokens"])));
        }
        let choice = &chunk["choices"][0];
        heard.text += text(&choice["delta"]["content"]);
        heard.thinking += text(&choice["delta"]["reasoning_text"]);
        for call in choice["delta"]["tool_calls"].as_array().into_iter().flatten() {
            if let Some(id) = call["id"].as_str() {
                assert!(calls.iter().all(|(other, ..)| other != id), "calls are not interleaved");
                calls.push((id.to_owned(), text(&call["function"]["name"]).to_owned(), String::new()));
            }
            calls.last_mut().unwrap().2 += text(&call["function"]["arguments"]);
        }
        if let Some(reason) = choice["finish_reason"].as_str() {
            heard.end = Some(reason.to_owned());
        }
    }
    heard.calls = calls.into_iter().map(|(_, name, input)| (name, serde_json::from_str(&input).unwrap())).collect();
    heard
}

/// Reads as Cursor does what `StreamUnifiedChatWithTools` is answered.
pub(crate) fn cursor(stream: &[u8]) -> Heard {
    cursor::chat(stream, true)
}
