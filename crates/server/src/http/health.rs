//! Whether the process lives, and whether it can serve.

use axum::extract::State;
use axum::http::StatusCode;

use super::AppState;

/// The process answers.
pub(super) async fn live() -> StatusCode {
    StatusCode::NO_CONTENT
}

/// The database answers too.
pub(super) async fn ready(State(state): State<AppState>) -> StatusCode {
    match state.broker.check_ready().await {
        Ok(()) => StatusCode::NO_CONTENT,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}
