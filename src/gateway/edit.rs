//! The declared edits of a forwarded body: the model's name, the wish for a stream where the upstream has nothing else,
//! and what the provider's quirks ask for. Everything else leaves as it came, in slices of the client's own bytes.

use std::ops::Range;

use bytes::Bytes;
use codecs::{hub::ApiError, json::Writer, patch::RequestEdits};

use super::exchange::Exchange;

/// The body for an upstream of the client's dialect, in slices for one vectored write. `quirks` are the provider's.
pub(super) fn forwarded(
    exchange: &Exchange,
    model: &str,
    stream: bool,
    quirks: RequestEdits,
) -> Result<Vec<Bytes>, ApiError> {
    if quirks.is_empty() {
        return Ok(renamed(exchange, model, stream));
    }
    let mut edits = quirks;
    edits.model = (model != exchange.model && !exchange.model_spans.is_empty()).then(|| model.to_owned());
    if stream != exchange.stream {
        edits.set.push(("stream".to_owned(), stream.to_string()));
    }
    edits.apply(&exchange.body)
}

/// The two edits that need no second look at the body: the scan has found their places.
fn renamed(exchange: &Exchange, model: &str, stream: bool) -> Vec<Bytes> {
    let mut edits: Vec<(Range<usize>, Bytes)> = Vec::new();
    if model != exchange.model {
        let mut name = Vec::with_capacity(model.len() + 2);
        Writer::new(&mut name).string(model);
        let name = Bytes::from(name);
        edits.extend(exchange.model_spans.iter().map(|span| (span.clone(), name.clone())));
    }
    if stream != exchange.stream {
        edits.extend(exchange.stream_spans.iter().map(|span| (span.clone(), Bytes::from_static(b"true"))));
        if exchange.stream_spans.is_empty()
            && let Some(open) = memchr::memchr(b'{', &exchange.body)
        {
            edits.push((open + 1..open + 1, Bytes::from_static(b"\"stream\":true,")));
        }
    }
    splice(&exchange.body, edits)
}

/// Applies edits that do not overlap.
fn splice(body: &Bytes, mut edits: Vec<(Range<usize>, Bytes)>) -> Vec<Bytes> {
    if edits.is_empty() {
        return vec![body.clone()];
    }
    edits.sort_by_key(|(span, _)| span.start);
    let mut slices = Vec::with_capacity(2 * edits.len() + 1);
    let mut from = 0;
    for (span, replacement) in edits {
        slices.push(body.slice(from..span.start));
        slices.push(replacement);
        from = span.end;
    }
    slices.push(body.slice(from..));
    slices.retain(|slice| !slice.is_empty());
    slices
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_touch_nothing_else() {
        let body = Bytes::from_static(b"{\"a\":1.0,\"model\":\"x\",\"b\":[ ]}");
        let slices = splice(&body, vec![(17..20, Bytes::from_static(b"\"yy\""))]);
        assert_eq!(slices.concat(), b"{\"a\":1.0,\"model\":\"yy\",\"b\":[ ]}");
        assert_eq!(splice(&body, Vec::new()), vec![body.clone()]);
    }
}
