//! `reasoning_details`: where opaque reasoning rides through a chat client, in the form that OpenRouter made common.
//!
//! | blob | entry |
//! |---|---|
//! | signature | `{index, type: "reasoning.text", format, signature}` |
//! | encrypted or redacted | `{index, type: "reasoning.encrypted", format, data, id?}` |

use crate::{
    hub::{Form, Origin, Rider},
    json::{Raw, Str, Text, Writer, write::Sink},
};

/// Formats whose makers the hub knows.
const FORMATS: [(&str, Origin); 3] = [
    ("anthropic-claude-v1", Origin::Anthropic),
    ("openai-responses-v1", Origin::Responses),
    ("google-gemini-v1", Origin::Gemini),
];

/// The maker that a `format` word names.
fn origin(format: &str) -> Origin {
    FORMATS.iter().find(|(word, _)| *word == format).map_or(Origin::Chat, |(_, origin)| *origin)
}

/// The blob of an entry of `reasoning_details`. Makers that the hub has no name for ride as `<format>:<blob>` of a chat
/// server, so that the entry can be written again.
pub(super) fn rider<'a>(entry: Raw<'a>) -> Option<Rider<'a>> {
    let kind = entry.get_text("type");
    let encrypted = kind.is_some_and(|kind| kind.is("reasoning.encrypted"));
    let payload = entry.get_text(if encrypted { "data" } else { "signature" }).filter(|blob| !blob.is_empty())?;
    let format = entry.get_text("format").map(|format| format.plain()).unwrap_or_default();
    let origin = origin(&format);
    let form = match (encrypted, origin) {
        (true, Origin::Anthropic) => Form::Red,
        (true, _) => Form::Enc,
        (false, _) => Form::Sig,
    };
    let payload = match origin {
        Origin::Chat => Str::from(format!("{format}:{}", payload.plain())),
        _ => payload.to_str(),
    };
    let item_id = entry.get_text("id").filter(|id| origin == Origin::Responses && !id.is_empty());
    Some(Rider { item_id: item_id.map(|id| id.to_str()), ..Rider::from_field(payload, origin, form) })
}

/// The words of an entry of `reasoning_details`.
pub(super) fn text(entry: Raw<'_>) -> Option<Str<'_>> {
    let text = entry.get_text("text").or_else(|| entry.get_text("summary"));
    text.filter(|text| !text.is_empty()).map(|text| text.to_str())
}

/// A blob with its form and where it comes from, borrowed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Blob<'a> {
    pub(super) origin: Origin,
    pub(super) form: Form,
    pub(super) item_id: Option<Text<'a>>,
    pub(super) payload: Text<'a>,
}

impl<'a> Blob<'a> {
    pub(super) fn of(rider: &'a Rider<'_>) -> Self {
        let item_id = rider.item_id.as_ref().map(Str::text);
        Self { origin: rider.origin, form: rider.form, item_id, payload: rider.payload.text() }
    }
}

/// Writes one entry. `words`: the text that the blob belongs to, where it is sent along.
pub(super) fn write(index: u64, blob: Blob<'_>, words: Option<Text<'_>>, w: &mut Writer<'_, impl Sink>) {
    let known = FORMATS.iter().find(|(_, origin)| *origin == blob.origin).map(|(word, _)| *word);
    let plain = blob.payload.plain();
    let (format, payload) = match known {
        Some(format) => (format, blob.payload),
        None => plain.split_once(':').map_or(("", blob.payload), |(format, rest)| (format, Text::Plain(rest))),
    };
    let (kind, member) = match blob.form {
        Form::Sig => ("reasoning.text", "signature"),
        Form::Enc | Form::Red => ("reasoning.encrypted", "data"),
    };
    w.begin_object().key("index").number(index).key("type").string(kind);
    if !format.is_empty() {
        w.key("format").string(format);
    }
    if let Some(words) = words {
        w.key("text").text(words);
    }
    w.key(member).text(payload);
    if let Some(id) = blob.item_id {
        w.key("id").text(id);
    }
    w.end_object();
}
