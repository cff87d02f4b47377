//! What the fuzz targets call: one function per entry point, each with its oracle. Compiled for fuzzing and for tests, which
//! run them over the committed corpora.
//!
//! A failure is a panic, as fuzzers want it; the grammar of events is checked inside the pipeline in debug builds.

#![allow(clippy::unwrap_used)]

use bytes::{Bytes, BytesMut};

use crate::{
    dialect::{ClientDialect, Context, Dialect, Target, Transcript, UrlParts, cloud_code, cursor, kiro},
    frame::{
        Aws, AwsError, Connect, ConnectError, Deframer, Envelope, FrameError, Framing, HeaderValue, Message,
        write_envelope, write_message,
    },
    hub::{ApiError, Event, Open, Reply, ToolKind},
    json::{MemberEdits, Raw, Recorder, Splice, Tape, Text, tape},
    patch::{FixId, ReplyEdits, StreamPatch},
    proto,
    translate::{StreamTranslator, Tap, translate_reply, translate_request},
};

/// Takes the first `N` bytes as choices of the fuzzer.
fn choices<const N: usize>(input: &[u8]) -> Option<([usize; N], &[u8])> {
    let (head, rest) = input.split_first_chunk::<N>()?;
    Some((head.map(usize::from), rest))
}

fn dialect(choice: usize) -> Dialect {
    Dialect::ALL[choice % Dialect::ALL.len()]
}

/// The public dialects first.
fn client(choice: usize) -> ClientDialect {
    let others = [cursor::Rpc::Chat, cursor::Rpc::Agent].map(ClientDialect::Cursor);
    let all = Dialect::ALL.map(ClientDialect::from).into_iter().chain(ClientDialect::PRIVATE).chain(others);
    all.cycle().nth(choice).unwrap()
}

type Frames = (Vec<(Option<String>, Vec<u8>, bool)>, Option<FrameError>);

fn frames(framing: Framing, pieces: &mut dyn Iterator<Item = &[u8]>) -> Frames {
    let mut deframer = Deframer::with_limit(framing, 64);
    let mut seen = Vec::new();
    let mut each = |frame: crate::frame::Frame<'_>| {
        seen.push((frame.name.map(str::to_owned), frame.data.to_vec(), frame.unfinished));
    };
    for piece in pieces {
        if let Err(error) = deframer.push(piece, &mut each) {
            return (seen, Some(error));
        }
    }
    let error = deframer.finish(&mut each).err();
    (seen, error)
}

/// The number of reads is the network's business, not the reader's.
fn deframe(framing: Framing, input: &[u8]) {
    let Some(([size], stream)) = choices(input) else { return };
    let whole = frames(framing, &mut [stream].into_iter());
    assert_eq!(whole, frames(framing, &mut stream.chunks(size.max(1))));
    assert!(whole.0.iter().all(|(_, data, _)| data.len() <= 64));
}

/// Input: size of the pieces, then a stream of server-sent events.
pub fn sse(input: &[u8]) {
    deframe(Framing::Sse, input);
}

/// Input: size of the pieces, then rows; the same bytes also as one JSON array.
pub fn ndjson(input: &[u8]) {
    deframe(Framing::NdJson, input);
    deframe(Framing::JsonArray, input);
}

/// Envelopes as they were, what they are when they are written again, and how the stream ended.
type Envelopes = (Vec<(bool, bool, Vec<u8>)>, BytesMut, Result<bool, ConnectError>);

fn envelopes<'s>(mut pieces: impl Iterator<Item = &'s [u8]>) -> Envelopes {
    let mut connect = Connect::with_limit(1 << 10);
    let (mut seen, mut again) = (Vec::new(), BytesMut::new());
    let mut each = |envelope: Envelope<'_>| {
        assert!(envelope.data.len() <= 1 << 10);
        write_envelope(envelope.end, &mut again, |out| out.extend_from_slice(envelope.data));
        seen.push((envelope.end, envelope.compressed, envelope.data.to_vec()));
    };
    let result = pieces.try_for_each(|piece| connect.push(piece, &mut each)).and_then(|()| connect.finish());
    (seen, again, result.map(|()| connect.ended()))
}

