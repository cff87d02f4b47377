//! The writer: how fast usage rows become durable, and how long a change takes, on this machine's disk.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flow_router::store::{Options, Store, settings};

#[path = "../tests/support/rows.rs"]
mod rows;

/// Rows per round: they all fit the queue.
const ROWS: i64 = 50_000;

fn store(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&Options::new(dir.path())).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();

    let mut group = criterion.benchmark_group("store");
    group.sample_size(10).measurement_time(Duration::from_secs(10)).throughput(Throughput::Elements(ROWS as u64));
    group.bench_function("usage rows written", |bencher| {
        bencher.iter_custom(|rounds| {
            let mut taken = Duration::ZERO;
            for _ in 0..rounds {
                let rows: Vec<_> = (0..ROWS).map(rows::usage_row).collect();
                let queue = store.usage();
                let goal = store.status().written_rows + ROWS as u64;
                let began = Instant::now();
                for row in rows {
                    assert!(queue.try_push(row));
                }
                while store.status().written_rows < goal {
                    std::thread::sleep(Duration::from_millis(1));
                }
                taken += began.elapsed();
            }
            taken
        });
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("push of a row", |bencher| {
        let queue = store.usage();
        bencher.iter_custom(|rounds| {
            let mut taken = Duration::ZERO;
            for round in 0..rounds {
                let row = rows::usage_row(round as i64);
                let began = Instant::now();
                black_box(queue.try_push(row));
                taken += began.elapsed();
            }
            taken
        });
    });
    group.bench_function("a change, durable", |bencher| {
        bencher.iter(|| runtime.block_on(store.write(|change| settings::set(change, "key", &1.into()))).unwrap());
    });
    group.finish();
    store.close(Duration::from_secs(30));
}

criterion_group!(benches, store);
criterion_main!(benches);
