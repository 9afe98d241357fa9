//! Pipelines, their saved revisions, and who may do what with each.

use keyferry_domain::id::{OrganizationId, PipelineId, UserId};
use keyferry_domain::page::{Page, PageRequest};
use keyferry_domain::{PipelineRole, Timestamp};

use crate::database::On;
use crate::error::Result;
use crate::record::{Filter, name_cursor, page, record};
use crate::row::params;

record! {
    /// A pipeline.
    pub struct PipelineRecord in "pipelines" as "pipeline" {
        /// The organization.
        key organization_id: OrganizationId,
        /// Its id.
        key id: PipelineId,
        /// Its name.
        set name: String,
        /// Its name without case, unique in the organization; [`crate::fold`] makes it.
        set name_folded: String,
        /// The person it belongs to.
        set owner_id: UserId,
        /// The number of the revision that runs use.
        set current_revision: i64,
        /// The number of the last run; `runs::create` counts it.
        fix last_run_number: i64,
        /// When it was made.
        fix created_at: Timestamp,
        /// When it was last changed.
        set updated_at: Timestamp,
        /// Since when it is gone; [`delete`] writes it.
        fix deleted_at: Option<Timestamp>,
        /// Counts changes, from 1.
        fix version: i64,
    }
}

record! {
    /// One saved version of a pipeline's YAML.
    pub struct RevisionRecord in "pipeline_revisions" as "revision" {
        /// The organization.
        key organization_id: OrganizationId,
        /// The pipeline.
        key pipeline_id: PipelineId,
        /// Counts revisions, from 1.
        key number: i64,
        /// The text as saved.
        fix yaml: String,
        /// What was read from it, for lists.
        fix summary: serde_json::Value,
        /// Who saved it.
        fix author_id: UserId,
        /// When.
        fix created_at: Timestamp,
    }
}

record! {
    /// A user's place in a pipeline.
    pub struct PipelineMemberRecord in "pipeline_members" as "pipeline member" {
        /// The organization.
        key organization_id: OrganizationId,
        /// The pipeline.
        key pipeline_id: PipelineId,
        /// The user.
        key user_id: UserId,
        /// What they may do.
        set role: PipelineRole,
        /// Counts changes, from 1.
        fix version: i64,
    }
}

/// Adds a pipeline with its first revision and its owner's place in it, in one transaction.
pub async fn create(
    on: impl Into<On<'_>>,
    record: &PipelineRecord,
    first: &RevisionRecord,
) -> Result<()> {
    let mut on = on.into().together().await?;
    on.insert(record).await?;
    on.insert(first).await?;
    on.insert(&PipelineMemberRecord {
        organization_id: record.organization_id.clone(),
        pipeline_id: record.id.clone(),
        user_id: record.owner_id.clone(),
        role: PipelineRole::Owner,
        version: 1,
    })
    .await?;
    on.finish().await
}

/// Finds a pipeline that is not deleted.
pub async fn find(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    id: &PipelineId,
) -> Result<Option<PipelineRecord>> {
    on.into()
        .select_one(
            "WHERE organization_id = $1 AND id = $2 AND deleted_at IS NULL",
            params![organization, id],
        )
        .await
}

/// Finds a pipeline, also a deleted one; for its runs, which stay.
pub async fn find_with_deleted(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    id: &PipelineId,
) -> Result<Option<PipelineRecord>> {
    on.into().select_one("WHERE organization_id = $1 AND id = $2", params![organization, id]).await
}

/// Finds a pipeline that is not deleted by its name, whatever its case.
pub async fn find_by_name(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    name: &str,
) -> Result<Option<PipelineRecord>> {
    on.into()
        .select_one(
            "WHERE organization_id = $1 AND name_folded = $2 AND deleted_at IS NULL",
            params![organization, crate::fold(name)],
        )
        .await
}

/// Lists pipelines by name, those with the text in it when one is given.
pub async fn list(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    search: Option<&str>,
    request: &PageRequest,
) -> Result<Page<PipelineRecord>> {
    let mut filter = Filter::organization(organization);
    filter.fixed("deleted_at IS NULL");
    filter.contains_if("name_folded", search);
    let filter = filter.ascending_by_name(request)?;
    page(&mut on.into(), filter, request, |record: &PipelineRecord| {
        name_cursor(&record.name_folded, record.id.as_str())
    })
    .await
}

