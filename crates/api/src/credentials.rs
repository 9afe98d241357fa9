//! Credentials: the authority behind connections. No answer ever contains one's secret fields.

use std::collections::BTreeMap;

use keyferry_domain::Timestamp;
use keyferry_domain::credential::{CredentialKind, VersionState};
use keyferry_domain::id::{CredentialId, UserId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::secrets::SecretInput;

/// The fields of a credential, as its kind declares them.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CredentialInput {
    /// `username_password`, `token`, `ssh_key` or `values`.
    #[schema(value_type = String, examples("username_password"))]
    pub kind: CredentialKind,
    /// Public and secret fields by name; for `values`, the values under their names.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, String>)]
    pub fields: BTreeMap<String, SecretInput>,
    /// Files by name, in base64; for `values` only.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, String>)]
    pub files: BTreeMap<String, SecretInput>,
}

/// Creates a credential that connections can stand on.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateCredential {
    /// Name, 1 to 100 characters.
    pub name: String,
    /// What it consists of.
    pub credential: CredentialInput,
}

/// Renames a credential.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateCredential {
    /// New name.
    pub name: String,
    /// The version of the record that was read.
    pub version: i64,
}

/// A credential without its secrets.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CredentialView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: CredentialId,
    /// Its name.
    pub name: String,
    /// Its kind.
    #[schema(value_type = String)]
    pub kind: CredentialKind,
    /// Whose it is.
    #[schema(value_type = String)]
    pub owner_id: UserId,
    /// Fields that are not secret.
    pub public_fields: BTreeMap<String, String>,
    /// Names of the values and files of kind `values`.
    pub value_names: Vec<String>,
    /// Its versions, newest first.
    pub versions: Vec<CredentialVersionView>,
    /// IDs of the connections that stand on it.
    pub connections: Vec<String>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Counts changes of the record.
    pub version: i64,
}

/// One version of a credential.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CredentialVersionView {
    /// Counts from 1.
    pub number: i64,
    /// Where it stands.
    #[schema(value_type = Object)]
    pub state: VersionState,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}
