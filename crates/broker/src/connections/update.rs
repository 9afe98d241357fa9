//! Renaming a connection, and changing who may use it.

use keyferry_domain::audit::Target;
use keyferry_domain::connection::ConnectionId;
use keyferry_domain::id::{GroupId, OrganizationId, UserId};
use keyferry_domain::{Actor, Error, Result, Scope};
use keyferry_policy::Action;
use keyferry_store::connection_members::Chosen;
use keyferry_store::{connection_members, connections, fold};

use super::view::ConnectionDetails;
use crate::Broker;
use crate::audit::Event;
use crate::failure::store_failed;
use crate::names::check_name;

/// What is to be changed; what is absent stays.
#[derive(Debug, Clone, Default)]
pub struct ConnectionChanges {
    /// The new name.
    pub name: Option<String>,
    /// The new scope.
    pub scope: Option<Scope>,
    /// All users of the custom scope.
    pub users: Option<Vec<UserId>>,
    /// All groups of the custom scope.
    pub groups: Option<Vec<GroupId>>,
}

impl Broker {
    /// Changes name and scope. The scope is changed only by someone who may use the connection:
    /// who looks after it without being in its scope must not be able to let themselves in.
    pub async fn update_connection(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &ConnectionId,
        changes: &ConnectionChanges,
        version: i64,
    ) -> Result<ConnectionDetails> {
        let connection =
            self.allowed_connection(actor, organization, id, Action::ConnectionUpdate).await?;
        // A lost race is told before anything else: what follows may be about another state.
        if version != connection.version {
            return Err(Error::stale(format!("connection `{id}`"), connection.version));
        }
        let mut details = self.connection_details(connection).await?;
        let mut event = Event::done("connection.update", Target::new("connection", id));
        if let Some(name) = &changes.name {
            details.connection.name = check_name("/name", name)?;
            details.connection.name_folded = fold(name);
            event = event.with("name", name);
        }
        let new_scope = self.changed_scope(organization, &details, changes).await?;
        if let Some((scope, chosen)) = &new_scope {
            let subject = self.connection_subject(&details.connection).await?;
            self.allow(actor, organization, Action::ConnectionUse, &subject).await?;
            details.connection.scope = *scope;
            details.chosen = chosen.clone();
            event = event
                .with("scope", scope)
                .with("users", join(&chosen.users))
                .with("groups", join(&chosen.groups));
        }
        details.connection.updated_at = self.clock.now();
        let mut change = self.store.begin().await.map_err(store_failed)?;
        details.connection.version =
            connections::update(&mut change, &details.connection).await.map_err(store_failed)?;
        if let Some((_, chosen)) = &new_scope {
            connection_members::replace(&mut change, organization, id, chosen)
                .await
                .map_err(store_failed)?;
        }
        self.commit(change, actor, Some(organization), event).await?;
        Ok(details)
    }

    /// Returns the scope as it is to be; nothing when it stays as it is.
    async fn changed_scope(
        &self,
        organization: &OrganizationId,
        before: &ConnectionDetails,
        changes: &ConnectionChanges,
    ) -> Result<Option<(Scope, Chosen)>> {
        if changes.scope.is_none() && changes.users.is_none() && changes.groups.is_none() {
            return Ok(None);
        }
        let scope = changes.scope.unwrap_or(before.connection.scope);
        let users =
            changes.users.as_ref().or((scope == Scope::Custom).then_some(&before.chosen.users));
        let groups =
            changes.groups.as_ref().or((scope == Scope::Custom).then_some(&before.chosen.groups));
        let (users, groups) =
            (users.map_or(&[][..], Vec::as_slice), groups.map_or(&[][..], Vec::as_slice));
        let chosen = self.check_scope(organization, scope, users, groups).await?;
        let is_same = scope == before.connection.scope && chosen == before.chosen;
        Ok((!is_same).then_some((scope, chosen)))
    }
}

fn join<T: ToString>(ids: &[T]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
