//! Workloads: commands outside pipelines that hold leases, each for chosen connections only.

use keyferry_domain::Timestamp;
use keyferry_domain::connection::ConnectionId;
use keyferry_domain::id::{OrganizationId, TokenId, UserId, WorkloadId};
use keyferry_domain::page::{Page, PageRequest};

use crate::database::On;
use crate::error::Result;
use crate::record::{Filter, page, record};
use crate::row::params;

record! {
    /// A command outside pipelines.
    pub struct WorkloadRecord in "workloads" as "workload" {
        /// The organization.
        key organization_id: OrganizationId,
        /// Its id.
        key id: WorkloadId,
        /// Who started it.
        fix user_id: UserId,
        /// The API token that it was started with; absent for those started in a session.
        fix token_id: Option<TokenId>,
        /// What the person calls it.
        fix label: String,
        /// The connections that it may take leases of.
        fix connections: Vec<ConnectionId>,
        /// The hash of its token.
        fix token_hash: String,
        /// When it started.
        fix created_at: Timestamp,
        /// When it ends at the latest.
        fix expires_at: Timestamp,
        /// When it ended.
        fix ended_at: Option<Timestamp>,
    }
}

/// Adds a workload.
pub async fn create(on: impl Into<On<'_>>, record: &WorkloadRecord) -> Result<()> {
    on.into().insert(record).await
}

/// Finds a workload.
pub async fn find(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    id: &WorkloadId,
) -> Result<Option<WorkloadRecord>> {
    on.into().select_one("WHERE organization_id = $1 AND id = $2", params![organization, id]).await
}

/// Finds a workload by its token's hash, over all organizations, ended and expired ones too; for
/// authentication.
pub async fn find_by_token(on: impl Into<On<'_>>, hash: &str) -> Result<Option<WorkloadRecord>> {
    on.into().select_one("WHERE token_hash = $1", params![hash]).await
}

/// Lists workloads, newest first; of one user when given.
pub async fn list(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    user: Option<&UserId>,
    request: &PageRequest,
) -> Result<Page<WorkloadRecord>> {
    let mut filter = Filter::organization(organization);
    filter.equal_if("user_id", user);
    let filter = filter.descending("id", request);
    page(&mut on.into(), filter, request, |record: &WorkloadRecord| record.id.to_string()).await
}

/// Ends a workload; tells whether it was open.
pub async fn end(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    id: &WorkloadId,
    now: Timestamp,
) -> Result<bool> {
    let sql = "UPDATE workloads SET ended_at = $3 \
               WHERE organization_id = $1 AND id = $2 AND ended_at IS NULL";
    Ok(on.into().execute(sql.to_owned(), params![organization, id, now]).await? > 0)
}

/// Ends the open workloads of a user in an organization, when they leave it; returns them.
pub async fn end_by_user(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    user: &UserId,
    now: Timestamp,
) -> Result<Vec<WorkloadRecord>> {
    on.into()
        .update_returning(
            "SET ended_at = $3 WHERE organization_id = $1 AND user_id = $2 AND ended_at IS NULL",
            params![organization, user, now],
        )
        .await
}

/// Ends the open workloads that were started with an API token, when that is revoked; returns
/// them.
pub async fn end_by_token(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    token: &TokenId,
    now: Timestamp,
) -> Result<Vec<WorkloadRecord>> {
    on.into()
        .update_returning(
            "SET ended_at = $3 WHERE organization_id = $1 AND token_id = $2 AND ended_at IS NULL",
            params![organization, token, now],
        )
        .await
}

/// Ends workloads whose time is up, over all organizations; returns them, at most `limit`.
pub async fn end_expired(
    on: impl Into<On<'_>>,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<WorkloadRecord>> {
    on.into()
        .update_returning(
            "SET ended_at = $1 WHERE ended_at IS NULL AND expires_at <= $1 \
             AND (organization_id, id) IN (SELECT organization_id, id FROM workloads \
              WHERE ended_at IS NULL AND expires_at <= $1 ORDER BY expires_at LIMIT $2)",
            params![now, i64::from(limit)],
        )
        .await
}
