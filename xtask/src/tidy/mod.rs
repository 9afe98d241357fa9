//! The rules of this house that a compiler cannot hold, as tests: `cargo test -p xtask`.
//!
//! Each file has one rule: a pure function that returns what is wrong, a test that nothing is wrong
//! in this checkout, and tests that a violation is found. Lints are in `Cargo.toml` and
//! `clippy.toml`, licences and banned crates in `deny.toml`.

mod audit_actions;
mod changes;
mod documents;
mod error_codes;
mod manifests;
mod names;
mod openings;
mod orphans;
mod processes;
mod sizes;
mod sources;
mod walls;
mod words;

/// Fails with one line for each violation.
#[track_caller]
fn assert_none(rule: &str, violations: &[String]) {
    assert!(violations.is_empty(), "{rule}:\n  {}\n", violations.join("\n  "));
}
