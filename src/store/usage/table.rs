//! The log as the first migration made it, one row of a table per attempt: only read here, to pack it.

use std::net::IpAddr;

use rusqlite::{Row, Transaction};

use super::{packed::Stored, segment::Segment};

/// Moves all rows into segments, and removes their table. Needs twice the room on the disk while it runs.
pub(in super::super) fn pack_log(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    let mut segment = Segment::last(tx)?;
    let mut select = tx.prepare(
        "SELECT id, ts_ms, request_id, session_id, key_id, conn_id, model_req, model_up, alias, client, client_ip,
             dialect_in, dialect_up, endpoint, stream, attempt, attempts, status, outcome, error, tok_in, tok_out,
             tok_cache_read, tok_cache_write, tok_cache_write_1h, tok_reasoning, usage_est, cost, ttft_ms, dur_ms,
             added_us, bytes_in, bytes_out
         FROM request_log ORDER BY id",
    )?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        segment.add(tx, &stored(row)?)?;
    }
    segment.save(tx)?;
    drop(rows);
    drop(select);
    tx.execute_batch("DROP TABLE request_log")
}

fn stored<'a>(row: &'a Row<'_>) -> rusqlite::Result<Stored<'a>> {
    let text = |column: usize| -> rusqlite::Result<Option<&'a str>> { Ok(row.get_ref(column)?.as_str_or_null()?) };
    let id = |column: usize| row.get::<_, Option<i64>>(column).map(Option::unwrap_or_default);
    Ok(Stored {
        id: row.get(0)?,
        ts_ms: row.get(1)?,
        request_id: text(2)?.unwrap_or_default(),
        session: text(3)?,
        key: id(4)?,
        provider: id(5)?,
        requested: id(6)?,
        model: id(7)?,
        alias: id(8)?,
        client: id(9)?,
        client_ip: text(10)?.and_then(|ip| ip.parse::<IpAddr>().ok()),
        dialect: row.get(11)?,
        dialect_upstream: row.get::<_, Option<u8>>(12)?.unwrap_or_default(),
        endpoint: row.get(13)?,
        stream: row.get(14)?,
        attempt: row.get(15)?,
        attempts: row.get(16)?,
        status: row.get(17)?,
        outcome: row.get(18)?,
        error: text(19)?,
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
        bytes_out: row.get::<_, i64>(32)?.unsigned_abs(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rusqlite::Connection;

    use super::{
        super::{Filter, Names, Outcome, SCHEMA, SEGMENTS, UsageRow, list, write::tests::row},
        *,
    };

    #[test]
    fn rows_of_the_first_tables_are_in_the_log_with_their_numbers() {
        let mut conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(SCHEMA).unwrap();
        conn.execute_batch(
            "INSERT INTO dim VALUES (1, 1, 'laptop'), (2, 2, 'acme'), (3, 3, 'large'), (4, 3, 'large-2'), (5, 4, 'fast'),
                 (6, 5, 'codex');
             INSERT INTO request_log VALUES
                 (41, 5, '0123456789abcdef01234567', 's', 1, 2, 3, 4, 5, 6, '::1', 2, 3, 1, 1, 1, 2, 503, 2, 'no', 100, 20,
                  30, 5, 1, 7, 1, 1500, 40, 200, 90, 1000, 2000),
                 (42, 4, 'other', NULL, NULL, NULL, 3, NULL, NULL, NULL, NULL, 2, NULL, 3, 0, 0, 0, 404, 1, NULL, 0, 0,
                  0, 0, 0, 0, 0, NULL, NULL, 1, NULL, 10, 20);",
        )
        .unwrap();
        conn.execute_batch(SEGMENTS).unwrap();
        let tx = conn.transaction().unwrap();
        pack_log(&tx).unwrap();
        tx.commit().unwrap();
        let whole = UsageRow {
            session: Some("s".into()),
            alias: Some("fast".into()),
            client_ip: Some("::1".parse().unwrap()),
            attempts: 2,
            status: 503,
            outcome: Outcome::UpstreamError,
            error: Some("no".into()),
            estimated: true,
            ..row(5)
        };
        let page = list(&conn, &mut Names::default(), &Filter::default(), None, 10).unwrap();
        let [first, second] = &page.rows[..] else { panic!("{page:?}") };
        assert_eq!((first.id, &first.row), (41, &whole));
        assert_eq!((second.id, &*second.row.request_id, second.row.status), (42, "other", 404));
        assert_eq!((&second.row.provider, second.row.dialect_upstream, second.row.cost), (&None, None, None));
        let gone = "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'request_log%'";
        assert_eq!(conn.query_row(gone, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
    }
}
