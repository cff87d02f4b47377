//! Padding says nothing: an answer whose frames are padded is translated into the same bytes as without, and so is one
//! that comes in frames of which no two neighbours are alike.

use bytes::BytesMut;
use codecs::{
    dialect::{Context, Dialect},
    translate::StreamTranslator,
};

use crate::traffic;

fn translated(stream: &str, client: Dialect, size: usize) -> BytesMut {
    let context = Context { now: 1_756_000_000, new_id: "9fkx2lw8zqy4vbn7ttrc1mde".into(), ..Context::default() };
    let mut translator = StreamTranslator::new(Dialect::OpenAiChat, client, &context);
    let mut out = BytesMut::new();
    stream.as_bytes().chunks(size).for_each(|chunk| translator.push(chunk, &mut out));
    translator.finish(&mut out);
    assert!(translator.observed().ended && translator.observed().has_calls);
    out
}

#[test]
fn padding_changes_nothing() {
    let pieces = traffic::answer(3);
    let (plain, padded) = (traffic::chat(&pieces, false), traffic::chat(&pieces, true));
    assert!(padded.len() > plain.len());
    // Another member before the text: every frame is read in full.
    let mut number = 0;
    let numbered: String = plain
        .split_inclusive("data: {")
        .flat_map(|piece| {
            number += 1;
            [piece.to_owned(), if piece.ends_with('{') { format!("\"n\":{number},") } else { String::new() }]
        })
        .collect();
    for client in Dialect::ALL {
        let expected = translated(&plain, client, 16 << 10);
        assert!(expected.len() > 10_000);
        for size in [77, 16 << 10] {
            assert_eq!(translated(&padded, client, size), expected, "padded, to {}", client.name());
            assert_eq!(translated(&numbered, client, size), expected, "numbered, to {}", client.name());
        }
    }
}
