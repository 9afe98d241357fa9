//! Canceling a run, and trying a job again.

use keyferry_domain::audit::Target;
use keyferry_domain::id::{JobId, OrganizationId, PipelineId, RunId};
use keyferry_domain::page::PageRequest;
use keyferry_domain::run::RunState;
use keyferry_domain::{Actor, Error, Result};
use keyferry_pipeline::machine::{self, RetryError};
use keyferry_policy::Action;
use keyferry_store::runs;

use super::{RunDetails, RunFilter};
use crate::Broker;
use crate::audit::Event;
use crate::failure::store_failed;

impl Broker {
    /// Cancels a run: nothing more starts, and what runs is stopped. Again changes nothing.
    pub async fn cancel_run(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &RunId,
    ) -> Result<RunDetails> {
        self.allow_run(actor, organization, id, Action::RunCancel).await?;
        self.cancel_one_run(actor, organization, id).await?;
        self.run_details(organization, id).await
    }

    /// Cancels the open runs of a pipeline that was deleted.
    pub(crate) async fn cancel_runs_of_pipeline(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        pipeline: &PipelineId,
    ) -> Result<()> {
        for state in [RunState::Queued, RunState::Running] {
            let filter = RunFilter { pipeline: Some(pipeline.clone()), state: Some(state) };
            let mut request = PageRequest::default();
            loop {
                let page = runs::list(&self.store, organization, &filter, &request)
                    .await
                    .map_err(store_failed)?;
                for run in page.items {
                    self.cancel_one_run(actor, organization, &run.id).await?;
                }
                let Some(cursor) = page.next_cursor else { break };
                request.cursor = Some(cursor);
            }
        }
        Ok(())
    }

    async fn cancel_one_run(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &RunId,
    ) -> Result<()> {
        let by = actor.to_ref().id.unwrap_or_default();
        let now = self.clock.now();
        let mut change = self.store.begin().await.map_err(store_failed)?;
        let asked = runs::request_cancel(&mut change, organization, id, &by, now)
            .await
            .map_err(store_failed)?;
        if asked.is_some() {
            let event = Event::done("run.cancel", Target::new("run", id));
            self.commit(change, actor, Some(organization), event).await?;
            self.advance_run(actor, organization, id).await?;
        }
        Ok(())
    }

    /// Tries a job again that failed or was canceled, and everything after it that did not run.
    pub async fn retry_job(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &RunId,
        job: &JobId,
    ) -> Result<RunDetails> {
        self.allow_run(actor, organization, id, Action::RunRetry).await?;
        let progress = self.progress(organization, id).await??;
        if !progress.run.state.is_over() {
            return Err(Error::conflict("run_not_over", "the run is still going on")
                .hint("wait until it is over, or cancel it"));
        }
        if progress.earlier.contains(job) {
            return Err(Error::conflict("job_tried_again", "the job was tried again already")
                .hint("look at the run, and try its latest attempt again where that failed too"));
        }
        let (key, _) = progress
            .jobs
            .iter()
            .find(|(_, record)| record.id == *job)
            .ok_or_else(|| Error::not_found(format!("job `{job}` in this run")))?;
        let changes = machine::retry(&progress.plan, &progress.states(), key).map_err(|error| {
            match error {
                RetryError::NotFound { .. } => Error::not_found(format!("job `{job}`")),
                RetryError::NotOver { state, .. } => Error::conflict(
                    "job_not_failed",
                    format!(
                        "the job is {state}; only one that failed or was canceled is tried again"
                    ),
                ),
            }
        })?;
        let now = self.clock.now();
        let mut run = progress.run;
        run.state = RunState::Queued;
        run.reason = None;
        run.finished_at = None;
        let mut change = self.store.begin().await.map_err(store_failed)?;
        runs::reopen(&mut change, &run).await.map_err(store_failed)?;
        for (position, plan) in progress.plan.jobs.iter().enumerate() {
            if changes.iter().any(|change| change.job() == &plan.id) {
                let attempt = progress.jobs.get(&plan.id).map_or(1, |before| before.attempt + 1);
                self.add_job(&mut change, &run, position, plan, attempt, now).await?;
            }
        }
        let event = Event::done("job.retry", Target::new("job", job)).with("run", id);
        self.commit(change, actor, Some(organization), event).await?;
        self.advance_run(actor, organization, id).await?;
        self.run_details(organization, id).await
    }
}
