//! Groups: named sets of members.

use axum::Json;
use axum::extract::State;
use keyferry_api::groups::{CreateGroup, GroupView, UpdateGroup};
use keyferry_api::{List, PageQuery};
use keyferry_broker::groups::Group;
use keyferry_domain::id::{GroupId, OrganizationId};
use keyferry_domain::page::PageRequest;

use super::AppState;
use super::answer::{Answer, Created, Done, answer, created, done, page};
use super::extract::{Body, Caller, Path, Query};
use super::problem::Failure;

/// Creates a group.
#[utoipa::path(
    post, path = "/groups", operation_id = "create_group", tag = "groups",
    request_body = CreateGroup,
    responses((status = 201, body = GroupView))
)]
pub(super) async fn create_group(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path(organization): Path<OrganizationId>,
    Body(body): Body<CreateGroup>,
) -> Answer<Created<GroupView>> {
    let made = state.broker.create_group(&actor, &organization, &body.name, &body.users).await;
    created(&actor, made, view)
}

/// Lists the groups of the organization, by name.
#[utoipa::path(
    get, path = "/groups", operation_id = "list_groups", tag = "groups",
    params(PageQuery),
    responses((status = 200, body = List<GroupView>))
)]
pub(super) async fn list_groups(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path(organization): Path<OrganizationId>,
    Query(query): Query<PageQuery>,
) -> Answer<Json<List<GroupView>>> {
    let request = PageRequest::new(query.limit, query.cursor)
        .map_err(|error| Failure::new(error, actor.request.clone()))?;
    page(&actor, state.broker.list_groups(&actor, &organization, &request).await, view)
}

/// Replaces a group's name and users.
#[utoipa::path(
    put, path = "/groups/{group}", operation_id = "update_group", tag = "groups",
    params(("group" = String, Path, description = "The group's id")),
    request_body = UpdateGroup,
    responses((status = 200, body = GroupView))
)]
pub(super) async fn update_group(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((organization, group)): Path<(OrganizationId, GroupId)>,
    Body(body): Body<UpdateGroup>,
) -> Answer<Json<GroupView>> {
    let changed = state
        .broker
        .update_group(&actor, &organization, &group, &body.name, &body.users, body.version)
        .await;
    answer(&actor, changed, view)
}

/// Deletes a group; connections that were open to it are not any more.
#[utoipa::path(
    delete, path = "/groups/{group}", operation_id = "delete_group", tag = "groups",
    params(("group" = String, Path, description = "The group's id")),
    responses((status = 204))
)]
pub(super) async fn delete_group(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((organization, group)): Path<(OrganizationId, GroupId)>,
) -> Answer<Done> {
    done(&actor, state.broker.delete_group(&actor, &organization, &group).await)
}

fn view(found: Group) -> GroupView {
    GroupView {
        id: found.group.id,
        name: found.group.name,
        users: found.users,
        version: found.group.version,
    }
}
