//! Rows into tables.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use rusqlite::{Transaction, params};

use super::{
    UsageRow,
    row::{Endpoint, dialect_code},
};

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

    pub(super) fn some(
        &mut self,
        tx: &Transaction<'_>,
        kind: Kind,
        value: Option<&str>,
    ) -> rusqlite::Result<Option<i64>> {
        value.filter(|value| !value.is_empty()).map(|value| self.id(tx, kind, value)).transpose()
    }
}

/// Writes `rows` into the log and into their buckets. After an error, or if `tx` is not committed, `dims` has to
/// [`forget`](Dims::forget).
pub(crate) fn write(tx: &Transaction<'_>, dims: &mut Dims, rows: &[UsageRow]) -> rusqlite::Result<()> {
    let mut log = tx.prepare_cached(
        "INSERT INTO request_log (ts_ms, request_id, session_id, key_id, conn_id, model_req, model_up, alias, client,
             client_ip, dialect_in, dialect_up, endpoint, stream, attempt, attempts, status, outcome, error, tok_in,
             tok_out, tok_cache_read, tok_cache_write, tok_cache_write_1h, tok_reasoning, usage_est, cost, ttft_ms,
             dur_ms, added_us, bytes_in, bytes_out)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22,
             ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32)",
    )?;
    let mut sums: BTreeMap<Bucket, Sums> = BTreeMap::new();
    for row in rows {
        let key = dims.some(tx, Kind::Key, row.key.as_deref())?;
        let provider = dims.some(tx, Kind::Provider, row.provider.as_deref())?;
        let requested = dims.some(tx, Kind::Model, Some(&row.model_requested))?;
        let model = dims.some(tx, Kind::Model, row.model.as_deref())?;
        let alias = dims.some(tx, Kind::Alias, row.alias.as_deref())?;
        let client = dims.some(tx, Kind::Client, row.client.as_deref())?;
        let error = row.error.as_deref().map(|error| short(error, UsageRow::ERROR_BYTES_MAX));
        log.execute(params![
            row.ts_ms,
            &*row.request_id,
            row.session.as_deref().map(|session| short(session, DIM_BYTES)),
            key,
            provider,
            requested,
            model,
            alias,
            client,
            row.client_ip.map(|ip| ip.to_string()),
            dialect_code(row.dialect),
            row.dialect_upstream.map(dialect_code),
            row.endpoint as u8,
            row.stream,
            row.attempt,
            row.attempts,
            row.status,
            row.outcome as u8,
            error,
            row.tokens_in,
            row.tokens_out,
            row.tokens_cache_read,
            row.tokens_cache_write,
            row.tokens_cache_write_1h,
            row.tokens_reasoning,
            row.estimated,
            row.cost,
            row.ttft_ms,
            row.duration_ms,
            row.added_us,
            row.bytes_in,
            clamped(row.bytes_out),
        ])?;
        let bucket = Bucket {
            start: row.ts_ms.div_euclid(1000 * BUCKET_SECONDS) * BUCKET_SECONDS,
            provider: provider.unwrap_or(0),
            model: model.or(requested).unwrap_or(0),
            key: key.unwrap_or(0),
            endpoint: row.endpoint as u8,
        };
        sums.entry(bucket).or_default().add(row);
    }
    put(tx, &sums)
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
struct Bucket {
    start: i64,
    provider: i64,
    model: i64,
    key: i64,
    endpoint: u8,
}

/// The sums of some rows.
#[derive(Debug, Default)]
struct Sums {
    n: i64,
    failed: i64,
    retried: i64,
    unpriced: i64,
    tokens_in: i64,
    tokens_out: i64,
    tokens_cache_read: i64,
    tokens_cache_write: i64,
    tokens_reasoning: i64,
    cost: i64,
    duration: i64,
    ttft: i64,
    ttft_n: i64,
}

impl Sums {
    fn add(&mut self, row: &UsageRow) {
        let is_final = row.is_final();
        self.n += i64::from(is_final);
        self.failed += i64::from(is_final && row.outcome.is_failure());
        self.retried += i64::from(!is_final);
        self.unpriced += i64::from(is_unpriced(row));
        self.tokens_in += i64::from(row.tokens_in);
        self.tokens_out += i64::from(row.tokens_out);
        self.tokens_cache_read += i64::from(row.tokens_cache_read);
        self.tokens_cache_write += i64::from(row.tokens_cache_write);
        self.tokens_reasoning += i64::from(row.tokens_reasoning);
        self.cost = self.cost.saturating_add(row.cost.unwrap_or(0));
        self.duration += if is_final { i64::from(row.duration_ms) } else { 0 };
        self.ttft += row.ttft_ms.filter(|_| is_final).map_or(0, i64::from);
        self.ttft_n += i64::from(is_final && row.ttft_ms.is_some());
    }
}

/// Adds the sums of a batch to their buckets: most rows of a batch share one, which is then written once.
fn put(tx: &Transaction<'_>, sums: &BTreeMap<Bucket, Sums>) -> rusqlite::Result<()> {
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
            sums.n,
            sums.failed,
            sums.retried,
            sums.unpriced,
            sums.tokens_in,
            sums.tokens_out,
            sums.tokens_cache_read,
            sums.tokens_cache_write,
            sums.tokens_reasoning,
            sums.cost,
            sums.duration,
            sums.ttft,
            sums.ttft_n,
        ])?;
    }
    Ok(())
}

/// Whether a row used tokens that nobody knows the price of.
pub(super) fn is_unpriced(row: &UsageRow) -> bool {
    let used = row.tokens_in > 0 || row.tokens_out > 0 || row.tokens_cache_read > 0 || row.tokens_cache_write > 0;
    used && row.cost.is_none() && row.endpoint != Endpoint::CountTokens
}

/// SQLite's integers are signed.
fn clamped(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
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
        super::{Outcome, SCHEMA},
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
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(SCHEMA).unwrap();
        conn
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
        assert_eq!(number(&conn, "SELECT count(*) FROM request_log"), 3);
        assert_eq!(number(&conn, "SELECT length(CAST(error AS BLOB)) FROM request_log WHERE status = 503"), 512);
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
        let named = "SELECT count(*) FROM request_log JOIN dim ON dim.id = conn_id WHERE ts_ms = 3 AND value = 'other'";
        assert_eq!((number(&conn, texts), number(&conn, named)), (6, 1));
    }

    #[test]
    fn invented_names_end_as_other() {
        let mut conn = database();
        let named = |n: usize| UsageRow { model_requested: format!("m{n}").into(), model: None, ..row(0) };
        let rows: Vec<_> = (0..DIM_ROWS + 50).map(named).collect();
        insert(&mut conn, &mut Dims::default(), &rows);
        // "other" itself is the one beyond.
        assert_eq!(number(&conn, "SELECT count(*) FROM dim WHERE kind = 3") as usize, DIM_ROWS + 1);
        let other = "SELECT count(*) FROM request_log JOIN dim ON dim.id = model_req WHERE value = 'other'";
        assert_eq!(number(&conn, other), 50);
        let long = UsageRow { provider: Some("x".repeat(1000).into()), ..row(0) };
        insert(&mut conn, &mut Dims::default(), &[long]);
        assert_eq!(number(&conn, "SELECT max(length(value)) FROM dim") as usize, DIM_BYTES);
    }
}
