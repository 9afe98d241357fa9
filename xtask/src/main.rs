//! The project's own commands: `cargo xtask demo | check | test | …`, behind `make`.
//!
//! It holds no product code: it starts cargo and the programs that tests need, and its own tests
//! (`tidy`) hold the rules that a compiler cannot. Start at [`mod@test`] for what CI runs.

use anyhow::Result;
use clap::{Parser, Subcommand};

mod bench;
mod check;
mod demo;
mod generate;
mod packages;
mod peers;
mod steps;
mod test;
#[cfg(test)]
mod tidy;
mod workspace;

/// The project's own commands.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Tells the whole story on this machine, with real servers, and stays up.
    Demo(demo::Arguments),
    /// Checks format, lints, walls, documents and licences.
    Check,
    /// Installs what tests need, checks, and runs every test on SQLite and PostgreSQL.
    Test(test::Arguments),
    /// Measures against the budgets, in release, and writes the figures.
    Bench(bench::Arguments),
    /// Rewrites the documents that are made from the code.
    Generate,
    /// Builds the servers that no package ships (Gitea) into the cache.
    Peers,
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Check => check::run(),
        Command::Test(arguments) => test::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Generate => generate::run(),
        Command::Peers => peers::build(),
    }
}
