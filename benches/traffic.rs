//! What upstreams send, as benches and tests need it: answers whose events vary as real ones do.
//!
//! One answer is several turns of thinking, text and tool calls with fragmented arguments; its pieces are drawn by a fixed
//! generator from words with escapes and in several scripts, so that every run sees the same bytes and no two neighbours
//! are alike. It is written in the vendors' words and not by our encoders, with what our decoders must skip: fingerprints,
//! padding of changing length, pings.

use std::fmt::Write as _;

/// A linear congruential generator (Knuth's MMIX constants): the same numbers everywhere.
#[derive(Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// Below `sides`.
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }

    pub(crate) fn pick<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.roll(words.len())]
    }
}

/// Pieces of prose, escaped for a JSON string.
pub(crate) const PROSE: [&str; 32] = [
    " the",
    " understanding",
    " borrow",
    " checker",
    ",",
    ".",
    "\\n\\n",
    " is",
    " a",
    " function",
    " `Vec<u8>`",
    " \\\"quoted\\\"",
    " für",
    " größer",
    " 理解",
    "する",
    " \u{1F980}",
    " it",
    " returns",
    " ownership",
    ":",
    "\\n- ",
    " and",
    " therefore",
    " of",
    " to",
    " what",
    " lifetime",
    " compile-time",
    " error[E0499]",
    " caf\\u00e9",
    " — ",
];
/// Pieces of arguments, escaped twice: they are JSON text inside a JSON string.
const ARGUMENTS: [&str; 16] = [
    "fn",
    " main",
    "()",
    " {\\\\n",
    "    let",
    " x",
    " =",
    " 1",
    ";\\\\n",
    "}\\\\n",
    "\\\\\\\"hello\\\\\\\"",
    " // ",
    "größer",
    "println!",
    "\\\\t",
    " 理解",
];
const NAMES: [&str; 3] = ["read_file", "write_file", "mcp__github__search_code"];

