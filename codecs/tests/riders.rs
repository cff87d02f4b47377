//! Opaque riders come home: an answer goes through a client of any dialect, comes back in the natural form of that client's
//! history, and reaches its origin with every blob byte for byte.

#![allow(clippy::unwrap_used)]

use codecs::{
    dialect::{Context, Dialect, Target, UrlParts},
    hub::{Event, Field, Finish, Form, Open, Origin, Reply, Rider, ToolKind},
    json::{Raw, Text},
    translate::translate_request,
};
use serde_json::{Value, json};

const BLOB: &str = "RXFvQkNrZ0lBUkFCR0FJaVFPcGFxdWU+/w==";
const RED: &str = "UmVkYWN0ZWQ+/w==";

/// What the vendor's thinking carries, and where the vendor wants it back.
#[derive(Debug, Clone, Copy)]
enum Carried {
    Signature,
    Redacted,
    Encrypted,
    OnTheCall,
}

impl Carried {
    const ALL: [Self; 4] = [Self::Signature, Self::Redacted, Self::Encrypted, Self::OnTheCall];

    fn home(self) -> Dialect {
        match self {
            Self::Signature | Self::Redacted => Dialect::Anthropic,
            Self::Encrypted => Dialect::OpenAiResponses,
            Self::OnTheCall => Dialect::Gemini,
        }
    }

    fn blob(self) -> &'static str {
        if matches!(self, Self::Redacted) { RED } else { BLOB }
    }
}

/// An answer with thinking, a rider and a call.
fn answer(carried: Carried) -> Reply {
    let mut reply = Reply::default();
    let mut part = 0;
    let mut emit = |event: Event<'_>| reply.fold(&event);
    emit(Event::Start { id: "abcdefgh12".into(), model: "m".into(), created: None, usage: None });
    let mut thinking = |sig: Option<Field<'_>>, emit: &mut dyn FnMut(Event<'_>)| {
        emit(Event::Part { part, open: Open::Thinking });
        emit(Event::Delta { part, field: Field::Think, text: "I think.".into() });
        if let Some(field) = sig {
            emit(Event::Delta { part, field, text: BLOB.into() });
        }
        emit(Event::Stop { part });
        part += 1;
    };
    match carried {
        Carried::Signature => {
            let field = Field::Sig { origin: Origin::Anthropic, form: Form::Sig, item_id: None };
            thinking(Some(field), &mut emit);
        }
        Carried::Encrypted => {
            let item_id = Some(Text::Plain("rs_0a1"));
            thinking(Some(Field::Sig { origin: Origin::Responses, form: Form::Enc, item_id }), &mut emit);
        }
        Carried::Redacted => {
            let rider = Rider::new(Origin::Anthropic, Form::Red, RED);
            emit(Event::Part { part, open: Open::Redacted(rider) });
            emit(Event::Stop { part });
            part += 1;
        }
        Carried::OnTheCall => thinking(None, &mut emit),
    }
    let signature = matches!(carried, Carried::OnTheCall).then(|| Rider::new(Origin::Gemini, Form::Sig, BLOB));
    let (id, name) = (Text::Plain("call_1"), Text::Plain("f"));
    emit(Event::Part { part, open: Open::Tool { id, name, kind: ToolKind::Function, signature } });
    emit(Event::Delta { part, field: Field::Args, text: "{}".into() });
    emit(Event::Stop { part });
    emit(Event::Finish(Finish::Tool));
    emit(Event::End);
    reply
}

