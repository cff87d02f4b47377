//! The JSON scan: validation, and a walk to one member deep inside.

use std::hint::black_box;

use bytes::Bytes;
use codecs::json::{MemberEdits, Raw, Splice};
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

criterion_group!(benches, json);
criterion_main!(benches);
