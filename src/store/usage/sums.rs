//! Sums over time: from buckets, so that a chart of months reads thousands of rows and not millions.
//!
//! A bucket is a quarter of an hour (a day, when it is old): times are as exact as that. What buckets do not know, the alias
//! and the client, is summed over the log itself, as far back as it goes. Sums count requests by their last attempt, and
//! tokens and money of all.

use std::{collections::BTreeMap, ops::AddAssign, sync::Arc};

use jiff::{Timestamp, ToSpan, Zoned, tz::TimeZone};
use rusqlite::{Connection, Row};

use super::{
    Names,
    names::matching,
    packed::Stored,
    row::Endpoint,
    segment::{Mark, Marked, Place, walk},
    write::{BUCKET_SECONDS, Kind},
};

/// Intervals of one answer at most: 60 days by hours, or six years by days.
const INTERVALS: usize = 2_200;

/// What is counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// Requests.
    pub requests: u64,
    /// Those of them that failed; clients that left are not among them.
    pub errors: u64,
    /// Attempts after which another one followed.
    pub retried: u64,
    /// Attempts that used tokens without a known price: the cost is too low by them.
    pub unpriced: u64,
    /// Input tokens beside the caches.
    pub tokens_in: u64,
    /// Output tokens, reasoning included.
    pub tokens_out: u64,
    /// Input tokens read from a cache.
    pub tokens_cache_read: u64,
    /// Input tokens written to a cache.
    pub tokens_cache_write: u64,
    /// Reasoning tokens, a part of the output.
    pub tokens_reasoning: u64,
    /// Known cost in nano-USD.
    pub cost: i64,
    /// Durations of all requests together, in milliseconds.
    pub duration_ms: u64,
    /// Times to the first content of all requests that have one, in milliseconds.
    pub ttft_ms: u64,
    /// How many have one.
    pub ttft_n: u64,
}

impl AddAssign for Sums {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.retried += other.retried;
        self.unpriced += other.unpriced;
        self.tokens_in += other.tokens_in;
        self.tokens_out += other.tokens_out;
        self.tokens_cache_read += other.tokens_cache_read;
        self.tokens_cache_write += other.tokens_cache_write;
        self.tokens_reasoning += other.tokens_reasoning;
        self.cost = self.cost.saturating_add(other.cost);
        self.duration_ms += other.duration_ms;
        self.ttft_ms += other.ttft_ms;
        self.ttft_n += other.ttft_n;
    }
}

impl Sums {
    /// Mean duration of a request in milliseconds.
    pub fn mean_duration_ms(&self) -> Option<u64> {
        self.duration_ms.checked_div(self.requests)
    }

    /// Mean time to the first content in milliseconds.
    pub fn mean_ttft_ms(&self) -> Option<u64> {
        self.ttft_ms.checked_div(self.ttft_n)
    }

    /// Which part of the input came from a cache, from 0 to 1.
    pub fn cache_hit(&self) -> Option<f64> {
        let input = self.tokens_in + self.tokens_cache_read + self.tokens_cache_write;
        (input > 0).then(|| self.tokens_cache_read as f64 / input as f64)
    }

    /// The sums of buckets, in the order of their columns.
    pub(super) const BUCKETS: &str = "sum(n), sum(n_err), sum(n_retried), sum(n_unpriced), sum(tok_in), sum(tok_out),
        sum(tok_cache_read), sum(tok_cache_write), sum(tok_reasoning), sum(cost), sum(dur_sum), sum(ttft_sum), sum(ttft_n)";
    /// Adds an attempt.
    pub(super) fn add(&mut self, row: &Stored<'_>) {
        let is_final = row.is_final();
        let used = [row.tokens_in, row.tokens_out, row.tokens_cache_read, row.tokens_cache_write] != [0; 4];
        // Counting tokens costs nothing.
        let unpriced = used && row.cost.is_none() && row.endpoint != Endpoint::CountTokens as u8;
        *self += Self {
            requests: u64::from(is_final),
            errors: u64::from(is_final && row.ended().is_failure()),
            retried: u64::from(!is_final),
            unpriced: u64::from(unpriced),
            tokens_in: row.tokens_in.into(),
            tokens_out: row.tokens_out.into(),
            tokens_cache_read: row.tokens_cache_read.into(),
            tokens_cache_write: row.tokens_cache_write.into(),
            tokens_reasoning: row.tokens_reasoning.into(),
            cost: row.cost.unwrap_or(0),
            duration_ms: if is_final { row.duration_ms.into() } else { 0 },
            ttft_ms: row.ttft_ms.filter(|_| is_final).map_or(0, u64::from),
            ttft_n: u64::from(is_final && row.ttft_ms.is_some()),
        };
    }

