//! Lists by pages.
//!
//! A cursor names the place behind an entry by what the list is ordered by, so that what comes or goes in between
//! neither repeats nor hides other entries.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{
    Problem, Request,
    route::Param,
    schema::{Schema, line},
};

/// Entries of a page at most.
pub(super) const LIMIT_MAX: i64 = 1_000;
/// Entries of a page where nothing is said.
const LIMIT: i64 = 100;

/// How many entries.
pub(super) const LIMIT_PARAM: Param =
    Param { name: "limit", schema: Schema::Integer(1, LIMIT_MAX), help: "entries of a page; 100 unless said" };
/// From where on.
pub(super) const CURSOR_PARAM: Param =
    Param { name: "cursor", schema: line(2_048), help: "`nextCursor` of the page before" };
/// Some text in them.
pub(super) const Q_PARAM: Param = Param { name: "q", schema: line(256), help: "only entries that hold this text" };

/// The form of a list.
macro_rules! list_of {
    ($name:literal, $item:expr) => {
        $crate::api::schema::Schema::Object(&$crate::api::schema::Object {
            name: $name,
            members: &[
                $crate::api::schema::needed(
                    "data",
                    $crate::api::schema::Schema::List(&$item, usize::MAX),
                    "the entries",
                ),
                $crate::api::schema::needed("count", $crate::api::schema::COUNT, "how many are in this answer"),
                $crate::api::schema::needed(
                    "total",
                    $crate::api::schema::COUNT_OR_NULL,
                    "how many there are in all, where it is cheap to know",
                ),
                $crate::api::schema::needed(
                    "nextCursor",
                    $crate::api::schema::TEXT_OR_NULL,
                    "`cursor` of the next page; null on the last one",
                ),
            ],
        })
    };
}
pub(super) use list_of;

/// Which part of a list is wanted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    /// Entries at most.
    pub(super) limit: usize,
    /// The place behind which it begins, in the list's own terms.
    pub(super) after: Option<String>,
}

impl Page {
    /// What a request wants.
    ///
    /// # Errors
    /// 400 if the cursor is none of ours.
    pub(super) fn of(request: &Request) -> Result<Self, Problem> {
        let limit = request.number("limit").unwrap_or(LIMIT).clamp(1, LIMIT_MAX);
        let after = request.query("cursor").map(opened).transpose()?;
        Ok(Self { limit: usize::try_from(limit).unwrap_or(1), after })
    }

    /// The page of a list that is known as a whole: entries with what they are ordered by, in any order.
    pub(super) fn cut(&self, entries: Vec<(String, Value)>) -> Value {
        self.cut_with(entries, |entry| entry)
    }

    /// The same of entries that cost something to show: only those on the page are.
    pub(super) fn cut_with<T>(&self, mut entries: Vec<(String, T)>, show: impl Fn(T) -> Value) -> Value {
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        let total = entries.len();
        let mut rest = entries.into_iter().skip_while(|(key, _)| self.after.as_ref().is_some_and(|after| key <= after));
        let (mut data, mut last) = (Vec::new(), None);
        for (key, entry) in rest.by_ref().take(self.limit) {
            data.push(show(entry));
            last = Some(key);
        }
        let next = last.filter(|_| rest.next().is_some());
        document(data, Some(total), next.as_deref())
    }
}

/// The document of a list. `next` is the place behind its last entry, if there are more.
pub(super) fn document(data: Vec<Value>, total: Option<usize>, next: Option<&str>) -> Value {
    let count = data.len();
    json!({"data": data, "count": count, "total": total, "nextCursor": next.map(closed)})
}

/// Whether an entry holds a text somewhere in these fields.
pub(super) fn holds(q: Option<&str>, fields: &[&str]) -> bool {
    let Some(q) = q else { return true };
    let q = q.to_lowercase();
    fields.iter().any(|field| field.to_lowercase().contains(&q))
}

fn closed(place: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(place)
}

fn opened(cursor: &str) -> Result<String, Problem> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok();
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(no_cursor)
}

/// The cursor is none of ours.
pub(super) fn no_cursor() -> Problem {
    Problem::query("cursor", "this is no cursor of ours: use `nextCursor` of the page before")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn entries(keys: &[&str]) -> Vec<(String, Value)> {
        keys.iter().map(|key| ((*key).to_owned(), json!(key))).collect()
    }

    #[test]
    fn pages_go_on_behind_what_was_seen() {
        let mut page = Page { limit: 2, after: None };
        let first = page.cut(entries(&["a", "b", "c", "d"]));
        assert_eq!((&first["data"], &first["count"], &first["total"]), (&json!(["a", "b"]), &json!(2), &json!(4)));
        page.after = Some(opened(first["nextCursor"].as_str().unwrap()).unwrap());
        // The one where the page ended is gone, and another has come before.
        let second = page.cut(entries(&["0", "a", "c", "d"]));
        assert_eq!((&second["data"], &second["nextCursor"]), (&json!(["c", "d"]), &Value::Null));
        assert!(opened("%").is_err() && opened("_w").is_err());
    }

    #[test]
    fn texts_are_found_without_case() {
        assert!(holds(None, &[]) && holds(Some("PEN"), &["x", "Open"]) && !holds(Some("z"), &["x"]));
    }
}
