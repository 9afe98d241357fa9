//! Saving a revision, and with it the pipeline's rights.
//!
//! A place that names a connection is approved for exactly what it is now when the author may use
//! the connection. Otherwise an earlier approval holds only as long as the place has not changed;
//! else the place waits for someone who may use the connection. So nobody can edit a pipeline to
//! smuggle out somebody else's connection, and the pipelines of people who leave keep running.

use keyferry_domain::audit::Target;
use keyferry_domain::connection::ConnectionId;
use keyferry_domain::id::{BindingId, OrganizationId, PipelineId, UserId};
use keyferry_domain::{Actor, Error, Result, Timestamp};
use keyferry_pipeline::Definition;
use keyferry_policy::Action;
use keyferry_store::bindings::{BindingRecord, BindingState};
use keyferry_store::pipelines::{PipelineRecord, RevisionRecord};
use keyferry_store::{Change, StoreError, bindings, connections, fold, pipelines};
use keyferry_vault::fingerprint;

use super::PipelineDetails;
use super::check::invalid_pipeline;
use crate::Broker;
use crate::access::Subject;
use crate::audit::Event;
use crate::failure::store_failed;
use crate::names::check_name;

/// A connection named in a place, and whether the author may use it.
struct Wanted {
    place: String,
    fingerprint: String,
    connection: ConnectionId,
    author_may_use: bool,
}

impl Broker {
    /// Creates a pipeline. With a mistake in it, nothing is saved.
    pub async fn create_pipeline(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        name: &str,
        yaml: &str,
    ) -> Result<PipelineDetails> {
        self.allow(actor, organization, Action::PipelineCreate, &Subject::Organization).await?;
        let author = author(actor)?;
        let name = check_name("/name", name)?;
        let definition = self.definition_to_save(actor, organization, yaml).await?;
        let wanted = self.wanted(actor, organization, &definition).await?;
        let now = self.clock.now();
        let pipeline = PipelineRecord {
            organization_id: organization.clone(),
            id: PipelineId::generate(&*self.clock, &*self.random),
            name_folded: fold(&name),
            name,
            owner_id: author.clone(),
            current_revision: 1,
            last_run_number: 0,
            created_at: now,
            updated_at: now,
            deleted_at: None,
            version: 1,
        };
        let revision = revision(&pipeline, &definition, yaml, author, now);
        let mut change = self.store.begin().await.map_err(store_failed)?;
        pipelines::create(&mut change, &pipeline, &revision).await.map_err(store_failed)?;
        let waiting = self.bind(&mut change, &pipeline, author, wanted, now).await?;
        let event = Event::done("pipeline.create", Target::new("pipeline", &pipeline.id))
            .with("name", &pipeline.name)
            .with("places_waiting", waiting);
        self.commit(change, actor, Some(organization), event).await?;
        self.pipeline_details(pipeline).await
    }

    /// Saves a new revision, a new name, or both. With a mistake, nothing is saved.
    pub async fn update_pipeline(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &PipelineId,
        name: Option<&str>,
        yaml: Option<&str>,
        version: i64,
    ) -> Result<PipelineDetails> {
        let mut pipeline =
            self.allowed_pipeline(actor, organization, id, Action::PipelineUpdate).await?;
        let author = author(actor)?;
        if name.is_none() && yaml.is_none() {
            return Err(Error::invalid("nothing_to_change", "neither a name nor a text is given"));
        }
        // A lost race is told before anything else: what follows may be about another state.
        if version != pipeline.version {
            return Err(Error::stale("the pipeline", pipeline.version));
        }
        if let Some(name) = name {
            pipeline.name = check_name("/name", name)?;
            pipeline.name_folded = fold(&pipeline.name);
            let same = pipelines::find_by_name(&self.store, organization, name)
                .await
                .map_err(store_failed)?;
            if same.is_some_and(|same| same.id != *id) {
                return Err(Error::conflict("already_exists", "there is such a pipeline already")
                    .hint("choose another name"));
            }
        }
        let now = self.clock.now();
        pipeline.updated_at = now;
        let (change, waiting) = match yaml {
            None => {
                let mut change = self.store.begin().await.map_err(store_failed)?;
                pipelines::update(&mut change, &pipeline).await.map_err(store_failed)?;
                (change, 0)
            }
            Some(yaml) => {
                let definition = self.definition_to_save(actor, organization, yaml).await?;
                let wanted = self.wanted(actor, organization, &definition).await?;
                pipeline.current_revision += 1;
                let revision = revision(&pipeline, &definition, yaml, author, now);
                let mut change = self.store.begin().await.map_err(store_failed)?;
                pipelines::save_revision(&mut change, &pipeline, &revision)
                    .await
                    .map_err(store_failed)?;
                let waiting = self.bind(&mut change, &pipeline, author, wanted, now).await?;
                (change, waiting)
            }
        };
        let event = Event::done("pipeline.update", Target::new("pipeline", id))
            .with("revision", pipeline.current_revision)
            .with("places_waiting", waiting);
        self.commit(change, actor, Some(organization), event).await?;
        let pipeline = self.find_pipeline(organization, id).await?;
        self.pipeline_details(pipeline).await
    }

