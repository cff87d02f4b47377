//! Folds a stream of this dialect into its own document, for clients that want no stream from an upstream that has
//! nothing else.
//!
//! Values are copied as they came; nothing goes through the hub, so unknown members and items survive.
//!
//! | what | from where |
//! |---|---|
//! | members | the terminal event, else `response.created` |
//! | `output` | the terminal event if it has any, else the finished items by `output_index`, gaps filled with empty messages |
//! | no terminal event | status `failed`; an error if nothing came at all |

use std::collections::BTreeMap;

use super::{
    failure,
    items::{self, Status},
};
use crate::{
    dialect::folding::{self, Fold as _, Folding},
    hub::{ApiError, ErrorKind, ids},
    json::{Raw, Text, Writer},
};

/// Bytes of events kept. Above it the answer fails.
const KEPT_BYTES_MAX: usize = 32 << 20;
/// Items of one answer: an index above it would make an array of gaps.
const ITEMS_MAX: u64 = 8_192;

const CUT: &str = "upstream stream ended before completion";

/// The machine: bytes in, one document out.
#[derive(Debug)]
pub struct Collapse(Folding<Fold>);

#[derive(Debug, Default)]
struct Fold {
    /// The response of the first event that has one.
    base: Option<String>,
    /// The response of the terminal event.
    terminal: Option<String>,
    items: BTreeMap<u64, String>,
    /// Number of items seen, finished or not.
    count: u64,
    kept_bytes: usize,
    error: Option<ApiError>,
}

impl Default for Collapse {
    fn default() -> Self {
        Self::new()
    }
}

impl Collapse {
    /// A collapser at the start of a stream.
    pub fn new() -> Self {
        Self(Folding::new())
    }

    /// Takes the next bytes.
    pub fn push(&mut self, chunk: &[u8]) {
        self.0.push(chunk);
    }

    /// End of input: writes the document. An error is what the client gets instead of one.
    pub fn finish(self, out: &mut Vec<u8>) -> Result<(), ApiError> {
        self.0.finish().finish(out)
    }
}

impl folding::Fold for Fold {
    fn is_over(&self) -> bool {
        self.error.is_some() || self.terminal.is_some()
    }

    fn json(&mut self, name: Option<&str>, value: Raw<'_>) {
        self.event(name, value);
        if self.kept_bytes > KEPT_BYTES_MAX {
            self.fail(ApiError::new(ErrorKind::Api, "the answer is larger than this gateway holds"));
        }
    }

    /// Not a part of this dialect; the terminal event alone ends an answer.
    fn done(&mut self) {}

    /// Nothing counts after the terminal event.
    fn fail(&mut self, error: ApiError) {
        if self.terminal.is_none() {
            self.error.get_or_insert(error);
        }
    }
}

impl Fold {
    fn event(&mut self, name: Option<&str>, event: Raw<'_>) {
        let kind = event.get_text("type").or(name.map(Text::Plain)).unwrap_or(Text::EMPTY).plain();
        let response = event.get("response").filter(|response| response.is_object());
        match &*kind {
            "response.created" | "response.in_progress" | "response.queued" => {
                if let (None, Some(response)) = (&self.base, response) {
                    self.base = Some(self.keep(response));
                }
            }
            "response.output_item.added" => {
                self.index(event);
            }
            "response.output_item.done" => {
                if let (Some(index), Some(item)) = (self.index(event), event.get("item")) {
                    let item = self.keep(item);
                    self.items.insert(index, item);
                }
            }
            "response.completed" | "response.incomplete" | "response.failed" | "response.cancelled" => {
                if let Some(response) = response {
                    self.terminal = Some(self.keep(response));
                }
            }
            "error" => self.fail(failure::read(event)),
            "" if event.get("error").is_some() => self.fail(failure::read(event)),
            _ => {}
        }
    }

    fn keep(&mut self, value: Raw<'_>) -> String {
        self.kept_bytes += value.as_str().len();
        value.as_str().to_owned()
    }

    /// The place of the event's item; behind all others if the event does not say.
    fn index(&mut self, event: Raw<'_>) -> Option<u64> {
        let index = event.get_u64("output_index").unwrap_or(self.count);
        if index >= ITEMS_MAX {
            self.fail(ApiError::new(ErrorKind::Api, "the upstream sent too many output items"));
            return None;
        }
        self.count = self.count.max(index + 1);
        Some(index)
    }

