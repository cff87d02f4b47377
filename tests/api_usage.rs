//! What was used, what happens now, what models cost: the management API over the program itself.
#![allow(clippy::unwrap_used)]

mod support;
#[path = "support/rows.rs"]
mod usage_rows;

use std::{collections::HashSet, net::SocketAddr};

use codecs::dialect::Dialect;
use flow_router::store::{Options, Store, usage::UsageRow};
use serde_json::{Value, json};
use support::{Answer, Client, PATIENCE, Router, Upstream, h2::H2, router::provider, speech, within};

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];
const CHAT: &str = "/v1/chat/completions";

async fn spoken() -> Upstream {
    let dialect = Dialect::OpenAiChat;
    Upstream::streams(dialect.stream_content_type(), speech::stream(dialect).blocks()).await
}

async fn chat(addr: SocketAddr, model: &str) -> Answer {
    Client::post(addr, CHAT, speech::request(Dialect::OpenAiChat, model, true)).await
}

async fn get(addr: SocketAddr, target: &str) -> Value {
    let answer = Client::get(addr, target).await;
    assert_eq!(answer.status, 200, "{target}: {}", answer.text());
    answer.json()
}

async fn send(addr: SocketAddr, method: &str, target: &str, body: Value) -> Answer {
    Client::once(addr, method, target, JSON, body.to_string()).await
}

/// The head of an answer that has no body, whatever it says of its length.
async fn head(addr: SocketAddr, target: &str) -> u16 {
    let mut client = Client::connect(addr).await;
    client.request("HEAD", target, &[], b"").await;
    client.head().await.0
}

