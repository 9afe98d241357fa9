//! Following a run: every job's log as it comes, and every change of state.
//!
//! One loop looks at the run each second; each job that has started gets a reader that waits for
//! its log at the server. Short failures of the server are waited out, since a run outlives them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt as _};
use keyferry_api::client::{Client, ClientError};
use keyferry_api::runs::{JobView, LogPart, LogQuery, RunView, StepView};
use keyferry_domain::id::{JobId, OrganizationId, RunId};
use keyferry_domain::run::{JobState, RunState, StepState};

use tokio::time::MissedTickBehavior;

use crate::context::{Context, Organization};
use crate::error::{CliError, Kind};
use crate::printer::Printer;

/// How long the server may be away before following ends.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long the server holds a question for more of a log.
const LOG_WAIT_SECONDS: u32 = 20;

/// How often the run is looked at.
const PERIOD: Duration = Duration::from_secs(1);

/// Follows a run to its end, and fails when the run does.
pub(crate) async fn follow(
    context: &Context,
    organization: &Organization,
    run: &RunId,
) -> Result<(), CliError> {
    let follower = async { follow_to_the_end(context.printer, organization, run).await };
    let ended = tokio::select! {
        ended = follower => ended?,
        _ = tokio::signal::ctrl_c() => {
            return Err(CliError::new(Kind::Unsuccessful, "stopped watching; the run goes on")
                .hint(format!("`keyferry run watch {run}` goes on watching"))
                .hint(format!("`keyferry run cancel {run}` stops the run")));
        }
    };
    if context.printer.is_json() {
        context.printer.json(&ended)?;
    }
    outcome(&ended, context.printer)
}

/// Fails when the run did not succeed, and says why.
fn outcome(run: &RunView, printer: Printer) -> Result<(), CliError> {
    let text = format!("run {} {}", run.number, phrase(run.state.as_str()));
    if run.state == RunState::Succeeded {
        return printer.talk(&text);
    }
    let error = CliError::new(Kind::Unsuccessful, text);
    Err(reasons(run).into_iter().fold(error, CliError::note))
}

/// Returns why a run did not succeed: its own reason, and those of jobs and steps that it does not
/// tell already.
fn reasons(run: &RunView) -> Vec<String> {
    let whole = run.reason.iter().map(|reason| (String::new(), reason));
    let jobs = run.jobs.iter().filter(|job| job.state == JobState::Failed);
    let jobs = jobs.filter_map(|job| Some((format!("{}: ", job.key), job.reason.as_ref()?)));
    let steps = run.jobs.iter().flat_map(|job| {
        let failed = job.steps.iter().filter(|step| step.state == StepState::Failed);
        let told = |step: &StepView| format!("{} / {}: ", job.key, step.name);
        failed.filter_map(move |step| Some((told(step), step.reason.as_ref()?)))
    });
    let mut found: Vec<String> = Vec::new();
    for (place, reason) in whole.chain(jobs).chain(steps) {
        if !found.iter().any(|told| told.contains(reason.as_str())) {
            found.push(format!("{place}{reason}"));
        }
    }
    found
}

/// Returns a state as the end of a sentence.
fn phrase(state: &str) -> String {
    match state {
        "succeeded" | "failed" => state.to_owned(),
        "canceled" | "skipped" => format!("was {state}"),
        other => format!("is {other}"),
    }
}

async fn follow_to_the_end(
    printer: Printer,
    organization: &Organization,
    run: &RunId,
) -> Result<RunView, CliError> {
    let client = organization.client.with_retries(PATIENCE);
    let mut seen = Seen { printer, said: BTreeMap::new(), prefixes: BTreeMap::new() };
    let mut readers = FuturesUnordered::new();
    let mut read: BTreeSet<(JobId, i64)> = BTreeSet::new();
    let mut period = tokio::time::interval(PERIOD);
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ended = None;
    loop {
        tokio::select! {
            // Log first: what a job said comes before what became of it.
            biased;
            Some(part) = readers.next(), if !readers.is_empty() => {
                let (reader, part): (LogReader, LogPart) = part?;
                seen.log(&reader.job, &part.text)?;
                if part.is_complete {
                    seen.end_line(&reader.job)?;
                } else {
                    readers.push(reader.read(part.next));
                }
            }
            _ = period.tick(), if ended.is_none() => {
                let now = client.get_run(&organization.id, run).await?;
                seen.states(&now)?;
                for job in &now.jobs {
                    // A job that waits for another try still has the log of the one before.
                    let waits = matches!(job.state, JobState::Waiting | JobState::Queued);
                    let has_log = job.started_at.is_some() && !waits;
                    if has_log && read.insert((job.id.clone(), job.attempt)) {
                        seen.prefixes.insert(job.id.clone(), Line::of(job, now.jobs.len() > 1));
                        let reader = LogReader {
                            client: client.clone(),
                            organization: organization.id.clone(),
                            run: run.clone(),
                            job: job.id.clone(),
                        };
                        readers.push(reader.read(0));
                    }
                }
                if now.state.is_over() {
                    ended = Some(now);
                }
            }
        }
        if readers.is_empty()
            && let Some(ended) = ended.take()
        {
            return Ok(ended);
        }
    }
}

