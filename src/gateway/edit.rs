//! The declared edits of a forwarded body: the model's name, the wish for a stream where the upstream has nothing else,
//! and what the provider's quirks ask for. Everything else leaves as it came, in slices of the client's own bytes.

use bytes::Bytes;
use codecs::{
    hub::ApiError,
    json::{Splice, Writer},
    patch::RequestEdits,
};

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
    let mut splice = Splice::new(&exchange.body);
    if model != exchange.model {
        let mut name = Vec::with_capacity(model.len() + 2);
        Writer::new(&mut name).string(model);
        let name = Bytes::from(name);
        exchange.model_spans.iter().for_each(|span| splice.replace_span(span.clone(), name.clone()));
    }
    if stream != exchange.stream {
        exchange.stream_spans.iter().for_each(|span| splice.replace_span(span.clone(), &b"true"[..]));
        if exchange.stream_spans.is_empty()
            && let Some(open) = memchr::memchr(b'{', &exchange.body)
        {
            splice.replace_span(open + 1..open + 1, &b"\"stream\":true,"[..]);
        }
    }
    splice.slices(&exchange.body)
}
