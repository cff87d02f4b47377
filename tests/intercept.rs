//! Calls that were meant for a vendor, through a gateway inside this process: each program's form of a request, each public
//! dialect behind it, and what comes back when nobody here can answer.
#![allow(clippy::unwrap_used)]

mod support;

use std::{future::Future, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use bytes::BytesMut;
use codecs::{
    dialect::{Context, Dialect, StreamEncode, cursor::Rpc},
    frame::write_envelope,
    hub::{Event, Field, Finish, Open, ToolKind, Usage, serial::Serial},
    json::Text,
    proto::MessageWriter,
};
use flow_router::{
    gateway::{Back, Course, Gateway, Intercepted, Shared, Snapshot, Why, Wire},
    settings::{self, Sources},
    store::usage::{Queue, UsageRow},
    usage::live::{Listener, Next, What},
};
use proxy::{
    Call, Client as Sender, ClientConfig, Fresh, Handler, Limits, ResponseHead, Server, StatusCode, Timeouts, listen,
};
use serde_json::{Value, json};
use support::{
    Answer, Client, Upstream,
    ides::{self, Heard},
    router::provider,
    speech, within,
};

/// Stands where interception stands: what a path is, where a model leads, and a vendor that says what it got.
struct Stand {
    gateway: Gateway,
    tool: Arc<str>,
    fails_open: bool,
}

impl Handler for Stand {
    fn handle<'a>(&'a self, call: Call<'a, Fresh>) -> impl Future<Output = ()> + Send + 'a {
        self.pass(call)
    }
}

impl Stand {
    async fn pass(&self, mut call: Call<'_, Fresh>) {
        let head = call.take_head();
        let wire = match std::str::from_utf8(head.path()).unwrap() {
            path if path.starts_with("/v1internal:") => Wire::CloudCode,
            path if path.contains("Service/") => Wire::Cursor(Rpc::of_path(path.as_bytes()).unwrap()),
            path if path.starts_with("/v1beta/") => Wire::Public(Dialect::Gemini),
            "/generateAssistantResponse" => Wire::Kiro,
            "/chat/completions" => Wire::Public(Dialect::OpenAiChat),
            "/v1/messages" => Wire::Public(Dialect::Anthropic),
            "/responses" => Wire::Public(Dialect::OpenAiResponses),
            other => panic!("{other}"),
        };
        // The first upstream stands for `auto`; other names say themselves where they lead.
        let target = |model: &str| match model {
            ides::MODEL => Some("up/model-1".to_owned()),
            other => other.strip_prefix("to:").map(str::to_owned),
        };
        let said = Intercepted { tool: &self.tool, wire, target: &target, fails_open: self.fails_open };
        let Course::Back(back) = self.gateway.intercept(call, head, said).await else { return };
        let Back { call, head, read, why } = *back;
        let why = match why {
            Why::Unmapped(model) => format!("unmapped {model}"),
            Why::Unreadable(what) => format!("unreadable {what}"),
            Why::Unsupported(what) => format!("unsupported {what}"),
            Why::NoCandidate(what) => format!("nobody {what}"),
            Why::Failed(what) => format!("failed {what}"),
        };
        let mut answer = ResponseHead::new(StatusCode::IM_A_TEAPOT).with("x-why", why);
        answer = answer.with("x-headers", head.headers.iter().count().to_string());
        answer = answer.with("x-target", head.target.clone());
        drop(call.respond(answer, read.concat().into()).await);
    }
}

/// A stand before a gateway with the providers of `config`.
fn stand(tool: &str, config: String, fails_open: bool) -> (SocketAddr, Arc<Shared>) {
    let sources = Sources { file: Some((PathBuf::from("test.toml"), config)), ..Sources::default() };
    let snapshot = Snapshot::new(settings::load(&sources).unwrap(), Arc::default(), None);
    let shared = Arc::new(Shared::new(snapshot, Queue::closed(), 0));
    let listener = listen("127.0.0.1:0".parse().unwrap(), false).unwrap();
    let addr = listener.local_addr().unwrap();
    let gateway = Gateway::new(shared.clone(), Sender::new(ClientConfig::default()).unwrap());
    let stand = Arc::new(Stand { gateway, tool: tool.into(), fails_open });
    let server = Server::new(Limits::default(), Timeouts::default());
    tokio::spawn(server.serve(listener, stand, std::future::pending(), Duration::ZERO));
    (addr, shared)
}

/// A program, and the form in which it asks and reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ide {
    Antigravity,
    /// Without `alt=sse`.
    AntigravityArray,
    AntigravityDocument,
    AntigravityGemini,
    CopilotChat,
    CopilotMessages,
    CopilotResponses,
    Cursor,
    Kiro,
}

