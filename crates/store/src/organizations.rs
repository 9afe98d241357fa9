//! Organizations: the tenants. Their people are in `members`.

use keyferry_domain::Timestamp;
use keyferry_domain::id::OrganizationId;
use keyferry_domain::page::{Page, PageRequest};

use crate::database::{Change, On};
use crate::error::Result;
use crate::record::{Filter, page, record};
use crate::row::params;

record! {
    /// A tenant.
    pub struct OrganizationRecord in "organizations" as "organization" {
        /// Its id.
        key id: OrganizationId,
        /// Its name.
        set name: String,
        /// When it was made.
        fix created_at: Timestamp,
        /// Counts changes, from 1.
        fix version: i64,
    }
}

/// Adds an organization.
pub async fn create(on: impl Into<On<'_>>, record: &OrganizationRecord) -> Result<()> {
    on.into().insert(record).await
}

/// Finds an organization.
pub async fn find(
    on: impl Into<On<'_>>,
    id: &OrganizationId,
) -> Result<Option<OrganizationRecord>> {
    on.into().select_one("WHERE id = $1", params![id]).await
}

/// Changes the name; returns the new version.
pub async fn update(on: impl Into<On<'_>>, record: &OrganizationRecord) -> Result<i64> {
    on.into().save(record).await
}

/// Lists every organization of the server, oldest first; for the server itself.
pub async fn list_all(
    on: impl Into<On<'_>>,
    request: &PageRequest,
) -> Result<Page<OrganizationRecord>> {
    let filter = Filter::default().ascending("id", request);
    page(&mut on.into(), filter, request, |record: &OrganizationRecord| record.id.to_string()).await
}

/// Makes every other change that locks this organization wait until this one ends; for rules over
/// several rows, such as "one owner stays". SQLite has one writer anyway. Tells whether it exists.
pub async fn lock(change: &mut Change, id: &OrganizationId) -> Result<bool> {
    let sql = "UPDATE organizations SET version = version WHERE id = $1";
    Ok(On::from(change).execute(sql.to_owned(), params![id]).await? > 0)
}
