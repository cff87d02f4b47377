//! What is printed: a table for people, tab-separated values for pipes, JSON where asked for.
//!
//! Values go to standard output; notes, questions and errors to standard error, so that a pipe gets values and nothing
//! else. What the router says may come from anybody, a client's user agent for one: control characters never reach the
//! terminal.

use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use super::{cell::Cell, failure::Failure};

/// In which form values are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Aligned, with titles, times in the local zone.
    Table,
    /// A line per entry, tabs between values, no titles, times and sums as the router says them.
    Tsv,
    /// What the router said.
    Json,
}

/// A column of a list.
pub(crate) struct Column {
    /// Its title in tables.
    pub(crate) title: &'static str,
    /// Its cell for an entry.
    pub(crate) cell: fn(&Value) -> Cell,
}

/// Where output goes.
#[derive(Debug)]
pub(crate) struct Out {
    /// The form of values.
    pub(crate) form: Form,
    /// Whether notes and all but the first column are left out.
    pub(crate) quiet: bool,
    /// Whether words are coloured.
    color: bool,
    /// Columns of the terminal, if it is one.
    width: Option<u16>,
    /// Whether standard output is a terminal.
    pub(crate) terminal: bool,
}

impl Out {
    /// Looks at what standard output is.
    pub(crate) fn new(json: bool, quiet: bool, no_color: bool) -> Self {
        let terminal = io::stdout().is_terminal();
        let form = match (json, terminal) {
            (true, _) => Form::Json,
            (false, true) => Form::Table,
            (false, false) => Form::Tsv,
        };
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let color = terminal && !no_color && !set("NO_COLOR") && !dumb;
        let width = terminal.then(terminal_size::terminal_size).flatten().map(|(width, _)| width.0);
        Self { form, quiet, color, width, terminal }
    }

    /// A list.
    pub(crate) fn list(&self, columns: &[Column], entries: &[Value]) -> Result<(), Failure> {
        self.list_with(columns, entries, &[])
    }

    /// A list with a last line for people, such as the sum.
    pub(crate) fn list_with(&self, columns: &[Column], entries: &[Value], sum: &[String]) -> Result<(), Failure> {
        if self.form == Form::Json {
            return self.json(&Value::Array(entries.to_vec()));
        }
        let columns = if self.quiet { &columns[..1] } else { columns };
        let rows = entries.iter().map(|entry| columns.iter().map(|column| (column.cell)(entry)).collect());
        let titles: Vec<_> = columns.iter().map(|column| column.title).collect();
        self.rows(&titles, rows, if self.quiet { &[] } else { sum })
    }

    fn rows(&self, titles: &[&str], rows: impl Iterator<Item = Vec<Cell>>, sum: &[String]) -> Result<(), Failure> {
        if self.form == Form::Tsv || self.quiet {
            let mut text = String::new();
            for row in rows {
                let cells: Vec<_> = row.into_iter().map(|cell| clean(&cell.raw)).collect();
                text.push_str(&cells.join("\t"));
                text.push('\n');
            }
            return self.text(&text);
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(titles.iter().copied());
        if let Some(width) = self.width {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        }
        for row in rows {
            table.add_row(row.into_iter().map(|cell| dash(clean(&cell.shown))));
        }
        if !sum.is_empty() {
            table.add_row(sum.iter().map(|cell| clean(cell)));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        self.text(&format!("{}\n", table.trim_fmt()))
    }

    /// One thing: names and values below each other; as JSON the thing itself.
    pub(crate) fn thing(&self, lines: &[(&str, Cell)], thing: &Value) -> Result<(), Failure> {
        if self.form == Form::Json {
            return self.json(thing);
        }
        let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
        let mut text = String::new();
        for (name, cell) in lines {
            match self.form {
                Form::Table => text.push_str(&format!("{name:width$}  {}\n", self.colored(cell))),
                Form::Tsv | Form::Json => text.push_str(&format!("{name}\t{}\n", clean(&cell.raw))),
            }
        }
        self.text(&text)
    }

    /// What was done: a line for people at a terminal, the thing as JSON; nothing in a pipe, where the exit code says it.
    pub(crate) fn done(&self, line: &str, thing: &Value) -> Result<(), Failure> {
        match self.form {
            Form::Json => self.json(thing),
            Form::Table if !self.quiet => self.text(&format!("{}\n", clean(line))),
            Form::Table | Form::Tsv => Ok(()),
        }
    }

    /// A JSON document.
    pub(crate) fn json(&self, value: &Value) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value).map_err(io::Error::from)?;
        self.text(&format!("{text}\n"))
    }

    /// Text as it is; the caller has seen to control characters.
    pub(crate) fn text(&self, text: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        Ok(stdout.flush()?)
    }

    /// A word on the side, for people.
    pub(crate) fn note(&self, line: &str) {
        if !self.quiet {
            eprintln!("{}", clean(line));
        }
    }

    /// A word that nobody may miss.
    pub(crate) fn warn(&self, line: &str) {
        eprintln!("warning: {}", clean(line));
    }

    /// A cell for people, in its colour where there are colours.
    pub(crate) fn colored(&self, cell: &Cell) -> String {
        let text = dash(clean(&cell.shown));
        match cell.color.filter(|_| self.color) {
            Some(color) => format!("\x1b[{color}m{text}\x1b[0m"),
            None => text,
        }
    }
}

/// Text without control characters: they could move the cursor, change the title, or break a line of values in two.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|c| if matches!(c, '\t' | '\n' | '\r') { ' ' } else { c }).filter(|c| !is_control(*c)).collect()
}

/// C0, DEL and C1, and the marks that turn the direction of what follows.
fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn dash(text: String) -> String {
    if text.is_empty() { "-".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_never_reach_the_terminal() {
        assert_eq!(clean("a\x1b]0;title\x07b\tc\r\nd\u{9b}31m\u{202e}é"), "a]0;titleb c  d31mé");
    }
}
