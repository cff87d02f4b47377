//! The JSON scan: validation, and a walk to one member deep inside.

use std::hint::black_box;

use bytes::Bytes;
use codecs::{
    hub::schema::{self, Given},
    json::{MemberEdits, Raw, Recorder, Splice, Tape},
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const DELTA: &str = r#"{"id":"chatcmpl-9fKx2Lw8ZQy4VbN7TtRc1MdE","object":"chat.completion.chunk","created":1756000000,"model":"gpt-5.2-2026-01-15","service_tier":"default","system_fingerprint":"fp_3d1a2b4c5e","choices":[{"index":0,"delta":{"content":" understanding of the"},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"aZ3k9Qp"}"#;

/// The way of a chat decoder: one pass over the members at each level.
fn walk(raw: Raw<'_>) -> usize {
    let mut content = 0;
    for (key, value) in raw.members() {
        if !key.is("choices") {
            continue;
        }
        for (key, value) in value.elements().flat_map(Raw::members) {
            if key.is("delta") {
                content += value.members().filter_map(|(_, value)| value.as_text()).map(|t| t.len()).sum::<usize>();
            }
        }
    }
    content
}

fn request() -> String {
    let message = r#"{"role":"user","content":"Why does the borrow checker say \"cannot borrow\" here?\n\n```rust\nfn main() {\n    let mut v = vec![1, 2, 3];\n}\n```"}"#;
    format!(r#"{{"messages":[{}],"temperature":0.7,"model":"fast","stream":true}}"#, vec![message; 1_000].join(","))
}

fn json(criterion: &mut Criterion) {
    let request = request();
    let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
    let escapes = format!("\"{}\"", "\\u00e9\\n".repeat(20_000));
    let numbers = format!("[{}0]", "-12.5e3,".repeat(20_000));
    let mut group = criterion.benchmark_group("json");
    for (name, text) in [
        ("parse/typical: 350-byte delta", DELTA),
        ("parse/typical: 160 KB request", request.as_str()),
        ("parse/hostile: deep", deep.as_str()),
        ("parse/hostile: escapes", escapes.as_str()),
        ("parse/hostile: numbers", numbers.as_str()),
    ] {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| Raw::parse(black_box(text.as_bytes())).is_ok()));
    }
    // The peer: a tape of the whole document, with its buffers reused. It needs a copy, which it changes.
    let mut buffers = simd_json::Buffers::default();
    for (name, text) in [("simd-json tape/350-byte delta", DELTA), ("simd-json tape/160 KB request", request.as_str())]
    {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut copy = black_box(text.as_bytes()).to_vec();
                simd_json::to_tape_with_buffers(&mut copy, &mut buffers).is_ok()
            });
        });
    }
    group.throughput(Throughput::Bytes(DELTA.len() as u64));
    group.bench_function("parse and walk/typical: 350-byte delta", |bencher| {
        bencher.iter(|| Raw::parse(black_box(DELTA.as_bytes())).map(walk).unwrap_or_default());
    });
    let body = Bytes::from(request.clone());
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("splice/typical: model of a 160 KB request", |bencher| {
        let mut edits = MemberEdits::new();
        edits.set_string("model", "vendor/real-model");
        bencher.iter(|| {
            Raw::parse(black_box(&body)).map(|root| {
                let mut splice = Splice::new(&body);
                splice.members(root, &edits);
                splice.slices(&body).len()
            })
        });
    });
    group.finish();
}

/// The schema of an agent's tool: nested objects, lists, alternatives and references.
fn tool_schema(n: usize) -> String {
    let leaf = r#"{"type":["string","null"],"description":"Absolute path of the file, or \"-\" for what was selected in the editor","minLength":1}"#;
    let list = format!(
        r#"{{"type":"array","items":{{"type":"object","properties":{{"path":{leaf},"line":{{"type":"integer","minimum":1}}}},"required":["path"]}}}}"#
    );
    let inner = format!(
        r##"{{"type":"object","properties":{{"edits":{list},"mode":{{"anyOf":[{{"$ref":"#/$defs/mode"}},{{"type":"null"}}]}},"deep":{{"type":"object","properties":{{"files":{list},"note":{leaf}}}}}}}}}"##
    );
    format!(
        r##"{{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","$defs":{{"mode":{{"type":"string","enum":["a","b","c"]}}}},"properties":{{"tool{n}":{inner},"other":{inner},"flag":{{"type":"boolean","default":false}}}},"required":["tool{n}"],"additionalProperties":false}}"##
    )
}

/// Thirty schemas, as they are rewritten; and what a tape of each of them would cost before anything is rewritten.
fn schemas(criterion: &mut Criterion) {
    let tools: Vec<String> = (0..30).map(tool_schema).collect();
    let given: Vec<Given<'_>> =
        tools.iter().filter_map(|text| Some(Given::new(Raw::parse_str(text).ok()?, false))).collect();
    let mut group = criterion.benchmark_group("schemas");
    group.throughput(Throughput::Bytes(tools.iter().map(String::len).sum::<usize>() as u64));
    group.bench_function("gemini subset of 30", |bencher| {
        bencher.iter(|| black_box(&given).iter().filter_map(|given| schema::gemini_subset(*given)).count());
    });
    group.bench_function("gemini JSON schema of 30", |bencher| {
        let mut out = Vec::new();
        bencher.iter(|| {
            out.clear();
            black_box(&given).iter().for_each(|given| schema::gemini_json(*given, &mut out));
            out.len()
        });
    });
    group.bench_function("strict of 30", |bencher| {
        let mut out = Vec::new();
        bencher.iter(|| {
            out.clear();
            black_box(&given).iter().for_each(|given| schema::strict(*given, &mut out));
            out.len()
        });
    });
    let mut tape = Tape::new();
    group.bench_function("tape of 30", |bencher| {
        bencher.iter(|| black_box(&tools).iter().filter(|text| tape.parse(text.as_bytes()).is_ok()).count());
    });
    // The least that a tape can cost: simd-json alone, everything reused.
    let (mut buffers, mut text, mut spare) = (simd_json::Buffers::default(), Vec::new(), simd_json::Tape(Vec::new()));
    group.bench_function("simd-json tape of 30, buffers reused", |bencher| {
        bencher.iter(|| {
            black_box(&tools).iter().for_each(|tool| {
                text.clear();
                text.extend_from_slice(tool.as_bytes());
                let mut nodes = std::mem::replace(&mut spare, simd_json::Tape(Vec::new())).reset();
                black_box(simd_json::fill_tape(&mut text, &mut buffers, &mut nodes).is_ok());
                spare = nodes.reset();
            });
        });
    });
    let mut recorder = Recorder::default();
    group.bench_function("recorded walk of 30", |bencher| {
        bencher.iter(|| {
            let walk = |text: &String| Raw::parse_recorded(text.as_bytes(), &mut recorder).map_or(0, nodes);
            black_box(&tools).iter().map(walk).sum::<usize>()
        });
    });
    group.bench_function("walk of 30", |bencher| {
        bencher.iter(|| given.iter().map(|given| given.raw.map_or(0, nodes)).sum::<usize>());
    });
    group.finish();
}

/// Visits every value.
fn nodes(raw: Raw<'_>) -> usize {
    1 + raw.members().map(|(_, value)| nodes(value)).sum::<usize>() + raw.elements().map(nodes).sum::<usize>()
}

criterion_group!(benches, json, schemas);
criterion_main!(benches);
