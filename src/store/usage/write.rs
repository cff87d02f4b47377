//! Rows into tables.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use rusqlite::{Transaction, params};

use super::{Sums, UsageRow, packed::Stored, row::dialect_code, segment::Segment};

/// Values of one kind that get a number; what comes later is `other`. A caller can invent model names.
const DIM_ROWS: usize = 10_000;
/// Longest value that is kept, in bytes.
const DIM_BYTES: usize = 256;
/// What stands for everything beyond [`DIM_ROWS`].
const OTHER: &str = "other";
/// Length of a bucket, in seconds: short enough that its sums fit the days of every time zone.
pub(super) const BUCKET_SECONDS: i64 = 15 * 60;

/// What a text in `dim` is. The numbers are in databases: they never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(super) enum Kind {
    Key = 1,
    Provider = 2,
    Model = 3,
    Alias = 4,
    Client = 5,
}

const KINDS: usize = 6;

/// The numbers of texts in `dim`, remembered. It belongs to the only writer, and is at most as large as `dim`.
#[derive(Debug, Default)]
pub(crate) struct Dims {
    known: [HashMap<Arc<str>, i64>; KINDS],
    /// The texts of the row before, by column: most rows are like it.
    before: [Option<(Arc<str>, i64)>; 6],
    loaded: bool,
}

impl Dims {
    /// Forgets everything. Needed after a transaction that used it was rolled back: its new numbers are gone.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    fn load(&mut self, tx: &Transaction<'_>) -> rusqlite::Result<()> {
        let mut select = tx.prepare_cached("SELECT id, kind, value FROM dim")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let kind: u8 = row.get(1)?;
            if let Some(known) = self.known.get_mut(usize::from(kind)) {
                known.insert(row.get::<_, String>(2)?.into(), row.get(0)?);
            }
        }
        self.loaded = true;
        Ok(())
    }

    /// The number of `value`, made if it is new.
    fn id(&mut self, tx: &Transaction<'_>, kind: Kind, value: &str) -> rusqlite::Result<i64> {
        if !self.loaded {
            self.load(tx)?;
        }
        let value = short(value, DIM_BYTES);
        let known = &mut self.known[kind as usize];
        if let Some(id) = known.get(value) {
            return Ok(*id);
        }
        let value = if known.len() >= DIM_ROWS { OTHER } else { value };
        if let Some(id) = known.get(value) {
            return Ok(*id);
        }
        tx.prepare_cached("INSERT INTO dim (kind, value) VALUES (?1, ?2)")?.execute(params![kind as u8, value])?;
        let id = tx.last_insert_rowid();
        known.insert(value.into(), id);
        Ok(id)
    }

    /// The number of `value`; 0 if it is empty.
    pub(super) fn some(&mut self, tx: &Transaction<'_>, kind: Kind, value: &str) -> rusqlite::Result<i64> {
        if value.is_empty() { Ok(0) } else { self.id(tx, kind, value) }
    }

    /// The numbers of a row's texts: key, provider, requested and used model, alias, client; 0 for those that it has not.
    fn of(&mut self, tx: &Transaction<'_>, row: &UsageRow) -> rusqlite::Result<[i64; 6]> {
        let texts = [
            (Kind::Key, row.key.as_ref()),
            (Kind::Provider, row.provider.as_ref()),
            (Kind::Model, Some(&row.model_requested)),
            (Kind::Model, row.model.as_ref()),
            (Kind::Alias, row.alias.as_ref()),
            (Kind::Client, row.client.as_ref()),
        ];
        let mut ids = [0; 6];
        for (column, (kind, text)) in texts.into_iter().enumerate() {
            let Some(text) = text else { continue };
            ids[column] = match &self.before[column] {
                Some((before, id)) if before == text => *id,
                _ => {
                    let id = self.some(tx, kind, text)?;
                    self.before[column] = Some((text.clone(), id));
                    id
                }
            };
        }
        Ok(ids)
    }
}

