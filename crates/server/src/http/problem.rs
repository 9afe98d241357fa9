//! Errors on the way out: the one file that chooses HTTP status codes.
//!
//! A failed use case becomes `application/problem+json` (RFC 9457). The private cause is logged
//! here, once, under the request's id; the answer holds the public half only.

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use keyferry_api::problem::{FieldProblem, MEDIA_TYPE, Problem};
use keyferry_domain::id::RequestId;
use keyferry_domain::{Error, ErrorKind};

/// Status codes and titles, by kind of failure.
const fn status_of(kind: ErrorKind) -> (StatusCode, &'static str) {
    match kind {
        ErrorKind::Invalid => (StatusCode::BAD_REQUEST, "invalid"),
        ErrorKind::Unauthenticated => (StatusCode::UNAUTHORIZED, "unauthenticated"),
        ErrorKind::Denied => (StatusCode::FORBIDDEN, "denied"),
        ErrorKind::NotFound => (StatusCode::NOT_FOUND, "not found"),
        ErrorKind::Conflict => (StatusCode::CONFLICT, "conflict"),
        ErrorKind::RateLimited => (StatusCode::TOO_MANY_REQUESTS, "rate limited"),
        ErrorKind::Upstream => (StatusCode::BAD_GATEWAY, "upstream failed"),
        ErrorKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        ErrorKind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
    }
}

/// A failed request: the error, and the request it belongs to.
#[derive(Debug)]
pub struct Failure {
    error: Error,
    request: RequestId,
    status: Option<StatusCode>,
}

impl Failure {
    /// Makes a failure of a use case.
    pub const fn new(error: Error, request: RequestId) -> Self {
        Self { error, request, status: None }
    }

    /// There is no such route.
    pub fn no_route(request: RequestId) -> Self {
        let error = Error::new(ErrorKind::NotFound, "no_route", "there is nothing at this address")
            .hint("the API is described at /api/openapi.json");
        Self::new(error, request)
    }

    /// The route exists, but not with this method.
    pub fn wrong_method(request: RequestId) -> Self {
        let error = Error::invalid("wrong_method", "this address does not take this method")
            .hint("the API is described at /api/openapi.json");
        Self { error, request, status: Some(StatusCode::METHOD_NOT_ALLOWED) }
    }

    /// The body is larger than this route takes.
    pub fn too_large(request: RequestId, limit_bytes: usize) -> Self {
        let message = format!("the body is larger than {limit_bytes} bytes");
        let error = Error::invalid("body_too_large", message);
        Self { error, request, status: Some(StatusCode::PAYLOAD_TOO_LARGE) }
    }

    /// The idempotency key came with another request before.
    pub fn reused_key(request: RequestId) -> Self {
        let message = "this idempotency key came with another request before";
        let error = Error::invalid("idempotency_key_reused", message)
            .hint("choose a new random key for each request, and repeat only the same request");
        Self { error, request, status: Some(StatusCode::UNPROCESSABLE_ENTITY) }
    }

    /// The body is not declared as JSON.
    pub fn not_json(request: RequestId) -> Self {
        let error = Error::invalid("not_json", "the body is not declared as JSON")
            .hint("send the header `Content-Type: application/json`");
        Self { error, request, status: Some(StatusCode::UNSUPPORTED_MEDIA_TYPE) }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, title) = status_of(self.error.kind());
        let status = self.status.unwrap_or(status);
        if self.error.kind() == ErrorKind::Upstream {
            // The service outside has failed or refused, which is no fault of this server.
            tracing::warn!(request = %self.request, error = ?self.error, "a service outside failed");
        } else if status.is_server_error() {
            tracing::error!(request = %self.request, error = ?self.error, "request failed");
        } else {
            tracing::debug!(request = %self.request, error = ?self.error, "request refused");
        }
        let details = self.error.details();
        let retry_after_seconds = details.retry_after.map(|wait| wait.as_secs().max(1));
        let problem = Problem {
            kind: format!("/docs/errors#{}", self.error.code()),
            title: title.to_owned(),
            status: status.as_u16(),
            code: self.error.code().to_owned(),
            detail: self.error.message().to_owned(),
            hint: details.hint.clone(),
            request_id: self.request.to_string(),
            errors: details
                .fields
                .iter()
                .map(|field| FieldProblem {
                    pointer: field.pointer.clone(),
                    message: field.message.clone(),
                })
                .collect(),
            current_version: details.current_version,
            used_by: details.used_by.clone(),
            retry_after_seconds,
        };
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = retry_after_seconds {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        (status, headers, body).into_response()
    }
}
