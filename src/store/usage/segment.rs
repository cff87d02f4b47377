//! The log on the disk: rows [packed] by the hundred, with marks of what is among them.
//!
//! ```text
//!   log_segment   first  n  oldest, newest  marks                       rows
//!                 1      256  …             who, what, how it ended     one after the other
//!                 257    12   …             (a Bloom filter)            the last one grows until it is full
//! ```
//!
//! A table with a row per attempt and an index per question costs five times as much processor time to write. Here a look
//! goes through the marks, which are few, and reads only segments that may hold what it looks for.
//!
//! [packed]: super::packed

use rusqlite::{CachedStatement, Connection, OptionalExtension, Params, Transaction, params, types::Type};

use super::packed::{Malformed, Rows, Stored, put};

/// The table of the log, a part of the second migration.
pub(in super::super) const SCHEMA: &str = "
CREATE TABLE log_segment (
    first INTEGER PRIMARY KEY,
    last INTEGER NOT NULL,
    n INTEGER NOT NULL,
    oldest INTEGER NOT NULL,
    newest INTEGER NOT NULL,
    marks BLOB NOT NULL,
    rows BLOB NOT NULL
) STRICT;
CREATE INDEX log_segment_time ON log_segment (newest, oldest);
";

/// Rows of a segment. More would make a look at a single row, and each growth of the last segment, dearer; fewer would
/// make more segments to go through.
pub(super) const ROWS: u32 = 256;
/// A segment with so many bytes takes no more rows: texts of errors are long.
const BYTES: usize = 64 << 10;
/// Bytes of marks. They stand before the rows, in the part of the record that needs no further page.
const MARK_BYTES: usize = 384;
/// Bits of marks for how rows ended, one each: a look at what failed reads no segment without a failure.
const OWN_BITS: usize = 64;
/// Names of one condition that are looked for in marks; more of them are in every segment anyway.
const NAMES: usize = 64;

/// What is marked of a row.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mark<'a> {
    /// A text of `dim`.
    Dim(i64),
    /// The id of a request or of a session.
    Text(&'a str),
    /// How it ended.
    Outcome(u8),
    /// Its HTTP status.
    Status(u16),
    /// That it has the text of an error.
    Error,
}

impl Mark<'_> {
    /// Two places in the marks. They are in databases: this never changes.
    fn places(self) -> [usize; 2] {
        let hash = match self {
            Mark::Error => return [OWN_BITS - 1; 2],
            Mark::Outcome(outcome) => return [usize::from(outcome).min(OWN_BITS - 2); 2],
            Mark::Dim(id) => id as u64,
            Mark::Status(status) => 1 << 60 | u64::from(status),
            // After FNV-1a, with eight bytes at a time.
            Mark::Text(text) => {
                text.as_bytes().chunks(8).fold(0xcbf2_9ce4_8422_2325 ^ text.len() as u64, |hash, part| {
                    let mut word = [0; 8];
                    word[..part.len()].copy_from_slice(part);
                    (hash ^ u64::from_le_bytes(word)).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29)
                })
            }
        };
        // The finaliser of SplitMix64.
        let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let hash = hash ^ (hash >> 31);
        [hash as u32, (hash >> 32) as u32].map(|half| OWN_BITS + half as usize % (MARK_BYTES * 8 - OWN_BITS))
    }
}

/// Conditions on the marks of a segment: one of each list must be there.
#[derive(Debug, Clone, Default)]
pub(super) struct Marked(Vec<Vec<[usize; 2]>>);

impl Marked {
    /// One of these as well.
    pub(super) fn any<'a>(&mut self, marks: impl IntoIterator<Item = Mark<'a>>) {
        let places: Vec<_> = marks.into_iter().map(Mark::places).collect();
        if places.len() <= NAMES {
            self.0.push(places);
        }
    }

    fn may_be_in(&self, marks: &[u8]) -> bool {
        let is_set = |place: &usize| marks.get(place / 8).is_some_and(|byte| byte & (1 << (place % 8)) != 0);
        self.0.iter().all(|any| any.iter().any(|places| places.iter().all(is_set)))
    }
}

/// A segment that is being filled.
#[derive(Debug)]
pub(super) struct Segment {
    first: i64,
    last: i64,
    n: u32,
    oldest: i64,
    newest: i64,
    marks: [u8; MARK_BYTES],
    rows: Vec<u8>,
    /// What the row before had, and is marked.
    marked: Option<([i64; 5], u8, u16)>,
}

