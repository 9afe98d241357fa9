//! Seeing connections.

use keyferry_domain::connection::{ConnectionId, HealthStatus};
use keyferry_domain::id::OrganizationId;
use keyferry_domain::page::{Page, PageRequest};
use keyferry_domain::{Actor, Result, Scope};
use keyferry_policy::Action;
use keyferry_store::connection_members::Chosen;
use keyferry_store::connections::{ConnectionFilter, ConnectionRecord};
use keyferry_store::{connection_members, connections};

use super::create::find_type;
use crate::Broker;
use crate::access::Subject;
use crate::credentials::person;
use crate::failure::store_failed;

/// A connection, and who was chosen for its custom scope.
#[derive(Debug, Clone)]
pub struct ConnectionDetails {
    /// The record.
    pub connection: ConnectionRecord,
    /// The users and groups of its custom scope.
    pub chosen: Chosen,
}

/// Which connections are wanted; each part narrows the list.
#[derive(Debug, Clone, Default)]
pub struct ConnectionQuery {
    /// Of this type, by any of its names.
    pub connection_type: Option<String>,
    /// With this text in name or ID.
    pub search: Option<String>,
    /// In this state of health.
    pub health: Option<HealthStatus>,
}

impl Broker {
    /// Lists connections by name: those within whose scope the caller is, or all for those who
    /// look after all.
    pub async fn list_connections(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        query: &ConnectionQuery,
        page: &PageRequest,
    ) -> Result<Page<ConnectionDetails>> {
        self.allow(actor, organization, Action::ConnectionList, &Subject::Organization).await?;
        let connection_type = match query.connection_type.as_deref() {
            Some(name) => Some(find_type(name)?.kind().id.to_owned()),
            None => None,
        };
        // Who may see the private connection of somebody who has left may see each.
        let ownerless = Subject::Connection {
            connection: ConnectionId::generate(&*self.random),
            owner: None,
            scope: Scope::Private,
            users: Vec::new(),
            groups: Vec::new(),
            is_disabled: false,
            is_deleted: false,
        };
        let sees_all = self.may(actor, organization, Action::ConnectionRead, &ownerless).await?;
        let filter = ConnectionFilter {
            connection_type,
            search: query.search.clone(),
            health: query.health,
            visible_to: if sees_all { None } else { Some(person(actor)?.clone()) },
            ..ConnectionFilter::default()
        };
        let found = connections::list(&self.store, organization, &filter, page)
            .await
            .map_err(store_failed)?;
        let mut items = Vec::with_capacity(found.items.len());
        for connection in found.items {
            items.push(self.connection_details(connection).await?);
        }
        Ok(Page { items, next_cursor: found.next_cursor })
    }

    /// Gets a connection.
    pub async fn get_connection(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &ConnectionId,
    ) -> Result<ConnectionDetails> {
        let connection =
            self.allowed_connection(actor, organization, id, Action::ConnectionRead).await?;
        self.connection_details(connection).await
    }

    /// Finds a connection and asks whether the actor may do this with it. To somebody who may not
    /// see it, one that exists and one that does not look the same.
    pub(crate) async fn allowed_connection(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &ConnectionId,
        action: Action,
    ) -> Result<ConnectionRecord> {
        let connection = self.find_connection(organization, id).await?;
        let subject = self.connection_subject(&connection).await?;
        self.allow(actor, organization, action, &subject).await?;
        Ok(connection)
    }

    pub(super) async fn connection_details(
        &self,
        connection: ConnectionRecord,
    ) -> Result<ConnectionDetails> {
        let chosen = match connection.scope {
            Scope::Custom => {
                connection_members::list(&self.store, &connection.organization_id, &connection.id)
                    .await
                    .map_err(store_failed)?
            }
            Scope::Private | Scope::Public => Chosen::default(),
        };
        Ok(ConnectionDetails { connection, chosen })
    }
}
