//! The declared edits. Of a forwarded body: the model's name, the wish for a stream where the upstream has nothing else, and
//! what the provider's quirks ask for. Of an answer: what settings and quirks ask for. Everything else passes as it came, in
//! slices of the sender's own bytes.

use bytes::Bytes;
use codecs::{
    dialect::Dialect,
    hub::ApiError,
    json::{Splice, Writer},
    patch::{FixId, ReplyEdits, RequestEdits},
};

use super::{attempt::Speed, exchange::Exchange};
use crate::{route::Candidate, settings::Settings, usage::live::now_ms};

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
    edits.model = (model != &*exchange.model && !exchange.model_spans.is_empty()).then(|| model.to_owned());
    if stream != exchange.stream {
        edits.set.push(("stream".to_owned(), stream.to_string()));
    }
    edits.apply(&exchange.body)
}

/// The two edits that need no second look at the body: the scan has found their places.
fn renamed(exchange: &Exchange, model: &str, stream: bool) -> Vec<Bytes> {
    let mut splice = Splice::new(&exchange.body);
    if model != &*exchange.model {
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

/// The edits of an answer, the last step towards the client: what is booked, measured and logged is read before them.
pub(super) fn answer(exchange: &Exchange, candidate: &Candidate, settings: &Settings, speed: Speed) -> ReplyEdits {
    // An id of another dialect has been written anew.
    let own = speed == Speed::Forward && exchange.asked == Dialect::OpenAiChat;
    let fix_id = (own && candidate.upstream.provider.fix_id).then(|| FixId::new(now_ms().unsigned_abs()));
    // A program that asked somebody else knows no other names than its own.
    let echo = settings.echo_model || exchange.intercepted.is_some();
    let model = (echo && !exchange.model.is_empty()).then(|| exchange.shown().to_owned());
    ReplyEdits { model, fix_id, usage_pad: settings.usage_pad }
}
