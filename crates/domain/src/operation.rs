//! What a lease is asked for, so that it can be cut down to it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::named::named;

named! {
    /// How much of a repository is needed.
    Access {
        /// Fetch, pull.
        Read = "read",
        /// Push too.
        Write = "write",
    }
}

/// A repository's path on its service, `team/app`: no leading slash, no `.git`, no `..`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct RepositoryPath(String);

/// The text is not a repository path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("use `{text}` as a repository path; write it like `team/app`")]
pub struct InvalidRepositoryPath {
    text: String,
}

impl RepositoryPath {
    /// Returns the path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RepositoryPath {
    type Err = InvalidRepositoryPath;

    /// Reads a path; slashes around it and a trailing `.git` are dropped.
    fn from_str(text: &str) -> Result<Self, InvalidRepositoryPath> {
        let trimmed = text.trim_matches('/');
        let trimmed = trimmed.strip_suffix(".git").unwrap_or(trimmed);
        let is_valid = !trimmed.is_empty()
            && trimmed.len() <= 512
            && trimmed.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
            && trimmed
                .chars()
                .all(|c| !c.is_control() && !matches!(c, '\\' | '?' | '#' | '%' | '@' | ':' | ' '))
            && !trimmed.starts_with('-');
        if is_valid {
            Ok(Self(trimmed.to_owned()))
        } else {
            Err(InvalidRepositoryPath { text: text.chars().take(80).collect() })
        }
    }
}

impl fmt::Display for RepositoryPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for RepositoryPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What a lease is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Operation {
    /// Git over HTTP or SSH.
    Git {
        /// The repository; without it the lease cannot be cut down to one.
        repository: Option<RepositoryPath>,
        /// Fetch only, or push too.
        access: Access,
    },
    /// Pull or push images.
    Registry {
        /// The image repository; Docker's helper protocol does not tell it.
        repository: Option<RepositoryPath>,
        /// Pull only, or push too.
        access: Access,
    },
    /// The material itself, for tools without a helper: values, files, environment variables.
    Material,
}

impl fmt::Display for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (noun, repository, access) = match self {
            Self::Git { repository, access } => ("git", repository, access),
            Self::Registry { repository, access } => ("registry", repository, access),
            Self::Material => return formatter.write_str("material"),
        };
        write!(formatter, "{noun} {access}")?;
        match repository {
            Some(repository) => write!(formatter, " {repository}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repository_paths_are_trimmed() {
        for text in ["team/app", "/team/app.git", "team/app/"] {
            assert_eq!(text.parse::<RepositoryPath>().unwrap().as_str(), "team/app");
        }
    }

    #[test]
    fn paths_that_could_leave_their_place_are_refused() {
        for text in
            ["", "/", "../x", "a//b", "a/./b", "a/../b", "a b", "a%2e", "-x", "a\nb", "a:b", "x@y"]
        {
            assert!(text.parse::<RepositoryPath>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn unknown_fields_of_an_operation_are_refused() {
        let text = r#"{"kind":"git","repository":"a/b","access":"read","extra":1}"#;
        assert!(serde_json::from_str::<Operation>(text).is_err());
    }
}
