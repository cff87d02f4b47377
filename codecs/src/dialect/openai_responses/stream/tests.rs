#![allow(clippy::unwrap_used)]

use std::{collections::HashSet, sync::Arc};

use bytes::BytesMut;
use serde_json::{Value, json};

use super::{Decoder, Encoder};
use crate::{
    dialect::{Context, StreamDecode, StreamEncode, ToolIdentity, ToolTable, openai_responses::echo::Echo},
    frame::{Deframer, Framing},
    hub::{
        ApiError, ErrorKind, Event, Field, Finish, Form, Open, Origin, Refused, Reply, ReplyPart, Rider, ToolKind,
        Usage, check::Check,
    },
    json::{Raw, Text},
};

fn context() -> Context {
    Context { now: 1_700_000_000, new_id: "newid".into(), model: "asked".into(), ..Context::default() }
}

/// What a decoder says, one short line per event.
fn told(event: &Event<'_>) -> String {
    match event {
        Event::Start { id, model, created, .. } => format!("start {} {} {created:?}", id.plain(), model.plain()),
        Event::Part { part, open } => match open {
            Open::Text => format!("{part} text"),
            Open::Thinking => format!("{part} thinking"),
            Open::Refusal => format!("{part} refusal"),
            Open::Redacted(rider) => format!("{part} redacted {}", rider.tag()),
            Open::Tool { id, name, kind, .. } => format!("{part} {kind:?} {} {}", id.plain(), name.plain()),
            Open::Image { .. } => format!("{part} image"),
        },
        Event::Delta { part, field: Field::Sig { origin, form, item_id }, text } => {
            let id = item_id.map(|id| id.plain().into_owned()).unwrap_or_default();
            format!("{part} sig {origin:?} {form:?} {id} {}", text.plain())
        }
        Event::Delta { part, text, .. } => format!("{part} + {}", text.plain()),
        Event::Stop { part } => format!("{part} stop"),
        Event::Usage(usage) => format!("usage {} {}", usage.input(), usage.output),
        Event::Finish(finish) => format!("finish {finish:?}"),
        Event::Ping => "ping".into(),
        Event::Error(error) => format!("error {:?} {}", error.kind, error.message),
        Event::End => "end".into(),
    }
}

/// Decodes events, end of input included, and checks the grammar.
fn decode_with(context: &Context, events: &[Value]) -> Vec<String> {
    let mut decoder = Decoder::new(context);
    let (mut lines, mut check) = (Vec::new(), Check::default());
    let mut emit = |event: Event<'_>| {
        check.event(&event).unwrap();
        lines.push(told(&event));
    };
    for event in events {
        let text = event.to_string();
        decoder.json(None, Raw::parse_str(&text).unwrap(), &mut emit);
    }
    decoder.done(&mut emit);
    decoder.end(&mut emit);
    decoder.end(&mut emit);
    lines
}

fn decode(events: &[Value]) -> Vec<String> {
    decode_with(&context(), events)
}

fn created() -> Value {
    json!({"type":"response.created","response":{"id":"resp_1","model":"m","created_at":7.9}})
}

fn completed() -> Value {
    json!({"type":"response.completed","response":{"status":"completed","output":[],
        "usage":{"input_tokens":"3","output_tokens":2}}})
}

const START: &str = "start resp_1 m Some(7)";
const TAIL: [&str; 3] = ["usage 3 2", "finish End", "end"];

