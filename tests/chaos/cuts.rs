//! Upstreams that break off, miscount, or give a connection up.

use std::sync::Arc;

use codecs::dialect::Dialect;
use flow_router::store::usage::Outcome;
use tokio::io::AsyncReadExt;

use crate::{
    content::FAULT,
    support::{Conn, Upstream, router::provider, speech, wire},
    view::{View, finish},
    world::{Ask, PAIRS, World, good_bytes, model_of, stream_head},
};

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// RST.
    Reset,
    /// FIN, as after a process that died.
    Close,
}

/// The number behind the last hyphen of a model's name.
fn number(model: &str) -> usize {
    model.rsplit('-').next().unwrap().parse().unwrap()
}

/// An upstream that writes as many bytes of `answer` as the model's name says, and breaks off.
async fn breaks_off(answer: Vec<u8>, cut: Cut) -> Upstream {
    let answer: Arc<[u8]> = answer.into();
    Upstream::start(move |mut conn| {
        let answer = answer.clone();
        async move {
            let Some(asked) = conn.asked().await else { return };
            conn.write(&answer[..number(&model_of(&asked))]).await;
            if cut == Cut::Reset {
                conn.reset();
            }
        }
    })
    .await
}

/// Where in a good stream on the wire the first word and the terminal event are complete.
fn landmarks(dialect: Dialect, raw: &[u8]) -> (usize, usize) {
    let spoken = speech::stream(dialect);
    let behind = |event: &str| {
        let event = event.trim_end();
        raw.windows(event.len()).rposition(|window| window == event.as_bytes()).unwrap() + event.len()
    };
    let terminal = spoken.end.last().unwrap();
    // Gemini has no terminal event: more may follow until the body ends.
    let end = if dialect == Dialect::Gemini { raw.len() } else { behind(terminal) };
    (behind(&spoken.content[0]), end)
}

async fn every_byte(cut: Cut, stride: usize) {
    let mut upstreams = Vec::new();
    let (mut config, mut asks) = (String::new(), Vec::new());
    for (n, (client, dialect)) in PAIRS.into_iter().enumerate() {
        for stream in [false, true] {
            let raw = good_bytes(dialect, stream);
            let name = format!("u{n}{}", if stream { "s" } else { "d" });
            // Every byte where dialects differ least in their wires and most in their meaning would take minutes in all
            // of them: the first forwarded and the first translated pair have every one, the others each a residue.
            let (first, step) = if stride == 1 && [0, 5].contains(&n) { (0, 1) } else { (n, stride.max(7)) };
            for at in (first..=raw.len()).step_by(step) {
                asks.push((Ask::new(client, stream, format!("{name}/{name}-{at}")), dialect, raw.clone(), at));
            }
            let upstream = breaks_off(raw, cut).await;
            config += &provider(&name, dialect, &upstream);
            upstreams.push(upstream);
        }
    }
    let world = World::start(&config, &[]).await;
    let views = world.views(16, asks.iter().map(|(ask, ..)| ask)).await;
    for ((ask, dialect, raw, at), view) in asks.iter().zip(&views) {
        let what = format!("{ask:?} from {dialect:?}, {at} of {} bytes", raw.len());
        if !ask.stream {
            match view {
                View::Whole => assert_eq!(*at, raw.len(), "{what}"),
                View::Refused { status, why } => {
                    assert!(*at < raw.len() && FAULT.contains(status), "{what} {status} {why}");
                }
                View::Broken { .. } => panic!("{what} {view:?}"),
            }
            continue;
        }
        let (word, end) = landmarks(*dialect, raw);
        match view {
            View::Refused { status, why } => {
                assert!(*at < word + 4 && FAULT.contains(status), "{what} {status} {why}");
            }
            View::Broken { said, .. } => {
                assert!(*at >= word && *at <= end + 2, "{what} {view:?}");
                assert!(!said.is_empty(), "{what}");
            }
            View::Whole => assert!(*at >= end.min(raw.len() - 7), "{what}"),
        }
    }
    let rows = world.over().await;
    asks.iter().zip(&views).for_each(|((ask, ..), view)| rows.agree(ask, view));
}

#[tokio::test]
async fn a_reset_at_any_byte() {
    every_byte(Cut::Reset, 1).await;
}

#[tokio::test]
async fn a_close_at_any_byte() {
    every_byte(Cut::Close, 11).await;
}

