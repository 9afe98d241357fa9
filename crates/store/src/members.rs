//! Members: users in organizations, with a role.

use keyferry_domain::id::{OrganizationId, UserId};
use keyferry_domain::page::{Page, PageRequest};
use keyferry_domain::{Role, Timestamp};

use crate::database::On;
use crate::error::Result;
use crate::record::{Filter, page, record};
use crate::row::params;

record! {
    /// A user's place in an organization.
    pub struct MemberRecord in "members" as "member" {
        /// The organization.
        key organization_id: OrganizationId,
        /// The user.
        key user_id: UserId,
        /// What they may do.
        set role: Role,
        /// Since when.
        fix created_at: Timestamp,
        /// Counts changes, from 1.
        fix version: i64,
    }
}

/// Adds a member.
pub async fn create(on: impl Into<On<'_>>, record: &MemberRecord) -> Result<()> {
    on.into().insert(record).await
}

/// Finds a member.
pub async fn find(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    user: &UserId,
) -> Result<Option<MemberRecord>> {
    on.into()
        .select_one("WHERE organization_id = $1 AND user_id = $2", params![organization, user])
        .await
}

/// Lists the members of an organization, in the order in which the users were added.
pub async fn list(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    request: &PageRequest,
) -> Result<Page<MemberRecord>> {
    let filter = Filter::organization(organization).ascending("user_id", request);
    page(&mut on.into(), filter, request, |record: &MemberRecord| record.user_id.to_string()).await
}

/// Lists the members with a role, for "who can change this"; at most `limit`.
pub async fn list_by_role(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    role: Role,
    limit: u32,
) -> Result<Vec<MemberRecord>> {
    on.into()
        .select(
            "WHERE organization_id = $1 AND role = $2 ORDER BY user_id LIMIT $3",
            params![organization, role, i64::from(limit)],
        )
        .await
}

/// Lists every membership of one user, over all organizations; for the user themselves.
pub async fn list_by_user(on: impl Into<On<'_>>, user: &UserId) -> Result<Vec<MemberRecord>> {
    on.into().select("WHERE user_id = $1 ORDER BY organization_id", params![user]).await
}

/// Changes the role; returns the new version.
pub async fn update(on: impl Into<On<'_>>, record: &MemberRecord) -> Result<i64> {
    on.into().save(record).await
}

/// What a member's place consists of, beside the role.
const PLACES: [&str; 3] = [
    "UPDATE group_members SET user_id = $3 WHERE organization_id = $1 AND user_id = $2",
    "UPDATE connection_members SET member_id = $3 \
     WHERE organization_id = $1 AND kind = 'user' AND member_id = $2",
    "UPDATE pipeline_members SET user_id = $3 WHERE organization_id = $1 AND user_id = $2",
];

/// What a member owns. The version counts, so that whoever has read the old owner is stale.
const OWNED: [&str; 3] = [
    "UPDATE credentials SET owner_id = $3, version = version + 1 \
     WHERE organization_id = $1 AND owner_id = $2",
    "UPDATE connections SET owner_id = $3, version = version + 1 \
     WHERE organization_id = $1 AND owner_id = $2",
    "UPDATE pipelines SET owner_id = $3, version = version + 1 \
     WHERE organization_id = $1 AND owner_id = $2",
];

/// Gives a member's place to a user who has none in the organization: the role, and the places in
/// groups, custom scopes and pipelines. A user who has one is
/// [`crate::StoreError::AlreadyExists`].
pub async fn move_to(on: impl Into<On<'_>>, record: &MemberRecord, to: &UserId) -> Result<()> {
    let MemberRecord { organization_id, user_id, .. } = record;
    let mut on = on.into().together().await?;
    on.insert(&MemberRecord { user_id: to.clone(), ..record.clone() }).await?;
    for sql in PLACES {
        on.execute(sql.to_owned(), params![organization_id, user_id, to]).await?;
    }
    on.execute(DELETE.to_owned(), params![organization_id, user_id]).await?;
    on.finish().await
}

/// Gives what a user owns in an organization to another, also what is deleted and stays as a row.
pub async fn give_owned(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    user: &UserId,
    to: &UserId,
) -> Result<()> {
    let mut on = on.into().together().await?;
    for sql in OWNED {
        on.execute(sql.to_owned(), params![organization, user, to]).await?;
    }
    on.finish().await
}

const DELETE: &str = "DELETE FROM members WHERE organization_id = $1 AND user_id = $2";

/// Removes a member, and with it their places in groups; tells whether there was one.
pub async fn delete(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    user: &UserId,
) -> Result<bool> {
    Ok(on.into().execute(DELETE.to_owned(), params![organization, user]).await? > 0)
}
