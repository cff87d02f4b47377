//! Translation of whole streams: upstream bytes in, client bytes out, framing included. Throughput counts upstream bytes.

mod conversations;
mod traffic;

use std::hint::black_box;

use bytes::BytesMut;
use codecs::{
    dialect::{ClientDialect, Context, Dialect, StreamEncode, Target, UrlParts, kiro},
    hub::{Event, Field, Finish, Open, ToolKind, Usage},
    json::{Raw, Recorder, Text},
    translate::{StreamTranslator, Tap, translate_request},
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// What one read of a connection delivers.
const READ_BYTES: usize = 16 << 10;
const DELTAS: usize = 5_000;

/// An answer in the words of `dialect`: written by its own encoder.
fn stream(dialect: Dialect, open: &Open<'_>, field: &Field<'_>, pieces: &mut dyn Iterator<Item = &str>) -> Vec<u8> {
    let context = Context { now: 1_756_000_000, new_id: "9fkx2lw8zqy4vbn7ttrc1mde".into(), ..Context::default() };
    let mut encoder = dialect.stream_encoder(&context);
    let mut out = BytesMut::new();
    let usage = Usage { uncached: 1_200, output: 5_000, ..Usage::default() };
    let (id, model) = (Text::Plain("9fKx2Lw8ZQy4VbN7TtRc1MdE"), Text::Plain("gpt-5.2-2026-01-15"));
    let mut write = |event: Event<'_>| encoder.event(&event, &mut out);
    write(Event::Start { id, model, created: Some(1_756_000_000), usage: None });
    write(Event::Part { part: 0, open: open.clone() });
    for piece in pieces {
        write(Event::Delta { part: 0, field: field.clone(), text: Text::Escaped(piece) });
    }
    write(Event::Stop { part: 0 });
    write(Event::Usage(usage));
    write(Event::Finish(Finish::End));
    write(Event::End);
    out.to_vec()
}

fn text_stream(dialect: Dialect) -> Vec<u8> {
    let words =
        [" understanding", " the", " borrow checker", ",\\n\\n", " \\\"Rust\\\"", " ownership rules", " für", "."];
    stream(dialect, &Open::Text, &Field::Text, &mut words.into_iter().cycle().take(DELTAS))
}

fn call_stream(dialect: Dialect) -> Vec<u8> {
    let open = Open::Tool {
        id: Text::Plain("call_1"),
        name: Text::Plain("write_file"),
        kind: ToolKind::Function,
        signature: None,
    };
    let piece = "let x = 1;\\\\n".repeat(80);
    let pieces = ["{\\\"text\\\":\\\""].into_iter().chain(std::iter::repeat_n(piece.as_str(), 1_000)).chain(["\\\"}"]);
    stream(dialect, &open, &Field::Args, &mut pieces.into_iter())
}

fn translate(stream: &[u8], upstream: Dialect, client: impl Into<ClientDialect>, out: &mut BytesMut) {
    let mut translator = StreamTranslator::new(upstream, client, &Context::default());
    for chunk in stream.chunks(READ_BYTES) {
        out.clear();
        translator.push(chunk, out);
        black_box(&out);
    }
    out.clear();
    translator.finish(out);
}

fn pairs(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pairs");
    let mut out = BytesMut::with_capacity(64 << 10);
    for upstream in Dialect::ALL {
        let (text, call) = (text_stream(upstream), call_stream(upstream));
        for client in Dialect::ALL {
            if client == upstream {
                continue;
            }
            for (kind, stream) in [("text", &text), ("1 MB call", &call)] {
                group.throughput(Throughput::Bytes(stream.len() as u64));
                group.bench_function(format!("{kind}: {} to {}", upstream.name(), client.name()), |bencher| {
                    bencher.iter(|| translate(stream, upstream, client, &mut out));
                });
            }
        }
    }
    group.finish();
}

/// The dialects of single programs, behind Anthropic; and what they ask, until it is a request that everybody knows.
fn private(criterion: &mut Criterion) {
    let upstream = Dialect::Anthropic;
    let (text, call) = (text_stream(upstream), call_stream(upstream));
    let mut group = criterion.benchmark_group("private");
    let mut out = BytesMut::with_capacity(64 << 10);
    for client in ClientDialect::PRIVATE {
        for (kind, stream) in [("text", &text), ("1 MB call", &call)] {
            group.throughput(Throughput::Bytes(stream.len() as u64));
            group.bench_function(format!("{kind}: {} to {}", upstream.name(), client.name()), |bencher| {
                bencher.iter(|| translate(stream, upstream, client, &mut out));
            });
        }
    }
    let body = conversations::kiro(200_000);
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("kiro's conversation", |bencher| {
        bencher.iter(|| {
            let mut recorder = Recorder::default();
            let raw = Raw::parse_recorded(black_box(body.as_bytes()), &mut recorder).ok()?;
            kiro::request::transcribe(raw).ok()
        });
    });
    group.finish();
}

/// Answers whose events vary: thinking, text and calls in turns.
fn varied(criterion: &mut Criterion) {
    let pieces = traffic::answer(20);
    let (chat, anthropic) = (Dialect::OpenAiChat, Dialect::Anthropic);
    let mut group = criterion.benchmark_group("varied");
    let mut out = BytesMut::with_capacity(64 << 10);
    for (name, stream, upstream, client) in [
        ("openai-chat to anthropic", traffic::chat(&pieces, false), chat, anthropic),
        ("padded openai-chat to anthropic", traffic::chat(&pieces, true), chat, anthropic),
        ("anthropic to openai-chat", traffic::anthropic(&pieces), anthropic, chat),
    ] {
        group.throughput(Throughput::Bytes(stream.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| translate(stream.as_bytes(), upstream, client, &mut out));
        });
    }
    group.finish();
}

/// A conversation of 200 kB with twenty tools: parsed, decoded, encoded.
fn conversation(criterion: &mut Criterion) {
    let (chat, anthropic) = (Dialect::OpenAiChat, Dialect::Anthropic);
    let mut group = criterion.benchmark_group("conversation");
    let target = Target { model: "some-model".into(), stream: true, ..Target::default() };
    for (name, body, from, to) in [
        ("openai-chat to anthropic", conversations::chat(200_000), chat, anthropic),
        ("anthropic to openai-chat", conversations::anthropic(200_000), anthropic, chat),
    ] {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut recorder = Recorder::default();
                let raw = Raw::parse_recorded(black_box(body.as_bytes()), &mut recorder).ok()?;
                translate_request(from, to, raw, &UrlParts::default(), &target).ok()
            });
        });
    }
    group.finish();
}

/// The raw lane: a copy, and the copy with a tap.
fn raw(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("raw");
    let mut out = BytesMut::with_capacity(64 << 10);
    for dialect in Dialect::ALL {
        let stream = text_stream(dialect);
        group.throughput(Throughput::Bytes(stream.len() as u64));
        group.bench_function(format!("tap: {}", dialect.name()), |bencher| {
            bencher.iter(|| {
                let mut tap = Tap::new(dialect, &Context::default());
                for chunk in stream.chunks(READ_BYTES) {
                    out.clear();
                    out.extend_from_slice(black_box(chunk));
                    tap.push(chunk);
                }
                tap.finish();
                tap.observed().output_chars
            });
        });
    }
    group.finish();
}

criterion_group!(benches, pairs, private, varied, conversation, raw);
criterion_main!(benches);
