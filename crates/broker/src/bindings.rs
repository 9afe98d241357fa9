//! Bindings: approving a place as it is now, and taking an approval back.

use keyferry_domain::audit::Target;
use keyferry_domain::id::{BindingId, OrganizationId};
use keyferry_domain::{Actor, Error, ErrorKind, Result};
use keyferry_policy::Action;
use keyferry_store::bindings::{BindingRecord, BindingState};
use keyferry_store::pipelines::PipelineRecord;
use keyferry_store::{bindings, connections};
use keyferry_vault::fingerprint;

use crate::Broker;
use crate::access::Subject;
use crate::audit::Event;
use crate::failure::store_failed;
use crate::runs::read_revision;

/// A binding with the two things that it joins.
struct Found {
    binding: BindingRecord,
    pipeline: PipelineRecord,
    pipeline_subject: Subject,
    connection_subject: Subject,
}

impl Broker {
    /// Lets a place use its connection, exactly as it is in `revision`; returns the pipeline's name
    /// too. Only someone who may use the connection can do that, and only for the revision they
    /// have looked at.
    pub async fn approve_binding(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &BindingId,
        revision: i64,
    ) -> Result<(BindingRecord, String)> {
        let Found { mut binding, pipeline, connection_subject, pipeline_subject } =
            self.find_binding(organization, id).await?;
        if let Err(error) =
            self.allow(actor, organization, Action::BindingApprove, &connection_subject).await
        {
            return Err(self
                .hidden(actor, organization, &binding, &pipeline_subject, error)
                .await?);
        }
        if pipeline.current_revision != revision {
            let now = pipeline.current_revision;
            let message = format!("the pipeline is at revision {now} now, not {revision}");
            return Err(Error::conflict("stale_revision", message)
                .hint("look at the present revision, then approve that one"));
        }
        let record = self.find_revision(organization, &pipeline.id, revision).await?;
        let place = read_revision(&record)?
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
        let mut change = self.store.begin().await.map_err(store_failed)?;
        binding.version = bindings::update(&mut change, &binding).await.map_err(store_failed)?;
        let event = joined(Event::done("binding.approve", Target::new("binding", id)), &binding)
            .with("revision", revision)
            .with("fingerprint", &binding.fingerprint);
        self.commit(change, actor, Some(organization), event).await?;
        Ok((binding, pipeline.name))
    }

    /// Takes a place's right back. Leases that were given under it end with their jobs.
    pub async fn revoke_binding(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &BindingId,
    ) -> Result<()> {
        let Found { mut binding, connection_subject, pipeline_subject, .. } =
            self.find_binding(organization, id).await?;
        // Whoever looks after the pipeline may take it back too.
        if !self.may(actor, organization, Action::BindingRevoke, &pipeline_subject).await?
            && let Err(error) =
                self.allow(actor, organization, Action::BindingRevoke, &connection_subject).await
        {
            return Err(self
                .hidden(actor, organization, &binding, &pipeline_subject, error)
                .await?);
        }
        let by = match actor.user() {
            Some(user) => self.active_user(user).await?.map(|user| user.name),
            None => None,
        };
        binding.state = BindingState::Revoked;
        binding.reason = by.map(|name| format!("taken back by {name}"));
        binding.updated_at = self.clock.now();
        let mut change = self.store.begin().await.map_err(store_failed)?;
        bindings::update(&mut change, &binding).await.map_err(store_failed)?;
        let event = joined(Event::done("binding.revoke", Target::new("binding", id)), &binding);
        self.commit(change, actor, Some(organization), event).await
    }

    async fn find_binding(&self, organization: &OrganizationId, id: &BindingId) -> Result<Found> {
        let binding = bindings::find(&self.store, organization, id)
            .await
            .map_err(store_failed)?
            .ok_or_else(|| missing(id))?;
        let connection =
            connections::find_with_deleted(&self.store, organization, &binding.connection_id)
                .await
                .map_err(store_failed)?
                .ok_or_else(|| Error::internal("a binding without its connection"))?;
        let connection_subject = self.connection_subject(&connection).await?;
        let pipeline = self.find_pipeline(organization, &binding.pipeline_id).await?;
        let pipeline_subject = self.pipeline_subject(&pipeline).await?;
        Ok(Found { binding, pipeline, pipeline_subject, connection_subject })
    }

    /// Decides how much a refusal tells to somebody who may not see the connection: those who see
    /// the pipeline see its bindings too; for the others there is no such binding.
    async fn hidden(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        binding: &BindingRecord,
        pipeline: &Subject,
        error: Error,
    ) -> Result<Error> {
        if error.kind() != ErrorKind::NotFound {
            return Ok(error);
        }
        if !self.may(actor, organization, Action::BindingRead, pipeline).await? {
            return Ok(missing(&binding.id));
        }
        let connection = &binding.connection_id;
        if binding.state == BindingState::Broken {
            let message = format!("connection `{connection}` was deleted");
            return Ok(Error::conflict("binding_broken", message)
                .hint("name another connection in the pipeline"));
        }
        let message = format!("you may not use connection `{connection}`");
        Ok(Error::denied("denied", message)
            .hint("this can be done by the connection's owner, or by another who may use it"))
    }
}

fn missing(id: &BindingId) -> Error {
    Error::not_found(format!("binding `{id}`"))
}

/// Adds what a binding joins.
fn joined(event: Event, binding: &BindingRecord) -> Event {
    event
        .with("connection", &binding.connection_id)
        .with("pipeline", &binding.pipeline_id)
        .with("place", &binding.place)
}
