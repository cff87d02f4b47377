//! Chats, whole answers and errors, against vectors that other programs made.

use std::{collections::HashMap, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD};
use codecs::{
    dialect::{
        Context,
        cursor::{
            Rpc, reply,
            request::{self, Scratch, transcribe},
        },
    },
    hub::{ApiError, ErrorKind, Event, Field, Finish, Open},
    json::Text,
};
use prost::Message;
use serde_json::{Value, json};

use super::{delta, encoded, ides::cursor::*, text, tool, unhex, vectors};

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
pub(crate) fn full_chat() -> ChatRequest {
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

pub(crate) fn full_transcript() -> Value {
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
