//! Runners: programs that execute jobs. Their tokens are in `tokens`.

use keyferry_domain::Timestamp;
use keyferry_domain::id::{OrganizationId, RunnerId};
use keyferry_domain::page::{Page, PageRequest};
use keyferry_domain::run::Isolation;

use crate::database::On;
use crate::error::Result;
use crate::record::{Filter, page, record};
use crate::row::params;

record! {
    /// A program that executes jobs.
    pub struct RunnerRecord in "runners" as "runner" {
        /// Its id.
        key id: RunnerId,
        /// The organization whose jobs it executes; absent for the server's own runner.
        fix organization_id: Option<OrganizationId>,
        /// Its name.
        set name: String,
        /// How it keeps jobs apart, as it last said.
        set isolation: Option<Isolation>,
        /// When it was made.
        fix created_at: Timestamp,
        /// When it was last heard of.
        set last_seen_at: Option<Timestamp>,
        /// Since when it is gone.
        set deleted_at: Option<Timestamp>,
        /// Counts changes, from 1.
        fix version: i64,
    }
}

/// Adds a runner.
pub async fn create(on: impl Into<On<'_>>, record: &RunnerRecord) -> Result<()> {
    on.into().insert(record).await
}

/// Finds a runner by its id alone; for authentication.
pub async fn find_anywhere(on: impl Into<On<'_>>, id: &RunnerId) -> Result<Option<RunnerRecord>> {
    on.into().select_one("WHERE id = $1 AND deleted_at IS NULL", params![id]).await
}

/// Finds a runner of an organization.
pub async fn find(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    id: &RunnerId,
) -> Result<Option<RunnerRecord>> {
    on.into()
        .select_one(
            "WHERE organization_id = $1 AND id = $2 AND deleted_at IS NULL",
            params![organization, id],
        )
        .await
}

/// Lists the runners of an organization, oldest first.
pub async fn list(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    request: &PageRequest,
) -> Result<Page<RunnerRecord>> {
    let mut filter = Filter::organization(organization);
    filter.fixed("deleted_at IS NULL");
    let filter = filter.ascending("id", request);
    page(&mut on.into(), filter, request, |record: &RunnerRecord| record.id.to_string()).await
}

/// Lists the runners that serve every organization: the servers' own.
pub async fn list_embedded(on: impl Into<On<'_>>) -> Result<Vec<RunnerRecord>> {
    on.into()
        .select(
            "WHERE organization_id IS NULL AND deleted_at IS NULL ORDER BY id LIMIT 200",
            Vec::new(),
        )
        .await
}

/// Changes a runner; returns the new version.
pub async fn update(on: impl Into<On<'_>>, record: &RunnerRecord) -> Result<i64> {
    on.into().save(record).await
}

/// Writes down that a runner was heard of, and how it keeps jobs apart. Does not count as a change.
pub async fn touch(
    on: impl Into<On<'_>>,
    id: &RunnerId,
    isolation: Isolation,
    now: Timestamp,
) -> Result<()> {
    let sql = "UPDATE runners SET last_seen_at = $2, isolation = $3 WHERE id = $1";
    on.into().execute(sql.to_owned(), params![id, now, isolation]).await.map(drop)
}
