//! What the gateway tells about itself: probes, metrics, response headers and log lines; and what it never tells.
#![allow(clippy::unwrap_used)]

mod support;

use codecs::dialect::Dialect;
use support::{Client, Router, Upstream, router::provider, speech};

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

#[tokio::test]
async fn probes() {
    let router = Router::start("");
    for target in ["/healthz", "/readyz"] {
        let answer = Client::get(router.addr, target).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok\n"), "{target}");
        let mut client = Client::connect(router.addr).await;
        client.send(format!("GET {target} HTTP/1.1\r\nHost: pod-7.cluster.example\r\n\r\n")).await;
        assert_eq!(client.answer().await.status, 200, "a probe comes under any name");
    }
}

/// The value of a line of the exposition.
fn value(metrics: &str, line: &str) -> Option<f64> {
    metrics.lines().find_map(|other| other.strip_prefix(line)).and_then(|rest| rest.trim().parse().ok())
}

#[tokio::test]
async fn metrics_tell_requests_tokens_times_and_failures() {
    let bad = Upstream::always(503, JSON, speech::error_body(Dialect::OpenAiChat, "no")).await;
    let good = Upstream::streams("text/event-stream", speech::stream(Dialect::Anthropic).blocks()).await;
    let config = provider("bad", Dialect::OpenAiChat, &bad) + &provider("good", Dialect::Anthropic, &good);
    let router = Router::start(&config);
    let ask = async |model: &str| {
        Client::post(router.addr, "/v1/chat/completions", speech::request(Dialect::OpenAiChat, model, true))
            .await
            .status
    };
    assert_eq!(ask("good/m").await, 200);
    assert_eq!(ask("m").await, 200);
    assert_eq!(ask("bad/m").await, 503);
    assert_eq!(Client::post(router.addr, "/v1/messages", "{").await.status, 400);

    for line in ["outcome=\"ok\"} 2", "outcome=\"overloaded\"} 1", "outcome=\"invalid\"} 1"] {
        Client::metrics(router.addr, line).await;
    }
    let answer = Client::get(router.addr, "/metrics").await;
    assert!(answer.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    let metrics = answer.text();
    for (line, expected) in [
        (r#"flow_router_requests_total{client="openai_chat",provider="good",outcome="ok"}"#, 2.0),
        (r#"flow_router_requests_total{client="openai_chat",provider="bad",outcome="overloaded"}"#, 1.0),
        (r#"flow_router_requests_total{client="anthropic",provider="",outcome="invalid"}"#, 1.0),
        (r#"flow_router_attempt_failures_total{provider="bad",scope="model",kind="overloaded"}"#, 2.0),
        (r#"flow_router_tokens_total{provider="good",bucket="uncached",source="upstream"}"#, 22.0),
        (r#"flow_router_tokens_total{provider="good",bucket="output",source="upstream"}"#, 6.0),
        (r#"flow_router_first_token_seconds_count{provider="good"}"#, 2.0),
        ("flow_router_added_seconds_count", 2.0),
        ("flow_router_in_flight", 0.0),
        ("flow_router_cooling", 1.0),
    ] {
        assert_eq!(value(&metrics, line), Some(expected), "{line}\n{metrics}");
    }
    assert!(metrics.contains("flow_router_chunk_gap_seconds_bucket"), "{metrics}");
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
}

#[tokio::test]
async fn answers_say_who_gave_them() {
    let fields = [("content-type", "application/json"), ("x-request-id", "of-the-upstream")];
    for (client, upstream_dialect) in
        [(Dialect::OpenAiChat, Dialect::OpenAiChat), (Dialect::Ollama, Dialect::OpenAiChat)]
    {
        let upstream = Upstream::always(200, &fields, speech::reply(upstream_dialect)).await;
        let router = Router::start(&provider("up", upstream_dialect, &upstream));
        let mut ids = Vec::new();
        for _ in 0..2 {
            let target = speech::path(client, "m", false);
            let answer = Client::post(router.addr, &target, speech::request(client, "m", false)).await;
            assert_eq!(answer.header("x-flow-router-provider"), Some("up"));
            assert_eq!(answer.header("x-flow-router-model"), Some("m"));
            assert_eq!(answer.header("x-flow-router-attempts"), None);
            let added: f64 = answer.header("x-flow-router-added-ms").unwrap().parse().unwrap();
            assert!((0.0..10_000.0).contains(&added));
            ids.push(answer.header("x-flow-router-request-id").unwrap().to_owned());
            let upstream_id =
                if client == upstream_dialect { "x-request-id" } else { "x-flow-router-upstream-request-id" };
            assert_eq!(answer.header(upstream_id), Some("of-the-upstream"), "{client:?}");
        }
        assert_ne!(ids[0], ids[1]);
    }
    let router = Router::start("");
    let answer = Client::post(router.addr, "/v1/messages", "{").await;
    let id = answer.header("request-id").unwrap();
    assert_eq!(answer.json()["request_id"], id);
    assert_eq!(answer.header("x-flow-router-error"), Some("invalid"));
}

/// Everything that must stay where it was put. None looks like a key of a known vendor, so that no pattern can help.
const PROVIDER_KEY: &str = "planted~provider~credential~1";
const HEADER_SECRET: &str = "planted~header~secret~2";
const CLIENT_KEY: &str = "planted~client~credential~3";
const QUERY_KEY: &str = "planted~query~credential~4";
const PROMPT: &str = "planted prompt five";
const ANSWER: &str = "planted answer six";

#[tokio::test]
async fn no_secret_and_no_text_is_told() {
    for dialect in Dialect::ALL {
        for other in [dialect, Dialect::OpenAiChat, Dialect::Anthropic] {
            let quoted = speech::error_body(other, &format!("key {PROVIDER_KEY} and {HEADER_SECRET} are refused"));
            let refuses = Upstream::always(401, JSON, quoted.clone()).await;
            let hides = Upstream::always(200, JSON, quoted.clone()).await;
            let answers = Upstream::always(200, JSON, speech::reply(other).replace(speech::TEXT, ANSWER)).await;
            let nonsense = Upstream::always(200, JSON, format!("<html>{ANSWER} {PROVIDER_KEY}")).await;
            let config: String = [("r", &refuses), ("h", &hides), ("g", &answers), ("n", &nonsense)]
                .iter()
                .map(|(name, upstream)| {
                    let headers = format!("headers = {{ \"X-Extra\" = \"{HEADER_SECRET}\" }}\n");
                    provider(name, other, upstream).trim_end().replace("upstream-key", PROVIDER_KEY) + "\n" + &headers
                })
                .collect();
            let router = Router::start_with(&config, &["--log", "trace"]);
            let bearer = format!("Bearer {CLIENT_KEY}");
            for provider in ["r", "h", "g", "n"] {
                for stream in [false, true] {
                    let model = format!("{provider}/m");
                    let target = speech::path(dialect, &model, stream);
                    let target = target.clone() + if target.contains('?') { "&" } else { "?" } + "key=" + QUERY_KEY;
                    let body = speech::request(dialect, &model, stream).replace("Say hello", PROMPT);
                    let fields = [("Authorization", bearer.as_str())];
                    let answer = Client::once(router.addr, "POST", &target, &fields, &body).await;
                    let shown = format!("{:?} {}", answer.head, answer.text());
                    for secret in [PROVIDER_KEY, HEADER_SECRET, CLIENT_KEY, QUERY_KEY] {
                        assert!(!shown.contains(secret), "{dialect:?} {model} from {other:?}: {shown}");
                    }
                    assert_eq!(answer.status == 200, provider == "g", "{dialect:?} {model} from {other:?}: {shown}");
                }
            }
            let broken = format!("{{\"x\":\"{PROMPT}\", \"y\": {PROVIDER_KEY}}}");
            let answer = Client::post(router.addr, &speech::path(dialect, "g/m", false), broken).await;
            assert!(!answer.text().contains(PROMPT), "{}", answer.text());
            let metrics = Client::metrics(router.addr, "outcome=\"ok\"").await;
            let told = router.log() + &metrics;
            assert!(told.contains("attempt failed"), "{told}");
            for secret in [PROVIDER_KEY, HEADER_SECRET, CLIENT_KEY, QUERY_KEY, PROMPT, ANSWER] {
                assert!(!told.contains(secret), "{dialect:?} from {other:?}: {secret} is in\n{told}");
            }
        }
    }
}
