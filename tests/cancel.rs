//! A client that leaves takes its upstream request along at once, and one that reads slowly slows its upstream down.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use codecs::dialect::Dialect;
use support::{
    Client, PATIENCE, Router, Upstream,
    leaving::{Phase, Told, assert_soon, stuck},
    router::provider,
    speech, within,
};
use tokio::{
    io::AsyncReadExt,
    sync::{Semaphore, mpsc},
};

/// Has a client leave in `phase` and returns how long the upstream takes to see it.
async fn time_to_close(dialect: Dialect, client_dialect: Dialect, phase: Phase) -> Duration {
    let (tell, mut told) = mpsc::unbounded_channel();
    let (config, _upstream) = stuck(dialect, phase, tell).await;
    let router = Router::start(&config);
    let mut client = Client::connect(router.addr).await;
    let request = speech::request(client_dialect, "m", true);
    client.request("POST", &speech::path(client_dialect, "m", true), &[], request.as_bytes()).await;
    assert_eq!(within("the upstream", told.recv()).await, Some(Told::Reached));
    if phase == Phase::MidStream {
        client.head().await;
        client.until("Hello").await;
    }
    let left = Instant::now();
    drop(client);
    match within("the upstream's end", told.recv()).await {
        Some(Told::Closed(at)) => at.saturating_duration_since(left),
        other => panic!("{other:?}"),
    }
}

async fn cancels(phase: Phase) {
    for (upstream, client) in [
        (Dialect::OpenAiChat, Dialect::OpenAiChat),
        (Dialect::Anthropic, Dialect::OpenAiChat),
        (Dialect::OpenAiResponses, Dialect::Gemini),
    ] {
        assert_soon(&format!("{client:?} from {upstream:?} {phase:?}"), || time_to_close(upstream, client, phase))
            .await;
    }
}

#[tokio::test]
async fn while_connecting() {
    cancels(Phase::Connecting).await;
}

#[tokio::test]
async fn while_waiting_for_headers() {
    cancels(Phase::WaitingForHeaders).await;
}

#[tokio::test]
async fn before_the_first_token() {
    cancels(Phase::BeforeTheFirstToken).await;
}

#[tokio::test]
async fn mid_stream() {
    cancels(Phase::MidStream).await;
}

#[tokio::test]
async fn a_half_closed_client_counts_as_gone_and_is_booked_so() {
    let upstream = Upstream::start(|mut conn| async move {
        conn.asked().await.unwrap();
        conn.closed().await;
    })
    .await;
    let router = Router::start(&provider("a", Dialect::OpenAiChat, &upstream));
    let mut client = Client::connect(router.addr).await;
    let request = speech::request(Dialect::OpenAiChat, "m", false);
    client.request("POST", "/v1/chat/completions", &[], request.as_bytes()).await;
    let mut io = client.into_io();
    tokio::io::AsyncWriteExt::shutdown(&mut io).await.unwrap();
    let mut rest = Vec::new();
    within("the gateway's close", io.read_to_end(&mut rest)).await.unwrap();
    let metrics = Client::metrics(router.addr, "outcome=\"gone\"} 1").await;
    assert!(metrics.contains("flow_router_in_flight 0"), "{metrics}");
}

/// Bytes that a slow client may leave in flight: the sockets' own buffers on both legs, and little of ours.
const IN_FLIGHT: usize = 48 << 20;

#[tokio::test]
async fn a_slow_client_slows_its_upstream() {
    for client_dialect in [Dialect::OpenAiChat, Dialect::Anthropic] {
        let written = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let (count, stop) = (written.clone(), Arc::new(Semaphore::new(0)));
        let (tell, mut told) = mpsc::unbounded_channel();
        let stopped = stop.clone();
        let upstream = Upstream::start(move |mut conn| {
            let (count, stopped, tell) = (count.clone(), stopped.clone(), tell.clone());
            async move {
                use std::sync::atomic::Ordering::SeqCst;
                conn.asked().await.unwrap();
                let spoken = speech::stream(Dialect::OpenAiChat);
                let block = spoken.content[0].replace("Hello", &"x".repeat(64 * 1024));
                conn.stream("text/event-stream").await;
                conn.chunk(spoken.prologue.concat()).await;
                let mut waited = false;
                while stopped.available_permits() == 0 && count.load(SeqCst) < 4 * IN_FLIGHT {
                    // A write that takes this long is held up by somebody who does not read.
                    let writing = conn.chunk(&block);
                    tokio::pin!(writing);
                    if !waited && tokio::time::timeout(Duration::from_secs(1), &mut writing).await.is_err() {
                        waited = true;
                        tell.send(()).unwrap();
                        assert!(writing.await);
                    } else if waited {
                        assert!(writing.await);
                    }
                    count.fetch_add(block.len(), SeqCst);
                }
                for block in &spoken.end {
                    conn.chunk(block).await;
                }
                conn.end().await;
                conn.closed().await;
            }
        })
        .await;
        let router = Router::start(&provider("a", Dialect::OpenAiChat, &upstream));
        let before = resident_bytes(router.pid());
        let mut client = Client::connect(router.addr).await;
        let request = speech::request(client_dialect, "m", true);
        client.request("POST", &speech::path(client_dialect, "m", true), &[], request.as_bytes()).await;
        client.head().await;
        within("the upstream's write to block", told.recv()).await.unwrap();
        let in_flight = written.load(std::sync::atomic::Ordering::SeqCst);
        assert!(in_flight < IN_FLIGHT, "{in_flight} bytes are on their way");
        if let (Some(before), Some(after)) = (before, resident_bytes(router.pid())) {
            let grown = after.saturating_sub(before);
            assert!(grown < 16 << 20, "{client_dialect:?}: memory grew by {grown} bytes");
        }
        // It reads on, and nothing was lost.
        stop.add_permits(1);
        let (body, complete) = tokio::time::timeout(PATIENCE * 3, client.rest()).await.unwrap();
        assert!(complete);
        let heard = speech::heard(client_dialect, &String::from_utf8(body).unwrap());
        assert!(heard.ended, "{client_dialect:?}");
        assert!(heard.text.len() >= in_flight / 65_800 * 65_536, "{} of {in_flight}", heard.text.len());
    }
}

/// Resident memory of a process, where the system tells.
fn resident_bytes(pid: u32) -> Option<usize> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse::<usize>().ok().map(|kib| kib * 1024)
}
