//! What a request costs in counts that no machine can change, so that they cannot grow unseen: system calls and
//! allocations in steady state.
//!
//! System calls: the real program on one core, under `strace`. Where that is not installed or may not trace, the test says
//! so and is skipped. Allocations: a gateway on the test's own thread, whose allocations are counted; client and upstream
//! are other threads. Two runs of different length are subtracted, so that the beginning does not count.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    fmt::Write as _,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use flow_router::{
    gateway::{Gateway, Shared, Snapshot},
    runtime,
    settings::{self, Sources},
    store::usage::Queue,
};
use proxy::{Client, ClientConfig, Limits, Server, Timeouts, listen};

/// Most allocations of a small request that is forwarded, without its usage row.
const REQUEST_ALLOCATIONS: u64 = 20;

const DOCUMENT: &str = r#"{"id":"c1","object":"chat.completion","created":1700000000,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hello there."},"finish_reason":"stop"}],"usage":{"prompt_tokens":12,"completion_tokens":3,"total_tokens":15}}"#;

fn event(n: usize) -> String {
    format!(
        "data: {{\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"word {n:04} \"}},\"finish_reason\":null}}]}}\n\n"
    )
}

const END: &str = "data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

/// A request for a document, or for a stream.
fn request(stream: bool) -> String {
    let body = format!(r#"{{"model":"m","stream":{stream},"messages":[{{"role":"user","content":"Say something"}}]}}"#);
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n";
    format!("{head}user-agent: curl/8\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// Reads until the bytes end in `end`.
fn read_until(io: &mut TcpStream, end: &str) -> Vec<u8> {
    let (mut read, mut buffer) = (Vec::new(), [0; 4096]);
    while !read.ends_with(end.as_bytes()) {
        let n = io.read(&mut buffer).unwrap();
        assert!(n > 0, "closed behind {}", String::from_utf8_lossy(&read));
        read.extend_from_slice(&buffer[..n]);
    }
    read
}

/// An upstream on one connection after the other: a document, or as many events as `events` says, each when the client has
/// told `seen` of the one before it.
fn upstream(listener: TcpListener, events: usize, seen: mpsc::Receiver<()>) {
    thread::spawn(move || {
        while let Ok((mut io, _)) = listener.accept() {
            io.set_nodelay(true).unwrap();
            let mut buffer = [0; 4096];
            // Requests are small: one read each.
            while io.read(&mut buffer).is_ok_and(|n| n > 0) {
                if events == 0 {
                    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ";
                    write!(io, "{head}{}\r\n\r\n{DOCUMENT}", DOCUMENT.len()).unwrap();
                    continue;
                }
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
                io.write_all(head.as_bytes()).unwrap();
                for n in 0..events {
                    let event = event(n);
                    io.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).unwrap();
                    if seen.recv().is_err() {
                        return;
                    }
                }
                io.write_all(format!("{:x}\r\n{END}\r\n0\r\n\r\n", END.len()).as_bytes()).unwrap();
            }
        }
    });
}

/// A client that asks `requests` times for a document.
fn ask_documents(io: &mut TcpStream, requests: usize) {
    for _ in 0..requests {
        io.write_all(request(false).as_bytes()).unwrap();
        read_until(io, DOCUMENT);
    }
}

/// A client that reads one stream of `events` events.
fn read_stream(io: &mut TcpStream, events: usize, seen: &mpsc::Sender<()>) {
    io.write_all(request(true).as_bytes()).unwrap();
    for n in 0..events {
        read_until(io, &format!("{}\r\n", event(n)));
        seen.send(()).unwrap();
    }
    read_until(io, "0\r\n\r\n");
}

/// Allocations of a gateway that answers `requests` requests for documents, or one stream of `events` events.
fn allocations(requests: usize, events: usize) -> u64 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut file = String::from("[providers.p]\ndialect = \"openai_chat\"\nmodels = [\"*\"]\napi_key = \"key\"\n");
    writeln!(file, "base_url = \"http://{}/v1\"", listener.local_addr().unwrap()).unwrap();
    let (tell, seen) = mpsc::channel();
    upstream(listener, events, seen);
    let sources = Sources { file: Some((PathBuf::from("test.toml"), file)), ..Sources::default() };
    let snapshot = Snapshot::new(settings::load(&sources).unwrap(), Arc::default(), None);
    let shared = Arc::new(Shared::new(snapshot, Queue::closed(), 0));
    let lane = runtime::lane(1).unwrap();
    let (listener, addr) = lane.block_on(async {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0)), false).unwrap();
        let addr = listener.local_addr().unwrap();
        (listener, addr)
    });
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let client = thread::spawn(move || {
        let mut io = TcpStream::connect(addr).unwrap();
        io.set_nodelay(true).unwrap();
        match events {
            0 => ask_documents(&mut io, requests),
            _ => read_stream(&mut io, events, &tell),
        }
        drop(stop);
    });
    let counted = allocation_counter::measure(|| {
        lane.block_on(async {
            let gateway = Arc::new(Gateway::new(shared, Client::new(ClientConfig::default()).unwrap()));
            let server = Server::new(Limits::default(), Timeouts::default());
            server.serve(listener, gateway, async { drop(stopped.await) }, Duration::ZERO).await;
        });
    });
    client.join().unwrap();
    counted.count_total
}

