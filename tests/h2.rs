//! Clients that speak HTTP/2 with prior knowledge: what they get is what HTTP/1 clients get, many at once on one
//! connection, and whoever resets a stream takes its upstream request along.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use codecs::dialect::Dialect;
use support::{
    PATIENCE, Router, Upstream,
    client::Answer,
    h2::H2,
    leaving::{Phase, Told, assert_soon, stuck},
    peers::{has_curl_with_http2, say},
    router::provider,
    speech, within,
};
use tokio::sync::{Barrier, Semaphore, mpsc};

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];
/// Clients and upstreams: forwarded, and translated both ways.
const PAIRS: [(Dialect, Dialect); 4] = [
    (Dialect::OpenAiChat, Dialect::OpenAiChat),
    (Dialect::Anthropic, Dialect::Anthropic),
    (Dialect::OpenAiChat, Dialect::Anthropic),
    (Dialect::Anthropic, Dialect::OpenAiChat),
];

/// Answers documents and streams, as it is asked.
async fn upstream(dialect: Dialect) -> Upstream {
    Upstream::start(move |mut conn| async move {
        while let Some(asked) = conn.asked().await {
            if asked.json()["stream"] != true {
                conn.answer(200, JSON, speech::reply(dialect)).await;
                continue;
            }
            conn.stream(dialect.stream_content_type()).await;
            for block in speech::stream(dialect).blocks() {
                conn.chunk(block).await;
            }
            conn.end().await;
        }
    })
    .await
}

/// The fields of HTTP/1 connections must not be there.
fn assert_framing(answer: &Answer) {
    for name in ["connection", "transfer-encoding", "keep-alive"] {
        assert_eq!(answer.header(name), None, "{:?}", answer.head);
    }
    assert!(answer.complete);
}

#[tokio::test]
async fn chat_in_two_dialects_streamed_and_not() {
    for (client, spoken) in PAIRS {
        let upstream = upstream(spoken).await;
        let router = Router::start(&provider("a", spoken, &upstream));
        let mut h2 = H2::connect(router.addr).await;
        let answer = h2.once("POST", &speech::path(client, "m", false), speech::request(client, "m", false)).await;
        assert_framing(&answer);
        assert_eq!(answer.status, 200, "{client:?} from {spoken:?}: {}", answer.text());
        assert_eq!(answer.header("content-length"), Some(answer.body.len().to_string().as_str()));
        assert_eq!(answer.header("x-flow-router-provider"), Some("a"));
        if client == spoken {
            assert_eq!(answer.text(), speech::reply(spoken));
        }
        assert_eq!(speech::text_of(client, &answer.json()), speech::TEXT);
        assert_eq!(speech::usage_of(client, &answer.json()), (11, 3));

        let answer = h2.once("POST", &speech::path(client, "m", true), speech::request(client, "m", true)).await;
        assert_framing(&answer);
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(client.stream_content_type())));
        if client == spoken {
            assert_eq!(answer.body, speech::stream(spoken).bytes());
        }
        let heard = speech::heard(client, &answer.text());
        assert!(heard.ended && heard.text == speech::TEXT, "{client:?} from {spoken:?}: {}", answer.text());
        // What reaches the provider is HTTP/1 with its own host, and our credential.
        for asked in upstream.asked() {
            assert_eq!(asked.head.get("host"), Some(upstream.addr.to_string().as_str()));
            assert_eq!(asked.head.get("content-length"), Some(asked.body.len().to_string().as_str()));
        }
    }
}

#[tokio::test]
async fn many_streams_share_a_connection_and_none_waits_for_another() {
    const STREAMS: usize = 100;
    for client in [Dialect::OpenAiChat, Dialect::Anthropic] {
        // Each upstream connection serves one stream and stops in its middle until all have come that far.
        let all = Arc::new(Barrier::new(STREAMS));
        let gate = all.clone();
        let upstream = Upstream::start(move |mut conn| {
            let gate = gate.clone();
            async move {
                let asked = conn.asked().await.unwrap();
                let number = asked.json()["messages"][0]["content"].as_str().unwrap().to_owned();
                let spoken = speech::stream(Dialect::OpenAiChat);
                conn.stream("text/event-stream").await;
                conn.chunk(spoken.prologue.concat() + &spoken.content[0].replace("Hello", &number)).await;
                gate.wait().await;
                conn.chunk(spoken.content[1].clone() + &spoken.end.concat()).await;
                conn.end().await;
            }
        })
        .await;
        let router = Router::start(&provider("a", Dialect::OpenAiChat, &upstream));
        let mut h2 = H2::connect(router.addr).await;
        let mut streams = Vec::new();
        for n in 0..STREAMS {
            let request = speech::request(client, "m", true).replace("Say hello", &format!("number {n}"));
            streams.push(h2.ask("POST", &speech::path(client, "m", true), &[], request.as_bytes()).await);
        }
        // They are read last to first: nobody's answer stands behind another's.
        for (n, stream) in streams.into_iter().enumerate().rev() {
            let answer = stream.answer().await;
            let heard = speech::heard(client, &answer.text());
            assert!(heard.ended && heard.text == format!("number {n} there"), "{client:?} {n}: {}", answer.text());
        }
        assert_eq!(upstream.connections(), STREAMS);
    }
}

