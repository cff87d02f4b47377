//! The log, newest first: filtered, by pages.

use std::{fmt, str::FromStr, sync::Arc};

use codecs::dialect::Dialect;
use rusqlite::{Connection, Row, types::Value};

use super::{
    Names,
    names::matching,
    row::{Endpoint, Outcome, UsageRow, dialect_of},
    write::Kind,
};

/// Rows of one page at most.
const PAGE_ROWS: usize = 1_000;
/// How far from a row the other attempts of its request are searched: so many exchanges can end in between.
const NEIGHBOURS: i64 = 5_000;

/// Which rows to list. Everything that is set must hold; texts may have `*` in them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Not before, in Unix milliseconds.
    pub from_ms: Option<i64>,
    /// Before, in Unix milliseconds.
    pub to_ms: Option<i64>,
    /// The provider's name.
    pub provider: Option<String>,
    /// The model's name, requested or used.
    pub model: Option<String>,
    /// The name of the caller's key.
    pub key: Option<String>,
    /// The client's family.
    pub client: Option<String>,
    /// The client's session, exactly.
    pub session: Option<String>,
    /// How it ended.
    pub wanted: Option<Wanted>,
    /// What was asked.
    pub endpoint: Option<Endpoint>,
    /// Lasted at least so many milliseconds.
    pub min_duration_ms: Option<u32>,
    /// Somewhere in the error, or exactly the id of the request or session, or a model or provider.
    pub text: Option<String>,
    /// Only the last attempt of each request.
    pub finals: bool,
}

/// How listed rows ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Well.
    Ok,
    /// With a failure; clients that left are none.
    Error,
    /// Like that.
    Outcome(Outcome),
    /// With that HTTP status.
    Status(u16),
}

impl Wanted {
    /// Whether a row ended so.
    pub fn takes(self, row: &UsageRow) -> bool {
        match self {
            Self::Ok => row.outcome == Outcome::Ok,
            Self::Error => row.outcome.is_failure(),
            Self::Outcome(outcome) => row.outcome == outcome,
            Self::Status(status) => row.status == status,
        }
    }
}

impl FromStr for Wanted {
    type Err = ();

    /// Reads `ok`, `error`, the name of an outcome, or an HTTP status.
    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "ok" => Ok(Self::Ok),
            "error" => Ok(Self::Error),
            _ => match Outcome::named(text) {
                Some(outcome) => Ok(Self::Outcome(outcome)),
                None => text.parse().map(Self::Status).map_err(drop),
            },
        }
    }
}

/// A place between two rows of the list. Its text is opaque to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    ts_ms: i64,
    id: i64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.ts_ms, self.id)
    }
}

impl FromStr for Cursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (ts_ms, id) = text.split_once('.').ok_or(())?;
        Ok(Self { ts_ms: ts_ms.parse().map_err(drop)?, id: id.parse().map_err(drop)? })
    }
}

/// A row with its number.
#[derive(Debug, Clone, PartialEq)]
pub struct Logged {
    /// Its number, growing with the time of its end.
    pub id: i64,
    /// What was recorded.
    pub row: UsageRow,
}

/// A part of the list.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// Newest first.
    pub rows: Vec<Logged>,
    /// Where the next page begins, if there is one.
    pub next: Option<Cursor>,
}

const COLUMNS: &str = "id, ts_ms, request_id, session_id, key_id, conn_id, model_req, model_up, alias, client, client_ip,
    dialect_in, dialect_up, endpoint, stream, attempt, attempts, status, outcome, error, tok_in, tok_out, tok_cache_read,
    tok_cache_write, tok_cache_write_1h, tok_reasoning, usage_est, cost, ttft_ms, dur_ms, added_us, bytes_in, bytes_out";

/// A page of at most `limit` rows (at most 1,000) behind `after`. `names` may be kept for the next page.
pub fn list(
    conn: &Connection,
    names: &mut Names,
    filter: &Filter,
    after: Option<Cursor>,
    limit: usize,
) -> rusqlite::Result<Page> {
    let limit = limit.clamp(1, PAGE_ROWS);
    let Some(Clauses { mut sql, mut values }) = clauses(conn, filter)? else {
        return Ok(Page { rows: Vec::new(), next: None });
    };
    if let Some(after) = after {
        sql.push_str(" AND (ts_ms, id) < (?, ?)");
        values.extend([Value::from(after.ts_ms), Value::from(after.id)]);
    }
    let sql = format!("SELECT {COLUMNS} FROM request_log WHERE {sql} ORDER BY ts_ms DESC, id DESC LIMIT {}", limit + 1);
    let mut rows = read(conn, names, &sql, values)?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|last| Cursor { ts_ms: last.row.ts_ms, id: last.id });
    Ok(Page { rows, next })
}

