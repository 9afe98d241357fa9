//! Seeing pipelines and their revisions.

use keyferry_domain::id::{OrganizationId, PipelineId};
use keyferry_domain::page::{Page, PageRequest};
use keyferry_domain::{Actor, Error, Result};
use keyferry_policy::Action;
use keyferry_store::bindings::{BindingRecord, BindingState};
use keyferry_store::{bindings, connections, pipelines};

use super::{PipelineDetails, PipelineRecord, RevisionRecord};
use crate::Broker;
use crate::access::Subject;
use crate::failure::store_failed;

impl Broker {
    /// Gets a pipeline with its current revision and its rights.
    pub async fn get_pipeline(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &PipelineId,
    ) -> Result<PipelineDetails> {
        let pipeline = self.readable_pipeline(actor, organization, id).await?;
        self.pipeline_details(pipeline).await
    }

    /// Finds a pipeline that the caller may read, or that waits for their approval or has it:
    /// nobody can vouch for what they cannot read.
    async fn readable_pipeline(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &PipelineId,
    ) -> Result<PipelineRecord> {
        let pipeline = self.find_pipeline(organization, id).await?;
        let bound = bindings::list_by_pipeline(&self.store, organization, id)
            .await
            .map_err(store_failed)?;
        let concerns = |binding: &&BindingRecord| {
            binding.state == BindingState::NeedsApproval
                || (binding.approved_by.is_some() && binding.approved_by.as_ref() == actor.user())
        };
        for binding in bound.iter().filter(concerns) {
            let found = connections::find(&self.store, organization, &binding.connection_id)
                .await
                .map_err(store_failed)?;
            let Some(connection) = found else { continue };
            let subject = self.connection_subject(&connection).await?;
            if self.may(actor, organization, Action::BindingApprove, &subject).await? {
                return Ok(pipeline);
            }
        }
        self.allowed_pipeline(actor, organization, id, Action::PipelineRead).await
    }

    /// Lists the pipelines that the caller may see. A page may hold fewer entries than asked for
    /// although more follow.
    pub async fn list_pipelines(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        search: Option<&str>,
        page: &PageRequest,
    ) -> Result<Page<PipelineRecord>> {
        self.allow(actor, organization, Action::PipelineList, &Subject::Organization).await?;
        let found =
            pipelines::list(&self.store, organization, search, page).await.map_err(store_failed)?;
        let mut visible = Vec::new();
        for pipeline in found.items {
            let subject = self.pipeline_subject(&pipeline).await?;
            if self.may(actor, organization, Action::PipelineRead, &subject).await? {
                visible.push(pipeline);
            }
        }
        Ok(Page { items: visible, next_cursor: found.next_cursor })
    }

    /// Gets one revision of a pipeline.
    pub async fn get_revision(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &PipelineId,
        number: i64,
    ) -> Result<RevisionRecord> {
        self.readable_pipeline(actor, organization, id).await?;
        self.find_revision(organization, id, number).await
    }

    pub(crate) async fn find_revision(
        &self,
        organization: &OrganizationId,
        id: &PipelineId,
        number: i64,
    ) -> Result<RevisionRecord> {
        pipelines::find_revision(&self.store, organization, id, number)
            .await
            .map_err(store_failed)?
            .ok_or_else(|| Error::not_found(format!("revision {number} of pipeline `{id}`")))
    }

    pub(super) async fn pipeline_details(
        &self,
        pipeline: PipelineRecord,
    ) -> Result<PipelineDetails> {
        let organization = &pipeline.organization_id;
        let revision =
            self.find_revision(organization, &pipeline.id, pipeline.current_revision).await?;
        let bindings = bindings::list_by_pipeline(&self.store, organization, &pipeline.id)
            .await
            .map_err(store_failed)?;
        Ok(PipelineDetails { pipeline, revision, bindings })
    }
}
