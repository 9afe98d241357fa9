//! What handlers return: views as JSON, with 200, 201 or 204, or a [`Failure`].

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use keyferry_api::List;
use keyferry_domain::page::Page;
use keyferry_domain::{Actor, Result};
use serde::Serialize;

use super::problem::Failure;

/// What a handler returns.
pub(super) type Answer<T> = Result<T, Failure>;

/// A view, with 201: something was made.
pub(super) struct Created<T>(pub T);

impl<T: Serialize> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        (StatusCode::CREATED, Json(self.0)).into_response()
    }
}

/// Nothing to show, with 204.
pub(super) struct Done;

impl IntoResponse for Done {
    fn into_response(self) -> Response {
        StatusCode::NO_CONTENT.into_response()
    }
}

/// Turns the outcome of a use case into an answer; the actor knows the request it belongs to.
pub(super) fn answer<T, V>(
    actor: &Actor,
    outcome: Result<T>,
    view: impl FnOnce(T) -> V,
) -> Answer<Json<V>> {
    finish(actor, outcome).map(|value| Json(view(value)))
}

/// Like [`answer`], with 201.
pub(super) fn created<T, V>(
    actor: &Actor,
    outcome: Result<T>,
    view: impl FnOnce(T) -> V,
) -> Answer<Created<V>> {
    finish(actor, outcome).map(|value| Created(view(value)))
}

/// Like [`answer`], with 204.
pub(super) fn done(actor: &Actor, outcome: Result<()>) -> Answer<Done> {
    finish(actor, outcome).map(|()| Done)
}

/// Like [`answer`], for a page of a list.
pub(super) fn page<T, V>(
    actor: &Actor,
    outcome: Result<Page<T>>,
    view: impl FnMut(T) -> V,
) -> Answer<Json<List<V>>> {
    finish(actor, outcome).map(|page| {
        let page = page.map(view);
        Json(List { items: page.items, next_cursor: page.next_cursor })
    })
}

fn finish<T>(actor: &Actor, outcome: Result<T>) -> Answer<T> {
    outcome.map_err(|error| Failure::new(error, actor.request.clone()))
}
