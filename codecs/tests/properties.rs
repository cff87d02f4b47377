//! What holds for every answer and every pair of dialects, whatever an upstream says and however the network cuts it.
//!
//! Answers are [`made`] at random.

#![allow(clippy::unwrap_used)]

mod made;
#[path = "vectors/normal.rs"]
#[allow(dead_code)]
mod normal;

use bytes::BytesMut;
use codecs::{
    dialect::Dialect,
    frame::Framing,
    hub::{Event, Field, Finish, Open, Reply, ReplyPart, ToolKind, Usage, check::Check, serial::Serial},
    json::{Raw, Text},
    translate::{Collector, StreamTranslator, Tap, replay},
};
use made::{answer, context};
use proptest::prelude::*;
use serde_json::Value;

/// What an answer says, in a form in which dialects can be compared.
#[derive(Debug, PartialEq)]
struct Meaning {
    /// Refusals count as text.
    text: String,
    thinking: String,
    calls: Vec<(String, Value)>,
    logprobs: Vec<Value>,
    finish: Option<&'static str>,
    usage: Usage,
    failed: bool,
}

/// The meaning of `reply` as far as all of `dialects` can carry it.
fn meaning(reply: &Reply, dialects: &[Dialect], refusal: bool) -> Meaning {
    let mut got = Meaning {
        text: String::new(),
        thinking: String::new(),
        calls: Vec::new(),
        logprobs: logprobs(reply, dialects, refusal),
        finish: None,
        usage: dialects.iter().fold(reply.usage, |usage, dialect| carried(*dialect, usage)),
        failed: reply.error.is_some() || !reply.ended,
    };
    for part in &reply.parts {
        match part {
            ReplyPart::Text(text) | ReplyPart::Refusal(text) => got.text.push_str(&text.text().plain()),
            ReplyPart::Thinking { text, .. } => got.thinking.push_str(&text.text().plain()),
            ReplyPart::Tool { name, args, .. } => {
                let args = args.text().plain().into_owned();
                let args = serde_json::from_str(&args).unwrap_or(Value::String(args));
                got.calls.push((name.clone(), args));
            }
            ReplyPart::Redacted(_) | ReplyPart::Image { .. } => {}
        }
    }
    if refusal {
        // A chat document holds text and refusal apart, and other dialects know text only: their order is nobody's promise.
        let mut chars: Vec<char> = got.text.chars().collect();
        chars.sort_unstable();
        got.text = chars.into_iter().collect();
    }
    let ollama = dialects.contains(&Dialect::Ollama);
    got.finish = match &reply.finish {
        Some(Finish::Length) => Some("length"),
        // Anthropic says `refusal` for both, and Ollama has a word for neither.
        Some(_) if refusal => Some("refusal or any"),
        Some(Finish::Filter(_)) if !ollama => Some("filter"),
        Some(_) if reply.has_calls() => Some("tool"),
        Some(_) => Some("end"),
        None => None,
    };
    got
}

/// The scored tokens of `reply` as far as all of `dialects` can carry them, in order.
fn logprobs(reply: &Reply, dialects: &[Dialect], refusal: bool) -> Vec<Value> {
    let responses = dialects.contains(&Dialect::OpenAiResponses);
    // Responses scores no refusal, but a refusal that came as the text of another dialect.
    if dialects.contains(&Dialect::Anthropic) || (responses && refusal) {
        return Vec::new();
    }
    let list = reply.logprobs_of(|_, part| !responses || matches!(part, ReplyPart::Text(_)));
    let mut list: Vec<Value> = serde_json::from_str(&format!("[{}]", list.text().plain())).unwrap();
    if dialects.contains(&Dialect::Gemini) {
        for entry in &mut list {
            entry["bytes"].take();
        }
    }
    if refusal {
        list.sort_by_key(Value::to_string);
    }
    list
}

/// The counters that a dialect has words for.
fn carried(dialect: Dialect, usage: Usage) -> Usage {
    match dialect {
        Dialect::OpenAiChat | Dialect::OpenAiResponses | Dialect::Anthropic => usage,
        Dialect::Gemini => Usage { uncached: usage.uncached + usage.cache_write, cache_write: 0, ..usage },
        Dialect::Ollama => Usage { uncached: usage.input(), output: usage.output, ..Usage::default() },
    }
}

