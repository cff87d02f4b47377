//! Runs one workload a given number of times and nothing else, for callgrind: `instructions WORKLOAD ROUNDS`.
//!
//! `instructions.sh` counts the instructions of two runs and divides their difference, so that start-up does not count.
//! Instruction counts do not depend on what else the machine does: they guard, wall time only informs.

mod conversations;
mod traffic;

use std::hint::black_box;

use bytes::BytesMut;
use codecs::{
    dialect::{ClientDialect, Context, Dialect, Target, UrlParts, kiro},
    frame::{Deframer, Framing},
    json::{Raw, Recorder},
    translate::{StreamTranslator, translate_request},
};

/// What one read of a connection delivers.
const READ_BYTES: usize = 16 << 10;

const CHAT: &str = "data: {\"id\":\"chatcmpl-9fKx2Lw8ZQy4VbN7TtRc1MdE\",\"object\":\"chat.completion.chunk\",\"created\":1756000000,\"model\":\"gpt-5.2-2026-01-15\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" understanding\"},\"finish_reason\":null}]}\n\n";
const ANTHROPIC: [&str; 2] = [
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"model\":\"m\",\"content\":[]}}\n\nevent: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\" understanding\"}}\n\n",
];

fn translate(upstream: Dialect, client: impl Into<ClientDialect>, start: &str, delta: &str, rounds: usize) {
    let mut translator = StreamTranslator::new(upstream, client, &Context::default());
    let mut out = BytesMut::with_capacity(1 << 16);
    translator.push(start.as_bytes(), &mut out);
    let chunk = delta.repeat(50);
    for _ in 0..rounds / 50 {
        out.clear();
        translator.push(black_box(chunk.as_bytes()), &mut out);
        black_box(&out);
    }
}

/// Whole answers whose events vary, until about `rounds` events were translated.
fn varied(upstream: Dialect, client: Dialect, rounds: usize, render: impl Fn(&[traffic::Piece]) -> String) {
    let pieces = traffic::answer(4);
    let stream = render(&pieces);
    let mut out = BytesMut::with_capacity(1 << 16);
    for _ in 0..rounds / pieces.len() {
        let mut translator = StreamTranslator::new(upstream, client, &Context::default());
        for chunk in black_box(stream.as_bytes()).chunks(READ_BYTES) {
            out.clear();
            translator.push(chunk, &mut out);
            black_box(&out);
        }
        out.clear();
        translator.finish(&mut out);
    }
    eprintln!("{} bytes, {} pieces", stream.len(), pieces.len());
}

/// Events cut and nothing else.
fn cut(rounds: usize) {
    let pieces = traffic::answer(4);
    let stream = traffic::anthropic(&pieces);
    for _ in 0..rounds / pieces.len() {
        let mut deframer = Deframer::new(Framing::Sse);
        for chunk in black_box(stream.as_bytes()).chunks(READ_BYTES) {
            let _ = deframer.push(chunk, &mut |frame| {
                black_box(frame.data);
            });
        }
    }
    eprintln!("{} bytes, {} pieces", stream.len(), pieces.len());
}

/// A conversation of 200 kB, a thousandth of it a round.
fn request(from: Dialect, to: Dialect, body: &str, rounds: usize) {
    let url = UrlParts::default();
    let target = Target { model: "some-model".into(), stream: true, ..Target::default() };
    for _ in 0..rounds / 1_000 {
        let mut recorder = Recorder::default();
        let raw = Raw::parse_recorded(black_box(body.as_bytes()), &mut recorder);
        black_box(raw.is_ok_and(|raw| translate_request(from, to, raw, &url, &target).is_ok()));
    }
}

/// The same of Kiro's, until it is a request that everybody knows.
fn transcribe(body: &str, rounds: usize) {
    for _ in 0..rounds / 1_000 {
        let mut recorder = Recorder::default();
        let raw = Raw::parse_recorded(black_box(body.as_bytes()), &mut recorder);
        black_box(raw.is_ok_and(|raw| kiro::request::transcribe(raw).is_ok()));
    }
}

/// The same conversation, only read.
fn read(body: &str, rounds: usize) {
    let mut recorder = Recorder::default();
    for _ in 0..rounds / 1_000 {
        black_box(Raw::parse_recorded(black_box(body.as_bytes()), &mut recorder).is_ok());
    }
}

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| !arg.starts_with("--"));
    let workload = args.next().unwrap_or_default();
    let rounds = args.next().and_then(|rounds| rounds.parse().ok()).unwrap_or(100);
    let json = CHAT.trim_start_matches("data: ").trim_end();
    match workload.as_str() {
        "parse" => (0..rounds).for_each(|_| {
            black_box(Raw::parse(black_box(json.as_bytes())).is_ok());
        }),
        "chat-to-anthropic" => translate(Dialect::OpenAiChat, Dialect::Anthropic, "", CHAT, rounds),
        "chat-to-responses" => translate(Dialect::OpenAiChat, Dialect::OpenAiResponses, "", CHAT, rounds),
        "anthropic-to-chat" => {
            translate(Dialect::Anthropic, Dialect::OpenAiChat, ANTHROPIC[0], ANTHROPIC[1], rounds);
        }
        "anthropic-to-kiro" => {
            translate(Dialect::Anthropic, ClientDialect::Kiro, ANTHROPIC[0], ANTHROPIC[1], rounds);
        }
        "request-kiro" => transcribe(&conversations::kiro(200_000), rounds),
        "varied-chat-to-anthropic" => {
            varied(Dialect::OpenAiChat, Dialect::Anthropic, rounds, |pieces| traffic::chat(pieces, false));
        }
        "varied-padded-to-anthropic" => {
            varied(Dialect::OpenAiChat, Dialect::Anthropic, rounds, |pieces| traffic::chat(pieces, true));
        }
        "varied-anthropic-to-chat" => varied(Dialect::Anthropic, Dialect::OpenAiChat, rounds, traffic::anthropic),
        "varied-sse" => cut(rounds),
        "request-read" => read(&conversations::chat(200_000), rounds),
        "request-chat-to-anthropic" => {
            request(Dialect::OpenAiChat, Dialect::Anthropic, &conversations::chat(200_000), rounds);
        }
        "request-anthropic-to-chat" => {
            request(Dialect::Anthropic, Dialect::OpenAiChat, &conversations::anthropic(200_000), rounds);
        }
        _ => println!("usage: instructions WORKLOAD ROUNDS; the workloads are in instructions.sh"),
    }
}
