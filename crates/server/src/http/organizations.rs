//! Organizations: tenants of one server.

use axum::Json;
use axum::extract::State;
use keyferry_api::List;
use keyferry_api::organizations::{CreateOrganization, OrganizationView, UpdateOrganization};
use keyferry_broker::organizations::OrganizationRecord;
use keyferry_domain::id::OrganizationId;

use super::AppState;
use super::answer::{Answer, Created, answer, created};
use super::extract::{Body, Caller, Path};

/// Creates an organization; the caller becomes its owner.
#[utoipa::path(
    post, path = "/organizations", operation_id = "create_organization", tag = "organizations",
    request_body = CreateOrganization,
    responses((status = 201, body = OrganizationView))
)]
pub(super) async fn create_organization(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Body(body): Body<CreateOrganization>,
) -> Answer<Created<OrganizationView>> {
    created(&actor, state.broker.create_organization(&actor, &body.name).await, view)
}

/// Lists the organizations that the caller belongs to.
#[utoipa::path(
    get, path = "/organizations", operation_id = "list_organizations", tag = "organizations",
    responses((status = 200, body = List<OrganizationView>))
)]
pub(super) async fn list_organizations(
    State(state): State<AppState>,
    Caller(actor): Caller,
) -> Answer<Json<List<OrganizationView>>> {
    let found = state.broker.list_organizations(&actor).await;
    answer(&actor, found, |found| List {
        items: found.into_iter().map(view).collect(),
        next_cursor: None,
    })
}

/// Gets an organization.
#[utoipa::path(
    get, path = "/", operation_id = "get_organization", tag = "organizations",
    responses((status = 200, body = OrganizationView))
)]
pub(super) async fn get_organization(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path(organization): Path<OrganizationId>,
) -> Answer<Json<OrganizationView>> {
    answer(&actor, state.broker.get_organization(&actor, &organization).await, view)
}

/// Renames an organization.
#[utoipa::path(
    patch, path = "/", operation_id = "update_organization", tag = "organizations",
    request_body = UpdateOrganization,
    responses((status = 200, body = OrganizationView))
)]
pub(super) async fn update_organization(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path(organization): Path<OrganizationId>,
    Body(body): Body<UpdateOrganization>,
) -> Answer<Json<OrganizationView>> {
    let changed =
        state.broker.update_organization(&actor, &organization, &body.name, body.version).await;
    answer(&actor, changed, view)
}

fn view(organization: OrganizationRecord) -> OrganizationView {
    OrganizationView {
        id: organization.id,
        name: organization.name,
        created_at: organization.created_at,
        version: organization.version,
    }
}
