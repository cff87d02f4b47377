//! `usage`: what was asked, and what it cost.

use clap::Args;
use serde_json::Value;

use super::{
    cell::{Cell, dollars, grouped},
    context::Context,
    failure::Failure,
    http::query,
    out::Column,
};

#[derive(Debug, Args)]
pub(crate) struct Wanted {
    /// One line per what: day, provider, model, key, endpoint, combo, client; several with commas
    #[arg(long, value_name = "WHAT", default_value = "model", value_delimiter = ',', value_parser = GROUPS)]
    by: Vec<String>,
    /// How many days back
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=3_650))]
    days: u32,
    /// The zone that days are counted in [default: the router's]
    #[arg(long, value_name = "ZONE")]
    tz: Option<String>,
}

const GROUPS: [&str; 7] = ["day", "provider", "model", "key", "endpoint", "combo", "client"];

const NUMBERS: [Column; 8] = [
    Column { title: "REQUESTS", cell: |v| Cell::count(&v["requestCount"]) },
    Column { title: "ERRORS", cell: |v| Cell::count(&v["errorCount"]) },
    Column { title: "IN", cell: |v| Cell::count(&v["promptTokens"]) },
    Column { title: "OUT", cell: |v| Cell::count(&v["completionTokens"]) },
    Column { title: "CACHED", cell: |v| Cell::count(&v["cacheReadTokens"]) },
    Column { title: "LATENCY", cell: |v| Cell::ms(&v["avgLatencyMs"]) },
    Column { title: "FIRST", cell: |v| Cell::ms(&v["avgTtftMs"]) },
    Column { title: "COST", cell: |v| Cell::usd(&v["costUsd"]) },
];

/// The column of a group.
fn column(group: &str) -> Column {
    let (title, cell): (_, fn(&Value) -> Cell) = match group {
        "day" => ("DAY", |v| Cell::of(&v["day"])),
        "provider" => ("PROVIDER", |v| Cell::of(&v["provider"])),
        "key" => ("KEY", |v| Cell::of(&v["key"])),
        "endpoint" => ("ENDPOINT", |v| Cell::of(&v["endpoint"])),
        "combo" => ("COMBO", |v| Cell::of(&v["combo"])),
        "client" => ("CLIENT", |v| Cell::of(&v["client"])),
        _ => ("MODEL", |v| Cell::of(&v["model"])),
    };
    Column { title, cell }
}

pub(crate) async fn run(context: &Context, wanted: Wanted) -> Result<(), Failure> {
    let from = format!("-{}d", wanted.days);
    let by = wanted.by.join(",");
    let query = query(&[("from", Some(&from)), ("groupBy", Some(&by)), ("tz", wanted.tz.as_deref())]);
    let rows = context.router.list(&format!("/api/usage{query}")).await?;
    let columns: Vec<Column> = wanted.by.iter().map(|group| column(group)).chain(NUMBERS).collect();
    context.out.list_with(&columns, &rows, &sum(&rows, wanted.by.len()))?;
    let unpriced: u64 = rows.iter().filter_map(|row| row["unpricedCount"].as_u64()).sum();
    if unpriced > 0 {
        context.out.note(&format!("{} attempts have no known price: the cost is too low by them", grouped(unpriced)));
    }
    Ok(())
}

/// The last line: sums of what can be summed. What has no known price is not in the sum.
fn sum(rows: &[Value], groups: usize) -> Vec<String> {
    let total = |member: &str| grouped(rows.iter().filter_map(|row| row[member].as_u64()).sum());
    // The sum of nothing is minus zero.
    let cost: f64 = rows.iter().filter_map(|row| row["costUsd"].as_f64()).sum::<f64>() + 0.0;
    let mut cells = vec![String::new(); groups];
    if let Some(first) = cells.first_mut() {
        "TOTAL".clone_into(first);
    }
    let counts = ["requestCount", "errorCount", "promptTokens", "completionTokens", "cacheReadTokens"];
    cells.extend(counts.map(total));
    cells.extend([String::new(), String::new(), dollars(cost)]);
    cells
}