/// Writes `rows` into the log and into their buckets. After an error, or if `tx` is not committed, `dims` has to
/// [`forget`](Dims::forget).
pub(crate) fn write(tx: &Transaction<'_>, dims: &mut Dims, rows: &[UsageRow]) -> rusqlite::Result<()> {
    let mut log = Segment::last(tx)?;
    let mut sums: BTreeMap<Bucket, Sums> = BTreeMap::new();
    for row in rows {
        let [key, provider, requested, model, alias, client] = dims.of(tx, row)?;
        let stored = Stored {
            id: log.next_id(),
            ts_ms: row.ts_ms,
            request_id: &row.request_id,
            session: row.session.as_deref().map(|session| short(session, DIM_BYTES)),
            key,
            provider,
            requested,
            model,
            alias,
            client,
            client_ip: row.client_ip,
            dialect: dialect_code(row.dialect),
            dialect_upstream: row.dialect_upstream.map_or(0, dialect_code),
            endpoint: row.endpoint as u8,
            outcome: row.outcome as u8,
            stream: row.stream,
            attempt: row.attempt,
            attempts: row.attempts,
            status: row.status,
            error: row.error.as_deref().map(|error| short(error, UsageRow::ERROR_BYTES_MAX)),
            tokens_in: row.tokens_in,
            tokens_out: row.tokens_out,
            tokens_cache_read: row.tokens_cache_read,
            tokens_cache_write: row.tokens_cache_write,
            tokens_cache_write_1h: row.tokens_cache_write_1h,
            tokens_reasoning: row.tokens_reasoning,
            estimated: row.estimated,
            cost: row.cost,
            ttft_ms: row.ttft_ms,
            duration_ms: row.duration_ms,
            added_us: row.added_us,
            bytes_in: row.bytes_in,
            bytes_out: row.bytes_out,
        };
        log.add(tx, &stored)?;
        let start = row.ts_ms.div_euclid(1000 * BUCKET_SECONDS) * BUCKET_SECONDS;
        let bucket = Bucket { start, provider, model: stored.model_used(), key, endpoint: stored.endpoint };
        sums.entry(bucket).or_default().add(&stored);
    }
    log.save(tx)?;
    put(tx, sums)
}

/// The columns of `usage_bucket`: five that name a row, and its sums.
pub(super) const BUCKET: &str =
    "start, conn_id, model, key_id, endpoint, n, n_err, n_retried, n_unpriced, tok_in, tok_out,
    tok_cache_read, tok_cache_write, tok_reasoning, cost, dur_sum, ttft_sum, ttft_n";
/// End of an INSERT of [`BUCKET`]: what is there already grows.
pub(super) const ADD: &str = "ON CONFLICT DO UPDATE SET n = n + excluded.n, n_err = n_err + excluded.n_err,
    n_retried = n_retried + excluded.n_retried, n_unpriced = n_unpriced + excluded.n_unpriced,
    tok_in = tok_in + excluded.tok_in, tok_out = tok_out + excluded.tok_out,
    tok_cache_read = tok_cache_read + excluded.tok_cache_read, tok_cache_write = tok_cache_write + excluded.tok_cache_write,
    tok_reasoning = tok_reasoning + excluded.tok_reasoning, cost = cost + excluded.cost,
    dur_sum = dur_sum + excluded.dur_sum, ttft_sum = ttft_sum + excluded.ttft_sum, ttft_n = ttft_n + excluded.ttft_n";

/// What rows are summed by: the columns that name a row of `usage_bucket`.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Bucket {
    pub(super) start: i64,
    pub(super) provider: i64,
    pub(super) model: i64,
    pub(super) key: i64,
    pub(super) endpoint: u8,
}

/// Adds sums to their buckets. Most rows of a batch share one, which is then written once.
pub(super) fn put(tx: &Transaction<'_>, sums: impl IntoIterator<Item = (Bucket, Sums)>) -> rusqlite::Result<()> {
    let mut bucket = tx.prepare_cached(&format!(
        "INSERT INTO usage_bucket ({BUCKET})
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18) {ADD}"
    ))?;
    for (at, sums) in sums {
        bucket.execute(params![
            at.start,
            at.provider,
            at.model,
            at.key,
            at.endpoint,
            sums.requests as i64,
            sums.errors as i64,
            sums.retried as i64,
            sums.unpriced as i64,
            sums.tokens_in as i64,
            sums.tokens_out as i64,
            sums.tokens_cache_read as i64,
            sums.tokens_cache_write as i64,
            sums.tokens_reasoning as i64,
            sums.cost,
            sums.duration_ms as i64,
            sums.ttft_ms as i64,
            sums.ttft_n as i64,
        ])?;
    }
    Ok(())
}

