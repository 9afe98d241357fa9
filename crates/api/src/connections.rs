//! Connections: what pipelines name.

use std::collections::BTreeMap;

use keyferry_domain::connection::{ConnectionId, HealthStatus};
use keyferry_domain::id::{CredentialId, GroupId, UserId};
use keyferry_domain::{Scope, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::credentials::CredentialInput;

/// Creates a connection. Exactly one of `credential` and `credential_id` is given.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateConnection {
    /// Name, 1 to 100 characters.
    pub name: String,
    /// Connection type; every alias is read.
    #[serde(rename = "type")]
    pub connection_type: String,
    /// What pipelines will write; generated when absent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub connection_id: Option<String>,
    /// Settings, as the type declares them.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// A new credential.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub credential: Option<CredentialInput>,
    /// An existing credential of the caller.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(value_type = Option<String>)]
    pub credential_id: Option<CredentialId>,
    /// Who may use it.
    #[schema(value_type = String, examples("private"))]
    pub scope: Scope,
    /// Users of the custom scope.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub users: Vec<UserId>,
    /// Groups of the custom scope.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub groups: Vec<GroupId>,
    /// Store it without trying it; it is then marked unverified.
    #[serde(default)]
    pub skip_verify: bool,
}

/// Changes name or scope. What is absent stays.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateConnection {
    /// New name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
    /// New scope.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(value_type = Option<String>)]
    pub scope: Option<Scope>,
    /// Users of the custom scope; replaces them all.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(value_type = Option<Vec<String>>)]
    pub users: Option<Vec<UserId>>,
    /// Groups of the custom scope; replaces them all.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(value_type = Option<Vec<String>>)]
    pub groups: Option<Vec<GroupId>>,
    /// The version that was read.
    pub version: i64,
}

/// Replaces what is inside a connection: one of `credential` and `credential_id`, or new
/// `settings`, or both. The stored credential goes along to another address only for someone who
/// may use it; anybody else sends a credential with the settings.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReconfigureConnection {
    /// New fields: a new version of the credential behind the connection. Those that are not
    /// secret and absent stay as they are. Of another kind, or for another address than the
    /// present credential's owner chose, they become a credential of the caller's own.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub credential: Option<CredentialInput>,
    /// Another existing credential of the caller.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(value_type = Option<String>)]
    pub credential_id: Option<CredentialId>,
    /// New settings; absent keeps them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub settings: Option<BTreeMap<String, String>>,
    /// How long the version before stays usable, in seconds: 0 to 86 400, 900 when absent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub overlap_seconds: Option<u32>,
    /// Make it current without trying it; the connection is then marked unverified.
    #[serde(default)]
    pub skip_verify: bool,
    /// The version that was read.
    pub version: i64,
}

/// What a change of the credential means for pipelines.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ConnectionReconfigured {
    /// The connection as it is now.
    pub connection: ConnectionView,
    /// Pipelines that use it, by name.
    pub used_by: Vec<String>,
    /// Pipelines that had to be edited: always 0.
    pub pipelines_edited: u32,
    /// Until when the version before stays usable; absent when the settings alone changed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub overlap_until: Option<Timestamp>,
}

/// Gives a connection and its credential to another member.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TransferConnection {
    /// The new owner.
    #[schema(value_type = String)]
    pub user_id: UserId,
    /// The version that was read.
    pub version: i64,
}

/// Names the version that the caller has seen.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct VersionSeen {
    /// The version that was read.
    pub version: i64,
}

/// Deletes a connection.
#[derive(Debug, Clone, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct DeleteConnection {
    /// Delete it although pipelines use it; their bindings break.
    #[serde(default)]
    pub force: bool,
}

/// Which connections are wanted. Filters add up.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ConnectionQuery {
    /// Entries at most, 1 to 200; 50 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Of this type only; every alias is read.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub connection_type: Option<String>,
    /// With this text in name or ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search: Option<String>,
    /// In this state of health.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    pub health: Option<HealthStatus>,
}

/// A connection.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ConnectionView {
    /// What pipelines write.
    #[schema(value_type = String)]
    pub connection_id: ConnectionId,
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub connection_type: String,
    /// Its settings.
    pub settings: BTreeMap<String, String>,
    /// The credential behind it.
    #[schema(value_type = String)]
    pub credential_id: CredentialId,
    /// Whose it is.
    #[schema(value_type = String)]
    pub owner_id: UserId,
    /// Who may use it.
    #[schema(value_type = String)]
    pub scope: Scope,
    /// Users of the custom scope.
    #[schema(value_type = Vec<String>)]
    pub users: Vec<UserId>,
    /// Groups of the custom scope.
    #[schema(value_type = Vec<String>)]
    pub groups: Vec<GroupId>,
    /// What the last try found.
    pub health: HealthView,
    /// When a lease was last issued.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_used_at: Option<Timestamp>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Counts changes.
    pub version: i64,
}

/// The health of a connection.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HealthView {
    /// `healthy`, `rejected`, `unreachable`, `misconfigured` or `unverified`.
    #[schema(value_type = String)]
    pub status: HealthStatus,
    /// Why, in the service's words, cleaned of secrets.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// The setting that is wrong.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub field: Option<String>,
    /// When it was tried.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub checked_at: Option<Timestamp>,
}

/// Who is asked about; the caller when absent.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ExplainQuery {
    /// The user.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    pub user_id: Option<UserId>,
}

/// May they use it, and if not why not.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// Whether they may.
    pub allowed: bool,
    /// The rules that say so, or the reasons against.
    pub reasons: Vec<String>,
    /// Who could change it.
    pub who_can_change_it: Vec<String>,
}

/// What a connection touches.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ConnectionUsage {
    /// Places of pipelines that are bound to it.
    pub bindings: Vec<crate::bindings::BindingView>,
    /// Leases that are alive.
    pub live_leases: Vec<crate::leases::LeaseView>,
}
