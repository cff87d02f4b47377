//! Key figures of a period, and of the one before it.

use rusqlite::Connection;

use super::{
    Endpoint, Outcome, Sum, Sums,
    sums::{each, sums},
};

/// Figures of a period.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stats {
    /// Its sums.
    pub totals: Sums,
    /// The sums of the period of the same length before it.
    pub previous: Sums,
    /// Durations of requests that ended well, in milliseconds.
    pub duration_ms: Percentiles,
    /// Times to their first content, in milliseconds.
    pub ttft_ms: Percentiles,
    /// Output tokens per second between the first content and the end, over all streams that ended well.
    pub tokens_per_second: Option<f64>,
}

/// Values that 50, 95 and 99 of 100 do not exceed; `None` if there are no values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Percentiles {
    /// The median.
    pub p50: Option<u32>,
    /// 95 of 100.
    pub p95: Option<u32>,
    /// 99 of 100.
    pub p99: Option<u32>,
}

impl Percentiles {
    fn of(mut values: Vec<u32>) -> Self {
        let mut at = |percent: usize| {
            let rank = (values.len() * percent).div_ceil(100).checked_sub(1)?;
            Some(*values.select_nth_unstable(rank).1)
        };
        Self { p50: at(50), p95: at(95), p99: at(99) }
    }
}

/// The figures of what `what` selects; its groups and steps do not count. Times are taken from the log, and go as far back
/// as it does; memory is four bytes for each of its rows.
pub fn stats(conn: &Connection, what: &Sum) -> rusqlite::Result<Stats> {
    let whole = Sum { by: Vec::new(), step: None, ..what.clone() };
    let before =
        Sum { from_ms: what.from_ms.saturating_sub(what.to_ms - what.from_ms), to_ms: what.from_ms, ..whole.clone() };
    let total = |what: &Sum| -> rusqlite::Result<Sums> {
        Ok(sums(conn, what)?.into_iter().next().map(|(_, sums)| sums).unwrap_or_default())
    };
    let (mut durations, mut firsts, mut tokens, mut streamed_ms) = (Vec::new(), Vec::new(), 0u64, 0u64);
    each(conn, what, (what.from_ms, what.to_ms), |row| {
        if row.outcome != Outcome::Ok as u8 || row.endpoint == Endpoint::CountTokens as u8 {
            return;
        }
        durations.push(row.duration_ms);
        firsts.extend(row.ttft_ms);
        if let (true, Some(first)) = (row.stream, row.ttft_ms) {
            tokens += u64::from(row.tokens_out);
            streamed_ms += u64::from(row.duration_ms.saturating_sub(first));
        }
    })?;
    Ok(Stats {
        totals: total(&whole)?,
        previous: total(&before)?,
        duration_ms: Percentiles::of(durations),
        ttft_ms: Percentiles::of(firsts),
        tokens_per_second: (streamed_ms > 0).then(|| tokens as f64 * 1_000.0 / streamed_ms as f64),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use jiff::tz::TimeZone;

    use super::{
        super::{
            Dims, UsageRow,
            write::tests::{database, insert, row},
        },
        *,
    };

    #[test]
    fn percentiles_are_values_that_occurred() {
        let hundred = Percentiles::of((1..=100).rev().collect());
        assert_eq!(hundred, Percentiles { p50: Some(50), p95: Some(95), p99: Some(99) });
        assert_eq!(Percentiles::of(vec![7]), Percentiles { p50: Some(7), p95: Some(7), p99: Some(7) });
        assert_eq!(Percentiles::of(Vec::new()), Percentiles::default());
    }

    #[test]
    fn a_period_is_compared_with_the_one_before() {
        let mut conn = database();
        let hour = 3_600_000;
        let rows = [
            row(0),
            row(hour),
            UsageRow { duration_ms: 1_040, tokens_out: 100, ..row(hour) },
            UsageRow { outcome: Outcome::Timeout, duration_ms: 99_999, ..row(hour) },
            UsageRow { stream: false, provider: Some("other".into()), ..row(hour) },
        ];
        insert(&mut conn, &mut Dims::default(), &rows);
        let what =
            Sum { from_ms: hour, to_ms: 2 * hour, by: Vec::new(), step: None, zone: TimeZone::UTC, provider: None };
        let found = stats(&conn, &what).unwrap();
        assert_eq!((found.totals.requests, found.totals.errors, found.previous.requests), (4, 1, 1));
        assert_eq!(found.duration_ms, Percentiles { p50: Some(200), p95: Some(1_040), p99: Some(1_040) });
        assert_eq!(found.ttft_ms.p50, Some(40));
        // 20 tokens in 160 ms and 100 in a second.
        assert_eq!(found.tokens_per_second, Some(120.0 * 1_000.0 / 1_160.0));
        let other = stats(&conn, &Sum { provider: Some("Other".into()), ..what }).unwrap();
        assert_eq!((other.totals.requests, other.duration_ms.p99, other.tokens_per_second), (1, Some(200), None));
    }
}
