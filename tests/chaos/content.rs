//! Upstreams that say nonsense, too much, too little, or nothing any more.

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use codecs::dialect::Dialect;
use flate2::{Compression, write::GzEncoder};
use flow_router::store::usage::Outcome;

use crate::{
    support::{Client, Upstream, router::provider, speech, wire},
    view::View,
    world::{Ask, PAIRS, SHORT, World, good_bytes, model_of, stream_head},
};

/// What a client sees when the provider is at fault: some dialects have one status for all of it.
pub(crate) const FAULT: [u16; 2] = [500, 502];

/// Limits within which an upstream that says nothing is given up.
fn short() -> String {
    let ms = SHORT.as_millis();
    format!("stall_timeout = \"{ms}ms\"\nfirst_byte_timeout = \"{ms}ms\"\n")
}

/// One provider per pair and form of answer, whose `script` may read what is asked for in the model's name.
async fn everywhere<F>(names: &[String], script: F) -> (String, Vec<Ask>, Vec<Upstream>)
where
    F: Fn(Dialect, bool, usize) -> Vec<Vec<u8>> + Copy + Send + Sync + 'static,
{
    let (mut config, mut asks, mut upstreams) = (String::new(), Vec::new(), Vec::new());
    for (n, (client, dialect)) in PAIRS.into_iter().enumerate() {
        for stream in [false, true] {
            let upstream = Upstream::start(move |mut conn| async move {
                while let Some(asked) = conn.asked().await {
                    let n = model_of(&asked).rsplit('-').next().unwrap().parse().unwrap();
                    for piece in script(dialect, stream, n) {
                        if !conn.write(piece).await {
                            return;
                        }
                    }
                }
            })
            .await;
            let name = format!("u{n}{stream}");
            config += &provider(&name, dialect, &upstream);
            upstreams.push(upstream);
            let of_pair = |at| Ask::new(client, stream, format!("{name}/{name}-{at}"));
            asks.extend((0..names.len()).map(of_pair));
        }
    }
    (config, asks, upstreams)
}

