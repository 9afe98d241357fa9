//! API tokens of people. The text of one is answered once, when it is made.

use axum::Json;
use axum::extract::State;
use keyferry_api::tokens::{CreateToken, TokenCreated, TokenView};
use keyferry_api::{List, PageQuery};
use keyferry_broker::tokens::{NewToken, PersonalToken};
use keyferry_domain::id::{OrganizationId, TokenId};
use keyferry_domain::page::PageRequest;

use super::AppState;
use super::answer::{Answer, Created, Done, created, done, page};
use super::extract::{Body, Caller, Path, Query};
use super::problem::Failure;

/// Creates an API token of the caller.
#[utoipa::path(
    post, path = "/tokens", operation_id = "create_token", tag = "tokens",
    request_body = CreateToken,
    responses((status = 201, body = TokenCreated))
)]
pub(super) async fn create_token(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path(organization): Path<OrganizationId>,
    Body(body): Body<CreateToken>,
) -> Answer<Created<TokenCreated>> {
    let made =
        state.broker.create_token(&actor, &organization, &body.name, body.expires_in_days).await;
    created(&actor, made, created_view)
}

/// Lists the caller's tokens; those who may see everyone's get everyone's.
#[utoipa::path(
    get, path = "/tokens", operation_id = "list_tokens", tag = "tokens",
    params(PageQuery),
    responses((status = 200, body = List<TokenView>))
)]
pub(super) async fn list_tokens(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path(organization): Path<OrganizationId>,
    Query(query): Query<PageQuery>,
) -> Answer<Json<List<TokenView>>> {
    let request = PageRequest::new(query.limit, query.cursor)
        .map_err(|error| Failure::new(error, actor.request.clone()))?;
    page(&actor, state.broker.list_tokens(&actor, &organization, &request).await, view)
}

/// Revokes a token; it stops working at once.
#[utoipa::path(
    delete, path = "/tokens/{token}", operation_id = "delete_token", tag = "tokens",
    params(("token" = String, Path, description = "The token's id")),
    responses((status = 204))
)]
pub(super) async fn delete_token(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((organization, token)): Path<(OrganizationId, TokenId)>,
) -> Answer<Done> {
    done(&actor, state.broker.delete_token(&actor, &organization, &token).await)
}

fn created_view(made: NewToken) -> TokenCreated {
    TokenCreated { token: made.text.into(), view: view(made.token) }
}

fn view(token: PersonalToken) -> TokenView {
    TokenView {
        id: token.id,
        user_id: token.user,
        name: token.name,
        hint: token.hint,
        created_at: token.created_at,
        expires_at: token.expires_at,
        last_used_at: token.last_used_at,
    }
}
