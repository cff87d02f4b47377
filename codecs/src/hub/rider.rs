//! Opaque riders in foreign fields: how a signature of one vendor travels through a client of another dialect and back.
//!
//! A tag is `frt1.<origin>.<form>.<payload>`, plain text. A blob without a tag belongs to the home dialect of the field
//! in which it stands. A Responses item id rides along as `<id>:<blob>`.

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
    prelude::BASE64_STANDARD,
};

use super::{Form, Origin, Rider};
use crate::json::{Str, Text};

const MARK: &str = "frt1.";

/// Google's SDKs write bytes in either alphabet, with or without padding.
const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const ANY_STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const ANY_URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

impl Origin {
    /// The origin's word in a tag.
    pub fn name(self) -> &'static str {
        match self {
            Origin::Anthropic => "anthropic",
            Origin::Responses => "responses",
            Origin::Gemini => "gemini",
            Origin::Chat => "chat",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Anthropic, Self::Responses, Self::Gemini, Self::Chat].into_iter().find(|origin| origin.name() == word)
    }
}

impl Form {
    /// The form's word in a tag.
    pub fn name(self) -> &'static str {
        match self {
            Form::Sig => "sig",
            Form::Enc => "enc",
            Form::Red => "red",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Sig, Self::Enc, Self::Red].into_iter().find(|form| form.name() == word)
    }
}

impl<'a> Rider<'a> {
    /// A rider without an item id.
    pub fn new(origin: Origin, form: Form, payload: impl Into<Str<'a>>) -> Self {
        Self { origin, form, item_id: None, payload: payload.into() }
    }

    /// The rider of a [`Field::Sig`](super::Field::Sig) whose text is `payload`.
    pub(crate) fn of_sig(origin: Origin, form: Form, item_id: Option<Text<'a>>, payload: Text<'a>) -> Self {
        Self { origin, form, item_id: item_id.map(Text::to_str), payload: payload.to_str() }
    }

    /// The rider as text for a foreign field.
    pub fn tag(&self) -> String {
        let payload = self.payload.plain();
        match &self.item_id {
            Some(id) => format!("{MARK}{}.{}.{}:{payload}", self.origin.name(), self.form.name(), id.plain()),
            None => format!("{MARK}{}.{}.{payload}", self.origin.name(), self.form.name()),
        }
    }

    /// Reads a field whose home is (`origin`, `form`): the tag decides, an untagged value is at home.
    pub fn from_field(value: Str<'a>, origin: Origin, form: Form) -> Self {
        Self::from_tag(&value.plain()).unwrap_or(Rider { origin, form, item_id: None, payload: value })
    }

    /// Reads a tag.
    pub fn from_tag(text: &str) -> Option<Rider<'static>> {
        let rest = text.strip_prefix(MARK)?;
        let (origin, rest) = rest.split_once('.')?;
        let (form, payload) = rest.split_once('.')?;
        let (origin, form) = (Origin::parse(origin)?, Form::parse(form)?);
        // Only Responses blobs carry an item id; base64 and base64url have no colon.
        let (item_id, payload) = match payload.split_once(':') {
            Some((id, blob)) if origin == Origin::Responses => (Some(Str::from(id.to_owned())), blob),
            _ => (None, payload),
        };
        Some(Rider { origin, form, item_id, payload: Str::from(payload.to_owned()) })
    }

    /// The rider for a Gemini `thoughtSignature` field, which must be base64: at home as it is, else the tag encoded.
    pub fn gemini_field(&self) -> String {
        if self.origin == Origin::Gemini {
            self.payload.plain().into_owned()
        } else {
            BASE64_STANDARD.encode(self.tag())
        }
    }

    /// Reads a Gemini `thoughtSignature` field.
    pub fn from_gemini_field(value: Str<'a>) -> Self {
        let plain = value.plain();
        let bytes = ANY_STANDARD.decode(plain.as_bytes()).or_else(|_| ANY_URL_SAFE.decode(plain.as_bytes()));
        let tag = bytes.ok().and_then(|bytes| Self::from_tag(std::str::from_utf8(&bytes).ok()?));
        drop(plain);
        tag.unwrap_or(Rider::new(Origin::Gemini, Form::Sig, value))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn tags_round_trip() {
        let mut rider = Rider::new(Origin::Responses, Form::Enc, "gAAAA==");
        rider.item_id = Some("rs_1".into());
        assert_eq!(rider.tag(), "frt1.responses.enc.rs_1:gAAAA==");
        assert_eq!(Rider::from_tag(&rider.tag()).unwrap(), rider);
        let gemini = rider.gemini_field();
        assert_eq!(Rider::from_gemini_field(gemini.into()), rider);
    }

    #[test]
    fn gemini_fields_are_read_in_both_alphabets_without_padding() {
        let mut rider = Rider::new(Origin::Responses, Form::Enc, "??>~");
        rider.item_id = Some("rs_~~~1".into());
        let field = rider.gemini_field();
        assert!(field.contains(['+', '/']) && field.ends_with('='), "{field}");
        let url_safe = field.replace('+', "-").replace('/', "_").trim_end_matches('=').to_owned();
        assert_eq!(Rider::from_gemini_field(url_safe.into()), rider);
    }

    #[test]
    fn untagged_values_are_at_home() {
        let rider = Rider::from_field("EqoB".into(), Origin::Anthropic, Form::Sig);
        assert_eq!(rider, Rider::new(Origin::Anthropic, Form::Sig, "EqoB"));
        assert_eq!(Rider::from_gemini_field("EqoB".into()).origin, Origin::Gemini);
        assert!(Rider::from_tag("frt1.nobody.sig.x").is_none());
    }
}