/// All attempts of a request, first one first: by the number of one of its rows, or by the request's id.
pub fn request(conn: &Connection, names: &mut Names, id: &str) -> rusqlite::Result<Vec<Logged>> {
    let (near, values) = match id.parse::<i64>() {
        // Rows of one request are handed over together, so that they stand close to each other.
        Ok(number) => (
            format!(
                "id BETWEEN ?1 - {NEIGHBOURS} AND ?1 + {NEIGHBOURS}
                 AND request_id = (SELECT request_id FROM request_log WHERE id = ?1)"
            ),
            vec![Value::from(number)],
        ),
        Err(_) => ("request_id = ?1".to_owned(), vec![Value::from(id.to_owned())]),
    };
    let sql = format!("SELECT {COLUMNS} FROM request_log WHERE {near} ORDER BY id LIMIT 100");
    read(conn, names, &sql, values)
}

/// Conditions with their values.
struct Clauses {
    sql: String,
    values: Vec<Value>,
}

/// The conditions of a filter; `None` if nothing can meet them.
fn clauses(conn: &Connection, filter: &Filter) -> rusqlite::Result<Option<Clauses>> {
    let mut sql = "1".to_owned();
    let mut values: Vec<Value> = Vec::new();
    let mut also = |clause: &str, value: Value| {
        sql.push_str(" AND ");
        sql.push_str(clause);
        values.push(value);
    };
    if let Some(from) = filter.from_ms {
        also("ts_ms >= ?", from.into());
    }
    if let Some(to) = filter.to_ms {
        also("ts_ms < ?", to.into());
    }
    if let Some(session) = &filter.session {
        also("session_id = ?", session.clone().into());
    }
    if let Some(least) = filter.min_duration_ms {
        also("dur_ms >= ?", i64::from(least).into());
    }
    if let Some(endpoint) = filter.endpoint {
        also("endpoint = ?", i64::from(endpoint as u8).into());
    }
    match filter.wanted {
        Some(Wanted::Outcome(outcome)) if outcome != Outcome::Ok => {
            also("outcome <> 0 AND outcome = ?", i64::from(outcome as u8).into());
        }
        Some(Wanted::Ok | Wanted::Outcome(_)) => sql.push_str(" AND outcome = 0"),
        // The first part is word for word the condition of the index of what did not end well.
        Some(Wanted::Error) => {
            let gone = Outcome::ClientGone as u8;
            sql.push_str(&format!(" AND outcome <> 0 AND outcome <> {gone}"));
        }
        Some(Wanted::Status(status)) => also("status = ?", i64::from(status).into()),
        None => {}
    }
    if filter.finals {
        sql.push_str(" AND attempt = attempts");
    }
    let named = [
        (&filter.provider, Kind::Provider, &["conn_id"][..]),
        (&filter.key, Kind::Key, &["key_id"]),
        (&filter.client, Kind::Client, &["client"]),
        (&filter.model, Kind::Model, &["model_up", "model_req"]),
    ];
    for (pattern, kind, columns) in named {
        let Some(pattern) = pattern else { continue };
        let ids = matching(conn, kind, pattern)?;
        if ids.is_empty() {
            return Ok(None);
        }
        sql.push_str(&format!(" AND {}", within(columns, &ids)));
    }
    if let Some(text) = &filter.text {
        let pattern = format!("*{text}*");
        let models = matching(conn, Kind::Model, &pattern)?;
        let providers = matching(conn, Kind::Provider, &pattern)?;
        let (models, providers) = (within(&["model_up", "model_req"], &models), within(&["conn_id"], &providers));
        sql.push_str(&format!(
            " AND (request_id = ? OR session_id = ? OR instr(lower(error), lower(?)) > 0 OR {models} OR {providers})"
        ));
        values.extend([0; 3].map(|_| Value::from(text.clone())));
    }
    Ok(Some(Clauses { sql, values }))
}

/// `(a IN (1, 2) OR b IN (1, 2))`. Numbers need no binding.
fn within(columns: &[&str], ids: &[i64]) -> String {
    let ids: Vec<_> = ids.iter().map(i64::to_string).collect();
    let ids = ids.join(",");
    let each: Vec<_> = columns.iter().map(|column| format!("{column} IN ({ids})")).collect();
    format!("({})", each.join(" OR "))
}

