//! Cursor's requests, as prost writes them, and its answers against vectors that other programs made: hostile bodies, tools
//! that run in the editor, errors.

#![allow(clippy::unwrap_used)]

mod chats;
mod hostile;
#[path = "../../../tests/support/ides.rs"]
mod ides;
mod rounds;
mod runs;

use std::{fs, path::PathBuf};

use bytes::BytesMut;
use codecs::{
    dialect::{
        Context, StreamEncode,
        cursor::{Rpc, request::transcribe, stream::Encoder},
    },
    hub::{Event, Field, Open, ToolKind},
    json::Text,
};
use ides::cursor::{AgentClient, FromClient};
use prost::Message;
use serde_json::{Value, json};

fn vectors(file: &str) -> Vec<Value> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/wire").join(file);
    let document: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    document["vectors"].as_array().unwrap().clone()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn written(body: &[u8], rpc: Rpc) -> Value {
    serde_json::from_slice(&transcribe(body, rpc).unwrap().0.body).unwrap()
}

fn text(text: &str) -> Value {
    json!([{"type": "text", "text": text}])
}

/// The encoder's bytes for events.
fn encoded(rpc: Rpc, context: &Context, events: &[Event<'_>]) -> Vec<u8> {
    let (mut encoder, mut out) = (Encoder::new(rpc, context), BytesMut::new());
    for event in events {
        encoder.event(event, &mut out);
    }
    out.to_vec()
}

fn tool<'a>(id: &'a str, name: &'a str) -> Open<'a> {
    Open::Tool { id: Text::Plain(id), name: Text::Plain(name), kind: ToolKind::Function, signature: None }
}

fn delta<'a>(part: u32, field: Field<'a>, text: &'a str) -> Event<'a> {
    Event::Delta { part, field, text: Text::Plain(text) }
}

fn framed(flags: u8, payload: &[u8]) -> Vec<u8> {
    [&[flags][..], &(payload.len() as u32).to_be_bytes(), payload].concat()
}

/// The messages by which an editor answers.
fn from_editor(message: FromClient) -> Vec<u8> {
    AgentClient { message: Some(message) }.encode_to_vec()
}
