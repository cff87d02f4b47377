//! Sums of days that another program counted.

use rusqlite::{Transaction, params};

use super::write::{ADD, BUCKET, Dims, Kind};

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
pub(crate) fn add_days(tx: &Transaction<'_>, sums: &[DaySum]) -> rusqlite::Result<()> {
    let mut dims = Dims::default();
    let mut insert = tx.prepare_cached(&format!(
        "INSERT INTO usage_bucket ({BUCKET})
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, 0, 0, ?7, ?8, 0, 0, 0, ?9, 0, 0, 0) {ADD}"
    ))?;
    for sum in sums {
        let mut id = |kind, name: &str| dims.some(tx, kind, name);
        let (provider, model) = (id(Kind::Provider, &sum.provider)?, id(Kind::Model, &sum.model)?);
        let key = id(Kind::Key, &sum.key)?;
        let chat = super::Endpoint::Chat as u8;
        insert.execute(params![
            sum.start,
            provider,
            model,
            key,
            chat,
            sum.requests,
            sum.tokens_in,
            sum.tokens_out,
            sum.cost
        ])?;
    }
    Ok(())
}
