//! Organizations: tenants of one server, invisible to each other.

use keyferry_domain::Timestamp;
use keyferry_domain::id::OrganizationId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Creates an organization; the caller becomes its owner.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateOrganization {
    /// Name, 1 to 100 characters.
    pub name: String,
}

/// Renames an organization.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateOrganization {
    /// New name.
    pub name: String,
    /// The version that was read.
    pub version: i64,
}

/// An organization.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct OrganizationView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: OrganizationId,
    /// Its name.
    pub name: String,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Counts changes.
    pub version: i64,
}
