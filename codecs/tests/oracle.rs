//! The scanner against simd-json, an independent parser: what one takes for JSON the other takes for JSON.
#![allow(clippy::unwrap_used)]

use std::{fs, path::Path};

use codecs::json::Raw;
use proptest::prelude::*;

fn simd_accepts(text: &[u8]) -> bool {
    simd_json::to_tape(&mut text.to_vec()).is_ok()
}

/// All documents of the vectors.
fn documents() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/dialects");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let json = files.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    json.map(|path| fs::read(path).unwrap()).collect()
}

#[test]
fn every_vector_is_json_for_both() {
    let documents = documents();
    assert!(documents.len() > 100);
    for text in documents {
        assert!(Raw::parse(&text).is_ok() && simd_accepts(&text));
    }
}

proptest! {
    /// One byte of a document is replaced or the document is cut: both parsers must see it, or both not.
    #[test]
    fn damage_is_seen_by_both(pick in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte in 0x20u8..0x7f, cut in any::<bool>()) {
        let documents = documents();
        let mut text = pick.get(&documents).clone();
        let at = at.index(text.len());
        if cut { text.truncate(at) } else { text[at] = byte }
        prop_assert_eq!(Raw::parse(&text).is_ok(), simd_accepts(&text), "{}", String::from_utf8_lossy(&text));
    }
}
