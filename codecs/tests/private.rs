//! The dialects of single programs, behind every public upstream: what is read by a reader that knows nothing of the hub is
//! what the upstream said, however the network cuts it, and an answer that broke off never looks like a whole one.

#![allow(clippy::unwrap_used)]

#[path = "../../tests/support/ides.rs"]
mod ides;
mod made;

use bytes::BytesMut;
use codecs::{
    dialect::{ClientDialect, Context, Dialect, cursor::Rpc},
    frame::{Aws, Connect},
    hub::{ApiError, ErrorKind, Reply, ReplyPart},
    translate::{Collector, StreamTranslator, replay_as_stream},
};
use ides::{Heard, cloud_code, cursor, kiro};
use made::answer;
use proptest::prelude::*;

fn context() -> Context {
    Context { model: ides::MODEL.into(), conversation: Some(ides::CONVERSATION.into()), ..made::context() }
}

fn read(client: ClientDialect, stream: &[u8]) -> Heard {
    match client {
        ClientDialect::Kiro => kiro(stream),
        ClientDialect::CloudCode => cloud_code(std::str::from_utf8(stream).unwrap()),
        ClientDialect::Cursor(Rpc::Agent) => cursor::agent(stream),
        ClientDialect::Cursor(rpc) => cursor::chat(stream, rpc == Rpc::ChatWithTools),
        ClientDialect::Public(dialect) => panic!("{dialect:?}"),
    }
}

/// What a program must have read of an answer that an upstream of `dialect` gave.
fn expected(client: ClientDialect, dialect: Dialect, stream: &[u8]) -> Heard {
    let mut collector = Collector::new(dialect, &made::context());
    collector.push(stream);
    let reply: Reply = collector.finish();
    let mut heard = Heard::default();
    for part in &reply.parts {
        match part {
            ReplyPart::Text(text) | ReplyPart::Refusal(text) => heard.text += &text.text().plain(),
            ReplyPart::Thinking { text, .. } => heard.thinking += &text.text().plain(),
            ReplyPart::Tool { name, args, .. } => {
                let args = args.text().plain().into_owned();
                let args = if args.is_empty() { "{}".to_owned() } else { args };
                heard.calls.push((name.clone(), serde_json::from_str(&args).unwrap()));
            }
            ReplyPart::Redacted(_) | ReplyPart::Image { .. } => {}
        }
    }
    // Cursor's chats tell no counts, and none of its answers why it ended.
    let counts = !matches!(client, ClientDialect::Cursor(Rpc::Chat | Rpc::ChatWithTools));
    heard.usage = counts.then_some((reply.usage.input(), reply.usage.output));
    heard.end = reply.finish.as_ref().map(|finish| {
        use codecs::hub::Finish::{End, Filter, Length, Pause, StopSequence, Tool};
        let word = match (client, finish) {
            (ClientDialect::Kiro, Length) => "MAX_TOKENS",
            (ClientDialect::Kiro, Filter(_)) => "CONTENT_FILTERED",
            (ClientDialect::Kiro, Tool) => "TOOL_USE",
            (ClientDialect::Kiro, End | Pause) if reply.has_calls() => "TOOL_USE",
            (ClientDialect::Kiro, End | StopSequence(_) | Pause) => "END_TURN",
            (ClientDialect::Cursor(_), _) => "",
            (_, Length) => "MAX_TOKENS",
            (_, Filter(_)) => "SAFETY",
            (_, End | StopSequence(_) | Pause | Tool) => "STOP",
        };
        word.to_owned()
    });
    heard
}

/// The upstream's bytes through the pipeline. Every push leaves whole messages behind.
fn translated(
    upstream: Dialect,
    client: ClientDialect,
    pieces: &mut dyn Iterator<Item = &[u8]>,
    end: impl FnOnce(&mut StreamTranslator, &mut BytesMut),
) -> Vec<u8> {
    let mut translator = StreamTranslator::new(upstream, client, &context());
    let (mut all, mut out) = (Vec::new(), BytesMut::new());
    for piece in pieces {
        translator.push(piece, &mut out);
        match client {
            ClientDialect::Kiro => {
                let mut aws = Aws::default();
                aws.push(&out, &mut |_| {}).unwrap();
                aws.finish().unwrap();
            }
            ClientDialect::Cursor(_) => {
                let mut connect = Connect::default();
                connect.push(&out, &mut |_| {}).unwrap();
                connect.finish().unwrap();
            }
            _ => {}
        }
        all.extend_from_slice(&out.split());
    }
    end(&mut translator, &mut out);
    all.extend_from_slice(&out);
    all
}

