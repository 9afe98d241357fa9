//! docs/reference/env.md: every environment variable, put together from the pages that each program
//! writes of its own.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context as _, Result};

use crate::workspace;

/// The page that this writes.
pub(super) const DOCUMENT: &str = "docs/reference/env.md";

/// A page with a table of variables: where it is, who reads them, which cells hold name and meaning.
struct Page {
    path: &'static str,
    program: &'static str,
    name: usize,
    meaning: usize,
}

const PAGES: &[Page] = &[
    Page { path: "settings.md", program: "keyferry-server", name: 1, meaning: 3 },
    Page { path: "cli.md", program: "keyferry", name: 0, meaning: 1 },
];

/// Returns the page, from those that are checked in.
pub(super) fn text() -> Result<String> {
    let mut variables: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for page in PAGES {
        let path = workspace::root().join("docs/reference").join(page.path);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("failed to read `{}`", path.display()))?;
        for (name, meaning) in rows(&text, page.name, page.meaning) {
            let line = format!("| [`{}`]({}) | {meaning} |", page.program, page.path);
            variables.entry(name).or_default().push(line);
        }
    }
    Ok(render(&variables))
}

/// Returns the variables of a page's tables, with their meaning.
fn rows(text: &str, name: usize, meaning: usize) -> Vec<(String, String)> {
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect()
    };
    text.lines()
        .filter(|line| line.starts_with("| "))
        .filter_map(|line| {
            let cells = cells(line);
            let variable = cells.get(name)?.strip_prefix('`')?.strip_suffix('`')?;
            let is_variable = variable.len() > 1
                && variable
                    .chars()
                    .all(|one| one.is_ascii_uppercase() || one == '_' || one.is_ascii_digit())
                && variable.starts_with(|first: char| first.is_ascii_uppercase());
            is_variable.then(|| Some((variable.to_owned(), cells.get(meaning)?.clone())))?
        })
        .collect()
}

fn render(variables: &BTreeMap<String, Vec<String>>) -> String {
    let mut out = "# Environment variables\n\n\
        <!-- Put together by `cargo xtask generate` from the programs' own pages; do not edit by hand. -->\n\n\
        A flag takes precedence over its variable, and the variable over a file. A secret can be given as the path of a file\n\
        that holds it, in the variable of the same name with `_FILE`; both at once is an error.\n\n\
        | Variable | Read by | Meaning |\n| --- | --- | --- |\n"
        .to_owned();
    for (name, lines) in variables {
        for line in lines {
            let _ = writeln!(out, "| `{name}` {line}");
        }
    }
    out.push_str(
        "\nWhat a job finds in its environment is in [run a runner](../guides/run-a-runner.md).\n",
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_reference_is_current() {
        keyferry_testkit::generated::assert_current(DOCUMENT, &text().unwrap());
    }

    #[test]
    fn variables_are_read_from_tables_and_nothing_else_is() {
        let text = "| Flag | Environment | Meaning |\n| --- | --- | --- |\n\
            | `--listen A` | `KEYFERRY_LISTEN` | Where |\n| `--x` |  | No variable |\n\
            | – | `KEYFERRY_KEY` | Only here |\n`NOT_THIS`\n| 2 | `no` | x |\n";
        let wanted = [("KEYFERRY_LISTEN", "Where"), ("KEYFERRY_KEY", "Only here")]
            .map(|(name, meaning)| (name.to_owned(), meaning.to_owned()));
        assert_eq!(rows(text, 1, 2), wanted);
    }
}