fn translated(upstream: Dialect, client: Dialect, pieces: &mut dyn Iterator<Item = &[u8]>) -> Vec<u8> {
    let mut translator = StreamTranslator::new(upstream, client, &context());
    let mut out = BytesMut::new();
    pieces.for_each(|piece| translator.push(piece, &mut out));
    translator.finish(&mut out);
    out.to_vec()
}

fn collected(dialect: Dialect, stream: &[u8]) -> Reply {
    let mut collector = Collector::new(dialect, &context());
    collector.push(stream);
    collector.finish()
}

fn pairs() -> impl Iterator<Item = (Dialect, Dialect)> {
    Dialect::ALL.into_iter().flat_map(|upstream| Dialect::ALL.map(|client| (upstream, client)))
}

/// 64 cases, for each of them runs through all pairs; `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let mut config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 64;
    }
    config
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_dialect_reads_what_it_writes(answer in answer()) {
        for dialect in Dialect::ALL {
            let stream = answer.stream(dialect);
            let got = collected(dialect, &stream);
            let refusal = answer.has_refusal();
            let want = meaning(&answer.reply(), &[dialect], refusal);
            prop_assert_eq!(
                meaning(&got, &[dialect], refusal), want, "{}\n{}", dialect.name(), String::from_utf8_lossy(&stream)
            );
        }
    }

    #[test]
    fn a_document_says_what_the_stream_says(answer in answer()) {
        for dialect in Dialect::ALL {
            let mut document = Vec::new();
            dialect.encode_reply(&answer.reply(), &context(), &mut document);
            let mut got = Reply::default();
            let mut check = Check::default();
            dialect.decode_reply(Raw::parse(&document).unwrap(), &context(), &mut |event| {
                check.event(&event).unwrap();
                got.fold(&event);
            });
            let refusal = answer.has_refusal();
            let want = meaning(&answer.reply(), &[dialect], refusal);
            prop_assert_eq!(
                meaning(&got, &[dialect], refusal), want, "{}\n{}", dialect.name(), String::from_utf8_lossy(&document)
            );
        }
    }

    #[test]
    fn cutting_changes_nothing(answer in answer(), sizes in prop::collection::vec(1usize..40, 1..8)) {
        for upstream in Dialect::ALL {
            let stream = answer.stream(upstream);
            let mut pieces = Vec::new();
            let mut rest = stream.as_slice();
            for &size in sizes.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, tail) = rest.split_at(size.min(rest.len()));
                pieces.push(piece);
                rest = tail;
            }
            for client in Dialect::ALL {
                let whole = translated(upstream, client, &mut [stream.as_slice()].into_iter());
                let cut = translated(upstream, client, &mut pieces.iter().copied());
                prop_assert_eq!(String::from_utf8_lossy(&whole), String::from_utf8_lossy(&cut));
            }
        }
    }

    /// Frames that repeat the shape of the one before take a shortcut; a frame without meaning between them bars it.
    #[test]
    fn repeated_frames_mean_what_they_mean_alone(answer in answer()) {
        for upstream in Dialect::ALL {
            let stream = String::from_utf8(answer.stream(upstream)).unwrap();
            let apart = match upstream.framing() {
                Framing::NdJson => stream.replace('\n', "\n{}\n"),
                _ => stream.replace("\n\n", "\n\ndata:\n\n"),
            };
            let observed = |stream: &str| {
                let mut tap = Tap::new(upstream, &context());
                tap.push(stream.as_bytes());
                tap.finish();
                format!("{:?}", tap.observed())
            };
            prop_assert_eq!(observed(&stream), observed(&apart));
            for client in Dialect::ALL {
                let near = translated(upstream, client, &mut [stream.as_bytes()].into_iter());
                let far = translated(upstream, client, &mut [apart.as_bytes()].into_iter());
                prop_assert_eq!(String::from_utf8_lossy(&near), String::from_utf8_lossy(&far));
            }
        }
    }

    #[test]
    fn streams_and_documents_agree(answer in answer()) {
        for (upstream, client) in pairs() {
            let stream = answer.stream(upstream);
            let left = collected(client, &translated(upstream, client, &mut [stream.as_slice()].into_iter()));
            let whole = collected(upstream, &stream);
            prop_assert!(whole.error.is_none(), "{:?}", whole.error);
            let mut document = Vec::new();
            client.encode_reply(&whole, &context(), &mut document);
            let mut right = Reply::default();
            client.decode_reply(Raw::parse(&document).unwrap(), &context(), &mut |event| right.fold(&event));
            let dialects = [upstream, client];
            let refusal = answer.has_refusal();
            let (left, right) = (meaning(&left, &dialects, refusal), meaning(&right, &dialects, refusal));
            prop_assert_eq!(&left, &right, "{} to {}", upstream.name(), client.name());
            prop_assert_eq!(&left, &meaning(&answer.reply(), &dialects, refusal), "{} to {}", upstream.name(), client.name());
        }
    }

    #[test]
    fn clients_get_well_formed_streams(answer in answer()) {
        for (upstream, client) in pairs() {
            let stream = answer.stream(upstream);
            let out = translated(upstream, client, &mut [stream.as_slice()].into_iter());
            if let Err(rule) = well_formed(client, &out) {
                panic!("{} to {}: {rule}\n{}", upstream.name(), client.name(), String::from_utf8_lossy(&out));
            }
        }
    }

    #[test]
    fn a_cut_stream_is_an_error_and_no_finish(answer in answer(), at in any::<prop::sample::Index>()) {
        for (upstream, client) in pairs() {
            let stream = answer.stream(upstream);
            let ends = normal::frame_ends(upstream, &stream);
            let end = ends[at.index(ends.len())];
            let mut translator = StreamTranslator::new(upstream, client, &context());
            let mut out = BytesMut::new();
            translator.push(&stream[..end], &mut out);
            translator.finish(&mut out);
            let observed = translator.observed();
            if !normal::says_finish(upstream, &stream[..end]) {
                prop_assert!(observed.finish.is_none() && observed.error.is_some(), "{} to {}", upstream.name(), client.name());
            }
            // Any byte: no panic, and what is out is whole.
            let mut translator = StreamTranslator::new(upstream, client, &context());
            out.clear();
            translator.push(&stream[..at.index(stream.len() + 1)], &mut out);
            normal::parse(client, &out).unwrap();
            translator.finish(&mut out);
            normal::parse(client, &out).unwrap();
        }
    }

    #[test]
    fn a_replayed_answer_is_the_answer(answer in answer()) {
        let reply = answer.reply();
        let (mut again, mut check) = (Reply::default(), Check::default());
        replay(&reply, &mut |event| {
            check.event(&event).unwrap();
            again.fold(&event);
        });
        prop_assert_eq!(meaning(&again, &[], false), meaning(&reply, &[], false));
    }

    #[test]
    fn the_serialiser_keeps_every_byte(script in prop::collection::vec((0u8..4, any::<prop::sample::Index>(), "[{}1 ]{1,3}"), 0..40)) {
        let (mut serial, mut before, mut after) = (Serial::default(), Check::default(), Check::default());
        let (mut sent, mut got) = (Reply::default(), Reply::default());
        let mut open: Vec<(u32, Field<'static>)> = Vec::new();
        let (mut parts, mut opened) = (0, None::<u32>);
        let mut feed = |event: Event<'_>| {
            before.event(&event).unwrap();
            sent.fold(&event);
            serial.event(event, &mut |event| {
                after.event(&event).unwrap();
                match &event {
                    Event::Part { part, .. } => assert!(opened.replace(*part).is_none(), "two parts are open"),
                    Event::Stop { part } => assert_eq!(opened.take(), Some(*part)),
                    _ => {}
                }
                got.fold(&event);
            });
        };
        feed(Event::Start { id: Text::EMPTY, model: Text::EMPTY, created: None, usage: None });
        for (step, which, text) in &script {
            match step {
                0 => {
                    let (id, name) = (Text::Plain("i"), Text::Plain("n"));
                    let (kind, field) = match which.index(3) {
                        0 => (Open::Text, Field::Text),
                        1 => (Open::Thinking, Field::Think),
                        _ => (Open::Tool { id, name, kind: ToolKind::Custom, signature: None }, Field::Args),
                    };
                    feed(Event::Part { part: parts, open: kind });
                    open.push((parts, field));
                    parts += 1;
                }
                1 if !open.is_empty() => feed(Event::Stop { part: open.remove(which.index(open.len())).0 }),
                _ if !open.is_empty() => {
                    let (part, field) = open[which.index(open.len())].clone();
                    feed(Event::Delta { part, field, text: Text::Plain(text) });
                }
                _ => {}
            }
        }
        open.iter().for_each(|(part, _)| feed(Event::Stop { part: *part }));
        feed(Event::Finish(Finish::End));
        feed(Event::End);
        let bytes = |reply: &Reply| {
            let mut kinds = [Vec::new(), Vec::new(), Vec::new()];
            for part in &reply.parts {
                let (kind, text) = match part {
                    ReplyPart::Text(text) => (0, text),
                    ReplyPart::Thinking { text, .. } => (1, text),
                    ReplyPart::Tool { args, .. } => (2, args),
                    other => panic!("{other:?}"),
                };
                kinds[kind].extend(text.text().plain().bytes());
            }
            kinds.iter_mut().for_each(|kind| kind.sort_unstable());
            kinds
        };
        prop_assert_eq!(bytes(&got), bytes(&sent));
    }
}

