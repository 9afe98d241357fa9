//! Sharing a pipeline: who takes part in it, and as what.
//!
//! Whoever made it is its first owner. A pipeline keeps an owner as long as one is a member of the
//! organization; when all have left, those who look after all pipelines choose a new one.

use keyferry_domain::audit::Target;
use keyferry_domain::id::{OrganizationId, PipelineId, UserId};
use keyferry_domain::{Actor, Error, PipelineRole, Result};
use keyferry_policy::Action;
use keyferry_store::pipelines::{self, PipelineMemberRecord, PipelineRecord};
use keyferry_store::{Change, members};

use crate::Broker;
use crate::audit::Event;
use crate::failure::store_failed;

/// Members of one pipeline at most; all of them are read whenever the policy is asked about it.
const MAX_MEMBERS: usize = 200;

impl Broker {
    /// Lists who takes part in a pipeline.
    pub async fn list_pipeline_members(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &PipelineId,
    ) -> Result<Vec<PipelineMemberRecord>> {
        self.allowed_pipeline(actor, organization, id, Action::PipelineRead).await?;
        pipelines::members(&self.store, organization, id).await.map_err(store_failed)
    }

    /// Gives a member of the organization a role in a pipeline. `version` is that of the place that
    /// they have in it; `None` for somebody new.
    pub async fn set_pipeline_member(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &PipelineId,
        user: &UserId,
        role: PipelineRole,
        version: Option<i64>,
    ) -> Result<PipelineMemberRecord> {
        let pipeline =
            self.allowed_pipeline(actor, organization, id, Action::PipelineShare).await?;
        let mut change = self.begin_among_members(organization).await?;
        if members::find(&mut change, organization, user).await.map_err(store_failed)?.is_none() {
            return Err(Error::not_found(format!("member `{user}`")));
        }
        let before =
            pipelines::members(&mut change, organization, id).await.map_err(store_failed)?;
        let present = before.iter().find(|member| member.user_id == *user);
        let mut member = PipelineMemberRecord {
            organization_id: organization.clone(),
            pipeline_id: id.clone(),
            user_id: user.clone(),
            role,
            version: version.unwrap_or(1),
        };
        match version {
            Some(_) => {
                member.version =
                    pipelines::update_member(&mut change, &member).await.map_err(store_failed)?;
            }
            None if present.is_none() && before.len() >= MAX_MEMBERS => {
                let message = format!("the pipeline has {MAX_MEMBERS} members already");
                return Err(Error::conflict("too_many_members", message)
                    .hint("remove those who do not need it any more"));
            }
            None => pipelines::create_member(&mut change, &member).await.map_err(store_failed)?,
        }
        keep_an_owner(&mut change, &pipeline, present).await?;
        let from = present.map_or("none", |member| member.role.as_str());
        let event = shared(id, user, from, role.as_str());
        self.commit(change, actor, Some(organization), event).await?;
        Ok(member)
    }

    /// Takes somebody out of a pipeline.
    pub async fn delete_pipeline_member(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &PipelineId,
        user: &UserId,
    ) -> Result<()> {
        let pipeline =
            self.allowed_pipeline(actor, organization, id, Action::PipelineShare).await?;
        let mut change = self.begin_among_members(organization).await?;
        let present = pipelines::find_member(&mut change, organization, id, user)
            .await
            .map_err(store_failed)?
            .ok_or_else(|| Error::not_found(format!("member `{user}` of pipeline `{id}`")))?;
        pipelines::delete_member(&mut change, organization, id, user)
            .await
            .map_err(store_failed)?;
        keep_an_owner(&mut change, &pipeline, Some(&present)).await?;
        let event = shared(id, user, present.role.as_str(), "none");
        self.commit(change, actor, Some(organization), event).await?;
        Ok(())
    }
}

fn shared(id: &PipelineId, user: &UserId, from: &str, to: &str) -> Event {
    Event::done("pipeline.share", Target::new("pipeline", id))
        .with("user", user)
        .with("from", from)
        .with("to", to)
}

/// Refuses a change that took the last owner away, and names another as the pipeline's owner when
/// the one it has is none any more.
async fn keep_an_owner(
    change: &mut Change,
    pipeline: &PipelineRecord,
    before: Option<&PipelineMemberRecord>,
) -> Result<()> {
    let organization = &pipeline.organization_id;
    let owners: Vec<UserId> = pipelines::members(&mut *change, organization, &pipeline.id)
        .await
        .map_err(store_failed)?
        .into_iter()
        .filter(|member| member.role == PipelineRole::Owner)
        .map(|member| member.user_id)
        .collect();
    match owners.first() {
        None if before.is_some_and(|member| member.role == PipelineRole::Owner) => {
            Err(Error::conflict("last_owner", "a pipeline keeps at least one owner")
                .hint("make somebody else an owner first"))
        }
        Some(next) if !owners.contains(&pipeline.owner_id) => {
            let owned = PipelineRecord { owner_id: next.clone(), ..pipeline.clone() };
            pipelines::update(change, &owned).await.map_err(store_failed)?;
            Ok(())
        }
        _ => Ok(()),
    }
}
