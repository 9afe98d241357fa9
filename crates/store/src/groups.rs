//! Groups: named sets of an organization's members, for custom scopes.

use keyferry_domain::Timestamp;
use keyferry_domain::id::{GroupId, OrganizationId, UserId};
use keyferry_domain::page::{Page, PageRequest};

use crate::database::On;
use crate::error::Result;
use crate::record::{Filter, name_cursor, page, record};
use crate::row::params;

record! {
    /// A group; its users are read by [`users`].
    pub struct GroupRecord in "groups" as "group" {
        /// The organization.
        key organization_id: OrganizationId,
        /// Its id.
        key id: GroupId,
        /// Its name.
        set name: String,
        /// Its name without case, unique in the organization; [`crate::fold`] makes it.
        set name_folded: String,
        /// When it was made.
        fix created_at: Timestamp,
        /// Counts changes, from 1; changes of its users too.
        fix version: i64,
    }
}

record! {
    /// A user's place in a group.
    pub struct GroupMemberRecord in "group_members" as "group member" {
        /// The organization.
        key organization_id: OrganizationId,
        /// The group.
        key group_id: GroupId,
        /// The user.
        key user_id: UserId,
    }
}

/// Adds a group with its users, who must be members of the organization.
pub async fn create(on: impl Into<On<'_>>, record: &GroupRecord, users: &[UserId]) -> Result<()> {
    let mut on = on.into().together().await?;
    on.insert(record).await?;
    put_users(&mut on, record, users).await?;
    on.finish().await
}

async fn put_users(on: &mut On<'_>, group: &GroupRecord, users: &[UserId]) -> Result<()> {
    let sql = "DELETE FROM group_members WHERE organization_id = $1 AND group_id = $2";
    on.execute(sql.to_owned(), params![group.organization_id, group.id]).await?;
    let distinct: std::collections::BTreeSet<&UserId> = users.iter().collect();
    for user in distinct {
        on.insert(&GroupMemberRecord {
            organization_id: group.organization_id.clone(),
            group_id: group.id.clone(),
            user_id: user.clone(),
        })
        .await?;
    }
    Ok(())
}

/// Finds a group.
pub async fn find(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    id: &GroupId,
) -> Result<Option<GroupRecord>> {
    on.into().select_one("WHERE organization_id = $1 AND id = $2", params![organization, id]).await
}

/// Lists groups by name.
pub async fn list(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    request: &PageRequest,
) -> Result<Page<GroupRecord>> {
    let filter = Filter::organization(organization).ascending_by_name(request)?;
    page(&mut on.into(), filter, request, |record: &GroupRecord| {
        name_cursor(&record.name_folded, record.id.as_str())
    })
    .await
}

/// Lists the users of a group.
pub async fn users(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    id: &GroupId,
) -> Result<Vec<UserId>> {
    let rows: Vec<GroupMemberRecord> = on
        .into()
        .select(
            "WHERE organization_id = $1 AND group_id = $2 ORDER BY user_id",
            params![organization, id],
        )
        .await?;
    Ok(rows.into_iter().map(|row| row.user_id).collect())
}

/// Lists the groups that a user is in.
pub async fn list_by_user(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    user: &UserId,
) -> Result<Vec<GroupId>> {
    let rows: Vec<GroupMemberRecord> = on
        .into()
        .select(
            "WHERE organization_id = $1 AND user_id = $2 ORDER BY group_id",
            params![organization, user],
        )
        .await?;
    Ok(rows.into_iter().map(|row| row.group_id).collect())
}

/// Changes the name and, when given, the users; returns the new version.
pub async fn update(
    on: impl Into<On<'_>>,
    record: &GroupRecord,
    users: Option<&[UserId]>,
) -> Result<i64> {
    let mut on = on.into().together().await?;
    let version = on.save(record).await?;
    if let Some(users) = users {
        put_users(&mut on, record, users).await?;
    }
    on.finish().await?;
    Ok(version)
}

/// Removes a group, also from the custom scopes that name it; tells whether there was one.
pub async fn delete(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    id: &GroupId,
) -> Result<bool> {
    let mut on = on.into().together().await?;
    let sql = "DELETE FROM connection_members \
               WHERE organization_id = $1 AND kind = 'group' AND member_id = $2";
    on.execute(sql.to_owned(), params![organization, id]).await?;
    let sql = "DELETE FROM groups WHERE organization_id = $1 AND id = $2";
    let count = on.execute(sql.to_owned(), params![organization, id]).await?;
    on.finish().await?;
    Ok(count > 0)
}