    /// Reads 13 columns from `at` on. The sum of no rows is NULL.
    fn read(row: &Row<'_>, at: usize) -> rusqlite::Result<Self> {
        let number = |column: usize| row.get::<_, Option<i64>>(at + column).map(Option::unwrap_or_default);
        let count = |column: usize| number(column).map(|number| u64::try_from(number).unwrap_or(0));
        Ok(Self {
            requests: count(0)?,
            errors: count(1)?,
            retried: count(2)?,
            unpriced: count(3)?,
            tokens_in: count(4)?,
            tokens_out: count(5)?,
            tokens_cache_read: count(6)?,
            tokens_cache_write: count(7)?,
            tokens_reasoning: count(8)?,
            cost: number(9)?,
            duration_ms: count(10)?,
            ttft_ms: count(11)?,
            ttft_n: count(12)?,
        })
    }
}

/// What sums are grouped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum By {
    /// The provider.
    Provider,
    /// The model that was used.
    Model,
    /// The caller's key.
    Key,
    /// What was asked.
    Endpoint,
    /// The alias; from the log.
    Alias,
    /// The client's family; from the log.
    Client,
}

impl By {
    /// Its column in buckets; `None` if they do not know it.
    fn column(self) -> Option<&'static str> {
        match self {
            Self::Provider => Some("conn_id"),
            Self::Model => Some("model"),
            Self::Key => Some("key_id"),
            Self::Endpoint => Some("endpoint"),
            Self::Alias | Self::Client => None,
        }
    }

    /// Its number in a row of the log.
    fn of(self, row: &Stored<'_>) -> i64 {
        match self {
            Self::Provider => row.provider,
            Self::Model => row.model_used(),
            Self::Key => row.key,
            Self::Endpoint => row.endpoint.into(),
            Self::Alias => row.alias,
            Self::Client => row.client,
        }
    }
}

/// Steps of time, in a time zone: a day has 23 to 25 hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// An hour.
    Hour,
    /// A day.
    Day,
}

/// What to sum.
#[derive(Debug, Clone)]
pub struct Sum {
    /// From when on, in Unix milliseconds; rounded down to a quarter of an hour.
    pub from_ms: i64,
    /// Until when, in Unix milliseconds; what began before it counts.
    pub to_ms: i64,
    /// Apart for each of these.
    pub by: Vec<By>,
    /// Apart for each hour or day.
    pub step: Option<Step>,
    /// Whose hours and days.
    pub zone: TimeZone,
    /// Only the providers of that name; `*` stands for any text.
    pub provider: Option<String>,
}

/// What a sum is the sum of. What was not asked for, and what has no name, is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    /// Begin of the hour or day, in Unix milliseconds.
    pub start_ms: Option<i64>,
    /// See [`By`].
    pub provider: Option<Arc<str>>,
    /// See [`By`].
    pub model: Option<Arc<str>>,
    /// See [`By`].
    pub key: Option<Arc<str>>,
    /// See [`By`].
    pub endpoint: Option<Arc<str>>,
    /// See [`By`].
    pub alias: Option<Arc<str>>,
    /// See [`By`].
    pub client: Option<Arc<str>>,
}

impl Group {
    fn set(&mut self, by: By, name: Option<Arc<str>>) {
        match by {
            By::Provider => self.provider = name,
            By::Model => self.model = name,
            By::Key => self.key = name,
            By::Endpoint => self.endpoint = name,
            By::Alias => self.alias = name,
            By::Client => self.client = name,
        }
    }

