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

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
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
    #[expect(clippy::disallowed_methods, reason = "says where ready-made programs are")]
    let are_built = std::env::var_os(BINARIES_VARIABLE).is_some_and(|folder| !folder.is_empty());
    if !are_built {
        return Err(start_again_with(&build()?, arguments));
    }

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

/// Builds the programs as developers do: less quick than a release, and ready much sooner. Returns
/// their folder.
fn build() -> Result<PathBuf> {
    steps::say("build the programs; the first time this takes some minutes");
    let mut build = steps::cargo(["build", "--message-format=json-render-diagnostics"]);
    build.args(["--package=keyferry-server", "--package=keyferry-cli", "--bins"]);
    let server = steps::built_program(&steps::output(&mut build)?, "keyferry-server")?;
    Ok(server.parent().context("find the folder of the programs")?.to_path_buf())
}

/// Becomes a demo that takes the programs in `folder` as they are; returns only what went wrong.
fn start_again_with(folder: &Path, arguments: &Arguments) -> anyhow::Error {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return error.into(),
    };
    let mut again = steps::command(program);
    again.arg("demo").args(arguments.exit.then_some("--exit")).env(BINARIES_VARIABLE, folder);
    anyhow::Error::new(again.exec()).context("failed to start the demo again")
}
