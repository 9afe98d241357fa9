//! Which job is next: the state machine of a run.
//!
//! A function from plan and states to changes, called after every change of a job. It keeps nothing
//! itself; the broker stores the states by compare-and-set and calls again when it lost.

use std::collections::{BTreeMap, BTreeSet};

use keyferry_domain::Timestamp;
use keyferry_domain::run::{JobState, RunState};

use crate::condition::{Condition, Facts};
use crate::definition::JobKey;
use crate::plan::{JobPlan, RunPlan};

/// The state of each job. A job that is missing waits.
pub type States = BTreeMap<JobKey, JobState>;

/// What is to be done with one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It is ready for a runner.
    Queue(JobKey),
    /// It will not run in this run.
    Skip(JobKey, SkipReason),
    /// It never started and will not.
    Cancel(JobKey),
    /// It runs, and its runner must stop it; its state changes when the runner has.
    Stop(JobKey),
    /// It waits again, because it or a job before it is tried again.
    Reset(JobKey),
}

/// Why a job is skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkipReason {
    /// Its condition was not met.
    Condition,
    /// Something that it waited for did not succeed.
    Dependency,
}

impl Change {
    /// Returns the job.
    pub const fn job(&self) -> &JobKey {
        match self {
            Self::Queue(job)
            | Self::Skip(job, _)
            | Self::Cancel(job)
            | Self::Stop(job)
            | Self::Reset(job) => job,
        }
    }

    /// Returns the job's new state; `None` when it stays as it is until its runner reports.
    pub const fn new_state(&self) -> Option<JobState> {
        match self {
            Self::Queue(_) => Some(JobState::Queued),
            Self::Skip(..) => Some(JobState::Skipped),
            Self::Cancel(_) => Some(JobState::Canceled),
            Self::Stop(_) => None,
            Self::Reset(_) => Some(JobState::Waiting),
        }
    }
}

/// Returns everything that follows from the present states. Calling again with the changes applied
/// returns nothing but the same [`Change::Stop`]s.
///
/// When a cancel was asked for, nothing starts any more, not even what says `always()`.
pub fn advance(
    plan: &RunPlan,
    states: &States,
    is_cancel_requested: bool,
    now: Timestamp,
) -> Vec<Change> {
    if is_cancel_requested {
        return plan
            .jobs
            .iter()
            .filter_map(|job| cancel(&job.id, state(states, &job.id)))
            .collect();
    }
    let mut states = states.clone();
    let mut changes = Vec::new();
    // A skipped job may be what another one waits for; each round decides at least one job.
    loop {
        let round: Vec<Change> = plan
            .jobs
            .iter()
            .filter(|job| state(&states, &job.id) == JobState::Waiting)
            .filter_map(|job| decide(plan, job, &states, now))
            .collect();
        if round.is_empty() {
            return changes;
        }
        for change in round {
            if let Some(new) = change.new_state() {
                states.insert(change.job().clone(), new);
            }
            changes.push(change);
        }
    }
}

fn state(states: &States, job: &JobKey) -> JobState {
    states.get(job).copied().unwrap_or(JobState::Waiting)
}

fn cancel(job: &JobKey, state: JobState) -> Option<Change> {
    match state {
        JobState::Waiting | JobState::Queued => Some(Change::Cancel(job.clone())),
        JobState::Running => Some(Change::Stop(job.clone())),
        _ => None,
    }
}

/// Returns the jobs that must be over before this one: what it needs, and all earlier stages.
fn awaited(plan: &RunPlan, job: &JobPlan) -> BTreeSet<JobKey> {
    let earlier = plan.stages.iter().take_while(|stage| stage.id != job.stage);
    let mut awaited: BTreeSet<JobKey> = earlier.flat_map(|stage| stage.jobs.clone()).collect();
    let mut next: Vec<JobKey> = job.needs.clone();
    while let Some(key) = next.pop() {
        if awaited.insert(key.clone())
            && let Some(needed) = plan.find_job(&key)
        {
            next.extend(needed.needs.iter().cloned());
        }
    }
    awaited.remove(&job.id);
    awaited
}

