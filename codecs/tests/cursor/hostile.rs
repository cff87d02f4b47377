//! Bodies that are cut, compressed, damaged, endless.

use std::io::Write;

use codecs::{
    dialect::{
        Context,
        cursor::{
            Rpc,
            request::{agent, transcribe},
        },
    },
    hub::{Event, Field, Finish, Open},
    json::Text,
};
use proptest::prelude::*;
use prost::Message;
use serde_json::{Value, json};

use super::{
    chats::{full_chat, full_transcript},
    delta, encoded, framed,
    ides::cursor::*,
    runs::{agent_run, run_message},
    tool, unhex, written,
};

pub(crate) fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn bodies_cut_at_every_byte_compressed_and_followed_by_more() {
    let message = full_chat().encode_to_vec();
    let plain = framed(0, &message);
    for at in 0..plain.len() {
        let error = transcribe(&plain[..at], Rpc::Chat).unwrap_err();
        assert_eq!(error.message, "the body holds no complete message", "{at}");
    }
    let packed = framed(1, &gzip(&message));
    assert!(packed.len() < plain.len());
    assert_eq!(written(&packed, Rpc::Chat), full_transcript());
    // What follows on a stream that goes on is not looked at, right or wrong.
    for after in [&b"\0\0\0\0\0"[..], b"\xff\xff", &plain] {
        assert_eq!(written(&[&plain, after].concat(), Rpc::Chat), full_transcript());
    }
}

#[test]
fn hostile_bodies_are_errors() {
    let message = |body: &[u8], rpc| transcribe(body, rpc).unwrap_err().message;
    assert_eq!(message(&framed(2, b"{}"), Rpc::Chat), "the body holds no complete message");
    assert!(message(&framed(4, b""), Rpc::Chat).contains("unknown flags 0x04"));
    assert!(message(b"\0\xff\xff\xff\xff", Rpc::Agent).contains("more than 8388608 bytes"));
    assert!(message(&framed(1, b"no gzip"), Rpc::Chat).contains("bad gzip"));
    // 64 MiB of nothing in 64 KiB.
    assert!(message(&framed(1, &gzip(&vec![0; 64 << 20])), Rpc::Chat).contains("more than 8388608 bytes"));
    for rpc in Rpc::ALL {
        assert!(!message(&framed(0, b""), rpc).is_empty());
        // The editor's probe when it starts.
        assert!(!message(&framed(0, &unhex("0a03666f6f")), rpc).is_empty());
        // Groups, a length beyond the end, a varint without one.
        for bad in ["0b", "0affff03", "0a8080808080808080808080"] {
            assert!(!message(&framed(0, &unhex(bad)), rpc).is_empty(), "{rpc:?} {bad}");
        }
    }
    // Messages in messages in messages, as field 1 everywhere.
    let mut deep = Vec::new();
    for _ in 0..2_000 {
        deep = [&[0x0a][..], &varint(deep.len() as u64), &deep].concat();
    }
    for rpc in Rpc::ALL {
        assert!(transcribe(&framed(0, &deep), rpc).is_err());
    }
}

pub(crate) fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// A schema may be nested deeper than messages may: it is refused, with the request, without a panic.
#[test]
fn schemas_that_are_too_deep() {
    let mut schema = json!({});
    for _ in 0..40 {
        schema = json!({"items": schema});
    }
    let mut run = agent_run(1);
    run.mcp_tools.as_mut().unwrap().tools[0].input_schema = Some(ProtoValue::of(&schema));
    let body = envelope(&AgentClient { message: Some(FromClient::Run(Box::new(run))) });
    assert!(transcribe(&body, Rpc::Agent).unwrap_err().message.contains("nested deeper"));
}

/// Fields that nobody knows, of every wire type, in every message of a request.
#[test]
fn unknown_fields_are_silent() {
    let mut message = full_chat().encode_to_vec();
    message.extend(unhex("d03eac02d93e0000000000000440e53e07000000fa3e03010203"));
    // The same behind the model's name, in a second piece of that message.
    message.extend(unhex("2a0ad03eac02fa3e03010203"));
    assert_eq!(written(&framed(0, &message), Rpc::Chat), full_transcript());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damage_is_an_error_or_a_request(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>(), of_agent in any::<bool>()) {
        let (mut message, rpc) = if of_agent {
            (AgentClient { message: Some(FromClient::Run(Box::new(agent_run(1)))) }.encode_to_vec(), Rpc::Agent)
        } else {
            (full_chat().encode_to_vec(), Rpc::Chat)
        };
        let at = at.index(message.len());
        if cut { message.truncate(at) } else { message[at] = byte }
        if let Ok((transcript, _)) = transcribe(&framed(0, &message), rpc) {
            let written: Value = serde_json::from_slice(&transcript.body).unwrap();
            prop_assert!(written["messages"].is_array() && !transcript.model.is_empty());
        }
    }
}

/// A text that is too long for an envelope comes in pieces, cut between characters.
#[test]
fn long_texts_come_in_pieces() {
    let long = "é🚀".repeat(3 << 20);
    for rpc in Rpc::ALL {
        let events = [
            Event::Start { id: Text::EMPTY, model: Text::EMPTY, created: None, usage: None },
            Event::Part { part: 0, open: Open::Text },
            delta(0, Field::Text, &long),
            Event::Stop { part: 0 },
            Event::Finish(Finish::End),
            Event::End,
        ];
        let stream = encoded(rpc, &Context::default(), &events);
        let (payloads, _) = envelopes(&stream);
        assert!(payloads.len() > 4 && payloads.iter().all(|payload| payload.len() < 8 << 20));
        let heard = if rpc == Rpc::Agent { agent(&stream) } else { chat(&stream, rpc == Rpc::ChatWithTools) };
        assert!(heard.text == long);
    }
}

/// Arguments that would be held without end are an error.
#[test]
fn arguments_are_bounded() {
    let piece = format!("{{\"a\":\"{}", "x".repeat(1 << 20));
    let mut events = vec![Event::Part { part: 0, open: tool("k", "grep") }];
    events.extend(std::iter::repeat_n(delta(0, Field::Args, &piece), 5));
    let stream = encoded(Rpc::Agent, &Context::default(), &events);
    let end = envelopes(&stream).1.unwrap();
    assert_eq!(end["error"]["message"], "the arguments of the tool calls are too long");
}

/// A state of some kilobytes that names a blob a million times.
#[test]
fn a_small_state_cannot_stand_for_a_large_conversation() {
    let mut run = agent_run(1);
    let long = Step { assistant: Some(Words { text: "x".repeat(100_000) }), ..Step::default() };
    let turn = Turn { agent: Some(AgentTurn { user_message: b"u".into(), steps: vec![b"s".into(); 1_000] }) };
    run.blobs.retain(|blob| blob.id == b"u");
    run.blobs.push(Blob { id: b"s".into(), data: long.encode_to_vec() });
    run.blobs.push(Blob { id: b"t".into(), data: turn.encode_to_vec() });
    run.state.as_mut().unwrap().turns = vec![b"t".into(); 1_000];
    let message = run_message(run);
    assert!(message.len() < 200_000);
    assert_eq!(transcribe(&framed(0, &message), Rpc::Agent).unwrap_err().message, "the conversation is too long");
    assert!(agent::missing_blobs(&message, &|_| None).is_err());
    let chat = ChatRequest { conversation: vec![Bubble::default(); 70_000], ..full_chat() };
    assert_eq!(transcribe(&envelope(&chat), Rpc::Chat).unwrap_err().message, "more than 65536 messages");
}
