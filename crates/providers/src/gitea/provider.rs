//! Gitea's declaration, and what an operation gets.

use std::time::Duration;

use async_trait::async_trait;
use keyferry_domain::Timestamp;
use keyferry_domain::credential::CredentialKind;
use keyferry_domain::lease::{Narrowing, Residue};
use keyferry_domain::material::Material;
use keyferry_domain::operation::{Access, Operation, RepositoryPath};

use super::client::{BASE_URL, Client, RepositoryName};
use super::cursor::Cursor;
use super::deploy_keys::{self, Removal};
use super::handle::Handle;
use super::{merge, repositories, tokens};
use crate::credentials;
use crate::error::ProviderError;
use crate::git::GIT;
use crate::provider::{
    Branch, Capability, Context, Field, Format, Issued, Kind, MergeRequest, Merged, Plan, Provider,
    Repositories, Repository, ServicePage, Settings, Target,
};

/// The declaration.
const KIND: Kind = Kind {
    id: "gitea",
    aliases: &[],
    title: "Gitea",
    group: "Code",
    summary: "Repositories, branches, merges and images of a Gitea server",
    settings: &[
        Field {
            name: "base_url",
            label: "Base URL",
            help: "The address of the server, with its sub-path where it has one",
            is_required: true,
            is_secret: false,
            is_multiline: false,
            default: None,
            format: Format::HttpUrl,
        },
        Field {
            name: "ca_certificate",
            label: "CA certificate",
            help: "PEM certificates to trust for this server instead of the system's",
            is_required: false,
            is_secret: false,
            is_multiline: true,
            default: None,
            format: Format::CertificatePem,
        },
        Field {
            name: "ssh_known_hosts",
            label: "SSH host keys",
            help: "Host keys of the server's SSH port, as ssh-keyscan prints them; with them, a \
                   stored token gives each job a deploy key for its one repository",
            is_required: false,
            is_secret: false,
            is_multiline: true,
            default: None,
            format: Format::KnownHosts,
        },
    ],
    credentials: &[&credentials::USERNAME_PASSWORD, &credentials::TOKEN],
    capabilities: &[
        Capability::ListRepositories,
        Capability::Branches,
        Capability::Merge,
        Capability::Tags,
        Capability::Registry,
    ],
    can_verify: true,
};

/// The provider.
pub(crate) const GITEA: Gitea = Gitea;

/// How long the image registry's own token lives, whatever becomes of the credential it was made
/// of (Gitea 1.26, `services/packages/auth.go`).
const REGISTRY_TOKEN_LIFE: Duration = Duration::from_hours(24);

/// A Gitea server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gitea;

/// Returns the scopes that an operation needs and no other.
fn scopes(operation: &Operation) -> Vec<String> {
    let scopes: &[&str] = match operation {
        Operation::Git { access: Access::Read, .. } => &["read:repository"],
        Operation::Git { access: Access::Write, .. } => &["write:repository"],
        Operation::Registry { access: Access::Read, .. } => &["read:package"],
        Operation::Registry { access: Access::Write, .. } => &["write:package"],
        // What it will be used for is not known; the account itself is out of reach all the same.
        Operation::Material => &["write:repository", "write:package"],
    };
    scopes.iter().map(|scope| (*scope).to_owned()).collect()
}

fn registry_residue(ends_at: Timestamp) -> Residue {
    Residue {
        what: "a login to the image registry lives on for 24 hours after it was made".to_owned(),
        until: Some(ends_at.plus(REGISTRY_TOKEN_LIFE)),
    }
}

#[async_trait]
impl Provider for Gitea {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    /// A token that may not tell whose it is has still been accepted: Gitea refuses unknown tokens
    /// with 401, and names missing scopes only to those it knows.
    async fn verify(&self, context: &Context, target: Target<'_>) -> Result<String, ProviderError> {
        let client = Client::new(context, target)?;
        let user = client.user().await?;
        if target.credential.kind == CredentialKind::Token {
            return Ok(match user {
                Some(user) => format!("signed in as `{}`", user.login),
                None => "the token is accepted; it may not tell whose it is".to_owned(),
            });
        }
        let given = client.username();
        let login = match user {
            Some(user) => {
                let is_other = !given.contains('@') && !user.login.eq_ignore_ascii_case(given);
                if is_other {
                    return Err(ProviderError::Misconfigured {
                        field: "username".to_owned(),
                        reason: format!("the token in the password's place is `{}`'s", user.login),
                    });
                }
                user.login
            }
            None => given.to_owned(),
        };
        tokens::check_mint(&client, &login).await?;
        Ok(format!("signed in as `{login}`; each job gets a token of its own"))
    }

