//! `cargo xtask demo`: the whole story on this machine, with real servers and the real programs.
//!
//! Needs Rust and git; a registry and its client join in where they are installed. What happens is
//! in [`story`], where it happens in [`stage`]. Every line that it prints comes from an answer of
//! the programs; a part that fails ends it with an error.

mod hunt;
mod interrupt;
mod narrator;
mod people;
mod stage;
mod story;

use anyhow::{Result, bail};
use clap::Args;
use keyferry_testkit::BINARIES_VARIABLE;
use keyferry_testkit::peers::git_backend;

use self::interrupt::Interrupt;
use self::narrator::Narrator;
use self::stage::Stage;
use crate::steps;

/// How `demo` ends.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Ends after the story instead of staying up until it is stopped.
    #[arg(long)]
    exit: bool,
}

/// Builds, tells the story, and stays up.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if !git_backend::is_available() {
        bail!("the demo's Git server is `git http-backend`, which this machine's git is without");
    }
    build()?;
    let interrupt = Interrupt::watch()?;
    let narrator = Narrator::new();
    let stage = Stage::set(&narrator)?;
    let outcome = story::tell(&stage, &interrupt);
    if interrupt.has_come() {
        narrator.note("stopped");
    } else if let Err(error) = outcome {
        narrator.note(&format!("the server's last words:\n{}", stage.last_words()));
        // The first failure is the one to tell.
        drop(stage.end());
        return Err(error.context("the demo failed"));
    } else if !arguments.exit {
        stage.show_around();
        interrupt.wait();
    }
    stage.end()
}

/// Builds the programs for people who develop: less quick than a release, and ready much sooner.
fn build() -> Result<()> {
    #[expect(clippy::disallowed_methods, reason = "says where ready-made programs are")]
    if std::env::var_os(BINARIES_VARIABLE).is_some_and(|folder| !folder.is_empty()) {
        return Ok(());
    }
    let mut build = steps::cargo(["build", "--package=keyferry-server", "--package=keyferry-cli"]);
    steps::run("build the programs; the first time this takes some minutes", build.arg("--bins"))
}
