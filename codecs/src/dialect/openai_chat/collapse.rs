//! Collapses a chat stream into the chat document that the same upstream would have sent without streaming.
//!
//! For vendors that only stream, and clients of the same dialect that do not. Both sides speak chat, so nothing goes
//! through the hub: ids, arguments, usage and log probabilities are copied as they came.

use super::{
    stream::{CUT, find_call},
    words,
};
use crate::{
    dialect::folding::{self, Folding},
    hub::{ApiError, ErrorKind, EscapedBuf},
    json::{Kind, Raw, Text, Writer},
};

/// Bytes kept of one answer.
const KEPT_BYTES_MAX: usize = 32 << 20;
/// Answers, calls of one answer, and entries of its lists.
const ENTRIES_MAX: usize = 1 << 16;

/// The machine: bytes in, one document out.
#[derive(Debug)]
pub struct Collapse(Folding<Fold>);

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

    /// End of input: writes the document. A stream that failed or broke off is an error instead.
    pub fn finish(self, out: &mut Vec<u8>) -> Result<(), ApiError> {
        self.0.finish().finish(out)
    }
}

/// What the chunks have said so far. Values are kept as JSON text.
#[derive(Debug, Default)]
struct Fold {
    id: Option<String>,
    created: Option<String>,
    model: Option<String>,
    fingerprint: Option<String>,
    tier: Option<String>,
    usage: Option<String>,
    choices: Vec<Choice>,
    done: bool,
    failed: Option<ApiError>,
}

/// One answer.
#[derive(Debug, Default)]
struct Choice {
    index: u64,
    content: EscapedBuf,
    refusal: EscapedBuf,
    reasoning: EscapedBuf,
    details: Vec<Detail>,
    images: Vec<String>,
    annotations: Vec<String>,
    calls: Vec<Call>,
    finish: Option<String>,
    probabilities: [Vec<String>; 2],
    kept: Kept,
}

/// What an answer holds, against its bounds.
#[derive(Debug, Default, Clone, Copy)]
struct Kept {
    bytes: usize,
    entries: usize,
}

/// An entry of `reasoning_details`; pieces with the same index are one.
#[derive(Debug)]
struct Detail {
    index: Option<u64>,
    /// Members in order; strings that grow are concatenated.
    members: Vec<(String, Value)>,
}

#[derive(Debug)]
enum Value {
    Text(EscapedBuf),
    Raw(String),
}

/// A tool call.
#[derive(Debug, Default)]
struct Call {
    index: Option<u64>,
    id: String,
    name: EscapedBuf,
    custom: bool,
    arguments: EscapedBuf,
    extra: Option<String>,
}

/// Members of `logprobs`.
const PROBABILITIES: [&str; 2] = ["content", "refusal"];
/// Strings of a detail that come in pieces; the others are repeated.
const GROWING: [&str; 4] = ["text", "summary", "data", "signature"];

impl folding::Fold for Fold {
    fn is_over(&self) -> bool {
        self.failed.is_some() || self.done
    }

    fn json(&mut self, _name: Option<&str>, value: Raw<'_>) {
        self.chunk(value);
    }

    fn done(&mut self) {
        self.done = true;
    }

    fn fail(&mut self, error: ApiError) {
        self.failed.get_or_insert(error);
    }
}