/// Input: size of the pieces, then a stream of Connect envelopes.
pub fn connect(input: &[u8]) {
    let Some(([size], stream)) = choices(input) else { return };
    let whole = envelopes(&mut [stream].into_iter());
    assert_eq!(whole, envelopes(&mut stream.chunks(size.max(1))));
    let (seen, written, result) = whole;
    let (read, again, _) = envelopes(&mut [&written[..]].into_iter());
    assert_eq!(written, again);
    assert!(seen.iter().map(|(end, _, data)| (end, data)).eq(read.iter().map(|(end, _, data)| (end, data))));
    if result.is_ok() && seen.iter().all(|(_, compressed, _)| !compressed) {
        assert_eq!(written, stream);
    }
}

type Messages = (Vec<(Vec<(String, String)>, Vec<u8>)>, BytesMut, Option<AwsError>);

fn messages<'s>(mut pieces: impl Iterator<Item = &'s [u8]>) -> Messages {
    let mut aws = Aws::default();
    let (mut seen, mut again) = (Vec::new(), BytesMut::new());
    let mut each = |message: Message<'_>| {
        let headers: Vec<(&str, HeaderValue<'_>)> = message.headers.collect();
        write_message(&headers, &mut again, |out| out.extend_from_slice(message.payload));
        let shown = headers.iter().map(|(name, value)| ((*name).to_owned(), format!("{value:?}")));
        seen.push((shown.collect(), message.payload.to_vec()));
    };
    let result = pieces.try_for_each(|piece| aws.push(piece, &mut each)).and_then(|()| aws.finish());
    (seen, again, result.err())
}

/// Input: size of the pieces, then an AWS event stream. Fuzzers do not find checksums: where the input is no message, it
/// is taken for a header block and for a payload, of a message with right ones.
pub fn aws(input: &[u8]) {
    let Some(([size], stream)) = choices(input) else { return };
    let whole = messages(&mut [stream].into_iter());
    assert_eq!(whole, messages(&mut stream.chunks(size.max(1))));
    assert!(stream.starts_with(&whole.1), "writing what was read gives the same bytes");
    let (block, payload) = stream.split_at(size.min(stream.len()));
    let sealed = sealed(block, payload);
    let whole = messages(&mut [&sealed[..]].into_iter());
    assert_eq!(whole, messages(&mut sealed.chunks(size.max(1))));
    assert!(whole.2.is_some() || whole.1 == sealed);
}

/// A message whose lengths and checksums are right.
fn sealed(block: &[u8], payload: &[u8]) -> Vec<u8> {
    let checked = |mut bytes: Vec<u8>| {
        let mut crc = flate2::Crc::new();
        crc.update(&bytes);
        bytes.extend_from_slice(&crc.sum().to_be_bytes());
        bytes
    };
    let lengths = [16 + block.len() + payload.len(), block.len()].map(|length| (length as u32).to_be_bytes());
    checked([&checked(lengths.concat())[..], block, payload].concat())
}

/// Input: a protobuf message. Every field that may be a message is walked as one, and what was read is written again.
pub fn proto(input: &[u8]) {
    fn walk(message: proto::Message<'_>, out: &mut Vec<u8>, end: usize) -> Result<(), proto::WireError> {
        for field in message.fields() {
            let field = field?;
            let mut w = proto::MessageWriter::new(out);
            match field.value {
                proto::Value::Varint(value) => w.varint(field.number, value),
                proto::Value::Fixed64(value) => w.fixed64(field.number, value),
                proto::Value::Fixed32(value) => w.fixed32(field.number, value),
                proto::Value::Bytes(value) => w.bytes(field.number, value),
            };
            assert!(field.varints().all(|value| value.is_ok()) || field.bytes().is_some());
            if let Some(inner) = field.message()? {
                // Most bytes are no message: that is found out, and nothing else.
                if let Err(error) = walk(inner, &mut Vec::new(), end) {
                    assert!(error.at <= end, "{error}");
                }
            }
        }
        Ok(())
    }
    let mut written = Vec::new();
    match walk(proto::Message::new(input), &mut written, input.len()) {
        // Only varints have more than one spelling.
        Ok(()) => {
            assert!(written.len() <= input.len());
            let mut again = Vec::new();
            walk(proto::Message::new(&written), &mut again, written.len()).unwrap();
            assert_eq!(written, again);
        }
        Err(error) => assert!(error.at <= input.len(), "{error}"),
    }
}