/// The longest beginning of `text` within `limit` bytes that ends with a whole character.
pub(super) fn short(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use codecs::dialect::Dialect;
    use rusqlite::Connection;

    use super::{
        super::{Endpoint, Filter, Names, Outcome, SCHEMA, SEGMENTS, list, pack_log},
        *,
    };

    /// A good attempt at a time.
    pub(in super::super) fn row(ts_ms: i64) -> UsageRow {
        UsageRow {
            ts_ms,
            request_id: "0123456789abcdef01234567".into(),
            session: None,
            key: Some("laptop".into()),
            provider: Some("acme".into()),
            model_requested: "large".into(),
            model: Some("large-2".into()),
            alias: None,
            client_ip: Some([127, 0, 0, 1].into()),
            client: Some("codex".into()),
            dialect: Dialect::OpenAiResponses,
            dialect_upstream: Some(Dialect::Anthropic),
            endpoint: Endpoint::Chat,
            stream: true,
            attempt: 1,
            attempts: 1,
            status: 200,
            outcome: Outcome::Ok,
            error: None,
            tokens_in: 100,
            tokens_out: 20,
            tokens_cache_read: 30,
            tokens_cache_write: 5,
            tokens_cache_write_1h: 1,
            tokens_reasoning: 7,
            estimated: false,
            cost: Some(1_500),
            ttft_ms: Some(40),
            duration_ms: 200,
            added_us: Some(90),
            bytes_in: 1_000,
            bytes_out: 2_000,
        }
    }

    /// A database in memory with the tables of usage.
    pub(in super::super) fn database() -> Connection {
        let mut conn = Connection::open_in_memory().unwrap();
        tables(&mut conn);
        conn
    }

    /// Makes the tables of usage.
    pub(in super::super) fn tables(conn: &mut Connection) {
        conn.execute_batch(&[SCHEMA, SEGMENTS].concat()).unwrap();
        let tx = conn.transaction().unwrap();
        pack_log(&tx).unwrap();
        tx.commit().unwrap();
    }

    /// The log, oldest first.
    fn listed(conn: &Connection) -> Vec<UsageRow> {
        let page = list(conn, &mut Names::default(), &Filter::default(), None, 1_000).unwrap();
        page.rows.into_iter().rev().map(|logged| logged.row).collect()
    }

    /// Writes rows in one transaction.
    pub(in super::super) fn insert(conn: &mut Connection, dims: &mut Dims, rows: &[UsageRow]) {
        let tx = conn.transaction().unwrap();
        write(&tx, dims, rows).unwrap();
        tx.commit().unwrap();
    }

    fn number(conn: &Connection, sql: &str) -> i64 {
        conn.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn attempts_become_rows_and_requests_become_sums() {
        let mut conn = database();
        let failed = UsageRow {
            attempts: 2,
            outcome: Outcome::UpstreamError,
            status: 503,
            error: Some("é".repeat(400).into()),
            cost: None,
            tokens_in: 0,
            tokens_out: 0,
            tokens_cache_read: 0,
            tokens_cache_write: 0,
            ttft_ms: None,
            ..row(0)
        };
        let unpriced = UsageRow { cost: None, ttft_ms: None, ..row(2) };
        let rows = [failed, UsageRow { attempt: 2, attempts: 2, ..row(1) }, unpriced];
        insert(&mut conn, &mut Dims::default(), &rows);
        assert_eq!(number(&conn, "SELECT coalesce(sum(n), 0) FROM log_segment"), 3);
        assert_eq!(listed(&conn)[0].error.as_deref().map(str::len), Some(512));
        let sums: Vec<i64> = conn
            .query_row("SELECT * FROM usage_bucket", [], |row| (0..18).map(|column| row.get(column)).collect())
            .unwrap();
        // start, provider, model, key, endpoint, then: two requests, none failed, one retried, one without a price.
        assert_eq!(sums[0], 0);
        assert_eq!(sums[4..], [1, 2, 0, 1, 1, 200, 40, 60, 10, 21, 1_500, 400, 40, 1]);
    }

    #[test]
    fn buckets_begin_at_quarters_of_an_hour() {
        let mut conn = database();
        let quarter = BUCKET_SECONDS * 1000;
        insert(&mut conn, &mut Dims::default(), &[row(quarter - 1), row(quarter), row(-1)]);
        let mut select = conn.prepare("SELECT start FROM usage_bucket ORDER BY start").unwrap();
        let starts: Vec<i64> = select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        assert_eq!(starts, [-900, 0, 900]);
    }

    #[test]
    fn texts_are_stored_once_also_after_a_restart_or_a_rollback() {
        let mut conn = database();
        let mut dims = Dims::default();
        insert(&mut conn, &mut dims, &[row(0), row(1)]);
        let texts = "SELECT count(*) FROM dim";
        assert_eq!(number(&conn, texts), 5);
        insert(&mut conn, &mut Dims::default(), &[row(2)]);
        assert_eq!(number(&conn, texts), 5);
        let other = UsageRow { provider: Some("other".into()), ..row(3) };
        let tx = conn.transaction().unwrap();
        write(&tx, &mut dims, std::slice::from_ref(&other)).unwrap();
        drop(tx);
        dims.forget();
        insert(&mut conn, &mut dims, &[other]);
        assert_eq!((number(&conn, texts), listed(&conn)[3].provider.as_deref()), (6, Some("other")));
    }

    #[test]
    fn invented_names_end_as_other() {
        let mut conn = database();
        let named = |n: usize| UsageRow { model_requested: format!("m{n}").into(), model: None, ..row(0) };
        let rows: Vec<_> = (0..DIM_ROWS + 50).map(named).collect();
        insert(&mut conn, &mut Dims::default(), &rows);
        // "other" itself is the one beyond.
        assert_eq!(number(&conn, "SELECT count(*) FROM dim WHERE kind = 3") as usize, DIM_ROWS + 1);
        let filter = Filter { model: Some(OTHER.to_owned()), ..Filter::default() };
        assert_eq!(list(&conn, &mut Names::default(), &filter, None, 1_000).unwrap().rows.len(), 50);
        let long = UsageRow { provider: Some("x".repeat(1000).into()), ..row(0) };
        insert(&mut conn, &mut Dims::default(), &[long]);
        assert_eq!(number(&conn, "SELECT max(length(value)) FROM dim") as usize, DIM_BYTES);
    }
}
