//! The binary framings against vectors that other programs made: Connect envelopes, protobuf, AWS event streams. Each is
//! read whole, byte by byte, and cut in two at every byte.

#![allow(clippy::unwrap_used)]

use std::{fs, path::PathBuf};

use bytes::BytesMut;
use codecs::{
    frame::{Aws, AwsFault, Connect, ConnectFault, HeaderValue, write_envelope, write_message},
    proto::{Field, Message, MessageWriter, Value as Wire, WireError, WireFault},
};
use serde_json::{Value, json};

fn vectors(file: &str) -> Vec<Value> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/wire").join(file);
    let document: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let all = document["vectors"].as_array().unwrap().clone();
    assert!(all.len() > 5, "{file}");
    all
}

fn unhex(text: &Value) -> Vec<u8> {
    let text = text.as_str().unwrap();
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What `read` makes of the stream, which must not depend on how it is cut.
fn however_cut<T: PartialEq + std::fmt::Debug>(id: &Value, stream: &[u8], read: impl Fn(&[&[u8]]) -> T) -> T {
    let whole = read(&[stream]);
    assert_eq!(read(&stream.chunks(1).collect::<Vec<_>>()), whole, "{id} byte by byte");
    for at in 0..=stream.len() {
        let (head, tail) = stream.split_at(at);
        assert_eq!(read(&[head, tail]), whole, "{id} cut at {at}");
    }
    whole
}

/// Payload, whether it came compressed, whether it is the last.
type Seen = (Vec<u8>, bool, bool);

/// Envelopes, and how the stream ended.
fn envelopes(pieces: &[&[u8]]) -> (Vec<Seen>, Result<bool, ConnectFault>) {
    let mut connect = Connect::default();
    let mut seen = Vec::new();
    let mut each = |envelope: codecs::frame::Envelope<'_>| {
        seen.push((envelope.data.to_vec(), envelope.compressed, envelope.end));
    };
    let mut result = pieces.iter().try_for_each(|piece| connect.push(piece, &mut each));
    result = result.and_then(|()| connect.finish());
    (seen, result.map(|()| connect.ended()).map_err(|error| error.fault))
}

#[test]
fn connect_envelopes() {
    for vector in vectors("connect.json").iter().chain(&vectors("cursor.json")) {
        let (id, stream) = (&vector["id"], unhex(&vector["input_hex"]));
        assert_eq!(vector["input_len"], stream.len(), "{id}");
        let (seen, result) = however_cut(id, &stream, envelopes);
        match vector["error"]["kind"].as_str().filter(|kind| !kind.starts_with("proto_")) {
            Some(kind) => {
                assert_eq!(vector["error"]["frames_before"], seen.len(), "{id}");
                let ours = match result.unwrap_err() {
                    ConnectFault::Truncated => "truncated",
                    ConnectFault::TooLarge { .. } => "frame_too_large",
                    ConnectFault::ReservedFlags(_) => "reserved_flags",
                    ConnectFault::BadGzip(_) => "bad_gzip",
                    ConnectFault::AfterEnd => "data_after_end",
                    other => panic!("{other}"),
                };
                assert_eq!(ours, kind, "{id}");
            }
            None => {
                let ended = result.unwrap();
                let Some(frames) = vector["expect"]["frames"].as_array() else { continue };
                assert_eq!(vector["expect"]["ended"], ended, "{id}");
                assert_eq!(frames.len(), seen.len(), "{id}");
                for (frame, (data, compressed, end)) in frames.iter().zip(seen) {
                    assert_eq!(frame["compressed"], compressed, "{id}");
                    assert_eq!(frame["end_of_stream"], end, "{id}");
                    assert_eq!(frame["payload_len"], data.len(), "{id}");
                    match end {
                        true => assert_eq!(frame["json"], serde_json::from_slice::<Value>(&data).unwrap(), "{id}"),
                        false => assert_eq!(frame["payload_hex"], hex(&data), "{id}"),
                    }
                }
            }
        }
    }
}

