//! The log of requests as a file, made page by page while it is read.

use std::pin::Pin;

use bytes::Bytes;
use serde_json::Value;

use super::requests::{ENTRY, entry};
use crate::{
    api::{Api, Cut, Payload, Pieces, Problem, Reply},
    store::{
        Connection, Store,
        usage::{self, Cursor, Filter, Names},
    },
};

/// Media types.
pub(super) const CSV: &str = "text/csv; charset=utf-8";
/// See above.
pub(super) const JSONL: &str = "application/x-ndjson";
/// Rows of one piece.
const PAGE: usize = 500;

/// Columns of the CSV: the members of the log's entries.
fn columns() -> impl Iterator<Item = &'static str> {
    ENTRY.members.iter().map(|member| member.name)
}

/// The answer with the file.
pub(super) async fn reply(api: &Api, filter: Filter, lines: bool) -> Result<Reply, Problem> {
    let mut export = Export {
        store: api.live().store().clone(),
        filter,
        lines,
        names: Names::default(),
        after: None,
        first: None,
        done: false,
    };
    // The first page is read before the head is sent, so that a store that fails can say so.
    let mut first = if lines { Vec::new() } else { record(columns().map(str::to_owned)) };
    first.extend(export.page().await?);
    export.first = Some(first.into());
    let (media, name) = if lines { (JSONL, "usage.jsonl") } else { (CSV, "usage.csv") };
    let reply = Reply::of(Payload::Stream(media, Box::new(export)));
    Ok(reply.with("content-disposition", format!("attachment; filename=\"{name}\"")))
}

struct Export {
    store: Store,
    filter: Filter,
    lines: bool,
    names: Names,
    after: Option<Cursor>,
    first: Option<Bytes>,
    done: bool,
}

impl Export {
    /// The next rows as text.
    async fn page(&mut self) -> Result<Vec<u8>, Problem> {
        let (filter, after, mut names) = (self.filter.clone(), self.after, std::mem::take(&mut self.names));
        let read = move |conn: &Connection| {
            let page = usage::list(conn, &mut names, &filter, after, PAGE)?;
            Ok((page, names))
        };
        let (page, names) = self.store.read(read).await?;
        self.names = names;
        self.after = page.next;
        self.done = page.next.is_none();
        let mut out = Vec::with_capacity(page.rows.len() * 400);
        for logged in &page.rows {
            let entry = entry(logged);
            if self.lines {
                out.extend_from_slice(entry.to_string().as_bytes());
                out.push(b'\n');
            } else {
                out.extend(record(columns().map(|name| cell(&entry[name]))));
            }
        }
        Ok(out)
    }
}

impl Pieces for Export {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Result<Option<Bytes>, Cut>> + Send + '_>> {
        Box::pin(async move {
            if let Some(first) = self.first.take().filter(|first| !first.is_empty()) {
                return Ok(Some(first));
            }
            if self.done {
                return Ok(None);
            }
            match self.page().await {
                Ok(piece) if piece.is_empty() => Ok(None),
                Ok(piece) => Ok(Some(piece.into())),
                Err(problem) => {
                    tracing::warn!(reason = problem.message, "an export is cut");
                    Err(Cut)
                }
            }
        })
    }
}

/// One line of CSV.
fn record(cells: impl Iterator<Item = String>) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    // Writing into memory does not fail.
    drop(writer.write_record(cells));
    writer.into_inner().unwrap_or_default()
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => harmless(text),
        other => other.to_string(),
    }
}

/// Spreadsheets take a text that begins like this for a formula, and names of models come from outside.
fn harmless(text: &str) -> String {
    match text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        true => format!("'{text}"),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_and_harmless() {
        let cells = [Value::Null, "a,\"b\"".into(), "=1+1".into(), 7.into(), true.into()];
        assert_eq!(record(cells.iter().map(cell)), b",\"a,\"\"b\"\"\",'=1+1,7,true\r\n");
    }
}
