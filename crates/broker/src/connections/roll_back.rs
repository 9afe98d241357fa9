//! Making the version of a credential that was replaced current again, while it is there.

use keyferry_domain::audit::Target;
use keyferry_domain::connection::ConnectionId;
use keyferry_domain::credential::VersionState;
use keyferry_domain::id::OrganizationId;
use keyferry_domain::{Actor, Error, Result};
use keyferry_policy::Action;
use keyferry_store::{connections, credentials};

use super::reconfigure::{DEFAULT_OVERLAP, Reconfigured};
use crate::Broker;
use crate::audit::Event;
use crate::failure::store_failed;

impl Broker {
    /// Makes the version before current again. The service is asked, but not listened to: this is
    /// for when something has gone wrong, and the health tells what was found.
    pub async fn roll_back_connection(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &ConnectionId,
        version: i64,
    ) -> Result<Reconfigured> {
        let connection =
            self.allowed_connection(actor, organization, id, Action::ConnectionReconfigure).await?;
        if version != connection.version {
            return Err(Error::stale(format!("connection `{id}`"), connection.version));
        }
        let credential = self.credential_of(&connection).await?;
        let subject = self.credential_subject(&credential).await?;
        self.allow(actor, organization, Action::CredentialUpdate, &subject).await?;
        let now = self.clock.now();
        let versions = credentials::versions(&self.store, organization, &credential.id)
            .await
            .map_err(store_failed)?;
        let previous = versions
            .iter()
            .find(|version| {
                version.sealed.is_some()
                    && matches!(version.state(), VersionState::Previous { until } if until > now)
            })
            .ok_or_else(nothing_before)?;
        let opened = self.open_version(connection, &credential, previous.number).await?;
        let (health, _) = self.examine(&opened).await;
        let mut connection = opened.connection;
        connection.next_check_at = self.next_check(&connection, health.status);
        connection.set_health(health);
        connection.updated_at = now;

        let until = now.plus(DEFAULT_OVERLAP);
        let mut change = self.store.begin().await.map_err(store_failed)?;
        connection.version =
            connections::update(&mut change, &connection).await.map_err(store_failed)?;
        credentials::roll_back(&mut change, &credential, previous.number, now, until)
            .await
            .map_err(store_failed)?;
        let event = Event::done("connection.roll_back", Target::new("connection", id))
            .with("credential", &credential.id)
            .with("credential_version", previous.number)
            .with("health", connection.health_status);
        self.commit(change, actor, Some(organization), event).await?;
        self.leases.forget_connection(id);
        let used_by = self.pipelines_using(organization, id).await?;
        let details = self.connection_details(connection).await?;
        Ok(Reconfigured { details, used_by, overlap_until: Some(until) })
    }
}

fn nothing_before() -> Error {
    Error::conflict(
        "no_previous_version",
        "there is no version before that could be made current again: it was wiped, or there was none",
    )
    .hint("put the credential in again with `keyferry connection reconfigure`")
}