    fn plan(
        &self,
        target: Target<'_>,
        operation: &Operation,
        handle_base: &str,
    ) -> Result<Plan, ProviderError> {
        let repository = match operation {
            Operation::Git { repository, .. } => repository.as_ref(),
            Operation::Registry { .. } | Operation::Material => None,
        };
        if let Some(repository) = repository {
            RepositoryName::of(target.settings, repository)?;
        }
        let name = Handle::name(handle_base);
        if target.credential.kind == CredentialKind::UsernamePassword {
            let username = target.credential.public.get("username").cloned().unwrap_or_default();
            return Ok(Plan {
                narrowing: Narrowing::ScopedToken { scopes: scopes(operation) },
                handle: Some(Handle::Token { username, name }.render()),
            });
        }
        match (operation, repository) {
            (Operation::Git { access, .. }, Some(repository))
                if target.settings.contains_key("ssh_known_hosts") =>
            {
                let handle = Handle::DeployKey { repository: repository.clone(), title: name };
                Ok(Plan {
                    narrowing: Narrowing::DeployKey {
                        repository: repository.clone(),
                        access: *access,
                    },
                    handle: Some(handle.render()),
                })
            }
            _ => Ok(Plan { narrowing: Narrowing::Stored, handle: None }),
        }
    }

    async fn issue(
        &self,
        context: &Context,
        target: Target<'_>,
        operation: &Operation,
        plan: &Plan,
        lifetime: Duration,
    ) -> Result<Issued, ProviderError> {
        let client = Client::new(context, target)?;
        let handle = plan.handle.as_deref().map(Handle::parse).transpose()?;
        match (&plan.narrowing, handle) {
            (Narrowing::Stored, None) => {
                // As at any registry: a login is known to work when it is handed over. What is
                // minted has just been made by Gitea itself.
                if matches!(operation, Operation::Registry { .. }) {
                    client.user().await?;
                }
                Ok(stored(target))
            }
            (Narrowing::ScopedToken { scopes }, Some(Handle::Token { username, name })) => {
                let login = tokens::login_of(&client, &username).await?;
                let token = tokens::mint(&client, &login, &name, scopes).await?;
                let reaches_registry = !matches!(operation, Operation::Git { .. });
                let ends_at = context.clock.now().plus(lifetime);
                Ok(Issued {
                    material: Material::Password { username: login, password: token },
                    // Gitea's tokens have no expiry: the revocation is their end.
                    expires_at: None,
                    residue: reaches_registry.then(|| registry_residue(ends_at)),
                })
            }
            (
                Narrowing::DeployKey { repository, access },
                Some(Handle::DeployKey { title, .. }),
            ) => {
                let repository = RepositoryName::of(target.settings, repository)?;
                let known_hosts = target.settings.get("ssh_known_hosts").map_or("", String::as_str);
                let random = context.random.as_ref();
                let material =
                    deploy_keys::mint(&client, random, &repository, *access, &title, known_hosts)
                        .await?;
                Ok(Issued { material, expires_at: None, residue: None })
            }
            (narrowing, _) => Err(ProviderError::Unexpected {
                reason: format!("{narrowing} was not planned for Gitea"),
            }),
        }
    }

    /// The credential may have been replaced since: then the right to take back is the new one's,
    /// and a refusal is told rather than taken for success.
    async fn revoke(
        &self,
        context: &Context,
        target: Target<'_>,
        narrowing: &Narrowing,
        handle: &str,
    ) -> Result<Option<Residue>, ProviderError> {
        let client = Client::new(context, target)?;
        match Handle::parse(handle)? {
            Handle::Token { username, name } => {
                let login = tokens::login_of(&client, &username).await?;
                tokens::delete(&client, &login, &name).await?;
                let reaches_registry = matches!(narrowing, Narrowing::ScopedToken { scopes }
                    if scopes.iter().any(|scope| scope.ends_with(":package")));
                Ok(reaches_registry.then(|| registry_residue(context.clock.now())))
            }
            Handle::DeployKey { repository, title } => {
                let name = RepositoryName::of(target.settings, &repository)?;
                Ok(match deploy_keys::delete(&client, &name, &title).await? {
                    Removal::Done => None,
                    Removal::RepositoryNotSeen => Some(Residue {
                        what: format!(
                            "the deploy key `{title}`, unless {repository} is gone: the \
                             credential does not see it any more"
                        ),
                        until: None,
                    }),
                })
            }
        }
    }

