//! What happens around every request, whatever its route.
//!
//! Written by hand, and not as a stack of layers: each layer of a router costs every request a copy
//! of the route and a future on the heap.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, HeaderName, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, Method};
use axum::response::{IntoResponse as _, Response};
use futures::FutureExt as _;
use keyferry_domain::{Error, ErrorKind};
use tower::ServiceExt as _;

use super::AppState;
use super::idempotency;
use super::lasting::Lasting;
use super::problem::Failure;

/// How long a request may take; waiting for logs and jobs is capped at 30 seconds by itself.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(75);

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The whole HTTP service.
pub struct Api {
    state: AppState,
    routes: Router,
    /// The same routes, for requests that come with an idempotency key.
    routes_once: Router,
}

impl Api {
    /// Makes the service of a server.
    pub fn new(state: AppState) -> Self {
        let (routes, routes_once) = super::routers(&state);
        Self { state, routes, routes_once }
    }

    /// Answers a request: gives it an id, bounds its time, sets the headers that all answers carry.
    pub async fn answer(&self, mut request: Request) -> Response {
        let id = self.state.broker.new_request_id();
        request.extensions_mut().insert(id.clone());
        let handled = tokio::time::timeout(REQUEST_TIMEOUT, self.handle(request)).await;
        let mut response = match handled {
            Ok(Some(response)) => response,
            Ok(None) => {
                Failure::new(Error::internal("a handler panicked"), id.clone()).into_response()
            }
            Err(_) => {
                let message = "the request took too long";
                let error = Error::new(ErrorKind::Unavailable, "timeout", message);
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
    async fn handle(&self, request: Request) -> Option<Response> {
        let ends_with_caller =
            request.method().is_safe() || request.uri().path() == "/api/v1/runner/claim";
        let is_keyed = request.method() == Method::POST && idempotency::has_key(&request);
        let routes = if is_keyed { &self.routes_once } else { &self.routes };
        let handling = AssertUnwindSafe(routes.clone().oneshot(request)).catch_unwind();
        let handled = if ends_with_caller {
            handling.await
        } else {
            Lasting::new(&self.state.changes, handling).await
        };
        // The error of a router is one that cannot be.
        handled.ok().map(|routed| routed.unwrap_or_else(|never| match never {}))
    }
}
