//! Workloads: commands outside pipelines.

use axum::extract::State;
use keyferry_api::workloads::{CreateWorkload, WorkloadConnection, WorkloadCreated};
use keyferry_broker::workloads::NewWorkload;
use keyferry_domain::id::{OrganizationId, WorkloadId};

use super::AppState;
use super::answer::{Answer, Created, Done, created, done};
use super::extract::{Body, Caller, Path};

/// Starts a workload of the caller.
#[utoipa::path(
    post, path = "/workloads", operation_id = "create_workload", tag = "workloads",
    request_body = CreateWorkload,
    responses((status = 201, body = WorkloadCreated))
)]
pub(super) async fn create_workload(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path(organization): Path<OrganizationId>,
    Body(body): Body<CreateWorkload>,
) -> Answer<Created<WorkloadCreated>> {
    let made = state
        .broker
        .create_workload(
            &actor,
            &organization,
            &body.connections,
            body.lifetime_seconds,
            &body.label,
        )
        .await;
    created(&actor, made, view)
}

/// Ends a workload and its leases.
#[utoipa::path(
    delete, path = "/workloads/{workload}", operation_id = "end_workload", tag = "workloads",
    params(("workload" = String, Path, description = "The workload's id")),
    responses((status = 204))
)]
pub(super) async fn end_workload(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((organization, workload)): Path<(OrganizationId, WorkloadId)>,
) -> Answer<Done> {
    done(&actor, state.broker.end_workload(&actor, &organization, &workload).await)
}

fn view(made: NewWorkload) -> WorkloadCreated {
    WorkloadCreated {
        id: made.id,
        token: made.token.into(),
        expires_at: made.expires_at,
        connections: made
            .connections
            .into_iter()
            .map(|held| WorkloadConnection {
                connection_id: held.id,
                connection_type: held.connection_type.to_owned(),
                address: held.address,
                ca_certificate: held.ca_certificate,
            })
            .collect(),
    }
}
