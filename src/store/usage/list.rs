//! The log, newest first: filtered, by pages.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use codecs::dialect::Dialect;
use rusqlite::Connection;

use super::{
    Names,
    names::matching,
    packed::Stored,
    row::{Endpoint, Outcome, UsageRow, dialect_of},
    segment::{Mark, Marked, Place, walk},
    write::Kind,
};

/// Rows of one page at most.
const PAGE_ROWS: usize = 1_000;
/// How far from a row the other attempts of its request are searched: so many exchanges can end in between.
const NEIGHBOURS: i64 = 5_000;
/// Attempts of one request that are shown.
const ATTEMPTS: usize = 100;

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
    /// Whether it ended so.
    pub fn takes(self, outcome: Outcome, status: u16) -> bool {
        match self {
            Self::Ok => outcome == Outcome::Ok,
            Self::Error => outcome.is_failure(),
            Self::Outcome(wanted) => outcome == wanted,
            Self::Status(wanted) => status == wanted,
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

/// A page of at most `limit` rows (at most 1,000) behind `after`. `names` may be kept for the next page.
pub fn list(
    conn: &Connection,
    names: &mut Names,
    filter: &Filter,
    after: Option<Cursor>,
    limit: usize,
) -> rusqlite::Result<Page> {
    let limit = limit.clamp(1, PAGE_ROWS);
    let Some(wanted) = Conditions::of(conn, filter)? else { return Ok(Page { rows: Vec::new(), next: None }) };
    let to = filter.to_ms.unwrap_or(i64::MAX).min(after.map_or(i64::MAX, |after| after.ts_ms.saturating_add(1)));
    let place = Place::Times(filter.from_ms.unwrap_or(i64::MIN), to);
    // The newest ones so far. Rows end in another order than they begin: later segments may have newer ones.
    let mut newest = BTreeMap::new();
    walk(conn, place, &wanted.marked, |row, floor| {
        let at = (row.ts_ms, row.id);
        if after.is_some_and(|after| at >= (after.ts_ms, after.id)) || !wanted.hold(row) {
            return Ok(());
        }
        newest.insert(at, logged(conn, names, row)?);
        if newest.len() > limit + 1 {
            newest.pop_first();
        }
        if newest.len() > limit
            && let Some(((oldest, _), _)) = newest.first_key_value()
        {
            *floor = *oldest;
        }
        Ok(())
    })?;
    let more = newest.len() > limit;
    let rows: Vec<_> = newest.into_values().rev().take(limit).collect();
    let next = rows.last().filter(|_| more).map(|last| Cursor { ts_ms: last.row.ts_ms, id: last.id });
    Ok(Page { rows, next })
}

/// All attempts of a request, first one first: by the number of one of its rows, or by the request's id.
pub fn request(conn: &Connection, names: &mut Names, id: &str) -> rusqlite::Result<Vec<Logged>> {
    let mut request_id = None;
    let mut place = Place::Times(i64::MIN, i64::MAX);
    if let Ok(number) = id.parse::<i64>() {
        // Rows of one request are handed over together, so that they stand close to each other.
        place = Place::Ids(number.saturating_sub(NEIGHBOURS), number.saturating_add(NEIGHBOURS));
        walk(conn, Place::Ids(number, number), &Marked::default(), |row, _| {
            request_id = Some(row.request_id.to_owned());
            Ok(())
        })?;
    } else {
        request_id = Some(id.to_owned());
    }
    let Some(request_id) = request_id else { return Ok(Vec::new()) };
    let mut marked = Marked::default();
    marked.any([Mark::Text(&request_id)]);
    let mut attempts = BTreeMap::new();
    walk(conn, place, &marked, |row, _| {
        if row.request_id == request_id {
            attempts.insert(row.id, logged(conn, names, row)?);
            if attempts.len() > ATTEMPTS {
                attempts.pop_last();
            }
        }
        Ok(())
    })?;
    Ok(attempts.into_values().collect())
}

/// A filter with numbers for its texts.
struct Conditions<'f> {
    filter: &'f Filter,
    marked: Marked,
    /// Numbers that are wanted, in order; `None` where all are.
    provider: Option<Vec<i64>>,
    key: Option<Vec<i64>>,
    client: Option<Vec<i64>>,
    model: Option<Vec<i64>>,
    text: Option<Text>,
}

/// What is searched for.
struct Text {
    exact: String,
    lower: String,
    models: Vec<i64>,
    providers: Vec<i64>,
}

impl<'f> Conditions<'f> {
    /// `None` if nothing can meet them.
    fn of(conn: &Connection, filter: &'f Filter) -> rusqlite::Result<Option<Self>> {
        let mut marked = Marked::default();
        let mut named = |kind, pattern: &Option<String>| -> rusqlite::Result<Option<Vec<i64>>> {
            let Some(pattern) = pattern else { return Ok(None) };
            let ids = matching(conn, kind, pattern)?;
            marked.any(ids.iter().map(|id| Mark::Dim(*id)));
            Ok(Some(ids))
        };
        let provider = named(Kind::Provider, &filter.provider)?;
        let key = named(Kind::Key, &filter.key)?;
        let client = named(Kind::Client, &filter.client)?;
        let model = named(Kind::Model, &filter.model)?;
        if [&provider, &key, &client, &model].into_iter().flatten().any(Vec::is_empty) {
            return Ok(None);
        }
        let mut text = None;
        if let Some(exact) = &filter.text {
            let pattern = format!("*{exact}*");
            let models = matching(conn, Kind::Model, &pattern)?;
            let providers = matching(conn, Kind::Provider, &pattern)?;
            let names = models.iter().chain(&providers).map(|id| Mark::Dim(*id));
            marked.any(names.chain([Mark::Text(exact), Mark::Error]));
            text = Some(Text { exact: exact.clone(), lower: exact.to_ascii_lowercase(), models, providers });
        }
        if let Some(session) = &filter.session {
            marked.any([Mark::Text(session)]);
        }
        match filter.wanted {
            Some(Wanted::Status(status)) => marked.any([Mark::Status(status)]),
            Some(wanted) => {
                let outcomes = Outcome::ALL.into_iter().filter(|outcome| wanted.takes(*outcome, 0));
                marked.any(outcomes.map(|outcome| Mark::Outcome(outcome as u8)));
            }
            None => {}
        }
        Ok(Some(Self { filter, marked, provider, key, client, model, text }))
    }

    /// Whether a row meets all but those on its time.
    fn hold(&self, row: &Stored<'_>) -> bool {
        let Filter { session, wanted, endpoint, min_duration_ms, finals, .. } = self.filter;
        let among = |ids: &Option<Vec<i64>>, id: i64| ids.as_ref().is_none_or(|ids| ids.binary_search(&id).is_ok());
        among(&self.provider, row.provider)
            && among(&self.key, row.key)
            && among(&self.client, row.client)
            && (among(&self.model, row.model) || among(&self.model, row.requested))
            && wanted.is_none_or(|wanted| wanted.takes(row.ended(), row.status))
            && endpoint.is_none_or(|endpoint| endpoint as u8 == row.endpoint)
            && min_duration_ms.is_none_or(|least| row.duration_ms >= least)
            && (!finals || row.is_final())
            && session.as_ref().is_none_or(|session| row.session == Some(session))
            && self.text.as_ref().is_none_or(|text| text.is_in(row))
    }
}

impl Text {
    fn is_in(&self, row: &Stored<'_>) -> bool {
        let among = |ids: &[i64], id: i64| ids.binary_search(&id).is_ok();
        row.request_id == self.exact
            || row.session == Some(&self.exact)
            || among(&self.models, row.model)
            || among(&self.models, row.requested)
            || among(&self.providers, row.provider)
            || row.error.is_some_and(|error| error.to_ascii_lowercase().contains(&self.lower))
    }
}

fn logged(conn: &Connection, names: &mut Names, row: &Stored<'_>) -> rusqlite::Result<Logged> {
    let mut name = |id: i64| names.of(conn, id);
    let logged = UsageRow {
        ts_ms: row.ts_ms,
        request_id: row.request_id.into(),
        session: row.session.map(Arc::from),
        key: name(row.key)?,
        provider: name(row.provider)?,
        model_requested: name(row.requested)?.unwrap_or_default(),
        model: name(row.model)?,
        alias: name(row.alias)?,
        client: name(row.client)?,
        client_ip: row.client_ip,
        // A number of a newer version shows as the most general one.
        dialect: dialect_of(row.dialect.into()).unwrap_or(Dialect::OpenAiChat),
        dialect_upstream: dialect_of(row.dialect_upstream.into()),
        endpoint: Endpoint::of(row.endpoint.into()).unwrap_or(Endpoint::Chat),
        stream: row.stream,
        attempt: row.attempt,
        attempts: row.attempts,
        status: row.status,
        outcome: row.ended(),
        error: row.error.map(Arc::from),
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
    Ok(Logged { id: row.id, row: logged })
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
            let taken: Vec<_> = rows.iter().map(|row| filter.wanted.unwrap().takes(row.outcome, row.status)).collect();
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
