//! Starting runs, and what became of them.

use std::time::Duration;

use anyhow::{Context as _, Result};
use keyferry_api::runs::{JobView, RunView};
use keyferry_domain::run::{JobState, RunState};
use keyferry_testkit::children::describe;
use keyferry_testkit::wait_until;

use super::Person;

/// How long a run may take until something in it is seen; a busy machine starts slowly.
pub(crate) const LIMIT: Duration = Duration::from_mins(1);

/// A run that is over, with what its watcher was shown.
pub(crate) struct Run {
    pub(crate) view: RunView,
    /// Logs of all jobs and changes of state.
    pub(crate) log: String,
    pub(crate) exit_code: i32,
}

impl Person {
    /// Starts a run and watches it to its end.
    pub(crate) fn run(&self, pipeline: &str, arguments: &[&str]) -> Result<Run> {
        let start = ["run", "start", pipeline, "--watch", "--output", "json"];
        self.watched(&[&start[..], arguments].concat())
    }

    /// Starts a run without waiting for anything.
    pub(crate) fn start(&self, pipeline: &str, arguments: &[&str]) -> Result<RunView> {
        self.ask(&[&["run", "start", pipeline], arguments].concat())
    }

    /// Watches a run to its end.
    pub(crate) fn watch(&self, run: &RunView) -> Result<Run> {
        self.watched(&["run", "watch", run.id.as_str(), "--output", "json"])
    }

    fn watched(&self, arguments: &[&str]) -> Result<Run> {
        let output = self.output(arguments)?;
        let view = serde_json::from_slice(&output.stdout).with_context(|| describe(&output))?;
        Ok(Run {
            view,
            log: String::from_utf8_lossy(&output.stderr).into_owned(),
            exit_code: output.status.code().context("a signal ended the watcher")?,
        })
    }

    /// Waits until the log of a run that is under way has `words`.
    pub(crate) fn wait_for_log(&self, run: &RunView, words: &str) -> Result<String> {
        let mut seen = String::new();
        wait_until(&format!("`{words}` in the run's log"), LIMIT, || {
            let log = self.read(&["run", "logs", run.id.as_str()])?;
            if log.contains(words) {
                return Ok(Some(log));
            }
            let now: RunView = self.ask(&["run", "get", run.id.as_str()])?;
            // What was said last is seen at the next look.
            let log = self.read(&["run", "logs", run.id.as_str()])?;
            anyhow::ensure!(
                !now.state.is_over() || log.contains(words),
                "the run is {} already: {log}",
                now.state
            );
            seen = format!("{now:#?}\n{log}");
            Ok(None)
        })
        .with_context(|| seen)
    }
}

impl Run {
    /// Fails the test with all that is known unless the run succeeded.
    #[track_caller]
    pub(crate) fn succeeded(&self) {
        assert_eq!(self.view.state, RunState::Succeeded, "{:#?}\n{}", self.view, self.log);
        assert_eq!(self.exit_code, 0);
    }

    /// Fails the test unless the run failed and told each of `words` as its reason.
    #[track_caller]
    pub(crate) fn failed_because(&self, words: &[&str]) {
        assert_eq!(self.view.state, RunState::Failed, "{:#?}\n{}", self.view, self.log);
        assert_eq!(self.exit_code, 9);
        let reason = self.view.reason.as_deref().unwrap_or_default();
        for word in words {
            assert!(reason.contains(word), "`{word}` is not in `{reason}`\n{}", self.log);
        }
    }

    /// Returns the job with this key.
    #[track_caller]
    pub(crate) fn job(&self, key: &str) -> &JobView {
        let found = self.view.jobs.iter().find(|job| job.key == key);
        found.unwrap_or_else(|| panic!("no job `{key}` in {:#?}", self.view))
    }

    /// Returns the states of the jobs by their keys.
    pub(crate) fn job_states(&self) -> Vec<(&str, JobState)> {
        self.view.jobs.iter().map(|job| (job.key.as_str(), job.state)).collect()
    }
}
