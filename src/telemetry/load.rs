//! What the lanes carry right now: connections and what waits for one.
//!
//! Nothing is kept here. The numbers are looked up when metrics are asked for, so that neither a chunk nor a request
//! pays for them.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet},
    metrics::MetricType,
};
use proxy::{Client, Monitor, PoolLoad, ServerLoad};

/// The lanes to look at. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Lanes(Arc<Mutex<Vec<Lane>>>);

#[derive(Debug)]
struct Lane {
    server: Monitor,
    client: Client,
}

/// One lane's numbers at one moment.
struct Look {
    lane: usize,
    server: ServerLoad,
    pool: PoolLoad,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LaneLabels {
    lane: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UpstreamLabels {
    lane: usize,
    protocol: &'static str,
    state: &'static str,
}

impl Lanes {
    /// Has a lane looked at from now on. Lanes are numbered from 0 in the order in which they come.
    pub fn add(&self, server: Monitor, client: Client) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Lane { server, client });
    }

    fn look(&self) -> Vec<Look> {
        let lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let looks = lanes.iter().enumerate();
        looks.map(|(lane, parts)| Look { lane, server: parts.server.load(), pool: parts.client.load() }).collect()
    }
}

/// A metric with one number per lane.
type Row = (&'static str, &'static str, fn(&Look) -> usize);

const GAUGES: [Row; 5] = [
    ("client_connections", "Open connections of clients", |look| look.server.connections),
    ("client_connections_limit", "Most connections of clients at once", |look| look.server.limit),
    ("http_requests_open", "Requests of any kind whose answer is not complete", |look| look.server.exchanges),
    ("upstream_connecting", "Requests that wait for a connection to a provider", |look| look.pool.connecting),
    ("upstream_streams", "Streams on shared HTTP/2 connections to providers", |look| look.pool.h2_streams),
];

/// Likewise, for numbers that only grow.
type Total = (&'static str, &'static str, fn(&Look) -> u64);

const COUNTERS: [Total; 2] = [
    ("client_connections_full", "How often the limit stopped a lane from accepting", |look| look.server.full),
    ("accept_failures", "Connections that the system would not let a lane accept", |look| look.server.accept_failures),
];

/// Connections to providers: protocol, state, number.
type Connections = (&'static str, &'static str, fn(&PoolLoad) -> usize);

const UPSTREAM: [Connections; 4] = [
    ("http1", "idle", |pool| pool.h1_idle),
    ("http1", "in_use", |pool| pool.h1_in_use),
    ("http2", "idle", |pool| pool.h2_idle),
    ("http2", "in_use", |pool| pool.h2_in_use),
];

impl Collector for Lanes {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let looks = self.look();
        for (name, help, value) in GAUGES {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for look in &looks {
                metric.encode_family(&LaneLabels { lane: look.lane })?.encode_gauge(&signed(value(look)))?;
            }
        }
        for (name, help, value) in COUNTERS {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for look in &looks {
                let labels = LaneLabels { lane: look.lane };
                metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value(look), None)?;
            }
        }
        let help = "Connections to providers";
        let mut metric = encoder.encode_descriptor("upstream_connections", help, None, MetricType::Gauge)?;
        for look in &looks {
            for (protocol, state, value) in UPSTREAM {
                let labels = UpstreamLabels { lane: look.lane, protocol, state };
                metric.encode_family(&labels)?.encode_gauge(&signed(value(&look.pool)))?;
            }
        }
        Ok(())
    }
}

fn signed(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use prometheus_client::{encoding::text::encode, registry::Registry};
    use proxy::{ClientConfig, Limits, Server, Timeouts};

    use super::*;

    #[test]
    fn every_lane_has_its_numbers() {
        let lanes = Lanes::default();
        let mut registry = Registry::with_prefix("flow_router");
        registry.register_collector(Box::new(lanes.clone()));
        for connections in [7, 9] {
            let server = Server::new(Limits { connections, ..Limits::default() }, Timeouts::default());
            lanes.add(server.monitor(), Client::new(ClientConfig::default()).unwrap());
        }
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "# TYPE flow_router_client_connections_limit gauge",
            "flow_router_client_connections_limit{lane=\"0\"} 7",
            "flow_router_client_connections_limit{lane=\"1\"} 9",
            "flow_router_client_connections{lane=\"1\"} 0",
            "# TYPE flow_router_client_connections_full counter",
            "flow_router_client_connections_full_total{lane=\"0\"} 0",
            "flow_router_upstream_connections{lane=\"0\",protocol=\"http2\",state=\"in_use\"} 0",
        ] {
            assert!(text.lines().any(|own| own == line), "`{line}` is not in\n{text}");
        }
    }
}
