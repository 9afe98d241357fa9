//! Users: people with an account, across organizations, and placeholders of people whom one
//! organization has invited, known to it alone. What they may do there is in `members`.

use keyferry_domain::Timestamp;
use keyferry_domain::id::{OrganizationId, UserId};

use crate::database::On;
use crate::error::Result;
use crate::record::{fold, record};
use crate::row::params;

record! {
    /// A person's account, or a placeholder for one whom an organization has invited.
    pub struct UserRecord in "users" as "user" {
        /// Their id.
        key id: UserId,
        /// Their address, as they write it.
        set email: String,
        /// Their address without case, by which they sign in; [`crate::fold`] makes it.
        set email_folded: String,
        /// Their name.
        set name: String,
        /// The hash of their password; absent until they have chosen one.
        set password_hash: Option<String>,
        /// The organization whose placeholder this is; absent for an account.
        set invited_to: Option<OrganizationId>,
        /// When they were added.
        fix created_at: Timestamp,
        /// Since when they can do nothing any more.
        set disabled_at: Option<Timestamp>,
        /// Counts changes, from 1.
        fix version: i64,
    }
}

/// Adds a user. The address must be new, whatever its case: among the accounts, or among the
/// placeholders of the organization that have not ended.
pub async fn create(on: impl Into<On<'_>>, record: &UserRecord) -> Result<()> {
    on.into().insert(record).await
}

/// Finds a user; for authentication and for people who are known to be members.
pub async fn find(on: impl Into<On<'_>>, id: &UserId) -> Result<Option<UserRecord>> {
    on.into().select_one("WHERE id = $1", params![id]).await
}

/// Finds an account by address, whatever its case.
pub async fn find_by_email(on: impl Into<On<'_>>, email: &str) -> Result<Option<UserRecord>> {
    on.into()
        .select_one("WHERE email_folded = $1 AND invited_to IS NULL", params![fold(email)])
        .await
}

/// Finds a member of an organization by address, whatever its case; an account or a placeholder.
pub async fn find_member_by_email(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    email: &str,
) -> Result<Option<UserRecord>> {
    on.into()
        .select_one(
            "WHERE email_folded = $2 AND EXISTS (SELECT 1 FROM members \
             WHERE members.organization_id = $1 AND members.user_id = users.id)",
            params![organization, fold(email)],
        )
        .await
}

/// Changes a user; returns the new version. An address that someone else has is
/// [`crate::StoreError::AlreadyExists`]; a transaction cannot go on after that.
pub async fn update(on: impl Into<On<'_>>, record: &UserRecord) -> Result<i64> {
    on.into().save(record).await
}

/// Counts the users of the whole server; zero before the first start is finished.
pub async fn count(on: impl Into<On<'_>>) -> Result<i64> {
    let mut on = on.into();
    let rows = on.query("users", "SELECT COUNT(*) AS n FROM users".to_owned(), vec![]).await?;
    rows.first().map_or(Ok(0), |row| row.get("n"))
}
