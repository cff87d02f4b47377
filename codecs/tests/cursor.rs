//! Cursor's requests, as prost writes them, and its answers against vectors that other programs made: hostile bodies, tools
//! that run in the editor, errors.

#![allow(clippy::unwrap_used)]

#[path = "../../tests/support/ides.rs"]
mod ides;

use std::{collections::HashMap, fs, io::Write, path::PathBuf, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD};
use bytes::BytesMut;
use codecs::{
    dialect::{
        Context, StreamEncode,
        cursor::{
            Facts, Rpc, reply,
            request::{
                self, Scratch,
                agent::{self, ClientMessage},
                transcribe,
            },
            round::{Executions, resume},
            stream::Encoder,
        },
    },
    hub::{ApiError, ErrorKind, Event, Field, Finish, Open, Reply, ToolKind, Usage},
    json::Text,
};
use ides::cursor::*;
use proptest::prelude::*;
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

/// The neutral events of a vector as those of the hub.
fn hub_events(events: &[Value]) -> Vec<Event<'_>> {
    let mut out = vec![Event::Start { id: Text::EMPTY, model: Text::EMPTY, created: None, usage: None }];
    let mut calls = HashMap::new();
    let mut next = 0;
    for event in events {
        let string = |name: &str| event[name].as_str().unwrap();
        match string("type") {
            kind @ ("text" | "reasoning") => {
                let thinks = kind == "reasoning";
                out.push(Event::Part { part: next, open: if thinks { Open::Thinking } else { Open::Text } });
                out.push(delta(next, if thinks { Field::Think } else { Field::Text }, string("text")));
                out.push(Event::Stop { part: next });
                next += 1;
            }
            "tool_start" => {
                calls.insert(event["index"].as_u64().unwrap(), next);
                out.push(Event::Part { part: next, open: tool(string("id"), string("name")) });
                next += 1;
            }
            "tool_args" => out.push(delta(calls[&event["index"].as_u64().unwrap()], Field::Args, string("fragment"))),
            "tool_end" => out.push(Event::Stop { part: calls[&event["index"].as_u64().unwrap()] }),
            "finish" => {
                out.push(Event::Finish(if string("reason") == "stop" { Finish::End } else { Finish::Tool }));
                out.push(Event::End);
            }
            "error" => {
                assert_eq!(string("code"), "resource_exhausted");
                out.push(Event::Error(ApiError::new(ErrorKind::RateLimit, string("message"))));
            }
            other => panic!("{other}"),
        }
    }
    out
}

/// What the vectors' makers read in a stream is what is read in ours, made of the same events; where a stream has nothing
/// but what every such stream must have, it has the same bytes.
#[test]
fn answers_say_what_the_vectors_say() {
    let mut seen = 0;
    for vector in vectors("connect.json").iter().chain(&vectors("cursor.json")) {
        let Some(events) = vector["expect"]["events"].as_array() else { continue };
        let events = hub_events(events);
        let ours = encoded(Rpc::ChatWithTools, &Context::default(), &events);
        let theirs = unhex(vector["input_hex"].as_str().unwrap());
        let id = vector["id"].as_str().unwrap();
        // A stream of theirs that was compressed cannot be read by this reader: the events stand for it.
        let heard = chat(&ours, true);
        let mut text = String::new();
        let mut calls: Vec<(String, String)> = Vec::new();
        let (mut error, mut end) = (None, None);
        for event in vector["expect"]["events"].as_array().unwrap() {
            match event["type"].as_str().unwrap() {
                "text" => text += event["text"].as_str().unwrap(),
                "tool_start" => calls.push((event["name"].as_str().unwrap().to_owned(), String::new())),
                "tool_args" => calls.last_mut().unwrap().1 += event["fragment"].as_str().unwrap(),
                "error" => error = event["message"].as_str().map(str::to_owned),
                "finish" => end = Some(String::new()),
                _ => {}
            }
        }
        let calls: Vec<_> =
            calls.into_iter().map(|(name, args)| (name, serde_json::from_str::<Value>(&args).unwrap())).collect();
        assert_eq!((&heard.text, &heard.calls, &heard.error, &heard.end), (&text, &calls, &error, &end), "{id}");
        if ["ce-01"].contains(&id) {
            assert_eq!(ours, theirs, "{id}");
        }
        seen += 1;
    }
    assert!(seen >= 8, "{seen}");
}

/// The bytes of the agent's messages that are known.
#[test]
fn samples_of_the_agent() {
    let events = |text: &'static str| {
        vec![
            Event::Part { part: 0, open: Open::Text },
            delta(0, Field::Text, text),
            Event::Stop { part: 0 },
            Event::Usage(Usage { uncached: 12, output: 2, ..Usage::default() }),
            Event::Finish(Finish::End),
            Event::End,
        ]
    };
    let expected = ["00000000080a060a040a024869", "00000000080a067204080c1002", "02000000027b7d"].concat();
    assert_eq!(encoded(Rpc::Agent, &Context::default(), &events("Hi")), unhex(&expected));
    let heartbeat = AgentServer::decode(&Rpc::Agent.keep_alive()[5..]).unwrap();
    assert_eq!(heartbeat.update.unwrap().heartbeat, Some(Empty {}));
    assert_eq!(ChatResponseWithTools::decode(&Rpc::Chat.keep_alive()[5..]).unwrap(), ChatResponseWithTools::default());
}