/// An answer without a length ends with its connection: what is missing shows in the answer itself only.
#[tokio::test]
async fn a_close_is_no_proof_of_an_end() {
    let (mut config, mut asks, mut upstreams) = (String::new(), Vec::new(), Vec::new());
    for (n, (client, dialect)) in PAIRS.into_iter().enumerate() {
        for stream in [false, true] {
            let (content_type, body) = match stream {
                true => (dialect.stream_content_type(), speech::stream(dialect).bytes()),
                false => ("application/json", speech::reply(dialect).as_bytes().to_vec()),
            };
            let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\n\r\n");
            let raw = [head.as_bytes(), &body].concat();
            let name = format!("u{n}{stream}");
            // The place from which on nothing is missing: a document's end, and what says that a stream is over.
            let end = match finish(dialect) {
                _ if !stream => raw.len(),
                Some(reason) => raw.windows(reason.len()).position(|window| window == reason.as_bytes()).unwrap(),
                None => landmarks(dialect, &raw).1,
            };
            for at in (head.len()..raw.len()).step_by(13).chain([raw.len()]) {
                asks.push((Ask::new(client, stream, format!("{name}/{name}-{at}")), at >= end, at == raw.len()));
            }
            let upstream = breaks_off(raw, Cut::Close).await;
            config += &provider(&name, dialect, &upstream);
            upstreams.push(upstream);
        }
    }
    let world = World::start(&config, &[]).await;
    let views = world.views(16, asks.iter().map(|(ask, ..)| ask)).await;
    for ((ask, may_be_whole, whole), view) in asks.iter().zip(&views) {
        // In between an event may be whole or not.
        assert!(if *view == View::Whole { *may_be_whole } else { !whole }, "{ask:?} {view:?}");
    }
    let rows = world.over().await;
    asks.iter().zip(&views).for_each(|((ask, ..), view)| rows.agree(ask, view));
}

/// An upstream that says what `script` makes of the model's name.
async fn says(script: fn(&str, Dialect) -> Vec<u8>, dialect: Dialect, close: bool) -> Upstream {
    Upstream::start(move |mut conn| async move {
        while let Some(asked) = conn.asked().await {
            let model = model_of(&asked);
            conn.write(script(model.split('-').next().unwrap(), dialect)).await;
            if close {
                return;
            }
        }
    })
    .await
}

/// Good answers with lengths that are wrong: `few` and `many` bytes are announced.
fn miscounted(model: &str, dialect: Dialect) -> Vec<u8> {
    let (kind, by) = model.split_at(4);
    let by: usize = by[1..].parse().unwrap();
    let stream = model.as_bytes()[4] == b's';
    let (content_type, body) = match stream {
        true => (dialect.stream_content_type(), speech::stream(dialect).bytes()),
        false => ("application/json", speech::reply(dialect).as_bytes().to_vec()),
    };
    let length = if kind == "less" { body.len() - by } else { body.len() + by };
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n");
    [head.as_bytes(), &body].concat()
}

#[tokio::test]
async fn a_wrong_length() {
    let (mut config, mut asks, mut upstreams) = (String::new(), Vec::new(), Vec::new());
    for (n, (client, dialect)) in PAIRS.into_iter().enumerate() {
        for stream in [false, true] {
            for close in [false, true] {
                let kinds: &[&str] = if close { &["less", "more"] } else { &["less"] };
                let name = format!("u{n}{stream}{close}");
                for kind in kinds {
                    for by in [1, 40, 200] {
                        let model = format!("{name}/{kind}{}{by}-{name}", if stream { "s" } else { "d" });
                        asks.push((Ask::new(client, stream, model), *kind, by));
                    }
                }
                let upstream = says(miscounted, dialect, close).await;
                config += &provider(&name, dialect, &upstream);
                upstreams.push(upstream);
            }
        }
    }
    let world = World::start(&config, &[]).await;
    let mut views = Vec::new();
    for (ask, kind, by) in &asks {
        let view = ask.view(world.addr()).await;
        match (&view, ask.stream) {
            // The terminal event was there: whatever is counted behind it is nothing to the client.
            (View::Whole, true) => assert!(*kind == "more" || *by < 200, "{ask:?}"),
            (View::Refused { status, .. }, false) => assert!(FAULT.contains(status), "{ask:?}"),
            // Gemini has no terminal event: only its length says that something is missing.
            (View::Broken { .. }, true) => assert!(*kind == "less" || ask.client == Dialect::Gemini, "{ask:?}"),
            _ => panic!("{ask:?} {view:?}"),
        }
        views.push(view);
    }
    let rows = world.over().await;
    asks.iter().zip(&views).for_each(|((ask, ..), view)| rows.agree(ask, view));
    // What lay behind a counted body was never taken for the beginning of another: no connection was used twice.
    let (asked, connections) = upstreams.iter().fold((0, 0), |(asked, connections), upstream| {
        (asked + upstream.asked().len(), connections + upstream.connections())
    });
    assert_eq!((asked, connections), (asks.len(), asks.len()));
}