/// What an answer consists of.
#[derive(Debug, Clone)]
pub(crate) enum Piece {
    /// A piece of a thinking part.
    Think(String),
    /// A piece of text.
    Text(String),
    /// A call begins.
    Call(&'static str),
    /// A piece of its arguments.
    Args(String),
}

/// An answer of that many turns: each thinks, speaks and calls once or twice. About 250 events a turn.
pub(crate) fn answer(turns: usize) -> Vec<Piece> {
    let mut dice = Dice(42);
    let mut pieces = Vec::new();
    let some =
        |dice: &mut Dice, words: &[&str]| -> String { (0..1 + dice.roll(3)).map(|_| dice.pick(words)).collect() };
    for _ in 0..turns {
        (0..40 + dice.roll(40)).for_each(|_| pieces.push(Piece::Think(some(&mut dice, &PROSE))));
        (0..80 + dice.roll(60)).for_each(|_| pieces.push(Piece::Text(some(&mut dice, &PROSE))));
        for _ in 0..1 + dice.roll(2) {
            pieces.push(Piece::Call(NAMES[dice.roll(NAMES.len())]));
            pieces.push(Piece::Args("{\\\"path\\\":".into()));
            pieces.push(Piece::Args(" \\\"src/main.rs\\\",".into()));
            pieces.push(Piece::Args(" \\\"text\\\": \\\"".into()));
            (0..40 + dice.roll(40)).for_each(|_| pieces.push(Piece::Args(some(&mut dice, &ARGUMENTS))));
            pieces.push(Piece::Args("\\\"}".into()));
        }
    }
    pieces
}

/// The answer as Chat Completions chunks. With `padded`, as OpenAI sends them today: every chunk has a field of random
/// letters that hides the length of its text.
pub(crate) fn chat(pieces: &[Piece], padded: bool) -> String {
    let mut dice = Dice(7);
    let mut out = String::new();
    let mut chunk = |delta: &str, finish: &str| {
        let mut padding = String::new();
        if padded {
            padding.push_str(",\"obfuscation\":\"");
            (0..2 + dice.roll(14)).for_each(|_| padding.push((b'a' + dice.roll(26) as u8) as char));
            padding.push('"');
        }
        let _ = write!(
            out,
            "data: {{\"id\":\"chatcmpl-9fKx2Lw8ZQy4VbN7TtRc1MdE\",\"object\":\"chat.completion.chunk\",\"created\":1756000000,\
             \"model\":\"gpt-5.2-2026-01-15\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_44709d6fcb\",\
             \"choices\":[{{\"index\":0,\"delta\":{{{delta}}},\"logprobs\":null,\"finish_reason\":{finish}}}],\
             \"usage\":null{padding}}}\n\n"
        );
    };
    chunk("\"role\":\"assistant\",\"content\":\"\",\"refusal\":null", "null");
    let mut calls = 0;
    for piece in pieces {
        let delta = match piece {
            Piece::Think(text) => format!("\"content\":null,\"reasoning_content\":\"{text}\""),
            Piece::Text(text) => format!("\"content\":\"{text}\""),
            Piece::Call(name) => {
                calls += 1;
                let index = calls - 1;
                format!(
                    "\"tool_calls\":[{{\"index\":{index},\"id\":\"call_{index}xKd83\",\"type\":\"function\",\
                     \"function\":{{\"name\":\"{name}\",\"arguments\":\"\"}}}}]"
                )
            }
            Piece::Args(text) => {
                let index = calls - 1;
                format!("\"tool_calls\":[{{\"index\":{index},\"function\":{{\"arguments\":\"{text}\"}}}}]")
            }
        };
        chunk(&delta, "null");
    }
    chunk("", "\"tool_calls\"");
    out.push_str(
        "data: {\"id\":\"chatcmpl-9fKx2Lw8ZQy4VbN7TtRc1MdE\",\"object\":\"chat.completion.chunk\",\"created\":1756000000,\
         \"model\":\"gpt-5.2-2026-01-15\",\"choices\":[],\"usage\":{\"prompt_tokens\":1200,\"completion_tokens\":5000,\
         \"total_tokens\":6200,\"prompt_tokens_details\":{\"cached_tokens\":1024},\
         \"completion_tokens_details\":{\"reasoning_tokens\":900}}}\n\ndata: [DONE]\n\n",
    );
    out
}

/// The answer as an Anthropic stream, with a ping now and then and a signature behind all thinking.
pub(crate) fn anthropic(pieces: &[Piece]) -> String {
    let mut out = String::new();
    let mut event = |kind: &str, members: &str| {
        let _ = write!(out, "event: {kind}\ndata: {{\"type\":\"{kind}\"{members}}}\n\n");
    };
    event(
        "message_start",
        ",\"message\":{\"id\":\"msg_01XFDUDYJgAACzvnptvVoYEL\",\"type\":\"message\",\"role\":\"assistant\",\
         \"model\":\"claude-sonnet-4-5\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\
         \"usage\":{\"input_tokens\":1200,\"cache_read_input_tokens\":1024,\"output_tokens\":1}}",
    );
    // Index and kind of the open block.
    let (mut index, mut open) = (0, "");
    for (number, piece) in pieces.iter().enumerate() {
        let kind = match piece {
            Piece::Think(_) => "thinking",
            Piece::Text(_) => "text",
            Piece::Call(_) => "call",
            Piece::Args(_) => open,
        };
        if kind != open || matches!(piece, Piece::Call(_)) {
            if open == "thinking" {
                let delta = format!(
                    ",\"index\":{index},\"delta\":{{\"type\":\"signature_delta\",\"signature\":\"{}\"}}",
                    "EqQBCgIYAhIM".repeat(20)
                );
                event("content_block_delta", &delta);
            }
            if !open.is_empty() {
                event("content_block_stop", &format!(",\"index\":{index}"));
                index += 1;
            }
            open = kind;
            let block = match piece {
                Piece::Think(_) => "\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"".to_owned(),
                Piece::Call(name) => {
                    format!("\"type\":\"tool_use\",\"id\":\"toolu_{index}T1x1fJ34\",\"name\":\"{name}\",\"input\":{{}}")
                }
                Piece::Text(_) | Piece::Args(_) => "\"type\":\"text\",\"text\":\"\"".to_owned(),
            };
            event("content_block_start", &format!(",\"index\":{index},\"content_block\":{{{block}}}"));
        }
        if number % 97 == 0 {
            event("ping", "");
        }
        let delta = match piece {
            Piece::Think(text) => format!("\"type\":\"thinking_delta\",\"thinking\":\"{text}\""),
            Piece::Text(text) => format!("\"type\":\"text_delta\",\"text\":\"{text}\""),
            Piece::Args(text) => format!("\"type\":\"input_json_delta\",\"partial_json\":\"{text}\""),
            Piece::Call(_) => continue,
        };
        event("content_block_delta", &format!(",\"index\":{index},\"delta\":{{{delta}}}"));
    }
    event("content_block_stop", &format!(",\"index\":{index}"));
    event(
        "message_delta",
        ",\"delta\":{\"stop_reason\":\"tool_use\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":5000}",
    );
    event("message_stop", "");
    out
}