    fn repositories(&self) -> Option<&dyn Repositories> {
        Some(self)
    }
}

/// Hands over the stored credential itself.
fn stored(target: Target<'_>) -> Issued {
    let username = target.credential.public.get("username").cloned();
    let token = target.credential.secrets.get("token").cloned();
    Issued {
        material: Material::Password {
            username: username.unwrap_or_else(|| credentials::DEFAULT_TOKEN_USERNAME.to_owned()),
            password: token.unwrap_or_else(|| "".into()),
        },
        expires_at: None,
        residue: Some(Residue { what: "the stored token was handed over".to_owned(), until: None }),
    }
}

/// Deletes a branch that must be at `commit`. Gitea's API has no condition on a deletion; the Git
/// protocol has, and takes the same credential, so that a push in between is never lost.
async fn delete_branch_at(
    context: &Context,
    target: Target<'_>,
    repository: &RepositoryName<'_>,
    branch: &str,
    commit: &str,
) -> Result<(), ProviderError> {
    let path: RepositoryPath = repository
        .to_string()
        .parse()
        .map_err(|_| ProviderError::NotFound { what: repository.describe() })?;
    let mut settings = Settings::new();
    for (name, git_name) in [(BASE_URL, "url"), ("ca_certificate", "ca_certificate")] {
        if let Some(text) = target.settings.get(name) {
            settings.insert(git_name.to_owned(), text.clone());
        }
    }
    let target = Target { settings: &settings, credential: target.credential };
    match GIT.delete_branch(context, target, &path, branch, Some(commit)).await {
        Err(ProviderError::Misconfigured { field, reason }) if field == "url" => {
            Err(ProviderError::Misconfigured { field: BASE_URL.to_owned(), reason })
        }
        result => result,
    }
}

#[async_trait]
impl Repositories for Gitea {
    async fn list_repositories(
        &self,
        context: &Context,
        target: Target<'_>,
        search: Option<&str>,
        page: Option<&str>,
        limit: u32,
    ) -> Result<ServicePage<Repository>, ProviderError> {
        let cursor = Cursor::read(page, limit)?;
        repositories::list(&Client::new(context, target)?, search, cursor).await
    }

    async fn list_branches(
        &self,
        context: &Context,
        target: Target<'_>,
        repository: &RepositoryPath,
        search: Option<&str>,
        page: Option<&str>,
        limit: u32,
    ) -> Result<ServicePage<Branch>, ProviderError> {
        let cursor = Cursor::read(page, limit)?;
        let name = RepositoryName::of(target.settings, repository)?;
        repositories::list_branches(&Client::new(context, target)?, &name, search, cursor).await
    }

    async fn merge(
        &self,
        context: &Context,
        target: Target<'_>,
        repository: &RepositoryPath,
        request: &MergeRequest,
    ) -> Result<Merged, ProviderError> {
        let name = RepositoryName::of(target.settings, repository)?;
        merge::merge(&Client::new(context, target)?, &name, request, context.timeout).await
    }

    async fn delete_branch(
        &self,
        context: &Context,
        target: Target<'_>,
        repository: &RepositoryPath,
        branch: &str,
        expected_commit: Option<&str>,
    ) -> Result<(), ProviderError> {
        let name = RepositoryName::of(target.settings, repository)?;
        let client = Client::new(context, target)?;
        let Some(expected) = expected_commit else {
            return repositories::delete_branch(&client, &name, branch).await;
        };
        let actual = repositories::get_branch(&client, &name, "branch", branch).await?.commit.id;
        if !actual.eq_ignore_ascii_case(expected) {
            return Err(ProviderError::Moved { name: branch.to_owned(), actual });
        }
        delete_branch_at(context, target, &name, branch, &actual).await
    }

    async fn delete_tag(
        &self,
        context: &Context,
        target: Target<'_>,
        repository: &RepositoryPath,
        tag: &str,
    ) -> Result<(), ProviderError> {
        let name = RepositoryName::of(target.settings, repository)?;
        repositories::delete_tag(&Client::new(context, target)?, &name, tag).await
    }
}
