//! The description of the API (OpenAPI 3.1), made of the same macros that make the routes.

use axum::{Json, Router};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Components, Info, License, OpenApi, OpenApiBuilder};
use utoipa_axum::router::OpenApiRouter;

use super::{AppState, idempotency};

/// Returns the document without its paths.
fn base() -> OpenApi {
    let info = Info::builder()
        .title("Keyferry")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("The API of Keyferry, a self-hosted service-connection broker."))
        .license(Some(License::builder().name("Apache-2.0").build()))
        .build();
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("A session, an API token, or the token of a runner, job or workload."))
        .build();
    let mut components = Components::new();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    OpenApiBuilder::new().info(info).components(Some(components)).build()
}

/// Returns the routes of these operations, and the document that describes them.
pub(super) fn describe(operations: OpenApiRouter<AppState>) -> (Router<AppState>, OpenApi) {
    let (router, mut document) =
        OpenApiRouter::with_openapi(base()).nest("/api/v1", operations).split_for_parts();
    idempotency::describe(&mut document);
    (router, document)
}

/// Returns the whole document as it is served and checked in.
pub fn document() -> OpenApi {
    describe(super::operations()).1
}

/// Serves the document.
pub(super) fn serve(document: &OpenApi) -> Json<OpenApi> {
    Json(document.clone())
}
