//! Translating an event allocates nothing once a part has begun, however the upstream's bytes are cut. Buffers that keep
//! the start of a cut event grow with the longest so far: a few times in a stream, not once per event.
//!
//! Counted by an allocator that wraps the system's, on the test's own thread.

use bytes::BytesMut;
use codecs::{
    dialect::{Context, Dialect},
    translate::{StreamTranslator, Tap},
};

use crate::traffic::{self, Piece};

/// How often buffers may grow in a thousand events that reads cut.
const GROWTHS_MAX: u64 = 4;

/// One long part of each kind.
fn parts() -> [(&'static str, Vec<Piece>); 3] {
    let answer = traffic::answer(8);
    let only = |wanted: fn(&Piece) -> bool| answer.iter().filter(move |piece| wanted(piece)).cloned();
    let call = [Piece::Call("write_file")].into_iter();
    [
        ("thinking", only(|piece| matches!(piece, Piece::Think(_))).collect()),
        ("text", only(|piece| matches!(piece, Piece::Text(_))).collect()),
        ("arguments", call.chain(only(|piece| matches!(piece, Piece::Args(_)))).collect()),
    ]
}

/// Streams of OpenAI and Anthropic, one part each.
fn streams() -> Vec<(String, Dialect, String)> {
    let mut all = Vec::new();
    for (kind, pieces) in parts() {
        all.push((format!("{kind} of OpenAI"), Dialect::OpenAiChat, traffic::chat(&pieces, false)));
        all.push((format!("{kind} of OpenAI, padded"), Dialect::OpenAiChat, traffic::chat(&pieces, true)));
        all.push((format!("{kind} of Anthropic"), Dialect::Anthropic, traffic::anthropic(&pieces)));
    }
    all
}

/// Allocations of the second half of the stream without its end, read in pieces of `size` bytes.
fn allocations(stream: &str, size: usize, mut push: impl FnMut(&[u8])) -> u64 {
    let stream = stream.as_bytes();
    let (half, end) = (stream.len() / 2, stream.len() * 9 / 10);
    stream[..half].chunks(size).for_each(&mut push);
    allocation_counter::measure(|| stream[half..end].chunks(size).for_each(&mut push)).count_total
}

/// One event a read, as most arrive: nothing is cut, nothing grows.
#[test]
fn events_that_come_whole_allocate_nothing() {
    for (name, upstream, stream) in streams() {
        let client = if upstream == Dialect::Anthropic { Dialect::OpenAiChat } else { Dialect::Anthropic };
        let mut translator = StreamTranslator::new(upstream, client, &Context::default());
        let mut out = BytesMut::with_capacity(64 << 10);
        let events: Vec<&str> = stream.split_inclusive("\n\n").collect();
        let mut counted = 0;
        for (number, event) in events[..events.len() - 4].iter().enumerate() {
            out.clear();
            let push = || translator.push(event.as_bytes(), &mut out);
            let allocations = allocation_counter::measure(push).count_total;
            counted += if number > 16 { allocations } else { 0 };
        }
        assert_eq!(counted, 0, "{name}, {} events", events.len());
    }
}

#[test]
fn translated_events_allocate_nothing() {
    for (name, upstream, stream) in streams() {
        for client in [Dialect::OpenAiChat, Dialect::Anthropic] {
            if client == upstream {
                continue;
            }
            for size in [1, 100, 333, 4 << 10, 16 << 10] {
                let mut translator = StreamTranslator::new(upstream, client, &Context::default());
                let mut out = BytesMut::with_capacity(64 << 10);
                let counted = allocations(&stream, size, |chunk| {
                    out.clear();
                    translator.push(chunk, &mut out);
                });
                assert!(counted <= GROWTHS_MAX, "{counted} allocations: {name} in pieces of {size}");
                assert!(translator.observed().output_chars > 1_000, "{name}");
            }
        }
    }
}

#[test]
fn watched_events_allocate_nothing() {
    for (name, upstream, stream) in streams() {
        for size in [100, 16 << 10] {
            let mut tap = Tap::new(upstream, &Context::default());
            let counted = allocations(&stream, size, |chunk| tap.push(chunk));
            assert!(counted <= GROWTHS_MAX, "{counted} allocations: {name} in pieces of {size}");
            assert!(tap.observed().output_chars > 1_000, "{name}");
        }
    }
}

#[test]
fn the_counter_counts() {
    let counted = allocation_counter::measure(|| drop(std::hint::black_box(vec![1u8; 100])));
    assert_eq!(counted.count_total, 1);
}