#[test]
fn a_small_request_allocates_no_more_than_is_said() {
    let (few, many) = (allocations(100, 0), allocations(300, 0));
    let each = (many - few) / 200;
    println!("{each} allocations per small request");
    assert!(each <= REQUEST_ALLOCATIONS, "{each} allocations per small request");
}

#[test]
fn a_forwarded_event_allocates_nothing() {
    let (few, many) = (allocations(0, 100), allocations(0, 500));
    // Buffers grow and shrink a few times in a stream's life.
    let hundred = many.saturating_sub(few) / 4;
    println!("{hundred} allocations per hundred forwarded events");
    assert!(hundred <= 5, "{hundred} allocations per hundred forwarded events");
}

#[cfg(target_os = "linux")]
mod system_calls {
    use std::{fs, path::Path, process::Command};

    use codecs::dialect::Dialect;
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    use super::*;
    use crate::support::{
        peers,
        router::{self, Router},
    };

    /// System calls of the lane so far. The program's first thread is its lane on one core; it is the first in the log.
    fn calls(log: &Path) -> usize {
        let log = fs::read_to_string(log).unwrap();
        let lane = log.split_whitespace().next().unwrap_or_default();
        log.lines().filter(|line| line.split_whitespace().next() == Some(lane) && !line.contains(" resumed>")).count()
    }

    /// The program on one core, watched; `None` if that cannot be.
    fn watched(upstream: SocketAddr) -> Option<(Router, PathBuf)> {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("strace");
        let works = Command::new("strace").args(["-f", "-o"]).arg(&log).arg("true").status();
        if !works.is_ok_and(|status| status.success()) {
            peers::say("SKIPPED: strace is not installed, or may not trace");
            return None;
        }
        let mut one = CpuSet::new();
        let mine = sched_getaffinity(None).unwrap();
        one.set((0..CpuSet::MAX_CPU).find(|cpu| mine.is_set(*cpu)).unwrap());
        sched_setaffinity(None, &one).unwrap();
        // `-D`: the program is our child, and strace lives beside it.
        let mut command = Command::new("strace");
        command.args(["-D", "-f", "-o"]).arg(&log).arg(env!("CARGO_BIN_EXE_flow-router"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", dir.path()).env("FLOW_ROUTER_DATA_DIR", dir.path().join("data"));
        let config = router::provider_at("up", Dialect::OpenAiChat, &format!("http://{upstream}"));
        let router = Router::start_as(command, dir, &config, &[]);
        sched_setaffinity(None, &mine).unwrap();
        Some((router, log))
    }

    #[test]
    fn a_small_request_is_six_calls() {
        const REQUESTS: usize = 100;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let Some((router, log)) = watched(listener.local_addr().unwrap()) else { return };
        upstream(listener, 0, mpsc::channel().1);
        let mut io = TcpStream::connect(router.addr).unwrap();
        io.set_nodelay(true).unwrap();
        ask_documents(&mut io, 20);
        let before = calls(&log);
        ask_documents(&mut io, REQUESTS);
        let calls = calls(&log) - before;
        println!("{calls} system calls for {REQUESTS} small requests");
        // Read, write, wait on either side. Now and then a writer is woken, or the wait is for a timer.
        assert!(calls <= REQUESTS * 6 + REQUESTS / 4, "{calls} system calls for {REQUESTS} small requests");
    }

    #[test]
    fn a_forwarded_event_is_two_calls_and_a_wait() {
        const EVENTS: usize = 100;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let Some((router, log)) = watched(listener.local_addr().unwrap()) else { return };
        let (tell, seen) = mpsc::channel();
        upstream(listener, EVENTS, seen);
        let mut io = TcpStream::connect(router.addr).unwrap();
        io.set_nodelay(true).unwrap();
        // The first one has a connection to make, and the program its start to end.
        read_stream(&mut io, EVENTS, &tell);
        let before = calls(&log);
        read_stream(&mut io, EVENTS, &tell);
        let calls = calls(&log) - before;
        println!("{calls} system calls for a stream of {EVENTS} events");
        assert!(calls <= EVENTS * 3 + EVENTS / 4, "{calls} system calls for a stream of {EVENTS} events");
    }
}