const ALL: [Ide; 9] = [
    Ide::Antigravity,
    Ide::AntigravityArray,
    Ide::AntigravityDocument,
    Ide::AntigravityGemini,
    Ide::CopilotChat,
    Ide::CopilotMessages,
    Ide::CopilotResponses,
    Ide::Cursor,
    Ide::Kiro,
];

impl Ide {
    fn tool(self) -> &'static str {
        match self {
            Self::Antigravity | Self::AntigravityArray | Self::AntigravityDocument | Self::AntigravityGemini => {
                "antigravity"
            }
            Self::CopilotChat | Self::CopilotMessages | Self::CopilotResponses => "copilot",
            Self::Cursor => "cursor",
            Self::Kiro => "kiro",
        }
    }

    /// The public dialect that it speaks, if it is one.
    fn public(self) -> Option<Dialect> {
        match self {
            Self::AntigravityGemini => Some(Dialect::Gemini),
            Self::CopilotChat => Some(Dialect::OpenAiChat),
            Self::CopilotMessages => Some(Dialect::Anthropic),
            Self::CopilotResponses => Some(Dialect::OpenAiResponses),
            _ => None,
        }
    }

    fn target(self, model: &str) -> String {
        match self {
            Self::Antigravity => "/v1internal:streamGenerateContent?alt=sse".to_owned(),
            Self::AntigravityArray => "/v1internal:streamGenerateContent".to_owned(),
            Self::AntigravityDocument => "/v1internal:generateContent".to_owned(),
            Self::AntigravityGemini => format!("/v1beta/models/{model}:streamGenerateContent?alt=sse"),
            Self::CopilotChat => "/chat/completions".to_owned(),
            Self::CopilotMessages => "/v1/messages".to_owned(),
            Self::CopilotResponses => "/responses".to_owned(),
            Self::Cursor => Rpc::ChatWithTools.path().to_owned(),
            Self::Kiro => "/generateAssistantResponse".to_owned(),
        }
    }

    fn body(self, model: &str) -> Vec<u8> {
        if self == Self::Cursor {
            return cursor_chat(model);
        }
        self.json(model).into_bytes()
    }

    fn json(self, model: &str) -> String {
        match (self, self.public()) {
            (_, Some(dialect)) => {
                let mut body = speech::request(dialect, model, true);
                if dialect == Dialect::OpenAiChat {
                    body.insert_str(1, r#""stream_options":{"include_usage":true},"#);
                }
                body
            }
            (Self::Kiro, None) => json!({
                "conversationState": {
                    "conversationId": ides::CONVERSATION, "chatTriggerType": "MANUAL",
                    "currentMessage": {"userInputMessage": {"content": "Say hello", "modelId": model}}},
                "profileArn": "arn:aws:codewhisperer:us-east-1:1:profile/SECRET"})
            .to_string(),
            (_, None) => json!({
                "project": "SECRET", "model": model, "userAgent": "antigravity", "requestType": "agent", "requestId": "r",
                "request": {"contents": [{"role": "user", "parts": [{"text": "Say hello"}]}], "sessionId": "SECRET"}})
            .to_string(),
        }
    }

    async fn ask(self, addr: SocketAddr, model: &str) -> Answer {
        let fields = [
            ("content-type", "application/json"),
            ("authorization", "Bearer SECRET"),
            ("x-initiator", "agent"),
            ("x-request-id", "echo-me"),
            ("x-amzn-kiro-agent-mode", "vibe"),
            ("vscode-machineid", "SECRET"),
        ];
        Client::once(addr, "POST", &self.target(model), &fields, &self.body(model)).await
    }

    #[track_caller]
    fn heard(self, answer: &Answer) -> Heard {
        match (self, self.public()) {
            (_, Some(dialect)) => {
                let speech::Heard { text, ended, error, usage } = speech::heard(dialect, &answer.text());
                // Which word it ended with is the public dialect's, and tested there.
                let end = ended.then(String::new);
                Heard { text, error, usage: ended.then_some(usage), end, ..Heard::default() }
            }
            (Self::Cursor, None) => ides::cursor(&answer.body),
            (Self::Kiro, None) => ides::kiro(&answer.body),
            (Self::Antigravity, None) => ides::cloud_code(&answer.text()),
            (Self::AntigravityArray, None) => {
                let Value::Array(objects) = answer.json() else { panic!("{}", answer.text()) };
                ides::cloud_code_objects(objects)
            }
            (_, None) => ides::cloud_code_objects(vec![answer.json()]),
        }
    }

    fn content_type(self) -> &'static str {
        match (self, self.public()) {
            (_, Some(dialect)) => dialect.stream_content_type(),
            (Self::Cursor, None) => "application/connect+proto",
            (Self::Kiro, None) => "application/vnd.amazon.eventstream",
            (Self::Antigravity, None) => "text/event-stream",
            (_, None) => "application/json",
        }
    }

    /// Its word for an end that is none in particular, and for one with calls.
    fn ends(self) -> (&'static str, &'static str) {
        match (self, self.public()) {
            (_, Some(_)) | (Self::Cursor, None) => ("", ""),
            (Self::Kiro, None) => ("END_TURN", "TOOL_USE"),
            (_, None) => ("STOP", "STOP"),
        }
    }
}

