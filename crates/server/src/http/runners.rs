//! Runners of an organization. What runners themselves call is in `runner`.

use axum::Json;
use axum::extract::State;
use keyferry_api::runners::{CreateRunner, RunnerCreated, RunnerView};
use keyferry_api::{List, PageQuery};
use keyferry_broker::runners::{NewRunner, RunnerRecord};
use keyferry_domain::id::{OrganizationId, RunnerId};
use keyferry_domain::page::PageRequest;

use super::AppState;
use super::answer::{Answer, Created, Done, created, done, page};
use super::extract::{Body, Caller, Path, Query};
use super::problem::Failure;

/// Registers a runner; its token is in this answer only.
#[utoipa::path(
    post, path = "/runners", operation_id = "create_runner", tag = "runners",
    request_body = CreateRunner,
    responses((status = 201, body = RunnerCreated))
)]
pub(super) async fn create_runner(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path(organization): Path<OrganizationId>,
    Body(body): Body<CreateRunner>,
) -> Answer<Created<RunnerCreated>> {
    let made = state.broker.create_runner(&actor, &organization, &body.name).await;
    created(&actor, made, created_view)
}

/// Lists the runners of the organization.
#[utoipa::path(
    get, path = "/runners", operation_id = "list_runners", tag = "runners",
    params(PageQuery),
    responses((status = 200, body = List<RunnerView>))
)]
pub(super) async fn list_runners(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path(organization): Path<OrganizationId>,
    Query(query): Query<PageQuery>,
) -> Answer<Json<List<RunnerView>>> {
    let request = PageRequest::new(query.limit, query.cursor)
        .map_err(|error| Failure::new(error, actor.request.clone()))?;
    page(&actor, state.broker.list_runners(&actor, &organization, &request).await, view)
}

/// Deletes a runner; its token stops working at once.
#[utoipa::path(
    delete, path = "/runners/{runner}", operation_id = "delete_runner", tag = "runners",
    params(("runner" = String, Path, description = "The runner's id")),
    responses((status = 204))
)]
pub(super) async fn delete_runner(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((organization, runner)): Path<(OrganizationId, RunnerId)>,
) -> Answer<Done> {
    done(&actor, state.broker.delete_runner(&actor, &organization, &runner).await)
}

fn created_view(made: NewRunner) -> RunnerCreated {
    RunnerCreated { token: made.token.into(), view: view(made.record) }
}

fn view(runner: RunnerRecord) -> RunnerView {
    RunnerView {
        id: runner.id,
        name: runner.name,
        created_at: runner.created_at,
        last_seen_at: runner.last_seen_at,
    }
}
