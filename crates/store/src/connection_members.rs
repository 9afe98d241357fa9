//! The users and groups of a connection's custom scope. They change with the connection:
//! within the same transaction as `connections::update`, whose version guards both.

use keyferry_domain::connection::ConnectionId;
use keyferry_domain::id::{GroupId, OrganizationId, UserId};

use crate::database::On;
use crate::error::Result;
use crate::record::record;
use crate::row::params;

record! {
    /// One chosen user or group.
    pub struct ConnectionMemberRecord in "connection_members" as "connection member" {
        /// The organization.
        key organization_id: OrganizationId,
        /// The connection.
        key connection_id: ConnectionId,
        /// `user` or `group`.
        key kind: String,
        /// The user's or group's id.
        key member_id: String,
    }
}

/// Who was chosen for a custom scope.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chosen {
    /// The users.
    pub users: Vec<UserId>,
    /// The groups.
    pub groups: Vec<GroupId>,
}

/// Lists who was chosen.
pub async fn list(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    connection: &ConnectionId,
) -> Result<Chosen> {
    let sql = "SELECT kind, member_id FROM connection_members \
               WHERE organization_id = $1 AND connection_id = $2 ORDER BY kind, member_id";
    let params = params![organization, connection];
    let rows = on.into().query("connection_members", sql.to_owned(), params).await?;
    let mut chosen = Chosen::default();
    for row in rows {
        if row.get::<String>("kind")? == "group" {
            chosen.groups.push(row.get("member_id")?);
        } else {
            chosen.users.push(row.get("member_id")?);
        }
    }
    Ok(chosen)
}

/// Puts these in place of whoever was chosen before.
pub async fn replace(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    connection: &ConnectionId,
    chosen: &Chosen,
) -> Result<()> {
    let mut on = on.into().together().await?;
    let sql = "DELETE FROM connection_members WHERE organization_id = $1 AND connection_id = $2";
    on.execute(sql.to_owned(), params![organization, connection]).await?;
    let users = chosen.users.iter().map(|user| ("user", user.to_string()));
    let groups = chosen.groups.iter().map(|group| ("group", group.to_string()));
    let distinct: std::collections::BTreeSet<_> = users.chain(groups).collect();
    for (kind, member_id) in distinct {
        on.insert(&ConnectionMemberRecord {
            organization_id: organization.clone(),
            connection_id: connection.clone(),
            kind: kind.to_owned(),
            member_id,
        })
        .await?;
    }
    on.finish().await
}

/// Takes a user out of every custom scope of an organization, when they leave it; returns out of
/// how many.
pub async fn delete_by_user(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    user: &UserId,
) -> Result<u64> {
    let sql = "DELETE FROM connection_members \
               WHERE organization_id = $1 AND kind = 'user' AND member_id = $2";
    on.into().execute(sql.to_owned(), params![organization, user]).await
}