impl Segment {
    /// An empty one whose rows begin with a number.
    fn from(first: i64) -> Self {
        Self {
            first,
            last: first - 1,
            n: 0,
            oldest: i64::MAX,
            newest: i64::MIN,
            marks: [0; MARK_BYTES],
            rows: Vec::with_capacity(ROWS as usize * 80),
            marked: None,
        }
    }

    /// The one that the next rows belong to: the last one, if it has room.
    pub(super) fn last(conn: &Connection) -> rusqlite::Result<Self> {
        let mut select = conn.prepare_cached(
            "SELECT first, last, n, oldest, newest, marks, rows FROM log_segment ORDER BY first DESC LIMIT 1",
        )?;
        let last = select.query_row([], |row| {
            let rows = row.get_ref(6)?.as_blob()?;
            let mut segment = Self {
                last: row.get(1)?,
                n: row.get(2)?,
                oldest: row.get(3)?,
                newest: row.get(4)?,
                marks: row.get(5)?,
                ..Self::from(row.get(0)?)
            };
            segment.rows.extend_from_slice(rows);
            Ok(segment)
        });
        let last = last.optional()?.unwrap_or_else(|| Self::from(1));
        Ok(if last.is_full() { Self::from(last.last + 1) } else { last })
    }

    fn is_full(&self) -> bool {
        self.n >= ROWS || self.rows.len() >= BYTES
    }

    /// The number of the next row.
    pub(super) fn next_id(&self) -> i64 {
        self.last + 1
    }

    /// Adds a row behind the others; writes what is full before.
    pub(super) fn add(&mut self, conn: &Connection, row: &Stored<'_>) -> rusqlite::Result<()> {
        if self.is_full() {
            self.save(conn)?;
            *self = Self::from(row.id);
        }
        self.push(row);
        Ok(())
    }

    fn push(&mut self, row: &Stored<'_>) {
        put(&mut self.rows, row);
        self.n += 1;
        self.last = row.id;
        self.oldest = self.oldest.min(row.ts_ms);
        self.newest = self.newest.max(row.ts_ms);
        self.mark(Mark::Text(row.request_id));
        row.session.into_iter().for_each(|session| self.mark(Mark::Text(session)));
        // Most rows are like the one before.
        let like = ([row.key, row.provider, row.requested, row.model, row.client], row.outcome, row.status);
        if self.marked != Some(like) {
            like.0.into_iter().filter(|id| *id != 0).for_each(|id| self.mark(Mark::Dim(id)));
            self.mark(Mark::Outcome(row.outcome));
            self.mark(Mark::Status(row.status));
            self.marked = Some(like);
        }
        if row.error.is_some() {
            self.mark(Mark::Error);
        }
    }

    fn mark(&mut self, mark: Mark<'_>) {
        for place in mark.places() {
            self.marks[place / 8] |= 1 << (place % 8);
        }
    }

    /// Writes it, if it has rows.
    pub(super) fn save(&self, conn: &Connection) -> rusqlite::Result<()> {
        if self.n == 0 {
            return Ok(());
        }
        let mut put = conn.prepare_cached(
            "INSERT INTO log_segment (first, last, n, oldest, newest, marks, rows) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT DO UPDATE SET last = excluded.last, n = excluded.n, oldest = excluded.oldest,
             newest = excluded.newest, marks = excluded.marks, rows = excluded.rows",
        )?;
        put.execute(params![self.first, self.last, self.n, self.oldest, self.newest, self.marks, self.rows])?;
        Ok(())
    }
}

/// Rows in the log.
pub(super) fn count(conn: &Connection) -> rusqlite::Result<i64> {
    conn.prepare_cached("SELECT coalesce(sum(n), 0) FROM log_segment")?.query_row([], |row| row.get(0))
}

/// Where rows are looked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    /// Begun from one time on, before another one, in Unix milliseconds: segments with the newest rows first.
    Times(i64, i64),
    /// With numbers from one to another.
    Ids(i64, i64),
}

impl Place {
    fn holds(self, row: &Stored<'_>) -> bool {
        match self {
            Place::Times(from, to) => from <= row.ts_ms && row.ts_ms < to,
            Place::Ids(from, to) => from <= row.id && row.id <= to,
        }
    }
}

