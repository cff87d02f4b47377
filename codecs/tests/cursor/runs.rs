//! An agent's runs: the request with its earlier turns, and what else its client says.

use std::collections::HashMap;

use bytes::BytesMut;
use codecs::{
    dialect::{
        Context,
        cursor::{
            Rpc,
            request::{
                self, Scratch,
                agent::{self, ClientMessage},
            },
        },
    },
    hub::{Event, Field, Finish, Open, Usage},
};
use prost::Message;
use serde_json::{Value, json};

use super::{delta, encoded, framed, from_editor, ides::cursor::*, text, unhex, written};

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

/// A run in a mode, with a conversation of one turn behind it.
pub(crate) fn agent_run(mode: u32) -> Run {
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

pub(crate) fn run_message(run: Run) -> Vec<u8> {
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
