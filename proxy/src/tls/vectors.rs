//! Runs `tests/vectors/tls` through the sniffer: as recorded, cut at every place, and cut into records at every place.
#![allow(clippy::unwrap_used)]

use proptest::{collection, prelude::*};
use serde_json::Value;

use super::{
    client_hello::{HELLO_BYTES_MAX, NotTls, Reject, Sniff, Sniffer},
    probe,
};

const CASES: &str = include_str!("../../../tests/vectors/tls/clienthello.jsonl");

struct Case {
    id: String,
    chunks: Vec<Vec<u8>>,
    eof: bool,
    expect: Value,
}

impl Case {
    fn bytes(&self) -> Vec<u8> {
        self.chunks.concat()
    }
}

fn cases() -> Vec<Case> {
    let cases: Vec<Case> = CASES.lines().map(case).collect();
    assert_eq!(cases.len(), 44);
    cases
}

fn case(line: &str) -> Case {
    let case: Value = serde_json::from_str(line).unwrap();
    let text = |chunk: &Value| chunk.as_str().unwrap().to_owned();
    let byte = |text: &str, at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    let hex = |text: String| (0..text.len()).step_by(2).map(|at| byte(&text, at)).collect();
    Case {
        id: case["id"].as_str().unwrap().to_owned(),
        chunks: case["chunks"].as_array().unwrap().iter().map(|chunk| hex(text(chunk))).collect(),
        eof: case["end"] == "eof",
        expect: case["expect"].clone(),
    }
}

/// Shows what has come after each of `ends`. A verdict must stay.
fn sniff(bytes: &[u8], ends: impl IntoIterator<Item = usize>) -> (Sniffer, Sniff) {
    let mut sniffer = Sniffer::new();
    let mut verdict = Sniff::NeedMore;
    for end in ends {
        let now = sniffer.look(&bytes[..end]);
        assert!(verdict == Sniff::NeedMore || verdict == now, "{verdict:?} became {now:?} at {end}");
        verdict = now;
    }
    (sniffer, verdict)
}

fn whole(bytes: &[u8]) -> Sniff {
    sniff(bytes, [bytes.len()]).1
}

/// The verdict in the words of the vectors, without `route`, which is not the sniffer's.
fn words(verdict: &Sniff) -> Value {
    let reason = |verdict: &str, reason: &str| serde_json::json!({ "verdict": verdict, "reason": reason });
    match verdict {
        Sniff::NeedMore => serde_json::json!({ "verdict": "need_more" }),
        Sniff::Hello(hello) => {
            let id = |id: &[u8]| -> String {
                let visible = |byte: &u8| byte.is_ascii_graphic() && *byte != b'\\';
                let one = |byte: &u8| if visible(byte) { char::from(*byte).into() } else { format!("\\x{byte:02x}") };
                id.iter().map(one).collect()
            };
            serde_json::json!({
                "verdict": "hello",
                "sni": hello.server_name,
                "alpn": hello.alpn.iter().map(|alpn| id(alpn)).collect::<Vec<_>>(),
                "ech": hello.ech,
                "grease": hello.grease,
            })
        }
        Sniff::NotTls(what) => reason(
            "not_tls",
            match what {
                NotTls::PlainHttp => "plain_http",
                NotTls::PlainH2 => "plain_h2",
                NotTls::Sslv2 => "sslv2",
                NotTls::Other => "other",
            },
        ),
        Sniff::Reject(what) => reason(
            "reject",
            match what {
                Reject::Truncated => "truncated",
                Reject::InterleavedRecord => "interleaved_record",
                Reject::BadRecord => "bad_record",
                Reject::RecordOverflow => "record_overflow",
                Reject::EmptyFragment => "empty_fragment",
                Reject::NotClientHello => "not_client_hello",
                Reject::TooLarge => "too_large",
                Reject::Malformed => "malformed",
                Reject::DuplicateExtension => "duplicate_extension",
                Reject::ServerName => "sni_invalid",
            },
        ),
    }
}

