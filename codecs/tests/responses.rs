//! Conversations across dialects in which one side speaks OpenAI Responses: opaque riders come home unchanged, and
//! custom tools are wrapped and unwrapped on the way.

#![allow(clippy::unwrap_used)]

use bytes::BytesMut;
use codecs::{
    dialect::{Context, Dialect, StreamDecode, Target, UrlParts},
    hub::{Event, check::Check},
    json::Raw,
    translate::{StreamTranslator, translate_reply, translate_request},
};
use proptest::prelude::*;
use serde_json::{Value, json};

/// An answer of `upstream` as the document of `client`.
fn answer(upstream: Dialect, client: Dialect, document: &Value) -> Value {
    let mut out = Vec::new();
    let text = document.to_string();
    translate_reply(upstream, client, Raw::parse_str(&text).unwrap(), &Context::default(), &mut out).unwrap();
    serde_json::from_slice(&out).unwrap()
}

/// A request of `client` as it reaches `upstream`.
fn request(client: Dialect, upstream: Dialect, body: &Value) -> Value {
    let text = body.to_string();
    let url = UrlParts { model: Some("gemini-3-pro"), ..UrlParts::default() };
    let target = Target { model: "m".into(), gemini3: true, ..Target::default() };
    let encoded = translate_request(client, upstream, Raw::parse_str(&text).unwrap(), &url, &target).unwrap();
    serde_json::from_slice(&encoded.body).unwrap()
}

const BLOB: &str = "gAAAAABopaque+/=";

fn responses_answer() -> Value {
    json!({"id":"resp_1","object":"response","created_at":1,"status":"completed","model":"m","output":[
        {"id":"rs_1","type":"reasoning","summary":[{"type":"summary_text","text":"why"}],"encrypted_content":BLOB},
        {"id":"fc_1","type":"function_call","status":"completed","call_id":"call_1","name":"f","arguments":"{}"}
    ]})
}

#[test]
fn encrypted_reasoning_comes_home_through_every_client() {
    let reasoning_of = |body: &Value| {
        let items = body["input"].as_array().unwrap();
        items
            .iter()
            .find(|item| item["type"] == "reasoning")
            .unwrap_or_else(|| panic!("no reasoning in {body}"))
            .clone()
    };

    let chat = answer(Dialect::OpenAiResponses, Dialect::OpenAiChat, &responses_answer());
    let history = json!({"model":"m","messages":[
        {"role":"user","content":"q"}, chat["choices"][0]["message"],
        {"role":"tool","tool_call_id":"call_1","content":"r"}]});
    let item = reasoning_of(&request(Dialect::OpenAiChat, Dialect::OpenAiResponses, &history));
    assert_eq!((&item["encrypted_content"], &item["id"]), (&json!(BLOB), &json!("rs_1")));

    let anthropic = answer(Dialect::OpenAiResponses, Dialect::Anthropic, &responses_answer());
    let history = json!({"model":"m","max_tokens":9,"messages":[
        {"role":"user","content":"q"}, {"role":"assistant","content":anthropic["content"]},
        {"role":"user","content":[{"type":"tool_result","tool_use_id":"call_1","content":"r"}]}]});
    let item = reasoning_of(&request(Dialect::Anthropic, Dialect::OpenAiResponses, &history));
    assert_eq!((&item["encrypted_content"], &item["id"]), (&json!(BLOB), &json!("rs_1")));
    assert_eq!(item["summary"][0]["text"], "why");

    let gemini = answer(Dialect::OpenAiResponses, Dialect::Gemini, &responses_answer());
    let history = json!({"contents":[
        {"role":"user","parts":[{"text":"q"}]}, gemini["candidates"][0]["content"],
        {"role":"user","parts":[{"functionResponse":{"name":"f","response":{"output":"r"}}}]}]});
    let item = reasoning_of(&request(Dialect::Gemini, Dialect::OpenAiResponses, &history));
    assert_eq!((&item["encrypted_content"], &item["id"]), (&json!(BLOB), &json!("rs_1")));
}

