//! Times in queries: absolute, days, and "so long ago"; and those of this process's clock in answers.

use std::time::Instant;

use jiff::{Timestamp, civil::Date, tz::TimeZone};

use crate::{
    api::{Problem, Request, route::Param, schema::line},
    gateway::Snapshot,
    usage::live::{now_ms, rfc3339},
};

/// From when on.
pub(super) const FROM: Param = Param {
    name: "from",
    schema: line(40),
    help: "not before: an RFC 3339 time, a day (2026-01-31), or so long ago (-24h, -7d)",
};
/// Until when.
pub(super) const TO: Param =
    Param { name: "to", schema: line(40), help: "before: written like `from`; a day is meant whole" };
/// Whose days.
pub(super) const TZ: Param = Param {
    name: "tz",
    schema: line(64),
    help: "time zone of days, such as Europe/Berlin; the configured one unless said",
};

/// A period in Unix milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Period {
    /// Not before.
    pub(super) from_ms: Option<i64>,
    /// Before.
    pub(super) to_ms: Option<i64>,
}

/// A moment that lies ahead, as the API writes times. `now` is this moment.
pub(super) fn ahead(until: Instant, now: Instant) -> String {
    let wait = i64::try_from(until.saturating_duration_since(now).as_millis()).unwrap_or(i64::MAX);
    rfc3339(now_ms().saturating_add(wait))
}

/// The time zone of a request.
///
/// # Errors
/// 400 if there is no such zone.
pub(super) fn zone(request: &Request) -> Result<TimeZone, Problem> {
    let name = request.query("tz").unwrap_or(&request.snapshot.settings.timezone);
    if name.is_empty() {
        return Ok(TimeZone::system());
    }
    TimeZone::get(name).map_err(|_| Problem::query("tz", format!("`{name}` is not a time zone: use Europe/Berlin")))
}

/// The name of the configured time zone.
pub(super) fn zone_name(snapshot: &Snapshot) -> String {
    match snapshot.settings.timezone.as_str() {
        "" => TimeZone::system().iana_name().unwrap_or("UTC").to_owned(),
        name => name.to_owned(),
    }
}

/// The period of `from` and `to`.
///
/// # Errors
/// 400 if one of them is no time.
pub(super) fn period(request: &Request, zone: &TimeZone) -> Result<Period, Problem> {
    let read = |name: &str, whole_day: bool| match request.query(name) {
        None => Ok(None),
        Some(text) => match parse(text, whole_day, request.now_ms, zone) {
            Some(ms) => Ok(Some(ms)),
            None => {
                let message = format!("`{text}` is no time: use 2026-01-31T08:00:00Z, 2026-01-31, -24h or -7d");
                Err(Problem::query(name, message))
            }
        },
    };
    Ok(Period { from_ms: read("from", false)?, to_ms: read("to", true)? })
}

/// A time in Unix milliseconds. A day is its begin, or its end for `whole_day`.
fn parse(text: &str, whole_day: bool, now_ms: i64, zone: &TimeZone) -> Option<i64> {
    if let Some(back) = text.strip_prefix('-') {
        let unit = back.chars().last()?;
        let number: i64 = back.strip_suffix(unit)?.parse().ok().filter(|number| *number >= 0)?;
        let unit = match unit {
            's' => 1_000,
            'm' => 60_000,
            'h' => 3_600_000,
            'd' => 86_400_000,
            'w' => 7 * 86_400_000,
            _ => return None,
        };
        return number.checked_mul(unit).and_then(|back| now_ms.checked_sub(back));
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time.as_millisecond());
    }
    let day: Date = Some(text).filter(|text| text.len() == 10)?.parse().ok()?;
    let day = if whole_day { day.tomorrow().ok()? } else { day };
    Some(day.to_zoned(zone.clone()).ok()?.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_forms() {
        let now = 1_700_000_000_000;
        let read = |text: &str, whole_day| parse(text, whole_day, now, &TimeZone::UTC);
        assert_eq!(read("-24h", false), Some(now - 86_400_000));
        assert_eq!(read("-7d", true), Some(now - 7 * 86_400_000));
        assert_eq!(read("2023-11-14T22:13:20Z", false), Some(now));
        assert_eq!(read("2023-11-14T23:13:20.5+01:00", false), Some(now + 500));
        assert_eq!(read("2023-11-14", false), Some(1_699_920_000_000));
        assert_eq!(read("2023-11-14", true), Some(1_700_006_400_000));
        for text in ["", "-", "-x", "-1y", "--1d", "yesterday", "2023-13-01", "-99999999999999999w", "14.11.2023"] {
            assert_eq!(read(text, false), None, "{text}");
        }
    }
}
