//! Cursor's calls by implementations that are not ours: Google's protobuf and python-hyper's h2 (`tests/cursor/`), against a
//! gateway in this process. The editor's side of each stream stays open until its answer is over.
//!
//! The suite installs what it needs under `target/cursor`. Where Python is missing the test says `SKIPPED: …` on standard
//! error and passes.
#![allow(clippy::unwrap_used)]

mod support;

use std::{future::Future, path::PathBuf, sync::Arc, time::Duration};

use bytes::BytesMut;
use codecs::{
    dialect::{Context, Dialect, StreamEncode, cursor::Rpc},
    hub::{Event, Field, Finish, Open, ToolKind, Usage},
    json::Text,
};
use flow_router::{
    gateway::{Course, Gateway, Intercepted, Shared, Snapshot, Wire},
    settings::{self, Sources},
    store::usage::Queue,
};
use proxy::{Call, Client as Sender, ClientConfig, Fresh, Handler, Limits, Server, Timeouts, listen};
use serde_json::{Value, json};
use support::{
    Upstream,
    peers::{run_suite, say},
    router::provider,
};

/// Stands where interception stands.
struct Stand(Gateway);

impl Handler for Stand {
    fn handle<'a>(&'a self, call: Call<'a, Fresh>) -> impl Future<Output = ()> + Send + 'a {
        self.pass(call)
    }
}

impl Stand {
    async fn pass(&self, mut call: Call<'_, Fresh>) {
        let head = call.take_head();
        let wire = Wire::Cursor(Rpc::of_path(head.path()).unwrap());
        let target = |model: &str| (model == "auto").then(|| "up/model-1".to_owned());
        let tool = Arc::from("cursor");
        let said = Intercepted { tool: &tool, wire, target: &target, fails_open: false };
        assert!(matches!(self.0.intercept(call, head, said).await, Course::Answered));
    }
}

/// Thinking, words and, for those who have tools, two calls, as a stream of Anthropic's.
fn turn(calls: bool) -> Vec<u8> {
    let mut encoder = Dialect::Anthropic.stream_encoder(&Context::default());
    let mut out = BytesMut::new();
    let mut write = |event: Event<'_>| encoder.event(&event, &mut out);
    let delta = |part, field, text| Event::Delta { part, field, text: Text::Plain(text) };
    let text = Text::Plain;
    write(Event::Start { id: text("x"), model: text("model-1"), created: None, usage: None });
    write(Event::Part { part: 0, open: Open::Thinking });
    write(delta(0, Field::Think, "let me "));
    write(delta(0, Field::Think, "see\n"));
    write(Event::Stop { part: 0 });
    write(Event::Part { part: 1, open: Open::Text });
    write(delta(1, Field::Text, "I \"look\" 🚀"));
    write(Event::Stop { part: 1 });
    let all = [(2, "files__read_file", &["{\"path\":", "\"é\\\"\"}"][..]), (3, "list", &["{}"])];
    for (part, name, pieces) in all.into_iter().filter(|_| calls) {
        let id = if part == 2 { "call_1" } else { "call_2" };
        let (id, name) = (text(id), text(name));
        write(Event::Part { part, open: Open::Tool { id, name, kind: ToolKind::Function, signature: None } });
        pieces.iter().for_each(|piece| write(delta(part, Field::Args, piece)));
        write(Event::Stop { part });
    }
    write(Event::Usage(Usage { uncached: 11, output: 3, ..Usage::default() }));
    write(Event::Finish(if calls { Finish::Tool } else { Finish::End }));
    write(Event::End);
    out.to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_editor_of_other_makers_is_answered_while_its_side_stays_open() {
    let upstream = Upstream::start(|mut conn| async move {
        while let Some(asked) = conn.asked().await {
            conn.stream("text/event-stream").await;
            for piece in turn(asked.json()["tools"].is_array()).chunks(50) {
                conn.chunk(piece).await;
            }
            conn.end().await;
        }
    })
    .await;
    let config = provider("up", Dialect::Anthropic, &upstream);
    let sources = Sources { file: Some((PathBuf::from("test.toml"), config)), ..Sources::default() };
    let snapshot = Snapshot::new(settings::load(&sources).unwrap(), Arc::default(), None);
    let shared = Arc::new(Shared::new(snapshot, Queue::closed(), 0));
    let listener = listen("127.0.0.1:0".parse().unwrap(), false).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let gateway = Gateway::new(shared, Sender::new(ClientConfig::default()).unwrap());
    let server = Server::new(Limits::default(), Timeouts::default());
    tokio::spawn(server.serve(listener, Arc::new(Stand(gateway)), std::future::pending(), Duration::ZERO));

    let run = move || {
        run_suite("cursor", "cursor/run.sh", &["python3"], |run| {
            run.arg(address);
        })
    };
    let Some(output) = tokio::task::spawn_blocking(run).await.unwrap() else { return };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let last = text.trim().lines().last().unwrap_or_default();
    if last.starts_with("SKIPPED") {
        return say(last);
    }
    let heard: Value = serde_json::from_str(last).unwrap();
    let (words, thoughts) = ("I \"look\" 🚀", "let me see\n");
    let calls = json!([["files/read_file", {"path": "é\""}], ["custom/list", {}]]);
    for name in ["chat", "tools", "gzip"] {
        assert_eq!(heard[name], json!({"text": words, "thinking": thoughts, "calls": calls, "end": {}}), "{name}");
    }
    assert_eq!(heard["agent"], json!({"text": words, "thinking": thoughts, "ended": [11, 3], "end": {}}));
    for asked in upstream.asked() {
        let sent = format!("{:?} {}", asked.head, String::from_utf8_lossy(&asked.body));
        assert!(sent.contains("Say hello") && !sent.contains("SECRET"), "{sent}");
    }
}
