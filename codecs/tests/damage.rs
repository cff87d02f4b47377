//! Vectors with one value damaged, in every place: nothing panics, requests keep the order that hygiene promises, and
//! whatever is written is JSON.

#![allow(clippy::unwrap_used)]

use std::{collections::HashSet, fs, path::PathBuf};

use bytes::BytesMut;
use codecs::{
    dialect::{Context, Dialect, Target, UrlParts},
    frame::FRAME_BYTES_MAX,
    hub::{
        ApiError, ErrorKind, ToolKind, hygiene, names,
        request::{Message, Part, Request, Role},
    },
    json::Raw,
    translate::{StreamTranslator, Tap, translate_request},
};
use serde_json::{Value, json};

/// Contents of the vectors of that kind, with their source dialect.
fn vectors(kind: &str) -> Vec<(Dialect, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/dialects");
    let mut found = Vec::new();
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if !path.to_str().unwrap().ends_with(".meta.json") {
            continue;
        }
        let meta: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        if meta["kind"] == kind {
            let from = Dialect::parse(meta["from"].as_str().unwrap()).unwrap();
            found.push((from, fs::read_to_string(folder.join(meta["in"].as_str().unwrap())).unwrap()));
        }
    }
    assert!(found.len() > 10, "{kind}");
    found.sort_by(|a, b| a.1.cmp(&b.1));
    found
}

/// The document with one value replaced or removed, for every value in it.
fn damaged(whole: &Value) -> Vec<Value> {
    let mut paths = Vec::new();
    walk(whole, String::new(), &mut paths);
    let mut all = Vec::new();
    for path in paths {
        for put in
            [json!(null), json!(-1.5), json!("x\"\u{0}"), json!(""), json!([]), json!([[{}]]), json!({"type": "?"})]
        {
            let mut copy = whole.clone();
            *copy.pointer_mut(&path).unwrap() = put;
            all.push(copy);
        }
        let (parent, last) = path.rsplit_once('/').unwrap_or(("", ""));
        let mut copy = whole.clone();
        match copy.pointer_mut(parent) {
            Some(Value::Object(members)) => drop(members.remove(&last.replace("~1", "/").replace("~0", "~"))),
            Some(Value::Array(list)) => {
                let at: usize = last.parse().unwrap();
                let twice = list[at].clone();
                list.insert(at, twice);
            }
            _ => continue,
        }
        all.push(copy);
    }
    all
}

fn walk(value: &Value, path: String, paths: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                walk(value, format!("{path}/{}", key.replace('~', "~0").replace('/', "~1")), paths);
            }
        }
        Value::Array(list) => {
            for (at, value) in list.iter().enumerate() {
                walk(value, format!("{path}/{at}"), paths);
            }
        }
        _ => {}
    }
    paths.push(path);
}

/// What hygiene promises to every encoder.
fn check_order(request: &Request<'_>, to: Dialect, body: &str) {
    let mut ids = HashSet::new();
    let mut messages = request.messages.iter().peekable();
    while let Some(message) = messages.next() {
        let calls: Vec<_> =
            message.parts.iter().filter_map(|p| if let Part::Call(call) = p { Some(call) } else { None }).collect();
        let results = |message: &Message<'_>| -> Vec<String> {
            let result = |part: &Part<'_>| match part {
                Part::Result(result) => result.call_id.plain().into_owned(),
                other => panic!("{other:?} among results\n{body}"),
            };
            message.parts.iter().map(result).collect()
        };
        if calls.is_empty() {
            assert!(message.role != Role::Tool, "a result without a call\n{body}");
            continue;
        }
        assert_eq!(message.role, Role::Assistant, "{body}");
        let mut expected = Vec::new();
        for call in calls {
            let (id, name) = (call.id.plain().into_owned(), call.name.plain());
            assert_eq!(names::legal_name(&name, to), name, "{body}");
            assert!(matches!(to, Dialect::Gemini | Dialect::Ollama) || names::legal_id(&id) == id, "{body}");
            assert!(!id.is_empty() && ids.insert(id.clone()), "{id:?} twice\n{body}");
            assert!(call.kind == ToolKind::Custom || !call.arguments.is_blank(), "{body}");
            expected.push(id);
        }
        let next = messages.next().unwrap_or_else(|| panic!("no results\n{body}"));
        assert_eq!((next.role, results(next)), (Role::Tool, expected), "{body}");
    }
    let tools: Vec<_> = request.tools.iter().map(|tool| tool.name.plain()).collect();
    assert_eq!(tools.iter().collect::<HashSet<_>>().len(), tools.len(), "a tool name twice\n{body}");
}

