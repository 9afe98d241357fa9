//! The registry type's declaration and its few rules.

use std::time::Duration;

use async_trait::async_trait;
use keyferry_domain::credential::CredentialKind;
use keyferry_domain::lease::{Narrowing, Residue};
use keyferry_domain::material::Material;
use keyferry_domain::operation::Operation;
use keyferry_domain::secret::SecretString;

use super::client::{self, SignedIn};
use crate::credentials;
use crate::error::ProviderError;
use crate::provider::{Capability, Context, Field, Format, Issued, Kind, Plan, Provider, Target};

/// The declaration.
const KIND: Kind = Kind {
    id: "private_docker_registry",
    aliases: &["privateDockerRegistry", "docker_registry"],
    title: "Private image registry",
    group: "Images",
    summary: "Any image registry with a user name and password or a token",
    settings: &[
        Field {
            name: "registry",
            label: "Registry",
            help: "The host as image names have it, with a port where there is one; with \
                   `http://` in front for a registry without TLS",
            is_required: true,
            is_secret: false,
            is_multiline: false,
            default: None,
            format: Format::RegistryAddress,
        },
        Field {
            name: "ca_certificate",
            label: "CA certificate",
            help: "PEM certificates to trust for this registry instead of the system's",
            is_required: false,
            is_secret: false,
            is_multiline: true,
            default: None,
            format: Format::CertificatePem,
        },
        Field {
            name: "token_realm_host",
            label: "Host of the token server",
            help: "The host that checks passwords for this registry, where it is another one",
            is_required: false,
            is_secret: false,
            is_multiline: false,
            default: None,
            format: Format::Authority,
        },
    ],
    credentials: &[&credentials::USERNAME_PASSWORD, &credentials::TOKEN],
    capabilities: &[Capability::Registry],
    can_verify: true,
};

/// The provider.
pub(crate) const PRIVATE_DOCKER_REGISTRY: PrivateDockerRegistry = PrivateDockerRegistry;

/// An image registry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PrivateDockerRegistry;

/// Returns user name and secret; a token goes in the password's place.
fn parts(target: Target<'_>) -> Result<(String, SecretString), ProviderError> {
    let credential = target.credential;
    let wrong = |field: &str, reason: &str| ProviderError::Misconfigured {
        field: field.to_owned(),
        reason: reason.to_owned(),
    };
    let name = match credential.kind {
        CredentialKind::UsernamePassword => "password",
        CredentialKind::Token => "token",
        CredentialKind::SshKey | CredentialKind::Values => {
            return Err(wrong("credential", "an image registry takes a password or a token"));
        }
    };
    let secret =
        credential.secrets.get(name).cloned().ok_or_else(|| wrong(name, "it is missing"))?;
    let username = credential.public.get("username").cloned();
    Ok((username.unwrap_or_else(|| credentials::DEFAULT_TOKEN_USERNAME.to_owned()), secret))
}

#[async_trait]
impl Provider for PrivateDockerRegistry {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    async fn verify(&self, context: &Context, target: Target<'_>) -> Result<String, ProviderError> {
        let (username, secret) = parts(target)?;
        match client::sign_in(context, target.settings, &username, &secret).await? {
            SignedIn::Accepted => Ok(format!("signed in as `{username}`")),
            SignedIn::NotAsked => Err(ProviderError::Unexpected {
                reason: "the registry lets everyone in, so it cannot tell whether the credential \
                         is right"
                    .to_owned(),
            }),
        }
    }

    fn plan(&self, _: Target<'_>, operation: &Operation, _: &str) -> Result<Plan, ProviderError> {
        match operation {
            Operation::Registry { .. } | Operation::Material => {
                Ok(Plan { narrowing: Narrowing::Stored, handle: None })
            }
            Operation::Git { .. } => Err(ProviderError::Misconfigured {
                field: "operation".to_owned(),
                reason: "a `private_docker_registry` connection cannot sign in to a Git server"
                    .to_owned(),
            }),
        }
    }

    /// A login is tried before it is handed over, as `docker login` does. Nobody else could: the
    /// step that logs in asks for a lease and sends nothing anywhere, and the tool that gets the
    /// password in the end throws the registry's words away. So a lease for images says that the
    /// registry takes the credential, to every holder. A registry that asks nobody needs none.
    async fn issue(
        &self,
        context: &Context,
        target: Target<'_>,
        operation: &Operation,
        _: &Plan,
        _: Duration,
    ) -> Result<Issued, ProviderError> {
        let (username, password) = parts(target)?;
        if matches!(operation, Operation::Registry { .. }) {
            client::sign_in(context, target.settings, &username, &password).await?;
        }
        let what = match target.credential.kind {
            CredentialKind::Token => "the stored token was handed over",
            _ => "the stored password was handed over",
        };
        Ok(Issued {
            material: Material::Password { username, password },
            expires_at: None,
            residue: Some(Residue { what: what.to_owned(), until: None }),
        })
    }

    async fn revoke(
        &self,
        _: &Context,
        _: Target<'_>,
        _: &Narrowing,
        _: &str,
    ) -> Result<Option<Residue>, ProviderError> {
        Ok(None)
    }
}