/// The promises of a client's stream that its SDKs rely on.
fn well_formed(client: Dialect, out: &[u8]) -> Result<(), String> {
    normal::stream(client, out)?;
    let objects: Vec<Value> = normal::parse(client, out)?.into_iter().filter_map(|item| item.json).collect();
    match client {
        Dialect::Anthropic => anthropic_blocks(&objects),
        Dialect::OpenAiResponses => responses_ladder(&objects),
        Dialect::OpenAiChat => chat_indices(&objects),
        Dialect::Gemini | Dialect::Ollama => Ok(()),
    }
}

/// One block is open at a time, indices are dense.
fn anthropic_blocks(objects: &[Value]) -> Result<(), String> {
    let (mut open, mut next) = (None, 0);
    for object in objects {
        let index = object["index"].as_u64();
        match object["type"].as_str().unwrap_or_default() {
            "content_block_start" if open.is_some() || index != Some(next) => return Err(format!("start: {object}")),
            "content_block_start" => (open, next) = (index, next + 1),
            "content_block_delta" if open != index => return Err(format!("delta: {object}")),
            "content_block_stop" if open.take() != index => return Err(format!("stop: {object}")),
            "message_delta" if open.is_some() => return Err("finished with an open block".into()),
            _ => {}
        }
    }
    let last = objects.last().ok_or("nothing")?;
    if last["type"] != "message_stop" { Err(format!("the end is {last}")) } else { Ok(()) }
}

