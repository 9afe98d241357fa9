//! Bindings: pipelines' rights to connections, place by place.

use keyferry_domain::Timestamp;
use keyferry_domain::connection::ConnectionId;
use keyferry_domain::id::{BindingId, PipelineId, UserId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A pipeline's right to use a connection in one place.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BindingView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: BindingId,
    /// The pipeline.
    #[schema(value_type = String)]
    pub pipeline_id: PipelineId,
    /// The pipeline's name.
    pub pipeline_name: String,
    /// The place: `sources.app` or `stages.build.jobs.compile`.
    pub place: String,
    /// The connection.
    #[schema(value_type = String)]
    pub connection_id: ConnectionId,
    /// `approved`, `needs_approval`, `revoked` or `broken`.
    pub state: String,
    /// Who approved it.
    #[schema(value_type = Option<String>)]
    pub approved_by: Option<UserId>,
    /// When.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub approved_at: Option<Timestamp>,
}

/// Approves a place as it is now.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApproveBinding {
    /// The revision that was looked at; refused when a newer one exists.
    pub revision: i64,
}
