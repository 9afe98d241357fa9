//! The HTTP API: one readable list of routes, a file per resource, and what wraps them all.
//!
//! A handler takes the caller and the request, calls one method of the broker, and returns a view.
//! Nothing here decides who may do what. Status codes of errors are chosen in `problem` alone.

mod answer;
mod extract;
pub mod openapi;
pub mod problem;

mod audit;
mod bindings;
mod connection_types;
mod connections;
mod credentials;
mod groups;
mod health;
mod idempotency;
mod lasting;
mod leases;
mod members;
mod organizations;
mod pipeline_members;
mod pipelines;
mod repositories;
mod runner;
mod runners;
mod runs;
mod sessions;
mod signpost;
mod tokens;
mod workloads;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{CACHE_CONTROL, HeaderName, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use keyferry_broker::Broker;
use keyferry_domain::Error;
use keyferry_domain::id::RequestId;
use tokio_util::task::TaskTracker;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::extract::MAX_BODY_BYTES;
use self::lasting::Lasting;
use self::problem::Failure;
use crate::throttle::Throttle;

/// What every handler can reach.
#[derive(Clone)]
pub struct AppState {
    /// The use cases.
    pub broker: Arc<Broker>,
    /// Slows down guessing of passwords and tokens.
    pub throttle: Arc<Throttle>,
    /// Changes under way; they go on when their caller hangs up, and shutdown waits for them.
    pub changes: TaskTracker,
}

impl AppState {
    /// Makes the state of a server that nobody has tried to guess at yet.
    pub fn new(broker: Arc<Broker>) -> Self {
        Self::with_throttle(broker, Throttle::new())
    }

