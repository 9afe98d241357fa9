//! A person's API tokens. Each works in one organization, with that person's role there.

use keyferry_domain::Timestamp;
use keyferry_domain::id::{TokenId, UserId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::secrets::Disclosed;

/// Creates a token for the caller.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateToken {
    /// What it is for.
    pub name: String,
    /// Days until it expires, 1 to 366; 30 when absent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expires_in_days: Option<u32>,
}

/// A new token. The text is shown here and never again.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenCreated {
    /// The token's text.
    pub token: Disclosed,
    /// What can be listed later.
    pub view: TokenView,
}

/// A token without its text.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: TokenId,
    /// Whose it is.
    #[schema(value_type = String)]
    pub user_id: UserId,
    /// What it is for.
    pub name: String,
    /// Its first characters.
    pub hint: String,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it stops working.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// When it was last used, to the minute.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_used_at: Option<Timestamp>,
}