#[test]
fn a_request_that_others_wrote() {
    let vector = vectors("cursor.json").into_iter().find(|vector| vector["id"] == "cp-01").unwrap();
    let body = unhex(vector["input_hex"].as_str().unwrap());
    let (transcript, facts) = transcribe(&body, Rpc::ChatWithTools).unwrap();
    assert_eq!(transcript.model, "claude-4.5-sonnet");
    assert_eq!(transcript.conversation.as_deref(), Some("11111111-2222-4333-8444-555555555555"));
    assert_eq!(facts.tools["get_weather"].server, "custom");
    let expected = json!({
        "model": "claude-4.5-sonnet",
        "stream": true,
        "output_config": {"effort": "medium"},
        "tools": [{
            "name": "get_weather", "description": "Weather by city",
            "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}],
        "messages": [
            {"role": "user",
             "content": text("[System Instructions]\nBe brief.\n\nWhat is the weather in Praha?")},
            {"role": "assistant", "content": text("Let me look.")},
            {"role": "user", "content": text("<tool_result>\n21 C, clear\n</tool_result>")}]});
    assert_eq!(serde_json::from_slice::<Value>(&transcript.body).unwrap(), expected);
}

/// A chat with all that is read of one.
fn full_chat() -> ChatRequest {
    let named = |name: &str| ModelDetails { model_name: name.into(), third: None };
    let tool = |name: &str, server: &str, parameters: &str| McpTool {
        name: name.into(),
        description: "does it".into(),
        parameters: parameters.into(),
        server_name: server.into(),
    };
    let result = |id: &str, name: &str, outcome: BubbleResult| BubbleResult {
        tool_call_id: id.into(),
        tool_name: name.into(),
        ..outcome
    };
    let side = |text: &str| SideResult {
        tool: 19,
        mcp_result: Some(McpResult { selected_tool: "x".into(), result: text.into() }),
        ..SideResult::default()
    };
    let error = |text: &str| Some(ResultError { client_text: "shown".into(), model_text: text.into() });
    let signed = |text: &str, signature: &str| Thinking {
        text: text.into(),
        signature: signature.into(),
        ..Thinking::default()
    };
    ChatRequest {
        conversation: vec![
            Bubble {
                text: "Look at this".into(),
                kind: 1,
                images: vec![Image { data: b"\x89PNG\r\n\x1a\n".into() }],
                ..Bubble::default()
            },
            Bubble {
                text: "I look.".into(),
                kind: 2,
                thinking: Some(signed("only the last", "")),
                all_thinking_blocks: vec![
                    signed("hm", "frt1.anthropic.sig.abc="),
                    signed("of the vendor", "opaque"),
                    Thinking { redacted: "frt1.anthropic.red.xyz".into(), ..Thinking::default() },
                ],
                tool_results: vec![
                    result(
                        "c1\nmc_7",
                        "mcp_files_read",
                        BubbleResult {
                            raw_args: "{\"p\":1}".into(),
                            args: "{}".into(),
                            result: Some(side("read it")),
                            ..BubbleResult::default()
                        },
                    ),
                    result(
                        "c2",
                        "search",
                        BubbleResult { error: error("not found"), content: "unused".into(), ..BubbleResult::default() },
                    ),
                ],
                ..Bubble::default()
            },
            Bubble {
                text: "go on".into(),
                kind: 1,
                tool_results: vec![
                    result("c2", "search", BubbleResult { content: "told again".into(), ..BubbleResult::default() }),
                    BubbleResult {
                        content: "of the call itself".into(),
                        tool_call: Some(SideCall {
                            tool_call_id: "c3".into(),
                            name: "mcp_web_search".into(),
                            raw_args: "{\"q\":\"x\"}".into(),
                            ..SideCall::default()
                        }),
                        ..BubbleResult::default()
                    },
                ],
                ..Bubble::default()
            },
        ],
        explicit_context: Some(ExplicitContext {
            context: "Be brief.".into(),
            repo_context: "A repository.".into(),
            rules: vec![
                Rule { name: "style".into(), description: String::new(), body: "No tabs.".into() },
                Rule::default(),
            ],
            mode_specific_context: "  ".into(),
        }),
        model_details: Some(named("claude-4.5-sonnet")),
        current_file: Some(CurrentFile { path: "src/a.rs".into(), contents: "fn a() {}".into() }),
        conversation_id: "c-1".into(),
        environment: Some(Environment { platform: "linux".into() }),
        is_agentic: true,
        supported_tools: vec![5, 15, 19],
        mcp_tools: vec![
            tool("read", "files", "{\"type\":\"object\"}"),
            tool("search", "custom", "no json"),
            tool("search", "web", "[]"),
            tool("", "web", ""),
            tool("odd name.with/chars", "", "{}"),
        ],
        unified_mode: 2,
        should_disable_tools: true,
        thinking_level: 2,
    }
}

fn full_transcript() -> Value {
    let declared = |name: &str, schema: Value| json!({"name": name, "description": "does it", "input_schema": schema});
    json!({
        "model": "claude-4.5-sonnet",
        "stream": true,
        "output_config": {"effort": "high"},
        "system": [
            {"type": "text", "text": "Be brief."}, {"type": "text", "text": "A repository."},
            {"type": "text", "text": "style\nNo tabs."}],
        "tools": [
            declared("files__read", json!({"type": "object"})),
            declared("search", json!({"type": "object"})),
            declared("web__search", json!({"type": "object"})),
            declared("odd_name_with_chars", json!({}))],
        "tool_choice": {"type": "none"},
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "Look at this"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "frt1.anthropic.sig.abc="},
                {"type": "thinking", "thinking": "of the vendor", "signature": ""},
                {"type": "redacted_thinking", "data": "frt1.anthropic.red.xyz"},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "c1", "name": "files__read", "input": {"p": 1}},
                {"type": "tool_use", "id": "c2", "name": "search", "input": {}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": text("read it")},
                {"type": "tool_result", "tool_use_id": "c2", "content": text("not found"), "is_error": true}]},
            {"role": "assistant", "content": [
                {"type": "tool_use", "id": "c3", "name": "web__search", "input": {"q": "x"}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "c3", "content": text("of the call itself")}]},
            {"role": "user", "content": [
                {"type": "text", "text": "<open_file path=\"src/a.rs\">\nfn a() {}\n</open_file>"},
                {"type": "text", "text": "go on"}]}]})
}