    fn finish(self, out: &mut Vec<u8>) -> Result<(), ApiError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        if self.base.is_none() && self.terminal.is_none() && self.count == 0 {
            return Err(ApiError::new(ErrorKind::Truncated, CUT));
        }
        let failed = failed_members();
        let base = parsed(self.base.as_deref().unwrap_or("{}"));
        let last = parsed(self.terminal.as_deref().unwrap_or(&failed));
        let mut w = Writer::new(out);
        w.begin_object();
        for (key, value) in base.members() {
            let name = key.plain();
            if name != "output" {
                w.key_text(key).raw(last.member(&name).unwrap_or(value));
            }
        }
        for (key, value) in last.members() {
            let name = key.plain();
            if name != "output" && base.member(&name).is_none() {
                w.key_text(key).raw(value);
            }
        }
        w.key("output");
        match last.get("output").filter(|output| output.elements().next().is_some()) {
            Some(output) => {
                w.raw(output);
            }
            None => {
                let id = last.get_text("id").or(base.get_text("id")).unwrap_or(Text::EMPTY).plain();
                self.output(&ids::slug(ids::core(&id)), &mut w);
            }
        }
        w.end_object();
        Ok(())
    }

    fn output(&self, slug: &str, w: &mut Writer<'_, Vec<u8>>) {
        w.begin_array();
        for (index, place) in (0..self.count).zip(0u32..) {
            match self.items.get(&index) {
                Some(item) => {
                    w.verbatim(item);
                }
                None => items::message(&ids::item_id("msg", slug, place), Status::Completed, None, w),
            }
        }
        w.end_array();
    }
}

/// A kept value again.
fn parsed(text: &str) -> Raw<'_> {
    Raw::parse_str(text).unwrap_or(Raw::EMPTY_OBJECT)
}

/// What stands in place of a terminal event that never came.
fn failed_members() -> String {
    let mut json = Vec::new();
    let mut w = Writer::new(&mut json);
    w.begin_object().key("status").string(Status::Failed.name()).key("error");
    w.begin_object().key("code").string("server_error").key("message").string(CUT);
    w.end_object().end_object();
    String::from_utf8(json).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn run(stream: &str) -> Result<Value, ApiError> {
        let mut collapse = Collapse::new();
        for chunk in stream.as_bytes().chunks(7) {
            collapse.push(chunk);
        }
        let mut out = Vec::new();
        collapse.finish(&mut out)?;
        Ok(serde_json::from_slice(&out).unwrap())
    }

    fn sse(events: &[Value]) -> String {
        events.iter().map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap())).collect()
    }

    #[test]
    fn gaps_are_filled_and_items_sorted() {
        let base = json!({"type":"response.created","response":{"id":"resp_a.b","status":"in_progress","extra":1.50,"usage":null,"output":[]}});
        let two = json!({"type":"response.output_item.done","output_index":2,"item":{"type":"x","n":2}});
        let zero = json!({"type":"response.output_item.done","output_index":0,"item":{"type":"x","n":0}});
        let end = json!({"type":"response.completed","response":{"status":"completed","usage":{"total_tokens":3},"new":true,"output":[]}});
        let document = run(&sse(&[base.clone(), two.clone(), zero, end])).unwrap();
        assert_eq!(
            document,
            json!({"id":"resp_a.b","status":"completed","extra":1.5,"usage":{"total_tokens":3},"new":true,"output":[
                {"type":"x","n":0},
                {"id":"msg_a_b_1","type":"message","status":"completed","role":"assistant","content":[]},
                {"type":"x","n":2}
            ]})
        );
        // No terminal event: what came is handed over, and its status says so.
        let cut = run(&sse(&[base, two])).unwrap();
        assert_eq!(cut["status"], "failed");
        assert_eq!(cut["error"], json!({"code":"server_error","message":CUT}));
        assert_eq!(cut["output"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn a_terminal_output_wins_as_a_whole() {
        let item = json!({"type":"response.output_item.done","output_index":0,"item":{"n":0}});
        let end = json!({"type":"response.incomplete","response":{"status":"incomplete","output":[{"n":9}]}});
        assert_eq!(run(&sse(&[item, end])).unwrap(), json!({"status":"incomplete","output":[{"n":9}]}));
    }

    #[test]
    fn nothing_and_errors_are_no_document() {
        assert_eq!(run("").unwrap_err().kind, ErrorKind::Truncated);
        assert_eq!(run(": ping\n\n").unwrap_err().kind, ErrorKind::Truncated);
        let error = json!({"type":"error","code":"rate_limit_exceeded","message":"slow"});
        assert_eq!(run(&sse(&[error])).unwrap_err().kind, ErrorKind::RateLimit);
        assert_eq!(run("data: {broken\n\n").unwrap_err().kind, ErrorKind::Api);
        let far = json!({"type":"response.output_item.added","output_index":1_000_000_000_000u64});
        assert_eq!(run(&sse(&[far])).unwrap_err().kind, ErrorKind::Api);
    }
}