/// A chat of Cursor's.
fn cursor_chat(model: &str) -> Vec<u8> {
    let mut message = Vec::new();
    MessageWriter::new(&mut message).message(1, |w| {
        w.message(1, |w| {
            w.text(1, "Say hello").varint(2, 1);
        });
        w.message(5, |w| {
            w.text(1, model);
        });
        w.text(23, "SECRET");
    });
    let mut out = BytesMut::new();
    write_envelope(false, &mut out, |out| out.extend_from_slice(&message));
    out.to_vec()
}

/// An upstream of `dialect` that streams `bytes`; to who wants a document it gives one.
async fn upstream(dialect: Dialect, bytes: Vec<u8>) -> Upstream {
    let bytes = Arc::new(bytes);
    Upstream::start(move |mut conn| {
        let bytes = bytes.clone();
        async move {
            while let Some(asked) = conn.asked().await {
                let streams = match dialect {
                    Dialect::Gemini => asked.target().contains("stream"),
                    _ => asked.json()["stream"].as_bool().unwrap_or(dialect == Dialect::Ollama),
                };
                if streams {
                    conn.stream(dialect.stream_content_type()).await;
                    for piece in bytes.chunks(100) {
                        conn.chunk(piece).await;
                    }
                    conn.end().await;
                } else {
                    conn.answer(200, &[("content-type", "application/json")], speech::reply(dialect).as_bytes()).await;
                }
            }
        }
    })
    .await
}

/// The row that a request leaves behind.
async fn row(listener: &mut Listener) -> Arc<UsageRow> {
    loop {
        let Next::Event(event) = within("the next event", listener.next()).await else { panic!("nothing is lost") };
        if let What::RequestEnd(row) = &event.what
            && row.is_final()
        {
            return row.clone();
        }
    }
}

