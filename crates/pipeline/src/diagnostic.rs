//! What is wrong with a pipeline's text, where, and what to write instead.
//!
//! A diagnostic never repeats a password: neither its message nor its snippet. What is checked is
//! decided elsewhere; see `definition`.

use std::fmt::Write as _;
use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;
use serde::Serialize;

/// Stable codes of diagnostics; documented for users, so a code is never given another meaning.
pub mod code {
    /// The text is not YAML.
    pub const YAML_SYNTAX: &str = "yaml_syntax";
    /// The same key twice in one mapping.
    pub const DUPLICATE_KEY: &str = "duplicate_key";
    /// A key that neither Flow nor Keyferry knows here.
    pub const UNKNOWN_KEY: &str = "unknown_key";
    /// Known in Flow, not run by Keyferry yet.
    pub const KNOWN_NOT_RUN: &str = "known_not_run";
    /// A step that neither Flow nor Keyferry knows.
    pub const UNKNOWN_STEP: &str = "unknown_step";
    /// A source type that neither Flow nor Keyferry knows.
    pub const UNKNOWN_SOURCE_TYPE: &str = "unknown_source_type";
    /// A list where a text is expected, and the like.
    pub const WRONG_TYPE: &str = "wrong_type";
    /// The right type, and a value that cannot be used.
    pub const WRONG_VALUE: &str = "wrong_value";
    /// A key that must be there is not.
    pub const MISSING_KEY: &str = "missing_key";
    /// The name of a job, source or connection that is not in this file.
    pub const UNKNOWN_REFERENCE: &str = "unknown_reference";
    /// Jobs that wait for each other.
    pub const CYCLE: &str = "cycle";
    /// A connection that does not exist, or that the author may not see.
    pub const UNKNOWN_CONNECTION: &str = "unknown_connection";
    /// A connection of a type that cannot serve this place.
    pub const WRONG_CONNECTION_TYPE: &str = "wrong_connection_type";
    /// A user name or password inside an address.
    pub const URL_HAS_PASSWORD: &str = "url_has_password";
    /// A condition that cannot be read.
    pub const CONDITION: &str = "condition";
    /// More nesting, nodes or aliases than a pipeline needs.
    pub const BUDGET: &str = "budget";
    /// The text is longer than a pipeline may be.
    pub const TOO_LARGE: &str = "too_large";
}

/// A place in the text. Line and column count from 1, in characters; 0 is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize)]
pub struct Position {
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1, in characters.
    pub column: u32,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1, in characters.
    pub column: u32,
    /// Where in the definition: `stages.build.jobs.compile.steps.x`; empty for the whole text.
    pub path: String,
    /// One of [`code`].
    pub code: &'static str,
    /// What is wrong; lower case, no period.
    pub message: String,
    /// What to write instead, when there is an answer.
    pub hint: Option<String>,
    /// The line of the text, with what may be a password replaced by stars.
    pub snippet: Option<Snippet>,
}

/// One line of the text and the place in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Snippet {
    /// The line's text, cut to a readable length.
    pub text: String,
    /// How many characters of `text` are before the place.
    pub caret: usize,
}

/// More are not collected: nobody reads them, and they would make large answers.
pub(crate) const MOST_DIAGNOSTICS: usize = 100;

const LONGEST_SNIPPET: usize = 100;

impl Diagnostic {
    /// Makes a diagnostic at a place of the text.
    pub(crate) fn new(
        source: &str,
        at: Position,
        path: String,
        code: &'static str,
        message: impl Into<String>,
        hint: Option<String>,
    ) -> Self {
        let snippet = snippet(source, at);
        let Position { line, column } = at;
        Self { line, column, path, code, message: message.into(), hint, snippet }
    }

