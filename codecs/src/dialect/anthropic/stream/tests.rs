#![allow(clippy::unwrap_used)]
use std::collections::HashSet;

use bytes::BytesMut;

use super::*;
use crate::{
    dialect::{Context, StreamDecode, StreamEncode, ToolIdentity, ToolTable},
    hub::{
        ApiError, ErrorKind, Event, Field, Finish, Form, Open, Origin, Refused, Rider, ToolKind, Usage, check::Check,
    },
    json::{Raw, Text},
};

const START: &str = r#"{"type":"message_start","message":{"id":"msg_1","model":"m","content":[],"usage":{"input_tokens":3,"cache_creation_input_tokens":2,"cache_read_input_tokens":1,"output_tokens":1}}}"#;
const STOP: &str = r#"{"type":"message_stop"}"#;

fn finish(reason: &str) -> String {
    format!(r#"{{"type":"message_delta","delta":{{"stop_reason":"{reason}"}},"usage":{{"output_tokens":9}}}}"#)
}

/// One line per event, checked against the grammar.
struct Log {
    check: Check,
    lines: Vec<String>,
}

impl Log {
    fn new() -> Self {
        Self { check: Check::default(), lines: Vec::new() }
    }

    fn take(&mut self, event: &Event<'_>) {
        self.check.event(event).unwrap();
        let usage =
            |u: &Usage| format!("{}+{}+{}>{}({})", u.uncached, u.cache_read, u.cache_write, u.output, u.reasoning);
        self.lines.push(match event {
            Event::Start { id, model, usage: counts, .. } => {
                format!("start {} {} {}", id.plain(), model.plain(), counts.as_ref().map_or("-".into(), usage))
            }
            Event::Part { part, open } => match open {
                Open::Tool { id, name, .. } => format!("part {part} tool {} {}", id.plain(), name.plain()),
                Open::Redacted(rider) => format!("part {part} redacted {}", rider.payload.plain()),
                other => format!("part {part} {other:?}"),
            },
            Event::Delta { part, field, text } => match field {
                Field::Sig { origin, form, item_id } => {
                    let id = item_id.map_or(String::new(), |id| format!(" {}", id.plain()));
                    format!("delta {part} {}.{}{id} {}", origin.name(), form.name(), text.plain())
                }
                other => format!("delta {part} {other:?} {}", text.plain()),
            },
            Event::Stop { part } => format!("stop {part}"),
            Event::Usage(counts) => format!("usage {}", usage(counts)),
            Event::Finish(finish) => format!("{finish:?}"),
            Event::Ping => "ping".into(),
            Event::Error(error) => format!("error {} {}", error.kind.name(), error.message),
            Event::End => "end".into(),
        });
    }
}

fn decode_with(context: &Context, frames: &[&str]) -> Vec<String> {
    let mut decoder = Decoder::new(context);
    let mut log = Log::new();
    for frame in frames {
        decoder.json(None, Raw::parse_str(frame).unwrap(), &mut |event| log.take(&event));
    }
    decoder.end(&mut |event| log.take(&event));
    log.lines
}

fn decode(frames: &[&str]) -> Vec<String> {
    decode_with(&Context::default(), frames)
}

#[test]
fn text_streams() {
    let lines = decode(&[
        r#"{"type":"ping"}"#,
        START,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":""}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a\u00e9"}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"citations_delta","citation":{"cited_text":"q"}}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}"#,
        r#"{"type":"content_block_stop","index":1}"#,
        &finish("end_turn"),
        STOP,
        r#"{"type":"ping"}"#,
    ]);
    let expected = [
        "ping",
        "start msg_1 m 3+1+2>1(0)",
        "part 0 Text",
        "delta 0 Text aé",
        "stop 0",
        "usage 3+1+2>9(0)",
        "End",
        "end",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn lenient_upstreams_are_read() {
    let lines = decode(&[
        START,
        // Content in the start, no stop, then a block that was never started.
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"t","signature":"S"}}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"a","name":"f","input":{"x": 1}}}"#,
        r#"{"type":"content_block_stop","index":1}"#,
        r#"{"type":"content_block_delta","index":2,"delta":{"type":"text_delta","text":"late"}}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":"7","input_tokens":null,"output_tokens_details":{"thinking_tokens":2.0}}}"#,
        r#"{"type":"content_block_delta","index":2,"delta":{"type":"text_delta","text":"too late"}}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"max_tokens"}}"#,
    ]);
    let expected = [
        "start msg_1 m 3+1+2>1(0)",
        "part 0 Thinking",
        "delta 0 Think t",
        "delta 0 anthropic.sig S",
        "part 1 tool a f",
        r#"delta 1 Args {"x": 1}"#,
        "stop 1",
        "part 2 Text",
        "delta 2 Text late",
        "usage 3+1+2>7(2)",
        "stop 0",
        "stop 2",
        "Tool",
        // The marker is missing, but the answer was finished.
        "end",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn riders_come_home_with_their_tags() {
    let lines = decode(&[
        START,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"frt1.responses.enc.rs_1:blob"}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"redacted_thinking","data":"R"}}"#,
        r#"{"type":"content_block_stop","index":1}"#,
        STOP,
    ]);
    let expected = [
        "start msg_1 m 3+1+2>1(0)",
        "part 0 Thinking",
        "delta 0 responses.enc rs_1 blob",
        "stop 0",
        "part 1 redacted R",
        "stop 1",
        "End",
        "end",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn calls_without_usable_ids_get_minted_ones() {
    let used = HashSet::from(["used".to_owned()]);
    let context = Context { used_ids: used.into(), ..Context::default() };
    let call = |index: u32, id: &str, name: &str| {
        format!(
            r#"{{"type":"content_block_start","index":{index},"content_block":{{"type":"tool_use","id":"{id}","name":"{name}","input":{{}}}}}}"#
        )
    };
    let stop = |index: u32| format!(r#"{{"type":"content_block_stop","index":{index}}}"#);
    let lines = decode_with(
        &context,
        &[START, &call(0, "used", "f"), &stop(0), &call(1, "", ""), &stop(1), &call(2, "fresh", "g"), &stop(2), STOP],
    );
    let calls: Vec<_> = lines.iter().filter(|line| line.starts_with("part")).collect();
    assert_eq!(calls, ["part 0 tool call_1_0 f", "part 1 tool call_1_1 tool_1", "part 2 tool fresh g"]);
    assert_eq!(&lines[lines.len() - 2..], ["Tool", "end"], "without a reason, calls are the reason");
}

#[test]
fn stop_reasons() {
    for (reason, expected) in [
        ("end_turn", Finish::End),
        ("tool_use", Finish::Tool),
        ("max_tokens", Finish::Length),
        ("model_context_window_exceeded", Finish::Length),
        ("compaction", Finish::Length),
        ("pause_turn", Finish::Pause),
        ("refusal", Finish::Filter(Refused::default())),
        ("stop_sequence", Finish::StopSequence(None)),
        ("something new", Finish::End),
    ] {
        let lines = decode(&[START, &finish(reason), STOP]);
        assert_eq!(lines[2], format!("{expected:?}"), "{reason}");
    }
    let text = r#"{"type":"message_delta","delta":{"stop_reason":"stop_sequence","stop_sequence":"END"}}"#;
    assert!(decode(&[START, text])[1].contains("END"));
}

#[test]
fn errors_end_everything() {
    let error = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded, sk-abcdefgh12345678"}}"#;
    assert_eq!(decode(&[START, error, STOP])[1..], ["error overloaded Overloaded, sk-***"]);
    assert_eq!(decode(&[r#"{"error":"boom"}"#]), ["error api boom"]);
    assert_eq!(decode(&[START])[1..], ["error truncated upstream stream ended before completion"]);
    assert_eq!(decode(&[]), ["error truncated upstream stream ended before completion"]);
}

#[test]
fn open_blocks_are_bounded() {
    let starts: Vec<_> = (0..100)
        .map(|n| {
            format!(r#"{{"type":"content_block_start","index":{n},"content_block":{{"type":"text","text":"x"}}}}"#)
        })
        .collect();
    let frames: Vec<_> = starts.iter().map(String::as_str).collect();
    assert_eq!(decode(&frames).last().unwrap(), "error api upstream opened too many content blocks at once");
}

#[test]
fn the_event_name_stands_in_for_a_missing_type() {
    let mut decoder = Decoder::new(&Context::default());
    let mut log = Log::new();
    let body = Raw::parse_str(r#"{"message":{"id":"msg_9","model":"m"}}"#).unwrap();
    decoder.json(Some("message_start"), body, &mut |event| log.take(&event));
    assert_eq!(log.lines, ["start msg_9 m -"]);
}

/// The data of every event, after a check that its name is its type.
fn frames(out: &[u8]) -> Vec<serde_json::Value> {
    let text = std::str::from_utf8(out).unwrap();
    let mut all = Vec::new();
    for frame in text.split_terminator("\n\n") {
        let (event, data) = frame.split_once('\n').unwrap();
        let data: serde_json::Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(event.strip_prefix("event: "), data["type"].as_str());
        all.push(data);
    }
    all
}

fn encode_with(context: &Context, events: &[Event<'_>]) -> Vec<serde_json::Value> {
    let mut encoder = Encoder::new(context);
    let mut out = BytesMut::new();
    events.iter().for_each(|event| encoder.event(event, &mut out));
    frames(&out)
}

fn begun(part: u32, open: Open<'_>) -> Event<'_> {
    Event::Part { part, open }
}

fn delta<'a>(part: u32, field: Field<'a>, text: &'a str) -> Event<'a> {
    Event::Delta { part, field, text: Text::Plain(text) }
}

fn start() -> Event<'static> {
    Event::Start { id: Text::Plain("chatcmpl-x"), model: Text::EMPTY, created: None, usage: None }
}

fn tool<'a>(id: &'a str, name: &'a str, kind: ToolKind, signature: Option<Rider<'a>>) -> Open<'a> {
    Open::Tool { id: Text::Plain(id), name: Text::Plain(name), kind, signature }
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn the_start_has_an_estimate_and_the_end_too_if_nothing_better_comes() {
    let context = Context { input_tokens_estimate: 50, model: "asked".into(), ..Context::default() };
    let out = encode_with(&context, &[start(), Event::Finish(Finish::End), Event::End, Event::Ping]);
    assert_eq!(out.len(), 3);
    assert_eq!(out[0]["message"]["id"], "msg_x");
    assert_eq!(out[0]["message"]["model"], "asked");
    assert_eq!(out[0]["message"]["usage"]["input_tokens"], 50);
    assert_eq!(out[1]["usage"]["input_tokens"], 50);
    assert_eq!(out[1]["delta"], json(r#"{"stop_reason":"end_turn","stop_sequence":null}"#));
}

#[test]
fn answers_without_an_id_get_ours() {
    let context = Context { new_id: "abc".into(), ..Context::default() };
    let start = Event::Start { id: Text::EMPTY, model: Text::Plain("m"), created: None, usage: None };
    assert_eq!(encode_with(&context, &[start])[0]["message"]["id"], "msg_abc");
}

#[test]
fn foreign_blobs_become_empty_signed_thinking() {
    let gemini = || Rider::new(Origin::Gemini, Form::Sig, "G");
    let out = encode_with(
        &Context::default(),
        &[
            start(),
            begun(0, Open::Redacted(Rider::new(Origin::Responses, Form::Enc, "E"))),
            Event::Stop { part: 0 },
            begun(1, Open::Redacted(Rider::new(Origin::Anthropic, Form::Red, "D"))),
            Event::Stop { part: 1 },
            begun(2, tool("a", "f", ToolKind::Function, Some(gemini()))),
            delta(2, Field::Args, "{}"),
            Event::Stop { part: 2 },
            Event::Finish(Finish::Tool),
            Event::End,
        ],
    );
    let kinds: Vec<_> = out
        .iter()
        .filter_map(|data| {
            let word = data.pointer("/content_block/type").or_else(|| data.pointer("/delta/signature"))?;
            Some((data["index"].as_u64().unwrap(), word.as_str().unwrap()))
        })
        .collect();
    let expected = [
        (0, "thinking"),
        (0, "frt1.responses.enc.E"),
        (1, "redacted_thinking"),
        (2, "thinking"),
        (2, "frt1.gemini.sig.G"),
        (3, "tool_use"),
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn custom_tools_are_wrapped_on_the_fly() {
    let mut tools = ToolTable::default();
    tools.insert("sent", ToolIdentity { name: "apply".into(), ..ToolIdentity::default() });
    let context = Context { tools: tools.into(), ..Context::default() };
    let escaped = Event::Delta { part: 0, field: Field::Args, text: Text::Escaped(r#"b\"\u00e9"#) };
    let out = encode_with(
        &context,
        &[
            start(),
            begun(0, tool("a", "sent", ToolKind::Custom, None)),
            delta(0, Field::Args, "a\n"),
            escaped,
            Event::Stop { part: 0 },
            begun(1, tool("b", "sent", ToolKind::Custom, None)),
            Event::Stop { part: 1 },
        ],
    );
    assert_eq!(out[1]["content_block"]["name"], "apply");
    let joined = |index: u64| -> String {
        let of = out.iter().filter(|data| data["index"] == index);
        of.filter_map(|data| data.pointer("/delta/partial_json")?.as_str()).collect()
    };
    assert_eq!(json(&joined(0)), json(r#"{"input":"a\nb\"é"}"#));
    assert_eq!(json(&joined(1)), json(r#"{"input":""}"#));
}

#[test]
fn one_block_is_open_at_a_time_whatever_comes() {
    let out = encode_with(
        &Context::default(),
        &[
            start(),
            begun(0, Open::Text),
            delta(0, Field::Text, "a"),
            begun(1, Open::Thinking),
            delta(0, Field::Text, "x"),
        ],
    );
    let types: Vec<_> = out.iter().map(|data| data["type"].as_str().unwrap()).collect();
    let expected =
        ["message_start", "content_block_start", "content_block_delta", "content_block_stop", "content_block_start"];
    assert_eq!(types, expected);
}

#[test]
fn finishes_in_this_dialects_words() {
    let call = || [begun(0, tool("a", "f", ToolKind::Function, None)), Event::Stop { part: 0 }].to_vec();
    let refusal = || [begun(0, Open::Refusal), delta(0, Field::Refusal, "no"), Event::Stop { part: 0 }].to_vec();
    let refused = Refused { category: Some("cyber".into()), explanation: None };
    for (parts, finish, reason) in [
        (vec![], Finish::End, "end_turn"),
        (vec![], Finish::Tool, "end_turn"),
        (call(), Finish::End, "tool_use"),
        (call(), Finish::StopSequence(None), "tool_use"),
        (vec![], Finish::StopSequence(Some("X".into())), "stop_sequence"),
        (call(), Finish::Length, "max_tokens"),
        (vec![], Finish::Pause, "pause_turn"),
        (vec![], Finish::Filter(refused), "refusal"),
        (refusal(), Finish::End, "refusal"),
        (refusal(), Finish::Length, "max_tokens"),
    ] {
        let mut events = vec![start()];
        events.extend(parts);
        events.extend([Event::Finish(finish.clone()), Event::End]);
        let out = encode_with(&Context::default(), &events);
        let delta = &out[out.len() - 2]["delta"];
        assert_eq!(delta["stop_reason"], reason, "{finish:?}");
        assert_eq!(delta["stop_sequence"].as_str(), (reason == "stop_sequence").then_some("X"));
        assert_eq!(delta.get("stop_details").is_some(), reason == "refusal");
        if matches!(finish, Finish::Filter(_)) {
            assert_eq!(delta["stop_details"], json(r#"{"type":"refusal","category":"cyber","explanation":null}"#));
        }
    }
}

#[test]
fn errors_close_nothing() {
    let error = ApiError::new(ErrorKind::Truncated, "cut \"short\"");
    let events = [start(), begun(0, Open::Text), delta(0, Field::Text, "a"), Event::Error(error), Event::End];
    let out = encode_with(&Context::default(), &events);
    assert_eq!(out.len(), 4);
    assert_eq!(out[3], json(r#"{"type":"error","error":{"type":"api_error","message":"cut \"short\""}}"#));
}

#[test]
fn one_delta_of_a_megabyte_passes() {
    let text = "x".repeat(1 << 20);
    let frame =
        format!(r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":"{text}"}}}}"#);
    assert!(decode(&[START, &frame])[2].ends_with(&text));
}

/// Every answer that the vectors hold in this dialect means the same after a trip through decoder and encoder.
#[test]
fn decoding_what_was_encoded_gives_the_same_events() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/dialects");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let ours = (name.starts_with("stream-anthropic-") && name.contains(".in."))
            || (name.contains("-anthropic-") && name.starts_with("stream-") && name.ends_with(".out.sse"));
        if !ours || name.starts_with("stream-anthropic-") && name.ends_with(".out.sse") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let data: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        let mut out = BytesMut::new();
        let context = Context::default();
        let (mut decoder, mut encoder) = (Decoder::new(&context), Encoder::new(&context));
        for frame in &data {
            let raw = Raw::parse_str(frame).unwrap();
            decoder.json(None, raw, &mut |event| encoder.event(&event, &mut out));
        }
        decoder.end(&mut |event| encoder.event(&event, &mut out));
        let again: Vec<String> = frames(&out).iter().map(ToString::to_string).collect();
        let again: Vec<&str> = again.iter().map(String::as_str).collect();
        // Counts of the start are not repeated: output is counted at the end.
        let meaning = |frames: &[&str]| -> Vec<String> {
            decode(frames).into_iter().filter(|line| !line.starts_with("start")).collect()
        };
        assert_eq!(meaning(&data), meaning(&again), "{name}");
        seen += 1;
    }
    assert!(seen > 20, "{seen}");
}