/// The answer's items as the next request's input.
fn next_input(answer: &Value) -> Value {
    let mut input = vec![json!({"role":"user","content":"q"})];
    input.extend(answer["output"].as_array().unwrap().iter().cloned());
    for item in answer["output"].as_array().unwrap() {
        if item["type"] == "function_call" {
            input.push(json!({"type":"function_call_output","call_id":item["call_id"],"output":"r"}));
        }
    }
    json!({"model":"m","input":input,"reasoning":{"effort":"low"},"max_output_tokens":20_000})
}

#[test]
fn foreign_riders_come_home_through_a_responses_client() {
    let upstream = json!({"id":"msg_1","type":"message","role":"assistant","model":"m","stop_reason":"tool_use","content":[
        {"type":"thinking","thinking":"why","signature":"EqoB=="},
        {"type":"redacted_thinking","data":"red=="},
        {"type":"text","text":"t"},
        {"type":"tool_use","id":"toolu_1","name":"f","input":{"a":1.0}}
    ],"usage":{"input_tokens":1,"output_tokens":2}});
    let client = answer(Dialect::Anthropic, Dialect::OpenAiResponses, &upstream);
    let back = request(Dialect::OpenAiResponses, Dialect::Anthropic, &next_input(&client));
    assert_eq!(back["messages"][1]["content"], upstream["content"]);

    let call = json!({"functionCall":{"name":"f","args":{"a":1.0}},"thoughtSignature":"CkQB=="});
    let upstream = json!({"responseId":"x","modelVersion":"m","candidates":[
        {"content":{"role":"model","parts":[{"text":"why","thought":true}, call]},"finishReason":"STOP"}]});
    let client = answer(Dialect::Gemini, Dialect::OpenAiResponses, &upstream);
    let back = request(Dialect::OpenAiResponses, Dialect::Gemini, &next_input(&client));
    let parts = back["contents"][1]["parts"].as_array().unwrap();
    assert_eq!(parts.last().unwrap(), &call);
}

fn custom_stream() -> String {
    [
        json!({"type":"response.created","response":{"id":"resp_1","model":"m"}}),
        json!({"type":"response.output_item.added","output_index":0,"item":{"type":"custom_tool_call","call_id":"c","name":"patch","input":""}}),
        json!({"type":"response.custom_tool_call_input.delta","output_index":0,"delta":"a\"b"}),
        json!({"type":"response.custom_tool_call_input.delta","output_index":0,"delta":"\n*"}),
        json!({"type":"response.output_item.done","output_index":0,"item":{"type":"custom_tool_call","call_id":"c","name":"patch","input":"a\"b\n*"}}),
        json!({"type":"response.completed","response":{"status":"completed","output":[]}}),
    ]
    .iter()
    .map(|event| format!("data: {event}\n\n"))
    .collect()
}

#[test]
fn custom_input_is_wrapped_for_clients_that_declared_a_function() {
    for (client, key) in [(Dialect::OpenAiChat, "arguments"), (Dialect::Anthropic, "partial_json")] {
        let mut translator = StreamTranslator::new(Dialect::OpenAiResponses, client, &Context::default());
        let mut out = BytesMut::new();
        translator.push(custom_stream().as_bytes(), &mut out);
        translator.finish(&mut out);
        let text = String::from_utf8(out.to_vec()).unwrap();
        let mut arguments = String::new();
        for line in text.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|line| *line != "[DONE]") {
            collect(&serde_json::from_str(line).unwrap(), key, &mut arguments);
        }
        let value: Value = serde_json::from_str(&arguments).unwrap_or_else(|e| panic!("{e}: {arguments}"));
        assert_eq!(value, json!({"input":"a\"b\n*"}), "{}", client.name());
    }
}

