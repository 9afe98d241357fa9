//! A runner as a process of its own, with nothing of the server's.

use anyhow::Result;
use keyferry_testkit::children::{Child, Start};
use keyferry_testkit::{Canary, Scratch};
use rustix::process::Signal;

use super::{Person, text};

/// A running `keyferry runner start`; killed when dropped.
pub(crate) struct RunnerProcess {
    process: Child,
    scratch: Scratch,
}

impl RunnerProcess {
    /// Registers it as `owner` and starts it; also returns its token.
    pub(super) fn start(owner: &Person, name: &str, arguments: &[&str]) -> Result<(Self, Canary)> {
        let scratch = Scratch::new()?;
        let token = owner.say(&["runner", "register", name])?;
        let token = token.trim();
        scratch.write("token", token, 0o600)?;
        let home = scratch.folder("home")?;
        let mut start = Start::new(owner.cli.program(), scratch.path(), "runner.log")
            .args(["runner", "start", "--token-from"])
            .args([format!("@{}", text(&scratch.join("token")))])
            .args(["--work-folder"])
            .args([scratch.join("work")])
            .args(arguments.iter().copied())
            .env("HOME", home);
        for (name, value) in owner.cli.environment() {
            start = start.env(name, value);
        }
        let process = start.spawn()?;
        Ok((Self { process, scratch }, Canary::from_value(token)))
    }

    /// Kills it with SIGKILL, as a power cut would.
    pub(crate) fn kill(&self) -> Result<()> {
        self.process.signal(Signal::KILL)
    }

    /// Returns everything that it wrote.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// Fails the test when `canary` is in its log or in what its jobs left.
    pub(crate) fn hunt(&self, canary: &Canary) {
        canary.assert_absent_in("the runner's log", self.log());
        canary.assert_absent_in_files(&self.scratch.join("work"));
        canary.assert_absent_in_files(&self.scratch.join("home"));
    }
}
