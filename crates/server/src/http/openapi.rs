//! The description of the API (OpenAPI 3.1), made of the same macros that make the routes.

use axum::{Json, Router};
use keyferry_api::problem::{MEDIA_TYPE, Problem};
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    Components, ContentBuilder, Info, License, Object, OpenApi, OpenApiBuilder, Ref, RefOr,
    Required, ResponseBuilder, Type,
};
use utoipa::{PartialSchema as _, ToSchema as _};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

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
    let mut schemas = vec![(Problem::name().into_owned(), Problem::schema())];
    Problem::schemas(&mut schemas);
    components.schemas.extend(schemas);
    OpenApiBuilder::new().info(info).components(Some(components)).build()
}

/// The operations of one path, as `routes!` makes them.
pub(super) type Operations = UtoipaMethodRouter<AppState>;

/// Puts operations below a prefix. Written out, since a router that is nested in another has the
/// address of every request taken apart and made anew.
pub(super) fn below(prefix: &str, (schemas, mut paths, router): Operations) -> Operations {
    let prefixed = |(path, item): (String, PathItem)| {
        let path = path.strip_suffix('/').unwrap_or(&path);
        (format!("{prefix}{path}"), item)
    };
    paths.paths = std::mem::take(&mut paths.paths).into_iter().map(prefixed).collect();
    (schemas, paths, router)
}

/// Returns the routes of these operations, and the document that describes them.
pub(super) fn describe(operations: Vec<Operations>) -> (Router<AppState>, OpenApi) {
    let (router, mut document) = operations
        .into_iter()
        .fold(OpenApiRouter::with_openapi(base()), OpenApiRouter::routes)
        .split_for_parts();
    for (path, item) in &mut document.paths.paths {
        let operations =
            [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            complete(path, operation);
        }
    }
    idempotency::describe(&mut document);
    (router, document)
}

/// Adds what holds for every operation alike: that it takes a token where it does not say otherwise,
/// the organization in its path, and how it is refused.
fn complete(path: &str, operation: &mut Operation) {
    if path.contains("/{organization}") {
        let organization = ParameterBuilder::new()
            .name("organization")
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .description(Some("The organization's id"))
            .schema(Some(Object::with_type(Type::String)))
            .build();
        operation.parameters.get_or_insert_default().insert(0, RefOr::T(organization));
    }
    let problem =
        ContentBuilder::new().schema(Some(Ref::from_schema_name(Problem::name()))).build();
    let refusal = ResponseBuilder::new().content(MEDIA_TYPE, problem).build();
    for statuses in ["4XX", "5XX"] {
        operation.responses.responses.insert(statuses.to_owned(), RefOr::T(refusal.clone()));
    }
    let bearer = || vec![SecurityRequirement::new("bearer", Vec::<String>::new())];
    operation.security.get_or_insert_with(bearer);
}

/// Returns the whole document as it is served and checked in.
pub fn document() -> OpenApi {
    describe(super::operations()).1
}

/// Serves the document.
pub(super) fn serve(document: &OpenApi) -> Json<OpenApi> {
    Json(document.clone())
}
