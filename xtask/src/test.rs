//! `cargo xtask test`: what CI runs and what a developer runs, one and the same.
//!
//! Installs the peers, checks, and runs every test on SQLite and on a PostgreSQL that lives as
//! long as this run. Cargo's own closing lines are left as they are, for people and machines.

use anyhow::Result;
use clap::Args;
use keyferry_testkit::peers::postgres::{self, Postgres};
use keyferry_testkit::{BINARIES_VARIABLE, require};

use crate::{check, packages, peers, steps};

/// What to run.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Skips the checks (format, lints, documents).
    #[arg(long)]
    no_check: bool,
    /// Runs only the tests of this package.
    #[arg(long, short)]
    package: Option<String>,
    /// Runs only the tests whose names contain this.
    filter: Option<String>,
}

/// Prepares this machine, checks, and runs the tests.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    packages::install()?;
    peers::build()?;
    if !arguments.no_check {
        check::run()?;
    }
    // Journeys start the real programs; built here once, so that no test builds while it is timed.
    steps::run("programs", &mut steps::cargo(["build", "--workspace", "--bins"]))?;

    // Stopped when it goes out of scope, also when a test has failed.
    let postgres = if require(postgres::PROGRAMS) { Some(Postgres::start()?) } else { None };
    let mut tests = steps::cargo(["test", "--no-fail-fast"]);
    match &arguments.package {
        Some(package) => tests.args(["--package", package]),
        None => tests.arg("--workspace"),
    };
    if let Some(filter) = &arguments.filter {
        tests.args(["--", filter]);
    }
    match &postgres {
        Some(postgres) => tests.env("TEST_DATABASE_URL", postgres.create_database()?),
        None => tests.env_remove("TEST_DATABASE_URL"),
    };
    // Whatever an earlier command left in the environment: these tests run what was built above.
    tests.env_remove(BINARIES_VARIABLE);
    steps::run("tests", &mut tests)
}
