//! Steps of jobs, as the runner reports them.

use keyferry_domain::Timestamp;
use keyferry_domain::id::{JobId, OrganizationId};
use keyferry_domain::run::StepState;

use crate::database::On;
use crate::error::Result;
use crate::record::record;
use crate::row::params;

record! {
    /// One step of a job.
    pub struct StepRecord in "steps" as "step" {
        /// The organization.
        key organization_id: OrganizationId,
        /// The job.
        key job_id: JobId,
        /// Its key in the job.
        key key: String,
        /// Its place in the job, from 0.
        fix position: i64,
        /// Its name.
        fix name: String,
        /// Where it stands.
        set state: StepState,
        /// Why it failed, for a person.
        set reason: Option<String>,
        /// When it started.
        set started_at: Option<Timestamp>,
        /// When it was over.
        set finished_at: Option<Timestamp>,
        /// Counts changes, from 1.
        fix version: i64,
    }
}

/// Adds a step.
pub async fn create(on: impl Into<On<'_>>, record: &StepRecord) -> Result<()> {
    on.into().insert(record).await
}

/// Finds a step.
pub async fn find(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    job: &JobId,
    key: &str,
) -> Result<Option<StepRecord>> {
    on.into()
        .select_one(
            "WHERE organization_id = $1 AND job_id = $2 AND key = $3",
            params![organization, job, key],
        )
        .await
}

/// Lists the steps of a job in their order.
pub async fn list_by_job(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    job: &JobId,
) -> Result<Vec<StepRecord>> {
    on.into()
        .select(
            "WHERE organization_id = $1 AND job_id = $2 ORDER BY position",
            params![organization, job],
        )
        .await
}

/// Changes a step; returns the new version.
pub async fn update(on: impl Into<On<'_>>, record: &StepRecord) -> Result<i64> {
    on.into().save(record).await
}

/// Ends every step of a job that is not over: running ones as `running`, waiting ones as
/// skipped. For jobs whose runner cannot report any more.
pub async fn end_open(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    job: &JobId,
    running: StepState,
    reason: &str,
    now: Timestamp,
) -> Result<u64> {
    let sql = "UPDATE steps SET \
               reason = CASE WHEN state = 'running' THEN $4 ELSE reason END, \
               state = CASE WHEN state = 'running' THEN $3 ELSE 'skipped' END, \
               finished_at = $5, version = version + 1 \
               WHERE organization_id = $1 AND job_id = $2 AND state IN ('waiting', 'running')";
    let params = params![organization, job, running, reason, now];
    on.into().execute(sql.to_owned(), params).await
}
