//! Connections: creating them, their whole life, and who may use them.

use axum::Json;
use axum::extract::State;
use keyferry_api::List;
use keyferry_api::connections::{
    ConnectionQuery, ConnectionReconfigured, ConnectionUsage, ConnectionView, CreateConnection,
    DeleteConnection, ExplainQuery, Explanation, HealthView, ReconfigureConnection,
    TransferConnection, UpdateConnection, VersionSeen,
};
use keyferry_broker::connections as broker;
use keyferry_broker::connections::{ConnectionDetails, Reconfigured};
use keyferry_domain::connection::{ConnectionId, Health};
use keyferry_domain::id::OrganizationId;
use keyferry_domain::page::PageRequest;

use super::AppState;
use super::answer::{Answer, Created, Done, answer, created, done, page};
use super::credentials::new_secrets;
use super::extract::{Body, Caller, Path, Query};
use super::problem::Failure;
use super::{bindings, leases};

/// Creates a connection, once the service has accepted its credential.
#[utoipa::path(
    post, path = "/connections", operation_id = "create_connection", tag = "connections",
    request_body = CreateConnection,
    responses((status = 201, body = ConnectionView))
)]
pub(super) async fn create_connection(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path(organization): Path<OrganizationId>,
    Body(body): Body<CreateConnection>,
) -> Answer<Created<ConnectionView>> {
    let new = new_connection(body);
    created(&actor, state.broker.create_connection(&actor, &organization, &new).await, view)
}

/// Lists connections by name: those the caller may use, or all for those who look after all.
#[utoipa::path(
    get, path = "/connections", operation_id = "list_connections", tag = "connections",
    params(ConnectionQuery),
    responses((status = 200, body = List<ConnectionView>))
)]
pub(super) async fn list_connections(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path(organization): Path<OrganizationId>,
    Query(query): Query<ConnectionQuery>,
) -> Answer<Json<List<ConnectionView>>> {
    let request = PageRequest::new(query.limit, query.cursor)
        .map_err(|error| Failure::new(error, actor.request.clone()))?;
    let wanted = broker::ConnectionQuery {
        connection_type: query.connection_type,
        search: query.search,
        health: query.health,
    };
    let found = state.broker.list_connections(&actor, &organization, &wanted, &request).await;
    page(&actor, found, view)
}

/// Gets a connection.
#[utoipa::path(
    get, path = "/connections/{connection}", operation_id = "get_connection", tag = "connections",
    params(("connection" = String, Path, description = "The connection ID")),
    responses((status = 200, body = ConnectionView))
)]
pub(super) async fn get_connection(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((organization, connection)): Path<(OrganizationId, ConnectionId)>,
) -> Answer<Json<ConnectionView>> {
    answer(&actor, state.broker.get_connection(&actor, &organization, &connection).await, view)
}

/// Changes name or scope.
#[utoipa::path(
    patch, path = "/connections/{connection}", operation_id = "update_connection", tag = "connections",
    params(("connection" = String, Path, description = "The connection ID")),
    request_body = UpdateConnection,
    responses((status = 200, body = ConnectionView))
)]
pub(super) async fn update_connection(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((organization, connection)): Path<(OrganizationId, ConnectionId)>,
    Body(body): Body<UpdateConnection>,
) -> Answer<Json<ConnectionView>> {
    let changes = broker::ConnectionChanges {
        name: body.name,
        scope: body.scope,
        users: body.users,
        groups: body.groups,
    };
    let outcome = state
        .broker
        .update_connection(&actor, &organization, &connection, &changes, body.version)
        .await;
    answer(&actor, outcome, view)
}

/// Deletes a connection; one that pipelines use by force only.
#[utoipa::path(
    delete, path = "/connections/{connection}", operation_id = "delete_connection", tag = "connections",
    params(
        ("connection" = String, Path, description = "The connection ID"),
        DeleteConnection,
    ),
    responses((status = 204))
)]
pub(super) async fn delete_connection(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((organization, connection)): Path<(OrganizationId, ConnectionId)>,
    Query(query): Query<DeleteConnection>,
) -> Answer<Done> {
    let deleted =
        state.broker.delete_connection(&actor, &organization, &connection, query.force).await;
    done(&actor, deleted)
}

/// Tries a connection again; that the service says no is an answer.
#[utoipa::path(
    post, path = "/connections/{connection}/verify", operation_id = "verify_connection", tag = "connections",
    params(("connection" = String, Path, description = "The connection ID")),
    responses((status = 200, body = ConnectionView))
)]
pub(super) async fn verify_connection(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((organization, connection)): Path<(OrganizationId, ConnectionId)>,
) -> Answer<Json<ConnectionView>> {
    answer(&actor, state.broker.verify_connection(&actor, &organization, &connection).await, view)
}