    /// Returns the diagnostic as lines for a person; `file` is the name to show.
    pub fn render(&self, file: &str) -> String {
        let Self { line, column, path, code, message, hint, snippet } = self;
        let mut out = format!("error[{code}]: {message}\n");
        let width = line.to_string().len();
        let _ = write!(out, "{:width$}--> {file}:{line}:{column}", "");
        if !path.is_empty() {
            let _ = write!(out, " ({path})");
        }
        out.push('\n');
        if let Some(Snippet { text, caret }) = snippet {
            let _ = writeln!(out, "{line} | {text}");
            let _ = writeln!(out, "{:width$} | {:caret$}^", "", "");
        }
        if let Some(hint) = hint {
            let _ = writeln!(out, "{:width$} = hint: {hint}", "");
        }
        out
    }
}

/// Renders diagnostics one after another with an empty line between them.
pub fn render_all(diagnostics: &[Diagnostic], file: &str) -> String {
    diagnostics.iter().map(|one| one.render(file)).collect::<Vec<_>>().join("\n")
}

fn snippet(source: &str, at: Position) -> Option<Snippet> {
    let index = usize::try_from(at.line).ok()?.checked_sub(1)?;
    // A byte order mark is not counted in columns.
    let line = source.trim_start_matches('\u{feff}').lines().nth(index)?;
    let column = usize::try_from(at.column).unwrap_or(1).saturating_sub(1);
    let caret_byte = line.char_indices().nth(column).map_or(line.len(), |(byte, _)| byte);
    let (redacted, caret_byte) = redact_at(line, caret_byte);
    let caret = redacted[..caret_byte].chars().count();
    // Tabs become one space each, so that the caret stands below its place.
    let shown = |text: &str| -> String {
        text.chars().map(|one| if one.is_control() { ' ' } else { one }).collect()
    };
    let start = caret.saturating_sub(LONGEST_SNIPPET / 2);
    let is_cut = redacted.chars().count() > LONGEST_SNIPPET;
    let text: String = if is_cut {
        redacted.chars().skip(start).take(LONGEST_SNIPPET).collect()
    } else {
        redacted.clone()
    };
    let caret = if is_cut { caret - start } else { caret };
    Some(Snippet { text: shown(text.trim_end()), caret })
}

/// User name and password in an address; the host is kept. `git@` before an SSH host is no secret.
static USER_INFO: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"://(?P<secret>[^\s/@]+)@").ok());

/// `user:password@` without a scheme.
static PAIR: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"(?P<secret>[^\s/@"':]+:[^\s/@:]+)@"#).ok());

/// The value of a key that is called like a secret.
static SECRET_VALUE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r#"(?i)(?:password|passwd|passphrase|secret|token|webhook|api_?key|private_?key)["']?\s*[:=]\s*(?P<secret>"[^"]*"|'[^']*'|[^\s,}'"][^,}'"]*)"#,
    )
    .ok()
});

/// A line that speaks of a secret without holding it in the same key.
static SECRET_WORD: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?i)password|passwd|passphrase|secret|token|api_?key|private_?key|encrypted").ok()
});

/// The value of a variable.
static VARIABLE_VALUE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"(?i)\bvalue["']?\s*:\s*(?P<secret>"[^"]*"|'[^']*'|[^\s,}'"][^,}'"]*)"#).ok()
});

fn secret_ranges(line: &str) -> Vec<Range<usize>> {
    let is_secret = SECRET_WORD.as_ref().is_some_and(|pattern| pattern.is_match(line));
    let mut ranges: Vec<Range<usize>> = [&USER_INFO, &PAIR, &SECRET_VALUE]
        .into_iter()
        .chain(is_secret.then_some(&VARIABLE_VALUE))
        .filter_map(|pattern| pattern.as_ref())
        .flat_map(|pattern| pattern.captures_iter(line))
        .filter_map(|found| found.name("secret"))
        .filter(|secret| secret.as_str() != "git")
        .map(|secret| secret.range())
        .collect();
    ranges.sort_unstable_by_key(|range| range.start);
    ranges
}