/// The fields that `tree` describes, and no others.
fn same_tree(tree: &Value, message: Message<'_>) {
    let expected = tree.as_array().unwrap();
    let fields: Vec<Field<'_>> = message.fields().map(Result::unwrap).collect();
    assert_eq!(expected.len(), fields.len());
    for (node, field) in expected.iter().zip(fields) {
        assert_eq!(node["f"], field.number);
        let wire = match field.value {
            Wire::Varint(_) => 0,
            Wire::Fixed64(_) => 1,
            Wire::Bytes(_) => 2,
            Wire::Fixed32(_) => 5,
        };
        assert_eq!(node["w"], wire);
        let node = node.as_object().unwrap();
        if let Some(inner) = node.get("msg") {
            same_tree(inner, field.message().unwrap().unwrap());
        } else if let Some(text) = node.get("str") {
            assert_eq!(text.as_str(), field.text().as_deref());
        } else if let Some(numbers) = node.get("packed") {
            assert_eq!(*numbers, json!(field.varints().map(Result::unwrap).collect::<Vec<_>>()));
        } else if let Some(number) = node.get("v") {
            let read = field.varint().unwrap();
            assert!(*number == read || number.as_str() == Some(&read.to_string()));
        } else {
            let bytes = match field.value {
                Wire::Fixed64(value) => value.to_le_bytes().to_vec(),
                Wire::Fixed32(value) => value.to_le_bytes().to_vec(),
                Wire::Bytes(value) => value.to_vec(),
                Wire::Varint(_) => panic!("{node:?}"),
            };
            assert_eq!(node["hex"], hex(&bytes));
        }
    }
}

/// Reads an answer of the chat call and the messages inside of it.
fn walk(message: Message<'_>) -> Result<(), WireError> {
    for field in message.fields() {
        if let Some(inner) = field?.message()? {
            inner.fields().try_for_each(|field| field.map(|_| ()))?;
        }
    }
    Ok(())
}

#[test]
fn protobuf_messages() {
    let (mut trees, mut errors) = (0, 0);
    for vector in vectors("connect.json").iter().chain(&vectors("cursor.json")) {
        let (seen, _) = envelopes(&[&unhex(&vector["input_hex"])]);
        let data = seen.iter().filter(|(_, _, end)| !end).map(|(data, _, _)| Message::new(data));
        if let Some(expected) = vector["expect"]["trees"].as_array() {
            for (tree, message) in expected.iter().zip(data) {
                same_tree(tree, message);
                trees += 1;
            }
        } else if let Some(kind @ ("proto_truncated" | "proto_length_overrun")) = vector["error"]["kind"].as_str() {
            let error = data.map(walk).find_map(Result::err).unwrap();
            let ours = match error.fault {
                WireFault::Truncated => "proto_truncated",
                WireFault::LengthOverrun => "proto_length_overrun",
                other => panic!("{other}"),
            };
            assert_eq!(ours, kind, "{}", vector["id"]);
            errors += 1;
        }
    }
    assert!(trees > 10 && errors == 2, "{trees} trees, {errors} errors");
}

fn write_tree(tree: &Value, w: &mut MessageWriter<'_, BytesMut>) {
    for node in tree.as_array().unwrap() {
        let number = node["f"].as_u64().unwrap() as u32;
        if let Some(inner) = node.get("msg") {
            w.message(number, |w| write_tree(inner, w));
        } else if let Some(text) = node.get("str") {
            w.text(number, text.as_str().unwrap());
        } else if let Some(numbers) = node.get("packed") {
            w.packed(number, numbers.as_array().unwrap().iter().map(|number| number.as_u64().unwrap()));
        } else {
            w.varint(number, node["v"].as_u64().unwrap());
        }
    }
}

