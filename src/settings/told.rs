//! Which source said what: the merge of the table's rows, with the name of the winner.

use super::{Fault, Row, Settings, TABLE};

/// Where a value comes from. A later one here gives way to an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// The command line.
    Flag,
    /// The environment.
    Environment,
    /// A file.
    File,
    /// The management API, kept in the store.
    Store,
    /// Nobody said anything.
    Default,
}

impl Source {
    /// The word in the API and in messages.
    pub fn name(self) -> &'static str {
        match self {
            Source::Flag => "flag",
            Source::Environment => "environment",
            Source::File => "file",
            Source::Store => "store",
            Source::Default => "default",
        }
    }

    /// Whether the management API cannot change what comes from here.
    pub fn is_pinned(self) -> bool {
        matches!(self, Source::Flag | Source::Environment | Source::File)
    }
}

/// One setting as it is in force.
#[derive(Clone)]
pub struct Effective {
    /// Its row.
    pub row: &'static Row,
    /// Its value, as a flag would say it. Secrets are here in the clear: show them to nobody.
    pub value: String,
    /// Who said so.
    pub source: Source,
    /// Where exactly: `file:line:column`, a flag, a variable; empty for the store and for defaults.
    pub place: String,
}

impl Effective {
    /// Whether the management API cannot change it.
    pub fn is_pinned(&self) -> bool {
        self.source.is_pinned() || !self.row.stored
    }
}

impl std::fmt::Debug for Effective {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = if self.row.secret { "<redacted>" } else { &self.value };
        write!(f, "{} = {value} ({} {})", self.row.name, self.source.name(), self.place)
    }
}

/// The rows while they are merged, from the weakest source to the strongest.
pub(super) struct Told(Vec<Effective>);

impl Told {
    /// Nothing but defaults.
    pub(super) fn new() -> Self {
        let default =
            |row| Effective { row, value: row.default.to_owned(), source: Source::Default, place: String::new() };
        Self(TABLE.iter().map(default).collect())
    }

    /// Puts what a source says over what weaker ones said.
    pub(super) fn tell(
        &mut self,
        settings: &mut Settings,
        row: &'static Row,
        text: &str,
        source: Source,
        place: String,
    ) -> Result<(), Fault> {
        if let Err(message) = (row.set)(settings, text) {
            return Err(Fault { place, message });
        }
        if let Some(entry) = self.0.iter_mut().find(|entry| entry.row.name == row.name) {
            *entry = Effective { row, value: text.trim().to_owned(), source, place };
        }
        Ok(())
    }

    /// Who said what the row `name` is.
    pub(super) fn source(&self, name: &str) -> Source {
        self.0.iter().find(|entry| entry.row.name == name).map_or(Source::Default, |entry| entry.source)
    }

    /// The rows in the table's order.
    pub(super) fn rows(self) -> Vec<Effective> {
        self.0
    }
}