#[tokio::test]
async fn every_program_before_every_dialect() {
    for dialect in Dialect::ALL {
        let upstream = upstream(dialect, speech::stream(dialect).bytes()).await;
        for ide in ALL {
            let (addr, shared) = stand(ide.tool(), provider("up", dialect, &upstream), true);
            let mut listener = shared.feed.listen(None);
            let answer = ide.ask(addr, ides::MODEL).await;
            let what = format!("{ide:?} before {dialect:?}: {}", answer.text());
            assert_eq!(answer.status, 200, "{what}");
            assert!(answer.complete, "{what}");
            assert!(answer.header("content-type").unwrap().starts_with(ide.content_type()), "{what}");
            let end = Some(ide.ends().0.to_owned());
            // Cursor is not told what it costs.
            let usage = (ide != Ide::Cursor).then_some((11, 3));
            let expected = Heard { text: speech::TEXT.into(), end, usage, ..Heard::default() };
            assert_eq!(ide.heard(&answer), expected, "{what}");
            // The program's own name of the model, not ours and not the provider's.
            assert!(!answer.text().contains("model-1"), "{what}");
            match ide.tool() {
                "kiro" => assert_eq!(answer.header("x-amzn-requestid").unwrap().len(), 36),
                "copilot" => assert_eq!(answer.header("x-request-id"), Some("echo-me")),
                _ => {}
            }
            let asked = upstream.asked().pop().unwrap();
            let sent = format!("{:?} {}", asked.head, String::from_utf8_lossy(&asked.body));
            assert!(sent.contains("Say hello"), "{what} {sent}");
            for own in ["SECRET", "x-initiator", "x-amzn", "vscode", ides::MODEL] {
                assert!(!sent.replace("automatic", "").contains(own), "{what}: {own} in {sent}");
            }
            let row = row(&mut listener).await;
            assert_eq!(row.client.as_deref(), Some(ide.tool()));
            assert_eq!((row.status, row.provider.as_deref(), row.model.as_deref()), (200, Some("up"), Some("model-1")));
            assert_eq!((row.tokens_in, row.tokens_out, row.bytes_out as usize), (11, 3, answer.body.len()));
        }
    }
}

/// Thinking, words and two calls, as a stream of `dialect`.
fn turn(dialect: Dialect) -> Vec<u8> {
    let context = Context { include_usage: true, new_id: "abcdefgh12345678".into(), ..Context::default() };
    let mut encoder = dialect.stream_encoder(&context);
    let mut serial = dialect.wants_serial_parts().then(Serial::default);
    let mut out = BytesMut::new();
    let mut write = |event: Event<'_>| match &mut serial {
        Some(serial) => serial.event(event, &mut |event| encoder.event(&event, &mut out)),
        None => encoder.event(&event, &mut out),
    };
    let delta = |part, field, text| Event::Delta { part, field, text: Text::Plain(text) };
    let tool = |id, name| Open::Tool {
        id: Text::Plain(id),
        name: Text::Plain(name),
        kind: ToolKind::Function,
        signature: None,
    };
    for event in [
        Event::Start { id: Text::Plain("x1"), model: Text::Plain("model-1"), created: None, usage: None },
        Event::Part { part: 0, open: Open::Thinking },
        delta(0, Field::Think, "let me "),
        delta(0, Field::Think, "see\n"),
        Event::Stop { part: 0 },
        Event::Part { part: 1, open: Open::Text },
        delta(1, Field::Text, "I \"look\" 🚀"),
        Event::Stop { part: 1 },
        Event::Part { part: 2, open: tool("call_1", "read_file") },
        delta(2, Field::Args, "{\"path\":"),
        delta(2, Field::Args, "\"é\\\"\"}"),
        Event::Stop { part: 2 },
        Event::Part { part: 3, open: tool("call_2", "list") },
        delta(3, Field::Args, "{}"),
        Event::Stop { part: 3 },
        Event::Usage(Usage { uncached: 11, output: 3, ..Usage::default() }),
        Event::Finish(Finish::Tool),
        Event::End,
    ] {
        write(event);
    }
    out.to_vec()
}

