//! Deploy keys: a key pair for one repository, read-only or not, made from a stored token whose
//! owner administers the repository.
//!
//! Source: `/repos/{owner}/{repo}/keys` of the API. Gitea refuses a push to a protected branch
//! with a deploy key unless the protection lists deploy keys among those who may.

use keyferry_domain::Random;
use keyferry_domain::material::Material;
use keyferry_domain::operation::Access;
use keyferry_domain::safe_url::SafeUrl;
use keyferry_domain::secret::SecretString;
use reqwest::Method;
use russh::keys::PrivateKey;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::client::{Client, RepositoryName};
use super::repositories;
use crate::error::ProviderError;

/// Pages of a repository's deploy keys that are looked through, at 50 a page.
const MAX_PAGES: u32 = 200;

/// A deploy key as Gitea lists it; other fields are of no interest.
#[derive(Deserialize)]
struct DeployKey {
    id: i64,
    title: String,
}

/// Makes a key pair, registers its public half, and returns the private half ready for use.
pub(super) async fn mint(
    client: &Client<'_>,
    random: &dyn Random,
    repository: &RepositoryName<'_>,
    access: Access,
    title: &str,
    known_hosts: &str,
) -> Result<Material, ProviderError> {
    // First everything that can go wrong without leaving a key behind.
    let found = repositories::get(client, repository).await?;
    let url = found.ssh_url.as_deref().and_then(|url| SafeUrl::parse_git(url).ok());
    let url = url.filter(|url| url.as_url().scheme() == "ssh").ok_or_else(|| {
        ProviderError::Misconfigured {
            field: "ssh_known_hosts".to_owned(),
            reason: "this Gitea offers no SSH, so no deploy key can be used; remove the host keys"
                .to_owned(),
        }
    })?;
    let (public_key, private_key) = generate_key(random)?;
    let body = json!({"title": title, "key": public_key, "read_only": access == Access::Read});
    let path = repository.path(&["keys"]);
    let answer = client.call(Method::POST, &path, &[], Some(&body)).await?;
    match answer.status {
        201 => {}
        _ => {
            return Err(match answer.refusal(&repository.describe()) {
                ProviderError::Rejected { reason } => ProviderError::Rejected {
                    reason: format!(
                        "no deploy key can be made for {repository}: {reason}; the token needs \
                         `write:repository` and an owner who administers the repository, or \
                         remove `ssh_known_hosts` from the connection to hand out the token"
                    ),
                },
                other => other,
            });
        }
    }
    let username = match url.as_url().username() {
        "" => "git",
        username => username,
    };
    Ok(Material::SshKey {
        username: username.to_owned(),
        private_key,
        known_hosts: known_hosts.to_owned(),
        url: Some(url.as_str().to_owned()),
    })
}

/// What revoking a deploy key found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Removal {
    /// The key is gone.
    Done,
    /// The credential of today does not see the repository: it was deleted, and the key with it,
    /// or it is somebody else's now.
    RepositoryNotSeen,
}

/// Deletes every deploy key with this title; none is a success.
pub(super) async fn delete(
    client: &Client<'_>,
    repository: &RepositoryName<'_>,
    title: &str,
) -> Result<Removal, ProviderError> {
    let path = repository.path(&["keys"]);
    let mut ids = Vec::new();
    let mut has_more = true;
    for page in 1..=MAX_PAGES {
        let query = [("limit", "50".to_owned()), ("page", page.to_string())];
        let answer = client.call(Method::GET, &path, &query, None).await?;
        match answer.status {
            200 => {}
            404 => return Ok(Removal::RepositoryNotSeen),
            _ => return Err(answer.refusal(&repository.describe())),
        }
        // This list has no `Link` header, and the server may serve fewer than asked for: only an
        // empty page is the end.
        let keys: Option<Vec<DeployKey>> = answer.json()?;
        let keys = keys.unwrap_or_default();
        has_more = !keys.is_empty();
        if !has_more {
            break;
        }
        ids.extend(keys.into_iter().filter(|key| key.title == title).map(|key| key.id));
    }
    if ids.is_empty() && has_more {
        return Err(ProviderError::Unexpected {
            reason: format!("the deploy keys of {repository} do not come to an end"),
        });
    }
    for id in ids {
        let id = id.to_string();
        let path = repository.path(&["keys", &id]);
        let answer = client.call(Method::DELETE, &path, &[], None).await?;
        match answer.status {
            204 | 404 => {}
            _ => return Err(answer.refusal("the deploy key")),
        }
    }
    Ok(Removal::Done)
}

/// Makes an ed25519 key pair: the public half in one line, the private half as OpenSSH PEM.
fn generate_key(random: &dyn Random) -> Result<(String, SecretString), ProviderError> {
    let strange = |_| ProviderError::Unexpected {
        reason: "a new key pair could not be written down".to_owned(),
    };
    let mut seed = Zeroizing::new([0_u8; 32]);
    random.fill(seed.as_mut());
    let key = PrivateKey::from(Ed25519Keypair::from_seed(&seed));
    let public = key.public_key().to_openssh().map_err(strange)?;
    let private = key.to_openssh(LineEnding::LF).map_err(strange)?;
    Ok((public, SecretString::from(private.as_str())))
}
