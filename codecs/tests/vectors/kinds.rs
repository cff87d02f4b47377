//! One runner per kind of vector.

use bytes::{Bytes, BytesMut};
use codecs::{
    dialect::{Dialect, UrlParts, openai_chat, openai_responses},
    hub::ErrorKind,
    json::Raw,
    patch::{FixId, ReplyEdits, RequestEdits, StreamPatch, placeholder_for},
    translate::{StreamTranslator, translate_reply, translate_request},
};
use serde_json::Value;

use crate::{
    meta::{Vector, identity_of},
    normal,
};

/// Runs the vector of that name.
pub(crate) fn run(name: &str) {
    let vector = Vector::load(name);
    match vector.kind() {
        "stream" => stream(&vector),
        "response" => response(&vector),
        "request" => request(&vector),
        "collapse" => collapse(&vector),
        "patch_stream" => patch_stream(&vector),
        "patch_request" => patch_request(&vector),
        "transform" => transform(&vector),
        other => panic!("no runner for kind {other}"),
    }
}

fn show(raw: &[u8]) -> String {
    String::from_utf8_lossy(raw).into_owned()
}

fn compare(want: &[Value], got: &[Value], raw: &[u8]) {
    for at in 0..want.len().max(got.len()) {
        let line = |list: &[Value]| list.get(at).map_or("(nothing)".to_owned(), Value::to_string);
        assert!(
            want.get(at) == got.get(at),
            "entry {at}\n want {}\n got  {}\nwhole output:\n{}",
            line(want),
            line(got),
            show(raw)
        );
    }
}

fn translate(vector: &Vector, pieces: &mut dyn Iterator<Item = &[u8]>) -> Vec<u8> {
    let mut translator = StreamTranslator::new(vector.from(), vector.to(), &vector.context());
    let mut out = BytesMut::new();
    for piece in pieces {
        translator.push(piece, &mut out);
    }
    translator.finish(&mut out);
    let length = out.len();
    // The end is the end.
    translator.push(b"data: {}\n\n", &mut out);
    translator.finish(&mut out);
    assert_eq!(out.len(), length, "output after the end: {}", show(&out[length..]));
    out.to_vec()
}

fn stream(vector: &Vector) {
    let (from, to, input) = (vector.from(), vector.to(), vector.input.as_slice());
    let whole = translate(vector, &mut [input].into_iter());
    let want = normal::stream(to, &vector.output).unwrap();
    compare(&want, &normal::stream(to, &whole).unwrap_or_else(|e| panic!("{e}\n{}", show(&whole))), &whole);

    for size in [1, 7].into_iter().chain(split_size(vector)) {
        let cut = translate(vector, &mut input.chunks(size));
        assert_eq!(show(&whole), show(&cut), "cut into pieces of {size}");
    }
    if let Some(offsets) = vector.meta.get("split").and_then(Value::as_array) {
        let mut ends: Vec<usize> = offsets.iter().map(|offset| offset.as_u64().unwrap() as usize).collect();
        ends.push(input.len());
        let mut start = 0;
        let pieces: Vec<&[u8]> = ends.iter().map(|&end| &input[std::mem::replace(&mut start, end)..end]).collect();
        assert_eq!(show(&whole), show(&translate(vector, &mut pieces.into_iter())), "cut at {offsets:?}");
    }

    let crlf = with_crlf(input);
    assert_eq!(show(&whole), show(&translate(vector, &mut [crlf.as_slice()].into_iter())), "with CRLF");
    assert_eq!(show(&whole), show(&translate(vector, &mut crlf.chunks(1))), "with CRLF, byte by byte");

    liveness(vector);
    truncation(vector);
    if from != Dialect::Ollama {
        let commented = between_events(vector, b": x\n\n");
        assert_eq!(show(&whole), show(&translate(vector, &mut [commented.as_slice()].into_iter())), "with comments");
        // An event that says nothing bars the shortcut for frames that repeat the one before.
        let apart = between_events(vector, b"data:\n\n");
        assert_eq!(show(&whole), show(&translate(vector, &mut [apart.as_slice()].into_iter())), "one by one");
    }
    if from == Dialect::Anthropic {
        let pinged = between_events(vector, b"event: ping\ndata: {\"type\": \"ping\"}\n\n");
        let got = translate(vector, &mut [pinged.as_slice()].into_iter());
        compare(&want, &normal::stream(to, &got).unwrap(), &got);
    }
}

