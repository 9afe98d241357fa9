//! What handlers take: the caller, path, query and body. Every rejection is a [`Failure`].

use std::net::{IpAddr, SocketAddr};

use axum::body::{Bytes, to_bytes};
use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::request::Parts;
use http_body_util::LengthLimitError;
use keyferry_domain::actor::Identity;
use keyferry_domain::id::RequestId;
use keyferry_domain::{Actor, Error, FieldError};
use serde::de::DeserializeOwned;

use super::AppState;
use super::problem::Failure;

/// The largest body that any route takes: a credential with files of 1 MiB each, in base64.
const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;

/// Where the shapes of bodies are described.
const SHAPE: &str = "the shape of this body is described at /api/openapi.json";

/// The caller, whose token was checked. A request without a token is refused.
#[derive(Debug)]
pub(super) struct Caller(pub Actor);

/// A caller who need not have a token: signing in, first start.
#[derive(Debug)]
pub(super) struct AnonymousCaller(pub Actor);

/// Returns the request's id, which the outermost layer has set.
pub(super) fn request_id(parts: &Parts, state: &AppState) -> RequestId {
    parts.extensions.get::<RequestId>().cloned().unwrap_or_else(|| state.broker.new_request_id())
}

/// Returns the address of the peer. Headers that proxies add are not trusted.
fn peer_address(parts: &Parts) -> Option<IpAddr> {
    parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip())
}

impl FromRequestParts<AppState> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Failure> {
        let request = request_id(parts, state);
        let fail = |error: Error| Failure::new(error, request.clone());
        let header =
            parts.headers.get(AUTHORIZATION).ok_or_else(|| {
                fail(Error::unauthenticated("this needs a token").hint(
                    "send the header `Authorization: Bearer <token>`; `keyferry login` gets one",
                ))
            })?;
        let token = header
            .to_str()
            .ok()
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .ok_or_else(|| {
                fail(Error::unauthenticated("the Authorization header is not `Bearer <token>`"))
            })?;
        let address = peer_address(parts);
        state.broker.authenticate(token, request.clone(), address).await.map(Self).map_err(fail)
    }
}

impl FromRequestParts<AppState> for AnonymousCaller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Failure> {
        let request = request_id(parts, state);
        let address = peer_address(parts);
        Ok(Self(Actor { identity: Identity::Anonymous, request, address }))
    }
}

/// A JSON body. Unknown fields, wrong types and garbage are refused with line and column; the
/// text itself is never repeated, since it may hold a secret.
#[derive(Debug)]
pub(super) struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<AppState> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Failure> {
        let (parts, body) = request.into_parts();
        let id = request_id(&parts, state);
        let is_json =
            parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(
                |value| {
                    let media_type = value.split(';').next().unwrap_or_default().trim();
                    media_type.eq_ignore_ascii_case("application/json")
                },
            );
        if !is_json {
            return Err(Failure::not_json(id));
        }
        let bytes = read_body(body, &id).await?;
        // Types of fields would read an array as well, by position and whatever it holds more.
        if bytes.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
            let error = Error::invalid("invalid_body", "the body is not a JSON object");
            return Err(Failure::new(error.hint(SHAPE), id));
        }
        let value = serde_json::from_slice(&bytes)
            .map_err(|error| Failure::new(invalid_json(&error), id))?;
        Ok(Self(value))
    }
}

/// Reads a body to its end, unless that is beyond [`MAX_BODY_BYTES`].
pub(super) async fn read_body(body: axum::body::Body, id: &RequestId) -> Result<Bytes, Failure> {
    to_bytes(body, MAX_BODY_BYTES).await.map_err(|error| {
        if error.into_inner().is::<LengthLimitError>() {
            Failure::too_large(id.clone(), MAX_BODY_BYTES)
        } else {
            let error = Error::invalid("invalid_body", "the body did not arrive as a whole");
            Failure::new(error, id.clone())
        }
    })
}

/// Tells where the JSON is wrong. serde's own words are kept for structure (which field is
/// missing or unknown), and dropped where they would repeat a value.
fn invalid_json(error: &serde_json::Error) -> Error {
    let place = format!("line {}, column {}", error.line(), error.column());
    let text = error.to_string();
    let is_structural = [
        "unknown field",
        "missing field",
        "duplicate field",
        "unknown variant",
        // What ids and named enums of `domain` say; none of them holds a secret.
        "read `",
        "use `",
    ]
    .iter()
    .any(|start| text.starts_with(start));
    let message = if is_structural {
        let end = text.find(" at line ").unwrap_or(text.len());
        format!("{} ({place})", &text[..end])
    } else if error.is_data() {
        format!("a value has the wrong type or form ({place})")
    } else {
        format!("the body is not valid JSON ({place})")
    };
    Error::invalid("invalid_body", message).hint(SHAPE)
}

/// The query string.
#[derive(Debug)]
pub(super) struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<AppState> for Query<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Failure> {
        axum::extract::Query::<T>::try_from_uri(&parts.uri).map(|query| Self(query.0)).map_err(
            |rejection| {
                let cause = std::error::Error::source(&rejection).map(ToString::to_string);
                let message = cause.unwrap_or_else(|| "the query string is invalid".to_owned());
                let error = Error::invalid("invalid_query", message);
                Failure::new(error, request_id(parts, state))
            },
        )
    }
}

/// The ids in the path, in order.
#[derive(Debug)]
pub(super) struct Path<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<AppState> for Path<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Failure> {
        if let Ok(path) = axum::extract::Path::<T>::from_request_parts(parts, state).await {
            return Ok(Self(path.0));
        }
        let names = RawPathParams::from_request_parts(parts, state).await.map_or_else(
            |_| Vec::new(),
            |parameters| parameters.iter().map(|(name, _)| name.to_owned()).collect(),
        );
        let fields = names
            .iter()
            .map(|name| FieldError::new(format!("/{name}"), "is not an id, or one of another kind"))
            .collect();
        Err(Failure::new(Error::invalid_fields(fields), request_id(parts, state)))
    }
}
