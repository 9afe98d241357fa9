//! Groups: named sets of users, for the custom scope of connections.

use keyferry_domain::id::{GroupId, UserId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Creates a group.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateGroup {
    /// Name, unique in the organization.
    pub name: String,
    /// Members of the organization.
    #[schema(value_type = Vec<String>)]
    pub users: Vec<UserId>,
}

/// Replaces a group's name and users.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateGroup {
    /// Name, unique in the organization.
    pub name: String,
    /// Members of the organization.
    #[schema(value_type = Vec<String>)]
    pub users: Vec<UserId>,
    /// The version that was read.
    pub version: i64,
}

/// A group.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct GroupView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: GroupId,
    /// Its name.
    pub name: String,
    /// Its users.
    #[schema(value_type = Vec<String>)]
    pub users: Vec<UserId>,
    /// Counts changes.
    pub version: i64,
}
