//! Members: users' places in an organization.

use keyferry_domain::id::UserId;
use keyferry_domain::{Role, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::secrets::Disclosed;

/// Adds a person. Someone who has no user yet gets an invitation.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateMember {
    /// E-mail address.
    pub email: String,
    /// Name; used when the user is new.
    pub name: String,
    /// Role.
    #[schema(value_type = String, examples("member"))]
    pub role: Role,
}

/// A new member. The invitation is shown here and never again.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct MemberCreated {
    /// The member.
    pub member: MemberView,
    /// The token with which a new user chooses a password; absent when the user existed already.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub invitation_token: Option<Disclosed>,
}

/// Changes a member's role.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateMember {
    /// New role.
    #[schema(value_type = String, examples("admin"))]
    pub role: Role,
    /// The version that was read.
    pub version: i64,
}

/// A member.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct MemberView {
    /// The user's id.
    #[schema(value_type = String)]
    pub user_id: UserId,
    /// E-mail address.
    pub email: String,
    /// Name.
    pub name: String,
    /// Role.
    #[schema(value_type = String, examples("member"))]
    pub role: Role,
    /// When they joined.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Counts changes.
    pub version: i64,
}
