//! Starts one program after another, says which, and stops at the first that fails.
//!
//! Output goes straight to the terminal, so that cargo's closing lines are seen as cargo wrote
//! them. What the programs are is in [`crate::check`] and [`crate::test`].

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::workspace;

/// Makes a command that runs in the workspace's root.
#[expect(clippy::disallowed_methods, reason = "xtask exists to start programs")]
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(workspace::root());
    command
}

/// Makes a cargo command that runs in the workspace's root.
pub(crate) fn cargo<I: AsRef<OsStr>>(arguments: impl IntoIterator<Item = I>) -> Command {
    let mut command = command(workspace::cargo());
    command.args(arguments);
    command
}

/// Tells the person at the terminal what happens now.
#[expect(clippy::print_stderr, reason = "talk goes to stderr, and xtask talks to a person")]
pub(crate) fn say(text: &str) {
    eprintln!("==> {text}");
}

/// Runs `command` under a title; fails when it does.
pub(crate) fn run(title: &str, command: &mut Command) -> Result<()> {
    say(title);
    let start = Instant::now();
    let status = command
        .status()
        .with_context(|| format!("failed to start `{}`", command.get_program().display()))?;
    if !status.success() {
        bail!("{title}: failed ({status})");
    }
    say(&format!("{title}: done in {} s", start.elapsed().as_secs()));
    Ok(())
}

/// Runs `command` and returns its standard output; its standard error goes to the terminal.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stderr(std::process::Stdio::inherit())
        .output()
        .with_context(|| format!("failed to start `{}`", command.get_program().display()))?;
    if !output.status.success() {
        bail!("`{}` failed ({})", command.get_program().display(), output.status);
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Finds a program in what cargo says about a build (`--message-format=json-render-diagnostics`).
pub(crate) fn built_program(messages: &str, name: &str) -> Result<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == name)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .with_context(|| format!("cargo built no `{name}`"))
}

/// Says whether cargo knows the subcommand `name`.
pub(crate) fn has_cargo_subcommand(name: &str) -> bool {
    cargo([name, "--version"]).output().is_ok_and(|output| output.status.success())
}

/// Copies the folder `from` to `to`, with everything in it.
pub(crate) fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("failed to create `{}`", to.display()))?;
    for entry in
        std::fs::read_dir(from).with_context(|| format!("failed to read `{}`", from.display()))?
    {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            // Go's module cache is read-only; the copy must be replaceable.
            let bytes = std::fs::read(entry.path())?;
            std::fs::write(&target, bytes)?;
        }
    }
    Ok(())
}
