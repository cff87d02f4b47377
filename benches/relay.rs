//! The relay through real sockets: a scripted upstream, the gateway and a raw client in one process, over loopback.
//!
//! Every case runs twice: `direct`, the client at the upstream, which is the floor that the sockets and the scripts set;
//! and `relayed`, through the gateway. Upstream and client share one thread, the gateway's lane has one of its own.
//!
//! Three ways in which a stream arrives: `step`, each event once the client has the one before (latency, every event
//! has its own read and write all the way); `burst`, one write per event as fast as the sockets take them; `joined`, all
//! events in one write.
#![allow(clippy::unwrap_used)]

use std::{
    fmt::Write as _,
    future::Future,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime};
use flow_router::{
    gateway::{Gateway, Shared, Snapshot},
    runtime,
    settings::{self, Sources},
    store::usage::Queue,
};
use proxy::{Client, ClientConfig, Limits, Server, Timeouts, listen};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
    sync::{Semaphore, oneshot},
};

/// The program's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Events with text in one streamed answer.
const EVENTS: usize = 200;
/// The end of a chunked body.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// A dialect of both sides' scripts.
#[derive(Clone, Copy)]
enum Dialect {
    OpenAi,
    Anthropic,
}

impl Dialect {
    fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai_chat",
            Self::Anthropic => "anthropic",
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::OpenAi => "/v1/chat/completions",
            Self::Anthropic => "/v1/messages",
        }
    }

    /// The events of an answer, each a block that a client can show. What has no text of its own stands with the first
    /// and the last one: in step there is nobody who would ask for what comes behind it.
    fn events(self) -> Vec<String> {
        let mut events: Vec<String> = (0..EVENTS).map(|n| self.delta(&format!("word {n} and "))).collect();
        let (start, end) = match self {
            Self::OpenAi => {
                (openai(r#"{"role":"assistant","content":""}"#, "null"), openai("{}", r#""stop""#) + "data: [DONE]\n\n")
            }
            Self::Anthropic => (
                anthropic(
                    "message_start",
                    r#","message":{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":11,"output_tokens":1}}"#,
                ) + &anthropic("content_block_start", r#","index":0,"content_block":{"type":"text","text":""}"#),
                anthropic("content_block_stop", r#","index":0"#)
                    + &anthropic(
                        "message_delta",
                        r#","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":3}"#,
                    )
                    + &anthropic("message_stop", ""),
            ),
        };
        events[0].insert_str(0, &start);
        events[EVENTS - 1].push_str(&end);
        events
    }

    fn delta(self, text: &str) -> String {
        match self {
            Self::OpenAi => openai(&format!(r#"{{"content":"{text}"}}"#), "null"),
            Self::Anthropic => anthropic(
                "content_block_delta",
                &format!(r#","index":0,"delta":{{"type":"text_delta","text":"{text}"}}"#),
            ),
        }
    }
}

fn openai(delta: &str, finish: &str) -> String {
    format!(
        "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"m\",\
         \"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n"
    )
}

fn anthropic(name: &str, rest: &str) -> String {
    format!("event: {name}\ndata: {{\"type\":\"{name}\"{rest}}}\n\n")
}

const DOCUMENT: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hello there"},"finish_reason":"stop"}],"usage":{"prompt_tokens":11,"completion_tokens":3,"total_tokens":14}}"#;

/// What the upstream writes for every request: each piece in one write.
struct Script {
    pieces: Vec<Vec<u8>>,
    /// In step: a permit for each piece that the client has seen.
    seen: Option<Arc<Semaphore>>,
}

/// How a stream arrives.
#[derive(Clone, Copy, PartialEq)]
enum Pace {
    Step,
    Burst,
    Joined,
}

impl Script {
    fn stream(dialect: Dialect, pace: Pace) -> Self {
        let mut pieces = vec![];
        for event in dialect.events() {
            pieces.push(format!("{:x}\r\n{event}\r\n", event.len()).into_bytes());
        }
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        pieces[0].splice(0..0, head.bytes());
        pieces[EVENTS - 1].extend_from_slice(LAST_CHUNK);
        if pace == Pace::Joined {
            pieces = vec![pieces.concat()];
        }
        Self { pieces, seen: (pace == Pace::Step).then(|| Arc::new(Semaphore::new(0))) }
    }

    fn document() -> Self {
        let length = DOCUMENT.len();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n");
        Self { pieces: vec![(head + DOCUMENT).into_bytes()], seen: None }
    }
}

/// Answers every request on every connection by the script.
async fn upstream(listener: TcpListener, script: Arc<Script>) {
    while let Ok((mut io, _)) = listener.accept().await {
        io.set_nodelay(true).unwrap();
        let script = script.clone();
        tokio::spawn(async move {
            let mut asked = Vec::with_capacity(4096);
            while request(&mut io, &mut asked).await {
                for (n, piece) in script.pieces.iter().enumerate() {
                    if let Some(seen) = script.seen.as_ref().filter(|_| n > 0) {
                        seen.acquire().await.unwrap().forget();
                    }
                    if io.write_all(piece).await.is_err() {
                        return;
                    }
                }
            }
        });
    }
}

/// Reads one request with a length; false when there is no more.
async fn request(io: &mut TcpStream, asked: &mut Vec<u8>) -> bool {
    asked.clear();
    loop {
        if !matches!(io.read_buf(asked).await, Ok(n) if n > 0) {
            return false;
        }
        if length(asked).is_some_and(|length| asked.len() >= length) {
            return true;
        }
    }
}

/// Length of a message that has its head whole and names the length of its body.
fn length(message: &[u8]) -> Option<usize> {
    let head = memchr::memmem::find(message, b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&message[..head]).unwrap();
    let value = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
    });
    value.map(|value| head + value)
}

/// A lane as the program has it on one core.
struct Router {
    addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    lane: Option<JoinHandle<()>>,
}

impl Router {
    fn start(upstream: SocketAddr, dialect: Dialect) -> Self {
        let mut file = String::new();
        writeln!(file, "[providers.p]\ndialect = \"{}\"\nmodels = [\"*\"]", dialect.name()).unwrap();
        writeln!(file, "base_url = \"http://{upstream}/v1\"\napi_key = \"k\"").unwrap();
        let sources = Sources { file: Some((PathBuf::from("bench.toml"), file)), ..Sources::default() };
        let settings = settings::load(&sources).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let (tell, told) = mpsc::channel();
        let lane = std::thread::spawn(move || {
            let lane = runtime::lane(1).unwrap();
            lane.block_on(async {
                let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0)), false).unwrap();
                tell.send(listener.local_addr().unwrap()).unwrap();
                let client = Client::new(ClientConfig::default()).unwrap();
                // Usage rows are made and thrown away, as they are while no store can be opened.
                let snapshot = Snapshot::new(settings, Arc::default(), None);
                let gateway = Arc::new(Gateway::new(Arc::new(Shared::new(snapshot, Queue::closed(), 0)), client));
                let server = Server::new(Limits::default(), Timeouts::default());
                server.serve(listener, gateway, async { drop(stopped.await) }, Duration::ZERO).await;
            });
        });
        Self { addr: told.recv().unwrap(), stop: Some(stop), lane: Some(lane) }
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        drop(self.stop.take());
        drop(self.lane.take().map(JoinHandle::join));
    }
}

/// A client that keeps its connection, reads answers to their end and looks at nothing.
struct Raw {
    io: TcpStream,
    request: Vec<u8>,
    answer: Vec<u8>,
    streams: bool,
    seen: Option<Arc<Semaphore>>,
}

impl Raw {
    async fn connect(addr: SocketAddr, dialect: Dialect, streams: bool, script: &Script) -> Self {
        let io = TcpStream::connect(addr).await.unwrap();
        io.set_nodelay(true).unwrap();
        let body = format!(
            r#"{{"model":"m","stream":{streams},"max_tokens":1024,"messages":[{{"role":"user","content":"Say something"}}]}}"#
        );
        let head = format!("POST {} HTTP/1.1\r\nhost: {addr}\r\ncontent-type: application/json\r\n", dialect.path());
        let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len()).into_bytes();
        Self { io, request, answer: Vec::with_capacity(256 * 1024), streams, seen: script.seen.clone() }
    }

    /// One request and its whole answer.
    async fn exchange(&mut self) {
        if let Some(seen) = &self.seen {
            // A piece that came in two reads was counted twice.
            seen.forget_permits(seen.available_permits());
        }
        self.io.write_all(&self.request).await.unwrap();
        self.answer.clear();
        loop {
            let read = self.io.read_buf(&mut self.answer).await.unwrap();
            assert!(read > 0, "closed behind {}", String::from_utf8_lossy(&self.answer));
            let over = match self.streams {
                true => self.answer.ends_with(LAST_CHUNK),
                false => length(&self.answer).is_some_and(|length| self.answer.len() >= length),
            };
            if over {
                return;
            }
            if let Some(seen) = &self.seen {
                seen.add_permits(1);
            }
        }
    }

    /// Whether the last answer is what it should be: a bench of error messages would be fast.
    fn check(&self) {
        let text = String::from_utf8_lossy(&self.answer);
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        let words = if self.streams { memchr::memmem::find_iter(&self.answer, b"word ").count() } else { EVENTS };
        assert_eq!(words, EVENTS, "{text}");
    }
}

