//! Sums of days that another program counted.

use rusqlite::Transaction;

use super::{
    Endpoint, Sums,
    write::{Bucket, Dims, Kind, put},
};

/// One day's use of one model at one provider with one key. Empty names stand for none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DaySum {
    /// A second of that day, in Unix time; a multiple of a bucket's length.
    pub(crate) start: i64,
    /// Name of the provider.
    pub(crate) provider: String,
    /// The model.
    pub(crate) model: String,
    /// Name of the key.
    pub(crate) key: String,
    /// Requests.
    pub(crate) requests: i64,
    /// Input tokens.
    pub(crate) tokens_in: i64,
    /// Output tokens.
    pub(crate) tokens_out: i64,
    /// In nano-USD.
    pub(crate) cost: i64,
}

/// Adds sums to the buckets, as chat requests that went well.
pub(crate) fn add_days(tx: &Transaction<'_>, days: &[DaySum]) -> rusqlite::Result<()> {
    let mut dims = Dims::default();
    let mut sums = Vec::with_capacity(days.len());
    for day in days {
        let mut id = |kind, name: &str| dims.some(tx, kind, name);
        let bucket = Bucket {
            start: day.start,
            provider: id(Kind::Provider, &day.provider)?,
            model: id(Kind::Model, &day.model)?,
            key: id(Kind::Key, &day.key)?,
            endpoint: Endpoint::Chat as u8,
        };
        let [requests, tokens_in, tokens_out] = [day.requests, day.tokens_in, day.tokens_out].map(|count| count as u64);
        sums.push((bucket, Sums { requests, tokens_in, tokens_out, cost: day.cost, ..Sums::default() }));
    }
    put(tx, sums)
}
