//! Values of the API as people read them, and as programs do.

use jiff::{Timestamp, tz::TimeZone};
use serde_json::Value;

/// A value in both forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell {
    /// For people.
    pub(crate) shown: String,
    /// For programs.
    pub(crate) raw: String,
    /// Colour for people (SGR number).
    pub(crate) color: Option<u8>,
}

impl Cell {
    /// The same for both.
    pub(crate) fn plain(text: impl Into<String>) -> Self {
        let raw = text.into();
        Self::both(raw.clone(), raw)
    }

    /// One for people, one for programs.
    pub(crate) fn both(shown: impl Into<String>, raw: impl Into<String>) -> Self {
        Self { shown: shown.into(), raw: raw.into(), color: None }
    }

    /// The same in a colour.
    pub(crate) fn tinted(self, color: u8) -> Self {
        Self { color: Some(color), ..self }
    }

    /// A value as it is: texts without quotes, lists with commas, `null` as nothing.
    pub(crate) fn of(value: &Value) -> Self {
        Self::plain(plain(value))
    }

    /// Yes or no.
    pub(crate) fn yes(value: &Value) -> Self {
        match value.as_bool() {
            Some(true) => Self::both("yes", "true"),
            Some(false) => Self::both("no", "false"),
            None => Self::of(value),
        }
    }

    /// An instant: in the local zone for people.
    pub(crate) fn time(value: &Value) -> Self {
        let raw = plain(value);
        let shown = match raw.parse::<Timestamp>() {
            Ok(at) => at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
            Err(_) => raw.clone(),
        };
        Self::both(shown, raw)
    }

    /// A sum in US dollars. One that is not known is nothing, not zero.
    pub(crate) fn usd(value: &Value) -> Self {
        Self::both(value.as_f64().map_or_else(String::new, dollars), plain(value))
    }

    /// A number of bytes.
    pub(crate) fn bytes(value: &Value) -> Self {
        Self::both(value.as_u64().map_or_else(|| plain(value), bytes), plain(value))
    }

    /// Milliseconds.
    pub(crate) fn ms(value: &Value) -> Self {
        Self::both(value.as_f64().map_or_else(|| plain(value), milliseconds), plain(value))
    }

    /// Seconds that something has lasted.
    pub(crate) fn seconds(value: &Value) -> Self {
        Self::both(value.as_u64().map_or_else(|| plain(value), seconds), plain(value))
    }

    /// A count.
    pub(crate) fn count(value: &Value) -> Self {
        Self::both(value.as_u64().map_or_else(|| plain(value), grouped), plain(value))
    }
}

/// A value as it is, without the quotes of texts.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(","),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

/// US dollars, with more places where there is little before the point.
pub(crate) fn dollars(sum: f64) -> String {
    if sum == 0.0 || sum.abs() >= 1.0 { format!("${sum:.2}") } else { format!("${sum:.4}") }
}

fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    // Rounded down to what is shown anyway.
    let mut tenths = u128::from(n) * 10;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1_024;
        unit += 1;
    }
    if unit == 0 { format!("{n} B") } else { format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit]) }
}

fn milliseconds(ms: f64) -> String {
    if ms >= 10_000.0 {
        format!("{:.1} s", ms / 1_000.0)
    } else if ms >= 1_000.0 {
        format!("{:.2} s", ms / 1_000.0)
    } else {
        format!("{ms:.0} ms")
    }
}

fn seconds(s: u64) -> String {
    let (days, hours, minutes) = (s / 86_400, s / 3_600 % 24, s / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{s} s"),
        (0, 0, _) => format!("{minutes} min {} s", s % 60),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// Digits in groups of three.
pub(crate) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn people_and_programs_read_different_forms() {
        let cases = [
            (Cell::of(&json!(["a", "b"])), "a,b", "a,b"),
            (Cell::of(&json!(null)), "", ""),
            (Cell::usd(&json!(0.01234567)), "$0.0123", "0.01234567"),
            (Cell::usd(&json!(12)), "$12.00", "12"),
            (Cell::usd(&json!(null)), "", ""),
            (Cell::bytes(&json!(1023)), "1023 B", "1023"),
            (Cell::bytes(&json!(1_572_864)), "1.5 MiB", "1572864"),
            (Cell::ms(&json!(250)), "250 ms", "250"),
            (Cell::ms(&json!(1234)), "1.23 s", "1234"),
            (Cell::seconds(&json!(59)), "59 s", "59"),
            (Cell::seconds(&json!(3_725)), "1 h 2 min", "3725"),
            (Cell::seconds(&json!(90_061)), "1 d 1 h", "90061"),
            (Cell::count(&json!(1_234_567)), "1,234,567", "1234567"),
            (Cell::count(&json!(null)), "", ""),
            (Cell::time(&json!("soon")), "soon", "soon"),
        ];
        for (cell, shown, raw) in cases {
            assert_eq!((cell.shown.as_str(), cell.raw.as_str()), (shown, raw));
        }
        let time = Cell::time(&json!("2026-01-02T03:04:05.678Z"));
        assert_eq!(time.raw, "2026-01-02T03:04:05.678Z");
        assert_eq!(time.shown.len(), "2026-01-02 03:04:05".len());
    }
}
