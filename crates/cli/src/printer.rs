//! All output: data to standard output, talk and progress to standard error.
//!
//! Tables for people, JSON for programs, by `--output`. Text of other people (names, messages,
//! logs) is shown without what could steer a terminal.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use comfy_table::{ColumnConstraint, ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use keyferry_domain::Timestamp;
use serde::Serialize;

use crate::error::{CliError, visible};

/// The form of data on standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum OutputFormat {
    /// Tables, for people.
    #[default]
    Table,
    /// JSON, for programs.
    Json,
}

/// The narrowest terminal that tables are fitted into, in columns.
const MIN_WIDTH: u16 = 40;

/// Where everything is printed.
#[derive(Debug, Clone, Copy)]
pub struct Printer {
    format: OutputFormat,
    is_colored: bool,
}

type Result<T = ()> = std::result::Result<T, CliError>;

impl Printer {
    /// Makes a printer.
    pub const fn new(format: OutputFormat, is_colored: bool) -> Self {
        Self { format, is_colored }
    }

    /// Tells whether standard output is to be read by programs.
    pub fn is_json(&self) -> bool {
        self.format == OutputFormat::Json
    }

    /// Prints a list: a table with a header, or a JSON array.
    pub fn list<T: Serialize>(
        &self,
        items: &[T],
        header: &[&str],
        when_empty: &str,
        row: impl Fn(&T) -> Vec<String>,
    ) -> Result {
        let mut listing = self.listing(header);
        listing.add(items, row)?;
        listing.finish(when_empty).map(drop)
    }

    /// Starts a list that comes in pieces; see [`Listing`].
    pub const fn listing<'a>(&self, header: &'a [&'a str]) -> Listing<'a> {
        Listing { printer: *self, header, count: 0, widths: Vec::new() }
    }

    /// Prints one thing: its fields below each other, or a JSON object. Empty fields are left out.
    pub fn record<T: Serialize>(&self, value: &T, fields: Vec<(&str, String)>) -> Result {
        if self.is_json() {
            return self.json(value);
        }
        let rows = fields
            .into_iter()
            .filter(|(_, text)| !text.is_empty())
            .map(|(name, text)| vec![format!("{name}:"), text]);
        self.data(&table(None, rows))
    }

    /// Prints text for people, or the value for programs.
    pub fn text_or_json<T: Serialize>(&self, value: &T, text: &str) -> Result {
        if self.is_json() { self.json(value) } else { self.data(text) }
    }

    /// Prints JSON to standard output.
    pub fn json<T: Serialize>(&self, value: &T) -> Result {
        self.raw(&format!("{}\n", pretty(value)?))
    }

    /// Prints text to standard output, with a line end.
    pub fn data(&self, text: &str) -> Result {
        self.raw(&format!("{}\n", text.trim_end_matches('\n')))
    }

    /// Prints text to standard output as it is.
    pub fn raw(&self, text: &str) -> Result {
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()?;
        Ok(())
    }

    /// Prints a piece of a job's log to standard output, or to standard error when standard output
    /// is for programs.
    pub fn log(&self, text: &str) -> Result {
        if self.is_json() {
            let text = tame(text, std::io::stderr().is_terminal());
            std::io::stderr().lock().write_all(text.as_bytes())?;
            Ok(())
        } else {
            self.raw(&tame(text, std::io::stdout().is_terminal()))
        }
    }

    /// Says something to the person, on standard error.
    pub fn talk(&self, text: &str) -> Result {
        writeln!(std::io::stderr().lock(), "{}", visible(text))?;
        Ok(())
    }

    /// Shows an error. Nothing can be done when that fails too.
    pub fn error(&self, error: &CliError) {
        let _ = std::io::stderr().lock().write_all(error.render(self.is_colored).as_bytes());
    }

    /// Shows that something takes its time, until the answer is dropped. Silent without a terminal.
    pub fn progress(&self, text: impl Into<String>) -> Progress {
        let bar = if std::io::stderr().is_terminal() {
            let bar = ProgressBar::new_spinner();
            let template =
                if self.is_colored { "{spinner:.cyan} {msg}" } else { "{spinner} {msg}" };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        } else {
            ProgressBar::hidden()
        };
        bar.set_message(visible(&text.into()));
        Progress(bar)
    }
}

/// Something that takes its time.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// A list that is printed piece by piece, each as soon as it is there. One that is not finished,
/// since something failed, is no whole JSON array.
pub struct Listing<'a> {
    printer: Printer,
    header: &'a [&'a str],
    count: usize,
    /// The widest cell of each column so far, in characters.
    widths: Vec<usize>,
}

