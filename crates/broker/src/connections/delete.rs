//! Deleting a connection, and with it what only it has used.

use std::collections::BTreeSet;

use keyferry_domain::audit::Target;
use keyferry_domain::connection::ConnectionId;
use keyferry_domain::id::OrganizationId;
use keyferry_domain::{Actor, Error, Result};
use keyferry_policy::Action;
use keyferry_store::bindings::BindingState;
use keyferry_store::{bindings, connections, credentials, pipelines};

use crate::Broker;
use crate::audit::Event;
use crate::credentials::connections_on;
use crate::failure::store_failed;
use crate::leases::{EndedLeases, LeasesOf};

/// Bindings of one connection that are looked at.
const MOST_BINDINGS: u32 = 1_000;

impl Broker {
    /// Deletes a connection. One that pipelines use is deleted by force only; their bindings break
    /// with a reason that names it. Its live leases end, and its credential goes too, unless other
    /// connections stand on it or the caller may not delete it.
    pub async fn delete_connection(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &ConnectionId,
        force: bool,
    ) -> Result<()> {
        let connection =
            self.allowed_connection(actor, organization, id, Action::ConnectionDelete).await?;
        let used_by = self.pipelines_using(organization, id).await?;
        if !used_by.is_empty() && !force {
            let target = Target::new("connection", id);
            let event = Event::refused("connection.delete", target, "pipelines use it");
            self.record(actor, Some(organization), event).await?;
            return Err(Error::conflict("connection_in_use", "pipelines use this connection")
                .used_by(used_by)
                .hint("name another connection in them first, or delete it by force"));
        }
        let credential = self.credential_of(&connection).await?;
        let subject = self.credential_subject(&credential).await?;
        let may_delete = self.may(actor, organization, Action::CredentialDelete, &subject).await?;
        let now = self.clock.now();
        let reason = format!("connection `{id}` (`{}`) was deleted", connection.name);

        let mut change = self.store.begin().await.map_err(store_failed)?;
        connections::delete(&mut change, &connection, now).await.map_err(store_failed)?;
        let broken = bindings::break_by_connection(&mut change, organization, id, &reason, now)
            .await
            .map_err(store_failed)?;
        let is_last = connections_on(&mut change, organization, &credential.id).await?.is_empty();
        let goes_along = may_delete && is_last && credential.deleted_at.is_none();
        if goes_along {
            credentials::delete(&mut change, &credential, now, now).await.map_err(store_failed)?;
        }
        let of = LeasesOf::Connection(id.clone());
        let ended = EndedLeases::within(&mut change, organization, of, now).await?;
        let mut event = Event::done("connection.delete", Target::new("connection", id))
            .with("broken_bindings", broken.len());
        if goes_along {
            event = event.with("credential", &credential.id);
        }
        self.commit_ends(change, actor, vec![(Some(organization), event)], &[ended]).await
    }

    /// Lists the pipelines that name a connection, by name, each once.
    pub(super) async fn pipelines_using(
        &self,
        organization: &OrganizationId,
        id: &ConnectionId,
    ) -> Result<Vec<String>> {
        let bound = bindings::list_by_connection(&self.store, organization, id, MOST_BINDINGS)
            .await
            .map_err(store_failed)?;
        let using: BTreeSet<_> = bound
            .into_iter()
            .filter(|binding| binding.state != BindingState::Broken)
            .map(|binding| binding.pipeline_id)
            .collect();
        let mut names = BTreeSet::new();
        for pipeline in using {
            let found = pipelines::find(&self.store, organization, &pipeline)
                .await
                .map_err(store_failed)?;
            names.extend(found.map(|pipeline| pipeline.name));
        }
        Ok(names.into_iter().collect())
    }
}
