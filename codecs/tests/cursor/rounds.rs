//! Tools that run in the editor, and the requests that their results make.

use std::sync::Arc;

use bytes::BytesMut;
use codecs::{
    dialect::{
        Context,
        cursor::{
            Facts, Rpc,
            request::{
                self, Scratch,
                agent::{self, ClientMessage},
                transcribe,
            },
            round::{Executions, resume},
        },
    },
    hub::{Event, Field, Finish, Open, Reply, Usage},
    json::Text,
};
use prost::Message;
use serde_json::{Value, json};

use super::{
    chats::full_chat,
    delta, encoded, framed, from_editor,
    ides::cursor::*,
    runs::{agent_run, run_message},
    text, tool,
};

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

/// The context of a run's answer.
pub(crate) fn agent_context() -> Context {
    let (_, facts) = transcribe(&framed(0, &run_message(agent_run(1))), Rpc::Agent).unwrap();
    assert!(facts.two_way);
    Context { cursor: Some(Arc::new(facts)), new_id: "abc".into(), ..Context::default() }
}

pub(crate) fn calls() -> Vec<Event<'static>> {
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

pub(crate) fn exec(id: u32, result: ExecClient) -> Vec<u8> {
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