#[test]
fn a_request_is_written_as_others_write_it() {
    let mut seen = 0;
    for vector in vectors("cursor.json").iter().filter(|vector| vector["kind"] == "encode") {
        let mut payload = BytesMut::new();
        write_tree(&vector["tree"], &mut MessageWriter::new(&mut payload));
        assert_eq!(vector["payload_hex"], hex(&payload), "{}", vector["id"]);
        let mut envelope = BytesMut::new();
        write_envelope(false, &mut envelope, |out| out.extend_from_slice(&payload));
        assert_eq!(vector["input_hex"], hex(&envelope), "{}", vector["id"]);
        same_tree(&vector["tree"], Message::new(&payload));
        seen += 1;
    }
    assert_eq!(seen, 1);
}

fn header(name: &str, value: HeaderValue<'_>) -> Value {
    let (kind, value) = match value {
        HeaderValue::Bool(value) => (if value { "true" } else { "false" }, json!(value)),
        HeaderValue::I8(value) => ("i8", json!(value)),
        HeaderValue::I16(value) => ("i16", json!(value)),
        HeaderValue::I32(value) => ("i32", json!(value)),
        HeaderValue::I64(value) => ("i64", json!(value.to_string())),
        HeaderValue::Bytes(value) => ("bytes", json!(hex(value))),
        HeaderValue::Text(value) => ("string", json!(value)),
        HeaderValue::Timestamp(value) => ("timestamp", json!(value.to_string())),
        HeaderValue::Uuid(value) => ("uuid", json!(hex(&value))),
    };
    json!({ "name": name, "type": kind, "value": value })
}

#[test]
fn aws_messages() {
    for vector in vectors("eventstream.json") {
        let (id, stream) = (&vector["id"], unhex(&vector["input_hex"]));
        let (seen, again, result) = however_cut(id, &stream, |pieces| {
            let mut aws = Aws::default();
            let (mut seen, mut again) = (Vec::new(), BytesMut::new());
            let mut each = |message: codecs::frame::Message<'_>| {
                let headers: Vec<_> = message.headers.collect();
                write_message(&headers, &mut again, |out| out.extend_from_slice(message.payload));
                let headers: Vec<_> = headers.into_iter().map(|(name, value)| header(name, value)).collect();
                seen.push((headers, message.payload.to_vec()));
            };
            let result = pieces.iter().try_for_each(|piece| aws.push(piece, &mut each));
            (seen, again, result.and_then(|()| aws.finish()).map_err(|error| error.fault))
        });
        if let Some(kind) = vector["error"]["kind"].as_str() {
            assert_eq!(vector["error"]["messages_before"], seen.len(), "{id}");
            let ours = match result.unwrap_err() {
                AwsFault::BadTotalLength(_) => "bad_total_length",
                AwsFault::BadHeadersLength(_) => "bad_headers_length",
                AwsFault::TooLarge { .. } => "message_too_large",
                AwsFault::PreludeCrc => "prelude_crc",
                AwsFault::Truncated => "truncated",
                AwsFault::MessageCrc => "message_crc",
                AwsFault::BadHeader => "bad_header",
                AwsFault::BadHeaderType(_) => "bad_header_type",
                AwsFault::DuplicateHeader => "duplicate_header",
                other => panic!("{other}"),
            };
            assert_eq!(ours, kind, "{id}");
            continue;
        }
        assert_eq!(result, Ok(()), "{id}");
        assert_eq!(again, stream, "{id}: writing what was read gives the same bytes");
        let expected = vector["expect"]["messages"].as_array().unwrap();
        assert_eq!(expected.len(), seen.len(), "{id}");
        for (message, (headers, payload)) in expected.iter().zip(seen) {
            assert_eq!(message["headers"], json!(headers), "{id}");
            match message.get("payload_utf8") {
                Some(text) => assert_eq!(text.as_str().unwrap().as_bytes(), payload, "{id}"),
                None => assert_eq!(message["payload_hex"], hex(&payload), "{id}"),
            }
        }
    }
}
