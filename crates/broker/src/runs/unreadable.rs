//! Jobs whose plan cannot be read: another version has stored it, or the database was damaged. The
//! error of reading it would come again with every look, so their run ends, and says why.

use keyferry_domain::audit::Target;
use keyferry_domain::id::{OrganizationId, RunId};
use keyferry_domain::run::{JobState, RunState, StepState};
use keyferry_domain::{Actor, Error, Result};
use keyferry_pipeline::JobPlan;
use keyferry_store::jobs::JobRecord;
use keyferry_store::{StoreError, jobs, runs, steps};

use crate::Broker;
use crate::audit::Event;
use crate::failure::store_failed;
use crate::leases::{EndedLeases, LeasesOf};

/// Reads what a job is to do.
pub(crate) fn read_plan(job: &JobRecord) -> Result<JobPlan> {
    serde_json::from_value(job.plan.clone())
        .map_err(|error| unreadable(&format!("job `{}`", job.key), error))
}

/// The error of a run of which `what` cannot be read.
pub(super) fn unreadable(what: &str, cause: impl std::fmt::Display) -> Error {
    Error::conflict("plan_unreadable", format!("what {what} is to do cannot be read"))
        .hint("start a new run")
        .caused_by(cause.to_string())
}

impl Broker {
    /// Ends a run that cannot go on, with every job of it that is not over and their leases; `false`
    /// when it has to be looked at again.
    pub(super) async fn give_up_run(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &RunId,
        why: &Error,
    ) -> Result<bool> {
        let now = self.clock.now();
        let mut change = self.store.begin().await.map_err(store_failed)?;
        let mut run = runs::find(&mut change, organization, id)
            .await
            .map_err(store_failed)?
            .ok_or_else(|| Error::not_found(format!("run `{id}`")))?;
        if run.state.is_over() {
            return Ok(true);
        }
        tracing::error!(error = ?why, run = %id, "a run cannot go on");
        let reason =
            format!("{}; {}", why.message(), why.details().hint.as_deref().unwrap_or_default());
        run.state = RunState::Failed;
        run.started_at = run.started_at.or(Some(now));
        run.finished_at = Some(now);
        run.reason = Some(reason.clone());
        match runs::update(&mut change, &run).await {
            Ok(_) => {}
            Err(StoreError::Stale { .. }) => return Ok(false),
            Err(error) => return Err(store_failed(error)),
        }
        let state = JobState::Failed;
        let ids = jobs::end_open(&mut change, organization, id, state, &reason, now)
            .await
            .map_err(store_failed)?;
        let (mut ended, mut events) = (Vec::new(), Vec::new());
        for job in &ids {
            let of = LeasesOf::Holder(job.to_string());
            ended.push(EndedLeases::within(&mut change, organization, of, now).await?);
            steps::end_open(&mut change, organization, job, StepState::Failed, &reason, now)
                .await
                .map_err(store_failed)?;
            let event = Event::done("job.finish", Target::new("job", job));
            events.push((Some(organization), event.with("run", id).with("state", state)));
        }
        let event = Event::done("run.finish", Target::new("run", id)).with("state", run.state);
        events.push((Some(organization), event));
        self.commit_ends(change, actor, events, &ended).await?;
        for job in &ids {
            self.reports.forget(job).await;
        }
        self.jobs.ring_logs();
        Ok(true)
    }
}
