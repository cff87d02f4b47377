//! The table of settings. A new setting is one row in the file of its topic and one field of [`Settings`].

mod dashboard;
mod interception;
mod management;
mod records;
mod secrets;
mod serving;
mod translation;
mod transport;

use std::path::PathBuf;

pub use dashboard::THEMES;

use super::{Settings, value};

/// When a change of a setting takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// At the next start.
    Boot,
    /// With the next request.
    Live,
}

impl Life {
    /// The word in documentation and API.
    pub fn name(self) -> &'static str {
        match self {
            Life::Boot => "boot",
            Life::Live => "live",
        }
    }
}

/// One setting.
#[derive(Clone, Copy)]
pub struct Row {
    /// Key in the file; the flag has hyphens, the variable is `FLOW_ROUTER_` and capitals.
    pub name: &'static str,
    /// What the value looks like.
    pub value: &'static str,
    /// Default, as text.
    pub default: &'static str,
    /// One line for `--help` and the documentation.
    pub help: &'static str,
    /// When a change takes effect.
    pub life: Life,
    /// Whether the management API may keep a value in the store. What says where the store is, or who may write to it,
    /// cannot come from there.
    pub stored: bool,
    /// Whether the value is a secret: sealed in the store, and never shown.
    pub secret: bool,
    /// Puts a text into the settings.
    pub set: fn(&mut Settings, &str) -> Result<(), String>,
}

impl Row {
    /// The flag without its dashes.
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// The environment variable.
    pub fn variable(&self) -> String {
        format!("FLOW_ROUTER_{}", self.name.to_ascii_uppercase())
    }
}

/// The row of that name.
pub fn row(name: &str) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.name == name)
}

/// What most rows have in common.
const PLAIN: Row = Row {
    name: "",
    value: "",
    default: "",
    help: "",
    life: Life::Live,
    stored: true,
    secret: false,
    set: |_, _| Ok(()),
};

/// A duration where zero means "no limit".
const LIMIT: &str = "DURATION";

/// All settings.
pub const TABLE: &[Row] = &joined();

/// The rows by topic, in the order of the documentation.
const TOPICS: [&[Row]; 8] = [
    serving::ROWS,
    transport::ROWS,
    translation::ROWS,
    management::ROWS,
    records::ROWS,
    interception::ROWS,
    dashboard::ROWS,
    secrets::ROWS,
];

const COUNT: usize = {
    let (mut count, mut topic) = (0, 0);
    while topic < TOPICS.len() {
        count += TOPICS[topic].len();
        topic += 1;
    }
    count
};

const fn joined() -> [Row; COUNT] {
    let mut rows = [PLAIN; COUNT];
    let (mut at, mut topic) = (0, 0);
    while topic < TOPICS.len() {
        let mut row = 0;
        while row < TOPICS[topic].len() {
            rows[at] = TOPICS[topic][row];
            at += 1;
            row += 1;
        }
        topic += 1;
    }
    rows
}

/// A number of days or rows.
fn whole32(text: &str) -> Result<u32, String> {
    let number = value::whole(text, 1)?;
    u32::try_from(number).map_err(|_| format!("`{}` is too large", text.trim()))
}

/// A path with a leading `~` resolved.
fn home_path(text: &str) -> PathBuf {
    let text = text.trim();
    match (text.strip_prefix('~'), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest.trim_start_matches(['/', '\\'])),
        _ => PathBuf::from(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_defaults_are_valid() {
        for (i, row) in TABLE.iter().enumerate() {
            assert!(TABLE[..i].iter().all(|other| other.name != row.name), "{}", row.name);
            assert!((row.set)(&mut Settings::default(), row.default).is_ok(), "{}", row.name);
        }
        assert_eq!(Settings::default().addr.port(), 2402);
    }
}
