//! Jobs of runs: claimed by runners in one statement, watched by heartbeat.

use std::collections::BTreeMap;

use keyferry_domain::Timestamp;
use keyferry_domain::id::{JobId, OrganizationId, RunId, RunnerId};
use keyferry_domain::run::{Isolation, JobState};

use crate::database::On;
use crate::error::Result;
use crate::record::record;
use crate::row::params;

record! {
    /// One job of a run; another attempt is another job.
    pub struct JobRecord in "jobs" as "job" {
        /// The organization.
        key organization_id: OrganizationId,
        /// Its id.
        key id: JobId,
        /// The run.
        fix run_id: RunId,
        /// Its place in the run, from 0.
        fix position: i64,
        /// Its key in the pipeline.
        fix key: String,
        /// Its name.
        fix name: String,
        /// Its stage's key.
        fix stage: String,
        /// Counts attempts, from 1.
        fix attempt: i64,
        /// What is to be done, for the runner.
        set plan: serde_json::Value,
        /// Where it stands.
        set state: JobState,
        /// Why it failed, was canceled or skipped, for a person.
        set reason: Option<String>,
        /// How it was kept apart.
        set isolation: Option<Isolation>,
        /// The runner that has it.
        set runner_id: Option<RunnerId>,
        /// The hash of its token, while it runs.
        set token_hash: Option<String>,
        /// When its runner counts as lost; [`heartbeat`] moves it.
        set heartbeat_due_at: Option<Timestamp>,
        /// When the runner that has it was heard of first; [`heartbeat`] sets it.
        set heard_at: Option<Timestamp>,
        /// How many claims of it were taken back by [`requeue_unheard`].
        set lost_claims: i64,
        /// How often each connection's material was handed out.
        set uses: BTreeMap<String, u64>,
        /// When it was made.
        fix created_at: Timestamp,
        /// When it became ready.
        set queued_at: Option<Timestamp>,
        /// When a runner took it.
        set started_at: Option<Timestamp>,
        /// When it was over.
        set finished_at: Option<Timestamp>,
        /// Counts changes, from 1.
        fix version: i64,
    }
}

/// Adds a job.
pub async fn create(on: impl Into<On<'_>>, record: &JobRecord) -> Result<()> {
    on.into().insert(record).await
}

/// Finds a job.
pub async fn find(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    id: &JobId,
) -> Result<Option<JobRecord>> {
    on.into().select_one("WHERE organization_id = $1 AND id = $2", params![organization, id]).await
}

/// Finds a job by its id alone, for the server's own runner, which serves every organization.
pub async fn find_anywhere(on: impl Into<On<'_>>, id: &JobId) -> Result<Option<JobRecord>> {
    on.into().select_one("WHERE id = $1", params![id]).await
}

/// Finds a job by its token's hash, over all organizations, whatever its state; for
/// authentication.
pub async fn find_by_token(on: impl Into<On<'_>>, hash: &str) -> Result<Option<JobRecord>> {
    on.into().select_one("WHERE token_hash = $1", params![hash]).await
}

/// Lists the jobs of a run in their order, older attempts first.
pub async fn list_by_run(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    run: &RunId,
) -> Result<Vec<JobRecord>> {
    on.into()
        .select(
            "WHERE organization_id = $1 AND run_id = $2 ORDER BY position, attempt",
            params![organization, run],
        )
        .await
}

/// Lists the jobs that a runner has now.
pub async fn list_running_by_runner(
    on: impl Into<On<'_>>,
    runner: &RunnerId,
) -> Result<Vec<JobRecord>> {
    on.into()
        .select("WHERE state = 'running' AND runner_id = $1 ORDER BY id", params![runner])
        .await
}

/// Changes a job; returns the new version.
pub async fn update(on: impl Into<On<'_>>, record: &JobRecord) -> Result<i64> {
    on.into().save(record).await
}

/// Changes a running job whose runner has not been heard of in time, like [`update`]; with a sign
/// of life since it was read, the record is stale.
pub async fn update_silent(
    on: impl Into<On<'_>>,
    record: &JobRecord,
    now: Timestamp,
) -> Result<i64> {
    // A heartbeat is no change of the version, and what it moves is asked here.
    on.into().save_where(record, " AND heartbeat_due_at <= ?", params![now]).await
}

/// Ends every job of a run that is not over, whatever its plan is; returns which.
pub async fn end_open(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    run: &RunId,
    state: JobState,
    reason: &str,
    now: Timestamp,
) -> Result<Vec<JobId>> {
    let sql = "UPDATE jobs SET state = $3, reason = $4, finished_at = $5, \
               heartbeat_due_at = NULL, token_hash = NULL, version = version + 1 \
               WHERE organization_id = $1 AND run_id = $2 \
               AND state IN ('waiting', 'queued', 'running') RETURNING id";
    let params = params![organization, run, state, reason, now];
    let rows = on.into().change("jobs", sql.to_owned(), params).await?;
    rows.iter().map(|row| row.get("id")).collect()
}

