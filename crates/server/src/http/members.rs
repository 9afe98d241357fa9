//! Members: people's places in an organization.

use axum::Json;
use axum::extract::State;
use keyferry_api::members::{CreateMember, MemberCreated, MemberView, UpdateMember};
use keyferry_api::{List, PageQuery};
use keyferry_broker::members::{Member, NewMember};
use keyferry_domain::id::{OrganizationId, UserId};
use keyferry_domain::page::PageRequest;

use super::AppState;
use super::answer::{Answer, Created, Done, answer, created, done, page};
use super::extract::{Body, Caller, Path, Query};
use super::problem::Failure;

/// Invites a person into the organization. Whether the address has an account already is not told.
#[utoipa::path(
    post, path = "/members", operation_id = "create_member", tag = "members",
    request_body = CreateMember,
    responses((status = 201, body = MemberCreated))
)]
pub(super) async fn create_member(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path(organization): Path<OrganizationId>,
    Body(body): Body<CreateMember>,
) -> Answer<Created<MemberCreated>> {
    let made =
        state.broker.create_member(&actor, &organization, &body.email, &body.name, body.role).await;
    created(&actor, made, created_view)
}

/// Lists the members of the organization.
#[utoipa::path(
    get, path = "/members", operation_id = "list_members", tag = "members",
    params(PageQuery),
    responses((status = 200, body = List<MemberView>))
)]
pub(super) async fn list_members(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path(organization): Path<OrganizationId>,
    Query(query): Query<PageQuery>,
) -> Answer<Json<List<MemberView>>> {
    let request = PageRequest::new(query.limit, query.cursor)
        .map_err(|error| Failure::new(error, actor.request.clone()))?;
    page(&actor, state.broker.list_members(&actor, &organization, &request).await, view)
}

/// Changes a member's role.
#[utoipa::path(
    patch, path = "/members/{user}", operation_id = "update_member", tag = "members",
    params(("user" = String, Path, description = "The user's id")),
    request_body = UpdateMember,
    responses((status = 200, body = MemberView))
)]
pub(super) async fn update_member(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((organization, user)): Path<(OrganizationId, UserId)>,
    Body(body): Body<UpdateMember>,
) -> Answer<Json<MemberView>> {
    let changed =
        state.broker.update_member(&actor, &organization, &user, body.role, body.version).await;
    answer(&actor, changed, view)
}

/// Removes a member, or leaves.
#[utoipa::path(
    delete, path = "/members/{user}", operation_id = "delete_member", tag = "members",
    params(("user" = String, Path, description = "The user's id")),
    responses((status = 204))
)]
pub(super) async fn delete_member(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((organization, user)): Path<(OrganizationId, UserId)>,
) -> Answer<Done> {
    done(&actor, state.broker.delete_member(&actor, &organization, &user).await)
}

fn created_view(made: NewMember) -> MemberCreated {
    MemberCreated { member: view(made.member), invitation_token: made.invitation.into() }
}

fn view(found: Member) -> MemberView {
    MemberView {
        invited: found.is_invited(),
        user_id: found.user.id,
        email: found.user.email,
        name: found.user.name,
        role: found.member.role,
        created_at: found.member.created_at,
        version: found.member.version,
    }
}