/// Bytes without a meaning, the same ones every time.
fn noise(seed: usize, length: usize) -> Vec<u8> {
    let mut state = (seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Instead of an answer.
fn garbage(n: usize) -> Vec<u8> {
    let json = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    let many = |line: fn(usize) -> String, times: usize| (0..times).map(line).collect::<String>();
    let text = match n {
        0..4 => return noise(n, 4_000 * n + 7),
        4 => "HTTP/1.1 999 Odd\r\ncontent-length: 0\r\n\r\n".to_owned(),
        5 => "HTTP/1.1 20 Short\r\ncontent-length: 0\r\n\r\n".to_owned(),
        6 => "HTTP/9.9 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned(),
        7 => format!("{json}content-length: -1\r\n\r\n"),
        8 => format!("{json}content-length: 5\r\ncontent-length: 6\r\n\r\nhello!"),
        9 => format!("{json}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        10 => format!("{json}transfer-encoding: gzip\r\n\r\nhello"),
        11 => format!("{json}x y: z\r\ncontent-length: 2\r\n\r\n{{}}"),
        12 => format!("{json}x: {}\r\ncontent-length: 2\r\n\r\n{{}}", "y".repeat(70_000)),
        13 => json.to_owned() + &many(|n| format!("x-{n}: y\r\n"), 120) + "content-length: 2\r\n\r\n{}",
        14 => many(|_| "HTTP/1.1 103 Early Hints\r\n\r\n".to_owned(), 20) + json + "content-length: 2\r\n\r\n{}",
        15 => "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n{}".to_owned(),
        16 => "<html><body>It works!</body></html>".to_owned(),
        17 => format!("{json}content-length: 0\r\n\r\n"),
        18 => format!("{json}content-length: 4\r\n\r\nnull"),
        19 => format!("{json}content-length: 6\r\n\r\n{{}} {{}} "),
        20 => "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 0\r\n\r\n".to_owned(),
        21 => "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
        22 => "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 11\r\n\r\ndata: \u{fffd}\n\n"
            .to_owned(),
        23 => format!("{json}content-encoding: br\r\ncontent-length: 2\r\n\r\n{{}}"),
        24 => format!("{json}content-encoding: gzip\r\ncontent-length: 2\r\n\r\n{{}}"),
        25 => format!("{json}content-length: 100000\r\n\r\n") + &"[".repeat(100_000),
        26 => "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n".to_owned(),
        _ => "HTTP/1.1 200 OK\nx\r: y\r\n\r\n".to_owned(),
    };
    text.into_bytes()
}
const GARBAGE: usize = 28;

#[tokio::test]
async fn garbage_instead_of_an_answer() {
    let names: Vec<_> = (0..GARBAGE).map(|n| n.to_string()).collect();
    // Noise that could be a head without an end would be waited for: the connection ends behind it.
    let (mut config, mut asks, mut upstreams) = (short(), Vec::new(), Vec::new());
    for (n, (client, dialect)) in PAIRS.into_iter().enumerate() {
        let upstream = Upstream::start(|mut conn| async move {
            let Some(asked) = conn.asked().await else { return };
            conn.write(garbage(model_of(&asked).rsplit('-').next().unwrap().parse().unwrap())).await;
        })
        .await;
        config += &provider(&format!("u{n}"), dialect, &upstream);
        upstreams.push(upstream);
        for stream in [false, true] {
            let of_pair = |at: usize| Ask::new(client, stream, format!("u{n}/u{n}{stream}-{at}"));
            asks.extend((0..names.len()).map(of_pair));
        }
    }
    let world = World::start(&config, &[]).await;
    let views = world.views(8, &asks).await;
    for (ask, view) in asks.iter().zip(&views) {
        let status = view.status();
        assert!(FAULT.contains(&status), "{ask:?} {view:?}");
    }
    let rows = world.over().await;
    asks.iter().zip(&views).for_each(|(ask, view)| rows.agree(ask, view));
}

/// Nonsense behind the first word of a stream.
fn nonsense(dialect: Dialect, _: bool, n: usize) -> Vec<Vec<u8>> {
    let spoken = speech::stream(dialect);
    let begun = spoken.prologue.concat() + &spoken.content[0];
    let (before, behind) = if dialect == Dialect::Ollama { ("", "\n") } else { ("data: ", "\n\n") };
    let event = |data: &[u8]| [before.as_bytes(), data, behind.as_bytes()].concat();
    let bad = match n {
        0 => event(b"{\"choices\":[{\"delta\":"),
        1 => event(b"<html>502 Bad Gateway</html>"),
        2 => event(&[b"{\"text\":\"".as_slice(), &[0xff, 0xfe, 0x80], b"\"}"].concat()),
        3 => event(&noise(9, 200).into_iter().filter(|byte| !b"\r\n".contains(byte)).collect::<Vec<_>>()),
        _ => event("[".repeat(100_000).as_bytes()),
    };
    let mut pieces = vec![stream_head(dialect).into_bytes(), wire::chunk(begun.as_bytes()), wire::chunk(&bad)];
    pieces.extend(spoken.end.iter().map(|event| wire::chunk(event.as_bytes())));
    pieces.push(b"0\r\n\r\n".to_vec());
    pieces
}

#[tokio::test]
async fn nonsense_in_the_middle_of_a_stream() {
    let names: Vec<_> = (0..5).map(|n| n.to_string()).collect();
    let (config, asks, _upstreams) = everywhere(&names, nonsense).await;
    let asks: Vec<_> = asks.into_iter().filter(|ask| ask.stream).collect();
    let world = World::start(&(short() + &config), &[]).await;
    let views = world.views(8, &asks).await;
    for (ask, view) in asks.iter().zip(&views) {
        assert!(!view.broken().is_empty(), "{ask:?}");
    }
    let rows = world.over().await;
    asks.iter().zip(&views).for_each(|(ask, view)| rows.agree(ask, view));
}

/// As many pieces of a good answer as `n` says, then nothing: its head in two, then event by event.
fn stops(dialect: Dialect, stream: bool, n: usize) -> Vec<Vec<u8>> {
    let mut pieces = pieces(dialect, stream);
    pieces.truncate(n);
    pieces
}

fn pieces(dialect: Dialect, stream: bool) -> Vec<Vec<u8>> {
    let good = good_bytes(dialect, stream);
    let head = good.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let mut pieces = vec![good[..17].to_vec(), good[17..head].to_vec()];
    match stream {
        true => pieces.extend(speech::stream(dialect).blocks().iter().map(|block| wire::chunk(block))),
        false => pieces.extend(good[head..].chunks(100).map(<[u8]>::to_vec)),
    }
    pieces
}

#[tokio::test]
async fn a_stall_at_every_boundary() {
    let most = PAIRS.iter().map(|(_, dialect)| pieces(*dialect, true).len()).max().unwrap();
    let names: Vec<_> = (0..=most).map(|n| n.to_string()).collect();
    let (config, asks, _upstreams) = everywhere(&names, stops).await;
    let dialect_of = |ask: &Ask| PAIRS[ask.model[1..2].parse::<usize>().unwrap()].1;
    let at_of = |ask: &Ask| ask.model.rsplit('-').next().unwrap().parse::<usize>().unwrap();
    // A document that is whole is no stall.
    let stalls = |ask: &Ask| at_of(ask) < pieces(dialect_of(ask), ask.stream).len() + usize::from(ask.stream);
    let asks: Vec<_> = asks.into_iter().filter(stalls).collect();
    let world = World::start(&(short() + &config), &[]).await;
    let views = world.views(asks.len(), &asks).await;
    for (ask, view) in asks.iter().zip(&views) {
        let (dialect, at) = (dialect_of(ask), at_of(ask));
        let spoken = speech::stream(dialect);
        let word = 2 + spoken.prologue.len() + 1;
        match view {
            View::Refused { status, why } => {
                assert_eq!(*status, 504, "{ask:?} {why}");
                assert!(!ask.stream || at < word, "{ask:?} {why}");
            }
            View::Broken { why, .. } => {
                assert!(why.contains("silent"), "{ask:?} {why}");
                // Gemini has no terminal event: more may follow what looks like the last.
                let open = dialect == Dialect::Gemini;
                assert!(at >= word && (at < pieces(dialect, true).len() || open), "{ask:?}");
            }
            View::Whole => assert!(ask.stream && at == pieces(dialect, true).len(), "{ask:?}"),
        }
    }
    let rows = world.over().await;
    for (ask, view) in asks.iter().zip(&views) {
        rows.agree(ask, view);
        let expected = match view {
            View::Whole => Outcome::Ok,
            View::Broken { .. } => Outcome::Stall,
            View::Refused { .. } => Outcome::Timeout,
        };
        assert_eq!(rows.one(&ask.model).outcome, expected, "{ask:?}");
    }
}

/// Every byte in a write of its own.
fn by_the_byte(dialect: Dialect, stream: bool, _: usize) -> Vec<Vec<u8>> {
    good_bytes(dialect, stream).chunks(1).map(<[u8]>::to_vec).collect()
}

#[tokio::test]
async fn answers_byte_by_byte() {
    let (config, asks, _upstreams) = everywhere(&["0".to_owned()], by_the_byte).await;
    let world = World::start(&config, &[]).await;
    let views = world.views(4, &asks).await;
    let rows = world.over().await;
    for (ask, view) in asks.iter().zip(&views) {
        assert_eq!(*view, View::Whole, "{ask:?}");
        rows.agree(ask, view);
    }
}

/// How large the largest event is.
const HUGE: usize = 100 << 20;

/// An upstream whose second event, or whose document, has as many bytes as the model's name says. Counts what was taken.
async fn huge(dialect: Dialect, stream: bool, taken: Arc<AtomicUsize>) -> Upstream {
    Upstream::start(move |mut conn| {
        let taken = taken.clone();
        async move {
            let Some(asked) = conn.asked().await else { return };
            // Its connection is good for one answer.
            let size: usize = model_of(&asked).rsplit('-').next().unwrap().parse().unwrap();
            let (whole, word) = match stream {
                true => (speech::stream(dialect).content[1].clone(), " there"),
                false => (speech::reply(dialect).to_owned(), speech::TEXT),
            };
            let (before, behind) = whole.split_once(word).unwrap();
            if stream {
                let spoken = speech::stream(dialect);
                conn.write(stream_head(dialect)).await;
                conn.chunk(spoken.prologue.concat() + &spoken.content[0]).await;
            } else {
                let length = before.len() + size + behind.len();
                let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ";
                conn.write(format!("{head}{length}\r\n\r\n")).await;
            }
            let frame = |bytes: &[u8]| if stream { wire::chunk(bytes) } else { bytes.to_vec() };
            let (mut left, block) = (size, vec![b'x'; 64 << 10]);
            conn.write(frame(before.as_bytes())).await;
            while left > 0 {
                let n = left.min(block.len());
                if !conn.write(frame(&block[..n])).await {
                    return;
                }
                taken.fetch_add(n, SeqCst);
                left -= n;
            }
            conn.write(frame(behind.as_bytes())).await;
            if stream {
                conn.write(wire::chunk(speech::stream(dialect).end.concat().as_bytes())).await;
                conn.end().await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn an_event_and_a_document_of_a_hundred_megabytes() {
    let (mut config, mut asks, mut upstreams) = (String::new(), Vec::new(), Vec::new());
    for (n, (client, dialect)) in [PAIRS[0], PAIRS[2], PAIRS[5]].into_iter().enumerate() {
        for stream in [false, true] {
            let taken = Arc::new(AtomicUsize::new(0));
            let upstream = huge(dialect, stream, taken.clone()).await;
            config += &provider(&format!("u{n}{stream}"), dialect, &upstream);
            upstreams.push(upstream);
            let model = format!("u{n}{stream}/u{n}{stream}-{HUGE}");
            asks.push((Ask::new(client, stream, model), taken));
        }
    }
    // What was held is given back, but not to the system in every page.
    let world = World::start(&config, &[]).await.may_grow(96 << 20);
    let mut views = Vec::new();
    for (ask, taken) in &asks {
        let view = ask.view(world.addr()).await;
        match ask.stream {
            true => assert!(view.broken().contains("16777216"), "{ask:?} {view:?}"),
            false => assert!(FAULT.contains(&view.status()), "{ask:?} {view:?}"),
        }
        world.quiet(0).await;
        // It was not read further than its bound, and what the sockets hold.
        assert!(taken.load(SeqCst) < HUGE - (8 << 20), "{ask:?}: {} bytes were taken", taken.load(SeqCst));
        views.push(view);
    }
    let rows = world.over().await;
    asks.iter().zip(&views).for_each(|((ask, _), view)| rows.agree(ask, view));
}

/// Large events that are within their bounds pass, and are not kept.
#[tokio::test]
async fn large_events_pass() {
    let dialect = Dialect::OpenAiChat;
    let size = 8 << 20;
    let taken = Arc::new(AtomicUsize::new(0));
    let upstream = huge(dialect, true, taken.clone()).await;
    let world = World::start(&provider("a", dialect, &upstream), &[]).await.may_grow(64 << 20);
    for client in [dialect, Dialect::Anthropic] {
        let ask = Ask::new(client, true, format!("a/{}-{size}", client.name()));
        let answer = ask.answer(world.addr()).await;
        let heard = speech::heard(client, &answer.text());
        assert!(answer.complete && heard.ended && heard.error.is_none(), "{client:?}");
        assert_eq!(heard.text.len(), "Hello".len() + size);
    }
    world.over().await;
}

/// Zeros, packed.
fn bomb(bytes: usize) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let block = vec![0; 1 << 20];
    (0..bytes / block.len()).for_each(|_| encoder.write_all(&block).unwrap());
    encoder.finish().unwrap()
}

#[tokio::test]
async fn compressed_bombs() {
    let packed: Arc<[u8]> = bomb(128 << 20).into();
    let (mut config, mut asks, mut upstreams) = (String::new(), Vec::new(), Vec::new());
    for (n, (client, dialect)) in [PAIRS[0], PAIRS[3], PAIRS[4], PAIRS[5]].into_iter().enumerate() {
        for (kind, status, content_type) in [
            ("document", 200, "application/json"),
            ("stream", 200, dialect.stream_content_type()),
            ("error", 429, "application/json"),
        ] {
            let packed = packed.clone();
            let upstream = Upstream::start(move |mut conn| {
                let packed = packed.clone();
                async move {
                    while conn.asked().await.is_some() {
                        conn.answer(status, &[("content-type", content_type), ("content-encoding", "gzip")], &packed)
                            .await;
                    }
                }
            })
            .await;
            let name = format!("u{n}{kind}");
            config += &provider(&name, dialect, &upstream);
            upstreams.push(upstream);
            asks.push((Ask::new(client, kind == "stream", format!("{name}/{name}")), status));
        }
    }
    let world = World::start(&config, &[]).await.may_grow(96 << 20);
    for (ask, status) in &asks {
        // A stream's beginning is held back while it has no content: nothing was said.
        let view = ask.view(world.addr()).await;
        match (&view, status) {
            (View::Refused { status, .. }, 200) => assert!(FAULT.contains(status), "{ask:?}"),
            (View::Refused { status, .. }, refused) => assert_eq!(status, refused, "{ask:?}"),
            (View::Broken { .. }, 200) if ask.stream => {}
            _ => panic!("{ask:?} {view:?}"),
        }
        world.quiet(0).await;
    }
    let rows = world.over().await;
    for (ask, _) in &asks {
        let row = rows.one(&ask.model);
        assert!(row.outcome == Outcome::UpstreamError && row.tokens_out == 0, "{row:?}");
    }
}

/// A client of a good upstream is not disturbed by one that floods.
#[tokio::test]
async fn a_flood_beside_good_answers() {
    let dialect = Dialect::OpenAiChat;
    let upstream = huge(dialect, true, Arc::default()).await;
    let world = World::start(&provider("a", dialect, &upstream), &[]).await.may_grow(96 << 20);
    let ask = Ask::new(dialect, true, format!("a/flood-{HUGE}"));
    let mut client = Client::connect(world.addr()).await;
    let (path, body) = ask.wire();
    client.request("POST", &path, &[], body.as_bytes()).await;
    client.head().await;
    client.until("Hello").await;
    world.serves().await;
    drop(client);
    let rows = world.over().await;
    assert_eq!(rows.one(&ask.model).outcome, Outcome::ClientGone);
}
