//! `cargo xtask check`: everything that can be wrong without running the product.
//!
//! Format, lints, tidy (walls, monopolies, names, sizes: `xtask/src/tidy/`), documents and the
//! supply chain. It changes no file.

use anyhow::Result;

use crate::steps;

/// Runs every check; the quick ones first.
pub(crate) fn run() -> Result<()> {
    steps::run("format", &mut steps::cargo(["fmt", "--all", "--check"]))?;
    steps::run("tidy", &mut steps::cargo(["test", "--quiet", "--package", "xtask"]))?;
    steps::run(
        "lints",
        &mut steps::cargo(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    )?;
    steps::run(
        "documents",
        steps::cargo(["doc", "--workspace", "--no-deps", "--document-private-items"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    if steps::has_cargo_subcommand("deny") {
        steps::run("supply chain", &mut steps::cargo(["deny", "check"]))?;
    } else {
        steps::say(
            "supply chain: not checked, cargo-deny is not installed (cargo install cargo-deny)",
        );
    }
    Ok(())
}
