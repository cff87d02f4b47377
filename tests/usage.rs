//! What is recorded of a request: a row per attempt, also where nothing went well.
#![allow(clippy::unwrap_used)]

mod support;

use std::{net::SocketAddr, sync::Arc};

use codecs::dialect::Dialect;
use flow_router::{
    gateway::Gateway,
    live::Live,
    settings::Sources,
    store::{
        Options, Store,
        pricing::{self, PriceRow},
        usage::{Endpoint, Filter, Names, Outcome, UsageRow, list},
    },
    usage::live::{Listener, Next, What},
};
use proxy::{Client as Sender, ClientConfig, Limits, Server, Timeouts, listen};
use rusqlite::{Connection, OpenFlags};
use support::{Answer, Client, Router, Upstream, router::provider, speech, within};
use tokio::sync::mpsc;

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

/// All rows, those of the first of `answers` first, then in the order in which they were written: a client has its answer a
/// moment before the row is handed over. The program ends first: then everything is written.
async fn rows(mut router: Router, answers: &[&Answer]) -> Vec<UsageRow> {
    router.terminate();
    assert!(router.ended().await.success(), "{}", router.log());
    let file = router.data_dir().join("db/data.sqlite");
    let conn = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let page = list(&conn, &mut Names::default(), &Filter::default(), None, 1_000).unwrap();
    assert_eq!(page.next, None);
    let mut rows = page.rows;
    let place = |row: &UsageRow| {
        let mut ids = answers.iter().map(|a| a.header("x-flow-router-request-id").or(a.header("x-request-id")));
        ids.position(|id| id == Some(&row.request_id))
    };
    rows.sort_by_key(|logged| (place(&logged.row), logged.id));
    rows.into_iter().map(|logged| logged.row).collect()
}

async fn spoken(dialect: Dialect) -> Upstream {
    Upstream::streams(dialect.stream_content_type(), speech::stream(dialect).blocks()).await
}

#[tokio::test]
async fn a_good_answer_leaves_a_row_with_its_price() {
    let dialect = Dialect::OpenAiChat;
    let (upstream, document) = (spoken(dialect).await, Upstream::always(200, JSON, speech::reply(dialect)).await);
    let config = provider("openai", dialect, &upstream) + &provider("other", dialect, &document);
    let router = Router::start(&config);
    let body = speech::request(dialect, "openai/gpt-5", true);
    let fields =
        [("content-type", "application/json"), ("user-agent", "codex_cli_rs/0.50.0"), ("session_id", "0199-session")];
    let path = speech::path(dialect, "gpt-5", true);
    let streamed = Client::once(router.addr, "POST", &path, &fields, body.as_bytes()).await;
    let whole = Client::post(router.addr, &path, speech::request(dialect, "other/gpt-5", false)).await;
    assert_eq!((streamed.status, whole.status), (200, 200));
    let rows = rows(router, &[&streamed, &whole]).await;
    let [first, second] = &rows[..] else { panic!("{rows:#?}") };
    assert_eq!(first.request_id.as_ref(), streamed.header("x-flow-router-request-id").unwrap());
    assert_eq!((first.client.as_deref(), first.session.as_deref()), (Some("codex"), Some("0199-session")));
    assert_eq!((first.provider.as_deref(), first.model.as_deref()), (Some("openai"), Some("gpt-5")));
    assert_eq!((&*first.model_requested, first.alias.as_deref(), first.key.as_deref()), ("openai/gpt-5", None, None));
    assert_eq!((first.status, first.outcome, first.attempt, first.attempts), (200, Outcome::Ok, 1, 1));
    assert_eq!((first.dialect, first.dialect_upstream, first.endpoint), (dialect, Some(dialect), Endpoint::Chat));
    assert_eq!((first.tokens_in, first.tokens_out, first.estimated, first.stream), (11, 3, false, true));
    // 11 × 1.25 + 3 × 10 USD per million tokens, in nano-USD.
    assert_eq!(first.cost, Some(13_750 + 30_000));
    assert_eq!((first.bytes_in as usize, first.bytes_out as usize), (body.len(), streamed.body.len()));
    assert!(first.ttft_ms.is_some_and(|ttft| ttft <= first.duration_ms) && first.added_us.is_some());
    assert_eq!(first.client_ip.map(|ip| ip.is_loopback()), Some(true));
    // A local server that nobody declared to be a vendor: its names of models mean nothing.
    assert_eq!((second.provider.as_deref(), second.cost, second.tokens_in), (Some("other"), None, 11));
    assert_eq!((second.stream, second.bytes_out as usize), (false, whole.body.len()));
    assert!(second.ts_ms >= first.ts_ms);
}

