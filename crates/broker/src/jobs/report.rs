//! What a runner says about a job while it runs. The caller is the job itself, by its token; its
//! log is in `log`, its end in `finish`.

use std::collections::BTreeMap;

use keyferry_domain::actor::Identity;
use keyferry_domain::audit::Target;
use keyferry_domain::run::{JobState, StepState};
use keyferry_domain::{Actor, Error, Result, Timestamp};
use keyferry_store::jobs::JobRecord;
use keyferry_store::{jobs, runs, steps};

use super::{HEARTBEAT_LIMIT, short};
use crate::Broker;
use crate::audit::Event;
use crate::failure::store_failed;
use crate::runs::read_plan;

/// The answer to a sign of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alive {
    /// Whether the job is to be stopped.
    pub is_cancel_requested: bool,
    /// When the job counts as lost if nothing is heard of it.
    pub due_at: Timestamp,
}

impl Broker {
    /// Notes that a job is alive, and how often it used each connection.
    pub async fn heartbeat(&self, actor: &Actor, uses: BTreeMap<String, u64>) -> Result<Alive> {
        let job = self.own_job(actor).await?;
        let runner = job.runner_id.as_ref().ok_or_else(job_over)?;
        let now = self.clock.now();
        let due_at = now.plus(HEARTBEAT_LIMIT);
        let uses = uses_of(&job, uses)?;
        let is_alive =
            jobs::heartbeat(&self.store, &job.organization_id, &job.id, runner, now, due_at, &uses)
                .await
                .map_err(store_failed)?;
        if !is_alive {
            return Err(job_over());
        }
        let run = runs::find(&self.store, &job.organization_id, &job.run_id)
            .await
            .map_err(store_failed)?
            .ok_or_else(|| Error::internal("a job without a run"))?;
        Ok(Alive { is_cancel_requested: run.cancel_requested_at.is_some(), due_at })
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
        if state == StepState::Waiting {
            return Err(Error::invalid_field("/state", "is not a state that a step comes to"));
        }
        let mut step = steps::find(&self.store, &job.organization_id, &job.id, key)
            .await
            .map_err(store_failed)?
            .ok_or_else(|| Error::not_found("such step in this job"))?;
        if step.state == state {
            return Ok(());
        }
        if !matches!(step.state, StepState::Waiting | StepState::Running) {
            return Err(Error::conflict(
                "step_over",
                format!("the step is {} and cannot become {state}", step.state),
            ));
        }
        let now = self.clock.now();
        step.state = state;
        step.reason = reason.map(short);
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
            let reason = "only a running job reports about itself";
            let event = Event::refused("job.report", Target::new("job", "own"), reason);
            self.record(actor, None, event).await?;
            return Err(Error::denied("not_a_job", reason)
                .hint("send the token that came with the claimed job"));
        };
        jobs::find(&self.store, organization, job)
            .await
            .map_err(store_failed)?
            .filter(|job| job.state == JobState::Running)
            .ok_or_else(job_over)
    }
}

/// Takes the counts of the connections that the job names; a runner has no others to tell of.
pub(super) fn uses_of(
    job: &JobRecord,
    uses: BTreeMap<String, u64>,
) -> Result<BTreeMap<String, u64>> {
    let plan = read_plan(job)?;
    let is_named = |id: &str| plan.connections.iter().any(|known| known.id.as_str() == id);
    Ok(uses.into_iter().filter(|(id, _)| is_named(id)).collect())
}

pub(super) fn job_over() -> Error {
    Error::conflict("job_over", "the job is over; nothing more is taken from it")
}