/// What a runner brings to a claim.
#[derive(Debug, Clone)]
pub struct Claim {
    /// Who claims.
    pub runner: RunnerId,
    /// The one organization whose jobs it may have; `None` for the server's own runner.
    pub organization: Option<OrganizationId>,
    /// How it keeps jobs apart.
    pub isolation: Isolation,
    /// The hash of the token that the job gets.
    pub token_hash: String,
    /// Until when it must be heard of again.
    pub heartbeat_due_at: Timestamp,
}

/// How often a claim that lost a race looks again before it says that there is nothing.
const CLAIM_TRIES: u32 = 32;

/// Gives the runner the job that has been ready for longest: exactly one runner gets it.
pub async fn claim_job(
    on: impl Into<On<'_>>,
    claim: &Claim,
    now: Timestamp,
) -> Result<Option<JobRecord>> {
    let mut on = on.into();
    // The inner state check makes the choice, the outer one makes it safe: a second runner that
    // waited for the row finds it running. It has then lost a race, not seen an empty queue.
    let (chosen, queue) = match &claim.organization {
        Some(_) => (
            "(SELECT id FROM jobs WHERE state = 'queued' AND organization_id = $6 \
             ORDER BY queued_at, id LIMIT 1)",
            "WHERE state = 'queued' AND organization_id = $1 LIMIT 1",
        ),
        None => (
            "(SELECT id FROM jobs WHERE state = 'queued' ORDER BY queued_at, id LIMIT 1)",
            "WHERE state = 'queued' LIMIT 1",
        ),
    };
    let update = format!(
        "SET state = 'running', runner_id = $1, isolation = $2, token_hash = $3, \
         heartbeat_due_at = $4, heard_at = NULL, started_at = $5, version = version + 1 \
         WHERE state = 'queued' AND id = {chosen}"
    );
    for _ in 0..CLAIM_TRIES {
        let mut params =
            params![claim.runner, claim.isolation, claim.token_hash, claim.heartbeat_due_at, now];
        let mut of_queue = Vec::new();
        if let Some(organization) = &claim.organization {
            params.extend(params![organization]);
            of_queue.extend(params![organization]);
        }
        let mut jobs: Vec<JobRecord> = on.update_returning(&update, params).await?;
        if let Some(job) = jobs.pop() {
            return Ok(Some(job));
        }
        if on.select_one::<JobRecord>(queue, of_queue).await?.is_none() {
            return Ok(None);
        }
    }
    Ok(None)
}

/// Moves the moment at which the runner counts as lost, and puts in the runner's counts of uses;
/// `false` when the job is not this runner's, or not running any more. Does not count as a change.
pub async fn heartbeat(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    id: &JobId,
    runner: &RunnerId,
    now: Timestamp,
    due_at: Timestamp,
    uses: &BTreeMap<String, u64>,
) -> Result<bool> {
    let sql = "UPDATE jobs SET heartbeat_due_at = $4, uses = $5, heard_at = COALESCE(heard_at, $6) \
               WHERE organization_id = $1 AND id = $2 AND runner_id = $3 AND state = 'running'";
    let params = params![organization, id, runner, due_at, uses, now];
    Ok(on.into().execute(sql.to_owned(), params).await? > 0)
}

/// Takes a claim back whose runner was never heard of: the job waits again where it did before, and
/// the token of the claim works no more. `false`, and nothing is changed, when the job has shown any
/// sign of life by now (a heartbeat, a step, a part of its log, a lease), or was changed in between.
pub async fn requeue_unheard(
    on: impl Into<On<'_>>,
    job: &JobRecord,
    now: Timestamp,
) -> Result<bool> {
    // One statement, so that a sign of life which comes at this moment is either seen or refused.
    let sql = "UPDATE jobs SET state = 'queued', runner_id = NULL, isolation = NULL, \
               token_hash = NULL, heartbeat_due_at = NULL, started_at = NULL, \
               lost_claims = lost_claims + 1, version = version + 1 \
               WHERE organization_id = $1 AND id = $2 AND version = $3 AND state = 'running' \
               AND heard_at IS NULL AND heartbeat_due_at <= $4 \
               AND NOT EXISTS (SELECT 1 FROM steps WHERE steps.organization_id = $1 \
               AND steps.job_id = $2 AND steps.state <> 'waiting') \
               AND NOT EXISTS (SELECT 1 FROM run_logs WHERE run_logs.organization_id = $1 \
               AND run_logs.job_id = $2) \
               AND NOT EXISTS (SELECT 1 FROM leases WHERE leases.organization_id = $1 \
               AND leases.holder_id = $2)";
    let params = params![job.organization_id, job.id, job.version, now];
    Ok(on.into().execute(sql.to_owned(), params).await? > 0)
}

/// Lists running jobs whose runner was not heard of in time, over all organizations; at most
/// `limit`. Whoever ends one does so by [`update_silent`], which only one server wins.
pub async fn jobs_with_missed_heartbeat(
    on: impl Into<On<'_>>,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<JobRecord>> {
    on.into()
        .select(
            "WHERE state = 'running' AND heartbeat_due_at <= $1 ORDER BY heartbeat_due_at LIMIT $2",
            params![now, i64::from(limit)],
        )
        .await
}