#[test]
fn text_and_refusal_share_an_item_but_not_a_part() {
    let lines = decode(&[
        created(),
        json!({"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"a","obfuscation":"x","logprobs":[{"token":"a"}]}),
        json!({"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":""}),
        json!({"type":"response.refusal.delta","output_index":0,"content_index":1,"delta":"no"}),
        json!({"type":"response.output_item.done","output_index":0,"item":{"type":"message","content":[
            {"type":"output_text","text":"a"},{"type":"refusal","refusal":"no way"}]}}),
        json!({"type":"response.output_text.delta","output_index":0,"delta":"late"}),
        completed(),
        json!({"type":"response.output_text.delta","output_index":1,"delta":"after the end"}),
    ]);
    let expected = [&[START, "0 text", "0 + a", "0 stop", "1 refusal", "1 + no", "1 +  way", "1 stop"], &TAIL[..]];
    assert_eq!(lines, expected.concat());
}

#[test]
fn sections_of_reasoning_are_joined_by_a_blank_line() {
    let lines = decode(&[
        created(),
        json!({"type":"response.output_item.added","output_index":0,"item":{"id":"rs_1","type":"reasoning","summary":[],"encrypted_content":"early"}}),
        json!({"type":"response.reasoning_summary_text.delta","output_index":0,"summary_index":0,"delta":"s1"}),
        json!({"type":"response.reasoning_summary_text.delta","output_index":0,"summary_index":1,"delta":"s"}),
        json!({"type":"response.output_item.done","output_index":0,"item":{"id":"rs_1","type":"reasoning",
            "summary":[{"text":"s1"},{"text":"s2"},{"text":"s3"}],"content":[{"type":"reasoning_text","text":"c"}],
            "encrypted_content":"blob"}}),
        completed(),
    ]);
    let expected = [
        &[START, "0 thinking", "0 + s1", "0 + \n\n", "0 + s", "0 + 2", "0 + \n\n", "0 + s3", "0 + \n\n", "0 + c"][..],
        &["0 sig Responses Enc rs_1 blob", "0 stop"],
        &TAIL,
    ];
    assert_eq!(lines, expected.concat());
}

#[test]
fn blobs_go_home_and_open_models_think_aloud() {
    let item = |index: u64, blob: &str| {
        json!({"type":"response.output_item.done","output_index":index,
            "item":{"id":"rs_x","type":"reasoning","summary":[],"encrypted_content":blob}})
    };
    let lines = decode(&[
        created(),
        item(0, "own"),
        item(1, "frt1.anthropic.sig.abc"),
        item(2, "frt1.anthropic.red.def"),
        json!({"type":"response.output_item.done","output_index":3,"item":{"type":"reasoning","summary":[]}}),
        json!({"type":"response.reasoning_text.delta","output_index":4,"content_index":0,"delta":"hm"}),
        completed(),
    ]);
    let expected = [
        &[START, "0 thinking", "0 sig Responses Enc rs_x own", "0 stop"][..],
        &["1 thinking", "1 sig Anthropic Sig  abc", "1 stop", "2 redacted frt1.anthropic.red.def", "2 stop"],
        &["3 thinking", "3 + hm", "3 stop"],
        &TAIL,
    ];
    assert_eq!(lines, expected.concat());
}

#[test]
fn calls_wait_for_their_name_and_never_reuse_an_id() {
    let context = Context { used_ids: Arc::new(HashSet::from(["call_0".to_owned()])), ..context() };
    let lines = decode_with(
        &context,
        &[
            created(),
            json!({"type":"response.output_item.added","output_index":0,"item":{"type":"function_call","id":"fc_0"}}),
            json!({"type":"response.function_call_arguments.delta","output_index":0,"delta":"{\"a\""}),
            json!({"type":"response.output_item.done","output_index":0,"item":{"type":"function_call","call_id":"call_0","name":"f","arguments":"{\"a\":1}"}}),
            json!({"type":"response.output_item.added","output_index":1,"item":{"type":"custom_tool_call","call_id":"c1","name":"patch"}}),
            json!({"type":"response.custom_tool_call_input.delta","output_index":1,"delta":"*** Be"}),
            json!({"type":"response.output_item.done","output_index":1,"item":{"type":"custom_tool_call","call_id":"c1","name":"patch","input":"*** Begin"}}),
            // Without arguments, and without a name.
            json!({"type":"response.output_item.done","output_index":2,"item":{"type":"function_call","call_id":"c2","name":"g","arguments":""}}),
            json!({"type":"response.function_call_arguments.delta","output_index":3,"delta":"{}"}),
            // An empty shell is no call; a hosted tool is nobody's.
            json!({"type":"response.output_item.done","output_index":4,"item":{"type":"function_call","arguments":""}}),
            json!({"type":"response.output_item.done","output_index":5,"item":{"type":"web_search_call","id":"ws_1"}}),
            completed(),
        ],
    );
    let expected = [
        START,
        "0 Function call_1_0 f",
        "0 + {\"a\"",
        "0 + :1}",
        "0 stop",
        "1 Custom c1 patch",
        "1 + *** Be",
        "1 + gin",
        "1 stop",
        "2 Function c2 g",
        "2 + {}",
        "2 stop",
        "3 Function call_1_3 tool_3",
        "3 + {}",
        "3 stop",
        "usage 3 2",
        "finish Tool",
        "end",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn whatever_was_not_streamed_comes_from_the_terminal_event() {
    let lines = decode(&[
        json!({"type":"response.output_text.delta","output_index":0,"item_id":"msg_a","delta":"one"}),
        json!({"type":"response.completed","response":{"id":"resp_1","output":[
            {"id":"msg_a","type":"message","content":[{"type":"output_text","text":"one more"}]},
            {"id":"fc_b","type":"function_call","call_id":"c","name":"f","arguments":"{\"n\":1}"}]}}),
    ]);
    let expected = ["start   None", "0 text", "0 + one", "0 +  more", "0 stop"];
    let call = ["1 Function c f", "1 + {\"n\":1}", "1 stop", "finish Tool", "end"];
    assert_eq!(lines, [expected, call].concat());
}

#[test]
fn servers_that_change_ids_or_do_not_count_are_understood() {
    // The id of an item differs between its events: the index decides.
    let added = json!({"type":"response.output_item.added","output_index":0,"item":{"id":"a","type":"message"}});
    let delta = json!({"type":"response.output_text.delta","output_index":0,"item_id":"b","delta":"x"});
    let done = json!({"type":"response.output_item.done","output_index":0,"item":{"id":"c","type":"message","content":[{"text":"x"}]}});
    let first = [START, "0 text", "0 + x", "0 stop"];
    assert_eq!(
        decode(&[created(), added.clone(), delta.clone(), done.clone(), completed()]),
        [&first[..], &TAIL].concat()
    );
    // Every item at index 0.
    let second = ["1 text", "1 + x", "1 stop"];
    assert_eq!(
        decode(&[created(), added.clone(), delta.clone(), done.clone(), added, delta, done, completed()]),
        [&first[..], &second, &TAIL].concat()
    );
    // No index at all.
    let one = json!({"type":"response.output_text.delta","item_id":"i","delta":"1"});
    let two = json!({"type":"response.output_text.delta","item_id":"j","delta":"2"});
    assert_eq!(
        decode(&[created(), one.clone(), two, one, completed()]),
        [&[START, "0 text", "0 + 1", "1 text", "1 + 2", "0 + 1", "0 stop", "1 stop"][..], &TAIL].concat()
    );
}

#[test]
fn ends_and_failures() {
    let with = |last: Value| decode(&[created(), last]).split_off(1);
    let truncated = "error Truncated upstream stream ended before completion";
    assert_eq!(decode(&[]), [truncated]);
    assert_eq!(decode(&[created()]), [START, truncated]);
    assert_eq!(
        with(json!({"type":"response.incomplete","response":{"incomplete_details":{"reason":"max_output_tokens"}}})),
        ["finish Length", "end"]
    );
    assert_eq!(
        with(json!({"type":"response.incomplete","response":{"incomplete_details":{"reason":"content_filter"}}})),
        ["finish Filter(Refused { category: None, explanation: None })", "end"]
    );
    assert_eq!(
        with(
            json!({"type":"response.failed","response":{"status":"failed","usage":{"input_tokens":1},"error":{"code":"server_is_overloaded","message":"busy"}}})
        ),
        ["usage 1 0", "error Overloaded busy"]
    );
    assert_eq!(
        with(json!({"type":"error","code":"invalid_prompt","message":"bad sk-proj-abcdEFGH1234"})),
        ["error Invalid bad sk-***"]
    );
    assert_eq!(
        with(json!({"type":"error","error":{"type":"invalid_request_error","message":"nested"}})),
        ["error Invalid nested"]
    );
    assert_eq!(with(json!({"error":{"code":"slow_down","message":"untyped"}})), ["error Overloaded untyped"]);
    assert_eq!(with(json!({"type":"response.cancelled","response":{"status":"cancelled"}})).len(), 1);
}

/// An answer that never stops adding items meets a bound.
#[test]
fn items_are_bounded() {
    let mut decoder = Decoder::new(&context());
    let mut last = String::new();
    for index in 0..10_000 {
        let event =
            json!({"type":"response.output_item.added","output_index":index,"item":{"type":"message"}}).to_string();
        decoder.json(None, Raw::parse_str(&event).unwrap(), &mut |event| last = told(&event));
    }
    assert_eq!(last, "error Api the upstream sent too many output items");
}

/// Encodes events and checks what holds for every stream: names, sequence, one item at a time, dense indices.
fn encode_with(context: &Context, events: &[Event<'_>]) -> Vec<Value> {
    let mut encoder = Encoder::new(context);
    let mut out = BytesMut::new();
    for event in events {
        encoder.event(event, &mut out);
    }
    let mut values: Vec<Value> = Vec::new();
    let mut deframer = Deframer::new(Framing::Sse);
    let mut each = |frame: crate::frame::Frame<'_>| {
        let value: Value = serde_json::from_slice(frame.data).unwrap();
        assert_eq!(frame.name.unwrap(), value["type"]);
        values.push(value);
    };
    deframer.push(&out, &mut each).unwrap();
    deframer.finish(&mut each).unwrap();
    let (mut next, mut open) = (0, false);
    for (at, value) in values.iter().enumerate() {
        assert_eq!(value["sequence_number"], at, "{value}");
        match value["type"].as_str().unwrap() {
            "response.output_item.added" => {
                assert!(!open && value["output_index"] == next, "{value}");
                open = true;
            }
            "response.output_item.done" => {
                assert!(open && value["output_index"] == next, "{value}");
                (open, next) = (false, next + 1);
            }
            _ => {}
        }
    }
    values
}

fn encode(events: &[Event<'_>]) -> Vec<Value> {
    encode_with(&context(), events)
}

fn start() -> Event<'static> {
    Event::Start { id: "chatcmpl-X".into(), model: "m".into(), created: Some(5), usage: None }
}

fn part(part: u32, open: Open<'static>) -> Event<'static> {
    Event::Part { part, open }
}

fn delta(part: u32, field: Field<'static>, text: &'static str) -> Event<'static> {
    Event::Delta { part, field, text: Text::Plain(text) }
}

fn tool(id: &'static str, name: &'static str, kind: ToolKind) -> Open<'static> {
    Open::Tool { id: id.into(), name: name.into(), kind, signature: None }
}

fn types(values: &[Value]) -> Vec<&str> {
    values.iter().map(|value| value["type"].as_str().unwrap().trim_start_matches("response.")).collect()
}

#[test]
fn an_error_closes_nothing() {
    let values = encode(&[
        start(),
        part(0, Open::Text),
        delta(0, Field::Text, "done"),
        Event::Stop { part: 0 },
        part(1, tool("c", "f", ToolKind::Function)),
        delta(1, Field::Args, "{\"half\":"),
        Event::Usage(Usage { uncached: 4, ..Usage::default() }),
        Event::Error(ApiError::new(ErrorKind::RateLimit, "slow \"down\"")),
        Event::Error(ApiError::new(ErrorKind::Api, "again")),
        Event::End,
    ]);
    assert_eq!(types(&values).last(), Some(&"failed"));
    let response = &values.last().unwrap()["response"];
    assert_eq!(response["status"], "failed");
    assert_eq!(response["error"], json!({"code":"rate_limit_exceeded","message":"slow \"down\""}));
    assert_eq!(response["output"].as_array().unwrap().len(), 1);
    assert_eq!(response["usage"]["input_tokens"], 4);
    assert_eq!(types(&values).iter().filter(|kind| **kind == "output_item.done").count(), 1);
}

#[test]
fn an_error_before_everything_still_has_a_first_event() {
    let values = encode(&[Event::Ping, Event::Error(ApiError::new(ErrorKind::Timeout, "late"))]);
    assert_eq!(types(&values), ["created", "in_progress", "failed"]);
    assert_eq!(values[0]["response"]["id"], "resp_newid");
    assert_eq!(values[0]["response"]["model"], "asked");
    assert_eq!(values[2]["response"]["error"]["code"], "server_error");
    assert_eq!(values[2]["response"]["usage"], Value::Null);
}

#[test]
fn closing_is_idempotent_and_known_code_words_pass() {
    let end = [start(), Event::Finish(Finish::End), Event::End, Event::End, Event::Ping, part(0, Open::Text)];
    assert_eq!(types(&encode(&end)), ["created", "in_progress", "completed"]);
    let mut error = ApiError::new(ErrorKind::Invalid, "too long");
    error.code = Some("context_length_exceeded".into());
    let values = encode(&[start(), Event::Error(error)]);
    assert_eq!(values[2]["response"]["error"]["code"], "context_length_exceeded");
}

#[test]
fn a_cut_call_is_judged_per_item() {
    let values = encode(&[
        start(),
        part(0, tool("a", "f", ToolKind::Function)),
        delta(0, Field::Args, "{}"),
        Event::Stop { part: 0 },
        part(1, tool("b", "g", ToolKind::Function)),
        delta(1, Field::Args, "{\"x\":["),
        Event::Stop { part: 1 },
        Event::Finish(Finish::Length),
        Event::Usage(Usage { output: 9, ..Usage::default() }),
        Event::End,
    ]);
    let response = &values.last().unwrap()["response"];
    let statuses: Vec<_> = response["output"].as_array().unwrap().iter().map(|item| item["status"].clone()).collect();
    assert_eq!(statuses, ["completed", "incomplete"]);
    assert_eq!(response["incomplete_details"], json!({"reason":"max_output_tokens"}));
    assert_eq!(response["usage"]["output_tokens"], 9);
}

#[test]
fn calls_without_arguments_are_empty_objects() {
    let values = encode(&[
        start(),
        part(0, tool("a", "f", ToolKind::Function)),
        Event::Stop { part: 0 },
        Event::Finish(Finish::Tool),
        Event::End,
    ]);
    assert_eq!(values.last().unwrap()["response"]["output"][0]["arguments"], "{}");
    assert_eq!(types(&values)[3], "function_call_arguments.delta");
}

#[test]
fn custom_tools_stream_their_input() {
    let identity = ToolIdentity { name: "apply_patch".into(), namespace: Some("ns".into()), kind: ToolKind::Custom };
    let mut tools = ToolTable::default();
    tools.insert("ns__apply_patch", identity);
    let context = Context { tools: Arc::new(tools), ..context() };
    let values = encode_with(
        &context,
        &[
            start(),
            part(0, tool("a", "ns__apply_patch", ToolKind::Function)),
            delta(0, Field::Args, "{\"inp"),
            delta(0, Field::Args, "ut\":\"*** \\u00e9\\"),
            delta(0, Field::Args, "n\"}"),
            Event::Stop { part: 0 },
            part(1, tool("b", "free", ToolKind::Custom)),
            delta(1, Field::Args, "raw {"),
            Event::Stop { part: 1 },
            Event::Finish(Finish::Filter(Refused::default())),
            Event::End,
        ],
    );
    let deltas: Vec<_> = values.iter().filter_map(|value| value["delta"].as_str()).collect();
    assert_eq!(deltas, ["*** é", "\n", "raw {"]);
    let output = &values.last().unwrap()["response"]["output"];
    assert_eq!(
        output[0],
        json!({"id":"ctc_X_0","type":"custom_tool_call","status":"completed","call_id":"a","name":"apply_patch",
            "input":"*** é\n","namespace":"ns"})
    );
    assert_eq!(output[1]["status"], "incomplete");
    assert_eq!(values.last().unwrap()["response"]["incomplete_details"]["reason"], "content_filter");
}

#[test]
fn refusals_images_and_redacted_blocks_are_items_of_their_own() {
    let rider = Rider::new(Origin::Anthropic, Form::Red, "blob");
    let values = encode(&[
        start(),
        part(0, Open::Redacted(rider)),
        Event::Stop { part: 0 },
        part(1, Open::Text),
        delta(1, Field::Text, "a"),
        Event::Stop { part: 1 },
        part(2, Open::Refusal),
        delta(2, Field::Refusal, "no"),
        Event::Stop { part: 2 },
        part(3, Open::Image { mime: "image/png".into(), data: "iVBO".into() }),
        Event::Stop { part: 3 },
        Event::Finish(Finish::End),
        Event::End,
    ]);
    assert_eq!(
        values.last().unwrap()["response"]["output"],
        json!([
            {"id":"rs_X_0","type":"reasoning","summary":[],"encrypted_content":"frt1.anthropic.red.blob"},
            {"id":"msg_X_1","type":"message","status":"completed","role":"assistant","content":[{"type":"output_text","text":"a","annotations":[]}]},
            {"id":"msg_X_2","type":"message","status":"completed","role":"assistant","content":[{"type":"refusal","refusal":"no"}]},
            {"id":"ig_X_3","type":"image_generation_call","status":"completed","result":"iVBO"}
        ])
    );
}

#[test]
fn an_answer_repeats_what_the_request_said() {
    let request = Raw::parse_str(r#"{"temperature":0.20,"parallel_tool_calls":false,"tools":[{"type":"x"}]}"#).unwrap();
    let context = Context { echo: Some(Arc::new(Echo::of(request))), ..context() };
    let values = encode_with(&context, &[start(), Event::Finish(Finish::End), Event::End]);
    for value in values {
        let response = &value["response"];
        assert_eq!(response["temperature"], 0.2);
        assert_eq!(response["parallel_tool_calls"], false);
        assert_eq!(response["tools"], json!([{"type":"x"}]));
        assert_eq!(response["tool_choice"], "auto");
    }
}

/// What the encoder writes, the decoder reads back, and the document encoder agrees with the terminal event.
#[test]
fn round_trip_and_document() {
    let events = [
        start(),
        part(0, Open::Thinking),
        delta(0, Field::Think, "why\n"),
        delta(0, Field::Sig { origin: Origin::Anthropic, form: Form::Sig, item_id: None }, "EqoB"),
        Event::Stop { part: 0 },
        part(1, Open::Text),
        delta(1, Field::Text, "é🚀"),
        delta(1, Field::Text, "\"x\""),
        Event::Stop { part: 1 },
        part(2, tool("c", "f", ToolKind::Function)),
        delta(2, Field::Args, "{\"a\":\"b\"}"),
        Event::Stop { part: 2 },
        part(3, tool("d", "g", ToolKind::Custom)),
        delta(3, Field::Args, "free"),
        Event::Stop { part: 3 },
        part(4, Open::Text),
        delta(4, Field::Text, "cut"),
        Event::Stop { part: 4 },
        Event::Usage(Usage { uncached: 1, cache_read: 2, cache_write: 3, output: 4, reasoning: 2, ..Usage::default() }),
        Event::Finish(Finish::Length),
        Event::End,
    ];
    let mut before = Reply::default();
    for event in &events {
        before.fold(event);
    }
    let values = encode(&events);
    let (mut after, mut check) = (Reply::default(), Check::default());
    let mut decoder = Decoder::new(&context());
    for value in &values {
        let text = value.to_string();
        decoder.json(None, Raw::parse_str(&text).unwrap(), &mut |event| {
            check.event(&event).unwrap();
            after.fold(&event);
        });
    }
    assert!(after.ended && after.id == "resp_X");
    assert_eq!((&after.parts, after.usage, &after.finish), (&before.parts, before.usage, &before.finish));
    assert!(
        matches!(&after.parts[0], ReplyPart::Thinking { rider: Some(rider), .. } if rider.origin == Origin::Anthropic)
    );

    let mut document = Vec::new();
    super::super::reply::encode(&before, &context(), &mut document);
    let document: Value = serde_json::from_slice(&document).unwrap();
    assert_eq!(document, values.last().unwrap()["response"]);

    let mut read = Reply::default();
    super::super::reply::decode(Raw::parse_str(&document.to_string()).unwrap(), &context(), &mut |event| {
        read.fold(&event);
    });
    assert_eq!((&read.parts, read.usage, &read.finish), (&before.parts, before.usage, &before.finish));
}

#[test]
fn documents_that_are_no_answers() {
    let told_of = |text: &str| {
        let mut lines = Vec::new();
        super::super::reply::decode(Raw::parse_str(text).unwrap(), &context(), &mut |event| lines.push(told(&event)));
        lines.pop().unwrap()
    };
    assert_eq!(told_of(r#"{"error":{"code":"slow_down","message":"m"}}"#), "error Overloaded m");
    assert_eq!(told_of(r#"{"status":"failed","output":[],"error":{"code":"x","message":"m"}}"#), "error Api m");
    assert_eq!(told_of(r#"{"status":"queued","output":[]}"#), "error Api the upstream's answer is queued");
    assert_eq!(told_of(r#"{"output":[]}"#), "end");
}

/// The totals for the `*.done` events are held, and holding has a bound: the answer fails instead of growing on.
#[test]
fn held_text_is_bounded() {
    let piece = "x".repeat(1 << 20);
    let mut encoder = Encoder::new(&context());
    let mut out = BytesMut::new();
    encoder.event(&start(), &mut out);
    encoder.event(&part(0, Open::Text), &mut out);
    for _ in 0..33 {
        out.clear();
        encoder.event(&Event::Delta { part: 0, field: Field::Text, text: Text::Escaped(&piece) }, &mut out);
    }
    let last = String::from_utf8_lossy(&out);
    assert!(last.contains("event: response.failed") && !last.contains("output_item.done"));
    out.clear();
    encoder.event(&Event::End, &mut out);
    assert!(out.is_empty());
}