impl Fold {
    fn chunk(&mut self, chunk: Raw<'_>) {
        if chunk.get("error").is_some_and(words::is_error) {
            self.failed = Some(words::read_error(chunk, None));
            return;
        }
        let first = |slot: &mut Option<String>, value: Option<Raw<'_>>| {
            if slot.is_none() {
                *slot = value.map(|value| value.as_str().to_owned());
            }
        };
        let word = |name| chunk.get(name).filter(|value| value.as_text().is_some_and(|text| !text.is_empty()));
        first(&mut self.id, word("id"));
        first(&mut self.model, word("model"));
        first(&mut self.created, chunk.get("created"));
        first(&mut self.fingerprint, chunk.get("system_fingerprint"));
        if let Some(tier) = chunk.get("service_tier") {
            self.tier = Some(tier.as_str().to_owned());
        }
        for choice in chunk.get("choices").into_iter().flat_map(Raw::elements) {
            self.choice(choice);
        }
        if let Some(usage) = chunk.get("usage").filter(|usage| usage.is_object()) {
            self.usage = Some(usage.as_str().to_owned());
        }
        let (bytes, entries) = self.choices.iter().fold((0, self.choices.len()), |(bytes, entries), choice| {
            (bytes + choice.kept.bytes, entries + choice.kept.entries)
        });
        if bytes > KEPT_BYTES_MAX || entries > ENTRIES_MAX {
            self.failed = Some(ApiError::new(ErrorKind::Api, "the answer is larger than this gateway holds"));
        }
    }

    fn finish(self, out: &mut Vec<u8>) -> Result<(), ApiError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let whole =
            !self.choices.is_empty() && (self.done || self.choices.iter().all(|choice| choice.finish.is_some()));
        if !whole {
            return Err(ApiError::new(ErrorKind::Truncated, CUT));
        }
        let mut w = Writer::new(out);
        w.begin_object();
        for (name, value) in [("id", &self.id), ("created", &self.created), ("model", &self.model)] {
            if let Some(value) = value {
                w.key(name).verbatim(value);
            }
        }
        w.key("object").string("chat.completion").key("choices").begin_array();
        self.choices.iter().for_each(|choice| choice.write(&mut w));
        w.end_array();
        for (name, value) in
            [("usage", &self.usage), ("system_fingerprint", &self.fingerprint), ("service_tier", &self.tier)]
        {
            if let Some(value) = value {
                w.key(name).verbatim(value);
            }
        }
        w.end_object();
        Ok(())
    }

    fn choice(&mut self, value: Raw<'_>) {
        let index = value.get_u64("index").unwrap_or(0);
        let at = match self.choices.iter().position(|choice| choice.index == index) {
            Some(at) => at,
            None => {
                let at = self.choices.partition_point(|choice| choice.index < index);
                self.choices.insert(at, Choice { index, ..Choice::default() });
                at
            }
        };
        let choice = &mut self.choices[at];
        if let Some(delta) = value.get("delta").or_else(|| value.get("message")) {
            choice.delta(delta);
        }
        if let Some(word) = value.get_text("finish_reason").filter(|word| !word.is_empty()) {
            choice.finish = Some(word.plain().into_owned());
        }
        for (name, list) in PROBABILITIES.iter().zip(&mut choice.probabilities) {
            let entries = value.at(&["logprobs", name]).into_iter().flat_map(Raw::elements);
            list.extend(entries.map(|entry| choice.kept.entry(entry)));
        }
        if let Some(usage) = value.get("usage").filter(|usage| usage.is_object()) {
            self.usage = Some(usage.as_str().to_owned());
        }
    }
}

impl Kept {
    fn text(&mut self, buf: &mut EscapedBuf, text: Text<'_>) {
        let before = buf.len();
        buf.push(text);
        self.bytes += buf.len() - before;
    }

    fn entry(&mut self, entry: Raw<'_>) -> String {
        self.entries += 1;
        self.bytes += entry.as_bytes().len();
        entry.as_str().to_owned()
    }
}

impl Choice {
    fn delta(&mut self, delta: Raw<'_>) {
        let reasoning = delta.get_text("reasoning_content").filter(|text| !text.is_empty());
        let reasoning = reasoning.or_else(|| delta.get_text("reasoning"));
        let texts = [delta.get_text("content"), delta.get_text("refusal"), reasoning];
        for (buf, text) in [&mut self.content, &mut self.refusal, &mut self.reasoning].into_iter().zip(texts) {
            self.kept.text(buf, text.unwrap_or_default());
        }
        for entry in delta.get("reasoning_details").into_iter().flat_map(Raw::elements) {
            self.detail(entry);
        }
        for (name, list) in [("images", &mut self.images), ("annotations", &mut self.annotations)] {
            let entries = delta.get(name).into_iter().flat_map(Raw::elements);
            list.extend(entries.map(|entry| self.kept.entry(entry)));
        }
        for call in delta.get("tool_calls").into_iter().flat_map(Raw::elements) {
            self.call(call);
        }
        if let Some(function) = delta.get("function_call") {
            self.call_piece(Some(0), None, function, None);
        }
    }

    fn detail(&mut self, entry: Raw<'_>) {
        let index = entry.get_u64("index");
        let known = self.details.iter().position(|detail| index.is_some() && detail.index == index);
        self.kept.bytes += entry.as_bytes().len();
        let at = known.unwrap_or_else(|| {
            self.kept.entries += 1;
            self.details.push(Detail { index, members: Vec::new() });
            self.details.len() - 1
        });
        let members = &mut self.details[at].members;
        for (key, value) in entry.members() {
            let name = key.plain();
            let slot = members.iter_mut().find(|(other, _)| *other == name);
            match (slot, value.as_text()) {
                (Some((_, Value::Text(buf))), Some(text)) if GROWING.contains(&name.as_ref()) => buf.push(text),
                (Some(_), None) if value.is_null() => {}
                (Some((_, Value::Raw(raw))), _) => *raw = value.as_str().to_owned(),
                (Some(_), _) => {}
                (None, Some(text)) => {
                    let mut buf = EscapedBuf::default();
                    buf.push(text);
                    members.push((name.into_owned(), Value::Text(buf)));
                }
                (None, None) if value.is_null() => {}
                (None, None) => members.push((name.into_owned(), Value::Raw(value.as_str().to_owned()))),
            }
        }
    }

