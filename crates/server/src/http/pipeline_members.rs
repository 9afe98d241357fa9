//! Members of a pipeline: who takes part in it, and as what.

use axum::Json;
use axum::extract::State;
use keyferry_api::List;
use keyferry_api::pipeline_members::{PipelineMemberView, SetPipelineMember};
use keyferry_broker::pipelines::PipelineMemberRecord;
use keyferry_domain::id::{OrganizationId, PipelineId, UserId};

use super::AppState;
use super::answer::{Answer, Done, answer, done};
use super::extract::{Body, Caller, Path};

/// Lists who takes part in a pipeline, all of them.
#[utoipa::path(
    get, path = "/pipelines/{pipeline}/members", operation_id = "list_pipeline_members",
    tag = "pipelines",
    params(("pipeline" = String, Path, description = "The pipeline's id")),
    responses((status = 200, body = List<PipelineMemberView>))
)]
pub(super) async fn list_pipeline_members(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((organization, pipeline)): Path<(OrganizationId, PipelineId)>,
) -> Answer<Json<List<PipelineMemberView>>> {
    let found = state.broker.list_pipeline_members(&actor, &organization, &pipeline).await;
    answer(&actor, found, |members| List {
        items: members.into_iter().map(view).collect(),
        next_cursor: None,
    })
}

/// Gives a member of the organization a role in a pipeline, or another one.
#[utoipa::path(
    put, path = "/pipelines/{pipeline}/members/{user}", operation_id = "set_pipeline_member",
    tag = "pipelines",
    params(
        ("pipeline" = String, Path, description = "The pipeline's id"),
        ("user" = String, Path, description = "The member's user id"),
    ),
    request_body = SetPipelineMember,
    responses((status = 200, body = PipelineMemberView))
)]
pub(super) async fn set_pipeline_member(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((organization, pipeline, user)): Path<(OrganizationId, PipelineId, UserId)>,
    Body(body): Body<SetPipelineMember>,
) -> Answer<Json<PipelineMemberView>> {
    let set = state
        .broker
        .set_pipeline_member(&actor, &organization, &pipeline, &user, body.role, body.version)
        .await;
    answer(&actor, set, view)
}

/// Takes somebody out of a pipeline.
#[utoipa::path(
    delete, path = "/pipelines/{pipeline}/members/{user}", operation_id = "delete_pipeline_member",
    tag = "pipelines",
    params(
        ("pipeline" = String, Path, description = "The pipeline's id"),
        ("user" = String, Path, description = "The member's user id"),
    ),
    responses((status = 204))
)]
pub(super) async fn delete_pipeline_member(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((organization, pipeline, user)): Path<(OrganizationId, PipelineId, UserId)>,
) -> Answer<Done> {
    done(&actor, state.broker.delete_pipeline_member(&actor, &organization, &pipeline, &user).await)
}

fn view(member: PipelineMemberRecord) -> PipelineMemberView {
    PipelineMemberView { user_id: member.user_id, role: member.role, version: member.version }
}
