//! `logprobsResult`: log probabilities in this dialect's form, beside the content of a candidate.
//!
//! Two lists run in parallel, the chosen tokens and the likeliest ones at their places. Token ids have no place on the
//! hub, and nobody else has them.

use crate::{
    hub::{Logprobs, logprobs::Token},
    json::{Raw, Text, Writer, write::Sink},
};

/// Reads a `logprobsResult`.
pub(super) fn read(result: Raw<'_>, into: &mut Logprobs) {
    let list = |camel, snake| result.get(camel).or_else(|| result.get(snake)).into_iter().flat_map(Raw::elements);
    let mut tops = list("topCandidates", "top_candidates");
    for chosen in list("chosenCandidates", "chosen_candidates") {
        let top = tops.next().and_then(|top| top.get("candidates"));
        if let Some(chosen) = token(chosen) {
            into.entry(chosen, top.into_iter().flat_map(Raw::elements).filter_map(token));
        }
    }
}

/// A zero need not be written in this dialect: a sure token may come without its number.
fn token(value: Raw<'_>) -> Option<Token<'_>> {
    let number = value.get("logProbability").or_else(|| value.get("log_probability"));
    let number = number.filter(|number| number.as_f64().is_some());
    Some(Token { token: value.get_text("token")?, logprob: number.map_or("0", Raw::as_str), bytes: None })
}

/// The mean of log probabilities.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Mean {
    sum: f64,
    count: u32,
}

impl Mean {
    /// Writes `"avgLogprobs":…,` if there is a mean.
    pub(super) fn write(self, out: &mut impl Sink) {
        let mean = self.sum / f64::from(self.count);
        if mean.is_finite() {
            out.put(format!("\"avgLogprobs\":{mean},").as_bytes());
        }
    }
}

/// Writes `"logprobsResult":{…}` and counts the entries. Writes nothing for an empty list.
pub(super) fn write(entries: &Logprobs, mean: &mut Mean, out: &mut impl Sink) {
    if entries.is_empty() {
        return;
    }
    let list = [b"[", entries.as_bytes(), b"]"].concat();
    // The hub's own text.
    let Ok(list) = Raw::parse(&list) else { return };
    let mut w = Writer::new(out);
    w.key("logprobsResult").begin_object();
    if list.elements().any(|entry| top(entry).next().is_some()) {
        w.key("topCandidates").begin_array();
        for entry in list.elements() {
            w.begin_object().key("candidates").begin_array();
            top(entry).for_each(|token| write_token(token, &mut w));
            w.end_array().end_object();
        }
        w.end_array();
    }
    w.key("chosenCandidates").begin_array();
    for entry in list.elements() {
        mean.sum += entry.get("logprob").and_then(Raw::as_f64).unwrap_or_default();
        mean.count = mean.count.saturating_add(1);
        write_token(entry, &mut w);
    }
    w.end_array().end_object();
}

fn top(entry: Raw<'_>) -> impl Iterator<Item = Raw<'_>> {
    entry.get("top_logprobs").into_iter().flat_map(Raw::elements)
}

fn write_token<S: Sink>(token: Raw<'_>, w: &mut Writer<'_, S>) {
    w.begin_object().key("token").text(token.get_text("token").unwrap_or(Text::EMPTY));
    w.key("logProbability").verbatim(token.get("logprob").map_or("0", Raw::as_str));
    w.end_object();
}
