//! Typed reading of request members, with messages that name the place.
//!
//! A wrong type is the client's mistake and never guessed away: `"100"` is no number.

use std::fmt::Display;

use crate::{
    hub::ApiError,
    json::{Elements, Raw, Str},
};

/// `at` must be `wanted`, but is of another type.
pub(crate) fn wrong(value: Raw<'_>, at: impl Display, wanted: &str) -> ApiError {
    let at = at.to_string();
    let message = format!("{at} must be {wanted}, not {}", value.kind().name());
    ApiError::invalid(at, message)
}

/// A required member is not there.
pub(crate) fn missing(at: impl Display) -> ApiError {
    let at = at.to_string();
    let message = format!("{at} is missing");
    ApiError::invalid(at, message)
}

pub(crate) fn object<'a>(value: Raw<'a>, at: impl Display) -> Result<Raw<'a>, ApiError> {
    if value.is_object() { Ok(value) } else { Err(wrong(value, at, "an object")) }
}

pub(crate) fn array<'a>(value: Raw<'a>, at: impl Display) -> Result<Elements<'a>, ApiError> {
    if value.is_array() { Ok(value.elements()) } else { Err(wrong(value, at, "an array")) }
}

/// The elements of a list. A single object counts as a list of one, as it does for Gemini.
pub(crate) fn one_or_many<'a>(value: Raw<'a>, at: &str) -> Result<impl Iterator<Item = Raw<'a>> + use<'a>, ApiError> {
    if !value.is_array() && !value.is_object() {
        return Err(wrong(value, at, "an array"));
    }
    Ok(value.elements().chain(value.is_object().then_some(value)))
}

pub(crate) fn text<'a>(value: Raw<'a>, at: impl Display) -> Result<Str<'a>, ApiError> {
    value.as_text().map(|text| text.to_str()).ok_or_else(|| wrong(value, at, "a string"))
}

pub(crate) fn boolean(value: Raw<'_>, at: impl Display) -> Result<bool, ApiError> {
    value.as_bool().ok_or_else(|| wrong(value, at, "a boolean"))
}

/// A number in its own spelling.
pub(crate) fn number<'a>(value: Raw<'a>, at: impl Display) -> Result<Raw<'a>, ApiError> {
    value.as_f64().map(|_| value).ok_or_else(|| wrong(value, at, "a number"))
}

pub(crate) fn whole(value: Raw<'_>, at: impl Display) -> Result<u64, ApiError> {
    number(value, &at)?;
    value.as_u64().ok_or_else(|| {
        let at = at.to_string();
        let message = format!("{at} must be a whole number that is not negative");
        ApiError::invalid(at, message)
    })
}

/// The same of members that need not be there.
pub(crate) mod optional {
    use super::{ApiError, Display, Raw, Str};

    pub(crate) fn text<'a>(value: Option<Raw<'a>>, at: impl Display) -> Result<Option<Str<'a>>, ApiError> {
        value.map(|value| super::text(value, at)).transpose()
    }

    pub(crate) fn boolean(value: Option<Raw<'_>>, at: impl Display) -> Result<Option<bool>, ApiError> {
        value.map(|value| super::boolean(value, at)).transpose()
    }

    pub(crate) fn number<'a>(value: Option<Raw<'a>>, at: impl Display) -> Result<Option<Raw<'a>>, ApiError> {
        value.map(|value| super::number(value, at)).transpose()
    }

    pub(crate) fn whole(value: Option<Raw<'_>>, at: impl Display) -> Result<Option<u64>, ApiError> {
        value.map(|value| super::whole(value, at)).transpose()
    }
}

/// A token count of an upstream: numbers in strings and fractions are read, nonsense counts as nothing.
pub(crate) fn count(value: Raw<'_>) -> Option<u64> {
    if let Some(count) = value.as_u64() {
        return Some(count);
    }
    let number = match value.as_text() {
        Some(text) => text.plain().trim().parse::<f64>().ok()?,
        None => value.as_f64()?,
    };
    (number >= 0.0 && number < u64::MAX as f64).then_some(number as u64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn raw(text: &str) -> Raw<'_> {
        Raw::parse_str(text).unwrap()
    }

    #[test]
    fn wrong_types_are_named() {
        let error = whole(raw("\"100\""), "max_tokens").unwrap_err();
        assert_eq!(error.message, "max_tokens must be a number, not a string");
        assert_eq!(error.param.as_deref(), Some("max_tokens"));
        let error = whole(raw("-1"), "n").unwrap_err();
        assert_eq!(error.message, "n must be a whole number that is not negative");
        assert_eq!(
            boolean(raw("1"), format_args!("a[{}]", 3)).unwrap_err().message,
            "a[3] must be a boolean, not a number"
        );
        assert_eq!(missing("model").message, "model is missing");
    }

    #[test]
    fn counts_are_read_from_strings_and_fractions() {
        for (text, expected) in
            [("7", Some(7)), ("\"7\"", Some(7)), ("7.9", Some(7)), ("-1", None), ("\"x\"", None), ("null", None)]
        {
            assert_eq!(count(raw(text)), expected, "{text}");
        }
    }
}
