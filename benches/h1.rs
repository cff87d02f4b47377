//! HTTP/1 reading: one typical, one worst legal and one hostile input for heads and for chunked bodies.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use proxy::{Limits, probe};

fn typical() -> Vec<u8> {
    let body = "x".repeat(512);
    format!(
        "POST /v1/messages?beta=true HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nContent-Type: application/json\r\n\
         Accept: application/json\r\nAuthorization: Bearer {}\r\nanthropic-version: 2023-06-01\r\n\
         anthropic-beta: tools-2024-04-04\r\nUser-Agent: agent/1.0 (linux; x86_64)\r\nX-Retry-Count: 0\r\n\
         Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\nContent-Length: {}\r\n\r\n{body}",
        "k".repeat(96),
        body.len()
    )
    .into_bytes()
}

fn hundred_fields() -> Vec<u8> {
    let fields: String = (0..99).map(|n| format!("x-field-number-{n}: {}\r\n", "v".repeat(100))).collect();
    format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").into_bytes()
}

fn chunked(size: usize, count: usize) -> Vec<u8> {
    let chunk = format!("{size:x}\r\n{}\r\n", "y".repeat(size));
    format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n", chunk.repeat(count))
        .into_bytes()
}

fn heads(c: &mut Criterion) {
    let limits = Limits::default();
    let mut group = c.benchmark_group("h1/requests");
    for (name, input) in [
        ("typical", typical()),
        ("hundred fields", hundred_fields()),
        ("chunks of 200", chunked(200, 80)),
        ("chunks of 1", chunked(1, 2_700)),
    ] {
        group.throughput(Throughput::Bytes(input.len() as u64));
        group.bench_function(name, |b| b.iter(|| probe::requests(&[black_box(&input)], &limits)));
    }
    let input = hundred_fields();
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    group.throughput(Throughput::Bytes(input.len() as u64));
    group.bench_function("byte by byte", |b| b.iter(|| probe::requests(black_box(&bytes), &limits)));
    group.finish();
}

criterion_group!(benches, heads);
criterion_main!(benches);
