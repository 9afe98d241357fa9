//! First start, invitations, sign-in, and who one is.
//!
//! Whatever takes a password or a one-time token counts as a try of the caller's address.

use axum::Json;
use axum::extract::State;
use keyferry_api::sessions::{
    AcceptInvitation, ChangePassword, CreateSession, CurrentUser, Membership, SessionCreated,
    SetUpServer,
};
use keyferry_broker::sessions;
use keyferry_domain::Actor;
use keyferry_domain::id::UserId;

use super::AppState;
use super::answer::{Answer, Created, Done, answer, created, done};
use super::extract::{AnonymousCaller, Body, Caller};
use super::problem::Failure;

/// Creates the first owner and their organization, by the one-time link of the first start.
#[utoipa::path(
    post, path = "/setup", operation_id = "set_up_server", tag = "sessions",
    request_body = SetUpServer,
    responses((status = 201, body = SessionCreated)),
    security(())
)]
pub(super) async fn set_up_server(
    State(state): State<AppState>,
    AnonymousCaller(actor): AnonymousCaller,
    Body(body): Body<SetUpServer>,
) -> Answer<Created<SessionCreated>> {
    count_try(&state, &actor, "first start")?;
    let session = state
        .broker
        .set_up_server(
            &actor,
            body.setup_token.secret(),
            &body.email,
            &body.name,
            body.password.secret(),
            &body.organization_name,
        )
        .await;
    created(&actor, session, session_view)
}

/// Accepts an invitation by choosing a password; who has an account on this server already gives
/// its password.
#[utoipa::path(
    post, path = "/invitations/accept", operation_id = "accept_invitation", tag = "sessions",
    request_body = AcceptInvitation,
    responses((status = 201, body = SessionCreated)),
    security(())
)]
pub(super) async fn accept_invitation(
    State(state): State<AppState>,
    AnonymousCaller(actor): AnonymousCaller,
    Body(body): Body<AcceptInvitation>,
) -> Answer<Created<SessionCreated>> {
    count_try(&state, &actor, "invitation")?;
    let (token, password) = (body.invitation_token.secret(), body.password.secret());
    // The password may be that of an account: a try at that too.
    let email = state.broker.invited_address(&actor, token).await;
    let email = email.map_err(|error| Failure::new(error, actor.request.clone()))?;
    count_try(&state, &actor, &email)?;
    created(&actor, state.broker.accept_invitation(&actor, token, password).await, session_view)
}

/// Signs in.
#[utoipa::path(
    post, path = "/sessions", operation_id = "create_session", tag = "sessions",
    request_body = CreateSession,
    responses((status = 201, body = SessionCreated)),
    security(())
)]
pub(super) async fn create_session(
    State(state): State<AppState>,
    AnonymousCaller(actor): AnonymousCaller,
    Body(body): Body<CreateSession>,
) -> Answer<Created<SessionCreated>> {
    count_try(&state, &actor, &body.email)?;
    let session = state.broker.create_session(&actor, &body.email, body.password.secret()).await;
    created(&actor, session, session_view)
}

/// Ends the session that the caller is using.
#[utoipa::path(
    delete, path = "/sessions/current", operation_id = "delete_session", tag = "sessions",
    responses((status = 204))
)]
pub(super) async fn delete_session(
    State(state): State<AppState>,
    Caller(actor): Caller,
) -> Answer<Done> {
    done(&actor, state.broker.delete_session(&actor).await)
}

/// Tells who the caller is.
#[utoipa::path(
    get, path = "/user", operation_id = "get_current_user", tag = "sessions",
    responses((status = 200, body = CurrentUser))
)]
pub(super) async fn get_current_user(
    State(state): State<AppState>,
    Caller(actor): Caller,
) -> Answer<Json<CurrentUser>> {
    answer(&actor, state.broker.get_current_user(&actor).await, user_view)
}

/// Changes the caller's password; every other session of theirs ends.
#[utoipa::path(
    put, path = "/user/password", operation_id = "change_password", tag = "sessions",
    request_body = ChangePassword,
    responses((status = 204))
)]
pub(super) async fn change_password(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Body(body): Body<ChangePassword>,
) -> Answer<Done> {
    count_try(&state, &actor, actor.user().map_or("", UserId::as_str))?;
    let (current, new) = (body.current_password.secret(), body.new_password.secret());
    done(&actor, state.broker.change_password(&actor, current, new).await)
}

/// Counts a try to guess at an account, or at a one-time link.
fn count_try(state: &AppState, actor: &Actor, account: &str) -> Answer<Done> {
    done(actor, state.throttle.admit(actor.address, account))
}

fn session_view(session: sessions::NewSession) -> SessionCreated {
    SessionCreated {
        token: session.token.into(),
        expires_at: session.expires_at,
        user: user_view(session.user),
    }
}

fn user_view(current: sessions::CurrentUser) -> CurrentUser {
    CurrentUser {
        id: current.user.id,
        email: current.user.email,
        name: current.user.name,
        memberships: current
            .memberships
            .into_iter()
            .map(|(organization, role)| Membership {
                organization_id: organization.id,
                organization_name: organization.name,
                role,
            })
            .collect(),
    }
}
