//! What runners and jobs call: claiming with the runner's token, reporting with the job's own.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use keyferry_api::runner::{
    AppendLog, ClaimJob, ClaimedJob, FinishJob, Heartbeat, HeartbeatAnswer, JobConnection,
    UpdateStep,
};
use keyferry_broker::jobs::{self, HEARTBEAT_SECONDS};

use super::AppState;
use super::answer::{Answer, Done, answer, done};
use super::extract::{Body, Caller};

/// Claims a job; `null` when there is none in time.
#[utoipa::path(
    post, path = "/runner/claim", operation_id = "claim_job", tag = "runner",
    request_body = ClaimJob,
    responses((status = 200, body = Option<ClaimedJob>))
)]
pub(super) async fn claim_job(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Body(body): Body<ClaimJob>,
) -> Answer<Json<Option<ClaimedJob>>> {
    let wait = Duration::from_secs(body.wait_seconds.into());
    let claimed = state.broker.claim_job(&actor, body.isolation, wait).await;
    answer(&actor, claimed, |claimed| claimed.map(view))
}

/// Says that the calling job is alive.
#[utoipa::path(
    post, path = "/runner/job/heartbeat", operation_id = "send_heartbeat", tag = "runner",
    request_body = Heartbeat,
    responses((status = 200, body = HeartbeatAnswer))
)]
pub(super) async fn send_heartbeat(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Body(body): Body<Heartbeat>,
) -> Answer<Json<HeartbeatAnswer>> {
    let noted = state.broker.heartbeat(&actor, body.uses).await;
    answer(&actor, noted, |alive| HeartbeatAnswer {
        cancel_requested: alive.is_cancel_requested,
        due_at: alive.due_at,
    })
}

/// Adds to the calling job's log.
#[utoipa::path(
    post, path = "/runner/job/log", operation_id = "append_log", tag = "runner",
    request_body = AppendLog,
    responses((status = 204))
)]
pub(super) async fn append_log(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Body(body): Body<AppendLog>,
) -> Answer<Done> {
    done(&actor, state.broker.append_log(&actor, body.sequence, &body.text).await)
}

/// Tells where a step of the calling job stands.
#[utoipa::path(
    put, path = "/runner/job/step", operation_id = "update_step", tag = "runner",
    request_body = UpdateStep,
    responses((status = 204))
)]
pub(super) async fn update_step(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Body(body): Body<UpdateStep>,
) -> Answer<Done> {
    let noted =
        state.broker.update_step(&actor, &body.key, body.state, body.reason.as_deref()).await;
    done(&actor, noted)
}

/// Ends the calling job: its token stops working and its leases end.
#[utoipa::path(
    post, path = "/runner/job/finish", operation_id = "finish_job", tag = "runner",
    request_body = FinishJob,
    responses((status = 204))
)]
pub(super) async fn finish_job(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Body(body): Body<FinishJob>,
) -> Answer<Done> {
    let ended =
        state.broker.finish_job(&actor, body.state, body.reason.as_deref(), body.uses).await;
    done(&actor, ended)
}

fn view(claimed: jobs::ClaimedJob) -> ClaimedJob {
    ClaimedJob {
        job_id: claimed.job,
        run_id: claimed.run,
        organization_id: claimed.organization,
        attempt: claimed.attempt,
        job_token: claimed.token.into(),
        heartbeat_seconds: HEARTBEAT_SECONDS,
        plan: claimed.plan,
        connections: claimed.connections.into_iter().map(connection_view).collect(),
    }
}

fn connection_view(held: jobs::JobConnection) -> JobConnection {
    JobConnection {
        connection_id: held.id,
        connection_type: held.connection_type.to_owned(),
        address: held.address,
        ca_certificate: held.ca_certificate,
        can_merge: held.can_merge,
        can_delete_branches: held.can_delete_branches,
    }
}