#[test]
fn everything_that_a_chat_says() {
    let chat = full_chat();
    let wrapped = ChatRequestWithTools { request: Some(chat.clone()), result: None };
    for (body, rpc) in [(envelope(&chat), Rpc::Chat), (envelope(&wrapped), Rpc::ChatWithTools)] {
        let (transcript, _) = transcribe(&body, rpc).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&transcript.body).unwrap(), full_transcript(), "{rpc:?}");
        assert_eq!(transcript.conversation.as_deref(), Some("c-1"));
    }
    let message = chat.encode_to_vec();
    let scratch = Scratch::default();
    let asked = request::decode(&message, Rpc::Chat, &scratch).unwrap();
    assert_eq!(asked.request.dropped, ["mcp_tools", "supported_tools.5", "supported_tools.15"]);
}

/// One call of each tool goes back under the names that the editor knows.
#[test]
fn calls_go_to_the_servers_of_their_tools() {
    let (_, facts) = transcribe(&envelope(&full_chat()), Rpc::Chat).unwrap();
    let context = Context { cursor: Some(Arc::new(facts)), ..Context::default() };
    for (given, name, server) in [
        ("files__read", "read", "files"),
        ("search", "search", "custom"),
        ("web__search", "search", "web"),
        ("odd_name_with_chars", "odd name.with/chars", "custom"),
        ("undeclared", "undeclared", "custom"),
    ] {
        let events = [Event::Part { part: 0, open: tool("c", given) }, Event::Stop { part: 0 }];
        let stream = encoded(Rpc::ChatWithTools, &context, &events);
        let call = ChatResponseWithTools::decode(envelopes(&stream).0[0]).unwrap().call.unwrap();
        let declared = &call.mcp_params.unwrap().tools[0];
        assert_eq!((declared.name.as_str(), declared.server_name.as_str()), (name, server));
        assert_eq!(call.name, format!("mcp_{server}_{name}"));
        assert_eq!(chat(&stream, true).calls, [(name.to_owned(), json!({}))]);
    }
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn framed(flags: u8, payload: &[u8]) -> Vec<u8> {
    [&[flags][..], &(payload.len() as u32).to_be_bytes(), payload].concat()
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

fn varint(mut value: u64) -> Vec<u8> {
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

/// A turn whose tools run in the editor while the stream is open.
#[test]
fn a_chat_goes_on_with_the_results_on_its_stream() {
    let message = full_chat().encode_to_vec();
    let scratch = Scratch::default();
    let mut asked = request::decode(&message, Rpc::ChatWithTools, &scratch)
        .err()
        .map_or_else(|| panic!("it has a wrapper"), |_| request::decode(&message, Rpc::Chat, &scratch).unwrap());
    let facts = Facts { two_way: true, ..asked.facts.clone() };
    let context = Context { cursor: Some(Arc::new(facts)), ..Context::default() };
    let events = [
        Event::Start { id: Text::EMPTY, model: Text::EMPTY, created: None, usage: None },
        Event::Part { part: 0, open: tool("k1", "files__read") },
        delta(0, Field::Args, "{\"p\":2}"),
        Event::Stop { part: 0 },
        Event::Part { part: 1, open: tool("k2", "search") },
        Event::Stop { part: 1 },
        Event::Finish(Finish::Tool),
        Event::End,
    ];
    let stream = encoded(Rpc::ChatWithTools, &context, &events);
    let heard = chat(&stream, true);
    assert_eq!((heard.calls.len(), heard.end), (2, None), "the answer goes on");
    let mut reply = Reply::default();
    events.iter().for_each(|event| reply.fold(event));
    let mut executions = Executions::of(&reply, &context);
    let result = |id: &str, error: Option<&str>| {
        let error = error.map(|text| ResultError { client_text: text.into(), model_text: String::new() });
        let mcp_result = Some(McpResult { selected_tool: "read".into(), result: "contents".into() });
        let result = SideResult { tool: 19, error, mcp_result, tool_call_id: id.into() };
        ChatRequestWithTools { request: None, result: Some(result) }.encode_to_vec()
    };
    assert_eq!(request::chat_result(&ChatRequestWithTools::default().encode_to_vec()), Ok(None));
    for message in
        [result("k2\nmc_1", Some("no")), result("unknown", None), result("k1", None), result("k1", Some("late"))]
    {
        assert!(!executions.is_complete());
        executions.take_result(&request::chat_result(&message).unwrap().unwrap());
        if executions.is_complete() {
            break;
        }
    }
    assert_eq!(executions.count(), 2);
    resume(&mut asked.request, &reply, executions.into_results(), &context);
    let body = request::write_transcript(&asked).body;
    let written: Value = serde_json::from_slice(&body).unwrap();
    let messages = written["messages"].as_array().unwrap();
    assert_eq!(
        messages[messages.len() - 2..],
        [
            json!({"role": "assistant", "content": [
            {"type": "tool_use", "id": "k1", "name": "files__read", "input": {"p": 2}},
            {"type": "tool_use", "id": "k2", "name": "search", "input": {}}]}),
            json!({"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "k1", "content": text("contents")},
            {"type": "tool_result", "tool_use_id": "k2", "content": text("no"), "is_error": true}]}),
        ]
    );
}

/// A run in a mode, with a conversation of one turn behind it.
fn agent_run(mode: u32) -> Run {
    let blob = |id: &str, data: Vec<u8>| Blob { id: id.into(), data };
    let step = |id: &str, step: Step| blob(id, step.encode_to_vec());
    let args = |id: &str| McpArgs {
        name: "web-search".into(),
        args: HashMap::from([("q".to_owned(), ProtoValue::of(&json!("x")))]),
        tool_call_id: id.into(),
        provider: "web".into(),
        tool_name: "search".into(),
    };
    let found = AgentMcpResult {
        success: Some(McpSuccess {
            content: vec![
                McpContent { text: Some(Words { text: "one".into() }), image: None },
                McpContent { text: None, image: Some(Image { data: b"\xff\xd8\xff".into() }) },
                McpContent { text: Some(Words { text: "two".into() }), image: None },
            ],
            is_error: false,
        }),
        error: None,
    };
    let read = ReadCall {
        args: Some(ReadArgs { path: "a.rs".into(), ..ReadArgs::default() }),
        result: Some(ReadResult { success: None, not_found: Some(Words { text: "a.rs".into() }) }),
    };
    let call = |read, mcp| Some(ToolCall { read, mcp });
    let user = UserMessage { text: "Before".into(), mode: 1, ..UserMessage::default() };
    let turn = Turn {
        agent: Some(AgentTurn {
            user_message: b"u".into(),
            steps: vec![b"s1".into(), b"s2".into(), b"s3".into(), b"s4".into()],
        }),
    };
    Run {
        state: Some(State { turns: vec![b"t".into()], root_prompt: vec![b"r".into()], summary: Some(b"sum".into()) }),
        action: Some(Action {
            user_message: Some(UserAction {
                message: Some(UserMessage {
                    text: "Now".into(),
                    mode,
                    selected: Some(Selected {
                        images: vec![Image { data: b"x".into() }],
                        files: vec![CurrentFile { path: "b.rs".into(), contents: "fn b() {}".into() }],
                    }),
                    ..UserMessage::default()
                }),
                context: Some(RequestContext {
                    rules: vec![Rule { name: "rules.md".into(), description: "No tabs.".into(), body: String::new() }],
                    env: Some(Env {
                        os_version: "linux 6".into(),
                        workspaces: vec!["/w".into()],
                        shell: "bash".into(),
                    }),
                    tools: vec![AgentTool { name: "web-search".into(), ..AgentTool::default() }],
                }),
            }),
            cancel: None,
        }),
        model_details: Some(ModelDetails { model_name: "shown".into(), third: Some("Shown".into()) }),
        mcp_tools: Some(AgentTools {
            tools: vec![AgentTool {
                name: "web-search".into(),
                description: "Searches".into(),
                input_schema: Some(ProtoValue::of(
                    &json!({"type": "object", "properties": {"q": {"type": "string", "maxLength": 9}}, "required": ["q"]}),
                )),
                provider: "web".into(),
                tool_name: "search".into(),
            }],
        }),
        conversation_id: "c-9".into(),
        custom_system_prompt: String::new(),
        requested_model: Some(ModelDetails { model_name: "gpt-5.2".into(), third: None }),
        blobs: vec![
            blob("t", turn.encode_to_vec()),
            blob("u", user.encode_to_vec()),
            step("s1", Step { thinking: Some(Words { text: "hm".into() }), ..Step::default() }),
            step(
                "s2",
                Step {
                    tool_call: call(None, Some(McpCall { args: Some(args("k1")), result: Some(found) })),
                    ..Step::default()
                },
            ),
            step("s3", Step { tool_call: call(Some(read), None), ..Step::default() }),
            step("s4", Step { assistant: Some(Words { text: "Done.".into() }), ..Step::default() }),
        ],
    }
}

fn run_message(run: Run) -> Vec<u8> {
    AgentClient { message: Some(FromClient::Run(Box::new(run))) }.encode_to_vec()
}

#[test]
fn everything_that_a_run_says() {
    let message = run_message(agent_run(1));
    assert_eq!(agent::read(&message), Ok(ClientMessage::Run));
    let written = written(&framed(0, &message), Rpc::Agent);
    assert_eq!(written["model"], "gpt-5.2");
    let system: Vec<_> =
        written["system"].as_array().unwrap().iter().map(|part| part["text"].as_str().unwrap()).collect();
    assert!(system[0].starts_with("You are a coding assistant"));
    assert_eq!(system[1..], ["rules.md\nNo tabs.", "Operating system: linux 6\nWorkspace: /w\nShell: bash"]);
    let tools = written["tools"].as_array().unwrap();
    let names: Vec<_> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        ["read_file", "write_file", "delete_file", "grep", "list_dir", "run_terminal_cmd", "web__search"]
    );
    let schema = json!({"type": "object", "properties": {"q": {"type": "string", "maxLength": 9}}, "required": ["q"]});
    assert_eq!((&tools[6]["description"], &tools[6]["input_schema"]), (&json!("Searches"), &schema));
    let image = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "/9j/"}});
    let mut result = text("one\ntwo");
    result.as_array_mut().unwrap().push(image);
    let expected = json!([
        {"role": "user", "content": text("Before")},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": ""},
            {"type": "tool_use", "id": "k1", "name": "web__search", "input": {"q": "x"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "k1", "content": result}]},
        {"role": "assistant", "content": [
            {"type": "tool_use", "id": "call_0_3", "name": "read_file", "input": {"path": "a.rs"}}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "call_0_3", "content": text("no such file: a.rs"), "is_error": true}]},
        {"role": "assistant", "content": text("Done.")},
        {"role": "user", "content": [
            {"type": "text", "text": "<selected_context>\nb.rs\nfn b() {}\n</selected_context>"},
            {"type": "text", "text": "Now"}]}]);
    let mut messages = written["messages"].clone();
    // What stands for JPEG is too short to be known as one, which matters to nobody.
    let media = &mut messages[2]["content"][0]["content"][1]["source"]["media_type"];
    *media = json!("image/png");
    assert_eq!(messages, expected);
}

