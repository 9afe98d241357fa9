//! Members of a pipeline: users' places in it.

use keyferry_domain::PipelineRole;
use keyferry_domain::id::UserId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Gives a member of the organization a role in a pipeline.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetPipelineMember {
    /// `owner`, `admin`, `runner` or `viewer`.
    #[schema(value_type = String, examples("runner"))]
    pub role: PipelineRole,
    /// The version that was read; absent for somebody who has no role in the pipeline yet.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub version: Option<i64>,
}

/// A member of a pipeline.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PipelineMemberView {
    /// The user's id.
    #[schema(value_type = String)]
    pub user_id: UserId,
    /// `owner`, `admin`, `runner` or `viewer`.
    #[schema(value_type = String, examples("runner"))]
    pub role: PipelineRole,
    /// Counts changes.
    pub version: i64,
}
