//! Workloads: commands outside pipelines that hold leases, started by `keyferry exec`.

use keyferry_domain::Timestamp;
use keyferry_domain::connection::ConnectionId;
use keyferry_domain::id::WorkloadId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::secrets::Disclosed;

/// Starts a workload of the caller.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateWorkload {
    /// The connections it may use, 1 to 32; the caller must be allowed to use each.
    #[schema(value_type = Vec<String>)]
    pub connections: Vec<ConnectionId>,
    /// How long it may take at most, 60 to 86 400 seconds; 3 600 when absent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lifetime_seconds: Option<u32>,
    /// What it is, for the audit record: the command's first word.
    pub label: String,
}

/// A new workload. The token is shown here and never again.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WorkloadCreated {
    /// Its id.
    #[schema(value_type = String)]
    pub id: WorkloadId,
    /// What it asks for leases with.
    pub token: Disclosed,
    /// When it ends at the latest.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// What it may use.
    pub connections: Vec<WorkloadConnection>,
}

/// A connection that a workload may use.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WorkloadConnection {
    /// The connection.
    #[schema(value_type = String)]
    pub connection_id: ConnectionId,
    /// Its type.
    pub connection_type: String,
    /// The address below which helpers answer for it: `https://git.example.com/team`, without a
    /// scheme where any will do; absent for types without a service.
    pub address: Option<String>,
    /// Certificates in PEM that the service is trusted by instead of the system's, at that address
    /// and nowhere else; absent where the system's are trusted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ca_certificate: Option<String>,
}
