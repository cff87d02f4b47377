//! Usage rows as an exchange would hand them over.
#![allow(dead_code, clippy::unwrap_used)]

use codecs::dialect::Dialect;
use flow_router::store::usage::{Endpoint, Outcome, UsageRow};

/// A good attempt, the `n`th of its session.
pub(crate) fn usage_row(n: i64) -> UsageRow {
    UsageRow {
        ts_ms: now_ms() + n,
        request_id: format!("request-{n}").into(),
        session: None,
        key: Some("laptop".into()),
        provider: Some("acme".into()),
        model_requested: "large".into(),
        model: Some("large-2".into()),
        alias: None,
        client_ip: Some([127, 0, 0, 1].into()),
        client: Some("codex".into()),
        dialect: Dialect::OpenAiChat,
        dialect_upstream: Some(Dialect::Anthropic),
        endpoint: Endpoint::Chat,
        stream: true,
        attempt: 1,
        attempts: 1,
        status: 200,
        outcome: Outcome::Ok,
        error: None,
        tokens_in: 100,
        tokens_out: 20,
        tokens_cache_read: 30,
        tokens_cache_write: 5,
        tokens_cache_write_1h: 1,
        tokens_reasoning: 7,
        estimated: false,
        cost: Some(1_500),
        ttft_ms: Some(40),
        duration_ms: 200,
        added_us: Some(90),
        bytes_in: 1_000,
        bytes_out: 2_000,
    }
}

/// Now, so that upkeep keeps the rows, in Unix milliseconds.
fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_millis() as i64
}
