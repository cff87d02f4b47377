//! Vectors with one value replaced: whatever a client or an upstream sends, nothing panics, events keep their grammar
//! and what is written is JSON.
#![allow(clippy::unwrap_used)]

use bytes::BytesMut;
use serde_json::{Value, json};

use super::{request, stream::Decoder};
use crate::{
    dialect::{Context, Dialect, StreamDecode, StreamEncode, Target},
    hub::{check::Check, hygiene, serial::Serial},
    json::Raw,
};

fn vectors(wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/dialects");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.retain(|path| wanted(path.file_name().unwrap().to_str().unwrap()));
    paths.into_iter().map(|path| std::fs::read_to_string(path).unwrap()).collect()
}

/// All documents that differ from `value` in one place.
fn mutants(value: &Value) -> Vec<Value> {
    let mut all: Vec<Value> =
        [json!(null), json!(7), json!("x"), json!([]), json!({}), json!(["x"]), json!([null])].into();
    match value {
        Value::Object(members) => {
            for (name, inner) in members {
                let mut without = members.clone();
                without.remove(name);
                all.push(without.into());
                all.extend(mutants(inner).into_iter().map(|mutant| {
                    let mut changed = members.clone();
                    changed.insert(name.clone(), mutant);
                    changed.into()
                }));
            }
        }
        Value::Array(elements) => {
            for (at, inner) in elements.iter().enumerate() {
                all.extend(mutants(inner).into_iter().map(|mutant| {
                    let mut changed = elements.clone();
                    changed[at] = mutant;
                    changed.into()
                }));
            }
        }
        _ => {}
    }
    all
}

#[test]
fn damaged_requests_are_refused_or_translated() {
    let (mut refused, mut translated) = (0, 0);
    for text in vectors(|name| name.starts_with("req-anthropic-") && name.ends_with(".in.json")) {
        for mutant in mutants(&serde_json::from_str(&text).unwrap()) {
            let body = mutant.to_string();
            let Ok(mut request) = request::decode(Raw::parse_str(&body).unwrap()) else {
                refused += 1;
                continue;
            };
            hygiene::prepare(&mut request, Dialect::Anthropic, &Target::default());
            match request::encode(&request, &Target::default()) {
                Ok(encoded) => {
                    assert!(Raw::parse(&encoded.body).unwrap().is_object(), "{body}");
                    translated += 1;
                }
                Err(error) => assert!(!error.message.is_empty(), "{body}"),
            }
        }
    }
    assert!(refused > 100 && translated > 100, "{refused} {translated}");
}

#[test]
fn damaged_streams_keep_the_grammar() {
    let mut seen = 0;
    for text in vectors(|name| name.starts_with("stream-anthropic-") && name.ends_with(".in.sse")) {
        let frames: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        for (at, frame) in frames.iter().enumerate() {
            for mutant in mutants(&serde_json::from_str(frame).unwrap()) {
                let mutant = mutant.to_string();
                let damaged = frames.iter().enumerate().map(|(n, frame)| if n == at { &mutant } else { *frame });
                translate(damaged);
                seen += 1;
            }
            // A frame lost, or sent twice.
            translate(frames.iter().enumerate().filter(|(n, _)| *n != at).map(|(_, frame)| *frame));
            translate(frames.iter().enumerate().flat_map(|(n, frame)| vec![*frame; 1 + usize::from(n == at)]));
        }
    }
    assert!(seen > 1_000, "{seen}");
}

fn translate<'f>(frames: impl Iterator<Item = &'f str>) {
    let context = Context::default();
    let (mut decoder, mut check, mut serial) = (Decoder::new(&context), Check::default(), Serial::default());
    let mut encoder = Dialect::Anthropic.stream_encoder(&context);
    let mut out = BytesMut::new();
    let mut emit = |event: crate::hub::Event<'_>| {
        check.event(&event).unwrap();
        serial.event(event, &mut |event| encoder.event(&event, &mut out));
    };
    frames.for_each(|frame| decoder.json(None, Raw::parse_str(frame).unwrap(), &mut emit));
    decoder.end(&mut emit);
    for line in std::str::from_utf8(&out).unwrap().lines() {
        if let Some(data) = line.strip_prefix("data: ") {
            assert!(Raw::parse_str(data).unwrap().is_object());
        }
    }
}