/// What becomes of a pooled connection under its second request.
async fn gives_up(mut conn: Conn) {
    let dialect = Dialect::OpenAiChat;
    let Some(first) = conn.asked().await else { return };
    let model = model_of(&first);
    match model.split('-').next().unwrap() {
        // A second request came on a new connection: these fail there too.
        "again" => return,
        "unread" => {
            conn.write(good_bytes(dialect, false)).await;
            // It closes over the request, unread: the system answers with a reset.
            conn.io.readable().await.unwrap();
            return conn.reset();
        }
        _ => conn.write(good_bytes(dialect, false)).await,
    };
    let Some(second) = conn.asked().await else { return };
    match model_of(&second).split('-').next().unwrap() {
        "fin" | "again" => {}
        "rst" => conn.reset(),
        "byte" => drop(conn.write("H").await),
        "head" => drop(conn.write("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n").await),
        "body" => {
            let good = good_bytes(dialect, false);
            conn.write(&good[..good.len() - 1]).await;
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_pooled_connection_that_is_given_up() {
    let upstream = Upstream::start(gives_up).await;
    let world = World::start(&provider("a", Dialect::OpenAiChat, &upstream), &[]).await;
    // Sent again, once: the peer cannot have meant to answer. Not sent again: it had begun to.
    let cases = [
        ("fin", View::Whole, 2),
        ("rst", View::Whole, 2),
        ("unread", View::Whole, 1),
        ("byte", refused(), 1),
        ("head", refused(), 1),
        ("body", refused(), 1),
        ("again", refused(), 2),
    ];
    let mut asks = Vec::new();
    let kept = world.quiet(0).await.idle();
    for (kind, expected, times) in cases {
        let open = if kind == "unread" { "unread-open" } else { &*format!("open-{kind}") };
        let open = Ask::new(Dialect::OpenAiChat, false, format!("a/{open}"));
        // Its connection is the youngest in the pool, so that the next request takes it.
        assert_eq!(open.view(world.addr()).await, View::Whole);
        let (before, connections) = (upstream.asked().len(), upstream.connections());
        let ask = Ask::new(Dialect::OpenAiChat, false, format!("a/{kind}-it"));
        let view = ask.view(world.addr()).await;
        match (&view, &expected) {
            (View::Refused { status, .. }, View::Refused { .. }) if FAULT.contains(status) => {}
            (View::Whole, View::Whole) => {}
            _ => panic!("{kind}: {view:?}"),
        }
        assert_eq!(upstream.asked().len() - before, times, "{kind}");
        let opened = upstream.connections() - connections;
        assert_eq!(opened, usize::from(times == 2 || kind == "unread"), "{kind}");
        asks.push((ask, view));
        // The connections that were opened for it, and left good, must not be met by the next case.
        drain_pool(&world, kept).await;
    }
    let rows = world.over().await;
    asks.iter().for_each(|(ask, view)| rows.agree(ask, view));
}

fn refused() -> View {
    View::Refused { status: 502, why: String::new() }
}

/// Has the pooled connections end that came after the first `kept`: each is asked something that it closes under.
async fn drain_pool(world: &World, kept: usize) {
    let mut n = 0;
    while world.quiet(0).await.idle() > kept {
        Ask::new(Dialect::OpenAiChat, false, format!("a/head-drain{n}")).view(world.addr()).await;
        n += 1;
        assert!(n < 10, "the pool does not drain");
    }
}

/// What an upstream says or does to a connection that waits in the pool is met by no request.
#[tokio::test]
async fn what_happens_to_a_connection_in_the_pool() {
    let dialect = Dialect::OpenAiChat;
    for kind in ["fin", "rst", "smuggled"] {
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let upstream = Upstream::start(move |mut conn| {
            let tell = tell.clone();
            async move {
                while let Some(asked) = conn.asked().await {
                    conn.write(good_bytes(dialect, false)).await;
                    if !model_of(&asked).starts_with("first") {
                        continue;
                    }
                    match kind {
                        "fin" => drop(conn.io),
                        "rst" => conn.reset(),
                        _ => {
                            let body = speech::reply(dialect).replace(speech::TEXT, "of another");
                            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ";
                            // Behind the answer, in a write of its own: some of it may be there before the pool has it.
                            conn.write(format!("{head}{}\r\n\r\n{body}", body.len())).await;
                            tell.send(()).unwrap();
                            conn.closed().await;
                            return;
                        }
                    }
                    return tell.send(()).unwrap();
                }
            }
        })
        .await;
        let world = World::start(&provider("a", dialect, &upstream), &[]).await;
        let mut asks = Vec::new();
        for n in 0..20 {
            for name in ["first", "second"] {
                let ask = Ask::new(dialect, false, format!("a/{name}-{n}"));
                assert_eq!(ask.view(world.addr()).await, View::Whole, "{kind} {n} {name}");
                asks.push(ask);
                if name == "first" {
                    crate::support::within("the fault", told.recv()).await.unwrap();
                }
            }
        }
        // `second` finds a good connection of its predecessor, or opens one; never the one that was spoilt.
        assert_eq!(upstream.asked().len(), asks.len(), "{kind}: something was asked twice");
        let rows = world.over().await;
        asks.iter().for_each(|ask| rows.agree(ask, &View::Whole));
    }
}

/// An answer that begins before its request was written, and a connection that is closed at once.
#[tokio::test]
async fn an_early_answer_to_a_large_request() {
    let dialect = Dialect::OpenAiChat;
    let upstream = Upstream::start(move |mut conn| async move {
        let mut some = [0; 1024];
        assert!(conn.io.read(&mut some).await.unwrap() > 0);
        let body = speech::error_body(dialect, "too large for us");
        let head =
            "HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: ";
        conn.write(format!("{head}{}\r\n\r\n{body}", body.len())).await;
        conn.io.set_zero_linger().unwrap();
    })
    .await;
    let world = World::start(&provider("a", dialect, &upstream), &[]).await;
    let ask = Ask::new(dialect, false, "a/large");
    let (path, body) = ask.wire();
    let body = body.replace("Say hello", &"x".repeat(8 << 20));
    let answer = crate::support::Client::post(world.addr(), &path, body).await;
    // A reset may overtake the answer: then it is a failure of the provider, and never a success.
    assert!([413, 502].contains(&answer.status), "{} {}", answer.status, answer.text());
    let rows = world.over().await;
    let row = rows.one("large");
    assert!(matches!(row.outcome, Outcome::ClientError | Outcome::UpstreamError) && row.status == answer.status);
}

/// A chunked stream whose framing breaks behind its first word.
#[tokio::test]
async fn a_broken_chunk() {
    let (mut config, mut asks, mut upstreams) = (String::new(), Vec::new(), Vec::new());
    let faults = ["zz\r\n", "ffffffffffffffffff\r\n", "-1\r\n", "5\r\nhelloXX", "\r\n", "0\r\n: no\u{0}\r\n\r\n"];
    for (n, (client, dialect)) in PAIRS.into_iter().enumerate() {
        let upstream = Upstream::start(move |mut conn| async move {
            while let Some(asked) = conn.asked().await {
                let spoken = speech::stream(dialect);
                conn.write(stream_head(dialect)).await;
                conn.chunk(spoken.prologue.concat() + &spoken.content[0]).await;
                conn.write(faults[number(&model_of(&asked))]).await;
                conn.write(wire::chunk(&spoken.end.concat().into_bytes())).await;
                conn.closed().await;
            }
        })
        .await;
        config += &provider(&format!("u{n}"), dialect, &upstream);
        upstreams.push(upstream);
        asks.extend((0..faults.len()).map(|fault| Ask::new(client, true, format!("u{n}/u{n}-{fault}"))));
    }
    let world = World::start(&config, &[]).await;
    let views = world.views(8, &asks).await;
    for (ask, view) in asks.iter().zip(&views) {
        assert!(!view.broken().is_empty(), "{ask:?}");
    }
    let rows = world.over().await;
    asks.iter().zip(&views).for_each(|(ask, view)| rows.agree(ask, view));
}