#[tokio::test]
async fn thinking_and_streamed_calls() {
    for dialect in Dialect::ALL {
        let upstream = upstream(dialect, turn(dialect)).await;
        for ide in [Ide::Antigravity, Ide::AntigravityArray, Ide::CopilotChat, Ide::Cursor, Ide::Kiro] {
            let (addr, _) = stand(ide.tool(), provider("up", dialect, &upstream), true);
            let answer = ide.ask(addr, ides::MODEL).await;
            let expected = Heard {
                text: "I \"look\" 🚀".into(),
                thinking: "let me see\n".into(),
                calls: vec![("read_file".into(), json!({"path": "é\""})), ("list".into(), json!({}))],
                end: Some(if ide == Ide::CopilotChat { "tool_calls" } else { ide.ends().1 }.to_owned()),
                usage: (ide != Ide::Cursor).then_some((11, 3)),
                error: None,
            };
            let heard = if ide == Ide::CopilotChat { ides::copilot(&answer.text()) } else { ide.heard(&answer) };
            assert_eq!(heard, expected, "{ide:?} before {dialect:?}: {}", answer.text());
        }
    }
}

#[tokio::test]
async fn what_breaks_off_behind_its_beginning_is_an_error_in_the_programs_form() {
    for dialect in Dialect::ALL {
        let spoken = speech::stream(dialect);
        let begun = spoken.prologue.concat() + &spoken.content.concat();
        let failed = begun.clone() + &speech::overload_event(dialect);
        for (bytes, message) in [(failed, "overloaded, try later"), (begun, "ended before")] {
            let upstream = upstream(dialect, bytes.into_bytes()).await;
            for ide in ALL.into_iter().filter(|ide| *ide != Ide::AntigravityDocument) {
                let (addr, _) = stand(ide.tool(), provider("up", dialect, &upstream), true);
                let answer = ide.ask(addr, ides::MODEL).await;
                let heard = ide.heard(&answer);
                let what = format!("{ide:?} before {dialect:?}: {heard:?}");
                assert_eq!(answer.status, 200, "{what}");
                assert!(heard.error.as_deref().is_some_and(|error| error.contains(message)), "{what}");
                assert_eq!((heard.text.as_str(), heard.end), (speech::TEXT, None), "{what}");
            }
        }
    }
}

#[tokio::test]
async fn the_next_candidate_answers_before_the_vendor_does() {
    let bad = Upstream::always(
        429,
        &[("content-type", "application/json")],
        speech::error_body(Dialect::OpenAiChat, "slow down"),
    )
    .await;
    let good = upstream(Dialect::Anthropic, speech::stream(Dialect::Anthropic).bytes()).await;
    let config = provider("up", Dialect::OpenAiChat, &bad)
        + &provider("other", Dialect::Anthropic, &good)
        + "[aliases]\nboth = [\"up/m\", \"other/m\"]\n";
    let (addr, shared) = stand("kiro", config, true);
    let mut listener = shared.feed.listen(None);
    let answer = Ide::Kiro.ask(addr, "to:both").await;
    assert_eq!(answer.header("x-flow-router-attempts"), Some("2"));
    let row = row(&mut listener).await;
    assert_eq!((row.attempts, row.provider.as_deref()), (2, Some("other")));
}

#[tokio::test]
async fn what_nobody_here_can_answer_goes_back_as_it_came() {
    let error = speech::error_body(Dialect::Anthropic, "no credit");
    let upstream = Upstream::always(401, &[("content-type", "application/json")], error).await;
    let config = provider("up", Dialect::Anthropic, &upstream).replace("\"*\"", "\"model-1\"");
    for ide in ALL {
        let (addr, shared) = stand(ide.tool(), config.clone(), true);
        for (model, why) in [("mine", "unmapped mine"), ("to:none/such", "nobody "), (ides::MODEL, "failed no credit")]
        {
            let answer = ide.ask(addr, model).await;
            let what = format!("{ide:?} {model}: {}", answer.text());
            assert_eq!(answer.status, 418, "{what}");
            assert!(answer.header("x-why").unwrap().starts_with(why), "{what} {:?}", answer.head);
            assert_eq!(answer.body, ide.body(model), "{what}");
            // Host and length besides those that `ask` sends: the credentials are the vendor's and stay.
            assert_eq!((answer.header("x-headers"), answer.header("x-target")), (Some("8"), Some(&*ide.target(model))));
        }
        let text = shared.metrics.render();
        assert!(text.contains("flow_router_in_flight 0"), "{text}");
    }
}

