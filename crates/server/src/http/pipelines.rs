//! Pipelines: checking, saving, seeing, deleting.

use axum::Json;
use axum::extract::State;
use keyferry_api::List;
use keyferry_api::pipelines::{
    CheckPipeline, CreatePipeline, DiagnosticView, PipelineChecked, PipelineQuery, PipelineSummary,
    PipelineView, RevisionView, UpdatePipeline,
};
use keyferry_broker::pipelines::{Diagnostic, PipelineDetails, PipelineRecord, RevisionRecord};
use keyferry_domain::id::{OrganizationId, PipelineId};
use keyferry_domain::page::PageRequest;

use super::AppState;
use super::answer::{Answer, Created, Done, answer, created, done, page};
use super::bindings;
use super::extract::{Body, Caller, Path, Query};
use super::problem::Failure;

/// Checks a pipeline's text without saving it.
#[utoipa::path(
    post, path = "/pipelines/check", operation_id = "check_pipeline", tag = "pipelines",
    request_body = CheckPipeline,
    responses((status = 200, body = PipelineChecked))
)]
pub(super) async fn check_pipeline(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path(organization): Path<OrganizationId>,
    Body(body): Body<CheckPipeline>,
) -> Answer<Json<PipelineChecked>> {
    let found = state.broker.check_pipeline(&actor, &organization, &body.yaml).await;
    answer(&actor, found, |found| PipelineChecked {
        diagnostics: found.into_iter().map(diagnostic_view).collect(),
    })
}

/// Creates a pipeline.
#[utoipa::path(
    post, path = "/pipelines", operation_id = "create_pipeline", tag = "pipelines",
    request_body = CreatePipeline,
    responses((status = 201, body = PipelineView))
)]
pub(super) async fn create_pipeline(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path(organization): Path<OrganizationId>,
    Body(body): Body<CreatePipeline>,
) -> Answer<Created<PipelineView>> {
    let made = state.broker.create_pipeline(&actor, &organization, &body.name, &body.yaml).await;
    created(&actor, made, view)
}

/// Lists pipelines by name.
#[utoipa::path(
    get, path = "/pipelines", operation_id = "list_pipelines", tag = "pipelines",
    params(PipelineQuery),
    responses((status = 200, body = List<PipelineSummary>))
)]
pub(super) async fn list_pipelines(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path(organization): Path<OrganizationId>,
    Query(query): Query<PipelineQuery>,
) -> Answer<Json<List<PipelineSummary>>> {
    let request = PageRequest::new(query.limit, query.cursor)
        .map_err(|error| Failure::new(error, actor.request.clone()))?;
    let found =
        state.broker.list_pipelines(&actor, &organization, query.search.as_deref(), &request).await;
    page(&actor, found, summary)
}

/// Gets a pipeline with its current revision and its bindings.
#[utoipa::path(
    get, path = "/pipelines/{pipeline}", operation_id = "get_pipeline", tag = "pipelines",
    params(("pipeline" = String, Path, description = "The pipeline's id")),
    responses((status = 200, body = PipelineView))
)]
pub(super) async fn get_pipeline(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((organization, pipeline)): Path<(OrganizationId, PipelineId)>,
) -> Answer<Json<PipelineView>> {
    answer(&actor, state.broker.get_pipeline(&actor, &organization, &pipeline).await, view)
}

/// Saves a new revision, a new name, or both.
#[utoipa::path(
    patch, path = "/pipelines/{pipeline}", operation_id = "update_pipeline", tag = "pipelines",
    params(("pipeline" = String, Path, description = "The pipeline's id")),
    request_body = UpdatePipeline,
    responses((status = 200, body = PipelineView))
)]
pub(super) async fn update_pipeline(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((organization, pipeline)): Path<(OrganizationId, PipelineId)>,
    Body(body): Body<UpdatePipeline>,
) -> Answer<Json<PipelineView>> {
    let (name, yaml) = (body.name.as_deref(), body.yaml.as_deref());
    let saved = state
        .broker
        .update_pipeline(&actor, &organization, &pipeline, name, yaml, body.version)
        .await;
    answer(&actor, saved, view)
}

/// Deletes a pipeline and its bindings, and cancels its open runs. Runs that are over stay.
#[utoipa::path(
    delete, path = "/pipelines/{pipeline}", operation_id = "delete_pipeline", tag = "pipelines",
    params(("pipeline" = String, Path, description = "The pipeline's id")),
    responses((status = 204))
)]
pub(super) async fn delete_pipeline(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((organization, pipeline)): Path<(OrganizationId, PipelineId)>,
) -> Answer<Done> {
    done(&actor, state.broker.delete_pipeline(&actor, &organization, &pipeline).await)
}

/// Gets one saved revision of a pipeline.
#[utoipa::path(
    get, path = "/pipelines/{pipeline}/revisions/{number}", operation_id = "get_revision",
    tag = "pipelines",
    params(
        ("pipeline" = String, Path, description = "The pipeline's id"),
        ("number" = i64, Path, description = "The revision's number, from 1"),
    ),
    responses((status = 200, body = RevisionView))
)]
pub(super) async fn get_revision(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((organization, pipeline, number)): Path<(OrganizationId, PipelineId, i64)>,
) -> Answer<Json<RevisionView>> {
    let found = state.broker.get_revision(&actor, &organization, &pipeline, number).await;
    answer(&actor, found, revision_view)
}

fn view(details: PipelineDetails) -> PipelineView {
    let PipelineDetails { pipeline, revision, bindings } = details;
    PipelineView {
        id: pipeline.id,
        owner_id: pipeline.owner_id,
        revision: revision_view(revision),
        bindings: bindings
            .into_iter()
            .map(|binding| bindings::view(binding, pipeline.name.clone()))
            .collect(),
        name: pipeline.name,
        created_at: pipeline.created_at,
        updated_at: pipeline.updated_at,
        version: pipeline.version,
    }
}

fn summary(pipeline: PipelineRecord) -> PipelineSummary {
    PipelineSummary {
        id: pipeline.id,
        name: pipeline.name,
        revision: pipeline.current_revision,
        updated_at: pipeline.updated_at,
    }
}

fn revision_view(revision: RevisionRecord) -> RevisionView {
    RevisionView {
        number: revision.number,
        yaml: revision.yaml,
        author_id: revision.author_id,
        created_at: revision.created_at,
    }
}

fn diagnostic_view(found: Diagnostic) -> DiagnosticView {
    DiagnosticView {
        line: found.line,
        column: found.column,
        path: found.path,
        code: found.code.to_owned(),
        message: found.message,
        hint: found.hint,
    }
}