#[test]
fn verdicts_are_as_recorded() {
    for case in cases() {
        let bytes = case.bytes();
        let ends = case.chunks.iter().scan(0, |end, chunk| {
            *end += chunk.len();
            Some(*end)
        });
        let (mut sniffer, mut verdict) = sniff(&bytes, ends);
        if case.eof {
            verdict = sniffer.end();
        }
        let mut expect = case.expect.clone();
        expect.as_object_mut().unwrap().remove("route");
        assert_eq!(words(&verdict), expect, "{}", case.id);
        // What follows changes nothing.
        if verdict != Sniff::NeedMore {
            let longer = [&bytes[..], &[0x16, 3, 1, 0, 0, 0xff]].concat();
            assert_eq!(sniffer.look(&longer), verdict, "{}", case.id);
            assert_eq!(sniffer.end(), verdict, "{}", case.id);
        }
    }
}

#[test]
fn cuts_change_nothing() {
    for case in cases() {
        let bytes = case.bytes();
        let verdict = whole(&bytes);
        for cut in 0..bytes.len() {
            assert_eq!(sniff(&bytes, [cut, bytes.len()]).1, verdict, "{} cut at {cut}", case.id);
        }
        assert_eq!(sniff(&bytes, 0..=bytes.len()).1, verdict, "{} byte by byte", case.id);
    }
}

#[test]
fn rustls_agrees() {
    for case in cases() {
        probe::client_hello(&case.bytes());
    }
}

#[test]
fn the_corpus_of_the_fuzzer_holds_its_promises() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/client_hello");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        probe::client_hello(&std::fs::read(entry.unwrap().path()).unwrap());
        seen += 1;
    }
    assert!(seen >= 44, "{seen}");
}

#[test]
fn a_hello_is_one_at_its_last_byte_and_not_before() {
    let mut hellos = 0;
    for case in cases() {
        let bytes = case.bytes();
        let Sniff::Hello(hello) = whole(&bytes) else { continue };
        hellos += 1;
        for end in 0..hello.length {
            assert_eq!(whole(&bytes[..end]), Sniff::NeedMore, "{} after {end}", case.id);
        }
        assert_eq!(whole(&bytes[..hello.length]), Sniff::Hello(hello), "{}", case.id);
    }
    assert!(hellos > 20, "{hellos}");
}

#[test]
fn a_refusal_never_changes_its_reason() {
    for case in cases() {
        let bytes = case.bytes();
        let verdict = whole(&bytes);
        if matches!(verdict, Sniff::NotTls(_) | Sniff::Reject(_)) {
            for end in 0..bytes.len() {
                let early = whole(&bytes[..end]);
                assert!(early == Sniff::NeedMore || early == verdict, "{} after {end}: {early:?}", case.id);
            }
        }
    }
}

/// The message in records of the given lengths, the rest in one more.
fn in_records(message: &[u8], lengths: impl IntoIterator<Item = usize>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = message;
    for length in lengths.into_iter().chain([usize::MAX]) {
        let (fragment, after) = rest.split_at(length.min(rest.len()));
        rest = after;
        if !fragment.is_empty() {
            out.extend_from_slice(&[0x16, 3, 1]);
            out.extend_from_slice(&u16::try_from(fragment.len()).unwrap().to_be_bytes());
            out.extend_from_slice(fragment);
        }
    }
    out
}

#[test]
fn records_change_nothing_but_the_length() {
    let mut real = 0;
    for case in cases().iter().filter(|case| case.id.starts_with("real-")) {
        real += 1;
        let bytes = case.bytes();
        let Sniff::Hello(hello) = whole(&bytes) else { panic!("{}", case.id) };
        let message = &bytes[5..];
        for cut in 1..message.len() {
            let cut_in_two = in_records(message, [cut]);
            let Sniff::Hello(mut other) = whole(&cut_in_two) else { panic!("{} in records at {cut}", case.id) };
            assert_eq!(other.length, cut_in_two.len());
            other.length = hello.length;
            assert_eq!(other, hello, "{} in records at {cut}", case.id);
        }
    }
    assert_eq!(real, 12);
}

