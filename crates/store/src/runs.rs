//! Runs of pipelines. Their jobs and steps are in `jobs` and `steps`; how states follow each
//! other is in `pipeline`.

use keyferry_domain::Timestamp;
use keyferry_domain::id::{OrganizationId, PipelineId, RunId};
use keyferry_domain::page::{Page, PageRequest};
use keyferry_domain::run::RunState;

use crate::database::On;
use crate::error::{Result, StoreError};
use crate::record::{Filter, page, record};
use crate::row::params;

record! {
    /// One execution of a pipeline.
    pub struct RunRecord in "runs" as "run" {
        /// The organization.
        key organization_id: OrganizationId,
        /// Its id.
        key id: RunId,
        /// The pipeline.
        fix pipeline_id: PipelineId,
        /// The revision that is executed.
        fix revision: i64,
        /// Counts the pipeline's runs, from 1; [`create`] gives it.
        fix number: i64,
        /// Where it stands.
        set state: RunState,
        /// Why it failed or was canceled, for a person.
        set reason: Option<String>,
        /// What started it: `manual`.
        fix run_trigger: String,
        /// Who started it: an actor's id.
        fix started_by: String,
        /// The variables and branches that it was started with.
        fix inputs: serde_json::Value,
        /// What the person said about it.
        fix comment: Option<String>,
        /// When someone asked to cancel it; [`request_cancel`] writes it.
        fix cancel_requested_at: Option<Timestamp>,
        /// Who asked.
        fix cancel_requested_by: Option<String>,
        /// When it was made.
        fix created_at: Timestamp,
        /// When its first job started.
        set started_at: Option<Timestamp>,
        /// When it was over.
        set finished_at: Option<Timestamp>,
        /// Counts changes, from 1.
        fix version: i64,
    }
}

/// Adds a run under the next number of its pipeline, whatever `record.number` says, and returns
/// that number. A pipeline that is gone is [`StoreError::Stale`].
pub async fn create(on: impl Into<On<'_>>, record: &RunRecord) -> Result<i64> {
    let mut on = on.into().together().await?;
    let sql = "UPDATE pipelines SET last_run_number = last_run_number + 1 \
               WHERE organization_id = $1 AND id = $2 AND deleted_at IS NULL \
               RETURNING last_run_number";
    let pipeline = params![record.organization_id, record.pipeline_id];
    let rows = on.change("pipelines", sql.to_owned(), pipeline).await?;
    let Some(row) = rows.first() else {
        return Err(StoreError::Stale { what: "pipeline", current_version: None });
    };
    let number = row.get("last_run_number")?;
    on.insert(&RunRecord { number, ..record.clone() }).await?;
    on.finish().await?;
    Ok(number)
}

/// Finds a run.
pub async fn find(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    id: &RunId,
) -> Result<Option<RunRecord>> {
    on.into().select_one("WHERE organization_id = $1 AND id = $2", params![organization, id]).await
}

/// Which runs are wanted.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// Of this pipeline.
    pub pipeline: Option<PipelineId>,
    /// In this state.
    pub state: Option<RunState>,
}

/// Lists runs, newest first.
pub async fn list(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    wanted: &RunFilter,
    request: &PageRequest,
) -> Result<Page<RunRecord>> {
    let mut filter = Filter::organization(organization);
    filter.equal_if("pipeline_id", wanted.pipeline.as_ref());
    filter.equal_if("state", wanted.state.as_ref());
    let filter = filter.descending("id", request);
    page(&mut on.into(), filter, request, |record: &RunRecord| record.id.to_string()).await
}

/// Changes a run; returns the new version.
pub async fn update(on: impl Into<On<'_>>, record: &RunRecord) -> Result<i64> {
    on.into().save(record).await
}

/// Opens a run again that was over, and takes back a cancel that was asked for; returns the new
/// version.
pub async fn reopen(on: impl Into<On<'_>>, record: &RunRecord) -> Result<i64> {
    let mut on = on.into().together().await?;
    let version = on.save(record).await?;
    let sql = "UPDATE runs SET cancel_requested_at = NULL, cancel_requested_by = NULL \
               WHERE organization_id = $1 AND id = $2";
    on.execute(sql.to_owned(), params![record.organization_id, record.id]).await?;
    on.finish().await?;
    Ok(version)
}

/// Writes down that someone wants a run canceled; returns the run when it was not over and nobody
/// had asked before.
pub async fn request_cancel(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    id: &RunId,
    by: &str,
    now: Timestamp,
) -> Result<Option<RunRecord>> {
    let mut runs = on
        .into()
        .update_returning(
            "SET cancel_requested_at = $3, cancel_requested_by = $4, version = version + 1 \
             WHERE organization_id = $1 AND id = $2 AND finished_at IS NULL \
             AND cancel_requested_at IS NULL",
            params![organization, id, now, by],
        )
        .await?;
    Ok(runs.pop())
}

/// Lists runs that are not over, over all organizations, oldest first, after the given one; at
/// most `limit`. For the loop that goes on with them after a restart.
pub async fn list_open(
    on: impl Into<On<'_>>,
    after: Option<&RunId>,
    limit: u32,
) -> Result<Vec<RunRecord>> {
    let after = after.map_or("", RunId::as_str);
    on.into()
        .select(
            "WHERE finished_at IS NULL AND id > $1 ORDER BY id LIMIT $2",
            params![after, i64::from(limit)],
        )
        .await
}
