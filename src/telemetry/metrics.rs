//! Prometheus metrics at `/metrics`.
//!
//! Labels are bounded: dialects, configured providers and fixed words; never a model name that a client made up.
//! Streams count their gaps in a local [`Gaps`] and hand them over once, so that no chunk touches shared state.

use std::{
    sync::{Arc, OnceLock, atomic::Ordering},
    time::Duration,
};

use codecs::{dialect::Dialect, hub::Usage};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use super::load::Lanes;

/// Bounds of time histograms in seconds.
const SECONDS: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 120.0];
/// Bounds for our own time in seconds.
const ADDED: [f64; 12] =
    [0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.1, 1.0];

/// How an exchange ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// Dialect of the client.
    pub client: &'static str,
    /// Provider that answered, or empty.
    pub provider: String,
    /// `ok`, `gone` or an error kind.
    pub outcome: &'static str,
}

/// Labels of per-provider metrics.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ProviderLabels {
    /// Configured name.
    pub provider: String,
}

/// Labels of failed attempts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FailureLabels {
    /// Configured name.
    pub provider: String,
    /// How far the failure reaches.
    pub scope: &'static str,
    /// Error kind.
    pub kind: &'static str,
}

/// Labels of token counters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TokenLabels {
    /// Configured name.
    pub provider: String,
    /// `uncached`, `cache_read`, `cache_write`, `output` or `reasoning`.
    pub bucket: &'static str,
    /// `upstream` or `estimate`.
    pub source: &'static str,
}

/// Labels of configurations.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ConfigurationLabels {
    /// `applied` or `refused`.
    pub result: &'static str,
}

type Times<L> = Family<L, Histogram, fn() -> Histogram>;

/// All metrics of the process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    /// Finished exchanges.
    pub requests: Family<RequestLabels, Counter>,
    /// Exchanges in flight.
    pub in_flight: Gauge,
    /// Failed attempts.
    pub failures: Family<FailureLabels, Counter>,
    /// Tokens.
    pub tokens: Family<TokenLabels, Counter>,
    /// From the request's last byte to the first content.
    pub first_token: Times<ProviderLabels>,
    /// Between two reads of one stream.
    pub gap: Histogram,
    /// Our own share of the time to the first byte.
    pub added: Histogram,
    /// Candidates cooling down.
    pub cooling: Gauge,
    /// Configurations that replaced another one, and those that were refused.
    pub configurations: Family<ConfigurationLabels, Counter>,
    /// Streams whose beginning is held back.
    pub holding: Gauge,
    /// Usage rows that wait for the store.
    pub usage_waiting: Gauge,
    /// Usage rows that could not be handed over.
    pub usage_dropped: Counter,
    /// The lanes, for what they carry.
    pub lanes: Lanes,
}

fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("flow_router");
        let requests = Family::default();
        let in_flight = Gauge::default();
        let failures = Family::default();
        let tokens = Family::default();
        let first_token: Times<ProviderLabels> = Family::new_with_constructor(seconds as fn() -> Histogram);
        let gap = seconds();
        let added = Histogram::new(ADDED);
        let cooling = Gauge::default();
        let configurations = Family::default();
        let holding = Gauge::default();
        let usage_waiting = Gauge::default();
        let usage_dropped = Counter::default();
        let lanes = Lanes::default();
        registry.register("requests", "Finished exchanges", requests.clone());
        registry.register("in_flight", "Exchanges in flight", in_flight.clone());
        registry.register("attempt_failures", "Failed attempts at upstreams", failures.clone());
        registry.register("tokens", "Tokens by disjoint bucket (reasoning is a part of output)", tokens.clone());
        let time = |registry: &mut Registry, name: &str, help: &str, metric: Histogram| {
            registry.register_with_unit(name, help, Unit::Seconds, metric);
        };
        registry.register_with_unit(
            "first_token",
            "From the request's last byte to the first content",
            Unit::Seconds,
            first_token.clone(),
        );
        time(&mut registry, "chunk_gap", "Between two reads of one stream", gap.clone());
        time(&mut registry, "added", "Our own share of the time to the first byte", added.clone());
        registry.register("configurations", "Changes of the configuration while running", configurations.clone());
        registry.register("cooling", "Providers and models cooling down", cooling.clone());
        registry.register("holding", "Streams whose beginning is held back", holding.clone());
        registry.register("usage_rows_waiting", "Usage rows that wait for the store", usage_waiting.clone());
        registry.register("usage_rows_dropped", "Usage rows that could not be handed over", usage_dropped.clone());
        registry.register_collector(Box::new(lanes.clone()));
        Self {
            registry: Arc::new(registry),
            requests,
            in_flight,
            failures,
            tokens,
            first_token,
            gap,
            added,
            cooling,
            configurations,
            holding,
            usage_waiting,
            usage_dropped,
            lanes,
        }
    }
}

/// One more on a gauge, until it is dropped.
#[derive(Debug)]
pub struct Held(Gauge);