    fn of(&self, by: By) -> Option<&Arc<str>> {
        match by {
            By::Provider => self.provider.as_ref(),
            By::Model => self.model.as_ref(),
            By::Key => self.key.as_ref(),
            By::Endpoint => self.endpoint.as_ref(),
            By::Alias => self.alias.as_ref(),
            By::Client => self.client.as_ref(),
        }
    }
}

/// The sums of all groups that have any, ordered by time and names. Without groups it is one sum, or none.
pub fn sums(conn: &Connection, what: &Sum) -> rusqlite::Result<Vec<(Group, Sums)>> {
    let columns: Option<Vec<_>> = what.by.iter().map(|by| by.column()).collect();
    let mut names = Names::default();
    let mut found = BTreeMap::new();
    let add = |start: i64, ids: &[i64], sums: Sums| -> rusqlite::Result<()> {
        if sums == Sums::default() {
            return Ok(());
        }
        let mut group = Group { start_ms: what.step.map(|_| start), ..Group::default() };
        for (by, id) in what.by.iter().zip(ids) {
            let name = match by {
                By::Endpoint => Endpoint::of(*id).map(|endpoint| endpoint.name().into()),
                _ => names.of(conn, *id)?,
            };
            group.set(*by, name);
        }
        *found.entry(group).or_insert_with(Sums::default) += sums;
        Ok(())
    };
    match columns {
        Some(columns) => of_buckets(conn, what, &columns, add)?,
        None => of_log(conn, what, add)?,
    }
    Ok(found.into_iter().collect())
}

/// Tells the sums of buckets with the begin of their interval and the numbers of their groups.
fn of_buckets(
    conn: &Connection,
    what: &Sum,
    columns: &[&str],
    mut tell: impl FnMut(i64, &[i64], Sums) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let select: String = columns.iter().map(|column| format!("{column}, ")).collect();
    // Constants would be taken for the numbers of columns.
    let group = if columns.is_empty() { String::new() } else { format!(" GROUP BY {}", columns.join(", ")) };
    let provider = match providers(conn, what)? {
        Some(ids) => format!(" AND conn_id IN ({})", ids.iter().map(i64::to_string).collect::<Vec<_>>().join(",")),
        None => String::new(),
    };
    let sums = Sums::BUCKETS;
    let sql = format!("SELECT {select}{sums} FROM usage_bucket WHERE start >= ?1 AND start < ?2{provider}{group}");
    let mut select = conn.prepare(&sql)?;
    for (start, end) in intervals(what) {
        // A bucket counts if it begins before the end, also within the same second.
        let from = start.div_euclid(1_000 * BUCKET_SECONDS) * BUCKET_SECONDS;
        let mut rows = select.query([from, end.saturating_add(999).div_euclid(1_000)])?;
        while let Some(row) = rows.next()? {
            let ids: Vec<i64> = (0..columns.len()).map(|at| row.get(at)).collect::<Result<_, _>>()?;
            tell(start, &ids, Sums::read(row, columns.len())?)?;
        }
    }
    Ok(())
}

/// The same of the log.
fn of_log(
    conn: &Connection,
    what: &Sum,
    mut tell: impl FnMut(i64, &[i64], Sums) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let intervals = intervals(what);
    let (Some((from, _)), Some((_, to))) = (intervals.first(), intervals.last()) else { return Ok(()) };
    let mut found: BTreeMap<(i64, Vec<i64>), Sums> = BTreeMap::new();
    each(conn, what, (*from, *to), |row| {
        let at = intervals.partition_point(|(start, _)| *start <= row.ts_ms).saturating_sub(1);
        let ids = what.by.iter().map(|by| by.of(row)).collect();
        found.entry((intervals[at].0, ids)).or_default().add(row);
    })?;
    found.into_iter().try_for_each(|((start, ids), sums)| tell(start, &ids, sums))
}

