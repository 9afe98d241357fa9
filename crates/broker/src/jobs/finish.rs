//! The end of a job: reported by its runner, or found when the runner was lost.

use std::collections::BTreeMap;

use keyferry_domain::audit::Target;
use keyferry_domain::run::{JobState, StepState};
use keyferry_domain::{Actor, Error, Result};
use keyferry_store::jobs::JobRecord;
use keyferry_store::{StoreError, jobs, steps};

use super::report::job_over;
use crate::Broker;
use crate::audit::Event;
use crate::failure::store_failed;

impl Broker {
    /// Ends the calling job: its token stops working, its leases end, the run goes on.
    pub async fn finish_job(
        &self,
        actor: &Actor,
        state: JobState,
        reason: Option<&str>,
        uses: BTreeMap<String, u64>,
    ) -> Result<()> {
        if !matches!(state, JobState::Succeeded | JobState::Failed | JobState::Canceled) {
            return Err(Error::invalid_field("/state", "is not succeeded, failed or canceled"));
        }
        let mut job = self.own_job(actor).await?;
        job.uses = uses;
        let reason = reason.map(|reason| reason.chars().take(2_000).collect());
        if self.end_job(actor, job, state, reason).await? { Ok(()) } else { Err(job_over()) }
    }

    /// Fails the jobs whose runner was not heard of in time.
    pub(crate) async fn fail_lost_jobs(&self, actor: &Actor) -> Result<()> {
        let now = self.clock.now();
        let lost = jobs::jobs_with_missed_heartbeat(&self.store, now, 100)
            .await
            .map_err(store_failed)?;
        for job in lost {
            let reason = "its runner was lost: nothing was heard of it in time".to_owned();
            self.end_job(actor, job, JobState::Failed, Some(reason)).await?;
        }
        Ok(())
    }

    /// Ends a running job; `false` when somebody else did at the same moment. The job is over
    /// before its leases end, so that none is issued in between.
    async fn end_job(
        &self,
        actor: &Actor,
        mut job: JobRecord,
        state: JobState,
        reason: Option<String>,
    ) -> Result<bool> {
        let now = self.clock.now();
        job.state = state;
        job.reason = reason;
        job.finished_at = Some(now);
        job.heartbeat_due_at = None;
        match jobs::update(&self.store, &job).await {
            Ok(_) => {}
            Err(StoreError::Stale { .. }) => return Ok(false),
            Err(error) => return Err(store_failed(error)),
        }
        let organization = &job.organization_id;
        self.end_leases_of_holder(actor, organization, job.id.as_str()).await?;
        let open = if state == JobState::Canceled { StepState::Canceled } else { StepState::Failed };
        let why = job.reason.as_deref().unwrap_or("the job ended");
        steps::end_open(&self.store, organization, &job.id, open, why, now)
            .await
            .map_err(store_failed)?;
        let mut event = Event::done("job.finish", Target::new("job", &job.id))
            .with("run", &job.run_id)
            .with("state", state);
        if let Some(isolation) = job.isolation {
            event = event.with("isolation", isolation);
        }
        self.record(actor, Some(organization), event).await?;
        self.advance_run(actor, organization, &job.run_id).await?;
        self.jobs.ring_logs();
        Ok(true)
    }
}