impl Held {
    /// Counts one.
    pub fn on(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// Counts a configuration that was put in force, or that was not.
    pub fn configuration(&self, result: &'static str) {
        self.configurations.get_or_create(&ConfigurationLabels { result }).inc();
    }

    /// Takes over what the queue of usage rows says of itself.
    pub fn usage_queue(&self, waiting: usize, dropped: u64) {
        self.usage_waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        self.usage_dropped.inner().store(dropped, Ordering::Relaxed);
    }

    /// The exposition in OpenMetrics text.
    pub fn render(&self) -> String {
        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(_) => String::new(),
        }
    }
}

/// Counters of one provider that are asked for again and again: found in their family once, then kept.
#[derive(Debug)]
pub struct Books {
    provider: String,
    /// Answers without fault, per client dialect.
    ok: [OnceLock<Counter>; Dialect::ALL.len()],
    /// Tokens per source and bucket.
    tokens: [[OnceLock<Counter>; BUCKETS.len()]; 2],
    first_token: OnceLock<Histogram>,
}

const BUCKETS: [&str; 5] = ["uncached", "cache_read", "cache_write", "output", "reasoning"];

impl Books {
    /// Books without entries.
    pub fn new(provider: &str) -> Self {
        Self {
            provider: provider.to_owned(),
            ok: Default::default(),
            tokens: Default::default(),
            first_token: OnceLock::new(),
        }
    }

    /// Counts an exchange that is over.
    pub fn finished(&self, metrics: &Metrics, client: Dialect, outcome: &'static str) {
        let find = || {
            let labels = RequestLabels { client: client.name(), provider: self.provider.clone(), outcome };
            metrics.requests.get_or_create_owned(&labels)
        };
        let place = Dialect::ALL.iter().position(|dialect| *dialect == client).filter(|_| outcome == "ok");
        match place.and_then(|place| self.ok.get(place)) {
            Some(kept) => kept.get_or_init(find).inc(),
            None => find().inc(),
        };
    }

    /// Counts the tokens of one exchange.
    pub fn count_tokens(&self, metrics: &Metrics, usage: &Usage, estimated: bool) {
        let (row, source) = if estimated { (1, "estimate") } else { (0, "upstream") };
        let tokens = [usage.uncached, usage.cache_read, usage.cache_write, usage.output, usage.reasoning];
        for ((bucket, kept), tokens) in BUCKETS.into_iter().zip(&self.tokens[row]).zip(tokens) {
            if tokens > 0 {
                let find = || {
                    let labels = TokenLabels { provider: self.provider.clone(), bucket, source };
                    metrics.tokens.get_or_create_owned(&labels)
                };
                kept.get_or_init(find).inc_by(tokens);
            }
        }
    }

    /// Notes the time to the first content.
    pub fn first_token(&self, metrics: &Metrics, time: Duration) {
        let find = || {
            let labels = ProviderLabels { provider: self.provider.clone() };
            metrics.first_token.get_or_create_owned(&labels)
        };
        self.first_token.get_or_init(find).observe(time.as_secs_f64());
    }
}

/// Gaps between the reads of one stream, counted locally.
#[derive(Debug, Default)]
pub struct Gaps {
    /// One counter per bound and one for the rest.
    counts: [u32; SECONDS.len() + 1],
}

impl Gaps {
    /// Counts one gap.
    pub fn add(&mut self, gap: Duration) {
        let seconds = gap.as_secs_f64();
        let bucket = SECONDS.iter().position(|bound| seconds <= *bound).unwrap_or(SECONDS.len());
        self.counts[bucket] = self.counts[bucket].saturating_add(1);
    }

    /// Hands the counts over. Each gap is booked at its bucket's upper bound, and at most 64 per bucket, so that a long
    /// stream costs no more than a short one.
    pub fn flush(&mut self, histogram: &Histogram) {
        for (bucket, count) in std::mem::take(&mut self.counts).into_iter().enumerate() {
            let value = SECONDS.get(bucket).copied().unwrap_or(SECONDS[SECONDS.len() - 1] * 2.0);
            for _ in 0..count.min(64) {
                histogram.observe(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_what_was_counted() {
        let metrics = Metrics::default();
        let labels = RequestLabels { client: "anthropic", provider: "p".into(), outcome: "ok" };
        metrics.requests.get_or_create(&labels).inc();
        Books::new("p").count_tokens(&metrics, &Usage { uncached: 3, output: 4, ..Usage::default() }, false);
        let mut gaps = Gaps::default();
        gaps.add(Duration::from_millis(3));
        gaps.flush(&metrics.gap);
        metrics.usage_queue(2, 7);
        let text = metrics.render();
        for line in [
            "flow_router_requests_total{client=\"anthropic\",provider=\"p\",outcome=\"ok\"} 1",
            "flow_router_tokens_total{provider=\"p\",bucket=\"output\",source=\"upstream\"} 4",
            "flow_router_chunk_gap_seconds_bucket{le=\"0.005\"} 1",
            "flow_router_usage_rows_waiting 2",
            "flow_router_usage_rows_dropped_total 7",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