#[tokio::test]
async fn every_attempt_has_its_row() {
    let dialect = Dialect::Anthropic;
    let bad = Upstream::always(503, JSON, speech::error_body(dialect, "no; your key is upstream-key")).await;
    let good = spoken(Dialect::OpenAiChat).await;
    let config = provider("a", dialect, &bad)
        + &provider("b", Dialect::OpenAiChat, &good)
        + "[aliases]\nfast = [\"a/one\", \"b/two\"]\n";
    let router = Router::start(&config);
    let answer = Client::post(router.addr, "/v1/messages", speech::request(dialect, "fast", true)).await;
    assert_eq!((answer.status, answer.header("x-flow-router-attempts")), (200, Some("2")));
    let alone = Client::post(router.addr, "/v1/messages", speech::request(dialect, "a/one", true)).await;
    assert_eq!(alone.status, 503);
    let rows = rows(router, &[&answer, &alone]).await;
    let [first, second, third] = &rows[..] else { panic!("{rows:#?}") };
    assert_eq!(first.request_id, second.request_id);
    assert_eq!((first.provider.as_deref(), second.provider.as_deref()), (Some("a"), Some("b")));
    assert_eq!((first.model.as_deref(), second.model.as_deref()), (Some("one"), Some("two")));
    assert_eq!((first.attempt, first.attempts, first.is_final()), (1, 2, false));
    assert_eq!((second.attempt, second.attempts, second.is_final()), (2, 2, true));
    assert_eq!((first.status, first.outcome, first.tokens_in, first.cost), (503, Outcome::UpstreamError, 0, None));
    assert_eq!(first.error.as_deref(), Some("no; your key is ***"));
    assert_eq!((second.status, second.outcome, second.tokens_out), (200, Outcome::Ok, 3));
    assert!(rows[..2].iter().all(|row| row.alias.as_deref() == Some("fast") && &*row.model_requested == "fast"));
    assert_eq!((third.attempt, third.attempts, third.status), (1, 1, 503));
    assert_eq!((third.outcome, third.bytes_out as usize), (Outcome::UpstreamError, alone.body.len()));
}

