//! Leases: issuing, seeing, ending.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_api::List;
use keyferry_api::leases::{
    IssueLease, LeaseIssued, LeaseMaterial, LeaseQuery, LeaseView, RejectionReported,
};
use keyferry_api::secrets::Disclosed;
use keyferry_broker::leases::{IssuedLease, LeaseFilter};
use keyferry_domain::id::{LeaseId, OrganizationId};
use keyferry_domain::lease::{Lease, LeaseState};
use keyferry_domain::material::Material;
use keyferry_domain::page::PageRequest;
use keyferry_domain::secret::SecretString;
use keyferry_domain::{Actor, Error};

use super::AppState;
use super::answer::{Answer, Created, Done, answer, created, done, page};
use super::connections::health_view;
use super::extract::{Body, Caller, Path, Query};
use super::problem::Failure;

/// Issues access to the calling job or workload.
#[utoipa::path(
    post, path = "/leases", operation_id = "issue_lease", tag = "leases",
    request_body = IssueLease,
    responses((status = 201, body = LeaseIssued))
)]
pub(super) async fn issue_lease(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path(organization): Path<OrganizationId>,
    Body(body): Body<IssueLease>,
) -> Answer<Created<LeaseIssued>> {
    let issued =
        state.broker.issue_lease(&actor, &organization, &body.connection_id, &body.operation).await;
    created(&actor, issued, issued_view)
}

/// Lists leases, newest first.
#[utoipa::path(
    get, path = "/leases", operation_id = "list_leases", tag = "leases",
    params(LeaseQuery),
    responses((status = 200, body = List<LeaseView>))
)]
pub(super) async fn list_leases(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path(organization): Path<OrganizationId>,
    Query(query): Query<LeaseQuery>,
) -> Answer<Json<List<LeaseView>>> {
    let request = request(&actor, &query)?;
    let filter = LeaseFilter {
        connection: query.connection_id,
        holder: query.holder_id,
        state: query.state,
        is_live: false,
    };
    let leases = state.broker.list_leases(&actor, &organization, &filter, &request).await;
    page(&actor, leases, lease_view)
}

/// Gets a lease.
#[utoipa::path(
    get, path = "/leases/{lease}", operation_id = "get_lease", tag = "leases",
    params(("lease" = String, Path, description = "The lease's id")),
    responses((status = 200, body = LeaseView))
)]
pub(super) async fn get_lease(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((organization, lease)): Path<(OrganizationId, LeaseId)>,
) -> Answer<Json<LeaseView>> {
    answer(&actor, state.broker.get_lease(&actor, &organization, &lease).await, lease_view)
}

/// Ends a lease; what was minted for it is taken back.
#[utoipa::path(
    delete, path = "/leases/{lease}", operation_id = "end_lease", tag = "leases",
    params(("lease" = String, Path, description = "The lease's id")),
    responses((status = 204))
)]
pub(super) async fn end_lease(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((organization, lease)): Path<(OrganizationId, LeaseId)>,
) -> Answer<Done> {
    done(&actor, state.broker.end_lease(&actor, &organization, &lease).await)
}

/// Tells that the service refused a lease's material. The lease ends, the credential is tried, and
/// the answer says what is wrong and what can be done.
#[utoipa::path(
    post, path = "/leases/{lease}/rejection", operation_id = "report_rejection", tag = "leases",
    params(("lease" = String, Path, description = "The lease's id")),
    responses((status = 200, body = RejectionReported))
)]
pub(super) async fn report_rejection(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((organization, lease)): Path<(OrganizationId, LeaseId)>,
) -> Answer<Json<RejectionReported>> {
    let found = state.broker.report_rejection(&actor, &organization, &lease).await;
    answer(&actor, found, |rejection| RejectionReported {
        explanation: rejection.explanation(),
        connection_id: rejection.connection.id.clone(),
        health: health_view(rejection.connection.health()),
        connection_name: rejection.connection.name,
    })
}

fn request(actor: &Actor, query: &LeaseQuery) -> Answer<PageRequest> {
    let fail = |error: Error| Failure::new(error, actor.request.clone());
    if let Some(state) = &query.state
        && !["pending", "active", "ending", "ended"].contains(&state.as_str())
    {
        return Err(fail(Error::invalid_field(
            "/state",
            "is not pending, active, ending or ended",
        )));
    }
    PageRequest::new(query.limit, query.cursor.clone()).map_err(fail)
}

fn issued_view(issued: IssuedLease) -> LeaseIssued {
    LeaseIssued {
        lease_id: issued.id,
        connection_id: issued.connection,
        connection_type: issued.connection_type.to_owned(),
        narrowing: issued.narrowing,
        expires_at: issued.expires_at,
        material: material_view(&issued.material),
    }
}

fn material_view(material: &Material) -> LeaseMaterial {
    match material {
        Material::Password { username, password } => LeaseMaterial::Password {
            username: username.clone(),
            password: Disclosed::from(password.clone()),
        },
        Material::SshKey { username, private_key, known_hosts, url } => LeaseMaterial::SshKey {
            username: username.clone(),
            private_key: Disclosed::from(private_key.clone()),
            known_hosts: known_hosts.clone(),
            url: url.clone(),
        },
        Material::Values { values, files } => LeaseMaterial::Values {
            values: values
                .iter()
                .map(|(name, value)| (name.clone(), Disclosed::from(value.clone())))
                .collect::<BTreeMap<_, _>>(),
            files: files
                .iter()
                .map(|(name, file)| {
                    let text = SecretString::from(STANDARD.encode(file.expose()));
                    (name.clone(), Disclosed::from(text))
                })
                .collect::<BTreeMap<_, _>>(),
        },
    }
}

/// Shows a lease without its material.
pub(super) fn lease_view(lease: Lease) -> LeaseView {
    let (ended_at, end_reason) = match lease.state {
        LeaseState::Pending | LeaseState::Active => (None, None),
        LeaseState::Ending { reason, .. } => (None, Some(reason)),
        LeaseState::Ended { at, reason } => (Some(at), Some(reason)),
    };
    LeaseView {
        id: lease.id,
        connection_id: lease.connection,
        credential_id: lease.credential,
        credential_version: lease.credential_version,
        holder: lease.holder,
        operation: lease.operation,
        narrowing: lease.narrowing,
        state: lease.state.as_str().to_owned(),
        issued_at: lease.issued_at,
        expires_at: lease.expires_at,
        ended_at,
        end_reason,
        residue: lease.residue,
        last_error: lease.last_error,
    }
}