/// Shows the rows of a place whose segments have the marks; others of these segments too. Within a segment they come as they
/// were written, the oldest first. A visitor of times may raise the one before which it
/// wants to see no more.
pub(super) fn walk(
    conn: &Connection,
    place: Place,
    marked: &Marked,
    mut visit: impl FnMut(&Stored<'_>, &mut i64) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let (sql, bounds) = match place {
        Place::Times(from, to) => (
            "SELECT first, newest, marks FROM log_segment WHERE newest >= ?1 AND oldest < ?2 ORDER BY newest DESC",
            [from, to],
        ),
        Place::Ids(from, to) => (
            "SELECT first, newest, marks FROM log_segment WHERE first <= ?2
             AND first >= (SELECT coalesce(max(first), 0) FROM log_segment WHERE first <= ?1) ORDER BY first",
            [from, to],
        ),
    };
    let mut heads = conn.prepare_cached(sql)?;
    let mut bodies = Bodies::of(conn)?;
    let mut heads = heads.query(bounds)?;
    let mut floor = i64::MIN;
    while let Some(head) = heads.next()? {
        // What follows is older still: nobody who looks by numbers raises the floor.
        if head.get::<_, i64>(1)? < floor {
            break;
        }
        if marked.may_be_in(head.get_ref(2)?.as_blob()?) {
            bodies.each(head.get(0)?, |row| if place.holds(row) { visit(row, &mut floor) } else { Ok(()) })?;
        }
    }
    Ok(())
}

/// The rows of a segment.
pub(super) const BODY: &str = "SELECT rows FROM log_segment WHERE first = ?1";

/// The rows of segments. Apart from the heads, because a statement that yields them reads their pages.
struct Bodies<'c>(CachedStatement<'c>);

impl<'c> Bodies<'c> {
    fn of(conn: &'c Connection) -> rusqlite::Result<Self> {
        conn.prepare_cached(BODY).map(Self)
    }

    fn each(&mut self, first: i64, mut visit: impl FnMut(&Stored<'_>) -> rusqlite::Result<()>) -> rusqlite::Result<()> {
        let mut found = self.0.query([first])?;
        let Some(row) = found.next()? else { return Ok(()) };
        for stored in Rows::of(row.get_ref(0)?.as_blob()?).map_err(malformed)? {
            visit(&stored.map_err(malformed)?)?;
        }
        Ok(())
    }
}

fn malformed(error: Malformed) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Blob, Box::new(error))
}

/// Removes up to `limit` rows: the first `count` of the log, and then those that began before a time. Returns how many it
/// removed. In a transaction of its own: a segment that keeps some of its rows is written again.
pub(super) fn remove(conn: &Connection, count: i64, before_ms: i64, limit: i64) -> rusqlite::Result<i64> {
    let tx = conn.unchecked_transaction()?;
    let surplus = pull(&tx, "SELECT first FROM log_segment ORDER BY first LIMIT 1", [], count.min(limit), |_| true)?;
    let old = "SELECT first FROM log_segment WHERE oldest < ?1 ORDER BY newest LIMIT 1";
    let aged = pull(&tx, old, [before_ms], limit - surplus, |row| row.ts_ms < before_ms)?;
    tx.commit()?;
    Ok(surplus + aged)
}

