//! How the store is, for the metrics: looked up when they are asked for, so that no request pays for it.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet},
    metrics::MetricType,
    registry::Unit,
};

use crate::store::{State, Status, Store};

/// The store to look at. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Records(Arc<OnceLock<Store>>);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FileLabels {
    file: &'static str,
}

/// A number at one moment.
type Row = (&'static str, &'static str, fn(&Status) -> u64);

const GAUGES: [Row; 3] = [
    ("usage_rows_waiting", "Usage rows that wait for the store", |status| status.backlog_rows),
    ("usage_batch_rows", "Usage rows that were written at once the last time", |status| status.last_batch),
    ("store_degraded", "1 while the store cannot write, or cannot be used at all", |status| {
        (status.state != State::Ok).into()
    }),
];

const COUNTERS: [Row; 2] = [
    ("usage_rows_dropped", "Usage rows that were given up", |status| status.dropped_rows),
    ("usage_rows_written", "Usage rows that are in the database", |status| status.written_rows),
];

impl Records {
    /// Has the store looked at from now on. There is one in a process: a second one is not taken.
    pub fn watch(&self, store: Store) {
        let _ = self.0.set(store);
    }
}

impl Collector for Records {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(store) = self.0.get() else { return Ok(()) };
        let status = store.status();
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        for (name, help, value) in GAUGES {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            metric.encode_gauge(&signed(value(&status)))?;
        }
        for (name, help, value) in COUNTERS {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            metric.encode_counter::<NoLabelSet, _, u64>(&value(&status), None)?;
        }
        let help = "How long the oldest row in the writer's hands has waited";
        let mut metric = encoder.encode_descriptor("usage_lag", help, Some(&Unit::Seconds), MetricType::Gauge)?;
        metric.encode_gauge(&status.lag.as_secs_f64())?;
        let help = "Size of the database's files";
        let mut metric = encoder.encode_descriptor("store_size", help, Some(&Unit::Bytes), MetricType::Gauge)?;
        for (file, size) in [("database", status.database_bytes), ("log", status.wal_bytes)] {
            metric.encode_family(&FileLabels { file })?.encode_gauge(&signed(size))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use prometheus_client::{encoding::text::encode, registry::Registry};

    use super::*;
    use crate::store::Options;

    #[test]
    fn the_store_has_its_numbers() {
        let records = Records::default();
        let mut registry = Registry::with_prefix("flow_router");
        registry.register_collector(Box::new(records.clone()));
        let shown = |registry: &Registry| {
            let mut text = String::new();
            encode(&mut text, registry).unwrap();
            text
        };
        assert_eq!(shown(&registry), "# EOF\n");
        let dir = tempfile::tempdir().unwrap();
        let options = Options::new(dir.path());
        std::fs::create_dir(dir.path().join("db")).unwrap();
        std::fs::write(options.database(), "no database").unwrap();
        records.watch(Store::open_or_wait(&options).unwrap());
        let text = shown(&registry);
        for line in [
            "# TYPE flow_router_usage_rows_waiting gauge",
            "flow_router_usage_rows_waiting 0",
            "flow_router_usage_rows_dropped_total 0",
            "flow_router_usage_rows_written_total 0",
            "flow_router_usage_lag_seconds 0.0",
            "flow_router_store_degraded 1",
            "flow_router_store_size_bytes{file=\"database\"} 11",
            "flow_router_store_size_bytes{file=\"log\"} 0",
        ] {
            assert!(text.lines().any(|own| own == line), "`{line}` is not in\n{text}");
        }
    }
}