#[test]
fn a_question_has_no_tools_and_own_instructions_count() {
    let mut run = agent_run(2);
    run.custom_system_prompt = "Mine.".into();
    run.requested_model = None;
    let written = written(&framed(0, &run_message(run)), Rpc::Agent);
    assert_eq!((&written["model"], written.get("tools")), (&json!("shown"), None));
    assert_eq!(written["system"][0]["text"], "Mine.");
}

#[test]
fn blobs_that_are_not_there_are_asked_for_in_rounds() {
    let mut run = agent_run(1);
    let kept: HashMap<Vec<u8>, Vec<u8>> =
        std::mem::take(&mut run.blobs).into_iter().map(|blob| (blob.id, blob.data)).collect();
    let summary = b"They spoke.".to_vec();
    let message = run_message(run);
    let all = |id: &[u8]| kept.get(id).map(Vec::as_slice);
    assert_eq!(agent::missing_blobs(&message, &|_| None).unwrap(), [b"t"]);
    let only_turn = |id: &[u8]| all(id).filter(|_| id == b"t");
    assert_eq!(agent::missing_blobs(&message, &only_turn).unwrap(), [&b"u"[..], b"s1", b"s2", b"s3", b"s4"]);
    assert!(agent::missing_blobs(&message, &all).unwrap().is_empty());
    let messages = |blobs: &dyn Fn(&[u8]) -> Option<&'static [u8]>| {
        let message: &'static [u8] = message.clone().leak();
        let scratch: &'static Scratch = Box::leak(Box::default());
        let asked = agent::decode(message, blobs, scratch).unwrap();
        let body = request::write_transcript(&asked).body;
        serde_json::from_slice::<Value>(&body).unwrap()["messages"].as_array().unwrap().clone()
    };
    let leaked: HashMap<Vec<u8>, &'static [u8]> =
        kept.iter().map(|(id, data)| (id.clone(), &*data.clone().leak())).collect();
    assert_eq!(messages(&|id| leaked.get(id).copied()).len(), 7);
    // One is lost: the summary stands for what was before it, if there is one.
    assert_eq!(messages(&|id| leaked.get(id).copied().filter(|_| id != b"s3")).len(), 1);
    let summary: &'static [u8] = summary.leak();
    let told = messages(&|id| if id == b"sum" { Some(summary) } else { None });
    assert!(told[0]["content"][0]["text"].as_str().unwrap().contains("They spoke."));

    let mut out = BytesMut::new();
    agent::ask_blob(3, b"t", &mut out);
    let kv = AgentServer::decode(envelopes(&out).0[0]).unwrap().kv.unwrap();
    assert_eq!((kv.id, kv.get_blob.unwrap().id), (3, b"t".to_vec()));
}

