//! The connection type itself: its declaration, and what each operation means for plain Git.

use std::time::Duration;

use async_trait::async_trait;
use keyferry_domain::credential::CredentialKind;
use keyferry_domain::lease::{Narrowing, Residue};
use keyferry_domain::material::Material;
use keyferry_domain::operation::{Operation, RepositoryPath};
use keyferry_domain::safe_url::SafeUrl;
use keyferry_domain::secret::SecretString;

use super::remote::{Login, Remote, Service};
use super::{address, branches, refs};
use crate::credentials::{DEFAULT_TOKEN_USERNAME, SSH_KEY, TOKEN, USERNAME_PASSWORD};
use crate::error::ProviderError;
use crate::provider::{
    Branch, Capability, Context, Field, Format, Issued, Kind, MergeRequest, Merged, OpenCredential,
    Plan, Provider, Repositories, Repository, ServicePage, Settings, Target,
};

/// The setting that holds the address.
pub(super) const URL_FIELD: &str = "url";

/// The setting that names the repository to try the credential on.
const VERIFY_FIELD: &str = "verify_repository";

/// The setting that holds host keys.
const KNOWN_HOSTS_FIELD: &str = "known_hosts";

/// Any Git server.
pub(crate) static GIT: Git = Git;

/// Any Git server; see [`GIT`].
#[derive(Debug)]
pub(crate) struct Git;

static KIND: Kind = Kind {
    id: "git",
    aliases: &[],
    title: "Git",
    group: "Code",
    summary: "Any Git server, over HTTPS or SSH",
    can_verify: true,
    settings: &[
        Field {
            name: URL_FIELD,
            label: "Address",
            help: "The address of the server or of one repository, without a password in it",
            is_required: true,
            is_secret: false,
            is_multiline: false,
            default: None,
            format: Format::GitUrl,
        },
        Field {
            name: VERIFY_FIELD,
            label: "Repository to verify with",
            help: "The path of a private repository that the credential may read, such as team/app",
            is_required: false,
            is_secret: false,
            is_multiline: false,
            default: None,
            format: Format::Text,
        },
        Field {
            name: KNOWN_HOSTS_FIELD,
            label: "Known hosts",
            help: "For SSH: the server's host keys, as lines of a known_hosts file",
            is_required: false,
            is_secret: false,
            is_multiline: true,
            default: None,
            format: Format::KnownHosts,
        },
        Field {
            name: "ca_certificate",
            label: "CA certificate",
            help: "For HTTPS: the certificates (PEM) to trust instead of the system's",
            is_required: false,
            is_secret: false,
            is_multiline: true,
            default: None,
            format: Format::CertificatePem,
        },
    ],
    credentials: &[&USERNAME_PASSWORD, &TOKEN, &SSH_KEY],
    capabilities: &[Capability::Branches, Capability::Tags],
};

/// A credential in the shape that its way to the server needs.
enum Authority {
    Http(Login),
    Ssh { key: SecretString },
}

#[async_trait]
impl Provider for Git {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    async fn verify(&self, context: &Context, target: Target<'_>) -> Result<String, ProviderError> {
        within(context, verify(context, target)).await
    }

    fn plan(
        &self,
        target: Target<'_>,
        operation: &Operation,
        _handle_base: &str,
    ) -> Result<Plan, ProviderError> {
        if let Operation::Registry { .. } = operation {
            return Err(ProviderError::Misconfigured {
                field: "operation".to_owned(),
                reason: "a Git server has no image registry".to_owned(),
            });
        }
        let base = address::base(target.settings)?;
        authority(&base, target.credential)?;
        if address::is_ssh(&base) {
            known_hosts(target.settings)?;
        }
        Ok(Plan { narrowing: Narrowing::Stored, handle: None })
    }

    async fn issue(
        &self,
        _context: &Context,
        target: Target<'_>,
        operation: &Operation,
        _plan: &Plan,
        _lifetime: Duration,
    ) -> Result<Issued, ProviderError> {
        let base = address::base(target.settings)?;
        let (material, what) = match authority(&base, target.credential)? {
            Authority::Http(Login { username, password }) => {
                let what = match target.credential.kind {
                    CredentialKind::Token => "the stored token was handed over",
                    _ => "the stored password was handed over",
                };
                (Material::Password { username, password }, what)
            }
            Authority::Ssh { key } => {
                let url = match operation {
                    Operation::Git { repository: Some(repository), .. } => {
                        Some(address::of_repository(&base, repository).to_string())
                    }
                    _ => None,
                };
                let material = Material::SshKey {
                    username: address::ssh_address(&base, target.credential).username,
                    private_key: key,
                    known_hosts: known_hosts(target.settings)?.to_owned(),
                    url,
                };
                (material, "the stored key was handed over")
            }
        };
        let residue = Some(Residue { what: what.to_owned(), until: None });
        Ok(Issued { material, expires_at: None, residue })
    }