/// Whether the text is JSON is the opinion of `oracle` too; a walk with recorded ends sees what a walk without sees.
pub fn json(input: &[u8], oracle: impl Fn(&[u8]) -> bool) {
    let mut recorder = Recorder::default();
    let plain = Raw::parse(input);
    let recorded = Raw::parse_recorded(input, &mut recorder);
    match (plain, recorded) {
        (Ok(plain), Ok(recorded)) => {
            assert!(oracle(input));
            same_walk(plain, recorded);
        }
        (Err(plain), Err(recorded)) => {
            assert_eq!(plain, recorded);
            assert!(plain.what == "nested too deeply" || !oracle(input), "{plain}");
        }
        (plain, recorded) => panic!("{plain:?} {recorded:?}"),
    }
}

/// A tape reads what the scanner reads, and says the same about it; the second document does not see the first.
pub fn tape(input: &[u8]) {
    let mut reader = Tape::new();
    for _ in 0..2 {
        match (reader.parse(input), Raw::parse(input)) {
            (Ok(value), Ok(raw)) => tape::same(value, raw),
            (Err(ours), Err(scanner)) => assert_eq!((ours.what, ours.at), (scanner.what, scanner.at)),
            (Ok(_), Err(scanner)) => panic!("{scanner}"),
            // A string that is no text, a number out of range, deeper than a tape goes.
            (Err(ours), Ok(_)) => assert!(ours.at <= input.len()),
        }
    }
}

fn same_walk(a: Raw<'_>, b: Raw<'_>) {
    assert_eq!(a.as_str(), b.as_str());
    assert!(a.members().count() == b.members().count() && a.elements().count() == b.elements().count());
    for ((key_a, a), (key_b, b)) in a.members().zip(b.members()) {
        assert_eq!(key_a, key_b);
        assert_eq!(key_a.chars(), key_a.plain().chars().count() as u64);
        same_walk(a, b);
    }
    a.elements().zip(b.elements()).for_each(|(a, b)| same_walk(a, b));
}

/// Input: dialect, size of the pieces, then its stream.
pub fn decoder(input: &[u8]) {
    let Some(([which, size], stream)) = choices(input) else { return };
    let watch = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut tap = Tap::new(dialect(which), &Context::default());
        pieces.for_each(|piece| tap.push(piece));
        tap.finish();
        let seen = tap.observed();
        assert!(seen.is_over(), "neither an end nor an error");
        let end = (seen.content, seen.finished, seen.ended, seen.error.clone(), seen.finish);
        (end, seen.usage, seen.output_chars, seen.has_calls, seen.id.clone(), seen.model.clone())
    };
    let whole = watch(&mut [stream].into_iter());
    assert_eq!(whole, watch(&mut stream.chunks(size.max(1))));
}

/// Input: upstream, client, size of the pieces, then the upstream's stream.
pub fn pair(input: &[u8]) {
    let Some(([upstream, client, size], stream)) = choices(input) else { return };
    let (upstream, client) = (dialect(upstream), self::client(client));
    let translate = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut translator = StreamTranslator::new(upstream, client, &Context::default());
        let mut out = BytesMut::new();
        pieces.for_each(|piece| translator.push(piece, &mut out));
        translator.finish(&mut out);
        assert!(translator.observed().is_over(), "neither an end nor an error");
        out
    };
    let whole = translate(&mut [stream].into_iter());
    assert_eq!(whole, translate(&mut stream.chunks(size.max(1))));
    if let ClientDialect::Cursor(_) = client {
        let mut connect = Connect::default();
        connect.push(&whole, &mut |envelope| assert!(!envelope.end || Raw::parse(envelope.data).is_ok())).unwrap();
        connect.finish().unwrap();
        return assert!(connect.ended());
    }
    let Some(framing) = client.framing() else {
        let mut aws = Aws::default();
        aws.push(&whole, &mut |message| assert!(Raw::parse(message.payload).is_ok(), "{message:?}")).unwrap();
        return aws.finish().unwrap();
    };
    let mut deframer = Deframer::new(framing);
    deframer
        .push(&whole, &mut |frame| assert!(frame.is_done() || Raw::parse(frame.data).is_ok(), "{frame:?}"))
        .unwrap();
    deframer.finish(&mut |frame| panic!("the client's stream is cut: {frame:?}")).unwrap();
}

