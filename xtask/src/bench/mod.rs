//! `cargo xtask bench`: builds in release, measures against the budgets, and writes the figures.
//!
//! Every budget is a ratio to something that runs beside it on the same machine, or an absolute
//! time for orientation. The load itself is `crates/server/benches/load`; here it is started and
//! put together. [`report`] writes `target/bench/results.json` and docs/reference/performance.md.

mod helper;
mod issue;
mod merge;
mod proxy;
mod report;
mod stand;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;

use self::report::Figure;
use crate::steps;

/// How `bench` measures.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Measure only the figures whose name holds this text.
    filter: Option<String>,
    /// Runs of each figure; the median is reported, with the least and the most.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// The folder with the built programs; set by `bench` itself for its measuring process.
    #[arg(long, hide = true)]
    measure_with: Option<PathBuf>,
}

/// The programs that are measured, built in release.
struct Programs {
    /// The folder with `keyferry-server` and `keyferry`.
    folder: PathBuf,
    /// The load client.
    load: PathBuf,
}

/// Builds, and measures in a process that finds what was built.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if let Some(load) = &arguments.measure_with {
        return measure(arguments, load);
    }
    let programs = build()?;
    let mut measuring = steps::command(std::env::current_exe().context("find this program")?);
    measuring
        .arg("bench")
        .args(&arguments.filter)
        .args(["--runs", &arguments.runs.to_string()])
        .arg("--measure-with")
        .arg(&programs.load)
        .env("KEYFERRY_TEST_BINARIES", &programs.folder);
    steps::run("measure", &mut measuring)
}

fn build() -> Result<Programs> {
    steps::say("build in release; the first time this takes some minutes");
    let mut bins = steps::cargo(["build", "--release", "--message-format=json-render-diagnostics"]);
    bins.args(["--package=keyferry-server", "--package=keyferry-cli", "--bins"]);
    let server = steps::built_program(&steps::output(&mut bins)?, "keyferry-server")?;
    let mut bench = steps::cargo(["bench", "--no-run", "--message-format=json-render-diagnostics"]);
    bench.args(["--package=keyferry-server", "--bench=load"]);
    let load = steps::built_program(&steps::output(&mut bench)?, "load")?;
    let folder = server.parent().context("find the folder of the programs")?.to_path_buf();
    Ok(Programs { folder, load })
}

fn measure(arguments: &Arguments, load: &std::path::Path) -> Result<()> {
    let is_wanted = |names: &[&str]| {
        let filter = arguments.filter.as_deref().unwrap_or_default();
        names.iter().any(|name| name.contains(filter))
    };
    let mut figures: Vec<Figure> = Vec::new();
    if is_wanted(issue::NAMES) {
        figures.extend(issue::measure(load, arguments.runs)?);
    }
    if is_wanted(helper::NAMES) {
        figures.extend(helper::measure(load, arguments.runs)?);
    }
    if is_wanted(merge::NAMES) {
        figures.extend(merge::measure(arguments.runs)?);
    }
    report::write(&figures, arguments.filter.is_none())
}
