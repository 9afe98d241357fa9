//! Where a connection's repositories are: the `url` setting, which is the address of a server or
//! of one repository, and a path.

use keyferry_domain::operation::RepositoryPath;
use keyferry_domain::safe_url::SafeUrl;
use percent_encoding::percent_decode_str;

use super::provider::URL_FIELD;
use crate::error::ProviderError;
use crate::provider::{OpenCredential, Settings};
use crate::ssh;

/// Reads the `url` setting.
pub(super) fn base(settings: &Settings) -> Result<SafeUrl, ProviderError> {
    let text = settings.get(URL_FIELD).map(String::as_str).unwrap_or_default();
    SafeUrl::parse_git(text).map_err(|error| ProviderError::Misconfigured {
        field: URL_FIELD.to_owned(),
        reason: format!("failed to {error}"),
    })
}

/// Returns the address of a repository. When the base is the address of this very repository, with
/// or without `.git`, it is the base.
pub(super) fn of_repository(base: &SafeUrl, repository: &RepositoryPath) -> SafeUrl {
    let path = percent_decode_str(base.as_url().path()).decode_utf8_lossy();
    let path = path.trim_end_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    let is_base = path
        .strip_suffix(repository.as_str())
        .is_some_and(|before| before.is_empty() || before.ends_with('/'));
    if is_base {
        return base.clone();
    }
    let segments: Vec<&str> = repository.as_str().split('/').collect();
    base.join(&segments)
}

/// Tells whether an address is reached by SSH.
pub(super) fn is_ssh(url: &SafeUrl) -> bool {
    url.as_url().scheme() == "ssh"
}

/// Returns where to connect to for an `ssh://` address. A user name in the address wins over the
/// one of the credential.
pub(super) fn ssh_address(url: &SafeUrl, credential: &OpenCredential) -> ssh::Address {
    let url = url.as_url();
    let named = percent_decode_str(url.username()).decode_utf8_lossy().into_owned();
    let username = if named.is_empty() {
        credential.public.get("username").filter(|name| !name.is_empty()).cloned()
    } else {
        Some(named)
    };
    let host = url.host_str().unwrap_or_default();
    let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    ssh::Address {
        host: percent_decode_str(host).decode_utf8_lossy().into_owned(),
        port: url.port().unwrap_or(22),
        username: username.unwrap_or_else(|| "git".to_owned()),
    }
}

/// Returns the path that the command on the other side gets: as Git does it, `/~user/x` without the
/// slash.
pub(super) fn ssh_path(url: &SafeUrl) -> String {
    let path = percent_decode_str(url.as_url().path()).decode_utf8_lossy().into_owned();
    if path.starts_with("/~") { path[1..].to_owned() } else { path }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use keyferry_domain::credential::CredentialKind;

    use super::*;

    fn url(text: &str) -> SafeUrl {
        SafeUrl::parse_git(text).unwrap()
    }

    #[test]
    fn a_repository_is_found_under_its_server() {
        for (base, repository, expected) in [
            ("https://h/git", "team/app", "https://h/git/team/app"),
            ("https://h/git/", "team/app", "https://h/git/team/app"),
            ("https://h", "team/app", "https://h/team/app"),
            ("ssh://git@h:2222/srv", "app", "ssh://git@h:2222/srv/app"),
            ("https://h/xteam/app", "team/app", "https://h/xteam/app/team/app"),
        ] {
            let found = of_repository(&url(base), &repository.parse().unwrap());
            assert_eq!(found.as_str(), expected);
        }
    }

    #[test]
    fn the_address_of_one_repository_stands_for_itself() {
        for base in ["https://h/git/team/app.git", "https://h/team/app/", "https://h/team/app"] {
            let found = of_repository(&url(base), &"team/app".parse().unwrap());
            assert_eq!(found.as_str(), base);
        }
    }

    #[test]
    fn the_user_name_comes_from_the_address_then_the_credential_then_git() {
        let mut credential = OpenCredential {
            kind: CredentialKind::SshKey,
            public: BTreeMap::new(),
            secrets: BTreeMap::new(),
            files: BTreeMap::new(),
        };
        let name =
            |text: &str, credential: &OpenCredential| ssh_address(&url(text), credential).username;
        assert_eq!(name("ssh://h/x", &credential), "git");
        credential.public.insert("username".into(), "deploy".into());
        assert_eq!(name("ssh://h/x", &credential), "deploy");
        assert_eq!(name("alice@h:x", &credential), "alice");
        let address = ssh_address(&url("ssh://[::1]:2222/x"), &credential);
        assert_eq!((address.host.as_str(), address.port), ("::1", 2222));
    }

    #[test]
    fn paths_for_the_other_side_are_decoded() {
        assert_eq!(ssh_path(&url("ssh://h/a%20b/c")), "/a b/c");
        assert_eq!(ssh_path(&url("ssh://h/~alice/c")), "~alice/c");
    }
}
