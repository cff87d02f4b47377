//! What is written down of requests, and for how long.

use super::{PLAIN, Row, whole32};
use crate::settings::value;

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "usage_log",
        value: "BOOL",
        default: "true",
        help: "Keep one row per attempt: who, which model, how many tokens, what it cost; never what was said",
        set: |s, text| {
            s.usage_log = value::boolean(text)?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "retention_days",
        value: "N",
        default: "30",
        help: "Days for which the rows of single requests are kept",
        set: |s, text| {
            s.retention.days = whole32(text)?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "retention_rows",
        value: "N",
        default: "1000000",
        help: "Rows of single requests that are kept at most",
        set: |s, text| {
            s.retention.rows = value::whole(text, 1)? as u64;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "retention_usage_days",
        value: "N",
        default: "90",
        help: "Days for which sums are kept by the quarter of an hour; older ones are kept by the day",
        set: |s, text| {
            s.retention.usage_days = whole32(text)?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "timezone",
        value: "ZONE",
        default: "",
        help: "Time zone in which days begin, such as Europe/Berlin; empty = the system's",
        set: |s, text| {
            let text = text.trim();
            if !text.is_empty() {
                jiff::tz::TimeZone::get(text).map_err(|_| format!("`{text}` is not a time zone: use Europe/Berlin"))?;
            }
            s.timezone = text.to_owned();
            Ok(())
        },
        ..PLAIN
    },
];