impl Listing<'_> {
    /// Prints more entries. In a table no column gets narrower than it was in the pieces before.
    pub fn add<T: Serialize>(&mut self, items: &[T], row: impl Fn(&T) -> Vec<String>) -> Result {
        if items.is_empty() {
            return Ok(());
        }
        let is_first = self.count == 0;
        self.count += items.len();
        if self.printer.is_json() {
            let mut text = pretty(&items)?;
            // The array goes on: a comma where the one before ended, and no end yet.
            text.truncate(text.len() - "\n]".len());
            let start = if is_first { "[" } else { "," };
            text.replace_range(.."[".len(), start);
            return self.printer.raw(&text);
        }
        let mut rows: Vec<Vec<String>> = items.iter().map(row).collect();
        self.widen(&rows);
        for row in &mut rows {
            for (cell, width) in row.iter_mut().zip(&self.widths) {
                *cell = format!("{cell:width$}");
            }
        }
        let header = is_first.then_some(self.header);
        self.printer.data(&table(header, rows.into_iter()))
    }

    fn widen(&mut self, rows: &[Vec<String>]) {
        if self.widths.is_empty() {
            self.widths = self.header.iter().map(|name| name.chars().count()).collect();
        }
        for row in rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
    }

    /// Ends the list; returns how many entries there were.
    pub fn finish(self, when_empty: &str) -> Result<usize> {
        match (self.printer.is_json(), self.count) {
            (true, 0) => self.printer.raw("[]\n")?,
            (true, _) => self.printer.raw("\n]\n")?,
            (false, 0) => self.printer.talk(when_empty)?,
            (false, _) => {}
        }
        Ok(self.count)
    }
}

fn pretty<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string_pretty(value).map_err(|error| {
        CliError::new(crate::error::Kind::Internal, "failed to write JSON").because(error)
    })
}

fn table(header: Option<&[&str]>, rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    if let Some(header) = header {
        table.set_header(header.to_vec());
    }
    for row in rows {
        table.add_row(row.iter().map(|cell| visible(cell)).collect::<Vec<_>>());
    }
    // Some terminals say that they have no width; a letter a line helps nobody.
    if table.width().is_some_and(|width| width < MIN_WIDTH) {
        table.set_content_arrangement(ContentArrangement::Disabled);
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        // Ids and names of fields stay whole, so that they can be copied.
        if index == 0 {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    table.lines().flat_map(|line| [line.trim_end().to_owned(), "\n".to_owned()]).collect()
}

/// Returns a moment as people read it: RFC 3339 in UTC, to the second.
pub fn moment(at: Timestamp) -> String {
    let text = at.to_string();
    match text.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => text,
    }
}

/// Returns a moment, or what stands for none.
pub fn moment_or(at: Option<Timestamp>, none: &str) -> String {
    at.map_or_else(|| none.to_owned(), moment)
}

/// Leaves colours in a log that goes to a terminal, and takes out every other control sequence: a
/// job's output must not retitle windows or write into the clipboard of those who read it.
fn tame(text: &str, is_terminal: bool) -> String {
    if !is_terminal || !text.contains(|one: char| one.is_control() && one != '\n') {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(place) = rest.find(|one: char| one.is_control()) {
        out.push_str(&rest[..place]);
        rest = &rest[place..];
        if let Some(length) = color_sequence(rest) {
            out.push_str(&rest[..length]);
            rest = &rest[length..];
            continue;
        }
        let mut chars = rest.chars();
        match chars.next() {
            Some(one @ ('\n' | '\r' | '\t')) => out.push(one),
            _ => out.push('\u{fffd}'),
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
    out
}

/// Returns the length of the SGR sequence at the start (`ESC [ … m`, ECMA-48 §8.3.117).
fn color_sequence(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix("\x1b[")?;
    let length = parameters.find(|one: char| !one.is_ascii_digit() && one != ';' && one != ':')?;
    (parameters.as_bytes()[length] == b'm').then_some(length + 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_no_blanks_at_the_ends_of_lines_and_no_control_characters() {
        let rows =
            vec![vec!["a".to_owned(), "b\x1b[2J".to_owned()], vec![String::new(), String::new()]];
        let text = table(Some(&["ID", "NAME"]), rows.into_iter());
        assert_eq!(text, "ID  NAME\na   b\u{fffd}[2J\n\n");
    }

    #[test]
    fn logs_keep_colours_and_lose_everything_else_on_a_terminal() {
        let text = "a\x1b[1;31mred\x1b[0m\x1b]0;title\x07\x1b[2Jb\r\n\tc";
        assert_eq!(
            tame(text, true),
            "a\x1b[1;31mred\x1b[0m\u{fffd}]0;title\u{fffd}\u{fffd}[2Jb\r\n\tc"
        );
        assert_eq!(tame(text, false), text);
        assert_eq!(tame("\x1b[31", true), "\u{fffd}[31");
    }

    #[test]
    fn moments_are_shown_to_the_second() {
        assert_eq!(moment(Timestamp::from_millis(1_767_225_600_123)), "2026-01-01T00:00:00Z");
        assert_eq!(moment_or(None, "never"), "never");
    }
}