/// Removes up to `limit` rows that go, from the segment that `sql` finds, and from the next one that it finds then. Returns
/// how many it removed.
fn pull(
    tx: &Transaction<'_>,
    sql: &str,
    bounds: impl Params + Copy,
    limit: i64,
    goes: impl Fn(&Stored<'_>) -> bool,
) -> rusqlite::Result<i64> {
    let mut left = limit;
    while left > 0 {
        let found = tx.prepare_cached(sql)?.query_row(bounds, |row| row.get(0)).optional()?;
        let Some(first) = found else { break };
        keep(tx, first, |row| {
            let removed = left > 0 && goes(row);
            left -= i64::from(removed);
            !removed
        })?;
    }
    Ok(limit - left)
}

/// Keeps only some rows of a segment, with their numbers.
fn keep(tx: &Transaction<'_>, first: i64, mut stays: impl FnMut(&Stored<'_>) -> bool) -> rusqlite::Result<()> {
    let mut kept = Segment::from(first);
    Bodies::of(tx)?.each(first, |row| {
        if stays(row) {
            kept.push(row);
        }
        // No number is given twice as long as its segment is there.
        kept.last = row.id;
        Ok(())
    })?;
    match kept.n {
        0 => tx.prepare_cached("DELETE FROM log_segment WHERE first = ?1")?.execute([first]).map(drop),
        _ => kept.save(tx),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{
        super::{
            Dims, Filter, Names, UsageRow, list,
            write::tests::{database, insert, row},
        },
        *,
    };

    /// Four segments of rows that ended in quite another order than they began, a millisecond apart.
    fn mixed() -> Connection {
        let mut conn = database();
        let rows: Vec<_> = (0..1_000).map(|n| row(n * 379 % 1_000)).collect();
        // Segments are filled over many batches.
        let mut dims = Dims::default();
        rows.chunks(30).for_each(|batch| insert(&mut conn, &mut dims, batch));
        conn
    }

    /// Times and numbers of the log, by pages.
    fn listed(conn: &Connection, filter: &Filter) -> Vec<(i64, i64)> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = list(conn, &mut Names::default(), filter, after, 70).unwrap();
            all.extend(page.rows.iter().map(|logged| (logged.row.ts_ms, logged.id)));
            let Some(next) = page.next else { return all };
            after = Some(next);
        }
    }

    fn segments(conn: &Connection) -> i64 {
        conn.query_row("SELECT count(*) FROM log_segment", [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn the_list_is_in_order_whatever_order_the_segments_have() {
        let conn = mixed();
        assert_eq!((segments(&conn), count(&conn).unwrap()), (4, 1_000));
        // What began as the nth ended as the (n / 379 modulo 1,000)th.
        let mut expected: Vec<_> = (0..1_000).map(|n| (n * 379 % 1_000, n + 1)).collect();
        expected.sort_unstable_by(|a, b| b.cmp(a));
        assert_eq!(listed(&conn, &Filter::default()), expected);
        let span = Filter { from_ms: Some(100), to_ms: Some(300), ..Filter::default() };
        assert_eq!(listed(&conn, &span), expected[700..900]);
    }

    #[test]
    fn what_is_removed_leaves_the_others_with_their_numbers() {
        let conn = mixed();
        let before = listed(&conn, &Filter::default());
        assert_eq!(remove(&conn, 10, 0, 1_000).unwrap(), 10);
        // In passes, because a pass is short.
        let passes: Vec<_> = (0..3).map(|_| remove(&conn, 0, 400, 250).unwrap()).collect();
        let kept: Vec<_> = before.iter().copied().filter(|(ts, id)| *ts >= 400 && *id > 10).collect();
        assert_eq!(listed(&conn, &Filter::default()), kept);
        assert_eq!(passes.iter().sum::<i64>(), 990 - kept.len() as i64);
        assert_eq!((passes[0], passes[2]), (250, 0));
        assert_eq!(count(&conn).unwrap(), kept.len() as i64);
        assert_eq!(remove(&conn, 0, i64::MAX, 5_000).unwrap(), kept.len() as i64);
        assert_eq!(segments(&conn), 0);
    }

    #[test]
    fn long_errors_make_short_segments() {
        let mut conn = database();
        let failed = |n| UsageRow { error: Some("e".repeat(500).into()), ..row(n) };
        insert(&mut conn, &mut Dims::default(), &(0..256).map(failed).collect::<Vec<_>>());
        assert_eq!((segments(&conn), count(&conn).unwrap()), (3, 256));
    }

    #[test]
    fn marks_tell_what_may_be_there() {
        let mut segment = Segment::from(1);
        let row =
            Stored { request_id: "r-1", provider: 7, outcome: 2, status: 503, error: Some("no"), ..Stored::default() };
        segment.push(&row);
        let may = |marks: &[Mark<'_>]| {
            let mut marked = Marked::default();
            marked.any(marks.iter().copied());
            marked.may_be_in(&segment.marks)
        };
        for there in [Mark::Text("r-1"), Mark::Dim(7), Mark::Outcome(2), Mark::Status(503), Mark::Error] {
            assert!(may(&[there]) && may(&[Mark::Dim(8), there]), "{there:?}");
        }
        for missing in [Mark::Text("r-2"), Mark::Dim(2), Mark::Outcome(0), Mark::Status(200)] {
            assert!(!may(&[missing]), "{missing:?}");
        }
        assert!(!may(&[]), "one of nothing");
        // So many names are in every segment, so that nobody looks.
        assert!(may(&(100..200).map(Mark::Dim).collect::<Vec<_>>()));
    }

    #[test]
    fn places_of_marks_never_change() {
        assert_eq!(Mark::Dim(7).places(), [1620, 2019]);
        assert_eq!(Mark::Text("0123456789abcdef01234567").places(), [145, 1342]);
        assert_eq!(Mark::Status(503).places(), [1667, 1163]);
        assert_eq!((Mark::Outcome(2).places(), Mark::Error.places()), ([2, 2], [63, 63]));
    }
}