/// A stream folded into the document of its own dialect, however it is cut.
fn collapse(vector: &Vector) {
    macro_rules! fold {
        ($dialect:ident, $size:expr) => {{
            let mut collapse = $dialect::collapse::Collapse::new();
            vector.input.chunks($size).for_each(|chunk| collapse.push(chunk));
            let mut out = Vec::new();
            collapse.finish(&mut out).unwrap();
            out
        }};
    }
    let want = normal::document(&vector.output).unwrap();
    for size in [vector.input.len(), 1, 7] {
        let got = match vector.from() {
            Dialect::OpenAiChat => fold!(openai_chat, size),
            Dialect::OpenAiResponses => fold!(openai_responses, size),
            other => panic!("{} has no collapser", other.name()),
        };
        assert!(want == normal::document(&got).unwrap(), "in pieces of {size}: {}", show(&got));
    }
}

fn split_size(vector: &Vector) -> Option<usize> {
    vector.meta.get("split")?.as_str()?.strip_prefix("every:").map(|size| size.parse().unwrap())
}

/// Every LF becomes CRLF, unless it is one.
fn with_crlf(input: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for (at, &byte) in input.iter().enumerate() {
        if byte == b'\n' && (at == 0 || input[at - 1] != b'\r') {
            out.push(b'\r');
        }
        out.push(byte);
    }
    out
}

fn between_events(vector: &Vector, insert: &[u8]) -> Vec<u8> {
    let (mut out, mut start) = (Vec::new(), 0);
    for end in normal::frame_ends(vector.from(), &vector.input) {
        out.extend_from_slice(&vector.input[start..end]);
        out.extend_from_slice(insert);
        start = end;
    }
    out.extend_from_slice(&vector.input[start..]);
    out
}

/// The output never lags behind the input.
fn liveness(vector: &Vector) {
    for pair in vector.meta.get("live").and_then(Value::as_array).into_iter().flatten() {
        let (offset, count) = (pair[0].as_u64().unwrap() as usize, pair[1].as_u64().unwrap() as usize);
        let mut translator = StreamTranslator::new(vector.from(), vector.to(), &vector.context());
        let mut out = BytesMut::new();
        translator.push(&vector.input[..offset], &mut out);
        let got = normal::payload(vector.to(), &out);
        assert!(got >= count, "after {offset} bytes {count} characters are due, {got} are out:\n{}", show(&out));
    }
}

/// A stream that breaks off after any event is an error, unless it had said before why it ended.
fn truncation(vector: &Vector) {
    let from = vector.from();
    for end in [0].into_iter().chain(normal::frame_ends(from, &vector.input)) {
        let mut translator = StreamTranslator::new(from, vector.to(), &vector.context());
        let mut out = BytesMut::new();
        translator.push(&vector.input[..end], &mut out);
        translator.finish(&mut out);
        let observed = translator.observed();
        if !normal::says_finish(from, &vector.input[..end]) {
            assert!(observed.finish.is_none() && !observed.ended, "a finish was invented after {end} bytes");
            assert!(observed.error.is_some(), "no error after {end} bytes");
        }
        let length = out.len();
        translator.push(&vector.input[end..], &mut out);
        translator.finish(&mut out);
        assert_eq!(out.len(), length, "output after the end of {end} bytes");
        normal::parse(vector.to(), &out).unwrap();
    }
}

fn response(vector: &Vector) {
    let mut out = Vec::new();
    let body = Raw::parse(&vector.input).unwrap();
    translate_reply(vector.from(), vector.to(), body, &vector.context(), &mut out).unwrap();
    let (want, got) = (normal::document(&vector.output).unwrap(), normal::document(&out).unwrap());
    assert!(want == got, "\n want {want}\n got  {got}");
}

