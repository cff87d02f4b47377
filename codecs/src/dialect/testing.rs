//! Helpers of the dialects' unit tests: events in words, values compared as JSON.
#![allow(clippy::unwrap_used)]

use bytes::BytesMut;

use crate::{
    dialect::{Context, Dialect, StreamDecode, StreamEncode, Target, UrlParts},
    hub::{Event, Field, Open, check::Check, hygiene},
    json::Raw,
};

pub(crate) fn raw(text: &str) -> Raw<'_> {
    Raw::parse_str(text).unwrap()
}

/// The events that a decoder makes of payloads and the end of input, in words; the grammar is checked.
pub(crate) fn events(dialect: Dialect, context: &Context, payloads: &[&str]) -> Vec<String> {
    let mut decoder = dialect.stream_decoder(context);
    let mut check = Check::default();
    let mut words = Vec::new();
    let mut emit = |event: Event<'_>| {
        check.event(&event).unwrap();
        words.push(word(&event));
    };
    for payload in payloads {
        match *payload {
            "[DONE]" => decoder.done(&mut emit),
            payload => decoder.json(None, raw(payload), &mut emit),
        }
    }
    decoder.end(&mut emit);
    words
}

/// One event in words.
pub(crate) fn word(event: &Event<'_>) -> String {
    match event {
        Event::Start { id, model, usage, .. } => {
            format!("start {} {} {:?}", id.plain(), model.plain(), usage.map(|usage| usage.input()))
        }
        Event::Part { part, open } => match open {
            Open::Text => format!("{part} text"),
            Open::Thinking => format!("{part} thinking"),
            Open::Refusal => format!("{part} refusal"),
            Open::Redacted(rider) => format!("{part} redacted {}", rider.tag()),
            Open::Tool { id, name, signature, .. } => {
                let signature = signature.as_ref().map(|rider| format!(" {}", rider.tag())).unwrap_or_default();
                format!("{part} tool {} {}{signature}", id.plain(), name.plain())
            }
            Open::Image { mime, data } => format!("{part} image {} {}", mime.plain(), data.plain()),
        },
        Event::Delta { part, field: Field::Sig { origin, form, .. }, text } => {
            format!("{part} += {}.{} {}", origin.name(), form.name(), text.plain())
        }
        Event::Delta { part, text, .. } => format!("{part} += {}", text.plain()),
        Event::Stop { part } => format!("{part} stop"),
        Event::Usage(usage) => format!(
            "usage {}+{}+{} {}({})",
            usage.uncached, usage.cache_read, usage.cache_write, usage.output, usage.reasoning
        ),
        Event::Finish(finish) => format!("finish {finish:?}"),
        Event::Ping => "ping".to_owned(),
        Event::Error(error) => format!("error {} {}", error.kind.name(), error.message),
        Event::End => "end".to_owned(),
    }
}

/// What an encoder makes of events.
pub(crate) fn encoded(dialect: Dialect, context: &Context, events: &[Event<'_>]) -> String {
    let mut encoder = dialect.stream_encoder(context);
    let mut out = BytesMut::new();
    for event in events {
        encoder.event(event, &mut out);
    }
    String::from_utf8(out.to_vec()).unwrap()
}

pub(crate) fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A request from one dialect to another, through hygiene: the body and what was dropped.
pub(crate) fn request(
    from: Dialect,
    to: Dialect,
    body: &str,
    target: &Target,
) -> Result<(serde_json::Value, Vec<String>), String> {
    let url = UrlParts { model: Some("m").filter(|_| from == Dialect::Gemini), ..UrlParts::default() };
    let mut request = from.decode_request(raw(body), &url).map_err(|error| error.message)?;
    let prepared = hygiene::prepare(&mut request, to, target);
    let encoded = to.encode_request(&request, target).map_err(|error| error.message)?;
    let mut dropped = [request.dropped, prepared.dropped, encoded.dropped].concat();
    dropped.sort();
    dropped.dedup();
    Ok((json(std::str::from_utf8(&encoded.body).unwrap()), dropped))
}