/// Replaces what may be a password by stars, and follows one place through the replacement.
fn redact_at(line: &str, place: usize) -> (String, usize) {
    let mut out = String::with_capacity(line.len());
    let mut done = 0;
    let mut moved = None;
    for range in secret_ranges(line) {
        if range.start < done {
            continue;
        }
        if place <= range.start {
            moved.get_or_insert_with(|| out.len() + place.saturating_sub(done));
        }
        out.push_str(&line[done..range.start]);
        if place < range.end {
            moved.get_or_insert(out.len());
        }
        out.push_str("****");
        done = range.end;
    }
    let moved = moved.unwrap_or_else(|| out.len() + place.saturating_sub(done));
    out.push_str(&line[done..]);
    (out, moved)
}

/// Returns what a user wrote, cut to a readable length, on one line and without passwords.
pub(crate) fn clean(text: &str) -> String {
    redact_at(text, 0)
        .0
        .chars()
        .map(|one| if one.is_control() { ' ' } else { one })
        .take(80)
        .collect()
}

/// Returns [`clean`] text in backticks.
pub(crate) fn quote(text: &str) -> String {
    format!("`{}`", clean(text))
}

/// Returns the names most like `text`, nearest first, at most three.
pub(crate) fn nearest<'a>(text: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let lower = text.to_lowercase();
    let mut scored: Vec<(f64, &str)> = names
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&lower, &name.to_lowercase()), name))
        .filter(|(score, _)| *score > 0.78)
        .collect();
    scored.sort_by(|left, right| right.0.total_cmp(&left.0).then(left.1.cmp(right.1)));
    scored.dedup_by_key(|(_, name)| *name);
    scored.into_iter().map(|(_, name)| name).take(3).collect()
}

/// Returns `did you mean …` for the names most like `text`.
pub(crate) fn did_you_mean<'a>(
    text: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let names: Vec<String> = nearest(text, names).iter().map(|name| format!("`{name}`")).collect();
    (!names.is_empty()).then(|| format!("did you mean {}?", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str, column: u32) -> (String, usize) {
        let Snippet { text, caret } = snippet(line, Position { line: 1, column }).unwrap();
        (text, caret)
    }

    #[test]
    fn passwords_are_not_shown_and_the_caret_stays_in_place() {
        assert_eq!(
            shown("endpoint: https://u:hunter2@h/x # y", 11),
            ("endpoint: https://****@h/x # y".to_owned(), 10)
        );
        assert_eq!(
            shown("{password: hunter2, foo: 1}", 21),
            ("{password: ****, foo: 1}".to_owned(), 17)
        );
        assert_eq!(
            shown("- {key: P, value: hunter2, isEncrypted: true}", 28).0,
            "- {key: P, value: ****, isEncrypted: true}"
        );
        assert_eq!(shown("password: 'hunter2, hunter2'", 1).0, "password: ****");
        assert_eq!(shown("- {key: P, value: plain}", 1).0, "- {key: P, value: plain}");
        assert_eq!(shown("a: ssh://git@h/x", 4), ("a: ssh://git@h/x".to_owned(), 3));
        assert_eq!(quote("https://u:hunter2@h/x"), "`https://****@h/x`");
    }

    #[test]
    fn long_lines_are_cut_around_the_place() {
        let line = format!("{}bad{}", "x".repeat(500), "y".repeat(500));
        let (text, caret) = shown(&line, 501);
        assert_eq!(text.chars().count(), LONGEST_SNIPPET);
        assert!(text.chars().skip(caret).collect::<String>().starts_with("bad"));
    }

    #[test]
    fn places_outside_the_text_have_no_snippet_or_stand_at_its_end() {
        assert_eq!(snippet("a", Position::default()), None);
        assert_eq!(snippet("a", Position { line: 9, column: 1 }), None);
        assert_eq!(shown("ab", 99), ("ab".to_owned(), 2));
    }

    #[test]
    fn nearest_names_ignore_case_and_drop_strangers() {
        assert_eq!(nearest("Endpiont", ["endpoint", "branch"]), ["endpoint"]);
        assert!(nearest("zzz", ["endpoint", "branch"]).is_empty());
    }
}