fn request(vector: &Vector) {
    let body = Raw::parse(&vector.input).unwrap();
    let url = UrlParts {
        model: Some(vector.opt_str("model").unwrap_or("gemini-2.5-pro")),
        stream: vector.opt_bool("stream"),
        generate: body.get("prompt").is_some(),
    };
    let asked = vector.from().decode_request(body, &url).unwrap();
    let mut target = vector.target();
    target.model = asked.model.plain().into_owned();
    target.stream = asked.stream;
    let encoded = translate_request(vector.from(), vector.to(), body, &url, &target);
    let want = normal::document(&vector.output).unwrap();
    if want.get("_translate_error").is_some() {
        assert_eq!(encoded.map(|encoded| show(&encoded.body)).unwrap_err().kind, ErrorKind::UnsupportedContent);
        return;
    }
    let encoded = encoded.unwrap();
    let got = normal::document(&encoded.body).unwrap();
    assert!(want == got, "\n want {want}\n got  {got}");

    let mut dropped: Vec<&str> =
        vector.meta.get("dropped").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    dropped.sort_unstable();
    assert_eq!(encoded.dropped, dropped, "dropped");

    for (sent, identity) in vector.meta.get("tool_names").and_then(Value::as_object).into_iter().flatten() {
        let want = identity_of(identity);
        let got = encoded.tools.get(sent).unwrap_or_else(|| panic!("no way back from {sent}"));
        assert_eq!((&want.name, &want.namespace), (&got.name, &got.namespace), "way back from {sent}");
    }
}

fn patch_stream(vector: &Vector) {
    let edits = ReplyEdits { fix_id: vector.opt_str("new_id").map(FixId::with_id), ..ReplyEdits::default() };
    let crlf = with_crlf(&vector.input);
    for size in [vector.input.len(), 1, 7] {
        for (input, want) in [(&vector.input, &vector.output), (&crlf, &with_crlf(&vector.output))] {
            let mut patch = StreamPatch::new(vector.from(), vector.from().framing(), edits.clone());
            let mut out = BytesMut::new();
            for piece in input.chunks(size) {
                patch.push(piece, &mut out);
            }
            patch.finish(&mut out);
            assert_eq!(show(&out), show(want), "cut into pieces of {size}");
        }
    }
}

fn patch_request(vector: &Vector) {
    let edits = RequestEdits { model: vector.opt_str("new_model").map(str::to_owned), ..RequestEdits::default() };
    let slices = edits.apply(&Bytes::from(vector.input.clone())).unwrap();
    assert_eq!(show(&slices.concat()), show(&vector.output));
}

fn transform(vector: &Vector) {
    let entries: Vec<Value> = serde_json::from_slice(&vector.input).unwrap();
    let wants: Vec<Value> = serde_json::from_slice(&vector.output).unwrap();
    assert_eq!(entries.len(), wants.len());
    for (entry, want) in entries.iter().zip(wants) {
        let body = Bytes::from(entry.to_string());
        let slices = match vector.meta["transform"].as_str().unwrap() {
            "usage_pad" => {
                let name = if entry.get("promptTokenCount").is_some() { "usageMetadata" } else { "usage" };
                let dialect = if name == "usage" { Dialect::OpenAiChat } else { Dialect::Gemini };
                let body = Bytes::from(serde_json::json!({ name: entry }).to_string());
                let mut edits = ReplyEdits { usage_pad: 2_000, ..ReplyEdits::default() };
                let got: Value = serde_json::from_slice(&edits.document(dialect, &body).concat()).unwrap();
                assert_eq!(got[name], want);
                continue;
            }
            "deepseek_alias" => RequestEdits { deepseek_aliases: true, ..RequestEdits::default() }.apply(&body),
            "tool_dedupe" => RequestEdits { dedupe_tools: true, ..RequestEdits::default() }.apply(&body),
            "reasoning_placeholder" => {
                let placeholder = placeholder_for(entry["model"].as_str().unwrap());
                RequestEdits { placeholder, ..RequestEdits::default() }.apply(&body)
            }
            other => panic!("no transform {other}"),
        };
        let got: Value = serde_json::from_slice(&slices.unwrap().concat()).unwrap();
        assert_eq!(got, want);
    }
}
