//! Moving a run on: what follows from the states of its jobs, written down by compare-and-set.
//!
//! Safe to call at any time and from several servers at once: whoever loses a race looks again.

use std::collections::BTreeMap;

use keyferry_domain::audit::Target;
use keyferry_domain::id::{JobId, OrganizationId, RunId};
use keyferry_domain::run::{JobState, RunState, StepState};
use keyferry_domain::{Actor, Error, Result};
use keyferry_pipeline::machine::{self, Change, SkipReason};
use keyferry_pipeline::{JobKey, RunPlan, StagePlan};
use keyferry_store::jobs::JobRecord;
use keyferry_store::runs::RunRecord;
use keyferry_store::{StoreError, jobs, runs, steps};

use super::unreadable::{read_plan, unreadable};
use crate::Broker;
use crate::audit::Event;
use crate::failure::store_failed;

/// Rounds after which something is wrong: every round moves at least one job.
const ROUNDS: usize = 1_000;

/// A run with the latest attempt of each of its jobs, and which were tried before those.
pub(super) struct Progress {
    pub(super) run: RunRecord,
    pub(super) plan: RunPlan,
    pub(super) jobs: BTreeMap<JobKey, JobRecord>,
    pub(super) earlier: Vec<JobId>,
}

impl Progress {
    pub(super) fn states(&self) -> machine::States {
        self.jobs.iter().map(|(key, job)| (key.clone(), job.state)).collect()
    }
}

impl Broker {
    /// Reads a run as the state machine needs it; the inner error tells why the run cannot go on.
    pub(super) async fn progress(
        &self,
        organization: &OrganizationId,
        id: &RunId,
    ) -> Result<Result<Progress>> {
        let run = runs::find(&self.store, organization, id)
            .await
            .map_err(store_failed)?
            .ok_or_else(|| Error::not_found(format!("run `{id}`")))?;
        let records = match jobs::list_by_run(&self.store, organization, id).await {
            Ok(records) => records,
            Err(error @ StoreError::Corrupt { .. }) => {
                return Ok(Err(unreadable("one of its jobs", error)));
            }
            Err(error) => return Err(store_failed(error)),
        };
        let mut plan = RunPlan { stages: Vec::new(), jobs: Vec::new() };
        let mut latest = BTreeMap::new();
        let mut earlier = Vec::new();
        for record in records {
            let job = match read_plan(&record) {
                Ok(job) => job,
                Err(error) => return Ok(Err(error)),
            };
            let key = job.id.clone();
            if let Some(before) = latest.insert(key.clone(), record) {
                earlier.push(before.id);
            } else {
                match plan.stages.iter_mut().find(|stage| stage.id == job.stage) {
                    Some(stage) => stage.jobs.push(key),
                    None => plan.stages.push(StagePlan {
                        id: job.stage.clone(),
                        name: job.stage.clone(),
                        jobs: vec![key],
                    }),
                }
                plan.jobs.push(job);
            }
        }
        Ok(Ok(Progress { run, plan, jobs: latest, earlier }))
    }

    /// Does everything that follows from the present states of a run's jobs.
    pub(crate) async fn advance_run(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &RunId,
    ) -> Result<()> {
        for _ in 0..ROUNDS {
            let progress = match self.progress(organization, id).await? {
                Ok(progress) => progress,
                Err(why) if self.give_up_run(actor, organization, id, &why).await? => return Ok(()),
                Err(_) => continue,
            };
            if progress.run.state.is_over() {
                return Ok(());
            }
            let is_canceled = progress.run.cancel_requested_at.is_some();
            let changes =
                machine::advance(&progress.plan, &progress.states(), is_canceled, self.clock.now());
            let mut has_moved = false;
            for change in changes {
                if let Some(job) = progress.jobs.get(change.job()) {
                    has_moved |= self.apply(actor, &progress.run, job.clone(), &change).await?;
                }
            }
            // The states have changed, so more may follow; when nothing does, the run is told.
            if !has_moved && self.settle_run(actor, &progress, is_canceled).await? {
                return Ok(());
            }
        }
        Err(Error::internal("a run that does not come to rest"))
    }

    /// Writes one change of a job; tells whether anything moved.
    async fn apply(
        &self,
        actor: &Actor,
        run: &RunRecord,
        mut job: JobRecord,
        change: &Change,
    ) -> Result<bool> {
        let now = self.clock.now();
        let mut refusal = None;
        match change {
            // Its runner hears of it with the next heartbeat.
            Change::Stop(_) | Change::Reset(_) => return Ok(false),
            Change::Queue(_) => {
                refusal = self.find_refusal(run, &job).await?;
                if refusal.is_none() {
                    job.state = JobState::Queued;
                    job.queued_at = Some(now);
                } else {
                    job.state = JobState::Failed;
                    job.reason.clone_from(&refusal);
                }
            }
            Change::Skip(_, reason) => {
                job.state = JobState::Skipped;
                job.reason = Some(skipped_because(*reason).to_owned());
            }
            Change::Cancel(_) => {
                job.state = JobState::Canceled;
                job.reason = Some("the run was canceled".to_owned());
            }
        }
        if job.state.is_over() {
            job.finished_at = Some(now);
        }
        let event = refusal.map(|refusal| {
            Event::refused("job.queue", Target::new("job", &job.id), &refusal).with("run", &run.id)
        });
        if !self.store_change(actor, &job, event).await? {
            // Somebody else moved it; the next round sees how.
            return Ok(true);
        }
        if job.state.is_over() {
            self.jobs.ring_logs();
        } else {
            self.jobs.ring_jobs();
        }
        Ok(true)
    }