    async fn revoke(
        &self,
        _context: &Context,
        _target: Target<'_>,
        _narrowing: &Narrowing,
        _handle: &str,
    ) -> Result<Option<Residue>, ProviderError> {
        // Nothing is ever minted here, so there is nothing to take back.
        Ok(None)
    }

    fn repositories(&self) -> Option<&dyn Repositories> {
        Some(self)
    }
}

#[async_trait]
impl Repositories for Git {
    async fn list_repositories(
        &self,
        _context: &Context,
        _target: Target<'_>,
        _search: Option<&str>,
        _page: Option<&str>,
        _limit: u32,
    ) -> Result<ServicePage<Repository>, ProviderError> {
        Err(ProviderError::Unsupported {
            reason: "Git has no way to list repositories; give the path of the one you want"
                .to_owned(),
        })
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
        let remote = remote(context, target, Some(repository))?;
        let references = within(context, remote.references()).await?;
        Ok(branches::page(references, search, page, limit))
    }

    async fn merge(
        &self,
        _context: &Context,
        _target: Target<'_>,
        _repository: &RepositoryPath,
        _request: &MergeRequest,
    ) -> Result<Merged, ProviderError> {
        Err(ProviderError::Unsupported {
            reason: "Git has no call that merges on the server; a `MergeBranch` step does it"
                .to_owned(),
        })
    }

    async fn delete_branch(
        &self,
        context: &Context,
        target: Target<'_>,
        repository: &RepositoryPath,
        branch: &str,
        expected_commit: Option<&str>,
    ) -> Result<(), ProviderError> {
        let name = full_name("refs/heads/", branch, "branch")?;
        let expected = expected_commit.map(full_commit).transpose()?;
        let remote = remote(context, target, Some(repository))?;
        within(context, remote.delete(&name, "branch", branch, expected.as_deref())).await
    }

    async fn delete_tag(
        &self,
        context: &Context,
        target: Target<'_>,
        repository: &RepositoryPath,
        tag: &str,
    ) -> Result<(), ProviderError> {
        let name = full_name("refs/tags/", tag, "tag")?;
        let remote = remote(context, target, Some(repository))?;
        within(context, remote.delete(&name, "tag", tag, None)).await
    }
}

/// Tries the credential. Success needs an answer that the server would not have given to anybody.
async fn verify(context: &Context, target: Target<'_>) -> Result<String, ProviderError> {
    let path = target.settings.get(VERIFY_FIELD).filter(|path| !path.trim().is_empty());
    let repository = path.map(|path| {
        path.parse::<RepositoryPath>().map_err(|error| misconfigured(VERIFY_FIELD, error))
    });
    let repository = repository.transpose()?;
    let with_login = remote(context, target, repository.as_ref())?;
    let base = address::base(target.settings)?;
    let url = repository_url(&base, repository.as_ref());
    if address::is_ssh(&base) {
        return verify_ssh(context, target, &base, repository.as_ref(), &with_login).await;
    }
    match with_login.references().await {
        Ok(_) => {}
        Err(ProviderError::NotFound { .. } | ProviderError::Unexpected { .. })
            if repository.is_none() =>
        {
            return Err(misconfigured(
                VERIFY_FIELD,
                "Git can try a credential on a repository only; give the path of one that it may read",
            ));
        }
        Err(error) => return Err(error),
    }
    let shown = shown(&url, repository.as_ref());
    let without_login = Remote::http(context, target.settings, &url, None, shown.clone())?;
    if is_refused(without_login.references().await)? {
        return Ok(format!("{shown} can be read"));
    }
    // Anybody may read it, so that says nothing of the credential; pushing may.
    match with_login.try_service(Service::ReceivePack).await {
        Ok(()) if is_refused(without_login.try_service(Service::ReceivePack).await)? => {
            Ok(format!("{shown} can be pushed to"))
        }
        Ok(()) | Err(ProviderError::Rejected { .. } | ProviderError::NotFound { .. }) => {
            Err(misconfigured(
                VERIFY_FIELD,
                format!(
                    "anybody may read {shown}, and pushing proves nothing of the credential \
                     either; give a private one"
                ),
            ))
        }
        Err(error) => Err(error),
    }
}

/// Over SSH a successful sign-in is the yes; a repository is read beside it when one is named.
async fn verify_ssh(
    context: &Context,
    target: Target<'_>,
    base: &SafeUrl,
    repository: Option<&RepositoryPath>,
    remote: &Remote,
) -> Result<String, ProviderError> {
    if let Some(repository) = repository {
        remote.references().await?;
        return Ok(format!("repository `{repository}` can be read"));
    }
    let Authority::Ssh { key } = authority(base, target.credential)? else {
        return Err(wrong_credential(base));
    };
    let address = address::ssh_address(base, target.credential);
    let known_hosts = known_hosts(target.settings)?;
    let session =
        crate::ssh::Session::open(&context.gate, &address, &key, known_hosts, URL_FIELD).await?;
    session.close().await;
    Ok(format!("signed in to `{}` as `{}`", address.host, address.username))
}