/// The log, once it has so many rows: they are written a moment after the answer.
async fn logged(addr: SocketAddr, count: usize) -> Vec<Value> {
    let since = std::time::Instant::now();
    loop {
        let page = get(addr, "/api/usage/history?limit=1000").await;
        if page["count"] == count {
            return page["data"].as_array().unwrap().clone();
        }
        assert!(since.elapsed() < PATIENCE, "there are not {count} rows in {page}");
        // There is no event for a row's way to the disk: ask again, within the rate of the API.
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// Two providers that answer, of which one has known prices, and one that does not.
struct Scene {
    router: Router,
    _upstreams: [Upstream; 3],
}

async fn scene() -> Scene {
    let dialect = Dialect::OpenAiChat;
    let bad = Upstream::always(503, JSON, speech::error_body(dialect, "overloaded")).await;
    let (good, other) = (spoken().await, spoken().await);
    let serving = |name, upstream, models: &str| provider(name, dialect, upstream).replace("[\"*\"]", models);
    let config = serving("openai", &good, "[\"gpt-5\"]")
        + &serving("other", &other, "[\"gpt-5\", \"two\"]")
        + &serving("bad", &bad, "[\"one\"]")
        + "[aliases]\nfast = [\"bad/one\", \"other/two\"]\n";
    Scene { router: Router::start(&config), _upstreams: [good, other, bad] }
}

fn sum(rows: &[&Value], member: &str) -> f64 {
    rows.iter().filter_map(|row| row[member].as_f64()).sum()
}

/// Holds sums against the rows that they are the sums of.
#[track_caller]
fn agree(sums: &Value, rows: &[Value], which: impl Fn(&Value) -> bool) {
    let rows: Vec<_> = rows.iter().filter(|row| which(row)).collect();
    let finals: Vec<_> = rows.iter().filter(|row| row["attempt"] == row["attempts"]).copied().collect();
    assert_eq!(sums["requestCount"], finals.len(), "{sums}");
    let failed = finals.iter().filter(|row| !matches!(row["outcome"].as_str(), Some("ok" | "client_gone"))).count();
    assert_eq!(sums["errorCount"], failed, "{sums}");
    assert_eq!(sums["retriedCount"], rows.len() - finals.len(), "{sums}");
    for member in ["promptTokens", "completionTokens", "cacheReadTokens", "reasoningTokens"] {
        assert_eq!(sums[member].as_f64(), Some(sum(&rows, member)), "{member} of {sums}");
    }
    let unpriced = rows.iter().filter(|row| row["costUsd"].is_null() && row["completionTokens"] != 0).count();
    assert_eq!(sums["unpricedCount"], unpriced, "{sums}");
    match sums["costUsd"].as_f64() {
        Some(cost) => assert!((cost - sum(&rows, "costUsd")).abs() < 1e-12, "{sums}"),
        None => assert!(unpriced > 0 && rows.iter().all(|row| row["costUsd"].is_null()), "{sums}"),
    }
}

#[tokio::test]
async fn rows_appear_and_sums_are_theirs() {
    let scene = scene().await;
    let addr = scene.router.addr;
    let fields = [("content-type", "application/json"), ("user-agent", "codex_cli_rs/0.50.0"), ("session_id", "s-1")];
    let body = speech::request(Dialect::OpenAiChat, "openai/gpt-5", true);
    let priced = Client::once(addr, "POST", CHAT, &fields, body).await;
    for model in ["other/gpt-5", "openai/gpt-5", "fast", "nobody/knows"] {
        chat(addr, model).await;
    }
    let rows = logged(addr, 6).await;
    let is = |name: &'static str, value: &'static str| move |row: &Value| row[name] == value;
    let ids: Vec<_> = rows.iter().map(|row| row["startedAt"].as_str().unwrap()).collect();
    assert!(ids.is_sorted_by(|a, b| a >= b), "{ids:?}");
    let first = rows.iter().find(|row| row["session"] == "s-1").unwrap();
    assert_eq!(first["requestId"], *priced.header("x-flow-router-request-id").unwrap());
    assert_eq!(
        json!([first["provider"], first["model"], first["client"], first["status"], first["outcome"], first["stream"]]),
        json!(["openai", "gpt-5", "codex", 200, "ok", true])
    );
    // 11 × 1.25 + 3 × 10 USD per million tokens.
    assert_eq!(json!([first["promptTokens"], first["completionTokens"], first["costUsd"]]), json!([11, 3, 0.00004375]));
    assert_eq!(json!([first["clientIp"], first["dialectUpstream"]]), json!(["127.0.0.1", "openai_chat"]));
    let other = rows.iter().find(|row| row["provider"] == "other").unwrap();
    assert_eq!(other["costUsd"], Value::Null, "an unknown price is no price");

    for (query, count) in [
        ("", 6),
        ("provider=OPENAI", 2),
        ("provider=o*", 4),
        ("model=gpt-*", 3),
        ("client=codex", 1),
        ("session=s-1", 1),
        ("session=s-", 0),
        ("status=ok", 4),
        ("status=error", 2),
        ("status=503", 1),
        ("status=client_error", 1),
        ("finals=true", 5),
        ("endpoint=count_tokens", 0),
        ("q=overloaded", 1),
        ("q=two", 1),
        ("from=-1h", 6),
        ("to=-1h", 0),
        ("from=2020-01-01&to=2020-12-31", 0),
        ("minLatencyMs=3600000", 0),
        ("key=laptop", 0),
        ("provider=openai&status=ok&model=gpt-5&from=-1d", 2),
    ] {
        let page = get(addr, &format!("/api/usage/history?{query}")).await;
        assert_eq!(page["count"], count, "{query}: {page}");
        let export = Client::get(addr, &format!("/api/usage/export?format=jsonl&{query}")).await.text();
        assert_eq!(export.lines().count(), count, "{query}");
    }
    for alias in ["/api/usage/request-logs", "/api/console-log"] {
        assert_eq!(get(addr, alias).await["count"], 6);
    }

    let days = get(addr, "/api/usage").await;
    assert_eq!((&days["total"], &days["timezone"].is_string()), (&1.into(), &true), "{days}");
    agree(&days["data"][0], &rows, |_| true);
    let groups = get(addr, "/api/usage?groupBy=provider,model&tz=Europe/Berlin").await;
    assert_eq!((&groups["count"], &groups["timezone"]), (&5.into(), &"Europe/Berlin".into()), "{groups}");
    for group in groups["data"].as_array().unwrap() {
        // What nobody was asked about has the model that was wanted.
        let model = |row: &Value| row["model"] == group["model"] || row["modelRequested"] == group["model"];
        agree(group, &rows, |row| row["provider"] == group["provider"] && model(row));
    }
    // The same, one by one.
    let (mut one_by_one, mut cursor) = (Vec::new(), String::new());
    while one_by_one.len() < 9 {
        let page = get(addr, &format!("/api/usage?groupBy=provider,model&limit=1&cursor={cursor}")).await;
        one_by_one.push(page["data"][0].clone());
        let Some(next) = page["nextCursor"].as_str() else { break };
        cursor = next.to_owned();
    }
    assert_eq!(groups["data"], Value::from(one_by_one));
    let clients = get(addr, "/api/usage?groupBy=client,combo").await;
    let requests: u64 = clients["data"].as_array().unwrap().iter().map(|g| g["requestCount"].as_u64().unwrap()).sum();
    assert_eq!(requests, 5, "{clients}");

    agree(&get(addr, "/api/usage/today").await, &rows, |_| true);
    let stats = get(addr, "/api/usage/stats?from=-1h").await;
    agree(&stats["totals"], &rows, |_| true);
    assert_eq!((&stats["successRate"], &stats["previous"]["requestCount"]), (&0.8.into(), &0.into()), "{stats}");
    assert!(stats["latencyMs"]["p50"].is_u64() && stats["ttftMs"]["p99"].is_u64(), "{stats}");
    let named = get(addr, "/api/usage/openai").await;
    agree(&named, &rows, is("provider", "openai"));
    assert!(named["lastSeen"].is_string());
    agree(&get(addr, "/api/usage/name:Other").await, &rows, is("provider", "other"));
    assert_eq!(Client::get(addr, "/api/usage/nobody").await.status, 404);
    let providers = get(addr, "/api/usage/providers").await;
    for entry in providers["data"].as_array().unwrap() {
        agree(entry, &rows, |row| row["provider"] == entry["provider"]);
    }

    let chart = get(addr, "/api/usage/chart?period=24h&split=provider").await;
    assert_eq!((&chart["granularity"], &chart["days"]), (&"hour".into(), &1.into()));
    for line in chart["series"].as_array().unwrap() {
        let points = line["points"].as_array().unwrap();
        assert_eq!(points.len(), 24);
        let requests: u64 = points.iter().map(|point| point["requestCount"].as_u64().unwrap()).sum();
        let finals = rows.iter().filter(|row| row["provider"] == line["name"] && row["attempt"] == row["attempts"]);
        assert_eq!(requests, finals.count() as u64, "{line}");
    }
    for (query, points) in
        [("days=7", 7), ("days=1&granularity=day", 1), ("days=2", 48), ("period=60d&tz=Asia/Tokyo", 60)]
    {
        let chart = get(addr, &format!("/api/usage/chart?{query}")).await;
        assert_eq!(chart["series"][0]["points"].as_array().map(Vec::len), Some(points), "{query}");
        agree(chart["series"][0]["points"].as_array().unwrap().last().unwrap(), &rows, |_| true);
    }
    let all = get(addr, "/api/usage/chart?period=all").await;
    assert!(all["days"].as_u64().unwrap() <= 2, "{}", all["days"]);

    let retried = rows.iter().find(|row| row["provider"] == "bad").unwrap();
    for target in ["/api/requests/", "/api/usage/request-details?id="] {
        for id in [retried["id"].to_string(), retried["requestId"].as_str().unwrap().to_owned()] {
            let details = get(addr, &format!("{target}{id}")).await;
            let seen: Vec<_> = details["attempts"].as_array().unwrap().iter().map(|row| &row["provider"]).collect();
            assert_eq!(seen, ["bad", "other"], "{details}");
            assert_eq!(details["request"], details["attempts"][1]);
        }
    }
    assert_eq!(Client::get(addr, "/api/requests/99999999").await.status, 404);
}

#[tokio::test]
async fn a_long_log_is_read_by_pages_and_exported_whole() {
    const ROWS: i64 = 1_203;
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&Options::new(dir.path().join("data"))).unwrap();
    for n in 0..ROWS {
        let error = (n % 7 == 0).then(|| "it said \"no\",\nand left".into());
        let cost = (n % 3 != 0).then_some(n);
        let row = usage_rows::usage_row(n - ROWS);
        assert!(store.usage().try_push(UsageRow { error, cost, model: Some(format!("=m{}", n % 5).into()), ..row }));
    }
    store.close(PATIENCE);
    drop(store);
    let router = Router::start_in(dir, "", &[]);
    let addr = router.addr;
    let (mut rows, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = get(addr, &format!("/api/usage/history?limit=400{cursor}")).await;
        rows.extend(page["data"].as_array().unwrap().clone());
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let ids: HashSet<_> = rows.iter().map(|row| row["id"].as_u64().unwrap()).collect();
    assert_eq!((rows.len(), ids.len()), (ROWS as usize, ROWS as usize));

    let export = Client::get(addr, "/api/usage/export?format=jsonl").await;
    assert_eq!((export.status, export.complete), (200, true));
    assert_eq!(export.header("content-type"), Some("application/x-ndjson"));
    assert_eq!(export.header("content-disposition"), Some("attachment; filename=\"usage.jsonl\""));
    let lines: Vec<Value> = export.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, rows);

    let export = Client::get(addr, "/api/usage/export").await;
    assert!(export.complete && export.header("content-type").is_some_and(|media| media.starts_with("text/csv")));
    let mut reader = csv::Reader::from_reader(&export.body[..]);
    let names = reader.headers().unwrap().clone();
    assert_eq!(names.len(), rows[0].as_object().unwrap().len());
    let mut count = 0;
    for (record, row) in reader.records().map(Result::unwrap).zip(&rows) {
        for (name, cell) in names.iter().zip(&record) {
            let expected = match &row[name] {
                Value::Null => String::new(),
                // A spreadsheet would take it for a formula.
                Value::String(text) if text.starts_with('=') => format!("'{text}"),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            assert_eq!(cell, expected, "{name} of {row}");
        }
        count += 1;
    }
    assert_eq!(count, ROWS);
    // A client that leaves in the middle takes nothing with it.
    let mut client = Client::connect(addr).await;
    client.request("GET", "/api/usage/export", &[], b"").await;
    assert_eq!(client.head().await.0, 200);
    drop(client);
    assert_eq!(head(addr, "/api/usage/export").await, 200);
    let groups = get(addr, "/api/usage?groupBy=model&from=-1d").await;
    assert_eq!(groups["count"], 5);
    for group in groups["data"].as_array().unwrap() {
        agree(group, &rows, |row| row["model"] == group["model"]);
    }
}

/// A stream of events.
struct Events {
    client: Client,
    text: String,
}

#[derive(Debug, Clone, PartialEq)]
struct Event {
    id: u64,
    name: String,
    data: Value,
}

impl Events {
    async fn open(addr: SocketAddr, method: &str, target: &str, fields: &[(&str, &str)], body: &str) -> Self {
        let mut client = Client::connect(addr).await;
        client.request(method, target, fields, body.as_bytes()).await;
        let (status, head) = client.head().await;
        assert_eq!((status, head.get("content-type")), (200, Some("text/event-stream; charset=utf-8")));
        assert_eq!(head.get("cache-control"), Some("no-store, no-transform"));
        let mut events = Self { client, text: String::new() };
        // It listens once this is there.
        while !events.text.contains(": hello\n\n") {
            events.more().await;
        }
        events
    }

    async fn more(&mut self) {
        let piece = self.client.piece().await.expect("the stream goes on");
        self.text.push_str(std::str::from_utf8(&piece).unwrap());
    }

    /// The next event that has a name.
    async fn next(&mut self) -> Event {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                let Some(name) = field("event") else { continue };
                let data = serde_json::from_str(field("data").unwrap()).unwrap();
                return Event { id: field("id").unwrap().parse().unwrap(), name: name.to_owned(), data };
            }
            self.more().await;
        }
    }

    /// Names of events up to the first of that name, which is given back.
    async fn until(&mut self, name: &str) -> (Vec<String>, Event) {
        let mut names = Vec::new();
        loop {
            let event = self.next().await;
            names.push(event.name.clone());
            if event.name == name {
                return (names, event);
            }
        }
    }
}

