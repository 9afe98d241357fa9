//! `cargo xtask generate`: rewrites the documents that are made from the code.
//!
//! Each is written by the crate that knows its content, in a test that otherwise compares; here
//! those tests are run in the mood to write. `docs/reference/performance.md` is not among them: it
//! is measured, by `bench`.

use anyhow::Result;
use keyferry_testkit::generated::UPDATE_VARIABLE;

use crate::steps;

/// The crates that write a document.
const WRITERS: &[&str] =
    &["keyferry-cli", "keyferry-policy", "keyferry-providers", "keyferry-server"];

/// What the names of those tests have in common.
const FILTER: &str = "document_is_current";

/// Writes them all.
pub(crate) fn run() -> Result<()> {
    let mut tests = steps::cargo(["test", "--quiet"]);
    for writer in WRITERS {
        tests.args(["--package", writer]);
    }
    tests.args(["--", FILTER]).env(UPDATE_VARIABLE, "1");
    steps::run("write docs/reference", &mut tests)
}