/// Tells whether the server said no to someone without a login. Other failures stay failures: an
/// unreachable server has not refused anybody.
fn is_refused<T>(result: Result<T, ProviderError>) -> Result<bool, ProviderError> {
    match result {
        Ok(_) => Ok(false),
        Err(ProviderError::Rejected { .. } | ProviderError::NotFound { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Bounds a whole call, over HTTP and SSH alike.
async fn within<T>(
    context: &Context,
    call: impl Future<Output = Result<T, ProviderError>> + Send,
) -> Result<T, ProviderError> {
    match tokio::time::timeout(context.timeout, call).await {
        Ok(result) => result,
        Err(_) => Err(ProviderError::Unavailable {
            reason: format!("no complete answer within {} ms", context.timeout.as_millis()),
        }),
    }
}

fn remote(
    context: &Context,
    target: Target<'_>,
    repository: Option<&RepositoryPath>,
) -> Result<Remote, ProviderError> {
    let base = address::base(target.settings)?;
    let url = repository_url(&base, repository);
    let what = shown(&url, repository);
    match authority(&base, target.credential)? {
        Authority::Http(login) => Remote::http(context, target.settings, &url, Some(login), what),
        Authority::Ssh { key } => {
            known_hosts(target.settings)?;
            Ok(Remote::ssh(context, target.settings, &url, target.credential, key, what))
        }
    }
}

fn repository_url(base: &SafeUrl, repository: Option<&RepositoryPath>) -> SafeUrl {
    repository.map_or_else(|| base.clone(), |path| address::of_repository(base, path))
}

fn shown(url: &SafeUrl, repository: Option<&RepositoryPath>) -> String {
    match repository {
        Some(path) => format!("repository `{path}`"),
        None => format!("repository `{url}`"),
    }
}

/// Fits the credential to the address.
fn authority(base: &SafeUrl, credential: &OpenCredential) -> Result<Authority, ProviderError> {
    let secret = |name: &str| {
        credential
            .secrets
            .get(name)
            .filter(|secret| !secret.expose().is_empty())
            .cloned()
            .ok_or_else(|| misconfigured(name, "it is missing"))
    };
    let public = |name: &str| credential.public.get(name).filter(|value| !value.is_empty());
    match (address::is_ssh(base), credential.kind) {
        (false, CredentialKind::UsernamePassword) => {
            let username =
                public("username").ok_or_else(|| misconfigured("username", "it is missing"))?;
            if username.contains(':') {
                // RFC 7617 §2: the first colon ends the user name.
                return Err(misconfigured("username", "it has a colon, which HTTP cannot carry"));
            }
            Ok(Authority::Http(Login { username: username.clone(), password: secret("password")? }))
        }
        (false, CredentialKind::Token) => {
            let username = public("username").map_or(DEFAULT_TOKEN_USERNAME, String::as_str);
            Ok(Authority::Http(Login { username: username.to_owned(), password: secret("token")? }))
        }
        (true, CredentialKind::SshKey) => Ok(Authority::Ssh { key: secret("private_key")? }),
        _ => Err(wrong_credential(base)),
    }
}

fn wrong_credential(base: &SafeUrl) -> ProviderError {
    let reason = if address::is_ssh(base) {
        "an ssh:// address needs an SSH key"
    } else {
        "an https:// address needs a user name and password, or a token"
    };
    misconfigured("credential", reason)
}

fn known_hosts(settings: &Settings) -> Result<&str, ProviderError> {
    settings
        .get(KNOWN_HOSTS_FIELD)
        .map(String::as_str)
        .filter(|text| !text.trim().is_empty())
        .ok_or_else(|| {
            misconfigured(
                KNOWN_HOSTS_FIELD,
                "an ssh:// address needs the host's keys; `ssh-keyscan` shows them",
            )
        })
}

fn full_name(prefix: &str, name: &str, noun: &str) -> Result<String, ProviderError> {
    if refs::is_name(name) {
        Ok(format!("{prefix}{name}"))
    } else {
        Err(misconfigured(noun, format!("it is not a name that a {noun} can have")))
    }
}

/// A commit must be named in full: a prefix would make "has it moved?" a guess.
fn full_commit(text: &str) -> Result<String, ProviderError> {
    let is_full =
        matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_full {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(misconfigured("expected_commit", "it is not a full commit ID of 40 hex digits"))
    }
}

fn misconfigured(field: &str, reason: impl std::fmt::Display) -> ProviderError {
    ProviderError::Misconfigured { field: field.to_owned(), reason: reason.to_string() }
}