#[test]
fn damaged_requests_are_refused_or_translated_in_good_order() {
    let (mut refused, mut translated) = (0, 0);
    for (from, text) in vectors("request") {
        for body in damaged(&serde_json::from_str(&text).unwrap()) {
            let body = body.to_string();
            let raw = Raw::parse_str(&body).unwrap();
            for generate in [false, true] {
                if generate && from != Dialect::Ollama {
                    continue;
                }
                let url = UrlParts { model: Some("gemini-2.5-pro"), stream: false, generate };
                for to in Dialect::ALL.into_iter().filter(|to| *to != from) {
                    let target = Target { model: "m".to_owned(), ..Target::default() };
                    match from.decode_request(raw, &url) {
                        Ok(mut request) => {
                            hygiene::prepare(&mut request, to, &target);
                            check_order(&request, to, &body);
                        }
                        Err(error) => assert!(!error.message.is_empty(), "{body}"),
                    }
                    match translate_request(from, to, raw, &url, &target) {
                        Ok(encoded) => {
                            assert!(Raw::parse(&encoded.body).unwrap().is_object(), "{body}");
                            translated += 1;
                        }
                        Err(error) => {
                            assert!(!error.message.is_empty(), "{body}");
                            refused += 1;
                        }
                    }
                }
            }
        }
    }
    assert!(refused > 1_000 && translated > 10_000, "{refused} refused, {translated} translated");
}

#[test]
fn damaged_streams_are_translated_or_fail_in_good_form() {
    let mut seen = 0usize;
    for (from, text) in vectors("stream").into_iter().filter(|(from, _)| *from != Dialect::Ollama) {
        let frames: Vec<&str> = text.lines().filter(|line| line.starts_with("data: ")).collect();
        for at in 0..frames.len() {
            let Ok(frame) = serde_json::from_str(&frames[at]["data: ".len()..]) else { continue };
            for mutant in damaged(&frame) {
                let clients: Vec<_> = Dialect::ALL.into_iter().filter(|to| *to != from).collect();
                let to = clients[seen % clients.len()];
                seen += 1;
                let mut translator = StreamTranslator::new(from, to, &Context::default());
                let mut out = BytesMut::new();
                for (n, frame) in frames.iter().enumerate() {
                    match n == at {
                        true => translator.push(format!("data: {mutant}\n\n").as_bytes(), &mut out),
                        false => translator.push(format!("{frame}\n\n").as_bytes(), &mut out),
                    }
                }
                translator.finish(&mut out);
                check_payloads(&out, &mutant);
            }
        }
    }
    assert!(seen > 10_000, "{seen}");
}

fn check_payloads(out: &[u8], mutant: &Value) {
    let text = std::str::from_utf8(out).unwrap();
    for line in text.split('\n') {
        let line = line.strip_prefix("data:").unwrap_or(line).trim();
        let framing = line.is_empty() || line.starts_with(':') || line.starts_with("event:") || line == "[DONE]";
        assert!(framing || Raw::parse_str(line).is_ok(), "{line}\nfrom {mutant}");
    }
}

/// A forwarded stream is watched for the moment from which on no client can read it; what the upstream itself calls an error
/// is none.
#[test]
fn a_tap_tells_nonsense_from_errors() {
    for (from, stream) in vectors("stream") {
        let mut tap = Tap::new(from, &Context::default());
        for chunk in stream.as_bytes().chunks(7) {
            tap.push(chunk);
            assert!(!tap.is_unreadable(), "{from:?} {stream}");
        }
        tap.finish();
        assert!(!tap.is_unreadable(), "{from:?}: an end is not nonsense");
    }
    for dialect in Dialect::ALL {
        let (before, behind) = if dialect == Dialect::Ollama { ("", "\n") } else { ("data: ", "\n\n") };
        let event = |data: &str| format!("{before}{data}{behind}");
        let mut tap = Tap::new(dialect, &Context::default());
        tap.push(event(r#"{"error":{"message":"no","code":500}}"#).as_bytes());
        assert!(!tap.is_unreadable(), "{dialect:?}");
        for nonsense in [event("<html>"), event(r#"{"a":"#), event(&"x".repeat(FRAME_BYTES_MAX + 1))] {
            let mut tap = Tap::new(dialect, &Context::default());
            tap.push(nonsense.as_bytes());
            assert!(tap.is_unreadable() && tap.observed().error.is_some(), "{dialect:?}");
            // The chunk is not passed on: whatever is there already is ended before the error.
            let mut out = BytesMut::new();
            tap.fail(ApiError::new(ErrorKind::Api, "why"), &mut out);
            assert!(out.starts_with(b"\n") && out.windows(3).any(|window| window == b"why"), "{dialect:?} {out:?}");
        }
    }
}
