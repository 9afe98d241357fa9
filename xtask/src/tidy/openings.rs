//! Every file opens with what it is for.

use super::sources::{self, Source};

/// Fewer characters than this tell nobody what a file is for.
const LEAST: usize = 5;

fn violation(source: &Source) -> Option<String> {
    let words: usize = source
        .text
        .lines()
        .take_while(|line| line.starts_with("//!"))
        .map(|line| line.trim_start_matches("//!").trim().len())
        .sum();
    (words < LEAST).then(|| format!("{}: opens without `//!` and what it is for", source.path))
}

#[test]
fn every_file_says_what_it_is_for() {
    let found: Vec<String> = sources::rust().iter().filter_map(violation).collect();
    super::assert_none("a file starts with `//!`, what it is for", &found);
}

#[test]
fn a_file_that_opens_otherwise_is_found() {
    let bad =
        ["", "use std::fmt;\n", "// Leases.\n", "//! .\n", "#![a]\n//! Leases, and all of them.\n"];
    for text in bad {
        assert!(violation(&Source::new("a.rs", text)).is_some(), "{text:?}");
    }
    assert_eq!(violation(&Source::new("a.rs", "//! `keyferry lease list`.\n")), None);
}