#[test]
fn the_root_prompt_stands_for_turns_that_are_none() {
    let mut run = agent_run(1);
    let state = run.state.as_mut().unwrap();
    state.turns.clear();
    state.root_prompt = vec![b"1".into(), b"2".into(), b"3".into(), b"4".into(), b"5".into()];
    let blob = |id: &str, data: Value| Blob { id: id.into(), data: data.to_string().into() };
    run.blobs = vec![
        blob("1", json!({"role": "system", "content": "The vendor's own."})),
        blob("2", json!({"role": "user", "content": "Hi"})),
        blob(
            "3",
            json!({"role": "assistant", "content": [
            {"type": "reasoning", "text": "hm"}, {"type": "text", "text": "Hello"},
            {"type": "tool-call", "toolCallId": "k", "toolName": "read_file", "args": {"path": "a"}}]}),
        ),
        blob(
            "4",
            json!({"role": "tool", "content": [
            {"type": "tool-result", "toolCallId": "k", "toolName": "read_file", "result": {"lines": 3}}]}),
        ),
        Blob { id: b"5".into(), data: b"no json".into() },
    ];
    let messages = written(&framed(0, &run_message(run)), Rpc::Agent)["messages"].clone();
    let expected = json!([
        {"role": "user", "content": text("Hi")},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": ""}, {"type": "text", "text": "Hello"},
            {"type": "tool_use", "id": "k", "name": "read_file", "input": {"path": "a"}}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "k", "content": text("{\"lines\":3}")}]}]);
    assert_eq!(messages.as_array().unwrap()[..3], expected.as_array().unwrap()[..]);
}