/// The load's thread.
fn load() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Measures a client of dialect `asked` in front of an upstream that speaks `spoken`.
fn compare(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    asked: Dialect,
    spoken: Dialect,
    make: impl Fn() -> Script,
) {
    for relayed in [false, true] {
        let load = load();
        let script = Arc::new(make());
        let streams = script.pieces[0].windows(12).any(|window| window == b"event-stream");
        group.throughput(Throughput::Elements(if streams { EVENTS as u64 } else { 1 }));
        let (mut client, _router) = load.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut addr = listener.local_addr().unwrap();
            tokio::spawn(upstream(listener, script.clone()));
            let router = relayed.then(|| Router::start(addr, spoken));
            addr = router.as_ref().map_or(addr, |router| router.addr);
            let asked = if relayed { asked } else { spoken };
            let mut client = Raw::connect(addr, asked, streams, &script).await;
            client.exchange().await;
            client.check();
            (client, router)
        });
        let id = format!("{name}/{}", if relayed { "relayed" } else { "direct" });
        group.bench_function(id, |b| b.iter(|| run(&load, client.exchange())));
        client.check();
    }
}

fn run(load: &Runtime, exchange: impl Future<Output = ()>) {
    load.block_on(exchange);
}

fn relay(c: &mut Criterion) {
    let mut group = c.benchmark_group("relay");
    for (name, pace) in [("step", Pace::Step), ("burst", Pace::Burst), ("joined", Pace::Joined)] {
        for (way, spoken) in [("forwarded", Dialect::OpenAi), ("translated", Dialect::Anthropic)] {
            let name = format!("{way} stream, {name}");
            compare(&mut group, &name, Dialect::OpenAi, spoken, || Script::stream(spoken, pace));
        }
    }
    compare(&mut group, "forwarded document", Dialect::OpenAi, Dialect::OpenAi, Script::document);
    group.finish();
}

criterion_group!(benches, relay);
criterion_main!(benches);
