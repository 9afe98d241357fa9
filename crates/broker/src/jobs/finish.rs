//! The end of a job: reported by its runner, or found when the runner was lost.

use std::collections::BTreeMap;

use keyferry_domain::audit::Target;
use keyferry_domain::run::{JobState, StepState};
use keyferry_domain::{Actor, Error, Result};
use keyferry_store::jobs::JobRecord;
use keyferry_store::{StoreError, jobs, runs, steps};

use super::report::{job_over, uses_of};
use super::{HEARTBEAT_LIMIT, short};
use crate::Broker;
use crate::audit::Event;
use crate::failure::store_failed;
use crate::leases::{EndedLeases, LeasesOf};

/// Lost jobs that are ended in one go.
const BATCH: u32 = 100;

/// How a job ends.
pub(super) struct End {
    state: JobState,
    reason: Option<String>,
    /// The refusal that ends it, which is recorded with it.
    refusal: Option<Event>,
    /// Whether it ends because nothing was heard of it. Then a sign of life that comes before the
    /// end is written keeps it alive.
    is_lost: bool,
}

impl End {
    fn lost(state: JobState, reason: String) -> Self {
        Self { state, reason: Some(reason), refusal: None, is_lost: true }
    }

    /// It fails, because it is refused what it needs.
    pub(super) fn refused(refusal: Event, reason: String) -> Self {
        let (state, reason) = (JobState::Failed, Some(reason));
        Self { state, reason, refusal: Some(refusal), is_lost: false }
    }
}

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
        job.uses = uses_of(&job, uses)?;
        let mut reason = reason.map(short);
        if state == JobState::Failed {
            reason = self.reason_with_rejections(actor, &job, reason).await;
        }
        if self.end_job(actor, job, state, reason).await? { Ok(()) } else { Err(job_over()) }
    }

    /// Fails the jobs whose runner was not heard of in time. A server that was away could not hear
    /// anyone, so runners have the whole limit again after its start.
    pub(crate) async fn fail_lost_jobs(&self, actor: &Actor) -> Result<()> {
        let now = self.clock.now();
        if now.since(self.reports.listening_since()) < HEARTBEAT_LIMIT {
            return Ok(());
        }
        let lost = jobs::jobs_with_missed_heartbeat(&self.store, now, BATCH)
            .await
            .map_err(store_failed)?;
        for job in lost {
            let id = job.id.clone();
            // One that cannot be ended must not keep the others.
            if let Err(error) = self.fail_lost_job(actor, job).await {
                tracing::error!(?error, job = %id, "end a lost job");
            }
        }
        Ok(())
    }

    async fn fail_lost_job(&self, actor: &Actor, job: JobRecord) -> Result<()> {
        let run = runs::find(&self.store, &job.organization_id, &job.run_id)
            .await
            .map_err(store_failed)?;
        if run.is_some_and(|run| run.cancel_requested_at.is_some()) {
            let reason = "the run was canceled, and nothing was heard of its runner since";
            let end = End::lost(JobState::Canceled, reason.to_owned());
            return self.end_job_with(actor, job, end).await.map(drop);
        }
        if self.take_back_claim(actor, &job).await? {
            return Ok(());
        }
        let lost = "its runner was lost: nothing was heard of it in time";
        let reason = match job.lost_claims {
            before if before > 0 && job.heard_at.is_none() => {
                format!("{lost}, nor of those before it: the job was claimed {} times", before + 1)
            }
            _ => lost.to_owned(),
        };
        self.end_job_with(actor, job, End::lost(JobState::Failed, reason)).await.map(drop)
    }

    /// Ends a running job; `false` when somebody else did at the same moment. The job and its
    /// leases end together, so that a crash leaves no lease of a job that is over.
    pub(crate) async fn end_job(
        &self,
        actor: &Actor,
        job: JobRecord,
        state: JobState,
        reason: Option<String>,
    ) -> Result<bool> {
        let end = End { state, reason, refusal: None, is_lost: false };
        self.end_job_with(actor, job, end).await
    }

    /// Like [`Self::end_job`], with what else there is to say of the end.
    pub(super) async fn end_job_with(
        &self,
        actor: &Actor,
        mut job: JobRecord,
        end: End,
    ) -> Result<bool> {
        let End { state, reason, refusal, is_lost } = end;
        let now = self.clock.now();
        job.state = state;
        job.reason = reason;
        job.finished_at = Some(now);
        job.heartbeat_due_at = None;
        job.token_hash = None;
        let organization = &job.organization_id;
        let open = match state {
            JobState::Succeeded => StepState::Succeeded,
            JobState::Canceled => StepState::Canceled,
            _ => StepState::Failed,
        };
        let why = job.reason.as_deref().unwrap_or("the job ended");
        let mut change = self.store.begin().await.map_err(store_failed)?;
        let written = if is_lost {
            jobs::update_silent(&mut change, &job, now).await
        } else {
            jobs::update(&mut change, &job).await
        };
        match written {
            Ok(_) => {}
            Err(StoreError::Stale { .. }) => return Ok(false),
            Err(error) => return Err(store_failed(error)),
        }
        let of = LeasesOf::Holder(job.id.to_string());
        let ended = EndedLeases::within(&mut change, organization, of, now).await?;
        steps::end_open(&mut change, organization, &job.id, open, why, now)
            .await
            .map_err(store_failed)?;
        let mut event = Event::done("job.finish", Target::new("job", &job.id))
            .with("run", &job.run_id)
            .with("state", state);
        if let Some(isolation) = job.isolation {
            event = event.with("isolation", isolation);
        }
        let events = refusal.into_iter().chain([event]).map(|event| (Some(organization), event));
        self.commit_ends(change, actor, events.collect(), &[ended]).await?;
        self.reports.forget(&job.id).await;
        self.jobs.ring_logs();
        self.advance_run(actor, organization, &job.run_id).await?;
        Ok(true)
    }
}
