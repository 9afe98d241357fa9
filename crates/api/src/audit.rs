//! The audit record, newest first.

use std::collections::BTreeMap;

use keyferry_domain::Timestamp;
use keyferry_domain::audit::Outcome;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Which events are wanted. Filters add up.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    /// Entries at most, 1 to 200; 50 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// With this action: `lease.issue`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// By this actor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor_id: Option<String>,
    /// On this target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_id: Option<String>,
    /// With this outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    pub outcome: Option<Outcome>,
    /// At or after this moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// Before this moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
}

/// One audit event.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AuditEventView {
    /// Its place in the chain.
    pub sequence: i64,
    /// Its id.
    pub id: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// `user`, `job`, `workload`, `runner`, `system` or `anonymous`.
    pub actor_kind: String,
    /// Who.
    pub actor_id: Option<String>,
    /// Through which session, token or run.
    pub actor_via: Option<String>,
    /// From where.
    pub address: Option<String>,
    /// In which request.
    pub request_id: String,
    /// What: `<noun>.<verb>`.
    pub action: String,
    /// The kind of thing it was done to.
    pub target_kind: Option<String>,
    /// The thing.
    pub target_id: Option<String>,
    /// `allowed`, `refused` or `failed`.
    #[schema(value_type = String)]
    pub outcome: Outcome,
    /// Why, when it was refused or failed.
    pub reason: Option<String>,
    /// What else is worth knowing.
    pub data: BTreeMap<String, String>,
    /// Hash over this event and the one before, hex of SHA-256.
    pub hash: String,
}