fn read(conn: &Connection, names: &mut Names, sql: &str, values: Vec<Value>) -> rusqlite::Result<Vec<Logged>> {
    let mut select = conn.prepare(sql)?;
    let mut rows = select.query(rusqlite::params_from_iter(values))?;
    let mut out = Vec::new();
    while let Some(row) = rows.next()? {
        out.push(logged(conn, names, row)?);
    }
    Ok(out)
}

/// A row of [`COLUMNS`].
fn logged(conn: &Connection, names: &mut Names, row: &Row<'_>) -> rusqlite::Result<Logged> {
    let mut name = |column: usize| -> rusqlite::Result<Option<Arc<str>>> { names.of(conn, row.get(column)?) };
    let (key, provider, model_requested, model) = (name(4)?, name(5)?, name(6)?, name(7)?);
    let (alias, client) = (name(8)?, name(9)?);
    let ip: Option<String> = row.get(10)?;
    let upstream: Option<i64> = row.get(12)?;
    let bytes: i64 = row.get(32)?;
    let id = row.get(0)?;
    let row = UsageRow {
        ts_ms: row.get(1)?,
        request_id: row.get::<_, Arc<str>>(2)?,
        session: row.get::<_, Option<Arc<str>>>(3)?,
        key,
        provider,
        model_requested: model_requested.unwrap_or_default(),
        model,
        alias,
        client,
        client_ip: ip.and_then(|ip| ip.parse().ok()),
        // A number of a newer version shows as the most general one.
        dialect: dialect_of(row.get(11)?).unwrap_or(Dialect::OpenAiChat),
        dialect_upstream: upstream.and_then(dialect_of),
        endpoint: Endpoint::of(row.get(13)?).unwrap_or(Endpoint::Chat),
        stream: row.get(14)?,
        attempt: row.get(15)?,
        attempts: row.get(16)?,
        status: row.get(17)?,
        outcome: Outcome::of(row.get(18)?).unwrap_or(Outcome::UpstreamError),
        error: row.get::<_, Option<Arc<str>>>(19)?,
        tokens_in: row.get(20)?,
        tokens_out: row.get(21)?,
        tokens_cache_read: row.get(22)?,
        tokens_cache_write: row.get(23)?,
        tokens_cache_write_1h: row.get(24)?,
        tokens_reasoning: row.get(25)?,
        estimated: row.get(26)?,
        cost: row.get(27)?,
        ttft_ms: row.get(28)?,
        duration_ms: row.get(29)?,
        added_us: row.get(30)?,
        bytes_in: row.get(31)?,
        bytes_out: bytes.unsigned_abs(),
    };
    Ok(Logged { id, row })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{
        super::{
            Dims,
            write::tests::{database, insert, row},
        },
        *,
    };

    fn all(conn: &Connection, filter: &Filter) -> Vec<i64> {
        let page = list(conn, &mut Names::default(), filter, None, 1_000).unwrap();
        page.rows.iter().map(|logged| logged.row.ts_ms).collect()
    }

    #[test]
    fn a_row_comes_back_as_it_was() {
        let mut conn = database();
        let whole = UsageRow {
            session: Some("s-1".into()),
            alias: Some("fast".into()),
            error: Some("no".into()),
            outcome: Outcome::Stall,
            status: 504,
            attempt: 2,
            attempts: 3,
            estimated: true,
            bytes_out: u64::from(u32::MAX) + 1,
            client_ip: Some("2001:db8::1".parse().unwrap()),
            ..row(7)
        };
        let bare = UsageRow {
            key: None,
            provider: None,
            model: None,
            client: None,
            client_ip: None,
            dialect_upstream: None,
            cost: None,
            ttft_ms: None,
            added_us: None,
            attempt: 0,
            attempts: 0,
            model_requested: "".into(),
            ..row(6)
        };
        insert(&mut conn, &mut Dims::default(), &[whole.clone(), bare.clone()]);
        let page = list(&conn, &mut Names::default(), &Filter::default(), None, 10).unwrap();
        assert_eq!(page.next, None);
        let rows: Vec<_> = page.rows.into_iter().map(|logged| (logged.id, logged.row)).collect();
        assert_eq!(rows, [(1, whole), (2, bare)]);
    }

    #[test]
    fn pages_follow_each_other_without_gaps_also_at_equal_times() {
        let mut conn = database();
        let rows: Vec<_> = (0..95).map(|n| row(n / 10)).collect();
        insert(&mut conn, &mut Dims::default(), &rows);
        let (mut ids, mut after, mut names) = (Vec::new(), None, Names::default());
        loop {
            let page = list(&conn, &mut names, &Filter::default(), after, 10).unwrap();
            ids.extend(page.rows.iter().map(|logged| logged.id));
            // Something that comes in between is on no later page.
            insert(&mut conn, &mut Dims::default(), &[row(1_000)]);
            match page.next {
                Some(next) => after = Some(next.to_string().parse().unwrap()),
                None => break,
            }
        }
        assert_eq!(ids, (1..=95).rev().collect::<Vec<_>>());
        assert!("x".parse::<Cursor>().is_err() && "1.".parse::<Cursor>().is_err());
    }

    #[test]
    fn filters_hold_together() {
        let mut conn = database();
        let failed = |status: u16, outcome: Outcome| UsageRow {
            status,
            outcome,
            error: Some("Rate limit of acme".into()),
            provider: Some("Other".into()),
            ..row(2)
        };
        let rows = [
            row(1),
            failed(429, Outcome::UpstreamError),
            UsageRow {
                outcome: Outcome::ClientGone,
                session: Some("abc".into()),
                key: None,
                client: None,
                duration_ms: 9_000,
                ..row(3)
            },
            UsageRow { model: Some("claude-x".into()), attempt: 1, attempts: 2, ..row(4) },
            UsageRow { endpoint: Endpoint::CountTokens, request_id: "r-5".into(), ..row(5) },
        ];
        insert(&mut conn, &mut Dims::default(), &rows);
        let filter = |change: fn(&mut Filter)| {
            let mut filter = Filter::default();
            change(&mut filter);
            all(&conn, &filter)
        };
        assert_eq!(filter(|_| {}), [5, 4, 3, 2, 1]);
        assert_eq!(filter(|f| (f.from_ms, f.to_ms) = (Some(2), Some(4))), [3, 2]);
        assert_eq!(filter(|f| f.provider = Some("other".into())), [2]);
        assert_eq!(filter(|f| f.provider = Some("acm?".into())), [0; 0]);
        assert_eq!(filter(|f| f.model = Some("claude*".into())), [4]);
        assert_eq!(filter(|f| f.model = Some("large".into())), [5, 4, 3, 2, 1]);
        assert_eq!(filter(|f| f.key = Some("laptop".into())), [5, 4, 2, 1]);
        assert_eq!(filter(|f| f.client = Some("codex".into())), [5, 4, 2, 1]);
        assert_eq!(filter(|f| f.session = Some("abc".into())), [3]);
        assert_eq!(filter(|f| f.min_duration_ms = Some(201)), [3]);
        assert_eq!(filter(|f| f.endpoint = Some(Endpoint::CountTokens)), [5]);
        assert_eq!(filter(|f| f.finals = true), [5, 3, 2, 1]);
        assert_eq!(filter(|f| f.wanted = Some("ok".parse().unwrap())), [5, 4, 1]);
        assert_eq!(filter(|f| f.wanted = Some("client_gone".parse().unwrap())), [3]);
        for wanted in ["error", "upstream_error", "429"] {
            let filter = Filter { wanted: Some(wanted.parse().unwrap()), ..Filter::default() };
            assert_eq!(all(&conn, &filter), [2], "{wanted}");
            let taken: Vec<_> = rows.iter().map(|row| filter.wanted.unwrap().takes(row)).collect();
            assert_eq!(taken, [false, true, false, false, false], "{wanted}");
        }
        assert!("nonsense".parse::<Wanted>().is_err());
        for (text, expected) in
            [("rate LIMIT", vec![2]), ("r-5", vec![5]), ("abc", vec![3]), ("ude-x", vec![4]), ("other", vec![2])]
        {
            let filter = Filter { text: Some(text.to_owned()), ..Filter::default() };
            assert_eq!(all(&conn, &filter), expected, "{text}");
        }
        // Quotes are text.
        assert_eq!(filter(|f| f.text = Some("'; DROP TABLE dim; --".into())), [0; 0]);
    }

    #[test]
    fn attempts_of_a_request_are_found_from_any_of_them() {
        let mut conn = database();
        let of = |id: &str, attempt: u16| UsageRow { request_id: id.into(), attempt, attempts: 2, ..row(0) };
        insert(&mut conn, &mut Dims::default(), &[of("a", 1), of("b", 1), of("a", 2), of("b", 2)]);
        let ids = |id: &str| -> Vec<i64> {
            request(&conn, &mut Names::default(), id).unwrap().iter().map(|logged| logged.id).collect()
        };
        assert_eq!((ids("1"), ids("3"), ids("a"), ids("4")), (vec![1, 3], vec![1, 3], vec![1, 3], vec![2, 4]));
        assert_eq!((ids("99"), ids("none")), (vec![], vec![]));
    }
}
