//! Credentials: putting them in, seeing what is known of them. No answer holds a secret field.

use axum::Json;
use axum::extract::State;
use keyferry_api::credentials::{
    CreateCredential, CredentialInput, CredentialVersionView, CredentialView, UpdateCredential,
};
use keyferry_api::secrets::SecretInput;
use keyferry_api::{List, PageQuery};
use keyferry_broker::credentials::{CredentialDetails, NewSecrets};
use keyferry_domain::id::{CredentialId, OrganizationId};
use keyferry_domain::page::PageRequest;

use super::AppState;
use super::answer::{Answer, Created, Done, answer, created, done, page};
use super::extract::{Body, Caller, Path, Query};
use super::problem::Failure;

/// Puts in a credential that connections can stand on.
#[utoipa::path(
    post, path = "/credentials", operation_id = "create_credential", tag = "credentials",
    request_body = CreateCredential,
    responses((status = 201, body = CredentialView))
)]
pub(super) async fn create_credential(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path(organization): Path<OrganizationId>,
    Body(body): Body<CreateCredential>,
) -> Answer<Created<CredentialView>> {
    let secrets = new_secrets(body.credential);
    let made = state.broker.create_credential(&actor, &organization, &body.name, &secrets).await;
    created(&actor, made, view)
}

/// Lists credentials: one's own, or all for those who look after all.
#[utoipa::path(
    get, path = "/credentials", operation_id = "list_credentials", tag = "credentials",
    params(PageQuery),
    responses((status = 200, body = List<CredentialView>))
)]
pub(super) async fn list_credentials(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path(organization): Path<OrganizationId>,
    Query(query): Query<PageQuery>,
) -> Answer<Json<List<CredentialView>>> {
    let request = PageRequest::new(query.limit, query.cursor)
        .map_err(|error| Failure::new(error, actor.request.clone()))?;
    let found = state.broker.list_credentials(&actor, &organization, &request).await;
    page(&actor, found, view)
}

/// Gets a credential, without its secret fields.
#[utoipa::path(
    get, path = "/credentials/{credential}", operation_id = "get_credential", tag = "credentials",
    params(("credential" = String, Path, description = "The credential's id")),
    responses((status = 200, body = CredentialView))
)]
pub(super) async fn get_credential(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((organization, credential)): Path<(OrganizationId, CredentialId)>,
) -> Answer<Json<CredentialView>> {
    let found = state.broker.get_credential(&actor, &organization, &credential).await;
    answer(&actor, found, view)
}

/// Renames a credential.
#[utoipa::path(
    patch, path = "/credentials/{credential}", operation_id = "update_credential", tag = "credentials",
    params(("credential" = String, Path, description = "The credential's id")),
    request_body = UpdateCredential,
    responses((status = 200, body = CredentialView))
)]
pub(super) async fn update_credential(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((organization, credential)): Path<(OrganizationId, CredentialId)>,
    Body(body): Body<UpdateCredential>,
) -> Answer<Json<CredentialView>> {
    let changed = state
        .broker
        .update_credential(&actor, &organization, &credential, &body.name, body.version)
        .await;
    answer(&actor, changed, view)
}

/// Deletes a credential that no connection stands on, and wipes its secrets.
#[utoipa::path(
    delete, path = "/credentials/{credential}", operation_id = "delete_credential", tag = "credentials",
    params(("credential" = String, Path, description = "The credential's id")),
    responses((status = 204))
)]
pub(super) async fn delete_credential(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((organization, credential)): Path<(OrganizationId, CredentialId)>,
) -> Answer<Done> {
    done(&actor, state.broker.delete_credential(&actor, &organization, &credential).await)
}

/// Takes what a person put in to the broker's side.
pub(super) fn new_secrets(input: CredentialInput) -> NewSecrets {
    let take = |(name, secret): (String, SecretInput)| (name, secret.into_secret());
    NewSecrets {
        kind: input.kind,
        fields: input.fields.into_iter().map(take).collect(),
        files: input.files.into_iter().map(take).collect(),
    }
}

fn view(details: CredentialDetails) -> CredentialView {
    let credential = details.credential;
    CredentialView {
        id: credential.id,
        name: credential.name,
        kind: credential.kind,
        owner_id: credential.owner_id,
        public_fields: details.public_fields,
        value_names: details.value_names,
        versions: details
            .versions
            .into_iter()
            .map(|version| CredentialVersionView {
                number: version.number,
                state: version.state,
                created_at: version.created_at,
            })
            .collect(),
        connections: details.connections.iter().map(ToString::to_string).collect(),
        created_at: credential.created_at,
        version: credential.version,
    }
}