/// Every item is added and done once, in order; the deltas of a text are its done text; one terminal event at the end.
fn responses_ladder(objects: &[Value]) -> Result<(), String> {
    let (mut open, mut next) = (None::<u64>, 0);
    let mut deltas = String::new();
    let mut done = Vec::new();
    for object in objects {
        let index = object["output_index"].as_u64();
        let kind = object["type"].as_str().ok_or("no type")?;
        match kind {
            "response.output_item.added" if open.is_some() || index != Some(next) => return Err(format!("{object}")),
            "response.output_item.added" => (open, next) = (index, next + 1),
            "response.output_item.done" => {
                if open.take() != index {
                    return Err(format!("{object}"));
                }
                done.push(object["item"].clone());
            }
            _ if kind.ends_with(".delta") => {
                if open != index {
                    return Err(format!("{object}"));
                }
                deltas.push_str(object["delta"].as_str().ok_or("a delta without text")?);
            }
            "response.output_text.done" | "response.reasoning_summary_text.done" => {
                let streamed = std::mem::take(&mut deltas);
                if object["text"] != streamed {
                    return Err(format!("the deltas differ: {object}"));
                }
            }
            "response.refusal.done" => {
                let streamed = std::mem::take(&mut deltas);
                if object["refusal"] != streamed {
                    return Err(format!("the deltas differ: {object}"));
                }
            }
            "response.function_call_arguments.done" => {
                let streamed = std::mem::take(&mut deltas);
                if object["arguments"] != streamed {
                    return Err(format!("the deltas differ: {object}"));
                }
            }
            _ => {}
        }
    }
    let last = objects.last().ok_or("nothing")?;
    if last["response"]["output"].as_array() != Some(&done) {
        return Err(format!("the items differ from the end: {last}"));
    }
    match last["type"].as_str() {
        Some("response.completed" | "response.incomplete") => Ok(()),
        _ => Err(format!("the end is {last}")),
    }
}

/// Calls have dense indices, and an id and a name exactly once.
fn chat_indices(objects: &[Value]) -> Result<(), String> {
    let mut next = 0;
    for object in objects {
        for call in object["choices"][0]["delta"]["tool_calls"].as_array().into_iter().flatten() {
            let index = call["index"].as_u64().ok_or("a call without an index")?;
            let begins = call.get("id").is_some();
            if begins != (index == next) || index > next || begins != call["function"].get("name").is_some() {
                return Err(format!("{call}"));
            }
            next += u64::from(begins);
        }
    }
    Ok(())
}
