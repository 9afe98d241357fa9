//! Jobs that their runner should have stopped and has not: the server does not depend on it.
//!
//! A runner that is compromised or broken could go on for ever, with a job token that works.

use std::time::Duration;

use keyferry_domain::run::JobState;
use keyferry_domain::{Actor, Result, Timestamp};
use keyferry_store::jobs;
use keyferry_store::jobs::JobRecord;
use keyferry_store::runs::RunRecord;

use crate::Broker;
use crate::failure::store_failed;
use crate::runs::read_plan;

/// How long a runner has to stop a job, beyond what it gives the job's own processes.
const GRACE: Duration = Duration::from_mins(2);

impl Broker {
    /// Ends the running jobs of a run whose time is up, or that was canceled a while ago.
    pub(crate) async fn end_overdue_jobs(&self, actor: &Actor, run: &RunRecord) -> Result<()> {
        let now = self.clock.now();
        let all = jobs::list_by_run(&self.store, &run.organization_id, &run.id)
            .await
            .map_err(store_failed)?;
        for job in all.into_iter().filter(|job| job.state == JobState::Running) {
            if let Some((state, reason)) = overdue(run, &job, now)? {
                self.end_job(actor, job, state, Some(reason)).await?;
            }
        }
        Ok(())
    }
}

/// Tells why a running job must end now.
fn overdue(run: &RunRecord, job: &JobRecord, now: Timestamp) -> Result<Option<(JobState, String)>> {
    if run.cancel_requested_at.is_some_and(|asked| now.since(asked) > GRACE) {
        let reason = "the run was canceled, and its runner did not stop it in time";
        return Ok(Some((JobState::Canceled, reason.to_owned())));
    }
    let plan = read_plan(job)?;
    let allowed = Duration::from_mins(plan.timeout_minutes.into());
    if job.started_at.is_some_and(|started| now.since(started) > allowed + GRACE) {
        let minutes = plan.timeout_minutes;
        let reason =
            format!("it took longer than {minutes} minutes, and its runner did not stop it");
        return Ok(Some((JobState::Failed, reason)));
    }
    Ok(None)
}
