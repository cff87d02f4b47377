//! Runs one workload a given number of times and nothing else, for callgrind: `instructions WORKLOAD ROUNDS`.
//!
//! `instructions.sh` counts the instructions of two runs and divides their difference, so that start-up does not count.
//! Instruction counts do not depend on what else the machine does: they guard, wall time only informs.

use std::hint::black_box;

use bytes::BytesMut;
use codecs::{
    dialect::{Context, Dialect},
    json::Raw,
    translate::StreamTranslator,
};

const CHAT: &str = "data: {\"id\":\"chatcmpl-9fKx2Lw8ZQy4VbN7TtRc1MdE\",\"object\":\"chat.completion.chunk\",\"created\":1756000000,\"model\":\"gpt-5.2-2026-01-15\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" understanding\"},\"finish_reason\":null}]}\n\n";
const ANTHROPIC: [&str; 2] = [
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"model\":\"m\",\"content\":[]}}\n\nevent: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\" understanding\"}}\n\n",
];

fn translate(upstream: Dialect, client: Dialect, start: &str, delta: &str, rounds: usize) {
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
        _ => {
            println!("usage: instructions (parse|chat-to-anthropic|chat-to-responses|anthropic-to-chat) ROUNDS");
        }
    }
}
