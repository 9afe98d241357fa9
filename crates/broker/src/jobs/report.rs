//! What a runner says about a job while it runs. The caller is the job itself, by its token.

use std::collections::BTreeMap;

use keyferry_domain::actor::Identity;
use keyferry_domain::run::{JobState, StepState};
use keyferry_domain::{Actor, Error, Result, Timestamp};
use keyferry_store::jobs::JobRecord;
use keyferry_store::run_logs::LogChunkRecord;
use keyferry_store::{jobs, run_logs, runs, steps};

use super::HEARTBEAT_LIMIT;
use crate::Broker;
use crate::failure::store_failed;

/// The longest part of a log that is taken.
const PART_BYTES: usize = 256 * 1024;

/// Parts of one job's log at most.
const PARTS: i64 = 100_000;

impl Broker {
    /// Notes that a job is alive, and how often it used each connection; tells whether it is to be
    /// stopped, and until when the next sign of life is due.
    pub async fn heartbeat(
        &self,
        actor: &Actor,
        uses: &BTreeMap<String, u64>,
    ) -> Result<(bool, Timestamp)> {
        let job = self.own_job(actor).await?;
        let runner = job.runner_id.as_ref().ok_or_else(job_over)?;
        let due_at = self.clock.now().plus(HEARTBEAT_LIMIT);
        let is_alive =
            jobs::heartbeat(&self.store, &job.organization_id, &job.id, runner, due_at, uses)
                .await
                .map_err(store_failed)?;
        if !is_alive {
            return Err(job_over());
        }
        let run = runs::find(&self.store, &job.organization_id, &job.run_id)
            .await
            .map_err(store_failed)?;
        Ok((run.is_none_or(|run| run.cancel_requested_at.is_some()), due_at))
    }

    /// Adds a part to the job's log; the same part again changes nothing.
    pub async fn append_log(&self, actor: &Actor, sequence: i64, text: &str) -> Result<()> {
        let job = self.own_job(actor).await?;
        if text.len() > PART_BYTES {
            return Err(Error::invalid_field("/text", format!("is longer than {PART_BYTES} bytes")));
        }
        if !(1..=PARTS).contains(&sequence) {
            return Err(Error::invalid_field("/sequence", format!("is not between 1 and {PARTS}")));
        }
        if sequence > 1 {
            let before =
                run_logs::read(&self.store, &job.organization_id, &job.id, sequence - 2, 1)
                    .await
                    .map_err(store_failed)?;
            if before.first().is_none_or(|chunk| chunk.sequence != sequence - 1) {
                return Err(Error::conflict("log_gap", "the part before this one is missing")
                    .hint("send the parts in order"));
            }
        }
        let chunk = LogChunkRecord {
            organization_id: job.organization_id,
            job_id: job.id,
            sequence,
            text: text.to_owned(),
            at: self.clock.now(),
        };
        run_logs::append(&self.store, &chunk).await.map_err(store_failed)?;
        self.jobs.ring_logs();
        Ok(())
    }

    /// Notes where a step stands. A step that is over stays so.
    pub async fn update_step(
        &self,
        actor: &Actor,
        key: &str,
        state: StepState,
        reason: Option<&str>,
    ) -> Result<()> {
        let job = self.own_job(actor).await?;
        let mut step = steps::find(&self.store, &job.organization_id, &job.id, key)
            .await
            .map_err(store_failed)?
            .ok_or_else(|| Error::not_found(format!("step `{key}` in this job")))?;
        let is_over = !matches!(step.state, StepState::Waiting | StepState::Running);
        if step.state == state {
            return Ok(());
        }
        if is_over || state == StepState::Waiting {
            return Err(Error::conflict(
                "step_over",
                format!("the step is {} and cannot become {state}", step.state),
            ));
        }
        let now = self.clock.now();
        step.state = state;
        step.reason = reason.map(|reason| reason.chars().take(2_000).collect());
        if step.started_at.is_none() && state != StepState::Skipped {
            step.started_at = Some(now);
        }
        if state != StepState::Running {
            step.finished_at = Some(now);
        }
        steps::update(&self.store, &step).await.map_err(store_failed)?;
        self.jobs.ring_logs();
        Ok(())
    }

    /// Returns the calling job while it runs.
    pub(super) async fn own_job(&self, actor: &Actor) -> Result<JobRecord> {
        let Identity::Job { organization, job, .. } = &actor.identity else {
            return Err(Error::denied("not_a_job", "only a running job reports about itself"));
        };
        jobs::find(&self.store, organization, job)
            .await
            .map_err(store_failed)?
            .filter(|job| job.state == JobState::Running)
            .ok_or_else(job_over)
    }
}

pub(super) fn job_over() -> Error {
    Error::conflict("job_over", "the job is over; nothing more is taken from it")
}