    /// Makes the state of a server that slows down guessing in its own way.
    pub fn with_throttle(broker: Arc<Broker>, throttle: Throttle) -> Self {
        Self { broker, throttle: Arc::new(throttle), changes: TaskTracker::new() }
    }
}

/// How long a request may take; waiting for logs and jobs is capped at 30 seconds by itself.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(75);

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Every operation of the API, in the order of the reference.
fn operations() -> OpenApiRouter<AppState> {
    let organization = OpenApiRouter::new()
        .routes(routes!(organizations::get_organization, organizations::update_organization))
        .routes(routes!(members::list_members, members::create_member))
        .routes(routes!(members::update_member, members::delete_member))
        .routes(routes!(groups::list_groups, groups::create_group))
        .routes(routes!(groups::update_group, groups::delete_group))
        .routes(routes!(tokens::list_tokens, tokens::create_token))
        .routes(routes!(tokens::delete_token))
        .routes(routes!(credentials::list_credentials, credentials::create_credential))
        .routes(routes!(
            credentials::get_credential,
            credentials::update_credential,
            credentials::delete_credential
        ))
        .routes(routes!(connections::list_connections, connections::create_connection))
        .routes(routes!(
            connections::get_connection,
            connections::update_connection,
            connections::delete_connection
        ))
        .routes(routes!(connections::verify_connection))
        .routes(routes!(connections::reconfigure_connection))
        .routes(routes!(connections::roll_back_connection))
        .routes(routes!(connections::transfer_connection))
        .routes(routes!(connections::explain_connection))
        .routes(routes!(connections::get_connection_usage))
        .routes(routes!(repositories::list_repositories))
        .routes(routes!(repositories::list_branches, repositories::delete_branch))
        .routes(routes!(repositories::merge_branch))
        .routes(routes!(repositories::delete_tag))
        .routes(routes!(pipelines::list_pipelines, pipelines::create_pipeline))
        .routes(routes!(pipelines::check_pipeline))
        .routes(routes!(
            pipelines::get_pipeline,
            pipelines::update_pipeline,
            pipelines::delete_pipeline
        ))
        .routes(routes!(pipelines::get_revision))
        .routes(routes!(pipeline_members::list_pipeline_members))
        .routes(routes!(
            pipeline_members::set_pipeline_member,
            pipeline_members::delete_pipeline_member
        ))
        .routes(routes!(bindings::approve_binding))
        .routes(routes!(bindings::revoke_binding))
        .routes(routes!(runs::create_run))
        .routes(routes!(runs::list_runs))
        .routes(routes!(runs::get_run))
        .routes(routes!(runs::cancel_run))
        .routes(routes!(runs::retry_job))
        .routes(routes!(runs::read_job_log))
        .routes(routes!(leases::list_leases, leases::issue_lease))
        .routes(routes!(leases::get_lease, leases::end_lease))
        .routes(routes!(leases::report_rejection))
        .routes(routes!(workloads::create_workload))
        .routes(routes!(workloads::end_workload))
        .routes(routes!(runners::list_runners, runners::create_runner))
        .routes(routes!(runners::delete_runner))
        .routes(routes!(audit::list_audit_events));
    OpenApiRouter::new()
        .routes(routes!(sessions::set_up_server))
        .routes(routes!(sessions::accept_invitation))
        .routes(routes!(sessions::create_session))
        .routes(routes!(sessions::delete_session))
        .routes(routes!(sessions::get_current_user))
        .routes(routes!(sessions::change_password))
        .routes(routes!(connection_types::list_connection_types))
        .routes(routes!(organizations::list_organizations, organizations::create_organization))
        .nest("/organizations/{organization}", organization)
        .routes(routes!(runner::claim_job))
        .routes(routes!(runner::send_heartbeat))
        .routes(routes!(runner::append_log))
        .routes(routes!(runner::update_step))
        .routes(routes!(runner::finish_job))
}

/// Builds the whole HTTP service.
pub fn router(state: AppState) -> Router {
    let (api, document) = openapi::describe(operations());
    let creates = idempotency::Creates::find(&document);
    let once = from_fn_with_state((state.clone(), Arc::new(creates)), idempotency::once);
    let document = Arc::new(document);
    api.layer(once)
        .route("/api/openapi.json", get(async move || openapi::serve(&document)))
        .route("/", get(signpost::root))
        .route("/setup", get(signpost::setup))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .fallback(no_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(CatchPanicLayer::custom(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response()))
        .layer(from_fn_with_state(state.clone(), around))
        .with_state(state)
}

/// Wraps every request: gives it an id, bounds its time, sets the headers that all answers carry.
async fn around(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    let id = state.broker.new_request_id();
    request.extensions_mut().insert(id.clone());
    let handled = tokio::time::timeout(REQUEST_TIMEOUT, handle(&state, request, next)).await;
    let mut response = match handled {
        Ok(Some(response)) => response,
        Ok(None) => Failure::new(Error::internal("a handler panicked"), id.clone()).into_response(),
        Err(_) => {
            let error = Error::new(
                keyferry_domain::ErrorKind::Unavailable,
                "timeout",
                "the request took too long",
            );
            Failure::new(error, id.clone()).into_response()
        }
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        headers.insert(REQUEST_ID.clone(), value);
    }
    response
}

/// Runs a handler; `None` when it panicked.
///
/// A caller who hangs up must not stop a change between its commit, its audit event and what
/// follows from it, so changes run on their own. Reads end with their caller, and so does a
/// runner's wait for a job, which would otherwise be claimed for nobody.
async fn handle(state: &AppState, request: Request, next: Next) -> Option<Response> {
    let ends_with_caller =
        request.method().is_safe() || request.uri().path() == "/api/v1/runner/claim";
    let response = if ends_with_caller {
        next.run(request).await
    } else {
        Lasting::new(&state.changes, next.run(request)).await
    };
    let is_panic = response.status() == StatusCode::INTERNAL_SERVER_ERROR
        && !response.headers().contains_key(axum::http::header::CONTENT_TYPE);
    (!is_panic).then_some(response)
}

async fn no_route(axum::Extension(id): axum::Extension<RequestId>) -> Failure {
    Failure::no_route(id)
}

async fn wrong_method(axum::Extension(id): axum::Extension<RequestId>) -> Failure {
    Failure::wrong_method(id)
}