    /// Deletes a pipeline and its rights. Runs that go on are canceled, since they have no rights
    /// any more; the others and their logs stay.
    pub async fn delete_pipeline(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &PipelineId,
    ) -> Result<()> {
        let pipeline =
            self.allowed_pipeline(actor, organization, id, Action::PipelineDelete).await?;
        let now = self.clock.now();
        let mut change = self.store.begin().await.map_err(store_failed)?;
        pipelines::delete(&mut change, &pipeline, now).await.map_err(store_failed)?;
        let event = Event::done("pipeline.delete", Target::new("pipeline", id))
            .with("name", &pipeline.name);
        self.commit(change, actor, Some(organization), event).await?;
        self.cancel_runs_of_pipeline(actor, organization, id).await
    }

    async fn definition_to_save(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        yaml: &str,
    ) -> Result<Definition> {
        self.read_definition(actor, organization, yaml)
            .await?
            .map_err(|diagnostics| invalid_pipeline(&diagnostics))
    }

    /// Collects what each place names, and whether the author may use it.
    async fn wanted(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        definition: &Definition,
    ) -> Result<Vec<Wanted>> {
        let mut all: Vec<Wanted> = Vec::new();
        for place in definition.places() {
            let fingerprint = fingerprint(&place.canonical);
            for used in &place.connections {
                let connection: ConnectionId = used.id.parse().map_err(Error::internal)?;
                let is_known =
                    |known: &Wanted| known.place == place.path && known.connection == connection;
                if all.iter().any(is_known) {
                    continue;
                }
                let record = self.find_connection(organization, &connection).await?;
                let subject = self.connection_subject(&record).await?;
                let author_may_use =
                    self.may(actor, organization, Action::ConnectionUse, &subject).await?;
                all.push(Wanted {
                    place: place.path.clone(),
                    fingerprint: fingerprint.clone(),
                    connection,
                    author_may_use,
                });
            }
        }
        Ok(all)
    }

    /// Writes the rights of the new revision; returns how many places wait for approval.
    async fn bind(
        &self,
        change: &mut Change,
        pipeline: &PipelineRecord,
        author: &UserId,
        wanted: Vec<Wanted>,
        now: Timestamp,
    ) -> Result<usize> {
        let organization = &pipeline.organization_id;
        let earlier = bindings::list_by_pipeline(&mut *change, organization, &pipeline.id)
            .await
            .map_err(store_failed)?;
        let mut waiting = 0;
        for want in wanted {
            let before = earlier
                .iter()
                .find(|known| known.place == want.place && known.connection_id == want.connection);
            let id = || BindingId::generate(&*self.clock, &*self.random);
            let mut binding = before.cloned().unwrap_or_else(|| BindingRecord {
                organization_id: organization.clone(),
                id: id(),
                pipeline_id: pipeline.id.clone(),
                connection_id: want.connection.clone(),
                place: want.place.clone(),
                fingerprint: String::new(),
                revision: 0,
                state: BindingState::NeedsApproval,
                reason: None,
                approved_by: None,
                approved_at: None,
                created_at: now,
                updated_at: now,
                version: 1,
            });
            let is_unchanged = binding.fingerprint == want.fingerprint;
            binding.revision = pipeline.current_revision;
            binding.fingerprint = want.fingerprint;
            binding.updated_at = now;
            if want.author_may_use {
                binding.state = BindingState::Approved;
                binding.reason = None;
                binding.approved_by = Some(author.clone());
                binding.approved_at = Some(now);
            } else if !(is_unchanged && binding.state == BindingState::Approved) {
                binding.state = BindingState::NeedsApproval;
                binding.reason = None;
                binding.approved_by = None;
                binding.approved_at = None;
                waiting += 1;
            }
            match before {
                Some(_) => bindings::update(&mut *change, &binding).await.map(drop),
                None => bindings::create(&mut *change, &binding).await,
            }
            .map_err(binding_failed)?;
        }
        bindings::delete_before_revision(
            &mut *change,
            organization,
            &pipeline.id,
            pipeline.current_revision,
        )
        .await
        .map_err(store_failed)?;
        // A connection may have been deleted since it was looked at.
        for binding in bindings::list_by_pipeline(&mut *change, organization, &pipeline.id)
            .await
            .map_err(store_failed)?
        {
            let found = connections::find(&mut *change, organization, &binding.connection_id)
                .await
                .map_err(store_failed)?;
            if found.is_none() {
                return Err(Error::conflict(
                    "gone",
                    format!("connection `{}` was deleted in the meantime", binding.connection_id),
                ));
            }
        }
        Ok(waiting)
    }
}

/// Somebody approved or revoked a binding at the same moment. Its version is not the pipeline's,
/// so it must not be told as such.
fn binding_failed(error: StoreError) -> Error {
    match error {
        StoreError::Stale { .. } => {
            let message = "a binding of this pipeline was approved or revoked at the same moment";
            Error::conflict("binding_moved", message).hint("nothing was saved; save again")
        }
        other => store_failed(other),
    }
}

fn author(actor: &Actor) -> Result<&UserId> {
    actor.user().ok_or_else(|| Error::denied("not_a_person", "only people write pipelines"))
}

fn revision(
    pipeline: &PipelineRecord,
    definition: &Definition,
    yaml: &str,
    author: &UserId,
    now: Timestamp,
) -> RevisionRecord {
    let places: Vec<String> = definition.places().into_iter().map(|place| place.path).collect();
    RevisionRecord {
        organization_id: pipeline.organization_id.clone(),
        pipeline_id: pipeline.id.clone(),
        number: pipeline.current_revision,
        yaml: yaml.to_owned(),
        summary: serde_json::json!({ "places": places }),
        author_id: author.clone(),
        created_at: now,
    }
}