    /// Writes a job, and with one that will not run its steps; `false` when somebody else has
    /// changed it. A refusal is written down; else the job moves as its run's event has told.
    async fn store_change(
        &self,
        actor: &Actor,
        job: &JobRecord,
        refusal: Option<Event>,
    ) -> Result<bool> {
        let mut change = self.store.begin().await.map_err(store_failed)?;
        match jobs::update(&mut change, job).await {
            Ok(_) => {}
            Err(StoreError::Stale { .. }) => return Ok(false),
            Err(error) => return Err(store_failed(error)),
        }
        if let (true, Some(now)) = (job.state.is_over(), job.finished_at) {
            let organization = &job.organization_id;
            let why = job.reason.as_deref().unwrap_or_default();
            steps::end_open(&mut change, organization, &job.id, StepState::Canceled, why, now)
                .await
                .map_err(store_failed)?;
        }
        let events = refusal.into_iter().map(|event| (Some(&job.organization_id), event));
        self.commit_all(change, actor, events.collect()).await?;
        Ok(true)
    }

    /// Tells why a job that is about to be queued would be refused a connection that it names: it
    /// fails now, before anything runs and before any credential moves.
    async fn find_refusal(&self, run: &RunRecord, job: &JobRecord) -> Result<Option<String>> {
        match self.job_context(&run.organization_id, &run.id, &job.id).await {
            Ok(context) => Ok(context.first_refusal()),
            // Somebody else has moved it on; the compare-and-set sees to that.
            Err(error) if error.code() == "job_over" => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes the run's own state; `false` when it has to be looked at again.
    async fn settle_run(
        &self,
        actor: &Actor,
        progress: &Progress,
        is_canceled: bool,
    ) -> Result<bool> {
        let state = machine::run_state(&progress.plan, &progress.states(), is_canceled);
        let mut run = progress.run.clone();
        if state == run.state {
            return Ok(true);
        }
        let now = self.clock.now();
        run.state = state;
        if state != RunState::Queued && run.started_at.is_none() {
            run.started_at = Some(now);
        }
        if state.is_over() {
            run.finished_at = Some(now);
            run.reason = reason_of(&progress.plan, &progress.jobs, state);
        }
        let mut change = self.store.begin().await.map_err(store_failed)?;
        match runs::update(&mut change, &run).await {
            Ok(_) => {}
            Err(StoreError::Stale { .. }) => return Ok(false),
            Err(error) => return Err(store_failed(error)),
        }
        let event = state
            .is_over()
            .then(|| Event::done("run.finish", Target::new("run", &run.id)).with("state", state));
        let events = event.into_iter().map(|event| (Some(&run.organization_id), event));
        self.commit_all(change, actor, events.collect()).await?;
        self.jobs.ring_logs();
        Ok(true)
    }

    /// Moves every open run on: after a crash, and where time itself is a condition. Called by the
    /// server's loop.
    pub async fn sweep_runs(&self, actor: &Actor) -> Result<()> {
        // A job that cannot be read must not keep its run open: that is found below.
        if let Err(error) = self.fail_lost_jobs(actor).await {
            tracing::error!(?error, "end lost jobs");
        }
        let mut after = None;
        loop {
            let open =
                runs::list_open(&self.store, after.as_ref(), 200).await.map_err(store_failed)?;
            let Some(last) = open.last() else { return Ok(()) };
            after = Some(last.id.clone());
            for run in &open {
                // One that cannot go on must not keep the others.
                if let Err(error) = self.end_overdue_jobs(actor, run).await {
                    tracing::error!(?error, run = %run.id, "end overdue jobs");
                }
                let moved = self.advance_run(actor, &run.organization_id, &run.id).await;
                if let Err(error) = moved {
                    tracing::error!(?error, run = %run.id, "move a run on");
                }
            }
        }
    }
}

const fn skipped_because(reason: SkipReason) -> &'static str {
    match reason {
        SkipReason::Condition => "its condition was not met",
        SkipReason::Dependency => "something that it waits for did not succeed",
    }
}

/// Returns why a run ended as it did: the first job of the text that ended the same way.
fn reason_of(
    plan: &RunPlan,
    jobs: &BTreeMap<JobKey, JobRecord>,
    state: RunState,
) -> Option<String> {
    let wanted = match state {
        RunState::Failed => JobState::Failed,
        RunState::Canceled => JobState::Canceled,
        _ => return None,
    };
    plan.jobs
        .iter()
        .filter_map(|job| jobs.get(&job.id))
        .filter(|job| job.state == wanted)
        .find_map(|job| job.reason.as_ref().map(|reason| format!("{}: {reason}", job.key)))
}
