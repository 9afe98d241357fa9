//! First start, sign-in, and who one is.

use keyferry_domain::id::{OrganizationId, UserId};
use keyferry_domain::{Role, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::secrets::{Disclosed, SecretInput};

/// Creates the first owner and their organization, by the one-time link of the first start.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetUpServer {
    /// The token in the one-time link.
    pub setup_token: SecretInput,
    /// The owner's e-mail address, which is what they sign in with.
    pub email: String,
    /// The owner's name.
    pub name: String,
    /// The owner's password, 12 to 1024 characters.
    pub password: SecretInput,
    /// The name of the first organization.
    pub organization_name: String,
}

/// Accepts an invitation: with a new password, or with that of the account which the address has
/// on this server already.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AcceptInvitation {
    /// The token in the invitation's link.
    pub invitation_token: SecretInput,
    /// A password of 12 to 1024 characters; who has an account on this server already gives its
    /// password.
    pub password: SecretInput,
}

/// Signs in.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateSession {
    /// E-mail address.
    pub email: String,
    /// Password.
    pub password: SecretInput,
}

/// A new session. The token is shown here and never again.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SessionCreated {
    /// Goes into `Authorization: Bearer …`.
    pub token: Disclosed,
    /// When it ends.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// Who signed in.
    pub user: CurrentUser,
}

/// Who the caller is.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CurrentUser {
    /// The user's id.
    #[schema(value_type = String)]
    pub id: UserId,
    /// E-mail address.
    pub email: String,
    /// Name.
    pub name: String,
    /// The organizations that they belong to.
    pub memberships: Vec<Membership>,
}

/// One place in an organization.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Membership {
    /// The organization's id.
    #[schema(value_type = String)]
    pub organization_id: OrganizationId,
    /// The organization's name.
    pub organization_name: String,
    /// The role there.
    #[schema(value_type = String, examples("member"))]
    pub role: Role,
}

/// Changes one's own password. Every other session of the user ends.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangePassword {
    /// The present password.
    pub current_password: SecretInput,
    /// The new one, 12 to 1024 characters.
    pub new_password: SecretInput,
}