/// A hello with an extension of `size` zeros, as one message.
fn padded(size: usize) -> Vec<u8> {
    let mut extensions = vec![0, 21];
    extensions.extend_from_slice(&u16::try_from(size).unwrap().to_be_bytes());
    extensions.resize(4 + size, 0);
    let mut body = vec![3, 3];
    body.extend_from_slice(&[7; 32]);
    body.extend_from_slice(&[0, 0, 2, 0x13, 1, 1, 0]);
    body.extend_from_slice(&u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend_from_slice(&extensions);
    let mut message = vec![1];
    message.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes()[1..]);
    message.extend_from_slice(&body);
    message
}

#[test]
fn sizes_have_an_end() {
    let overhead = padded(0).len();
    // The largest message there may be, in two records for its header does not fit into one.
    let largest = padded(16_384 + 4 - overhead);
    assert!(matches!(whole(&in_records(&largest, [9_000])), Sniff::Hello(_)));
    let larger = padded(16_384 + 5 - overhead);
    assert_eq!(whole(&in_records(&larger, [9_000])), Sniff::Reject(Reject::TooLarge));
    // In records of one byte it needs six times as much, and the bytes run out: exactly where is not the network's choice.
    let largest_in_bytes = padded(HELLO_BYTES_MAX / 6 - overhead);
    let bytes = in_records(&largest_in_bytes, vec![1; largest_in_bytes.len()]);
    assert_eq!(bytes.len(), HELLO_BYTES_MAX);
    assert!(matches!(whole(&bytes), Sniff::Hello(_)));
    let larger_in_bytes = padded(HELLO_BYTES_MAX / 6 + 1 - overhead);
    let bytes = in_records(&larger_in_bytes, vec![1; larger_in_bytes.len()]);
    assert_eq!(whole(&bytes), Sniff::Reject(Reject::TooLarge));
    assert_eq!(sniff(&bytes, 0..=bytes.len()).1, Sniff::Reject(Reject::TooLarge));
    assert_eq!(whole(&bytes[..HELLO_BYTES_MAX - 1]), Sniff::NeedMore);
}

#[test]
fn methods_are_waited_for() {
    for (bytes, verdict) in [
        (&b"G"[..], Sniff::NeedMore),
        (b"GET", Sniff::NeedMore),
        (b"GET ", Sniff::NotTls(NotTls::PlainHttp)),
        (b"GETX", Sniff::NotTls(NotTls::Other)),
        (b"P", Sniff::NeedMore),
        (b"PRI * HTTP/2.0\r", Sniff::NeedMore),
        (b"PRI * HTTP/2.0\r\n", Sniff::NotTls(NotTls::PlainH2)),
        (b"PRI * HTTP/1.1\r\n", Sniff::NotTls(NotTls::Other)),
        (b"\x80\x2e", Sniff::NeedMore),
        (b"\x80\x2e\x01", Sniff::NotTls(NotTls::Sslv2)),
        (b"\xff\xff\xff", Sniff::NotTls(NotTls::Other)),
        (b"\0", Sniff::NotTls(NotTls::Other)),
        (b"\x16\x02", Sniff::NotTls(NotTls::Other)),
        (b"\x16\x03\x01\0\0", Sniff::Reject(Reject::EmptyFragment)),
        (b"", Sniff::NeedMore),
    ] {
        assert_eq!(whole(bytes), verdict, "{bytes:?}");
    }
}

proptest! {
    /// Damaged hellos: whatever they are, cuts do not matter.
    #[test]
    fn damage_is_judged_alike_however_it_is_cut(
        case in 0..44_usize,
        damage in collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cuts in collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut bytes = cases()[case].bytes();
        for (at, value) in damage {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
        }
        let verdict = whole(&bytes);
        let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        ends.push(bytes.len());
        ends.sort_unstable();
        prop_assert_eq!(&sniff(&bytes, ends).1, &verdict);
        prop_assert_eq!(probe::client_hello(&bytes), verdict);
    }
}