/// The context of a run's answer.
fn agent_context() -> Context {
    let (_, facts) = transcribe(&framed(0, &run_message(agent_run(1))), Rpc::Agent).unwrap();
    assert!(facts.two_way);
    Context { cursor: Some(Arc::new(facts)), new_id: "abc".into(), ..Context::default() }
}

fn calls() -> Vec<Event<'static>> {
    let mut events = vec![
        Event::Start { id: Text::EMPTY, model: Text::EMPTY, created: None, usage: None },
        Event::Part { part: 0, open: Open::Thinking },
        delta(0, Field::Think, "hm"),
        Event::Stop { part: 0 },
    ];
    let all = [
        ("k1", "web__search", r#"{"q":["é",null,1.5]}"#),
        ("k2", "read_file", r#"{"path":"a.rs","offset":3,"limit":10}"#),
        ("k3", "run_terminal_cmd", r#"{"command":"ls","cwd":"/w","timeout":5000}"#),
        ("k4", "write_file", r#"{"path":"c","contents":"text"}"#),
        ("k5", "grep", r#"{"pattern":"x","ignore_case":true}"#),
        ("k6", "list_dir", r#"{"path":".","ignore":["target",".git"]}"#),
        ("k7", "read_file", "no json"),
    ];
    for (part, (id, name, args)) in (1..).zip(all) {
        events.extend([
            Event::Part { part, open: tool(id, name) },
            delta(part, Field::Args, args),
            Event::Stop { part },
        ]);
    }
    events.extend([
        Event::Usage(Usage { uncached: 5, output: 7, ..Usage::default() }),
        Event::Finish(Finish::Tool),
        Event::End,
    ]);
    events
}

#[test]
fn calls_of_an_agent_run_in_the_editor() {
    let context = agent_context();
    let stream = encoded(Rpc::Agent, &context, &calls());
    let (payloads, end) = envelopes(&stream);
    assert_eq!(end, None, "the turn goes on");
    let messages: Vec<_> = payloads.iter().map(|payload| AgentServer::decode(*payload).unwrap()).collect();
    assert!(messages.iter().filter_map(|message| message.update.as_ref()).all(|update| update.turn_ended.is_none()));
    let first = messages[0].update.clone().unwrap().thinking_delta.unwrap();
    assert_eq!((first.text.as_str(), first.style), ("hm", 1));
    assert!(messages[1].update.clone().unwrap().thinking_completed.is_some());
    let execs: Vec<_> = messages.iter().filter_map(|message| message.exec.clone()).collect();
    assert_eq!(execs.iter().map(|exec| exec.id).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7]);
    let mcp = execs[0].mcp.clone().unwrap();
    assert_eq!((mcp.name.as_str(), mcp.tool_name.as_str(), mcp.provider.as_str()), ("web-search", "search", "web"));
    assert_eq!(mcp.tool_call_id, "k1");
    let list = mcp.args["q"].kind.clone().unwrap();
    assert!(matches!(list, ValueKind::List(list) if list.values.len() == 3));
    let read = ReadArgs { path: "a.rs".into(), tool_call_id: "k2".into(), offset: 3, limit: 10 };
    assert_eq!(execs[1].read, Some(read));
    let shell = ShellArgs { command: "ls".into(), cwd: "/w".into(), timeout: 5_000, tool_call_id: "k3".into() };
    assert_eq!(execs[2].shell, Some(shell));
    let write = WriteArgs { path: "c".into(), file_text: "text".into(), tool_call_id: "k4".into() };
    assert_eq!(execs[3].write, Some(write));
    let grep = GrepArgs { pattern: "x".into(), ignore_case: true, tool_call_id: "k5".into(), ..GrepArgs::default() };
    assert_eq!(execs[4].grep, Some(grep));
    let ls = LsArgs { path: ".".into(), ignore: vec!["target".into(), ".git".into()], tool_call_id: "k6".into() };
    assert_eq!(execs[5].ls, Some(ls));
    // A call that cannot be read is executed all the same: the editor says what is missing, and the model hears it.
    assert_eq!(execs[6].read.clone().unwrap().path, "");
    let ids: std::collections::HashSet<_> = execs.iter().map(|exec| exec.exec_id.clone()).collect();
    assert_eq!(ids.len(), 7);
    let started = messages.iter().filter_map(|message| message.update.as_ref()?.started.clone());
    assert_eq!(started.map(|update| update.call_id).collect::<Vec<_>>(), ["k1", "k2", "k3", "k4", "k5", "k6", "k7"]);
}

/// The messages by which an editor answers.
fn from_editor(message: FromClient) -> Vec<u8> {
    AgentClient { message: Some(message) }.encode_to_vec()
}

fn exec(id: u32, result: ExecClient) -> Vec<u8> {
    from_editor(FromClient::Exec(Box::new(ExecClient { id, exec_id: "e".into(), ..result })))
}

#[test]
fn results_come_back_and_the_next_round_has_them() {
    let context = agent_context();
    let mut reply = Reply::default();
    calls().iter().for_each(|event| reply.fold(event));
    let mut executions = Executions::of(&reply, &context);
    assert_eq!(executions.count(), 7);
    let words = |text: &str| Some(Words { text: text.into() });
    let shell = |piece: ShellStream| ExecClient { shell: Some(piece), ..ExecClient::default() };
    let control = |close: Option<Thrown>, throw: Option<Thrown>| {
        from_editor(FromClient::Control(ExecControl { stream_close: close, throw }))
    };
    let found = AgentMcpResult {
        success: Some(McpSuccess { content: vec![McpContent { text: words("found"), image: None }], is_error: false }),
        error: None,
    };
    let read = ReadResult {
        success: Some(CurrentFile { path: "a.rs".into(), contents: "fn a() {}".into() }),
        not_found: None,
    };
    let messages = [
        from_editor(FromClient::Heartbeat(Empty {})),
        exec(3, shell(ShellStream { start: Some(Empty {}), ..ShellStream::default() })),
        exec(3, shell(ShellStream { stdout: words("a\n"), ..ShellStream::default() })),
        exec(2, ExecClient { read: Some(read), ..ExecClient::default() }),
        exec(3, shell(ShellStream { stderr: words("b"), ..ShellStream::default() })),
        exec(1, ExecClient { mcp: Some(found), ..ExecClient::default() }),
        exec(3, shell(ShellStream { exit: Some(Exit { code: -1, aborted: false }), ..ShellStream::default() })),
        // Of a call that is done, and of one that never was.
        exec(
            2,
            ExecClient { read: Some(ReadResult { success: None, not_found: words("late") }), ..ExecClient::default() },
        ),
        exec(99, ExecClient::default()),
        control(None, Some(Thrown { id: 4, error: "disk is full".into() })),
        control(Some(Thrown { id: 5, error: String::new() }), None),
        exec(6, ExecClient { read: None, ..ExecClient::default() }),
    ];
    let mut out = BytesMut::new();
    for message in &messages {
        executions.take(&agent::read(message).unwrap(), &mut out).unwrap();
    }
    assert!(!executions.is_complete());
    let completed: Vec<_> = envelopes(&out)
        .0
        .into_iter()
        .map(|payload| AgentServer::decode(payload).unwrap().update.unwrap().completed.unwrap())
        .collect();
    let ids: Vec<_> = completed.iter().map(|update| update.call_id.as_str()).collect();
    assert_eq!(ids, ["k2", "k1", "k3", "k4", "k5", "k6"]);
    let shown = completed[0].tool_call.clone().unwrap().read.unwrap();
    assert_eq!(
        (shown.args.unwrap().path, shown.result.unwrap().success.unwrap().contents),
        ("a.rs".into(), "fn a() {}".into())
    );

    let message = run_message(agent_run(1));
    let scratch = Scratch::default();
    let mut asked = request::decode(&message, Rpc::Agent, &scratch).unwrap();
    resume(&mut asked.request, &reply, executions.into_results(), &context);
    let body: Value = serde_json::from_slice(&request::write_transcript(&asked).body).unwrap();
    let results: Vec<_> = body["messages"].as_array().unwrap().last().unwrap()["content"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| {
            let text = result["content"][0]["text"].as_str().unwrap();
            (result["tool_use_id"].as_str().unwrap(), text, result["is_error"] == true)
        })
        .collect();
    assert_eq!(
        results,
        [
            ("k1", "found", false),
            ("k2", "fn a() {}", false),
            ("k3", "a\nb\n[exit code -1]", true),
            ("k4", "disk is full", true),
            ("k5", "", false),
            ("k6", "", false),
            ("k7", "the tool gave no result", true),
        ]
    );
}

#[test]
fn a_turn_that_is_cancelled_stops_what_runs() {
    let context = agent_context();
    let mut reply = Reply::default();
    calls().iter().for_each(|event| reply.fold(event));
    let mut executions = Executions::of(&reply, &context);
    let mut out = BytesMut::new();
    let done = exec(2, ExecClient { read: Some(ReadResult::default()), ..ExecClient::default() });
    executions.take(&agent::read(&done).unwrap(), &mut out).unwrap();
    out.clear();
    let cancel = from_editor(FromClient::Action(Box::new(Action {
        user_message: None,
        cancel: Some(Words { text: "user".into() }),
    })));
    assert_eq!(agent::read(&cancel), Ok(ClientMessage::Cancel));
    executions.cancel(&reply.usage, &mut out);
    let (payloads, end) = envelopes(&out);
    let messages: Vec<_> = payloads.iter().map(|payload| AgentServer::decode(*payload).unwrap()).collect();
    let aborted: Vec<_> =
        messages.iter().filter_map(|message| Some(message.control.as_ref()?.abort.as_ref()?.id)).collect();
    assert_eq!(aborted, [1, 3, 4, 5, 6, 7]);
    assert_eq!(messages.last().unwrap().update.clone().unwrap().turn_ended.unwrap().output, 7);
    assert_eq!(end.unwrap()["error"]["code"], "canceled");
}

#[test]
fn later_rounds_go_on_counting() {
    let mut context = agent_context();
    let facts = Facts { executions: 7, ..(**context.cursor.as_ref().unwrap()).clone() };
    context.cursor = Some(Arc::new(facts));
    let events = [Event::Part { part: 0, open: tool("k", "grep") }, Event::Stop { part: 0 }];
    let stream = encoded(Rpc::Agent, &context, &events);
    let last = AgentServer::decode(*envelopes(&stream).0.last().unwrap()).unwrap();
    assert_eq!(last.exec.unwrap().id, 8);
}

#[test]
fn what_else_a_client_of_the_agent_says() {
    let kv = |get: Option<GetResult>, set: Option<Words>| from_editor(FromClient::Kv(KvClient { id: 4, get, set }));
    let blob = kv(Some(GetResult { data: Some(b"blob".into()) }), None);
    assert_eq!(agent::read(&blob), Ok(ClientMessage::Blob { id: 4, data: Some(b"blob") }));
    assert_eq!(agent::read(&kv(Some(GetResult::default()), None)), Ok(ClientMessage::Blob { id: 4, data: None }));
    assert_eq!(agent::read(&kv(None, Some(Words::default()))), Ok(ClientMessage::Stored { id: 4, error: None }));
    let full = kv(None, Some(Words { text: "full".into() }));
    assert_eq!(agent::read(&full), Ok(ClientMessage::Stored { id: 4, error: Some("full".into()) }));
    assert_eq!(agent::read(b""), Ok(ClientMessage::Other(0)));
    assert_eq!(agent::read(&unhex("4200")), Ok(ClientMessage::Other(8)));
    assert!(agent::read(&unhex("1201ff")).is_err());

    let heartbeat = from_editor(FromClient::Heartbeat(Empty {}));
    let hex: String = heartbeat.iter().map(|byte| format!("{byte:02x}")).collect();
    let append = |data: &str| {
        Append { data: data.into(), request_id: Some(Words { text: "id-1".into() }), seqno: 7 }.encode_to_vec()
    };
    let body = append(&hex);
    let read = agent::append(&body).unwrap();
    assert_eq!((&*read.request_id, read.number, &read.message), ("id-1", 7, &heartbeat));
    for bad in ["a", "zz", "0x00"] {
        assert!(agent::append(&append(bad)).is_err());
    }
    assert_eq!(agent::request_id(&Words { text: "id-2".into() }.encode_to_vec()).unwrap(), "id-2");
}

#[test]
fn errors_are_a_providers_fault_and_log_nobody_out() {
    use ErrorKind::*;
    let kinds = [
        Invalid,
        UnsupportedContent,
        Auth,
        Billing,
        Permission,
        NotFound,
        TooLarge,
        RateLimit,
        Overloaded,
        Api,
        Timeout,
        Truncated,
    ];
    for kind in kinds {
        let error = ApiError::new(kind, "got 401 Unauthorized from upstream");
        let mut out = Vec::new();
        assert_eq!(reply::encode_error(&error, &mut out), 200);
        let (payloads, end) = envelopes(&out);
        assert!(payloads.is_empty());
        let said = end.unwrap()["error"].clone();
        assert!(!["unauthenticated", "permission_denied"].contains(&said["code"].as_str().unwrap()), "{kind:?}");
        let message = said["message"].as_str().unwrap();
        assert!(!message.contains("401") && !message.is_empty(), "{kind:?} {message}");
        let detail = &said["details"][0];
        assert_eq!(detail["type"], "aiserver.v1.ErrorDetails");
        let value = BASE64_STANDARD_NO_PAD.decode(detail["value"].as_str().unwrap()).unwrap();
        let value = ErrorDetails::decode(&value[..]).unwrap();
        let details = value.details.unwrap();
        assert_eq!((value.error, details.is_retryable, details.show_request_id), (57, false, true));
        assert_eq!(
            (&*details.detail, &*details.title),
            ("got 401 Unauthorized from upstream", detail["debug"]["details"]["title"].as_str().unwrap())
        );

        let mut unary = Vec::new();
        let status = reply::encode_unary_error(&error, &mut unary);
        assert!(!matches!(status, 401..=403) && (400..600).contains(&status));
        assert_eq!(serde_json::from_slice::<Value>(&unary).unwrap(), said);
    }
    let mut out = Vec::new();
    reply::encode_error(&ApiError::new(RateLimit, "Slow down."), &mut out);
    let end = envelopes(&out).1.unwrap();
    assert_eq!((&end["error"]["code"], &end["error"]["message"]), (&json!("resource_exhausted"), &json!("Slow down.")));
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
