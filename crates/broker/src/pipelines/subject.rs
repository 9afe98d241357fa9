//! A pipeline as the policies see it.

use keyferry_domain::id::{OrganizationId, PipelineId, UserId};
use keyferry_domain::{self as domain, Actor, Error, Result};
use keyferry_policy::{Action, PipelineMember, PipelineRole};
use keyferry_store::members;
use keyferry_store::pipelines::{self, PipelineMemberRecord, PipelineRecord};
use keyferry_store::runs::RunRecord;

use crate::Broker;
use crate::access::Subject;
use crate::failure::store_failed;

impl Broker {
    /// Finds a pipeline that has not been deleted.
    pub(crate) async fn find_pipeline(
        &self,
        organization: &OrganizationId,
        id: &PipelineId,
    ) -> Result<PipelineRecord> {
        pipelines::find(&self.store, organization, id)
            .await
            .map_err(store_failed)?
            .ok_or_else(|| missing(id))
    }

    /// Finds a pipeline and asks whether the actor may do this with it. To somebody who may not
    /// see it, one that exists and one that does not look the same.
    pub(crate) async fn allowed_pipeline(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &PipelineId,
        action: Action,
    ) -> Result<PipelineRecord> {
        let pipeline = self.find_pipeline(organization, id).await?;
        let subject = self.pipeline_subject(&pipeline).await?;
        self.allow(actor, organization, action, &subject).await?;
        Ok(pipeline)
    }

    /// Finds a pipeline, also a deleted one, whose runs can still be seen.
    pub(crate) async fn pipeline_of_run(&self, run: &RunRecord) -> Result<PipelineRecord> {
        pipelines::find_with_deleted(&self.store, &run.organization_id, &run.pipeline_id)
            .await
            .map_err(store_failed)?
            .ok_or_else(|| Error::internal("a run without its pipeline"))
    }

    /// Returns what the policies need to know of a pipeline. Somebody who has left the
    /// organization owns nothing in it any more, also after they came back.
    pub(crate) async fn pipeline_subject(&self, pipeline: &PipelineRecord) -> Result<Subject> {
        let organization = &pipeline.organization_id;
        let owner = members::find(&self.store, organization, &pipeline.owner_id)
            .await
            .map_err(store_failed)?;
        let taking_part = pipelines::members(&self.store, organization, &pipeline.id)
            .await
            .map_err(store_failed)?;
        let is_owner = |user: &UserId| {
            let owns = |member: &&PipelineMemberRecord| member.role == domain::PipelineRole::Owner;
            taking_part.iter().filter(owns).any(|member| member.user_id == *user)
        };
        let owner = owner.map(|member| member.user_id).filter(is_owner);
        let taking_part = taking_part
            .into_iter()
            .map(|member| {
                let role = match member.role {
                    // One owner is named; others may do the same.
                    domain::PipelineRole::Owner | domain::PipelineRole::Admin => {
                        PipelineRole::Admin
                    }
                    domain::PipelineRole::Runner => PipelineRole::Runner,
                    domain::PipelineRole::Viewer => PipelineRole::Viewer,
                };
                (PipelineMember::User(member.user_id), role)
            })
            .collect();
        Ok(Subject::Pipeline {
            pipeline: pipeline.id.clone(),
            owner,
            members: taking_part,
            is_deleted: pipeline.deleted_at.is_some(),
        })
    }
}

fn missing(id: &PipelineId) -> Error {
    Error::not_found(format!("pipeline `{id}`"))
}