/// Shows the rows of the log in a span of time, in Unix milliseconds, that `what` wants.
pub(super) fn each(
    conn: &Connection,
    what: &Sum,
    span: (i64, i64),
    mut visit: impl FnMut(&Stored<'_>),
) -> rusqlite::Result<()> {
    asked(conn, providers(conn, what)?.as_deref(), span, |row, _| visit(row))
}

/// Shows the rows of the log in a span of time in which one of `providers` was asked; all, if they are `None`. As to
/// [`walk`], a visitor may raise the time before which it wants to see no more.
fn asked(
    conn: &Connection,
    providers: Option<&[i64]>,
    (from, to): (i64, i64),
    mut visit: impl FnMut(&Stored<'_>, &mut i64),
) -> rusqlite::Result<()> {
    let mut marked = Marked::default();
    if let Some(ids) = providers {
        marked.any(ids.iter().map(|id| Mark::Dim(*id)));
    }
    walk(conn, Place::Times(from, to), &marked, |row, floor| {
        if providers.is_none_or(|ids| ids.binary_search(&row.provider).is_ok()) {
            visit(row, floor);
        }
        Ok(())
    })
}

/// The numbers of the providers that are wanted; `None` if all are.
fn providers(conn: &Connection, what: &Sum) -> rusqlite::Result<Option<Vec<i64>>> {
    what.provider.as_ref().map(|provider| matching(conn, Kind::Provider, provider)).transpose()
}

/// The intervals of an answer, in Unix milliseconds; the first one begins at the step that holds `from`.
fn intervals(what: &Sum) -> Vec<(i64, i64)> {
    let Some(step) = what.step else { return vec![(what.from_ms, what.to_ms)] };
    let mut out = Vec::new();
    let Some(mut at) = begin(what.from_ms, step, &what.zone) else { return out };
    while at.timestamp().as_millisecond() < what.to_ms && out.len() < INTERVALS {
        let span = match step {
            Step::Hour => 1.hour(),
            Step::Day => 1.day(),
        };
        let next = match step {
            // By the calendar: the day may begin at another hour than the one before.
            Step::Day => at.checked_add(span).and_then(|next| next.start_of_day()),
            Step::Hour => at.checked_add(span),
        };
        let Ok(next) = next else { break };
        out.push((at.timestamp().as_millisecond(), next.timestamp().as_millisecond().min(what.to_ms)));
        at = next;
    }
    out
}

/// The begin of the hour or day that holds a time.
fn begin(ms: i64, step: Step, zone: &TimeZone) -> Option<Zoned> {
    let time = Timestamp::from_millisecond(ms).ok()?.to_zoned(zone.clone());
    match step {
        Step::Day => time.start_of_day().ok(),
        Step::Hour => time.with().minute(0).second(0).subsec_nanosecond(0).build().ok(),
    }
}

/// Sums over time, with zeros where nothing was.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// Begins of the intervals, in Unix milliseconds.
    pub starts_ms: Vec<i64>,
    /// One for all, or one for each name.
    pub series: Vec<Series>,
}

/// A line of a chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Of what; `None` for all together, and for what has no name.
    pub name: Option<Arc<str>>,
    /// One for each interval.
    pub points: Vec<Sums>,
}

/// A chart of `what`, which must have a step; its first group, if it has one, splits it into lines.
pub fn chart(conn: &Connection, what: &Sum) -> rusqlite::Result<Chart> {
    let starts_ms: Vec<_> = intervals(what).into_iter().map(|(start, _)| start).collect();
    let split = what.by.first().copied();
    let mut lines: BTreeMap<Option<Arc<str>>, Vec<Sums>> = BTreeMap::new();
    if split.is_none() {
        lines.insert(None, vec![Sums::default(); starts_ms.len()]);
    }
    for (group, sums) in sums(conn, what)? {
        let name = split.and_then(|by| group.of(by)).cloned();
        let points = lines.entry(name).or_insert_with(|| vec![Sums::default(); starts_ms.len()]);
        let at = group.start_ms.and_then(|start| starts_ms.binary_search(&start).ok());
        if let Some(point) = at.and_then(|at| points.get_mut(at)) {
            *point += sums;
        }
    }
    let series = lines.into_iter().map(|(name, points)| Series { name, points }).collect();
    Ok(Chart { starts_ms, series })
}

