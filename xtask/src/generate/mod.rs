//! `cargo xtask generate`: rewrites the documents that are made from the code.
//!
//! Each is written by the crate that knows its content, in a test that otherwise compares; here
//! those tests are run in the mood to write. `docs/reference/performance.md` is not among them: it
//! is measured, by `bench`.

mod environment;

use anyhow::{Context as _, Result};
use keyferry_testkit::generated::UPDATE_VARIABLE;

use crate::{steps, workspace};

/// The crates that write a document.
const WRITERS: &[&str] =
    &["keyferry-cli", "keyferry-policy", "keyferry-providers", "keyferry-server"];

/// What the names of those tests have in common.
const FILTERS: &[&str] = &["reference_is_current", "permissions_are_the_reviewed_ones"];

/// Writes them all.
pub(crate) fn run() -> Result<()> {
    let mut tests = steps::cargo(["test", "--quiet"]);
    for writer in WRITERS {
        tests.args(["--package", writer]);
    }
    tests.arg("--").args(FILTERS).env(UPDATE_VARIABLE, "1");
    steps::run("write docs/reference", &mut tests)?;
    // Last, since it is put together from pages that were just written.
    let file = workspace::root().join(environment::DOCUMENT);
    std::fs::write(&file, environment::text()?)
        .with_context(|| format!("failed to write `{}`", file.display()))
}
