//! What was used: one row per attempt, the queue in front of the writer, and the tables behind it.
//!
//! ```text
//!   exchange ──try_push──▶ Queue ──(writer thread, batches)──▶ write ──▶ log_segment   rows by the hundred
//!                            │                                     └───▶ usage_bucket  sums of 15 minutes
//!                            └─ full: counted, dropped, nobody waits
//! ```
//!
//! Texts that repeat (providers, models, keys, clients) are stored once, in `dim`. An unknown price is NULL, never 0.

mod days;
mod list;
mod names;
mod packed;
mod queue;
mod retain;
mod row;
mod segment;
mod stats;
mod sums;
mod table;
#[cfg(test)]
mod tests;
mod write;

pub use list::{Cursor, Filter, Logged, Page, Wanted, list, request};
pub use names::Names;
pub use queue::{QUEUE_ROWS, Queue};
pub use retain::Limits;
pub use row::{Endpoint, Outcome, UsageRow};
pub use stats::{Percentiles, Stats, stats};
pub use sums::{By, Chart, Group, Series, Step, Sum, Sums, chart, first_ms, last_seen, sums};

pub(super) use days::{DaySum, add_days};
pub(super) use queue::{Rows, queue};
pub(super) use retain::retain;
pub(super) use segment::SCHEMA as SEGMENTS;
pub(super) use table::pack_log;
pub(super) use write::{Dims, write};

/// The tables of usage, a part of the first migration. The second one packs `request_log` into `log_segment`.
///
/// Ids of `dim` are plain integers without a foreign key: a row of `dim` is never deleted, and a check per column and row
/// would cost the writer a third of its speed. In `usage_bucket` 0 stands for "none", because a key cannot be NULL.
pub(super) const SCHEMA: &str = "
CREATE TABLE dim (
    id INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    value TEXT NOT NULL,
    UNIQUE (kind, value)
) STRICT;

CREATE TABLE request_log (
    id INTEGER PRIMARY KEY,
    ts_ms INTEGER NOT NULL,
    request_id TEXT NOT NULL,
    session_id TEXT,
    key_id INTEGER,
    conn_id INTEGER,
    model_req INTEGER,
    model_up INTEGER,
    alias INTEGER,
    client INTEGER,
    client_ip TEXT,
    dialect_in INTEGER NOT NULL,
    dialect_up INTEGER,
    endpoint INTEGER NOT NULL,
    stream INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    status INTEGER NOT NULL,
    outcome INTEGER NOT NULL,
    error TEXT,
    tok_in INTEGER NOT NULL,
    tok_out INTEGER NOT NULL,
    tok_cache_read INTEGER NOT NULL,
    tok_cache_write INTEGER NOT NULL,
    tok_cache_write_1h INTEGER NOT NULL,
    tok_reasoning INTEGER NOT NULL,
    usage_est INTEGER NOT NULL,
    cost INTEGER,
    ttft_ms INTEGER,
    dur_ms INTEGER NOT NULL,
    added_us INTEGER,
    bytes_in INTEGER NOT NULL,
    bytes_out INTEGER NOT NULL
) STRICT;
CREATE INDEX request_log_time ON request_log (ts_ms);
CREATE INDEX request_log_conn ON request_log (conn_id, ts_ms);
CREATE INDEX request_log_key ON request_log (key_id, ts_ms);
CREATE INDEX request_log_session ON request_log (session_id) WHERE session_id IS NOT NULL;
CREATE INDEX request_log_failed ON request_log (ts_ms) WHERE outcome <> 0;

CREATE TABLE usage_bucket (
    start INTEGER NOT NULL,
    conn_id INTEGER NOT NULL,
    model INTEGER NOT NULL,
    key_id INTEGER NOT NULL,
    endpoint INTEGER NOT NULL,
    n INTEGER NOT NULL,
    n_err INTEGER NOT NULL,
    n_retried INTEGER NOT NULL,
    n_unpriced INTEGER NOT NULL,
    tok_in INTEGER NOT NULL,
    tok_out INTEGER NOT NULL,
    tok_cache_read INTEGER NOT NULL,
    tok_cache_write INTEGER NOT NULL,
    tok_reasoning INTEGER NOT NULL,
    cost INTEGER NOT NULL,
    dur_sum INTEGER NOT NULL,
    ttft_sum INTEGER NOT NULL,
    ttft_n INTEGER NOT NULL,
    PRIMARY KEY (start, conn_id, model, key_id, endpoint)
) STRICT, WITHOUT ROWID;
";
