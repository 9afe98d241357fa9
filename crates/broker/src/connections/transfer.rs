//! Giving a connection to another member, with the credential it stands on.

use keyferry_domain::audit::Target;
use keyferry_domain::connection::ConnectionId;
use keyferry_domain::id::{OrganizationId, UserId};
use keyferry_domain::{Actor, Error, Result};
use keyferry_policy::Action;
use keyferry_store::{connections, credentials, members};

use super::view::ConnectionDetails;
use crate::Broker;
use crate::audit::Event;
use crate::failure::store_failed;

impl Broker {
    /// Gives a connection to another member. As long as its owner is a member, only the owner can
    /// do so: else those who look after connections could make themselves the owners of any.
    ///
    /// The credential goes along when it is the owner's, or when its own owner has left.
    pub async fn transfer_connection(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &ConnectionId,
        user: &UserId,
        version: i64,
    ) -> Result<ConnectionDetails> {
        let mut connection =
            self.allowed_connection(actor, organization, id, Action::ConnectionTransfer).await?;
        let is_member = async |user: &UserId| {
            let found = members::find(&self.store, organization, user).await;
            found.map(|member| member.is_some()).map_err(store_failed)
        };
        let before = connection.owner_id.clone();
        if actor.user() != Some(&before) && is_member(&before).await? {
            let reason = "its owner is a member still";
            let event =
                Event::refused("connection.transfer", Target::new("connection", id), reason);
            self.record(actor, Some(organization), event).await?;
            return Err(Error::denied(
                "owner_is_member",
                "the connection belongs to a member of the organization",
            )
            .hint("its owner can give it away; an admin can once the owner has left"));
        }
        if version != connection.version {
            return Err(Error::stale(format!("connection `{id}`"), connection.version));
        }
        if !is_member(user).await? {
            let message = "is not a member of the organization";
            return Err(Error::invalid_field("/user_id", message));
        }
        let mut credential = self.credential_of(&connection).await?;
        let goes_along = credential.deleted_at.is_none()
            && (credential.owner_id == before || !is_member(&credential.owner_id).await?);
        if goes_along {
            let subject = self.credential_subject(&credential).await?;
            self.allow(actor, organization, Action::CredentialTransfer, &subject).await?;
        }
        let now = self.clock.now();
        connection.owner_id = user.clone();
        connection.updated_at = now;
        let mut change = self.store.begin().await.map_err(store_failed)?;
        connection.version =
            connections::update(&mut change, &connection).await.map_err(store_failed)?;
        if goes_along {
            credential.owner_id = user.clone();
            credential.updated_at = now;
            credentials::update(&mut change, &credential).await.map_err(store_failed)?;
        }
        let mut event = Event::done("connection.transfer", Target::new("connection", id))
            .with("from", &before)
            .with("to", user);
        if goes_along {
            event = event.with("credential", &credential.id);
        }
        self.commit(change, actor, Some(organization), event).await?;
        self.connection_details(connection).await
    }
}
