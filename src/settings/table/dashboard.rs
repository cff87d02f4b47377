//! How the dashboard looks.

use super::{PLAIN, Row};
use crate::settings::value;

/// Colours that a dashboard can have.
pub const THEMES: [&str; 3] = ["auto", "light", "dark"];

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "locale",
        value: "TAG",
        default: "en",
        help: "Language and region of the dashboard, such as en or de-CH; texts that are not translated are English",
        set: |s, text| {
            let text = text.trim();
            let subtag = |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric());
            if text.len() > 35 || !text.split('-').all(subtag) {
                return Err(format!("`{text}` is not a language tag: use en or de-CH"));
            }
            s.locale = text.to_owned();
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "theme",
        value: "auto|light|dark",
        default: "auto",
        help: "Colours of the dashboard; auto = as the browser says",
        set: |s, text| {
            s.theme = value::word(text, &THEMES.map(|theme| (theme, theme)))?;
            Ok(())
        },
        ..PLAIN
    },
];