/// Input: client, upstream, flags, then a request; and the same text as an answer document.
pub fn request(input: &[u8]) {
    let Some(([from, to, flags], body)) = choices(input) else { return };
    let Ok(body) = Raw::parse(body) else { return };
    let url = UrlParts { model: Some("models/gemini-2.5-pro"), stream: flags & 1 != 0, generate: flags & 2 != 0 };
    let target = Target {
        model: "some-model".into(),
        stream: flags & 1 != 0,
        gemini3: flags & 4 != 0,
        gemini_schema_subset: flags & 8 != 0,
        reasoning_echo: flags & 16 != 0,
        adaptive: (flags & 32 != 0).then_some(flags & 64 != 0),
        ..Target::default()
    };
    if let Ok(encoded) = translate_request(dialect(from), dialect(to), body, &url, &target) {
        let written = Raw::parse(&encoded.body).unwrap_or_else(|error| panic!("{error}: {}", show(&encoded.body)));
        assert!(written.is_object());
        assert!(encoded.dropped.is_sorted());
    }
    let mut out = Vec::new();
    if translate_reply(dialect(from), dialect(to), body, &Context::default(), &mut out).is_ok() {
        assert!(Raw::parse(&out).is_ok(), "{}", show(&out));
    }
}

/// What every transcript is: an object, of a model.
fn written(transcript: &Transcript) -> Raw<'_> {
    let written = Raw::parse(&transcript.body).unwrap_or_else(|error| panic!("{error}: {}", show(&transcript.body)));
    assert!(written.is_object() && !transcript.model.is_empty());
    written
}

/// What a transcript is whose words are all ours: a request that everybody can read.
fn read_back(transcript: &Transcript) {
    if let Err(error) = transcript.dialect.decode_request(written(transcript), &UrlParts::default()) {
        panic!("{error:?}: {}", show(&transcript.body));
    }
}

