//! Handles: how what was minted is found again, also after a crash between the mint and its
//! record. They hold no secret.

use keyferry_domain::operation::RepositoryPath;

use crate::error::ProviderError;

/// What was minted, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Handle {
    /// A personal token.
    Token {
        /// The user whose token it is: the credential may have been replaced by another user's
        /// when the time comes to take the token back.
        username: String,
        /// The token's name, unique to the lease.
        name: String,
    },
    /// A deploy key.
    DeployKey {
        /// The repository.
        repository: RepositoryPath,
        /// The key's title, unique to the lease.
        title: String,
    },
}

impl Handle {
    /// Returns the name or title for a lease, which tells a person who finds it whose it is.
    pub(super) fn name(handle_base: &str) -> String {
        format!("keyferry-{handle_base}")
    }

    /// Returns the text that is stored with the lease. User names and repository paths have no
    /// colon.
    pub(super) fn render(&self) -> String {
        match self {
            Self::Token { username, name } => format!("token:{username}:{name}"),
            Self::DeployKey { repository, title } => format!("deploy-key:{repository}:{title}"),
        }
    }

    /// Reads a stored handle.
    pub(super) fn parse(text: &str) -> Result<Self, ProviderError> {
        let strange = || ProviderError::Unexpected {
            reason: format!("`{text}` is not a handle of something minted at Gitea"),
        };
        let mut parts = text.splitn(3, ':');
        match (parts.next(), parts.next(), parts.next()) {
            (Some("token"), Some(username), Some(name)) if !username.is_empty() => {
                Ok(Self::Token { username: username.to_owned(), name: name.to_owned() })
            }
            (Some("deploy-key"), Some(repository), Some(title)) => Ok(Self::DeployKey {
                repository: repository.parse().map_err(|_| strange())?,
                title: title.to_owned(),
            }),
            _ => Err(strange()),
        }
    }
}
