//! Bindings: approving a place as it is now, and taking an approval back.

use keyferry_domain::audit::Target;
use keyferry_domain::id::{BindingId, OrganizationId};
use keyferry_domain::{Actor, Error, Result};
use keyferry_pipeline::Definition;
use keyferry_policy::Action;
use keyferry_store::bindings;
use keyferry_store::bindings::{BindingRecord, BindingState};
use keyferry_vault::fingerprint;

use crate::Broker;
use crate::audit::Event;
use crate::failure::store_failed;

impl Broker {
    /// Lets a place use its connection, exactly as it is in `revision`. Only someone who may use
    /// the connection can do that, and only for the revision they have looked at.
    pub async fn approve_binding(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &BindingId,
        revision: i64,
    ) -> Result<BindingRecord> {
        let mut binding = self.find_binding(organization, id).await?;
        let connection = self.find_connection(organization, &binding.connection_id).await?;
        let subject = self.connection_subject(&connection).await?;
        self.allow(actor, organization, Action::BindingApprove, &subject).await?;
        let pipeline = self.find_pipeline(organization, &binding.pipeline_id).await?;
        if pipeline.current_revision != revision {
            return Err(Error::stale("the pipeline", pipeline.current_revision)
                .hint("look at the present revision, then approve that one"));
        }
        let text = self.find_revision(organization, &pipeline.id, revision).await?.yaml;
        let definition = Definition::parse(&text)
            .map_err(|_| Error::internal("a saved revision that cannot be read"))?;
        let place = definition
            .places()
            .into_iter()
            .find(|place| place.path == binding.place)
            .ok_or_else(|| Error::internal("a binding without its place"))?;
        let now = self.clock.now();
        binding.fingerprint = fingerprint(&place.canonical);
        binding.revision = revision;
        binding.state = BindingState::Approved;
        binding.reason = None;
        binding.approved_by = actor.user().cloned();
        binding.approved_at = Some(now);
        binding.updated_at = now;
        binding.version = bindings::update(&self.store, &binding).await.map_err(store_failed)?;
        self.leases.forget();
        let event = Event::done("binding.approve", Target::new("binding", id))
            .with("connection", &binding.connection_id)
            .with("pipeline", &binding.pipeline_id)
            .with("place", &binding.place)
            .with("fingerprint", &binding.fingerprint);
        self.record(actor, Some(organization), event).await?;
        Ok(binding)
    }

    /// Takes a place's right back. Leases that were given under it end with their jobs.
    pub async fn revoke_binding(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &BindingId,
    ) -> Result<()> {
        let mut binding = self.find_binding(organization, id).await?;
        let connection = self.find_connection(organization, &binding.connection_id).await?;
        let connection = self.connection_subject(&connection).await?;
        // Whoever looks after the pipeline may take it back too.
        let pipeline = self.find_pipeline(organization, &binding.pipeline_id).await?;
        let pipeline = self.pipeline_subject(&pipeline).await?;
        if !self.may(actor, organization, Action::BindingRevoke, &pipeline).await? {
            self.allow(actor, organization, Action::BindingRevoke, &connection).await?;
        }
        binding.state = BindingState::Revoked;
        binding.reason = None;
        binding.updated_at = self.clock.now();
        bindings::update(&self.store, &binding).await.map_err(store_failed)?;
        self.leases.forget();
        let event = Event::done("binding.revoke", Target::new("binding", id))
            .with("connection", &binding.connection_id)
            .with("place", &binding.place);
        self.record(actor, Some(organization), event).await
    }

    async fn find_binding(
        &self,
        organization: &OrganizationId,
        id: &BindingId,
    ) -> Result<BindingRecord> {
        bindings::find(&self.store, organization, id)
            .await
            .map_err(store_failed)?
            .ok_or_else(|| Error::not_found(format!("binding `{id}`")))
    }
}
