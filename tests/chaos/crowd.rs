//! Very many connections that do nothing, and more of them than there may be.

use std::{fs, time::Duration};

use codecs::dialect::Dialect;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    support::{Client, within},
    view::View,
    world::{Ask, Gauges, World},
};

/// Connections to open where the system allows.
const CROWD: usize = 10_000;
/// Descriptors left for everything else.
const SPARE: usize = 1_000;

/// How many descriptors a process may open.
fn descriptors(of: &str) -> usize {
    let limits = fs::read_to_string(format!("/proc/{of}/limits")).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(3).unwrap().parse().unwrap_or(usize::MAX)
}

/// Opens connections, a hundred at a time so that the backlog never overflows.
async fn open(addr: std::net::SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut crowd = Vec::with_capacity(count);
    while crowd.len() < count {
        let batch = (count - crowd.len()).min(100);
        let connects: Vec<_> = (0..batch).map(|_| tokio::spawn(TcpStream::connect(addr))).collect();
        for connect in connects {
            crowd.push(within("connecting", connect).await.unwrap().unwrap());
        }
    }
    crowd
}

/// What each may cost in resident memory while nothing was heard of it. Without optimisation futures are larger.
const SITTING_BYTES: usize = if cfg!(debug_assertions) { 24 * 1024 } else { 12 * 1024 };

#[tokio::test]
async fn ten_thousand_connections_that_sit() {
    let world = World::start("", &[]).await.may_grow(64 << 20);
    let allowed = descriptors("self").min(descriptors(&world.router.pid().to_string())) - SPARE;
    let count = CROWD.min(allowed);
    if count < CROWD {
        eprintln!("only {count} connections: the limit of descriptors is {}", allowed + SPARE);
    }
    let crowd = open(world.addr(), count).await;
    let gauges = world.quiet(count).await;
    assert_eq!(gauges.get("flow_router_accept_failures_total{lane=\"0\"}"), 0);
    let grown = world.grown();
    assert!(grown < count * SITTING_BYTES, "{} bytes each", grown / count);
    // Everybody else is served as before.
    for _ in 0..5 {
        world.serves().await;
    }
    // Each of them is still good for a request; ask one.
    let mut crowd = crowd;
    let mut last = crowd.pop().unwrap();
    drop(crowd);
    last.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    within("the answer", last.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    drop(last);
    world.over().await;
}

#[tokio::test]
async fn connections_that_sit_are_closed_in_the_end() {
    let world = World::start("client_idle_timeout = \"500ms\"\n", &[]).await;
    let crowd = open(world.addr(), 200).await;
    for mut io in crowd {
        let mut rest = Vec::new();
        within("the close", io.read_to_end(&mut rest)).await.unwrap();
        assert!(rest.is_empty(), "nobody asked, and something was answered");
    }
    world.over().await;
}

/// Above the cap clients wait in the system's backlog; whoever leaves makes room for the next.
#[tokio::test]
async fn more_connections_than_there_may_be() {
    const CAP: usize = 32;
    let world = World::start(&format!("max_connections = {CAP}\n"), &[]).await;
    let addr = world.addr();
    world.quiet(0).await;
    let crowd = open(addr, CAP + 50).await;
    let ask = Ask::new(Dialect::OpenAiChat, true, "good/waits");
    let (path, body) = ask.wire();
    let mut waiting = Client::connect(addr).await;
    waiting.request("POST", &path, &[], body.as_bytes()).await;
    // Nothing is answered as long as all of them sit.
    let mut io = waiting.into_io();
    let mut answer = [0; 12];
    let early = tokio::time::timeout(Duration::from_millis(300), io.read_exact(&mut answer)).await;
    assert!(early.is_err(), "the cap does not hold");
    drop(crowd);
    within("the answer", io.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    drop(io);
    let gauges = Gauges::of(addr).await;
    assert!(gauges.get("flow_router_client_connections_full_total{lane=\"0\"}") > 0);
    assert_eq!(ask.view(addr).await, View::Whole);
    world.over().await;
}

/// A crowd that takes every descriptor that the system gives us: nobody else can be served, nothing breaks, and when it
/// leaves everything is as before.
#[tokio::test]
async fn more_connections_than_there_are_descriptors() {
    const DESCRIPTORS: usize = 128;
    let world = World::start_with("", &[], Some(DESCRIPTORS)).await;
    let addr = world.addr();
    let mut crowd = open(addr, DESCRIPTORS + 50).await;
    // Some were accepted, and one of these asks: there is no descriptor for a connection to its provider, unless one is
    // kept in the pool.
    let ask = Ask::new(Dialect::OpenAiChat, true, "good/first");
    let (path, body) = ask.wire();
    let first = &mut crowd[0];
    let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
    first.write_all((head + &body).as_bytes()).await.unwrap();
    let mut answer = [0; 9];
    within("the answer", first.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 ");
    // Its processor has better things to do than to try again and again.
    let before = ticks(world.router.pid());
    let silence = tokio::time::timeout(Duration::from_secs(1), crowd[DESCRIPTORS + 49].read_u8()).await;
    assert!(silence.is_err(), "it was closed or answered");
    assert!(ticks(world.router.pid()) - before < 30, "it is busy with failing");
    drop(crowd);
    let gauges = world.quiet(0).await;
    assert!(gauges.get("flow_router_accept_failures_total{lane=\"0\"}") > 0);
    world.over().await;
}

/// Time on a processor so far, in hundredths of a second.
fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