#[tokio::test]
async fn those_who_watch_see_requests_and_changes_and_find_their_place_again() {
    let scene = scene().await;
    let addr = scene.router.addr;
    let mut all = Events::open(addr, "GET", "/api/events", &[], "").await;
    let filter = json!({"topics": ["requests"], "filter": {"provider": "other", "status": "ok"}}).to_string();
    let mut some = Events::open(addr, "POST", "/api/events", JSON, &filter).await;
    let mut config = Events::open(addr, "GET", "/api/events?topics=config", &[], "").await;
    let mut usage = Events::open(addr, "GET", "/api/usage/stream", &[], "").await;
    let ready = usage.next().await;
    assert_eq!((ready.name.as_str(), &ready.data["lastId"]), ("ready", &ready.id.into()));

    let answer = chat(addr, "openai/gpt-5").await;
    let id = answer.header("x-flow-router-request-id").unwrap();
    let start = all.next().await;
    assert_eq!((start.name.as_str(), start.id), ("request.start", ready.id + 1));
    assert_eq!(json!([start.data["requestId"], start.data["modelRequested"]]), json!([id, "openai/gpt-5"]));
    let (names, end) = all.until("request.end").await;
    assert_eq!(names, ["request.route", "request.first", "request.end"]);
    assert_eq!(json!([end.data["requestId"], end.data["costUsd"]]), json!([id, 0.00004375]));
    let told = usage.next().await;
    assert_eq!((told.name.as_str(), told.id, &told.data["costUsd"]), ("usage", end.id, &json!(0.00004375)));

    let put = send(addr, "PUT", "/api/pricing", json!({"model": "two", "input": 1_000_000, "output": 2_000_000})).await;
    assert_eq!(put.status, 200, "{}", put.text());
    let changed = config.next().await;
    assert_eq!((changed.name.as_str(), &changed.data["kind"]), ("config.changed", &"pricing".into()));
    assert_eq!(all.next().await, changed);
    chat(addr, "fast").await;
    // Of all that happened one event fits.
    let fits = some.next().await;
    assert_eq!(
        (fits.name.as_str(), &fits.data["provider"], &fits.data["attempt"]),
        ("request.end", &"other".into(), &2.into())
    );
    assert_eq!(fits.data["costUsd"], json!(0.000017), "the price of a moment ago");
    assert!(fits.id > changed.id);

    // Back again, behind the first event: what came since is told once more.
    let last = start.id.to_string();
    let mut again = Events::open(addr, "GET", "/api/events", &[("Last-Event-ID", &last)], "").await;
    assert_eq!(again.next().await.id, start.id + 1);
    let body = json!({"lastEventId": changed.id - 1}).to_string();
    let mut again = Events::open(addr, "POST", "/api/events", JSON, &body).await;
    assert_eq!(again.next().await, changed);
    // A place that is gone, or is none of ours.
    for id in ["1", "x", "99999999999999999"] {
        let mut lost = Events::open(addr, "GET", "/api/events", &[("Last-Event-ID", id)], "").await;
        assert_eq!(lost.next().await.name, "reset", "{id}");
    }
    let mut lines = Events::open(addr, "GET", "/api/events?topics=logs", &[], "").await;
    let warned = send(addr, "POST", "/api/pricing", json!({"model": "x", "input": 1, "output": 1})).await;
    assert_eq!(warned.status, 200);
    while !lines.text.contains("the configuration has changed") {
        lines.more().await;
    }
    for (method, target, body, status) in [
        ("GET", "/api/events?topics=weather", "", 400),
        ("POST", "/api/events", r#"{"topics":["weather"]}"#, 422),
        ("POST", "/api/events", r#"{"filter":{"colour":"red"}}"#, 422),
        ("POST", "/api/events", r#"{"filter":{"status":"fine"}}"#, 422),
        ("DELETE", "/api/events", "", 405),
    ] {
        let answer = Client::once(addr, method, target, JSON, body).await;
        assert_eq!(answer.status, status, "{method} {target} {body}: {}", answer.text());
    }
}

#[tokio::test]
async fn those_who_watch_over_http2_see_the_same() {
    let scene = scene().await;
    let addr = scene.router.addr;
    let listeners = async || get(addr, "/api/health").await["listeners"].clone();
    let mut connection = H2::connect(addr).await;
    // Several watch on one connection, by both methods, while it carries other requests.
    let mut all = connection.ask("GET", "/api/events?topics=requests", &[], b"").await.head().await;
    assert_eq!(all.head.status, 200);
    assert_eq!(all.head.headers["content-type"], "text/event-stream; charset=utf-8");
    assert_eq!(all.head.headers["cache-control"], "no-store, no-transform");
    let filter = json!({"topics": ["requests"], "filter": {"provider": "other"}}).to_string();
    let mut none = connection.ask("POST", "/api/events", JSON, filter.as_bytes()).await.head().await;
    let mut usage = connection.ask("GET", "/api/usage/stream", &[], b"").await.head().await;
    for stream in [&mut all, &mut none, &mut usage] {
        stream.until(": hello\n\n").await;
    }
    assert_eq!(listeners().await, 3);
    let body = speech::request(Dialect::OpenAiChat, "openai/gpt-5", true);
    let answer = connection.ask("POST", CHAT, JSON, body.as_bytes()).await.answer().await;
    assert_eq!((answer.status, answer.complete), (200, true), "{}", answer.text());
    let id = answer.header("x-flow-router-request-id").unwrap();
    let mut told = all.until("event: request.end").await;
    while !told.ends_with("\n\n") {
        told += &all.until("\n\n").await;
    }
    let names: Vec<_> = told.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    assert_eq!(names, ["request.start", "request.route", "request.first", "request.end"]);
    assert_eq!(told.matches(id).count(), 4, "{told}");
    assert!(usage.until("event: usage").await.contains("event: ready"), "it began with its place");
    // A stream that is reset ends alone; the others go with their connection.
    none.reset();
    let since = std::time::Instant::now();
    while listeners().await != 2 {
        assert!(since.elapsed() < PATIENCE, "the stream that was reset still listens");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    connection.ask("POST", CHAT, JSON, body.as_bytes()).await.answer().await;
    all.until("event: request.end").await;
    // The place is found again on another connection.
    let last = told.lines().find_map(|line| line.strip_prefix("id: ")).unwrap();
    let mut other = H2::connect(addr).await;
    let mut again = other.ask("GET", "/api/events", &[("last-event-id", last)], b"").await.head().await;
    assert!(!again.until("event: request.end").await.contains("event: request.start\nid: {last}"));
    connection.cut();
    drop((all, usage));
    let since = std::time::Instant::now();
    while listeners().await != 1 {
        assert!(since.elapsed() < PATIENCE, "streams outlive their connection");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn nobody_has_more_than_sixteen_streams() {
    let router = Router::start("");
    let mut streams = Vec::new();
    for _ in 0..16 {
        streams.push(Events::open(router.addr, "GET", "/api/events", &[], "").await);
    }
    let refused = Client::get(router.addr, "/api/usage/stream").await;
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (429, &"too_many_streams".into()));
    assert!(refused.header("retry-after").is_some());
    streams.pop();
    // The gateway notices that somebody has left when it looks: ask until it has.
    within("a free place", async {
        while head(router.addr, "/api/events").await == 429 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn prices_are_looked_up_set_and_imported() {
    let scene = scene().await;
    let addr = scene.router.addr;
    let lookup = |query: &'static str| async move { get(addr, &format!("/api/pricing/lookup?{query}")).await };
    let known = lookup("provider=openai&model=gpt-5-2025-08-07").await;
    assert_eq!(
        json!([known["priced"], known["source"], known["matched"]]),
        json!([true, "card", "openai/gpt-5-2025-08-07"])
    );
    assert_eq!(json!([known["price"]["input"], known["price"]["reasoning"]]), json!([1_250_000, null]));
    assert_eq!(lookup("model=openai/gpt-5").await["provider"], "openai");
    let unknown = lookup("provider=other&model=gpt-5").await;
    assert_eq!(
        json!([unknown["priced"], unknown["source"], unknown["matched"], unknown["price"]]),
        json!([false, null, null, null])
    );
    chat(addr, "other/gpt-5").await;
    assert_eq!(logged(addr, 1).await[0]["costUsd"], Value::Null);

    let price = json!({"provider": "Other", "model": "GPT-5", "input": 2_000_000, "output": 4_000_000.0, "imageOut": 7,
        "tiers": [{"above": 1000, "input": 9}]});
    let set = send(addr, "POST", "/api/pricing", price.clone()).await;
    assert_eq!(set.status, 200, "{}", set.text());
    let shown = set.json();
    assert_eq!(
        json!([shown["provider"], shown["model"], shown["source"], shown["imageOut"], shown["cacheRead"]]),
        json!(["other", "gpt-5", "user", 7, null])
    );
    assert_eq!(shown["tiers"], json!([{"above": 1000, "input": 9, "output": 4_000_000, "imageOut": 7}]));
    chat(addr, "other/gpt-5").await;
    // 11 × 2 + 3 × 4 USD per million.
    assert_eq!(logged(addr, 2).await[0]["costUsd"], json!(0.000034));
    assert_eq!(lookup("provider=other&model=gpt-5").await["matched"], "other/gpt-5");

    let etag = set.header("etag").unwrap().to_owned();
    let guarded = |tag: String| async move {
        Client::once(addr, "PUT", "/api/pricing", &[JSON[0], ("If-Match", &tag)], {
            json!({"provider": "other", "model": "gpt-5", "input": 3, "output": 4}).to_string()
        })
        .await
    };
    assert_eq!(guarded("\"1\"".to_owned()).await.status, 412);
    let newer = guarded(etag.clone()).await;
    assert_eq!(newer.status, 200);
    assert_eq!(guarded(etag).await.status, 412, "that one is gone");

    let list = json!({
        "sample_spec": {"input_cost_per_token": "a number"},
        "gpt-5": {"litellm_provider": "other", "input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6},
        "Acme/Large": {"litellm_provider": "acme", "input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6},
        "acme/small": {"litellm_provider": "acme", "input_cost_per_token": 1e-7},
    });
    let import = send(addr, "POST", "/api/pricing/import", list.clone()).await;
    assert_eq!(import.json(), json!({"imported": 2, "skipped": 1, "kept": 1, "replaced": 0}), "{}", import.text());
    let import = send(addr, "POST", "/api/pricing/import", list).await;
    assert_eq!(import.json(), json!({"imported": 2, "skipped": 1, "kept": 1, "replaced": 2}));
    assert_eq!(lookup("provider=other&model=gpt-5").await["price"]["input"], 3, "the user's own stays");
    assert_eq!(lookup("provider=acme&model=small").await["source"], "import");
    let all = get(addr, "/api/pricing").await;
    let names: Vec<_> = all["data"].as_array().unwrap().iter().map(|entry| &entry["model"]).collect();
    assert_eq!((names, &all["total"]), (vec![&json!("acme/large"), &json!("small"), &json!("gpt-5")], &3.into()));
    assert_eq!(get(addr, "/api/pricing?source=user").await["count"], 1);
    assert_eq!(get(addr, "/api/pricing?provider=ACME&q=sma").await["count"], 1);
    let card = get(addr, "/api/pricing?source=card&provider=anthropic&limit=2").await;
    assert!(card["total"].as_u64().unwrap() > 2 && card["nextCursor"].is_string(), "{card}");
    let rest = get(
        addr,
        &format!("/api/pricing?source=card&provider=anthropic&cursor={}", card["nextCursor"].as_str().unwrap()),
    )
    .await;
    assert_eq!(rest["count"].as_u64().unwrap() + 2, rest["total"].as_u64().unwrap());

    let delete = |query: &'static str| async move {
        Client::once(addr, "DELETE", &format!("/api/pricing?{query}"), &[], "").await.status
    };
    assert_eq!(delete("source=import").await, 204);
    assert_eq!(delete("source=import").await, 404);
    assert_eq!(delete("provider=OTHER&model=Gpt-5").await, 204);
    assert_eq!(delete("provider=other&model=gpt-5").await, 404);
    assert_eq!(delete("provider=other").await, 400);
    assert_eq!(get(addr, "/api/pricing").await["count"], 0);
    assert_eq!(lookup("provider=other&model=gpt-5").await["priced"], false);

    // A price for everybody fills gaps.
    let pattern = json!({"provider": "*", "model": "*", "input": 0, "output": 0});
    assert_eq!(send(addr, "POST", "/api/pricing", pattern).await.status, 200);
    let found = lookup("provider=other&model=gpt-5").await;
    assert_eq!(json!([found["matched"], found["price"]["input"]]), json!(["/*", 0]));

    for (body, status) in [
        (r#"{"model":"m"}"#, 422),
        (r#"{"model":"","input":1,"output":1}"#, 422),
        (r#"{"model":" ","input":1,"output":1}"#, 422),
        (r#"{"model":"m","input":-1,"output":1}"#, 422),
        (r#"{"model":"m","input":1.5,"output":1}"#, 422),
        (r#"{"model":"m","input":1,"output":1,"colour":1}"#, 422),
        (r#"{"model":"m","input":1,"output":1,"tiers":[{"above":0}]}"#, 422),
        (r#"{"model":"m","input":1,"output":1,"tiers":[{"input":1}]}"#, 422),
        ("{", 400),
    ] {
        let answer = Client::once(addr, "POST", "/api/pricing", JSON, body).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
    }
    for (body, status) in [("{", 400), ("[]", 422), ("{}", 422), (r#"{"a":{"input_cost_per_token":0}}"#, 422)] {
        let answer = Client::once(addr, "POST", "/api/pricing/import", JSON, body).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
    }
    let text = Client::once(addr, "POST", "/api/pricing/import", &[("content-type", "text/plain")], "{}").await;
    assert_eq!(text.status, 415);
}

#[tokio::test]
async fn every_read_has_a_head_and_says_what_else_it_takes() {
    let router = Router::start("");
    for target in [
        "/api/usage",
        "/api/usage/today",
        "/api/usage/chart",
        "/api/usage/stats",
        "/api/usage/providers",
        "/api/usage/history",
        "/api/usage/request-logs",
        "/api/console-log",
        "/api/usage/export",
        "/api/usage/stream",
        "/api/pricing",
        "/api/pricing/lookup?model=x",
        "/api/events",
    ] {
        assert_eq!(head(router.addr, target).await, 200, "{target}");
        let wrong = Client::once(router.addr, "PATCH", target, JSON, "{}").await;
        let allow = wrong.header("allow").unwrap_or_default();
        assert_eq!(wrong.status, 405, "{target}");
        assert!(allow.contains("GET") && allow.contains("HEAD") && !allow.contains("PATCH"), "{target}: {allow}");
        let mark = if target.contains('?') { '&' } else { '?' };
        let unknown = Client::get(router.addr, &format!("{target}{mark}colour=red")).await;
        assert_eq!((unknown.status, &unknown.json()["error"]["param"]), (400, &"colour".into()), "{target}");
    }
    for target in [
        "/api/usage?groupBy=colour",
        "/api/usage?from=yesterday",
        "/api/usage?tz=Mars/Olympus",
        "/api/usage?from=-1h&to=-2h",
        "/api/usage?groupBy=hour&from=-90d",
        "/api/usage?cursor=%25",
        "/api/usage/chart?days=0",
        "/api/usage/chart?days=90&granularity=hour",
        "/api/usage/chart?period=2d",
        "/api/usage/history?status=fine",
        "/api/usage/history?limit=0",
        "/api/usage/history?limit=1001",
        "/api/usage/history?cursor=bm9uZQ",
        "/api/usage/history?endpoint=weather",
        "/api/usage/request-details",
        "/api/usage/export?format=xml",
        "/api/pricing/lookup",
        "/api/pricing?source=demo",
    ] {
        let answer = Client::get(router.addr, target).await;
        assert_eq!(
            (answer.status, &answer.json()["error"]["code"]),
            (400, &"bad_query".into()),
            "{target}: {}",
            answer.text()
        );
    }
}
