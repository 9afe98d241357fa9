//! The header `Idempotency-Key`: a create that is sent again is done once and answered alike.
//!
//! One layer around the routes of requests that have the header; which of them create is read from the description of the API, and so
//! is which of them answer with a secret. The handlers know nothing of it, and what a key means is
//! decided by the broker. The header is that of the IETF draft httpapi-idempotency-key-header.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequestParts as _, MatchedPath, Request, State};
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use keyferry_broker::idempotency_keys::{Claim, Kept, Reservation};
use keyferry_domain::Error;
use serde_json::Value;
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::{ObjectBuilder, OpenApi, RefOr, Required, Type};

use super::AppState;
use super::extract::{Caller, read_body, request_id};
use super::problem::Failure;

static KEY: HeaderName = HeaderName::from_static("idempotency-key");
static REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The longest answer that is kept, in bytes; a view is far below it.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// What the schema of a secret in an answer is called.
const SECRET_SCHEMA: &str = "#/components/schemas/Disclosed";

/// The operations that take the header: path template, and whether the answer holds a secret.
#[derive(Debug)]
pub(super) struct Creates(HashMap<String, bool>);

impl Creates {
    /// Reads them from the description of the API.
    pub(super) fn find(document: &OpenApi) -> Self {
        let text = serde_json::to_value(document).unwrap_or_default();
        let creates = document.paths.paths.iter().filter_map(|(path, item)| {
            let operation = item.post.as_ref().filter(|operation| takes_key(operation))?;
            let answer = operation.responses.responses.get("201");
            let answer = serde_json::to_value(answer).unwrap_or_default();
            Some((path.clone(), holds_secret(&text, &answer, &mut Vec::new())))
        });
        Self(creates.collect())
    }
}

/// Describes the header on the operations that take it.
pub(super) fn describe(document: &mut OpenApi) {
    let header = ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "A new random text, 1 to 255 visible ASCII characters. The same request sent again \
             with the same key within a day is not done again.",
        ))
        .schema(Some(
            ObjectBuilder::new()
                .schema_type(Type::String)
                .min_length(Some(1))
                .max_length(Some(255))
                .build(),
        ))
        .build();
    for item in document.paths.paths.values_mut() {
        if let Some(operation) = item.post.as_mut().filter(|operation| takes_key(operation)) {
            operation.parameters.get_or_insert_default().push(RefOr::T(header.clone()));
        }
    }
}

/// Tells whether an operation creates something for a caller who is known.
fn takes_key(operation: &Operation) -> bool {
    let needs_token = serde_json::to_value(&operation.security)
        .is_ok_and(|security| security == serde_json::json!([{"bearer": []}]));
    needs_token && operation.responses.responses.contains_key("201")
}

/// Looks for the schema of a secret in a part of the document and in all that it refers to.
fn holds_secret(document: &Value, part: &Value, seen: &mut Vec<String>) -> bool {
    match part {
        Value::String(text) if text == SECRET_SCHEMA => true,
        Value::String(text) => {
            let Some(pointer) = text.strip_prefix('#').filter(|_| !seen.contains(text)) else {
                return false;
            };
            seen.push(text.clone());
            document.pointer(pointer).is_some_and(|found| holds_secret(document, found, seen))
        }
        Value::Array(parts) => parts.iter().any(|part| holds_secret(document, part, seen)),
        Value::Object(parts) => parts.values().any(|part| holds_secret(document, part, seen)),
        _ => false,
    }
}

/// Tells whether a request comes with a key.
pub(super) fn has_key(request: &Request) -> bool {
    request.headers().contains_key(&KEY)
}

/// Does a request with a key once.
pub(super) async fn once(
    State((state, creates)): State<(AppState, Arc<Creates>)>,
    request: Request,
    next: Next,
) -> Response {
    let (parts, body) = request.into_parts();
    let answered = async {
        let discloses = find_create(&state, &creates, &parts)?;
        begin(&state, parts, body).await.map(|begun| (discloses, begun))
    };
    let (discloses, begun) = match answered.await {
        Ok(begun) => begun,
        Err(failure) => return failure.into_response(),
    };
    match begun {
        Begun::First(reservation, request) => {
            finish(&state, reservation, discloses, next.run(*request).await).await
        }
        Begun::Answered(response) => response,
    }
}