fn finish(translator: &mut StreamTranslator, out: &mut BytesMut) {
    translator.finish(out);
}

fn pairs() -> impl Iterator<Item = (Dialect, ClientDialect)> {
    let others = [Rpc::Chat, Rpc::Agent].map(ClientDialect::Cursor);
    let clients = move || ClientDialect::PRIVATE.into_iter().chain(others);
    Dialect::ALL.into_iter().flat_map(move |upstream| clients().map(move |client| (upstream, client)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_program_reads_what_the_upstream_said(answer in answer(), size in 1usize..50) {
        for (upstream, client) in pairs() {
            let stream = answer.stream(upstream);
            let whole = translated(upstream, client, &mut [&stream[..]].into_iter(), finish);
            prop_assert_eq!(read(client, &whole), expected(client, upstream, &stream), "{:?} {:?}", upstream, client);
            prop_assert_eq!(translated(upstream, client, &mut stream.chunks(size), finish), whole);
        }
    }

    #[test]
    fn a_collected_answer_says_the_same_as_the_stream(answer in answer()) {
        for (upstream, client) in pairs() {
            let stream = answer.stream(upstream);
            let mut collector = Collector::new(upstream, &made::context());
            collector.push(&stream);
            let mut out = BytesMut::new();
            replay_as_stream(&collector.finish(), client, &context(), &mut out);
            let streamed = translated(upstream, client, &mut [&stream[..]].into_iter(), finish);
            prop_assert_eq!(read(client, &out), read(client, &streamed), "{:?} {:?}", upstream, client);
        }
    }

    #[test]
    fn what_broke_off_does_not_end_well(answer in answer(), place in 0.0f64..1.0) {
        for (upstream, client) in pairs() {
            let stream = answer.stream(upstream);
            // Before the last byte of the last event but white space.
            let most = stream.trim_ascii_end().len().saturating_sub(1);
            let cut = &stream[..(most as f64 * place) as usize];
            let failure = |translator: &mut StreamTranslator, out: &mut BytesMut| {
                translator.fail(ApiError::new(ErrorKind::Timeout, "silent"), out);
            };
            // An upstream that has said why it ended may say how much that was behind it, or nothing.
            let ended = translated(upstream, client, &mut [cut].into_iter(), finish);
            let heard = read(client, &ended);
            prop_assert!(heard.end.is_some() != heard.error.is_some(), "{:?} {:?}: {:?}", upstream, client, heard);
            let whole = read(client, &translated(upstream, client, &mut [&stream[..]].into_iter(), finish));
            prop_assert!(whole.text.starts_with(&heard.text) && whole.thinking.starts_with(&heard.thinking));
            if translated(upstream, client, &mut [cut].into_iter(), |_, _| {}) == ended {
                continue;
            }
            let heard = read(client, &translated(upstream, client, &mut [cut].into_iter(), failure));
            prop_assert_eq!(heard.error.as_deref(), Some("silent"), "{:?} {:?}", upstream, client);
            prop_assert_eq!(heard.end, None);
        }
    }
}

/// Text, thinking and two calls, the second one without arguments.
fn one() -> made::Answer {
    let pieces = |all: &[&str]| all.iter().map(|piece| (*piece).to_owned()).collect();
    made::Answer {
        parts: vec![
            made::Made::Thinking(pieces(&["hm", "\n"])),
            made::Made::Text(pieces(&["Hel", "lo \"🚀\"\u{1}"])),
            made::Made::Call { name: "read".into(), pieces: pieces(&["{\"path\":", "\"é\\\\\"}"]) },
            made::Made::Call { name: "ls".into(), pieces: pieces(&["{}"]) },
        ],
        turns: vec![0],
        scores: vec![0],
        finish: 4,
        usage: codecs::hub::Usage { uncached: 11, cache_read: 2, output: 3, ..codecs::hub::Usage::default() },
    }
}

#[test]
fn every_event_cut_at_every_byte() {
    for (upstream, client) in pairs() {
        let stream = one().stream(upstream);
        let whole = translated(upstream, client, &mut [&stream[..]].into_iter(), finish);
        assert_eq!(read(client, &whole), expected(client, upstream, &stream));
        for at in 0..=stream.len() {
            let (head, tail) = stream.split_at(at);
            assert_eq!(
                translated(upstream, client, &mut [head, tail].into_iter(), finish),
                whole,
                "{upstream:?} to {client:?} at {at}"
            );
        }
        assert_eq!(translated(upstream, client, &mut stream.chunks(1), finish), whole);
    }
}
