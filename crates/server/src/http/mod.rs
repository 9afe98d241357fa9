//! The HTTP API: one readable list of routes, a file per resource, and what wraps them all.
//!
//! A handler takes the caller and the request, calls one method of the broker, and returns a view.
//! Nothing here decides who may do what. Status codes of errors are chosen in `problem` alone.

mod answer;
mod api;
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

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use keyferry_broker::Broker;
use keyferry_domain::id::RequestId;
use tokio_util::task::TaskTracker;
use utoipa_axum::routes;

pub use self::api::Api;
use self::openapi::Operations;
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

/// Every operation of the API, in the order of the reference.
fn operations() -> Vec<Operations> {
    let server = [
        routes!(sessions::set_up_server),
        routes!(sessions::accept_invitation),
        routes!(sessions::create_session),
        routes!(sessions::delete_session),
        routes!(sessions::get_current_user),
        routes!(sessions::change_password),
        routes!(connection_types::list_connection_types),
        routes!(organizations::list_organizations, organizations::create_organization),
        routes!(runner::claim_job),
        routes!(runner::send_heartbeat),
        routes!(runner::append_log),
        routes!(runner::update_step),
        routes!(runner::finish_job),
    ];
    let organization = [
        routes!(organizations::get_organization, organizations::update_organization),
        routes!(members::list_members, members::create_member),
        routes!(members::update_member, members::delete_member),
        routes!(groups::list_groups, groups::create_group),
        routes!(groups::update_group, groups::delete_group),
        routes!(tokens::list_tokens, tokens::create_token),
        routes!(tokens::delete_token),
        routes!(credentials::list_credentials, credentials::create_credential),
        routes!(
            credentials::get_credential,
            credentials::update_credential,
            credentials::delete_credential
        ),
        routes!(connections::list_connections, connections::create_connection),
        routes!(
            connections::get_connection,
            connections::update_connection,
            connections::delete_connection
        ),
        routes!(connections::verify_connection),
        routes!(connections::reconfigure_connection),
        routes!(connections::roll_back_connection),
        routes!(connections::transfer_connection),
        routes!(connections::explain_connection),
        routes!(connections::get_connection_usage),
        routes!(repositories::list_repositories),
        routes!(repositories::list_branches, repositories::delete_branch),
        routes!(repositories::merge_branch),
        routes!(repositories::delete_tag),
        routes!(pipelines::list_pipelines, pipelines::create_pipeline),
        routes!(pipelines::check_pipeline),
        routes!(pipelines::get_pipeline, pipelines::update_pipeline, pipelines::delete_pipeline),
        routes!(pipelines::get_revision),
        routes!(pipeline_members::list_pipeline_members),
        routes!(pipeline_members::set_pipeline_member, pipeline_members::delete_pipeline_member),
        routes!(bindings::approve_binding),
        routes!(bindings::revoke_binding),
        routes!(runs::create_run),
        routes!(runs::list_runs),
        routes!(runs::get_run),
        routes!(runs::cancel_run),
        routes!(runs::retry_job),
        routes!(runs::read_job_log),
        routes!(leases::list_leases, leases::issue_lease),
        routes!(leases::get_lease, leases::end_lease),
        routes!(leases::report_rejection),
        routes!(workloads::create_workload),
        routes!(workloads::end_workload),
        routes!(runners::list_runners, runners::create_runner),
        routes!(runners::delete_runner),
        routes!(audit::list_audit_events),
    ];
    let below = |prefix| move |operations| openapi::below(prefix, operations);
    let server = server.into_iter().map(below("/api/v1"));
    let organization = organization.into_iter().map(below("/api/v1/organizations/{organization}"));
    server.chain(organization).collect()
}

/// Returns all routes twice: as they are, and for requests that come with an idempotency key.
fn routers(state: &AppState) -> (Router, Router) {
    let (api, document) = openapi::describe(operations());
    let creates = Arc::new(idempotency::Creates::find(&document));
    let once = api.clone().layer(from_fn_with_state((state.clone(), creates), idempotency::once));
    let document = Arc::new(document);
    let complete = |api: Router<AppState>| {
        let document = Arc::clone(&document);
        api.route("/api/openapi.json", get(async move || openapi::serve(&document)))
            .route("/", get(signpost::root))
            .route("/setup", get(signpost::setup))
            .route("/health/live", get(health::live))
            .route("/health/ready", get(health::ready))
            .fallback(no_route)
            .method_not_allowed_fallback(wrong_method)
            .with_state(state.clone())
    };
    (complete(api), complete(once))
}

async fn no_route(axum::Extension(id): axum::Extension<RequestId>) -> Failure {
    Failure::no_route(id)
}

async fn wrong_method(axum::Extension(id): axum::Extension<RequestId>) -> Failure {
    Failure::wrong_method(id)
}
