//! Tokens that outlive a request: API tokens, runners' tokens, one-time links. Only their hashes.
//! Job and workload tokens are columns of their jobs and workloads.

use keyferry_domain::Timestamp;
use keyferry_domain::id::{OrganizationId, RunnerId, TokenId, UserId};
use keyferry_domain::page::{Page, PageRequest};
use keyferry_domain::token::TokenKind;

use crate::database::On;
use crate::error::Result;
use crate::record::{Filter, page, record};
use crate::row::params;

record! {
    /// A token's hash and what it stands for.
    pub struct TokenRecord in "tokens" as "token" {
        /// Its id.
        key id: TokenId,
        /// The one organization that it works in; absent for the whole server.
        fix organization_id: Option<OrganizationId>,
        /// The person it stands for.
        fix user_id: Option<UserId>,
        /// The runner it stands for.
        fix runner_id: Option<RunnerId>,
        /// Personal, runner or setup.
        fix kind: TokenKind,
        /// What it is for.
        fix name: String,
        /// The hash of its text.
        fix hash: String,
        /// Its first characters.
        fix hint: String,
        /// When it was made.
        fix created_at: Timestamp,
        /// When it stops working.
        fix expires_at: Option<Timestamp>,
        /// When it was last used.
        set last_used_at: Option<Timestamp>,
        /// Since when it does not work any more: revoked, or used up.
        set revoked_at: Option<Timestamp>,
    }
}

/// Adds a token.
pub async fn create(on: impl Into<On<'_>>, record: &TokenRecord) -> Result<()> {
    on.into().insert(record).await
}

/// Finds a token by its hash, over all organizations, revoked and expired ones too; for
/// authentication, which tells these apart.
pub async fn find_by_hash(on: impl Into<On<'_>>, hash: &str) -> Result<Option<TokenRecord>> {
    on.into().select_one("WHERE hash = $1", params![hash]).await
}

/// Finds a token of an organization.
pub async fn find(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    id: &TokenId,
) -> Result<Option<TokenRecord>> {
    on.into().select_one("WHERE organization_id = $1 AND id = $2", params![organization, id]).await
}

/// Which tokens are wanted.
#[derive(Debug, Clone, Default)]
pub struct TokenFilter {
    /// Of this kind.
    pub kind: Option<TokenKind>,
    /// Of this person.
    pub user: Option<UserId>,
}

/// Lists the tokens that have not been revoked, oldest first.
pub async fn list(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    wanted: &TokenFilter,
    request: &PageRequest,
) -> Result<Page<TokenRecord>> {
    let mut filter = Filter::organization(organization);
    filter.equal_if("kind", wanted.kind.as_ref());
    filter.equal_if("user_id", wanted.user.as_ref());
    filter.fixed("revoked_at IS NULL");
    let filter = filter.ascending("id", request);
    page(&mut on.into(), filter, request, |record: &TokenRecord| record.id.to_string()).await
}

/// Writes down that a token was used, at most once a minute; losing a race does not matter.
pub async fn touch(on: impl Into<On<'_>>, id: &TokenId, now: Timestamp) -> Result<()> {
    let sql = "UPDATE tokens SET last_used_at = $2 \
               WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $3)";
    let before = now.minus(std::time::Duration::from_mins(1));
    on.into().execute(sql.to_owned(), params![id, now, before]).await.map(drop)
}

/// Revokes a token of an organization; tells whether it still worked.
pub async fn revoke(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    id: &TokenId,
    now: Timestamp,
) -> Result<bool> {
    let sql = "UPDATE tokens SET revoked_at = $3 \
               WHERE organization_id = $1 AND id = $2 AND revoked_at IS NULL";
    Ok(on.into().execute(sql.to_owned(), params![organization, id, now]).await? > 0)
}

/// Uses up a one-time token; `true` for exactly one caller, and only before it expires.
pub async fn use_up(on: impl Into<On<'_>>, id: &TokenId, now: Timestamp) -> Result<bool> {
    let sql = "UPDATE tokens SET revoked_at = $2, last_used_at = $2 WHERE id = $1 \
               AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)";
    Ok(on.into().execute(sql.to_owned(), params![id, now]).await? > 0)
}

/// Revokes every token of a person in an organization (when they leave it), or everywhere (when
/// they are disabled); returns how many worked.
pub async fn revoke_by_user(
    on: impl Into<On<'_>>,
    organization: Option<&OrganizationId>,
    user: &UserId,
    now: Timestamp,
) -> Result<u64> {
    let mut sql =
        "UPDATE tokens SET revoked_at = $2 WHERE user_id = $1 AND revoked_at IS NULL".to_owned();
    let mut params = params![user, now];
    if let Some(organization) = organization {
        sql.push_str(" AND organization_id = $3");
        params.extend(params![organization]);
    }
    on.into().execute(sql, params).await
}

/// Revokes every token of a runner; returns how many worked.
pub async fn revoke_by_runner(
    on: impl Into<On<'_>>,
    runner: &RunnerId,
    now: Timestamp,
) -> Result<u64> {
    let sql = "UPDATE tokens SET revoked_at = $2 WHERE runner_id = $1 AND revoked_at IS NULL";
    on.into().execute(sql.to_owned(), params![runner, now]).await
}

/// Revokes the open one-time links of the whole server that name no person (the first start's);
/// returns how many worked.
pub async fn revoke_server_setup(on: impl Into<On<'_>>, now: Timestamp) -> Result<u64> {
    let sql = "UPDATE tokens SET revoked_at = $2 WHERE kind = $1 AND user_id IS NULL \
               AND organization_id IS NULL AND revoked_at IS NULL";
    on.into().execute(sql.to_owned(), params![TokenKind::Setup, now]).await
}