/// Changes name or owner; returns the new version. A name that is taken is
/// [`crate::StoreError::AlreadyExists`]; a transaction cannot go on after that.
pub async fn update(on: impl Into<On<'_>>, record: &PipelineRecord) -> Result<i64> {
    on.into().save_where(record, " AND deleted_at IS NULL", Vec::new()).await
}

/// Adds a revision and changes the pipeline with it, in one transaction; the caller has put
/// `revision.number` into `record.current_revision`. Returns the pipeline's new version.
pub async fn save_revision(
    on: impl Into<On<'_>>,
    record: &PipelineRecord,
    revision: &RevisionRecord,
) -> Result<i64> {
    let mut on = on.into().together().await?;
    let version = on.save_where(record, " AND deleted_at IS NULL", Vec::new()).await?;
    on.insert(revision).await?;
    on.finish().await?;
    Ok(version)
}

/// Finds a revision, also of a deleted pipeline.
pub async fn find_revision(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    id: &PipelineId,
    number: i64,
) -> Result<Option<RevisionRecord>> {
    on.into()
        .select_one(
            "WHERE organization_id = $1 AND pipeline_id = $2 AND number = $3",
            params![organization, id, number],
        )
        .await
}

/// Lists revisions, newest first, below `before` when given; at most `limit`.
pub async fn revisions(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    id: &PipelineId,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<RevisionRecord>> {
    on.into()
        .select(
            "WHERE organization_id = $1 AND pipeline_id = $2 AND number < $3 \
             ORDER BY number DESC LIMIT $4",
            params![organization, id, before.unwrap_or(i64::MAX), i64::from(limit)],
        )
        .await
}

/// Marks a pipeline as gone; its runs stay. Returns the new version.
pub async fn delete(on: impl Into<On<'_>>, record: &PipelineRecord, now: Timestamp) -> Result<i64> {
    let mut on = on.into().together().await?;
    let rows: Vec<PipelineRecord> = on
        .update_returning(
            "SET deleted_at = $4, updated_at = $4, version = version + 1 \
             WHERE organization_id = $1 AND id = $2 AND version = $3 AND deleted_at IS NULL",
            params![record.organization_id, record.id, record.version, now],
        )
        .await?;
    let Some(row) = rows.first() else {
        return Err(on.stale(record).await?);
    };
    let sql = "DELETE FROM bindings WHERE organization_id = $1 AND pipeline_id = $2";
    on.execute(sql.to_owned(), params![record.organization_id, record.id]).await?;
    on.finish().await?;
    Ok(row.version)
}

/// Finds a user's place in a pipeline.
pub async fn find_member(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    id: &PipelineId,
    user: &UserId,
) -> Result<Option<PipelineMemberRecord>> {
    on.into()
        .select_one(
            "WHERE organization_id = $1 AND pipeline_id = $2 AND user_id = $3",
            params![organization, id, user],
        )
        .await
}

/// Lists the members of a pipeline.
pub async fn members(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    id: &PipelineId,
) -> Result<Vec<PipelineMemberRecord>> {
    on.into()
        .select(
            "WHERE organization_id = $1 AND pipeline_id = $2 ORDER BY user_id",
            params![organization, id],
        )
        .await
}

/// Adds a member of a pipeline.
pub async fn create_member(on: impl Into<On<'_>>, record: &PipelineMemberRecord) -> Result<()> {
    on.into().insert(record).await
}

/// Changes a member's role; returns the new version.
pub async fn update_member(on: impl Into<On<'_>>, record: &PipelineMemberRecord) -> Result<i64> {
    on.into().save(record).await
}

/// Removes a member of a pipeline; tells whether there was one.
pub async fn delete_member(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    id: &PipelineId,
    user: &UserId,
) -> Result<bool> {
    let sql = "DELETE FROM pipeline_members \
               WHERE organization_id = $1 AND pipeline_id = $2 AND user_id = $3";
    Ok(on.into().execute(sql.to_owned(), params![organization, id, user]).await? > 0)
}

/// Takes a user out of every pipeline of an organization; returns of how many.
pub async fn delete_member_everywhere(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    user: &UserId,
) -> Result<u64> {
    let sql = "DELETE FROM pipeline_members WHERE organization_id = $1 AND user_id = $2";
    on.into().execute(sql.to_owned(), params![organization, user]).await
}