#[tokio::test]
async fn a_client_that_leaves_is_recorded_with_what_it_had() {
    let dialect = Dialect::OpenAiChat;
    let (tell, mut told) = mpsc::unbounded_channel();
    let upstream = Upstream::start(move |mut conn| {
        let tell = tell.clone();
        async move {
            conn.asked().await.unwrap();
            let spoken = speech::stream(dialect);
            conn.stream(dialect.stream_content_type()).await;
            conn.chunk(spoken.prologue.concat() + &spoken.content.concat()).await;
            conn.closed().await;
            tell.send(()).unwrap();
        }
    })
    .await;
    let router = Router::start(&provider("openai", dialect, &upstream));
    let mut client = Client::connect(router.addr).await;
    let request = speech::request(dialect, "gpt-5", true);
    client.request("POST", &speech::path(dialect, "gpt-5", true), &[], request.as_bytes()).await;
    client.head().await;
    client.until("there").await;
    drop(client);
    within("the upstream's end", told.recv()).await.unwrap();
    let rows = rows(router, &[]).await;
    let [row] = &rows[..] else { panic!("{rows:#?}") };
    assert_eq!((row.outcome, row.status, row.attempt, row.attempts), (Outcome::ClientGone, 200, 1, 1));
    // The upstream counts at its end only: what it has said until then is estimated.
    let said = speech::TEXT.len().div_ceil(4);
    assert_eq!((row.tokens_in as usize, row.tokens_out as usize, row.estimated), (request.len() / 4, said, true));
    assert!(row.cost.is_some_and(|cost| cost > 0) && row.bytes_out > 0 && row.ttft_ms.is_some());
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_the_upstreams_error() {
    for dialect in Dialect::ALL {
        let spoken = speech::stream(dialect);
        let pieces = vec![(spoken.prologue.concat() + &spoken.content.concat()).into_bytes()];
        let upstream = Upstream::streams(dialect.stream_content_type(), pieces).await;
        let router = Router::start(&provider("a", dialect, &upstream));
        let request = speech::request(dialect, "m", true);
        let answer = Client::post(router.addr, &speech::path(dialect, "m", true), request).await;
        assert_eq!(answer.status, 200, "{dialect:?}");
        let rows = rows(router, &[]).await;
        let [row] = &rows[..] else { panic!("{dialect:?} {rows:#?}") };
        assert_eq!((row.outcome, row.status), (Outcome::UpstreamError, 200), "{dialect:?}");
        assert!(row.error.is_some() && row.tokens_out >= 3, "{dialect:?} {row:?}");
        assert_eq!(row.bytes_out as usize, answer.body.len(), "{dialect:?}");
    }
}

#[tokio::test]
async fn what_nobody_was_asked_about_is_recorded_too_unless_nothing_is() {
    let dialect = Dialect::OpenAiChat;
    let upstream = spoken(dialect).await;
    let config = provider("a", dialect, &upstream).replace("[\"*\"]", "[\"known\"]");
    let router = Router::start(&config);
    let path = "/v1/chat/completions";
    let broken = Client::post(router.addr, path, "{").await;
    let unknown = Client::post(router.addr, path, speech::request(dialect, "who", false)).await;
    assert_eq!((broken.status, unknown.status), (400, 404));
    let rows = rows(router, &[&broken, &unknown]).await;
    let seen: Vec<_> = rows.iter().map(|row| (row.status, row.outcome, row.attempt, row.attempts)).collect();
    assert_eq!(seen, [(400, Outcome::ClientError, 0, 0), (404, Outcome::ClientError, 0, 0)]);
    assert_eq!((&*rows[1].model_requested, rows[1].provider.as_deref()), ("who", None));
    assert!(rows[0].error.as_deref().is_some_and(|error| error.contains("JSON")));

    let router = Router::start_with(&config, &["--usage-log", "false"]);
    let answer = Client::post(router.addr, path, speech::request(dialect, "known", true)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(self::rows(router, &[]).await, []);
}

#[tokio::test]
async fn keys_and_counts_have_their_names() {
    let dialect = Dialect::Anthropic;
    let upstream = Upstream::always(200, JSON, r#"{"input_tokens":9}"#).await;
    let router = Router::start(&provider("a", dialect, &upstream));
    let body = speech::request(dialect, "m", false);
    let answer = Client::post(router.addr, "/v1/messages/count_tokens", body).await;
    assert_eq!(answer.status, 200);
    let rows = rows(router, &[]).await;
    let [row] = &rows[..] else { panic!("{rows:#?}") };
    assert_eq!((row.endpoint, row.outcome, row.cost, row.tokens_in), (Endpoint::CountTokens, Outcome::Ok, None, 0));
    assert_eq!((row.attempt, row.attempts, row.status), (1, 1, 200));
}

/// A gateway inside this process, so that a test can watch it.
async fn inside(config: &str) -> (Live, SocketAddr, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&Options::new(dir.path())).unwrap();
    let file = dir.path().join("test.toml");
    std::fs::write(&file, config).unwrap();
    let flags = vec![("data_dir", dir.path().display().to_string())];
    let sources = Sources { flags, named: Some(file), ..Sources::default() }.again().unwrap();
    let live = Live::open(sources, store).await.unwrap();
    let listener = listen("127.0.0.1:0".parse().unwrap(), false).unwrap();
    let addr = listener.local_addr().unwrap();
    let gateway = Arc::new(Gateway::new(live.shared().clone(), Sender::new(ClientConfig::default()).unwrap()));
    let server = Server::new(Limits::default(), Timeouts::default());
    tokio::spawn(server.serve(listener, gateway, std::future::pending(), std::time::Duration::ZERO));
    (live, addr, dir)
}

/// The names of events until a request's last row, and that row.
async fn watched(listener: &mut Listener) -> (Vec<&'static str>, Arc<UsageRow>) {
    let mut names = Vec::new();
    loop {
        let Next::Event(event) = within("the next event", listener.next()).await else { panic!("nothing is lost") };
        names.push(event.name());
        match &event.what {
            What::RequestEnd(row) if row.is_final() => return (names, row.clone()),
            _ => {}
        }
    }
}

#[tokio::test]
async fn those_who_watch_see_a_request_from_begin_to_end() {
    let dialect = Dialect::OpenAiChat;
    let bad = Upstream::always(503, JSON, speech::error_body(dialect, "no")).await;
    let good = spoken(dialect).await;
    let (live, addr, _dir) = inside(&(provider("a", dialect, &bad) + &provider("b", dialect, &good))).await;
    let feed = live.shared().feed.clone();
    let path = "/v1/chat/completions";
    // Nobody watches: nothing is kept.
    let unseen = Client::post(addr, path, speech::request(dialect, "x", true)).await;
    assert_eq!((unseen.status, feed.is_active()), (200, false));
    let mut listener = feed.listen(None);
    let before = feed.last_id();
    let answer = Client::post(addr, path, speech::request(dialect, "m", true)).await;
    let (names, row) = watched(&mut listener).await;
    let expected = [
        "request.start",
        "request.route",
        "provider.state",
        "request.route",
        "request.first",
        "request.end",
        "request.end",
    ];
    assert_eq!(names, expected);
    assert_eq!(Some(&*row.request_id), answer.header("x-flow-router-request-id"));
    // Another one who was there before begins where it was.
    let mut again = feed.listen(Some(before + 2));
    let Some(Next::Event(event)) = again.ready() else { panic!("it is kept") };
    assert_eq!((event.id, event.name()), (before + 3, "provider.state"));
    let Some(Next::Event(event)) = again.ready() else { panic!("it is kept") };
    let shown = event.json();
    assert_eq!((&shown["reason"], &shown["provider"]), (&"fallback:503".into(), &"b".into()));
}

#[tokio::test]
async fn a_price_of_the_users_counts_from_the_next_request_on() {
    let dialect = Dialect::OpenAiChat;
    let upstream = spoken(dialect).await;
    let (live, addr, _dir) = inside(&provider("here", dialect, &upstream)).await;
    let mut listener = live.shared().feed.listen(None);
    let ask = || Client::post(addr, "/v1/chat/completions", speech::request(dialect, "m", true));
    ask().await;
    assert_eq!(watched(&mut listener).await.1.cost, None);
    let mut row = PriceRow {
        provider: "here".into(),
        model: "*".into(),
        input: 1_000_000,
        output: 2_000_000,
        source: "user".into(),
        ..PriceRow::default()
    };
    let change = live.change("pricing", "here/*".into(), move |change| pricing::put(change, &mut row));
    change.await.unwrap();
    ask().await;
    let (names, row) = watched(&mut listener).await;
    assert_eq!((names[0], row.cost), ("config.changed", Some(11_000 + 6_000)));
    // What cannot be a price is not taken.
    let mut wrong = PriceRow { model: "m".into(), input: -1, source: "user".into(), ..PriceRow::default() };
    let change = live.change("pricing", "m".into(), move |change| pricing::put(change, &mut wrong));
    assert!(change.await.is_err());
    let prices = live.store().read(pricing::list).await.unwrap();
    assert_eq!(prices.len(), 1);
}