/// The client's next request: the answer as its SDK hands it back, and the call's result.
fn next_request(client: Dialect, answer: &Value) -> Value {
    let schema = json!({"type": "object", "properties": {}});
    match client {
        Dialect::OpenAiChat => json!({
            "model": "m", "reasoning_effort": "high",
            "tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}],
            "messages": [
                {"role": "user", "content": "q"},
                answer["choices"][0]["message"],
                {"role": "tool", "tool_call_id": "call_1", "content": "r"},
            ],
        }),
        Dialect::Anthropic => json!({
            "model": "m", "max_tokens": 64000, "thinking": {"type": "enabled", "budget_tokens": 2048},
            "tools": [{"name": "f", "input_schema": schema}],
            "messages": [
                {"role": "user", "content": "q"},
                {"role": "assistant", "content": answer["content"]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": "r"}]},
            ],
        }),
        Dialect::OpenAiResponses => {
            let mut input = vec![json!({"role": "user", "content": "q"})];
            input.extend(answer["output"].as_array().unwrap().iter().cloned());
            input.push(json!({"type": "function_call_output", "call_id": "call_1", "output": "r"}));
            json!({
                "model": "m", "input": input, "reasoning": {"effort": "high"}, "store": false,
                "tools": [{"type": "function", "name": "f", "parameters": schema}],
            })
        }
        Dialect::Gemini => json!({
            "tools": [{"functionDeclarations": [{"name": "f"}]}],
            "generationConfig": {"thinkingConfig": {"includeThoughts": true, "thinkingBudget": 2048}},
            "contents": [
                {"role": "user", "parts": [{"text": "q"}]},
                answer["candidates"][0]["content"],
                {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"output": "r"}}}]},
            ],
        }),
        Dialect::Ollama => unreachable!("has no place for riders"),
    }
}

/// The rider, found at its place in the origin's request.
fn found(carried: Carried, body: &Value) -> Option<&str> {
    match carried {
        Carried::Signature | Carried::Redacted => {
            let member = if matches!(carried, Carried::Signature) { "signature" } else { "data" };
            let blocks = body["messages"][1]["content"].as_array()?;
            blocks.iter().find_map(|block| block[member].as_str())
        }
        Carried::Encrypted => {
            let item = body["input"].as_array()?.iter().find(|item| item["type"] == "reasoning")?;
            assert_eq!(item["id"], "rs_0a1");
            item["encrypted_content"].as_str()
        }
        Carried::OnTheCall => {
            let parts = body["contents"][1]["parts"].as_array()?;
            parts.iter().find(|part| part.get("functionCall").is_some())?["thoughtSignature"].as_str()
        }
    }
}

#[test]
fn every_rider_comes_home_through_every_client() {
    for carried in Carried::ALL {
        for client in [Dialect::OpenAiChat, Dialect::OpenAiResponses, Dialect::Anthropic, Dialect::Gemini] {
            // Gemini has no field for a redacted block: the one rider that is dropped (the server-side store keeps it).
            if matches!((carried, client), (Carried::Redacted, Dialect::Gemini)) {
                continue;
            }
            let mut document = Vec::new();
            client.encode_reply(&answer(carried), &Context::default(), &mut document);
            let request = next_request(client, &serde_json::from_slice(&document).unwrap()).to_string();
            // Chat has fields with a place for the origin's name; elsewhere a foreign rider is marked, and found by it.
            if client != Dialect::OpenAiChat && client != carried.home() {
                assert!(client.holds_riders(request.as_bytes()), "{carried:?}: {request}");
            }
            let target = Target { model: "claude-sonnet-4-5".into(), gemini3: true, ..Target::default() };
            let url = UrlParts { model: Some("m"), ..UrlParts::default() };
            let body = Raw::parse(request.as_bytes()).unwrap();
            let encoded = translate_request(client, carried.home(), body, &url, &target).unwrap();
            let body: Value = serde_json::from_slice(&encoded.body).unwrap();
            assert_eq!(
                found(carried, &body),
                Some(carried.blob()),
                "{carried:?} through {}:\n{request}\n{body}",
                client.name()
            );
        }
    }
}

#[test]
fn riders_are_looked_for_only_where_a_dialect_can_have_them() {
    let (plain, base64) = (r#"{"a":"frt1.anthropic.sig.x"}"#, r#"{"a":"ZnJ0MS5hbnRocm9waWMuc2lnLng="}"#);
    for dialect in Dialect::ALL {
        let (in_text, in_bytes) = (dialect.holds_riders(plain.as_bytes()), dialect.holds_riders(base64.as_bytes()));
        let expected = match dialect {
            Dialect::Gemini => (false, true),
            Dialect::Ollama => (false, false),
            _ => (true, false),
        };
        assert_eq!((in_text, in_bytes), expected, "{}", dialect.name());
    }
}
