#![allow(clippy::unwrap_used)]
use codecs::dialect::Dialect;

use super::*;
use crate::{
    store::usage::{Endpoint, Outcome},
    usage::live::{RING_EVENTS, Started},
};

fn start(id: &str, key: &str, model: &str) -> What {
    What::RequestStart(Box::new(Started {
        request_id: id.into(),
        key: Some(key.into()),
        client: None,
        session: Some("s".into()),
        dialect: Dialect::Anthropic,
        endpoint: Endpoint::Chat,
        model: model.into(),
        stream: true,
    }))
}

fn route(id: &str, provider: &str) -> What {
    let (request_id, provider, model) = (id.into(), provider.into(), "used".into());
    What::RequestRoute { request_id, attempt: 1, provider, model, reason: String::new() }
}

fn first(id: &str) -> What {
    What::RequestFirst { request_id: id.into(), ttft_ms: 1 }
}

fn end(id: &str, key: &str, provider: &str, attempt: u16, outcome: Outcome) -> What {
    What::RequestEnd(Arc::new(UsageRow {
        ts_ms: 0,
        request_id: id.into(),
        session: Some("s".into()),
        key: Some(key.into()),
        provider: Some(provider.into()),
        model_requested: "asked".into(),
        model: Some("used".into()),
        alias: None,
        client_ip: None,
        client: None,
        dialect: Dialect::Anthropic,
        dialect_upstream: None,
        endpoint: Endpoint::Chat,
        stream: true,
        attempt,
        attempts: 2,
        status: if outcome == Outcome::Ok { 200 } else { 503 },
        outcome,
        error: None,
        tokens_in: 1,
        tokens_out: 2,
        tokens_cache_read: 3,
        tokens_cache_write: 0,
        tokens_cache_write_1h: 0,
        tokens_reasoning: 0,
        estimated: false,
        cost: None,
        ttft_ms: None,
        duration_ms: 9,
        added_us: None,
        bytes_in: 0,
        bytes_out: 0,
    }))
}

/// A request that falls back from `a` to `b`, and one that `b` answers at once.
fn story() -> Vec<What> {
    vec![
        start("1", "laptop", "asked"),
        start("2", "phone", "other"),
        route("1", "a"),
        end("1", "laptop", "a", 1, Outcome::UpstreamError),
        route("2", "b"),
        route("1", "b"),
        first("1"),
        first("2"),
        end("1", "laptop", "b", 2, Outcome::Ok),
        end("2", "phone", "b", 2, Outcome::ClientGone),
        What::ConfigChanged { kind: "key", id: "k".to_owned() },
        What::ProviderState { provider: "a".into(), state: "ok", until_ms: None },
    ]
}

fn taken(filter: Value) -> Vec<usize> {
    let mut filter = Filter::of(&filter).unwrap();
    let taken = story().iter().enumerate().filter(|(_, what)| filter.takes(what)).map(|(at, _)| at).collect();
    assert!(filter.running.is_empty(), "{:?}", filter.running);
    taken
}

#[test]
fn filters_ask_what_is_known_by_then() {
    assert_eq!(taken(json!({})), (0..12).collect::<Vec<_>>());
    assert_eq!(taken(json!({"key": "LAPTOP"})), [0, 2, 3, 5, 6, 8, 10, 11]);
    assert_eq!(taken(json!({"key": "lap*", "provider": "b"})), [5, 6, 8, 10]);
    assert_eq!(taken(json!({"provider": "a"})), [2, 3, 10, 11]);
    assert_eq!(taken(json!({"model": "other"})), [1, 4, 7, 10, 11]);
    assert_eq!(taken(json!({"model": "used", "key": "phone"})), [4, 7, 9, 10, 11]);
    assert_eq!(taken(json!({"session": "S"})), [10, 11]);
    assert_eq!(taken(json!({"status": "error"})), [3, 10, 11]);
    assert_eq!(taken(json!({"status": "client_gone"})), [9, 10, 11]);
    assert_eq!(taken(json!({"status": "503", "provider": "b"})), [9, 10]);
    let problem = Filter::of(&json!({"status": "well"})).unwrap_err();
    assert_eq!((problem.status, problem.param.as_deref()), (422, Some("filter.status")));
}