/// Puts a new credential or new settings into a connection. No pipeline is edited.
#[utoipa::path(
    post, path = "/connections/{connection}/reconfigure", operation_id = "reconfigure_connection", tag = "connections",
    params(("connection" = String, Path, description = "The connection ID")),
    request_body = ReconfigureConnection,
    responses((status = 200, body = ConnectionReconfigured))
)]
pub(super) async fn reconfigure_connection(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((organization, connection)): Path<(OrganizationId, ConnectionId)>,
    Body(body): Body<ReconfigureConnection>,
) -> Answer<Json<ConnectionReconfigured>> {
    let new = broker::Reconfiguration {
        credential: body.credential.map(new_secrets),
        credential_id: body.credential_id,
        settings: body.settings,
        overlap_seconds: body.overlap_seconds,
        skip_verify: body.skip_verify,
        version: body.version,
    };
    let changed =
        state.broker.reconfigure_connection(&actor, &organization, &connection, &new).await;
    answer(&actor, changed, reconfigured_view)
}

/// Makes the version of the credential before current again, while it is there.
#[utoipa::path(
    post, path = "/connections/{connection}/roll-back", operation_id = "roll_back_connection", tag = "connections",
    params(("connection" = String, Path, description = "The connection ID")),
    request_body = VersionSeen,
    responses((status = 200, body = ConnectionReconfigured))
)]
pub(super) async fn roll_back_connection(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((organization, connection)): Path<(OrganizationId, ConnectionId)>,
    Body(body): Body<VersionSeen>,
) -> Answer<Json<ConnectionReconfigured>> {
    let changed =
        state.broker.roll_back_connection(&actor, &organization, &connection, body.version).await;
    answer(&actor, changed, reconfigured_view)
}

/// Gives a connection and its credential to another member.
#[utoipa::path(
    post, path = "/connections/{connection}/transfer", operation_id = "transfer_connection", tag = "connections",
    params(("connection" = String, Path, description = "The connection ID")),
    request_body = TransferConnection,
    responses((status = 200, body = ConnectionView))
)]
pub(super) async fn transfer_connection(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((organization, connection)): Path<(OrganizationId, ConnectionId)>,
    Body(body): Body<TransferConnection>,
) -> Answer<Json<ConnectionView>> {
    let changed = state
        .broker
        .transfer_connection(&actor, &organization, &connection, &body.user_id, body.version)
        .await;
    answer(&actor, changed, view)
}

/// Answers whether somebody may use a connection, and if not why not.
#[utoipa::path(
    get, path = "/connections/{connection}/explain", operation_id = "explain_connection", tag = "connections",
    params(
        ("connection" = String, Path, description = "The connection ID"),
        ExplainQuery,
    ),
    responses((status = 200, body = Explanation))
)]
pub(super) async fn explain_connection(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((organization, connection)): Path<(OrganizationId, ConnectionId)>,
    Query(query): Query<ExplainQuery>,
) -> Answer<Json<Explanation>> {
    let explained = state
        .broker
        .explain_connection(&actor, &organization, &connection, query.user_id.as_ref())
        .await;
    answer(&actor, explained, |explanation| Explanation {
        allowed: explanation.is_allowed,
        reasons: explanation.reasons,
        who_can_change_it: explanation.who_can,
    })
}

/// Lists the places of pipelines that are bound to a connection, and its live leases.
#[utoipa::path(
    get, path = "/connections/{connection}/usage", operation_id = "get_connection_usage", tag = "connections",
    params(("connection" = String, Path, description = "The connection ID")),
    responses((status = 200, body = ConnectionUsage))
)]
pub(super) async fn get_connection_usage(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((organization, connection)): Path<(OrganizationId, ConnectionId)>,
) -> Answer<Json<ConnectionUsage>> {
    let usage = state.broker.get_connection_usage(&actor, &organization, &connection).await;
    answer(&actor, usage, |usage| ConnectionUsage {
        bindings: usage
            .bindings
            .into_iter()
            .map(|(binding, pipeline)| bindings::view(binding, pipeline))
            .collect(),
        live_leases: usage.live_leases.into_iter().map(leases::lease_view).collect(),
    })
}

fn new_connection(body: CreateConnection) -> broker::NewConnection {
    broker::NewConnection {
        name: body.name,
        connection_type: body.connection_type,
        id: body.connection_id,
        settings: body.settings,
        credential: body.credential.map(new_secrets),
        credential_id: body.credential_id,
        scope: body.scope,
        users: body.users,
        groups: body.groups,
        skip_verify: body.skip_verify,
    }
}

fn view(details: ConnectionDetails) -> ConnectionView {
    let connection = details.connection;
    let health = connection.health();
    ConnectionView {
        connection_id: connection.id,
        name: connection.name,
        connection_type: connection.connection_type,
        settings: connection.settings,
        credential_id: connection.credential_id,
        owner_id: connection.owner_id,
        scope: connection.scope,
        users: details.chosen.users,
        groups: details.chosen.groups,
        health: health_view(health),
        last_used_at: connection.last_used_at,
        created_at: connection.created_at,
        version: connection.version,
    }
}

/// Shows what the last try found.
pub(super) fn health_view(health: Health) -> HealthView {
    HealthView {
        status: health.status,
        reason: health.reason,
        field: health.field,
        checked_at: health.checked_at,
    }
}

fn reconfigured_view(reconfigured: Reconfigured) -> ConnectionReconfigured {
    ConnectionReconfigured {
        connection: view(reconfigured.details),
        used_by: reconfigured.used_by,
        pipelines_edited: 0,
        overlap_until: reconfigured.overlap_until,
    }
}
