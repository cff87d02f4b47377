//! The binary framings and protobuf: typical frames, the largest, and byte by byte.

use std::hint::black_box;

use bytes::BytesMut;
use codecs::{
    dialect::{
        Context, StreamEncode,
        cursor::{Rpc, request::transcribe, stream::Encoder},
    },
    frame::{Aws, Connect, HeaderValue, write_envelope, write_message},
    hub::{Event, Field, Finish, Open, ToolKind},
    json::Text,
    proto::{Message, MessageWriter, WireError},
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// What one read of a connection delivers.
const READ_BYTES: usize = 16 << 10;

/// Envelopes that hold a message in a message with a text, as chat answers do.
fn envelopes(text_bytes: usize, count: usize) -> BytesMut {
    let (mut out, text) = (BytesMut::new(), "x".repeat(text_bytes));
    for _ in 0..count {
        write_envelope(false, &mut out, |out| answer(&text, out));
    }
    write_envelope(true, &mut out, |out| out.extend_from_slice(b"{}"));
    out
}

fn answer(text: &str, out: &mut BytesMut) {
    MessageWriter::new(out).message(2, |inner| {
        inner.text(1, text).text(22, "bbbbbbbb-0000-4000-8000-000000000001");
    });
}

fn messages(text_bytes: usize, count: usize) -> BytesMut {
    let (mut out, payload) = (BytesMut::new(), format!("{{\"content\":\"{}\"}}", "x".repeat(text_bytes)));
    for _ in 0..count {
        write_message(&headers(), &mut out, |out| out.extend_from_slice(payload.as_bytes()));
    }
    out
}

fn headers() -> [(&'static str, HeaderValue<'static>); 3] {
    [
        (":event-type", HeaderValue::Text("assistantResponseEvent")),
        (":content-type", HeaderValue::Text("application/json")),
        (":message-type", HeaderValue::Text("event")),
    ]
}

fn cut_envelopes(stream: &[u8], read_bytes: usize) -> usize {
    let (mut connect, mut seen) = (Connect::default(), 0);
    for chunk in stream.chunks(read_bytes) {
        let _ = connect.push(chunk, &mut |envelope| seen += black_box(envelope.data).len());
    }
    seen
}

fn cut_messages(stream: &[u8], read_bytes: usize) -> usize {
    let (mut aws, mut seen) = (Aws::default(), 0);
    for chunk in stream.chunks(read_bytes) {
        let mut each = |message: codecs::frame::Message<'_>| {
            seen += black_box(message.headers.text(":event-type")).map_or(0, str::len) + message.payload.len();
        };
        let _ = aws.push(chunk, &mut each);
    }
    seen
}

fn walk(message: Message<'_>) -> Result<usize, WireError> {
    let mut seen = 0;
    for field in message.fields() {
        let field = field?;
        match (field.number, field.message()?) {
            (2, Some(inner)) => seen += walk(inner)?,
            _ => seen += field.bytes().map_or(1, <[u8]>::len),
        }
    }
    Ok(seen)
}

fn wire(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wire");
    for (name, text, count, read) in [
        ("typical", 20, 5_000, READ_BYTES),
        ("worst: 1 MiB in 1 KiB reads", 1 << 20, 2, 1 << 10),
        ("worst: byte by byte", 20, 500, 1),
    ] {
        let stream = envelopes(text, count);
        group.throughput(Throughput::Bytes(stream.len() as u64));
        group.bench_function(format!("connect/{name}"), |bencher| bencher.iter(|| cut_envelopes(&stream, read)));
        let stream = messages(text, count);
        group.throughput(Throughput::Bytes(stream.len() as u64));
        group.bench_function(format!("aws/{name}"), |bencher| bencher.iter(|| cut_messages(&stream, read)));
    }
    let mut out = BytesMut::new();
    answer(" understanding", &mut out);
    group.throughput(Throughput::Bytes(out.len() as u64));
    group.bench_function("proto/read an answer", |bencher| bencher.iter(|| walk(Message::new(black_box(&out)))));
    let mut written = BytesMut::with_capacity(1 << 10);
    group.bench_function("proto/write an answer", |bencher| {
        bencher.iter(|| {
            written.clear();
            answer(black_box(" understanding"), &mut written);
        });
    });
    group.bench_function("aws/write an event", |bencher| {
        bencher.iter(|| {
            written.clear();
            write_message(&headers(), &mut written, |out| out.extend_from_slice(b"{\"content\":\" understanding\"}"));
        });
    });
    group.finish();
}

/// A chat of Cursor's with so many turns, twenty tools and a file, in its envelope.
fn cursor_chat(turns: u64) -> BytesMut {
    let (mut out, text) = (BytesMut::new(), "some words of a conversation ".repeat(20));
    write_envelope(false, &mut out, |out| {
        MessageWriter::new(out).message(1, |w| {
            for turn in 0..turns {
                w.message(1, |w| {
                    w.text(1, &text).varint(2, turn % 2 + 1);
                });
            }
            w.message(5, |w| {
                w.text(1, "claude-4.5-sonnet");
            });
            for number in 0..20 {
                w.message(34, |w| {
                    w.text(1, &format!("tool_{number}")).text(2, "Does something.");
                    w.text(3, r#"{"type":"object","properties":{"a":{"type":"string"}}}"#).text(4, "server");
                });
            }
        });
    });
    out
}

/// The same answer, and calls whose arguments come in as many pieces, for each of Cursor's calls.
fn cursor(criterion: &mut Criterion) {
    const DELTAS: usize = 1_000;
    let mut group = criterion.benchmark_group("cursor");
    let body = cursor_chat(400);
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("request", |bencher| bencher.iter(|| transcribe(black_box(&body), Rpc::ChatWithTools)));
    let (id, name) = (Text::Plain("call_1"), Text::Plain("tool_1"));
    let call = Open::Tool { id, name, kind: ToolKind::Function, signature: None };
    let mut out = BytesMut::with_capacity(1 << 20);
    for rpc in Rpc::ALL {
        for (kind, open, field) in [("text", &Open::Text, Field::Text), ("call", &call, Field::Args)] {
            group.throughput(Throughput::Elements(DELTAS as u64));
            group.bench_function(format!("{kind} deltas, {rpc:?}"), |bencher| {
                bencher.iter(|| {
                    out.clear();
                    let mut encoder = Encoder::new(rpc, &Context::default());
                    encoder.event(&Event::Part { part: 0, open: open.clone() }, &mut out);
                    for _ in 0..DELTAS {
                        let text = Text::Escaped(black_box(" understanding"));
                        encoder.event(&Event::Delta { part: 0, field: field.clone(), text }, &mut out);
                    }
                    encoder.event(&Event::Stop { part: 0 }, &mut out);
                    encoder.event(&Event::Finish(Finish::End), &mut out);
                    encoder.event(&Event::End, &mut out);
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, wire, cursor);
criterion_main!(benches);