#[test]
fn what_filters_remember_is_bounded() {
    let mut filter = Filter::of(&json!({"key": "k"})).unwrap();
    for n in 0..REMEMBERED + 3 {
        assert!(filter.takes(&start(&n.to_string(), "k", "m")));
    }
    assert_eq!(filter.running.len(), REMEMBERED);
    assert!(!filter.takes(&first("2")) && filter.takes(&first("3")));
}

async fn texts(pieces: &mut impl Pieces, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    for _ in 0..count {
        texts.push(String::from_utf8(pieces.next().await.unwrap().unwrap().to_vec()).unwrap());
    }
    texts
}

fn watching(feed: &Feed, after: Option<u64>) -> Watching {
    Watching::new(feed, USUAL.to_vec(), Filter::default(), after, None)
}

#[tokio::test]
async fn a_client_begins_with_a_number_and_goes_on_behind_it() {
    let feed = Feed::default();
    let mut one = watching(&feed, None);
    let last = feed.last_id();
    assert_eq!(texts(&mut one, 1).await, [format!("id: {last}\n\n")]);
    story().into_iter().for_each(|what| feed.publish(|| what));
    let all = texts(&mut one, 12).await;
    assert!(all[0].starts_with(&format!("id: {}\nevent: request.start\ndata: {{\"requestId\":\"1\"", last + 1)));
    assert!(all[11].contains("event: provider.state\n") && all[11].ends_with("\n\n"));
    // Back behind the tenth.
    let again = texts(&mut watching(&feed, Some(last + 10)), 2).await;
    assert_eq!(again, all[10..]);
    // Nothing has come since.
    let mut up_to_date = watching(&feed, Some(last + 12));
    assert!(up_to_date.listener.ready().is_none());
}

#[tokio::test]
async fn what_was_missed_is_said() {
    let feed = Feed::default();
    let mut slow = watching(&feed, None);
    texts(&mut slow, 1).await;
    let last = feed.last_id();
    (0..RING_EVENTS + 5).for_each(|_| feed.publish(|| first("1")));
    let lag = format!("id: {}\nevent: lag\ndata: {{\"dropped\":5}}\n\n", last + 5);
    let told = texts(&mut slow, 2).await;
    assert_eq!(told[0], lag);
    assert!(told[1].starts_with(&format!("id: {}\n", last + 6)));
    let now = feed.last_id();
    let reset = format!("id: {now}\nevent: reset\ndata: {{}}\n\n");
    for gone in [0, last, now + 9] {
        assert_eq!(texts(&mut watching(&feed, Some(gone)), 1).await, [reset.as_str()], "{gone}");
    }
}

#[tokio::test]
async fn the_older_form_tells_ends_only() {
    let feed = Feed::default();
    let mut ends = Ends::new(&feed, None);
    let last = feed.last_id();
    story().into_iter().for_each(|what| feed.publish(|| what));
    let told = texts(&mut ends, 3).await;
    assert_eq!(told[0], format!("id: {last}\nevent: ready\ndata: {{\"lastId\":{last}}}\n\n"));
    let data = told[1].strip_prefix(&format!("id: {}\nevent: usage\ndata: ", last + 9)).unwrap();
    let document: Value = serde_json::from_str(data).unwrap();
    let ts = &document["ts"];
    assert_eq!(
        document,
        json!({"id": last + 9, "ts": ts, "provider": "b", "model": "used", "promptTokens": 4, "completionTokens": 2,
            "costUsd": null, "latencyMs": 9, "status": 200})
    );
    assert!(told[2].contains("\"status\":503"));
    assert!(ends.listener.ready().is_some_and(|next| matches!(next, Next::Event(_))));
}
