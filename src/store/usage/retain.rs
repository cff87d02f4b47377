//! What is old goes: rows of the log in small passes, buckets into days, days after years.

use jiff::{Timestamp, ToSpan, Zoned, tz::TimeZone};
use rusqlite::{Connection, OptionalExtension};

use super::{
    segment::{count, remove},
    sums::Sums,
    write::{ADD, BUCKET},
};

/// Rows of the log that one pass deletes: a dozen milliseconds of the writer's time.
const PASS_ROWS: i64 = 5_000;
/// Days whose buckets one pass joins.
const PASS_DAYS: usize = 4;
const DAY_MS: i64 = 86_400_000;

/// How long what is kept.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Rows of the log, in days.
    pub log_days: u32,
    /// Rows of the log, at most.
    pub log_rows: u32,
    /// Buckets of a quarter of an hour, in days.
    pub bucket_days: u32,
    /// Buckets of a day, in days.
    pub daily_days: u32,
    /// Whose days.
    pub zone: TimeZone,
}

impl Default for Limits {
    fn default() -> Self {
        Self { log_days: 30, log_rows: 1_000_000, bucket_days: 90, daily_days: 730, zone: TimeZone::UTC }
    }
}

/// One pass, outside of any transaction. Returns whether there is more to do; `now_ms` is in Unix
/// milliseconds.
pub(crate) fn retain(conn: &Connection, limits: &Limits, now_ms: i64) -> rusqlite::Result<bool> {
    let before = |days: u32| now_ms.saturating_sub(i64::from(days).saturating_mul(DAY_MS));
    let too_many = count(conn)? - i64::from(limits.log_rows);
    let removed = remove(conn, too_many, before(limits.log_days), PASS_ROWS)?;
    let joined = join(conn, &limits.zone, before(limits.bucket_days))?;
    let gone = before(limits.daily_days).div_euclid(1_000);
    conn.prepare_cached("DELETE FROM usage_bucket WHERE start < ?1")?.execute([gone])?;
    Ok(removed >= PASS_ROWS || joined >= PASS_DAYS)
}

/// Joins the buckets of whole days before a time. Returns how many days it joined, at most [`PASS_DAYS`].
fn join(conn: &Connection, zone: &TimeZone, before_ms: i64) -> rusqlite::Result<usize> {
    let Some(limit) = midnight(before_ms, zone) else { return Ok(0) };
    let end = limit.timestamp().as_second();
    let mut joined = 0;
    // The next bucket that is not the first one of its day; from it on to the next day.
    let mut from: Option<i64> = conn
        .prepare_cached("SELECT min(start) FROM usage_bucket WHERE start < ?1")?
        .query_row([end], |row| row.get(0))?;
    while let Some(start) = from.filter(|_| joined < PASS_DAYS) {
        let Some(day) = midnight(start.saturating_mul(1_000), zone) else { break };
        let Ok(next) = day.checked_add(1.day()).and_then(|next| next.start_of_day()) else { break };
        let (day, next) = (day.timestamp().as_second(), next.timestamp().as_second().min(end));
        let fine = "SELECT EXISTS (SELECT 1 FROM usage_bucket WHERE start > ?1 AND start < ?2)";
        if conn.prepare_cached(fine)?.query_row([day, next], |row| row.get::<_, bool>(0))? {
            let sums = Sums::BUCKETS;
            let add = format!(
                "INSERT INTO usage_bucket ({BUCKET}) SELECT ?1, conn_id, model, key_id, endpoint, {sums} FROM usage_bucket
                 WHERE start > ?1 AND start < ?2 GROUP BY conn_id, model, key_id, endpoint {ADD}"
            );
            // Together or not at all: between the two a reader, or the next start after a crash, would count all twice.
            let tx = conn.unchecked_transaction()?;
            tx.prepare_cached(&add)?.execute([day, next])?;
            tx.prepare_cached("DELETE FROM usage_bucket WHERE start > ?1 AND start < ?2")?.execute([day, next])?;
            tx.commit()?;
            joined += 1;
        }
        let later = "SELECT start FROM usage_bucket WHERE start >= ?1 AND start < ?2 ORDER BY start LIMIT 1";
        from = conn.prepare_cached(later)?.query_row([next, end], |row| row.get(0)).optional()?;
    }
    Ok(joined)
}

