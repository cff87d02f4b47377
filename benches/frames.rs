//! Framing: bytes in, payloads out. Typical, worst legal and hostile input.

mod traffic;

use std::hint::black_box;

use codecs::frame::{Deframer, Framing};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// What one read of a connection delivers.
const READ_BYTES: usize = 16 << 10;

fn event(data_bytes: usize) -> String {
    format!("data: {}\n\n", "x".repeat(data_bytes))
}

fn run(framing: Framing, stream: &[u8], read_bytes: usize) -> usize {
    let mut deframer = Deframer::new(framing);
    let mut seen = 0;
    for chunk in stream.chunks(read_bytes) {
        let _ = deframer.push(chunk, &mut |frame| seen += black_box(frame.data).len());
    }
    let _ = deframer.finish(&mut |frame| seen += black_box(frame.data).len());
    seen
}

fn frames(criterion: &mut Criterion) {
    let cases = [
        ("sse/typical: 200-byte events", Framing::Sse, event(192).repeat(5_000), READ_BYTES),
        (
            "sse/typical: named 200-byte events",
            Framing::Sse,
            format!("event: content_block_delta\n{}", event(164)).repeat(5_000),
            READ_BYTES,
        ),
        ("sse/typical: Anthropic answer", Framing::Sse, traffic::anthropic(&traffic::answer(20)), READ_BYTES),
        ("sse/typical: OpenAI answer", Framing::Sse, traffic::chat(&traffic::answer(20), true), READ_BYTES),
        ("sse/worst: 1-byte events", Framing::Sse, event(1).repeat(100_000), READ_BYTES),
        ("sse/worst: 1 MiB event in 1 KiB reads", Framing::Sse, event(1 << 20), 1 << 10),
        ("sse/worst: byte by byte", Framing::Sse, event(192).repeat(500), 1),
        ("sse/hostile: empty lines", Framing::Sse, "\n".repeat(1 << 20), READ_BYTES),
        ("sse/hostile: empty data lines", Framing::Sse, "data\n".repeat(1 << 18), READ_BYTES),
        ("ndjson/typical: 120-byte rows", Framing::NdJson, format!("{}\n", "x".repeat(119)).repeat(8_000), READ_BYTES),
        (
            "array/typical: 300-byte elements",
            Framing::JsonArray,
            format!("[{}1]", format!("\"{}\",\r\n", "x".repeat(296)).repeat(3_000)),
            READ_BYTES,
        ),
    ];
    let mut group = criterion.benchmark_group("frames");
    for (name, framing, stream, read_bytes) in &cases {
        group.throughput(Throughput::Bytes(stream.len() as u64));
        group.bench_function(*name, |bencher| bencher.iter(|| run(*framing, stream.as_bytes(), *read_bytes)));
    }
    group.finish();
}

criterion_group!(benches, frames);
criterion_main!(benches);