#[tokio::test]
async fn a_body_that_is_no_chat_goes_back() {
    let upstream = upstream(Dialect::Anthropic, speech::stream(Dialect::Anthropic).bytes()).await;
    let (addr, _) = stand("kiro", provider("up", Dialect::Anthropic, &upstream), true);
    for ide in ALL {
        for body in ["", "{", "[1]", "\0\0\0\x10binary", r#"{"model":1,"conversationState":{},"request":7}"#] {
            if ide.public() == Some(Dialect::Gemini) && body.starts_with("{\"model") {
                continue;
            }
            let answer = Client::once(addr, "POST", &ide.target("auto"), &[], body.as_bytes()).await;
            assert_eq!((answer.status, answer.text().as_str()), (418, body), "{ide:?}");
            assert!(answer.header("x-why").unwrap().starts_with("unreadable "), "{ide:?} {body}: {:?}", answer.head);
        }
    }
    assert_eq!(upstream.asked().len(), 0);
}

#[tokio::test]
async fn a_packed_body_is_read_and_goes_back_packed() {
    use std::io::Write as _;
    let upstream = upstream(Dialect::Gemini, speech::stream(Dialect::Gemini).bytes()).await;
    let (addr, _) = stand("antigravity", provider("up", Dialect::Gemini, &upstream), true);
    let packed = |model: &str| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&Ide::Antigravity.body(model)).unwrap();
        gzip.finish().unwrap()
    };
    let fields = [("content-encoding", "gzip")];
    let target = Ide::Antigravity.target("");
    let answer = Client::once(addr, "POST", &target, &fields, &packed(ides::MODEL)).await;
    assert_eq!(Ide::Antigravity.heard(&answer).text, speech::TEXT);
    let answer = Client::once(addr, "POST", &target, &fields, &packed("mine")).await;
    assert_eq!((answer.status, answer.body), (418, packed("mine")));
}

#[tokio::test]
async fn without_the_vendor_the_program_is_told_in_its_own_words() {
    for (status, logged_out) in [(401, true), (403, true), (402, true), (404, true), (429, false), (500, false)] {
        let error = speech::error_body(Dialect::OpenAiChat, "it says no");
        let upstream = Upstream::always(status, &[("content-type", "application/json")], error).await;
        for ide in ALL {
            let (addr, _) = stand(ide.tool(), provider("up", Dialect::OpenAiChat, &upstream), false);
            let answer = ide.ask(addr, ides::MODEL).await;
            let what = format!("{ide:?} {status}: {} {}", answer.status, answer.text());
            if ide == Ide::Cursor {
                // Its clients read no body behind another status.
                assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/connect+proto")));
                assert!(answer.text().contains("it says no"), "{what}");
                continue;
            }
            assert!(!matches!(answer.status, 200..=399 | 401 | 402 | 403 | 404), "{what}");
            assert_eq!(logged_out || status == 500, answer.status >= 500, "{what}");
            let body = answer.json();
            let message = match (ide, ide.public()) {
                (_, Some(dialect)) => speech::error_of(dialect, &body),
                (Ide::Kiro, None) => {
                    assert_eq!(answer.header("content-type"), Some("application/x-amz-json-1.0"));
                    assert_eq!(answer.header("x-amzn-errortype"), body["__type"].as_str());
                    body["message"].as_str().unwrap().to_owned()
                }
                (_, None) => speech::error_of(Dialect::Gemini, &body),
            };
            assert!(message.contains("it says no"), "{what}");
        }
    }
}

