//! Every stable error code is in docs/reference/errors.md, and no other code is.
//!
//! Codes are read where errors are made: the first text given to the constructors of
//! `keyferry_domain::Error`, and the constants of a pipeline's diagnostics.

use std::collections::BTreeSet;

use super::sources::{self, Source};
use crate::workspace;

const DOCUMENT: &str = "docs/reference/errors.md";

/// What is in front of a code, once white space and an `ErrorKind::…,` are left out.
const MAKERS: &[&str] = &[
    "Error::new(",
    "Error::invalid(",
    "Self::new(",
    "Self::invalid(",
    "Error::denied(",
    "Error::conflict(",
    ".named(",
    "Self::conflict(",
    "Self::denied(",
    "upstream(",
    "code:",
];

/// The code that follows `text`, if one does.
fn code(text: &str) -> Option<&str> {
    let mut text = text.trim_start();
    if text.starts_with("ErrorKind::") {
        text = text.split_once(',')?.1.trim_start();
    }
    let (word, _) = text.strip_prefix('"')?.split_once('"')?;
    let is_code = word.len() > 1
        && word.starts_with(|first: char| first.is_ascii_lowercase())
        && word.chars().all(|one| one.is_ascii_lowercase() || one.is_ascii_digit() || one == '_');
    is_code.then_some(word)
}

fn codes(source: &Source) -> BTreeSet<String> {
    /// Where each constant is a code.
    const CONSTANTS: &str = "pipeline/src/diagnostic.rs";
    let text = source.product_text();
    let constants = source.path.ends_with(CONSTANTS).then_some(": &str =");
    MAKERS
        .iter()
        .copied()
        .chain(constants)
        .flat_map(|maker| text.match_indices(maker).map(|(at, _)| &text[at + maker.len()..]))
        .filter_map(code)
        .map(str::to_owned)
        .collect()
}

/// The codes that the document has a line of the table for.
fn documented(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .map(str::to_owned)
        .collect()
}

fn is_of_errors(source: &Source) -> bool {
    ["domain", "broker", "server", "pipeline"]
        .iter()
        .any(|name| source.path.starts_with(&format!("crates/{name}/src/")))
}

#[test]
fn every_error_code_is_documented() {
    let made: BTreeSet<String> =
        sources::rust().iter().filter(|source| is_of_errors(source)).flat_map(codes).collect();
    assert!(made.contains("stale_version"), "the codes are not found any more: {made:?}");
    let path = workspace::root().join(DOCUMENT);
    let documented = documented(&std::fs::read_to_string(path).unwrap_or_default());
    let missing = made.difference(&documented).map(|code| format!("`{code}` is not in {DOCUMENT}"));
    let gone = documented.difference(&made).map(|code| format!("`{code}` is in {DOCUMENT} only"));
    super::assert_none("error codes", &missing.chain(gone).collect::<Vec<_>>());
}

#[test]
fn codes_are_read_where_errors_are_made() {
    let text = r#"
        Error::conflict("already_exists", format!("there is such a {what} already"));
        return Err(Error::denied(
            "session_needed",
            "an organization is created in a session",
        ));
        Error::new(ErrorKind::Unavailable, "root_key_unusable", message);
        Error::new(ErrorKind::Upstream, code, message);
        Diagnostic { code: "unknown_key", message }
        Error::not_found("connection `x`");
        let code = "not_a_code";
        Error::invalid("Not A Code", "x");

#[cfg(test)]
mod tests {
    Error::invalid("only_in_a_test", "x");
}
"#;
    let found = codes(&Source::new("crates/broker/src/a.rs", text));
    let found: Vec<&str> = found.iter().map(String::as_str).collect();
    assert_eq!(found, ["already_exists", "root_key_unusable", "session_needed", "unknown_key"]);
}

#[test]
fn constants_are_codes_where_diagnostics_are_described() {
    let text = "pub const WRONG_TYPE: &str = \"wrong_type\";\n";
    assert_eq!(codes(&Source::new("crates/pipeline/src/diagnostic.rs", text)).len(), 1);
    assert_eq!(codes(&Source::new("crates/pipeline/src/plan.rs", text)).len(), 0);
}

#[test]
fn the_documents_codes_are_those_of_its_table() {
    let text =
        "# Errors\n\n`prose_only`\n\n| Code | Meaning |\n| --- | --- |\n| `gone` | it is |\n";
    assert_eq!(documented(text).into_iter().collect::<Vec<_>>(), ["gone"]);
}
