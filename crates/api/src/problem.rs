//! Errors on the wire: `application/problem+json` (RFC 9457) with Keyferry's members.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The media type of errors.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// An error as the API answers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Where the code is explained: `/docs/errors#connection_not_bound`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of failure: `denied`.
    pub title: String,
    /// The HTTP status code.
    pub status: u16,
    /// The stable code: `connection_not_bound`.
    pub code: String,
    /// What happened, as a sentence.
    pub detail: String,
    /// What can be done about it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
    /// The request, as in the audit record and the server's log.
    pub request_id: String,
    /// Each wrong place in the input.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub errors: Vec<FieldProblem>,
    /// The version that the thing has now, when the caller's was stale.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub current_version: Option<i64>,
    /// What still uses the thing that was to be deleted.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub used_by: Vec<String>,
    /// How long to wait before another try.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retry_after_seconds: Option<u64>,
}

/// One wrong place in the input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldProblem {
    /// JSON pointer (RFC 6901) into the request.
    pub pointer: String,
    /// What is wrong there.
    pub message: String,
}
