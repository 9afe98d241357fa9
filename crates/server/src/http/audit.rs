//! The audit record of an organization. Checking the chain is done on the server's machine.

use axum::Json;
use axum::extract::State;
use keyferry_api::List;
use keyferry_api::audit::{AuditEventView, AuditQuery};
use keyferry_broker::audit::AuditFilter;
use keyferry_domain::audit::{ChainedEvent, Target};
use keyferry_domain::id::OrganizationId;
use keyferry_domain::page::PageRequest;

use super::AppState;
use super::answer::{Answer, page};
use super::extract::{Caller, Path, Query};
use super::problem::Failure;

/// Lists audit events, newest first.
#[utoipa::path(
    get, path = "/audit-events", operation_id = "list_audit_events", tag = "audit",
    params(AuditQuery),
    responses((status = 200, body = List<AuditEventView>))
)]
pub(super) async fn list_audit_events(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path(organization): Path<OrganizationId>,
    Query(query): Query<AuditQuery>,
) -> Answer<Json<List<AuditEventView>>> {
    let request = PageRequest::new(query.limit, query.cursor)
        .map_err(|error| Failure::new(error, actor.request.clone()))?;
    let filter = AuditFilter {
        action: query.action,
        actor_id: query.actor_id,
        target_id: query.target_id,
        outcome: query.outcome,
        request: None,
        since: query.since,
        until: query.until,
    };
    let found = state.broker.list_audit_events(&actor, &organization, &filter, &request).await;
    page(&actor, found, view)
}

fn view(chained: ChainedEvent) -> AuditEventView {
    let event = chained.event;
    let (target_kind, target_id) = match event.target {
        Some(Target { kind, id }) => (Some(kind), Some(id)),
        None => (None, None),
    };
    AuditEventView {
        sequence: chained.sequence,
        id: event.id.to_string(),
        at: event.at,
        actor_kind: event.actor.kind,
        actor_id: event.actor.id,
        actor_via: event.actor.via,
        address: event.address,
        request_id: event.request.to_string(),
        action: event.action,
        target_kind,
        target_id,
        outcome: event.outcome,
        reason: event.reason,
        data: event.data,
        hash: chained.hash,
    }
}
