//! Members: users' places in an organization.

use keyferry_domain::id::UserId;
use keyferry_domain::{Role, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::secrets::Disclosed;

/// Invites a person. Inviting again, with the same role, makes a new invitation.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateMember {
    /// E-mail address.
    pub email: String,
    /// Name, shown until they accept; who has an account already keeps the name of that.
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
    /// The token with which they accept, within a day.
    pub invitation_token: Disclosed,
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
    /// The user's id. Who accepts with an account that they had before has the id of that.
    #[schema(value_type = String)]
    pub user_id: UserId,
    /// E-mail address.
    pub email: String,
    /// Name.
    pub name: String,
    /// Role.
    #[schema(value_type = String, examples("member"))]
    pub role: Role,
    /// Invited, and has not accepted yet.
    #[serde(default)]
    pub invited: bool,
    /// When they were added.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Counts changes.
    pub version: i64,
}