/// The begin of the day that holds a time.
fn midnight(ms: i64, zone: &TimeZone) -> Option<Zoned> {
    Timestamp::from_millisecond(ms).ok()?.to_zoned(zone.clone()).start_of_day().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{
        super::{
            By, Dims, Sum, Sums, sums,
            write::tests::{database, insert, row},
        },
        *,
    };

    fn number(conn: &Connection, sql: &str) -> i64 {
        conn.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    fn total(conn: &Connection, by: &[By]) -> Vec<Sums> {
        let what =
            Sum { from_ms: -DAY_MS, to_ms: i64::MAX, by: by.to_vec(), step: None, zone: TimeZone::UTC, provider: None };
        sums(conn, &what).unwrap().into_iter().map(|(_, sums)| sums).collect()
    }

    #[test]
    fn the_log_is_cut_in_passes_by_age_and_by_number() {
        let mut conn = database();
        let rows: Vec<_> = (0..12_000).map(row).collect();
        insert(&mut conn, &mut Dims::default(), &rows);
        let count = "SELECT coalesce(sum(n), 0) FROM log_segment";
        let young = Limits { log_rows: 4_000, ..Limits::default() };
        assert!(retain(&conn, &young, 12_000).unwrap());
        assert_eq!((number(&conn, count), number(&conn, "SELECT min(oldest) FROM log_segment")), (7_000, 5_000));
        assert!(!retain(&conn, &young, 12_000).unwrap());
        assert_eq!(number(&conn, count), 4_000);
        assert!(!retain(&conn, &young, 12_000).unwrap());
        assert_eq!(number(&conn, count), 4_000);
        // Thirty days later to the millisecond: what is exactly thirty days old stays.
        retain(&conn, &Limits::default(), 11_000 + 30 * DAY_MS).unwrap();
        assert_eq!((number(&conn, count), number(&conn, "SELECT min(oldest) FROM log_segment")), (1_000, 11_000));
    }

    #[test]
    fn old_buckets_become_days_and_no_sum_changes() {
        let mut conn = database();
        // Every 4 hours for ten days, in a zone whose midnight is 22:00 UTC.
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let rows: Vec<_> = (0..60).map(|n| row(n * 4 * 3_600_000)).collect();
        insert(&mut conn, &mut Dims::default(), &rows);
        let before = total(&conn, &[By::Model]);
        let limits = Limits { zone, log_rows: 1_000, ..Limits::default() };
        let now = (90 + 8) * DAY_MS;
        let mut passes = 0;
        while retain(&conn, &limits, now).unwrap() {
            passes += 1;
        }
        assert_eq!(passes, 2);
        assert_eq!(total(&conn, &[By::Model]), before);
        // The first day began before the epoch. 48 buckets are eight days now, and twelve are as they were.
        let starts =
            "SELECT count(*) FROM usage_bucket WHERE start < 7 * 86400 + 79200 AND (start + 7200) % 86400 <> 0";
        assert_eq!(number(&conn, starts), 0);
        assert_eq!(number(&conn, "SELECT count(*) FROM usage_bucket"), 8 + 12);
        retain(&conn, &limits, now).unwrap();
        assert_eq!(total(&conn, &[By::Model]), before);
        retain(&conn, &limits, (730 + 11) * DAY_MS).unwrap();
        assert_eq!(number(&conn, "SELECT count(*) FROM usage_bucket"), 0);
    }

    #[test]
    fn a_day_is_joined_whole_or_not_at_all() {
        let mut conn = database();
        insert(&mut conn, &mut Dims::default(), &(0..6).map(|n| row(n * 4 * 3_600_000)).collect::<Vec<_>>());
        let before = total(&conn, &[By::Model]);
        let stop = "CREATE TEMP TRIGGER stop BEFORE DELETE ON main.usage_bucket BEGIN SELECT raise(FAIL, 'no'); END";
        conn.execute_batch(stop).unwrap();
        retain(&conn, &Limits::default(), 98 * DAY_MS).unwrap_err();
        assert_eq!(total(&conn, &[By::Model]), before);
        conn.execute_batch("DROP TRIGGER stop").unwrap();
        retain(&conn, &Limits::default(), 98 * DAY_MS).unwrap();
        assert_eq!((total(&conn, &[By::Model]), number(&conn, "SELECT count(*) FROM usage_bucket")), (before, 1));
    }
}
