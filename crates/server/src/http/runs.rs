//! Runs: starting, seeing, canceling, trying a job again, reading logs.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use keyferry_api::List;
use keyferry_api::runs::{CreateRun, JobView, LogPart, LogQuery, RunQuery, RunView, StepView};
use keyferry_broker::runs::{JobRecord, NewRun, RunDetails, RunFilter, StepRecord};
use keyferry_domain::id::{JobId, OrganizationId, PipelineId, RunId};
use keyferry_domain::page::PageRequest;

use super::AppState;
use super::answer::{Answer, Created, answer, created, page};
use super::extract::{Body, Caller, Path, Query};
use super::problem::Failure;

/// Starts a run of a pipeline's current revision.
#[utoipa::path(
    post, path = "/pipelines/{pipeline}/runs", operation_id = "create_run", tag = "runs",
    params(("pipeline" = String, Path, description = "The pipeline's id")),
    request_body = CreateRun,
    responses((status = 201, body = RunView))
)]
pub(super) async fn create_run(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((organization, pipeline)): Path<(OrganizationId, PipelineId)>,
    Body(body): Body<CreateRun>,
) -> Answer<Created<RunView>> {
    let CreateRun { variables, branches, comment } = body;
    let new = NewRun { variables, branches, comment };
    let made = state.broker.create_run(&actor, &organization, &pipeline, new).await;
    created(&actor, made, view)
}

/// Lists runs, newest first, without their jobs.
#[utoipa::path(
    get, path = "/runs", operation_id = "list_runs", tag = "runs",
    params(RunQuery),
    responses((status = 200, body = List<RunView>))
)]
pub(super) async fn list_runs(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path(organization): Path<OrganizationId>,
    Query(query): Query<RunQuery>,
) -> Answer<Json<List<RunView>>> {
    let request = PageRequest::new(query.limit, query.cursor)
        .map_err(|error| Failure::new(error, actor.request.clone()))?;
    let filter = RunFilter { pipeline: query.pipeline_id, state: query.state };
    let found = state.broker.list_runs(&actor, &organization, &filter, &request).await;
    page(&actor, found, view)
}

/// Gets a run with its jobs and steps.
#[utoipa::path(
    get, path = "/runs/{run}", operation_id = "get_run", tag = "runs",
    params(("run" = String, Path, description = "The run's id")),
    responses((status = 200, body = RunView))
)]
pub(super) async fn get_run(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((organization, run)): Path<(OrganizationId, RunId)>,
) -> Answer<Json<RunView>> {
    answer(&actor, state.broker.get_run(&actor, &organization, &run).await, view)
}

/// Cancels a run. Canceling it again, or one that is over, changes nothing.
#[utoipa::path(
    post, path = "/runs/{run}/cancel", operation_id = "cancel_run", tag = "runs",
    params(("run" = String, Path, description = "The run's id")),
    responses((status = 200, body = RunView))
)]
pub(super) async fn cancel_run(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((organization, run)): Path<(OrganizationId, RunId)>,
) -> Answer<Json<RunView>> {
    answer(&actor, state.broker.cancel_run(&actor, &organization, &run).await, view)
}

/// Tries a job again that failed or was canceled, and what comes after it.
#[utoipa::path(
    post, path = "/runs/{run}/jobs/{job}/retry", operation_id = "retry_job", tag = "runs",
    params(
        ("run" = String, Path, description = "The run's id"),
        ("job" = String, Path, description = "The job's id"),
    ),
    responses((status = 200, body = RunView))
)]
pub(super) async fn retry_job(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((organization, run, job)): Path<(OrganizationId, RunId, JobId)>,
) -> Answer<Json<RunView>> {
    answer(&actor, state.broker.retry_job(&actor, &organization, &run, &job).await, view)
}

/// Reads a part of a job's log, and waits for it when asked to.
#[utoipa::path(
    get, path = "/runs/{run}/jobs/{job}/log", operation_id = "read_job_log", tag = "runs",
    params(
        ("run" = String, Path, description = "The run's id"),
        ("job" = String, Path, description = "The job's id"),
        LogQuery,
    ),
    responses((status = 200, body = LogPart))
)]
pub(super) async fn read_job_log(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((organization, run, job)): Path<(OrganizationId, RunId, JobId)>,
    Query(query): Query<LogQuery>,
) -> Answer<Json<LogPart>> {
    let wait = Duration::from_secs(query.wait_seconds.into());
    let read =
        state.broker.read_job_log(&actor, &organization, &run, &job, query.after, wait).await;
    answer(&actor, read, |part| LogPart {
        text: part.text,
        next: part.next,
        is_complete: part.is_complete,
    })
}

fn view(details: RunDetails) -> RunView {
    let RunDetails { run, pipeline_name, jobs } = details;
    RunView {
        id: run.id,
        pipeline_id: run.pipeline_id,
        pipeline_name,
        revision: run.revision,
        number: run.number,
        state: run.state,
        reason: run.reason,
        started_by: run.started_by,
        comment: run.comment,
        created_at: run.created_at,
        started_at: run.started_at,
        finished_at: run.finished_at,
        jobs: jobs.into_iter().map(|(job, steps)| job_view(job, steps)).collect(),
    }
}

fn job_view(job: JobRecord, steps: Vec<StepRecord>) -> JobView {
    JobView {
        id: job.id,
        key: job.key,
        name: job.name,
        stage: job.stage,
        attempt: job.attempt,
        state: job.state,
        reason: job.reason,
        isolation: job.isolation,
        started_at: job.started_at,
        finished_at: job.finished_at,
        steps: steps.into_iter().map(step_view).collect(),
        uses: job.uses,
    }
}

fn step_view(step: StepRecord) -> StepView {
    StepView {
        key: step.key,
        name: step.name,
        state: step.state,
        reason: step.reason,
        started_at: step.started_at,
        finished_at: step.finished_at,
    }
}