#[tokio::test]
async fn cursor_is_answered_while_its_own_side_stays_open() {
    let upstream = upstream(Dialect::Anthropic, speech::stream(Dialect::Anthropic).bytes()).await;
    let (addr, _) = stand("cursor", provider("up", Dialect::Anthropic, &upstream), true);
    let body = Ide::Cursor.body(ides::MODEL);
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n",
        Ide::Cursor.target(""),
        body.len()
    );
    let mut client = Client::connect(addr).await;
    // One chunk, and no end of the body.
    client.send([head.as_bytes(), &body, b"\r\n"].concat()).await;
    assert_eq!(client.head().await.0, 200);
    client.until("{}").await;
}

#[tokio::test]
async fn an_agents_turn_with_tools_is_the_vendors() {
    let upstream = upstream(Dialect::Anthropic, speech::stream(Dialect::Anthropic).bytes()).await;
    let (addr, _) = stand("cursor", provider("up", Dialect::Anthropic, &upstream), true);
    let run = |mode: u64| {
        let mut message = Vec::new();
        MessageWriter::new(&mut message).message(1, |w| {
            w.message(2, |w| {
                w.message(1, |w| {
                    w.message(1, |w| {
                        w.text(1, "Say hello").varint(4, mode);
                    });
                });
            });
            w.message(9, |w| {
                w.text(1, ides::MODEL);
            });
        });
        let mut out = BytesMut::new();
        write_envelope(false, &mut out, |out| out.extend_from_slice(&message));
        out.to_vec()
    };
    let ask = async |mode| Client::once(addr, "POST", Rpc::Agent.path(), &[], &run(mode)).await;
    let (agent, asked) = (ask(1).await, ask(2).await);
    assert_eq!((agent.status, &agent.body), (418, &run(1)));
    assert!(agent.header("x-why").unwrap().starts_with("unsupported "));
    assert_eq!(asked.status, 200);
    assert!(asked.text().contains("Hello") && asked.text().ends_with("{}"), "{}", asked.text());
}

#[tokio::test]
async fn completion_while_one_types_is_the_vendors() {
    let upstream = upstream(Dialect::Gemini, speech::stream(Dialect::Gemini).bytes()).await;
    let (addr, _) = stand("antigravity", provider("up", Dialect::Gemini, &upstream), true);
    let target = Ide::Antigravity.target(ides::MODEL);
    for (purpose, status) in [("tab", 418), ("tab_jump", 418), ("agent", 200), ("checkpoint", 200)] {
        let body = Ide::Antigravity.json(ides::MODEL).replace("\"agent\"", &format!("{purpose:?}"));
        let answer = Client::once(addr, "POST", &target, &[], body.as_bytes()).await;
        assert_eq!(answer.status, status, "{purpose}: {}", answer.text());
        if status == 418 {
            assert_eq!(
                (answer.header("x-why"), &*answer.text()),
                (Some("unsupported completion while one types"), &*body)
            );
        }
    }
    assert_eq!(upstream.asked().len(), 2);
}

#[tokio::test]
async fn a_program_that_leaves_ends_the_upstreams_stream() {
    let (left, mut gone) = tokio::sync::mpsc::channel(1);
    let spoken = speech::stream(Dialect::Anthropic);
    let begun = (spoken.prologue.concat() + &spoken.content[0]).into_bytes();
    let upstream = Upstream::start(move |mut conn| {
        let (left, begun) = (left.clone(), begun.clone());
        async move {
            conn.asked().await.unwrap();
            conn.stream("text/event-stream").await;
            conn.chunk(&begun).await;
            conn.closed().await;
            left.send(()).await.unwrap();
        }
    })
    .await;
    let (addr, shared) = stand("kiro", provider("up", Dialect::Anthropic, &upstream), true);
    let mut listener = shared.feed.listen(None);
    let mut client = Client::connect(addr).await;
    client.request("POST", &Ide::Kiro.target(""), &[], &Ide::Kiro.body(ides::MODEL)).await;
    assert_eq!(client.head().await.0, 200);
    client.until("Hello").await;
    drop(client);
    within("the upstream's end", gone.recv()).await.unwrap();
    assert_eq!(row(&mut listener).await.outcome, flow_router::store::usage::Outcome::ClientGone);
}

