//! Leases: asking for access, seeing what was given, ending it.

use std::collections::BTreeMap;

use keyferry_domain::Timestamp;
use keyferry_domain::connection::ConnectionId;
use keyferry_domain::id::{CredentialId, LeaseId};
use keyferry_domain::lease::{EndReason, Holder, Narrowing, Residue};
use keyferry_domain::operation::Operation;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::secrets::Disclosed;

/// Asks for access through a connection. The caller is a job (job token) or a workload.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IssueLease {
    /// The connection.
    #[schema(value_type = String)]
    pub connection_id: ConnectionId,
    /// What it is for.
    #[schema(value_type = Object)]
    pub operation: Operation,
}

/// What was issued.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LeaseIssued {
    /// The lease.
    #[schema(value_type = String)]
    pub lease_id: LeaseId,
    /// The connection.
    #[schema(value_type = String)]
    pub connection_id: ConnectionId,
    /// The connection's type.
    pub connection_type: String,
    /// What it was cut down to.
    #[schema(value_type = Object)]
    pub narrowing: Narrowing,
    /// Ask again from then on; nothing answered has less than a minute to live.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// The secret itself.
    pub material: LeaseMaterial,
}

/// The secret bytes of a lease.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum LeaseMaterial {
    /// User name and password, or a token in the password's place.
    Password {
        /// The user name.
        username: String,
        /// The password or token.
        password: Disclosed,
    },
    /// A private key for SSH.
    SshKey {
        /// The user name to connect with.
        username: String,
        /// The key, OpenSSH PEM.
        private_key: Disclosed,
        /// The host keys to accept.
        known_hosts: String,
        /// The `ssh://` address of the repository, when the lease is for one.
        url: Option<String>,
    },
    /// Named values, and files in base64.
    Values {
        /// Values by name.
        #[schema(value_type = BTreeMap<String, String>)]
        values: BTreeMap<String, Disclosed>,
        /// Files by name, in base64.
        #[schema(value_type = BTreeMap<String, String>)]
        files: BTreeMap<String, Disclosed>,
    },
}

/// What a holder learns that has reported a refusal by the service.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RejectionReported {
    /// The connection.
    #[schema(value_type = String)]
    pub connection_id: ConnectionId,
    /// The connection's name.
    pub connection_name: String,
    /// What Keyferry found when it tried the credential itself, just now.
    pub health: crate::connections::HealthView,
    /// What happened and what to do, as one sentence for the person who reads the run.
    pub explanation: String,
}

/// Which leases are wanted.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct LeaseQuery {
    /// Entries at most, 1 to 200; 50 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Of this connection only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    pub connection_id: Option<ConnectionId>,
    /// Held by this job or workload only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holder_id: Option<String>,
    /// `pending`, `active`, `ending` or `ended`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

/// A lease without its material.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LeaseView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: LeaseId,
    /// The connection.
    #[schema(value_type = String)]
    pub connection_id: ConnectionId,
    /// The credential behind it.
    #[schema(value_type = String)]
    pub credential_id: CredentialId,
    /// The credential's version.
    pub credential_version: i64,
    /// Who holds it.
    #[schema(value_type = Object)]
    pub holder: Holder,
    /// What it was asked for.
    #[schema(value_type = Object)]
    pub operation: Operation,
    /// What it was cut down to.
    #[schema(value_type = Object)]
    pub narrowing: Narrowing,
    /// `pending`, `active`, `ending` or `ended`.
    pub state: String,
    /// When it was issued.
    #[schema(value_type = String, format = DateTime)]
    pub issued_at: Timestamp,
    /// When it ends at the latest.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// When it was over.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    /// Why it ended.
    #[schema(value_type = Option<String>)]
    pub end_reason: Option<EndReason>,
    /// What it left alive at the service.
    #[schema(value_type = Option<Object>)]
    pub residue: Option<Residue>,
    /// The last failure to take it back.
    pub last_error: Option<String>,
}