struct LogReader {
    client: Client,
    organization: OrganizationId,
    run: RunId,
    job: JobId,
}

impl LogReader {
    async fn read(self, after: i64) -> Result<(Self, LogPart), ClientError> {
        let query = LogQuery { after, wait_seconds: LOG_WAIT_SECONDS };
        let part =
            self.client.read_job_log(&self.organization, &self.run, &self.job, &query).await?;
        Ok((self, part))
    }
}

/// Where a job's log stands on the screen: lines of several jobs are mixed, so each line carries
/// its job's key and is shown when it is complete.
#[derive(Default)]
struct Line {
    prefix: String,
    begun: String,
}

impl Line {
    fn of(job: &JobView, has_others: bool) -> Self {
        let prefix = if has_others { format!("[{}] ", job.key) } else { String::new() };
        Self { prefix, begun: String::new() }
    }

    /// Returns the lines that are complete with this piece.
    fn complete(&mut self, text: &str) -> String {
        self.begun.push_str(text);
        let Some(end) = self.begun.rfind('\n') else { return String::new() };
        let rest = self.begun.split_off(end + 1);
        let lines = std::mem::replace(&mut self.begun, rest);
        lines.split_inclusive('\n').flat_map(|line| [self.prefix.as_str(), line]).collect()
    }
}

struct Seen {
    printer: Printer,
    said: BTreeMap<String, String>,
    prefixes: BTreeMap<JobId, Line>,
}

impl Seen {
    fn log(&mut self, job: &JobId, text: &str) -> Result<(), CliError> {
        let lines = self.prefixes.entry(job.clone()).or_default().complete(text);
        if lines.is_empty() { Ok(()) } else { self.printer.log(&lines) }
    }

    fn end_line(&mut self, job: &JobId) -> Result<(), CliError> {
        let is_begun = self.prefixes.get(job).is_some_and(|line| !line.begun.is_empty());
        if is_begun { self.log(job, "\n") } else { Ok(()) }
    }

    /// Says what has changed since the last look.
    fn states(&mut self, run: &RunView) -> Result<(), CliError> {
        for job in &run.jobs {
            for step in &job.steps {
                if !matches!(step.state, StepState::Waiting | StepState::Skipped) {
                    let name = format!("{} / {}", job.key, step.name);
                    self.say(name, step.state.as_str(), step.reason.as_deref())?;
                }
            }
            if job.state != JobState::Waiting {
                self.say(job.key.clone(), job.state.as_str(), job.reason.as_deref())?;
            }
        }
        Ok(())
    }

    fn say(&mut self, name: String, state: &str, reason: Option<&str>) -> Result<(), CliError> {
        if self.said.get(&name).is_some_and(|said| said == state) {
            return Ok(());
        }
        let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        self.printer.talk(&format!("{name} {}{reason}", phrase(state)))?;
        self.said.insert(name, state.to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_reason_is_told_once_and_another_jobs_too() {
        let at = "2026-01-01T00:00:00Z";
        let job = |key: &str, reason: &str, step: &str| {
            json!({
                "id": format!("job_{:0>26}", key.len()), "key": key, "name": key, "stage": "a",
                "attempt": 1, "state": "failed", "reason": reason,
                "steps": [{"key": "s", "name": "S", "state": "failed", "reason": step}],
            })
        };
        let run: RunView = serde_json::from_value(json!({
            "id": "run_00000000000000000000000001", "number": 1, "revision": 1,
            "pipeline_id": "pipe_00000000000000000000000001", "pipeline_name": "p",
            "state": "failed", "started_by": "x", "created_at": at,
            "reason": "a.one: step `s`: it broke; replace it",
            "jobs": [
                job("a.one", "step `s`: it broke; replace it", "it broke"),
                job("a.other", "no runner", "it melted"),
            ],
        }))
        .unwrap();
        assert_eq!(
            reasons(&run),
            [
                "a.one: step `s`: it broke; replace it",
                "a.other: no runner",
                "a.other / S: it melted"
            ]
        );
        assert_eq!(phrase("succeeded") + &phrase("canceled"), "succeededwas canceled");
    }

    #[test]
    fn lines_are_shown_whole_and_with_their_job() {
        let mut line = Line { prefix: "[a.b] ".to_owned(), begun: String::new() };
        assert_eq!(line.complete("one"), "");
        assert_eq!(line.complete(" more\ntwo\nth"), "[a.b] one more\n[a.b] two\n");
        assert_eq!(line.complete("ree\n"), "[a.b] three\n");
        assert_eq!(line.begun, "");
    }
}