/// Joins every string called `key`, in order.
fn collect(value: &Value, key: &str, out: &mut String) {
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| match value.as_str() {
            Some(text) if name == key => out.push_str(text),
            _ => collect(value, key, out),
        }),
        Value::Array(list) => list.iter().for_each(|value| collect(value, key, out)),
        _ => {}
    }
}

/// Events in any order, about any item, with anything missing.
fn odd_event() -> impl Strategy<Value = Value> {
    let kind = prop::sample::select(vec![
        "response.created",
        "response.output_item.added",
        "response.output_item.done",
        "response.output_text.delta",
        "response.refusal.delta",
        "response.reasoning_summary_text.delta",
        "response.reasoning_text.delta",
        "response.function_call_arguments.delta",
        "response.custom_tool_call_input.delta",
        "response.content_part.done",
    ]);
    let item = prop::sample::select(vec![
        json!(null),
        json!({}),
        json!({"type":"message","id":"m","content":[{"type":"output_text","text":"ab\u{1F680}c"},{"refusal":"no"}]}),
        json!({"type":"message","content":"text"}),
        json!({"type":"reasoning","id":"r","summary":[{"text":"s"},{"text":"t"}],"encrypted_content":"e"}),
        json!({"type":"reasoning","encrypted_content":"frt1.anthropic.red.x"}),
        json!({"type":"function_call","call_id":"c","name":"f","arguments":"{\"a\":1}"}),
        json!({"type":"function_call","name":"f"}),
        json!({"type":"custom_tool_call","call_id":"c","name":"p","input":"x"}),
        json!({"type":"web_search_call","id":"w"}),
    ]);
    let delta = prop::sample::select(vec![
        json!("a"),
        json!(""),
        json!("{}"),
        json!("\u{1F680}\n"),
        json!({"a":1}),
        json!(null),
    ]);
    (kind, item, delta, prop::option::of(0u64..4), 0u64..3).prop_map(|(kind, item, delta, index, section)| {
        json!({"type":kind,"item":item,"delta":delta,"output_index":index,"item_id":"m","summary_index":section,"response":{"id":"resp_1"}})
    })
}

fn odd_end() -> impl Strategy<Value = Option<Value>> {
    prop::sample::select(vec![
        None,
        Some(json!({"type":"response.completed"})),
        Some(
            json!({"type":"response.completed","response":{"output":[{"type":"message","content":[{"text":"late"}]},7]}}),
        ),
        Some(json!({"type":"response.incomplete","response":{"incomplete_details":{"reason":"content_filter"}}})),
        Some(json!({"type":"response.failed","response":{"error":null}})),
        Some(json!({"type":"error","message":7})),
    ])
}

proptest! {
    /// However odd the upstream: the grammar of hub events holds, and no client's encoder panics or goes on after the end.
    #[test]
    fn odd_streams_keep_the_grammar(events in prop::collection::vec(odd_event(), 0..16), last in odd_end()) {
        let events: Vec<String> = events.iter().chain(&last).map(Value::to_string).collect();
        let mut decoder = Dialect::OpenAiResponses.stream_decoder(&Context::default());
        let (mut check, mut broken, mut over) = (Check::default(), Vec::new(), false);
        let mut emit = |event: Event<'_>| {
            broken.extend(check.event(&event).err());
            over |= matches!(event, Event::End | Event::Error(_));
        };
        for event in &events {
            decoder.json(None, Raw::parse_str(event).unwrap(), &mut emit);
        }
        decoder.end(&mut emit);
        prop_assert!(broken.is_empty() && over, "{broken:?}");
        let stream: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
        for client in Dialect::ALL {
            let mut translator = StreamTranslator::new(Dialect::OpenAiResponses, client, &Context::default());
            let mut out = BytesMut::new();
            translator.push(stream.as_bytes(), &mut out);
            translator.finish(&mut out);
            let length = out.len();
            translator.finish(&mut out);
            prop_assert!(length > 0 && out.len() == length);
        }
    }
}