fn decide(plan: &RunPlan, job: &JobPlan, states: &States, now: Timestamp) -> Option<Change> {
    let awaited = awaited(plan, job);
    if awaited.iter().any(|key| !state(states, key).is_over()) {
        return None;
    }
    let has_failed = awaited
        .iter()
        .any(|key| matches!(state(states, key), JobState::Failed | JobState::Canceled));
    let needs_succeeded = job.needs.iter().all(|key| state(states, key) == JobState::Succeeded);
    let has_succeeded = !has_failed && needs_succeeded;
    let Some(text) = job.condition.as_deref() else {
        return Some(if has_succeeded {
            Change::Queue(job.id.clone())
        } else {
            Change::Skip(job.id.clone(), SkipReason::Dependency)
        });
    };
    // What cannot be read was refused at save; a stored plan that is damaged runs nothing.
    let Ok(condition) = Condition::parse(text) else {
        return Some(Change::Skip(job.id.clone(), SkipReason::Condition));
    };
    let variable = |name: &str| find_variable(job, name);
    let facts = Facts { variable: &variable, has_succeeded, has_failed, now };
    Some(if condition.is_met(&facts) {
        Change::Queue(job.id.clone())
    } else if !has_succeeded && !condition.speaks_of_outcome() {
        Change::Skip(job.id.clone(), SkipReason::Dependency)
    } else {
        Change::Skip(job.id.clone(), SkipReason::Condition)
    })
}

/// Finds a variable, also those of sources that are known before anything is downloaded.
fn find_variable(job: &JobPlan, name: &str) -> Option<String> {
    if let Some(value) = job.variables.get(name) {
        return Some(value.clone());
    }
    let checked_out: Vec<crate::plan::CheckedOut> = job
        .sources
        .iter()
        .map(|source| crate::plan::CheckedOut {
            id: source.id.clone(),
            name: source.name.clone(),
            branch: source.branch.clone(),
            commit: String::new(),
            title: String::new(),
        })
        .collect();
    crate::plan::source_variables(&checked_out, job.workspace.as_deref()).remove(name)
}

/// Returns where the run stands.
pub fn run_state(plan: &RunPlan, states: &States, is_cancel_requested: bool) -> RunState {
    let all = || plan.jobs.iter().map(|job| state(states, &job.id));
    if !all().all(JobState::is_over) {
        let has_started = all().any(|state| !matches!(state, JobState::Waiting | JobState::Queued));
        return if has_started { RunState::Running } else { RunState::Queued };
    }
    let is_canceled = all().any(|state| state == JobState::Canceled);
    if is_canceled && is_cancel_requested {
        RunState::Canceled
    } else if all().any(|state| state == JobState::Failed) {
        RunState::Failed
    } else if is_canceled {
        RunState::Canceled
    } else {
        RunState::Succeeded
    }
}

/// The job cannot be tried again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RetryError {
    /// The run has no such job.
    #[error("find the job `{job}` in this run")]
    NotFound {
        /// What was asked for.
        job: JobKey,
    },
    /// Only a job that failed or was canceled is tried again.
    #[error("try the job `{job}` again; it is {state}")]
    NotOver {
        /// The job.
        job: JobKey,
        /// Where it stands.
        state: JobState,
    },
}

/// Tries a job again: it waits, and so does every job after it that did not succeed. Jobs that
/// succeeded stay as they are, also those that ran because of the failure. Whoever stores the run
/// takes back a cancel that was asked for, or nothing would start.
pub fn retry(plan: &RunPlan, states: &States, job: &JobKey) -> Result<Vec<Change>, RetryError> {
    if plan.find_job(job).is_none() {
        return Err(RetryError::NotFound { job: job.clone() });
    }
    let own = state(states, job);
    if !matches!(own, JobState::Failed | JobState::Canceled) {
        return Err(RetryError::NotOver { job: job.clone(), state: own });
    }
    let is_undone =
        |key: &JobKey| matches!(state(states, key), JobState::Skipped | JobState::Canceled);
    let after = plan
        .jobs
        .iter()
        .filter(|other| is_undone(&other.id) && awaited(plan, other).contains(job))
        .map(|other| Change::Reset(other.id.clone()));
    Ok(std::iter::once(Change::Reset(job.clone())).chain(after).collect())
}

#[cfg(test)]
mod tests;