/// How a request with a key goes on.
enum Begun {
    First(Reservation, Box<Request>),
    Answered(Response),
}

/// Finds the operation; tells whether it discloses. A key that would be ignored is refused: whoever
/// sends it relies on it.
fn find_create(state: &AppState, creates: &Creates, parts: &Parts) -> Result<bool, Failure> {
    let template = parts.extensions.get::<MatchedPath>().map(MatchedPath::as_str);
    template.and_then(|template| creates.0.get(template)).copied().ok_or_else(|| {
        let error = Error::invalid(
            "idempotency_key_not_taken",
            "this operation does not take an idempotency key",
        );
        let hint = "leave out the header `Idempotency-Key`; /api/openapi.json says which operations take it";
        Failure::new(error.hint(hint), request_id(parts, state))
    })
}

/// Claims the key for this request of this caller.
async fn begin(state: &AppState, mut parts: Parts, body: Body) -> Result<Begun, Failure> {
    let id = request_id(&parts, state);
    let Caller(actor) = Caller::from_request_parts(&mut parts, state).await?;
    let mut keys = parts.headers.get_all(&KEY).iter();
    // A key of other bytes, and one of several, is read as the empty one, which is refused.
    let key = match (keys.next().map(HeaderValue::to_str), keys.next()) {
        (Some(Ok(key)), None) => key.to_owned(),
        _ => String::new(),
    };
    let body = read_body(body, &id).await?;
    let address = parts.uri.path_and_query().map_or("", |address| address.as_str());
    let marked: [&[u8]; 2] = [address.as_bytes(), &body];
    let claim = state
        .broker
        .claim_key(&actor, &key, &marked)
        .await
        .map_err(|error| Failure::new(error, id.clone()))?;
    match claim {
        Claim::First(reservation) => {
            let request = Request::from_parts(parts, Body::from(body));
            Ok(Begun::First(reservation, Box::new(request)))
        }
        Claim::Answered(response) => {
            let json = HeaderValue::from_static("application/json");
            let replayed = HeaderValue::from_static("true");
            let headers = [(CONTENT_TYPE, json), (REPLAYED.clone(), replayed)];
            Ok(Begun::Answered((StatusCode::CREATED, headers, response).into_response()))
        }
        Claim::OtherRequest => Err(Failure::reused_key(id)),
    }
}

/// Keeps what was answered, or gives the key back after a refusal.
///
/// After a failure on our side nobody knows whether something was changed, so the key stays taken:
/// better a caller who has to look than something that is made twice.
async fn finish(
    state: &AppState,
    reservation: Reservation,
    discloses: bool,
    response: Response,
) -> Response {
    let status = response.status();
    if status != StatusCode::CREATED {
        if (status.is_client_error() || status == StatusCode::BAD_GATEWAY)
            && let Err(error) = state.broker.release_key(reservation).await
        {
            tracing::error!(?error, "release an idempotency key");
        }
        return response;
    }
    let (parts, body) = response.into_parts();
    let body = match to_bytes(body, MAX_ANSWER_BYTES).await {
        Ok(body) => body,
        Err(error) => {
            tracing::error!(?error, "read an answer to keep it");
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
    };
    let kept = if discloses {
        serde_json::from_slice(&body).ok().and_then(|answer| made(&answer)).map(Kept::NameOnly)
    } else {
        String::from_utf8(body.to_vec()).ok().map(Kept::Answer)
    };
    let kept = match kept {
        Some(kept) => state.broker.keep_answer(reservation, kept).await,
        None => Err(Error::internal("an answer that does not name what was made")),
    };
    // The caller has what they asked for. A second try finds the key taken, and nothing is done.
    if let Err(error) = kept {
        tracing::error!(?error, "keep the answer to a request with an idempotency key");
    }
    Response::from_parts(parts, Body::from(body))
}

/// Returns the id of what an answer shows, which may lie one level below.
fn made(answer: &Value) -> Option<String> {
    let inner = answer.as_object()?.values().filter(|value| value.is_object());
    std::iter::once(answer)
        .chain(inner)
        .find_map(|object| {
            ["id", "lease_id", "user_id"].iter().find_map(|name| object.get(name)?.as_str())
        })
        .map(str::to_owned)
}