fn transcript(transcribe: fn(Raw<'_>) -> Result<Transcript, ApiError>, input: &[u8]) -> Option<(Transcript, Dialect)> {
    let ([to], body) = choices(input)?;
    let transcript = transcribe(Raw::parse(body).ok()?).ok()?;
    written(&transcript);
    Some((transcript, dialect(to)))
}

/// Writes it for an upstream, without a fault of ours.
fn send(transcript: &Transcript, to: Dialect) -> Result<(), ApiError> {
    let url = UrlParts { model: Some(&transcript.model), stream: true, ..UrlParts::default() };
    let target = Target { model: "some-model".into(), stream: true, ..Target::default() };
    let encoded = translate_request(transcript.dialect, to, written(transcript), &url, &target)?;
    assert!(Raw::parse(&encoded.body).unwrap_or_else(|error| panic!("{error}: {}", show(&encoded.body))).is_object());
    Ok(())
}

/// Input: upstream, then a request of Kiro. What is written of it is a request that everybody can read.
pub fn kiro(input: &[u8]) {
    let Some((transcript, to)) = transcript(kiro::request::transcribe, input) else { return };
    read_back(&transcript);
    // Not everybody has a place for everything.
    drop(send(&transcript, to));
}

/// Input: upstream and call, then the first message of a stream of Cursor's; the same bytes also as a body, and as whatever
/// else its client may send. What is written of a request is one that everybody can read; what comes of a tool is bounded.
pub fn cursor(input: &[u8]) {
    let Some(([choice], message)) = choices(input) else { return };
    let rpc = cursor::Rpc::ALL[choice % cursor::Rpc::ALL.len()];
    drop(cursor::request::transcribe(message, rpc));
    let mut body = BytesMut::new();
    write_envelope(false, &mut body, |out| out.extend_from_slice(message));
    if let Ok((transcript, facts)) = cursor::request::transcribe(&body, rpc) {
        read_back(&transcript);
        assert_eq!(facts.has_tools, written(&transcript).get("tools").is_some());
        drop(send(&transcript, dialect(choice / cursor::Rpc::ALL.len())));
        assert!(rpc != cursor::Rpc::Agent || facts.two_way);
    }
    // Blobs of a conversation are other pieces of the input.
    let scratch = cursor::request::Scratch::default();
    let blobs = |id: &[u8]| message.get(usize::from(*id.first()?)..);
    if cursor::request::agent::missing_blobs(message, &blobs).is_ok() {
        drop(cursor::request::agent::decode(message, &blobs, &scratch));
    }
    drop(cursor::request::chat_result(message));
    drop(cursor::request::agent::append(message));
    let mut reply = Reply::default();
    for (part, name) in (0..).zip(["run_terminal_cmd", "read_file", "list_dir", "x"]) {
        let (id, name) = (Text::Plain(name), Text::Plain(name));
        let open = Open::Tool { id, name, kind: ToolKind::Function, signature: None };
        reply.fold(&Event::Part { part, open });
    }
    let mut executions = cursor::round::Executions::of(&reply, &Context::default());
    if let Ok(said) = cursor::request::agent::read(message) {
        let mut out = BytesMut::new();
        drop(executions.take(&said, &mut out));
        let mut connect = Connect::default();
        connect.push(&out, &mut |_| {}).unwrap();
        assert!(connect.finish().is_ok() && !connect.ended());
        assert_eq!(executions.into_results().len(), 4);
    }
}

/// Input: upstream, then a request of Antigravity. The inner request is the client's, right or wrong.
pub fn cloud_code(input: &[u8]) {
    let Some((transcript, to)) = transcript(cloud_code::request::transcribe, input) else { return };
    let body = written(&transcript);
    assert!(body.member("sessionId").is_none() && body.member("labels").is_none());
    drop(send(&transcript, to));
}

fn show(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Input: flags, then a JSON text: its members are edited as a request's, and as a stream's.
pub fn splice(input: &[u8]) {
    let Some(([flags], text)) = choices(input) else { return };
    let mut members = MemberEdits::new();
    if flags & 1 != 0 {
        members.set_string("model", "x\"y");
    }
    if flags & 2 != 0 {
        members.remove("a");
    }
    if flags & 4 != 0 {
        members.set("b", "[1]");
    }
    if let Ok(root) = Raw::parse(text) {
        let mut splice = Splice::new(text);
        splice.members(root, &members);
        let slices = splice.slices(&Bytes::copy_from_slice(text)).concat();
        let edited = Raw::parse(&slices).unwrap_or_else(|error| panic!("{error}: {}", show(&slices)));
        let untouched = |raw: Raw<'_>| -> Vec<String> {
            let others = raw.members().filter(|(key, _)| !["model", "a", "b"].iter().any(|name| key.is(name)));
            others.map(|(key, value)| format!("{key:?}{}", value.as_str())).collect()
        };
        assert_eq!(untouched(root), untouched(edited));
        assert!(flags & 2 == 0 || edited.member("a").is_none());
        assert!(!root.is_object() || flags & 4 == 0 || edited.get("b").is_some_and(|b| b.as_str() == "[1]"));
    }
    let edits = ReplyEdits { model: Some("z".into()), usage_pad: 1, fix_id: Some(FixId::with_id("chatcmpl-fixed")) };
    let patch = |size: usize| {
        let mut patch = StreamPatch::new(dialect(flags >> 3), dialect(flags >> 3).framing(), edits.clone());
        let mut out = BytesMut::new();
        text.chunks(size.max(1)).for_each(|piece| patch.push(piece, &mut out));
        patch.finish(&mut out);
        out
    };
    assert_eq!(patch(text.len()), patch(1));
    // Without edits the same way copies.
    let mut copy = StreamPatch::new(dialect(flags >> 3), dialect(flags >> 3).framing(), ReplyEdits::default());
    let mut out = BytesMut::new();
    copy.push(text, &mut out);
    assert_eq!(out, text);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a target over its committed corpus.
    fn replay(target: &str, run: impl Fn(&[u8])) {
        let folder = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
        let mut inputs = 0;
        for entry in std::fs::read_dir(&folder).unwrap() {
            run(&std::fs::read(entry.unwrap().path()).unwrap());
            inputs += 1;
        }
        assert!(inputs > 0, "no corpus for {target}");
    }

    #[test]
    fn corpora_hold() {
        replay("sse", sse);
        replay("ndjson", ndjson);
        replay("connect", connect);
        replay("aws", aws);
        replay("proto", proto);
        replay("json", |input| {
            json(input, |text| serde_json::from_slice::<&serde_json::value::RawValue>(text).is_ok());
        });
        replay("decoder", decoder);
        replay("pair", pair);
        replay("request", request);
        replay("kiro", kiro);
        replay("cursor", cursor);
        replay("cloud_code", cloud_code);
        replay("splice", splice);
        replay("tape", tape);
    }
}
