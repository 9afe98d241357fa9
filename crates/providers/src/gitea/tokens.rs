//! Personal tokens minted from a user name and password, and taken back by name.
//!
//! Source: `POST` and `DELETE /users/{username}/tokens` of the API. Both take Basic
//! authentication only, with the password or with a token that has the scope `write:user`.

use keyferry_domain::secret::SecretString;
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::client::{Answer, Client};
use crate::error::ProviderError;

/// Returns the name under which the API knows the user of a handle: people may sign in with their
/// address, too. Somebody else's token is not found by this credential, dead or alive, and an
/// address is nobody's name in the API: both are a refusal, so that what is not found has always
/// been looked for at the right user.
pub(super) async fn login_of(client: &Client<'_>, username: &str) -> Result<String, ProviderError> {
    let is_own = username.eq_ignore_ascii_case(client.username());
    if is_own && !username.contains('@') {
        return Ok(username.to_owned());
    }
    match client.user().await? {
        Some(user) if is_own || user.login.eq_ignore_ascii_case(username) => Ok(user.login),
        None if is_own => Err(ProviderError::Misconfigured {
            field: "username".to_owned(),
            reason: "give the user name instead of the address".to_owned(),
        }),
        found => {
            let found = found.map_or_else(|| "someone unknown".to_owned(), |user| user.login);
            Err(ProviderError::Rejected {
                reason: format!("the token is `{username}`'s, and this credential is `{found}`'s"),
            })
        }
    }
}

/// What Gitea answers to a mint; other fields are of no interest.
#[derive(Deserialize)]
struct MintedToken {
    sha1: SecretString,
}

/// Mints a token. A refusal is final: what was planned is a token, so the stored password is not
/// handed out in its place.
pub(super) async fn mint(
    client: &Client<'_>,
    login: &str,
    name: &str,
    scopes: &[String],
) -> Result<SecretString, ProviderError> {
    let body = json!({"name": name, "scopes": scopes});
    let answer =
        client.call_basic(login, Method::POST, &["users", login, "tokens"], Some(&body)).await?;
    match answer.status {
        201 => {
            let minted: MintedToken = answer.json()?;
            if minted.sha1.expose().is_empty() {
                return Err(ProviderError::Unexpected {
                    reason: "the minted token is empty".to_owned(),
                });
            }
            Ok(minted.sha1)
        }
        _ => Err(mint_refusal(client, &answer, &scopes.join(", "))),
    }
}

/// Tries whether tokens can be minted and deleted, by deleting one that does not exist: Gitea
/// checks the right before it looks for the token.
pub(super) async fn check_mint(client: &Client<'_>, login: &str) -> Result<(), ProviderError> {
    let path = ["users", login, "tokens", "keyferry-probe-that-does-not-exist"];
    let answer = client.call_basic(login, Method::DELETE, &path, None).await?;
    match answer.status {
        204 | 404 => Ok(()),
        _ => Err(mint_refusal(client, &answer, "any scope")),
    }
}

fn mint_refusal(client: &Client<'_>, answer: &Answer, scopes: &str) -> ProviderError {
    match answer.refusal("the user") {
        ProviderError::Rejected { reason } => ProviderError::Rejected {
            reason: format!(
                "no token with {scopes} can be minted: {reason}; a token in the password's place \
                 needs the scope `write:user`, or store it as a credential of the kind `token`"
            ),
        },
        ProviderError::NotFound { .. } => ProviderError::Misconfigured {
            field: "username".to_owned(),
            reason: format!("Gitea does not know a user `{}`", client.username()),
        },
        other => other,
    }
}

/// Deletes a token; one that is not there is a success.
pub(super) async fn delete(
    client: &Client<'_>,
    login: &str,
    name: &str,
) -> Result<(), ProviderError> {
    let path = ["users", login, "tokens", name];
    let answer = client.call_basic(login, Method::DELETE, &path, None).await?;
    match answer.status {
        204 | 404 => Ok(()),
        _ => Err(answer.refusal("the token")),
    }
}