#[tokio::test]
async fn errors_have_the_dialects_body() {
    let refusing = Upstream::always(401, JSON, speech::error_body(Dialect::OpenAiChat, "no such key")).await;
    let config = provider("a", Dialect::OpenAiChat, &refusing).replace("[\"*\"]", "[\"m\"]");
    let router = Router::start_with(&config, &["--max-body", "64KiB"]);
    let mut h2 = H2::connect(router.addr).await;
    for dialect in [Dialect::OpenAiChat, Dialect::Anthropic] {
        let good = speech::request(dialect, "m", true);
        let large = vec![b' '; 64 * 1024 + 1];
        for (body, status, word) in [
            (&b"{"[..], 400, "not valid JSON"),
            (br#"{"model":5}"#, 400, "string"),
            (speech::request(dialect, "gpt-99", true).as_bytes(), 404, "`gpt-99`"),
            (&large, 413, "65536 bytes"),
            (good.as_bytes(), 401, "no such key"),
        ] {
            let answer = h2.once("POST", &speech::path(dialect, "m", true), body).await;
            assert_framing(&answer);
            assert_eq!(answer.status, status, "{dialect:?}: {}", answer.text());
            let message = speech::error_of(dialect, &answer.json());
            assert!(message.contains(word), "{dialect:?}: `{word}` is not in `{message}`");
        }
    }
    let answer = h2.once("GET", "/v1/chat/completions", "").await;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    // All of that on one connection, which is none the worse for it.
    assert_eq!(h2.once("GET", "/healthz", "").await.text(), "ok\n");
}

#[tokio::test]
async fn a_stream_that_breaks_off_ends_with_an_error() {
    for client in [Dialect::OpenAiChat, Dialect::Anthropic] {
        let upstream = Upstream::start(|mut conn| async move {
            conn.asked().await.unwrap();
            let spoken = speech::stream(Dialect::Anthropic);
            conn.stream("text/event-stream").await;
            conn.chunk(spoken.prologue.concat() + &spoken.content[0]).await;
        })
        .await;
        let router = Router::start(&provider("a", Dialect::Anthropic, &upstream));
        let mut h2 = H2::connect(router.addr).await;
        let answer = h2.once("POST", &speech::path(client, "m", true), speech::request(client, "m", true)).await;
        let heard = speech::heard(client, &answer.text());
        assert!(!heard.ended && heard.error.is_some() && heard.text == "Hello", "{client:?}: {}", answer.text());
    }
}

#[tokio::test]
async fn curl_understands_us() {
    if !has_curl_with_http2() {
        return say("SKIPPED: curl with HTTP/2 is not installed");
    }
    let dialect = Dialect::OpenAiChat;
    let upstream = upstream(dialect).await;
    let router = Router::start(&provider("a", dialect, &upstream));
    for (target, body, status, expected) in [
        (
            speech::path(dialect, "m", false),
            speech::request(dialect, "m", false),
            200,
            speech::reply(dialect).to_owned(),
        ),
        (
            speech::path(dialect, "m", true),
            speech::request(dialect, "m", true),
            200,
            String::from_utf8(speech::stream(dialect).bytes()).unwrap(),
        ),
    ] {
        let url = format!("http://{}{target}", router.addr);
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--noproxy", "*", "--max-time", "20", "--http2-prior-knowledge"]);
        curl.args(["-w", "\n%{http_version} %{http_code}", "-d", &body, &url]);
        let output = tokio::task::spawn_blocking(move || curl.output()).await.unwrap().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text, format!("{expected}\n2 {status}"), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// How the client says so.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    /// RST_STREAM; the connection goes on.
    Reset,
    /// The connection is closed.
    Cut,
}

/// Has a client give up `streams` requests in `phase` and returns how long the upstream takes to see the last end.
async fn time_to_close(spoken: Dialect, client: Dialect, phase: Phase, way: Way, streams: usize) -> Duration {
    let (tell, mut told) = mpsc::unbounded_channel();
    let (config, _upstream) = stuck(spoken, phase, tell).await;
    let router = Router::start(&config);
    let mut h2 = H2::connect(router.addr).await;
    let request = speech::request(client, "m", true);
    let (mut waiting, mut coming) = (Vec::new(), Vec::new());
    for _ in 0..streams {
        let stream = h2.ask("POST", &speech::path(client, "m", true), &[], request.as_bytes()).await;
        if phase == Phase::MidStream {
            let mut stream = stream.head().await;
            stream.until("Hello").await;
            coming.push(stream);
        } else {
            waiting.push(stream);
        }
        // One dials at a time where the protocol is not known: only the first one gets as far as TLS.
        if phase != Phase::Connecting || waiting.len() == 1 {
            assert_eq!(within("the upstream", told.recv()).await, Some(Told::Reached));
        }
    }
    let left = Instant::now();
    match way {
        Way::Reset => {
            waiting.into_iter().for_each(support::h2::Stream::reset);
            coming.into_iter().for_each(support::h2::Coming::reset);
            // The connection itself is well.
            assert_eq!(h2.once("GET", "/healthz", "").await.status, 200);
        }
        Way::Cut => h2.cut(),
    }
    let reached = if phase == Phase::Connecting { 1 } else { streams };
    let mut last = left;
    for _ in 0..reached {
        match within("the upstream's end", told.recv()).await {
            Some(Told::Closed(at)) => last = last.max(at),
            other => panic!("{other:?}"),
        }
    }
    last.saturating_duration_since(left)
}

async fn cancels(phase: Phase, way: Way, streams: usize) {
    for (spoken, client) in [
        (Dialect::OpenAiChat, Dialect::OpenAiChat),
        (Dialect::Anthropic, Dialect::OpenAiChat),
        (Dialect::OpenAiResponses, Dialect::Anthropic),
    ] {
        let what = format!("{client:?} from {spoken:?} {phase:?} {way:?}");
        assert_soon(&what, || time_to_close(spoken, client, phase, way, streams)).await;
    }
}

#[tokio::test]
async fn a_reset_while_connecting() {
    cancels(Phase::Connecting, Way::Reset, 1).await;
}

#[tokio::test]
async fn a_reset_while_waiting_for_headers() {
    cancels(Phase::WaitingForHeaders, Way::Reset, 1).await;
}

#[tokio::test]
async fn a_reset_before_the_first_token() {
    cancels(Phase::BeforeTheFirstToken, Way::Reset, 1).await;
}

#[tokio::test]
async fn a_reset_mid_stream() {
    cancels(Phase::MidStream, Way::Reset, 1).await;
}

#[tokio::test]
async fn a_closed_connection_cancels_all_of_its_streams() {
    for phase in [Phase::Connecting, Phase::WaitingForHeaders, Phase::BeforeTheFirstToken, Phase::MidStream] {
        cancels(phase, Way::Cut, 8).await;
    }
}

#[tokio::test]
async fn a_reset_stream_leaves_its_neighbours_alone() {
    let go = Arc::new(Semaphore::new(0));
    let gate = go.clone();
    let upstream = Upstream::start(move |mut conn| {
        let gate = gate.clone();
        async move {
            conn.asked().await.unwrap();
            let spoken = speech::stream(Dialect::OpenAiChat);
            conn.stream("text/event-stream").await;
            conn.chunk(spoken.prologue.concat() + &spoken.content[0]).await;
            let _permit = gate.acquire().await.unwrap();
            conn.chunk(spoken.content[1].clone() + &spoken.end.concat()).await;
            conn.end().await;
        }
    })
    .await;
    let router = Router::start(&provider("a", Dialect::OpenAiChat, &upstream));
    let mut h2 = H2::connect(router.addr).await;
    let request = speech::request(Dialect::OpenAiChat, "m", true);
    let mut streams = Vec::new();
    for _ in 0..2 {
        let mut stream = h2.ask("POST", "/v1/chat/completions", &[], request.as_bytes()).await.head().await;
        stream.until("Hello").await;
        streams.push(stream);
    }
    streams.remove(0).reset();
    support::Client::metrics(router.addr, "outcome=\"gone\"} 1").await;
    go.add_permits(2);
    let (body, complete) = tokio::time::timeout(PATIENCE, streams[0].rest()).await.unwrap();
    let heard = speech::heard(Dialect::OpenAiChat, &String::from_utf8(body).unwrap());
    assert!(complete && heard.ended && heard.text == " there", "{heard:?}");
}
