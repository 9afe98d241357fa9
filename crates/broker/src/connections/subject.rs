//! A connection as the policies see it.

use keyferry_domain::Result;
use keyferry_store::connections::ConnectionRecord;
use keyferry_store::{connection_members, members};

use crate::Broker;
use crate::access::Subject;
use crate::failure::store_failed;

impl Broker {
    /// Returns what the policies need to know of a connection. Somebody who has left the
    /// organization owns nothing in it any more.
    pub(crate) async fn connection_subject(
        &self,
        connection: &ConnectionRecord,
    ) -> Result<Subject> {
        let organization = &connection.organization_id;
        let chosen = connection_members::list(&self.store, organization, &connection.id)
            .await
            .map_err(store_failed)?;
        let owner = members::find(&self.store, organization, &connection.owner_id)
            .await
            .map_err(store_failed)?;
        Ok(Subject::Connection {
            connection: connection.id.clone(),
            owner: owner.map(|member| member.user_id),
            scope: connection.scope,
            users: chosen.users,
            groups: chosen.groups,
            is_disabled: false,
            is_deleted: connection.deleted_at.is_some(),
        })
    }
}