    fn call(&mut self, call: Raw<'_>) {
        let custom = call.get("custom");
        let body = custom.or_else(|| call.get("function")).unwrap_or(Raw::EMPTY_OBJECT);
        self.call_piece(call.get_u64("index"), call.get_text("id"), body, call.get("extra_content"));
    }

    fn call_piece(&mut self, index: Option<u64>, id: Option<Text<'_>>, body: Raw<'_>, extra: Option<Raw<'_>>) {
        let known = self.calls.iter().map(|call| (call.index, call.id.as_str()));
        let at = find_call(known, index, id).unwrap_or_else(|| {
            self.kept.entries += 1;
            self.calls.push(Call { index, ..Call::default() });
            self.calls.len() - 1
        });
        let call = &mut self.calls[at];
        if let Some(id) = id.filter(|_| call.id.is_empty()) {
            call.id = id.plain().into_owned();
        }
        if let Some(name) = body.get_text("name").filter(|_| call.name.is_empty()) {
            call.name.push(name);
        }
        call.custom |= body.get("input").is_some();
        if let Some(arguments) = body.get("arguments").or_else(|| body.get("input")) {
            match arguments.kind() {
                Kind::String => self.kept.text(&mut call.arguments, arguments.as_text().unwrap_or_default()),
                _ => self.kept.text(&mut call.arguments, Text::Plain(arguments.as_str())),
            }
        }
        if let Some(extra) = extra.filter(|_| call.extra.is_none()) {
            call.extra = Some(extra.as_str().to_owned());
        }
    }

    fn write(&self, w: &mut Writer<'_, Vec<u8>>) {
        w.begin_object().key("index").number(self.index).key("message").begin_object();
        w.key("role").string("assistant").key("content");
        match self.content.is_empty() && (!self.calls.is_empty() || !self.refusal.is_empty()) {
            true => w.null(),
            false => w.text(self.content.text()),
        };
        w.key("refusal");
        match self.refusal.is_empty() {
            true => w.null(),
            false => w.text(self.refusal.text()),
        };
        if !self.reasoning.is_empty() {
            w.key("reasoning_content").text(self.reasoning.text());
        }
        self.write_details(w);
        for (name, list) in [("images", &self.images), ("annotations", &self.annotations)] {
            write_list(name, list, w);
        }
        self.write_calls(w);
        w.end_object().key("logprobs");
        if self.probabilities.iter().all(Vec::is_empty) {
            w.null();
        } else {
            w.begin_object();
            for (name, list) in PROBABILITIES.iter().zip(&self.probabilities) {
                write_list(name, list, w);
            }
            w.end_object();
        }
        let finish = match self.finish.as_deref() {
            None | Some("stop") if !self.calls.is_empty() => "tool_calls",
            finish => finish.unwrap_or("stop"),
        };
        w.key("finish_reason").string(finish).end_object();
    }

    fn write_details(&self, w: &mut Writer<'_, Vec<u8>>) {
        if self.details.is_empty() {
            return;
        }
        w.key("reasoning_details").begin_array();
        for detail in &self.details {
            w.begin_object();
            for (name, value) in &detail.members {
                w.key_text(Text::Plain(name));
                match value {
                    Value::Text(text) => w.text(text.text()),
                    Value::Raw(raw) => w.verbatim(raw),
                };
            }
            w.end_object();
        }
        w.end_array();
    }

    fn write_calls(&self, w: &mut Writer<'_, Vec<u8>>) {
        if self.calls.is_empty() {
            return;
        }
        let mut calls: Vec<_> = self.calls.iter().collect();
        calls.sort_by_key(|call| call.index);
        w.key("tool_calls").begin_array();
        for call in calls {
            let (kind, member) = if call.custom { ("custom", "input") } else { ("function", "arguments") };
            w.begin_object().key("id").string(&call.id).key("type").string(kind);
            w.key(kind).begin_object().key("name").text(call.name.text()).key(member).text(call.arguments.text());
            w.end_object();
            if let Some(extra) = &call.extra {
                w.key("extra_content").verbatim(extra);
            }
            w.end_object();
        }
        w.end_array();
    }
}

fn write_list(name: &str, list: &[String], w: &mut Writer<'_, Vec<u8>>) {
    if list.is_empty() {
        return;
    }
    w.key(name).begin_array();
    for entry in list {
        w.verbatim(entry);
    }
    w.end_array();
}
