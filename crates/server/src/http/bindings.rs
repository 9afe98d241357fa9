//! Bindings: approving a place of a pipeline, and taking an approval back.

use axum::Json;
use axum::extract::State;
use keyferry_api::bindings::{ApproveBinding, BindingView};
use keyferry_broker::pipelines::BindingRecord;
use keyferry_domain::id::{BindingId, OrganizationId};

use super::AppState;
use super::answer::{Answer, Done, answer, done};
use super::extract::{Body, Caller, Path};

/// Lets a place of a pipeline use its connection, as the place is in the given revision.
#[utoipa::path(
    post, path = "/bindings/{binding}/approve", operation_id = "approve_binding", tag = "bindings",
    params(("binding" = String, Path, description = "The binding's id")),
    request_body = ApproveBinding,
    responses((status = 200, body = BindingView))
)]
pub(super) async fn approve_binding(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((organization, binding)): Path<(OrganizationId, BindingId)>,
    Body(body): Body<ApproveBinding>,
) -> Answer<Json<BindingView>> {
    let approved =
        state.broker.approve_binding(&actor, &organization, &binding, body.revision).await;
    answer(&actor, approved, |(binding, pipeline)| view(binding, pipeline))
}

/// Takes a place's right back.
#[utoipa::path(
    delete, path = "/bindings/{binding}", operation_id = "revoke_binding", tag = "bindings",
    params(("binding" = String, Path, description = "The binding's id")),
    responses((status = 204))
)]
pub(super) async fn revoke_binding(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((organization, binding)): Path<(OrganizationId, BindingId)>,
) -> Answer<Done> {
    done(&actor, state.broker.revoke_binding(&actor, &organization, &binding).await)
}

pub(super) fn view(binding: BindingRecord, pipeline_name: String) -> BindingView {
    BindingView {
        id: binding.id,
        pipeline_id: binding.pipeline_id,
        pipeline_name,
        place: binding.place,
        connection_id: binding.connection_id,
        state: binding.state.as_str().to_owned(),
        approved_by: binding.approved_by,
        approved_at: binding.approved_at,
    }
}
