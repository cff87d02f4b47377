//! The corpus of `fuzz/fuzz_targets/h1.rs`, replayed beside hyper.

use std::{fs, path::PathBuf};

use crate::oracle;

/// Every committed input, by name.
pub(crate) fn inputs() -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/h1");
    let mut inputs: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
        })
        .collect();
    inputs.sort();
    inputs
}

/// A comparison that never fails would say nothing.
#[test]
fn the_comparison_has_teeth() {
    let fails = |change: fn(&mut Vec<u8>)| {
        let mut theirs =
            b"POST /p HTTP/1.1\r\nHost: a\r\nX: y\r\nContent-Length: 3\r\n\r\nabcGET /q HTTP/1.1\r\nHost: a\r\n\r\n"
                .to_vec();
        let ours = theirs.clone();
        change(&mut theirs);
        std::panic::catch_unwind(|| oracle::check_pair(&ours, &theirs)).is_err()
    };
    assert!(!fails(|_| {}));
    for change in [
        |bytes: &mut Vec<u8>| bytes[6] = b'P',
        |bytes: &mut Vec<u8>| bytes[0] = b'X',
        |bytes: &mut Vec<u8>| *bytes = String::from_utf8_lossy(bytes).replace("X: y", "X: z").into_bytes(),
        |bytes: &mut Vec<u8>| *bytes = String::from_utf8_lossy(bytes).replace("h: 3", "h: 2").into_bytes(),
        |bytes: &mut Vec<u8>| *bytes = String::from_utf8_lossy(bytes).replace("h: 3", "h: 9").into_bytes(),
        |bytes: &mut Vec<u8>| bytes.extend_from_slice(b"GET /more HTTP/1.1\r\nHost: a\r\n\r\n"),
    ] {
        assert!(fails(change));
    }
}

#[test]
fn hyper_frames_the_corpus_as_we_do() {
    let inputs = inputs();
    assert!(inputs.len() >= 52, "the vectors are part of the corpus");
    for (name, input) in inputs {
        if let Err(panic) = std::panic::catch_unwind(|| oracle::check(&input)) {
            let why = panic.downcast_ref::<String>().cloned().unwrap_or_default();
            panic!("{name}: {why}");
        }
    }
}