/// The begin of the oldest sum, in Unix milliseconds; `None` if there is none.
pub fn first_ms(conn: &Connection) -> rusqlite::Result<Option<i64>> {
    let first: Option<i64> = conn.query_row("SELECT min(start) FROM usage_bucket", [], |row| row.get(0))?;
    Ok(first.map(|start| start.saturating_mul(1_000)))
}

/// When a provider was last asked, in Unix milliseconds.
pub fn last_seen(conn: &Connection, provider: &str) -> rusqlite::Result<Option<i64>> {
    let ids = matching(conn, Kind::Provider, provider)?;
    let mut last = None;
    asked(conn, Some(&ids), (i64::MIN, i64::MAX), |row, floor| {
        if last < Some(row.ts_ms) {
            last = Some(row.ts_ms);
            *floor = row.ts_ms;
        }
    })?;
    Ok(last)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{
        super::{
            Dims, Outcome, UsageRow,
            write::tests::{database, insert, row},
        },
        *,
    };

    const HOUR: i64 = 3_600_000;

    fn ms(time: &str) -> i64 {
        time.parse::<Timestamp>().unwrap().as_millisecond()
    }

    fn sum(from_ms: i64, to_ms: i64, by: &[By]) -> Sum {
        Sum { from_ms, to_ms, by: by.to_vec(), step: None, zone: TimeZone::UTC, provider: None }
    }

    /// Two providers, a failed attempt, and a row without a price.
    fn sample() -> Connection {
        let mut conn = database();
        let other = |row: UsageRow| UsageRow { provider: Some("other".into()), ..row };
        let rows = [
            row(0),
            row(HOUR),
            other(UsageRow {
                attempt: 1,
                attempts: 2,
                cost: None,
                tokens_in: 0,
                tokens_out: 0,
                tokens_cache_read: 0,
                tokens_cache_write: 0,
                ..row(HOUR)
            }),
            other(UsageRow { attempt: 2, attempts: 2, cost: None, client: None, ..row(HOUR + 1) }),
            UsageRow { outcome: Outcome::Timeout, ttft_ms: None, alias: Some("fast".into()), ..row(2 * HOUR) },
        ];
        insert(&mut conn, &mut Dims::default(), &rows);
        conn
    }

    #[test]
    fn buckets_and_log_count_alike() {
        let conn = sample();
        let total = sums(&conn, &sum(0, 3 * HOUR, &[])).unwrap();
        let expected = Sums {
            requests: 4,
            errors: 1,
            retried: 1,
            unpriced: 1,
            tokens_in: 400,
            tokens_out: 80,
            tokens_cache_read: 120,
            tokens_cache_write: 20,
            tokens_reasoning: 35,
            cost: 4_500,
            duration_ms: 800,
            ttft_ms: 120,
            ttft_n: 3,
        };
        assert_eq!(total, [(Group::default(), expected)]);
        assert_eq!((expected.mean_duration_ms(), expected.mean_ttft_ms()), (Some(200), Some(40)));
        assert_eq!((Sums::default().mean_ttft_ms(), Sums::default().cache_hit()), (None, None));
        // A group that only the log knows.
        let mut from_log = Sums::default();
        sums(&conn, &sum(0, 3 * HOUR, &[By::Client])).unwrap().into_iter().for_each(|(_, sums)| from_log += sums);
        assert_eq!(from_log, expected);
    }

    #[test]
    fn groups_have_names_and_limits() {
        let conn = sample();
        let by = |by: &[By], from: i64, to: i64| -> Vec<(String, u64)> {
            let name = |group: &Group| {
                let names = [&group.provider, &group.model, &group.key, &group.endpoint, &group.alias, &group.client];
                names.into_iter().flatten().map(|name| &**name).collect::<Vec<_>>().join(" ")
            };
            let sums = sums(&conn, &sum(from, to, by)).unwrap();
            sums.iter().map(|(group, sums)| (name(group), sums.requests)).collect()
        };
        let pairs = |pairs: &[(&str, u64)]| pairs.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect::<Vec<_>>();
        assert_eq!(by(&[By::Provider], 0, 3 * HOUR), pairs(&[("acme", 3), ("other", 1)]));
        assert_eq!(
            by(&[By::Provider, By::Model, By::Key, By::Endpoint], 0, HOUR),
            pairs(&[("acme large-2 laptop chat", 1)])
        );
        assert_eq!(by(&[By::Alias], 0, 3 * HOUR), pairs(&[("", 3), ("fast", 1)]));
        assert_eq!(
            by(&[By::Client, By::Provider], HOUR, 2 * HOUR),
            pairs(&[("acme codex", 1), ("other", 1), ("other codex", 0)])
        );
        assert_eq!(by(&[], 5 * HOUR, 6 * HOUR), pairs(&[]));
        let only = Sum { provider: Some("OTHER".into()), ..sum(0, 3 * HOUR, &[]) };
        assert_eq!(sums(&conn, &only).unwrap()[0].1.requests, 1);
        let nobody = Sum { provider: Some("nobody".into()), ..only };
        assert_eq!(sums(&conn, &nobody).unwrap(), []);
        assert_eq!(last_seen(&conn, "acme").unwrap(), Some(2 * HOUR));
        assert_eq!(last_seen(&conn, "nobody").unwrap(), None);
    }

    #[test]
    fn days_are_the_zones() {
        // Kathmandu is 5:45 ahead: its midnight lies on no full hour, and on a bucket's edge.
        let zone = TimeZone::fixed(jiff::tz::Offset::from_seconds(5 * 3_600 + 45 * 60).unwrap());
        let midnight = ms("2026-03-10T18:15:00Z");
        let mut conn = database();
        insert(&mut conn, &mut Dims::default(), &[row(midnight - 1), row(midnight), row(midnight + 23 * HOUR)]);
        let what = Sum { step: Some(Step::Day), zone, ..sum(midnight - 24 * HOUR, midnight + 48 * HOUR, &[]) };
        let counts: Vec<_> = chart(&conn, &what).unwrap().series[0].points.iter().map(|sums| sums.requests).collect();
        assert_eq!(counts, [1, 2, 0]);
    }

    #[test]
    fn days_of_changing_clocks_have_other_lengths() {
        // Berlin, in the POSIX form that needs no database of zones.
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let day = |from: &str| {
            let from_ms = ms(from);
            let what = Sum { step: Some(Step::Day), zone: zone.clone(), ..sum(from_ms, from_ms + HOUR, &[]) };
            let whole = Sum { to_ms: from_ms + 48 * HOUR, ..what };
            intervals(&whole).iter().map(|(start, end)| (end - start) / HOUR).collect::<Vec<_>>()
        };
        assert_eq!(day("2026-03-28T23:00:00Z"), [23, 24, 1]);
        assert_eq!(day("2026-10-24T22:00:00Z"), [25, 23]);
        let hours = Sum {
            step: Some(Step::Hour),
            zone: zone.clone(),
            ..sum(ms("2026-10-24T22:30:00Z"), ms("2026-10-25T23:00:00Z"), &[])
        };
        assert_eq!(intervals(&hours).len(), 25);
        // Not more than there is a bound for.
        assert_eq!(intervals(&Sum { from_ms: 0, ..hours }).len(), INTERVALS);
    }

    #[test]
    fn charts_are_filled_with_zeros() {
        let conn = sample();
        let hours = |by: &[By]| {
            let what = Sum { step: Some(Step::Hour), ..sum(0, 4 * HOUR, by) };
            let chart = chart(&conn, &what).unwrap();
            assert_eq!(chart.starts_ms, [0, HOUR, 2 * HOUR, 3 * HOUR]);
            let line = |series: &Series| series.points.iter().map(|sums| sums.requests).collect::<Vec<_>>();
            chart.series.iter().map(|series| (series.name.clone(), line(series))).collect::<Vec<_>>()
        };
        assert_eq!(hours(&[]), [(None, vec![1, 2, 1, 0])]);
        assert_eq!(
            hours(&[By::Provider]),
            [(Some("acme".into()), vec![1, 1, 1, 0]), (Some("other".into()), vec![0, 1, 0, 0])]
        );
        let empty = Sum { step: Some(Step::Day), ..sum(0, 48 * HOUR, &[]) };
        assert_eq!(chart(&database(), &empty).unwrap().series[0].points, [Sums::default(); 2]);
    }
}