/// What an upstream does in a case: all of it is what it streams.
#[derive(Debug, Clone, Copy)]
enum Story {
    Text,
    Turn,
    Error,
    Cut,
}

impl Story {
    fn bytes(self, dialect: Dialect) -> Vec<u8> {
        let spoken = speech::stream(dialect);
        let begun = spoken.prologue.concat() + &spoken.content.concat();
        match self {
            Self::Text => spoken.bytes(),
            Self::Turn => turn(dialect),
            Self::Error => (begun + &speech::overload_event(dialect)).into_bytes(),
            Self::Cut => begun.into_bytes(),
        }
    }

    /// Compares with what a program of `programs.py` has heard.
    #[track_caller]
    fn check(self, heard: &Value, what: &str) {
        let calls = json!([["read_file", {"path": "é\""}], ["list", {}]]);
        let (text, thinking, calls) = match self {
            Self::Turn => ("I \"look\" 🚀", "let me see\n", calls),
            _ => (speech::TEXT, "", json!([])),
        };
        let error = heard["error"].as_str().unwrap_or_default();
        match self {
            Self::Text | Self::Turn => {
                let all = json!({"text": text, "thinking": thinking, "calls": calls, "usage": [11, 3], "ended": true, "error": null});
                assert_eq!(*heard, all, "{what}");
            }
            Self::Error => assert!(error.contains("overloaded, try later"), "{what}: {heard}"),
            Self::Cut => assert!(error.contains("ended before"), "{what}: {heard}"),
        }
        if let Self::Error | Self::Cut = self {
            assert_eq!((&heard["text"], &heard["ended"]), (&json!(text), &json!(false)), "{what}: {heard}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn libraries_that_are_not_ours_read_the_same() {
    let programs = [
        ("antigravity", Ide::Antigravity),
        ("copilot_chat", Ide::CopilotChat),
        ("copilot_messages", Ide::CopilotMessages),
        ("copilot_responses", Ide::CopilotResponses),
        ("kiro", Ide::Kiro),
    ];
    let (mut cases, mut told, mut upstreams) = (Vec::new(), Vec::new(), Vec::new());
    for dialect in Dialect::ALL {
        for story in [Story::Text, Story::Turn, Story::Error, Story::Cut] {
            let upstream = upstream(dialect, story.bytes(dialect)).await;
            let (addr, _) = stand("copilot", provider("up", dialect, &upstream), true);
            upstreams.push(upstream);
            for (name, ide) in programs {
                let target = if name.starts_with("copilot") { String::new() } else { ide.target(ides::MODEL) };
                let url = format!("http://{addr}{target}");
                cases.push(json!({"ide": name, "url": url, "body": ide.json(ides::MODEL), "model": ides::MODEL}));
                told.push((story, format!("{name} before {dialect:?}, {story:?}")));
            }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("cases.json");
    std::fs::write(&file, Value::Array(cases).to_string()).unwrap();
    let suite = move || {
        support::peers::run_suite("intercept", "intercept/run.sh", &["python3"], |run| {
            run.stdin(std::fs::File::open(&file).unwrap());
        })
    };
    let Some(output) = tokio::task::spawn_blocking(suite).await.unwrap() else { return };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    if let Some(skipped) = text.lines().find(|line| line.starts_with("SKIPPED:")) {
        return support::peers::say(&format!("intercept: {skipped}"));
    }
    let heard: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(heard.len(), told.len());
    for (heard, (story, what)) in heard.iter().zip(&told) {
        story.check(heard, what);
    }
    support::peers::say(&format!("intercept: {} answers were read by the programs' own libraries", told.len()));
}
